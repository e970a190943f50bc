//! What a hostile DBC file may take: memory and time in proportion to its size, whatever is in it.

#![allow(clippy::unwrap_used, reason = "a panic is a test's report")]

use std::time::{Duration, Instant};

use allocation_counter::measure;
use can_decoders::dbc::Warning;
use can_decoders::{Database, Plan};

/// A message with as many signals as are read, all of one name.
fn namesakes(indicator: &str) -> String {
    let mut text =
        format!("BO_ 1 M: 8 N\n SG_ Sel {} : 0|8@1+ (1,0) [0|0] \"\" N\n", if indicator.is_empty() { "" } else { "M" });
    for _ in 0..4000 {
        text.push_str(&format!(" SG_ A {indicator}: 8|8@1+ (1,0) [0|0] \"\" N\n"));
    }
    text.push('\n');
    text
}

/// The most bytes in use at once while the file is read and compiled.
fn memory(text: &str) -> u64 {
    measure(|| {
        let database = Database::parse("h", text.as_bytes()).unwrap();
        assert_eq!(database.messages()[0].signals.len(), 4001);
        let plan = Plan::compile(&[database]);
        assert_eq!(plan.signals().len(), 4001);
    })
    .bytes_max
}

/// `text` and `more` take no more than `text` alone and 50 times the bytes of `more`: parsing a statement takes
/// some 30.
fn assert_linear(text: &str, more: &str) {
    let (alone, both) = (memory(text), memory(&format!("{text}{more}")));
    let bound = alone + 50 * more.len() as u64;
    assert!(both <= bound, "{both} bytes for a file of {}, more than {bound}", text.len() + more.len());
}

#[test]
fn labels_of_thousands_of_signals_are_kept_once() {
    let labels: String = (0..2000).map(|raw| format!("{raw} \"x\" ")).collect();
    assert_linear(&namesakes(""), &format!("VAL_ 1 A {labels};\n"));
    assert_linear(&namesakes(""), &format!("VAL_TABLE_ T {labels};\nVAL_ 1 A T;\n"));
}

/// What the labels say about values is found once for all signals that share them.
#[test]
fn labels_that_say_no_value_are_looked_at_once() {
    let start = Instant::now();
    for text in ["SNA", "Error", "state"] {
        // From the topmost raw value downwards, in one run and with gaps.
        for gap in [1, 2] {
            let labels: String = (0..4000).map(|n| format!("{} \"{text}\" ", 255 - n * gap)).collect();
            assert_linear(&namesakes(""), &format!("VAL_TABLE_ T {labels};\nVAL_ 1 A T;\n"));
        }
    }
    // A hundred times what it takes, and a hundredth of what it took.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn comments_and_long_names_of_thousands_of_signals_are_kept_once() {
    let text = "x".repeat(10_000);
    assert_linear(&namesakes(""), &format!("CM_ SG_ 1 A \"{text}\";\n"));
    assert_linear(&namesakes(""), &format!("BA_ \"SystemSignalLongSymbol\" SG_ 1 A \"{text}\";\n"));
}

/// What is said about signals names them, and names can be as long as the file.
#[test]
fn what_is_said_of_thousands_of_signals_is_bounded() {
    let name = "M".repeat(500_000);
    let mut text = format!("BO_ 1 {name}: 8 N\n");
    for n in 0..4000 {
        text.push_str(&format!(" SG_ S{n} : 0|8@1+ (1,0) [0|65535] \"\" N\n"));
    }
    text.push_str("\nBA_DEF_ SG_ \"OutriderCounter\" INT 0 1000000;\n");
    for n in 0..4000 {
        text.push_str(&format!("BA_ \"OutriderCounter\" SG_ 1 S{n} 1000;\n"));
    }
    let said = |messages: &[Warning]| {
        assert_eq!(messages.len(), 1001);
        assert_eq!(messages[1000].text, "3000 more warnings");
        assert!(messages.iter().all(|message| message.text.len() < 600));
    };
    let database = Database::parse("h", text.as_bytes()).unwrap();
    // The first is about the file: it has no sections.
    said(&database.notes()[1..]);
    let of_file = database.warnings().len();
    said(&Plan::compile(&[database]).warnings()[of_file..]);
}

#[test]
fn ranges_of_thousands_of_signals_are_kept_once() {
    let ranges: Vec<String> = (0..2000).map(|n| format!("{}-{}", n * 2, n * 2)).collect();
    assert_linear(&namesakes("m1 "), &format!("SG_MUL_VAL_ 1 A Sel {};\n", ranges.join(", ")));
}

/// The best of three: other programs share the processor.
fn time(text: &str) -> Duration {
    let once = || {
        let start = Instant::now();
        Database::parse("h", text.as_bytes()).unwrap();
        start.elapsed()
    };
    (0..3).map(|_| once()).min().unwrap()
}

/// Places are counted in characters of the line: not from its start for each statement anew.
#[test]
fn bad_statements_on_one_line_take_no_longer_than_on_lines_of_their_own() {
    let message = "BO_ 1 M: 8 N\n\n";
    let count = 150_000;
    let lines = time(&format!("{message}{}", "CM_ x;\n".repeat(count)));
    let line = time(&format!("{message}{}", "CM_ x; ".repeat(count)));
    // Three times, as other tests share the processor; it was ten times.
    assert!(line < lines * 3, "{line:?} on one line, {lines:?} on {count}");
}

#[test]
fn thousands_of_senders_take_no_longer_than_thousands_of_statements() {
    let message = "BO_ 1 M: 8 N\n\n";
    let count = 60_000;
    let names: Vec<String> = (0..count).map(|n| format!("N{n}")).collect();
    let together = time(&format!("{message}BO_TX_BU_ 1 : {};\n", names.join(",")));
    // About a message that does not exist: this is the time that parsing takes.
    let alone: String = names.iter().map(|name| format!("BO_TX_BU_ 2 : {name};\n")).collect();
    let alone = time(&format!("{message}{alone}"));
    assert!(together < alone, "{together:?} together, {alone:?} one by one");
}

/// The label of the last statement goes to all signals of the name, once.
#[test]
fn statements_about_a_name_take_as_long_for_thousands_of_signals_as_for_one() {
    let statements = "VAL_ 1 A 1 \"x\" ;\n".repeat(20_000);
    let many = format!("{}{statements}", namesakes(""));
    let database = Database::parse("h", many.as_bytes()).unwrap();
    assert!(database.messages()[0].signals[1..].iter().all(|signal| signal.labels.len() == 1));
    let (many, one) = (time(&many), time(&format!("BO_ 1 M: 8 N\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" N\n\n{statements}")));
    assert!(many < one * 3, "{many:?} for thousands, {one:?} for one");
}
