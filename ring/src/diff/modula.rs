//! Movement to, from and between modula's slots.
//!
//! A slot owns every hash with its remainder, so there are no ranges to merge. Two lists of slots repeat after the
//! least common multiple of their lengths: one period is counted, hash by hash, and multiplied. Against a circle every
//! stretch is cut into whole rounds of the slots and a rest. Where either would take more than 2^25 steps, nothing is
//! counted and the caller takes a sample.

use alloc::vec;

use super::tally::Tally;
use crate::points::Points;

/// Steps that are taken at most; about a tenth of a second.
const MOST_STEPS: u128 = 1 << 25;

/// Adds what moves between two lists of slots, over the hashes from 0 to `last`; whether it could be counted.
pub(super) fn slots(old: &[u16], new: &[u16], last: u64, tally: &mut Tally<'_>) -> bool {
    let space = u128::from(last) + 1;
    let period = (old.len() / gcd(old.len(), new.len())) as u128 * new.len() as u128;
    let steps = period.min(space);
    if steps > MOST_STEPS {
        return false;
    }
    let (periods, rest) = (space / period, space % period);
    let pairs = old.iter().cycle().zip(new.iter().cycle());
    for (hash, (&from, &to)) in (0..steps).zip(pairs) {
        tally.add(from.into(), to.into(), periods + u128::from(hash < rest));
    }
    true
}

/// Calls `add` with the circle's owner, the slot's owner and the hashes they share; whether it could be counted.
pub(super) fn circle(
    points: &Points,
    slots: &[u16],
    last: u64,
    mut add: impl FnMut(usize, usize, u128),
) -> bool {
    let round = slots.len() as u64;
    if points.len() as u128 * u128::from(round) > MOST_STEPS {
        return false;
    }
    let mut rounds = vec![0_u128; usize::from(u16::MAX) + 1];
    points.stretches(last, |first, end, owner| {
        let hashes = u128::from(end - first) + 1;
        rounds[owner] += hashes / u128::from(round);
        let rest = (hashes % u128::from(round)) as usize;
        let from = (first % round) as usize;
        for &slot in slots.iter().cycle().skip(from).take(rest) {
            add(owner, slot.into(), 1);
        }
    });
    for (owner, &rounds) in rounds.iter().enumerate().filter(|(_, rounds)| **rounds > 0) {
        for &slot in slots {
            add(owner, slot.into(), rounds);
        }
    }
    true
}

/// The greatest common divisor, by Euclid.
fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
