use proptest::prelude::*;

use super::*;
use crate::event::{AgentState, Body, Class, Event, Identity, NameMap, Signals};

const ALL: Room = Room { hard: usize::MAX, soft: usize::MAX };

fn encode_events(bodies: impl IntoIterator<Item = Body>) -> Batch {
    let identity = Identity { vehicle: "v1".into(), boot: "b".into() };
    let mut payload = Vec::new();
    let mut count = 0;
    for body in bodies {
        count += 1;
        let event = Event::new(u64::MAX, Class::Status, body);
        // Other classes have the odd numbers.
        event.encode(&identity, u64::from(count) * 2, &mut payload).unwrap();
    }
    Batch { class: Class::Status, first_seq: 2, last_seq: u64::from(count) * 2, count, regions: None, payload }
}

fn padded(len: usize) -> Body {
    let values = NameMap::new(vec![("x".repeat(len).into(), Some(1.0))]);
    Body::Signals(Signals { group: "g".into(), values })
}

fn started() -> Body {
    Body::Agent(AgentState {
        state: "started",
        reason: None,
        version: "1",
        counters: crate::event::NameMap::new(Vec::new()),
    })
}

/// Every event is in exactly one place, in order, and sizes keep to the room.
fn check(batch: &Batch, encoded: &Encoded, room: Room) {
    let whole: Vec<u64> = (1..=u64::from(batch.count)).map(|i| i * 2).collect();
    let mut seen = encoded.oversize.clone();
    for part in &encoded.parts {
        let seqs = part.seqs.clone().unwrap_or_else(|| whole.clone());
        assert_eq!((part.first_seq, part.last_seq), (seqs[0], seqs[seqs.len() - 1]));
        assert_eq!(part.count as usize, seqs.len());
        assert!(part.payload.len() <= if seqs.len() == 1 { room.hard } else { room.soft });
        seen.extend(seqs);
    }
    assert!(encoded.parts.windows(2).all(|pair| pair[0].last_seq < pair[1].first_seq));
    seen.sort_unstable();
    assert_eq!(seen, whole);
}

#[test]
fn what_fits_goes_out_as_it_is_stored() {
    let batch = encode_events([started(), started()]);
    let encoded = encode(&batch, PayloadFormat::Cbor, ALL).unwrap();
    assert_eq!(encoded.parts.len(), 1);
    assert_eq!(encoded.parts[0].payload, batch.payload);
    assert_eq!(encoded.parts[0].seqs, None);
    // Not even looked into.
    let junk = Batch { payload: vec![0xff; 10], ..batch };
    assert_eq!(encode(&junk, PayloadFormat::Cbor, ALL).unwrap().parts[0].payload, junk.payload);
}

#[test]
fn divided_at_events_and_joined_again_it_is_the_same() {
    let batch = encode_events((0..20).map(|i| padded(i * 10)));
    let room = Room { hard: 400, soft: 400 };
    let encoded = encode(&batch, PayloadFormat::Cbor, room).unwrap();
    assert!(encoded.parts.len() > 5 && encoded.oversize.is_empty());
    check(&batch, &encoded, room);
    assert_eq!(encoded.parts.iter().flat_map(|part| part.payload.to_vec()).collect::<Vec<_>>(), batch.payload);
}

#[test]
fn only_the_event_that_is_too_large_is_left_out() {
    let batch = encode_events([padded(10), padded(5_000), padded(20)]);
    let room = Room { hard: 1_000, soft: 1_000 };
    let encoded = encode(&batch, PayloadFormat::Cbor, room).unwrap();
    assert_eq!(encoded.oversize, [4]);
    check(&batch, &encoded, room);
    let alone = encode_events([padded(5_000)]);
    assert_eq!(encode(&alone, PayloadFormat::Cbor, room).unwrap(), Encoded { parts: vec![], oversize: vec![2] });
}

#[test]
fn between_soft_and_hard_an_event_travels_alone() {
    let batch = encode_events([padded(10), padded(500), padded(10)]);
    let room = Room { hard: 1_000, soft: 200 };
    let encoded = encode(&batch, PayloadFormat::Cbor, room).unwrap();
    assert!(encoded.oversize.is_empty());
    assert_eq!(encoded.parts.iter().map(|part| part.count).collect::<Vec<_>>(), [1, 1, 1]);
    check(&batch, &encoded, room);
}

