//! An uplink that runs beside the test, events to send, and keys to send them under.

#![allow(dead_code, reason = "the scenario tests each use a part of it")]

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use outrider::event::{Body, Class, Event, Identity, NameMap, Signals};
use outrider::outbox::Outbox;
use outrider::uplink::{GatewayConfig, LinkMonitor, Monitors, MqttConfig, TopicTemplate, UplinkConfig, Uplinks, Waker};
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::memory_outbox::MemoryOutbox;
use crate::mosquitto::{Subscriber, wait_until};

/// A gateway on this computer.
pub(crate) fn config(port: u16) -> MqttConfig {
    let topic = TopicTemplate::parse("outrider/{vehicle}/{class}").unwrap();
    MqttConfig::new("127.0.0.1", port, "v1", topic)
}

/// Quick to try again.
pub(crate) fn hasty(gateway: impl Into<GatewayConfig>) -> GatewayConfig {
    let mut gateway = gateway.into();
    gateway.backoff_min = Duration::from_millis(5);
    gateway.backoff_max = Duration::from_millis(100);
    gateway.reconnect_spread = Duration::ZERO;
    gateway
}

/// Drains for as long as a test waits.
pub(crate) fn uplink(gateways: Vec<GatewayConfig>) -> UplinkConfig {
    UplinkConfig { gateways, drain_timeout: crate::mosquitto::PATIENCE, ..UplinkConfig::default() }
}

pub(crate) fn outbox(events_per_batch: usize) -> Arc<Mutex<MemoryOutbox>> {
    Arc::new(Mutex::new(MemoryOutbox::new(events_per_batch)))
}

/// Uplinks on a thread of their own.
pub(crate) struct Running {
    /// Of the first gateway.
    pub(crate) monitor: Arc<LinkMonitor>,
    /// Of all gateways.
    pub(crate) monitors: Vec<Arc<LinkMonitor>>,
    pub(crate) reports: Receiver<Body>,
    pub(crate) waker: Waker,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// To one gateway, quick to try again.
    pub(crate) fn start(config: impl Into<GatewayConfig>, outbox: &Arc<Mutex<MemoryOutbox>>) -> Self {
        Self::all(uplink(vec![hasty(config)]), outbox)
    }

    pub(crate) fn all(config: UplinkConfig, outbox: &Arc<Mutex<MemoryOutbox>>) -> Self {
        let identity = Identity { vehicle: "v1".into(), boot: "boot".into() };
        let Monitors { links: monitors, reports, .. } = Monitors::new(&config);
        let uplinks = Uplinks::new(config, &identity).unwrap();
        let waker = Waker::new();
        let (stop, stopped) = oneshot::channel::<()>();
        let (outbox, its_waker, its_monitors) = (Arc::clone(outbox), waker.clone(), monitors.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(uplinks.run(outbox, its_waker, its_monitors, async {
                let _ = stopped.await;
            }));
        });
        let monitor = Arc::clone(&monitors[0]);
        Self { monitor, monitors, reports, waker, stop: Some(stop), thread: Some(thread) }
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
