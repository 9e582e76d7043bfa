//! The ring beside other rings of crates.io, in one run: look-up, cold look-up, build, diff.
//!
//! Keys are 16 to 40 random bytes, their hashing is included. *throughput*: look-ups that do not wait for each other.
//! *latency*: the next key depends on the last answer. *cold*: one look-up after 64 MiB of other data were read. The
//! other rings have 160 points per node, pingora-ketama's fixed number; this one is measured with as many, and with its
//! default of 1,024, where the hash tag's test is always included. *guarded* is the look-up as the proxy makes it: the
//! ring behind an `arc_swap::Cache`.

mod peers;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, criterion_group, criterion_main};
use peers::Lookup;
use ringway_ring::{HashTag, Member, Ring, RingConfig, diff};

const KEYS: usize = 1 << 16;
const NODES: [usize; 3] = [3, 100, 1000];

/// Keys one after the other in one buffer, so that reading them costs little.
struct Keys {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Keys {
    fn random() -> Self {
        let mut random = splitmix64(7);
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for _ in 0..KEYS {
            let len = 16 + random() as usize % 25;
            bytes.extend((0..len).map(|_| b'a' + (random() % 26) as u8));
            ends.push(bytes.len() as u32);
        }
        Self { bytes, ends }
    }

    fn get(&self, at: usize) -> &[u8] {
        &self.bytes[self.ends[at] as usize..self.ends[at + 1] as usize]
    }
}

/// A small generator (SplitMix64), so that every run has the same keys.
fn splitmix64(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn members(count: usize) -> Vec<Member> {
    (0..count).map(|number| Member::new(format!("cache-{number}"), 1)).collect()
}

fn ring(nodes: usize, points: u32) -> Ring {
    Ring::build(&RingConfig { points, ..RingConfig::default() }, &members(nodes)).expect("a ring")
}

fn throughput<L: Lookup>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, lookup: &L, keys: &Keys) {
    group.bench_function(format!("{name}/throughput"), |bencher| {
        bencher.iter_custom(|count| {
            let start = Instant::now();
            let mut sum = 0;
            for at in 0..count as usize {
                sum += lookup.owner(keys.get(at % KEYS));
            }
            black_box(sum);
            start.elapsed()
        });
    });
}

fn latency<L: Lookup>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, lookup: &L, keys: &Keys) {
    group.bench_function(format!("{name}/latency"), |bencher| {
        bencher.iter_custom(|count| {
            let start = Instant::now();
            let mut at = 0;
            for _ in 0..count {
                at = (at + 1 + (lookup.owner(keys.get(at)) & 1)) % KEYS;
            }
            black_box(at);
            start.elapsed()
        });
    });
}

/// One look-up at a time, everything but the key swept out of the caches before.
fn cold<L: Lookup>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    lookup: &L,
    keys: &Keys,
    sweep: &[u64],
) {
    let mut at = 0;
    group.bench_function(format!("{name}/cold"), |bencher| {
        bencher.iter_custom(|count| {
            let mut total = Duration::ZERO;
            for _ in 0..count {
                black_box(sweep.iter().step_by(8).fold(0_u64, |sum, &word| sum.wrapping_add(word)));
                at = (at + 1) % KEYS;
                let key = black_box(keys.get(at)).to_vec();
                let start = Instant::now();
                black_box(lookup.owner(&key));
                total += start.elapsed();
            }
            total
        });
    });
}

fn lookups(criterion: &mut Criterion) {
    let keys = Keys::random();
    for nodes in NODES {
        let mut group = criterion.benchmark_group(format!("lookup/{nodes}"));
        macro_rules! measure {
            ($name:expr, $lookup:expr) => {{
                let lookup = $lookup;
                throughput(&mut group, $name, &lookup, &keys);
                latency(&mut group, $name, &lookup, &keys);
            }};
        }
        measure!("ringway-1024", ring(nodes, 1024));
        measure!("ringway-160", ring(nodes, 160));
        measure!("ringway-1024-guarded", peers::Guarded::new(ring(nodes, 1024)));
        measure!("pingora-ketama-160", peers::pingora(nodes, 1));
        measure!("pingora-ketama-960", peers::pingora(nodes, 6));
        measure!("hashring-160", peers::hashring(nodes, 160));
        measure!("consistent_hash_ring-160", peers::consistent_hash_ring(nodes, 160));
    }
}

fn cold_lookups(criterion: &mut Criterion) {
    let keys = Keys::random();
    let sweep = vec![1_u64; 8 << 20];
    for nodes in NODES {
        let mut group = criterion.benchmark_group(format!("lookup/{nodes}"));
        group.sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_millis(50)).sample_size(60);
        cold(&mut group, "ringway-1024", &ring(nodes, 1024), &keys, &sweep);
        cold(&mut group, "ringway-160", &ring(nodes, 160), &keys, &sweep);
        cold(&mut group, "pingora-ketama-160", &peers::pingora(nodes, 1), &keys, &sweep);
        cold(&mut group, "hashring-160", &peers::hashring(nodes, 160), &keys, &sweep);
    }
}

/// The same look-up without the hash tag's test and with it.
fn hash_tag(criterion: &mut Criterion) {
    let keys = Keys::random();
    let mut group = criterion.benchmark_group("tag");
    for (name, hash_tag) in [("none", None), ("braces", Some(HashTag::BRACES))] {
        let ring =
            Ring::build(&RingConfig { hash_tag, ..RingConfig::default() }, &members(100)).expect("a ring");
        throughput(&mut group, name, &ring, &keys);
        latency(&mut group, name, &ring, &keys);
    }
}

fn builds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    for (nodes, points) in [(3, 1024), (100, 160), (100, 1024), (1000, 160), (1000, 1024)] {
        let members = members(nodes);
        let config = RingConfig { points, ..RingConfig::default() };
        let ring = Ring::build(&config, &members).expect("a ring");
        println!(
            "{nodes} x {points}: {:.1} bytes per point",
            ring.table_bytes() as f64 / ring.point_count() as f64
        );
        group.bench_function(format!("ringway/{nodes}x{points}"), |bencher| {
            bencher.iter(|| Ring::build(&config, black_box(&members)).expect("a ring"));
        });
    }
    group.bench_function("pingora-ketama/1000x160", |bencher| bencher.iter(|| peers::pingora(1000, 1)));
}

fn diffs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("diff");
    for (nodes, points) in [(100, 160), (100, 1024), (1000, 160), (1000, 1024)] {
        let (old, new) = (ring(nodes, points), ring(nodes + 1, points));
        group.bench_function(format!("join/{nodes}x{points}"), |bencher| {
            bencher.iter(|| diff(black_box(&old), black_box(&new)));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
        .without_plots();
    targets = lookups, cold_lookups, hash_tag, builds, diffs
}
criterion_main!(benches);
