use std::collections::HashMap;

use can_decoders::{CanId, Database, MessageIndex, Plan, SignalIndex};

use super::bus::crc8;
use super::signals::SIGNALS;
use super::*;

const START_NS: u64 = 1_700_000_000_000_000_000;

fn plans() -> [Plan; 2] {
    DBC.map(|(_, name, text)| Plan::compile(&[Database::parse(name, text.as_bytes()).expect("parses")]))
}

fn simulate(seed: u64, faults: &[&str]) -> Simulation {
    let faults = faults.iter().map(|text| text.parse().expect("a fault")).collect();
    Simulation::new(SimConfig { seed, start_ns: START_NS, faults }).expect("sets up")
}

fn seconds(frame: &Frame) -> f64 {
    (frame.time_ns - START_NS) as f64 / 1e9
}

fn frames(seed: u64, faults: &[&str], until_s: f64) -> Vec<Frame> {
    simulate(seed, faults).take_while(|frame| seconds(frame) < until_s).collect()
}

/// The frames as one would read them: a series of (time, value) for each signal, of times for each message.
struct Drive {
    signals: HashMap<String, Vec<(f64, f64)>>,
    messages: HashMap<String, Vec<f64>>,
}

impl Drive {
    fn of(seed: u64, faults: &[&str], until_s: f64) -> Self {
        let plans = plans();
        let mut drive = Self { signals: HashMap::new(), messages: HashMap::new() };
        for frame in frames(seed, faults, until_s) {
            let plan = &plans[usize::from(frame.bus.0)];
            let message = plan.find(frame.id).expect("a message of the DBC");
            let name = plan.message(message).name.to_string();
            drive.messages.entry(name).or_default().push(seconds(&frame));
            for sample in plan.decode(message, frame.payload()).signals() {
                let name = plan.signal(sample.signal).name.to_string();
                drive.signals.entry(name).or_default().push((seconds(&frame), sample.value));
            }
        }
        drive
    }

    /// Values of a signal with `from <= time < to`.
    fn values(&self, signal: &str, from: f64, to: f64) -> Vec<f64> {
        self.signals[signal].iter().filter(|(time, _)| (from..to).contains(time)).map(|(_, value)| *value).collect()
    }

    fn count(&self, message: &str, from: f64, to: f64) -> usize {
        self.messages[message].iter().filter(|time| (from..to).contains(*time)).count()
    }
}

fn low(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MAX, f64::min)
}

fn high(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MIN, f64::max)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn digest(frames: &[Frame]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for frame in frames {
        hasher.update(&frame.time_ns.to_le_bytes());
        hasher.update(&[frame.bus.0]);
        hasher.update(&frame.id.to_bits().to_le_bytes());
        hasher.update(frame.payload());
    }
    hasher.finalize()
}

#[test]
fn same_seed_and_faults_give_the_same_bytes() {
    let faults = ["stuck:EngineSpeed@20+5", "crash@90+10", "flood:BrakeData1:5@30+5", "leak@40+30"];
    let first = frames(11, &faults, 180.0);
    assert!(first == frames(11, &faults, 180.0));
    // Pinned, so that another platform or a change that was not meant shows; when the model is changed on purpose,
    // this changes with it, and the demonstration model has to be trained again.
    assert_eq!(digest(&first), 0x267f_9ff9, "{:#010x}", digest(&first));
    assert!(digest(&frames(12, &faults, 180.0)) != digest(&first));
}

#[test]
fn times_are_ordered_and_the_bus_has_room_for_each_frame() {
    let frames = frames(3, &["flood:EngineData1:20@5+20"], 30.0);
    let mut last = [0; 2];
    for pair in frames.windows(2) {
        assert!(pair[0].time_ns < pair[1].time_ns, "{pair:?}");
    }
    for frame in &frames {
        assert_eq!(frame.time_ns % 1000, 0);
        let before = std::mem::replace(&mut last[usize::from(frame.bus.0)], frame.time_ns);
        // 47 bits and the payload at 500 kbit/s, less the microsecond by which order between buses may shift it.
        let shortest = (47 + 8 * frame.len() as u64) * 2000 - 1000;
        assert!(frame.time_ns - before >= shortest, "{frame:?} {} ns after another", frame.time_ns - before);
    }
}

#[test]
fn every_message_keeps_its_cycle_time() {
    let drive = Drive::of(5, &[], 120.0);
    let mut total = 0.0;
    for plan in plans() {
        assert_eq!(plan.warnings(), []);
        for message in plan.messages() {
            let cycle = f64::from(message.cycle_time_ms.expect("a cycle time")) / 1000.0;
            let times = &drive.messages[&*message.name];
            let measured = (times[times.len() - 1] - times[0]) / (times.len() - 1) as f64;
            assert!((measured / cycle - 1.0).abs() < 0.05, "{}: {measured} s", message.name);
            total += 1.0 / measured;
        }
    }
    assert!((1500.0..2500.0).contains(&total), "{total} frames/s");
}

