//! `outrider dbc coverage`: a recording beside the DBC files that should describe it.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufWriter, Write};

use can_decoders::frame::MAX_PAYLOAD;
use can_decoders::{BusId, CanId, Frame, FrameKind, MessageIndex, Plan};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::CliError;
use crate::cli::inputs::{self, Description, Recording};
use crate::engine::{ANY_BUS, Catalog};
use crate::source::Frames;

/// Different identifiers that are looked at; a recording of random ones must not fill the memory.
const MAX_IDS: usize = 100_000;

#[derive(Args)]
pub(in crate::cli) struct CoverageArgs {
    #[command(flatten)]
    recording: Recording,
    #[command(flatten)]
    description: Description,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table.
    #[default]
    Text,
    /// One JSON object an identifier.
    Json,
}

/// What was seen of one identifier.
struct Seen {
    frames: u64,
    first_ns: u64,
    last_ns: u64,
    bytes: (usize, usize),
    payload: [u8; MAX_PAYLOAD],
    /// Bits that have been different from the first frame's.
    changed: [u8; MAX_PAYLOAD],
}

impl Seen {
    fn new(frame: &Frame) -> Self {
        let length = frame.payload().len();
        let mut payload = [0; MAX_PAYLOAD];
        payload[..length].copy_from_slice(frame.payload());
        let (first_ns, bytes) = (frame.time_ns, (length, length));
        Self { frames: 0, first_ns, last_ns: first_ns, bytes, payload, changed: [0; MAX_PAYLOAD] }
    }

    fn add(&mut self, frame: &Frame) {
        self.frames += 1;
        self.last_ns = self.last_ns.max(frame.time_ns);
        let length = frame.payload().len();
        self.bytes = (self.bytes.0.min(length), self.bytes.1.max(length));
        for ((changed, first), now) in self.changed.iter_mut().zip(&self.payload).zip(frame.payload()) {
            *changed |= first ^ now;
        }
    }

    /// Frames a second, from the first to the last; `None` of a single one.
    fn rate(&self) -> Option<f64> {
        let seconds = ratio(self.last_ns.saturating_sub(self.first_ns), 1_000_000_000);
        (self.frames > 1 && seconds > 0.0).then(|| (ratio(self.frames - 1, 1) / seconds * 10.0).round() / 10.0)
    }

    /// Bits that change and that `mask` does not have, as ranges of bits in bytes: `3.0-7`.
    fn undescribed(&self, mask: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (byte, changed) in self.changed.iter().enumerate() {
            let open = changed & !mask.get(byte).copied().unwrap_or(0);
            let mut bit = 0;
            while bit < 8 {
                let run = (open >> bit).trailing_ones();
                match run {
                    0 => {}
                    1 => found.push(format!("{byte}.{bit}")),
                    _ => found.push(format!("{byte}.{bit}-{}", bit + run - 1)),
                }
                bit += run.max(1);
            }
        }
        found
    }
}

/// One line of the result: an identifier that was seen, or a message that never came.
#[derive(Serialize)]
struct Row<'a> {
    bus: &'a str,
    /// As candump prints it.
    id: String,
    /// `null`: no DBC file describes it.
    message: Option<&'a str>,
    frames: u64,
    /// Frames a second.
    rate: Option<f64>,
    /// Shortest and longest payload.
    bytes: Option<(usize, usize)>,
    /// Length that the DBC says.
    size: Option<usize>,
    /// Bits that change and belong to no signal: byte from 0, bits of it from the least significant.
    undescribed: Vec<String>,
}

