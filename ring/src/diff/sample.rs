//! Estimates for what cannot be counted: a fixed set of keys, or of hashes, the same on every machine and every time.
//!
//! Of 262,144 the standard error of a share p is sqrt(p (1 − p) / 262144), at most 0.001.

use alloc::format;

use super::tally::Tally;
use crate::ring::Ring;

/// How many are asked.
pub(super) const SIZE: u64 = 1 << 18;

/// Asks both rings for the owner of the keys `key:0`, `key:1` and so on.
pub(super) fn keys(old: &Ring, new: &Ring, tally: &mut Tally<'_>) {
    for number in 0..SIZE {
        let key = format!("key:{number}");
        let (from, to) = (old.owner(key.as_bytes()), new.owner(key.as_bytes()));
        tally.add(from, to, 1);
    }
}

/// Asks both rings for the owner of hashes spread evenly over their common hash space.
pub(super) fn hashes(old: &Ring, new: &Ring, tally: &mut Tally<'_>) {
    let space = old.key_function().space();
    for number in 0..SIZE {
        let hash = (u128::from(scramble(number)) * space) >> 64;
        let (from, to) = (old.owner_of_hash(hash as u64), new.owner_of_hash(hash as u64));
        tally.add(from, to, 1);
    }
}

/// XXH3 of the number's bytes, so that remainders are not regular.
fn scramble(number: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&number.to_le_bytes())
}
