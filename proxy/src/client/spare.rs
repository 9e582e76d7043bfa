//! Memory that clients of a worker use in turns.

use crate::route::join::Joining;

/// Memory for held replies and joins, shared by all clients of a worker.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    held: Vec<Vec<u8>>,
    #[expect(clippy::vec_box, reason = "the box itself is what is kept: a slot holds it as it is")]
    joinings: Vec<Box<Joining>>,
}

impl Spare {
    const MOST: usize = 1024;
    const KEEP: usize = 4096;

    pub(super) fn take(&mut self) -> Vec<u8> {
        self.held.pop().unwrap_or_default()
    }

    pub(super) fn give(&mut self, mut held: Vec<u8>) {
        if self.held.len() < Self::MOST && (1..=Self::KEEP).contains(&held.capacity()) {
            held.clear();
            self.held.push(held);
        }
    }

    /// A join to fill and hand to [`Pipeline::join`](super::pipeline::Pipeline::join).
    pub(crate) fn joining(&mut self) -> Box<Joining> {
        self.joinings.pop().unwrap_or_default()
    }

    pub(super) fn give_joining(&mut self, mut joining: Box<Joining>) {
        if self.joinings.len() < Self::MOST {
            joining.shrink();
            self.joinings.push(joining);
        }
    }
}
