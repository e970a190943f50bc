//! Every file of a store is cut, zeroed and flipped: it must open, never panic, and account for every number.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::test_support::*;
use super::*;
use crate::event::Class;

/// Three generations with interleaved classes; the first two batches of telemetry are acknowledged.
fn build(dir: &Path, clean: bool) -> Audit {
    let mut outbox = open(dir);
    let mut acked = Audit::default();
    for generation in 0..3 {
        for n in 0..40 {
            outbox.append(&event(if n % 5 == 0 { Class::Alert } else { Class::Telemetry }, 900)).unwrap();
            if n % 4 == 3 {
                outbox.commit().unwrap();
            }
        }
        outbox.commit().unwrap();
        if generation < 2 {
            outbox.rotate().unwrap();
        }
    }
    for batch in batches(&mut outbox, Class::Telemetry).into_iter().take(2) {
        acked.take(&batch);
        outbox.ack(batch.class, batch.first_seq).unwrap();
    }
    if clean {
        outbox.close().unwrap();
    }
    acked
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

/// Opens what is left, twice, and proves that nothing is unexplained and no number is given out again.
fn survives(dir: &Path, acked: &Audit, what: &str) {
    let mut next = 121;
    for attempt in 0..2 {
        let mut outbox = open(dir);
        let mut audit = Audit { numbers: acked.numbers.clone(), ..Audit::default() };
        audit.receive(&mut outbox);
        // What is found to be lost while it is read is told after the next commit.
        outbox.commit().unwrap();
        audit.receive(&mut outbox);
        let used = outbox.append(&event(Class::Critical, 200)).unwrap();
        assert!(used >= next, "{what}, attempt {attempt}: number {used} given out again");
        audit.prove(used);
        outbox.commit().unwrap();
        next = used + 1;
        assert_eq!(outbox.stat().events[0], attempt + 1, "{what}: the new events are there");
        outbox.close().unwrap();
    }
}

/// Each block of 4 KiB; of a small file eight parts. With `OUTRIDER_SOAK` sixteen times as many.
fn regions(length: usize) -> Vec<std::ops::Range<usize>> {
    let finer = if std::env::var_os("OUTRIDER_SOAK").is_some() { 16 } else { 1 };
    let size = (length / 8).min(4096).div_ceil(finer).max(1);
    (0..length).step_by(size).map(|from| from..(from + size).min(length)).collect()
}

fn damage_everything(clean: bool) {
    // Where files are fast: a store is made for every case.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let good = parent.path().join("good");
    let acked = build(&good, clean);
    let mut cases = 0;
    for file in files(&good) {
        let bytes = fs::read(&file).unwrap();
        let name = file.strip_prefix(&good).unwrap();
        let mut variants: Vec<(String, Option<Vec<u8>>)> = vec![("gone".to_owned(), None)];
        for (n, region) in regions(bytes.len()).into_iter().enumerate() {
            variants.push((format!("cut at {}", region.start), Some(bytes[..region.start].to_vec())));
            // Elsewhere in each.
            let at = region.start + (n * 1117 + 113) % region.len();
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x41;
            variants.push((format!("flipped at {at}"), Some(flipped)));
            let mut zeroed = bytes.clone();
            zeroed[region.clone()].fill(0);
            variants.push((format!("zeroed {region:?}"), Some(zeroed)));
        }
        for (what, damaged) in variants {
            let case = parent.path().join("case");
            copy(&good, &case);
            match damaged {
                Some(bytes) => fs::write(case.join(name), bytes).unwrap(),
                None => fs::remove_file(case.join(name)).unwrap(),
            }
            survives(&case, &acked, &format!("{} {what}", name.display()));
            fs::remove_dir_all(&case).unwrap();
            cases += 1;
        }
    }
    assert!(cases > 300, "{cases}");
}

#[test]
fn any_damage_to_a_closed_store_is_survived_and_explained() {
    damage_everything(true);
}

#[test]
fn any_damage_to_a_crashed_store_is_survived_and_explained() {
    damage_everything(false);
}

/// What was measured on sled: without its tail the file opens with no keys, or panics.
#[test]
fn a_generation_that_lost_its_contents_is_noticed_by_its_range() {
    for (keep, gone) in [(0, false), (1000, false), (0, true)] {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path(), true);
        let generation = dir.path().join("gen-00000002");
        if gone {
            fs::remove_dir_all(&generation).unwrap();
        } else {
            fs::File::options().write(true).open(generation.join("db")).unwrap().set_len(keep).unwrap();
        }
        let audit = received(&mut open(dir.path()));
        assert_eq!(audit.lost_to(LossCause::Corrupt), [(41, 80)].into_iter().collect());
        assert_eq!(dir.path().join("quarantine-2").exists(), !gone);
    }
}

