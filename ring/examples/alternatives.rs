//! Two ideas measured against the default placement: `cargo run --release -p ringway-ring --example alternatives`.
//!
//! *Multi-probe* (Appleton and O'Reilly, "Multi-probe consistent hashing", 2015): few points per node, a key is hashed
//! k times and goes to the point nearest behind any of its k places. *Bounded loads* (Mirrokni, Thorup, Zadimoghaddam,
//! "Consistent hashing with bounded loads", SODA 2018): no node takes more than c times the mean; a key whose owner is
//! full goes on to the next. The README's section "Alternatives" says what follows from the figures.

use std::hint::black_box;
use std::time::Instant;

use ringway_ring::{Member, Ring, RingConfig};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const HASHES: u64 = 400_000;
const NAMINGS: usize = 40;

fn main() {
    println!("largest share over the mean (average / 95th percentile of 40 namings) and ns per look-up");
    for nodes in [3, 10, 100] {
        balance(nodes, "default, 1024 points", |members| Box::new(default_ring(members, 1024)));
        balance(nodes, "multi-probe, 21 x 1 point", |members| Box::new(MultiProbe::new(members, 1, 21)));
        balance(nodes, "multi-probe, 21 x 8 points", |members| Box::new(MultiProbe::new(members, 8, 21)));
    }
    println!("bounded loads: parts of the keys");
    for nodes in [10, 100] {
        for (points, limit) in [(160, 1.25), (160, 1.05), (1024, 1.05)] {
            bounded(nodes, points, limit);
        }
    }
}

/// What both can do.
trait Placement {
    fn place(&self, key: &[u8]) -> usize;
}

impl Placement for Ring {
    fn place(&self, key: &[u8]) -> usize {
        self.owner(key)
    }
}

fn default_ring(members: &[Member], points: u32) -> Ring {
    let config = RingConfig { points, ..RingConfig::default() };
    Ring::build(&config, members).expect("distinct names")
}

/// Points in their order, searched once per probe.
struct MultiProbe {
    points: Vec<(u64, usize)>,
    probes: u64,
}

impl MultiProbe {
    fn new(members: &[Member], points_each: u64, probes: u64) -> Self {
        let of = |(place, member): (usize, &Member)| {
            let name = member.name.clone();
            (0..points_each).map(move |i| (xxh3_64_with_seed(name.as_bytes(), i), place))
        };
        let mut points: Vec<_> = members.iter().enumerate().flat_map(of).collect();
        points.sort_unstable();
        Self { points, probes }
    }
}

impl Placement for MultiProbe {
    fn place(&self, key: &[u8]) -> usize {
        let (start, step) = (xxh3_64(key), xxh3_64_with_seed(key, 1) | 1);
        let probe = |number: u64| {
            let at = start.wrapping_add(number.wrapping_mul(step));
            let found = self.points.partition_point(|point| point.0 < at) % self.points.len();
            let (position, place) = self.points[found];
            (position.wrapping_sub(at), place)
        };
        (0..self.probes).map(probe).min().expect("a probe").1
    }
}

fn members(naming: usize, count: usize) -> Vec<Member> {
    (0..count).map(|number| Member::new(format!("cache{naming}-{number}"), 1)).collect()
}

fn balance(nodes: usize, name: &str, make: impl Fn(&[Member]) -> Box<dyn Placement>) {
    let largest = |naming: usize| {
        let placement = make(&members(naming, nodes));
        let mut keys = vec![0_u64; nodes];
        (0..HASHES).for_each(|key| keys[placement.place(&key.to_le_bytes())] += 1);
        *keys.iter().max().expect("a node") as f64 * nodes as f64 / HASHES as f64
    };
    let start = Instant::now();
    let mut all: Vec<f64> = (0..NAMINGS).map(largest).collect();
    let spent = start.elapsed().as_nanos() as f64 / (NAMINGS as u64 * HASHES) as f64;
    all.sort_by(f64::total_cmp);
    let average = all.iter().sum::<f64>() / NAMINGS as f64;
    println!("  {nodes:>4} nodes  {name:<28} {average:.3} / {:.3}   {spent:.0} ns", all[NAMINGS * 95 / 100]);
}

/// Places keys in the order given; a full node passes them on. Returns each key's node.
fn place_bounded(ring: &Ring, limit: f64, keys: impl ExactSizeIterator<Item = u64>) -> Vec<usize> {
    let room = (keys.len() as f64 * limit / ring.members().len() as f64).ceil() as u64;
    let mut load = vec![0; ring.members().len()];
    let mut place = |key: u64| {
        let place = ring.successors(&key.to_le_bytes()).find(|&place| load[place] < room).expect("room");
        load[place] += 1;
        place
    };
    keys.map(&mut place).collect()
}

fn bounded(nodes: usize, points: u32, limit: f64) {
    const KEYS: u32 = 100_000;
    let keys = || (0..KEYS).map(u64::from);
    let part = |count: usize| 100.0 * count as f64 / f64::from(KEYS);
    let all = members(0, nodes + 1);
    let (ring, larger) = (default_ring(&all[..nodes], points), default_ring(&all, points));

    let placed = place_bounded(&ring, limit, keys());
    let displaced =
        keys().zip(&placed).filter(|(key, place)| ring.owner(&key.to_le_bytes()) != **place).count();
    let mut backwards = place_bounded(&ring, limit, keys().rev());
    backwards.reverse();
    let by_order = placed.iter().zip(&backwards).filter(|(a, b)| a != b).count();
    let after = place_bounded(&larger, limit, keys());
    let moved: Vec<usize> =
        placed.iter().zip(after).filter(|(from, to)| **from != *to).map(|(_, to)| to).collect();
    let plain = keys().filter(|key| larger.owner(&key.to_le_bytes()) == nodes).count();
    let between_old = moved.iter().filter(|&&to| to != nodes).count();
    println!(
        "  {nodes:>4} nodes, {points:>4} points, c = {limit}: displaced {:.2} %, another order of arrival moves {:.2} %, \
         a join moves {:.2} % (without bounds {:.2} %), of that between old nodes {:.2} %",
        part(displaced),
        part(by_order),
        part(moved.len()),
        part(plain),
        part(between_old),
    );
    black_box(moved);
}
