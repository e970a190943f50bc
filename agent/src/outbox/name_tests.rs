use std::path::Path;
use std::time::Duration;

use super::super::test_support::{QUOTA, batches, config, event, seen};
use super::super::{Outbox, OutboxConfig};
use super::*;
use crate::event::{Class, Event, LossCause, Regions};
use crate::privacy::{Naming, Pseudonyms};

const DAY_NS: u64 = 86_400_000_000_000;
const TODAY: u64 = 21_000 * DAY_NS;
const ALWAYS: u64 = 50;

fn naming(pseudonymous: bool) -> Naming {
    let plain = Identity { vehicle: "VIN1".into(), boot: "b".into() };
    if !pseudonymous {
        return plain.into();
    }
    let pseudonyms = Pseudonyms::new(&[7; 32], Some(Duration::from_secs(86_400))).unwrap();
    Naming::pseudonymous(plain, pseudonyms.into())
}

fn open(dir: &Path, naming: Naming, now_ns: u64) -> SledOutbox {
    SledOutbox::open(dir, config(QUOTA), naming, now_ns).unwrap()
}

/// Appends an alert; acknowledges all that is there if `arrives`.
fn use_it(outbox: &mut SledOutbox, arrives: bool) -> u64 {
    let seq = outbox.append(&event(Class::Alert, 200)).unwrap();
    outbox.commit().unwrap();
    if arrives {
        for class in Class::ALL {
            for batch in batches(outbox, class) {
                outbox.ack(class, batch.first_seq).unwrap();
            }
        }
    }
    seq
}

#[test]
fn the_name_changes_when_all_under_the_old_one_has_arrived() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path(), naming(true), TODAY);
    let first = outbox.current().clone();
    assert!(first.vehicle.starts_with("p-") && &*first.boot != "b");
    assert!(outbox.take_name(TODAY + DAY_NS / 2), "the day is not over");
    let before = use_it(&mut outbox, false);
    assert!(!outbox.take_name(TODAY + DAY_NS), "one has not arrived");
    assert_eq!(*outbox.current(), first);

    let last = use_it(&mut outbox, true);
    assert_eq!(last, before + 1);
    assert!(outbox.take_name(TODAY + DAY_NS));
    let second = outbox.current().clone();
    assert!(second.vehicle != first.vehicle && second.boot != first.boot);
    let next = use_it(&mut outbox, false);
    assert!((JUMP..2 * JUMP + ALWAYS).contains(&(next - last)), "{last} {next}");
    assert!(outbox.take_name(TODAY + DAY_NS));
    let text = batches(&mut outbox, Class::Alert).remove(0).payload;
    let has = |name: &str| memchr::memmem::find(&text, name.as_bytes()).is_some();
    assert!(has(&second.vehicle) && !has(&first.vehicle) && !has("VIN1"));
}

#[test]
fn neither_a_restart_nor_a_crash_forgets_the_name_or_speaks_of_old_numbers() {
    for clean in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = open(dir.path(), naming(true), TODAY);
        use_it(&mut outbox, true);
        assert!(outbox.take_name(TODAY + DAY_NS));
        let (name, from) = (outbox.current().vehicle.clone(), outbox.stat().next_seq);
        use_it(&mut outbox, false);
        if clean {
            outbox.close().unwrap();
        }
        drop(outbox);
        // The day after that: what waits keeps its name.
        let mut outbox = open(dir.path(), naming(true), TODAY + 2 * DAY_NS);
        assert_eq!(outbox.current().vehicle, name, "clean: {clean}");
        use_it(&mut outbox, false);
        for batch in batches(&mut outbox, Class::Status) {
            for gap in seen(&batch.payload).iter().filter_map(super::super::test_support::Seen::gap) {
                assert!(gap.ranges.iter().all(|(first, _)| *first >= from), "{gap:?} of before {from}");
            }
        }
        use_it(&mut outbox, true);
        outbox.close().unwrap();
        drop(outbox);
        let outbox = open(dir.path(), naming(true), TODAY + 2 * DAY_NS);
        assert_ne!(outbox.current().vehicle, name, "all has arrived");
    }
}