/// A damaged snapshot costs nothing: sled makes it anew.
#[test]
fn a_damaged_snapshot_or_settings_file_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), true);
    let mut damaged = 0;
    for file in files(dir.path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("snap.") {
            fs::write(&file, b"").unwrap();
            damaged += 1;
        } else if name == "conf" {
            fs::write(&file, "segment_size: 7\nuse_compression: 1\n").unwrap();
            damaged += 1;
        }
    }
    assert!(damaged >= 3);
    let outbox = open(dir.path());
    assert_eq!(outbox.stat().depth(), 120 - 6);
    assert_eq!(outbox.stat().lost, 0);
}

/// Both copies of the head gone: numbers go on far above any that can have been used.
#[test]
fn without_a_head_numbers_jump() {
    let dir = tempfile::tempdir().unwrap();
    let acked = build(dir.path(), true);
    for name in super::super::head::COPIES {
        fs::write(dir.path().join(name), b"nonsense").unwrap();
    }
    survives(dir.path(), &acked, "no head");
    // Nothing but quarantined directories left: the clock is the only guide.
    for id in 1..=9 {
        drop(fs::remove_dir_all(dir.path().join(format!("gen-{id:08}"))));
    }
    fs::create_dir(dir.path().join("quarantine-1")).unwrap();
    for name in super::super::head::COPIES {
        fs::write(dir.path().join(name), b"nonsense").unwrap();
    }
    assert!(open(dir.path()).stat().next_seq >= NOW / 1_000_000);
}

/// Overwrites every copy of a record in sled's file.
fn wreck(db: &Path, class: Class, first: u64) -> usize {
    let mut bytes = fs::read(db).unwrap();
    let mut name = vec![u8::try_from(class.rank()).unwrap(), 0];
    name.extend_from_slice(&first.to_le_bytes());
    let places: Vec<usize> =
        memchr::memmem::find_iter(&bytes, &name).filter(|&at| bytes[at - 8..].starts_with(b"ORK1")).collect();
    places.iter().for_each(|&at| bytes[at + 40..at + 60].fill(0xEE));
    fs::write(db, bytes).unwrap();
    places.len()
}

/// A record that goes bad while the agent runs is explained once, also over restarts; its neighbours are saved.
#[test]
fn a_record_damaged_at_run_time_is_explained_and_the_others_of_its_generation_are_saved() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), true);
    let mut outbox = open(dir.path());
    let (first, entry) = outbox.next(Class::Telemetry, 50).unwrap().unwrap();
    assert!(wreck(&dir.path().join(format!("gen-{:08}/db", entry.generation)), Class::Telemetry, first) > 0);
    let numbers: RangeSet = (first..=entry.last).filter(|n| (n - 1) % 40 % 5 != 0).map(|n| (n, n)).collect();
    assert!(outbox.read(Class::Telemetry, 50).unwrap().unwrap().first_seq > first);
    outbox.commit().unwrap();
    let audit = received(&mut outbox);
    assert_eq!(audit.lost_to(LossCause::Corrupt), numbers, "not the alerts in between");
    assert_eq!(audit.gaps[0].lost, Some(Class::Telemetry));
    outbox.close().unwrap();
    drop(outbox);
    let mut outbox = open(dir.path());
    assert_eq!(outbox.stat().lost, 0, "explained once is enough");
    received(&mut outbox);
}