#[test]
fn counters_and_checksums_are_right() {
    let plans = plans();
    let mut counters: HashMap<CanId, f64> = HashMap::new();
    let mut checked = 0;
    for frame in frames(6, &["missing:EngineData1@5+3", "drift:YawRate:9@4+9"], 20.0) {
        let plan = &plans[usize::from(frame.bus.0)];
        let message = plan.find(frame.id).expect("known");
        let values: Vec<_> = plan.decode(message, frame.payload()).signals().collect();
        let value = |name: &str| {
            values.iter().find(|sample| *plan.signal(sample.signal).name == *name).map(|sample| sample.value)
        };
        let (Some(counter), Some(checksum)) = (value("AliveCounter"), value("Checksum")) else { continue };
        let mut payload = frame.payload().to_vec();
        payload[7] = 0;
        assert_eq!(f64::from(crc8(frame.id, &payload)), checksum, "{frame:?}");
        if let Some(before) = counters.insert(frame.id, counter) {
            assert_eq!((before + 1.0) % 16.0, counter, "{frame:?}");
        }
        checked += 1;
    }
    assert!(checked > 10_000);
    assert_eq!(counters.len(), 8);
}

#[test]
fn every_signal_of_the_vehicle_is_in_the_dbc_files_and_stays_within_its_range() {
    let plans = plans();
    let ranges: Vec<_> = SIGNALS
        .iter()
        .map(|binding| {
            let found = plans.iter().find_map(|plan| {
                let message: MessageIndex = plan.find_message(binding.message)?;
                let signal: SignalIndex = plan.find_signal(message, binding.signal)?;
                Some(plan.signal(signal))
            });
            let signal = found.unwrap_or_else(|| panic!("{} is in no DBC file", binding.signal));
            (binding, signal.min.expect("a minimum"), signal.max.expect("a maximum"))
        })
        .collect();
    for (place, binding) in SIGNALS.iter().enumerate() {
        assert!(SIGNALS[..place].iter().all(|other| other.signal != binding.signal), "{} twice", binding.signal);
    }
    for (seed, faults) in [(1, &[][..]), (2, &["leak@300+600", "imbalance:3@100+900", "crash@700+20"][..])] {
        let mut simulation = simulate(seed, faults);
        for _ in 0..120_000 {
            simulation.step().expect("steps");
            simulation.ready.clear();
            for (binding, low, high) in &ranges {
                let value = (binding.read)(&simulation.vehicle);
                // What the bus clamps is noise about the ends of the range, not the model's own values.
                assert!(value >= low - 1e-9 && value <= high + 1e-9, "seed {seed}: {} is {value}", binding.signal);
            }
        }
    }
}

#[test]
fn the_drive_is_plausible_for_many_seeds() {
    for seed in 20..26 {
        let mut vehicle = Vehicle::new(fastrand::Rng::with_seed(seed));
        let (mut squares, mut steps, mut distance, mut slowest_charge, mut fullest) = (0.0, 0.0, 0.0, 1.0_f64, 0.0_f64);
        let (mut gears, mut stood, mut fastest) = ([false; 7], false, 0.0_f64);
        for step in 0..120_000 {
            vehicle.step(&vehicle::Damage::default());
            let (speed, engine) = (vehicle.chassis.speed, &vehicle.powertrain);
            let context = || format!("seed {seed} at {} s", step as f64 / 100.0);
            let error = (speed - vehicle.road.speed) * 3.6;
            assert!(error.abs() < 14.0, "{}: {error} km/h off the cycle", context());
            squares += error * error;
            steps += 1.0;
            distance += speed * 0.01;
            gears[engine.gear] = true;
            stood |= speed == 0.0;
            fastest = fastest.max(speed * 3.6);
            if engine.lockup == powertrain::Lockup::Locked && !engine.shifting() {
                let slip = (engine.speed - engine.turbine).abs();
                assert!(slip < 0.06 * engine.turbine, "{}: {slip} rpm of slip in lock-up", context());
            }
            assert!((600.0..6600.0).contains(&engine.speed), "{}: {} rpm", context(), engine.speed);
            let thermal = &vehicle.thermal;
            assert!((-12.0..108.0).contains(&thermal.coolant), "{}: coolant {}", context(), thermal.coolant);
            assert!((-12.0..135.0).contains(&thermal.oil), "{}: oil {}", context(), thermal.oil);
            assert!((-12.0..125.0).contains(&thermal.gearbox_oil), "{}: gearbox {}", context(), thermal.gearbox_oil);
            assert!(high(&vehicle.battery.temps) < 55.0, "{}: battery {:?}", context(), vehicle.battery.temps);
            slowest_charge = slowest_charge.min(vehicle.battery.charge());
            fullest = fullest.max(vehicle.battery.charge());
            let (least, most) = vehicle.battery.extremes();
            assert!(least > 2.9 && most < 4.25, "{}: cells from {least} to {most} V", context());
            assert!(most - least < 0.08, "{}: healthy cells {} V apart", context(), most - least);
            assert!(vehicle.chassis.lat_acceleration.abs() < 4.5, "{}", context());
            assert!(vehicle.chassis.long_acceleration.abs() < 6.5, "{}", context());
        }
        let rms = f64::sqrt(squares / steps);
        assert!(rms < 3.0, "seed {seed}: {rms} km/h from the cycle (rms)");
        assert!(distance > 5_000.0 && stood && fastest > 50.0, "seed {seed}: {distance} m, {fastest} km/h");
        assert!(gears[1..5].iter().all(|used| *used), "seed {seed}: {gears:?}");
        assert!(slowest_charge > 0.3 && fullest < 0.85, "seed {seed}: {slowest_charge} to {fullest}");
    }
}

