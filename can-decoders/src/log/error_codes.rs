//! Error frames of recorders as SocketCAN has them (`linux/can/error.h`).

use crate::frame::{BusId, CanId, Frame, FrameKind};

const PROTOCOL: u32 = 0x008;
const BUS_ERROR: u32 = 0x080;
const COUNTERS: u32 = 0x200;

/// In byte 2, with [`PROTOCOL`].
const BIT: u8 = 0x01;
const FORM: u8 = 0x02;
const STUFF: u8 = 0x04;
const SENDING: u8 = 0x80;

/// A bus error of which no more is known.
pub(super) fn bus_error(time_ns: u64) -> Option<Frame> {
    error(time_ns, BUS_ERROR, [0; 8])
}

/// A bus error with the error code capture register of a Philips SJA1000: in bits 7 and 6 the kind, in bit 5 the
/// direction (0: sending), in the rest where in the frame, by the same numbers as SocketCAN's.
pub(super) fn sja1000(time_ns: u64, ecc: u8) -> Option<Frame> {
    let kind = [BIT, FORM, STUFF, 0][usize::from(ecc >> 6)];
    let sending = if ecc & 0x20 == 0 { SENDING } else { 0 };
    error(time_ns, PROTOCOL | BUS_ERROR, [0, 0, kind | sending, ecc & 0x1F, 0, 0, 0, 0])
}

/// A bus error as PEAK's trace files have it: its kind (1 bit, 2 form, 4 stuff, 8 other: SocketCAN's bits but for the
/// last), the direction (0: sending), where in the frame, and the counters of receive and transmit errors.
pub(super) fn peak(time_ns: u64, kind: u8, details: [u8; 4]) -> Option<Frame> {
    let [direction, place, received, sent] = details;
    let kind = kind & (BIT | FORM | STUFF) | if direction == 0 { SENDING } else { 0 };
    error(time_ns, PROTOCOL | BUS_ERROR | COUNTERS, [0, 0, kind, place, 0, 0, sent, received])
}

/// Error classes are written with 29 bits, as candump does.
fn error(time_ns: u64, class: u32, data: [u8; 8]) -> Option<Frame> {
    Frame::new(time_ns, BusId(0), CanId::extended(class)?, FrameKind::Error, &data)
}
