//! `evaluation inject` and `evaluation measure`: recordings with attacks and faults in them, and how well Outrider finds those.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use can_decoders::log::LogWriter;
use clap::{Args, Parser, Subcommand};
use evaluation::attack::{Kind, NoKind, apply, number};
use evaluation::metrics::{self, Span};
use evaluation::recording::Recording;
use evaluation::{play, report, schedule};
use outrider::engine::{Detector, Engine, Guard, HealthSpec, guard};
use outrider::profile::Profile;

#[derive(Parser)]
#[command(name = "evaluation", about = "Attacks and faults in recordings, and how well they are found")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put attacks or faults into a recording, and write what was put where as CSV.
    Inject(Inject),
    /// Attack a recording with each kind in turn, let a model look at it, and print how well it does.
    Measure(Measure),
}

#[derive(Args)]
struct Input {
    /// Recordings of one vehicle, in the order of their times: candump, ASC, BLF, TRC; plain, gzip or zstd.
    #[arg(required = true)]
    logs: Vec<PathBuf>,
    /// DBC file, for all buses or as BUS=FILE for one. May be given several times.
    #[arg(long, value_name = "FILE")]
    dbc: Vec<String>,
    /// Leave out what comes before, as a share of the recordings' time.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    from: f64,
    /// Leave out what comes after, as a share of the recordings' time.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    to: f64,
}

#[derive(Args)]
struct Attacks {
    /// What to do, separated by commas: plateau, continuous, playback, suppress, flooding (together `five`), unknown,
    /// fuzzing, offset, gain, noise, stuck, intermittent, delayed; `none` only puts recordings together.
    #[arg(long, value_name = "KINDS", value_delimiter = ',', default_value = "five")]
    kinds: Vec<String>,
    /// The signals to do it to, separated by commas, as `Signal` or `Message.Signal`.
    #[arg(long, value_name = "SIGNALS", value_delimiter = ',')]
    signals: Vec<String>,
    /// The identifiers to do it to, separated by commas, as BUS:ID in hexadecimal; `all` for those of the recording.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    ids: Vec<String>,
    /// Only while a signal has at least a value.
    #[arg(long, value_name = "SIGNAL=VALUE")]
    above: Option<String>,
    /// How long each lasts, seconds.
    #[arg(long, value_name = "FROM:TO", default_value = "4:12", value_parser = range)]
    length: (f64, f64),
    /// How long nothing happens between two, seconds.
    #[arg(long, value_name = "FROM:TO", default_value = "12:30", value_parser = range)]
    pause: (f64, f64),
    /// The same seed makes the same attacks.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  evaluation inject drive.log.zst --dbc car.dbc --signals EngineSpeed,VehicleSpeed --above VehicleSpeed=10 \\\n    --out attacked.log.zst --labels attacked.csv"
)]
struct Inject {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    attacks: Attacks,
    /// The recording to write: candump; compressed if its name ends with .gz or .zst.
    #[arg(long)]
    out: PathBuf,
    /// Where to say what was put where.
    #[arg(long)]
    labels: PathBuf,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  evaluation measure drive.log.zst --dbc car.dbc --model models/mine --signals EngineSpeed,VehicleSpeed --csv out.csv --picture out.svg"
)]
struct Measure {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    attacks: Attacks,
    /// The model's directory.
    #[arg(long, value_name = "DIR", required_unless_present = "profile")]
    model: Option<PathBuf>,
    /// A profile instead, which needs no DBC file.
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    profile: Option<PathBuf>,
    /// How often each kind is done anew, with another seed.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// False alarms an hour of the recording without attacks, for which the threshold is chosen.
    #[arg(long, default_value_t = 1.0)]
    rate: f64,
    /// Write one line an attack.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Draw ROC curves and scores over time, as SVG.
    #[arg(long)]
    picture: Option<PathBuf>,
}

fn range(text: &str) -> Result<(f64, f64), String> {
    let bad = || format!("`{text}`: two numbers of seconds, as 4:12, the second above zero and not below the first");
    let (from, to) = text.split_once(':').ok_or_else(bad)?;
    let (from, to): (f64, f64) = (from.parse().map_err(|_| bad())?, to.parse().map_err(|_| bad())?);
    if from >= 0.0 && to >= from && to > 0.0 && to <= 86_400.0 { Ok((from, to)) } else { Err(bad()) }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Inject(args) => inject(&args),
        Command::Measure(args) => measure(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            #[expect(clippy::print_stderr, reason = "the one place for errors")]
            {
                eprintln!("error: {message}");
            }
            ExitCode::FAILURE
        }
    }
}

fn plan(recording: &Recording, attacks: &Attacks, kinds: Vec<Kind>, seed: u64) -> Result<schedule::Plan, String> {
    let above = match &attacks.above {
        None => None,
        Some(text) => {
            let bad = || format!("`{text}`: --above takes SIGNAL=VALUE");
            let (name, value) = text.split_once('=').ok_or_else(bad)?;
            Some((recording.signal(name)?, value.parse().map_err(|_| bad())?))
        }
    };
    let kind = *kinds.first().ok_or("--kinds is empty")?;
    let victims = recording.victims(kind, &attacks.signals, &attacks.ids)?;
    let (length_s, pause_s) = (attacks.length, attacks.pause);
    Ok(schedule::Plan { kinds, victims, length_s, pause_s, above, seed })
}

fn kinds(attacks: &Attacks) -> Result<Vec<Kind>, String> {
    let mut kinds = Vec::new();
    for name in &attacks.kinds {
        match name.as_str() {
            "five" => kinds.extend(Kind::FIVE),
            "none" => {}
            name => kinds.push(name.parse().map_err(|error: NoKind| error.to_string())?),
        }
    }
    Ok(kinds)
}

