//! What the benchmarks and the counts share: a case is a DBC file, its frames, and the decoder that dbc-codegen wrote.

use std::env;
use std::hint::black_box;
use std::path::Path;

use can_decoders::frame::FD_LENGTHS;
use can_decoders::log::Options;
use can_decoders::{BusId, CanId, Database, Frame, FrameKind, LogReader, Plan, Sample};
use embedded_can::{ExtendedId, Id, StandardId};

/// A decoder that dbc-codegen wrote: the values of all signals, and how many.
pub type Decode = fn(Id, &[u8], &mut [f64; 512]) -> usize;

include!(concat!(env!("OUT_DIR"), "/cases.rs"));

/// A DBC file with frames for it.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// The DBC file.
    pub dbc: &'static str,
    /// Ours.
    pub plan: Plan,
    /// What dbc-codegen wrote.
    pub generated: Decode,
    /// Data frames that the file describes, as long as it says.
    pub frames: Vec<Frame>,
    /// Their identifiers as dbc-codegen's code takes them.
    pub ids: Vec<Id>,
}

impl Case {
    /// All cases. `LOG_name` in the environment is the recording of a case; without one its payloads are random.
    pub fn all() -> Vec<Self> {
        CASES.iter().map(|(name, dbc, generated)| Self::new(name, dbc, *generated)).collect()
    }

    fn new(name: &'static str, dbc: &'static str, generated: Decode) -> Self {
        let plan = Plan::compile(&[Database::load(Path::new(dbc)).unwrap()]);
        let described = |frame: &Frame| plan.find(frame.id).is_some_and(|m| plan.message(m).size == frame.len());
        let frames: Vec<Frame> = match env::var(format!("LOG_{name}")) {
            Ok(log) => LogReader::open(Path::new(&log), Options::default())
                .unwrap()
                .map(Result::unwrap)
                .filter(|frame| frame.bus.0 == 0 && described(frame))
                .collect(),
            Err(_) => random(&plan),
        };
        assert!(!frames.is_empty(), "{name}: no frame that {dbc} describes");
        let ids = frames.iter().map(|frame| id(frame.id)).collect();
        Self { name, dbc, plan, generated, frames, ids }
    }

    /// One pass over all frames: values through `for_each`.
    pub fn for_each(&self) {
        let mut out = [0.0; 512];
        for frame in &self.frames {
            let Some(message) = self.plan.find(frame.id) else { continue };
            let mut n = 0;
            self.plan.decode_frame(message, frame).signals().for_each(|sample| {
                out[n & 511] = sample.value;
                n += 1;
            });
            black_box(&out);
        }
    }

    /// One pass: all that is known of each value, into a buffer.
    pub fn slice(&self) {
        let mut out = vec![Sample::default(); self.plan.most_signals()];
        for frame in &self.frames {
            let Some(message) = self.plan.find(frame.id) else { continue };
            black_box(self.plan.decode_frame(message, frame).write(&mut out));
        }
    }

    /// One pass: values through a `for` loop.
    pub fn iterator(&self) {
        let mut out = [0.0; 512];
        for frame in &self.frames {
            let Some(message) = self.plan.find(frame.id) else { continue };
            for (sample, out) in self.plan.decode_frame(message, frame).signals().zip(&mut out) {
                *out = sample.value;
            }
            black_box(&out);
        }
    }

    /// One pass of what dbc-codegen wrote.
    pub fn generated(&self) {
        let mut out = [0.0; 512];
        for (frame, id) in self.frames.iter().zip(&self.ids) {
            black_box((self.generated)(*id, frame.payload(), &mut out));
            black_box(&out);
        }
    }

    /// Looks whether both have the same values, as far as 32-bit floats tell them apart. dbc-codegen has no values for
    /// multiplexed signals, and others for some that are wider than 32 bits.
    pub fn compare(&self) -> (usize, usize) {
        let mut out = [0.0; 512];
        let (mut same, mut all) = (0, 0);
        for (frame, id) in self.frames.iter().zip(&self.ids) {
            let message = self.plan.find(frame.id).unwrap();
            let count = (self.generated)(*id, frame.payload(), &mut out);
            for (sample, other) in self.plan.decode_frame(message, frame).signals().zip(&out[..count]) {
                all += 1;
                same += usize::from((sample.value - other).abs() <= 1e-4 * sample.value.abs().max(1.0));
            }
        }
        (same, all)
    }

    /// Signals in all frames.
    pub fn signals(&self) -> usize {
        let of = |frame: &Frame| self.plan.decode(self.plan.find(frame.id).unwrap(), frame.payload()).signals().count();
        self.frames.iter().map(of).sum()
    }
}

/// Random payloads of the plan's messages in random order.
fn random(plan: &Plan) -> Vec<Frame> {
    let sent: Vec<_> =
        plan.messages().iter().filter(|message| FD_LENGTHS.contains(&(message.size.min(255) as u8))).collect();
    // Steele, Lea and Flood's SplitMix64.
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    };
    let frame = |n: u64| {
        let message = sent[(next() % sent.len() as u64) as usize];
        let payload: Vec<u8> = (0..message.size).map(|_| next() as u8).collect();
        let kind = if message.size > 8 { FrameKind::Fd { brs: false, esi: false } } else { FrameKind::Data };
        Frame::new(n * 500_000, BusId(0), message.id, kind, &payload).unwrap()
    };
    (0..100_000).map(frame).collect()
}

fn id(id: CanId) -> Id {
    match u16::try_from(id.number()) {
        Ok(number) if !id.is_extended() => StandardId::new(number).unwrap().into(),
        _ => ExtendedId::new(id.number()).unwrap().into(),
    }
}
