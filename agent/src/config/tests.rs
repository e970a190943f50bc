use std::fs;
use std::time::Duration;

use can_decoders::Plan;

use super::*;
use crate::event::Regions;

const DBC: &str = "VERSION \"\"\nBU_: A\nBO_ 256 Motor: 8 A\n SG_ Speed : 0|16@1+ (0.5,0) [0|8000] \"rpm\" A\n";

const GOOD: &str = r#"
[vehicle]
id = "truck-7"

[[bus]]
name = "can0"
dbc = ["car.dbc"]

[source]
kind = "sim"
seed = 3
faults = ["crash@10+1"]

[[collect]]
name = "drive"
signals = ["Motor.*"]
period_ms = 1000

[outbox]
dir = "state"
quota_mib = 16

[[gateway]]
url = "mqtt://localhost"
"#;

fn load(text: &str) -> (Result<Config, ConfigError>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("car.dbc"), DBC).unwrap();
    fs::write(dir.path().join("broken.dbc"), "BO_ 256 Motor 8 A\n").unwrap();
    let path = dir.path().join("c.toml");
    fs::write(&path, text).unwrap();
    (Config::load(&path), dir)
}

#[test]
fn a_good_file_is_understood_and_paths_are_relative_to_it() {
    let (config, dir) = load(GOOD);
    let config = config.unwrap();
    assert_eq!(&*config.vehicle, "truck-7");
    assert_eq!(config.outbox.unwrap().dir, dir.path().join("state"));
    assert_eq!(config.engine.collections[0].signals.len(), 1);
    let crate::uplink::Protocol::Mqtt(mqtt) = &config.uplink.gateways[0].protocol else { panic!("MQTT") };
    assert_eq!((mqtt.host.as_str(), mqtt.port, mqtt.client_id.as_str()), ("localhost", 1883, "outrider-{vehicle}"));
    assert!(matches!(config.source, Some(SourceConfig::Sim { seed: 3, .. })));
}

#[test]
fn a_recording_in_local_time_has_its_offset() {
    let replay = "kind = \"replay\"\nlog = \"drive.blf\"\nutc_offset = \"-05:30\"";
    let (config, dir) = load(&GOOD.replace("kind = \"sim\"\nseed = 3\nfaults = [\"crash@10+1\"]", replay));
    let Some(SourceConfig::Replay { log, utc_offset, .. }) = config.unwrap().source else { panic!("a recording") };
    assert_eq!((log, utc_offset.seconds()), (dir.path().join("drive.blf"), -19_800));
}

/// Each change of the good file is refused with the line of the mistake and words that lead to the remedy.
#[test]
fn mistakes_are_named_with_line_and_remedy() {
    let cases = [
        ("id = \"truck-7\"", "id = \"truck 7\"", 3, "letters, digits"),
        ("id = \"truck-7\"", "id = \"truck-7\"\nidd = 1", 4, "idd"),
        ("car.dbc", "gone.dbc", 7, "gone.dbc"),
        ("car.dbc", "broken.dbc", 7, "broken.dbc:1"),
        ("kind = \"sim\"", "kind = \"simm\"", 10, "simm"),
        (
            "kind = \"sim\"\nseed = 3\nfaults = [\"crash@10+1\"]",
            "kind = \"replay\"\nlog = \"a\"\nutc_offset = \"CET\"",
            9,
            "+02:00",
        ),
        ("crash@10+1", "crush@10+1", 9, "crush"),
        ("Motor.*", "Moter.*", 16, "Moter"),
        ("period_ms = 1000", "period_ms = 1", 17, "from 10 to"),
        ("quota_mib = 16", "quota_mib = 1", 21, "from 4 to"),
        ("mqtt://localhost", "mqtt://broker.example", 24, "allow_plaintext"),
        ("mqtt://localhost", "mqtts://broker.example", 24, "ca_file"),
        ("mqtt://localhost", "amqp://localhost", 24, "mqtts://host:8883"),
        ("[[gateway]]", "[[gateway]]\ntopic = \"a/#\"", 24, "topic"),
        ("[[gateway]]", "[[gateway]]\npassword_file = \"none\"", 24, "password_file"),
        ("[[gateway]]", "[health]\nperiod_s = 0\n[[gateway]]", 23, "period_s"),
        ("[outbox]", "[[model]]\ndir = \"nowhere\"\n[outbox]", 20, "not a directory"),
        ("[vehicle]", "[vehicle", 2, ""),
    ];
    for (from, to, line, word) in cases {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD);
        let error = load(&text).0.expect_err(to).to_string();
        assert!(error.contains(&format!("c.toml:{line}: ")) && error.contains(word), "{to}: {error}");
    }
}

