//! Two circles merged point by point.
//!
//! ```text
//!   old   ─────a────────────b───────a──
//!   new   ─────a──────c─────b───────a──
//!              ^      ^ up to here the owner was b and is c; from here to b's point it stays b
//! ```
//!
//! Both cursors stand at the first point that was not passed; the nearer of the two ends a range with one owner before
//! and one after. O(points of both), and nothing is allocated.

use core::cmp::Ordering;

use super::tally::Tally;
use crate::points::Points;

/// Adds every range of hashes, from 0 to `last`, whose owners' names differ.
pub(super) fn circles(old: &Points, new: &Points, last: u64, tally: &mut Tally<'_>) {
    let (mut in_old, mut in_new) = (0, 0);
    let mut first = 0;
    loop {
        let (old_end, new_end) = (old.last_hash(in_old), new.last_hash(in_new));
        let end = old_end.min(new_end).min(last);
        // Of several points at one position the first has taken all: then `end` is passed already.
        if end >= first {
            tally.add(old.owner(in_old), new.owner(in_new), u128::from(end - first) + 1);
        }
        if end == last {
            return;
        }
        first = end + 1;
        // A branch, because a change leaves most points alone, and a guessed step need not wait for the compare.
        match old_end.cmp(&new_end) {
            Ordering::Equal => (in_old, in_new) = (in_old + 1, in_new + 1),
            Ordering::Less => in_old += 1,
            Ordering::Greater => in_new += 1,
        }
    }
}
