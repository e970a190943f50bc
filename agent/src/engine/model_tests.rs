//! Features, scores, anomalies.

use super::*;

/// Features of a ramp whose value at grid point n (100 ms apart) is 10 n.
#[test]
fn features_over_a_ramp() {
    let catalog = catalog(&["can0"]);
    let specs = [
        spec("value", Function::Value, "Motor.Speed", 0),
        spec("lag", Function::Lag, "Motor.Speed", 2),
        spec("delta", Function::Delta, "Motor.Speed", 2),
        spec("mean", Function::Mean, "Motor.Speed", 3),
        spec("min", Function::Min, "Motor.Speed", 3),
        spec("max", Function::Max, "Motor.Speed", 3),
        spec("std", Function::Std, "Motor.Speed", 3),
        spec("age", Function::Age, "Motor", 0),
        spec("count", Function::Count, "Motor", 2),
        spec("rate", Function::Rate, "Motor", 2),
        spec("gap", Function::Gap, "Motor", 0),
        spec("never", Function::Value, "Body.Door", 0),
    ];
    let mut set = FeatureSet::new(&specs, 100 * MS, &catalog).unwrap();
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![]);
    let mut rows = Vec::new();
    for n in 0..6u64 {
        // Two frames before each grid point, the last 10 ms before it.
        for back in [60, 10] {
            engine.frame(&motor(n * 100 + 100 - back, u16::try_from(20 * n).unwrap()), &mut Vec::new());
        }
        rows.push(set.tick(engine.state(), START + (n + 1) * 100 * MS).to_vec());
    }
    let last = &rows[5];
    let expected = [50.0, 30.0, 20.0, 40.0, 30.0, 50.0, (200.0f64 / 3.0).sqrt(), 0.01, 4.0, 20.0, 0.05];
    for (i, (found, expected)) in last.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-9, "{}: {found}, expected {expected}", specs[i].name);
    }
    assert!(last[11].is_nan(), "never received");
    assert!(rows[1][1].is_nan() && !rows[2][1].is_nan(), "a lag is there once its time has passed");
    set.reset();
    assert!(set.tick(engine.state(), START + 700 * MS)[1].is_nan(), "no past after a reset");
}

/// A multiplexed message: A and B come in turns, and B only means something while A is 1.
#[test]
fn features_of_a_signals_own_samples() {
    const DBC: &[u8] = b"VERSION \"\"\nBU_: A\nBO_ 256 Mux: 2 A\n SG_ Which M : 0|8@1+ (1,0) [0|0] \"\" A\n SG_ A m1 : 8|8@1+ (1,0) [0|0] \"\" A\n SG_ B m2 : 8|8@1+ (1,0) [0|0] \"\" A\n";
    let plan = Arc::new(Plan::compile(&[Database::parse("mux.dbc", DBC).unwrap()]));
    let catalog = Catalog::new(vec![Bus { plan, ..Bus::new("can0", Plan::compile(&[])) }]);
    let only_if = FeatureSpec { only_if: Some(("Mux.A".into(), 1.0)), ..spec("meant", Function::Value, "Mux.B", 0) };
    let specs = [
        spec("run", Function::Run, "Mux.B", 0),
        spec("valid", Function::Valid, "Mux.B", 0),
        spec("age", Function::Age, "Mux.B", 0),
        spec("gap", Function::Gap, "Mux.B", 0),
        spec("count", Function::Count, "Mux.B", 2),
        spec("rate", Function::Rate, "Mux.B", 2),
        spec("frames", Function::Count, "Mux", 2),
        only_if.clone(),
    ];
    let mut set = FeatureSet::new(&specs, 100 * MS, &catalog).unwrap();
    let unknown = FeatureSpec { only_if: Some(("Mux.C".into(), 1.0)), ..only_if };
    assert!(FeatureSet::new(&[unknown], 100 * MS, &catalog).is_err());
    let neither = FeatureSet::new(&[spec("age", Function::Age, "Nothing", 0)], 100 * MS, &catalog).unwrap_err();
    assert!(neither.1.to_string().contains("no message named `Nothing`"), "{}", neither.1);

    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![]);
    let mut row = |frames: &[(u64, u8, u8)], at: u64| {
        for &(ms, which, value) in frames {
            engine.frame(&frame_on(0, ms, 256, &[which, value]), &mut Vec::new());
        }
        set.tick(engine.state(), START + at * MS).to_vec()
    };
    let nothing = row(&[(10, 1, 0)], 100);
    assert!(nothing[0].is_nan() && nothing[2].is_nan() && nothing[3].is_nan() && nothing[7].is_nan(), "{nothing:?}");
    assert_eq!(nothing[1], 0.0);
    row(&[(110, 2, 7), (150, 2, 7), (190, 1, 1)], 200);
    let three = row(&[(210, 2, 7), (220, 1, 1), (230, 2, 7)], 300);
    assert_eq!(three[..2], [3.0, 1.0], "three before the last had its value");
    assert!((three[2] - 0.07).abs() < 1e-9, "the age of B, not of the message: {three:?}");
    assert_eq!(three[3..], [0.02, 4.0, 20.0, 6.0, 7.0]);
    let changed = row(&[(310, 2, 8), (320, 1, 0)], 400);
    assert_eq!(changed[..2], [0.0, 1.0]);
    assert!(changed[7].is_nan(), "A says that B means nothing");
    let stale = row(&[(1390, 1, 1)], 1400);
    assert!(stale[0].is_nan() && stale[1] == 0.0 && stale[7].is_nan(), "too old: {stale:?}");
    assert_eq!(stale[4], 1.0);
}

