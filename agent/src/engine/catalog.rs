//! Names: which buses, messages and signals there are, and how configuration and models refer to them.
//!
//! A signal is `Message.Signal`, or just `Signal` where that is unique; `bus:` before either picks
//! the bus. Collections may also say `Message.*` or `*`.
//!
//! Beside what the DBC files describe, each bus has signals about itself, as if it sent a message
//! called `BusHealth` ([`HEALTH_SIGNALS`]). They are named in full only, so that a DBC's own `Load` or
//! `State` stays unique, and `*` leaves them out.

use std::collections::HashMap;
use std::sync::Arc;

use can_decoders::{BusId, MessageIndex, Plan, SignalIndex};
use thiserror::Error;

/// A signal of any bus: index into the engine's table of last values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SignalId(pub u32);

/// A message of any bus: index into the engine's table of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub u32);

/// One bus with what can be decoded on it.
#[derive(Debug, Clone)]
pub struct Bus {
    /// Its name; [`ANY_BUS`] takes the frames of all buses that have no entry of their own.
    pub name: Arc<str>,
    /// Its messages and signals.
    pub plan: Arc<Plan>,
    /// Bits per second, where the interface cannot be asked: of the arbitration phase, and of the data phase of FD
    /// frames.
    pub bitrate: Option<u32>,
    /// See `bitrate`.
    pub data_bitrate: Option<u32>,
}

impl Bus {
    /// A bus of unknown bitrate.
    pub fn new(name: impl Into<Arc<str>>, plan: Plan) -> Self {
        Self { name: name.into(), plan: Arc::new(plan), bitrate: None, data_bitrate: None }
    }
}

/// The name of the entry that takes the frames of all other buses.
pub const ANY_BUS: &str = "*";

/// The message that stands for a bus's own signals.
pub const HEALTH_MESSAGE: &str = "BusHealth";

/// A bus's signals about itself, with their units. [`super::bus`] says how they are measured.
pub const HEALTH_SIGNALS: [(&str, &str); 12] = [
    ("State", ""),
    ("TxErrors", ""),
    ("RxErrors", ""),
    ("Bitrate", "bit/s"),
    ("Load", "%"),
    ("FrameRate", "1/s"),
    ("ErrorRate", "1/s"),
    ("UnknownRate", "1/s"),
    ("UnknownIds", ""),
    ("Silent", ""),
    ("Dropped", ""),
    ("Overflow", ""),
];

/// A signal's names.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// Its bus.
    pub bus: &'a Bus,
    /// Its message.
    pub message: &'a str,
    /// Its own name.
    pub name: &'a str,
    /// Its unit, empty when it has none.
    pub unit: &'a str,
}

/// Why a name does not lead to a signal or message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing has that name.
    #[error("no {what} named `{name}` in the DBC files{}", hint(similar))]
    Unknown {
        /// `signal` or `message`.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// Names that look alike.
        similar: Vec<String>,
    },
    /// Several have it.
    #[error("`{name}` is ambiguous: write one of {}", candidates.join(", "))]
    Ambiguous {
        /// The name asked for.
        name: String,
        /// Full names that it could mean, at most eight.
        candidates: Vec<String>,
    },
}

fn hint(similar: &[String]) -> String {
    if similar.is_empty() { String::new() } else { format!("; did you mean {}?", similar.join(" or ")) }
}

/// All buses, with one numbering of messages and signals across them.
#[derive(Debug, Clone)]
pub struct Catalog {
    buses: Vec<Bus>,
    any: Option<usize>,
    message_base: Vec<u32>,
    signal_base: Vec<u32>,
    messages: u32,
    /// Signals of the DBC files; those of the buses themselves come after them.
    signals: u32,
}

impl Catalog {
    /// Numbers the messages and signals of `buses` in order.
    pub fn new(buses: Vec<Bus>) -> Self {
        let (mut messages, mut signals) = (0u32, 0u32);
        let (mut message_base, mut signal_base) = (Vec::new(), Vec::new());
        for bus in &buses {
            message_base.push(messages);
            signal_base.push(signals);
            messages += index32(bus.plan.messages().len());
            signals += index32(bus.plan.signals().len());
        }
        let any = buses.iter().position(|bus| &*bus.name == ANY_BUS);
        Self { buses, any, message_base, signal_base, messages, signals }
    }

