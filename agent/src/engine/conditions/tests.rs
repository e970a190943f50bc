use can_decoders::{BusId, CanId, Database, Frame, FrameKind, Plan};
use proptest::prelude::*;

use super::*;
use crate::condition::{Scope, compile};
use crate::engine::{Bus, CollectSpec, Collector, Engine, HealthSpec, Mode, SignalId, Sink};
use crate::event::{Body, Class, ConditionPhase, Event, Snapshot};

const DBC: &str = r#"
BU_: A
BO_ 256 Motor: 4 A
 SG_ Speed : 0|16@1- (0.5,0) [-8000|8000] "rpm" A
 SG_ Load : 16|8@1+ (1,0) [0|100] "%" A
 SG_ Gear : 24|4@1+ (1,0) [0|15] "" A
BO_ 257 Body: 1 A
 SG_ Door : 0|1@1+ (1,0) [0|1] "" A
BO_ 258 Muxed: 2 A
 SG_ Which M : 0|8@1+ (1,0) [0|255] "" A
 SG_ First m0 : 8|8@1+ (1,0) [0|255] "" A
 SG_ Second m1 : 8|8@1+ (1,0) [0|255] "" A
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 10000;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_ "GenMsgCycleTime" BO_ 257 100;
"#;

const MS: u64 = 1_000_000;
const START: u64 = 1_700_000_000_000 * MS;
const MAX_AGE: u64 = 1000 * MS;

fn catalog() -> Catalog {
    Catalog::new(vec![Bus::new("can0", Plan::compile(&[Database::parse("a.dbc", DBC.as_bytes()).unwrap()]))])
}

fn spec(name: &str, when: &str) -> ConditionSpec {
    let catalog = catalog();
    let scope = Scope { catalog: &catalog, models: &[], period_ns: Some(100 * MS), max_age_ns: MAX_AGE };
    let when = compile(when, scope).unwrap_or_else(|fault| panic!("{when}: {fault:?}"));
    let period_ns = (!when.features.is_empty()).then_some(100 * MS);
    ConditionSpec::new(name, when, period_ns, MAX_AGE)
}

fn until(spec: ConditionSpec, until: &str) -> ConditionSpec {
    ConditionSpec { until: Some(self::spec("", until).when), ..spec }
}

fn held(spec: ConditionSpec, ms: u64) -> ConditionSpec {
    ConditionSpec { timing: Timing { hold_ns: ms * MS, ..spec.timing }, ..spec }
}

fn engine(specs: Vec<ConditionSpec>) -> Engine {
    let catalog = catalog();
    let collect = CollectSpec {
        name: "all".into(),
        signals: catalog.select("*").unwrap(),
        mode: Mode::OnChange { heartbeat_ns: 0 },
        period_ns: 1000 * MS,
        deadband: 0.0,
        max_age_ns: MAX_AGE,
        campaign: None,
    };
    let health = HealthSpec { period_ns: 3_600_000 * MS, silent_factor: 5, silent_min_ns: 200 * MS };
    let collectors = vec![Collector::new(collect, &catalog)];
    Engine::new(catalog, health, collectors, vec![]).with_conditions(specs, Models::default())
}

fn frame(ms: u64, id: u32, payload: &[u8]) -> Frame {
    Frame::new(START + ms * MS, BusId(0), CanId::standard(id).unwrap(), FrameKind::Data, payload).unwrap()
}

fn motor(ms: u64, speed: i16, load: u8) -> Frame {
    let [low, high] = (2 * speed).to_le_bytes();
    frame(ms, 256, &[low, high, load, 1])
}

/// What conditions did: milliseconds, name, phase.
#[derive(Default)]
struct Acts {
    all: Vec<(u64, String, ConditionPhase)>,
    events: Vec<Event>,
    notified: Vec<Event>,
}

impl Sink for Acts {
    fn event(&mut self, event: Event) {
        if let Body::Condition(condition) = &event.body {
            self.all.push(((event.time_ns - START) / MS, condition.name.to_string(), condition.phase));
        }
        self.events.push(event);
    }

    fn notify(&mut self, event: &Event) {
        self.notified.push(event.clone());
    }
}

impl Acts {
    fn of(&self, name: &str) -> Vec<(u64, &'static str)> {
        let phase = |phase| match phase {
            ConditionPhase::Raised => "raised",
            ConditionPhase::Holding => "holding",
            ConditionPhase::Cleared => "cleared",
        };
        self.all.iter().filter(|(_, of, _)| of == name).map(|(ms, _, of)| (*ms, phase(*of))).collect()
    }
}

