//! Faults of the simulated vehicle: what can go wrong, written as text, and when.
//!
//! | text | what happens |
//! |---|---|
//! | `stuck:SENSOR` | the sensor repeats its last value |
//! | `drift:SENSOR:RATE` | the sensor's error grows by RATE units a second |
//! | `replay:SENSOR` | the sensor shows what it showed 30 s before |
//! | `missing:MESSAGE` | the message is not sent |
//! | `flood:MESSAGE:FACTOR` | the message is sent FACTOR times as often (2 to 20) |
//! | `leak` | coolant runs out until the fault ends; then it is topped up |
//! | `imbalance:CELL` | cell 1 to 12 of the 48 V battery has an internal short |
//! | `crash` | the car hits an obstacle, stands for at least 8 s and drives on |
//!
//! SENSOR is a signal of `demo-powertrain.dbc` or `demo-body.dbc`, MESSAGE one of their messages. A fault with its
//! time is `KIND@START+DURATION`, in seconds from the start of the simulation: `stuck:EngineSpeed@120+10`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::battery::CELLS;
use super::signals::SIGNALS;

/// A signal of the simulated vehicle that a sensor fault can hit (not counters, checksums or multiplexors).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sensor(usize);

impl Sensor {
    /// Name of the signal.
    pub fn name(self) -> &'static str {
        SIGNALS[self.0].signal
    }

    /// Name of the message that carries it.
    pub fn message(self) -> &'static str {
        SIGNALS[self.0].message
    }

    pub(super) fn index(self) -> usize {
        self.0
    }
}

impl FromStr for Sensor {
    type Err = FaultError;
    fn from_str(text: &str) -> Result<Self, FaultError> {
        let place = SIGNALS.iter().position(|binding| binding.signal == text);
        place.map(Self).ok_or_else(|| FaultError::UnknownSensor(text.to_owned()))
    }
}

/// A message of the simulated vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageName(&'static str);

impl MessageName {
    /// Name of the message.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl FromStr for MessageName {
    type Err = FaultError;
    fn from_str(text: &str) -> Result<Self, FaultError> {
        let found = SIGNALS.iter().find(|binding| binding.message == text);
        found.map(|binding| Self(binding.message)).ok_or_else(|| FaultError::UnknownMessage(text.to_owned()))
    }
}

/// What goes wrong. Its text form is described in the module.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultKind {
    /// The sensor repeats its last value.
    SensorStuck {
        /// Which one.
        sensor: Sensor,
    },
    /// The sensor's error grows steadily.
    Drift {
        /// Which one.
        sensor: Sensor,
        /// Units of the signal a second; finite and not 0.
        rate: f64,
    },
    /// The sensor shows its values of 30 s before.
    Replay {
        /// Which one.
        sensor: Sensor,
    },
    /// The message is not sent.
    Missing {
        /// Which one.
        message: MessageName,
    },
    /// The message is sent too often.
    Flooding {
        /// Which one.
        message: MessageName,
        /// How many times as often, 2 to 20.
        factor: u32,
    },
    /// Coolant runs out: level and pressure fall, in the end the engine overheats.
    CoolantLeak,
    /// An internal short in a cell of the 48 V battery.
    CellImbalance {
        /// The cell, 1 to 12.
        cell: u8,
    },
    /// The car hits an obstacle.
    SuddenDeceleration,
}

/// A fault's text is wrong; whoever wrote it has to change it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FaultError {
    /// No such kind of fault.
    #[error(
        "unknown fault `{0}`; known are stuck:SENSOR, drift:SENSOR:RATE, replay:SENSOR, missing:MESSAGE, \
         flood:MESSAGE:FACTOR, leak, imbalance:CELL, crash"
    )]
    UnknownKind(String),
    /// No such signal.
    #[error("unknown sensor `{0}`; give a signal of demo-powertrain.dbc or demo-body.dbc, as in `stuck:EngineSpeed`")]
    UnknownSensor(String),
    /// No such message.
    #[error(
        "unknown message `{0}`; give a message of demo-powertrain.dbc or demo-body.dbc, as in `missing:EngineData1`"
    )]
    UnknownMessage(String),
    /// A number is missing or out of range.
    #[error("fault `{fault}`: {what}")]
    Number {
        /// The text of the fault.
        fault: String,
        /// What is expected.
        what: &'static str,
    },
    /// Not `KIND@START+DURATION`.
    #[error("fault `{0}`: expected KIND@START+DURATION in seconds, as in `stuck:EngineSpeed@120+10`")]
    Schedule(String),
}

