//! A backlog and a broker that comes back: how fast it is given away, by whom, and what that takes.
//!
//! The broker is mosquitto on loopback, without subscribers, with its defaults: 20 messages not acknowledged at a time.
//! What it can take at best is measured with a client that does nothing but write the same messages from memory. The peer
//! is what one would else put on a gateway: mosquitto itself, with persistence, as a bridge.

use std::error::Error;
use std::io::{BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outrider::event::Class;
use outrider::outbox::{Outbox, SledOutbox, lock};
use outrider::uplink::{Monitors, MqttConfig, TopicTemplate, UplinkConfig, Uplinks, Waker};

use crate::queue::{self, Outrider};
use crate::{Outcome, again, field};

pub(crate) fn table(dir: &Path, mib: &str) -> Outcome<()> {
    let at = dir.to_str().ok_or("not a text")?;
    println!("\nDraining {mib} MiB of events to mosquitto on loopback:\n");
    println!(
        "| sender | events | messages | events/s | MiB/s | sender's CPU, s | broker's CPU, s | sender's memory, MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for kind in ["bare client", "outrider", "mosquitto bridge, batches", "mosquitto bridge, events"] {
        again(&["fill", at, mib])?;
        println!("{}", again(&["drain", at, kind])?.trim_end());
    }
    again(&["fill", at, "16"])?;
    println!("\n{}", again(&["killed", at])?.trim_end());
    Ok(())
}

/// What mosquitto with persistence has kept of what it had acknowledged, after kill -9.
pub(crate) fn killed(dir: &Path) -> Outcome<()> {
    let (port, local) = (free_port()?, free_port()?);
    let load = Load::of(dir, false)?;
    let settings = bridge_settings(dir, local, port)?;
    let bridge = Broker::start(dir, "bridge", &settings, local)?;
    publish(local, &load.messages)?;
    drop(bridge);
    let settings_of_remote = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n");
    let remote = Broker::start(dir, "remote", &settings_of_remote, port)?;
    let idle = remote.taken()?;
    let _bridge = Broker::start(dir, "bridge", &settings, local)?;
    std::thread::sleep(Duration::from_secs(5));
    println!(
        "After kill -9 of mosquitto, of {} bytes that it had acknowledged at most {} reach the other broker; of ours all \
         do (`tests/soak kills`).",
        load.bytes,
        remote.taken()? - idle
    );
    Ok(())
}

/// One row.
pub(crate) fn one(dir: &Path, kind: &str) -> Outcome<()> {
    let port = free_port()?;
    let settings = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n");
    match kind {
        "bare client" => {
            let load = Load::of(dir, false)?;
            let mut broker = Broker::start(dir, "remote", &settings, port)?;
            let start = Instant::now();
            publish(port, &load.messages)?;
            load.row(kind, start.elapsed(), cpu("self")?, &mut broker, "self")
        }
        "outrider" => {
            let load = Load { messages: Vec::new(), ..Load::of(dir, false)? };
            let mut broker = Broker::start(dir, "remote", &settings, port)?;
            // In a process of its own, for its memory.
            let text = again(&["uplink", dir.to_str().ok_or("not a text")?, &port.to_string()])?;
            let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            let [seconds, cpu_s, memory] = numbers[..] else { return Err("three numbers expected".into()) };
            load.print(kind, Duration::from_secs_f64(seconds), cpu_s, broker.cpu()?, memory)
        }
        _ => {
            let mut load = Load::of(dir, kind.ends_with("events"))?;
            let local = free_port()?;
            let mut bridge = Broker::start(dir, "bridge", &bridge_settings(dir, local, port)?, local)?;
            publish(local, &load.messages)?;
            load.messages = Vec::new();
            let before_s = bridge.cpu()?;
            let mut broker = Broker::start(dir, "remote", &settings, port)?;
            let idle = broker.taken()?;
            while broker.taken()? < idle + 100_000 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let start = Instant::now();
            while broker.taken()? < idle + load.bytes {
                std::thread::sleep(Duration::from_millis(1));
            }
            let took = start.elapsed();
            let cpu_s = bridge.cpu()? - before_s;
            load.row(kind, took, cpu_s, &mut broker, &bridge.child.id().to_string())
        }
    }
}

/// mosquitto that keeps what it gets until the broker at `port` is there. Its own default would drop all but 1,000 messages.
pub(crate) fn bridge_settings(dir: &Path, local: u16, port: u16) -> Outcome<String> {
    let place = dir.join("bridge");
    std::fs::create_dir_all(&place)?;
    Ok(format!(
        "listener {local} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\nuser root\n\
         max_queued_messages 0\nconnection up\naddress 127.0.0.1:{port}\ntopic # out 1\ncleansession false\n\
         restart_timeout 1\nnotifications false\nbridge_protocol_version mqttv50\n",
        place.display()
    ))
}

/// The outbox as it is filled, to be sent.
struct Load {
    messages: Vec<Vec<u8>>,
    count: usize,
    events: u64,
    bytes: u64,
}

impl Load {
    /// `single`: a message an event.
    fn of(dir: &Path, single: bool) -> Outcome<Self> {
        let mut outbox = queue::Outrider::open(dir)?.into_inner();
        let (mut load, mut after) = (Self { messages: Vec::new(), count: 0, events: 0, bytes: 0 }, 0);
        while let Some(batch) = outbox.read(Class::Alert, after)? {
            after = batch.first_seq;
            load.events += u64::from(batch.count);
            load.bytes += batch.payload.len() as u64;
            if single {
                // All events have nearly the same length here.
                let each = batch.payload.len().div_ceil(batch.count as usize);
                load.messages.extend(batch.payload.chunks(each).map(<[u8]>::to_vec));
            } else {
                load.messages.push(batch.payload);
            }
        }
        load.count = load.messages.len();
        outbox.close()?;
        Ok(load)
    }

    fn row(&self, kind: &str, took: Duration, cpu_s: f64, broker: &mut Broker, pid: &str) -> Outcome<()> {
        let memory = field(&format!("/proc/{pid}/status"), "VmHWM:")? as f64 / 1024.0;
        self.print(kind, took, cpu_s, broker.cpu()?, memory)
    }

    fn print(&self, kind: &str, took: Duration, cpu_s: f64, broker_s: f64, memory: f64) -> Outcome<()> {
        let rate = |n: u64| n as f64 / took.as_secs_f64();
        println!(
            "| {kind} | {} | {} | {:.0} | {:.1} | {cpu_s:.2} | {broker_s:.2} | {memory:.1} |",
            self.events,
            self.count,
            rate(self.events),
            rate(self.bytes) / f64::from(1 << 20)
        );
        Ok(())
    }
}

/// Our uplink until nothing waits: seconds, seconds of the processor, and most memory.
pub(crate) fn uplink(dir: &Path, port: &str) -> Outcome<()> {
    let topic = TopicTemplate::parse("outrider/{vehicle}/{class}")?;
    let gateway = MqttConfig::new("127.0.0.1", port.parse()?, "truck-0001", topic).into();
    let config = UplinkConfig { gateways: vec![gateway], ..UplinkConfig::default() };
    let monitors = Monitors::new(&config);
    let uplinks = Uplinks::new(config, &queue::identity())?;
    let (cpu_s, start) = (cpu("self")?, Instant::now());
    let outbox = Arc::new(Mutex::new(Outrider::open(dir)?.into_inner()));
    let emptied = async {
        while lock::<SledOutbox>(&outbox).stat().depth() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(uplinks.run(outbox.clone(), Waker::new(), monitors.links, emptied));
    let took = start.elapsed();
    let memory = field("/proc/self/status", "VmHWM:")? as f64 / 1024.0;
    println!("{} {} {memory}", took.as_secs_f64(), cpu("self")? - cpu_s);
    Ok(())
}

/// Publishes with QoS 1 (MQTT 5), as many at a time as the broker allows, until all are acknowledged.
fn publish(port: u16, messages: &[Vec<u8>]) -> Outcome<()> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let (mut from, mut to) = (stream.try_clone()?, BufWriter::with_capacity(1 << 18, stream));
    to.write_all(b"\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x04bare")?;
    to.flush()?;
    let (mut window, mut free_ids) = (0, (1..=20_u16).collect::<Vec<_>>());
    let (mut packets, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    let mut waiting = messages.iter();
    let mut done = 0;
    loop {
        while window > 0
            && let Some(id) = free_ids.pop()
        {
            let Some(message) = waiting.next() else { break };
            let mut header = vec![0x32];
            let mut rest = 2 + TOPIC.len() + 2 + 1 + message.len();
            while rest >= 128 {
                header.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            header.extend([rest as u8, 0, TOPIC.len() as u8]);
            header.extend(TOPIC.as_bytes());
            header.extend(id.to_be_bytes());
            header.push(0);
            to.write_all(&header)?;
            to.write_all(message)?;
        }
        to.flush()?;
        if done == messages.len() {
            to.write_all(b"\xe0\x00")?;
            return Ok(to.flush()?);
        }
        let read = from.read(&mut chunk)?;
        if read == 0 {
            return Err("the broker hung up".into());
        }
        packets.extend_from_slice(&chunk[..read]);
        let mut at = 0;
        while packets.len() >= at + 2 && packets.len() >= at + 2 + usize::from(packets[at + 1]) {
            let body = &packets[at + 2..at + 2 + usize::from(packets[at + 1])];
            match packets[at] {
                0x20 => window = 20,
                0x40 => {
                    free_ids.push(u16::from_be_bytes([body[0], body[1]]));
                    done += 1;
                }
                _ => {}
            }
            at += 2 + body.len();
        }
        packets.drain(..at);
    }
}

const TOPIC: &str = "outrider/truck-0001/alert";

pub(crate) struct Broker {
    child: Child,
}

impl Broker {
    pub(crate) fn start(dir: &Path, name: &str, settings: &str, port: u16) -> Outcome<Self> {
        let file: PathBuf = dir.with_extension(format!("{name}.conf"));
        std::fs::write(&file, format!("{settings}log_type error\nset_tcp_nodelay true\n"))?;
        let mosquitto = if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let child = Command::new(mosquitto).arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let broker = Self { child: child.map_err(|error| format!("mosquitto cannot be started: {error}"))? };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if start.elapsed() > Duration::from_secs(10) {
                return Err("mosquitto does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(broker)
    }

    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Bytes that it has read, from connections above all.
    fn taken(&self) -> Outcome<u64> {
        field(&format!("/proc/{}/io", self.child.id()), "rchar:")
    }

    fn cpu(&mut self) -> Outcome<f64> {
        cpu(&self.child.id().to_string())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// Seconds of the processor that a process has had.
pub(crate) fn cpu(pid: &str) -> Outcome<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().ok_or("no fields")?.split_whitespace().collect();
    // utime and stime, in hundredths of a second on all of today's Linux.
    let ticks = |at: usize| -> Result<f64, Box<dyn Error>> { Ok(fields.get(at).ok_or("no field")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

pub(crate) fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
