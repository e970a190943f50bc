//! Random use of an outbox, with notes of what must be true from which operation of the disk on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use outrider::event::{Body, Class, Event, Gap, Identity, LossCause, ModelState};
use outrider::outbox::{Batch, Outbox, OutboxConfig, OutboxError, SledOutbox};
use proptest::prelude::*;
use serde::Deserialize;

use super::shim::Watching;

const NOW: u64 = 1_700_000_000_000_000_000;
/// The least, so that generations end soon.
const QUOTA: u64 = 4 << 20;

pub(crate) fn open(dir: &Path) -> Result<SledOutbox, OutboxError> {
    let identity = Identity { vehicle: "VIN1".into(), boot: "b".into() };
    let config = OutboxConfig { linger: std::time::Duration::ZERO, ..OutboxConfig::new(QUOTA) };
    SledOutbox::open(dir, config, identity, NOW)
}

/// An event of about `bytes` bytes.
pub(crate) fn event(class: Class, bytes: usize) -> Event {
    let reason = "x".repeat(bytes.saturating_sub(150));
    let body = Body::Model(ModelState { name: "m".into(), state: "benched", reason, version: "1".into() });
    Event::new(NOW, class, body)
}

#[derive(Debug, Deserialize)]
struct Seen {
    seq: u64,
    kind: String,
    body: serde_cbor::Value,
}

/// Numbers of a batch's events, and what its gap events explain.
pub(crate) fn contents(batch: &Batch) -> (Vec<u64>, Vec<Gap>) {
    let events = serde_cbor::Deserializer::from_slice(&batch.payload).into_iter::<Seen>();
    let events: Vec<Seen> = events.collect::<Result<_, _>>().unwrap();
    let gap = |e: &Seen| (e.kind == "gap").then(|| serde_cbor::value::from_value(e.body.clone()).unwrap());
    (events.iter().map(|e| e.seq).collect(), events.iter().filter_map(gap).collect())
}

pub(crate) fn batches(outbox: &mut SledOutbox, class: Class) -> Result<Vec<Batch>, OutboxError> {
    let (mut after, mut all) = (0, Vec::new());
    while let Some(batch) = outbox.read(class, after)? {
        assert!(batch.first_seq > after && batch.class == class, "out of order");
        after = batch.first_seq;
        all.push(batch);
    }
    Ok(all)
}

#[derive(Debug, Clone)]
pub(crate) enum Use {
    Append(Class, usize),
    Commit,
    Ack(Class, usize),
    Reject(Class),
    Lost(Class, u64),
    Close,
    /// The gateway comes or goes.
    Link(bool),
    /// The process ends without closing it.
    Crash,
}

pub(crate) fn any_use() -> impl Strategy<Value = Use> {
    let class = || (0..5_usize).prop_map(|rank| Class::from_rank(rank).unwrap());
    let bytes = prop_oneof![8 => 150..3000_usize, 2 => 3000..60_000_usize, 1 => Just(70_000)];
    prop_oneof![
        12 => (class(), bytes).prop_map(|(class, bytes)| Use::Append(class, bytes)),
        6 => Just(Use::Commit),
        5 => (class(), 0..4_usize).prop_map(|(class, nth)| Use::Ack(class, nth)),
        1 => class().prop_map(Use::Reject),
        1 => (class(), 1..9_u64).prop_map(|(class, count)| Use::Lost(class, count)),
        1 => Just(Use::Close),
        3 => any::<bool>().prop_map(Use::Link),
        1 => Just(Use::Crash),
    ]
}

/// Positions are counts of operations of the disk: what is noted with one holds for every cut at it or behind it.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// When each number was given out.
    given: BTreeMap<u64, usize>,
    /// When a commit that holds it had returned.
    committed: BTreeMap<u64, usize>,
    /// When the gateway got it. It may go from then on.
    got: BTreeMap<u64, usize>,
    /// What gap events explained that the gateway got, and when.
    explained: Vec<(usize, Gap)>,
}

