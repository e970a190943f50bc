//! The flight recorder: the raw frames of all buses around what has happened.
//!
//! The constraint is a power cut a tenth of a second after a crash. So the seconds before are not merely kept: they are kept as
//! they go to disk, as lines of a candump log, compressed piece by piece, and what is left to do is to write them and to wait
//! for the disk.
//!
//! ```text
//!   engine thread            press thread                     recorder thread
//!   frames ─▶ block ─▶ lines ─▶ gzip member ─▶ ring (memory) ─▶ DIR/ID.log.gz ─▶ DIR/ID.json
//!   trigger ─ at once, with the block so far ──────────────────▶ header, members from the ring, fsync
//!                                                               members as they come, fsync each time
//! ```
//!
//! **Format.** `ID.log.gz` is a sequence of gzip members, each of whole lines, so that `zcat` gives a candump log; lines with `#`
//! are comments. The first member has only such:
//!
//! ```text
//! # outrider recording 1
//! # vehicle truck-17
//! # boot 7a34…
//! # dbc can0 powertrain.dbc sha256 9c1e…
//! # model demo-vehicle 3 sha256 41d0…
//! # trigger 1763899200123456789 crash critical frame 81233
//! # campaign cold-start
//! # score profile 0.931
//! ```
//!
//! Later triggers and times in which frames are missing are comments where they belong. `ID.json` is written when the recording is
//! finished, and tells its size and digest and how much of it has been sent.
//!
//! **Recovery.** A file without its `ID.json` was cut by a power failure: what is behind its last whole member is cut off,
//! and it is finished as it is. A directory that cannot be used is tried again at each trigger and once a minute; triggers until then
//! are told as refused.
//!
//! **Bounds.** The ring has its bytes and seconds, a recording its length, the directory its quota, the disk a number of bytes a day.
//! What makes room is told by events; what of it was not sent yet goes last, and the least important class first.

pub mod assemble;
mod disk;
mod file;
mod member;
mod press;
mod ring;
mod store;
#[cfg(test)]
mod tests;
mod upload;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use can_decoders::{BusId, CanId, Frame};

use crate::engine::{BACK_NS, Record, RecordTrigger};
use crate::event::{Class, Event, Identity};
use crate::outbox::Outbox;
use crate::uplink::Waker;
use disk::{Disk, Ends};
pub use file::{About, ReadError, Recorded};
pub use press::Settings;
use press::{Block, Item, Press};
use ring::Ring;
pub use store::{Listed, StoreError, list};
pub use upload::CHUNK;

/// Frames in a block, and how many blocks there are.
const BLOCK: usize = 512;
const BLOCKS: usize = 8;
/// Frames wait for their block to be filled for so long, nanoseconds of the engine's time.
const AGE_NS: u64 = 500_000_000;
/// What waits for the disk.
const ORDERS: usize = 64;
/// Events that wait to be taken.
const TOLD: usize = 64;
/// Triggers in a second that do not wait for their block to be filled.
const HURRIES: u32 = 8;
/// Notes in a block, at most.
const NOTES: usize = 16;
/// What waits for the press, beside the blocks.
const ITEMS: usize = BLOCKS + 8;

/// Bounds that may change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Seconds in the ring.
    pub seconds: u64,
    /// Bytes in the directory.
    pub quota_bytes: u64,
    /// The longest recording, seconds.
    pub longest_s: u64,
    /// Bytes that may be written in a day; recordings of class critical are made all the same.
    pub write_per_day: u64,
    /// Recordings are sent.
    pub upload: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { seconds: 30, quota_bytes: 256 << 20, longest_s: 300, write_per_day: 1 << 30, upload: true }
    }
}

impl Bounds {
    /// What the ring keeps, nanoseconds.
    pub(crate) fn keep_ns(&self) -> u64 {
        // Whole blocks, and one that comes before the disk's thread has looked.
        self.seconds * 1_000_000_000 + 2 * AGE_NS
    }
}

/// Where and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecorderConfig {
    /// Its directory.
    pub dir: PathBuf,
    /// Bytes in the ring.
    pub memory_bytes: usize,
    /// The other bounds.
    pub bounds: Bounds,
}

/// A trigger on its way to the disk.
#[derive(Debug, Clone, PartialEq)]
struct Trigger {
    time_ns: u64,
    name: Arc<str>,
    class: Class,
    record: Record,
    campaign: Option<Arc<str>>,
    /// Lines for the recording.
    lines: Vec<String>,
}

