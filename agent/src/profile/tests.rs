use can_decoders::Database;

use super::learn::{LearnError, Learner};
use super::test_traffic::{IDS, SECOND, START, frame, learned, traffic};
use super::*;

#[test]
fn finds_what_is_in_the_traffic() {
    let profile = learned(400);
    let [bus] = &profile.buses[..] else { panic!("{:?}", profile.buses) };
    let message = |id: &str| bus.messages.iter().find(|message| message.id == id).unwrap();
    assert_eq!(bus.messages.len(), IDS.len());
    assert!(bus.newest_s < 10.0, "{}", bus.newest_s);
    assert_eq!(profile.provenance.frames, bus.messages.iter().map(|message| message.frames).sum::<u64>());
    assert!((profile.provenance.seconds - 400.0).abs() < 0.2);

    let fast = message("100");
    let timing = fast.timing.unwrap();
    assert_eq!((fast.frames, timing.gaps, fast.lengths.as_slice()), (40_000, 39_999, &[8][..]));
    assert!((timing.mean_ms - 10.0).abs() < 0.01 && timing.deviation_ms < 0.5 && timing.shortest_ms > 9.0);
    assert!(timing.longest_ms < 11.0 && timing.second_ms <= timing.longest_ms);
    assert!((50.0..53.0).contains(&timing.busiest[0]), "{:?}", timing.busiest);
    let counter = Counter { byte: 0, shift: 0, bits: 4, modulus: 16, breaks: 0 };
    assert_eq!(fast.counter, Some(counter));
    // The CRC that starts and ends otherwise has another distance, and is the same algorithm to whoever looks for it.
    let checksum = Checksum { algorithm: "CRC-8/SAE-J1850".into(), byte: 7, distance: 0x37 };
    assert_eq!(fast.checksum, Some(checksum));
    assert_eq!(&fast.flips[4..8], [0; 4], "the constant half byte");
    let [number] = &fast.fields[..] else { panic!("{:?}", fast.fields) };
    assert!(number.samples == 40_000 && number.turns > 100 && number.values == MAX_VALUES, "{number:?}");
    assert!(number.step <= 42.0 && number.max - number.min > 10_000.0, "{number:?}");
    // What a switched flag changes is no number.
    assert!(message("300").fields.is_empty() && message("300").checksum.is_none());

    let [relation, other] = &profile.relations[..] else { panic!("{:?}", profile.relations) };
    for relation in [relation, other] {
        let to_half = relation.x.id == "100";
        let slope = if to_half { 0.5 } else { 2.0 };
        assert!((relation.slope - slope).abs() < 0.01 * slope, "{relation:?}");
        assert!(relation.off < 2000.0, "{relation:?}");
    }
}

#[test]
fn a_file_says_all_of_it_and_is_read_again() {
    let profile = learned(30);
    let text = profile.to_text().unwrap();
    let again = Profile::parse(&text).unwrap();
    assert_eq!(again.hash.len(), 64);
    assert_eq!(Profile { hash: String::new(), ..again }, profile);
    assert_eq!(learned(30).to_text().unwrap(), text, "the same recordings, the same bytes");
}

#[test]
fn a_dbc_file_gives_names_and_signals() {
    let dbc = "BO_ 256 Engine: 8 A\n SG_ Speed : 15|16@0+ (0.5,-100) [0|0] \"1/min\" A\n\
               BO_ 2566844672 Other: 8 A\n SG_ Mux M : 0|8@1+ (1,0) [0|0] \"\" A\n SG_ Value m255 : 8|8@1- (1,0) [0|0] \"\" A\n";
    let database = Database::parse("t", dbc.as_bytes()).unwrap();
    let mut learner = Learner::new(vec![("*".into(), vec![database])]);
    let frames = traffic(START, 30, 1);
    loop {
        frames.iter().for_each(|frame| learner.frame(frame));
        if !learner.again(&["can0".to_string()]) {
            break;
        }
    }
    let profile = learner.finish("test", "1", Vec::new()).unwrap();
    let names: Vec<&str> = profile.buses[0].messages.iter().map(|message| message.name.as_str()).collect();
    assert_eq!(names, ["Engine", "ID_200", "ID_300", "Other"]);
    let speed = &profile.buses[0].messages[0].fields[0];
    assert!(speed.name == "Speed" && speed.min > 2_000.0 && speed.max < 30_000.0, "{speed:?}");
    let value = profile.buses[0].messages[3].fields.iter().find(|field| field.name == "Value").unwrap();
    assert_eq!((value.min, value.max), (-1.0, -1.0));
}

