//! From a frame on the bus to the gateway's acknowledgement of the alert that it leads to: decoding, detection on a grid of
//! 10 ms (half of which it waits for on average), the disk (an alert is on it before it is sent), the broker.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use can_decoders::{BusId, CanId, Database, Frame, FrameKind, Plan};
use outrider::config::Live;
use outrider::engine::debounce::DebounceSpec;
use outrider::engine::{
    Bus, Catalog, Detector, Engine, FeatureSpec, Finder, Function, Fuse, HealthSpec, ModelFeature, ModelSpec, Network,
    Score, Target, Verdict,
};
use outrider::event::{AnomalyPhase, Body, Class, Event};
use outrider::outbox::{Outbox, OutboxConfig, SledOutbox};
use outrider::runtime::{self, Parts, clock};
use outrider::source::{Progress, Source, SourceError};
use outrider::uplink::{Monitors, UplinkConfig};

use crate::drain::free_port;
use crate::links::{broker, gateway};
use crate::queue;
use crate::watched::{Watch, Watched};
use crate::{Outcome, again};

const ALERTS: usize = 200;
const EVERY: Duration = Duration::from_millis(50);
const GRID_NS: u64 = 10_000_000;

pub(crate) fn table(dir: &Path) -> Outcome<()> {
    println!("\nFrom the frame to the acknowledgement of its alert, {ALERTS} alerts at most, one every {EVERY:?}:\n");
    println!(
        "| gateway | events that wait at first | alerts | p50, ms | p99, ms | longest, ms |\n|---|---|---|---|---|---|"
    );
    for to in ["mosquitto", "kafka"] {
        for backlog in ["0", "1000000"] {
            let port = free_port()?;
            let _broker = broker(to, dir, port)?;
            println!(
                "{}",
                again(&["latency", dir.to_str().ok_or("not a text")?, to, backlog, &port.to_string()])?.trim_end()
            );
        }
    }
    Ok(())
}

/// One row.
pub(crate) fn one(dir: &Path, to: &str, backlog: usize, port: u16) -> Outcome<()> {
    let place = dir.join("outbox");
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    let mut outbox = SledOutbox::open(&place, OutboxConfig::new(4 << 30), queue::identity(), clock::moment())?;
    for n in 0..backlog {
        outbox.append(&Event { class: Class::Telemetry, ..queue::event(250, n, 0) })?;
        if n % 1000 == 999 {
            outbox.commit()?;
        }
    }
    outbox.commit()?;
    let waits = outbox.stat().depth();
    let told = Arc::new(Mutex::new(Told { backlog: backlog > 0, ..Told::default() }));
    let stop = Arc::new(AtomicBool::new(false));
    let outbox = Watched::new(outbox, &told, &stop);
    let uplink = UplinkConfig { gateways: vec![gateway(to, port)?], ..UplinkConfig::default() };
    let parts = Parts {
        identity: queue::identity(),
        source: Box::new(Pulses { next: Instant::now() + Duration::from_millis(100), high: 0, told: told.clone() }),
        live: Live { engine: engine(), refused: Vec::new(), meters: Vec::new() },
        privacy: None,
        outbox: Arc::new(Mutex::new(outbox)),
        monitors: Monitors::new(&uplink),
        uplink,
        changes: None,
        notifier: None,
        recorder: None,
        accounts: outrider::runtime::Accounts::default(),
        observer: None,
    };
    runtime::run(parts, &stop)?;
    let mut taken = std::mem::take(&mut told.lock().expect("no panic").taken);
    taken.sort_unstable();
    let at =
        |share: f64| taken.get((taken.len() as f64 * share) as usize).copied().unwrap_or_default().as_secs_f64() * 1e3;
    println!("| {to} | {waits} | {} | {:.1} | {:.1} | {:.1} |", taken.len(), at(0.5), at(0.99), at(0.999_999));
    Ok(())
}

/// What was seen of alerts.
#[derive(Default)]
struct Told {
    /// When the frame of the latest came.
    came: Option<Instant>,
    /// Number of its alert.
    seq: Option<u64>,
    taken: Vec<Duration>,
    backlog: bool,
}

/// Frames of a steady value every 5 ms; now and then one that is odd.
struct Pulses {
    next: Instant,
    /// Frames that are still odd.
    high: u32,
    told: Arc<Mutex<Told>>,
}

impl Source for Pulses {
    fn read(&mut self, batch: &mut Vec<Frame>, _: Duration) -> Result<Progress, SourceError> {
        std::thread::sleep(Duration::from_millis(2));
        let now = Instant::now();
        if now >= self.next {
            self.next = now + EVERY;
            self.high = 5;
            self.told.lock().expect("no panic").came = Some(now);
        }
        self.high = self.high.saturating_sub(1);
        let value = if self.high > 0 { 200 } else { 10 };
        let id = CanId::standard(256).ok_or("an identifier").expect("it is one");
        let frame = Frame::new(clock::wall_ns(), BusId(0), id, FrameKind::Data, &[value]).expect("it is a frame");
        batch.push(frame);
        Ok(Progress { now_ns: clock::wall_ns(), ended: false })
    }

    fn is_live(&self) -> bool {
        true
    }
}

struct Steady;

impl Network for Steady {
    fn run(&mut self, _: &[f32], _: &mut Verdict) -> Result<(), String> {
        Ok(())
    }
}

fn engine() -> Engine {
    let dbc = "VERSION \"\"\nBU_: A\nBO_ 256 M: 1 A\n SG_ S : 0|8@1+ (1,0) [0|255] \"\" A\n";
    let plan = Plan::compile(&[Database::parse("bench.dbc", dbc.as_bytes()).expect("it is one")]);
    let catalog = Catalog::new(vec![Bus::new("can0", plan)]);
    let feature = ModelFeature {
        spec: FeatureSpec {
            name: "s".into(),
            function: Function::Value,
            of: "S".into(),
            window: 0,
            max_age_ns: 1_000_000_000,
            only_if: None,
        },
        mean: 10.0,
        std: 1.0,
        target: Some(Target { scale: 10.0, smooth_ns: 0, class: Class::Alert }),
        seen: None,
    };
    let spec = ModelSpec {
        finder: Finder { name: "m".into(), version: "1".into(), hash: "0".into() },
        what: "deviation".into(),
        period_ns: GRID_NS,
        warmup_ns: 0,
        features: vec![feature],
        score: Score::Residual(Fuse::Max),
        threshold: 5.0,
        debounce: DebounceSpec { k: 1, n: 1, min_ns: 0, clear_ns: 10_000_000, update_ns: 60_000_000_000 },
    };
    let detector = Detector::new(spec.into(), Box::new(Steady), &catalog).map_err(|(name, _)| name).expect("it fits");
    let health = HealthSpec { period_ns: 60_000_000_000, silent_factor: 5, silent_min_ns: 1_000_000_000 };
    Engine::new(catalog, health, Vec::new(), vec![detector])
}

impl Watch for Told {
    fn appended(&mut self, seq: u64, event: &Event) {
        if matches!(&event.body, Body::Anomaly(anomaly) if anomaly.phase == AnomalyPhase::Raised) {
            self.seq = Some(seq);
        }
    }

    fn acked(&mut self, class: Class, first_seq: u64, waits: u64) -> bool {
        if class == Class::Alert
            && self.seq.is_some_and(|seq| seq >= first_seq)
            && let (Some(_), Some(came)) = (self.seq.take(), self.came)
        {
            self.taken.push(came.elapsed());
        }
        // With a backlog only what comes while there is one counts.
        self.taken.len() >= ALERTS || (self.backlog && waits < 1000)
    }
}
