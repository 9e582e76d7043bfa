//! Envoy's `RING_HASH` as its redis_proxy uses it: points from xxHash64 (or Murmur2-64A) of `name_i`, their number from
//! the weights' share of a whole ring.
//!
//! ```text
//!   weights w normalised to a sum of 1
//!   scale = min(ceil(smallest w · minimum size) / smallest w, maximum size)
//!   host after host, in the order of the list:  target += scale · w;  one point more while fewer than target
//! ```
//!
//! Because the ring's size is shared out, a change moves keys between unchanged hosts too, and the list's order shifts
//! counts by one point; both are Envoy's and must stay. Envoy leaves open who owns a position that two hosts share;
//! here it is the one whose name is first.

use alloc::format;
use alloc::vec::Vec;

use xxhash_rust::xxh64::xxh64;

use super::bounded;
use crate::config::{Member, RingConfig};
use crate::error::RingError;
use crate::hash::murmur64;
use crate::points::Points;
use crate::ring::Table;

/// Envoy's default and greatest `maximum_ring_size`.
const MAXIMUM_SIZE: f64 = 8_388_608.0;

/// `XX_HASH`.
pub(super) fn xx_hash(text: &[u8]) -> u64 {
    xxh64(text, 0)
}

/// `MURMUR_HASH_2`.
pub(super) fn murmur_hash(text: &[u8]) -> u64 {
    murmur64(text)
}

/// The points of all hosts, with this hash of `name_i`.
pub(super) fn table(
    config: &RingConfig,
    members: &[Member],
    by_name: &[u16],
    hash: fn(&[u8]) -> u64,
) -> Result<Table, RingError> {
    let mut ranks = Vec::from(by_name);
    for (rank, &place) in (0_u16..).zip(by_name) {
        ranks[usize::from(place)] = rank;
    }
    let counts = counts(config.points, members);
    let mut points = Vec::with_capacity(bounded(counts.iter().sum())? + crate::points::WINDOW);
    for ((member, rank), count) in members.iter().zip(ranks).zip(counts) {
        points.extend((0..count).map(|i| (hash(format!("{}_{i}", member.name).as_bytes()), rank)));
    }
    Ok(Table::Points(Points::wide(points, by_name)))
}

/// How many points each host gets, in the order of the list.
fn counts(minimum_size: u32, members: &[Member]) -> Vec<u64> {
    let total: f64 = members.iter().map(|member| f64::from(member.weight)).sum();
    let part = |member: &Member| f64::from(member.weight) / total;
    let smallest = members.iter().map(part).fold(1.0, f64::min);
    let scale = (ceil(smallest * f64::from(minimum_size)) / smallest).min(MAXIMUM_SIZE);
    let (mut emitted, mut target) = (0_u64, 0.0);
    let count = |member: &Member| {
        target += scale * part(member);
        let before = emitted;
        emitted = emitted.max(ceil(target) as u64);
        emitted - before
    };
    members.iter().map(count).collect()
}

/// The least whole number that is not smaller; `f64::ceil` needs the standard library. For values from 0 to 2^53.
fn ceil(value: f64) -> f64 {
    let whole = value as u64 as f64;
    if whole < value { whole + 1.0 } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_equal_hosts_share_1026_points() {
        let hosts = ["a", "b", "c"].map(|name| Member::new(name, 1));
        assert_eq!(counts(1024, &hosts), [342, 342, 342]);
    }

    #[test]
    fn the_maximum_size_cuts() {
        let hosts = [Member::new("a", 1), Member::new("b", 999)];
        assert_eq!(counts(8_388_608, &hosts).iter().sum::<u64>(), 8_388_608);
    }
}
