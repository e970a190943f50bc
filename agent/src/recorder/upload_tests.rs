use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::assemble::{Assembled, Assembler};
use super::super::{store::Store, upload::Upload};
use super::*;
use crate::event::Moment;

/// The gateway takes some of the pieces each time, and the agent is started anew in between.
#[test]
fn pieces_are_sent_on_after_a_restart_and_put_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut fed = Fed::new(dir.path(), settings());
    fed.drive(10_000);
    for _ in 0..40 {
        fed.trigger("crash", Class::Critical, 9, 9);
        fed.drive(8_000);
    }
    let (events, _) = fed.finish();
    let digests: HashSet<String> = events.iter().filter_map(|event| event.digest.clone()).collect();
    assert!(!digests.is_empty());
    let mut received: Vec<Vec<u8>> = Vec::new();
    for _ in 0..30 {
        let mut outbox = MemoryOutbox::new(1);
        outbox.next_seq = received.len() as u64 + 1;
        let fed = Fed::with(dir.path(), settings(), outbox);
        // One window, and the beginning of the next.
        for rounds in 0..2 {
            let end = Instant::now() + Duration::from_secs(4);
            while fed.outbox.lock().unwrap().is_empty() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
            let mut outbox = fed.outbox.lock().unwrap();
            let mut after = 0;
            while let Some(batch) = outbox.read(Class::Bulk, after).unwrap() {
                after = batch.first_seq;
                received.push(batch.payload.clone());
                if rounds == 0 || !received.len().is_multiple_of(3) {
                    outbox.ack(Class::Bulk, batch.first_seq).unwrap();
                }
            }
        }
        drop(fed.finish());
        if list(dir.path())
            .unwrap()
            .iter()
            .all(|one| one.about.as_ref().unwrap().sent == one.about.as_ref().unwrap().chunks())
        {
            break;
        }
    }
    let sent: Vec<_> = list(dir.path()).unwrap().into_iter().map(|one| one.about.unwrap()).collect();
    assert!(sent.iter().all(|about| about.sent == about.chunks()), "{sent:?}");
    assert!(sent.iter().any(|about| about.chunks() > 40), "more than a window");

    let out = tempfile::tempdir().unwrap();
    let mut assembler = Assembler::new(out.path());
    received.iter().rev().for_each(|payload| assembler.read("bulk", &payload[..]).unwrap());
    let outcome = assembler.finish().unwrap();
    assert_eq!(outcome.len(), sent.len());
    for ((vehicle, id, assembled), about) in outcome.iter().zip(&sent) {
        let Assembled::Complete(path) = assembled else { panic!("{assembled:?}") };
        assert_eq!((&**vehicle, id), ("v1", &about.id));
        assert_eq!(std::fs::read(path).unwrap(), std::fs::read(dir.path().join(format!("{id}.log.gz"))).unwrap());
    }

    // As JSON lines, and without some.
    let mut assembler = Assembler::new(out.path());
    let json: Vec<String> = received
        .iter()
        .map(|payload| {
            let value: serde_cbor::Value = serde_cbor::from_slice(payload).unwrap();
            json_of(&value)
        })
        .filter(|line| !["\"index\":3,", "\"index\":4,", "\"index\":9,"].iter().any(|part| line.contains(part)))
        .collect();
    assembler.read("bulk", json.join("\n").as_bytes()).unwrap();
    let largest = sent.iter().max_by_key(|about| about.bytes).unwrap();
    let outcome = assembler.finish().unwrap();
    let (.., of_largest) = outcome.iter().find(|(_, id, _)| *id == largest.id).unwrap();
    assert_eq!(*of_largest, Assembled::Missing(vec![(3, 4), (9, 9)], largest.chunks()));
}

/// As gateways get it that ask for JSON.
fn json_of(value: &serde_cbor::Value) -> String {
    use serde_cbor::Value;
    match value {
        Value::Bytes(bytes) => format!("\"{}\"", crate::event::base64url(bytes)),
        Value::Text(text) => format!("{text:?}"),
        Value::Integer(n) => n.to_string(),
        Value::Map(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}:{}", json_of(key), json_of(value))).collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(json_of).collect::<Vec<_>>().join(",")),
        _ => "null".to_owned(),
    }
}

