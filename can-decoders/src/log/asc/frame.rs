//! The part of a line from the identifier on.

use super::Place;
use crate::frame::{BusId, CanId, FD_LENGTHS, Frame, FrameKind, MAX_PAYLOAD};
use crate::log::text::{Base, Cursor};
use crate::log::{Fault, error_codes};

/// Flags of a CAN FD line.
const REMOTE: u32 = 1 << 4;
const EXTENDED_DATA_LENGTH: u32 = 1 << 12;

/// The bus of a frame is filled in by the reader.
const NO_BUS: BusId = BusId(0);

/// `ErrorFrame`, with the SJA1000's code where a recorder has one. What newer recorders write (`Flags = … CodeExt = …`)
/// depends on their controller.
pub(super) fn error_frame(cursor: &mut Cursor<'_>, time_ns: u64) -> Result<Frame, Place> {
    let (word, _) = cursor.next_word();
    let (code, _) = cursor.next_word();
    let bits = |code: &[u8]| {
        let value = |sum: u8, bit: &u8| sum << 1 | (bit - b'0');
        (code.len() == 8 && code.iter().all(|bit| matches!(bit, b'0' | b'1'))).then(|| code.iter().fold(0, value))
    };
    let frame = match bits(code).filter(|_| word.eq_ignore_ascii_case(b"ECC:")) {
        Some(ecc) => error_codes::sja1000(time_ns, ecc),
        None => error_codes::bus_error(time_ns),
    };
    frame.ok_or((Fault::Payload, cursor.at + 1))
}

/// `d 8 01 02 …` or `r 8`, after channel, identifier and direction.
pub(super) fn classic(
    cursor: &mut Cursor<'_>,
    (id, id_at): (&[u8], usize),
    base: Base,
    time_ns: u64,
) -> Result<Frame, Place> {
    let (kind, at) = cursor.next_word();
    let remote = match kind {
        b"d" | b"D" => false,
        b"r" | b"R" => true,
        _ => return Err((Fault::Payload, at + 1)),
    };
    let (dlc, at) = cursor.next_word();
    let length = match base.number(dlc) {
        // A raw DLC above 8 means 8 bytes.
        Some(dlc @ 0..=15) => usize::try_from(dlc).unwrap_or(8).min(8),
        // Older recorders leave it out of remote frames; a word may follow that is not one (`Length = …`).
        None if remote => 0,
        None => return Err((Fault::Payload, at + 1)),
        Some(_) => return Err((Fault::Length, at + 1)),
    };
    let mut data = [0; 8];
    if !remote && !cursor.bytes_of(base, &mut data[..length]) {
        return Err((Fault::Payload, cursor.at + 1));
    }
    let id = classic_id(id, base, cursor.rest()).ok_or((Fault::Identifier, id_at + 1))?;
    let frame = if remote {
        Frame::remote(time_ns, NO_BUS, id, u8::try_from(length).unwrap_or(8))
    } else {
        Frame::new(time_ns, NO_BUS, id, FrameKind::Data, &data[..length])
    };
    frame.ok_or((Fault::Length, at + 1))
}

/// The identifier, or where its column has the message's name, what the line's end says: `ID = 418119424x`, decimal
/// whatever the base. A name may look like a number (`ADD`), a number does not begin like a name.
fn classic_id(word: &[u8], base: Base, tail: &[u8]) -> Option<CanId> {
    if !word.first()?.is_ascii_digit()
        && let Some(at) = memchr::memmem::find(tail, b"ID = ")
        && let Some(id) = identifier(Cursor::new(&tail[at + 5..]).word(), Base::Dec)
    {
        return Some(id);
    }
    identifier(word, base)
}

/// A number, with an x behind it when the identifier is extended.
fn identifier(word: &[u8], base: Base) -> Option<CanId> {
    match word.split_last()? {
        (b'x' | b'X', digits) => CanId::extended(base.number(digits)?),
        _ => CanId::standard(base.number(word)?),
    }
}

/// `30a Name 1 0 8 8 01 02 … duration bits flags …`, after channel and direction.
pub(super) fn fd(cursor: &mut Cursor<'_>, base: Base, time_ns: u64) -> Result<Frame, Place> {
    let (id, id_at) = cursor.next_word();
    let id = identifier(id, base).ok_or((Fault::Identifier, id_at + 1))?;
    let (mut brs, mut at) = cursor.next_word();
    if !brs.first().is_some_and(u8::is_ascii_digit) {
        // A name.
        (brs, at) = cursor.next_word();
    }
    let brs = flag(brs).ok_or((Fault::Payload, at + 1))?;
    let (esi, at) = cursor.next_word();
    let esi = flag(esi).ok_or((Fault::Payload, at + 1))?;
    let (dlc, at) = cursor.next_word();
    // Some write it in hexadecimal whatever the base.
    let dlc =
        base.number(dlc).or_else(|| Base::Hex.number(dlc)).filter(|dlc| *dlc <= 15).ok_or((Fault::Length, at + 1))?;
    let (length, at) = cursor.next_word();
    let length = Base::Dec.number(length).and_then(|length| usize::try_from(length).ok());
    let mut data = [0; MAX_PAYLOAD];
    let data = length.and_then(|length| data.get_mut(..length)).ok_or((Fault::Length, at + 1))?;
    if !cursor.bytes_of(base, data) {
        return Err((Fault::Payload, cursor.at + 1));
    }
    let (_, _) = (cursor.next_word(), cursor.next_word());
    let flags = Base::Hex.number(cursor.next_word().0);
    // A classic frame on a CAN FD channel has its line in this form, too. Without flags there is no saying.
    let is_fd = brs || data.len() > 8 || flags.is_none_or(|flags| flags & EXTENDED_DATA_LENGTH != 0);
    let asks = data.is_empty() && dlc > 0;
    let frame = if flags.map_or(asks, |flags| flags & REMOTE != 0 || asks && !is_fd) {
        Frame::remote(time_ns, NO_BUS, id, u8::try_from(dlc.min(8)).unwrap_or(8))
    } else if is_fd {
        let fits = usize::from(FD_LENGTHS[usize::try_from(dlc).unwrap_or(0)]) == data.len();
        fits.then(|| Frame::new(time_ns, NO_BUS, id, FrameKind::Fd { brs, esi }, data)).flatten()
    } else {
        Frame::new(time_ns, NO_BUS, id, FrameKind::Data, data)
    };
    frame.ok_or((Fault::Length, at + 1))
}

fn flag(word: &[u8]) -> Option<bool> {
    match word {
        b"0" => Some(false),
        b"1" => Some(true),
        _ => None,
    }
}
