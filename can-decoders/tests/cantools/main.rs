//! Every value against cantools, the decoder that most people trust.
//!
//! `tests/run oracle` installs cantools in an environment of its own and runs this; `ORACLE_PYTHON` names its
//! interpreter. The files are those of this project, and of the shared corpora where they are at hand.
//!
//! For each message of each file that cantools loads, `oracle.py` decodes payloads: all zeros, all ones, random ones, and
//! for multiplexed messages some that select each signal. Compared are the signals that are in the frame, their raw
//! values (exactly), their physical values (exactly where double arithmetic is exact, else within one unit in the last
//! place), and their labels. What cantools refuses is compared in `tests/corpus.rs` with a decoder that goes bit by bit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test's report is its output")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use can_decoders::dbc::{ByteOrder, MessageDef};
use can_decoders::{CanId, Database, MessageIndex, Plan, Raw, Sample, Validity};
use serde_json::{Map, Value};

/// Files that cantools refuses are not few: this many of the shared ones must be compared.
const SHARED_COMPARED: usize = 150;

/// Messages of which cantools leaves signals out, and why.
const LEFT_OUT: [(&str, &str, &str); 2] = [
    ("vw_pq.dbc", "Motor_2", "the multiplexor has m where M was meant: cantools sees none"),
    ("Model3CAN.dbc", "ID201VCFRONT_loggingAndVitals10Hz", "its multiplexor's name is cut: cantools does not find it"),
];

#[derive(Debug, Default)]
struct Tally {
    files: usize,
    refused: Vec<String>,
    messages: usize,
    payloads: usize,
    values: usize,
    /// Physical values that differ in the last place.
    rounded: usize,
    labels: usize,
    /// Payloads that cantools cannot decode because a multiplexor has a value that selects nothing.
    selects_nothing: usize,
    /// Payloads of messages whose signals share bits or lie beyond their end, some of which cantools does not decode.
    overlapping: usize,
    /// Payloads of messages whose identifier an earlier one has: cantools keeps both, the plan the first.
    duplicates: usize,
    differences: Vec<String>,
}

fn files() -> (Vec<PathBuf>, usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut add = |folder: PathBuf| {
        let before = files.len();
        for entry in folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("dbc")) {
                files.push(path);
            }
        }
        files.len() - before
    };
    let own = add(root.join("dbc")) + add(root.join("../tests/data"));
    assert!(own >= 3, "{own} files");
    let shared = std::env::var_os("OUTRIDER_SHARED").map_or(root.join("../../shared"), PathBuf::from).join("data/dbc");
    let shared = if shared.is_dir() {
        ["opendbc", "cantools_tests", "other"].map(|folder| add(shared.join(folder))).iter().sum()
    } else {
        println!("NOT RUN: the shared DBC files are not here (OUTRIDER_SHARED)");
        0
    };
    files.sort();
    (files, shared)
}

#[test]
fn every_value_is_that_of_cantools() {
    let python = std::env::var_os("ORACLE_PYTHON")
        .expect("ORACLE_PYTHON must name a Python that has cantools; `tests/run oracle` sees to that");
    let (files, shared) = files();
    let mut oracle = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cantools/oracle.py"))
        .args(&files)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(oracle.stdout.take().unwrap()).lines();
    let mut tally = Tally::default();
    for file in &files {
        let database = Database::load(file).unwrap();
        let odd: HashSet<u32> = database.messages().iter().filter(|m| is_odd(m)).map(|m| m.id.to_bits()).collect();
        let plan = Plan::compile(&[database]);
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("cantools died on {}", file.display())).unwrap();
            let record: Map<String, Value> = serde_json::from_str(&line).unwrap();
            if let Some(why) = record.get("refused") {
                tally.refused.push(format!("{}: {}", file.display(), why.as_str().unwrap()));
                break;
            }
            if let Some(messages) = record.get("end") {
                tally.files += 1;
                tally.messages += usize::try_from(messages.as_u64().unwrap()).unwrap();
                break;
            }
            compare(file, &plan, &odd, &record, &mut tally);
        }
    }
    assert!(oracle.wait().unwrap().success());
    let Tally { files, messages, payloads, values, rounded, labels, selects_nothing, overlapping, duplicates, .. } =
        &tally;
    println!(
        "{files} files, {messages} messages, {payloads} payloads, {values} values ({rounded} differ in the last place), \
         {labels} labels. Not compared: {selects_nothing} payloads whose multiplexor selects nothing, {overlapping} of messages \
         whose signals share bits or lie beyond their end, {duplicates} of messages whose identifier an earlier one has, {} files that \
         cantools refuses",
        tally.refused.len()
    );
    tally.refused.iter().for_each(|refused| println!("  {}", refused.chars().take(300).collect::<String>()));
    let shown: Vec<&String> = tally.differences.iter().take(10).collect();
    assert!(shown.is_empty(), "{} differences: {shown:#?}", tally.differences.len());
    assert!(tally.values > 1000 && (shared == 0 || tally.files > SHARED_COMPARED));
}

