//! Recordings on their way out: pieces of a finished file as events of class bulk.
//!
//! The outbox is to carry events, not to hold a second copy of what is on disk already. So a few pieces are given to it, and the
//! next ones when those have been acknowledged; only then is it noted that they were sent. After a restart it goes on from
//! there, once what it was given before has left the outbox: some pieces come twice, none is left out. When the outbox had to drop
//! something meanwhile, they are given once more.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::file::About;
use super::store::Store;
use crate::event::{Body, Class, Event, Moment, RecordingChunk, Regions};
use crate::outbox::{Outbox, OutboxStat};

/// Bytes in a piece: the outbox likes records of up to 16 KB.
pub const CHUNK: usize = 12 << 10;
/// Pieces in the outbox at one time.
const WINDOW: u32 = 32;
/// How often it is looked what has become of them; less and less often while nothing changes, as without a gateway.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32));
/// When the outbox has dropped something, it is waited so long before the same is tried, at first and at last.
const AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1200));

/// Pieces that the outbox has.
#[derive(Debug)]
struct Window {
    id: String,
    /// Pieces up to here.
    end: u32,
    /// Number of the last one.
    last_seq: u64,
    /// What the outbox had lost before.
    lost: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Upload {
    window: Option<Window>,
    /// Numbers up to this one may be of pieces that were given before a restart, or before something failed.
    barrier: Option<u64>,
    /// The first number that waited when it was last looked.
    waiting: Option<u64>,
    not_before: Option<Instant>,
    pause: Duration,
    look: Duration,
}

impl Upload {
    pub(super) fn new() -> Self {
        Self { window: None, barrier: None, waiting: None, not_before: None, pause: AGAIN.0, look: LOOK.0 }
    }

    /// When to look again, if there is something to be sent. `open`: a recording that may still go on, and has to wait;
    /// `vehicle`: whose recordings are sent. One that was made under another name would tie both together.
    pub(super) fn look(&self, store: &Store, open: Option<&str>, vehicle: &str) -> Option<Duration> {
        let works = self.window.is_some() || self.next(store, open, vehicle).is_some();
        works.then_some(self.look)
    }

    /// There was nothing to be sent: what comes does not wait long.
    pub(super) fn look_soon(&mut self) {
        self.look = LOOK.0;
    }

    /// Looks what has become of the pieces that were given, and gives the next. True: there is something new in the outbox.
    pub(super) fn step(
        &mut self,
        store: &mut Store,
        outbox: &mut dyn Outbox,
        open: Option<&str>,
        vehicle: &str,
        (moment, regions): (Moment, Option<&Regions>),
    ) -> bool {
        let stat = outbox.stat();
        let barrier = *self.barrier.get_or_insert(stat.next_seq.saturating_sub(1));
        let last_seq = self.window.as_ref().map_or(barrier, |window| window.last_seq);
        let waiting = first_waiting(outbox, &stat, last_seq);
        let moves = std::mem::replace(&mut self.waiting, waiting) != waiting;
        self.look = if moves { LOOK.0 } else { (self.look * 2).min(LOOK.1) };
        if waiting.is_some() {
            return false;
        }
        if let Some(window) = self.window.take() {
            if stat.lost == window.lost {
                self.pause = AGAIN.0;
                if let Err(error) = store.sent(&window.id, window.end) {
                    tracing::error!("recording {}: cannot note what was sent: {error}", window.id);
                }
            } else {
                tracing::warn!("recording {}: some of it may not have arrived; it is sent once more", window.id);
                self.wait();
            }
        }
        if self.not_before.is_some_and(|time| Instant::now() < time) {
            return false;
        }
        let Some(about) = self.next(store, open, vehicle) else { return false };
        let (id, end) = (about.id.clone(), about.chunks().min(about.sent.saturating_add(WINDOW)));
        match give(store, about, end, outbox, moment, regions) {
            Ok(last_seq) => {
                self.window = Some(Window { id, end, last_seq, lost: stat.lost });
                self.look = LOOK.0;
            }
            Err(error) => {
                tracing::error!("recording {id} cannot be sent: {error}; it is tried again");
                // Some of it may have been given.
                self.barrier = None;
                self.wait();
            }
        }
        true
    }

    /// The earliest that has not been sent as a whole.
    fn next<'a>(&self, store: &'a Store, open: Option<&str>, vehicle: &str) -> Option<&'a About> {
        store.all.iter().find(|about| {
            let waits = about.sent < about.chunks() && about.vehicle == vehicle;
            waits && open != Some(&*about.id)
        })
    }

    /// It did not work, and may not the next time.
    fn wait(&mut self) {
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(AGAIN.1);
    }
}

/// The first number that waits in the outbox, if it is one up to `last_seq`. What else is bulk may come all the time.
fn first_waiting(outbox: &mut dyn Outbox, stat: &OutboxStat, last_seq: u64) -> Option<u64> {
    let rank = Class::Bulk.rank();
    if stat.pending[rank] > 0 {
        return Some(0);
    }
    if stat.events[rank] == 0 {
        return None;
    }
    match outbox.read(Class::Bulk, 0) {
        Ok(Some(first)) => Some(first.first_seq).filter(|first_seq| *first_seq <= last_seq),
        // It cannot be read now.
        Ok(None) | Err(_) => Some(0),
    }
}

/// The number of the last piece.
fn give(
    store: &Store,
    about: &About,
    end: u32,
    outbox: &mut dyn Outbox,
    moment: Moment,
    regions: Option<&Regions>,
) -> Result<u64, Box<dyn std::error::Error>> {
    let file = File::open(store.path(&about.id))?;
    let mut last_seq = 0;
    for index in about.sent..end {
        let at = u64::from(index) * CHUNK as u64;
        let length = usize::try_from(about.bytes - at).unwrap_or(CHUNK).min(CHUNK);
        let mut data = vec![0; length];
        file.read_exact_at(&mut data, at)?;
        let (id, digest) = (about.id.as_str().into(), about.digest.as_str().into());
        let body = Body::RecordingChunk(RecordingChunk { id, of: about.chunks(), data, index, digest });
        let event = Event { clock: moment.clock, ..Event::new(moment.time_ns, Class::Bulk, body) };
        last_seq = outbox.append(&Event { regions: regions.cloned(), campaign: about.campaign.clone(), ..event })?;
    }
    outbox.commit()?;
    Ok(last_seq)
}