#[test]
fn a_sensor_fault_changes_its_own_message_only() {
    let clean = frames(8, &[], 90.0);
    let faulty = frames(8, &["stuck:EngineSpeed@60+10", "replay:YawRate@62+10", "drift:PackVoltage:1@65+5"], 90.0);
    assert_eq!(clean.len(), faulty.len());
    for (a, b) in clean.iter().zip(&faulty) {
        assert_eq!((a.time_ns, a.id, a.bus), (b.time_ns, b.id, b.bus));
        let concerned = [0xA0, 0xD8, 0x300].contains(&a.id.number());
        assert!(concerned && seconds(a) > 59.9 && seconds(a) < 75.1 || a == b, "{a:?} became {b:?}");
    }
}

#[test]
fn a_stuck_sensor_repeats_its_last_value_and_recovers() {
    let drive = Drive::of(8, &["stuck:EngineSpeed@44+10"], 70.0);
    let clean = Drive::of(8, &[], 70.0);
    let before = drive.values("EngineSpeed", 43.0, 44.0);
    let during = drive.values("EngineSpeed", 44.02, 54.0);
    assert!(during.iter().all(|value| Some(value) == before.last()));
    let right = clean.values("EngineSpeed", 44.02, 54.0);
    assert!(high(&right) > low(&right) + 200.0, "the car accelerates meanwhile");
    assert_eq!(drive.values("EngineSpeed", 54.02, 70.0), clean.values("EngineSpeed", 54.02, 70.0));
}

#[test]
fn a_drift_grows_at_its_rate_and_ends() {
    let faulty = Drive::of(8, &["drift:CoolantTemp:-0.5@40+20"], 70.0);
    let clean = Drive::of(8, &[], 70.0);
    for ((time, value), (_, right)) in faulty.signals["CoolantTemp"].iter().zip(&clean.signals["CoolantTemp"]) {
        let expected = if (40.0..60.01).contains(time) { -0.5 * (time - 40.0) } else { 0.0 };
        assert!((value - right - expected).abs() < 0.3, "{value} instead of {right} at {time}");
    }
}

#[test]
fn a_replay_shows_the_values_of_thirty_seconds_before() {
    let drive = Drive::of(8, &["replay:VehicleSpeed@70+10"], 90.0);
    let clean = Drive::of(8, &[], 90.0);
    let at = |drive: &Drive, from: f64| mean(&drive.values("VehicleSpeed", from, from + 0.3));
    for offset in [0.5, 3.0, 6.0, 9.0] {
        let (shown, earlier) = (at(&drive, 70.0 + offset), at(&clean, 40.0 + offset));
        assert!((shown - earlier).abs() < 0.5, "{shown} instead of {earlier}");
    }
    assert!((at(&clean, 70.5) - at(&clean, 40.5)).abs() > 5.0, "the replay is wrong about the speed");
    assert_eq!(at(&drive, 69.5), at(&clean, 69.5));
    assert_eq!(at(&drive, 80.5), at(&clean, 80.5));
}

#[test]
fn a_missing_message_pauses() {
    let drive = Drive::of(8, &["missing:WheelSpeeds@20+10"], 50.0);
    assert_eq!(drive.count("WheelSpeeds", 20.01, 30.0), 0);
    for (from, to) in [(9.99, 20.0), (30.01, 40.01)] {
        let count = drive.count("WheelSpeeds", from, to);
        assert!((990..=1010).contains(&count), "{count}");
    }
}

