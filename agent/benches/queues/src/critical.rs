//! A crash, from its frame: until its event is on the disk, until the gateway has acknowledged it, and until the seconds before
//! are on the disk. Two buses carry 4,000 frames a second each all the while; the condition asks for two sources.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use can_decoders::{BusId, CanId, Frame, FrameKind};
use outrider::config::Config;
use outrider::event::{Body, Class, ConditionPhase, Event, RecordingState};
use outrider::outbox::{Outbox, OutboxConfig, SledOutbox};
use outrider::runtime::notify::Notifier;
use outrider::runtime::{self, Accounts, Parts, clock};
use outrider::source::{Progress, Source, SourceError};
use outrider::uplink::{Monitors, UplinkConfig};

use crate::drain::free_port;
use crate::links::{broker, gateway};
use crate::watched::{Watch, Watched};
use crate::{Outcome, again, queue};

const CRASHES: usize = 60;
const EVERY: Duration = Duration::from_millis(1500);
/// Frames a second on each bus.
const RATE: u64 = 4000;

pub(crate) fn table(dir: &Path) -> Outcome<()> {
    println!("\nFrom the frame of a crash, {CRASHES} crashes, two buses with {RATE} frames/s each; ms, p50 / p99:\n");
    println!(
        "| events that wait at first | a listener in the vehicle is told | event on the disk | acknowledged by mosquitto | the 10 s before on the disk (once) |\n|---|---|---|---|---|"
    );
    for backlog in ["0", "1000000"] {
        let port = free_port()?;
        let _broker = broker("mosquitto", dir, port)?;
        let place = dir.to_str().ok_or("not a text")?;
        println!("{}", again(&["crash", place, backlog, &port.to_string()])?.trim_end());
    }
    Ok(())
}

/// One row.
pub(crate) fn one(dir: &Path, backlog: usize, port: u16) -> Outcome<()> {
    for place in ["outbox", "recordings"].map(|place| dir.join(place)).iter().filter(|place| place.exists()) {
        std::fs::remove_dir_all(place)?;
    }
    std::fs::write(
        dir.join("car.dbc"),
        "VERSION \"\"\nBU_: A\nBO_ 256 Restraint: 8 A\n SG_ Front : 0|16@1- (0.01,0) [0|0] \"m/s2\" A\n\
         BO_ 257 Chassis: 8 A\n SG_ Rear : 0|16@1- (0.01,0) [0|0] \"m/s2\" A\n",
    )?;
    let text = "[vehicle]\nid = \"truck-0001\"\n[[bus]]\nname = \"can0\"\ndbc = [\"car.dbc\"]\n[[bus]]\nname = \"can1\"\ndbc = [\"car.dbc\"]\n\
                [notify]\nsocket = \"lamp.sock\"\n[recorder]\ndir = \"recordings\"\nseconds = 10\nupload = false\n[[condition]]\nname = \"crash\"\nclass = \"critical\"\nwhen = '''\n\
                within(math.abs(signal('can0:Restraint.Front')) > 30.0, duration('200ms'))\n\
                && within(math.abs(signal('can1:Chassis.Rear')) > 30.0, duration('200ms'))'''\nnotify = true\nrecord = { before_s = 10, after_s = 0 }\n";
    let config = Config::parse(&dir.join("crash.toml"), text)?;
    let mut outbox =
        SledOutbox::open(&dir.join("outbox"), OutboxConfig::new(4 << 30), queue::identity(), clock::moment())?;
    for n in 0..backlog {
        outbox.append(&Event { class: Class::Telemetry, ..queue::event(250, n, 0) })?;
        if n % 1000 == 999 {
            outbox.commit()?;
        }
    }
    outbox.commit()?;
    let waits = outbox.stat().depth();
    let (told, stop) = (Arc::new(Mutex::new(Told::default())), Arc::new(AtomicBool::new(false)));
    let outbox = Watched::new(outbox, &told, &stop);
    let socket = dir.join("lamp.sock");
    let notifier = Some(Notifier::open(&socket)?);
    listen(&socket, told.clone())?;
    let uplink = UplinkConfig { gateways: vec![gateway("mosquitto", port)?], ..UplinkConfig::default() };
    let live = config.engine.build_live();
    let recorder = config.recorder.as_ref().map(|place| (place.config.clone(), place.settings(&live.engine, None)));
    let start = Instant::now();
    let its = told.clone();
    let parts = Parts {
        identity: queue::identity(),
        source: Box::new(Buses { start, frames: 0, next: start + Duration::from_secs(11), told: told.clone() }),
        live,
        privacy: None,
        outbox: Arc::new(Mutex::new(outbox)),
        monitors: Monitors::new(&uplink),
        uplink,
        changes: None,
        notifier,
        recorder,
        accounts: Accounts::default(),
        observer: Some(Box::new(move |_, events| {
            let on_disk =
                |event: &Event| matches!(&event.body, Body::Recording(one) if one.state == RecordingState::Started);
            let mut told = its.lock().expect("no panic");
            if let (true, Some(came)) = (events.iter().any(on_disk), told.came) {
                told.recorded.push(came.elapsed());
            }
        })),
    };
    runtime::run(parts, &stop)?;
    let told = std::mem::take(&mut *told.lock().expect("no panic"));
    // Triggers whose times overlap are one recording: the first has all of the time before.
    let recorded = told.recorded.first().map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let row: Vec<String> = [told.heard, told.durable, told.acked]
        .into_iter()
        .map(|mut times| {
            times.sort_unstable();
            let at = |share: f64| {
                times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default().as_secs_f64() * 1e3
            };
            format!("{:.2} / {:.2}", at(0.5), at(0.99))
        })
        .collect();
    println!("| {waits} | {} | {recorded:.1} |", row.join(" | "));
    Ok(())
}

