//! Time per pass over all frames of a case: ours (iterator) and dbc-codegen's.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peers::Case;

fn decode(c: &mut Criterion) {
    for case in Case::all() {
        let mut group = c.benchmark_group(case.name);
        group.throughput(Throughput::Elements(case.frames.len() as u64));
        eprintln!("{}: {} frames, {:.1} signals a frame", case.name, case.frames.len(), case.signals() as f64 / case.frames.len() as f64);
        group.bench_function("iterator", |b| b.iter(|| {
            let mut out = [0.0; 512];
            for frame in &case.frames {
                let Some(message) = case.plan.find(frame.id) else { continue };
                for (sample, out) in case.plan.decode_frame(message, frame).signals().zip(&mut out) {
                    *out = sample.value;
                }
                black_box(&out);
            }
        }));
        group.bench_function("fold", |b| b.iter(|| {
            let mut out = [0.0; 512];
            for frame in &case.frames {
                let Some(message) = case.plan.find(frame.id) else { continue };
                let mut n = 0;
                case.plan.decode_frame(message, frame).signals().for_each(|sample| { out[n & 511] = sample.value; n += 1; });
                black_box(&out);
            }
        }));
        group.bench_function("slice", |b| b.iter(|| {
            let mut out = vec![Default::default(); case.plan.most_signals()];
            for frame in &case.frames {
                let Some(message) = case.plan.find(frame.id) else { continue };
                black_box(case.plan.decode_frame(message, frame).write(&mut out));
            }
        }));
        group.bench_function("dbc-codegen", |b| b.iter(|| {
            let mut out = [0.0; 512];
            for (frame, id) in case.frames.iter().zip(&case.ids) {
                black_box((case.generated)(*id, frame.payload(), &mut out));
                black_box(&out);
            }
        }));
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