/// What the threads tell each other beside what is in their queues.
#[derive(Debug, Default)]
struct Shared {
    /// Something is being written, or may still go on.
    recording: AtomicBool,
    /// Triggers that the disk's thread has not done with.
    triggers: AtomicU64,
    /// The disk's thread was told that there is more, and has not looked yet.
    more: AtomicBool,
    /// The engine's time, while something is written.
    now_ns: AtomicU64,
    /// Frames that did not get into the ring, as the press did not keep up.
    missed: AtomicU64,
    /// Triggers that led to nothing, as the disk did not keep up.
    refused: AtomicU64,
    /// The directory cannot be used.
    closed: AtomicBool,
}

impl Shared {
    /// Whether the disk is to be told of what comes.
    fn wanted(&self) -> bool {
        // In this order: a trigger is done once what it begins is known to be written.
        self.triggers.load(Ordering::Acquire) > 0 || self.recording.load(Ordering::Acquire)
    }

    /// A trigger has led to what it leads to.
    fn done(&self) {
        self.triggers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The engine's end.
#[derive(Debug)]
pub struct Recorder {
    block: Block,
    /// Time of the block's first frame.
    since_ns: u64,
    items: SyncSender<Item>,
    empty: Receiver<Vec<Frame>>,
    events: Receiver<Event>,
    shared: Arc<Shared>,
    is_live: bool,
    /// Frames that were not recorded, and that no block tells of yet.
    lagged: u64,
    threads: [JoinHandle<()>; 2],
    told_ns: u64,
    /// A second, and how many triggers it has had.
    hurried: (u64, u32),
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Item")
    }
}

/// Why there is no recorder.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// Another process has the directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no thread for it.
    #[error("cannot start a thread of the recorder: {0}")]
    Thread(#[source] std::io::Error),
}

impl Recorder {
    /// Opens the directory, finishes what a power cut has left unfinished, and takes all memory. A directory that the system
    /// refuses is tried again ([`Self::is_closed`]). A source that is not live is held
    /// up rather than recorded with holes. Without an outbox, nothing is sent.
    ///
    /// # Errors
    /// When another process has the directory, or there are no threads.
    pub fn start(
        config: &RecorderConfig,
        settings: Settings,
        identity: Identity,
        outside: Option<(Arc<Mutex<dyn Outbox>>, Waker)>,
        is_live: bool,
    ) -> Result<Self, RecorderError> {
        let (items, received) = sync_channel(ITEMS);
        let (back, empty) = sync_channel(BLOCKS);
        // A source that is held up is not ahead of the disk by more than what the ring has to spare.
        let (orders, ordered) = sync_channel(if is_live { ORDERS } else { 0 });
        let (tell, events) = sync_channel(TOLD);
        let shared = Arc::new(Shared::default());
        let ring = Arc::new(Mutex::new(Ring::new(config.memory_bytes, settings.bounds.keep_ns())));
        let disk = Disk::open(
            config,
            &settings,
            Ends { ring: ring.clone(), ordered, tell, shared: shared.clone(), outside, identity, is_live },
        )?;
        for _ in 1..BLOCKS {
            let _ = back.try_send(room());
        }
        let press = Press {
            items: received,
            back,
            ring,
            orders,
            shared: shared.clone(),
            settings: Box::new(settings),
            is_live,
        };
        let spawn = |name: &str, job: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.into()).spawn(job).map_err(RecorderError::Thread)
        };
        let threads =
            [spawn("press", Box::new(move || press.run()))?, spawn("recorder", Box::new(move || disk.run()))?];
        Ok(Self {
            block: Block { frames: room(), ..Block::default() },
            since_ns: 0,
            items,
            empty,
            events,
            shared,
            is_live,
            lagged: 0,
            threads,
            told_ns: 0,
            hurried: (0, 0),
        })
    }

    /// Takes a frame, before the engine does: it is in what the engine asks for.
    pub fn frame(&mut self, frame: &Frame) {
        // What is before a clock is set back is not in one block with what comes.
        let back = frame.time_ns.saturating_add(BACK_NS) < self.since_ns;
        if self.block.frames.len() == BLOCK || back {
            self.hand_over();
        }
        // No empty block has come back in time.
        if !self.take_block() {
            self.lag(1);
            return;
        }
        if self.block.frames.is_empty() {
            self.since_ns = frame.time_ns;
        }
        self.block.frames.push(*frame);
    }

    /// Something that whoever reads the recording should know, and how many frames are missing.
    pub fn note(&mut self, text: String, missed: u64) {
        self.block.missed += missed;
        if self.block.notes.len() < NOTES {
            self.block.notes.push(text);
        }
    }

    /// Whether there is a block.
    fn take_block(&mut self) -> bool {
        if self.block.frames.capacity() == 0 {
            let frames = if self.is_live { self.empty.try_recv().ok() } else { self.empty.recv().ok() };
            self.block.frames = frames.unwrap_or_default();
        }
        self.block.frames.capacity() > 0
    }

    fn lag(&mut self, frames: u64) {
        self.lagged += frames;
        self.shared.missed.fetch_add(frames, Ordering::Relaxed);
    }

    fn hand_over(&mut self) {
        if self.block.frames.is_empty() {
            return;
        }
        if self.lagged > 0 {
            let lagged = std::mem::take(&mut self.lagged);
            self.note(format!("missed {lagged} frames: the recorder did not keep up"), lagged);
        }
        let block = std::mem::take(&mut self.block);
        self.pass(Item::Frames(block));
        self.take_block();
    }

    /// Something has happened that is to be recorded.
    pub fn trigger(&mut self, trigger: &RecordTrigger<'_>) {
        self.hurry(trigger.time_ns);
        let RecordTrigger { time_ns, name, class, record, frame, campaign, scores } = trigger;
        let mut lines = vec![format!("# trigger {time_ns} {} {class} frame {frame}", one_line(name))];
        lines.extend(campaign.iter().map(|name| format!("# campaign {}", one_line(name))));
        lines.extend(scores.iter().map(|(model, score)| format!("# score {} {score}", one_line(model))));
        let campaign = campaign.clone();
        let trigger =
            Trigger { campaign, time_ns: *time_ns, name: Arc::clone(name), class: *class, record: *record, lines };
        // From here on the disk is to be told of what comes; the time that was told last may be that of another clock.
        self.shared.now_ns.store(*time_ns, Ordering::Relaxed);
        self.shared.triggers.fetch_add(1, Ordering::AcqRel);
        self.pass(Item::Trigger(Box::new(trigger)));
    }

    /// What is there goes to the disk at once; of triggers that come all the time, what comes with the next block.
    fn hurry(&mut self, now_ns: u64) {
        if now_ns.abs_diff(self.hurried.0) >= 1_000_000_000 {
            self.hurried = (now_ns, 0);
        }
        self.hurried.1 += 1;
        if self.hurried.1 <= HURRIES {
            self.hand_over();
        }
    }

    /// A batch of frames is through, and it is `now_ns`.
    pub fn advance(&mut self, now_ns: u64) {
        if !self.block.frames.is_empty() && now_ns.abs_diff(self.since_ns) >= AGE_NS {
            self.hand_over();
        }
        if self.shared.wanted() && now_ns.abs_diff(self.told_ns) >= AGE_NS {
            self.told_ns = now_ns;
            self.pass(Item::Time(now_ns));
        }
    }

    /// Other settings hold from here on.
    pub fn change(&mut self, settings: Settings) {
        self.hand_over();
        self.pass(Item::Change(Box::new(settings)));
    }

    fn pass(&mut self, item: Item) {
        match (self.is_live, item) {
            (false, item) => {
                let _ = self.items.send(item);
            }
            (true, item) => match self.items.try_send(item) {
                Err(TrySendError::Full(Item::Trigger(_))) => {
                    self.shared.refused.fetch_add(1, Ordering::Relaxed);
                    self.shared.done();
                }
                Err(TrySendError::Full(Item::Frames(mut block))) => {
                    self.lag(block.frames.len() as u64);
                    block.frames.clear();
                    // What it has to say is said by the next.
                    self.block = block;
                }
                // It cannot be left out; the press has not much to do before it.
                Err(TrySendError::Full(item @ Item::Change(_))) => {
                    let _ = self.items.send(item);
                }
                Ok(()) | Err(_) => {}
            },
        }
    }

    /// What there is to tell.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        self.events.try_iter()
    }

    /// Frames that did not get into the ring, and triggers that led to nothing.
    pub fn dropped(&self) -> [u64; 2] {
        [&self.shared.missed, &self.shared.refused].map(|count| count.load(Ordering::Relaxed))
    }

    /// Whether the directory cannot be used, so that nothing is recorded.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Writes what is there and finishes what is being recorded. Gives what there is to tell.
    pub fn finish(mut self) -> Vec<Event> {
        self.hand_over();
        let Self { items, events, threads, .. } = self;
        drop(items);
        let mut rest = Vec::new();
        // The threads end when the queue before them has: what they tell has to have room meanwhile.
        rest.extend(events.iter());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the recorder failed");
            }
        }
        rest
    }
}

/// Room for a block, which is there: memory that was not written to is not.
fn room() -> Vec<Frame> {
    let frame = CanId::standard(0).and_then(|id| Frame::remote(0, BusId(0), id, 0));
    let mut frames: Vec<Frame> = frame.into_iter().flat_map(|frame| std::iter::repeat_n(frame, BLOCK)).collect();
    frames.clear();
    frames
}

/// Names have no line ends in recordings.
fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() || c.is_whitespace() { '_' } else { c }).collect()
}