#[test]
fn any_text_is_read_or_refused() {
    for text in
        ["", "\u{feff}", "[[bus]]", "[vehicle]\nid = 1", "[source]\nkind=\"sim\"\nspeed=nan\n[vehicle]\nid=\"a\""]
    {
        assert!(load(text).0.is_err(), "{text}");
    }
}

const VALIDITY: &str = r#"dbc = ["car.dbc"]
[bus.validity]
ranges = "all"
j1939 = "never"
[[bus.validity.signal]]
name = "Motor.Speed"
max = 6000
not_available = [65535, [65000, 65010]]
[[bus.validity.checksum]]
signal = "Motor.SUM"
algorithm = "CRC-8/SAE-J1850"
prefix = [1, 2]
[[bus.validity.counter]]
signal = "*.COUNT"
max_jump = 2
"#;

const PROTECTED: &str = "VERSION \"\"\nBU_: A\nBO_ 256 Motor: 8 A\n SG_ Speed : 0|16@1+ (0.5,0) [0|8000] \"rpm\" A\n \
                         SG_ COUNT : 16|4@1+ (1,0) [0|15] \"\" A\n SG_ SUM : 24|8@1+ (1,0) [0|255] \"\" A\n";

fn with_validity(validity: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("car.dbc"), PROTECTED).unwrap();
    let path = dir.path().join("c.toml");
    fs::write(&path, GOOD.replace("dbc = [\"car.dbc\"]\n", validity)).unwrap();
    Config::load(&path)
}

#[test]
fn validity_is_configured_by_bus() {
    use can_decoders::Validity::{Checksum, NotAvailable, OutOfRange, Valid};
    let plan = |validity: &str| with_validity(validity).unwrap().engine.catalog.buses()[0].plan.clone();
    let first = |plan: &Plan, payload: &[u8]| {
        let message = plan.find_message("Motor").unwrap();
        plan.decode(message, payload).signals().next().unwrap().validity
    };
    let whole = plan(VALIDITY);
    assert_eq!(first(&whole, &[0, 0, 0, 0]), Checksum);
    let marks = plan(&VALIDITY.replace(
        "[[bus.validity.checksum]]\nsignal = \"Motor.SUM\"\nalgorithm = \"CRC-8/SAE-J1850\"\nprefix = [1, 2]\n",
        "",
    ));
    let raw = |raw: u16| first(&marks, &[raw.to_le_bytes()[0], raw.to_le_bytes()[1], 0, 0]);
    assert_eq!(
        [12_000, 12_001, 65_005, 65_011, 65_535].map(raw),
        [Valid, OutOfRange, NotAvailable, OutOfRange, NotAvailable]
    );
}