fn compare(file: &Path, plan: &Plan, odd: &HashSet<u32>, record: &Map<String, Value>, tally: &mut Tally) {
    let name = record["name"].as_str().unwrap();
    let number = u32::try_from(record["id"].as_u64().unwrap()).unwrap();
    let id = if record["extended"].as_bool().unwrap() { CanId::extended(number) } else { CanId::standard(number) };
    let mut differ = |what: String| {
        tally.differences.push(format!("{}: {name} {}: {what}", file.display(), record["payload"]));
    };
    let Some(message) = id.and_then(|id| plan.find(id)) else { return differ("not in the plan".into()) };
    if *plan.message(message).name != *name {
        tally.duplicates += 1;
        return;
    }
    let payload = bytes(record["payload"].as_str().unwrap());
    let Some(expected) = record.get("signals").and_then(Value::as_object) else {
        let error = record["error"].as_str().unwrap();
        if error.contains("expected multiplexer id") {
            tally.selects_nothing += 1;
        } else if error.contains("unpacking failed") && odd.contains(&id.map_or(0, CanId::to_bits)) {
            tally.overlapping += 1;
        } else {
            differ(error.into());
        }
        return;
    };
    tally.payloads += 1;
    let mut found = samples(plan, message, &payload);
    if LEFT_OUT.iter().any(|(of, message, _)| file.ends_with(of) && *message == name) {
        found.retain(|name, _| expected.contains_key(*name));
    }
    if !found.keys().eq(expected.keys().map(String::as_str).collect::<BTreeSet<_>>().iter()) {
        let names: Vec<_> = found.keys().collect();
        return differ(format!("has {names:?} instead of {:?}", expected.keys().collect::<Vec<_>>()));
    }
    for (name, sample) in found {
        let [raw, value, label] = &expected[name].as_array().unwrap()[..] else { panic!("three of each") };
        tally.values += 1;
        let (raw, value) = (raw.as_str().unwrap(), double(value.as_str().unwrap()));
        let same_raw = match sample.raw {
            Raw::Unsigned(is) => is.to_string() == raw,
            Raw::Signed(is) => is.to_string() == raw,
            Raw::Float(is) => same(is, double(raw)),
        };
        if !same_raw {
            differ(format!("{name} has raw {:?} instead of {raw}", sample.raw));
        }
        match units(sample.value, value) {
            0 => {}
            1 => tally.rounded += 1,
            n => differ(format!("{name} is {:e} instead of {value:e}, {n} units", sample.value)),
        }
        assert_eq!(sample.validity != Validity::NotFinite, value.is_finite(), "{}: {name}", file.display());
        let is = sample.raw.as_i64().and_then(|raw| plan.signal(sample.signal).label(raw));
        if is != label.as_str() {
            differ(format!("{name} is called {is:?} instead of {label}"));
        }
        tally.labels += usize::from(label.is_string());
    }
}

/// Whether signals that are selected alike share bits, or one is not wholly in the message.
fn is_odd(message: &MessageDef) -> bool {
    let mut taken = HashSet::new();
    message.signals.iter().any(|signal| {
        let mut at = signal.start;
        (0..signal.bits).any(|n| {
            let bit = if signal.order == ByteOrder::Little { signal.start + n } else { at };
            at = if at.is_multiple_of(8) { at + 15 } else { at - 1 };
            bit as usize >= 8 * message.size || !taken.insert((format!("{:?}", signal.multiplexing), bit))
        })
    })
}

fn samples<'a>(plan: &'a Plan, message: MessageIndex, payload: &[u8]) -> BTreeMap<&'a str, Sample> {
    plan.decode(message, payload).signals().map(|sample| (&*plan.signal(sample.signal).name, sample)).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn double(bits: &str) -> f64 {
    f64::from_bits(u64::from_str_radix(bits, 16).unwrap())
}

fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

/// How many doubles lie between the two, with the second.
fn units(a: f64, b: f64) -> u64 {
    if same(a, b) {
        return 0;
    }
    if !(a.is_finite() && b.is_finite()) {
        return u64::MAX;
    }
    // Doubles of one sign are ordered like their bits.
    let place = |x: f64| if x < 0.0 { -i128::from(x.to_bits() & (u64::MAX >> 1)) } else { i128::from(x.to_bits()) };
    u64::try_from((place(a) - place(b)).unsigned_abs()).unwrap_or(u64::MAX)
}
