use std::time::Duration;

use can_decoders::{Database, Plan};

use super::*;
use crate::engine::debounce::DebounceSpec;
use crate::engine::{
    Bus, Detector, FeatureSpec, Finder, Function, Fuse, HealthSpec, ModelFeature, ModelSpec, Network, Score, Target,
    Verdict,
};
use crate::event::{AnomalyPhase, Clock, ClockState, Contribution, Gap, InputStats, LossCause, MessageState};

#[path = "condition_tests.rs"]
mod conditions;

const DBC: &str = r#"VERSION ""
BU_: A
BO_ 256 Gps: 8 A
 SG_ Lat : 0|32@1- (1e-7,0) [-90|90] "deg" A
 SG_ Lon : 32|32@1- (1e-7,0) [-180|180] "deg" A
BO_ 257 Car: 8 A
 SG_ Speed : 0|16@1+ (0.01,0) [0|300] "km/h" A
 SG_ Driver : 16|32@1+ (1,0) [0|4294967295] "" A
 SG_ Heart : 48|8@1+ (1,0) [0|255] "1/min" A
"#;
const HOUR_NS: u64 = 3_600_000_000_000;
const NOW: u64 = 1_800_000_000_000_000_000 + 1_234_567_890_123;
const ALL: [bool; 5] = [true; 5];

fn catalog() -> Catalog {
    let plan = Plan::compile(&[Database::parse("test.dbc", DBC.as_bytes()).unwrap()]);
    Catalog::new(vec![Bus::new("can0", plan)])
}

struct Idle;

impl Network for Idle {
    fn run(&mut self, _: &[f32], _: &mut Verdict) -> Result<(), String> {
        Ok(())
    }
}

/// With a model `m` of the features `lat_mean`, `speed`, `driver`, `rate` and `age`.
fn engine() -> Engine {
    let feature = |name: &str, function, of: &str| ModelFeature {
        spec: FeatureSpec {
            name: name.into(),
            function,
            of: of.into(),
            window: usize::from(function == Function::Mean),
            max_age_ns: HOUR_NS,
            only_if: None,
        },
        mean: 0.0,
        std: 1.0,
        target: Some(Target { scale: 1.0, smooth_ns: 1, class: Class::Alert }),
        seen: None,
    };
    let spec = ModelSpec {
        finder: Finder { name: "m".into(), version: "1".into(), hash: "0".into() },
        what: "deviation".into(),
        period_ns: HOUR_NS,
        warmup_ns: 0,
        features: vec![
            feature("lat_mean", Function::Mean, "Gps.Lat"),
            feature("speed", Function::Value, "Speed"),
            feature("driver", Function::Value, "Car.Driver"),
            feature("rate", Function::Gap, "Car"),
            feature("age", Function::Age, "Car.Speed"),
        ],
        score: Score::Residual(Fuse::Max),
        threshold: 1.0,
        debounce: DebounceSpec { k: 1, n: 1, min_ns: 0, clear_ns: 1, update_ns: 1 },
    };
    let catalog = catalog();
    let detector = Detector::new(spec.into(), Box::new(Idle), &catalog).unwrap_or_else(|e| panic!("{e:?}"));
    let health = HealthSpec { period_ns: HOUR_NS, silent_factor: 5, silent_min_ns: HOUR_NS };
    Engine::new(catalog, health, Vec::new(), vec![detector])
}

fn rule(signals: &[&str]) -> Rule {
    let signals = signals.iter().flat_map(|name| catalog().select(name).unwrap()).collect();
    Rule { signals, classes: ALL, value: None, bucket_ns: None, regions: None }
}

fn measured(signal: &str, measure: Measure) -> Rule {
    Rule { value: Some(measure), ..rule(&[signal]) }
}

fn restricted(signals: &[&str], regions: &[&str]) -> Rule {
    Rule { regions: Regions::new(regions), ..rule(signals) }
}

fn privacy(rules: Vec<Rule>) -> Privacy {
    made(rules).unwrap()
}

fn made(rules: Vec<Rule>) -> Result<Privacy, PrivacyError> {
    let pseudonyms = Pseudonyms::new(&[1; 32], Some(Duration::from_secs(86_400))).unwrap();
    Privacy::new(&PrivacySpec { rules, pseudonyms: Some(pseudonyms.into()), vehicle: false }, &engine())
}

