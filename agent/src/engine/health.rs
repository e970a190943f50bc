//! Health: what the engine saw that it could not use, and what it should have seen but did not.

use std::collections::HashSet;

use can_decoders::{BusId, CanId, Frame, FrameKind};

use super::Sink;
use super::bus::{self, BusMonitor, Missed, Notice};
use super::catalog::{Catalog, MessageId};
use super::state::State;
use crate::event::{Blind, Body, BusHealth, Class, Event, Health, MessageState, NameMap, Xl};

/// When health is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthSpec {
    /// Time between two `health` events, nanoseconds.
    pub period_ns: u64,
    /// A message is silent after so many of its periods.
    pub silent_factor: u32,
    /// But not before this, nanoseconds.
    pub silent_min_ns: u64,
}

/// How often messages are checked for silence.
pub(super) const SILENCE_CHECK_NS: u64 = 100_000_000;
/// A learned period needs so many times between two frames.
const LEARN_GAPS: u64 = 19;
/// Different unknown identifiers remembered per bus: bounds memory under a flood of random ones.
const MAX_UNKNOWN_IDS: usize = 1024;

/// Counters and the watch over silent messages.
#[derive(Debug)]
pub struct HealthMonitor {
    spec: HealthSpec,
    buses: Vec<(BusHealth, HashSet<CanId>)>,
    monitors: Vec<BusMonitor>,
    silent: Vec<bool>,
    silent_count: u64,
    late_frames: u64,
    time_jumps: u64,
    unrouted: u64,
}

impl HealthMonitor {
    /// All counters at zero.
    pub fn new(spec: HealthSpec, catalog: &Catalog) -> Self {
        Self {
            spec,
            buses: catalog
                .buses()
                .iter()
                .map(|_| (BusHealth::default(), HashSet::with_capacity(MAX_UNKNOWN_IDS)))
                .collect(),
            monitors: catalog.buses().iter().map(|bus| BusMonitor::new(bus.bitrate, bus.data_bitrate)).collect(),
            silent: vec![false; catalog.message_count()],
            silent_count: 0,
            late_frames: 0,
            time_jumps: 0,
            unrouted: 0,
        }
    }

    /// When health is told.
    pub fn spec(&self) -> HealthSpec {
        self.spec
    }

    /// The counters of a bus.
    pub fn bus(&self, bus: usize) -> &BusHealth {
        &self.buses[bus].0
    }

    pub(super) fn bus_mut(&mut self, bus: usize) -> &mut BusHealth {
        &mut self.buses[bus].0
    }

    pub(super) fn unknown(&mut self, bus: usize, id: CanId) {
        let (health, ids) = &mut self.buses[bus];
        health.unknown += 1;
        if ids.len() < MAX_UNKNOWN_IDS && ids.insert(id) {
            health.unknown_ids += 1;
        }
    }

    /// Counts a frame of a bus, and reads it when it is an error frame.
    pub(super) fn frame(&mut self, bus: usize, frame: &Frame, catalog: &Catalog, now_ns: u64, sink: &mut impl Sink) {
        let (health, monitor) = (&mut self.buses[bus].0, &mut self.monitors[bus]);
        health.frames += 1;
        monitor.frame(frame);
        if frame.kind == FrameKind::Error {
            monitor.error(frame, health, now_ns);
            monitor.tell(bus, health, catalog, now_ns, sink);
        }
    }

    /// What a live source says beside frames.
    pub(super) fn notice(&mut self, notice: Notice, catalog: &Catalog, now_ns: u64, sink: &mut impl Sink) {
        match notice {
            Notice::Report(report) => {
                let Some(bus) = catalog.route(report.bus) else { return };
                let (health, monitor) = (&mut self.buses[bus].0, &mut self.monitors[bus]);
                monitor.report(&report, health);
                monitor.tell(bus, health, catalog, now_ns, sink);
            }
            Notice::Missed(missed) => {
                let Some(bus) = catalog.route(missed.bus) else { return };
                self.monitors[bus].missed(&missed);
                let Missed { cause, from_ns: from, to_ns: to, frames, .. } = missed;
                let bus = catalog.buses()[bus].name.clone();
                sink.event(bus::blind(Blind { to, bus, from, cause, frames }, now_ns));
            }
            Notice::Xl(xl) => {
                let Some(bus) = catalog.route(xl.bus) else { return };
                let time_ns = xl.time_ns;
                let body = Body::Xl(Xl::new(catalog.buses()[bus].name.clone(), xl));
                sink.event(Event::new(time_ns, Class::Bulk, body));
            }
        }
    }

