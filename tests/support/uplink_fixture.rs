//! An uplink that runs beside the test, events to send, and keys to send them under.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use outrider::event::{Body, Class, Event, Identity, NameMap, Signals};
use outrider::outbox::Outbox;
use outrider::uplink::{LinkMonitor, MqttConfig, MqttUplink, TlsConfig, TopicTemplate, Waker};
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::memory_outbox::MemoryOutbox;
use crate::mosquitto::{Subscriber, program, wait_until};

/// Quick to try again.
pub(crate) fn config(port: u16) -> MqttConfig {
    let topic = TopicTemplate::parse("outrider/{vehicle}/{class}").unwrap();
    let mut config = MqttConfig::new("127.0.0.1", port, "v1", topic);
    config.backoff_min = Duration::from_millis(5);
    config.backoff_max = Duration::from_millis(100);
    config.drain_timeout = crate::mosquitto::PATIENCE;
    config
}

pub(crate) fn outbox(events_per_batch: usize) -> Arc<Mutex<MemoryOutbox>> {
    Arc::new(Mutex::new(MemoryOutbox::new(events_per_batch)))
}

/// An uplink on a thread of its own.
pub(crate) struct Running {
    pub(crate) monitor: Arc<LinkMonitor>,
    pub(crate) waker: Waker,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(config: MqttConfig, outbox: &Arc<Mutex<MemoryOutbox>>) -> Self {
        let identity = Identity { vehicle: "v1".into(), boot: "boot".into() };
        let uplink = MqttUplink::new(config, &identity).unwrap();
        let monitor = Arc::new(LinkMonitor::new("test"));
        let waker = Waker::new();
        let (stop, stopped) = oneshot::channel::<()>();
        let (outbox, its_waker, its_monitor) = (Arc::clone(outbox), waker.clone(), Arc::clone(&monitor));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(uplink.run(outbox, its_waker, its_monitor, async {
                let _ = stopped.await;
            }));
        });
        Self { monitor, waker, stop: Some(stop), thread: Some(thread) }
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            wait_until("the uplink to end", || thread.is_finished());
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The thread ends by itself; joining here would hang a test that has failed.
        drop(self.stop.take());
    }
}

/// A small event.
pub(crate) fn telemetry(class: Class, i: u64) -> Event {
    let value = f64::from(u32::try_from(i).unwrap()) + 0.5;
    let values = NameMap::new(vec![("value".into(), Some(value))]);
    Event::new(1_000_000_000 + i, class, Body::Signals(Signals { group: "test".into(), values }))
}

/// Commits such events, numbered by `numbers`.
pub(crate) fn fill(outbox: &Mutex<MemoryOutbox>, class: Class, numbers: std::ops::Range<u64>) {
    let mut outbox = outbox.lock().unwrap();
    for i in numbers {
        outbox.append(&telemetry(class, i)).unwrap();
    }
    outbox.commit().unwrap();
}

/// An event of at least `bytes`.
pub(crate) fn large(class: Class, bytes: usize) -> Event {
    let values = NameMap::new(vec![("x".repeat(bytes).into(), None)]);
    Event::new(1, class, Body::Signals(Signals { group: "test".into(), values }))
}

/// An event as it arrived.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Arrival {
    pub(crate) seq: u64,
    pub(crate) class: String,
}

fn events(payload: &[u8]) -> Vec<Arrival> {
    serde_cbor::Deserializer::from_slice(payload).into_iter().collect::<Result<_, _>>().unwrap()
}

/// The numbers of the events in a payload.
pub(crate) fn seqs(payload: &[u8]) -> Vec<u64> {
    events(payload).iter().map(|event| event.seq).collect()
}

/// All events that came so far, in the order of their arrival, duplicates among them.
pub(crate) fn arrivals(subscriber: &Subscriber) -> Vec<Arrival> {
    subscriber.received().iter().flat_map(|message| events(&message.payload)).collect()
}

/// Without the duplicates.
pub(crate) fn first_arrivals(arrivals: &[Arrival]) -> Vec<Arrival> {
    let mut seen = std::collections::BTreeSet::new();
    arrivals.iter().filter(|arrival| seen.insert(arrival.seq)).cloned().collect()
}

/// Certificates made with the openssl program.
pub(crate) struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// An authority, a gateway named `localhost`, a vehicle, and a second authority that signed nothing.
    pub(crate) fn make(dir: &Path) -> Self {
        let pki = Self { dir: dir.to_owned() };
        for ca in ["ca", "foreign"] {
            pki.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN={ca} \
                 -addext basicConstraints=critical,CA:TRUE -keyout {ca}.key -out {ca}.pem"
            ));
        }
        std::fs::write(dir.join("leaf.ext"), "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n").unwrap();
        for leaf in ["gateway", "vehicle"] {
            pki.openssl(&format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={leaf} -keyout {leaf}.key -out {leaf}.csr"
            ));
            pki.openssl(&format!(
                "x509 -req -in {leaf}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile leaf.ext -out {leaf}.pem"
            ));
        }
        pki
    }

    fn openssl(&self, args: &str) {
        let output = Command::new(program("openssl", "openssl"))
            .args(args.split_whitespace())
            .current_dir(&self.dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Settings of a listener that takes only vehicles of this authority.
    pub(crate) fn listener(&self) -> String {
        let dir = self.dir.display();
        format!(
            "allow_anonymous true\ncafile {dir}/ca.pem\ncertfile {dir}/gateway.pem\nkeyfile {dir}/gateway.key\n\
             require_certificate true"
        )
    }

    pub(crate) fn client(&self, with_certificate: bool) -> TlsConfig {
        let file = |name: &str| self.dir.join(name);
        TlsConfig {
            ca_file: file("ca.pem"),
            cert_file: with_certificate.then(|| file("vehicle.pem")),
            key_file: with_certificate.then(|| file("vehicle.key")),
            server_name: None,
        }
    }

    pub(crate) fn foreign_ca(&self) -> PathBuf {
        self.dir.join("foreign.pem")
    }
}
