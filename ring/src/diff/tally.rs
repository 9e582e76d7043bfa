//! Adding up flows: which member of the new ring has the name of which member of the old one, and how much goes from
//! one to another.
//!
//! Sums are integers until the end, so that nothing is lost by rounding. Of all the pairs that could be, a change
//! usually has few (a join: one per old member), so only those that occur take memory.

use alloc::vec;
use alloc::vec::Vec;

use super::Flow;
use crate::config::Member;
use crate::ring::Ring;

/// Stands for "no member of the old ring has this name".
const NONE: usize = usize::MAX;

/// How the members of two rings correspond.
pub(super) struct Names {
    /// For every new member the old one of the same name, or `NONE`.
    old_of: Vec<usize>,
}

impl Names {
    pub(super) fn new(old: &Ring, new: &Ring) -> Self {
        let mut old_of = vec![NONE; new.members().len()];
        let mut olds = old.members_by_name().peekable();
        for (place, member) in new.members_by_name() {
            while olds.next_if(|(_, old)| old.name < member.name).is_some() {}
            if let Some((same, _)) = olds.next_if(|(_, old)| old.name == member.name) {
                old_of[place] = same;
            }
        }
        Self { old_of }
    }

    /// 1 − Σ min(old ideal share, new ideal share): what every placement with ideal shares has to move at least.
    pub(super) fn minimum(&self, old: &[Member], new: &[Member]) -> f64 {
        let total = |members: &[Member]| members.iter().map(|member| f64::from(member.weight)).sum::<f64>();
        let (old_total, new_total) = (total(old), total(new));
        let kept =
            self.old_of.iter().zip(new).filter(|(before, _)| **before != NONE).map(|(&before, after)| {
                (f64::from(old[before].weight) / old_total).min(f64::from(after.weight) / new_total)
            });
        (1.0 - kept.sum::<f64>()).max(0.0)
    }
}

/// Sums per pair of members whose names differ.
pub(super) struct Tally<'n> {
    names: &'n Names,
    pairs: Pairs,
}

impl<'n> Tally<'n> {
    pub(super) fn new(names: &'n Names) -> Self {
        Self { names, pairs: Pairs::new() }
    }

    /// Adds an amount whose owner was `from` in the old ring and is `to` in the new one.
    #[inline]
    pub(super) fn add(&mut self, from: usize, to: usize, amount: u128) {
        if self.names.old_of[to] != from {
            self.pairs.add(from, to, amount);
        }
    }

    /// The part of `total` that moves, and the flows in their order.
    pub(super) fn finish(self, total: u128, old: &[Member], new: &[Member]) -> (f64, Vec<Flow>) {
        let mut pairs = self.pairs.into_vec();
        let names = |pair: &(u128, usize, usize)| (&old[pair.1].name, &new[pair.2].name);
        pairs.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| names(a).cmp(&names(b))));
        let moved = pairs.iter().map(|pair| pair.0).sum::<u128>();
        let part = |amount: u128| amount as f64 / total as f64;
        let flow = |&(amount, from, to): &(u128, usize, usize)| Flow {
            from: old[from].name.clone(),
            to: new[to].name.clone(),
            share: part(amount),
        };
        (part(moved), pairs.iter().map(flow).collect())
    }
}

/// A hash table from pairs of members to sums: open addressing, linear probing, at most half full. An amount of 0 marks
/// a free place.
struct Pairs {
    places: Vec<(u32, u128)>,
    used: usize,
}

impl Pairs {
    fn new() -> Self {
        Self { places: vec![(0, 0); 64], used: 0 }
    }

    #[inline(never)]
    fn add(&mut self, from: usize, to: usize, amount: u128) {
        // Members are counted in 16 bits.
        let pair = (from as u32) << 16 | to as u32;
        let place = self.place(pair);
        if place.1 == 0 && amount > 0 {
            *place = (pair, amount);
            self.used += 1;
            self.grow();
        } else {
            place.1 += amount;
        }
    }

    /// The pair's place, or the free one where it belongs.
    fn place(&mut self, pair: u32) -> &mut (u32, u128) {
        let spread = u64::from(pair).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let mut at = spread as usize % self.places.len();
        while self.places[at].1 != 0 && self.places[at].0 != pair {
            at = (at + 1) % self.places.len();
        }
        &mut self.places[at]
    }

    fn grow(&mut self) {
        if self.used * 2 > self.places.len() {
            let larger = vec![(0, 0); self.places.len() * 4];
            for (pair, amount) in core::mem::replace(&mut self.places, larger) {
                if amount > 0 {
                    *self.place(pair) = (pair, amount);
                }
            }
        }
    }

    fn into_vec(self) -> Vec<(u128, usize, usize)> {
        let used = self.places.into_iter().filter(|place| place.1 > 0);
        used.map(|(pair, amount)| (amount, (pair >> 16) as usize, (pair & 0xffff) as usize)).collect()
    }
}
