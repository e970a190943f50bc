use can_decoders::{BusId, CanId, Frame, FrameKind};

use super::super::{Config, ConfigError};
use crate::event::{Body, Class, ConditionPhase, Event};

const DBC: &str = "VERSION \"\"\nBU_: A\nBO_ 256 Restraint: 8 A\n SG_ Front : 0|16@1- (0.01,0) [0|0] \"g\" A\n \
    SG_ Rear : 16|16@1- (0.1,0) [0|0] \"m/s2\" A\n SG_ Airbag : 32|2@1+ (1,0) [0|3] \"\" A\n SG_ Odd : 34|2@1+ (1,0) [0|3] \"V\" A\n\
    BO_ 257 Motion: 8 A\n SG_ Speed : 0|16@1+ (0.01,0) [0|300] \"km/h\" A\n SG_ Roll : 16|16@1- (0.1,0) [0|0] \"deg\" A\n \
    SG_ Up : 32|16@1- (0.01,0) [0|0] \"m/s2\" A\n";

fn load(tables: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("car.dbc"), DBC).unwrap();
    let path = dir.path().join("c.toml");
    let text = format!("[vehicle]\nid = \"t\"\n[[bus]]\nname = \"can0\"\ndbc = [\"car.dbc\"]\n{tables}");
    std::fs::write(&path, text).unwrap();
    Config::load(&path)
}

#[test]
fn it_stands_for_conditions_of_two_sources() {
    let all = "[recorder]\ndir = \"r\"\n[crash]\nairbag = \"Airbag == 1.0\"\nspeed = \"Speed\"\nacceleration = [\"Front\", \"Rear\"]\n\
               roll = [\"Roll\"]\nvertical = \"Up\"\nsnapshot = [\"Motion.*\"]\nafter_s = 5\n";
    let conditions = load(all).unwrap().engine.conditions;
    let names: Vec<&str> = conditions.iter().map(|spec| &*spec.name).collect();
    assert_eq!(names, ["crash airbag", "crash impact", "crash rollover"]);
    for spec in &conditions {
        assert_eq!((spec.class, spec.priority, spec.notify), (Class::Critical, 0, false));
        let record = spec.record.unwrap();
        assert_eq!((record.before_ns, record.after_ns), (20_000_000_000, 5_000_000_000));
        assert!(spec.snapshot.len() >= 3);
    }
    assert!(
        load("[crash]\nspeed = \"Speed\"\nacceleration = [\"Front\"]\n").unwrap().engine.conditions[0].record.is_none()
    );
}

#[test]
fn what_cannot_tell_a_crash_is_told() {
    for (tables, line, expected) in [
        ("[crash]\n", 6, "names no sources"),
        ("[crash]\nspeed = \"Speed\"\n", 6, "a second source is needed for a deceleration"),
        ("[crash]\nroll = [\"Roll\"]\n", 6, "a second source is needed for a roll-over"),
        ("[crash]\nairbag = \"Airbag > 0.0\"\n", 7, "a second source is needed: name a speed"),
        ("[crash]\nspeed = \"Sped\"\n", 7, "Sped"),
        ("[crash]\nacceleration = [\"Front\", \"Odd\"]\n", 7, "Odd has the unit \"V\"; known are m/s2"),
        ("[crash]\nairbag = \"Airbag\"\nspeed = \"Speed\"\n", 7, "crash.airbag: "),
        ("[crash]\nspeed = \"Speed\"\nacceleration = [\"Front\"]\ndeceleration_ms2 = 5.0\n", 9, "from 10 to 200"),
        ("[crash]\nspeed = \"Speed\"\nacceleration = [\"Front\"]\nbefore_s = 5\n", 9, "need the table [recorder]"),
        (
            "[crash]\nspeed = \"Speed\"\nacceleration = [\"Front\"]\nnotify = true\n",
            6,
            "notify needs the table [notify]",
        ),
        (
            "[crash]\nspeed = \"Speed\"\nacceleration = [\"Front\"]\n[[condition]]\nname = \"crash impact\"\nwhen = \"Speed > 1.0\"\n",
            6,
            "condition \"crash impact\" is there twice",
        ),
    ] {
        let error = load(tables).map(|_| expected).unwrap_err().to_string();
        assert!(error.contains(&format!("c.toml:{line}:")) && error.contains(expected), "{expected}: {error}");
    }
}