    /// The buses in the order given; a frame's [`BusId`] is the position here.
    pub fn buses(&self) -> &[Bus] {
        &self.buses
    }

    /// Position of the bus that takes frames marked `bus`, `None` when that bus is not configured.
    pub fn route(&self, bus: BusId) -> Option<usize> {
        let index = usize::from(bus.0);
        if index < self.buses.len() { Some(index) } else { self.any }
    }

    /// Number of messages of all buses.
    pub fn message_count(&self) -> usize {
        self.messages as usize
    }

    /// Number of signals of all buses that the DBC files describe.
    pub fn signal_count(&self) -> usize {
        self.signals as usize
    }

    /// Number of all signals, those of the buses themselves among them: how many [`SignalId`]s there are.
    pub fn all_signal_count(&self) -> usize {
        self.signal_count() + self.buses.len() * HEALTH_SIGNALS.len()
    }

    /// The number of a bus's first signal about itself; a position in [`HEALTH_SIGNALS`] is added to it.
    pub fn health_base(&self, bus: usize) -> u32 {
        self.signals + index32(bus * HEALTH_SIGNALS.len())
    }

    /// The engine-wide number of a bus's message.
    pub fn message_id(&self, bus: usize, message: MessageIndex) -> MessageId {
        MessageId(self.message_base[bus] + message.0)
    }

    /// The engine-wide number of a bus's first signal; a signal's own index is added to it.
    pub fn signal_base(&self, bus: usize) -> u32 {
        self.signal_base[bus]
    }

    fn bus_of(bases: &[u32], id: u32) -> usize {
        // Buses without messages share their successor's base: the last base not above `id` is the owner's.
        bases.partition_point(|&base| base <= id) - 1
    }

    /// Position of a message's bus.
    pub fn bus_of_message(&self, id: MessageId) -> usize {
        Self::bus_of(&self.message_base, id.0)
    }

    /// The bus and message behind a number.
    pub fn message(&self, id: MessageId) -> (&Bus, &can_decoders::Message) {
        let bus = Self::bus_of(&self.message_base, id.0);
        (&self.buses[bus], self.buses[bus].plan.message(MessageIndex(id.0 - self.message_base[bus])))
    }

    /// Position of a signal's bus, and the signal's place in that bus's plan; `None` for what a bus says about itself.
    pub fn place(&self, id: SignalId) -> Option<(usize, SignalIndex)> {
        let bus = (id.0 < self.signals).then(|| Self::bus_of(&self.signal_base, id.0))?;
        Some((bus, SignalIndex(id.0 - self.signal_base[bus])))
    }

    /// Position of the bus that says this about itself.
    pub(super) fn bus_of_health(&self, id: SignalId) -> usize {
        id.0.saturating_sub(self.signals) as usize / HEALTH_SIGNALS.len()
    }