/// What is damaged is kept for whoever wants to look into it, once all else in it is delivered.
#[test]
fn a_generation_that_has_lost_something_is_quarantined_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), true);
    let mut outbox = open(dir.path());
    let (first, entry) = outbox.next(Class::Telemetry, 50).unwrap().unwrap();
    wreck(&dir.path().join(format!("gen-{:08}/db", entry.generation)), Class::Telemetry, first);
    while outbox.stat().depth() > 0 {
        for class in Class::ALL {
            batches(&mut outbox, class).iter().for_each(|batch| outbox.ack(class, batch.first_seq).unwrap());
        }
        outbox.commit().unwrap();
    }
    assert_eq!(outbox.dir.list().unwrap().quarantined, [entry.generation]);
}

/// sled does not open it, and what was synced is there all the same.
#[test]
fn what_sled_does_not_open_is_found_in_its_raw_file() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), true);
    for id in 1..=3 {
        let path = dir.path().join(format!("gen-{id:08}"));
        let mut bytes = fs::read(path.join("db")).unwrap();
        bytes[..64].fill(0);
        fs::write(path.join("db"), bytes).unwrap();
        for file in files(&path).into_iter().filter(|f| f.file_name().unwrap().to_string_lossy().starts_with("snap.")) {
            fs::remove_file(file).unwrap();
        }
    }
    let mut outbox = open(dir.path());
    assert!(received(&mut outbox).lost_to(LossCause::Corrupt).is_empty());
    assert_eq!(outbox.stat().depth(), 120 - 6);
    assert!(outbox.dir.list().unwrap().quarantined.is_empty());
}

/// As [`Audit::of`], with the first two batches of telemetry, which [`build`] acknowledged.
fn received(outbox: &mut SledOutbox) -> Audit {
    let mut audit = Audit::default();
    audit.numbers.extend((1..=8).filter(|n| (n - 1) % 5 != 0));
    audit.receive(outbox);
    audit.prove(outbox.stat().next_seq);
    audit
}

#[test]
fn at_most_two_generations_stay_in_quarantine() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), true);
    for id in 1..=3 {
        fs::write(dir.path().join(format!("gen-{id:08}/db")), b"").unwrap();
    }
    let outbox = open(dir.path());
    assert_eq!(outbox.dir.list().unwrap().quarantined, [2, 3]);
    assert_eq!(outbox.stat().lost, 114, "six were acknowledged");
}

/// The list of a generation's contents and one of its records go bad while the agent runs: what is left is found in the data
/// file, and what is missing there is explained, also when the power goes before that is stored.
#[test]
fn a_list_of_contents_damaged_at_run_time_hides_nothing() {
    for crash in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path(), true);
        let mut outbox = open(dir.path());
        let (first, entry) = outbox.next(Class::Telemetry, 50).unwrap().unwrap();
        outbox.unload(entry.generation);
        let generation = dir.path().join(format!("gen-{:08}", entry.generation));
        let contents = fs::read(generation.join("contents")).unwrap();
        // The sums in front stay good.
        fs::write(generation.join("contents"), &contents[..contents.len() - 5]).unwrap();
        assert!(wreck(&generation.join("db"), Class::Telemetry, first) > 0);
        assert!(outbox.read(Class::Telemetry, 50).unwrap().unwrap().first_seq > first);
        if crash {
            // As when numbers are reserved.
            outbox.write_head(None).unwrap();
        } else {
            outbox.commit().unwrap();
            assert!(received(&mut outbox).lost_to(LossCause::Corrupt).contains(first));
            outbox.close().unwrap();
        }
        drop(outbox);
        for _ in 0..2 {
            let mut outbox = open(dir.path());
            assert!(received(&mut outbox).lost_to(LossCause::Corrupt).contains(first), "crash {crash}");
            outbox.close().unwrap();
        }
    }
}