fn applied(privacy: &mut Privacy, event: Event) -> Vec<Event> {
    let mut events = Vec::new();
    privacy.apply(event, |event| events.push(event));
    events
}

fn signals(values: &[(&str, Option<f64>)]) -> Event {
    let values = NameMap::new(values.iter().map(|(name, value)| ((*name).into(), *value)).collect());
    let clock = Some(Clock { mono_ns: 5 * HOUR_NS, state: ClockState::Synced });
    Event { clock, ..Event::new(NOW, Class::Telemetry, Body::Signals(Signals { group: "g".into(), values })) }
}

/// Names and values of one event.
fn values(event: &Event) -> Vec<(&str, Option<f64>)> {
    let Body::Signals(signals) = &event.body else { panic!("{event:?}") };
    signals.values.entries().iter().map(|(name, value)| (&**name, *value)).collect()
}

fn one(privacy: &mut Privacy, given: &[(&str, Option<f64>)]) -> Event {
    let mut events = applied(privacy, signals(given));
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

#[test]
fn values_are_dropped_rounded_and_replaced() {
    let mut privacy = privacy(vec![
        measured("Car.Heart", Measure::Drop),
        measured("Speed", Measure::Round(0.1)),
        measured("Driver", Measure::Pseudonym),
    ]);
    let given =
        [("Car.Heart", Some(71.0)), ("Car.Speed", Some(61.27)), ("Car.Driver", Some(4711.0)), ("Other", Some(0.123))];
    let event = one(&mut privacy, &given);
    let told = values(&event);
    let of = |name: &str| told.iter().find(|(n, _)| *n == name).and_then(|(_, value)| *value);
    assert_eq!((of("Car.Heart"), of("Car.Speed"), of("Other")), (None, Some(61.3), Some(0.123)));
    assert_eq!(told.len(), 3, "not even its name");
    assert!(of("Car.Driver").is_some_and(|n| n != 4711.0 && n.fract() == 0.0));
    // The same driver, the same day; another day.
    assert_eq!(one(&mut privacy, &given), event);
    let mut tomorrow = signals(&given);
    tomorrow.time_ns += 24 * HOUR_NS;
    assert_ne!(values(&applied(&mut privacy, tomorrow)[0]), told);
    // What is not there stays so, and an event of which nothing is left is none.
    assert_eq!(values(&one(&mut privacy, &[("Car.Speed", None)])), [("Car.Speed", None)]);
    assert_eq!(applied(&mut privacy, signals(&[("Car.Heart", None)])), []);
}

#[test]
fn a_position_is_that_of_its_cell() {
    let [lat, lon] = ["Gps.Lat", "Gps.Lon"].map(|name| catalog().find_signal(name).unwrap());
    let mut privacy = privacy(vec![
        Rule { classes: [false, false, false, true, false], ..measured("Gps.Lat", Measure::Latitude(1000.0)) },
        measured("Gps.Lon", Measure::Longitude(1000.0, lat)),
    ]);
    assert_ne!(lat, lon);
    let at = |lat, lon| [("Gps.Lat", Some(lat)), ("Gps.Lon", Some(lon))];
    // Without the row nobody knows the cell.
    assert_eq!(values(&one(&mut privacy, &[("Gps.Lon", Some(13.4))])), [("Gps.Lon", None)]);
    let here = one(&mut privacy, &at(52.516_27, 13.377_7));
    assert_eq!(one(&mut privacy, &at(52.517_00, 13.376_8)), here, "a hundred metres further");
    assert_ne!(one(&mut privacy, &at(52.536, 13.377_7)), here, "two kilometres further");
    let told = values(&here).iter().map(|(_, value)| value.unwrap()).collect::<Vec<_>>();
    assert!((told[0] - 52.516_27).abs() < 0.005 && (told[1] - 13.377_7).abs() < 0.008, "{told:?}");
    assert!(told[0] != 52.516_27 && told[1] != 13.377_7);
    // On its own it is of the row that was last told.
    assert_eq!(one(&mut privacy, &at(52.516_27, 13.377_7)), here);
    assert_eq!(values(&one(&mut privacy, &[("Gps.Lon", Some(13.378))]))[0].1, Some(told[1]));
    for bad in [f64::NAN, f64::INFINITY, 91.0] {
        let told = one(&mut privacy, &at(bad, 13.4));
        assert!(values(&told).iter().all(|(_, value)| value.is_none()), "{told:?}");
    }
}

#[test]
fn a_rule_holds_in_its_classes_only() {
    let rule = Rule { classes: [false, false, false, true, false], ..measured("Speed", Measure::Drop) };
    let mut privacy = privacy(vec![rule]);
    assert_eq!(applied(&mut privacy, signals(&[("Car.Speed", Some(1.0))])), []);
    let crash = Event { class: Class::Critical, ..signals(&[("Car.Speed", Some(87.6))]) };
    assert_eq!(applied(&mut privacy, crash.clone()), [crash]);
}

#[test]
fn aggregates_are_treated_as_values_are() {
    let lat = catalog().find_signal("Gps.Lat").unwrap();
    let mut privacy = privacy(vec![
        measured("Car.Heart", Measure::Drop),
        measured("Speed", Measure::Round(5.0)),
        measured("Driver", Measure::Pseudonym),
        measured("Gps.Lat", Measure::Latitude(1000.0)),
        measured("Gps.Lon", Measure::Longitude(1000.0, lat)),
    ]);
    let stats = |x: f64| Aggregate { n: 3, max: x + 1.2, min: x - 1.2, last: x, mean: x + 0.1 };
    let all = [("Car.Heart", 70.0), ("Car.Speed", 61.0), ("Car.Driver", 7.0), ("Gps.Lat", 52.5), ("Gps.Lon", 13.4)];
    let entries = all.iter().map(|(name, x)| ((*name).into(), stats(*x))).collect();
    let body = Body::Aggregates(Aggregates { group: "g".into(), stats: NameMap::new(entries), period_ms: 1 });
    let told = applied(&mut privacy, Event::new(NOW, Class::Telemetry, body)).remove(0);
    let Body::Aggregates(Aggregates { stats, .. }) = told.body else { panic!("{told:?}") };
    let names: Vec<&str> = stats.entries().iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["Gps.Lat", "Gps.Lon", "Car.Speed"]);
    assert_eq!(stats.entries()[2].1, Aggregate { n: 3, max: 60.0, min: 60.0, last: 60.0, mean: 60.0 });
    assert!(stats.entries()[0].1.last != 52.5 && stats.entries()[1].1.last != 13.4);
}

