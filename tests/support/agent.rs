//! The built program, and a recording of what the gateway passed on that no code of ours has touched.

#![allow(dead_code, reason = "the scenario tests each use a part of it")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::mosquitto::{Mosquitto, PATIENCE, program};

/// The program under test, ready for arguments.
pub(crate) fn outrider() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrider"));
    command.env_remove("OUTRIDER_LOG").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    outrider().args(args).output().unwrap()
}

/// Runs a command that gets `input` on standard input.
pub(crate) fn run_with_input(args: &[&str], input: &[u8]) -> Output {
    let mut child =
        outrider().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    output
}

/// What a command printed, when it ended well.
pub(crate) fn good(output: &Output) -> String {
    let (out, err) = texts(output);
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out
}

/// What a command printed on standard output and on standard error.
pub(crate) fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Path as an argument.
pub(crate) fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A file under `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name)
}

/// The description that belongs to `small.log` there.
pub(crate) fn dbc() -> String {
    arg(&data("small.dbc")).to_owned()
}

/// The exit code and both texts.
pub(crate) fn ended(output: &Output) -> (Option<i32>, String, String) {
    let (out, err) = texts(output);
    (output.status.code(), out, err)
}

/// The data folder shared between checkouts, where there is one.
pub(crate) fn shared_data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("OUTRIDER_SHARED").map_or(beside, PathBuf::from);
    Some(shared.join("data")).filter(|data| data.is_dir())
}

/// `outrider run` as a process of its own. Killed when dropped.
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
    /// Bytes that the log had before.
    before: usize,
}

impl Agent {
    /// Starts it; what it says is appended to `run.log` beside the configuration.
    pub(crate) fn start(config: &Path) -> Self {
        Self::start_as(outrider(), config)
    }

    /// As [`Self::start`], another program.
    pub(crate) fn start_as(mut program: Command, config: &Path) -> Self {
        let log = config.with_file_name("run.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let before = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let child = program.args(["run", "-c", arg(config)]).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { child, log, before }
    }

    /// As [`Self::start`], with a pipe to its standard input.
    pub(crate) fn start_with_pipe(config: &Path) -> (Self, std::process::ChildStdin) {
        let log = config.with_file_name("run.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let before = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let mut command = outrider();
        command.args(["run", "-c", arg(config)]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file);
        let mut child = command.spawn().unwrap();
        let pipe = child.stdin.take().unwrap();
        (Self { child, log, before }, pipe)
    }

    /// What the kernel says of it, by the name of a line of `/proc/PID/status`.
    pub(crate) fn status(&self, name: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    }

    /// Waits until it runs: a signal that comes sooner ends it as it ends any program.
    pub(crate) fn wait_for_start(&mut self) {
        crate::mosquitto::wait_until("the agent to run", || {
            self.assert_running();
            self.log().get(self.before..).is_some_and(|log| log.contains(" runs for vehicle "))
        });
    }

    /// Sends a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success(), "kill -{name}");
    }

    /// Fails the test when it has ended.
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the agent ended early, {status}: {}", self.log());
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            // A guard against hanging, not a measure.
            assert!(start.elapsed() < PATIENCE * 5, "gave up waiting for the agent to end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn finish(self) {
        let log = self.log.clone();
        let status = self.wait();
        assert!(status.success(), "{status}: {}", std::fs::read_to_string(log).unwrap());
    }

    /// As a power cut does it.
    pub(crate) fn kill(mut self) {
        self.assert_running();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the tests look at in an event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Arrival {
    pub(crate) t: u64,
    pub(crate) seq: u64,
    pub(crate) kind: String,
    pub(crate) class: String,
    pub(crate) mono: Option<u64>,
    pub(crate) clock: Option<String>,
    pub(crate) stamp: Option<u64>,
    pub(crate) body: serde_cbor::Value,
}

/// The events of a CBOR sequence with their encodings; the bytes that they take. A last one that is cut off is left.
pub(crate) fn split(sequence: &[u8]) -> (Vec<(Arrival, Vec<u8>)>, usize) {
    let (mut events, mut end) = (Vec::new(), 0);
    let mut items = serde_cbor::Deserializer::from_slice(sequence).into_iter::<Arrival>();
    while let Some(item) = items.next() {
        match item {
            Ok(event) => {
                let next = items.byte_offset();
                events.push((event, sequence[end..next].to_vec()));
                end = next;
            }
            Err(error) if error.is_eof() => break,
            Err(error) => panic!("not an event: {error}"),
        }
    }
    (events, end)
}

/// `mosquitto_sub` that writes raw payloads into a file: with CBOR sequences, that is one long CBOR sequence.
/// Its session survives a stop of the broker.
pub(crate) struct Recorder {
    child: Child,
    pub(crate) file: PathBuf,
    read: u64,
    rest: Vec<u8>,
    arrivals: u64,
    events: BTreeMap<u64, (Arrival, Vec<u8>)>,
}

impl Recorder {
    /// Subscribed when it returns: nothing is missed.
    pub(crate) fn start(broker: &Mosquitto, dir: &Path) -> Self {
        let port = broker.observer_port.to_string();
        // Unbuffered: what the file holds is what has arrived.
        let subscriber = || {
            let mut command = Command::new(program("stdbuf", "coreutils"));
            command.arg("-o0").arg(program("mosquitto_sub", "mosquitto-clients"));
            command.args(["-V", "5", "-q", "1", "-t", "outrider/#", "-c", "-i", "recorder", "-x", "4294967295"]);
            command.args(["-h", "127.0.0.1", "-p", &port]);
            command
        };
        // The subscription belongs to the session: made once, it holds before the recording starts.
        assert!(subscriber().arg("-E").status().unwrap().success());
        let file = dir.join("received.cbor");
        let child = subscriber().arg("-N").stdout(File::create(&file).unwrap()).spawn().unwrap();
        Self { child, file, read: 0, rest: Vec::new(), arrivals: 0, events: BTreeMap::new() }
    }

    /// Takes in what has come since. A number that comes again must come with the very same bytes.
    pub(crate) fn poll(&mut self) -> usize {
        let mut file = File::open(&self.file).unwrap();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        self.read += u64::try_from(file.read_to_end(&mut self.rest).unwrap()).unwrap();
        let (events, end) = split(&self.rest);
        self.rest.drain(..end);
        for (event, bytes) in events {
            self.arrivals += 1;
            if let Some((_, before)) = self.events.get(&event.seq) {
                assert_eq!(*before, bytes, "number {} came with two contents", event.seq);
                continue;
            }
            self.events.insert(event.seq, (event, bytes));
        }
        self.events.len()
    }

    /// Different events so far, by number.
    pub(crate) fn events(&mut self) -> Vec<Arrival> {
        self.poll();
        self.events.values().map(|(event, _)| event.clone()).collect()
    }

    /// Copies of events that had come before.
    pub(crate) fn duplicates(&mut self) -> u64 {
        self.poll();
        self.arrivals - u64::try_from(self.events.len()).unwrap()
    }

    /// The highest number so far.
    pub(crate) fn highest(&mut self) -> u64 {
        self.poll();
        self.events.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// Stops in good order, so that the file ends with a whole event.
    pub(crate) fn stop(&mut self) {
        let status = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap();
        self.poll();
        assert!(self.rest.is_empty(), "{} bytes of a broken event at the end", self.rest.len());
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `outrider outbox stat` says of an outbox at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Events that wait, of all classes.
    pub(crate) depth: u64,
    /// The next number.
    pub(crate) next: u64,
}

/// Asks `outrider outbox stat`.
pub(crate) fn stat(outbox: &Path) -> Stat {
    stat_of(&good(&run(&["outbox", "stat", arg(outbox)])))
}

/// What it has printed.
pub(crate) fn stat_of(text: &str) -> Stat {
    let number = |line: &str| line.split(' ').find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{text}"));
    let depth = text.lines().filter(|line| line.ends_with(" events")).map(number).sum();
    let next = text.lines().find(|line| line.starts_with("next number: ")).map_or_else(|| panic!("{text}"), number);
    Stat { depth, next }
}

/// What `outrider audit` says of one vehicle's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) good: bool,
    pub(crate) highest: u64,
    pub(crate) events: u64,
    pub(crate) duplicates: u64,
    pub(crate) explained: u64,
    pub(crate) missing: u64,
    pub(crate) out_of_order: u64,
    pub(crate) text: String,
}

/// Asks `outrider audit`.
pub(crate) fn audit(files: &[&Path]) -> Verdict {
    let args: Vec<&str> = std::iter::once("audit").chain(files.iter().map(|file| arg(file))).collect();
    let output = run(&args);
    let (text, errors) = texts(&output);
    let line = text.lines().next().unwrap_or_else(|| panic!("nothing printed: {errors}"));
    let numbers: Vec<u64> =
        line.split_once(": ").unwrap().1.split([' ', ':', ',']).filter_map(|word| word.parse().ok()).collect();
    let [_, highest, events, duplicates, explained, missing, out_of_order] = numbers[..] else { panic!("{text}") };
    Verdict { good: output.status.success(), highest, events, duplicates, explained, missing, out_of_order, text }
}
