//! `outrider decode`: the signals of a recording.

use std::io::{self, BufWriter, Write};

use can_decoders::integrity::Counters;
use can_decoders::{CanId, Decoded, Fit, Frame, FrameKind, MessageIndex, Plan, Sample, Validity};
use clap::{Args, ValueEnum};

use super::inputs::{Description, Recording};
use super::number::{write_number, write_seconds};
use super::{CliError, inputs};
use crate::source::Frames;

#[derive(Args)]
pub(super) struct DecodeArgs {
    #[command(flatten)]
    recording: Recording,
    #[command(flatten)]
    description: Description,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print the DBC's labels beside the values.
    #[arg(long)]
    labels: bool,
    /// Print frames that no DBC file describes, too.
    #[arg(long)]
    unknown: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// One JSON object a frame.
    #[default]
    Jsonl,
    /// One line a signal: t,bus,id,message,signal,value,label,invalid
    Csv,
}

pub(super) fn run(args: &DecodeArgs) -> Result<(), CliError> {
    let catalog = args.description.catalog()?;
    let mut log = args.recording.open(&catalog)?;
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    if matches!(args.format, Format::Csv) {
        writeln!(out, "t,bus,id,message,signal,value,label,invalid")?;
    }
    let mut lengths = Lengths::default();
    let mut checks: Vec<CounterCheck> = catalog.buses().iter().map(|bus| CounterCheck::new(&bus.plan)).collect();
    while let Some(frame) = log.next_frame()? {
        let is_data = matches!(frame.kind, FrameKind::Data | FrameKind::Fd { .. });
        let route = if is_data { catalog.route(frame.bus) } else { None };
        let found = route.and_then(|bus| {
            let plan = &*catalog.buses()[bus].plan;
            let decoded = plan.decode_frame(plan.find(frame.id)?, &frame);
            lengths.count(frame.id, decoded.fit);
            Some((plan, checks[bus].check(decoded, frame.time_ns)))
        });
        let bus = log.reader().buses().get(usize::from(frame.bus.0)).map_or("", |name| name.as_ref());
        match (found, args.format) {
            (Some((plan, decoded)), Format::Jsonl) => json(&mut out, &frame, bus, plan, &decoded, args.labels)?,
            (Some((plan, decoded)), Format::Csv) => csv(&mut out, &frame, bus, plan, &decoded, args.labels)?,
            (None, Format::Jsonl) if args.unknown => {
                head(&mut out, &frame, bus)?;
                write!(out, ",\"data\":\"")?;
                hex(&mut out, &frame)?;
                writeln!(out, "\"}}")?;
            }
            (None, Format::Csv) if args.unknown => {
                write_seconds(&mut out, frame.time_ns)?;
                write!(out, ",{bus},{},,,", frame.id)?;
                hex(&mut out, &frame)?;
                writeln!(out, ",,unknown")?;
            }
            (None, _) => {}
        }
    }
    out.flush()?;
    inputs::report_skipped(&log);
    lengths.report();
    Ok(())
}

/// A message that was away for longer than this, and longer than five of its cycles, may begin with any counter; so the
/// agent holds it, once it has called the message silent.
const SILENCE_NS: u64 = 500_000_000;

/// Counters of a bus.
struct CounterCheck {
    counters: Counters,
    last_ns: Vec<u64>,
}

impl CounterCheck {
    fn new(plan: &Plan) -> Self {
        Self { counters: Counters::new(plan), last_ns: vec![0; plan.messages().len()] }
    }

    fn check<'a>(&mut self, decoded: Decoded<'a>, time_ns: u64) -> Decoded<'a> {
        let MessageIndex(index) = decoded.index();
        if let Some(last_ns) = self.last_ns.get_mut(index as usize) {
            let cycle_ns = decoded.message().cycle_time_ms.map_or(0, |ms| u64::from(ms) * 5_000_000);
            if time_ns.abs_diff(*last_ns) > SILENCE_NS.max(cycle_ns) {
                self.counters.forget(decoded.index());
            }
            *last_ns = time_ns;
        }
        if self.counters.check(&decoded) { decoded } else { decoded.with_wrong_counter() }
    }
}

/// Frames that are not as long as their message: how many, and the first one's identifier.
#[derive(Debug, Default)]
struct Lengths {
    shorter: Option<(u64, CanId)>,
    longer: Option<(u64, CanId)>,
}

