//! Drives: frames in memory with the buses that describe them.

use std::fmt;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use can_decoders::log::{LogWriter, Options};
use can_decoders::{BusId, Database, Frame, LogReader, Plan, Sample};
use outrider::engine::{Bus, Catalog, Engine, SignalId, Sink};
use outrider::event::Event;
use outrider::source::sim::{DBC, SimConfig, Simulation};

/// Takes events and lets them go.
pub(crate) struct Discard;

impl Sink for Discard {
    fn event(&mut self, event: Event) {
        black_box(event);
    }

    fn score(&mut self, _: usize, _: u64, score: f64, _: &mut dyn Iterator<Item = f64>) {
        black_box(score);
    }
}

pub(crate) const SIMULATED: &str = "simulated";

pub(crate) struct Drive {
    pub(crate) name: &'static str,
    pub(crate) frames: Vec<Frame>,
    pub(crate) catalog: Catalog,
}

/// Two minutes of the simulated vehicle, both buses.
pub(crate) fn simulated() -> Drive {
    let start_ns = 1_700_000_000_000_000_000;
    let simulation = Simulation::new(SimConfig { seed: 1, start_ns, faults: Vec::new() }).unwrap();
    let frames = simulation.take_while(|frame| frame.time_ns < start_ns + 120_000_000_000).collect();
    let bus = |(name, file, text): (&str, &str, &str)| {
        Bus::new(name, Plan::compile(&[Database::parse(file, text.as_bytes()).unwrap()]))
    };
    Drive { name: SIMULATED, frames, catalog: Catalog::new(DBC.map(bus).into()) }
}

/// The first bus of a recorded Toyota RAV4; `None` without the shared data.
pub(crate) fn rav4() -> Option<Drive> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let data = std::env::var_os("OUTRIDER_SHARED").map_or(beside, PathBuf::from).join("data");
    let log = data.join("logs/comma2k19_rav4.log.zst");
    if !log.is_file() {
        eprintln!("skipped: the recorded drive, because there is no {} (set OUTRIDER_SHARED)", log.display());
        return None;
    }
    let options = Options { buses: vec!["can0".into()], ..Options::default() };
    let frames = LogReader::open(&log, options).unwrap().map(Result::unwrap).filter(|f| f.bus == BusId(0)).collect();
    let database = Database::load(&data.join("dbc/opendbc/toyota_new_mc_pt_generated.dbc")).unwrap();
    let bus = Bus::new("can0", Plan::compile(&[database]));
    Some(Drive { name: "rav4", frames, catalog: Catalog::new(vec![bus]) })
}

impl Drive {
    /// Calls `each` with every signal of every frame.
    pub(crate) fn samples(&self, mut each: impl FnMut(SignalId, Sample)) {
        for frame in &self.frames {
            let Some(bus) = self.catalog.route(frame.bus) else { continue };
            let plan = &self.catalog.buses()[bus].plan;
            let Some(message) = plan.find(frame.id) else { continue };
            let base = self.catalog.signal_base(bus);
            for sample in plan.decode(message, frame.payload()).signals() {
                each(SignalId(base + sample.signal.0), sample);
            }
        }
    }

    pub(crate) fn play(&self, engine: &mut Engine, sink: &mut impl Sink) {
        for frame in &self.frames {
            engine.frame(frame, sink);
        }
    }

    /// The drive as a candump log.
    pub(crate) fn text(&self, scratch: &Path) -> Vec<u8> {
        let path = scratch.join("drive.log");
        let mut writer = LogWriter::create(&path).unwrap();
        for frame in &self.frames {
            writer.write(&self.catalog.buses()[usize::from(frame.bus.0)].name, frame).unwrap();
        }
        writer.finish().unwrap();
        std::fs::read(&path).unwrap()
    }
}

/// What the figures are over.
impl fmt::Display for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.frames.iter().filter(|frame| {
            let bus = self.catalog.route(frame.bus);
            bus.is_some_and(|bus| self.catalog.buses()[bus].plan.find(frame.id).is_some())
        });
        let mut signals = 0;
        self.samples(|_, _| signals += 1);
        let all = self.frames.len();
        write!(f, "{all} frames, {} of them described by the DBC, {signals} signals", known.count())
    }
}