#[test]
fn mistakes_about_validity_are_named() {
    let cases = [
        ("CRC-8/SAE-J1850", "CRC-9", "bus.validity.checksum.algorithm = \"CRC-9\": no checksum is called like this"),
        ("Motor.SUM", "SUM", "bus.validity.checksum.signal = \"SUM\": write Message.Signal"),
        ("Motor.SUM", "Motor.CRC", "bus.validity of can0: there is no signal CRC in message Motor"),
        ("Motor.SUM", "Engine.SUM", "there is no message Engine"),
        ("max = 6000", "error = [70000]", "its bits cannot have such raw values"),
        ("*.COUNT", "*.COUNTER", "there is no signal COUNTER in message *"),
        ("max_jump = 2", "max_jump = 0", "a counter goes on by at least 1"),
        ("prefix = [1, 2]", "suffix = [1]\nsuffix_by_counter = [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]", "not both"),
        ("ranges = \"all\"", "ranges = \"some\"", "some"),
        ("max = 6000", "maxx = 6000", "maxx"),
    ];
    for (good, bad, expected) in cases {
        let error = with_validity(&VALIDITY.replace(good, bad)).unwrap_err();
        let ConfigError::Invalid { line, message, .. } = &error else { panic!("{error}") };
        assert!(message.contains(expected), "{error}");
        // At the mistake, or at the name in the table's first line.
        let text = GOOD.replace("dbc = [\"car.dbc\"]\n", &VALIDITY.replace(good, bad));
        let table = text.lines().take(*line).collect::<Vec<_>>().join("\n");
        let table = table.rsplit("[[bus").next().unwrap();
        let rest: String = text.lines().skip(line - 1).take(3).collect();
        assert!((table.to_owned() + &rest).contains(bad.lines().next().unwrap()), "{error}: {table}");
    }
}

#[test]
fn what_holds_for_a_class_of_the_outbox_is_its_own_table() {
    use crate::outbox::Durability;
    let classes = "quota_mib = 16\nwrite_mib_per_day = 100\n\n[outbox.class.telemetry]\nstore = \"always\"\nquota_kib = 2048\n\
                   max_age_s = 86400\n\n[outbox.class.alert]\nstore = \"offline\"";
    let (config, _dir) = load(&GOOD.replace("quota_mib = 16", classes));
    let outbox = config.unwrap().outbox.unwrap().config;
    assert_eq!((outbox.quota_bytes, outbox.write_budget), (16 << 20, Some(100 << 20)));
    let [critical, alert, _, telemetry, bulk] = outbox.classes;
    assert_eq!(
        (critical.store, alert.store, bulk.store),
        (Durability::Always, Durability::Offline, Durability::Offline)
    );
    assert_eq!((telemetry.store, telemetry.quota_bytes), (Durability::Always, 2 << 20));
    assert_eq!((telemetry.max_age, bulk.max_age), (Duration::from_secs(86_400), Duration::MAX));
    for (bad, key) in [
        ("[outbox.class.telemetry]\nmax_age_s = 1", "outbox.class.telemetry.max_age_s = 1: it must be from 60"),
        ("[outbox.class.bulk]\nquota_kib = 1", "outbox.class.bulk.quota_kib = 1: it must be from 16"),
        ("write_mib_per_day = 0", "outbox.write_mib_per_day = 0: it must be from 1"),
        ("[outbox.class.debug]\nquota_kib = 100", "unknown field `debug`"),
        ("[outbox.class.bulk]\nstore = \"never\"", "unknown variant `never`"),
    ] {
        let (config, _dir) = load(&GOOD.replace("quota_mib = 16", &format!("quota_mib = 16\n{bad}")));
        let error = config.unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn a_profile_that_cannot_be_used_is_left_out_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[vehicle]\nid = \"v\"\n[[bus]]\nname = \"can0\"\ndbc = []\n[profile]\nfile = \"car.toml\"\n";
    let config = || Config::parse(&dir.path().join("outrider.toml"), text).unwrap().engine;
    let live = config().build_live();
    assert!(live.engine.guard().is_none());
    let [refused] = &live.refused[..] else { panic!() };
    assert_eq!((&*refused.name, refused.state), ("car.toml", "refused"));
    assert!(refused.reason.contains("car.toml: No such file"), "{}", refused.reason);
    assert!(config().build().is_err());
    let profile = crate::profile::test_traffic::learned(5).to_text().unwrap();
    std::fs::write(dir.path().join("car.toml"), profile).unwrap();
    let filtered = text.replace("dbc = []", "dbc = []\nonly_known = true");
    let warnings = Config::parse(&dir.path().join("outrider.toml"), &filtered).unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("only_known")), "{warnings:?}");
    let live = config().build_live();
    assert_eq!((live.refused.len(), &*live.engine.guard().unwrap().finder().name), (0, "test"));
}

