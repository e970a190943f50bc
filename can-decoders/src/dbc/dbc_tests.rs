use super::*;
use crate::frame::CanId;

const HEAD: &str = "VERSION \"\"\n\nNS_ :\n\tCM_\n\tBA_DEF_\n\nBS_:\n\nBU_: A B\n\n";

fn parse(body: &str) -> Database {
    Database::parse("t.dbc", format!("{HEAD}{body}").as_bytes()).unwrap()
}

fn refuse(body: &str) -> String {
    Database::parse("t.dbc", format!("{HEAD}{body}").as_bytes()).unwrap_err().to_string()
}

fn warnings(database: &Database) -> Vec<String> {
    database.warnings().iter().map(ToString::to_string).collect()
}

#[test]
fn everything_about_a_message_is_collected() {
    let database = parse(
        "BO_ 291 Engine: 8 A\n SG_ Speed : 7|16@0+ (0.25,-10) [0|8000] \"rpm\" B\n SG_ Gear : 16|4@1- (1,0) [0|0] \"\" A,B\n\n\
         BO_TX_BU_ 291 : A,B;\nCM_ BO_ 291 \"the\nengine\";\nCM_ SG_ 291 Gear \"which\";\n\
         BA_DEF_ BO_ \"GenMsgCycleTime\" INT 0 65535;\nBA_DEF_DEF_ \"GenMsgCycleTime\" 100;\n\
         VAL_ 291 Gear 3 \"Third\" -1 \"Reverse\" 0 \"Neutral\" ;\n",
    );
    assert_eq!(warnings(&database), [""; 0]);
    let [message] = database.messages() else { panic!("{:?}", database.messages()) };
    assert_eq!((&*message.name, message.id, message.size), ("Engine", CanId::standard(0x123).unwrap(), 8));
    assert_eq!(message.cycle_time_ms, Some(100));
    assert_eq!(message.senders.iter().map(|s| &**s).collect::<Vec<_>>(), ["A", "B"]);
    assert_eq!(&*message.comment, "the\nengine");
    let [speed, gear] = message.signals.as_slice() else { panic!() };
    assert_eq!((speed.start, speed.bits, speed.order), (7, 16, ByteOrder::Big));
    assert_eq!((speed.factor, speed.offset, &*speed.unit), (0.25, -10.0, "rpm"));
    assert_eq!((speed.min, speed.max), (Some(0.0), Some(8000.0)));
    assert_eq!((gear.encoding, gear.order, gear.min, gear.max), (Encoding::Signed, ByteOrder::Little, None, None));
    assert_eq!((&*gear.comment, gear.place.line), ("which", message.place.line + 2));
    let labels: Vec<_> = gear.labels.iter().map(|(raw, label)| (*raw, &**label)).collect();
    assert_eq!(labels, [(-1, "Reverse"), (0, "Neutral"), (3, "Third")]);
}

#[test]
fn a_cycle_time_of_its_own_beats_the_default_and_zero_is_none() {
    let database = parse(
        "BO_ 1 A1: 1 A\n\nBO_ 2 A2: 1 A\n\nBO_ 3 A3: 1 A\n\nBA_DEF_DEF_ \"GenMsgCycleTime\" 20;\n\
         BA_ \"GenMsgCycleTime\" BO_ 2 50;\nBA_ \"GenMsgCycleTime\" BO_ 3 0;\n",
    );
    let times: Vec<_> = database.messages().iter().map(|m| m.cycle_time_ms).collect();
    assert_eq!(times, [Some(20), Some(50), None]);
}

#[test]
fn identifiers_keep_all_their_bits() {
    let database = parse(
        "BO_ 2566844926 J1939: 8 A\n\nBO_ 103596083 NoFlag: 8 A\n\nBO_ 67634 Cut: 8 A\n\n\
         BO_ 3221225472 VECTOR__INDEPENDENT_SIG_MSG: 0 A\n SG_ Stray : 0|8@1+ (1,0) [0|0] \"\" A\n\n\
         BO_ 1075054137 TooLong: 8 A\n\nCM_ BO_ 67634 \"x\";\nCM_ SG_ 3221225472 Stray \"y\";\n",
    );
    let ids: Vec<_> = database.messages().iter().map(|m| m.id).collect();
    // 67634 is 0x10832: cut to 16 bits it would pass for the standard identifier 0x832.
    assert_eq!(ids, [0x18FE_F1FE, 0x062C_C033, 0x0001_0832].map(|id| CanId::extended(id).unwrap()));
    assert_eq!(&*database.messages()[2].comment, "x");
    let found = warnings(&database);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("without the extended flag") && found[0].starts_with("t.dbc:13:1: "), "{}", found[0]);
    assert!(found[2].contains("beyond 29 bits: left out"), "{}", found[2]);
}

