//! The health of a bus, as its signals and events.
//!
//! Part of it comes from the frames themselves (rate, load, error frames, unknown identifiers,
//! silent messages) and is the same when a recording is played. Part of it only the interface knows
//! (its state, bitrate, error counters, what was dropped): a live source reports that.
//!
//! Measured over each whole second: the load is the time that the second's frames took on the wire,
//! by their lengths and the bitrate. Stuff bits depend on the content; an average is assumed, so the
//! load is good to a few percent of itself. Without a bitrate (a virtual bus, a recording) it is not
//! known, unless the configuration says one; the same goes for the data bitrate of FD frames that switch.

use std::sync::Arc;

use can_decoders::{BusId, ControllerState, ErrorFrame, Frame, FrameKind, Validity, XlFrame};

use super::Sink;
use super::catalog::{Catalog, HEALTH_SIGNALS, SignalId};
use super::state::State;
use crate::event::{Blind, BlindCause, Body, BusHealth, BusState, BusStatus, Class, Event};

/// How often a bus is measured, and how often a change is told at most.
pub(super) const PERIOD_NS: u64 = 1_000_000_000;

/// An interface that counts what its controller lost says so within this time of the error frame.
pub(super) const OVERFLOW_NS: u64 = 2 * PERIOD_NS;

/// What the interface says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The bus.
    pub bus: BusId,
    /// When, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Its state; `None` when it is up and has none (a virtual bus).
    pub state: Option<BusState>,
    /// Transmit and receive error counters.
    pub counters: Option<(u16, u16)>,
    /// Bits per second: of the arbitration phase, and of the data phase of FD frames.
    pub bitrate: Option<u32>,
    /// See `bitrate`.
    pub data_bitrate: Option<u32>,
    /// Frames that the kernel dropped because they were not read in time, since the start.
    pub dropped: u64,
    /// Frames that the controller or its driver lost, since the start.
    pub overflow: u64,
    /// CAN XL frames since the start.
    pub xl: u64,
    /// What came from the interface and is no frame, since the start.
    pub unreadable: u64,
}

/// A time in which not all frames of a bus were heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// The bus.
    pub bus: BusId,
    /// Why.
    pub cause: BlindCause,
    /// From when, nanoseconds since the Unix epoch.
    pub from_ns: u64,
    /// Until when.
    pub to_ns: u64,
    /// How many frames, where that is known.
    pub frames: Option<u64>,
}

/// What a live source tells beside frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// How an interface is.
    Report(Report),
    /// What was not heard.
    Missed(Missed),
    /// A frame that nothing here reads, and that is sent on as it is.
    Xl(XlFrame),
}

impl Notice {
    /// When it was told, nanoseconds since the Unix epoch.
    pub(super) fn time_ns(&self) -> u64 {
        match self {
            Self::Report(report) => report.time_ns,
            Self::Missed(missed) => missed.to_ns,
            Self::Xl(xl) => xl.time_ns,
        }
    }
}

/// Measures one bus.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BusMonitor {
    /// Bits per second as configured; the interface's own word counts more.
    configured: (Option<u32>, Option<u32>),
    data_bitrate: Option<u32>,
    /// Bits of this second's frames: at the bitrate, and at the data bitrate.
    bits: (u64, u64),
    /// The counters at the last measurement.
    last: BusHealth,
    last_ns: u64,
    /// Since when an error frame tells of frames lost in the controller, and the interface has not said how many; 0 when
    /// there are none.
    overflow_ns: u64,
    /// Until when the interface has said how many.
    counted_ns: u64,
    told: Option<BusState>,
    told_ns: u64,
}

impl BusMonitor {
    pub(super) fn new(bitrate: Option<u32>, data_bitrate: Option<u32>) -> Self {
        Self { configured: (bitrate, data_bitrate), data_bitrate, ..Self::default() }
    }

    /// Any frame, before it is decoded.
    pub(super) fn frame(&mut self, frame: &Frame) {
        if frame.kind == FrameKind::Error {
            return;
        }
        let (nominal, data) = bits(frame);
        self.bits.0 += u64::from(nominal);
        self.bits.1 += u64::from(data);
    }