#[test]
fn times_are_of_their_bucket_by_all_clocks() {
    let mut privacy = privacy(vec![Rule { bucket_ns: Some(HOUR_NS), ..rule(&["Speed"]) }]);
    let events = applied(&mut privacy, signals(&[("Car.Speed", Some(1.0)), ("Car.Driver", Some(2.0))]));
    let [speed, driver] = &events[..] else { panic!("{events:?}") };
    assert_eq!((driver.time_ns, driver.clock.unwrap().mono_ns), (NOW, 5 * HOUR_NS));
    assert_eq!(speed.time_ns, NOW - NOW % HOUR_NS);
    assert_eq!(speed.clock.unwrap().mono_ns, 5 * HOUR_NS - NOW % HOUR_NS);
    assert_eq!((values(driver), values(speed)), (vec![("Car.Driver", Some(2.0))], vec![("Car.Speed", Some(1.0))]));

    // Of whole classes, in the body, too.
    let status = [false, false, true, false, false];
    let mut privacy = self::privacy(vec![Rule { classes: status, bucket_ns: Some(HOUR_NS), ..rule(&[]) }]);
    let body = MessageState { bus: "b".into(), last: NOW - 1, name: "m".into(), state: "silent", period_ms: 1.0 };
    let told = applied(&mut privacy, Event::new(NOW, Class::Status, Body::Message(body))).remove(0);
    let Body::Message(message) = &told.body else { panic!("{told:?}") };
    assert_eq!((told.time_ns % HOUR_NS, message.last % HOUR_NS), (0, 0));
    let telemetry = signals(&[("Car.Speed", Some(1.0))]);
    assert_eq!(applied(&mut privacy, telemetry.clone()), [telemetry]);
}