impl FromStr for FaultKind {
    type Err = FaultError;
    fn from_str(text: &str) -> Result<Self, FaultError> {
        let number = |what| FaultError::Number { fault: text.to_owned(), what };
        let mut parts = text.split(':');
        let parts = (parts.next().unwrap_or_default(), parts.next(), parts.next(), parts.next());
        match parts {
            ("stuck", Some(sensor), None, _) => Ok(Self::SensorStuck { sensor: sensor.parse()? }),
            ("replay", Some(sensor), None, _) => Ok(Self::Replay { sensor: sensor.parse()? }),
            ("drift", Some(sensor), Some(rate), None) => {
                let sensor = sensor.parse()?;
                let rate: f64 = rate.parse().ok().filter(|r: &f64| r.is_finite() && *r != 0.0).ok_or_else(|| {
                    number("the rate must be a finite number other than 0, in units of the signal a second")
                })?;
                Ok(Self::Drift { sensor, rate })
            }
            ("missing", Some(message), None, _) => Ok(Self::Missing { message: message.parse()? }),
            ("flood", Some(message), Some(factor), None) => {
                let message = message.parse()?;
                let factor = factor.parse().ok().filter(|factor| (2..=20).contains(factor));
                let factor = factor.ok_or_else(|| number("the factor must be a whole number from 2 to 20"))?;
                Ok(Self::Flooding { message, factor })
            }
            ("leak", None, ..) => Ok(Self::CoolantLeak),
            ("crash", None, ..) => Ok(Self::SuddenDeceleration),
            ("imbalance", Some(cell), None, _) => {
                let known = |cell: &u8| (1..=CELLS).contains(&usize::from(*cell));
                let cell = cell.parse().ok().filter(known).ok_or_else(|| number("the cell must be from 1 to 12"))?;
                Ok(Self::CellImbalance { cell })
            }
            _ => Err(FaultError::UnknownKind(text.to_owned())),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SensorStuck { sensor } => write!(f, "stuck:{}", sensor.name()),
            Self::Drift { sensor, rate } => write!(f, "drift:{}:{rate}", sensor.name()),
            Self::Replay { sensor } => write!(f, "replay:{}", sensor.name()),
            Self::Missing { message } => write!(f, "missing:{}", message.name()),
            Self::Flooding { message, factor } => write!(f, "flood:{}:{factor}", message.name()),
            Self::CoolantLeak => f.write_str("leak"),
            Self::CellImbalance { cell } => write!(f, "imbalance:{cell}"),
            Self::SuddenDeceleration => f.write_str("crash"),
        }
    }
}

/// A fault and its time, relative to the start of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScheduledFault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// When it begins.
    pub start: Duration,
    /// How long it lasts; longer than 0.
    pub duration: Duration,
}

impl FromStr for ScheduledFault {
    type Err = FaultError;
    fn from_str(text: &str) -> Result<Self, FaultError> {
        let wrong = || FaultError::Schedule(text.to_owned());
        let seconds = |text: &str| text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
        let (kind, times) = text.split_once('@').ok_or_else(wrong)?;
        let (start, duration) = times.split_once('+').ok_or_else(wrong)?;
        let start = seconds(start).ok_or_else(wrong)?;
        let duration = seconds(duration).filter(|d| !d.is_zero()).ok_or_else(wrong)?;
        Ok(Self { kind: kind.parse()?, start, duration })
    }
}

impl TryFrom<String> for ScheduledFault {
    type Error = FaultError;
    fn try_from(text: String) -> Result<Self, FaultError> {
        text.parse()
    }
}

impl From<ScheduledFault> for String {
    fn from(fault: ScheduledFault) -> Self {
        fault.to_string()
    }
}

impl fmt::Display for ScheduledFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}+{}", self.kind, self.start.as_secs_f64(), self.duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_parsing_and_printing() {
        for text in [
            "stuck:EngineSpeed@120+10",
            "drift:CoolantTemp:-0.5@1.5+30",
            "replay:VehicleSpeed@60+12.25",
            "missing:EngineData1@0+1",
            "flood:BrakeData1:5@3+4",
            "leak@10+60",
            "imbalance:12@10+60",
            "crash@200+15",
        ] {
            assert_eq!(text.parse::<ScheduledFault>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn wrong_text_is_refused_with_a_remedy() {
        for (text, part) in [
            ("stuck@1+1", "known are"),
            ("stuck:Nothing@1+1", "unknown sensor `Nothing`"),
            ("stuck:AliveCounter@1+1", "unknown sensor"),
            ("missing:EngineSpeed@1+1", "unknown message"),
            ("drift:EngineSpeed:0@1+1", "finite number"),
            ("drift:EngineSpeed:inf@1+1", "finite number"),
            ("flood:EngineData1:1@1+1", "from 2 to 20"),
            ("imbalance:13@1+1", "from 1 to 12"),
            ("imbalance:0@1+1", "from 1 to 12"),
            ("crash:now@1+1", "known are"),
            ("crash", "KIND@START+DURATION"),
            ("crash@1", "KIND@START+DURATION"),
            ("crash@-1+1", "KIND@START+DURATION"),
            ("crash@1+0", "KIND@START+DURATION"),
            ("crash@1+NaN", "KIND@START+DURATION"),
        ] {
            let error = text.parse::<ScheduledFault>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
