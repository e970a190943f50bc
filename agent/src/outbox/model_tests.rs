//! Random use, crashes included, against a map of what should be there.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::test_support::*;
use super::*;
use crate::outbox::Outbox;

#[derive(Debug, Clone)]
enum Op {
    Append(Class, usize),
    Commit,
    Ack(Class, usize),
    Reject(Class, usize),
    Lost(Class, u64),
    Rotate,
    Evict,
    Close,
    Crash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Stored,
    /// Acknowledged: may come once more after a crash.
    Done,
    Lost,
}

fn op() -> impl Strategy<Value = Op> {
    let class = || (0..5_usize).prop_map(|rank| Class::from_rank(rank).unwrap());
    prop_oneof![
        12 => (class(), prop_oneof![8 => 150..3000_usize, 1 => 3000..60_000_usize, 1 => Just(70_000)]).prop_map(|(c, n)| Op::Append(c, n)),
        6 => Just(Op::Commit),
        5 => (class(), 0..4_usize).prop_map(|(c, n)| Op::Ack(c, n)),
        1 => (class(), 0..4_usize).prop_map(|(c, n)| Op::Reject(c, n)),
        1 => (class(), 0..9_u64).prop_map(|(c, n)| Op::Lost(c, n)),
        1 => Just(Op::Rotate),
        1 => Just(Op::Evict),
        1 => Just(Op::Close),
        1 => Just(Op::Crash),
    ]
}

struct Model {
    events: BTreeMap<u64, (Class, State)>,
    /// Everything that was received and acknowledged.
    received: Audit,
    /// Something was appended that no commit, close or crash has settled.
    uncommitted: bool,
}

impl Model {
    fn settle(&mut self, to: State) {
        self.uncommitted = false;
        self.events.values_mut().filter(|e| e.1 == State::Pending).for_each(|e| e.1 = to);
    }

    fn check(&self, outbox: &mut SledOutbox) {
        let mut audit = Audit::default();
        let mut classes = BTreeMap::new();
        for class in Class::ALL {
            for batch in batches(outbox, class) {
                audit.take(&batch);
                classes.extend(seen(&batch.payload).iter().map(|e| (e.seq, e.class)));
            }
        }
        for (seq, (class, state)) in &self.events {
            match state {
                State::Stored => assert_eq!(classes.get(seq), Some(class), "{seq} is not there"),
                State::Pending => assert_eq!(classes.get(seq), None, "{seq} is there too early"),
                State::Done | State::Lost => {}
            }
        }
        if !self.uncommitted {
            audit.numbers.extend(&self.received.numbers);
            audit.explained.extend(&self.received.explained);
            audit.prove(outbox.stat().next_seq);
        }
    }
}

fn run(ops: Vec<Op>) {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), super::super::MIN_QUOTA_BYTES);
    let mut model = Model { events: BTreeMap::new(), received: Audit::default(), uncommitted: false };
    for op in ops {
        let nth = |outbox: &mut SledOutbox, class, n| batches(outbox, class).into_iter().nth(n);
        match op {
            Op::Append(class, bytes) => {
                let seq = outbox.append(&event(class, bytes)).unwrap();
                assert!(model.events.keys().next_back().is_none_or(|&last| last < seq), "{seq} was used before");
                model.events.insert(seq, (class, if bytes > 65_536 { State::Lost } else { State::Pending }));
                model.uncommitted = true;
            }
            Op::Commit => {
                outbox.commit().unwrap();
                model.settle(State::Stored);
            }
            Op::Ack(class, n) => {
                if let Some(batch) = nth(&mut outbox, class, n) {
                    model.received.take(&batch);
                    for e in seen(&batch.payload) {
                        model.events.entry(e.seq).and_modify(|e| e.1 = State::Done);
                    }
                    outbox.ack(class, batch.first_seq).unwrap();
                }
            }
            Op::Reject(class, n) => {
                if let Some(batch) = nth(&mut outbox, class, n) {
                    for e in seen(&batch.payload) {
                        model.events.entry(e.seq).and_modify(|e| e.1 = State::Lost);
                    }
                    outbox.reject(class, batch.first_seq, LossCause::Rejected).unwrap();
                    outbox.commit().unwrap();
                    model.settle(State::Stored);
                }
            }
            Op::Lost(class, count) => {
                outbox.lost(class, count, LossCause::Overflow).unwrap();
                outbox.commit().unwrap();
                model.settle(State::Stored);
            }
            Op::Rotate => outbox.rotate().unwrap(),
            Op::Evict => {
                outbox.commit().unwrap();
                model.settle(State::Stored);
                if let Some(class) = outbox.least_important() {
                    let oldest = |k: &super::super::keep::Keep| k.stock[class.rank()].records > 0;
                    let victim = *outbox.keeps.iter().find(|(_, k)| oldest(k)).unwrap().0;
                    for (_, first, entry) in outbox.of_generation(victim).unwrap().iter().filter(|e| e.0 == class) {
                        for n in *first..=entry.last {
                            model.events.entry(n).and_modify(|e| {
                                if e.0 == class {
                                    e.1 = State::Lost
                                }
                            });
                        }
                    }
                    assert!(outbox.make_room().unwrap());
                }
            }
            Op::Close => {
                outbox.close().unwrap();
                model.settle(State::Stored);
                drop(outbox);
                outbox = open_with(dir.path(), super::super::MIN_QUOTA_BYTES);
                assert_eq!(outbox.stat().lost, 0);
            }
            Op::Crash => {
                drop(outbox);
                outbox = open_with(dir.path(), super::super::MIN_QUOTA_BYTES);
                model.settle(State::Lost);
            }
        }
        if !matches!(op, Op::Append(..)) {
            model.check(&mut outbox);
        }
    }
    outbox.commit().unwrap();
    model.settle(State::Stored);
    model.check(&mut outbox);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn random_use_loses_nothing_silently(ops in prop::collection::vec(op(), 1..80)) {
        run(ops);
    }
}