#[test]
fn floats_are_told_by_width_and_slips_warned_of() {
    let signals: String = [32, 64, 64, 16]
        .iter()
        .enumerate()
        .map(|(n, bits)| format!(" SG_ F{n} : {}|{bits}@1- (1,0) [0|0] \"\" A\n", n * 64))
        .collect();
    let database = parse(&format!(
        "BO_ 1 M: 64 A\n{signals}\nSIG_VALTYPE_ 1 F0 : 1;\nSIG_VALTYPE_ 1 F1 : 2;\nSIG_VALTYPE_ 1 F2 : 1;\nSIG_VALTYPE_ 1 F3 : 1;\n"
    ));
    let encodings: Vec<_> = database.messages()[0].signals.iter().map(|s| s.encoding).collect();
    assert_eq!(encodings, [Encoding::Float32, Encoding::Float64, Encoding::Float64, Encoding::Signed]);
    assert_eq!(warnings(&database).len(), 2);
}

#[test]
fn simple_and_extended_multiplexing() {
    let database = parse(
        "BO_ 1 M: 8 A\n SG_ Sel M : 0|8@1+ (1,0) [0|0] \"\" A\n SG_ A m2 : 8|8@1+ (1,0) [0|0] \"\" A\n \
         SG_ Sub m3M : 8|8@1+ (1,0) [0|0] \"\" A\n SG_ B m0 : 16|8@1+ (1,0) [0|0] \"\" A\n\n\
         SG_MUL_VAL_ 1 B Sub 0-4, 9-9;\n",
    );
    let [selector, a, sub, b] = database.messages()[0].signals.as_slice() else { panic!() };
    assert_eq!(selector.multiplexing, Multiplexing::Always);
    assert_eq!(a.multiplexing, Multiplexing::Selected { selector: 0, ranges: Ranges::from([2..=2]) });
    assert_eq!(sub.multiplexing, Multiplexing::Selected { selector: 0, ranges: Ranges::from([3..=3]) });
    assert_eq!(b.multiplexing, Multiplexing::Selected { selector: 2, ranges: Ranges::from([0..=4, 9..=9]) });
    assert_eq!([selector, a, sub, b].map(|s| s.is_multiplexor), [true, false, true, false]);
}

#[test]
fn a_lone_bare_m_among_numbered_signals_is_the_multiplexor() {
    let database = parse(
        "BO_ 1 M: 8 A\n SG_ Code m : 6|2@1+ (1,0) [0|3] \"\" A\n SG_ X m2 : 0|6@1+ (1,0) [0|0] \"\" A\n\n\
         BO_ 2 N: 8 A\n SG_ Sel M : 0|8@1+ (1,0) [0|3] \"\" A\n SG_ Y m : 8|6@1+ (1,0) [0|0] \"\" A\n\n\
         BO_ 3 O: 8 A\n SG_ Z m1 : 8|6@1+ (1,0) [0|0] \"\" A\n",
    );
    let multiplexing = |m: usize, s: usize| database.messages()[m].signals[s].multiplexing.clone();
    assert_eq!(multiplexing(0, 0), Multiplexing::Always);
    assert_eq!(multiplexing(0, 1), Multiplexing::Selected { selector: 0, ranges: Ranges::from([2..=2]) });
    assert_eq!((multiplexing(1, 1), multiplexing(2, 0)), (Multiplexing::Never, Multiplexing::Never));
    assert_eq!(warnings(&database).len(), 3);
}

#[test]
fn signals_that_select_each_other_are_never_there() {
    let database = parse(
        "BO_ 1 M: 8 A\n SG_ A m0M : 0|8@1+ (1,0) [0|0] \"\" A\n SG_ B m0M : 8|8@1+ (1,0) [0|0] \"\" A\n \
         SG_ C m0M : 16|8@1+ (1,0) [0|0] \"\" A\n SG_ D m0 : 24|8@1+ (1,0) [0|0] \"\" A\n\n\
         SG_MUL_VAL_ 1 A B 0-9;\nSG_MUL_VAL_ 1 B A 0-9;\nSG_MUL_VAL_ 1 C C 0-9;\nSG_MUL_VAL_ 1 D Missing 0-9;\n",
    );
    let never = database.messages()[0].signals.iter().filter(|s| s.multiplexing == Multiplexing::Never);
    assert_eq!(never.map(|s| &*s.name).collect::<Vec<_>>(), ["A", "C", "D"]);
    assert_eq!(warnings(&database).iter().filter(|w| w.contains("never reported")).count(), 3);
}

