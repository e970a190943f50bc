//! The writer: takes events from the engine's queue into the outbox, and commits them in groups.
//!
//! A commit costs a flush of the disk, so events wait for one a little, unless they are important:
//! whatever is `critical` or `alert` is committed as soon as the queue has been emptied.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::clock::{boot_ns, is_synced, wall_ns};
use super::service::Pulse;
use crate::event::{Class, ClockFix, Event, LossCause, clock};
use crate::outbox::{Outbox, OutboxConfig, OutboxError, lock};
use crate::uplink::Waker;

/// Events between the engine and the outbox, at most.
const QUEUE: usize = 8192;
/// Of these, of class bulk: what comes frame by frame must not take the room of alerts.
const BULK: usize = 1024;
/// How long an event may wait for others to be committed with.
const LINGER: Duration = Duration::from_millis(250);
/// Commit at least every so many events.
const GROUP: usize = 512;
/// After the last commit there is another: what may be stored together with more has waited long enough by then.
const SETTLE: Duration = Duration::from_secs(6);
/// With nothing to do, it is looked this often whether there is: a computer that is to sleep is woken the more seldom.
const IDLE: Duration = Duration::from_secs(2);
/// How often it is looked whether something is too old to be kept.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// How long events wait for what is before them to arrive, so that the vehicle can change its name; and when that is tried
/// again, at first and at last.
const RENAME_PAUSE: Duration = Duration::from_secs(1);
/// More than so many do not arrive within that.
const RENAME_DEPTH: u64 = 2000;
const RENAME_AGAIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// A disk that fails for days must not fill the log.
const LOG_EVERY: Duration = Duration::from_secs(600);

/// All of it or what was there before, power cut or not.
fn write_note(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

/// Events dropped because the queue was full, by class; taken away by the writer once they are explained.
#[derive(Default)]
struct Dropped {
    open: [AtomicU64; 5],
    total: AtomicU64,
}

/// What the outbox is still to be told.
#[derive(Default)]
struct News {
    /// The clock was set.
    fix: Option<ClockFix>,
    /// Other bounds hold.
    bounds: Option<OutboxConfig>,
    /// A small file that is to have this content.
    note: Option<(PathBuf, Vec<u8>)>,
}

/// The engine's end.
pub(super) struct Queue {
    sender: SyncSender<Event>,
    news: Arc<Mutex<News>>,
    dropped: Arc<Dropped>,
    /// Events of class bulk in the queue.
    bulk: Arc<AtomicUsize>,
    live: bool,
}

impl Queue {
    /// Passes an event on. When the queue is full, waits if the source can, else drops and counts.
    pub(super) fn send(&self, event: Event) {
        let is_bulk = event.class == Class::Bulk;
        if is_bulk && self.bulk.fetch_add(1, Ordering::Relaxed) >= BULK && self.live {
            self.bulk.fetch_sub(1, Ordering::Relaxed);
            return self.drop_event(&event);
        }
        let failed = if self.live {
            match self.sender.try_send(event) {
                Ok(()) => return,
                Err(TrySendError::Full(event) | TrySendError::Disconnected(event)) => event,
            }
        } else {
            match self.sender.send(event) {
                Ok(()) => return,
                Err(error) => error.0,
            }
        };
        if is_bulk {
            self.bulk.fetch_sub(1, Ordering::Relaxed);
        }
        self.drop_event(&failed);
    }

    fn drop_event(&self, event: &Event) {
        self.dropped.open[event.class.rank()].fetch_add(1, Ordering::Relaxed);
        self.dropped.total.fetch_add(1, Ordering::Relaxed);
    }

    /// The clock was set.
    pub(super) fn clock_was_set(&self, fix: ClockFix) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).fix = Some(fix);
    }

    /// Other bounds hold for the outbox.
    pub(super) fn bounds_changed(&self, bounds: OutboxConfig) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).bounds = Some(bounds);
    }

    /// A small file is to have this content.
    pub(super) fn note(&self, note: (PathBuf, Vec<u8>)) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).note = Some(note);
    }

    /// Events dropped so far.
    pub(super) fn overflowed(&self) -> u64 {
        self.dropped.total.load(Ordering::Relaxed)
    }
}

/// The outbox's end.
pub(super) struct Writer {
    receiver: Receiver<Event>,
    news: Arc<Mutex<News>>,
    dropped: Arc<Dropped>,
    bulk: Arc<AtomicUsize>,
    outbox: Arc<Mutex<dyn Outbox>>,
    waker: Waker,
    pulse: Pulse,
    last_log: Option<Instant>,
    /// The last commit, unless one has followed that had nothing to do.
    unsettled: Option<Instant>,
    clock: Option<SteadyClock>,
    /// When the name is looked at next, and how long after that.
    rename: (Instant, Duration),
}

impl Writer {
    pub(super) fn new(outbox: Arc<Mutex<dyn Outbox>>, waker: Waker, live: bool, pulse: Pulse) -> (Queue, Self) {
        let (sender, receiver) = sync_channel(QUEUE);
        let dropped = Arc::new(Dropped::default());
        let bulk = Arc::new(AtomicUsize::new(0));
        let news = Arc::new(Mutex::new(News::default()));
        let queue = Queue { sender, news: news.clone(), dropped: dropped.clone(), bulk: bulk.clone(), live };
        (
            queue,
            Self {
                receiver,
                news,
                dropped,
                bulk,
                outbox,
                waker,
                pulse,
                last_log: None,
                unsettled: None,
                clock: live.then(SteadyClock::default),
                rename: (Instant::now(), RENAME_AGAIN.0),
            },
        )
    }