const KEY: &str = "key_file = \"names.key\"\n";

/// A good file with these tables behind it, and a key beside it.
fn with_privacy(tables: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("car.dbc"), DBC).unwrap();
    for (name, key) in [("names.key", "k".repeat(32)), ("short.key", "k".repeat(31))] {
        let file = dir.path().join(name);
        fs::write(&file, key).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let path = dir.path().join("c.toml");
    fs::write(&path, format!("{GOOD}{tables}")).unwrap();
    Config::load(&path).map_err(|error| error.to_string())
}

#[test]
fn rules_of_privacy_are_understood() {
    let text = format!(
        "region = \"eu\"\n[privacy]\nvehicle = \"pseudonym\"\n{KEY}rotate_days = 7\n\
         [[privacy.rule]]\nsignals = [\"Motor.*\"]\nclasses = [\"telemetry\"]\nround = 5\ntime_s = 60\n\
         [[privacy.rule]]\nlatitude = \"Speed\"\nlongitude = \"Motor.Speed\"\ngrid_m = 500\n\
         [[privacy.rule]]\nclasses = [\"bulk\"]\nregions = [\"uk\", \"eu\"]\n\
         [[privacy.rule]]\nclasses = [\"alert\"]\nregions = [\"mars\"]\n"
    );
    let config = with_privacy(&text).unwrap();
    let privacy = &config.privacy;
    assert!(privacy.vehicle && privacy.pseudonyms.is_some());
    assert_eq!(privacy.rules.len(), 5, "a position has two");
    assert_eq!(privacy.rules[0].bucket_ns, Some(60_000_000_000));
    assert_eq!(privacy.rules[3].regions, Regions::new(["eu", "uk"]));
    assert_eq!(config.uplink.audiences.len(), 2);
    assert!(config.warnings.iter().any(|w| w.contains("mars") && w.contains("stays")), "{:?}", config.warnings);
}

#[test]
fn rules_of_privacy_that_cannot_hold_are_refused_with_line_and_remedy() {
    let rule = |keys: &str| format!("[[privacy.rule]]\nsignals = [\"Speed\"]\n{keys}\n");
    let nine: String = (0..9).map(|n| format!("[[privacy.rule]]\nregions = [\"r{n}\"]\n")).collect();
    let cases = [
        ("[privacy]\nvehicle = \"pseudonym\"\n".to_owned(), "openssl rand"),
        ("[privacy]\nkey_file = \"short.key\"\n".to_owned(), "31 characters"),
        ("[privacy]\nkey_file = \"none.key\"\n".to_owned(), "none.key"),
        (rule("pseudonym = true"), "need key_file"),
        (rule("drop = true\nround = 1"), "one of drop, round, pseudonym"),
        (rule("round = 0"), "above zero"),
        (rule("round = inf"), "above zero"),
        (rule("grid_m = 5"), "go together"),
        (rule("latitude = \"Speed\"\nlongitude = \"Speed\"\ngrid_m = 50"), "are for others"),
        (rule("classes = []\ndrop = true"), "name at least one"),
        (rule(""), "says nothing"),
        (rule("regions = []"), "name at least one"),
        (rule("regions = [\"e,u\"]"), "letters, digits"),
        (rule("time_s = 0"), "from 1 to"),
        ("[[privacy.rule]]\ndrop = true\n".to_owned(), "need signals"),
        ("[[privacy.rule]]\nsignals = [\"Speeed\"]\ndrop = true\n".to_owned(), "no signal named"),
        (nine, "there can be 8"),
    ];
    let first = GOOD.lines().count() + 1;
    for (tables, expected) in cases {
        let error = with_privacy(&tables).unwrap_err();
        assert!(error.contains(expected), "{tables}: {error}");
        let line: usize = error.split("c.toml:").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
        assert!(line >= first, "{tables}: {error}");
    }
}