#[test]
fn json_is_a_line_for_each_event() {
    let batch = encode_events([started(), padded(3)]);
    let encoded = encode(&batch, PayloadFormat::Json, ALL).unwrap();
    assert_eq!(encoded.parts[0].seqs, None, "the whole batch");
    let text = String::from_utf8(encoded.parts[0].payload.to_vec()).unwrap();
    let expected = "{\"t\":18446744073709551615,\"v\":1,\"seq\":2,\"body\":{\"state\":\"started\",\"version\":\"1\",\
                    \"counters\":{}},\"boot\":\"b\",\"kind\":\"agent\",\"class\":\"status\",\"vehicle\":\"v1\"}\n";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(text.lines().count(), 2);
    let room = Room { hard: 165, soft: 165 };
    check(&batch, &encode(&batch, PayloadFormat::Json, room).unwrap(), room);
}

#[test]
fn json_of_every_kind_of_cbor() {
    let json = |cbor: &[u8]| {
        let value: Value = serde_cbor::from_slice(cbor).unwrap();
        serde_json::to_string(&Json(&value)).unwrap()
    };
    assert_eq!(json(&[0x1b, 255, 255, 255, 255, 255, 255, 255, 255]), "18446744073709551615");
    assert_eq!(json(&[0x3b, 255, 255, 255, 255, 255, 255, 255, 255]), "-18446744073709551616");
    assert_eq!(json(&[0xf9, 0x7e, 0x00]), "null", "NaN");
    assert_eq!(json(&[0xf9, 0x3c, 0x00]), "1.0");
    assert_eq!(json(&[0x82, 0xf5, 0xf6]), "[true,null]");
    assert_eq!(json(&[0xc1, 0x18, 0x2a]), "42", "tags are dropped");
    assert_eq!(json(&[0xa1, 0x61, 0x22, 0x43, 0xff, 0xfe, 0xfd]), r#"{"\"":"__79"}"#);
    for (bytes, text) in
        [(&b""[..], ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"foob", "Zm9vYg"), (b"fooba", "Zm9vYmE")]
    {
        assert_eq!(base64url(bytes), text, "RFC 4648 section 10");
    }
}

#[test]
fn damage_is_an_error_with_its_place() {
    let mut batch = encode_events([started(), started()]);
    batch.payload.truncate(batch.payload.len() - 3);
    let room = Room { hard: 100, soft: 100 };
    let error = encode(&batch, PayloadFormat::Cbor, room).unwrap_err();
    assert!(matches!(error, PayloadError::Cbor { index: 1, .. }), "{error}");
    let error = encode(&batch, PayloadFormat::Json, ALL).unwrap_err();
    assert!(matches!(error, PayloadError::Cbor { index: 1, .. }), "{error}");
    let no_seq = Batch { payload: vec![0xa0], ..batch };
    let error = encode(&no_seq, PayloadFormat::Json, ALL).unwrap_err();
    assert!(matches!(error, PayloadError::NoSeq { index: 0 }), "{error}");
}

proptest! {
    #[test]
    fn every_event_is_in_exactly_one_place(
        sizes in prop::collection::vec(0usize..600, 1..20),
        hard in 50usize..1_000,
        soft in 1usize..1_000,
        json: bool,
    ) {
        let batch = encode_events(sizes.into_iter().map(padded));
        let room = Room { hard, soft: soft.min(hard) };
        let format = if json { PayloadFormat::Json } else { PayloadFormat::Cbor };
        check(&batch, &encode(&batch, format, room).unwrap(), room);
    }

    #[test]
    fn arbitrary_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let batch = Batch { class: Class::Bulk, first_seq: 1, last_seq: 1, count: 1, regions: None, payload };
        let _ = encode(&batch, PayloadFormat::Json, ALL);
        let _ = encode(&batch, PayloadFormat::Cbor, Room { hard: 10, soft: 0 });
    }
}