fn run(specs: Vec<ConditionSpec>, frames: &[Frame]) -> Acts {
    let (mut engine, mut acts) = (engine(specs), Acts::default());
    frames.iter().for_each(|frame| engine.frame(frame, &mut acts));
    acts
}

#[test]
fn a_condition_acts_at_the_frame_that_makes_it_true() {
    let frames =
        [motor(0, 100, 10), motor(10, 3000, 10), motor(20, 3001, 10), motor(30, 2999, 10), motor(40, 3500, 11)];
    let acts = run(vec![spec("fast", "Speed >= 3000.0")], &frames);
    assert_eq!(acts.of("fast"), [(10, "raised"), (30, "cleared"), (40, "raised")]);
    let Body::Condition(first) = &acts.events[0].body else { panic!("{:?}", acts.events[0]) };
    assert_eq!((first.frame, first.since), (2, START + 10 * MS));
    let values = first.values.as_ref().unwrap().entries();
    assert_eq!(values, [("Motor.Speed".into(), Snapshot { v: Some(3000.0), age: Some(0), why: None })]);
}

/// Both signals are in one frame: nobody sees the new one beside the old other.
#[test]
fn a_frame_is_seen_as_a_whole() {
    let frames = [motor(0, 100, 90), motor(10, 3000, 10), motor(20, 100, 90)];
    let acts = run(vec![spec("both", "Speed > 2000.0 && Load > 50.0"), spec("sum", "Speed + Load > 3050.0")], &frames);
    assert!(acts.all.is_empty(), "{:?}", acts.all);
}

#[test]
fn holds_end_exactly_when_they_are_due() {
    let specs = vec![
        held(spec("held", "Speed > 2000.0"), 35),
        spec("lasting", "lasting(Speed > 2000.0, duration('35ms'))"),
        spec("within", "within(Speed > 2000.0, duration('15ms'))"),
    ];
    let frames = [motor(0, 3000, 0), motor(10, 100, 0), motor(20, 3000, 0), motor(100, 100, 0), motor(200, 100, 0)];
    let acts = run(specs, &frames);
    assert_eq!(acts.of("held"), [(55, "raised"), (100, "cleared")]);
    assert_eq!(acts.of("lasting"), [(55, "raised"), (100, "cleared")]);
    // The moment at which it ends is told by the first nanosecond after it.
    assert_eq!(acts.of("within"), [(0, "raised"), (115, "cleared")]);
    let times: Vec<u64> = acts.events.iter().filter(|e| e.body.kind() == "condition").map(|e| e.time_ns % MS).collect();
    assert_eq!(times.iter().filter(|ns| **ns == 1).count(), 1);
}

#[test]
fn what_is_too_old_is_not_known_to_the_nanosecond() {
    let specs = vec![
        spec("fast", "Speed > 2000.0"),
        spec("deaf", "!valid(Speed)"),
        until(spec("stays", "Speed > 2000.0"), "Speed < 1000.0"),
    ];
    let mut frames: Vec<Frame> = (0..3).map(|i| motor(i * 400, 3000, 0)).collect();
    frames.push(frame(2500, 257, &[0]));
    frames.push(motor(2600, 500, 0));
    let acts = run(specs, &frames);
    // The last sample was at 800: at 1800 it may still be used.
    assert_eq!(acts.of("fast"), [(0, "raised"), (1800, "cleared")]);
    assert_eq!(acts.of("deaf"), [(1800, "raised"), (2600, "cleared")]);
    assert_eq!(acts.of("stays"), [(0, "raised"), (2600, "cleared")]);
    assert_eq!(acts.events.iter().rfind(|e| e.time_ns == START + 1800 * MS + 1).map(|e| e.class), Some(Class::Alert));
}

#[test]
fn a_sender_without_a_value_makes_it_unknown() {
    let short = |ms| frame(ms, 256, &[0, 0]);
    let specs = vec![spec("loaded", "Load > 50.0"), spec("none", "!valid(Load)")];
    let acts = run(specs, &[motor(0, 0, 90), short(10), short(20), motor(30, 0, 90), motor(40, 0, 91)]);
    assert_eq!(acts.of("loaded"), [(0, "raised"), (10, "cleared"), (30, "raised")]);
    assert_eq!(acts.of("none"), [(10, "raised"), (30, "cleared")]);
    let snapshots = acts.events.iter().filter_map(|event| match &event.body {
        Body::Condition(condition) if &*condition.name == "none" => condition.values.as_ref(),
        _ => None,
    });
    let snapshots: Vec<_> = snapshots.collect();
    assert_eq!(snapshots[0].entries()[0].1, Snapshot { v: None, age: Some(0), why: Some("short") });
}

