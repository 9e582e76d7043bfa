//! Which keys commands name most often, counted for a while when an operator asks ([`crate::control::Control::count_keys`]).
//!
//! A worker counts in a table of [`PLACES`] keys (Misra and Gries, "Finding repeated elements", 1982). While there is
//! room, each key that is named takes a place. When there is none, a new key takes one from the count of every other one
//! and gets no place itself; whoever has nothing left makes room. What is told of a key is how often it was named since it
//! has its place, which is never too much; what it may have lost before is known as well. Whatever was named more
//! often than once in every [`PLACES`] has a place in the end, and where that many suffice all is exact.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::topology::Topology;

/// Keys that one worker counts at the same time.
const PLACES: usize = 4096;
/// A longer key is counted, but not by its name, in bytes: so a worker holds no more than about 5 MiB.
pub(crate) const KEY_BYTES: usize = 1024;

/// What one worker has counted under one topology.
#[derive(Debug)]
pub(crate) struct KeyCounts {
    topology: Arc<Topology>,
    since: Instant,
    places: usize,
    /// Commands that named keys.
    pub(crate) commands: u64,
    accesses: u64,
    unnamed: u64,
    /// By node of the topology.
    nodes: Vec<u64>,
    keys: HashMap<Box<[u8]>, Tally>,
    /// How often one was taken from every count.
    taken: u64,
}

#[derive(Debug, Clone, Copy)]
struct Tally {
    /// How often the key was named since it has its place.
    accesses: u64,
    /// By commands that may write.
    writes: u64,
    /// At most so often it was named before.
    missed: u64,
}

/// What was counted over all workers.
#[derive(Debug, Clone)]
pub struct HotKeys {
    /// By which topology, from beginning to end.
    pub topology: Arc<Topology>,
    /// For how long.
    pub duration: Duration,
    /// Commands that named keys.
    pub commands: u64,
    /// Keys that they named; one that a command names twice counts twice.
    pub accesses: u64,
    /// Those of them that are not in `keys` for their length: more than 1 KiB.
    pub unnamed: u64,
    /// Keys that were named, for each node of the topology in its order.
    pub nodes: Vec<u64>,
    /// The most often named first, of equals those on the node that was asked most. A key that is missing was named at most `missed` times.
    pub keys: Vec<HotKey>,
    /// How often a key that is not in `keys` may have been named; 0 when all are there.
    pub missed: u64,
}

/// How often one key was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotKey {
    /// The key.
    pub key: Vec<u8>,
    /// So often for certain.
    pub accesses: u64,
    /// Those of them by commands that may write.
    pub writes: u64,
    /// At most so often besides.
    pub missed: u64,
}

impl KeyCounts {
    /// Counts from now on.
    pub(crate) fn new(topology: Arc<Topology>) -> Self {
        Self::with_places(topology, PLACES)
    }

    fn with_places(topology: Arc<Topology>, places: usize) -> Self {
        Self {
            nodes: vec![0; topology.nodes().len()],
            topology,
            since: Instant::now(),
            places,
            commands: 0,
            accesses: 0,
            unnamed: 0,
            keys: HashMap::new(),
            taken: 0,
        }
    }

    /// Begins anew if the topology is another one: what is told is of one ring.
    pub(crate) fn follow(&mut self, topology: &Arc<Topology>) {
        if !Arc::ptr_eq(&self.topology, topology) {
            *self = Self::with_places(Arc::clone(topology), self.places);
        }
    }

    /// A command names this key.
    pub(crate) fn access(&mut self, key: &[u8], may_write: bool) {
        self.accesses += 1;
        if let Some(node) = self.nodes.get_mut(usize::from(self.topology.home(key).0)) {
            *node += 1;
        }
        if key.len() > KEY_BYTES {
            self.unnamed += 1;
        } else if let Some(tally) = self.keys.get_mut(key) {
            tally.accesses += 1;
            tally.writes += u64::from(may_write);
        } else if self.keys.len() < self.places {
            self.keys
                .insert(key.into(), Tally { accesses: 1, writes: u64::from(may_write), missed: self.taken });
        } else {
            self.taken += 1;
            let taken = self.taken;
            self.keys.retain(|_, tally| tally.accesses + tally.missed > taken);
        }
    }