    /// A second is over on all buses.
    pub(super) fn measure(&mut self, state: &mut State, catalog: &Catalog, now_ns: u64, sink: &mut impl Sink) {
        for (bus, ((health, _), monitor)) in self.buses.iter_mut().zip(&mut self.monitors).enumerate() {
            monitor.tick(bus, health, state, catalog, now_ns);
            monitor.tell(bus, health, catalog, now_ns, sink);
            if let Some(event) = monitor.overflowed(&catalog.buses()[bus].name, now_ns, bus::OVERFLOW_NS) {
                sink.event(event);
            }
        }
    }

    /// What waits to be told waits no longer: the end, or a jump of the clock.
    pub(super) fn flush(&mut self, catalog: &Catalog, now_ns: u64, sink: &mut impl Sink) {
        for (bus, monitor) in catalog.buses().iter().zip(&mut self.monitors) {
            if let Some(event) = monitor.overflowed(&bus.name, now_ns, 0) {
                sink.event(event);
            }
        }
    }

    pub(super) fn late_frame(&mut self) {
        self.late_frames += 1;
    }

    pub(super) fn time_jump(&mut self) {
        self.time_jumps += 1;
        self.monitors.iter_mut().for_each(BusMonitor::time_jumped);
    }

    pub(super) fn unrouted(&mut self, _bus: BusId) {
        self.unrouted += 1;
    }

    /// A frame of a message that may have been silent.
    pub(super) fn seen(
        &mut self,
        id: MessageId,
        before_ns: u64,
        catalog: &Catalog,
        now_ns: u64,
        period_ns: f64,
        sink: &mut impl Sink,
    ) {
        if std::mem::take(&mut self.silent[id.0 as usize]) {
            self.silent_count -= 1;
            self.bus_mut(catalog.bus_of_message(id)).silent -= 1;
            tell(id, "back", before_ns, catalog, now_ns, period_ns, sink);
        }
    }

    /// True when the message is held to be silent now.
    pub(super) fn is_silent(&self, id: MessageId) -> bool {
        self.silent[id.0 as usize]
    }

    /// Looks for messages that should have come. One that never came is not missed: a DBC file commonly describes
    /// more than a vehicle's equipment sends.
    pub(super) fn check_silence(&mut self, state: &State, catalog: &Catalog, now_ns: u64, sink: &mut impl Sink) {
        for (id, slot) in (0..).map(MessageId).zip(state.messages()) {
            if slot.frames == 0 || self.silent[id.0 as usize] {
                continue;
            }
            let age = now_ns.saturating_sub(slot.last_ns);
            if age < self.spec.silent_min_ns {
                continue;
            }
            let Some(period_ns) = expected_period(id, state, catalog) else { continue };
            // A message that was once late by nature (sent on events) may be as late again.
            let patience = (period_ns * f64::from(self.spec.silent_factor)).max(nanoseconds(slot.longest_ns) * 2.0);
            if nanoseconds(age) > patience {
                self.silent[id.0 as usize] = true;
                self.silent_count += 1;
                self.bus_mut(catalog.bus_of_message(id)).silent += 1;
                tell(id, "silent", slot.last_ns, catalog, now_ns, period_ns, sink);
            }
        }
    }

    /// The regular `health` event.
    pub(super) fn tell(&self, catalog: &Catalog, now_ns: u64, sink: &mut impl Sink) {
        let buses = catalog.buses().iter().zip(&self.buses).map(|(bus, (health, _))| (bus.name.clone(), *health));
        let counters = vec![("time_jumps".into(), self.time_jumps), ("unrouted_frames".into(), self.unrouted)];
        let health = Health {
            buses: NameMap::new(buses.collect()),
            silent: self.silent_count,
            counters: NameMap::new(counters),
            late_frames: self.late_frames,
        };
        sink.event(Event::new(now_ns, Class::Status, Body::Health(health)));
    }
}

/// The DBC's cycle time, or the mean so far; `None` while that is not known.
pub(super) fn expected_period(id: MessageId, state: &State, catalog: &Catalog) -> Option<f64> {
    let (_, message) = catalog.message(id);
    if let Some(ms) = message.cycle_time_ms.filter(|&ms| ms > 0) {
        return Some(f64::from(ms) * 1e6);
    }
    let slot = state.message(id);
    (slot.gaps >= LEARN_GAPS).then(|| nanoseconds(slot.gaps_ns) / nanoseconds(slot.gaps))
}

fn tell(
    id: MessageId,
    state: &'static str,
    last: u64,
    catalog: &Catalog,
    now_ns: u64,
    period_ns: f64,
    sink: &mut impl Sink,
) {
    let (bus, message) = catalog.message(id);
    let body = Body::Message(MessageState {
        bus: bus.name.clone(),
        last,
        name: message.name.clone(),
        state,
        period_ms: (period_ns / 1e4).round() / 100.0,
    });
    sink.event(Event::new(now_ns, Class::Status, body));
}

#[expect(clippy::cast_precision_loss, reason = "durations; microseconds would do")]
fn nanoseconds(n: u64) -> f64 {
    n as f64
}