/// Uses an outbox and takes notes. When it refuses, what was not done may be tried again.
pub(crate) struct Driver<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) watching: &'a Watching,
    pub(crate) notes: Notes,
    /// Appended, and not known to be stored.
    pending: BTreeMap<u64, Class>,
    /// The same of what may wait in memory until the link goes.
    held: BTreeSet<u64>,
    link: bool,
    outbox: Option<SledOutbox>,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(dir: &'a Path, watching: &'a Watching) -> Self {
        Self {
            dir,
            watching,
            notes: Notes::default(),
            pending: BTreeMap::new(),
            held: BTreeSet::new(),
            link: false,
            outbox: None,
        }
    }

    pub(crate) fn run(&mut self, uses: &[Use]) -> Result<(), OutboxError> {
        uses.iter().try_for_each(|it| self.step(it))
    }

    /// The outbox, opened if it is not.
    fn outbox(&mut self) -> Result<&mut SledOutbox, OutboxError> {
        match &mut self.outbox {
            Some(outbox) => Ok(outbox),
            closed => Ok(closed.insert(open(self.dir)?)),
        }
    }

    pub(crate) fn step(&mut self, it: &Use) -> Result<(), OutboxError> {
        self.outbox()?;
        let Some(outbox) = &mut self.outbox else { return Ok(()) };
        match it {
            Use::Append(class, bytes) => {
                let seq = outbox.append(&event(*class, *bytes))?;
                self.notes.given.insert(seq, self.watching.count());
                if *bytes <= 65_536 {
                    self.pending.insert(seq, *class);
                }
            }
            Use::Commit => outbox.commit()?,
            Use::Ack(class, nth) => {
                if let Some(batch) = batches(outbox, *class)?.into_iter().nth(*nth) {
                    self.notes.receive(&batch, self.watching.count());
                    outbox.ack(*class, batch.first_seq)?;
                }
            }
            Use::Reject(class) => {
                if let Some(batch) = batches(outbox, *class)?.into_iter().next() {
                    // They may go from here on; the gap event that explains them is looked for with all holes.
                    for seq in contents(&batch).0 {
                        self.notes.committed.remove(&seq);
                        self.pending.remove(&seq);
                        self.held.remove(&seq);
                    }
                    outbox.reject(*class, batch.first_seq, LossCause::Rejected)?;
                }
            }
            Use::Lost(class, count) => outbox.lost(*class, *count, LossCause::Overflow)?,
            Use::Close => {
                outbox.close()?;
                self.outbox = None;
                self.link = false;
            }
            Use::Link(up) => {
                self.link = *up;
                outbox.link(*up)?;
                if !up {
                    let at = self.watching.count();
                    self.notes.committed.extend(std::mem::take(&mut self.held).into_iter().map(|seq| (seq, at)));
                }
            }
            Use::Crash => {
                self.outbox = None;
                self.link = false;
                self.pending.clear();
                self.held.clear();
            }
        }
        if matches!(it, Use::Commit | Use::Close) {
            let at = self.watching.count();
            for (seq, class) in std::mem::take(&mut self.pending) {
                if self.link && class > Class::Alert {
                    self.held.insert(seq);
                } else {
                    self.notes.committed.insert(seq, at);
                }
            }
            if matches!(it, Use::Close) {
                self.notes.committed.extend(std::mem::take(&mut self.held).into_iter().map(|seq| (seq, at)));
            }
        }
        Ok(())
    }
}

impl Notes {
    fn receive(&mut self, batch: &Batch, at: usize) {
        let (numbers, gaps) = contents(batch);
        self.got.extend(numbers.into_iter().map(|seq| (seq, at)));
        self.explained.extend(gaps.into_iter().map(|gap| (at, gap)));
    }

    /// Opens what a cut at `at` has left, and holds it against the notes.
    ///
    /// `may_go`: causes for which what was committed may be gone.
    pub(crate) fn check(&self, dir: &Path, at: usize, may_go: &[LossCause], what: &str) {
        let mut outbox = open(dir).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (mut there, mut gaps) = (BTreeSet::new(), Vec::new());
        for class in Class::ALL {
            for batch in batches(&mut outbox, class).unwrap() {
                let (numbers, explained) = contents(&batch);
                there.extend(numbers);
                gaps.extend(explained);
            }
        }
        let got = |seq: &u64| self.got.get(seq).is_some_and(|when| *when <= at);
        let known = self.explained.iter().filter(|(when, _)| *when <= at).map(|(_, gap)| gap);
        let known: Vec<&Gap> = gaps.iter().chain(known).collect();
        let excused = |seq: u64| {
            let has = |gap: &&&Gap| gap.ranges.iter().any(|(first, last)| (*first..=*last).contains(&seq));
            known.iter().filter(has).any(|gap| may_go.contains(&gap.cause))
        };
        for (seq, when) in &self.committed {
            if *when <= at && !got(seq) {
                assert!(there.contains(seq) || excused(*seq), "{what}: {seq} was committed and is gone, {gaps:?}");
            }
        }
        let next = outbox.append(&event(Class::Critical, 200)).unwrap();
        let last = self.given.iter().filter(|(_, when)| **when <= at).map(|(seq, _)| *seq).max().unwrap_or(0);
        assert!(next > last, "{what}: {next} is given out again");
        let ranges: Vec<(u64, u64)> = known.iter().flat_map(|gap| gap.ranges.iter().copied()).collect();
        if let Some(hole) = first_hole(
            ranges
                .iter()
                .copied()
                .chain(there.iter().copied().chain(self.got.keys().copied().filter(got)).map(|seq| (seq, seq))),
            next,
        ) {
            panic!("{what}: {hole} is a hole that nothing explains; next is {next}, {ranges:?}");
        }
        // It goes on.
        outbox.commit().unwrap();
        outbox.close().unwrap();
        drop(outbox);
        let mut outbox = open(dir).unwrap();
        let events =
            batches(&mut outbox, Class::Critical).unwrap().iter().any(|batch| contents(batch).0.contains(&next));
        assert!(events && outbox.append(&event(Class::Critical, 200)).unwrap() > next, "{what}: it does not go on");
    }
}

/// The first number from 1 to `next` that none of the ranges has.
fn first_hole(ranges: impl Iterator<Item = (u64, u64)>, next: u64) -> Option<u64> {
    let mut ranges: Vec<(u64, u64)> = ranges.collect();
    ranges.sort_unstable();
    let mut covered = 0;
    for (first, last) in ranges {
        if first > covered + 1 {
            break;
        }
        covered = covered.max(last);
    }
    (covered + 1 < next).then_some(covered + 1)
}