#[test]
fn a_flooding_message_comes_more_often_and_the_others_still_get_through() {
    let drive = Drive::of(8, &["flood:DcDcConverter:10@20+10", "flood:EngineData1:20@22+6"], 50.0);
    let converter = drive.count("DcDcConverter", 20.1, 30.0) as f64 / 9.9;
    assert!((475.0..525.0).contains(&converter), "{converter}");
    let engine = drive.count("EngineData1", 22.0, 28.0) as f64 / 6.0;
    assert!((1900.0..2100.0).contains(&engine), "{engine}");
    for message in ["EngineHours", "WheelSpeeds", "CellVoltages"] {
        let usual = drive.count(message, 10.0, 16.0) as f64;
        let flooded = drive.count(message, 22.0, 28.0) as f64;
        assert!((flooded - usual).abs() <= 1.0 + 0.05 * usual, "{message}: {flooded} instead of {usual}");
    }
    assert!((470..=520).contains(&drive.count("DcDcConverter", 30.1, 40.1)));
}

#[test]
fn a_coolant_leak_takes_level_and_pressure_then_cooling() {
    let drive = Drive::of(9, &["leak@600+200"], 860.0);
    let clean = Drive::of(9, &[], 860.0);
    let at = |drive: &Drive, signal: &str, time: f64| mean(&drive.values(signal, time, time + 1.0));
    assert!(at(&drive, "CoolantLevel", 599.0) > 85.0);
    assert!(at(&drive, "CoolantLevel", 620.0) < 75.0);
    assert!(at(&drive, "CoolantLevel", 799.0) < 25.0);
    assert!(at(&drive, "CoolantPressure", 620.0) < 0.5 * at(&clean, "CoolantPressure", 620.0));
    assert!(at(&drive, "CoolantTemp", 799.0) > at(&clean, "CoolantTemp", 799.0) + 2.0);
    assert!((at(&drive, "CoolantLevel", 850.0) - at(&clean, "CoolantLevel", 850.0)).abs() < 3.0);
}

#[test]
fn a_shorted_cell_falls_behind_the_others_and_is_balanced_again() {
    let drive = Drive::of(9, &["imbalance:7@100+60"], 260.0);
    let clean = Drive::of(9, &[], 260.0);
    let spread = |drive: &Drive, from: f64| {
        mean(&drive.values("CellVoltageMax", from, from + 5.0))
            - mean(&drive.values("CellVoltageMin", from, from + 5.0))
    };
    assert!(spread(&drive, 90.0) < 0.03);
    assert!(spread(&drive, 120.0) > 0.08, "{}", spread(&drive, 120.0));
    assert!(spread(&drive, 250.0) < spread(&clean, 250.0) + 0.02, "{}", spread(&drive, 250.0));
    let cell = |n: u8| mean(&drive.values(&format!("Cell{n:02}Voltage"), 140.0, 160.0));
    assert!((1..=12).filter(|n| *n != 7).all(|n| cell(n) > cell(7) + 0.05));
    let total: f64 = (1..=12).map(cell).sum();
    assert!((total - mean(&drive.values("PackVoltage", 140.0, 160.0))).abs() < 0.2);
}

#[test]
fn a_crash_stops_the_car_at_once_and_it_drives_on_later() {
    for start in ["50", "90", "2"] {
        let fault = format!("crash@{start}+10");
        let start: f64 = start.parse().expect("a number");
        let drive = Drive::of(8, &[&fault], start + 80.0);
        assert!(low(&drive.values("LongAcceleration", start - 1.5, start)) > -8.0);
        let peak = low(&drive.values("LongAcceleration", start, start + 1.5));
        assert!((-60.0..-30.0).contains(&peak), "{peak} m/s2 at {start} s");
        assert!((-60.0..-30.0).contains(&low(&drive.values("FrontAcceleration", start, start + 1.5))));
        assert_eq!(high(&drive.values("WheelSpeedRL", start + 1.5, start + 10.0)), 0.0);
        assert!(high(&drive.values("EngineSpeed", start + 4.0, start + 10.0)) < 1100.0);
        assert!(drive.values("TurnIndicator", start + 0.1, start + 9.0).iter().all(|state| *state == 3.0));
        assert!(high(&drive.values("VehicleSpeed", start + 15.0, start + 80.0)) > 15.0);
        assert!(drive.values("TurnIndicator", start + 12.0, start + 80.0).iter().all(|state| *state != 3.0));
    }
}
