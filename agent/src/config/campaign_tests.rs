use super::super::{Config, ConfigError};
use crate::engine::conditions::Hurry;

const DBC: &str = "VERSION \"\"\nBU_: A\nBO_ 256 Motor: 8 A\n SG_ Speed : 0|16@1+ (0.5,0) [0|8000] \"rpm\" A\n";

const CAMPAIGN: &str = r#"
name = "cold-start"
start = 2026-12-01T06:00:00+01:00
end = 2027-03-01
volume_mib = 50

[[collect]]
name = "cold"
signals = ["Motor.*"]
period_ms = 1000

[[condition]]
name = "cold and fast"
when = "Speed > 4000.0"
collect = { name = "cold", period_ms = 100, for_s = 30 }
"#;

fn load(campaign: &str, more: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("car.dbc"), DBC).unwrap();
    std::fs::write(dir.path().join("cold.toml"), campaign).unwrap();
    let path = dir.path().join("c.toml");
    let text = format!(
        "[vehicle]\nid = \"t\"\n[[bus]]\nname = \"can0\"\ndbc = [\"car.dbc\"]\n\
         [[collect]]\nname = \"usual\"\nsignals = [\"Speed\"]\nperiod_ms = 5000\n\
         [[campaign]]\nfile = \"cold.toml\"\n{more}"
    );
    std::fs::write(&path, text).unwrap();
    Config::load(&path)
}

#[test]
fn a_campaign_is_a_file_of_its_own() {
    let engine = load(CAMPAIGN, "").unwrap().engine;
    let [spec] = &engine.campaigns[..] else { panic!("{:?}", engine.campaigns) };
    assert_eq!((&*spec.name, spec.volume_bytes), ("cold-start", 50 << 20));
    assert_eq!(spec.from_ns, 1_796_101_200_000_000_000, "05:00 in Greenwich");
    assert_eq!(spec.to_ns, 1_803_859_200_000_000_000);
    let [usual, cold] = &engine.collections[..] else { panic!("{:?}", engine.collections) };
    assert_eq!((usual.campaign, cold.campaign), (None, Some(0)));
    let [condition] = &engine.conditions[..] else { panic!("{:?}", engine.conditions) };
    assert_eq!(condition.campaign, Some(0));
    let hurry = Hurry { collector: 1, period_ns: 100_000_000, for_ns: 30_000_000_000 };
    assert_eq!(condition.hurry, Some(hurry), "its own collection");
    let always = load(
        &CAMPAIGN.replace("\nstart", "\n# start").replace("\nend", "\n# end").replace("\nvolume", "\n# volume"),
        "",
    );
    let always = always.unwrap().engine.campaigns.remove(0);
    assert_eq!((always.from_ns, always.to_ns, always.volume_bytes), (0, u64::MAX, u64::MAX));
}

#[test]
fn what_is_wrong_with_a_campaign_is_told_with_its_file_and_line() {
    let change = |from: &str, to: &str| {
        assert!(CAMPAIGN.contains(from), "{from}");
        CAMPAIGN.replacen(from, to, 1)
    };
    for (campaign, more, expected) in [
        (change("\"cold-start\"", "\"cold start\""), "", "cold.toml:2: name: use 1 to 64 letters"),
        (change("2027-03-01", "2026-03-01"), "", "cold.toml:4: end is not behind start"),
        (change("2027-03-01", "07:00:00"), "", "cold.toml:4: end = 07:00:00: write it as"),
        (change("2027-03-01", "\"soon\""), "", "cold.toml:4: "),
        (change("50", "0"), "", "cold.toml:5: volume_mib = 0: it must be from 1"),
        (change("Motor.*", "Gear"), "", "cold.toml:9: collect.signals: "),
        (change("Speed > 4000.0", "Speed + 1 > 4000.0"), "", "cold.toml:14:"),
        (change("name = \"cold\", period", "name = \"usual\", period"), "", "no [[collect]] is called \"usual\""),
        (change("name = \"cold\"\nsignals", "name = \"usual\"\nsignals"), "", "another collection is called \"usual\""),
        (change("period_ms = 1000", "rate = 1"), "", "cold.toml:"),
        ("name = \"a\"".to_owned(), "", "cold.toml:1: has neither"),
        (
            CAMPAIGN.to_owned(),
            "[[campaign]]\nfile = \"cold.toml\"\n",
            "cold.toml:2: another campaign is called \"cold-start\"",
        ),
        (CAMPAIGN.to_owned(), "[[campaign]]\nfile = \"none.toml\"\n", "c.toml:13: campaign.file: "),
        (
            CAMPAIGN.to_owned(),
            "[[condition]]\nname = \"cold and fast\"\nwhen = \"Speed > 1.0\"\n",
            "cold.toml:13: another condition is called \"cold and fast\"",
        ),
    ] {
        let error = load(&campaign, more).map(|_| expected).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