/// What the vehicle's sensors say, in the units of the DBC file.
#[derive(Debug, Clone, Copy, Default)]
struct Sensors {
    front_g: f64,
    rear: f64,
    airbag: u8,
    speed: f64,
    roll: f64,
    up: f64,
}

/// The conditions that are raised by two seconds of this, after two seconds of driving and before two more.
#[allow(clippy::cast_possible_truncation, reason = "of numbers that fit")]
fn raised(change: impl Fn(&mut Sensors, u64)) -> Vec<String> {
    let text = "[crash]\nairbag = \"Airbag == 1.0\"\nspeed = \"Speed\"\nacceleration = [\"Front\", \"Rear\"]\nroll = [\"Roll\"]\nvertical = \"Up\"\n";
    let mut engine = load(text).unwrap().engine.build().unwrap();
    let mut events: Vec<Event> = Vec::new();
    for ms in 0..6000_u64 {
        let mut sensors = Sensors { speed: 90.0, up: 9.81, ..Sensors::default() };
        if (2000..4000).contains(&ms) {
            change(&mut sensors, ms - 2000);
        }
        let Sensors { front_g, rear, airbag, speed, roll, up } = sensors;
        let raw = |value: f64, step: f64| ((value / step).round() as i16).to_le_bytes();
        let restraint = [raw(front_g, 0.01), raw(rear, 0.1), [airbag, 0], [0; 2]].concat();
        let motion = [raw(speed, 0.01), raw(roll, 0.1), raw(up, 0.01), [0; 2]].concat();
        for (id, payload) in [(256, restraint), (257, motion)] {
            // Each comes every ten milliseconds.
            if ms % 10 == u64::from(id) % 10 {
                let id = CanId::standard(id).unwrap();
                let frame =
                    Frame::new(1_700_000_000_000_000_000 + ms * 1_000_000, BusId(0), id, FrameKind::Data, &payload);
                engine.frame(&frame.unwrap(), &mut events);
            }
        }
    }
    let raised = events.iter().filter_map(|event| match &event.body {
        Body::Condition(condition) if condition.phase == ConditionPhase::Raised => Some(condition.name.to_string()),
        _ => None,
    });
    raised.collect()
}

#[test]
fn two_sources_call_for_help_and_one_does_not() {
    let none: [&str; 0] = [];
    assert_eq!(raised(|_, _| {}), none);
    // Each alone, be it stuck at its end, noisy, or gone mad.
    assert_eq!(raised(|now, _| now.front_g = -9.0), none);
    assert_eq!(raised(|now, ms| now.rear = if ms % 40 < 20 { 300.0 } else { -300.0 }), none);
    assert_eq!(raised(|now, ms| now.speed = if ms % 100 < 50 { 0.0 } else { 90.0 }), none);
    assert_eq!(raised(|now, _| now.airbag = 1), none);
    assert_eq!(raised(|now, _| now.roll = 170.0), none);
    assert_eq!(raised(|now, _| now.up = 0.0), none);
    // The hardest that brakes and a kerb can do.
    assert_eq!(
        raised(|now, ms| (now.front_g, now.rear, now.speed) = (-1.2, -12.0, (90.0 - 0.04 * ms as f64).max(0.0))),
        none
    );
    assert_eq!(raised(|now, ms| (now.roll, now.up) = (35.0, if ms < 200 { 0.0 } else { 8.0 })), none);

    assert_eq!(
        raised(|now, ms| (now.front_g, now.rear) = if ms < 120 { (-5.0, -45.0) } else { (0.0, 0.0) }),
        ["crash impact"]
    );
    assert_eq!(
        raised(|now, ms| (now.rear, now.speed) = if ms < 100 { (50.0, 90.0) } else { (0.0, 30.0) }),
        ["crash impact"]
    );
    assert_eq!(
        raised(|now, ms| (now.airbag, now.front_g) = (u8::from(ms > 500), if ms < 100 { -5.0 } else { 0.0 })),
        ["crash airbag"]
    );
    assert_eq!(raised(|now, _| (now.roll, now.up) = (-120.0, -4.0)), ["crash rollover"]);
    let all = raised(|now, ms| {
        (now.front_g, now.rear, now.airbag) = if ms < 100 { (-20.0, -180.0, 0) } else { (0.0, 0.0, 1) };
        (now.roll, now.up) = if ms < 300 { (0.0, 9.81) } else { (95.0, 0.5) };
    });
    assert_eq!(all, ["crash impact", "crash airbag", "crash rollover"]);
}
