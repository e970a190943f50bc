//! What people keep of frames and DBC files, as JSON and back: feature `serde`.

#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, reason = "a panic is a test's report")]

use can_decoders::{BusId, CanId, Database, Frame, FrameKind, Plan, Sample, Validity};
use serde_json::json;

const DBC: &str = "BO_ 291 M: 3 A\n SG_ Mux M : 0|8@1+ (1,0) [0|0] \"\" A\n SG_ S m5 : 15|8@0- (0.5,-40) [-40|100] \"degC\" A\n \
                   SG_ SUM : 16|8@1+ (1,0) [0|255] \"\" A\n\nVAL_ 291 Mux 5 \"five\" ;\nBA_ \"OutriderChecksum\" SG_ 291 SUM \"xor8\";\n";

#[test]
fn frames_and_samples_come_back_the_same() {
    let fd = FrameKind::Fd { brs: true, esi: false };
    let (standard, extended) = (CanId::standard(0x123).unwrap(), CanId::extended(0x123).unwrap());
    for frame in [
        Frame::new(7, BusId(1), standard, FrameKind::Data, &[5, 200, 205]).unwrap(),
        Frame::new(u64::MAX, BusId(0), extended, fd, &[0xA5; 64]).unwrap(),
        Frame::remote(0, BusId(0), standard, 8).unwrap(),
        Frame::new(0, BusId(0), extended, FrameKind::Error, &[1; 8]).unwrap(),
    ] {
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(serde_json::from_str::<Frame>(&text).unwrap(), frame, "{text}");
    }
    let plan = Plan::compile(&[Database::parse("t", DBC.as_bytes()).unwrap()]);
    for sample in plan.decode(plan.find(standard).unwrap(), &[5, 200, 205]).signals() {
        let text = serde_json::to_string(&sample).unwrap();
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample, "{text}");
    }
    for validity in Validity::ALL {
        assert_eq!(serde_json::to_value(validity).unwrap(), validity.name());
    }
}

#[test]
fn what_is_no_frame_is_refused() {
    let good = json!({"time_ns": 1, "bus": 0, "id": 291, "kind": "data", "payload": [1, 2]});
    serde_json::from_value::<Frame>(good.clone()).unwrap();
    for (key, value) in [
        ("id", json!(2048)),
        ("id", json!(0xC000_0000_u32)),
        ("payload", json!([1, 2, 3, 4, 5, 6, 7, 8, 9])),
        ("length", json!(2)),
        ("kind", json!("remote")),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        assert!(serde_json::from_value::<Frame>(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn a_database_is_written_in_full() {
    let database = Database::parse("t", DBC.as_bytes()).unwrap();
    let written = serde_json::to_value(&database).unwrap();
    let message = &written["messages"][0];
    assert_eq!((&message["name"], &message["id"], &message["size"]), (&json!("M"), &json!(291), &json!(3)));
    assert_eq!(message["signals"][0]["labels"], json!([[5, "five"]]));
    let signal = &message["signals"][1];
    assert_eq!(
        (&signal["order"], &signal["encoding"], &signal["max"]),
        (&json!("big"), &json!("signed"), &json!(100.0))
    );
    assert_eq!(signal["multiplexing"]["selected"]["selector"], 0);
    assert_eq!(message["signals"][2]["checksum"], "xor8");
}
