//! Physical values to payloads, for simulation and tests.
//!
//! ```
//! use can_decoders::{Database, Plan};
//!
//! let dbc = "BO_ 291 M: 4 A\n SG_ Speed : 7|16@0+ (0.25,0) [0|8000] \"rpm\" A\n SG_ Gear : 16|4@1- (1,0) [0|0] \"\" A\n";
//! let plan = Plan::compile(&[Database::parse("a.dbc", dbc.as_bytes())?]);
//! let message = plan.find_message("M").unwrap();
//! let signal = |name| plan.find_signal(message, name).unwrap();
//!
//! let mut payload = [0; 4];
//! plan.encode(message, &[(signal("Speed"), 800.0), (signal("Gear"), -1.0)], &mut payload)?;
//! assert_eq!(payload, [0x0C, 0x80, 0x0F, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;

use crate::plan::{MessageIndex, Plan, SignalIndex};

/// A payload could not be encoded. The caller's values or buffer are at fault; the payload may hold
/// the values before the one that failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The signal belongs to another message.
    #[error("signal {signal} is not in message {message}; take signals from Message::signals")]
    NotInMessage {
        /// The signal.
        signal: Arc<str>,
        /// The message.
        message: Arc<str>,
    },
    /// The payload ends before the signal does.
    #[error("signal {signal} needs a payload of {needed} bytes and has {length}; make it as long as Message::size")]
    TooShort {
        /// The signal.
        signal: Arc<str>,
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        length: usize,
    },
    /// No bits stand for the value.
    #[error("signal {signal} cannot be {value}; its bits reach from {low} to {high}")]
    OutOfRange {
        /// The signal.
        signal: Arc<str>,
        /// The value asked for.
        value: f64,
        /// Smallest physical value.
        low: f64,
        /// Largest physical value.
        high: f64,
    },
}

impl Plan {
    /// Writes physical values into a payload: (value − offset) / factor, rounded to the nearest raw
    /// value. Other bits stay as they are. Multiplexors are signals like any other: give them their
    /// values too.
    ///
    /// # Errors
    /// See [`EncodeError`]; values are written in order until one fails.
    pub fn encode(
        &self,
        message: MessageIndex,
        values: &[(SignalIndex, f64)],
        payload: &mut [u8],
    ) -> Result<(), EncodeError> {
        let message = self.message(message);
        for (index, value) in values {
            let signal = self.signal(*index);
            if !message.signals.contains(&index.0) {
                return Err(EncodeError::NotInMessage { signal: signal.name.clone(), message: message.name.clone() });
            }
            let op = self.op(index.0);
            if !op.fits(payload.len()) {
                let (signal, length) = (signal.name.clone(), payload.len());
                return Err(EncodeError::TooShort { signal, needed: op.end(), length });
            }
            let bits = op.encode(*value).map_err(|(low, high)| EncodeError::OutOfRange {
                signal: signal.name.clone(),
                value: *value,
                low,
                high,
            })?;
            op.store(bits, payload);
        }
        Ok(())
    }
}
