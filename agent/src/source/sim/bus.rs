//! Two buses: when which control unit sends which message, and what arbitration makes of it.
//!
//! A message falls due once a cycle, a little late at random. Of those that wait when the bus falls idle the one with
//! the lowest identifier goes first; a message that still waits when it falls due again is sent once, with the newer
//! values, as controllers with one mailbox a message do. So flooding delays others but queues nothing without bound.

use can_decoders::{BusId, CanId, Database, Frame, FrameKind, MessageIndex, Plan, SignalIndex};

use super::SimError;
use super::maths::{gaussian, uniform};
use super::signals::{Noise, SIGNALS};
use super::tamper::Tampering;
use super::vehicle::Vehicle;

/// Length of a bit at 500 kbit/s, µs.
const BIT_US: u64 = 2;
/// A message falls due at most this share of its cycle late.
const JITTER: f64 = 0.08;

#[derive(Debug)]
struct Source {
    signal: SignalIndex,
    sensor: usize,
    low: f64,
    high: f64,
}

/// A cyclic message and the control unit that sends it.
#[derive(Debug)]
struct Sender {
    message: MessageIndex,
    name: &'static str,
    id: CanId,
    size: usize,
    cycle_us: u64,
    cycles: u64,
    due_us: u64,
    sources: Vec<Source>,
    counter: Option<SignalIndex>,
    checksum: Option<SignalIndex>,
    multiplexor: Option<SignalIndex>,
    groups: u8,
    sent: u64,
    /// A stream of its own: a message that is not sent leaves the noise of all others as it was.
    rng: fastrand::Rng,
}

/// One bus with its senders.
#[derive(Debug)]
pub(super) struct Bus {
    id: BusId,
    plan: Plan,
    senders: Vec<Sender>,
    idle_us: u64,
    values: Vec<(SignalIndex, f64)>,
}

impl Bus {
    /// A bus with the messages of a DBC file; times are relative to the simulation's start.
    pub(super) fn new(id: BusId, name: &'static str, dbc: &str, rng: &mut fastrand::Rng) -> Result<Self, SimError> {
        let database = Database::parse(name, dbc.as_bytes())?;
        let plan = Plan::compile(std::slice::from_ref(&database));
        let mut senders = Vec::with_capacity(plan.messages().len());
        for number in 0..plan.messages().len() {
            let message = MessageIndex(u32::try_from(number).map_err(|_| SimError::Unbound(name.to_owned()))?);
            senders.push(Sender::new(&plan, message, fastrand::Rng::with_seed(rng.u64(..)))?);
        }
        // Arbitration looks for the lowest identifier: that is the first in this order. Standard identifiers win
        // against extended ones with the same leading bits.
        senders.sort_by_key(|sender| priority(sender.id));
        Ok(Self { id, plan, senders, idle_us: 0, values: Vec::with_capacity(16) })
    }

    /// Appends what is received before `end_us`, with times in µs since the start.
    pub(super) fn run(
        &mut self,
        end_us: u64,
        vehicle: &Vehicle,
        tampering: &mut Tampering,
        frames: &mut Vec<(u64, Frame)>,
    ) -> Result<(), SimError> {
        loop {
            let earliest = self.senders.iter().map(|sender| sender.due_us).min().unwrap_or(u64::MAX);
            let start = self.idle_us.max(earliest);
            if start >= end_us {
                return Ok(());
            }
            let Some(sender) = self.senders.iter_mut().find(|sender| sender.due_us <= start) else { return Ok(()) };
            if tampering.missing(sender.name) {
                sender.schedule(1);
                continue;
            }
            let received = start + duration_us(sender.id, sender.size);
            if received >= end_us {
                return Ok(());
            }
            self.idle_us = received;
            let frame = sender.frame(self.id, &self.plan, &mut self.values, vehicle, tampering)?;
            frames.push((received, frame));
            sender.schedule(u64::from(tampering.factor(sender.name)));
            while sender.due_us <= start {
                sender.schedule(u64::from(tampering.factor(sender.name)));
            }
        }
    }
}

/// Order in arbitration.
fn priority(id: CanId) -> (u32, bool, u32) {
    let number = id.number();
    if id.is_extended() { (number >> 18, true, number) } else { (number, false, 0) }
}

/// Time of a data frame on the bus: its fields, the space behind it, and stuff bits as they are on average.
fn duration_us(id: CanId, size: usize) -> u64 {
    let data = u64::try_from(size).unwrap_or(8) * 8;
    let frame = if id.is_extended() { 67 } else { 47 };
    (frame + data + (frame + data) / 11) * BIT_US
}

