//! Real power cuts: a computer with the agent, on an ext4 file system, is killed at random and booted again.
//!
//! The computer is user-mode Linux (`tests/kernel/boot`); in it runs this very program, started again. It starts the built
//! agent with a gateway that comes and goes, and beside it uses an outbox of its own, of which it knows what was committed.
//! What they do it says on the console, line by line, before they go on; the console is outside and survives. At the end
//! the agent is stopped in good order, and both are held against what was said: nothing committed is gone, and no number is
//! missing without an explanation.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]
#![allow(clippy::print_stdout, reason = "figures, and how the guest talks")]

#[path = "../support/outbox_child.rs"]
mod outbox_child;
#[path = "../support/scripted_gateway.rs"]
#[allow(dead_code, reason = "what was published is said on the console")]
mod scripted_gateway;

mod crash;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outbox_child::{Backend, batches, open, tell, use_until_killed};
use outrider::outbox::Outbox;
use scripted_gateway::ScriptedGateway;

/// What the guest is to do, in its environment: a number of the cycle, or `last`.
const GUEST: &str = "OUTRIDER_POWER_GUEST";
/// More than is written in a hundred cycles: nothing has to be evicted.
const QUOTA: u64 = 400 << 20;
/// Where `boot` puts the disk.
const DISK: &str = "/run/disk";

