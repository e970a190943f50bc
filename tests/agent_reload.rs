//! A new configuration for the running agent.

use super::*;

/// The states that the agent told, in their order, with the reason where there is one.
fn states(events: &[Arrival]) -> Vec<(String, Option<String>)> {
    let text = |event: &Arrival, key: &str| match &event.body {
        serde_cbor::Value::Map(map) => match map.get(&serde_cbor::Value::Text(key.into())) {
            Some(serde_cbor::Value::Text(text)) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    };
    let agent = events.iter().filter(|event| event.kind == "agent");
    agent
        .map(|event| (text(event, "state").unwrap(), text(event, "reason")))
        .filter(|told| told.0 != "running")
        .collect()
}

/// Waits until the agent has told `count` states.
fn wait_for_states(stage: &mut Stage, count: usize) -> Vec<(String, Option<String>)> {
    wait_until("a state", || {
        stage.recorder.poll();
        states(&stage.recorder.events()).len() >= count
    });
    states(&stage.recorder.events())
}

/// Other signals, another way to the gateway, other bounds: all while frames come, and neither a frame nor an event is lost.
#[test]
fn a_new_configuration_is_taken_over_while_frames_come() {
    let frames = |log: &str| -> u64 {
        let told = log.lines().rfind(|line| line.contains("stopped: ")).unwrap_or_else(|| panic!("{log}"));
        told.split("stopped: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    let drive = simulated(21, 30.0, Some(4.0));
    let mut stage = Stage::new();
    let config = stage.config("run.toml", &drive, PATIENT);
    let mut agent = Agent::start(&config);
    agent.wait_for_start();
    stage.wait_for_more(50);
    for round in 1..=3 {
        let more = format!("[[collect]]\nname = \"more\"\nsignals = [\"*\"]\nperiod_ms = {round}00\n");
        let patient = format!("keep_alive_s = {}\n{PATIENT}", 30 + round);
        stage.config("run.toml", &(more + &drive), &patient);
        agent.signal("HUP");
        let told = wait_for_states(&mut stage, 1 + round);
        assert_eq!(told.last().unwrap(), &("reloaded".to_owned(), None), "{told:?}");
        stage.wait_for_more(50);
    }
    agent.finish();
    stage.complete();
    let events = stage.recorder.events();
    let collections: Vec<String> = events.iter().map(|event| format!("{:?}", event.body)).collect();
    assert!(collections.iter().any(|body| body.contains("\"more\"")), "the new collection is at work");
    // What the same drive is without all that.
    let alone = stage.dir.path().join("alone");
    std::fs::create_dir(&alone).unwrap();
    let config = alone.join("run.toml");
    let fast = drive.replace("speed = 30.0", "speed = 0.0");
    std::fs::write(&config, format!("[vehicle]\nid = \"truck-7\"\n[outbox]\ndir = \"outbox\"\n{fast}")).unwrap();
    Agent::start(&config).finish();
    let log = |dir: &Path| std::fs::read_to_string(dir.join("run.log")).unwrap();
    assert_eq!(frames(&log(stage.dir.path())), frames(&log(&alone)));
}

/// What cannot be used changes nothing, and the reason is told upstream.
#[test]
fn a_bad_configuration_is_refused_and_the_old_one_stays() {
    let mut stage = Stage::new();
    let drive = simulated(22, 20.0, None);
    let config = stage.config("run.toml", &drive, PATIENT);
    let mut agent = Agent::start(&config);
    agent.wait_for_start();
    stage.wait_for_more(20);
    let good = std::fs::read_to_string(&config).unwrap();
    let models = "[[model]]\ndir = \".\"\n";
    let cases = [
        (good.replace("period_ms = 50", "period_ms = 0"), "run.toml:"),
        (good.replace("truck-7", "truck-8"), "vehicle.id cannot change while the agent runs; restart it"),
        (good.replace("\"outbox\"", "\"elsewhere\""), "outbox.dir cannot change"),
        (good.replace("seed = 22", "seed = 23"), "[source] cannot change"),
        (good.replace("mqtt://127.0.0.1", "mqtts://localhost"), "ca_file"),
        (format!("{models}{good}"), "model.toml"),
    ];
    let count = cases.len();
    for (i, (text, reason)) in cases.into_iter().enumerate() {
        std::fs::write(&config, text).unwrap();
        agent.signal("HUP");
        let told = wait_for_states(&mut stage, 2 + i);
        let (state, why) = told.last().unwrap();
        assert!(state == "kept" && why.as_ref().unwrap().contains(reason), "{told:?}, not {reason}");
        agent.assert_running();
        stage.wait_for_more(5);
    }
    std::fs::write(&config, good).unwrap();
    agent.signal("HUP");
    assert_eq!(wait_for_states(&mut stage, count + 2).last().unwrap().0, "reloaded");
    agent.signal("TERM");
    agent.finish();
    stage.complete();
}

/// Who goes by a pseudonym does not send its name with what is wrong about it.
#[test]
fn the_reason_stays_in_the_log_of_a_vehicle_with_a_pseudonym() {
    let mut stage = Stage::new();
    let key = stage.dir.path().join("key");
    std::fs::write(&key, "k".repeat(40)).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let drive = simulated(23, 20.0, None) + "[privacy]\nvehicle = \"pseudonym\"\nkey_file = \"key\"\n";
    let config = stage.config("run.toml", &drive, PATIENT);
    let mut agent = Agent::start(&config);
    agent.wait_for_start();
    stage.wait_for_more(20);
    let bad = std::fs::read_to_string(&config).unwrap().replace("truck-7", "truck 7");
    std::fs::write(&config, bad).unwrap();
    agent.signal("HUP");
    let told = wait_for_states(&mut stage, 2);
    assert_eq!(told[1], ("kept".to_owned(), Some("told in the log".to_owned())));
    assert!(agent.log().contains("vehicle.id = \"truck 7\""), "{}", agent.log());
    agent.signal("TERM");
    agent.finish();
    let received = std::fs::read(&stage.recorder.file).unwrap();
    assert!(!received.windows(7).any(|bytes| bytes == b"truck-7" || bytes == b"truck 7"));
}