#[test]
fn an_outbox_of_plain_names_becomes_one_of_pseudonyms() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path(), naming(false), TODAY);
    assert!(outbox.take_name(TODAY));
    use_it(&mut outbox, false);
    outbox.close().unwrap();
    drop(outbox);
    let mut outbox = open(dir.path(), naming(true), TODAY);
    assert_eq!(&*outbox.current().vehicle, "VIN1", "something waits");
    use_it(&mut outbox, true);
    outbox.close().unwrap();
    drop(outbox);
    // Whatever the clock says.
    let mut outbox = open(dir.path(), naming(true), 5);
    assert!(outbox.current().vehicle.starts_with("p-"));
    use_it(&mut outbox, false);
    outbox.close().unwrap();
    drop(outbox);
    let outbox = open(dir.path(), naming(false), TODAY);
    assert_eq!(&*outbox.current().vehicle, "VIN1", "switched off");
}

#[test]
fn a_loss_is_explained_under_the_name_that_had_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path(), naming(true), TODAY);
    let name = outbox.current().vehicle.clone();
    outbox.lost(Class::Bulk, 3, LossCause::Overflow).unwrap();
    assert!(!outbox.take_name(TODAY + DAY_NS), "not explained");
    outbox.commit().unwrap();
    assert!(!outbox.take_name(TODAY + DAY_NS), "the explanation has not arrived");
    let batch = batches(&mut outbox, Class::Status).remove(0);
    assert!(memchr::memmem::find(&batch.payload, name.as_bytes()).is_some());
    outbox.ack(Class::Status, batch.first_seq).unwrap();
    assert!(outbox.take_name(TODAY + DAY_NS));
}

#[test]
fn events_for_different_places_are_in_different_records() {
    let dir = tempfile::tempdir().unwrap();
    let config = OutboxConfig { linger: Duration::ZERO, ..config(QUOTA) };
    let mut outbox = SledOutbox::open(dir.path(), config, naming(false), TODAY).unwrap();
    let eu = Regions::new(["eu"]);
    let to = |regions: &Option<Regions>| Event { regions: regions.clone(), ..event(Class::Telemetry, 200) };
    let order = [None, None, eu.clone(), eu.clone(), None, eu.clone()];
    let check = |outbox: &mut SledOutbox| {
        let found: Vec<_> =
            batches(outbox, Class::Telemetry).into_iter().map(|batch| (batch.regions, batch.count)).collect();
        assert_eq!(found, [(None, 2), (eu.clone(), 2), (None, 1), (eu.clone(), 1)]);
    };
    // From memory, from the disk, after a restart.
    outbox.link(true).unwrap();
    for regions in &order {
        outbox.append(&to(regions)).unwrap();
    }
    outbox.commit().unwrap();
    check(&mut outbox);
    outbox.link(false).unwrap();
    check(&mut outbox);
    outbox.close().unwrap();
    drop(outbox);
    let mut outbox = open(dir.path(), naming(false), TODAY);
    check(&mut outbox);
}

/// The disk was away at the start, and what it has is under another name than what was sent meanwhile.
#[test]
fn names_are_not_mixed_when_the_disk_comes_late() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, aside) = (parent.path().join("outbox"), parent.path().join("aside"));
    let mut before = open(&dir, naming(true), TODAY);
    let first = before.current().vehicle.clone();
    use_it(&mut before, false);
    before.close().unwrap();
    drop(before);
    std::fs::rename(&dir, &aside).unwrap();
    std::fs::write(&dir, "in the way").unwrap();

    let mut outbox = open(&dir, naming(true), TODAY + DAY_NS);
    outbox.link(true).unwrap();
    let second = outbox.current().vehicle.clone();
    assert_ne!(second, first);
    let event = event(Class::Alert, 200);
    let seq = outbox.append(&event).unwrap();
    assert!(outbox.commit().is_err());
    std::fs::remove_file(&dir).unwrap();
    std::fs::rename(&aside, &dir).unwrap();
    // However often it is tried: each opening would leave a gap event behind.
    let before = std::fs::read(dir.join("head")).unwrap();
    (0..5).for_each(|_| outbox.open_again(false));
    assert_eq!(std::fs::read(dir.join("head")).unwrap(), before);
    assert_eq!(outbox.current().vehicle, second, "what was to be sent under it waits");
    for class in Class::ALL {
        for batch in batches(&mut outbox, class) {
            assert!(memchr::memmem::find(&batch.payload, first.as_bytes()).is_none());
            outbox.ack(class, batch.first_seq).unwrap();
        }
    }
    outbox.open_again(false);
    assert_eq!(outbox.current().vehicle, first, "now the backlog has its turn");
    outbox.commit().unwrap();
    // Under the old name, all numbers up to there are accounted for.
    let audit = super::super::test_support::Audit::of(&mut outbox);
    assert!(!audit.numbers.contains(&seq));
    audit.prove(outbox.stat().next_seq);
}
