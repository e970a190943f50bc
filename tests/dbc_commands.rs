//! The built commands about DBC files, by what they print: `decode`, `dbc lint` and `dbc coverage`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the report")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/mosquitto.rs"]
mod mosquitto;

use agent::{arg, data, dbc, ended, good, run, run_with_input};
use can_decoders::log::{LogReader, LogWriter, Options};

const JSONL: &str = r#"{"t":1700000000.000000,"bus":"can0","id":"100","message":"Motor","signals":{"Speed":1000.0,"Torque":0.0,"Gear":1.0,"Steering":-10.0}}
{"t":1700000000.100000,"bus":"can0","id":"18FEF1FE","message":"Tank","signals":{"Level":100.0}}
{"t":1700000000.300000,"bus":"can0","id":"100","message":"Motor","signals":{"Speed":400.0},"invalid":{"Torque":"frame too short","Gear":"frame too short","Steering":"frame too short"}}
{"t":1700000000.400000123,"bus":"can1","id":"100","message":"Motor","signals":{"Speed":5000.0,"Torque":-25.0,"Gear":2.0,"Steering":0.1}}
"#;

const CSV: &str = "\
t,bus,id,message,signal,value,label,invalid
1700000000.000000,can0,100,Motor,Speed,1000.0,,
1700000000.000000,can0,100,Motor,Torque,0.0,,
1700000000.000000,can0,100,Motor,Gear,1.0,\"First, low\",
1700000000.000000,can0,100,Motor,Steering,-10.0,,
1700000000.100000,can0,18FEF1FE,Tank,Level,100.0,,
1700000000.200000,can0,7DF,,,0201,,unknown
1700000000.300000,can0,100,Motor,Speed,400.0,,
1700000000.300000,can0,100,Motor,Torque,,,frame too short
1700000000.300000,can0,100,Motor,Gear,,,frame too short
1700000000.300000,can0,100,Motor,Steering,,,frame too short
1700000000.400000123,can1,100,Motor,Speed,5000.0,,
1700000000.400000123,can1,100,Motor,Torque,-25.0,,
1700000000.400000123,can1,100,Motor,Gear,2.0,,
1700000000.400000123,can1,100,Motor,Steering,0.1,,
1700000000.500000,can0,100,,,,,unknown
";

