use std::collections::HashMap;

use can_decoders::{Database, Plan};
use proptest::prelude::*;

use super::*;
use crate::engine::conditions::{Inputs, Memory, Samples};
use crate::engine::{Bus, MessageId, SignalId};

const DBC: &str = r#"
BU_: A
BO_ 256 Motor: 8 A
 SG_ Speed : 0|16@1+ (0.5,0) [0|8000] "rpm" A
 SG_ Load : 16|8@1+ (1,0) [0|100] "%" A
 SG_ Gear : 24|4@1+ (1,0) [0|15] "" A
BO_ 257 Body: 2 A
 SG_ Door : 0|1@1+ (1,0) [0|1] "" A

VAL_ 256 Gear 0 "Neutral" 1 "First" 2 "Second" 15 "First" ;
"#;

fn catalog(buses: &[&str]) -> Catalog {
    let bus = |name: &&str| Bus::new(*name, Plan::compile(&[Database::parse("a.dbc", DBC.as_bytes()).unwrap()]));
    Catalog::new(buses.iter().map(bus).collect())
}

fn compile_on(buses: &[&str], period_ns: Option<u64>, text: &str) -> Result<Program, Fault> {
    let models = ["driving".into(), "profile".into()];
    compile(text, Scope { catalog: &catalog(buses), models: &models, period_ns, max_age_ns: 5_000_000_000 })
}

/// Signals by their number, NaN or absent where there is none.
#[derive(Default)]
struct Values {
    signals: HashMap<u32, f64>,
    samples: HashMap<u32, Samples>,
}

impl Inputs for Values {
    fn signal(&self, id: SignalId) -> f64 {
        self.signals.get(&id.0).copied().unwrap_or(f64::NAN)
    }
    fn samples(&self, id: SignalId) -> Samples {
        self.samples[&id.0]
    }
    fn feature(&self, place: u16) -> f64 {
        10.0 + f64::from(place)
    }
    fn score(&self, model: u16) -> f64 {
        f64::from(model) + 0.5
    }
    fn raised(&self, model: u16) -> bool {
        model == 1
    }
    fn silent(&self, id: MessageId) -> bool {
        id.0 == 1
    }
}

