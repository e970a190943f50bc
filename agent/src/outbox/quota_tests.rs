use super::super::ranges::RangeSet;
use super::super::test_support::*;
use super::super::{MIN_QUOTA_BYTES, Outbox};
use super::*;

const Q: u64 = MIN_QUOTA_BYTES;

/// Five times the quota of telemetry, and a little that matters.
#[test]
fn the_quota_holds_and_what_matters_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), Q);
    let (mut important, mut bytes, mut largest) = (Vec::new(), 0, 0);
    for n in 0_u64.. {
        if bytes > 5 * Q {
            break;
        }
        outbox.append(&event(Class::Telemetry, 1000)).unwrap();
        bytes += 1000;
        if n % 97 == 0 {
            important.push(outbox.append(&event(Class::Critical, 300)).unwrap());
            important.push(outbox.append(&event(Class::Alert, 300)).unwrap());
        }
        if n % 16 == 0 {
            outbox.commit().unwrap();
            largest = largest.max(dir::disk_bytes(dir.path()));
        }
    }
    outbox.commit().unwrap();
    assert!(largest <= Q + Q / 8, "{largest} bytes on disk");
    assert!(largest > Q / 2, "the quota is not used: {largest}");
    let measured = dir::disk_bytes(dir.path());
    assert!(
        outbox.stat().disk_bytes.abs_diff(measured) < 64 * 1024,
        "accounts say {}, disk says {measured}",
        outbox.stat().disk_bytes
    );
    let audit = Audit::of(&mut outbox);
    assert!(important.iter().all(|n| audit.numbers.contains(n)));
    let lost = audit.lost_to(LossCause::Quota);
    assert!(audit.gaps.iter().filter(|g| g.cause == LossCause::Quota).all(|g| g.lost == Some(Class::Telemetry)));
    assert!(lost.count() > 3000 && important.iter().all(|&n| !lost.contains(n)), "tight ranges");
    assert!(audit.numbers.iter().all(|&n| !lost.contains(n)), "nothing is both there and lost");
    // The same after a crash.
    drop(outbox);
    let mut outbox = open_with(dir.path(), Q);
    let audit = Audit::of(&mut outbox);
    assert!(important.iter().all(|n| audit.numbers.contains(n)));
    // And the space comes back.
    for class in Class::ALL {
        while let Some(batch) = outbox.read(class, 0).unwrap() {
            outbox.ack(class, batch.first_seq).unwrap();
        }
    }
    outbox.commit().unwrap();
    assert_eq!(outbox.stat().depth(), 0);
    assert!(dir::disk_bytes(dir.path()) < Q / 8 + 64 * 1024, "{}", dir::disk_bytes(dir.path()));
    assert!(outbox.stat().generations <= 2);
}

/// Critical events go only when there is nothing else left; gap events outlive what they explain.
#[test]
fn critical_events_alone_push_out_everything_else_and_then_the_oldest_of_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), Q);
    for n in 0..600_u64 {
        let class = Class::ALL[usize::try_from(n % 5).unwrap()];
        outbox.append(&event(class, 1000)).unwrap();
        outbox.commit().unwrap();
    }
    let mut seen_critical_lost_at = None;
    for n in 0..5000_u64 {
        outbox.append(&event(Class::Critical, 1500)).unwrap();
        if n % 8 == 0 {
            outbox.commit().unwrap();
        }
        if n % 500 == 499 && seen_critical_lost_at.is_none() {
            outbox.commit().unwrap();
            let gaps = Audit::of(&mut outbox).gaps;
            if gaps.iter().any(|g| g.cause == LossCause::Quota && g.lost == Some(Class::Critical)) {
                seen_critical_lost_at = Some(n);
                assert_eq!(outbox.stat().events[4], 0, "bulk is still there");
                assert_eq!(outbox.stat().events[3], 0, "telemetry is still there");
                assert_eq!(outbox.stat().events[1], 0, "alerts are still there");
            }
        }
    }
    outbox.commit().unwrap();
    assert!(seen_critical_lost_at.is_some(), "the test wrote too little");
    assert!(dir::disk_bytes(dir.path()) <= Q + Q / 8);
    let audit = Audit::of(&mut outbox);
    let left: Vec<u64> = batches(&mut outbox, Class::Critical).iter().map(|b| b.last_seq).collect();
    let lost = audit.lost_to(LossCause::Quota);
    assert!(left[0] > lost.first().unwrap(), "the oldest go first");
    drop(outbox);
    Audit::of(&mut open_with(dir.path(), Q));
}