#[test]
fn multiplexed_signals_come_at_times_of_their_own() {
    let muxed = |ms, which, value| frame(ms, 258, &[which, value]);
    let frames =
        [muxed(0, 0, 10), muxed(10, 1, 200), muxed(20, 0, 90), muxed(30, 1, 10), muxed(40, 1, 10), muxed(50, 0, 10)];
    let specs = vec![
        spec("first", "First > 50.0"),
        spec("sharp", "step(First) > 50.0"),
        spec("slow", "slope(First) < -2000.0"),
    ];
    let acts = run(specs, &frames);
    assert_eq!(acts.of("first"), [(20, "raised"), (50, "cleared")]);
    assert_eq!(acts.of("sharp"), [(20, "raised"), (50, "cleared")]);
    assert_eq!(acts.of("slow"), [(50, "raised")], "80 less in 30 ms");
}

#[test]
fn samples_count_also_when_their_value_stays() {
    let specs = vec![
        spec("frozen", "run(Speed) >= 3.0"),
        spec("step", "step(Speed) != 0.0"),
        spec("late", "gap(Speed) > 0.05"),
    ];
    let frames: Vec<Frame> =
        [(0, 5), (10, 5), (20, 5), (30, 5), (40, 6), (100, 6)].map(|(ms, v)| motor(ms, v, 0)).into();
    let acts = run(specs, &frames);
    assert_eq!(acts.of("frozen"), [(30, "raised"), (40, "cleared")]);
    assert_eq!(acts.of("step"), [(40, "raised"), (100, "cleared")]);
    assert_eq!(acts.of("late"), [(100, "raised")]);
}

#[test]
fn with_a_period_only_its_grid_counts() {
    let mut specs = vec![
        spec("mean", "mean(Speed, duration('300ms')) > 1000.0"),
        spec("grid", "Speed > 2000.0"),
        spec("old", "age(Speed) > 0.15"),
    ];
    specs[1].period_ns = Some(100 * MS);
    // Between two grid points it is fast, and again for three of them.
    let mut frames = vec![motor(0, 100, 0), motor(110, 3000, 0), motor(150, 100, 0)];
    frames.extend((21..50).map(|i| motor(i * 10, 3000, 0)));
    frames.push(frame(800, 257, &[0]));
    let acts = run(specs, &frames);
    assert_eq!(acts.of("grid"), [(300, "raised")]);
    // There is a mean from the fourth point on, as in models.
    assert_eq!(acts.of("mean"), [(400, "raised")]);
    assert_eq!(acts.of("old"), [(700, "raised")], "the last came at 490");
}

#[test]
fn silence_and_the_bus_are_inputs() {
    let specs = vec![spec("gone", "silent(Body)"), spec("busy", "BusHealth.FrameRate > 30.0")];
    let mut frames: Vec<Frame> = (0..10).map(|i| frame(i * 100, 257, &[0])).collect();
    frames.extend((100..300).map(|i| motor(i * 10, 100, 0)));
    frames.push(frame(3000, 257, &[0]));
    let acts = run(specs, &frames);
    // Five times its period after the last.
    assert_eq!(acts.of("gone"), [(1500, "raised"), (3000, "cleared")]);
    assert_eq!(acts.of("busy"), [(2000, "raised")]);
}

#[test]
fn the_first_by_priority_acts_first_and_does_all_it_is_told() {
    let hurry = Some(Hurry { collector: 0, period_ns: 100 * MS, for_ns: 500 * MS });
    let specs = vec![
        spec("late", "Speed > 1.0"),
        ConditionSpec { priority: 3, hurry, notify: true, class: Class::Critical, ..spec("first", "Speed > 1.0") },
    ];
    let frames: Vec<Frame> = (0u64..300).zip(2i16..).map(|(i, speed)| motor(i * 10, speed, 0)).collect();
    let acts = run(specs, &frames);
    assert_eq!(acts.all.iter().map(|(_, name, _)| name.as_str()).collect::<Vec<_>>(), ["first", "late"]);
    assert_eq!(acts.notified, acts.events[..1]);
    let collected = acts.events.iter().filter(|event| event.body.kind() == "signals");
    let collected: Vec<u64> = collected.map(|event| (event.time_ns - START) / MS).collect();
    assert_eq!(collected, [100, 200, 300, 400, 500, 1000, 2000], "each 100 ms for half a second, then as usual");
}

#[test]
fn its_times_of_the_week_bound_it() {
    let mut scheduled = spec("fast", "Speed > 1.0");
    // START is 22:13:20 UTC on a Tuesday.
    let minute = 1440 + 22 * 60 + 14;
    scheduled.schedule.times = vec![(minute, minute + 1)];
    let frames: Vec<Frame> = (0..3000).map(|i| motor(i * 100, 3000, 0)).collect();
    let acts = run(vec![scheduled], &frames);
    assert_eq!(acts.of("fast"), [(40_000, "raised"), (100_000, "cleared")]);
}

