//! CAN frames, DBC databases compiled to decode plans, and candump logs.
pub mod frame;

pub use frame::{BusId, CanId, Frame, FrameKind};
