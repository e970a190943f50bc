use super::*;
use crate::condition::{Scope, compile};
use crate::engine::Models;
use crate::event::ConditionPhase;

fn spec(when: &str) -> ConditionSpec {
    let catalog = catalog();
    let models: Arc<[Arc<str>]> = Arc::new(["m".into()]);
    let scope = Scope { catalog: &catalog, models: &models, period_ns: None, max_age_ns: HOUR_NS };
    let when = compile(when, scope).unwrap();
    ConditionSpec { models, snapshot: catalog.select("*").unwrap(), ..ConditionSpec::new("c", when, None, HOUR_NS) }
}

fn privacy(when: &str, rules: Vec<Rule>) -> Result<Privacy, PrivacyError> {
    let models = Models { names: 1, places: vec![Some(0)] };
    let engine = engine().with_conditions(vec![spec(when)], models);
    Privacy::new(&PrivacySpec { rules, ..PrivacySpec::default() }, &engine)
}

fn snapshot(v: f64) -> Snapshot {
    Snapshot { v: Some(v), age: Some(1), why: None }
}

/// Regions, values, the time but for its part of an hour, and the frame.
type Told = (Option<Regions>, Vec<(String, Option<f64>)>, u64, u64);

fn tell(privacy: &mut Privacy, values: &[(&str, f64)]) -> Vec<Told> {
    let values = values.iter().map(|(name, v)| (Arc::from(*name), snapshot(*v))).collect();
    let condition = Condition {
        name: "c".into(),
        frame: 7,
        phase: ConditionPhase::Raised,
        since: NOW,
        values: Some(NameMap::new(values)),
        suppressed: 0,
    };
    let mut told = Vec::new();
    privacy.apply(Event::new(NOW, Class::Alert, Body::Condition(condition)), |event| {
        let Body::Condition(condition) = event.body else { panic!("{:?}", event.body) };
        let values = condition.values.unwrap();
        let values = values.entries().iter().map(|(name, snapshot)| (name.to_string(), snapshot.v)).collect();
        told.push((event.regions, values, event.time_ns - NOW % HOUR_NS, condition.frame));
    });
    told
}

#[test]
fn a_snapshot_is_treated_as_signals_are() {
    let rules = vec![measured("Speed", Measure::Round(5.0)), measured("Driver", Measure::Drop)];
    let mut privacy = privacy("Heart > 1.0", rules).unwrap();
    let told = tell(&mut privacy, &[("Car.Speed", 83.0), ("Car.Driver", 4711.0), ("Car.Heart", 70.0)]);
    let values = vec![("Car.Heart".to_owned(), Some(70.0)), ("Car.Speed".to_owned(), Some(85.0))];
    assert_eq!(told, [(None, values, NOW - NOW % HOUR_NS, 7)]);
}

#[test]
fn what_a_condition_asks_for_says_where_it_may_go() {
    let rules = || vec![restricted(&["Heart"], &["eu"]), Rule { bucket_ns: Some(HOUR_NS), ..rule(&["Driver"]) }];
    // Of what is asked, Heart is restricted; Driver is only beside it.
    let mut asked = privacy("Heart > 100.0", rules()).unwrap();
    let told = tell(&mut asked, &[("Car.Speed", 83.0), ("Car.Driver", 1.0), ("Car.Heart", 120.0)]);
    let eu = Regions::new(["eu"]);
    let names: Vec<Vec<&str>> = told.iter().map(|t| t.1.iter().map(|(name, _)| name.as_str()).collect()).collect();
    assert!(told.iter().all(|(regions, ..)| *regions == eu), "{told:?}");
    assert_eq!(names, [vec!["Car.Heart", "Car.Speed"], vec!["Car.Driver"]]);
    assert_eq!((told[0].3, told[1].3), (7, 0), "with a bucket of time, the number of the frame would be a clock");
    // Nothing restricted is asked for: the condition may go anywhere, the signal may not.
    let mut free = privacy("Speed > 1.0", rules()).unwrap();
    let told = tell(&mut free, &[("Car.Speed", 83.0), ("Car.Heart", 120.0)]);
    assert_eq!(told.iter().map(|t| t.0.clone()).collect::<Vec<_>>(), [None, eu.clone()]);
    // A model that reads a restricted signal is as restricted.
    let rules = vec![restricted(&["Speed"], &["eu"])];
    let told = tell(&mut privacy("score('m') > 1.0", rules).unwrap(), &[("Car.Heart", 70.0)]);
    assert_eq!(told[0].0, eu);
    let nowhere = vec![restricted(&["Speed"], &["eu"]), restricted(&["Heart"], &["us"])];
    let error = privacy("Speed > 1.0 && Heart > 1.0", nowhere).unwrap_err().to_string();
    assert!(error.contains("what condition c asks for"), "{error}");
}
