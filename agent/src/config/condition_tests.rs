use std::fs;

use super::super::{Config, ConfigError};
use crate::engine::conditions::{Hurry, Timing};
use crate::event::Class;

const DBC: &str = "VERSION \"\"\nBU_: A\nBO_ 256 Motor: 8 A\n SG_ Speed : 0|16@1+ (0.5,0) [0|8000] \"rpm\" A\n SG_ Load : 16|8@1+ (1,0) [0|100] \"%\" A\n";

const HEAD: &str = r#"
[vehicle]
id = "truck-7"

[[bus]]
name = "can0"
dbc = ["car.dbc"]

[[collect]]
name = "drive"
signals = ["Motor.*"]
period_ms = 1000
"#;

fn load(tables: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("car.dbc"), DBC).unwrap();
    let path = dir.path().join("c.toml");
    fs::write(&path, format!("{HEAD}{tables}")).unwrap();
    Config::load(&path)
}

#[test]
fn a_condition_is_understood() {
    let text = r#"
[[condition]]
name = "over-rev"
when = "Speed > 6000.0"
until = "Speed < 5500.0"
class = "critical"
priority = 10
hold_ms = 200
repeat_ms = 1000
cooldown_ms = 60000
max_per_hour = 20
snapshot = ["Motor.*"]
schedule = { days = ["fri-sun", "tue"], from = "22:00", to = "06:30", utc_offset = "+02:00" }
collect = { name = "drive", period_ms = 100, for_s = 30 }

[[condition]]
name = "usual"
when = '''
Speed > 1.0
  && Load > 90.0'''
"#;
    let config = load(text).unwrap();
    let [first, second] = &config.engine.conditions[..] else { panic!("{:?}", config.engine.conditions) };
    let ms = 1_000_000;
    let timing = Timing { hold_ns: 200 * ms, repeat_ns: Some(1000 * ms), cooldown_ns: 60_000 * ms, per_hour: Some(20) };
    assert_eq!((first.timing, first.priority, first.class), (timing, 10, Class::Critical));
    assert_eq!((first.until.is_some(), first.snapshot.len()), (true, 2));
    let hurry = Some(Hurry { collector: 0, period_ns: 100 * ms, for_ns: 30_000 * ms });
    assert_eq!(first.hurry, hurry);
    let (day, evening, morning) = (1440, 22 * 60, 30 * 60 + 30);
    let at = |n: u32| (n * day + evening, (n * day + morning) % (7 * day));
    assert_eq!(first.schedule.times, [at(1), at(4), at(5), at(6)]);
    assert_eq!(first.schedule.offset_min, 120);
    assert_eq!((second.timing, second.priority, second.class), (Timing::default(), 50, Class::Alert));
    assert_eq!((second.max_age_ns, second.snapshot.len(), second.period_ns), (5000 * ms, 2, None));
}

#[test]
fn mistakes_are_told_with_line_column_and_remedy() {
    let condition = |keys: &str| format!("[[condition]]\nname = \"c\"\n{keys}\n");
    // Lines after those of the head and the two above.
    let cases = [
        ("when = 'Speed > 1.0 && Lood > 2.0'", 1, Some(24), "no signal named `Lood`"),
        ("when = \"Speed + 1 > 2.0\"", 1, Some(17), "write 1.0"),
        ("when = '''\nSpeed > 1.0\n  && Load'''", 3, Some(6), "`&&` takes what is true or false"),
        (
            "when = 'Speed > 1.0'\nuntil = 'Speed <'",
            2,
            Some(17),
            "until: mismatched input the end: expected expression",
        ),
        ("when = 'age(Speed) > 1.0'", 1, Some(9), "give the condition a period_ms"),
        ("when = 'Speed > 1.0'\nclass = \"bulk\"", 2, None, "critical, alert or status"),
        ("when = 'Speed > 1.0'\nrepeat_ms = 1", 2, None, "condition.repeat_ms = 1: it must be from 10"),
        ("when = 'Speed > 1.0'\nmax_per_hour = 0", 2, None, "it must be from 1 to 3600"),
        ("when = 'Speed > 1.0'\nsnapshot = [\"Moter.*\"]", 2, None, "condition.snapshot: no signal named"),
        ("when = 'Speed > 1.0'\nschedule = { from = \"6:30\" }", 2, None, "write a time as 06:30"),
        ("when = 'Speed > 1.0'\nschedule = { days = [] }", 0, None, "condition.schedule.days is empty"),
        ("when = 'Speed > 1.0'\nschedule = { days = [\"monday\"] }", 2, None, "write mon, tue"),
        (
            "when = 'Speed > 1.0'\ncollect = { name = \"x\", period_ms = 100, for_s = 1 }",
            2,
            None,
            "no [[collect]] is called \"x\"",
        ),
        (
            "when = 'Speed > 1.0'\ncollect = { name = \"drive\", period_ms = 1000, for_s = 1 }",
            2,
            None,
            "looks every 1000 ms already",
        ),
        ("when = 'Speed > 1.0'\nnotify = true", 2, None, "needs the table [notify]"),
        ("when = 'Speed > 1.0'\nwhenn = 1", 2, None, "unknown field `whenn`"),
        ("when = 'Speed > 1.0'\n[[condition]]\nname = \"c\"\nwhen = 'Load > 1.0'", 3, None, "\"c\" is there twice"),
    ];
    let head = HEAD.lines().count() + 2;
    for (keys, ahead, at, expected) in cases {
        let error = load(&condition(keys)).unwrap_err();
        let ConfigError::Invalid { line, column, message, .. } = &error else { panic!("{error}") };
        assert!(message.contains(expected), "{keys}: {error}");
        assert_eq!((*line, *column), (head + ahead, at), "{keys}: {error}");
        assert!(error.to_string().contains(&match column {
            Some(column) => format!("c.toml:{line}:{column}: "),
            None => format!("c.toml:{line}: "),
        }));
    }
}