#[test]
fn pauses_part_recordings() {
    let mut frames = traffic(START, 20, 1);
    frames.extend(traffic(START + 3600 * SECOND, 20, 2));
    frames.extend(traffic(START - 3600 * SECOND, 20, 3));
    let mut learner = Learner::new(Vec::new());
    loop {
        frames.iter().for_each(|frame| learner.frame(frame));
        if !learner.again(&["can0".to_string()]) {
            break;
        }
    }
    let profile = learner.finish("test", "1", Vec::new()).unwrap();
    assert!((profile.provenance.seconds - 60.0).abs() < 0.2);
    let fast = &profile.buses[0].messages[0];
    let timing = fast.timing.unwrap();
    assert!(timing.longest_ms < 11.0 && timing.gaps == 3 * 1999, "{timing:?}");
    assert_eq!(fast.counter.map(|counter| counter.breaks), Some(0));
}

/// An undated recording begins at 0.
#[test]
fn times_may_begin_at_nothing() {
    let mut frames = traffic(START, 310, 1);
    frames.iter_mut().for_each(|frame| frame.time_ns -= START);
    frames[0].time_ns = 0;
    let mut learner = Learner::new(Vec::new());
    loop {
        frames.iter().for_each(|frame| learner.frame(frame));
        if !learner.again(&["can0".to_string()]) {
            break;
        }
    }
    assert!(!learner.finish("test", "1", Vec::new()).unwrap().relations.is_empty());
}

#[test]
fn nothing_and_too_much_is_not_learned() {
    let finish = |frames: &[can_decoders::Frame]| {
        let mut learner = Learner::new(Vec::new());
        loop {
            frames.iter().for_each(|frame| learner.frame(frame));
            if !learner.again(&["can0".to_string()]) {
                return learner.finish("test", "1", Vec::new()).map(|_| ());
            }
        }
    };
    assert_eq!(finish(&[]), Err(LearnError::Empty));
    let many: Vec<_> = (0..=MAX_MESSAGES).map(|n| frame(START, &format!("{n:08X}"), &[1])).collect();
    assert_eq!(finish(&many), Err(LearnError::TooMany));
    assert_eq!(finish(&many[1..]), Ok(()));
}

#[test]
fn what_is_wrong_in_a_file_is_named() {
    let good = learned(30).to_text().unwrap();
    let cases = [
        ("format = 1", "format = 9", "learn the profile anew"),
        ("name = \"test\"", "name = \"\"", "name: use 1 to 64 bytes"),
        ("version = \"1\"", "version = \"\"", "version: use 1 to 64 bytes"),
        ("id = \"100\"", "id = \"1000\"", "three nor eight"),
        ("id = \"100\"", "id = \"200\"", "there twice"),
        ("lengths = [8]", "lengths = [7]", "flips"),
        ("[[bus]]", "[[bus]]\nname = \"can0\"\nnewest_s = 0\ndbc = \"\"\n\n[[bus]]", "bus is there twice"),
        ("bits = 4", "bits = 40", "counter"),
        ("algorithm = \"CRC-8/SAE-J1850\"", "algorithm = \"md5\"", "CRC-8/SAE-J1850"),
        ("mean_ms = ", "mean_ms = -", "below zero"),
        ("seconds = ", "seconds = inf #", "finite"),
        ("step = ", "step = -", "below zero"),
        ("max = ", "max = -", "`min` above `max`"),
        ("frames = ", "planes = ", "line "),
    ];
    for (from, to, complaint) in cases {
        assert!(good.contains(from), "{from}");
        let error = Profile::parse(&good.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(complaint), "{to}: {error}");
    }
    let missing = Profile::load(Path::new("/nonexistent.toml")).unwrap_err();
    assert!(missing.to_string().starts_with("/nonexistent.toml: "));
}

proptest::proptest! {
    /// A file that was damaged is refused or goes to work; it never panics.
    #[test]
    fn damaged_files_do_no_harm(at in 0.0..1.0_f64, byte: u8, cut: bool) {
        static GOOD: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let mut bytes = GOOD.get_or_init(|| learned(5).to_text().unwrap()).clone().into_bytes();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place")]
        let place = (bytes.len() as f64 * at) as usize;
        bytes[place] = byte;
        if cut {
            bytes.truncate(place);
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(profile) = Profile::parse(&text) {
            let catalog = profile.catalog(Catalog::new(Vec::new()));
            if let Ok(guard) = Guard::new(&profile, &catalog) {
                let health = crate::engine::HealthSpec { period_ns: 60 * SECOND, silent_factor: 5, silent_min_ns: SECOND };
                let mut engine = crate::engine::Engine::new(catalog, health, Vec::new(), Vec::new()).with_guard(guard);
                let mut events = Vec::new();
                traffic(START, 2, 4).iter().for_each(|frame| engine.frame(frame, &mut events));
            }
        }
    }
}