#[test]
fn decode_prints_known_frames_as_json_lines() {
    let (log, dbc) = (data("small.log"), dbc());
    assert_eq!(good(&run(&["decode", arg(&log), "--dbc", &dbc])), JSONL);
    for line in JSONL.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn decode_prints_labels_and_unknown_frames_when_asked() {
    let (log, dbc) = (data("small.log"), dbc());
    let out = good(&run(&["decode", arg(&log), "--dbc", &dbc, "--labels", "--unknown"]));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 6);
    let first = JSONL.lines().next().unwrap().strip_suffix('}').unwrap();
    assert_eq!(lines[0], format!("{first},\"labels\":{{\"Gear\":\"First, low\"}}}}"));
    assert_eq!(lines[2], r#"{"t":1700000000.200000,"bus":"can0","id":"7DF","data":"0201"}"#);
    assert_eq!(lines[5], r#"{"t":1700000000.500000,"bus":"can0","id":"100","data":""}"#);
    let out = good(&run(&["decode", arg(&log), "--dbc", &dbc, "--format", "csv", "--labels", "--unknown"]));
    assert_eq!(out, CSV);
}

#[test]
fn decode_takes_a_dbc_file_for_one_bus() {
    let log = data("small.log");
    let one = format!("can1={}", dbc());
    let out = good(&run(&["decode", arg(&log), "--dbc", &one]));
    assert_eq!(out, format!("{}\n", JSONL.lines().last().unwrap()));
}

#[test]
fn decode_reads_standard_input_gzip_and_zstd_alike() {
    let (log, dbc) = (data("small.log"), dbc());
    let text = std::fs::read(&log).unwrap();
    assert_eq!(good(&run_with_input(&["decode", "-", "--dbc", &dbc], &text)), JSONL);
    let dir = tempfile::tempdir().unwrap();
    for name in ["copy.log.gz", "copy.log.zst", "copy.log"] {
        let copy = dir.path().join(name);
        let mut reader = LogReader::open(&log, Options::default()).unwrap();
        let mut writer = LogWriter::create(&copy).unwrap();
        while let Some(frame) = reader.next() {
            let frame = frame.unwrap();
            let bus = reader.buses()[usize::from(frame.bus.0)].clone();
            writer.write(&bus, &frame).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(good(&run(&["decode", arg(&copy), "--dbc", &dbc])), JSONL, "{name}");
        // By its content, not its name.
        let bytes = std::fs::read(&copy).unwrap();
        assert_eq!(good(&run_with_input(&["decode", "-", "--dbc", &dbc], &bytes)), JSONL, "{name} on standard input");
        assert_eq!(bytes == text, name == "copy.log", "{name} is compressed");
    }
}

#[test]
fn a_bad_line_ends_a_strict_reading_with_its_place_and_a_tolerant_one_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("bad.log");
    let text = std::fs::read_to_string(data("small.log")).unwrap();
    let bad: Vec<&str> = text.lines().take(1).chain(["(oops) can0 100#00", ""]).chain(text.lines().skip(1)).collect();
    std::fs::write(&log, bad.join("\n")).unwrap();
    let dbc = dbc();
    let (code, out, err) = ended(&run(&["decode", arg(&log), "--dbc", &dbc]));
    assert_eq!(code, Some(1));
    assert!(err.contains(&format!("{}:2:", log.display())) && err.contains("tolerant"), "{err}");
    assert_eq!(out.lines().next(), JSONL.lines().next(), "what came before the bad line is printed");
    let (code, out, err) = ended(&run(&["decode", arg(&log), "--dbc", &dbc, "--tolerant"]));
    assert_eq!((code, out.as_str()), (Some(0), JSONL));
    assert!(err.contains("line 2,") && err.contains("1 bad lines skipped"), "{err}");
}

#[test]
fn decode_counts_frames_that_are_not_as_long_as_their_message() {
    let dir = tempfile::tempdir().unwrap();
    let dbc = dbc();
    let told = |frames: &[&str]| {
        let lines = frames.iter().enumerate().map(|(n, frame)| format!("({n}.000000) can0 {frame}\n"));
        let log = dir.path().join("lengths.log");
        std::fs::write(&log, lines.collect::<String>()).unwrap();
        let (code, out, err) = ended(&run(&["decode", arg(&log), "--dbc", &dbc]));
        assert_eq!((code, out.lines().count()), (Some(0), frames.len()));
        // The longer ones look like any other: the output has no key for them.
        let keys = out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        assert!(keys.into_iter().all(|line| line.get("fit").is_none() && line["signals"].is_object()));
        err.lines().filter(|line| line.contains("not as long as")).map(str::to_owned).collect::<Vec<_>>()
    };
    let (exact, shorter) = ("18FEF1FE#FF00", "100#0102");
    assert_eq!(told(&[exact]), [""; 0]);
    let [line] = &told(&["100#", exact, shorter, "18FEF1FE#FF0000", shorter])[..] else { panic!() };
    assert!(line.contains("WARN") && line.ends_with(": 3 shorter (first 100), 1 longer (first 18FEF1FE)"), "{line}");
    let [line] = &told(&[exact, "18FEF1FE#FF0000"])[..] else { panic!() };
    assert!(line.ends_with(": 1 longer (first 18FEF1FE)"), "{line}");
}

#[test]
fn lint_names_place_code_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let odd = file("odd.dbc", "BO_ 1 M: 1 A\n  SG_ S : 4|8@1+ (1,0) [0|0] \"\" A\nFUTURE_ 1;\n");
    let good = file("good.dbc", "BO_ 1 M: 1 A\n SG_ S : 0|8@1+ (1,-40) [0|65535] \"\" A\n");
    let bad = file("bad.dbc", "BO_ 1 M: 8 A\n SG_ S : 0|8@2+ (1,0) [0|0] \"\" A\n");

    let (code, out, err) = ended(&run(&["dbc", "lint", arg(&odd), arg(&good)]));
    assert_eq!(code, Some(0), "{err}");
    let lines: Vec<&str> = out.lines().collect();
    let odd = odd.display();
    assert!(lines[0].starts_with(&format!("{odd}:2:3: warning[beyond-message]: signal S reaches byte 2")), "{out}");
    assert_eq!(lines[1], "    help: correct the signal's start bit or length, or the message's length");
    assert!(lines[2].starts_with(&format!("{odd}:3:1: warning[unknown-keyword]: FUTURE_")), "{out}");
    let note = format!("{}:2:2: note[unchecked-range]: signal S of message M has the range [0|65535]", good.display());
    assert_eq!(lines[4], format!("{odd}: note[missing-section]: the file has no VERSION, no NS_, no BS_, no BU_"));
    assert!(lines[8].starts_with(&note), "{out}");
    assert_eq!(lines.len(), 10, "{out}");
    assert!(err.contains("2 files: 2 warnings, 3 notes, 0 errors"), "{err}");

    let gone = dir.path().join("gone.dbc");
    let (code, out, err) = ended(&run(&["dbc", "lint", "--format", "json", arg(&bad), arg(&gone)]));
    assert_eq!(code, Some(1), "{err}");
    let found: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), 2, "{out}");
    assert_eq!((&found[0]["file"], &found[0]["severity"]), (&arg(&bad).into(), &"error".into()));
    assert_eq!((&found[0]["line"], &found[0]["column"], &found[0]["code"]), (&2.into(), &14.into(), &"syntax".into()));
    assert_eq!((&found[1]["line"], &found[1]["code"]), (&0.into(), &"read".into()));
    assert!(found.iter().all(|finding| !finding["remedy"].as_str().unwrap().is_empty()));
}

