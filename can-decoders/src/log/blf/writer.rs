//! Frames as objects of BLF, in deflated containers, as python-can writes them. Times are nanoseconds from the start, whose
//! date has milliseconds and is in UTC.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::object::{
    BRS, CAN_ERROR_EXT, CAN_FD_MESSAGE, CAN_MESSAGE, EDL, ESI, EXTENDED, MESSAGE_ERROR_FIELDS, MESSAGE_FD_FIELDS,
    NANOSECONDS, REMOTE,
};
use super::{FILE_MAGIC, MAGIC};
use crate::frame::{CanId, FD_LENGTHS, Frame, FrameKind};
use crate::log::date::Date;

/// The file's header.
pub(in crate::log) const HEADER: usize = 144;
/// Objects in one container, bytes; Vector's programs write so many.
const CONTAINER: usize = 128 * 1024;
const CONTAINER_KIND: u32 = 10;
/// Deflated.
const METHOD: u16 = 2;

/// What was written so far.
#[derive(Debug, Default)]
pub(in crate::log) struct BlfWriter {
    /// Milliseconds in nanoseconds since the epoch, from the first frame on, and the time of the last frame.
    times_ns: Option<(u64, u64)>,
    /// Objects that wait for a container.
    objects: Vec<u8>,
    count: u32,
    /// Bytes of the file, as it is and if nothing were deflated.
    sizes: [u64; 2],
}

impl BlfWriter {
    /// A frame, with the header before the first.
    pub(in crate::log) fn frame(&mut self, out: &mut Vec<u8>, channel: u16, frame: &Frame) -> io::Result<()> {
        let first = self.times_ns.is_none();
        let (start_ns, last_ns) = self.times_ns.unwrap_or((frame.time_ns / 1_000_000 * 1_000_000, 0));
        self.times_ns = Some((start_ns, last_ns.max(frame.time_ns)));
        if first {
            self.begin(out);
        }
        // Frames may come a little out of order; there are no times before the start.
        let time_ns = frame.time_ns.saturating_sub(start_ns);
        let extended = if frame.id.is_extended() { EXTENDED } else { 0 };
        let id = (frame.id.number() | extended).to_le_bytes();
        let length = u8::try_from(frame.len()).unwrap_or(64);
        let bus = channel.to_le_bytes();
        let mut fields = Vec::with_capacity(96);
        let kind = match frame.kind {
            FrameKind::Data | FrameKind::Remote => {
                let flags = if frame.kind == FrameKind::Remote { REMOTE } else { 0 };
                fields.extend([bus[0], bus[1], flags, length]);
                fields.extend(id);
                fields.extend(frame.payload());
                fields.resize(16, 0);
                CAN_MESSAGE
            }
            FrameKind::Fd { brs, esi } => {
                let dlc = FD_LENGTHS.iter().position(|known| *known == length).unwrap_or(0);
                let flags = EDL | if brs { BRS } else { 0 } | if esi { ESI } else { 0 };
                fields.extend([bus[0], bus[1], 0, u8::try_from(dlc).unwrap_or(0)]);
                fields.extend(id);
                // How long it took on the bus and how many bits, which is not known.
                fields.extend([0; 5]);
                fields.extend([flags, length, 0, 0, 0, 0, 0]);
                fields.extend(frame.payload());
                fields.resize(MESSAGE_FD_FIELDS, 0);
                CAN_FD_MESSAGE
            }
            FrameKind::Error => {
                fields.extend(bus);
                fields.resize(MESSAGE_ERROR_FIELDS, 0);
                CAN_ERROR_EXT
            }
        };
        self.object(kind, time_ns, &fields);
        if self.objects.len() >= CONTAINER { self.container(out) } else { Ok(()) }
    }

    fn object(&mut self, kind: u32, time_ns: u64, fields: &[u8]) {
        const HEAD: u16 = 32;
        let size = u32::from(HEAD) + u32::try_from(fields.len()).unwrap_or(0);
        let out = &mut self.objects;
        out.extend(MAGIC);
        out.extend(HEAD.to_le_bytes());
        out.extend(1_u16.to_le_bytes());
        out.extend(size.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(NANOSECONDS.to_le_bytes());
        out.extend([0; 4]);
        out.extend(time_ns.to_le_bytes());
        out.extend(fields);
        // As long as the remainder, for whatever reason: so do all programs.
        out.resize(out.len() + size as usize % 4, 0);
        self.count = self.count.saturating_add(1);
    }

    /// What waits, as a container.
    fn container(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.objects.is_empty() {
            return Ok(());
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.objects)?;
        let deflated = encoder.finish()?;
        let word = |length: usize| u32::try_from(length).map_err(io::Error::other).map(u32::to_le_bytes);
        let before = out.len();
        out.extend(MAGIC);
        out.extend([16, 0, 1, 0]);
        out.extend(word(32 + deflated.len())?);
        out.extend(CONTAINER_KIND.to_le_bytes());
        out.extend(METHOD.to_le_bytes());
        out.extend([0; 6]);
        out.extend(word(self.objects.len())?);
        out.extend([0; 4]);
        out.extend(&deflated);
        out.resize(out.len() + deflated.len() % 4, 0);
        self.sizes[0] += (out.len() - before) as u64;
        self.sizes[1] += 32 + self.objects.len() as u64;
        self.objects.clear();
        Ok(())
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        // A file that is cut has no totals: then they are as they are here.
        out.extend([0; HEADER]);
        let at = out.len() - HEADER;
        self.sizes = [HEADER as u64; 2];
        self.header(&mut out[at..]);
    }

    /// The last container.
    pub(in crate::log) fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.times_ns.is_none() {
            self.begin(out);
        }
        self.container(out)
    }

    /// What waits.
    pub(in crate::log) fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.container(out)
    }

    /// Fills in the header as it is now: at the end, it has the totals.
    pub(in crate::log) fn header(&self, header: &mut [u8]) {
        let mut fields = Vec::with_capacity(HEADER);
        fields.extend(FILE_MAGIC);
        fields.extend(144_u32.to_le_bytes());
        // The program (5: unknown) and its version, the format's version.
        fields.extend([5, 0, 0, 0, 2, 6, 8, 1]);
        self.sizes.iter().for_each(|size| fields.extend(size.to_le_bytes()));
        fields.extend(self.count.to_le_bytes());
        fields.extend([0; 4]);
        for time_ns in self.times_ns.map_or([0; 2], |(first, last)| [first, last]) {
            let date = Date::of(time_ns);
            let [month, weekday, day, hour, minute, second] =
                [date.month, date.weekday, date.day, date.hour, date.minute, date.second].map(u16::from);
            let all = [date.year, month, weekday, day, hour, minute, second, date.millisecond];
            let all = if time_ns == 0 { [0; 8] } else { all };
            all.iter().for_each(|field| fields.extend(field.to_le_bytes()));
        }
        let length = fields.len().min(header.len());
        header[..length].copy_from_slice(&fields[..length]);
    }
}

/// That it stays a standard identifier for readers that look at the flag only.
const _: () = assert!(CanId::EXTENDED_FLAG == EXTENDED);
