use proptest::prelude::*;

use super::*;

fn sample() -> Record {
    let events = vec![(7, 3), (8, 0), (300, 2), (u64::MAX, 130)];
    Record { class: Class::Alert, ordinal: 9, events, times: (5, 8), regions: None, payload: (0..135).collect() }
}

#[test]
fn what_goes_in_comes_out() {
    let record = decode(&encode(&sample(), 9)).unwrap();
    assert_eq!(record, sample());
    assert_eq!((record.first(), record.last()), (7, u64::MAX));
    let parts: Vec<(u64, &[u8])> = record.events().collect();
    assert_eq!(parts[0], (7, &[0, 1, 2][..]));
    assert_eq!(parts[2], (300, &[3, 4][..]));
    assert_eq!(parts[3].1.len(), 130);
}

/// Stored bytes outlive the program that wrote them: a change here needs a new magic.
#[test]
fn golden_bytes() {
    let events = vec![(5, 1), (7, 2)];
    let record = Record {
        class: Class::Status,
        ordinal: 1,
        events,
        times: (0x10, 0x20),
        regions: None,
        payload: b"abc".to_vec(),
    };
    let hex: String = encode(&record, 1).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex.split_at(hex.len() - 8).0,
        concat!(
            "4f524232",
            "02",
            "01000000",
            "02000000",
            "0500000000000000",
            "1000000000000000",
            "2000000000000000",
            "04000000",
            "03000000",
            "00010202",
            "616263"
        )
    );
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let good = encode(&sample(), 0);
    for at in 0..good.len() {
        assert_eq!(decode(&good[..at]), None, "cut at {at}");
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert_eq!(decode(&bad), None, "bit {bit} of byte {at}");
        }
    }
}

proptest! {
    /// A right CRC over a wrong body must not panic or reserve absurd amounts either.
    #[test]
    fn any_body_with_a_right_crc_is_survived(mut body in prop::collection::vec(any::<u8>(), 0..120), magic in any::<bool>()) {
        if magic && body.len() >= 5 {
            body[..4].copy_from_slice(MAGIC);
            body[4] %= 5;
        }
        let crc = crc32fast::hash(&body);
        body.extend_from_slice(&crc.to_le_bytes());
        if let Some(record) = decode(&body) {
            prop_assert_eq!(record.events().map(|e| e.1.len()).sum::<usize>(), record.payload.len());
        }
    }
}

#[test]
fn a_restricted_record_says_where_it_may_go() {
    let record = Record { regions: Regions::new(["uk", "eu"]), ..sample() };
    let bytes = encode(&record, 9);
    assert!(bytes.starts_with(b"ORB3") && encode(&sample(), 9).starts_with(b"ORB2"));
    assert_eq!(decode(&bytes), Some(record));
    // Neither damage nor a part of it is one that may go everywhere.
    for at in 0..bytes.len() {
        assert_eq!(decode(&bytes[..at]), None);
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert_eq!(decode(&bad), None, "byte {at}");
    }
}