/// Its score is how many grid points it has seen, its parts are its inputs.
struct Counts(f32);

impl Network for Counts {
    fn run(&mut self, x: &[f32], verdict: &mut Verdict) -> Result<(), String> {
        self.0 += 1.0;
        verdict.expected.fill(0.0);
        verdict.parts.copy_from_slice(x);
        verdict.score = self.0;
        Ok(())
    }

    fn reset(&mut self) {
        self.0 = 0.0;
    }
}

#[test]
fn a_network_that_scores_by_itself_is_taken_at_its_word() {
    let catalog = catalog(&["can0"]);
    let (spec, _) = model(usize::MAX);
    let spec = ModelSpec { score: Score::Network, threshold: 10.0, ..(*spec).clone() };
    let detector = Detector::new(Arc::new(spec), Box::new(Counts(0.0)), &catalog).unwrap();
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![detector]);
    let mut events = Vec::new();
    drive(&mut engine, 0, 1500, 70, &mut events);
    let [event] = &events[..] else { panic!("{events:?}") };
    let Body::Anomaly(anomaly) = &event.body else { panic!("{event:?}") };
    // It sees the time of warming up, too: its eleventh grid point is at 1.1 s.
    assert_eq!((anomaly.score, anomaly.since, event.time_ns), (11.0, START + 1000 * MS, START + 1100 * MS));
    assert_eq!((&*anomaly.what, &*anomaly.hash, anomaly.frame), ("deviation", "00", 110));
    assert_eq!((&*anomaly.top[0].name, anomaly.top[0].part), ("load", 2.0));
    assert_eq!((anomaly.top[0].expected, anomaly.top[0].observed), (Some(50.0), Some(70.0)));
    assert_eq!(event.class, Class::Critical, "no part is above the threshold: the largest one's class");
    // After a jump of the clock it begins again.
    drive(&mut engine, 3_600_000, 3_601_000, 50, &mut events);
    assert_eq!(engine.detectors()[0].last_score(), Some(10.0));
}

#[test]
fn small_residuals_of_many_targets_count_together() {
    let (spec, _) = model(usize::MAX);
    let score = |fuse| {
        let spec = ModelSpec { score: Score::Residual(fuse), ..(*spec).clone() };
        let network = Box::new(Fixed { calls: 0, fail_at: usize::MAX });
        let catalog = catalog(&["can0"]);
        let detector = Detector::new(Arc::new(spec), network, &catalog).unwrap();
        let mut engine = Engine::new(catalog, HEALTH, vec![], vec![detector]);
        drive(&mut engine, 0, 1000, 70, &mut Vec::new());
        engine.detectors()[0].last_score().unwrap()
    };
    assert_eq!(score(Fuse::Max), 4.0);
    // Parts of 0 and 4.
    assert_eq!(score(Fuse::Rms), 2.83);
}

/// Predicts that the load (input 1) is 50 and the speed (input 0) is what it is.
struct Fixed {
    calls: usize,
    fail_at: usize,
}

impl Network for Fixed {
    fn run(&mut self, x: &[f32], verdict: &mut Verdict) -> Result<(), String> {
        self.calls += 1;
        if self.calls == self.fail_at {
            return Err("no longer".into());
        }
        verdict.expected[0] = x[0];
        verdict.expected[1] = 0.0;
        Ok(())
    }
}