    /// An error frame.
    pub(super) fn error(&mut self, frame: &Frame, health: &mut BusHealth, now_ns: u64) {
        let Some(error) = ErrorFrame::read(frame) else { return };
        if error.protocol || error.no_acknowledgement {
            self.bits.0 += ERROR_BITS;
        }
        if error.overflow && self.overflow_ns == 0 && now_ns > self.counted_ns {
            self.overflow_ns = now_ns;
        }
        health.transceiver_errors += u64::from(error.transceiver);
        health.errors += 1;
        health.protocol_errors += u64::from(error.protocol);
        health.no_ack += u64::from(error.no_acknowledgement);
        health.lost_arbitration += u64::from(error.lost_arbitration);
        health.overflow += u64::from(error.overflow);
        health.bus_off += u64::from(error.state == Some(ControllerState::BusOff));
        health.restarts += u64::from(error.restarted);
        if let Some(state) = error.state {
            health.state = Some(state.into());
        }
        if let Some((tx, rx)) = error.counters {
            (health.tx_errors, health.rx_errors) = (Some(tx.into()), Some(rx.into()));
        }
    }

    /// The interface's own word.
    pub(super) fn report(&mut self, report: &Report, health: &mut BusHealth) {
        // A virtual bus has no state, but what error frames said of it holds until it is lost.
        if report.state.is_some() || matches!(health.state, Some(BusState::Lost | BusState::Refused)) {
            health.state = report.state;
        }
        if let Some((tx, rx)) = report.counters {
            (health.tx_errors, health.rx_errors) = (Some(tx), Some(rx));
        } else if matches!(report.state, Some(BusState::Lost | BusState::Refused)) {
            (health.tx_errors, health.rx_errors) = (None, None);
        }
        health.bitrate = report.bitrate.or(self.configured.0);
        self.data_bitrate = report.data_bitrate.or(self.configured.1);
        health.dropped = report.dropped;
        (health.xl_frames, health.unreadable) = (report.xl, report.unreadable);
        // Some drivers only count, others only send an error frame.
        health.overflow = health.overflow.max(report.overflow);
    }

    /// A whole second is over: measures, and sets the signals.
    pub(super) fn tick(
        &mut self,
        bus: usize,
        health: &mut BusHealth,
        state: &mut State,
        catalog: &Catalog,
        now_ns: u64,
    ) {
        if health.bitrate.is_none() {
            health.bitrate = self.configured.0;
        }
        let seconds = ratio(now_ns.saturating_sub(self.last_ns), 1_000_000_000);
        let measured = self.last_ns != 0 && seconds > 0.0;
        let rate = |now: u64, before: u64| ratio(now - before, 1) / seconds;
        health.rate = measured.then(|| round(rate(health.frames, self.last.frames)));
        health.load = health.bitrate.filter(|_| measured).and_then(|bitrate| {
            let data = match (self.bits.1, self.data_bitrate) {
                (0, _) => 0.0,
                (bits, rate) => ratio(bits, rate?.into()),
            };
            Some(round(100.0 * (ratio(self.bits.0, bitrate.into()) + data) / seconds))
        });
        let number = |n: Option<u16>| n.map(f64::from);
        let values: [Option<f64>; HEALTH_SIGNALS.len()] = [
            health.state.map(|state| f64::from(state as u8)),
            number(health.tx_errors),
            number(health.rx_errors),
            health.bitrate.map(f64::from),
            health.load,
            health.rate,
            measured.then(|| rate(health.errors, self.last.errors)),
            measured.then(|| rate(health.unknown, self.last.unknown)),
            Some(ratio(health.unknown_ids, 1)),
            Some(ratio(health.silent, 1)),
            Some(ratio(health.dropped, 1)),
            Some(ratio(health.overflow, 1)),
        ];
        for (id, value) in (catalog.health_base(bus)..).zip(values) {
            match value {
                Some(value) => state.sample(SignalId(id), value, now_ns, Validity::Valid),
                None => state.forget(SignalId(id)),
            }
        }
        (self.last, self.last_ns, self.bits) = (*health, now_ns, (0, 0));
    }

