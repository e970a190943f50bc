//! CAN frames, DBC databases compiled to decode plans, and candump logs.
pub mod candump;
pub mod dbc;
pub mod decode;
pub mod encode;
pub mod frame;
mod index;
mod op;
pub mod plan;

pub use candump::{LogError, LogReader, LogWriter};
pub use dbc::{Database, DbcError};
pub use decode::{Decoded, Fit, Raw, Sample, Samples, Validity};
pub use encode::EncodeError;
pub use frame::{BusId, CanId, Frame, FrameKind};
pub use plan::{Message, MessageIndex, Plan, Signal, SignalIndex};