    /// The names behind a number.
    pub fn signal(&self, id: SignalId) -> Named<'_> {
        if let Some(index) = id.0.checked_sub(self.signals) {
            let index = index as usize;
            let (name, unit) = HEALTH_SIGNALS[index % HEALTH_SIGNALS.len()];
            return Named { bus: &self.buses[index / HEALTH_SIGNALS.len()], message: HEALTH_MESSAGE, name, unit };
        }
        let number = Self::bus_of(&self.signal_base, id.0);
        let bus = &self.buses[number];
        let signal = bus.plan.signal(SignalIndex(id.0 - self.signal_base[number]));
        Named { bus, message: &bus.plan.message(signal.message).name, name: &signal.name, unit: &signal.unit }
    }

    /// The names that events give to signals: `Message.Signal`, with the bus before it where another bus has the same.
    pub fn signal_names(&self, ids: &[SignalId]) -> Vec<Arc<str>> {
        let short = |id| {
            let Named { message, name, .. } = self.signal(id);
            (message, name)
        };
        let mut bearers = HashMap::<_, u32>::new();
        for id in self.all_signals() {
            *bearers.entry(short(id)).or_default() += 1;
        }
        let name = |&id: &SignalId| match short(id) {
            of if bearers[&of] > 1 => self.full_signal_name(id).into(),
            (message, signal) => format!("{message}.{signal}").into(),
        };
        ids.iter().map(name).collect()
    }

    fn all_signals(&self) -> impl Iterator<Item = SignalId> + use<> {
        (0..index32(self.all_signal_count())).map(SignalId)
    }

    /// The one signal called `name`.
    ///
    /// # Errors
    /// When no signal or more than one has that name.
    pub fn find_signal(&self, name: &str) -> Result<SignalId, NameError> {
        let found: Vec<SignalId> = self.all_signals().filter(|&id| self.signal_matches(id, name)).collect();
        self.single(
            "signal",
            name,
            &found,
            |id| self.full_signal_name(id),
            || self.all_signals().map(|id| self.full_signal_name(id)).collect(),
        )
    }

    /// The one message called `name` (`Message` or `bus:Message`).
    ///
    /// # Errors
    /// When no message or more than one has that name.
    pub fn find_message(&self, name: &str) -> Result<MessageId, NameError> {
        let (bus_name, rest) = split_bus(name);
        let all = || (0..self.messages).map(MessageId);
        let full = |id| {
            let (bus, message) = self.message(id);
            format!("{}:{}", bus.name, message.name)
        };
        let found: Vec<MessageId> = all()
            .filter(|&id| {
                let (bus, message) = self.message(id);
                bus_name.is_none_or(|b| b == &*bus.name) && &*message.name == rest
            })
            .collect();
        self.single("message", name, &found, full, || all().map(full).collect())
    }

    /// The signals that a collection's pattern names: a single one, `Message.*`, or `*`.
    ///
    /// # Errors
    /// When it names none, or a single name is ambiguous.
    pub fn select(&self, pattern: &str) -> Result<Vec<SignalId>, NameError> {
        let (bus_name, rest) = split_bus(pattern);
        let message_name = rest.strip_suffix(".*");
        if rest != "*" && message_name.is_none() {
            return self.find_signal(pattern).map(|id| vec![id]);
        }
        let found: Vec<SignalId> = self
            .all_signals()
            .filter(|&id| {
                let signal = self.signal(id);
                bus_name.is_none_or(|b| b == &*signal.bus.name)
                    && message_name.map_or(id.0 < self.signals, |message| message == signal.message)
            })
            .collect();
        if found.is_empty() {
            return Err(NameError::Unknown { what: "signal", name: pattern.into(), similar: Vec::new() });
        }
        Ok(found)
    }

    /// The name that no other signal has: `bus:Message.Signal`.
    pub fn full_signal_name(&self, id: SignalId) -> String {
        let Named { bus, message, name, .. } = self.signal(id);
        format!("{}:{message}.{name}", bus.name)
    }

    fn signal_matches(&self, id: SignalId, name: &str) -> bool {
        let (bus_name, rest) = split_bus(name);
        let signal = self.signal(id);
        if bus_name.is_some_and(|b| b != &*signal.bus.name) {
            return false;
        }
        match rest.split_once('.') {
            Some((message, short)) => signal.name == short && signal.message == message,
            None => signal.name == rest && id.0 < self.signals,
        }
    }

    #[expect(clippy::unused_self, reason = "reads as part of the lookup")]
    fn single<T: Copy>(
        &self,
        what: &'static str,
        name: &str,
        found: &[T],
        full: impl Fn(T) -> String,
        all: impl Fn() -> Vec<String>,
    ) -> Result<T, NameError> {
        match found {
            [one] => Ok(*one),
            [] => Err(NameError::Unknown { what, name: name.into(), similar: similar(name, all()) }),
            several => Err(NameError::Ambiguous {
                name: name.into(),
                candidates: several.iter().take(8).map(|&id| full(id)).collect(),
            }),
        }
    }
}

fn split_bus(name: &str) -> (Option<&str>, &str) {
    match name.split_once(':') {
        Some((bus, rest)) => (Some(bus), rest),
        None => (None, name),
    }
}

/// Up to three names that differ from `name` in case only, or contain its last part.
fn similar(name: &str, all: Vec<String>) -> Vec<String> {
    let wanted = name.rsplit(['.', ':']).next().unwrap_or(name).to_lowercase();
    if wanted.len() < 3 {
        return Vec::new();
    }
    all.into_iter().filter(|n| n.to_lowercase().contains(&wanted)).take(3).collect()
}

fn index32(n: usize) -> u32 {
    // A DBC file is bounded to a size that cannot hold four billion of anything.
    u32::try_from(n).unwrap_or(u32::MAX)
}