#[test]
fn odd_layouts_are_warned_of_and_used() {
    let database = parse(
        "BO_ 1 M: 2 A\n SG_ Over : 8|16@1+ (1,0) [0|0] \"\" A\n SG_ Same : 0|4@1+ (1,0) [0|0] \"\" A\n \
         SG_ Same : 4|4@1+ (1,0) [0|0] \"\" A\n SG_ Shares : 7|8@0+ (1,0) [0|0] \"\" A\n \
         SG_ Wide : 0|65@1+ (1,0) [0|0] \"\" A\n SG_ Zero : 0|8@1+ (0,0) [0|0] \"\" A\n\n\
         BO_ 1 Again: 8 A\n\nVAL_ 7 X 1 \"a\";\nVAL_ 1 X 1 \"a\";\n",
    );
    assert_eq!(database.messages().len(), 1);
    assert_eq!(database.messages()[0].signals.len(), 5, "all but the one of 65 bits");
    for expected in [
        "reaches byte 3 of a message of 2",
        "another signal Same in line 13: this one is called Same_2",
        "Shares shares bits with Same",
        "has 65 bits",
        "factor 0 and offset 0",
        "has identifier 001 as M in line 11",
        "refers to message 7",
        "refers to signal X",
    ] {
        assert!(warnings(&database).iter().any(|w| w.contains(expected)), "{expected}: {:#?}", warnings(&database));
    }
}

#[test]
fn syntax_errors_name_place_and_remedy() {
    let error = refuse("BO_ 1 M: 8 A\n SG_ X : 0|8@1+ (1,0) [0|0] \"\" A\n SG_ Y : 0|8@2+ (1,0) [0|0] \"\" A\n");
    assert!(error.starts_with("t.dbc:13:14: DBC syntax error"), "{error}");
    assert!(error.contains("; correct the statement"), "{error}");
    let error = refuse("BO_ 99999999999999999999999 M: 8 A\n");
    assert!(error.starts_with("t.dbc:11:1: "), "{error}");
    let error = Database::parse("x", b"<!DOCTYPE html>\n").unwrap_err().to_string();
    assert!(error.starts_with("x:1:1: this is not a DBC keyword; check that this is a DBC file"), "{error}");
}

#[test]
fn statements_that_do_not_matter_for_decoding_never_refuse_a_file() {
    let database = parse(
        "BO_ 1 M: 8 A\n SG_ X : 0|8@1+ (1,0) [0|0] \"\" A\n\nVAL_ 1 X 0x10 \"a\" ;\nCM_ what;\nBA_ \"a\" ZZ_ 1;\n\
         EV_ nonsense;\nSIGTYPE_VALTYPE_ T : 1;\n",
    );
    assert_eq!(database.messages().len(), 1);
    assert_eq!(warnings(&database).iter().filter(|w| w.contains("not understood")).count(), 3);
    // The place of what does not parse, also when it is not the first statement of its line.
    let database = parse("BO_ 1 M: 8 A\n\nCM_ \"é\"; CM_ what;\n");
    assert!(warnings(&database)[0].starts_with("t.dbc:13:14: CM_ statement not understood"), "{database:?}");
}

/// Also right behind a message, which no `;` ends.
#[test]
fn unknown_keywords_are_left_out_and_take_nothing_with_them() {
    let database = parse(
        "BO_ 1 M: 8 A\n SG_ X : 0|8@1+ (1,0) [0|0] \"\" A\nSIG_FANCY_ 1 X 5\n\nBO_ 2 N: 8 A\n\n\
         VAL_ 1 X 1 \"a\" ;\nFuture 1 \"x\nBO_ 3 O: 8 A\"; CM_ BO_ 1 \"c\";\n",
    );
    let names: Vec<_> = database.messages().iter().map(|m| &*m.name).collect();
    assert_eq!(names, ["M", "N"]);
    let signal = &database.messages()[0].signals[0];
    assert_eq!((signal.labels.len(), &*database.messages()[0].comment), (1, "c"));
    let found: Vec<_> = database.warnings().iter().map(|w| (w.code, w.place.line, w.place.column)).collect();
    assert_eq!(found, [(Code::UnknownKeyword, 13, 1), (Code::UnknownKeyword, 18, 1)]);
}

