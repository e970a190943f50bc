//! A CAN frame as the rest of Outrider sees it: timestamp, bus, identifier, payload.
//!
//! Terms and ranges follow ISO 11898-1: standard identifiers have 11 bits, extended ones 29;
//! classic frames carry up to 8 bytes, FD frames up to 64 in the lengths that a DLC can express.

use std::fmt;

/// Longest payload of a CAN FD frame, in bytes.
pub const MAX_PAYLOAD: usize = 64;

/// The payload lengths that a CAN FD DLC can express.
pub const FD_LENGTHS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64];

/// Index of a bus in the table of bus names that the source of the frames keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BusId(pub u8);

/// A CAN identifier: 11 bits (standard) or 29 bits (extended). The two spaces do not overlap.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(into = "u32", try_from = "u32"))]
pub struct CanId(u32);

impl CanId {
    /// Set in [`CanId::to_bits`] for extended identifiers, as in DBC files and in SocketCAN.
    pub const EXTENDED_FLAG: u32 = 1 << 31;

    /// An 11-bit identifier; `None` when `id` is above `0x7FF`.
    pub const fn standard(id: u32) -> Option<Self> {
        if id <= 0x7FF { Some(Self(id)) } else { None }
    }

    /// A 29-bit identifier; `None` when `id` is above `0x1FFF_FFFF`.
    pub const fn extended(id: u32) -> Option<Self> {
        if id <= 0x1FFF_FFFF { Some(Self(id | Self::EXTENDED_FLAG)) } else { None }
    }

    /// The identifier's number, without the flag that tells extended ones.
    pub const fn number(self) -> u32 {
        self.0 & 0x1FFF_FFFF
    }

    /// True for a 29-bit identifier.
    pub const fn is_extended(self) -> bool {
        self.0 & Self::EXTENDED_FLAG != 0
    }

    /// Number and [`CanId::EXTENDED_FLAG`] in one word: the form DBC files use.
    pub const fn to_bits(self) -> u32 {
        self.0
    }
}

impl From<CanId> for u32 {
    fn from(id: CanId) -> Self {
        id.to_bits()
    }
}

impl TryFrom<u32> for CanId {
    type Error = NoCanId;

    /// From [`CanId::to_bits`]: the form that DBC files use.
    fn try_from(bits: u32) -> Result<Self, NoCanId> {
        let number = bits & !Self::EXTENDED_FLAG;
        let id = if bits == number { Self::standard(number) } else { Self::extended(number) };
        id.ok_or(NoCanId(bits))
    }
}

/// A number that stands for no identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:#x} is no CAN identifier: 11 bits, or 29 bits with bit 31 set")]
pub struct NoCanId(pub u32);

impl fmt::Display for CanId {
    /// candump's form: three hexadecimal digits for standard, eight for extended identifiers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_extended() { write!(f, "{:08X}", self.number()) } else { write!(f, "{:03X}", self.number()) }
    }
}

impl fmt::Debug for CanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CanId({self})")
    }
}

/// What kind of frame was on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum FrameKind {
    /// A classic data frame (CAN 2.0).
    Data,
    /// A CAN FD data frame.
    Fd {
        /// Bit rate switch: the payload was sent at the faster rate.
        brs: bool,
        /// Error state indicator: the sender was error-passive.
        esi: bool,
    },
    /// A remote transmission request; its length is the one asked for and there is no payload.
    Remote,
    /// An error frame as SocketCAN reports it: the identifier holds the error class, the payload the details.
    Error,
}

/// One frame with the time at which it was received.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(into = "parts::Parts", try_from = "parts::Parts")
)]
pub struct Frame {
    /// Receive time in nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// The bus it came from.
    pub bus: BusId,
    /// Identifier.
    pub id: CanId,
    /// Kind of frame.
    pub kind: FrameKind,
    len: u8,
    data: [u8; MAX_PAYLOAD],
}

impl Frame {
    /// A frame with a payload. `None` when the payload is longer than its kind allows
    /// (8 bytes, 64 for FD; FD lengths must be ones that a DLC can express) or is given for a remote frame.
    pub fn new(time_ns: u64, bus: BusId, id: CanId, kind: FrameKind, payload: &[u8]) -> Option<Self> {
        let len = u8::try_from(payload.len()).ok()?;
        let fits = match kind {
            FrameKind::Fd { .. } => FD_LENGTHS.contains(&len),
            FrameKind::Data | FrameKind::Error => len <= 8,
            FrameKind::Remote => len == 0,
        };
        if !fits {
            return None;
        }
        let mut data = [0; MAX_PAYLOAD];
        data[..payload.len()].copy_from_slice(payload);
        Some(Self { time_ns, bus, id, kind, len, data })
    }

    /// A remote frame that asks for `len` bytes (0 to 8; `None` above).
    pub fn remote(time_ns: u64, bus: BusId, id: CanId, len: u8) -> Option<Self> {
        (len <= 8).then_some(Self { time_ns, bus, id, kind: FrameKind::Remote, len, data: [0; MAX_PAYLOAD] })
    }

    /// The payload; empty for remote frames.
    pub fn payload(&self) -> &[u8] {
        if self.kind == FrameKind::Remote { &[] } else { &self.data[..usize::from(self.len)] }
    }

    /// The first 8 bytes of the payload, with zeros behind it.
    #[inline]
    pub(crate) fn first_bytes(&self) -> [u8; 8] {
        self.data.first_chunk().copied().unwrap_or_default()
    }

    /// Length in bytes; for remote frames the length asked for.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// True when the frame carries no bytes (or, for a remote frame, asks for none).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Frame({}.{:09} bus{} {} {:?} ",
            self.time_ns / 1_000_000_000,
            self.time_ns % 1_000_000_000,
            self.bus.0,
            self.id,
            self.kind
        )?;
        for byte in self.payload() {
            write!(f, "{byte:02X}")?;
        }
        write!(f, ")")
    }
}

/// How a frame is serialised: with its payload only, and checked when it is read.
#[cfg(feature = "serde")]
mod parts {
    use super::{BusId, CanId, Frame, FrameKind};

    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Parts {
        time_ns: u64,
        bus: BusId,
        id: CanId,
        kind: FrameKind,
        /// Of remote frames; else that of the payload.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        length: Option<u8>,
        payload: Vec<u8>,
    }

    impl From<Frame> for Parts {
        fn from(frame: Frame) -> Self {
            let Frame { time_ns, bus, id, kind, len, .. } = frame;
            let length = (kind == FrameKind::Remote).then_some(len);
            Self { time_ns, bus, id, kind, length, payload: frame.payload().to_vec() }
        }
    }

    impl TryFrom<Parts> for Frame {
        type Error = &'static str;

        fn try_from(parts: Parts) -> Result<Self, &'static str> {
            let Parts { time_ns, bus, id, kind, length, payload } = parts;
            let frame = match (kind, length) {
                (FrameKind::Remote, Some(length)) if payload.is_empty() => Self::remote(time_ns, bus, id, length),
                (_, None) => Self::new(time_ns, bus, id, kind, &payload),
                _ => None,
            };
            frame.ok_or("the payload is longer than the kind of frame allows, or not of a length that FD frames have")
        }
    }
}