/// Full of critical events, telemetry that goes on coming must not make them be copied round and round.
#[test]
fn telemetry_is_shed_when_only_more_important_events_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), Q);
    while outbox.disk_bytes() + outbox.generation_limit() / 2 <= Q {
        for _ in 0..8 {
            outbox.append(&event(Class::Critical, 1500)).unwrap();
        }
        outbox.commit().unwrap();
    }
    let newest = outbox.newest;
    for _ in 0..2000 {
        outbox.append(&event(Class::Telemetry, 1000)).unwrap();
        outbox.commit().unwrap();
    }
    assert!(outbox.newest - newest <= 1, "generations were rewritten");
    assert_eq!(outbox.stat().events[3], 0);
    outbox.close().unwrap();
    let audit = Audit::of(&mut outbox);
    assert_eq!(audit.lost_to(LossCause::Quota).count(), 2000);
    assert_eq!(audit.gaps.len(), 1, "coalesced");
}

/// Salvage may put a record between ones that are acknowledged in the newest generation.
#[test]
fn a_salvaged_record_is_not_taken_for_an_acknowledged_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), Q);
    let kept = outbox.append(&event(Class::Critical, 300)).unwrap();
    outbox.append(&event(Class::Telemetry, 300)).unwrap();
    outbox.commit().unwrap();
    outbox.rotate().unwrap();
    for _ in 0..40 {
        let seq = outbox.append(&event(Class::Critical, 300)).unwrap();
        outbox.commit().unwrap();
        outbox.ack(Class::Critical, seq).unwrap();
    }
    let oldest = *outbox.keeps.keys().next().unwrap();
    outbox.evict(oldest, Class::Telemetry).unwrap();
    assert!(!dir.path().join("gen-00000001").exists());
    drop(outbox);
    let mut outbox = open_with(dir.path(), Q);
    assert_eq!(outbox.read(Class::Critical, 0).unwrap().unwrap().first_seq, kept);
}

/// The disk can be full long before the quota is reached.
#[test]
fn a_full_disk_costs_the_least_important_generation_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), Q);
    for class in [Class::Critical, Class::Telemetry, Class::Alert] {
        for _ in 0..20 {
            outbox.append(&event(class, 1000)).unwrap();
        }
        outbox.commit().unwrap();
        outbox.rotate().unwrap();
    }
    assert!(outbox.free_in_emergency());
    assert!(!dir.path().join("gen-00000002").exists());
    // Crash before the gap event is stored: the head still knew.
    let other = tempfile::tempdir().unwrap();
    copy(dir.path(), other.path());
    let mut crashed = open_with(other.path(), Q);
    let lost: RangeSet = [(21, 40)].into_iter().collect();
    assert_eq!(Audit::of(&mut crashed).lost_to(LossCause::Corrupt), lost);
    outbox.commit().unwrap();
    outbox.append(&event(Class::Critical, 1000)).unwrap();
    outbox.commit().unwrap();
    assert_eq!(Audit::of(&mut outbox).lost_to(LossCause::Quota), lost);
}

/// While nothing can be stored, what waits in memory is bounded, and the least important goes first.
#[test]
fn a_disk_that_refuses_costs_only_what_does_not_fit_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), Q);
    outbox.config.pending_bytes = 50_000;
    let blocked = outbox.dir.generation(1);
    std::fs::write(&blocked, "in the way").unwrap();
    for n in 0..100_u64 {
        outbox.append(&event(if n % 10 == 0 { Class::Critical } else { Class::Telemetry }, 1000)).unwrap();
        assert!(outbox.commit().is_err());
    }
    assert_eq!(outbox.stat().depth(), 0);
    std::fs::remove_file(&blocked).unwrap();
    outbox.commit().unwrap();
    let audit = Audit::of(&mut outbox);
    assert_eq!(outbox.stat().events[0], 10, "critical events were all kept");
    let lost = audit.lost_to(LossCause::Storage);
    assert!(lost.count() >= 45 && lost.count() < 60, "{lost:?}");
    assert_eq!(lost.first(), Some(2), "the oldest telemetry goes first");
}