/// Speed 3000, Load 40, Gear 1, and a door that never came.
fn outcome(text: &str) -> f64 {
    let program = compile_on(&["can0"], Some(100_000_000), text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
    let samples = Samples { step: -200.0, gap: 0.1, run: 3.0 };
    let values =
        Values { signals: [(0, 3000.0), (1, 40.0), (2, 1.0)].into(), samples: [(0, samples), (1, samples)].into() };
    program.run(&values, 1_000_000_000, &mut vec![Memory::default(); program.memories], &mut u64::MAX.clone())
}

#[test]
fn expressions_come_to_what_they_say() {
    let is_true = [
        "Speed > 2999.5",
        "Speed >= 3000 && Motor.Speed <= 3000 && can0.Motor.Speed == 3000.0",
        "!(Speed != 3000.0)",
        "3000.0 == Speed && 2.0 < Load",
        "Speed / 100.0 - Load * 0.5 == 10.0",
        "-Load < -39.5 && math.abs(-Load) == 40.0",
        "7 / 2 == 3 && -7 / 2 == -3 && 7 % 4 == 3 && -7 % 4 == -3",
        "int(Speed / 7.0) == 428 && int(-0.5) == 0 && double(3) / 2.0 == 1.5",
        "Gear == 'First' && Gear in ['Neutral', 'First'] && Gear != 'Second'",
        "Load in [39, 40.0]",
        "(Load > 50.0 ? 1.0 : 2.0) == 2.0",
        "math.greatest(1.0, Load, 5.0) == 40.0 && math.least(3, 2) == 2",
        "valid(Speed) && !valid(Door) && has(Motor.Load) && !has(Body.Door)",
        "signal('can0:Motor.Speed') > 1.0",
        "step(Speed) == -200.0 && gap(Speed) == 0.1 && run(Speed) == 3.0",
        "slope(Speed) < -1999.0",
        "score('driving') == 0.5 && score('profile') == 1.5 && anomaly('profile') && !anomaly('driving')",
        "silent(Body) && !silent(Motor)",
        "mean(Speed, duration('1s')) == 10.0",
        "true || Door > 1.0",
        "Door > 1.0 || true",
        "!(false && Door > 1.0) && !(Door > 1.0 && false)",
        "(true ? Speed > 1.0 : Door > 1.0)",
        "within(Speed > 1.0, duration('1s'))",
        "1.0 / 0.0 > 1.0e300",
    ];
    for text in is_true {
        assert_eq!(outcome(text).to_bits(), 1f64.to_bits(), "{text}");
    }
    let is_not_known = [
        "Door > 1.0",
        "!(Door > 1.0)",
        "Door == Door",
        "true && Door > 1.0",
        "false || Door > 1.0",
        "(Door > 1.0 ? true : false)",
        "1 / 0 == 1",
        "1 % 0 == 1",
        "0.0 / 0.0 == 1.0",
        "9007199254740991 + 1 > 0",
        "int(1.0e300) > 0",
        "math.greatest(Door, 1.0) > 0.0",
        "math.greatest(1.0, Door) > 0.0",
        "within(Door > 1.0, duration('1s'))",
        "lasting(Door > 1.0, duration('1s'))",
    ];
    for text in is_not_known {
        assert!(outcome(text).is_nan(), "{text}: {}", outcome(text));
    }
    assert_eq!(outcome("lasting(Speed > 1.0, duration('1s'))").to_bits(), 0f64.to_bits(), "not for so long yet");
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_the_remedy() {
    let cases = [
        ("Speed", 0, "compare it with something"),
        ("Speed + 1 > 3.0", 8, "`+` takes two doubles or two integers, not one of each: write 1.0"),
        ("Speed > 1.0 && Load", 15, "`&&` takes what is true or false; this is a double"),
        ("!Speed", 1, "`!` takes what is true or false"),
        ("Sped > 1.0", 0, "no signal named `Sped`"),
        ("Motor.sped > 1.0", 0, "no signal named `Motor.sped`"),
        ("Load > 1.0 && speed > 1.0", 14, "did you mean can0.Motor.Speed?"),
        ("Gear == 'Third'", 8, "'Third' is no label of Gear; there are 'Neutral', 'First', 'Second', 'First'"),
        ("Load == 'high'", 8, "no labels for Load"),
        ("Speed > 'fast'", 8, "a text stands only beside a signal"),
        ("Gear in Speed", 8, "`in` needs a list"),
        ("mean(Speed, 5.0) > 1.0", 12, "takes a duration here, as in duration('1.5s')"),
        ("mean(Speed, duration('5 s')) > 1.0", 21, "'5 s' is no duration of 1 ms to 24 h"),
        ("mean(Speed, duration('10ms')) > 1.0", 12, "a window has 1 to 36000 periods; this has 0"),
        ("mean(Speed) > 1.0", 0, "write mean(Signal, duration('5s'))"),
        ("maen(Speed) > 1.0", 0, "no function `maen`; there are age"),
        ("score('other') > 1.0", 6, "no model or profile 'other'; there are 'driving', 'profile'"),
        ("silent(Moter)", 7, "no message named `Moter`"),
        ("Speed % 2.0 == 1.0", 0, "`%` takes two integers"),
        ("true == 1.0", 0, "`==` compares like with like: true or false and a double"),
        ("(true ? 1.0 : 2) > 1.0", 14, "both sides of `:` have to be alike"),
        ("[1.0] == 2.0", 1, "a list stands only behind `in`"),
        ("Speed[1] > 1.0", 0, "the operator [] has no use in a condition"),
        ("Speed >", 7, "expected expression"),
    ];
    for (text, at, message) in cases {
        let fault = compile_on(&["can0"], Some(100_000_000), text).unwrap_err();
        assert!(fault.message.contains(message), "{text}: {fault:?}");
        assert_eq!(fault.at, at, "{text}: {fault:?}");
    }
    let fault = compile_on(&["can0"], None, "Load > 1.0 && age(Speed) > 2.0").unwrap_err();
    assert_eq!((fault.at, fault.message.contains("period_ms")), (14, true), "{fault:?}");
    let fault = compile_on(&["a", "b"], None, "Speed > 1.0").unwrap_err();
    assert!(fault.message.contains("write one of a.Motor.Speed, b.Motor.Speed"), "{fault:?}");
    assert!(compile_on(&["a", "b"], None, "b.Speed > 1.0 && a.Motor.Speed < 1.0").is_ok());
    let deep = format!("Speed > {}1.0{}", "(Speed + ".repeat(40), ")".repeat(40));
    assert!(compile_on(&["can0"], None, &deep).unwrap_err().message.contains("fewer brackets"));
    let wide = ["Speed > 1.0"; 180].join(" || ");
    let fault = compile_on(&["can0"], None, &wide).unwrap_err();
    assert!(fault.message.contains("divide the condition") || fault.message.contains("node"), "{fault:?}");
}

#[test]
fn it_is_known_what_has_to_happen() {
    use crate::engine::conditions::Trigger::{Changes, Passes, Samples, Validity};
    let triggers = |text: &str| {
        let program = compile_on(&["can0"], None, text).unwrap();
        program.triggers.into_iter().map(|(id, trigger)| (id.0, trigger)).collect::<Vec<_>>()
    };
    assert_eq!(
        triggers("Speed > 5.0 && 7 >= Speed && Speed != -1.0"),
        [(0, Passes(5.0)), (0, Passes(7.0)), (0, Passes(-1.0))]
    );
    assert_eq!(triggers("Gear in ['First', 'Neutral']"), [(2, Passes(1.0)), (2, Passes(15.0)), (2, Passes(0.0))]);
    assert_eq!(triggers("Speed > Load || valid(Door)"), [(0, Changes), (1, Changes), (3, Validity)]);
    assert_eq!(triggers("slope(Speed) < 5.0 && Speed + 1.0 > 7.0"), [(0, Samples), (0, Changes)]);
}

/// Expressions over four signals, one of which never came, in the part of CEL that both know.
fn expressions() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        prop::sample::select(vec!["Speed", "Load", "Gear", "Door"]).prop_map(str::to_owned),
        (-40i32..40).prop_map(|n| format!("{:.1}", f64::from(n) / 2.0)),
    ];
    let number = number.prop_recursive(3, 12, 2, |inner| {
        let sign = prop::sample::select(vec!["+", "-", "*", "/"]);
        prop_oneof![
            (inner.clone(), sign, inner.clone()).prop_map(|(a, sign, b)| format!("({a} {sign} {b})")),
            inner.prop_map(|a| format!("-({a})")),
        ]
    });
    let sign = prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let comparison = (number.clone(), sign, number.clone()).prop_map(|(a, sign, b)| format!("{a} {sign} {b}"));
    let truth = prop_oneof![4 => comparison, 1 => Just("true".to_owned()), 1 => Just("false".to_owned())];
    truth.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The crate's own interpreter is asked the same: an error there is what is not known here.
    #[test]
    fn every_expression_comes_to_what_cel_says(
        text in expressions(), speed in -40i32..40, load in -40i32..40, gear in 0i32..4
    ) {
        let signals = [("Speed", speed), ("Load", load), ("Gear", gear)];
        let mut context = cel::Context::default();
        let mut values = Values::default();
        for (id, (name, value)) in (0u32..).zip(signals) {
            let value = f64::from(value) / 2.0;
            context.add_variable_from_value(name, value);
            values.signals.insert(id, value);
        }
        let theirs = match cel::Program::compile(&text).unwrap().execute(&context) {
            Ok(cel::Value::Bool(truth)) => Some(truth),
            // Comparing what is no number is an error, too.
            Ok(other) => panic!("{text}: {other:?}"),
            Err(_) => None,
        };
        let program = compile_on(&["can0"], None, &text);
        let program = match program {
            Err(fault) if fault.message.contains("fewer brackets") => return Ok(()),
            program => program.unwrap(),
        };
        let ours = program.run(&values, 1, &mut [], &mut u64::MAX.clone());
        let ours = if ours.is_nan() { None } else { Some(ours == 1.0) };
        // `NaN == x` is false in CEL; here 0/0 is as unknown as a signal that never came.
        if ours.is_some() || !text.contains('/') {
            prop_assert_eq!(ours, theirs, "{}", text);
        }
    }

    /// Whatever the text is: it is compiled or refused.
    #[test]
    fn no_text_makes_it_panic(text in "[a-zA-Z0-9 .()'\\[\\]&|!<>=+*/%?:,_-]{0,60}") {
        if let Err(fault) = compile_on(&["can0"], Some(100_000_000), &text) {
            prop_assert!(fault.at <= text.len());
        }
    }
}