pub(super) fn run(args: &CoverageArgs) -> Result<(), CliError> {
    let catalog = args.description.catalog()?;
    let mut log = args.recording.open(&catalog)?;
    let mut seen: HashMap<(BusId, CanId), Seen> = HashMap::new();
    let mut left_out = 0_u64;
    while let Some(frame) = log.next_frame()? {
        if !matches!(frame.kind, FrameKind::Data | FrameKind::Fd { .. }) {
            continue;
        }
        let key = (frame.bus, frame.id);
        if seen.len() >= MAX_IDS && !seen.contains_key(&key) {
            left_out += 1;
            continue;
        }
        seen.entry(key).or_insert_with(|| Seen::new(&frame)).add(&frame);
    }
    let mut keys: Vec<(BusId, CanId)> = seen.keys().copied().collect();
    keys.sort_by_key(|(bus, id)| (bus.0, id.is_extended(), id.number()));
    let names: Vec<String> = log.reader().buses().iter().map(ToString::to_string).collect();
    let mut rows: Vec<Row<'_>> = Vec::new();
    for bus in buses(&catalog, &keys) {
        let name = names.get(usize::from(bus.0)).map_or("", String::as_str);
        let plan = catalog.route(bus).map(|index| &*catalog.buses()[index].plan);
        // A parameter group of J1939 comes under as many identifiers as it has senders.
        let mut came: HashSet<MessageIndex> = HashSet::new();
        for (_, id) in keys.iter().filter(|(of, _)| *of == bus) {
            came.extend(plan.and_then(|plan| plan.find(*id)));
            rows.push(row(name, *id, &seen[&(bus, *id)], plan));
        }
        let all = (0..).map(MessageIndex).zip(plan.into_iter().flat_map(|plan| plan.messages()));
        rows.extend(all.filter(|(index, _)| !came.contains(index)).map(|(_, message)| Row {
            bus: name,
            id: message.id.to_string(),
            message: Some(&message.name),
            frames: 0,
            rate: None,
            bytes: None,
            size: Some(message.size),
            undescribed: Vec::new(),
        }));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    match args.format {
        Format::Text => table(&mut out, &rows)?,
        Format::Json => {
            for row in &rows {
                serde_json::to_writer(&mut out, row).map_err(io::Error::from)?;
                writeln!(out)?;
            }
        }
    }
    out.flush()?;
    inputs::report_skipped(&log);
    if left_out > 0 {
        tracing::warn!("more than {MAX_IDS} different identifiers: {left_out} frames were not looked at");
    }
    Ok(())
}

/// The buses that frames came from, and those that are named, in the order of their numbers. The entry for all others is
/// one only when it got nothing.
fn buses(catalog: &Catalog, keys: &[(BusId, CanId)]) -> Vec<BusId> {
    let mut buses: Vec<BusId> = keys.iter().map(|(bus, _)| *bus).collect();
    for (index, (bus, number)) in catalog.buses().iter().zip(0_u8..).enumerate() {
        let is_heard = keys.iter().any(|(of, _)| catalog.route(*of) == Some(index));
        if &*bus.name != ANY_BUS || !is_heard {
            buses.push(BusId(number));
        }
    }
    buses.sort_unstable_by_key(|bus| bus.0);
    buses.dedup();
    buses
}

fn row<'a>(bus: &'a str, id: CanId, seen: &Seen, plan: Option<&'a Plan>) -> Row<'a> {
    let found = plan.and_then(|plan| Some((plan, plan.find(id)?)));
    let message = found.map(|(plan, index)| plan.message(index));
    Row {
        bus,
        id: id.to_string(),
        message: message.map(|message| &*message.name),
        frames: seen.frames,
        rate: seen.rate(),
        bytes: Some(seen.bytes),
        size: message.map(|message| message.size),
        undescribed: seen.undescribed(&found.map_or_else(Vec::new, |(plan, index)| plan.mask(index))),
    }
}

fn table(out: &mut impl Write, rows: &[Row<'_>]) -> io::Result<()> {
    for of_bus in rows.chunk_by(|a, b| a.bus == b.bus) {
        let (seen, silent): (Vec<_>, Vec<_>) = of_bus.iter().partition(|row| row.frames > 0);
        let unknown = seen.iter().filter(|row| row.message.is_none()).count();
        let frames: u64 = seen.iter().map(|row| row.frames).sum();
        let unknown_frames: u64 = seen.iter().filter(|row| row.message.is_none()).map(|row| row.frames).sum();
        writeln!(
            out,
            "{}: {frames} frames of {} identifiers; {unknown_frames} frames of {unknown} identifiers are not described, \
             {} messages never came",
            of_bus[0].bus,
            seen.len(),
            silent.len()
        )?;
        writeln!(
            out,
            "  {:8}  {:>9}  {:>8}  {:>6}  {:>4}  {:32}  changes in no signal",
            "id", "frames", "1/s", "bytes", "DBC", "message"
        )?;
        for row in seen {
            let bytes =
                row.bytes.map_or(
                    String::new(),
                    |(low, high)| {
                        if low == high { low.to_string() } else { format!("{low}-{high}") }
                    },
                );
            writeln!(
                out,
                "  {:8}  {:>9}  {:>8}  {bytes:>6}  {:>4}  {:32}  {}",
                row.id,
                row.frames,
                row.rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
                row.size.map_or_else(|| "-".to_owned(), |size| size.to_string()),
                row.message.unwrap_or("-"),
                row.undescribed.join(" ")
            )?;
        }
        for row in silent {
            writeln!(
                out,
                "  {:8}  {:>9}  {:>8}  {:>6}  {:>4}  {}",
                row.id,
                0,
                "-",
                "-",
                row.size.unwrap_or(0),
                row.message.unwrap_or("-")
            )?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts and durations for people")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}
