//! What an event's time is worth, and times that are put right afterwards.
//!
//! A vehicle's clock may be wrong after a week in a garage, until NTP or a satellite receiver sets it. So an event that was
//! not read from a recording has, besides its wall time, the time since the computer was started, which nobody sets, and a
//! word on the clock. Once the clock is set, `t` of what was stamped before follows from these: `stamp` then keeps what the
//! clock had said.

use serde::{Deserialize, Serialize};
use serde_cbor::Value;

/// What is known of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockState {
    /// Nobody is known to have set it since the computer was started: it says what a battery has kept, or anything.
    Unset,
    /// It was set, or was synchronised and no longer is.
    Set,
    /// The kernel is told the time by NTP, PTP or a satellite receiver, and knows its error (RFC 5905).
    Synced,
}

impl ClockState {
    /// All states, the worst first; a place here stands for the state on disk.
    pub(crate) const ALL: [Self; 3] = [Self::Unset, Self::Set, Self::Synced];

    /// Name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Set => "set",
            Self::Synced => "synced",
        }
    }
}

/// What the clocks said when an event was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Since the computer was started, asleep or not, nanoseconds (`CLOCK_BOOTTIME`).
    pub mono_ns: u64,
    /// Of the wall clock.
    pub state: ClockState,
}

/// A point in time by all clocks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// `None` in a recording.
    pub clock: Option<Clock>,
}

impl From<u64> for Moment {
    fn from(time_ns: u64) -> Self {
        Self { time_ns, clock: None }
    }
}

/// Body of kind `clock`: the clock was set, or what is known of it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClockChange {
    /// By how much it was set since the last such event, forwards, nanoseconds.
    pub step: i64,
    /// How wrong it may be, as the kernel estimates, nanoseconds; `None` unless it is synchronised.
    pub error: Option<u64>,
    /// How it is now.
    pub state: ClockState,
}

/// The clock was set to a better time: what was stamped before, since the computer was started, can be put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockFix {
    /// Holds for what was stamped up to then, nanoseconds since the computer was started.
    pub mono_ns: u64,
    /// Wall time minus time since the computer was started, nanoseconds.
    pub offset_ns: i64,
    /// What the clock has been since.
    pub state: ClockState,
}

impl ClockFix {
    /// The wall time of a moment.
    pub fn wall_ns(&self, mono_ns: u64) -> u64 {
        mono_ns.saturating_add_signed(self.offset_ns)
    }
}

/// Whether there may be an event among these encodings that [`put_right`] has something to do with. Cheap.
pub(crate) fn may_be_wrong(encodings: &[u8]) -> bool {
    // The key and the value, each with its length before it.
    const UNSET: &[u8] = b"\x65clock\x65unset";
    const SET: &[u8] = b"\x65clock\x63set";
    let has = |pattern: &[u8]| memchr::memmem::find(encodings, pattern).is_some();
    has(UNSET) || has(SET)
}

/// The clock's part of an encoded event.
struct Stamped<'a> {
    boot: &'a str,
    time_ns: u64,
    clock: Clock,
}

impl<'a> Stamped<'a> {
    fn of(event: &'a Value) -> Option<Self> {
        let state = match get(event, "clock")? {
            Value::Text(name) => *ClockState::ALL.iter().find(|state| state.name() == name)?,
            _ => return None,
        };
        let Value::Text(boot) = get(event, "boot")? else { return None };
        let clock = Clock { mono_ns: number(get(event, "mono")?)?, state };
        Some(Self { boot, time_ns: number(get(event, "t")?)?, clock })
    }
}

/// Puts the time of an encoded event right, with what `fix` knows of its boot and clock. `None`: as it is.
pub(crate) fn put_right(encoding: &[u8], fix: impl Fn(&str, Clock) -> Option<ClockFix>) -> Option<Vec<u8>> {
    let mut event: Value = serde_cbor::from_slice(encoding).ok()?;
    let Stamped { boot, time_ns, clock } = Stamped::of(&event)?;
    let fix = fix(boot, clock)?;
    let right_ns = fix.wall_ns(clock.mono_ns);
    let Value::Map(map) = &mut event else { return None };
    let key = |name: &str| Value::Text(name.to_owned());
    let uint = |n: u64| Value::Integer(n.into());
    // The body's times are of the same clock.
    if let Some(Value::Map(body)) = map.get_mut(&key("body")) {
        for name in ["since", "last", "from", "to"] {
            if let Some(value) = body.get_mut(&key(name))
                && let Some(ns) = number(value)
            {
                *value = uint(shifted(ns, time_ns, right_ns));
            }
        }
    }
    map.insert(key("t"), uint(right_ns));
    map.insert(key("clock"), key(fix.state.name()));
    // Put right twice, it still says what the clock had said at first. The encoding sorts the keys.
    map.entry(key("stamp")).or_insert_with(|| uint(time_ns));
    serde_cbor::to_vec(&event).ok()
}

/// The time of an encoded event, as far as it is known. `None`: its clock was not set, and says a time that cannot be.
pub(crate) fn best_time(encoding: &[u8], fix: impl Fn(&str, Clock) -> Option<ClockFix>) -> Option<u64> {
    let event: Value = serde_cbor::from_slice(encoding).ok()?;
    match Stamped::of(&event) {
        None => number(get(&event, "t")?),
        Some(Stamped { boot, time_ns, clock }) => match fix(boot, clock) {
            Some(fix) => Some(fix.wall_ns(clock.mono_ns)),
            None => Some(time_ns).filter(|ns| clock.state != ClockState::Unset || *ns >= FLOOR_NS),
        },
    }
}

/// 2026-01-01: a clock that says less is not set.
pub(crate) const FLOOR_NS: u64 = 1_767_225_600_000_000_000;

fn shifted(ns: u64, from_ns: u64, to_ns: u64) -> u64 {
    if to_ns >= from_ns { ns.saturating_add(to_ns - from_ns) } else { ns.saturating_sub(from_ns - to_ns) }
}

fn get<'a>(event: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Map(map) = event else { return None };
    map.iter().find_map(|(key, value)| matches!(key, Value::Text(key) if key == name).then_some(value))
}

fn number(value: &Value) -> Option<u64> {
    let Value::Integer(n) = value else { return None };
    u64::try_from(*n).ok()
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
