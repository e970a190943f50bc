//! Objects that are frames.

use super::{BASE_HEADER, array};
use crate::frame::{BusId, CanId, FD_LENGTHS, Frame, FrameKind, MAX_PAYLOAD};
use crate::log::{Fault, error_codes};

pub(super) const CAN_MESSAGE: u32 = 1;
const CAN_ERROR: u32 = 2;
pub(super) const CAN_ERROR_EXT: u32 = 73;
const CAN_MESSAGE2: u32 = 86;
pub(super) const CAN_FD_MESSAGE: u32 = 100;
const CAN_FD_MESSAGE_64: u32 = 101;
const CAN_FD_ERROR_64: u32 = 104;

/// Flags of an object's header: the unit of its time.
const TEN_MICROSECONDS: u32 = 1;
pub(super) const NANOSECONDS: u32 = 2;

/// Flags of classic messages, and of the first FD message. The lower four bits are the direction.
pub(super) const REMOTE: u8 = 0x80;
/// A direction: requested to be sent. The frame itself follows once it is on the bus.
const REQUESTED: u8 = 2;

/// Flags of the first FD message.
pub(super) const EDL: u8 = 0x1;
pub(super) const BRS: u8 = 0x2;
pub(super) const ESI: u8 = 0x4;

/// Flags of the second one.
const EDL_64: u32 = 0x1000;
const BRS_64: u32 = 0x2000;
const ESI_64: u32 = 0x4000;
const REMOTE_64: u32 = 0x0010;

/// Bit of the identifier that marks extended ones.
pub(super) const EXTENDED: u32 = 1 << 31;

/// Flag of an extended error frame: its code is that of an SJA1000.
const SJA1000: u32 = 1;

/// Bytes of fields that follow the header.
pub(super) const MESSAGE_FD_FIELDS: usize = 20 + MAX_PAYLOAD;
pub(super) const MESSAGE_ERROR_FIELDS: usize = 32;

/// What an object is.
#[derive(Debug)]
pub(super) enum Decoded {
    /// Channel and frame.
    Frame(u16, Frame),
    /// A request to send.
    Other,
}

/// Whether objects of this type are frames.
pub(super) fn is_frame(kind: u32) -> bool {
    matches!(
        kind,
        CAN_MESSAGE | CAN_ERROR | CAN_ERROR_EXT | CAN_MESSAGE2 | CAN_FD_MESSAGE | CAN_FD_MESSAGE_64 | CAN_FD_ERROR_64
    )
}

/// An object's fields, after its header.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u8(&self, at: usize) -> Result<u8, Fault> {
        self.0.get(at).copied().ok_or(Fault::Payload)
    }

    fn u16(&self, at: usize) -> Result<u16, Fault> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Result<u32, Fault> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N], Fault> {
        self.0.get(at..).and_then(|bytes| bytes.first_chunk()).copied().ok_or(Fault::Payload)
    }
}

/// Reads an object of a type for which [`is_frame`] holds. `head` is the object, or as much of it as a frame can need.
pub(super) fn decode(kind: u32, head: &[u8], start_ns: i64) -> Result<Decoded, Fault> {
    let (header_size, version) = (usize::from(u16::from_le_bytes(array(head, 4))), u16::from_le_bytes(array(head, 6)));
    // Both versions have the flags first and the time after four more bytes; the second has another time behind it.
    let smallest = match version {
        1 => BASE_HEADER + 16,
        2 => BASE_HEADER + 24,
        _ => return Err(Fault::Object),
    };
    if header_size < smallest {
        return Err(Fault::Object);
    }
    let header = Fields(head.get(BASE_HEADER..).unwrap_or_default());
    let time = u64::from_le_bytes(header.bytes(8)?);
    let time = match header.u32(0)? {
        TEN_MICROSECONDS => i128::from(time) * 10_000,
        NANOSECONDS => i128::from(time),
        _ => return Err(Fault::Time),
    };
    let time_ns = u64::try_from(i128::from(start_ns) + time).map_err(|_| Fault::Time)?;
    let fields = Fields(head.get(header_size..).unwrap_or_default());
    let (channel, frame) = match kind {
        CAN_MESSAGE | CAN_MESSAGE2 => match message(&fields, time_ns)? {
            Some(frame) => (fields.u16(0)?, frame),
            None => return Ok(Decoded::Other),
        },
        CAN_FD_MESSAGE => match fd_message(&fields, time_ns)? {
            Some(frame) => (fields.u16(0)?, frame),
            None => return Ok(Decoded::Other),
        },
        CAN_FD_MESSAGE_64 => {
            let extra = usize::from(fields.u8(35)?);
            // The data ends where other data begins; that is counted from the object's beginning.
            let end = if extra == 0 { head.len() } else { extra.min(head.len()) };
            match fd_message_64(&fields, end.saturating_sub(header_size), time_ns)? {
                Some(frame) => (u16::from(fields.u8(0)?), frame),
                None => return Ok(Decoded::Other),
            }
        }
        CAN_ERROR_EXT => (fields.u16(0)?, error_ext(&fields, time_ns)?),
        CAN_FD_ERROR_64 => (u16::from(fields.u8(0)?), bus_error(time_ns)?),
        _ => (fields.u16(0)?, bus_error(time_ns)?),
    };
    if channel == 0 {
        return Err(Fault::Bus);
    }
    Ok(Decoded::Frame(channel, frame))
}