/// What matters for decoding is enough.
#[test]
fn sections_may_be_missing() {
    let database = Database::parse("t.dbc", b"BO_ 1 M: 8 A\n SG_ X : 0|8@1+ (1,0) [0|0] \"\" A\n").unwrap();
    assert_eq!((database.messages().len(), database.warnings().len()), (1, 0));
}

#[test]
fn value_tables_by_name() {
    let database = parse(
        "VAL_TABLE_ OnOff 1 \"On\" 0 \"Off\" ;\nBO_ 1 M: 8 A\n SG_ X : 0|8@1+ (1,0) [0|0] \"\" A\n\nVAL_ 1 X OnOff ;\n",
    );
    assert_eq!(&*database.messages()[0].signals[0].labels[1].1, "On");
}

#[test]
fn names_above_32_characters_come_from_attributes() {
    let database = parse(
        "BO_ 1 Short_0: 8 A\n SG_ S_0 : 0|8@1+ (1,0) [0|0] \"\" A\n\n\
         BA_ \"SystemMessageLongSymbol\" BO_ 1 \"A_Name_Of_More_Than_Thirty_Two_Characters\";\n\
         BA_ \"SystemSignalLongSymbol\" SG_ 1 S_0 \"A_Signal_Of_More_Than_Thirty_Two_Characters\";\nVAL_ 1 S_0 1 \"a\";\n",
    );
    assert_eq!(&*database.messages()[0].name, "A_Name_Of_More_Than_Thirty_Two_Characters");
    let signal = &database.messages()[0].signals[0];
    assert_eq!((&*signal.name, signal.labels.len()), ("A_Signal_Of_More_Than_Thirty_Two_Characters", 1));
}

#[test]
fn signals_of_one_name_get_different_ones() {
    let signal = |name: &str| format!(" SG_ {name} : 0|8@1+ (1,0) [0|0] \"\" A\n");
    let signals: String = ["S", "S", "S_2", "Short", "S"].map(signal).concat();
    let long = "BA_ \"SystemSignalLongSymbol\" SG_ 1 Short \"S\";\n";
    let labels = "VAL_ 1 S 1 \"a\" ;\n";
    let database = parse(&format!("BO_ 1 M: 8 A\n{signals}\nBO_ 2 N: 8 A\n{}\n{long}{labels}", signal("S")));
    let [message, other] = database.messages() else { panic!() };
    let found: Vec<_> = message.signals.iter().map(|s| (&*s.name, s.labels.len())).collect();
    assert_eq!(found, [("S", 1), ("S_3", 1), ("S_2", 0), ("S_4", 0), ("S_5", 1)]);
    assert_eq!(&*other.signals[0].name, "S", "another message has names of its own");
    let found: Vec<_> = warnings(&database).into_iter().filter(|w| !w.contains("shares bits")).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0], "t.dbc:13:2: message M has another signal S in line 12: this one is called S_3");
}

#[test]
fn code_page_1252_and_windows_line_ends() {
    let text = b"\xEF\xBB\xBFBO_ 1 M: 8 A\r\n SG_ T : 0|8@1+ (1,0) [0|0] \"\xC2\xB0C\" A\r\n";
    assert_eq!(&*Database::parse("u", text).unwrap().messages()[0].signals[0].unit, "°C");
    let text = b"BO_ 1 M: 8 A\r\n SG_ T : 0|8@1+ (1,0) [0|0] \"\xB0C\" A\r\n";
    assert_eq!(&*Database::parse("c", text).unwrap().messages()[0].signals[0].unit, "°C");
}

#[test]
fn size_is_bounded_and_missing_files_named() {
    let error = Database::parse("big", &vec![b' '; MAX_BYTES + 1]).unwrap_err();
    assert!(matches!(error, DbcError::TooLarge { .. }), "{error}");
    let error = Database::load(Path::new("no/such/file.dbc")).unwrap_err().to_string();
    assert!(error.starts_with("no/such/file.dbc: cannot read"), "{error}");
}

#[test]
fn hostile_files_neither_overflow_the_stack_nor_flood_the_warnings() {
    // No construct of DBC nests, so depth cannot be provoked; repetition and open ends can.
    for text in ["(", "\"", "[", "BU_:", "BO_ 1 M: 8 A\n SG_ ", "CM_ \"", "NS_ :\n ", "//"] {
        let _ = Database::parse("h", text.repeat(20_000).as_bytes());
    }
    let many: String = (0..5000).map(|n| format!("VAL_ 9 S{n} 0 \"\" ;\n")).collect();
    let database = Database::parse("h", many.as_bytes()).unwrap();
    assert_eq!(database.warnings().len(), warnings::MAX_WARNINGS + 1);
    assert_eq!(database.warnings()[warnings::MAX_WARNINGS].text, "4000 more warnings");
}

