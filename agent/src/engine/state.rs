//! Last values: what the engine knows about each signal and message.

use can_decoders::Validity;

use super::catalog::{MessageId, SignalId};

/// A signal's last value.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// Physical value of the last sample, valid or not.
    pub value: f64,
    /// Time of the last sample, nanoseconds since the Unix epoch; 0 when there was none.
    pub time_ns: u64,
    /// Time between the last two samples, nanoseconds; 0 when there were none since the last jump of the clock.
    pub gap_ns: u64,
    /// Samples so far; begins again at 0 after the last number.
    pub samples: u32,
    /// How many samples before the last, one after the other, had its value.
    pub run: u32,
    /// Whether the value may be used.
    pub validity: Validity,
}

impl Slot {
    const EMPTY: Self = Self { value: 0.0, time_ns: 0, gap_ns: 0, samples: 0, run: 0, validity: Validity::Valid };

    /// The value, when there was one, it is valid, and it is at most `max_age_ns` old at `now_ns`.
    pub fn usable(&self, now_ns: u64, max_age_ns: u64) -> Option<f64> {
        let fresh = self.time_ns != 0 && now_ns.saturating_sub(self.time_ns) <= max_age_ns;
        (fresh && self.validity == Validity::Valid).then_some(self.value)
    }
}

/// What is known about a message.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageSlot {
    /// Frames so far.
    pub frames: u64,
    /// Time between the last two of them, nanoseconds; 0 when there were none since the last jump of the clock.
    pub gap_ns: u64,
    /// Time of the last frame (of the last jump of the clock, if that came later), 0 when there was none.
    pub last_ns: u64,
    /// Longest time between two frames so far.
    pub longest_ns: u64,
    /// Times between two frames so far: their number,
    pub gaps: u64,
    /// and their sum. Silences and jumps of the clock are left out of all three.
    pub gaps_ns: u64,
    /// A silence or a jump of the clock lies between the last frame and the next.
    broken: bool,
}

impl MessageSlot {
    /// A frame at `now_ns`; `silent` when the message was held to be silent until now.
    pub(super) fn seen(&mut self, now_ns: u64, silent: bool) {
        self.gap_ns = if self.frames == 0 || self.broken { 0 } else { (now_ns - self.last_ns).max(1) };
        if self.frames > 0 && !silent && !self.broken {
            let gap_ns = now_ns - self.last_ns;
            self.longest_ns = self.longest_ns.max(gap_ns);
            self.gaps += 1;
            self.gaps_ns += gap_ns;
        }
        self.frames += 1;
        self.last_ns = now_ns;
        self.broken = false;
    }
}

/// The tables of last values.
#[derive(Debug, Clone)]
pub struct State {
    signals: Vec<Slot>,
    messages: Vec<MessageSlot>,
}

impl State {
    /// Empty tables, taken once at start.
    pub fn new(signals: usize, messages: usize) -> Self {
        Self { signals: vec![Slot::EMPTY; signals], messages: vec![MessageSlot::default(); messages] }
    }

    /// The last value of a signal.
    pub fn signal(&self, id: SignalId) -> &Slot {
        &self.signals[id.0 as usize]
    }

    /// What is known about a message.
    pub fn message(&self, id: MessageId) -> &MessageSlot {
        &self.messages[id.0 as usize]
    }

    /// All messages, by number.
    pub fn messages(&self) -> &[MessageSlot] {
        &self.messages
    }

    /// A sample of a signal at `time_ns`.
    pub(super) fn sample(&mut self, id: SignalId, value: f64, time_ns: u64, validity: Validity) {
        let slot = &mut self.signals[id.0 as usize];
        let same = slot.time_ns != 0 && slot.value.to_bits() == value.to_bits();
        let run = if same { slot.run.saturating_add(1) } else { 0 };
        let gap_ns = if slot.time_ns == 0 { 0 } else { time_ns.saturating_sub(slot.time_ns).max(1) };
        *slot = Slot { value, time_ns, gap_ns, samples: slot.samples.wrapping_add(1), run, validity };
    }

    /// What is no longer known is no value.
    pub(super) fn forget(&mut self, id: SignalId) {
        let slot = &mut self.signals[id.0 as usize];
        (slot.time_ns, slot.gap_ns) = (0, 0);
    }

    pub(super) fn message_mut(&mut self, id: MessageId) -> &mut MessageSlot {
        &mut self.messages[id.0 as usize]
    }

    /// The clock jumped: ages and periods measured across the jump mean nothing. No signal has a value until it comes
    /// again: after a step back, its old time would make it look fresh for as long as the step was.
    pub(super) fn time_jumped(&mut self, now_ns: u64) {
        for signal in &mut self.signals {
            (signal.time_ns, signal.gap_ns) = (0, 0);
        }
        for message in self.messages.iter_mut().filter(|m| m.frames > 0) {
            (message.last_ns, message.gap_ns) = (now_ns, 0);
            message.broken = true;
        }
    }
}
