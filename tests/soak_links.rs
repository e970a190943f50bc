//! The whole agent between two gateways, MQTT with TLS and Kafka, on networks that get every kind of fault at random, with
//! kills of the agent and restarts of the broker in between; at the end `outrider audit` over what both have got.
//!
//! `tests/soak links 3600` runs it for an hour, `tests/run kafka` for half a minute. `OUTRIDER_SOAK_SEED` repeats a run's
//! faults, as far as the scheduler lets it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/kafka.rs"]
mod kafka;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/sasl.rs"]
mod sasl;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent::{Agent, Recorder, audit, stat};
use kafka::{Broker, Observer};
use mosquitto::{Mosquitto, wait_until};
use proxy::Proxy;

const TOPIC: &str = "outrider";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// What may befall a network, or who is at its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Cut,
    Refuse,
    Swallow,
    Abandon,
    Delay,
    Trickle,
    Corrupt,
    Hold,
    KillAgent,
    StopAgent,
    RestartBroker,
}

const FAULTS: [Fault; 11] = [
    Fault::Cut,
    Fault::Refuse,
    Fault::Swallow,
    Fault::Abandon,
    Fault::Delay,
    Fault::Trickle,
    Fault::Corrupt,
    Fault::Hold,
    Fault::KillAgent,
    Fault::StopAgent,
    Fault::RestartBroker,
];