pub(super) fn model(fail_at: usize) -> (Arc<ModelSpec>, Box<dyn Network>) {
    let feature = |spec, mean, class| ModelFeature {
        spec,
        mean,
        std: 10.0,
        target: Some(Target { scale: 5.0, smooth_ns: 0, class }),
        seen: None,
    };
    let spec = ModelSpec {
        finder: Finder { name: "m".into(), version: "1".into(), hash: "00".into() },
        what: "deviation".into(),
        period_ns: 100 * MS,
        warmup_ns: 300 * MS,
        features: vec![
            feature(spec("speed", Function::Value, "Motor.Speed", 0), 0.0, Class::Alert),
            feature(spec("load", Function::Value, "Motor.Load", 0), 50.0, Class::Critical),
        ],
        score: Score::Residual(Fuse::Max),
        threshold: 2.0,
        debounce: DebounceSpec { k: 2, n: 3, min_ns: 0, clear_ns: 300 * MS, update_ns: 1000 * MS },
    };
    (Arc::new(spec), Box::new(Fixed { calls: 0, fail_at }))
}

pub(super) fn drive(engine: &mut Engine, from: u64, to: u64, load: u8, events: &mut Vec<Event>) {
    for ms in (from..to).step_by(10) {
        engine.frame(&frame_on(0, ms, 256, &[10, 0, load, 0, 0, 0, 0, 0]), events);
    }
}

#[test]
fn an_anomaly_is_raised_with_its_cause_updated_and_cleared() {
    let catalog = catalog(&["can0"]);
    let (spec, network) = model(usize::MAX);
    let detector = Detector::new(spec, network, &catalog).unwrap();
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![detector]);
    let mut events = Vec::new();
    drive(&mut engine, 0, 2000, 50, &mut events);
    assert!(events.is_empty(), "quiet while the load is as expected: {events:?}");
    drive(&mut engine, 2000, 3500, 70, &mut events);
    drive(&mut engine, 3500, 5000, 50, &mut events);
    let phases: Vec<(AnomalyPhase, u64, f64)> = events
        .iter()
        .map(|e| {
            let Body::Anomaly(a) = &e.body else { panic!("{e:?}") };
            assert_eq!(e.class, Class::Critical, "the class of the target that is above the threshold");
            (a.phase, (e.time_ns - START) / MS, a.score)
        })
        .collect();
    let expected =
        [(AnomalyPhase::Raised, 2200, 4.0), (AnomalyPhase::Ongoing, 3200, 4.0), (AnomalyPhase::Cleared, 3800, 4.0)];
    assert_eq!(phases, expected);
    let Body::Anomaly(raised) = &events[0].body else { unreachable!() };
    assert_eq!(raised.since, START + 2100 * MS);
    assert_eq!(&*raised.top[0].name, "load");
    assert_eq!((raised.top[0].expected, raised.top[0].observed, raised.top[0].part), (Some(50.0), Some(70.0), 4.0));
}

#[test]
fn an_anomaly_that_gets_worse_is_told_at_once() {
    let catalog = catalog(&["can0"]);
    let (spec, _) = model(usize::MAX);
    // Speed is predicted as 0 here: above 10 rpm it is an anomaly of class alert.
    struct Zero;
    impl Network for Zero {
        fn run(&mut self, _: &[f32], verdict: &mut Verdict) -> Result<(), String> {
            verdict.expected.fill(0.0);
            Ok(())
        }
    }
    let detector = Detector::new(spec, Box::new(Zero), &catalog).unwrap();
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![detector]);
    let mut events = Vec::new();
    let send = |engine: &mut Engine, from: u64, to: u64, load: u8, events: &mut Vec<Event>| {
        for ms in (from..to).step_by(10) {
            engine.frame(&frame_on(0, ms, 256, &[40, 0, load, 0, 0, 0, 0, 0]), events);
        }
    };
    send(&mut engine, 0, 1000, 50, &mut events);
    send(&mut engine, 1000, 1700, 90, &mut events);
    let told: Vec<(Class, u64)> = events.iter().map(|e| (e.class, (e.time_ns - START) / MS)).collect();
    assert_eq!(told[0].0, Class::Alert);
    assert_eq!(told[1], (Class::Critical, 1100), "not only when the next update is due");
    assert_eq!(told.len(), 3, "then again at the bounded rate: {told:?}");
}