/// What is not described, what never came, and what changes without a name.
#[test]
fn coverage_finds_what_is_not_described() {
    let dir = tempfile::tempdir().unwrap();
    let dbc = dir.path().join("car.dbc");
    std::fs::write(&dbc, "BO_ 256 Known: 2 A\n SG_ S : 0|4@1+ (1,0) [0|0] \"\" A\n\nBO_ 2147484160 Never: 8 A\n")
        .unwrap();
    let log = dir.path().join("drive.log");
    let frames = ["0.0 100#0000", "0.5 100#0F01", "1.0 100#3F00", "0.2 7FF#01", "0.7 100#R", "0.8 7FF#0203"];
    let text: String = frames
        .iter()
        .map(|frame| {
            let (time, frame) = frame.split_once(' ').unwrap();
            format!("(170000000{:.6}) can0 {frame}\n", time.parse::<f64>().unwrap())
        })
        .collect();
    std::fs::write(&log, text).unwrap();
    let all = ["dbc", "coverage", arg(&log), "--dbc", arg(&dbc)];
    let (code, out, err) = ended(&run(&[&all[..], &["--format", "json"]].concat()));
    assert_eq!(code, Some(0), "{err}");
    let rows: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = serde_json::json!([
        {"bus": "can0", "id": "100", "message": "Known", "frames": 3, "rate": 2.0, "bytes": [2, 2], "size": 2,
         "undescribed": ["0.4-5", "1.0"]},
        {"bus": "can0", "id": "7FF", "message": null, "frames": 2, "rate": 1.7, "bytes": [1, 2], "size": null,
         "undescribed": ["0.0-1", "1.0-1"]},
        {"bus": "can0", "id": "00000200", "message": "Never", "frames": 0, "rate": null, "bytes": null, "size": 8,
         "undescribed": []},
    ]);
    assert_eq!(serde_json::Value::from(rows), expected);
    let (code, out, _) = ended(&run(&all));
    assert_eq!(code, Some(0));
    let head = "can0: 5 frames of 2 identifiers; 2 frames of 1 identifiers are not described, 1 messages never came";
    assert_eq!(out.lines().next(), Some(head), "{out}");
    assert_eq!(out.lines().count(), 5, "{out}");
}

/// With the agent's configuration, a command judges values as the agent does.
#[test]
fn decode_takes_the_agents_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("car.toml");
    let text = format!(
        "[vehicle]\nid = \"car\"\n[[bus]]\nname = \"can0\"\ndbc = [{:?}]\n[[bus.validity.signal]]\nname = \"Motor.Gear\"\n\
         error = [1]\n",
        dbc()
    );
    std::fs::write(&config, text).unwrap();
    let log = b"(1.0) can0 100#A00F140001FF9C00\n";
    let decoded = |options: &[&str]| good(&run_with_input(&[&["decode", "-"], options].concat(), log));
    assert!(decoded(&["--dbc", &dbc()]).contains("\"Gear\":1.0"));
    assert!(decoded(&["-c", arg(&config)]).contains("\"invalid\":{\"Gear\":\"error\"}"));
    for wrong in [&["decode", "-"][..], &["decode", "-", "-c", arg(&config), "--dbc", &dbc()]] {
        assert_eq!(run(wrong).status.code(), Some(2));
    }
}

