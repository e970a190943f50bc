//! Frames as lines of ASC, as python-can and CANoe write them: times in microseconds from the start, whose date has
//! milliseconds and is in UTC.

use std::io::{self, Write};

use crate::frame::{FD_LENGTHS, Frame, FrameKind};
use crate::log::date::Date;

/// Flags of a CAN FD line.
const FDF: u32 = 1 << 12;
const BRS: u32 = 1 << 13;
const ESI: u32 = 1 << 14;

/// What was written so far.
#[derive(Debug, Default)]
pub(in crate::log) struct AscWriter {
    /// Milliseconds in nanoseconds since the epoch, from the first frame on.
    start_ns: Option<u64>,
}

impl AscWriter {
    /// A frame, with the header before the first.
    pub(in crate::log) fn frame(&mut self, out: &mut Vec<u8>, channel: u16, frame: &Frame) -> io::Result<()> {
        let start_ns = match self.start_ns {
            Some(start_ns) => start_ns,
            None => self.begin(out, frame.time_ns)?,
        };
        // Frames may come a little out of order; there are no times before the start.
        let micros = frame.time_ns.saturating_sub(start_ns) / 1000;
        write!(out, "{:>4}.{:06} ", micros / 1_000_000, micros % 1_000_000)?;
        let id = format_args!("{:X}{}", frame.id.number(), if frame.id.is_extended() { "x" } else { "" }).to_string();
        match frame.kind {
            FrameKind::Error => write!(out, "{channel}  ErrorFrame")?,
            FrameKind::Remote => write!(out, "{channel}  {id:<15} Rx   r {:x}", frame.len())?,
            FrameKind::Data => {
                write!(out, "{channel}  {id:<15} Rx   d {:x}", frame.len())?;
                bytes(out, frame)?;
            }
            FrameKind::Fd { brs, esi } => {
                let dlc = FD_LENGTHS.iter().position(|length| usize::from(*length) == frame.len()).unwrap_or(0);
                let (b, e) = (u8::from(brs), u8::from(esi));
                write!(out, "CANFD {channel:>3} Rx   {id:>8}  {:>32} {b} {e} {dlc:x} {:>2}", "", frame.len())?;
                bytes(out, frame)?;
                let flags = FDF | if brs { BRS } else { 0 } | if esi { ESI } else { 0 };
                write!(out, " {:>8} {:>4} {flags:>8X} {:>8} {:>8} {:>8} {:>8} {:>8}", 0, 0, 0, 0, 0, 0, 0)?;
            }
        }
        out.push(b'\n');
        Ok(())
    }

    /// The end; a log without frames has a header, too.
    pub(in crate::log) fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.start_ns.is_none() {
            self.begin(out, 0)?;
        }
        writeln!(out, "End TriggerBlock")
    }

    fn begin(&mut self, out: &mut Vec<u8>, time_ns: u64) -> io::Result<u64> {
        let start_ns = time_ns / 1_000_000 * 1_000_000;
        let Date { year, month, day, weekday, hour, minute, second, millisecond } = Date::of(start_ns);
        let day_name = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][usize::from(weekday)];
        let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month_name = names[usize::from(month) - 1];
        let half = if hour < 12 { "am" } else { "pm" };
        let hour = (hour + 11) % 12 + 1;
        let date = format!(
            "{day_name} {month_name} {day:02} {hour:02}:{minute:02}:{second:02}.{millisecond:03} {half} {year}"
        );
        writeln!(out, "date {date}\nbase hex  timestamps absolute\ninternal events logged\n// version 9.0.0")?;
        writeln!(out, "Begin Triggerblock {date}\n   0.000000 Start of measurement")?;
        self.start_ns = Some(start_ns);
        Ok(start_ns)
    }
}

fn bytes(out: &mut Vec<u8>, frame: &Frame) -> io::Result<()> {
    frame.payload().iter().try_for_each(|byte| write!(out, " {byte:02X}"))
}
