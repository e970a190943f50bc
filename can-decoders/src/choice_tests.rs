use proptest::prelude::*;

use crate::dbc::Database;
use crate::decode::Sample;
use crate::plan::{Form, MessageIndex, Plan};

fn compile(text: &str) -> Plan {
    Plan::compile(&[Database::parse("t", text.as_bytes()).unwrap()])
}

/// A message of 16 bytes: a multiplexor of 6 bits, and signals that are always there or for some of its values.
fn message(signals: &[Vec<(u8, u8)>]) -> String {
    let mut text = "BO_ 1 M: 16 A\n SG_ Sel M : 2|6@1+ (1,0) [0|0] \"\" A\n".to_owned();
    let mut more = String::new();
    for (n, ranges) in signals.iter().enumerate() {
        let mark = ranges.first().map_or(String::new(), |(low, _)| format!("m{low}"));
        text.push_str(&format!(" SG_ S{n} {mark} : {}|8@1+ (1,0) [0|0] \"\" A\n", 8 + 3 * n));
        let ranges: Vec<String> = ranges.iter().map(|(low, high)| format!("{low}-{high}")).collect();
        if !ranges.is_empty() {
            more.push_str(&format!("SG_MUL_VAL_ 1 S{n} Sel {};\n", ranges.join(", ")));
        }
    }
    format!("{text}\n{more}")
}

/// The same without a list: a float is not plain.
fn unlisted(signals: &[Vec<(u8, u8)>]) -> String {
    let text = message(signals).replacen("\n\n", "\n SG_ Odd : 96|32@1- (1,0) [0|0] \"\" A\n\n", 1);
    format!("{text}SIG_VALTYPE_ 1 Odd : 1;\n")
}

fn form(plan: &Plan) -> Form {
    plan.heads[0].form
}

proptest! {
    #[test]
    fn a_list_has_the_signals_that_questions_find(
        signals in proptest::collection::vec(proptest::collection::vec((0_u8..70, 0_u8..9), 0..4), 1..24),
        payload in any::<[u8; 16]>(),
        early in 0_usize..5,
    ) {
        let ranges = |of: &Vec<(u8, u8)>| of.iter().map(|(low, more)| (*low, low + more)).collect();
        let signals: Vec<Vec<(u8, u8)>> = signals.iter().map(ranges).collect();
        let (listed, asked) = (compile(&message(&signals)), compile(&unlisted(&signals)));
        prop_assume!(signals.iter().any(|ranges| !ranges.is_empty()));
        prop_assert_eq!(form(&listed), Form::Listed);
        prop_assert_eq!(form(&asked), Form::Any);

        let mut expected: Vec<Sample> = asked.decode(MessageIndex(0), &payload).signals().collect();
        expected.pop();
        let decoded = listed.decode(MessageIndex(0), &payload);
        prop_assert_eq!(decoded.signals().size_hint(), (expected.len(), Some(expected.len())));
        let mut one_by_one = Vec::new();
        for sample in decoded.signals() {
            one_by_one.push(sample);
        }
        prop_assert_eq!(&one_by_one, &expected);
        let folded = decoded.signals().fold(Vec::new(), |mut all, sample| { all.push(sample); all });
        prop_assert_eq!(&folded, &expected);
        let mut buffer = vec![Sample::default(); early.min(expected.len())];
        prop_assert_eq!(decoded.write(&mut buffer), &expected[..early.min(expected.len())]);
        let mut rest = decoded.signals();
        let first: Vec<Sample> = rest.by_ref().take(early).collect();
        prop_assert_eq!(rest.size_hint().0, expected.len() - first.len());
        prop_assert_eq!(first.into_iter().chain(rest).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn what_is_not_said_by_one_multiplexor_that_is_always_there_has_no_list() {
    let selected = " SG_ A m1 : 8|8@1+ (1,0) [0|0] \"\" N\n";
    let of =
        |signals: &str| form(&compile(&format!("BO_ 1 M: 8 N\n SG_ Sel M : 0|8@1+ (1,0) [0|0] \"\" N\n{signals}")));
    assert_eq!(of(selected), Form::Listed);
    let nested = " SG_ Sub m2M : 8|8@1+ (1,0) [0|0] \"\" N\n SG_ B m3 : 16|8@1+ (1,0) [0|0] \"\" N\n\n\
                  SG_MUL_VAL_ 1 B Sub 3-3;\nSG_MUL_VAL_ 1 Sub Sel 2-2;\n";
    assert_eq!(of(&format!("{selected}{nested}")), Form::Any);
    let second = " SG_ Two M : 24|8@1+ (1,0) [0|0] \"\" N\n SG_ B m3 : 16|8@1+ (1,0) [0|0] \"\" N\n\n\
                  SG_MUL_VAL_ 1 B Two 3-3;\nSG_MUL_VAL_ 1 A Sel 1-1;\n";
    assert_eq!(of(&format!("{selected}{second}")), Form::Any);
    assert_eq!(of(" SG_ A : 8|8@1+ (1,0) [0|0] \"\" N\n"), Form::Near, "selects nothing");
}

#[test]
fn lists_are_bounded() {
    let message = |count: usize, step: usize| {
        let mut text = "BO_ 1 M: 8 N\n SG_ Sel M : 0|16@1+ (1,0) [0|0] \"\" N\n".to_owned();
        for n in 0..count {
            text.push_str(&format!(" SG_ S{n} m{} : 16|8@1+ (1,0) [0|0] \"\" N\n", n * step));
        }
        compile(&text)
    };
    // Values in a row share their ends.
    let plan = message(254, 1);
    assert_eq!((form(&plan), plan.choices.intervals.len(), plan.choices.picks.len()), (Form::Listed, 255, 255 + 254));
    let plan = message(254, 3);
    assert_eq!((form(&plan), plan.choices.picks.len()), (Form::Any, 0));
    assert_eq!(plan.decode(MessageIndex(0), &[6, 0, 1, 0, 0, 0, 0, 0]).signals().count(), 2);
}

#[test]
fn a_short_or_damaged_frame_is_asked_signal_by_signal() {
    let text = "BO_ 1 M: 4 N\n SG_ Sel M : 0|8@1+ (1,0) [0|0] \"\" N\n SG_ A m1 : 8|8@1+ (1,0) [0|0] \"\" N\n \
                SG_ B m2 : 24|8@1+ (1,0) [0|0] \"\" N\n";
    let plan = compile(text);
    let names = |payload: &[u8]| -> Vec<u32> {
        plan.decode(MessageIndex(0), payload).signals().map(|sample| sample.signal.0).collect()
    };
    assert_eq!(
        [names(&[1, 0, 0, 0]), names(&[1, 0]), names(&[2]), names(&[])],
        [vec![0, 1], vec![0, 1], vec![0, 2], vec![0]]
    );
}