/// A parameter group of J1939 has come whoever sent it; a bus that is named and silent is told.
#[test]
fn coverage_knows_parameter_groups_and_silent_buses() {
    let dir = tempfile::tempdir().unwrap();
    let dbc = dir.path().join("truck.dbc");
    let text = "BO_ 2566844926 Group: 8 A\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" A\n\nBA_DEF_ BO_ \"VFrameFormat\" INT 0 3;\n\
                BA_DEF_DEF_ \"VFrameFormat\" 3;\n";
    std::fs::write(&dbc, text).unwrap();
    let (one, two) = (format!("can0={}", arg(&dbc)), format!("can1={}", arg(&dbc)));
    let log = b"(1.0) can0 18FEF121#01\n(2.0) can0 0CFEF100#02\n";
    let rows = |options: &[&str], log: &[u8]| -> Vec<(String, String, String, u64)> {
        let args = [&["dbc", "coverage", "-", "--format", "json"], options].concat();
        let out = good(&run_with_input(&args, log));
        let rows = out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        rows.map(|row| (text(&row["bus"]), text(&row["id"]), text(&row["message"]), row["frames"].as_u64().unwrap()))
            .collect()
    };
    let row = |bus: &str, id: &str, frames| (bus.to_owned(), id.to_owned(), "Group".to_owned(), frames);
    let (known, other) = (row("can0", "0CFEF100", 1), row("can0", "18FEF121", 1));
    assert_eq!(rows(&["--dbc", &one, "--dbc", &two], log), [known.clone(), other.clone(), row("can1", "18FEF1FE", 0)]);
    assert_eq!(rows(&["--dbc", arg(&dbc)], log), [known, other]);
    assert_eq!(rows(&["--dbc", arg(&dbc)], b""), [row("*", "18FEF1FE", 0)]);
}

#[test]
fn decode_says_why_a_value_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let dbc = dir.path().join("car.dbc");
    let text = "BU_: A\n\nBO_ 37 M: 3 A\n SG_ T : 0|8@1+ (1,-40) [-40|200] \"degC\" A\n \
                SG_ COUNTER : 8|4@1+ (1,0) [0|15] \"\" A\n SG_ CHECKSUM : 16|8@1+ (1,0) [0|255] \"\" A\n\n\
                VAL_ 37 T 255 \"SNA\" 254 \"Error\" ;\nBA_ \"OutriderChecksum\" SG_ 37 CHECKSUM \"xor8\";\n\
                BA_ \"OutriderCounter\" SG_ 37 COUNTER 1;\n";
    std::fs::write(&dbc, text).unwrap();
    let log = "(1.000000) can0 025#640064\n(1.010000) can0 025#F101F0\n(1.020000) can0 025#FE02FC\n\
               (1.030000) can0 025#FF03FC\n(1.040000) can0 025#640467\n(1.050000) can0 025#640367\n(5.000000) can0 025#640367\n";
    let output = good(&run_with_input(&["decode", "-", "--dbc", arg(&dbc)], log.as_bytes()));
    let expected = r#"{"t":1.000000,"bus":"can0","id":"025","message":"M","signals":{"T":60.0,"COUNTER":0.0,"CHECKSUM":100.0}}
{"t":1.010000,"bus":"can0","id":"025","message":"M","signals":{"COUNTER":1.0,"CHECKSUM":240.0},"invalid":{"T":"out of range"}}
{"t":1.020000,"bus":"can0","id":"025","message":"M","signals":{"COUNTER":2.0,"CHECKSUM":252.0},"invalid":{"T":"error"}}
{"t":1.030000,"bus":"can0","id":"025","message":"M","signals":{"COUNTER":3.0,"CHECKSUM":252.0},"invalid":{"T":"not available"}}
{"t":1.040000,"bus":"can0","id":"025","message":"M","signals":{},"invalid":{"T":"wrong checksum","COUNTER":"wrong checksum","CHECKSUM":"wrong checksum"}}
{"t":1.050000,"bus":"can0","id":"025","message":"M","signals":{},"invalid":{"T":"wrong counter","COUNTER":"wrong counter","CHECKSUM":"wrong counter"}}
{"t":5.000000,"bus":"can0","id":"025","message":"M","signals":{"T":60.0,"COUNTER":3.0,"CHECKSUM":103.0}}
"#;
    assert_eq!(output, expected);
}