    /// Until the queue's other end is gone and everything is committed.
    pub(super) fn run(mut self) {
        // Events appended and not yet committed, and since when.
        let (mut waiting, mut since) = (0, Instant::now());
        loop {
            self.pulse.beat();
            let timeout = if waiting == 0 { IDLE } else { LINGER.saturating_sub(since.elapsed()) };
            let (mut urgent, mut critical, mut closed) = (false, false, false);
            match self.receiver.recv_timeout(timeout) {
                Ok(event) => {
                    let outbox = self.outbox.clone();
                    let mut outbox = lock(&outbox);
                    let more = std::iter::once(event).chain(std::iter::from_fn(|| self.receiver.try_recv().ok()));
                    let mut failure = None;
                    for event in more.take(GROUP) {
                        if waiting == 0 {
                            since = Instant::now();
                        }
                        waiting += 1;
                        urgent |= event.class <= Class::Alert;
                        critical |= event.class == Class::Critical;
                        if event.class == Class::Bulk {
                            self.bulk.fetch_sub(1, Ordering::Relaxed);
                        }
                        failure = outbox.append(&event).err().or(failure);
                    }
                    drop(outbox);
                    self.log(failure);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => closed = true,
            }
            let news = std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(fix) = news.fix {
                lock(&self.outbox).clock_was_set(fix);
            }
            if let Some((path, content)) = news.note
                && let Err(error) = write_note(&path, &content)
            {
                tracing::error!("{}: cannot be noted: {error}", path.display());
            }
            if let Some(bounds) = news.bounds {
                lock(&self.outbox).configure(bounds);
                // Less may be kept from now on.
                self.unsettled = Some(Instant::now());
            }
            waiting += self.explain_dropped();
            let due = urgent || closed || waiting >= GROUP || since.elapsed() >= LINGER;
            let settle = waiting == 0 && self.unsettled.is_some_and(|at| at.elapsed() >= SETTLE);
            if (waiting > 0 && due) || settle {
                self.unsettled = (!settle).then(Instant::now);
                let committed = lock(&self.outbox).commit();
                // Even if the disk refuses something may have become readable.
                self.waker.notify();
                if critical {
                    self.waker.urgent();
                }
                match committed {
                    Ok(()) => waiting = 0,
                    Err(error) => {
                        // Still in memory: tried again with the next group.
                        since = Instant::now();
                        self.unsettled = Some(since);
                        self.log(Some(error));
                    }
                }
            }
            if closed {
                return;
            }
            if let Some(now_ns) = self.clock.as_mut().and_then(SteadyClock::trusted) {
                lock(&self.outbox).expire(now_ns);
                // Its gap events.
                self.unsettled = Some(Instant::now());
                self.rename(now_ns);
            }
        }
    }

    /// Lets the outbox take the name that is due: events wait in the queue meanwhile, until all before them has arrived.
    fn rename(&mut self, now_ns: u64) {
        let began = Instant::now();
        if began < self.rename.0 || lock(&self.outbox).take_name(now_ns) {
            return;
        }
        let committed = lock(&self.outbox).commit();
        self.log(committed.err());
        self.waker.notify();
        let far = lock(&self.outbox).stat().depth() > RENAME_DEPTH;
        while !lock(&self.outbox).take_name(now_ns) {
            if far || began.elapsed() >= RENAME_PAUSE {
                self.rename = (began + self.rename.1, (self.rename.1 * 2).min(RENAME_AGAIN.1));
                return;
            }
            std::thread::sleep(RENAME_PAUSE / 50);
        }
        self.rename = (began, RENAME_AGAIN.0);
    }

    /// Gives numbers to what the queue dropped, and a gap event that explains them. How many gap events that made.
    fn explain_dropped(&mut self) -> usize {
        let mut explained = 0;
        for class in Class::ALL {
            let count = self.dropped.open[class.rank()].swap(0, Ordering::Relaxed);
            if count > 0 {
                let result = lock(&self.outbox).lost(class, count, LossCause::Overflow);
                self.log(result.err());
                explained += 1;
            }
        }
        explained
    }

    fn log(&mut self, error: Option<OutboxError>) {
        let Some(error) = error else { return };
        if self.last_log.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            self.last_log = Some(Instant::now());
            tracing::error!("{error}; events wait in memory as far as there is room");
        }
    }
}

/// Says what time it is, now and then, if the clock can be trusted: it is plausible, and has not been set for a while, the
/// shorter if it is synchronised.
#[derive(Debug, Default)]
struct SteadyClock {
    /// When it was last asked.
    asked: Option<Instant>,
    /// Wall time minus time since the computer was started, and since when it has been so.
    offset: Option<(u64, Instant)>,
}

impl SteadyClock {
    fn trusted(&mut self) -> Option<u64> {
        if self.asked.is_some_and(|at| at.elapsed() < EXPIRE_EVERY) {
            return None;
        }
        self.asked = Some(Instant::now());
        self.is_steady(wall_ns(), boot_ns(), is_synced(), Instant::now()).then(wall_ns)
    }

    /// Whether it has gone evenly for long enough.
    fn is_steady(&mut self, wall_ns: u64, boot_ns: u64, synced: bool, now: Instant) -> bool {
        const TOLERANCE_NS: u64 = 5_000_000_000;
        let long_enough = Duration::from_secs(if synced { 60 } else { 600 });
        let offset = wall_ns.saturating_sub(boot_ns);
        match self.offset {
            Some((before, since)) if before.abs_diff(offset) <= TOLERANCE_NS => {
                wall_ns >= clock::FLOOR_NS && now.duration_since(since) >= long_enough
            }
            _ => {
                self.offset = Some((offset, now));
                false
            }
        }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
