//! What a change of ring moves: from whom, to whom, and how much of the hash space.
//!
//! The law: if two rings hash keys alike, the answer is exact. Two circles are merged point by point; modula is counted
//! over the common period of its slots. Otherwise no part of one hash space corresponds to a part of the other, and a
//! fixed set of keys is asked instead. [`Diff::exact`] says which it was.
//!
//! `merge` counts circles, `modula` counts slots, `sample` asks keys, `tally` adds up; this file puts names to it.

mod merge;
mod modula;
mod sample;
mod tally;

use alloc::string::String;
use alloc::vec::Vec;

use crate::ring::{Ring, Table};
use tally::{Names, Tally};

/// What changes between two rings.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff {
    /// The part of the hash space whose owner changes, 0 to 1.
    pub moved: f64,
    /// The least that any placement could move for these names and weights: 1 − Σ min(old, new ideal share), the ideal
    /// share of a member being its weight over the sum of weights, 0 where it does not exist. A ring moves about this
    /// much, a little more or less because its shares differ from the ideal.
    pub minimum: f64,
    /// Whether `moved` and `flows` were counted over the whole hash space. If not, they come from 262,144 fixed keys
    /// (or as many hashes), with a standard error of at most 0.001. That is so if the rings hash keys by different
    /// functions, or if modula's slots would take too long to count. If they differ in the hash tag only, the figures
    /// hold for keys without a tag, and `exact` is false too.
    pub exact: bool,
    /// What moves, the largest flow first, equal ones by names. `from` and `to` always differ.
    pub flows: Vec<Flow>,
    /// Every member of the old ring with its exact share, in the order of its list.
    pub before: Vec<(String, f64)>,
    /// Every member of the new ring with its exact share, in the order of its list.
    pub after: Vec<(String, f64)>,
}

/// A part of the hash space that goes from one member to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// The owner in the old ring.
    pub from: String,
    /// The owner in the new ring.
    pub to: String,
    /// The part of the whole hash space, 0 to 1.
    pub share: f64,
}

impl Diff {
    /// How much more moves than any placement would have to move: `moved` − `minimum`. Slightly negative if the members
    /// that give happen to own less than their ideal share.
    #[must_use]
    pub fn excess(&self) -> f64 {
        self.moved - self.minimum
    }
}

/// Compares two rings by the names of their members. Exact in O(points of both) if they hash keys alike; see
/// [`Diff::exact`]. A different seed or number of points does not hinder that, nor does another placement with the same
/// key hash.
#[must_use]
pub fn diff(old: &Ring, new: &Ring) -> Diff {
    let names = Names::new(old, new);
    let mut tally = Tally::new(&names);
    let count = count(old, new, &mut tally);
    let (moved, flows) = tally.finish(count.total(old), old.members(), new.members());
    Diff {
        moved,
        minimum: names.minimum(old.members(), new.members()),
        exact: count == Count::All && old.config().hash_tag == new.config().hash_tag,
        flows,
        before: named_shares(old),
        after: named_shares(new),
    }
}

/// What was counted.
#[derive(PartialEq)]
enum Count {
    /// Every hash.
    All,
    /// A sample of keys or hashes.
    Sample,
}

impl Count {
    fn total(&self, ring: &Ring) -> u128 {
        match self {
            Self::All => ring.key_function().space(),
            Self::Sample => sample::SIZE.into(),
        }
    }
}

/// Counts what moves.
fn count(old: &Ring, new: &Ring, tally: &mut Tally<'_>) -> Count {
    if old.key_function() != new.key_function() {
        sample::keys(old, new, tally);
        return Count::Sample;
    }
    let last = old.key_function().last_hash();
    let counted = match (old.table(), new.table()) {
        (Table::Points(old), Table::Points(new)) => {
            merge::circles(old, new, last, tally);
            true
        }
        (Table::Slots(old), Table::Slots(new)) => modula::slots(old, new, last, tally),
        (Table::Points(old), Table::Slots(new)) => {
            modula::circle(old, new, last, |from, to, hashes| tally.add(from, to, hashes))
        }
        (Table::Slots(old), Table::Points(new)) => {
            modula::circle(new, old, last, |to, from, hashes| tally.add(from, to, hashes))
        }
    };
    if counted {
        return Count::All;
    }
    sample::hashes(old, new, tally);
    Count::Sample
}

fn named_shares(ring: &Ring) -> Vec<(String, f64)> {
    ring.members().iter().map(|member| member.name.clone()).zip(ring.shares()).collect()
}