    /// A time in which frames were missed.
    pub(super) fn missed(&mut self, missed: &Missed) {
        if missed.cause == BlindCause::Overflow {
            (self.overflow_ns, self.counted_ns) = (0, missed.to_ns);
        }
    }

    /// The event about what error frames say was lost in the controller, when the interface has not said in time how much
    /// that was.
    pub(super) fn overflowed(&mut self, bus: &Arc<str>, now_ns: u64, patience_ns: u64) -> Option<Event> {
        if self.overflow_ns == 0 || now_ns < self.overflow_ns + patience_ns {
            return None;
        }
        let from = std::mem::take(&mut self.overflow_ns);
        Some(blind(Blind { to: now_ns, bus: bus.clone(), from, cause: BlindCause::Overflow, frames: None }, now_ns))
    }

    /// The clock jumped: the second that was being measured does not count.
    pub(super) fn time_jumped(&mut self) {
        (self.last_ns, self.bits, self.told_ns) = (0, (0, 0), 0);
        (self.overflow_ns, self.counted_ns) = (0, 0);
    }

    /// Tells a change, at most once a period; what comes too early is told at the next measurement.
    pub(super) fn tell(
        &mut self,
        bus: usize,
        health: &BusHealth,
        catalog: &Catalog,
        now_ns: u64,
        sink: &mut impl Sink,
    ) {
        if health.state == self.told || (self.told_ns != 0 && now_ns.saturating_sub(self.told_ns) < PERIOD_NS) {
            return;
        }
        (self.told, self.told_ns) = (health.state, now_ns);
        let body = BusStatus { bus: catalog.buses()[bus].name.clone(), health: *health };
        sink.event(Event::new(now_ns, Class::Status, Body::Bus(body)));
    }
}

/// The event about frames that were not heard.
pub(super) fn blind(body: Blind, now_ns: u64) -> Event {
    Event::new(now_ns, Class::Status, Body::Blind(body))
}

impl From<ControllerState> for BusState {
    fn from(state: ControllerState) -> Self {
        match state {
            ControllerState::ErrorActive => Self::ErrorActive,
            ControllerState::ErrorWarning => Self::ErrorWarning,
            ControllerState::ErrorPassive => Self::ErrorPassive,
            ControllerState::BusOff => Self::BusOff,
        }
    }
}

/// Bits of a frame on the wire (ISO 11898-1), with the space to the next: at the bitrate, and at the data bitrate.
fn bits(frame: &Frame) -> (u32, u32) {
    let payload = u32::try_from(8 * frame.payload().len()).unwrap_or(0);
    let extended = frame.id.is_extended();
    match frame.kind {
        FrameKind::Data | FrameKind::Remote => {
            // Start to CRC may be stuffed; delimiters, acknowledgement, end and the space of 3 bits may not.
            let stuffed = if extended { 54 } else { 34 } + payload;
            (stuffed + stuffed / STUFF + 13, 0)
        }
        FrameKind::Fd { brs, .. } => {
            let arbitration = if extended { 36 } else { 17 };
            // From the ESI bit to the CRC delimiter; the CRC has fixed stuff bits and a count of stuff bits.
            let crc = if payload > 128 { 21 + 7 } else { 17 + 6 } + 4;
            let data = 5 + payload + payload / STUFF + crc + 1;
            let arbitration = arbitration + arbitration / STUFF + 12;
            if brs { (arbitration, data) } else { (arbitration + data, 0) }
        }
        FrameKind::Error => (0, 0),
    }
}

/// What destroys a frame: six dominant bits, up to six more, a delimiter of eight and the space.
const ERROR_BITS: u64 = 23;

/// One stuff bit in so many bits, on average over recorded traffic.
const STUFF: u32 = 14;

/// Rates and loads are told to a tenth: more would only be noise.
fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "counts and durations; the last bits do not matter")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}
