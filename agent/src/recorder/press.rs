//! The thread that makes the ring: frames to text, text to members.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

use can_decoders::Frame;
use can_decoders::log::candump_line;

use super::disk::{Order, Terms};
use super::member::Encoder;
use super::ring::{Ring, Span};
use super::{Shared, Trigger};
use crate::engine::{ANY_BUS, Catalog, MessageId};
use crate::event::Regions;

/// From the engine's thread, in the order of time.
pub(super) enum Item {
    Frames(Block),
    Trigger(Box<Trigger>),
    /// So late it is; told while something is recorded.
    Time(u64),
    Change(Box<Settings>),
}

/// Frames, and what is to be said of those that are missing before them.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) frames: Vec<Frame>,
    pub(super) notes: Vec<String>,
    pub(super) missed: u64,
}

/// What a configuration says of recordings.
#[derive(Debug)]
pub struct Settings {
    /// The buses.
    pub catalog: Catalog,
    /// Messages that are left out.
    pub hidden: HashSet<MessageId>,
    /// Lines for the header, without the `#`: what the recording is to be read with.
    pub about: Vec<String>,
    /// The regions whose gateways may have recordings; `None`: all.
    pub regions: Option<Regions>,
    /// Bounds.
    pub bounds: super::Bounds,
}

/// See the module's documentation.
pub(super) struct Press {
    pub(super) items: Receiver<Item>,
    /// Blocks that are empty again.
    pub(super) back: SyncSender<Vec<Frame>>,
    pub(super) ring: Arc<Mutex<Ring>>,
    pub(super) orders: SyncSender<Order>,
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Box<Settings>,
    pub(super) is_live: bool,
}

impl Press {
    /// Until the engine's thread has ended.
    pub(super) fn run(mut self) {
        let mut encoder = Encoder::new();
        let (mut text, mut member) = (Vec::new(), Vec::new());
        while let Ok(item) = self.items.recv() {
            match item {
                Item::Frames(Block { mut frames, notes, missed }) => {
                    text.clear();
                    notes.iter().for_each(|note| text.extend(format!("# {note}\n").bytes()));
                    let written = self.write(&frames, &mut text);
                    member.clear();
                    if let (Some((first_ns, last_ns)), Ok(())) = (span(&frames), encoder.encode(&text, &mut member)) {
                        self.ring().push(&member, Span { first_ns, last_ns, frames: written, missed });
                    }
                    frames.clear();
                    let _ = self.back.try_send(frames);
                    self.more();
                }
                Item::Trigger(trigger) => self.order(Order::Trigger(trigger)),
                Item::Time(now_ns) => {
                    self.shared.now_ns.store(now_ns, Ordering::Relaxed);
                    self.more();
                }
                Item::Change(settings) => {
                    // It cannot be left out: whoever holds it up holds up recordings only.
                    let _ = self.orders.send(Order::Change(Terms::of(&settings)));
                    // What is there may have frames that are hidden from now on.
                    if !settings.hidden.is_empty() {
                        self.ring().clear();
                    }
                    self.ring().set_keep(settings.bounds.keep_ns());
                    self.settings = settings;
                }
            }
        }
    }

    /// One is enough until the disk's thread has looked; a source that is held up is held up by it.
    fn more(&self) {
        if self.shared.wanted() && (!self.shared.more.swap(true, Ordering::AcqRel) || !self.is_live) {
            self.order(Order::More);
        }
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the lines of a block, and counts them.
    fn write(&self, frames: &[Frame], text: &mut Vec<u8>) -> u32 {
        let Settings { catalog, hidden, .. } = &*self.settings;
        let mut count = 0;
        for frame in frames {
            let Some(place) = catalog.route(frame.bus) else { continue };
            let bus = &catalog.buses()[place];
            if !hidden.is_empty()
                && let Some(message) = bus.plan.find(frame.id)
                && hidden.contains(&catalog.message_id(place, message))
            {
                continue;
            }
            // Memory takes it.
            let _ = if &*bus.name == ANY_BUS {
                candump_line(text, &format!("can{}", frame.bus.0), frame)
            } else {
                candump_line(text, &bus.name, frame)
            };
            count += 1;
        }
        count
    }

    /// The disk's thread may be stuck on the disk; the ring goes on. A recording is not waited for.
    fn order(&self, order: Order) {
        let (order, why) = if self.is_live {
            match self.orders.try_send(order) {
                Ok(()) => return,
                Err(TrySendError::Full(order)) => (order, "the disk takes too long"),
                Err(TrySendError::Disconnected(order)) => (order, "the recorder has failed"),
            }
        } else {
            match self.orders.send(order) {
                Ok(()) => return,
                Err(error) => (error.0, "the recorder has failed"),
            }
        };
        match order {
            // The next block tells it again.
            Order::More => self.shared.more.store(false, Ordering::Release),
            Order::Change(_) => {}
            Order::Trigger(trigger) => self.refused(&trigger, why),
        }
    }

    fn refused(&self, trigger: &Trigger, why: &str) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        self.shared.done();
        tracing::error!("no recording for {}: {why}", trigger.name);
    }
}

fn span(frames: &[Frame]) -> Option<(u64, u64)> {
    let times = || frames.iter().map(|frame| frame.time_ns);
    Some((times().min()?, times().max()?))
}
