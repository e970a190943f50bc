//! Events to gateways: how many a second, what an event costs in processor time and in bytes on the wire; by us, and by what
//! one would else use for it, in the same run, to the same brokers, on loopback.
//!
//! Bytes are those of the loopback interface, both ways, with all headers: nothing else may use it meanwhile (`run links`
//! takes a network namespace of its own). The brokers have no subscribers. Kafka's is tansu in memory.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outrider::event::{Class, Event};
use outrider::outbox::{Outbox, SledOutbox, lock};
use outrider::uplink::{GatewayConfig, KafkaConfig, Monitors, MqttConfig, TopicTemplate, UplinkConfig, Uplinks, Waker};

use crate::drain::{Broker, bridge_settings, cpu, free_port};
use crate::queue::{self, Outrider};
use crate::{Outcome, again};

/// Events, and of those that go one by one.
const MANY: usize = 400_000;
const FEW: usize = 20_000;
const FEWEST: usize = 2_000;

pub(crate) fn gateway(to: &str, port: u16) -> Outcome<GatewayConfig> {
    let topic = |text| TopicTemplate::parse(text);
    Ok(match to {
        "mosquitto" => MqttConfig::new("127.0.0.1", port, "truck-0001", topic("outrider/{vehicle}/{class}")?).into(),
        _ => KafkaConfig::new(vec![format!("127.0.0.1:{port}")], "truck-0001", topic("outrider-{class}")?).into(),
    })
}

