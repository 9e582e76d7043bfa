//! Time per run of each pure step of a command's way: `cargo bench -p ringway-proxy --features bench`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod steps;

fn hot_path(criterion: &mut Criterion) {
    for mut step in steps::all() {
        let (area, case) = step.name.split_once('/').expect("area/case");
        let mut group = criterion.benchmark_group(area);
        group.throughput(Throughput::Elements(step.requests));
        group.bench_function(case, |bencher| bencher.iter(&mut step.run));
        group.finish();
    }
}

criterion_group!(benches, hot_path);
criterion_main!(benches);
