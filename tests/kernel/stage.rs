//! Interfaces, the agent on them, and what arrived from it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::agent::{Agent, Arrival, Recorder, Stat, audit, stat};
use crate::mosquitto::{Mosquitto, wait_until};

/// Runs a program to its good end; what it printed.
pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("bash").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A virtual interface, up and wide enough for FD. Deleted when dropped.
pub(crate) struct Vcan(pub(crate) &'static str);

impl Vcan {
    pub(crate) fn new(name: &'static str) -> Self {
        sh(&format!("ip link add {name} type vcan && ip link set {name} mtu 72 up"));
        Self(name)
    }

    /// Frames that anybody has sent on it.
    pub(crate) fn sent(&self) -> u64 {
        let file = format!("/sys/class/net/{}/statistics/tx_packets", self.0);
        std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Vcan {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", self.0]).stderr(Stdio::null()).status();
    }
}

/// A gateway, a recorder behind it, and a place for the agent.
pub(crate) struct Stage {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) broker: Mosquitto,
    pub(crate) recorder: Recorder,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Mosquitto::start(dir.path());
        let recorder = Recorder::start(&broker, dir.path());
        Self { dir, broker, recorder }
    }

    /// Writes a configuration: `what` are its buses and collections.
    pub(crate) fn config(&self, what: &str) -> PathBuf {
        let file = self.dir.path().join("run.toml");
        let text = format!(
            "[vehicle]\nid = \"car\"\n[outbox]\ndir = \"outbox\"\n[source]\nkind = \"socketcan\"\n[health]\nperiod_s = 1\n\
             [[gateway]]\nurl = \"mqtt://127.0.0.1:{}\"\nreconnect_spread_ms = 0\nbackoff_min_ms = 10\nbackoff_max_ms = 100\n\
             [uplink]\ndrain_timeout_s = 3600\n{what}",
            self.broker.port
        );
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Starts the agent, and waits until it listens to `interfaces`.
    pub(crate) fn listen(&self, what: &str, interfaces: &[&str]) -> Agent {
        let _ = std::fs::remove_file(self.dir.path().join("run.log"));
        let agent = Agent::start(&self.config(what));
        for interface in interfaces {
            wait_until("an open interface", || self.log().contains(&format!("CAN interface {interface}: open")));
        }
        agent
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("run.log")).unwrap_or_default()
    }

    /// All events so far.
    pub(crate) fn events(&mut self) -> Vec<Arrival> {
        self.recorder.poll();
        self.recorder.events()
    }

    /// Waits until an event is as wanted, and returns it.
    pub(crate) fn wait_for(&mut self, what: &str, wanted: impl Fn(&Arrival) -> bool) -> Arrival {
        let mut found = None;
        wait_until(what, || {
            self.recorder.poll();
            found = self.recorder.events().into_iter().rfind(|event| wanted(event));
            found.is_some()
        });
        found.unwrap()
    }

    /// Stops the agent, and proves that everything has arrived.
    pub(crate) fn complete(&mut self, agent: Agent) -> Vec<Arrival> {
        agent.signal("TERM");
        agent.finish();
        let Stat { next, depth, .. } = stat(&self.dir.path().join("outbox"));
        assert_eq!(depth, 0);
        wait_until("the last event", || self.recorder.highest() >= next - 1);
        self.recorder.stop();
        let verdict = audit(&[&self.recorder.file]);
        assert!(verdict.good, "{}", verdict.text);
        self.recorder.events()
    }
}

/// A bus with a DBC file of the repository.
pub(crate) fn bus(name: &str, dbc: &str, more: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(dbc);
    format!("[[bus]]\nname = \"{name}\"\ndbc = [{file:?}]\n{more}\n")
}

/// The number at a path of keys in an event's body.
pub(crate) fn number(event: &Arrival, path: &[&str]) -> Option<u64> {
    match field(event, path)? {
        serde_cbor::Value::Integer(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}

/// The text at a path of keys in an event's body.
pub(crate) fn text<'a>(event: &'a Arrival, path: &[&str]) -> Option<&'a str> {
    if let serde_cbor::Value::Text(text) = field(event, path)? { Some(text) } else { None }
}

/// What is at a path of keys in an event's body.
pub(crate) fn field<'a>(event: &'a Arrival, path: &[&str]) -> Option<&'a serde_cbor::Value> {
    path.iter().try_fold(&event.body, |value, key| {
        let serde_cbor::Value::Map(map) = value else { return None };
        map.get(&serde_cbor::Value::Text((*key).into()))
    })
}

/// A controller whose wire can be seen.
pub(crate) struct Slcan {
    child: Child,
    wire: ChildStdin,
    pub(crate) interface: String,
    written: Arc<Mutex<Vec<String>>>,
}

impl Slcan {
    pub(crate) fn new() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kernel/slcan.py");
        let mut child =
            Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let wire = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let interface = lines.next().unwrap().unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        let writer = written.clone();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| writer.lock().unwrap().push(line)));
        Self { child, wire, interface, written }
    }

    /// The controller says something: `t1232AABB` is a frame.
    pub(crate) fn say(&mut self, text: &str) {
        writeln!(self.wire, "{text}").unwrap();
    }

    /// What the driver has written to the controller.
    pub(crate) fn written(&self) -> Vec<String> {
        self.written.lock().unwrap().clone()
    }
}

impl Drop for Slcan {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