/// Writes whole lines to the console, each with a mark, as several threads do.
#[derive(Clone)]
struct Console {
    out: Arc<Mutex<std::io::Stdout>>,
    mark: &'static str,
    begun: Vec<u8>,
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        let Some(end) = self.begun.iter().rposition(|&byte| byte == b'\n') else { return Ok(bytes.len()) };
        // There is one processor, and the other has work, too.
        std::thread::sleep(Duration::from_millis(1));
        let mut out = self.out.lock().unwrap();
        for line in String::from_utf8_lossy(&self.begun[..end]).lines() {
            writeln!(out, "{} {line}", self.mark)?;
        }
        out.flush()?;
        // Said is what is outside.
        nix::sys::termios::tcdrain(&*out)?;
        self.begun.drain(..=end);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Says what a payload holds in one write.
fn say(console: &mut Console, mark: &str, payload: &[u8]) {
    let mut lines = Vec::new();
    tell(&mut lines, mark, payload).unwrap();
    console.write_all(&lines).unwrap();
}

fn guest(task: &str) {
    // Behind what the test harness has begun.
    println!();
    let out = Arc::new(Mutex::new(std::io::stdout()));
    let console = |mark| Console { out: out.clone(), mark, begun: Vec::new() };
    let (direct, agent) = (console("D"), console("A"));
    let last = task == "last";
    let cycle: u64 = task.parse().unwrap_or(0);

    // Some of the time the gateway does not answer, as when the modem has no network.
    let start = Instant::now();
    let mut heard = agent.clone();
    let is_away = move || !last && (u64::try_from(start.elapsed().as_millis()).unwrap() / 400 + cycle) % 3 == 1;
    let gateway = ScriptedGateway::start(&[], move |publish| {
        if is_away() {
            return Vec::new();
        }
        say(&mut heard, "a", &publish.payload);
        vec![(publish.id, 0)]
    });
    let config = Path::new("/dev/shm/power.toml");
    let dbc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../can-decoders/dbc");
    let text = format!(
        "[vehicle]\nid = \"truck-7\"\n\n[[bus]]\nname = \"can0\"\ndbc = [{:?}]\n\n\
         [source]\nkind = \"sim\"\nseed = {cycle}\nspeed = 8.0\nfaults = [\"missing:EngineData1@2+2\", \"flood:BrakeData1:8@5+3\"]\n\n\
         [[collect]]\nname = \"fast\"\nsignals = [\"EngineData1.*\"]\nperiod_ms = 50\n\n[health]\nperiod_s = 1\n\n\
         [outbox]\ndir = \"{DISK}/agent\"\nquota_mib = 8\n\n\
         [[gateway]]\nurl = \"mqtt://127.0.0.1:{}\"\nstate_topic = \"\"\nreconnect_spread_ms = 0\nack_timeout_s = 1\nbackoff_min_ms = 10\nbackoff_max_ms = 100\n",
        dbc.join("demo-powertrain.dbc"),
        gateway.port,
    );
    std::fs::write(config, text).unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_outrider"))
        .args(["run", "-c", config.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create("/dev/shm/agent.log").unwrap())
        .spawn()
        .unwrap();

    let mut outbox = open(&Path::new(DISK).join("direct"), QUOTA);
    direct.clone().write_all(b"started\n").unwrap();
    if !last {
        use_until_killed(&mut outbox, &mut direct.clone());
    }
    let mut console = direct;
    for batch in batches(&mut outbox) {
        say(&mut console, "s", &batch.payload);
    }
    writeln!(console, "n {}", outbox.stat().next_seq).unwrap();

    // Everything is delivered, and the agent ends in good order.
    let inspect = |what: &str| {
        let stat =
            Command::new(env!("CARGO_BIN_EXE_outrider")).args(["outbox", what]).arg(format!("{DISK}/agent")).output();
        String::from_utf8(stat.unwrap().stdout).unwrap()
    };
    let mut next = String::new();
    for _ in 0..30 {
        std::thread::sleep(Duration::from_secs(1));
        let stopped = Command::new("kill").args(["-TERM", &process.id().to_string()]).status().unwrap();
        assert!(
            stopped.success() && process.wait().unwrap().success(),
            "{}",
            std::fs::read_to_string("/dev/shm/agent.log").unwrap()
        );
        let stat = inspect("stat");
        let number = stat.lines().find_map(|line| line.strip_prefix("next number: ")).unwrap_or_default();
        number.clone_into(&mut next);
        if inspect("list").lines().count() == 1 {
            break;
        }
        process = Command::new(env!("CARGO_BIN_EXE_outrider"))
            .args(["run", "-c", config.to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
    }
    let mut console = agent;
    writeln!(console, "n {next}").unwrap();
}

/// What the host knows of one of the two.
#[derive(Default)]
struct Side {
    backend: Backend,
    next: Option<u64>,
    /// Still stored at the end.
    stored: u64,
}

impl Side {
    fn hear(&mut self, line: &str) {
        if let Some(number) = line.strip_prefix("s ") {
            self.backend.acked.extend(number.parse::<u64>());
            self.stored += 1;
        } else if let Some(number) = line.strip_prefix("n ") {
            self.next = number.parse().ok();
        } else {
            self.backend.hear(line);
        }
    }
}

#[test]
fn power_cuts_lose_nothing_that_was_committed_and_explain_the_rest() {
    if let Ok(task) = std::env::var(GUEST) {
        return guest(&task);
    }
    let cycles: u64 = std::env::var("OUTRIDER_POWER_CYCLES").map_or(5, |cycles| cycles.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::File::create(&disk).unwrap().set_len(512 << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk).env("PATH", path()).status().unwrap();
    assert!(made.success(), "mkfs.ext4");
    let boot = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kernel/boot");
    let mut random = fastrand::Rng::with_seed(20_261);
    let (mut direct, mut agent) = (Side::default(), Side::default());
    for cycle in 0..=cycles {
        let last = cycle == cycles;
        let mut computer = Command::new(&boot)
            .args(["-t", "300", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "power_cuts_lose_nothing_that_was_committed_and_explain_the_rest", "--nocapture"])
            .env(GUEST, if last { "last".to_owned() } else { cycle.to_string() })
            .env("UML_DISK", &disk)
            .env("TMPDIR", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(computer.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut complete = Vec::new();
        if last {
            complete.extend(lines.by_ref());
            assert!(computer.wait().unwrap().success(), "{:?}", complete.iter().rev().take(20).collect::<Vec<_>>());
        } else {
            // Until both are at it.
            for line in lines.by_ref() {
                let both = line.starts_with("A ");
                complete.push(line);
                if both {
                    break;
                }
            }
            // It has made a session of its own; its disk tells it from others.
            let machine = format!("ubd0={}", disk.display());
            let delay = Duration::from_millis(random.u64(50..3000));
            let cutter = std::thread::spawn(move || {
                std::thread::sleep(delay);
                let killed = Command::new("pkill").args(["-KILL", "-f", &machine]).status().unwrap();
                assert!(killed.success(), "there was nothing to kill");
            });
            complete.extend(lines);
            cutter.join().unwrap();
            computer.wait().unwrap();
            // A torn last line says nothing.
            complete.pop();
        }
        for line in &complete {
            match line.trim_end().split_at_checked(2) {
                Some(("D ", rest)) => direct.hear(rest),
                Some(("A ", rest)) => agent.hear(rest),
                _ => {}
            }
        }
        println!(
            "cycle {cycle}: {} committed, {} of the agent's events arrived",
            direct.backend.committed.len(),
            agent.backend.acked.len()
        );
    }
    direct.backend.audit(&[], direct.next.expect("the last cycle says the next number"), "the outbox");
    agent.backend.audit(&[], agent.next.expect("the last cycle says the next number"), "the agent");
    // On a busy computer a machine gets to do little before its power is cut.
    assert!(direct.backend.committed.len() as u64 > 10 * cycles, "too little: {}", direct.backend.committed.len());
    println!(
        "{} gap ranges in the agent's events, {} in the outbox's",
        agent.backend.explained.len(),
        direct.backend.explained.len()
    );
    assert!(agent.backend.acked.len() as u64 > 10 * cycles, "too little: {}", agent.backend.acked.len());
}

/// Where system programs are, too.
fn path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}