    /// What workers have counted, in one; what was counted by another topology than the latest is left out.
    pub(crate) fn sum(parts: Vec<Self>, now: Instant) -> Option<HotKeys> {
        let latest = parts.iter().max_by_key(|part| part.topology.epoch())?;
        let topology = Arc::clone(&latest.topology);
        let mut sum = HotKeys {
            duration: Duration::MAX,
            commands: 0,
            accesses: 0,
            unnamed: 0,
            nodes: vec![0; topology.nodes().len()],
            keys: Vec::new(),
            missed: 0,
            topology,
        };
        // what of a key is missing in a part where it has no place is added for all at first
        let mut keys: HashMap<Box<[u8]>, (u64, u64, u64)> = HashMap::new();
        for part in parts.into_iter().filter(|part| Arc::ptr_eq(&part.topology, &sum.topology)) {
            sum.duration = sum.duration.min(now.saturating_duration_since(part.since));
            sum.commands += part.commands;
            sum.accesses += part.accesses;
            sum.unnamed += part.unnamed;
            sum.missed += part.taken;
            sum.nodes.iter_mut().zip(&part.nodes).for_each(|(all, more)| *all += more);
            for (key, tally) in part.keys {
                let (accesses, writes, known) = keys.entry(key).or_default();
                *accesses += tally.accesses;
                *writes += tally.writes;
                *known += part.taken - tally.missed;
            }
        }
        let all = sum.missed;
        let told = |(key, (accesses, writes, known)): (Box<[u8]>, _)| HotKey {
            key: key.into(),
            accesses,
            writes,
            missed: all - known,
        };
        sum.keys = keys.into_iter().map(told).collect();
        // an order of names would put all keys with a hash tag behind all others
        sum.keys.sort_by_cached_key(|told| {
            let of_node = sum.nodes.get(usize::from(sum.topology.home(&told.key).0)).copied();
            (Reverse(told.accesses), Reverse(of_node), in_no_order(&told.key))
        });
        Some(sum)
    }
}

/// The same for one key in every list.
fn in_no_order(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use ringway_ring::RingConfig;

    use super::*;
    use crate::settings::{NodeSpec, TopologySpec};

    fn topology(epoch: u64) -> Arc<Topology> {
        let node = |at: u16| NodeSpec::new(format!("n{at}"), format!("127.0.0.1:{}", 7000 + at));
        let nodes = (1..=3).map(node).collect();
        Arc::new(Topology::build(epoch, TopologySpec { ring: RingConfig::default(), nodes }).unwrap())
    }

    proptest! {
        #[test]
        fn what_is_told_of_a_key_is_never_too_much_and_what_is_missing_is_known(
            // few keys more than places, some of them named often; one worker or three
            asked in prop::collection::vec((0_usize..3, 0_u32..40, prop::bool::weighted(0.5)), 0..2000),
            places in 1_usize..64,
        ) {
            let topology = topology(1);
            let mut parts: Vec<KeyCounts> =
                (0..3).map(|_| KeyCounts::with_places(Arc::clone(&topology), places)).collect();
            let mut truth: HashMap<Vec<u8>, (u64, u64)> = HashMap::new();
            for (worker, number, may_write) in &asked {
                // small numbers come far more often
                let key = format!("k{}", number * number / 40).into_bytes();
                parts[*worker].access(&key, *may_write);
                let (accesses, writes) = truth.entry(key).or_default();
                *accesses += 1;
                *writes += u64::from(*may_write);
            }
            prop_assert!(parts.iter().all(|part| part.keys.len() <= places));
            let found = KeyCounts::sum(parts, Instant::now()).unwrap();
            prop_assert_eq!(found.accesses, asked.len() as u64);
            prop_assert_eq!(found.nodes.iter().sum::<u64>(), found.accesses);
            prop_assert!(found.missed <= found.accesses / (places as u64 + 1));
            prop_assert!(found.keys.is_sorted_by_key(|key| std::cmp::Reverse(key.accesses)));
            for told in &found.keys {
                let (accesses, writes) = truth.remove(&told.key).unwrap();
                prop_assert!(told.accesses <= accesses && accesses <= told.accesses + told.missed);
                prop_assert!(told.writes <= writes && writes <= told.writes + told.missed);
            }
            // whoever is left out was not named more often than is said
            prop_assert!(truth.values().all(|(accesses, _)| *accesses <= found.missed));
            if places >= 40 {
                prop_assert_eq!(found.missed, 0);
            }
        }
    }

    #[test]
    fn long_keys_count_without_their_names() {
        let mut counts = KeyCounts::new(topology(1));
        counts.access(&[b'k'; KEY_BYTES], false);
        counts.access(&[b'k'; KEY_BYTES + 1], false);
        let found = KeyCounts::sum(vec![counts], Instant::now()).unwrap();
        assert_eq!((found.accesses, found.unnamed, found.keys.len()), (2, 1, 1));
    }

    #[test]
    fn with_another_ring_all_begins_anew_and_late_workers_are_left_out() {
        let (old, new) = (topology(1), topology(2));
        let mut late = KeyCounts::new(Arc::clone(&old));
        late.access(b"a", false);
        let mut counts = KeyCounts::new(old);
        counts.access(b"a", false);
        counts.follow(&new);
        counts.access(b"b", true);
        let found = KeyCounts::sum(vec![late, counts], Instant::now()).unwrap();
        let told = HotKey { key: b"b".to_vec(), accesses: 1, writes: 1, missed: 0 };
        assert_eq!((found.keys, found.accesses, found.topology.epoch()), (vec![told], 1, 2));
    }
}
