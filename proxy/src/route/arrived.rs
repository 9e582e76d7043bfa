//! Which keys are known to have arrived at the nodes of the topology, while keys are on their way. Pure memory: whoever
//! moves keys tells, and what is forgotten is asked for again.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::command::{self, Command};
use crate::resp::Args;
use crate::topology::{NodeIndex, Owner, Topology};

use super::Scratch;

/// Keys of one of two generations; 16 bytes for each and as much again in the table, so that a worker holds 8 MiB at most.
const KEYS: usize = 128 * 1024;

/// A key on its way, and the nodes between which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Traveller {
    pub(crate) key: Box<[u8]>,
    /// A position in [`crate::topology::Former::nodes`].
    pub(crate) from: NodeIndex,
    pub(crate) to: NodeIndex,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    /// What is known holds by this topology.
    epoch: u64,
    /// By this topology every key counts as arrived.
    trusted: u64,
    /// Two sums of each key, by secret functions of this process: no client can make two keys that meet.
    young: HashSet<(u64, u64)>,
    old: HashSet<(u64, u64)>,
    sums: (RandomState, RandomState),
}

impl Arrived {
    /// Whether a key is known to have arrived.
    pub(crate) fn has(&self, topology: &Topology, key: &[u8]) -> bool {
        if self.trusted == topology.epoch() {
            return true;
        }
        let sum = self.sum(key);
        self.epoch == topology.epoch() && (self.young.contains(&sum) || self.old.contains(&sum))
    }

    /// A key has arrived by the topology of `epoch`.
    pub(crate) fn note(&mut self, epoch: u64, key: &[u8]) {
        if self.epoch != epoch {
            self.epoch = epoch;
            (self.young, self.old) = Default::default();
        }
        if self.young.len() >= KEYS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(self.sum(key));
    }

    /// Until this is said otherwise, every key counts as arrived by the topology of `epoch`, 0 for none; what was said
    /// before.
    pub(crate) fn trust(&mut self, epoch: u64) -> u64 {
        std::mem::replace(&mut self.trusted, epoch)
    }

    /// Nothing is on its way any more: gives the memory back.
    pub(crate) fn forget(&mut self) {
        (self.young, self.old) = Default::default();
    }

    fn sum(&self, key: &[u8]) -> (u64, u64) {
        (self.sums.0.hash_one(key), self.sums.1.hash_one(key))
    }
}

/// The keys of a command that are not known to have arrived.
pub(crate) fn travellers(
    topology: &Topology,
    command: &Command,
    args: &Args<'_>,
    scratch: &mut Scratch,
    into: &mut Vec<Traveller>,
) {
    if topology.former().is_none() || command::key_positions(command, args, &mut scratch.keys).is_err() {
        return;
    }
    for &position in &scratch.keys {
        let key = args.get(position as usize).unwrap_or_default();
        if let Owner::Moving { from, to } = topology.owner(key)
            && !scratch.arrived.has(topology, key)
        {
            into.push(Traveller { key: key.into(), from, to });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{NodeSpec, Origin, TopologySpec};
    use ringway_ring::RingConfig;

    fn moving(epoch: u64) -> Topology {
        let spec = |address: &str| TopologySpec {
            ring: RingConfig::default(),
            nodes: vec![NodeSpec::new("a", address)],
        };
        let origin = Origin { former: spec("h:1"), former_is_right: true };
        Topology::build_moving(epoch, spec("h:2"), Some(origin)).unwrap()
    }

    #[test]
    fn what_has_arrived_is_known_for_one_topology() {
        let mut arrived = Arrived::default();
        arrived.note(2, b"k");
        assert!(arrived.has(&moving(2), b"k") && !arrived.has(&moving(2), b"other"));
        assert!(!arrived.has(&moving(3), b"k"));
        arrived.note(3, b"other");
        assert!(!arrived.has(&moving(2), b"k") && !arrived.has(&moving(3), b"k"));
        arrived.trust(3);
        assert!(arrived.has(&moving(3), b"k") && !arrived.has(&moving(4), b"k"));
    }

    #[test]
    fn memory_is_bounded_and_the_youngest_are_kept() {
        let (mut arrived, topology) = (Arrived::default(), moving(2));
        for key in 0..3 * KEYS as u32 {
            arrived.note(2, &key.to_le_bytes());
        }
        assert!(arrived.young.len() + arrived.old.len() <= 2 * KEYS);
        assert!(arrived.has(&topology, &(3 * KEYS as u32 - 1).to_le_bytes()));
        assert!(!arrived.has(&topology, &0u32.to_le_bytes()));
    }
}