#[test]
fn an_event_is_divided_by_where_its_signals_may_go() {
    let mut privacy = privacy(vec![restricted(&["Gps.*"], &["uk", "eu"]), restricted(&["Gps.Lon"], &["us", "eu"])]);
    let given = [("Gps.Lat", Some(1.0)), ("Gps.Lon", Some(2.0)), ("Car.Speed", Some(3.0))];
    let events = applied(&mut privacy, signals(&given));
    let told: Vec<_> =
        events.iter().map(|event| (event.regions.as_ref().map(Regions::as_str), values(event)[0])).collect();
    assert_eq!(
        told,
        [
            (Some("eu,uk"), ("Gps.Lat", Some(1.0))),
            (Some("eu"), ("Gps.Lon", Some(2.0))),
            (None, ("Car.Speed", Some(3.0)))
        ]
    );
    let spec = PrivacySpec {
        rules: vec![restricted(&["Gps.*"], &["uk", "eu"]), restricted(&["Gps.Lon"], &["us", "eu"])],
        ..PrivacySpec::default()
    };
    let audiences = spec.audiences();
    for event in events.iter().filter_map(|event| event.regions.as_ref()) {
        assert!(audiences.contains(event), "{event:?} of {audiences:?}");
    }
    // A whole class.
    let mut privacy =
        self::privacy(vec![Rule { classes: [false, true, false, false, false], ..restricted(&[], &["eu"]) }]);
    assert_eq!(applied(&mut privacy, anomaly(&[])).remove(0).regions, Regions::new(["eu"]));
    let gap = Gap { lost: None, span: None, cause: LossCause::Quota, count: 1, ranges: vec![(1, 1)] };
    assert_eq!(applied(&mut privacy, Event::new(NOW, Class::Status, Body::Gap(gap))).remove(0).regions, None);
}

fn anomaly(features: &[&str]) -> Event {
    let top = features.iter().map(|name| Contribution {
        name: (*name).into(),
        part: 1.0,
        expected: Some(61.27),
        observed: Some(52.516_27),
    });
    let anomaly = Anomaly {
        top: top.collect(),
        hash: "0".into(),
        what: "deviation".into(),
        frame: 77,
        model: "m".into(),
        phase: AnomalyPhase::Raised,
        score: 1.0,
        since: NOW - 5,
        version: "1".into(),
        threshold: 1.0,
    };
    Event::new(NOW, Class::Alert, Body::Anomaly(anomaly))
}

#[test]
fn what_a_model_says_of_a_signal_is_treated_as_the_signal_is() {
    let mut privacy = privacy(vec![
        measured("Driver", Measure::Drop),
        measured("Speed", Measure::Round(5.0)),
        Rule { bucket_ns: Some(HOUR_NS), ..measured("Gps.Lat", Measure::Latitude(1000.0)) },
        restricted(&["Gps.Lat"], &["eu"]),
    ]);
    let told = applied(&mut privacy, anomaly(&["speed", "lat_mean", "driver", "rate", "age"])).remove(0);
    let Body::Anomaly(anomaly) = &told.body else { panic!("{told:?}") };
    let top: Vec<_> = anomaly.top.iter().map(|c| (&*c.name, c.expected, c.observed)).collect();
    let exact = (Some(61.27), Some(52.516_27));
    let times = ["rate", "age"].map(|name| (name, exact.0, exact.1));
    assert_eq!(top[..2], [("speed", Some(60.0), Some(55.0)), ("lat_mean", None, None)]);
    assert_eq!(top[2..], times);
    // The model reads the latitude: whatever it says is of it.
    assert_eq!((told.regions, told.time_ns % HOUR_NS), (Regions::new(["eu"]), 0));
    assert_eq!((anomaly.since % HOUR_NS, anomaly.frame), (0, 0));

    let input = |name: &str| InputStats { psi: None, name: name.into(), missing: 0.0, outside: 0.0 };
    let body = ModelStats {
        hash: "0".into(),
        name: "m".into(),
        since: NOW,
        inputs: vec![input("driver"), input("speed")],
        points: 1,
        scores: [0; 8],
        version: "1".into(),
    };
    let told = applied(&mut privacy, Event::new(NOW, Class::Status, Body::ModelStats(body))).remove(0);
    let Body::ModelStats(stats) = &told.body else { panic!("{told:?}") };
    assert_eq!(stats.inputs, [input("speed")]);
    assert_eq!((told.regions, stats.since % HOUR_NS), (Regions::new(["eu"]), 0));
}