proptest! {
    /// Pieces come from outside.
    #[test]
    fn no_piece_does_harm(
        pieces in proptest::collection::vec((0_u32..5, 0_u32..5, "[.a/]{0,4}", proptest::collection::vec(any::<u8>(), 0..9)), 0..20),
        noise in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        let mut assembler = Assembler::new(&root);
        for (index, of, name, data) in pieces {
            let body = crate::event::RecordingChunk { id: name.into(), of, data, index, digest: "00ff".repeat(16).into() };
            let event = Event::new(1, Class::Bulk, Body::RecordingChunk(body));
            let mut bytes = Vec::new();
            event.encode(&Identity { vehicle: "v".into(), boot: "b".into() }, 1, &mut bytes).unwrap();
            assembler.read("pieces", &bytes[..]).unwrap();
        }
        let _ = assembler.read("noise", &noise[..]);
        for (.., outcome) in assembler.finish().unwrap() {
            prop_assert!(!matches!(outcome, Assembled::Complete(_)), "nothing has that digest");
        }
        let outside = std::fs::read_dir(dir.path()).unwrap().count();
        prop_assert!(outside <= 1, "nothing but what leads to {}", root.display());
    }
}

/// Frames that are sent on as they are come all the time, and are bulk as well.
#[test]
fn other_events_of_class_bulk_do_not_hold_recordings_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut fed = Fed::with(dir.path(), settings(), MemoryOutbox::new(1));
    fed.drive(10_000);
    fed.trigger("crash", Class::Critical, 9, 1);
    fed.drive(30_000);
    fed.wait(RecordingState::Finished);
    let chunk = crate::event::RecordingChunk { id: "0-x".into(), of: 9, data: vec![1], index: 0, digest: "".into() };
    let other = Event::new(1, Class::Bulk, Body::RecordingChunk(chunk));
    let end = Instant::now() + Duration::from_secs(30);
    let mut mixed = 0;
    while list(dir.path()).unwrap()[0].about.as_ref().is_none_or(|about| about.sent < about.chunks()) {
        assert!(Instant::now() < end, "{:?}", list(dir.path()));
        let mut outbox = fed.outbox.lock().unwrap();
        let last = outbox.append(&other).unwrap();
        outbox.commit().unwrap();
        mixed += usize::from(outbox.held().len() > 2);
        while let Some(batch) = outbox.read(Class::Bulk, 0).unwrap().filter(|batch| batch.first_seq < last) {
            outbox.ack(Class::Bulk, batch.first_seq).unwrap();
        }
        drop(outbox);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(mixed > 0, "pieces were among the others");
}

/// Without a gateway the computer is not woken each second; and what is in the outbox already is not put there again, however
/// often the agent is started.
#[test]
fn it_is_looked_less_often_while_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::new(dir.path());
    store.open().unwrap();
    let about = About { bytes: 5 * CHUNK as u64, ..About::new("1-x".to_owned(), "v1".to_owned()) };
    std::fs::write(store.path(&about.id), vec![7; 5 * CHUNK]).unwrap();
    let mut outbox = MemoryOutbox::new(1);
    for start in 0..3 {
        let mut upload = Upload::new();
        assert_eq!(upload.look(&store, None, "v1").is_some(), start > 0);
        if start == 0 {
            store.all.push(about.clone());
        }
        let mut looks = Vec::new();
        for _ in 0..8 {
            looks.push(upload.look(&store, None, "v1").unwrap().as_secs());
            upload.step(&mut store, &mut outbox, None, "v1", (Moment::from(1), None));
        }
        assert!(looks == [1, 1, 1, 2, 4, 8, 16, 32] || looks == [1, 1, 2, 4, 8, 16, 32, 32], "{looks:?}");
        assert_eq!(outbox.held(), [1, 2, 3, 4, 5], "start {start}");
    }
    // Some of it goes, at last: it is looked again soon.
    let mut upload = Upload::new();
    let mut step = |outbox: &mut MemoryOutbox, store: &mut Store| {
        upload.step(store, outbox, None, "v1", (Moment::from(1), None));
        upload.look(store, None, "v1").map(|look| look.as_secs())
    };
    (0..6).for_each(|_| _ = step(&mut outbox, &mut store));
    outbox.ack(Class::Bulk, 1).unwrap();
    assert_eq!(step(&mut outbox, &mut store), Some(1));
    (2..=5).for_each(|seq| outbox.ack(Class::Bulk, seq).unwrap());
    // Of what another start has given, it is not known what became of it.
    step(&mut outbox, &mut store);
    assert_eq!(outbox.held(), [6, 7, 8, 9, 10]);
    (6..=10).for_each(|seq| outbox.ack(Class::Bulk, seq).unwrap());
    assert_eq!(step(&mut outbox, &mut store), None, "all of it was sent");
}
