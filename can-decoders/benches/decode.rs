//! Decoding frames whose signals are all there, are selected by a multiplexor, or by several: nanoseconds a frame.
//!
//! A frame has 6 signals, of some 40 that the multiplexed messages define. What others take for real files is in `peers`.

#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is a benchmark's report")]

use std::fmt::Write;
use std::hint::black_box;

use can_decoders::{Database, MessageIndex, Plan, Sample};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Signals of a frame.
const ACTIVE: usize = 6;

fn plan(form: &str) -> Plan {
    let mut text = "BO_ 1 M: 8 N\n".to_owned();
    let mut more = String::new();
    if form != "plain" {
        text.push_str(" SG_ Sel M : 0|3@1+ (1,0) [0|0] \"\" N\n");
    }
    if form == "nested" {
        text.push_str(" SG_ Sub m0M : 3|3@1+ (1,0) [0|0] \"\" N\n");
        more.push_str("SG_MUL_VAL_ 1 Sub Sel 0-7;\n");
    }
    // What selects is a signal, too.
    let (values, selected) = match form {
        "plain" => (1, ACTIVE),
        "multiplexed" => (8, ACTIVE - 1),
        _ => (8, ACTIVE - 2),
    };
    for value in 0..values {
        for n in 0..selected {
            let mark = if form == "plain" { String::new() } else { format!("m{value}") };
            writeln!(text, " SG_ S{value}_{n} {mark} : {}|8@1- (0.5,-40) [0|0] \"\" N", 8 * n + 8).unwrap();
            if form == "nested" {
                writeln!(more, "SG_MUL_VAL_ 1 S{value}_{n} Sub {value}-{value};").unwrap();
            }
        }
    }
    Plan::compile(&[Database::parse("bench", format!("{text}\n{more}").as_bytes()).unwrap()])
}

fn decode(criterion: &mut Criterion) {
    let payloads: Vec<[u8; 8]> = (0..1000_u64).map(|n| (n * 0x9E37_79B9_7F4A_7C15).to_be_bytes()).collect();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(payloads.len() as u64));
    for form in ["plain", "multiplexed", "nested"] {
        let plan = plan(form);
        let mut buffer = vec![Sample::default(); plan.most_signals()];
        group.bench_function(form, |bencher| {
            bencher.iter(|| {
                for payload in &payloads {
                    let samples = plan.decode(MessageIndex(0), payload).write(&mut buffer);
                    assert_eq!(samples.len(), ACTIVE);
                    black_box(samples);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