#[test]
fn how_a_file_is_written_is_noted_with_its_place() {
    let notes = |bytes: &[u8]| -> Vec<String> {
        let database = Database::parse("f", bytes).unwrap();
        assert_eq!(database.messages().len(), 1);
        assert!(database.warnings().is_empty(), "{:?}", database.warnings());
        database.notes().iter().map(|note| format!("{} {note}", note.code.name())).collect()
    };
    let whole = "VERSION \"\"\nNS_ :\n CM_\nBS_:\nBU_: A\nBO_ 1 M: 1 A\n SG_ S : 0|8@1+ (1,0) [0|9999] \"°\" A\n";
    let range = "unchecked-range f:7:2: signal S of message M has the range [0|9999], which its bits cannot express: it is \
                 not checked";
    assert_eq!(notes(whole.as_bytes()), [range]);
    assert_eq!(
        notes(format!("\u{FEFF}{}", whole.replace("VERSION \"\"\n", "")).as_bytes())[..2],
        ["byte-order-mark f:1:1: the file begins with a byte order mark", "missing-section f: the file has no VERSION"]
    );
    assert_eq!(
        notes(whole.replace("A\n", "A\r\n").as_bytes())[0],
        "carriage-returns f:5:7: lines end with a carriage return"
    );
    let code_page: Vec<u8> = whole.chars().map(|c| u8::try_from(c).unwrap()).collect();
    assert_eq!(notes(&code_page)[0], "code-page-1252 f:7:33: not UTF-8: taken for Windows code page 1252");
    assert_eq!(notes(b"BO_ 1 M: 1 A\n")[0], "missing-section f: the file has no VERSION, no NS_, no BS_, no BU_");
}

#[test]
fn attributes_that_are_not_used_are_still_looked_at() {
    let warnings = |attribute: &str| {
        let text = format!(
            "BO_ 1 M: 1 A\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" A\n\n{attribute}\nBA_ \"GenMsgCycleTime\" BO_ 1 20;\n"
        );
        let database = Database::parse("f", text.as_bytes()).unwrap();
        assert_eq!(database.messages()[0].cycle_time_ms, Some(20), "{attribute}");
        database.warnings().iter().map(|warning| warning.code.name()).collect::<Vec<_>>()
    };
    for good in [
        "BA_ \"A\" 5;",
        "BA_ \"A\" \"x y;\";",
        "BA_ \"A\" BO_ 1 5;",
        "BA_ \"A\" SG_ 1 S -5.5;",
        "BA_ \"A\" SG_ 1 S \"x\";",
        "BA_ \"A\" BU_ Node 1e3;",
    ] {
        assert!(warnings(good).is_empty(), "{good}");
    }
    for bad in ["BA_ A 5;", "BA_ \"A\" BO_ x 5;", "BA_ \"A\" SG_ 1 5;", "BA_ \"A\" BO_ 1 ;", "BA_ \"A\" 5 6;"] {
        assert_eq!(warnings(bad), ["not-understood"], "{bad}");
    }
}

#[test]
fn signals_that_share_bits_in_a_frame_are_told() {
    let text = "BO_ 1 M: 8 A\n SG_ Sel M : 0|4@1+ (1,0) [0|0] \"\" A\n SG_ A m1 : 8|8@1+ (1,0) [0|0] \"\" A\n \
                SG_ B m2 : 8|8@1+ (1,0) [0|0] \"\" A\n SG_ C m1 : 12|8@1+ (1,0) [0|0] \"\" A\n \
                SG_ D m2 : 3|2@0+ (1,0) [0|0] \"\" A\n SG_ E : 40|8@1+ (1,0) [0|0] \"\" A\n \
                SG_ F : 47|4@0+ (1,0) [0|0] \"\" A\n SG_ G m1 : 32|8@1+ (1,0) [0|0] \"\" A\n";
    let database = Database::parse("f", text.as_bytes()).unwrap();
    let warnings: Vec<String> = database.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "f:5:2: signal C shares bits with A",
            "f:6:2: signal D shares bits with Sel",
            "f:8:2: signal F shares bits with E"
        ]
    );
}
