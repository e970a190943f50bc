//! An outbox, and when what happens in it: what is measured is the time until an event is on the disk, or acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use outrider::event::{Class, Event, LossCause};
use outrider::outbox::{Batch, Outbox, OutboxError, OutboxStat, SledOutbox};

/// What is to be seen.
pub(crate) trait Watch: Send + 'static {
    fn appended(&mut self, seq: u64, event: &Event);
    fn committed(&mut self) {}
    /// Whether enough has been seen; `waits` events were in the outbox.
    fn acked(&mut self, class: Class, first_seq: u64, waits: u64) -> bool;
}

pub(crate) struct Watched<W> {
    outbox: SledOutbox,
    watch: Arc<Mutex<W>>,
    /// Set once enough has been seen.
    stop: Arc<AtomicBool>,
}

impl<W: Watch> Watched<W> {
    pub(crate) fn new(outbox: SledOutbox, watch: &Arc<Mutex<W>>, stop: &Arc<AtomicBool>) -> Self {
        Self { outbox, watch: watch.clone(), stop: stop.clone() }
    }
}

impl<W: Watch> Outbox for Watched<W> {
    fn append(&mut self, event: &Event) -> Result<u64, OutboxError> {
        let seq = self.outbox.append(event)?;
        self.watch.lock().expect("no panic").appended(seq, event);
        Ok(seq)
    }

    fn commit(&mut self) -> Result<(), OutboxError> {
        self.outbox.commit()?;
        self.watch.lock().expect("no panic").committed();
        Ok(())
    }

    fn read(&mut self, class: Class, after: u64) -> Result<Option<Batch>, OutboxError> {
        self.outbox.read(class, after)
    }

    fn ack(&mut self, class: Class, first_seq: u64) -> Result<(), OutboxError> {
        let waits = self.outbox.stat().depth();
        if self.watch.lock().expect("no panic").acked(class, first_seq, waits) {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.outbox.ack(class, first_seq)
    }

    fn reject(&mut self, class: Class, first_seq: u64, cause: LossCause) -> Result<(), OutboxError> {
        self.outbox.reject(class, first_seq, cause)
    }

    fn lost(&mut self, class: Class, count: u64, cause: LossCause) -> Result<(), OutboxError> {
        self.outbox.lost(class, count, cause)
    }

    fn link(&mut self, up: bool) -> Result<(), OutboxError> {
        self.outbox.link(up)
    }

    fn stat(&self) -> OutboxStat {
        self.outbox.stat()
    }

    fn close(&mut self) -> Result<(), OutboxError> {
        self.outbox.close()
    }
}
