//! Starts and stops of the agent, and what keeps it from either.

use super::*;

/// The writer of a pipe pauses: the agent stops all the same, and keeps what it has read.
#[test]
fn a_stop_does_not_wait_for_a_pipe() {
    let mut stage = Stage::new();
    let dbc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/small.dbc");
    let replay = format!(
        "[[bus]]\nname = \"can0\"\ndbc = [{dbc:?}]\n[source]\nkind = \"replay\"\nlog = \"-\"\nspeed = 0\n\
         [[collect]]\nname = \"all\"\nsignals = [\"*\"]\nperiod_ms = 100\n"
    );
    let (agent, mut pipe) = Agent::start_with_pipe(&stage.config("run.toml", &replay, PATIENT));
    for i in 0..10 {
        writeln!(pipe, "(1700000000.{i}00000) can0 100#{i:02X}0F140001FF9C00").unwrap();
    }
    // `started`, and what was collected at the grid points between the frames.
    stage.wait_for_more(5);
    agent.signal("TERM");
    agent.finish();
    drop(pipe);
    let stat = stage.complete();
    assert_eq!(stat.depth, 0);
    let events = stage.recorder.events();
    let kinds = kinds(&events);
    assert_eq!((kinds["agent"], kinds["health"]), (2, 1), "{kinds:?}");
    assert!(values(&events, "Motor.Speed").len() >= 4, "{kinds:?}");
}

/// One damaged model: the rest of the agent is worth having.
#[cfg(feature = "onnx")]
#[test]
fn a_damaged_model_is_refused_and_the_agent_goes_on_without_it() {
    let mut stage = Stage::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo-vehicle");
    let damaged = stage.dir.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    for name in ["model.toml", "model.onnx", "parity.json"] {
        std::fs::copy(shipped.join(name), damaged.join(name)).unwrap();
    }
    std::fs::File::options().append(true).open(damaged.join("model.onnx")).unwrap().write_all(b"x").unwrap();
    let models = format!("[[model]]\ndir = {damaged:?}\n\n[[model]]\ndir = {shipped:?}\n\n");
    // Not in the first seconds, when a model still warms up.
    let drive = simulated(7, 20.0, Some(0.5)).replace("@4+4", "@15+6");
    let config = stage.config("run.toml", &(models + &drive), PATIENT);
    let check = run(&["check", "-c", arg(&config)]);
    assert_eq!(check.status.code(), Some(1));
    assert!(texts(&check).1.contains("damaged/model.onnx"), "{}", texts(&check).1);

    Agent::start(&config).finish();
    stage.complete();
    let events = stage.recorder.events();
    let of_models: Vec<&Arrival> = events.iter().filter(|event| event.kind == "model").collect();
    assert_eq!(of_models.len(), 1);
    assert!(format!("{:?}", of_models[0].body).contains("refused"), "{:?}", of_models[0]);
    // The other one finds the fault, and signals are collected.
    let kinds = kinds(&events);
    assert!(kinds["anomaly"] >= 2 && kinds["signals"] > 500, "{kinds:?}");
}

/// A supervisor starts it again and again: that must not look like a loss.
#[test]
fn starts_that_fail_use_up_no_numbers() {
    let mut stage = Stage::new();
    let log = stage.dir.path().join("drive.log");
    let dbc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/small.dbc");
    let replay = format!(
        "[[bus]]\nname = \"can0\"\ndbc = [{dbc:?}]\n[source]\nkind = \"replay\"\nlog = \"drive.log\"\nspeed = 0\n\
         [[collect]]\nname = \"all\"\nsignals = [\"*\"]\nperiod_ms = 100\n"
    );
    let config = stage.config("run.toml", &replay, PATIENT);
    let tls = stage.config("tls.toml", &replay, "ca_file = \"gone.pem\"");
    std::fs::write(&tls, std::fs::read_to_string(&tls).unwrap().replace("mqtt://", "mqtts://")).unwrap();
    let topic = stage.config("topic.toml", &replay, "topic = \"$SYS/{class}\"");
    let good = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/small.log")).unwrap();
    for round in 0..3 {
        // No recording: the source does not open.
        let _ = std::fs::remove_file(&log);
        assert_eq!(Agent::start(&config).wait().code(), Some(1));
        // A topic that no gateway takes: the uplink cannot be made.
        std::fs::write(&log, &good).unwrap();
        assert_eq!(Agent::start(&topic).wait().code(), Some(1));
        // No authority, perhaps not yet: events are kept until there is one.
        Agent::start(&tls).finish();
        if round == 1 {
            Agent::start(&config).finish();
        }
    }
    stage.deliver(1);
    let said = std::fs::read_to_string(config.with_file_name("run.log")).unwrap();
    assert!(said.contains("drive.log: cannot open") && said.contains("ca_file") && said.contains("$"), "{said}");
    let stat = stage.complete();
    let verdict = audit(&[&stage.recorder.file]);
    assert!(verdict.good && stat.depth == 0, "{}", verdict.text);
    assert_eq!((verdict.events, verdict.explained), (stat.next - 1, 0), "{}", verdict.text);
}

/// A recording that breaks off ends the run with 1, its place, and all that came before delivered.
#[test]
fn a_source_that_fails_midway_loses_nothing() {
    let mut stage = Stage::new();
    let drive = Drive::simulated(stage.dir.path());
    let mut reader = LogReader::open(&drive.log, Options::default()).unwrap();
    let log = stage.dir.path().join("broken.log");
    let mut writer = LogWriter::create(&log).unwrap();
    let mut frames = 0;
    while let Some(frame) = reader.next().filter(|_| frames < 20_000) {
        let frame = frame.unwrap();
        let bus = reader.buses()[usize::from(frame.bus.0)].clone();
        writer.write(&bus, &frame).unwrap();
        frames += 1;
    }
    writer.finish().unwrap();
    let mut text = std::fs::read(&log).unwrap();
    text.extend_from_slice(b"(17000");
    std::fs::write(&log, text).unwrap();
    let config = stage.config("run.toml", &drive.config(&log), PATIENT);
    assert_eq!(Agent::start(&config).wait().code(), Some(1));
    let said = std::fs::read_to_string(config.with_file_name("run.log")).unwrap();
    assert!(said.contains(&format!("broken.log:{}:", frames + 1)), "{said}");
    // The same frames again: the end of the recording is the end of the engine's work, wherever it came from.
    let tolerant = drive.config(&log).replace("speed = 10", "speed = 10\ntolerant = true");
    Agent::start(&stage.config("again.toml", &tolerant, PATIENT)).finish();
    stage.deliver(1);
    let stat = stage.complete();
    let verdict = audit(&[&stage.recorder.file]);
    assert!(verdict.good && stat.depth == 0, "{}", verdict.text);
    assert_eq!((verdict.events, verdict.explained), (stat.next - 1, 0), "{}", verdict.text);
    let events = stage.recorder.events();
    let agents: Vec<usize> = (0..events.len()).filter(|i| events[*i].kind == "agent").collect();
    let [0, first_stop, second_start, second_stop, _, _] = agents[..] else { panic!("{agents:?}") };
    assert_eq!(second_start, first_stop + 1);
    // Both runs saw the same frames.
    let (first, second) = (events[..first_stop].to_vec(), events[second_start..second_stop].to_vec());
    let (first, second) = (of_the_engine(first), of_the_engine(second));
    assert_eq!(first.len(), second.len());
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first, second);
    }
}