/// No inodes, for example: room is made in the older generations, and then nothing more goes to disk.
#[test]
fn the_quota_holds_although_no_new_generation_can_be_begun() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), Q);
    while outbox.disk_bytes() < Q / 2 {
        for _ in 0..16 {
            outbox.append(&event(Class::Telemetry, 1000)).unwrap();
        }
        outbox.commit().unwrap();
    }
    assert!(outbox.keeps.len() > 2);
    let blocked = outbox.dir.generation(outbox.head.next_generation);
    std::fs::write(&blocked, "in the way").unwrap();
    let newest = outbox.newest;
    assert_eq!(outbox.maintenance_told, None);
    let (mut refused, mut largest, mut critical) = (0, 0, Vec::new());
    let mut told = None;
    for n in 0..3 * Q / 1000 {
        outbox.append(&event(Class::Telemetry, 1000)).unwrap();
        if n % 50 == 0 {
            critical.push(outbox.append(&event(Class::Critical, 300)).unwrap());
        }
        if n % 16 == 0 {
            refused += u32::from(outbox.commit().is_err());
            largest = largest.max(dir::disk_bytes(dir.path()));
            assert!(told.is_none() || outbox.maintenance_told == told, "the log is told once");
            told = outbox.maintenance_told;
        }
    }
    assert!(told.is_some());
    assert_eq!(outbox.newest, newest);
    assert_eq!(outbox.keeps.len(), 1, "the older ones made room");
    assert!(refused > 0, "and then it is refused");
    assert!(largest <= Q + Q / 8, "{largest} bytes on disk");

    std::fs::remove_file(&blocked).unwrap();
    outbox.commit().unwrap();
    outbox.append(&event(Class::Alert, 300)).unwrap();
    outbox.commit().unwrap();
    assert!(dir::disk_bytes(dir.path()) <= Q + Q / 8);
    let audit = Audit::of(&mut outbox);
    assert!(critical.iter().all(|n| audit.numbers.contains(n)), "telemetry was dropped, nothing else");
    assert!(audit.lost_to(LossCause::Quota).count() > 0 && audit.lost_to(LossCause::Storage).count() > 0);
    drop(outbox);
    Audit::of(&mut open_with(dir.path(), Q));
}

/// What is delivered makes room: then storing goes on, though there is still no new generation.
#[test]
fn acknowledgements_free_an_outbox_that_can_begin_no_generation() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open_with(dir.path(), Q);
    outbox.append(&event(Class::Alert, 1000)).unwrap();
    outbox.commit().unwrap();
    outbox.rotate().unwrap();
    std::fs::write(outbox.dir.generation(outbox.head.next_generation), "in the way").unwrap();
    // The older generation holds something more important than all of the newest, so it is not the one to go.
    let limit = outbox.generation_limit();
    while outbox.disk_bytes() <= 2 * limit {
        outbox.append(&event(Class::Telemetry, 1000)).unwrap();
        outbox.commit().unwrap();
    }
    outbox.config.quota_bytes = outbox.disk_bytes() - 1;
    outbox.append(&event(Class::Critical, 1000)).unwrap();
    assert!(outbox.commit().is_err());
    assert_eq!(outbox.keeps.len(), 2);
    outbox.ack(Class::Alert, 1).unwrap();
    outbox.commit().unwrap();
    assert_eq!((outbox.keeps.len(), outbox.stat().events[0]), (1, 1));
}

/// A vehicle that starts every day and finds no network for months.
#[test]
fn many_short_runs_make_no_heap_of_generations() {
    let dir = tempfile::tempdir().unwrap();
    for run in 0..130 {
        let mut outbox = open_with(dir.path(), Q);
        for class in [Class::Alert, Class::Telemetry] {
            outbox.append(&event(class, 300)).unwrap();
        }
        outbox.commit().unwrap();
        if run % 3 == 0 {
            outbox.close().unwrap();
        }
        assert!(outbox.stat().generations <= 64 + 16 + 2, "{}", outbox.stat().generations);
    }
    let mut outbox = open_with(dir.path(), Q);
    Audit::of(&mut outbox);
    assert_eq!((outbox.stat().events[1], outbox.stat().events[3]), (130, 130));
}