/// Channel, flags, DLC, identifier, eight bytes.
fn message(fields: &Fields<'_>, time_ns: u64) -> Result<Option<Frame>, Fault> {
    let (flags, dlc, id) = (fields.u8(2)?, fields.u8(3)?, fields.u32(4)?);
    if flags & 0x0F == REQUESTED {
        return Ok(None);
    }
    classic(time_ns, id, dlc, flags & REMOTE != 0, &fields.bytes::<8>(8)?).map(Some)
}

/// Channel, flags, DLC, identifier, frame length, bit count, FD flags, valid bytes, reserved, 64 bytes.
fn fd_message(fields: &Fields<'_>, time_ns: u64) -> Result<Option<Frame>, Fault> {
    let (flags, dlc, id) = (fields.u8(2)?, fields.u8(3)?, fields.u32(4)?);
    let (fd_flags, valid) = (fields.u8(13)?, fields.u8(14)?);
    if flags & 0x0F == REQUESTED {
        return Ok(None);
    }
    // What is behind the frame's own bytes may be left out.
    let mut data = [0; MAX_PAYLOAD];
    let here = fields.0.get(20..).unwrap_or_default();
    copy(&mut data, here, valid)?;
    if fd_flags & EDL == 0 {
        return classic(time_ns, id, dlc, flags & REMOTE != 0, &data).map(Some);
    }
    let kind = FrameKind::Fd { brs: fd_flags & BRS != 0, esi: fd_flags & ESI != 0 };
    flexible(time_ns, id, dlc, valid, kind, &data).map(Some)
}

/// Channel, DLC, valid bytes, count of attempts, identifier, frame length, flags, bit rates, times, bit count, direction,
/// where other data begins, checksum, as many bytes as there are.
fn fd_message_64(fields: &Fields<'_>, end: usize, time_ns: u64) -> Result<Option<Frame>, Fault> {
    let (dlc, valid, id, flags) = (fields.u8(1)?, fields.u8(2)?, fields.u32(4)?, fields.u32(12)?);
    if fields.u8(34)? == REQUESTED {
        return Ok(None);
    }
    let mut data = [0; MAX_PAYLOAD];
    // Bytes that are missing at the end are zeros: recorders leave them out.
    let here = fields.0.get(40..end.min(fields.0.len())).unwrap_or_default();
    copy(
        &mut data,
        &here[..here.len().min(usize::from(valid))],
        u8::try_from(here.len()).unwrap_or(u8::MAX).min(valid),
    )?;
    if flags & EDL_64 == 0 {
        return classic(time_ns, id, dlc, flags & REMOTE_64 != 0, &data).map(Some);
    }
    let kind = FrameKind::Fd { brs: flags & BRS_64 != 0, esi: flags & ESI_64 != 0 };
    flexible(time_ns, id, dlc, valid, kind, &data).map(Some)
}

fn copy(data: &mut [u8; MAX_PAYLOAD], from: &[u8], valid: u8) -> Result<(), Fault> {
    let valid = usize::from(valid);
    let (Some(data), Some(from)) = (data.get_mut(..valid), from.get(..valid)) else {
        return Err(if valid > MAX_PAYLOAD { Fault::Length } else { Fault::Payload });
    };
    data.copy_from_slice(from);
    Ok(())
}

/// A raw DLC above 8 means 8 bytes.
fn classic(time_ns: u64, id: u32, dlc: u8, remote: bool, data: &[u8]) -> Result<Frame, Fault> {
    let id = identifier(id)?;
    if dlc > 15 {
        return Err(Fault::Length);
    }
    let length = dlc.min(8);
    if remote {
        return Frame::remote(time_ns, BusId(0), id, length).ok_or(Fault::Length);
    }
    let data = data.get(..usize::from(length)).ok_or(Fault::Payload)?;
    Frame::new(time_ns, BusId(0), id, FrameKind::Data, data).ok_or(Fault::Length)
}

fn flexible(
    time_ns: u64,
    id: u32,
    dlc: u8,
    valid: u8,
    kind: FrameKind,
    data: &[u8; MAX_PAYLOAD],
) -> Result<Frame, Fault> {
    let length = *FD_LENGTHS.get(usize::from(dlc)).filter(|length| valid <= **length).ok_or(Fault::Length)?;
    Frame::new(time_ns, BusId(0), identifier(id)?, kind, &data[..usize::from(length)]).ok_or(Fault::Length)
}

fn identifier(id: u32) -> Result<CanId, Fault> {
    let number = id & !EXTENDED;
    let id = if id & EXTENDED == 0 { CanId::standard(number) } else { CanId::extended(number) };
    id.ok_or(Fault::Identifier)
}

/// Channel, length, flags, error code.
fn error_ext(fields: &Fields<'_>, time_ns: u64) -> Result<Frame, Fault> {
    let (flags, code) = (fields.u32(4)?, fields.u8(8)?);
    if flags == SJA1000 { error_codes::sja1000(time_ns, code).ok_or(Fault::Payload) } else { bus_error(time_ns) }
}

fn bus_error(time_ns: u64) -> Result<Frame, Fault> {
    error_codes::bus_error(time_ns).ok_or(Fault::Payload)
}
