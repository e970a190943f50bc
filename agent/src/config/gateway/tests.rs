use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::Config;

fn load(gateways: &str) -> Result<UplinkConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, mode) in [("password", 0o600), ("open", 0o644)] {
        let path = dir.path().join(name);
        std::fs::write(&path, "hunter2\n").unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let text = format!("[vehicle]\nid = \"v1\"\n{gateways}");
    Config::parse(&dir.path().join("c.toml"), &text).map(|config| config.uplink).map_err(|error| error.to_string())
}

#[test]
fn gateways_are_in_order_and_each_is_what_its_url_says() {
    let config = load(
        "[uplink]\ncopies = { critical = 2 }\nfailover_after_s = 7\n\
         [[gateway]]\nurl = \"mqtts://a.example\"\nca_file = \"ca.pem\"\nregion = \"eu\"\nmin_tls = \"1.3\"\n\
         message_expiry_s = { telemetry = 60 }\n\
         [[gateway]]\nname = \"backup\"\nurl = \"kafka://localhost,[::1]:9\"\nclasses = [\"critical\", \"bulk\"]\n\
         sasl = \"scram-sha-512\"\nusername = \"u\"\npassword_file = \"password\"\nbatch_kib = 64\n",
    )
    .unwrap();
    assert_eq!((config.copies, config.failover_after), ([2, 1, 1, 1, 1], Duration::from_secs(7)));
    let [first, second] = &config.gateways[..] else { panic!("two") };
    assert_eq!((&*first.name, first.region.as_deref(), first.classes), ("a.example", Some("eu"), [true; 5]));
    let Protocol::Mqtt(mqtt) = &first.protocol else { panic!("MQTT") };
    assert_eq!((mqtt.port, mqtt.client_id.as_str()), (8883, "outrider-{vehicle}"));
    assert_eq!(mqtt.message_expiry, [None, None, None, Some(Duration::from_secs(60)), None]);
    assert!(mqtt.tls.as_ref().unwrap().ca_file.ends_with("ca.pem") && mqtt.state_topic.is_some());
    assert_eq!((&*second.name, second.classes), ("backup", [true, false, false, false, true]));
    let Protocol::Kafka(kafka) = &second.protocol else { panic!("Kafka") };
    assert_eq!(kafka.brokers, ["localhost:9092", "[::1]:9"]);
    let sasl = kafka.sasl.as_ref().unwrap();
    assert_eq!((sasl.mechanism, sasl.password.reveal()), (SaslMechanism::ScramSha512, "hunter2"));
    assert_eq!(kafka.batch_bytes, 65_536);
}

#[test]
fn mistakes_are_named() {
    let gateway = |keys: &str| format!("[[gateway]]\nurl = \"mqtt://localhost\"\n{keys}\n");
    let kafka = |keys: &str| format!("[[gateway]]\nurl = \"kafka://localhost\"\n{keys}\n");
    let cases = [
        (gateway("compression = \"gzip\""), ":4: ", "compression is not for MQTT"),
        (kafka("window = 3"), ":4: ", "window is not for Kafka"),
        (kafka("sasl = \"plain\""), ":4: ", "go together"),
        (kafka("topic = \"a\"").replace("localhost", "kafka.example"), ":4: ", "allow_plaintext"),
        (kafka("ca_file = \"a\"").replace("kafka://localhost", "kafkas://[::1]"), ":4: ", "give a name"),
        (gateway("region = \"e u\""), ":5: ", "letters"),
        (gateway("classes = []"), ":4: ", "at least one"),
        (gateway("classes = [\"urgent\"]"), ":5: ", "urgent"),
        (gateway("username = \"u\"\npassword_file = \"open\""), ":6: ", "chmod 600"),
        (gateway("username = \"u\"\npassword_file = \"gone\""), ":6: ", "gone"),
        (gateway("backoff_min_ms = 100\nbackoff_max_ms = 10"), ":4: ", "above backoff_max_ms"),
        (gateway("pins = [\"x\"]"), ":4: ", "mqtts://"),
        (gateway("ca_file = \"a\"\npins = [\"x\"]").replace("mqtt:", "mqtts:"), ":6: ", "sha256/"),
        (gateway("mqtt_version = \"4\""), ":5: ", "3.1.1"),
        (gateway("") + &gateway(""), ":7: ", "twice"),
        (gateway("") + "[uplink]\ncopies = { alert = 2 }\n", ":7: ", "from 1 to 1"),
    ];
    for (text, line, words) in cases {
        let error = load(&text).expect_err(&text);
        assert!(error.contains(line) && error.contains(words), "{text}: {error}");
    }
}

#[test]
fn networks_have_budgets() {
    let good = "[[network]]\ninterface = \"wwan*\"\nmib_per_day = 50\nkbit_per_s = 256\n\
                classes = [\"critical\", \"alert\"]\n[[network]]\ninterface = \"eth0\"\n";
    let networks = load(good).unwrap().networks;
    let first = NetworkConfig {
        interface: "wwan*".into(),
        bytes_per_day: Some(50 << 20),
        bytes_per_s: Some(32_000),
        classes: [true, true, false, false, false],
    };
    assert_eq!(networks[0], first);
    assert_eq!((networks[1].bytes_per_day, networks[1].bytes_per_s, networks[1].classes), (None, None, [true; 5]));
    for (bad, word) in [
        ("interface = \"\"", "wwan*"),
        ("interface = \"w*n\"", "wwan*"),
        ("interface = \"an_interface_too_long\"", "wwan*"),
        ("interface = \"a\"\nmib_per_day = 0", "from 1"),
        ("interface = \"a\"\nkbit_per_s = 0", "from 1"),
        ("interface = \"a\"\nclasses = []", "leave it out"),
    ] {
        let error = load(&format!("[[network]]\n{bad}\n")).unwrap_err();
        assert!(error.contains(word) && error.contains(".toml:"), "{bad}: {error}");
    }
}
