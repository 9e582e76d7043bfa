//! How much of the hash space each member owns, and where.
//!
//! Shares are exact: lengths between points are summed as integers over the whole hash space of the key's hash (2^64,
//! 2^32, or twemproxy's 2^15 for `crc32`), and only the sum becomes a fraction.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::hash::KeyFunction;
use crate::ring::{Ring, Table};

/// A stretch of the circle with one owner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arc {
    /// Where it begins, as a fraction of the circle: 0 up to but not including 1.
    pub start: f64,
    /// Its length, as a fraction of the circle.
    pub len: f64,
    /// The owner's place in [`Ring::members`].
    pub member: usize,
}

impl Ring {
    /// The exact part of the hash space that a member owns, 0 to 1; 0 for a place that no member has.
    #[must_use]
    pub fn share(&self, member: usize) -> f64 {
        self.share_list().get(member).copied().unwrap_or(0.0)
    }

    /// The exact part of the hash space that each member owns, in the order of [`Ring::members`].
    #[must_use]
    pub fn shares(&self) -> Vec<f64> {
        self.share_list().into()
    }

    /// The stretches of the circle in its order, neighbours of one owner joined; they begin at 0 and end at 1, so that
    /// the owner across the end may appear first and last. modula has no circle: its slots stand in their order, equally
    /// long.
    pub fn arcs(&self) -> impl Iterator<Item = Arc> {
        let mut bounds = Vec::new();
        match self.table() {
            Table::Points(points) => {
                let last = self.key_function().last_hash();
                let space = self.key_function().space() as f64;
                points.stretches(last, |first, end, owner| {
                    bounds.push((first as f64 / space, (end as f64 + 1.0) / space, owner));
                });
            }
            Table::Slots(slots) => {
                let step = 1.0 / slots.len() as f64;
                bounds.extend(
                    slots
                        .iter()
                        .enumerate()
                        .map(|(at, &owner)| (at as f64 * step, (at + 1) as f64 * step, usize::from(owner))),
                );
            }
        }
        bounds.dedup_by(|next, kept| {
            let same = next.2 == kept.2;
            if same {
                kept.1 = next.1;
            }
            same
        });
        bounds.into_iter().map(|(start, end, member)| Arc { start, len: end - start, member })
    }

    /// The largest ratio of a member's share to the share that its weight asks for.
    pub(crate) fn imbalance(&self) -> f64 {
        let weights: f64 = self.members().iter().map(|member| f64::from(member.weight)).sum();
        let ratios = self.share_list().iter().zip(self.members());
        ratios.map(|(share, member)| share * weights / f64::from(member.weight)).fold(0.0, f64::max)
    }
}

/// The share of every member.
pub(crate) fn shares(table: &Table, members: usize, key_function: KeyFunction) -> Box<[f64]> {
    let mut owned = vec![0_u128; members];
    match table {
        Table::Points(points) => points.stretches(key_function.last_hash(), |first, end, owner| {
            owned[owner] += u128::from(end - first) + 1;
        }),
        Table::Slots(slots) => {
            let rounds = key_function.space() / slots.len() as u128;
            let rest = key_function.space() % slots.len() as u128;
            for (at, &owner) in (0_u128..).zip(slots) {
                owned[usize::from(owner)] += rounds + u128::from(at < rest);
            }
        }
    }
    let space = key_function.space() as f64;
    owned.iter().map(|&hashes| hashes as f64 / space).collect()
}
