//! Traffic of a made-up bus, for tests: what a profile should find in it is known.

use can_decoders::integrity::Algorithm;
use can_decoders::{BusId, CanId, Frame, FrameKind};

use super::Profile;
use super::learn::Learner;

pub(crate) const START: u64 = 1_700_000_000_000_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// With a counter, a checksum and a number that moves, every 10 ms; the number again, every 100 ms; a long identifier
/// every second; a flag on events.
pub(crate) const IDS: [&str; 4] = ["100", "200", "18FEF100", "300"];

pub(crate) fn id(text: &str) -> CanId {
    super::parse_id(text).unwrap()
}

pub(crate) fn frame(time_ns: u64, text: &str, payload: &[u8]) -> Frame {
    Frame::new(time_ns, BusId(0), id(text), FrameKind::Data, payload).unwrap()
}

/// The payload of 0x100 with its checksum.
pub(crate) fn signed(counter: u8, number: u16) -> [u8; 8] {
    let [high, low] = number.to_be_bytes();
    let mut payload = [0xA0 | counter & 0xF, high, low, 0x5A, 0, 0, 0, 0];
    let algorithm: Algorithm = "CRC-8/SAE-J1850".parse().unwrap();
    payload[7] = algorithm.distance(&payload, 7).unwrap() ^ 0x37;
    payload
}

/// The frames of so many seconds from `from_ns` on, in the order of their times.
pub(crate) fn traffic(from_ns: u64, seconds: u64, seed: u64) -> Vec<Frame> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut frames = Vec::new();
    let steps = seconds * 100;
    let (mut number, mut trend, mut flag, mut quiet) = (20_000_i32, 0, 0_u8, 0_u32);
    for step in 0..steps {
        let at = from_ns + step * SECOND / 100;
        trend = (trend + rng.i32(-3..=3)).clamp(-40, 40);
        if !(5_000..55_000).contains(&number) {
            trend = if number < 30_000 { 20 } else { -20 };
        }
        number += trend + rng.i32(-2..=2);
        let value = u16::try_from(number).unwrap();
        let counter = u8::try_from(step % 16).unwrap();
        frames.push(frame(at + rng.u64(0..500_000), "100", &signed(counter, value)));
        if step % 10 == 3 {
            let [high, low] = (value / 2 + 100).to_be_bytes();
            frames.push(frame(at + 1_000_000 + rng.u64(0..1_000_000), "200", &[0, high, low]));
        }
        if step % 100 == 50 {
            frames.push(frame(at + 3_000_000 + rng.u64(0..2_000_000), "18FEF100", &[0xFF; 8]));
        }
        quiet += 1;
        if quiet > 30 && rng.u32(0..100) == 0 {
            flag ^= 1;
            quiet = 0;
            frames.push(frame(at + 6_000_000, "300", &[flag, 0]));
        }
    }
    frames
}

/// A profile of so many seconds of it.
pub(crate) fn learned(seconds: u64) -> Profile {
    let frames = traffic(START, seconds, 1);
    let mut learner = Learner::new(Vec::new());
    loop {
        frames.iter().for_each(|frame| learner.frame(frame));
        if !learner.again(&["can0".to_string()]) {
            break;
        }
    }
    learner.finish("test", "1", vec!["made up".into()]).unwrap()
}
