//! Real mosquitto: a broker of our own, and `mosquitto_sub` as a subscriber that is not our code.

#![allow(dead_code, reason = "the scenario tests each use a part of it")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// No test waits longer for a condition: it is a guard against hanging, not a measure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "gave up waiting for: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The full path of a program; the test fails with a remedy when it is not installed.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(usual)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed; on Debian: apt-get install {package}"))
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A broker in a directory of its own. Stops when dropped.
pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    /// A second listener that allows everything, for observers when the first is restricted.
    pub(crate) observer_port: u16,
    dir: PathBuf,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts with default settings: anyone may do anything.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::with_config(dir, "", "allow_anonymous true")
    }

    /// Starts with further `global` settings, and settings of the `listener` that the uplink uses.
    pub(crate) fn with_config(dir: &Path, global: &str, listener: &str) -> Self {
        // Another process may take a port between its choice and its use: then choose again.
        for _ in 0..5 {
            let (port, observer_port) = (free_port(), free_port());
            let config = format!(
                "per_listener_settings true\nmax_queued_messages 0\n{global}\n\
                 listener {port} 127.0.0.1\n{listener}\n\
                 listener {observer_port} 127.0.0.1\nallow_anonymous true\n"
            );
            // As root it would give up its rights and then not be able to read the test's directory.
            let config =
                format!("user {}\npersistence true\npersistence_location {}/\n{config}", user(), dir.display());
            std::fs::write(dir.join("mosquitto.conf"), config).unwrap();
            let mut broker = Self { port, observer_port, dir: dir.to_owned(), child: None };
            if broker.launch() {
                return broker;
            }
        }
        panic!("mosquitto does not start: {}", std::fs::read_to_string(dir.join("mosquitto.log")).unwrap_or_default());
    }

    /// Whether it accepts connections.
    fn launch(&mut self) -> bool {
        let path = self.dir.join("mosquitto.log");
        let log = File::options().create(true).append(true).open(&path).unwrap();
        let before = usize::try_from(log.metadata().unwrap().len()).unwrap();
        let mut child = Command::new(program("mosquitto", "mosquitto"))
            .arg("-c")
            .arg(self.dir.join("mosquitto.conf"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            let listening = [self.port, self.observer_port];
            let answers = listening.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok());
            // Somebody else may answer while it gives up: it says itself when it has its ports.
            let runs =
                std::fs::read(&path).is_ok_and(|text| memchr::memmem::find(&text[before..], b" running").is_some());
            if answers && runs {
                self.child = Some(child);
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    /// Stops it in good order: it writes its sessions and queues to disk.
    pub(crate) fn stop(&mut self) {
        self.signal("-TERM");
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    /// Starts it again on the same ports. Another process may have got one of them meanwhile, often only for a moment.
    pub(crate) fn start_again(&mut self) {
        let what = format!(
            "mosquitto to start again; are its ports {} and {} taken? See {}",
            self.port,
            self.observer_port,
            self.dir.join("mosquitto.log").display()
        );
        wait_until(&what, || self.launch());
    }

    /// Has it read its access lists again.
    pub(crate) fn reload(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let Some(child) = &self.child else { return };
        let status = Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A message as a subscriber saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) topic: String,
    pub(crate) content_type: String,
    /// All user properties, as `name:value` separated by blanks.
    pub(crate) properties: String,
    pub(crate) payload: Vec<u8>,
}

/// `mosquitto_sub` with a session that survives interruptions, on all topics.
pub(crate) struct Subscriber {
    child: Child,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Subscriber {
    /// Subscribed when it returns.
    pub(crate) fn start(broker: &Mosquitto) -> Self {
        Self::named(broker, "observer")
    }

    /// With a session of that name.
    pub(crate) fn named(broker: &Mosquitto, name: &str) -> Self {
        // Standard output is line-buffered by stdbuf: into a pipe it would come in blocks.
        let mut child = Command::new(program("stdbuf", "coreutils"))
            .arg("-oL")
            .arg(program("mosquitto_sub", "mosquitto-clients"))
            .args(["-V", "5", "-q", "1", "-t", "#", "-c", "-i", name, "-x", "4294967295", "-d"])
            .args(["-F", ">>|%t|%C|%P|%x", "-h", "127.0.0.1", "-p", &broker.observer_port.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let subscribed = Arc::new(Mutex::new(false));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sink, flag) = (Arc::clone(&received), Arc::clone(&subscribed));
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.starts_with("Subscribed") {
                    *flag.lock().unwrap() = true;
                } else if let Some(message) = line.strip_prefix(">>|").and_then(parse) {
                    sink.lock().unwrap().push(message);
                }
            }
        });
        wait_until("mosquitto_sub to be subscribed", || *subscribed.lock().unwrap());
        Self { child, received }
    }

    pub(crate) fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(line: &str) -> Option<Received> {
    let mut fields = line.splitn(4, '|');
    let (topic, content_type, properties) = (fields.next()?, fields.next()?, fields.next()?);
    let hex = fields.next()?;
    let payload = (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16)).collect::<Result<_, _>>();
    Some(Received {
        topic: topic.to_owned(),
        content_type: content_type.to_owned(),
        properties: properties.to_owned(),
        payload: payload.ok()?,
    })
}
