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
    /// Whether the value may be used.
    pub validity: Validity,
}

impl Slot {
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
        Self {
            signals: vec![Slot { value: 0.0, time_ns: 0, validity: Validity::Valid }; signals],
            messages: vec![MessageSlot::default(); messages],
        }
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

    pub(super) fn set_signal(&mut self, id: SignalId, slot: Slot) {
        self.signals[id.0 as usize] = slot;
    }

    pub(super) fn message_mut(&mut self, id: MessageId) -> &mut MessageSlot {
        &mut self.messages[id.0 as usize]
    }

    /// The clock jumped: ages and periods measured across the jump mean nothing. No signal has a value until it comes
    /// again: after a step back, its old time would make it look fresh for as long as the step was.
    pub(super) fn time_jumped(&mut self, now_ns: u64) {
        for signal in &mut self.signals {
            signal.time_ns = 0;
        }
        for message in self.messages.iter_mut().filter(|m| m.frames > 0) {
            message.last_ns = now_ns;
            message.broken = true;
        }
    }
}