fn config(dir: &Path, mqtt: u16, kafka: u16) -> PathBuf {
    let dbc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../can-decoders/dbc");
    let hasty = "backoff_min_ms = 50\nbackoff_max_ms = 2000\nreconnect_spread_ms = 200\nconnect_timeout_s = 2\n";
    let text = format!(
        "[vehicle]\nid = \"truck-1\"\n\n[outbox]\ndir = \"outbox\"\n\n\
         [[bus]]\nname = \"can0\"\ndbc = [{:?}]\n\n[[bus]]\nname = \"can1\"\ndbc = [{:?}]\n\n\
         [source]\nkind = \"sim\"\nfaults = [\"missing:EngineData1@4+4\"]\n\n\
         [[collect]]\nname = \"fast\"\nsignals = [\"EngineData1.*\", \"VehicleSpeed\"]\nperiod_ms = 20\n\n\
         [[collect]]\nname = \"slow\"\nsignals = [\"*\"]\nmode = \"aggregate\"\nperiod_ms = 1000\n\n\
         [health]\nperiod_s = 1\n\n\
         [uplink]\ncopies = {{ status = 2 }}\nfailover_after_s = 1\nfailback_after_s = 2\ndrain_timeout_s = 3600\n\n\
         [[gateway]]\nname = \"mqtt\"\nurl = \"mqtts://localhost:{mqtt}\"\nca_file = \"ca.pem\"\n\
         cert_file = \"vehicle.pem\"\nkey_file = \"vehicle.key\"\nack_timeout_s = 2\nkeep_alive_s = 5\n{hasty}\n\
         [[gateway]]\nname = \"kafka\"\nurl = \"kafka://127.0.0.1:{kafka}\"\ntopic = \"{TOPIC}\"\n\
         request_timeout_s = 2\nkeep_alive_s = 5\n{hasty}",
        dbc.join("demo-powertrain.dbc"),
        dbc.join("demo-body.dbc"),
    );
    let path = dir.join("run.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn nothing_is_lost_without_saying_so() {
    let length = Duration::from_secs(number("OUTRIDER_SOAK_S", 30));
    let seed = number("OUTRIDER_SOAK_SEED", u64::from(std::process::id()));
    let mut random = fastrand::Rng::with_seed(seed);
    println!("{length:?} of faults, OUTRIDER_SOAK_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let pki = pki::Pki::make(dir.path());
    let mut mosquitto = Mosquitto::with_config(dir.path(), "", &pki.listener());
    let mut recorder = Recorder::start(&mosquitto, dir.path());
    let mut to_kafka = None;
    let broker = Broker::start(|port| to_kafka.insert(Proxy::start(port)).port, &[]);
    let proxies = [Proxy::start(mosquitto.port), to_kafka.unwrap()];
    let observer = Observer::connect(broker.port);
    observer.create(TOPIC, 3);
    let config = config(dir.path(), proxies[0].port, proxies[1].port);

    let mut faults: BTreeMap<Fault, u32> = BTreeMap::new();
    let mut running = Agent::start(&config);
    let start = Instant::now();
    while start.elapsed() < length {
        std::thread::sleep(Duration::from_millis(random.u64(200..3_000)));
        running.assert_running();
        let fault = FAULTS[random.usize(..FAULTS.len())];
        *faults.entry(fault).or_default() += 1;
        let which = random.usize(..2);
        let proxy = &proxies[which];
        let a_while = Duration::from_millis(random.u64(100..5_000));
        match fault {
            Fault::Cut => proxy.cut(),
            Fault::Abandon => proxy.abandon(),
            Fault::Refuse => proxy.refuse(true),
            Fault::Swallow => proxy.swallow(true),
            Fault::Delay => proxy.delay(Duration::from_millis(random.u64(10..800))),
            Fault::Trickle => proxy.trickle(random.u64(1..500)),
            // Only TLS notices; without it, TCP's own checksum is all that there is.
            Fault::Corrupt => proxies[0].corrupt(random.u64(500..100_000)),
            Fault::Hold => proxy.hold(true),
            Fault::KillAgent => {
                running.kill();
                running = Agent::start(&config);
            }
            Fault::StopAgent => {
                // Without an end of its drain it waits for its gateways, whatever else happens to them.
                running.wait_for_start();
                running.signal("TERM");
                std::thread::sleep(a_while);
                running.signal("TERM");
                let _ = running.wait();
                running = Agent::start(&config);
            }
            Fault::RestartBroker => {
                mosquitto.stop();
                std::thread::sleep(a_while);
                mosquitto.start_again();
            }
        }
        // Some of them end at once, and some while the next ones happen.
        if random.u32(..4) > 0 {
            std::thread::sleep(a_while);
            proxies.iter().for_each(heal);
        }
    }
    proxies.iter().for_each(heal);
    running.wait_for_start();
    // A link that is down when the agent is told to stop is not waited for.
    recorder.poll();
    let (heard, taken) = (recorder.highest(), observer.consume(TOPIC).len());
    wait_until("both links to be up", || {
        recorder.poll();
        recorder.highest() > heard && observer.consume(TOPIC).len() > taken
    });
    running.signal("TERM");
    running.finish();

    let outbox = stat(&dir.path().join("outbox"));
    assert_eq!(outbox.depth, 0);
    // The gateway acknowledges before its subscribers have written; Kafka has it by then.
    let kafka = dir.path().join("kafka.cbor");
    wait_until("nothing to be missing", || {
        let consumed = observer.consume(TOPIC);
        std::fs::write(&kafka, consumed.into_iter().flat_map(|record| record.value).collect::<Vec<u8>>()).unwrap();
        recorder.poll();
        audit(&[&recorder.file, &kafka]).missing == 0
    });
    recorder.stop();
    let verdict = audit(&[&recorder.file, &kafka]);
    println!("{faults:?}\n{}", verdict.text);
    assert_eq!(verdict.missing, 0, "{}", verdict.text);
    assert_eq!(verdict.highest, outbox.next - 1, "the last number that was given out");
    assert_eq!(verdict.out_of_order, 0, "{}", verdict.text);
    assert!(verdict.good, "{}", verdict.text);
}

fn heal(proxy: &Proxy) {
    proxy.refuse(false);
    proxy.swallow(false);
    proxy.delay(Duration::ZERO);
    proxy.trickle(0);
    proxy.corrupt(0);
    proxy.hold(false);
}
