//! CAN XL frames (CiA 610-1), as Linux delivers them (`struct canxl_frame` of `linux/can.h`, since 6.1).
//!
//! They carry protocols of their own, up to whole Ethernet frames, and no DBC file describes them: they
//! are kept as they came.

use crate::frame::BusId;

/// Longest payload of a CAN XL frame, bytes.
pub const MAX_XL_PAYLOAD: usize = 2048;
/// Bytes before the payload.
const HEADER: usize = 12;
/// Bytes of the longest frame in Linux's form.
pub const XL_BYTES: usize = HEADER + MAX_XL_PAYLOAD;

/// A CAN XL frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XlFrame {
    /// When it was received, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Its bus.
    pub bus: BusId,
    /// Priority identifier, 11 bits: what arbitration goes by.
    pub priority: u16,
    /// Virtual CAN network identifier.
    pub vcid: u8,
    /// Simple extended content: its payload is divided or secured.
    pub sec: bool,
    /// Service data unit type: what the payload is (CiA 611-1).
    pub sdt: u8,
    /// Acceptance field: what receivers filter by; its meaning depends on `sdt`.
    pub af: u32,
    /// The payload, 1 to 2048 bytes.
    pub payload: Box<[u8]>,
}

impl XlFrame {
    const XLF: u8 = 0x80;
    const SEC: u8 = 0x01;

    /// Whether these bytes begin a CAN XL frame. It has a flag where other frames have their length, which never is
    /// that large.
    pub fn is_xl(bytes: &[u8]) -> bool {
        bytes.get(4).is_some_and(|flags| flags & Self::XLF != 0)
    }

    /// Reads Linux's form; `None` for other frames, and when bytes are missing.
    pub fn read(bytes: &[u8], time_ns: u64, bus: BusId) -> Option<Self> {
        if !Self::is_xl(bytes) {
            return None;
        }
        let (header, payload) = bytes.split_at_checked(HEADER)?;
        let word = |at: usize| header[at..].first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        let length = usize::from(u16::from_ne_bytes([header[6], header[7]]));
        if !(1..=MAX_XL_PAYLOAD).contains(&length) {
            return None;
        }
        let [_, vcid, priority @ ..] = word(0)?.to_be_bytes();
        Some(Self {
            time_ns,
            bus,
            priority: u16::from_be_bytes(priority) & 0x7FF,
            vcid,
            sec: header[4] & Self::SEC != 0,
            sdt: header[5],
            af: word(8)?,
            payload: payload.get(..length)?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(prio: u32, flags: u8, length: u16, af: u32, payload: usize) -> Vec<u8> {
        let mut bytes = prio.to_ne_bytes().to_vec();
        bytes.extend([flags, 3]);
        bytes.extend(length.to_ne_bytes());
        bytes.extend(af.to_ne_bytes());
        bytes.extend((0..payload).map(|i| i.to_le_bytes()[0]));
        bytes
    }

    #[test]
    fn a_frame_is_read_whole() {
        let frame = XlFrame::read(&raw(0x0012_07FE, 0x81, 1000, 0xDEAD_BEEF, 1000), 7, BusId(2)).unwrap();
        assert_eq!((frame.time_ns, frame.bus, frame.priority, frame.vcid), (7, BusId(2), 0x7FE, 0x12));
        assert_eq!((frame.sec, frame.sdt, frame.af, frame.payload.len()), (true, 3, 0xDEAD_BEEF, 1000));
        assert_eq!(frame.payload[999], 999_u16.to_le_bytes()[0]);
        assert!(!XlFrame::read(&raw(1, 0x80, 1, 0, 1), 7, BusId(0)).unwrap().sec);
        assert_eq!(XlFrame::read(&raw(1, 0x80, 2048, 0, 2048), 7, BusId(0)).unwrap().payload.len(), MAX_XL_PAYLOAD);
    }

    #[test]
    fn what_is_cut_off_or_no_xl_frame_is_none() {
        let whole = raw(1, 0x80, 20, 0, 20);
        for length in 0..whole.len() {
            assert_eq!(XlFrame::read(&whole[..length], 7, BusId(0)), None);
        }
        for (flags, length, payload) in [(0x80, 0, 20), (0x80, 2049, 2049), (0x80, u16::MAX, 2048), (0x08, 8, 8)] {
            assert_eq!(XlFrame::read(&raw(1, flags, length, 0, payload), 7, BusId(0)), None);
        }
    }
}