impl Sender {
    fn new(plan: &Plan, message: MessageIndex, mut rng: fastrand::Rng) -> Result<Self, SimError> {
        let described = plan.message(message);
        let unbound = |signal: &str| SimError::Unbound(format!("{}.{signal}", described.name));
        let cycle_ms = described.cycle_time_ms.ok_or_else(|| unbound("GenMsgCycleTime"))?;
        let mut sources = Vec::new();
        let (mut counter, mut checksum, mut multiplexor) = (None, None, None);
        for index in described.signal_indices() {
            let signal = plan.signal(index);
            match &*signal.name {
                "AliveCounter" => counter = Some(index),
                "Checksum" => checksum = Some(index),
                _ if signal.is_multiplexor => multiplexor = Some(index),
                name => {
                    let place = SIGNALS.iter().position(|b| *b.message == *described.name && b.signal == name);
                    sources.push(Source {
                        signal: index,
                        sensor: place.ok_or_else(|| unbound(name))?,
                        low: signal.min.ok_or_else(|| unbound(name))?,
                        high: signal.max.ok_or_else(|| unbound(name))?,
                    });
                }
            }
        }
        let first = sources.first().map(|source| source.sensor).ok_or_else(|| unbound("signals"))?;
        let groups = sources.iter().filter_map(|source| SIGNALS[source.sensor].group).max().map_or(1, |last| last + 1);
        let cycle_us = u64::from(cycle_ms) * 1000;
        let due_us = rng.u64(0..cycle_us);
        Ok(Self {
            message,
            name: SIGNALS[first].message,
            id: described.id,
            size: described.size,
            cycle_us,
            cycles: due_us,
            due_us,
            sources,
            counter,
            checksum,
            multiplexor,
            groups,
            sent: 0,
            rng,
        })
    }

    /// Makes it due a cycle, divided by `factor`, later.
    fn schedule(&mut self, factor: u64) {
        let cycle = self.cycle_us / factor.max(1);
        self.cycles += cycle;
        #[expect(clippy::cast_precision_loss, reason = "a cycle is at most a minute")]
        let share = cycle as f64 * JITTER;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and not negative")]
        let late = uniform(&mut self.rng, 0.0, share) as u64;
        self.due_us = self.cycles + late;
    }

    fn frame(
        &mut self,
        bus: BusId,
        plan: &Plan,
        values: &mut Vec<(SignalIndex, f64)>,
        vehicle: &Vehicle,
        tampering: &mut Tampering,
    ) -> Result<Frame, SimError> {
        let group = u8::try_from(self.sent % u64::from(self.groups)).unwrap_or(0);
        let mut payload = [0u8; 8];
        let payload = payload.get_mut(..self.size).ok_or_else(|| SimError::Unbound(self.name.to_owned()))?;
        values.clear();
        for source in &self.sources {
            let binding = &SIGNALS[source.sensor];
            if binding.group.is_some_and(|its| its != group) {
                continue;
            }
            let ideal = (binding.read)(vehicle);
            let value = match binding.noise {
                Noise::None => ideal,
                Noise::Moving(_) if ideal == 0.0 => ideal,
                Noise::Additive(deviation) | Noise::Moving(deviation) => ideal + deviation * gaussian(&mut self.rng),
            };
            let shown = tampering.sensor(source.sensor, value).clamp(source.low, source.high);
            values.push((source.signal, shown));
        }
        if let Some(counter) = self.counter {
            values.push((counter, f64::from(u8::try_from(self.sent % 16).unwrap_or(0))));
        }
        if let Some(multiplexor) = self.multiplexor {
            values.push((multiplexor, f64::from(group)));
        }
        plan.encode(self.message, values, payload)?;
        if let Some(checksum) = self.checksum {
            let sum = crc8(self.id, payload);
            plan.encode(self.message, &[(checksum, f64::from(sum))], payload)?;
        }
        self.sent += 1;
        // The time is set when the frames of both buses are put in order.
        Frame::new(0, bus, self.id, FrameKind::Data, payload).ok_or_else(|| SimError::Unbound(self.name.to_owned()))
    }
}

/// CRC-8 (SAE J1850: polynomial 0x1D, start and final 0xFF) over the identifier's low two bytes and the payload with
/// a checksum of 0.
pub(super) fn crc8(id: CanId, payload: &[u8]) -> u8 {
    let [low, high, ..] = id.number().to_le_bytes();
    let crc = [low, high].iter().chain(payload).fold(0xFF_u8, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x1D })
    });
    crc ^ 0xFF
}
