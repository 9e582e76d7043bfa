//! The walk round the circle from a key on: its owner, then every other member in the order in which the walk first
//! meets one of its points.
//!
//! With points that do not depend on the other members, the walk without a member is the ring without it: the second
//! successor is who inherits the key when the first leaves.

use alloc::vec;
use alloc::vec::Vec;

use crate::ring::Table;

/// The members from a key's owner on, each once. See [`crate::Ring::successors`].
pub struct Successors<'r> {
    table: &'r Table,
    at: usize,
    /// Points or slots not yet looked at.
    steps: usize,
    /// Members not yet met.
    missing: usize,
    seen: Vec<bool>,
}

impl<'r> Successors<'r> {
    pub(crate) fn new(table: &'r Table, members: usize, hash: u64) -> Self {
        let (at, steps) = match table {
            Table::Points(points) => (points.find(hash) % points.len(), points.len()),
            Table::Slots(slots) => ((hash % slots.len() as u64) as usize, slots.len()),
        };
        Self { table, at, steps, missing: members, seen: vec![false; members] }
    }

    fn step(&mut self) -> usize {
        let (owner, count) = match self.table {
            Table::Points(points) => (points.owner(self.at), points.len()),
            Table::Slots(slots) => (usize::from(slots[self.at]), slots.len()),
        };
        self.at = if self.at + 1 == count { 0 } else { self.at + 1 };
        self.steps -= 1;
        owner
    }
}

impl Iterator for Successors<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.missing > 0 && self.steps > 0 {
            let owner = self.step();
            if !self.seen[owner] {
                self.seen[owner] = true;
                self.missing -= 1;
                return Some(owner);
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.missing))
    }
}

impl core::iter::FusedIterator for Successors<'_> {}