impl Lengths {
    fn count(&mut self, id: CanId, fit: Fit) {
        let counter = match fit {
            Fit::Exact => return,
            Fit::Short { .. } => &mut self.shorter,
            Fit::Long { .. } => &mut self.longer,
        };
        counter.get_or_insert((0, id)).0 += 1;
    }

    fn report(&self) {
        let said = |found: Option<(u64, CanId)>, how| found.map(|(n, id)| format!("{n} {how} (first {id})"));
        let causes: Vec<String> =
            [said(self.shorter, "shorter"), said(self.longer, "longer")].into_iter().flatten().collect();
        if !causes.is_empty() {
            tracing::warn!("frames that are not as long as their DBC message: {}", causes.join(", "));
        }
    }
}

fn reason(validity: Validity) -> &'static str {
    match validity {
        Validity::Valid => "",
        Validity::Short => "frame too short",
        Validity::NotFinite => "not a number",
        Validity::OutOfRange => "out of range",
        Validity::NotAvailable => "not available",
        Validity::Error => "error",
        Validity::Checksum => "wrong checksum",
        Validity::Counter => "wrong counter",
        other => other.name(),
    }
}

fn head(out: &mut impl Write, frame: &Frame, bus: &str) -> io::Result<()> {
    write!(out, "{{\"t\":")?;
    write_seconds(out, frame.time_ns)?;
    write!(out, ",\"bus\":")?;
    serde_json::to_writer(&mut *out, bus)?;
    write!(out, ",\"id\":\"{}\"", frame.id)
}

fn json(
    out: &mut impl Write,
    frame: &Frame,
    bus: &str,
    plan: &Plan,
    decoded: &Decoded<'_>,
    labels: bool,
) -> io::Result<()> {
    head(out, frame, bus)?;
    write!(out, ",\"message\":")?;
    serde_json::to_writer(&mut *out, &*decoded.message().name)?;
    let valid = |s: &Sample| s.validity == Validity::Valid;
    object(out, "signals", decoded.signals().filter(valid), plan, |out, s| write_number(out, s.value))?;
    if labels {
        let labelled = decoded.signals().filter(valid).filter(|s| label(plan, s).is_some());
        object(out, "labels", labelled, plan, |out, s| {
            Ok(serde_json::to_writer(out, label(plan, s).unwrap_or_default())?)
        })?;
    }
    let mut invalid = decoded.signals().filter(|s| !valid(s)).peekable();
    if invalid.peek().is_some() {
        object(out, "invalid", invalid, plan, |out, s| Ok(serde_json::to_writer(out, reason(s.validity))?))?;
    }
    writeln!(out, "}}")
}

fn object<W: Write>(
    out: &mut W,
    key: &str,
    samples: impl Iterator<Item = Sample>,
    plan: &Plan,
    mut value: impl FnMut(&mut W, &Sample) -> io::Result<()>,
) -> io::Result<()> {
    write!(out, ",\"{key}\":{{")?;
    for (i, sample) in samples.enumerate() {
        if i > 0 {
            write!(out, ",")?;
        }
        serde_json::to_writer(&mut *out, &*plan.signal(sample.signal).name)?;
        write!(out, ":")?;
        value(out, &sample)?;
    }
    write!(out, "}}")
}

fn csv(
    out: &mut impl Write,
    frame: &Frame,
    bus: &str,
    plan: &Plan,
    decoded: &Decoded<'_>,
    labels: bool,
) -> io::Result<()> {
    for sample in decoded.signals() {
        write_seconds(out, frame.time_ns)?;
        write!(out, ",{bus},{},{},{},", frame.id, decoded.message().name, plan.signal(sample.signal).name)?;
        let valid = sample.validity == Validity::Valid;
        if valid {
            write_number(out, sample.value)?;
        }
        write!(out, ",")?;
        if let Some(label) = label(plan, &sample).filter(|_| labels && valid) {
            // RFC 4180: quotes are doubled.
            write!(out, "\"{}\"", label.replace('"', "\"\""))?;
        }
        writeln!(out, ",{}", reason(sample.validity))?;
    }
    Ok(())
}

fn label<'a>(plan: &'a Plan, sample: &Sample) -> Option<&'a str> {
    plan.signal(sample.signal).label(sample.raw.as_i64()?)
}

fn hex(out: &mut impl Write, frame: &Frame) -> io::Result<()> {
    frame.payload().iter().try_for_each(|byte| write!(out, "{byte:02X}"))
}
