//! See `run`.

mod critical;
mod drain;
mod latency;
mod links;
mod queue;
mod watched;

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use outrider::event::{Class, Event};
use outrider::outbox::Outbox;
use queue::Queue;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Events of one commit, bytes of an event's text, commits.
const WORKLOADS: [(&str, usize, usize, usize); 3] = [
    ("alerts, one a commit", 1, 250, 2_000),
    ("telemetry, 20 a commit", 20, 250, 500),
    ("offline, 160 a commit", 160, 250, 100),
];
const KINDS: [&str; 4] = ["outrider", "sled", "sqlite", "file"];

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, dir] => table(Path::new(dir)),
        [_, "one", dir, kind, workload] => one(Path::new(dir), kind, workload.parse()?),
        [_, "online", dir] => online(Path::new(dir)),
        [_, "fill", dir, mib] => fill(Path::new(dir), mib.parse()?),
        [_, "open", dir] => open(Path::new(dir)),
        [_, "drains", dir, mib] => drain::table(&Path::new(dir).join("bench"), mib),
        [_, "drain", dir, kind] => drain::one(Path::new(dir), kind),
        [_, "killed", dir] => drain::killed(Path::new(dir)),
        [_, "uplink", dir, port] => drain::uplink(Path::new(dir), port),
        [_, "links", dir] => {
            links::table(&Path::new(dir).join("links"))?;
            latency::table(&Path::new(dir).join("links"))
        }
        [_, "link", dir, to, how, events, port] => links::ours(Path::new(dir), to, how, events.parse()?, port.parse()?),
        [_, "crashes", dir] => critical::table(&Path::new(dir).join("links")),
        [_, "crash", dir, backlog, port] => critical::one(Path::new(dir), backlog.parse()?, port.parse()?),
        [_, "latency", dir, to, backlog, port] => latency::one(Path::new(dir), to, backlog.parse()?, port.parse()?),
        _ => Err("usage: queues DIRECTORY".into()),
    }
}

/// Runs this program again, in a process of its own; what it prints.
fn again(args: &[&str]) -> Outcome<String> {
    let output = Command::new(std::env::current_exe()?).args(args).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn table(dir: &Path) -> Outcome<()> {
    let place = dir.join("bench");
    let at = place.to_str().ok_or("not a text")?;
    for (n, (name, events, _, commits)) in WORKLOADS.iter().enumerate() {
        println!("\n{name}: {commits} commits of {events}\n");
        println!(
            "| queue | bytes of events | written | a byte of event | after draining | events/s stored | drained |"
        );
        println!("|---|---|---|---|---|---|---|");
        for kind in KINDS {
            println!("{}", again(&["one", at, kind, &n.to_string()])?.trim_end());
        }
    }
    println!("\n{}", again(&["online", at])?.trim_end());
    println!(
        "\nA backlog:\n\n| MiB | events | start, ms | resident after start, MiB | resident after reading 1,000 batches, MiB |\n|---|---|---|---|---|"
    );
    for mib in ["1", "64", "1024"] {
        again(&["fill", at, mib])?;
        println!("| {mib} | {}", again(&["open", at])?.trim_end());
    }
    drain::table(&place, "256")?;
    std::fs::remove_dir_all(&place)?;
    Ok(())
}

fn one(dir: &Path, kind: &str, workload: usize) -> Outcome<()> {
    let (_, events, bytes, commits) = WORKLOADS[workload];
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir)?;
    let before = field("/proc/self/io", "write_bytes:")?;
    let (start, mut payload) = (Instant::now(), 0);
    let mut queue = queue::open(kind, dir)?;
    for n in 0..commits {
        payload += queue.store(events, bytes, n)?;
    }
    let (stored, at) = (start.elapsed(), field("/proc/self/io", "write_bytes:")? - before);
    let start = Instant::now();
    let drained = queue.drain()?;
    drop(queue);
    let (emptied, end) = (start.elapsed(), field("/proc/self/io", "write_bytes:")? - before);
    if drained != events * commits {
        return Err(format!("{kind}: {drained} of {} came back", events * commits).into());
    }
    let rate = |time: std::time::Duration| (events * commits) as f64 / time.as_secs_f64();
    println!(
        "| {kind} | {payload} | {at} | {:.2} | {:.2} | {:.0} | {:.0} |",
        at as f64 / payload as f64,
        end as f64 / payload as f64,
        rate(stored),
        rate(emptied)
    );
    Ok(())
}

/// Telemetry while the link is up: never stored.
fn online(dir: &Path) -> Outcome<()> {
    const EVENTS: usize = 400_000;
    std::fs::remove_dir_all(dir)?;
    let mut outbox = queue::Outrider::open(dir)?.into_inner();
    outbox.link(true)?;
    let event = Event { class: Class::Telemetry, ..queue::event(250, 0, 0) };
    let (start, before) = (Instant::now(), field("/proc/self/io", "write_bytes:")?);
    for n in 0..EVENTS {
        outbox.append(&event)?;
        if n % 20 == 19 {
            outbox.commit()?;
            while let Some(batch) = outbox.read(Class::Telemetry, 0)? {
                outbox.ack(batch.class, batch.first_seq)?;
            }
        }
    }
    println!(
        "Telemetry while the link is up, 20 a commit, {EVENTS} events: {:.0} events/s appended, read and acknowledged, {} \
         bytes written.",
        EVENTS as f64 / start.elapsed().as_secs_f64(),
        field("/proc/self/io", "write_bytes:")? - before
    );
    Ok(())
}

/// Stores so many MiB of events, as when a vehicle was long without a network.
fn fill(dir: &Path, mib: usize) -> Outcome<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    let mut outbox = queue::Outrider::open(dir)?;
    let mut stored = 0;
    for n in 0.. {
        if stored >= mib << 20 {
            break;
        }
        stored += outbox.store(160, 250, n)?;
    }
    outbox.close()
}

fn open(dir: &Path) -> Outcome<()> {
    let start = Instant::now();
    let mut outbox = queue::Outrider::open(dir)?;
    let opened = start.elapsed();
    let resident = || field("/proc/self/status", "VmRSS:").map(|kib| kib as f64 / 1024.0);
    let (before, events) = (resident()?, outbox.depth());
    outbox.read(1000)?;
    println!("{events} | {:.1} | {before:.1} | {:.1} |", opened.as_secs_f64() * 1e3, resident()?);
    Ok(())
}

fn field(file: &str, name: &str) -> Outcome<u64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such field")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
