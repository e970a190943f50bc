//! Values that cannot be used: a model never sees them, telemetry never sends them, health counts them by cause.

use can_decoders::Rules;
use can_decoders::integrity::{ChecksumRule, CounterRule, Suffix};

use super::*;

const DBC: &str = r#"BU_: A
BO_ 256 Motor: 8 A
 SG_ Temperature : 0|8@1+ (1,-40) [-40|210] "degC" A
 SG_ COUNTER : 8|4@1+ (1,0) [0|15] "" A
 SG_ CHECKSUM : 56|8@1+ (1,0) [0|255] "" A
BO_ 2566844926 Tank: 8 A
 SG_ Level : 0|8@1+ (0.4,0) [0|100] "%" A
BA_DEF_ BO_ "VFrameFormat" INT 0 3;
BA_ "VFrameFormat" BO_ 2566844926 3;
"#;

fn engine(rules: &Rules) -> Engine {
    let plan = Plan::compile_with(&[Database::parse("t", DBC.as_bytes()).unwrap()], rules).unwrap();
    let catalog = Catalog::new(vec![Bus::new("can0", plan)]);
    let collector = collect(&catalog, "Motor.Temperature", Mode::Aggregate, 0.0);
    Engine::new(catalog, HEALTH, vec![collector], vec![])
}

fn protected() -> Rules {
    let (message, signal) = (String::from("Motor"), String::from);
    Rules {
        checksums: vec![ChecksumRule {
            message: message.clone(),
            signal: signal("CHECKSUM"),
            algorithm: "sum8".parse().unwrap(),
            prefix: Vec::new(),
            suffix: Suffix::None,
        }],
        counters: vec![CounterRule { message, signal: signal("COUNTER"), max_jump: 1, modulus: 0 }],
        ..Rules::default()
    }
}

fn motor(ms: u64, temperature: u8, counter: u8) -> Frame {
    frame_on(0, ms, 256, &[temperature, counter, 0, 0, 0, 0, 0, temperature.wrapping_add(counter)])
}

/// Temperature's validity after each frame.
fn marks(engine: &mut Engine, frames: &[Frame]) -> Vec<Validity> {
    let id = engine.catalog().find_signal("Temperature").unwrap();
    let mut after = |frame| {
        engine.frame(frame, &mut Vec::new());
        engine.state().signal(id).validity
    };
    frames.iter().map(&mut after).collect()
}

#[test]
fn a_model_never_sees_255_degrees() {
    let mut engine = engine(&Rules::default());
    let specs =
        [spec("now", Function::Value, "Motor.Temperature", 0), spec("mean", Function::Mean, "Motor.Temperature", 2)];
    let mut features = FeatureSet::new(&specs, 10 * MS, engine.catalog()).unwrap();
    let mut events = Vec::new();
    engine.frame(&motor(0, 130, 0), &mut events);
    assert_eq!(features.tick(engine.state(), START + 10 * MS)[0], 90.0);
    engine.frame(&motor(10, 255, 1), &mut events);
    assert!(features.tick(engine.state(), START + 20 * MS).iter().all(|value| value.is_nan()));
    engine.frame(&motor(20, 132, 2), &mut events);
    assert_eq!(features.tick(engine.state(), START + 30 * MS)[0], 92.0);
    // The mean of what was collected is that of the two that can be used.
    engine.advance(START + 200 * MS, &mut events);
    let Some(Body::Aggregates(aggregate)) =
        events.iter().map(|event| &event.body).find(|body| body.kind() == "aggregates")
    else {
        panic!("{events:?}")
    };
    let (_, temperature) = &aggregate.stats.entries()[0];
    assert_eq!((temperature.n, temperature.mean), (2, 91.0));
}

#[test]
fn what_is_not_valid_is_counted_by_cause() {
    let mut engine = engine(&Rules::default());
    let tank = |ms, level| {
        let id = CanId::extended(2_566_844_926 & 0x1FFF_FFFF).unwrap();
        Frame::new(START + ms * MS, BusId(0), id, FrameKind::Data, &[level, 0, 0, 0, 0, 0, 0, 0]).unwrap()
    };
    for frame in [motor(0, 251, 0), tank(1, 0xFB), tank(2, 0xFE), tank(3, 0xFF), tank(4, 0xFF), tank(5, 250)] {
        engine.frame(&frame, &mut Vec::new());
    }
    let bus = *engine.health().bus(0);
    let counts = Validity::ALL.map(|cause| bus.invalid_by.count(cause));
    assert_eq!((bus.invalid, counts), (5, [0, 0, 0, 2, 2, 1, 0, 0]));
}

#[test]
fn repeated_and_changed_frames_are_not_believed() {
    use Validity::{Checksum, Counter, Valid};
    let mut engine = engine(&protected());
    let changed = frame_on(0, 40, 256, &[131, 4, 0, 0, 0, 0, 0, 0]);
    let frames =
        [motor(0, 130, 1), motor(10, 130, 2), motor(20, 130, 2), motor(30, 130, 3), changed, motor(50, 130, 4)];
    assert_eq!(marks(&mut engine, &frames), [Valid, Valid, Counter, Valid, Checksum, Valid]);
    let bus = *engine.health().bus(0);
    assert_eq!((bus.invalid_by.count(Counter), bus.invalid_by.count(Checksum), bus.invalid), (3, 3, 6));
}

#[test]
fn after_a_silence_or_a_jump_of_the_clock_a_counter_may_start_anew() {
    use Validity::{Counter, Valid};
    let mut engine = engine(&protected());
    let regular: Vec<Frame> = (0..30).map(|n: u8| motor(u64::from(n) * 10, 130, n % 16)).collect();
    assert!(marks(&mut engine, &regular).iter().all(|mark| *mark == Valid));
    assert_eq!(marks(&mut engine, &[motor(2000, 130, 3)]), [Valid], "it was silent");
    assert_eq!(marks(&mut engine, &[motor(2010, 130, 3)]), [Counter]);
    assert_eq!(marks(&mut engine, &[motor(500_000, 130, 9)]), [Valid], "the clock jumped");
}
