//! Time of a pass over all frames of a case.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peers::Case;

fn decode(c: &mut Criterion) {
    for case in Case::all() {
        let mut group = c.benchmark_group(case.name);
        group.throughput(Throughput::Elements(case.frames.len() as u64));
        group.bench_function("for_each", |b| b.iter(|| case.for_each()));
        group.bench_function("slice", |b| b.iter(|| case.slice()));
        group.bench_function("iterator", |b| b.iter(|| case.iterator()));
        group.bench_function("dbc-codegen", |b| b.iter(|| case.generated()));
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
