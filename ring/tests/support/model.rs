//! The default placement once more, written for being read: a sorted list and a linear search.
//!
//! The law: this file and `src/placement/xxh3.rs` describe the same contract independently. A test that compares them
//! finds a mistake in either.

use ringway_ring::Member;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The step of SplitMix64.
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64.
pub(crate) fn finalise(mut state: u64) -> u64 {
    state ^= state >> 30;
    state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state ^= state >> 27;
    state = state.wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// Positions of 48 bits with the names that stand there, in the order of the circle; ties by name.
pub(crate) fn points(points: u32, seed: u64, members: &[Member]) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    for member in members {
        let mut state = xxh3_64_with_seed(member.name.as_bytes(), seed);
        for _ in 0..points * member.weight {
            state = state.wrapping_add(STEP);
            all.push((finalise(state) >> 16, member.name.clone()));
        }
    }
    all.sort();
    all
}

/// Who owns a hash: the first point at or after its upper 48 bits, else the first of all.
pub(crate) fn owner(points: &[(u64, String)], hash: u64) -> &str {
    let found = points.iter().find(|point| point.0 >= hash >> 16);
    &found.unwrap_or(&points[0]).1
}