/// What was seen.
#[derive(Default)]
struct Told {
    /// When the frame of the latest crash came.
    came: Option<Instant>,
    /// Number of its event, while it is not on the disk, and while it is not acknowledged.
    pending: Option<u64>,
    sent: Option<u64>,
    heard: Vec<Duration>,
    durable: Vec<Duration>,
    acked: Vec<Duration>,
    recorded: Vec<Duration>,
}

/// Two full buses; now and then both accelerometers say the same.
struct Buses {
    start: Instant,
    frames: u64,
    next: Instant,
    told: Arc<Mutex<Told>>,
}

impl Source for Buses {
    fn read(&mut self, batch: &mut Vec<Frame>, _: Duration) -> Result<Progress, SourceError> {
        std::thread::sleep(Duration::from_millis(2));
        let now = Instant::now();
        let due = u64::try_from(now.duration_since(self.start).as_micros()).unwrap_or(0) * RATE / 1_000_000;
        let now_ns = clock::wall_ns();
        let mut frame = |bus: u8, id: u32, value: i16| {
            let [low, high] = value.to_le_bytes();
            let payload = [low, high, (due & 255) as u8, 0x5A, bus, 0, 0x7F, 0x80];
            let id = CanId::standard(id).expect("it is one");
            batch.push(Frame::new(now_ns, BusId(bus), id, FrameKind::Data, &payload).expect("it is a frame"));
        };
        while self.frames < due {
            self.frames += 1;
            let value = i16::try_from(self.frames % 200).unwrap_or(0);
            frame(0, 0x100 + u32::from(self.frames % 10 > 0) * 0x300, value);
            frame(1, 0x101 + u32::from(self.frames % 10 > 0) * 0x300, -value);
        }
        if now >= self.next {
            self.next = now + EVERY;
            frame(0, 0x100, -6000);
            frame(1, 0x101, -6000);
            self.told.lock().expect("no panic").came = Some(now);
        }
        Ok(Progress { now_ns, ended: false })
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl Watch for Told {
    fn appended(&mut self, seq: u64, event: &Event) {
        if is_crash(event) {
            (self.pending, self.sent) = (Some(seq), Some(seq));
        }
    }

    fn committed(&mut self) {
        if let (Some(_), Some(came)) = (self.pending.take(), self.came) {
            self.durable.push(came.elapsed());
        }
    }

    fn acked(&mut self, class: Class, first_seq: u64, _: u64) -> bool {
        if class == Class::Critical
            && self.sent.is_some_and(|seq| seq >= first_seq)
            && let (Some(_), Some(came)) = (self.sent.take(), self.came)
        {
            self.acked.push(came.elapsed());
        }
        self.acked.len() >= CRASHES
    }
}

fn is_crash(event: &Event) -> bool {
    matches!(&event.body, Body::Condition(condition) if condition.phase == ConditionPhase::Raised)
}

/// A lamp: reads what it is told, and when.
fn listen(path: &Path, told: Arc<Mutex<Told>>) -> Outcome<()> {
    let lines = BufReader::new(UnixStream::connect(path)?).lines();
    std::thread::spawn(move || {
        // Until the agent hangs up.
        for _ in lines.map_while(Result::ok).filter(|line| line.contains("\"raised\"")) {
            let mut told = told.lock().expect("no panic");
            let heard = told.came.map(|came| came.elapsed());
            told.heard.extend(heard);
        }
    });
    Ok(())
}
