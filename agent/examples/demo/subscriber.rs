//! The independent subscriber: shares no code with the agent but the audit and the CBOR library.
//!
//! It connects to the broker itself, not through the link that is cut, and believes only what arrives.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outrider::audit::Audit;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Connection, Event, MqttOptions};
use serde::Deserialize;

/// What has arrived.
#[derive(Default)]
pub(crate) struct Received {
    /// Completeness.
    pub(crate) audit: Audit,
    /// Anomalies that were raised or got worse: when, and the feature that contributed most.
    pub(crate) anomalies: Vec<Raised>,
    /// Class of the last anomaly that was counted.
    open_class: Option<String>,
    /// Messages that could not be read.
    pub(crate) unreadable: u64,
}

/// An anomaly as it arrived.
#[derive(Clone)]
pub(crate) struct Raised {
    pub(crate) seq: u64,
    pub(crate) time_ns: u64,
    pub(crate) class: String,
    pub(crate) cause: String,
}

/// Numbers for the screen.
#[derive(Clone, Copy, Default)]
pub(crate) struct Progress {
    pub(crate) events: u64,
    pub(crate) duplicates: u64,
}

pub(crate) struct Subscriber {
    received: Arc<Mutex<Received>>,
    client: Client,
}

#[derive(Deserialize)]
struct Item {
    t: u64,
    seq: u64,
    kind: String,
    class: String,
    body: Body,
}

#[derive(Deserialize)]
struct Body {
    phase: Option<String>,
    top: Option<Vec<Top>>,
}

#[derive(Deserialize)]
struct Top {
    name: String,
}

/// Connects and subscribes to everything; returns when the broker has confirmed.
pub(crate) fn start(port: u16) -> Result<Subscriber, Box<dyn Error>> {
    let mut options = MqttOptions::new("demo-subscriber", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30));
    options.set_max_packet_size(Some(4 << 20));
    let (client, mut connection) = Client::new(options, 64);
    client.subscribe("outrider/#", QoS::AtLeastOnce)?;
    let mut confirmed = false;
    while !confirmed {
        let event = connection
            .recv_timeout(Duration::from_secs(10))
            .map_err(|_| "the broker does not confirm the subscription")??;
        confirmed = matches!(event, Event::Incoming(Packet::SubAck(_)));
    }
    let received = Arc::new(Mutex::new(Received::default()));
    let shared = received.clone();
    std::thread::Builder::new().name("subscriber".into()).spawn(move || listen(connection, &shared))?;
    Ok(Subscriber { received, client })
}

fn listen(mut connection: Connection, received: &Mutex<Received>) {
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
                received.take(&publish.payload);
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

impl Received {
    fn take(&mut self, payload: &[u8]) {
        if self.audit.read("message", payload).is_err() {
            self.unreadable += 1;
        }
        for item in serde_cbor::Deserializer::from_slice(payload).into_iter::<Item>().flatten() {
            if item.kind != "anomaly" {
                continue;
            }
            // An anomaly counts when it is raised, and again when it gets worse: a crash in the middle of another fault.
            let worse = self.open_class.as_deref() == Some("alert") && item.class == "critical";
            let counts = match item.body.phase.as_deref() {
                Some("raised") => true,
                Some("ongoing") => worse,
                _ => false,
            };
            if counts && self.anomalies.iter().all(|a| a.seq != item.seq) {
                self.open_class = Some(item.class.clone());
                let cause = item.body.top.into_iter().flatten().next().map_or_else(String::new, |top| top.name);
                self.anomalies.push(Raised { seq: item.seq, time_ns: item.t, class: item.class, cause });
            }
        }
    }

    fn progress(&self) -> Progress {
        let vehicles = self.audit.vehicles.values();
        vehicles.fold(Progress::default(), |p, v| Progress {
            events: p.events + v.events(),
            duplicates: p.duplicates + v.duplicates(),
        })
    }
}

impl Subscriber {
    pub(crate) fn progress(&self) -> Progress {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).progress()
    }

    /// Waits until `produced` events are there, at most `patience`, and ends.
    pub(crate) fn finish(self, produced: u64, patience: Duration) -> Received {
        let deadline = Instant::now() + patience;
        while self.progress().events < produced && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.client.disconnect();
        std::mem::take(&mut *self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