#[test]
fn rules_that_contradict_each_other_are_refused() {
    let twice = made(vec![measured("Speed", Measure::Drop), measured("Car.*", Measure::Round(1.0))]).unwrap_err();
    assert_eq!(twice, PrivacyError::Twice { signal: "Car.Speed".into(), class: Class::Critical });
    let nowhere = made(vec![restricted(&["Speed"], &["eu"]), restricted(&["Car.*"], &["us"])]).unwrap_err();
    assert!(nowhere.to_string().contains("`Car.Speed`") || nowhere.to_string().contains("Car.Speed"), "{nowhere}");
    // No signal of it, but the model that reads both.
    let nowhere = made(vec![restricted(&["Speed"], &["eu"]), restricted(&["Driver"], &["us"])]).unwrap_err();
    assert!(nowhere.to_string().contains("model m"), "{nowhere}");
    let nowhere = made(vec![restricted(&[], &["eu"]), restricted(&[], &["us"])]).unwrap_err();
    assert!(nowhere.to_string().contains("all events"), "{nowhere}");
}

#[test]
fn rounding_leaves_no_dust() {
    for (value, step, rounded) in
        [(61.27, 0.1, 61.3), (0.3, 0.1, 0.3), (-7.4, 5.0, -5.0), (1234.0, 100.0, 1200.0), (0.123_456, 0.25, 0.0)]
    {
        assert_eq!(round(value, step), rounded);
    }
}

/// In J1939 a frame has the address of its sender, and a DBC file that of nobody.
#[test]
fn what_a_profile_says_of_a_message_with_a_rule_comes_without_values() {
    let dbc = "VERSION \"\"\nBU_: A\nBO_ 2566844926 CCVS: 8 A\n SG_ Speed : 8|16@1+ (0.00390625,0) [0|250] \"km/h\" A\n\
               BO_ 256 Other: 8 A\n SG_ N : 8|16@1+ (1,0) [0|65535] \"\" A\n\
               BA_DEF_ BO_ \"VFrameFormat\" ENUM \"StandardCAN\",\"ExtendedCAN\",\"reserved\",\"J1939PG\";\n\
               BA_DEF_DEF_ \"VFrameFormat\" \"StandardCAN\";\nBA_ \"VFrameFormat\" BO_ 2566844926 3;\n";
    let plan = Plan::compile(&[Database::parse("j1939.dbc", dbc.as_bytes()).unwrap()]);
    let profile = crate::profile::test_traffic::learned(120);
    let catalog = profile.catalog(Catalog::new(vec![Bus::new(crate::engine::ANY_BUS, plan)]));
    let guard = crate::engine::Guard::new(&profile, &catalog).unwrap();
    let finder = guard.finder().name.clone();
    let health = HealthSpec { period_ns: HOUR_NS, silent_factor: 5, silent_min_ns: HOUR_NS };
    let speed = catalog.find_signal("CCVS.Speed").unwrap();
    let engine = Engine::new(catalog, health, Vec::new(), Vec::new()).with_guard(guard);
    let rules = vec![Rule { signals: vec![speed], value: Some(Measure::Drop), ..rule(&[]) }];
    let spec = PrivacySpec { rules, ..PrivacySpec::default() };
    let mut privacy = Privacy::new(&spec, &engine).unwrap();
    assert!(!privacy.fields.is_empty(), "the sender's frames are the message's");

    let mut of = |name: &str| {
        let mut event = anomaly(&[name]);
        let Body::Anomaly(anomaly) = &mut event.body else { panic!("an anomaly") };
        anomaly.model = finder.clone();
        let told = applied(&mut privacy, event).remove(0);
        let Body::Anomaly(anomaly) = told.body else { panic!("an anomaly") };
        anomaly.top[0].observed
    };
    let field = format!("{}x", of_first(&spec, &engine));
    assert_eq!((of(&field), of("0x200.byte1")), (None, Some(52.516_27)));
}

fn of_first(spec: &PrivacySpec, engine: &Engine) -> Arc<str> {
    Privacy::new(spec, engine).unwrap().fields[0].clone()
}