#[test]
fn after_a_jump_of_the_clock_nothing_is_known_and_nothing_hangs() {
    let specs = vec![
        held(spec("fast", "Speed > 1.0"), 20),
        spec("deaf", "!valid(Speed)"),
        spec("mean", "mean(Speed, duration('200ms')) > 1.0"),
    ];
    let day = 86_400_000;
    let mut frames: Vec<Frame> = (0..100).map(|i| motor(day + i * 10, 5, 0)).collect();
    frames.extend((0..100).map(|i| motor(i * 10, 5, 0)));
    let acts = run(specs, &frames);
    assert_eq!(acts.of("fast"), [(day + 20, "raised"), (0, "cleared"), (20, "raised")]);
    assert_eq!(acts.of("deaf"), [(0, "raised"), (0, "cleared")]);
    assert_eq!(acts.of("mean"), [(day + 300, "raised"), (0, "cleared"), (200, "raised")]);
}

/// All of it, looked at after each frame and each moment: what it comes to without knowing what can be left out.
struct Plain {
    specs: Vec<(Program, Vec<Memory>, bool)>,
}

proptest! {
    /// Skipping what cannot change anything changes nothing.
    #[test]
    fn what_is_left_out_makes_no_difference(
        steps in prop::collection::vec((0u64..40, -6i16..6, 0u8..4, any::<bool>()), 1..80),
        limits in prop::collection::vec((-6i32..6, 0usize..6, 0u8..4), 1..12),
    ) {
        let sign = ["<", "<=", ">", ">=", "==", "!="];
        let texts: Vec<String> = limits.iter().map(|(limit, which, other)| {
            let second = match other {
                0 => format!(" || Load == {}.0", limit.abs()),
                1 => " || Speed > Load + 3.0".to_owned(),
                // Never so, but each sample counts.
                2 => " || run(Load) < 0.0".to_owned(),
                _ => String::new(),
            };
            format!("Speed {} {}.0{second}", sign[*which], limit)
        }).collect();
        let specs: Vec<ConditionSpec> = texts.iter().enumerate().map(|(i, text)| spec(&i.to_string(), text)).collect();
        let mut plain = Plain { specs: specs.iter().map(|spec| (spec.when.clone(), Vec::new(), false)).collect() };
        let (mut engine, mut acts) = (engine(specs), Acts::default());
        let (mut ms, mut expected) = (0, Vec::new());
        for (wait, speed, load, cut) in steps {
            ms += wait;
            let whole = motor(ms, speed, load);
            let frame = if cut { frame(ms, 256, &whole.payload()[..2]) } else { whole };
            engine.frame(&frame, &mut acts);
            for (i, (program, memories, was)) in plain.specs.iter_mut().enumerate() {
                let sight = Seen(engine.state(), engine.now_ns());
                let is = program.run(&sight, engine.now_ns(), memories, &mut u64::MAX.clone()) == 1.0;
                if std::mem::replace(was, is) != is {
                    let phase = if is { ConditionPhase::Raised } else { ConditionPhase::Cleared };
                    expected.push((ms, i.to_string(), phase));
                }
            }
        }
        prop_assert_eq!(acts.all, expected);
    }
}

struct Seen<'a>(&'a State, u64);

impl Inputs for Seen<'_> {
    fn signal(&self, id: SignalId) -> f64 {
        self.0.signal(id).usable(self.1, MAX_AGE).unwrap_or(f64::NAN)
    }
    fn samples(&self, id: SignalId) -> Samples {
        Samples { step: 0.0, gap: 1.0, run: if self.signal(id).is_nan() { f64::NAN } else { 1.0 } }
    }
    fn feature(&self, _: u16) -> f64 {
        unreachable!("not asked for")
    }
    fn score(&self, _: u16) -> f64 {
        unreachable!("not asked for")
    }
    fn raised(&self, _: u16) -> bool {
        unreachable!("not asked for")
    }
    fn silent(&self, _: MessageId) -> bool {
        unreachable!("not asked for")
    }
}

#[test]
fn comparisons_with_numbers_have_tables() {
    for text in ["Speed > 3.0", "Speed > -3.0 && Load < 5.0", "3 >= Speed || !(Load == 1.0)", "Gear in [1, 2] && true"]
    {
        let table = table::Table::of(&spec("", text).when);
        assert!(table.is_some(), "{text}");
    }
    assert!(table::Table::of(&spec("", "Speed > Load").when).is_none());
}
