//! What several tests need: tables of `testdata/`, rings from short descriptions, and a model of the default placement.

// Every test file uses its own part of this.
#![allow(dead_code)]

pub(crate) mod model;
pub(crate) mod tables;

use ringway_ring::{Member, Ring, RingConfig};

/// A ring of the default placement.
pub(crate) fn ring(points: u32, seed: u64, members: &[Member]) -> Ring {
    build(&RingConfig { points, seed, ..RingConfig::default() }, members)
}

/// A ring that can be built.
pub(crate) fn build(config: &RingConfig, members: &[Member]) -> Ring {
    Ring::build(config, members).expect("a ring")
}

/// Members `prefix-0` and so on, of weight 1.
pub(crate) fn equal_members(prefix: &str, count: usize) -> Vec<Member> {
    (0..count).map(|number| Member::new(format!("{prefix}-{number}"), 1)).collect()
}

/// SplitMix64: random numbers that are the same in every run.
pub(crate) fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut calls = 0_u64;
    move || {
        calls += 1;
        model::finalise(seed.wrapping_add(calls.wrapping_mul(model::STEP)))
    }
}