/// What fades is not more important than what it was.
#[test]
fn an_anomaly_keeps_its_class_while_it_fades() {
    let catalog = catalog(&["can0"]);
    let (spec, network) = model(usize::MAX);
    let mut spec = (*spec).clone();
    spec.features[1].target = Some(Target { scale: 5.0, smooth_ns: 400 * MS, class: Class::Status });
    let detector = Detector::new(Arc::new(spec), network, &catalog).unwrap();
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![detector]);
    let mut events = Vec::new();
    drive(&mut engine, 0, 1000, 50, &mut events);
    drive(&mut engine, 1000, 2000, 90, &mut events);
    drive(&mut engine, 2000, 9000, 50, &mut events);
    assert_eq!(events.len(), 3, "raised, ongoing, cleared: {events:?}");
    assert!(events.iter().all(|event| event.class == Class::Status), "{events:?}");
}

/// A sensor that sends the largest number once: an anomaly, but neither the end of the model nor one of minutes.
#[test]
fn one_wild_sample_is_survived() {
    let dbc = b"VERSION \"\"\nBU_: A\nBO_ 256 Motor: 8 A\n SG_ Speed : 0|64@1- (1,0) [0|0] \"\" A\nSIG_VALTYPE_ 256 Speed : 2;\n";
    let plan = Arc::new(Plan::compile(&[Database::parse("wild.dbc", dbc).unwrap()]));
    let catalog = Catalog::new(vec![Bus { plan, ..Bus::new("can0", Plan::compile(&[])) }]);
    let (spec, network) = model(usize::MAX);
    let mut spec = (*spec).clone();
    spec.features[0].spec.function = Function::Std;
    spec.features[0].spec.window = 3;
    spec.features[1].spec = self::spec("speed", Function::Value, "Motor.Speed", 0);
    spec.features.iter_mut().flat_map(|f| &mut f.target).for_each(|target| target.smooth_ns = 400 * MS);
    let detector = Detector::new(Arc::new(spec), network, &catalog).unwrap();
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![detector]);
    let mut events = Vec::new();
    for ms in (0..20_000).step_by(10) {
        let value = if (10_000..10_100).contains(&ms) { f64::MAX } else { 50.0 };
        engine.frame(&frame_on(0, ms, 256, &value.to_le_bytes()), &mut events);
    }
    assert_eq!(kinds(&events).iter().filter(|kind| **kind != "anomaly").count(), 0, "{events:?}");
    let Body::Anomaly(last) = &events.last().unwrap().body else { unreachable!() };
    assert_eq!(last.phase, AnomalyPhase::Cleared);
    assert!(events.last().unwrap().time_ns < START + 16_000 * MS);
}

#[test]
fn a_model_that_fails_is_benched_once_and_the_rest_goes_on() {
    let catalog = catalog(&["can0"]);
    let (spec, network) = model(5);
    let (other_spec, other) = model(usize::MAX);
    let detectors =
        vec![Detector::new(spec, network, &catalog).unwrap(), Detector::new(other_spec, other, &catalog).unwrap()];
    let mut engine = Engine::new(catalog, HEALTH, vec![], detectors);
    let mut events = Vec::new();
    drive(&mut engine, 0, 2000, 50, &mut events);
    drive(&mut engine, 2000, 3000, 90, &mut events);
    assert_eq!(kinds(&events), ["model", "anomaly"]);
    let Body::Model(state) = &events[0].body else { unreachable!() };
    assert_eq!((state.state, state.reason.as_str()), ("benched", "no longer"));
}

#[test]
fn a_model_that_fails_while_it_has_raised_an_anomaly_clears_it() {
    let catalog = catalog(&["can0"]);
    let (spec, network) = model(30);
    let detector = Detector::new(spec, network, &catalog).unwrap();
    let mut engine = Engine::new(catalog, HEALTH, vec![], vec![detector]);
    let mut events = Vec::new();
    drive(&mut engine, 0, 2000, 50, &mut events);
    drive(&mut engine, 2000, 5000, 90, &mut events);
    assert_eq!(kinds(&events).last_chunk(), Some(&["anomaly", "model"]));
    let Body::Anomaly(last) = &events[events.len() - 2].body else { unreachable!() };
    assert_eq!((last.phase, last.score), (AnomalyPhase::Cleared, 8.0));
}
