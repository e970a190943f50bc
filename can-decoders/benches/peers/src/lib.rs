//! What the benchmarks and the counts share: a case is a DBC file, its frames, and the decoder that dbc-codegen wrote.

use std::env;
use std::path::Path;

use can_decoders::candump::Options;
use can_decoders::{CanId, Database, Frame, LogReader, Plan};
use embedded_can::{ExtendedId, Id, StandardId};

/// A decoder that dbc-codegen wrote: the values of all signals, and how many.
pub type Decode = fn(Id, &[u8], &mut [f64; 512]) -> usize;

include!(concat!(env!("OUT_DIR"), "/cases.rs"));

/// A DBC file with frames for it.
pub struct Case {
    /// Its name.
    pub name: &'static str,
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
    /// All cases; `LOG_name` in the environment is the recording of a case.
    pub fn all() -> Vec<Self> {
        CASES.iter().map(|(name, dbc, generated)| Self::new(name, dbc, *generated)).collect()
    }

    fn new(name: &'static str, dbc: &str, generated: Decode) -> Self {
        let plan = Plan::compile(&[Database::load(Path::new(dbc)).unwrap()]);
        let log = env::var(format!("LOG_{name}")).unwrap();
        let described = |frame: &Frame| plan.find(frame.id).is_some_and(|m| plan.message(m).size == frame.len());
        let frames: Vec<Frame> = LogReader::open(Path::new(&log), Options::default())
            .unwrap()
            .map(Result::unwrap)
            .filter(|frame| frame.bus.0 == 0 && described(frame))
            .collect();
        assert!(!frames.is_empty(), "{log}: no frame that {dbc} describes");
        let ids = frames.iter().map(|frame| id(frame.id)).collect();
        Self { name, plan, generated, frames, ids }
    }

    /// Signals in all frames.
    pub fn signals(&self) -> usize {
        let of = |frame: &Frame| self.plan.decode(self.plan.find(frame.id).unwrap(), frame.payload()).signals().count();
        self.frames.iter().map(of).sum()
    }
}

fn id(id: CanId) -> Id {
    match u16::try_from(id.number()) {
        Ok(number) if !id.is_extended() => StandardId::new(number).unwrap().into(),
        _ => ExtendedId::new(id.number()).unwrap().into(),
    }
}