fn load(input: &Input) -> Result<Recording, String> {
    Recording::load(&input.logs, &input.dbc, (input.from, input.to))
}

fn inject(args: &Inject) -> Result<(), String> {
    let recording = load(&args.input)?;
    let kinds = kinds(&args.attacks)?;
    if kinds.len() > 1 && kinds.iter().any(|kind| kind.is_of_bus()) {
        return Err("attacks on a bus are put in alone: name one kind".into());
    }
    let attacks = if kinds.is_empty() {
        Vec::new()
    } else {
        schedule::draw(&plan(&recording, &args.attacks, kinds, args.attacks.seed)?, &recording.frames)
    };
    let mut frames = recording.frames.clone();
    let mut labels = "start,end,kind,victim\n".to_string();
    for attack in &attacks {
        apply(attack, &recording.frames, &mut frames);
        let seconds = |ns: u64| format!("{}.{:06}", ns / 1_000_000_000, ns / 1000 % 1_000_000);
        let victim = recording.name(&attack.victim);
        let _ = writeln!(labels, "{},{},{},{victim}", seconds(attack.start_ns), seconds(attack.end_ns), attack.kind);
    }
    let mut writer = LogWriter::create(&args.out).map_err(|error| error.to_string())?;
    for frame in &frames {
        let bus = recording.buses.get(usize::from(frame.bus.0)).map_or("can0", String::as_str);
        writer.write(bus, frame).map_err(|error| error.to_string())?;
    }
    writer.finish().map_err(|error| error.to_string())?;
    write(&args.labels, &labels)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn measure(args: &Measure) -> Result<(), String> {
    let profile = args.profile.as_deref().map(Profile::load).transpose().map_err(|error| error.to_string())?;
    let mut recording = load(&args.input)?;
    if let Some(profile) = &profile {
        recording.describe_as(profile.catalog(recording.catalog.clone()))?;
    }
    let health = HealthSpec { period_ns: 60_000_000_000, silent_factor: 5, silent_min_ns: 500_000_000 };
    let engine = || -> Result<Engine, String> {
        let catalog = recording.catalog.clone();
        let Some(profile) = &profile else {
            let dir = args.model.as_deref().ok_or("name a --model or a --profile")?;
            let (manifest, network) = outrider::model::load(dir).map_err(|error| error.to_string())?;
            let detector = Detector::new(manifest.spec, network, &catalog)
                .map_err(|(feature, error)| format!("feature `{feature}`: {error}"))?;
            return Ok(Engine::new(catalog, health, Vec::new(), vec![detector]));
        };
        let guard = Guard::new(profile, &catalog).map_err(|error| error.to_string())?;
        Ok(Engine::new(catalog, health, Vec::new(), Vec::new()).with_guard(guard))
    };
    let first = engine()?;
    let (own_threshold, debounce) = match first.detectors().first() {
        Some(detector) => (detector.spec().threshold, detector.spec().debounce),
        None => (guard::THRESHOLD, guard::DEBOUNCE),
    };
    let clean = play::play(first, &recording.frames);
    let hours = number(recording.length_ns()) / 3.6e12;
    let threshold = metrics::threshold_for(&clean.scores, hours, args.rate, debounce);

    let (mut all, mut outcomes) = (Vec::new(), Vec::new());
    for kind in kinds(&args.attacks)? {
        let mut of =
            report::OfKind { kind, bad: Vec::new(), good: Vec::new(), auc: None, strays: 0, first: Default::default() };
        for round in 0..args.rounds.max(1) {
            let seed = args.attacks.seed.wrapping_add(round * 1000);
            let attacks = schedule::draw(&plan(&recording, &args.attacks, vec![kind], seed)?, &recording.frames);
            let mut frames = recording.frames.clone();
            attacks.iter().for_each(|attack| apply(attack, &recording.frames, &mut frames));
            let played = play::play(engine()?, &frames);
            let spans: Vec<Span> = attacks.iter().map(|attack| (attack.start_ns, attack.end_ns)).collect();
            let (bad, good) = metrics::split(&played.scores, &spans);
            let as_is: Vec<u64> = played.raised.iter().map(|(at, _)| *at).collect();
            let at_rate = metrics::alerts(&played.scores, threshold, debounce);
            of.strays += metrics::strays(&at_rate, &spans);
            for (attack, span) in attacks.iter().zip(&spans) {
                let own = metrics::split(&played.scores, std::slice::from_ref(span)).0;
                outcomes.push(report::Outcome {
                    kind,
                    victim: recording.name(&attack.victim),
                    auc: metrics::auc(&own, &good),
                    delay_s: metrics::delay(&as_is, *span),
                    delay_at_rate_s: metrics::delay(&at_rate, *span),
                });
            }
            of.bad.extend(bad);
            of.good.extend(good);
            if round == 0 {
                of.first = (played.scores, spans);
            }
        }
        of.auc = metrics::auc(&of.bad, &of.good);
        all.push(of);
    }
    let clean = report::Clean {
        hours,
        alerts: clean.raised,
        threshold: own_threshold,
        threshold_at_rate: threshold,
        rate: args.rate,
    };
    #[expect(clippy::print_stdout, reason = "the result")]
    {
        print!("{}", report::text(&clean, &all, &outcomes));
    }
    if let Some(path) = &args.csv {
        write(path, &report::csv(&outcomes))?;
    }
    args.picture.as_ref().map_or(Ok(()), |path| report::picture(path, &clean, &all))
}