/// A broker of either kind.
pub(crate) enum Either {
    Mosquitto(#[expect(dead_code, reason = "it runs as long as it is there")] Broker),
    Kafka(std::process::Child),
}

impl Drop for Either {
    fn drop(&mut self) {
        if let Self::Kafka(child) = self {
            let _ = (child.kill(), child.wait());
        }
    }
}

pub(crate) fn broker(to: &str, dir: &Path, port: u16) -> Outcome<Either> {
    if to == "mosquitto" {
        let settings = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n");
        return Ok(Either::Mosquitto(Broker::start(dir, "remote", &settings, port)?));
    }
    let url = format!("tcp://127.0.0.1:{port}");
    let child = Command::new(std::env::var("TANSU")?)
        .args(["broker", "--listener-url", &url, "--advertised-listener-url", &url])
        .args(["--storage-engine", "memory://tansu/"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let kafka = Either::Kafka(child);
    let start = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if start.elapsed() > Duration::from_secs(10) {
            return Err("tansu does not listen".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(kafka)
}

pub(crate) fn table(dir: &Path) -> Outcome<()> {
    println!("| events to | by | how | events | events/s | sender's CPU, µs an event | bytes on the wire an event |");
    println!("|---|---|---|---|---|---|---|");
    for to in ["mosquitto", "kafka"] {
        for (how, events) in [("batched", MANY), ("single", FEW)] {
            let port = free_port()?;
            std::fs::create_dir_all(dir)?;
            let _broker = broker(to, dir, port)?;
            let at = dir.to_str().ok_or("not a text")?;
            println!("{}", again(&["link", at, to, how, &events.to_string(), &port.to_string()])?.trim_end());
        }
        for peer in if to == "mosquitto" { &PEERS[..2] } else { &PEERS[2..] } {
            let port = free_port()?;
            let _broker = broker(to, dir, port)?;
            self::peer(dir, peer, port)?;
        }
    }
    Ok(())
}

const PEERS: [&str; 4] =
    ["mosquitto_pub -l", "mosquitto bridge", "confluent-kafka, batched", "confluent-kafka, single"];

fn row(to: &str, by: &str, how: &str, events: usize, took: Duration, cpu_s: f64, bytes: u64) {
    let each = |x: f64| x / events as f64;
    println!(
        "| {to} | {by} | {how} | {events} | {:.0} | {:.1} | {:.0} |",
        events as f64 / took.as_secs_f64(),
        each(cpu_s * 1e6),
        each(bytes as f64)
    );
}

/// Ours, in a process of its own.
pub(crate) fn ours(dir: &Path, to: &str, how: &str, events: usize, port: u16) -> Outcome<()> {
    let place = dir.join("outbox");
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    let mut outbox = Outrider::open(&place)?.into_inner();
    // In memory, as while the link is up: the disk is measured elsewhere.
    outbox.link(true)?;
    for n in 0..events {
        outbox.append(&Event { class: Class::Telemetry, ..queue::event(250, n, 0) })?;
        if how == "single" || n % 1000 == 999 {
            outbox.commit()?;
        }
    }
    outbox.commit()?;
    let config = UplinkConfig { gateways: vec![gateway(to, port)?], ..UplinkConfig::default() };
    let monitors = Monitors::new(&config);
    let uplinks = Uplinks::new(config, &queue::identity())?;
    let outbox = Arc::new(Mutex::new(outbox));
    let (wire, cpu_s, start) = (wire()?, cpu("self")?, Instant::now());
    let emptied = async {
        while lock::<SledOutbox>(&outbox).stat().depth() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(uplinks.run(outbox.clone(), Waker::new(), monitors.links, emptied));
    row(to, "outrider", how, events, start.elapsed(), cpu("self")? - cpu_s, self::wire()? - wire);
    Ok(())
}

/// The same events, one a line where the peer takes lines.
fn lines(events: usize) -> Vec<Vec<u8>> {
    let line = |n: usize| {
        let event = Event { class: Class::Telemetry, ..queue::event(250, n, 0) };
        let mut line = serde_json::to_vec(&event.envelope(&queue::identity(), n as u64 + 1)).expect("it encodes");
        line.push(b'\n');
        line
    };
    (0..events).map(line).collect()
}

fn peer(dir: &Path, peer: &str, port: u16) -> Outcome<()> {
    let name = port.to_string();
    match peer {
        "mosquitto_pub -l" => {
            let mut command = Command::new("mosquitto_pub");
            command.args([
                "-V",
                "5",
                "-q",
                "1",
                "-l",
                "-h",
                "127.0.0.1",
                "-p",
                &name,
                "-t",
                "outrider/truck-0001/telemetry",
            ]);
            fed("mosquitto", peer, "one by one", command, FEW)
        }
        "mosquitto bridge" => bridged(dir, port),
        _ => {
            let Ok(python) = std::env::var("PYTHON") else {
                return Err("PYTHON: an interpreter with confluent-kafka".into());
            };
            let single = peer.ends_with("single");
            let script = "import sys\nfrom confluent_kafka import Producer\n\
                 p = Producer({'bootstrap.servers': sys.argv[1], 'acks': 'all', 'compression.type': 'snappy', \
                 'queue.buffering.max.messages': 1000000, 'max.in.flight': 1, 'linger.ms': 0 if sys.argv[2] == '1' else 5})\n\
                 for line in sys.stdin.buffer:\n\
                 \x20   p.produce('outrider-telemetry', line, key=b'truck-0001')\n\
                 \x20   p.flush() if sys.argv[2] == '1' else p.poll(0)\n\
                 p.flush()\n";
            let mut command = Command::new(python);
            command.args(["-c", script, &format!("127.0.0.1:{port}"), if single { "1" } else { "0" }]);
            let (how, events) = if single { ("single", FEWEST) } else { ("batched", MANY) };
            fed("kafka", "confluent-kafka", how, command, events)
        }
    }
}

/// A program that reads events from standard input.
fn fed(to: &str, by: &str, how: &str, mut command: Command, events: usize) -> Outcome<()> {
    let lines = lines(events).concat();
    let (wire, cpu_s, start) = (wire()?, children()?, Instant::now());
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(|error| format!("{by}: {error}"))?;
    let mut stdin = child.stdin.take().ok_or("no pipe")?;
    stdin.write_all(&lines)?;
    drop(stdin);
    if !child.wait()?.success() {
        return Err(format!("{by} failed").into());
    }
    row(to, by, how, events, start.elapsed(), children()? - cpu_s, self::wire()? - wire);
    Ok(())
}

/// mosquitto as a bridge: it is given the events, and they arrive at the broker.
fn bridged(dir: &Path, port: u16) -> Outcome<()> {
    let local = free_port()?;
    let bridge = Broker::start(dir, "bridge", &bridge_settings(dir, local, port)?, local)?;
    let events: Vec<Vec<u8>> = lines(FEW);
    let (wire, cpu_s, start) = (wire()?, cpu(&bridge.pid())?, Instant::now());
    let mut command = Command::new("mosquitto_pub");
    command.args(["-V", "5", "-q", "1", "-l", "-h", "127.0.0.1", "-p", &local.to_string()]);
    command.args(["-t", "outrider/truck-0001/telemetry"]);
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("no pipe")?.write_all(&events.concat())?;
    child.wait()?;
    // What goes in comes out: until the wire is still.
    let mut last = (self::wire()?, Instant::now());
    while last.1.elapsed() < Duration::from_millis(300) {
        std::thread::sleep(Duration::from_millis(5));
        let now = self::wire()?;
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    // Half of the bytes are those that it was given.
    row(
        "mosquitto",
        "mosquitto bridge",
        "one by one",
        FEW,
        last.1 - start,
        cpu(&bridge.pid())? - cpu_s,
        (last.0 - wire) / 2,
    );
    Ok(())
}

/// Bytes that have gone over the loopback interface.
fn wire() -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/net/dev")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:")).ok_or("no loopback interface")?;
    Ok(line.split_whitespace().next().ok_or("no number")?.parse()?)
}

/// Seconds of the processor that ended children have had.
fn children() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().ok_or("no fields")?.split_whitespace().collect();
    let ticks = |at: usize| -> Outcome<f64> { Ok(fields.get(at).ok_or("no field")?.parse()?) };
    Ok((ticks(13)? + ticks(14)?) / 100.0)
}
