//! Error frames: what a controller says about its bus and about itself.
//!
//! Linux reports errors as frames whose identifier is a set of classes and whose eight bytes hold
//! details (`linux/can/error.h`). They are received like any other frame, never sent.

use crate::frame::{Frame, FrameKind};

const TX_TIMEOUT: u32 = 0x001;
const LOST_ARBITRATION: u32 = 0x002;
const CONTROLLER: u32 = 0x004;
const PROTOCOL: u32 = 0x008;
const TRANSCEIVER: u32 = 0x010;
const NO_ACKNOWLEDGEMENT: u32 = 0x020;
const BUS_OFF: u32 = 0x040;
const BUS_ERROR: u32 = 0x080;
const RESTARTED: u32 = 0x100;
const COUNTERS: u32 = 0x200;

/// Details of [`CONTROLLER`], in byte 1.
const RX_OVERFLOW: u8 = 0x01;
const WARNING: u8 = 0x04 | 0x08;
const PASSIVE: u8 = 0x10 | 0x20;
const ACTIVE: u8 = 0x40;

/// Fault confinement state of a controller (ISO 11898-1), as far as a receiver needs to tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControllerState {
    /// Takes part in full: both error counters below 96.
    ErrorActive,
    /// An error counter has reached 96.
    ErrorWarning,
    /// An error counter has reached 128: it may no longer destroy what others send.
    ErrorPassive,
    /// Its transmit error counter has reached 256: it no longer takes part.
    BusOff,
}

/// The content of an error frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErrorFrame {
    /// The state that the controller has entered, when the frame says so.
    pub state: Option<ControllerState>,
    /// A frame could not be sent because a more important one was.
    pub lost_arbitration: bool,
    /// Nobody acknowledged a frame.
    pub no_acknowledgement: bool,
    /// A frame violated the protocol (bit, stuff, form, CRC).
    pub protocol: bool,
    /// The controller or its driver had no room for a received frame: frames are lost.
    pub overflow: bool,
    /// The transceiver reports a fault of the wires.
    pub transceiver: bool,
    /// A frame was not sent in time.
    pub tx_timeout: bool,
    /// The controller was restarted after bus-off.
    pub restarted: bool,
    /// Transmit and receive error counters, when the frame carries them.
    pub counters: Option<(u8, u8)>,
}

impl ErrorFrame {
    /// Reads an error frame; `None` for frames of other kinds.
    pub fn read(frame: &Frame) -> Option<Self> {
        if frame.kind != FrameKind::Error {
            return None;
        }
        let class = frame.id.number();
        let byte = |i: usize| frame.payload().get(i).copied().unwrap_or(0);
        let controller = if class & CONTROLLER != 0 { byte(1) } else { 0 };
        let state = if class & BUS_OFF != 0 {
            Some(ControllerState::BusOff)
        } else if controller & PASSIVE != 0 {
            Some(ControllerState::ErrorPassive)
        } else if controller & WARNING != 0 {
            Some(ControllerState::ErrorWarning)
        } else if controller & ACTIVE != 0 || class & RESTARTED != 0 {
            Some(ControllerState::ErrorActive)
        } else {
            None
        };
        // Kernels before 6.0 filled the counters in without saying so; zeros then say nothing.
        let counters = (byte(6), byte(7));
        let carries = class & COUNTERS != 0 || (class & CONTROLLER != 0 && counters != (0, 0));
        Some(Self {
            state,
            lost_arbitration: class & LOST_ARBITRATION != 0,
            no_acknowledgement: class & NO_ACKNOWLEDGEMENT != 0,
            protocol: class & (PROTOCOL | BUS_ERROR) != 0,
            overflow: controller & RX_OVERFLOW != 0,
            transceiver: class & TRANSCEIVER != 0,
            tx_timeout: class & TX_TIMEOUT != 0,
            restarted: class & RESTARTED != 0,
            counters: carries.then_some(counters),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{BusId, CanId};

    fn read(class: u32, data: [u8; 8]) -> ErrorFrame {
        let id = CanId::extended(class).unwrap();
        ErrorFrame::read(&Frame::new(1, BusId(0), id, FrameKind::Error, &data).unwrap()).unwrap()
    }

    #[test]
    fn each_class_by_itself() {
        let none = ErrorFrame::default();
        assert_eq!(read(0x001, [0; 8]), ErrorFrame { tx_timeout: true, ..none });
        assert_eq!(read(0x002, [5, 0, 0, 0, 0, 0, 0, 0]), ErrorFrame { lost_arbitration: true, ..none });
        assert_eq!(read(0x008, [0, 0, 4, 0, 0, 0, 0, 0]), ErrorFrame { protocol: true, ..none });
        assert_eq!(read(0x088, [0; 8]), ErrorFrame { protocol: true, ..none });
        assert_eq!(read(0x010, [0, 0, 0, 0, 4, 0, 0, 0]), ErrorFrame { transceiver: true, ..none });
        assert_eq!(read(0x020, [0; 8]), ErrorFrame { no_acknowledgement: true, ..none });
        assert_eq!(read(0x040, [0; 8]), ErrorFrame { state: Some(ControllerState::BusOff), ..none });
        let restarted = ErrorFrame { restarted: true, state: Some(ControllerState::ErrorActive), ..none };
        assert_eq!(read(0x100, [0; 8]), restarted);
        assert_eq!(read(0x200, [0, 0, 0, 0, 0, 0, 9, 130]), ErrorFrame { counters: Some((9, 130)), ..none });
    }

    #[test]
    fn the_controller_tells_its_state_overflow_and_counters() {
        for (detail, state) in [
            (0x04, ControllerState::ErrorWarning),
            (0x08, ControllerState::ErrorWarning),
            (0x10, ControllerState::ErrorPassive),
            (0x2C, ControllerState::ErrorPassive),
            (0x40, ControllerState::ErrorActive),
        ] {
            assert_eq!(read(0x004, [0, detail, 0, 0, 0, 0, 0, 0]).state, Some(state), "{detail:#x}");
        }
        let overflow = read(0x004, [0, 0x01, 0, 0, 0, 0, 3, 0]);
        assert_eq!((overflow.overflow, overflow.state, overflow.counters), (true, None, Some((3, 0))));
        assert!(!read(0x004, [0, 0x02, 0, 0, 0, 0, 0, 0]).overflow, "no room for sending loses nothing that was heard");
        // Without the class the details mean nothing.
        assert_eq!(read(0x020, [0, 0x11, 0, 0, 0, 0, 1, 1]).state, None);
        assert_eq!(read(0x020, [0, 0x11, 0, 0, 0, 0, 1, 1]).counters, None);
    }

    #[test]
    fn other_frames_and_short_ones() {
        let id = CanId::extended(0x004).unwrap();
        assert_eq!(ErrorFrame::read(&Frame::new(1, BusId(0), id, FrameKind::Data, &[0; 8]).unwrap()), None);
        let short = Frame::new(1, BusId(0), id, FrameKind::Error, &[]).unwrap();
        assert_eq!(ErrorFrame::read(&short), Some(ErrorFrame::default()));
    }
}
