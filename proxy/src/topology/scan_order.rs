//! The order in which SCAN walks over the nodes, and the number by which its cursor names a node.
//!
//! ```text
//!   place:  1 ─── 7 ('b') ──── 90 ('a') ─────── 512 ('c') ─── 2^20     hash of name and address
//! ```
//! A place depends on the node's name and address alone, not on where it stands in the list: a scan goes on when
//! the list is re-ordered or other nodes come and go. The address counts because a server's cursors mean nothing to
//! another server. Two nodes of one hash (the chance is the number of pairs in 2^20) take neighbouring places.

use xxhash_rust::xxh3::Xxh3;

use super::NodeIndex;
use crate::settings::NodeSpec;

/// Bits of a place.
pub(crate) const PLACE_BITS: u32 = 20;
const LAST: u32 = (1 << PLACE_BITS) - 1;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct ScanOrder {
    /// Places, strictly ascending and never 0, with their nodes.
    places: Box<[(u32, NodeIndex)]>,
}

impl ScanOrder {
    pub(crate) fn new(nodes: &[NodeSpec]) -> Self {
        let mut hashed: Vec<(u32, &NodeSpec, usize)> =
            nodes.iter().enumerate().map(|(at, node)| (hash(node), node, at)).collect();
        hashed.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        let mut free = 1;
        let mut places = Vec::with_capacity(hashed.len());
        for (at, (hash, _, index)) in hashed.iter().enumerate() {
            // room is left below the last place for those that follow
            let behind = u32::try_from(hashed.len() - 1 - at).unwrap_or(LAST);
            let place = free.max(*hash).min(LAST.saturating_sub(behind));
            places.push((place, NodeIndex(*index as u16)));
            free = place + 1;
        }
        Self { places: places.into() }
    }

    /// Where a scan begins.
    pub(crate) fn first(&self) -> Option<u32> {
        self.places.first().map(|(place, _)| *place)
    }

    /// Where a scan goes on when the node at `place` is done.
    pub(crate) fn after(&self, place: u32) -> Option<u32> {
        let next = self.places.partition_point(|(known, _)| *known <= place);
        self.places.get(next).map(|(place, _)| *place)
    }

    /// The node at a place.
    pub(crate) fn node(&self, place: u32) -> Option<NodeIndex> {
        let at = self.places.binary_search_by_key(&place, |(known, _)| *known).ok()?;
        self.places.get(at).map(|(_, node)| *node)
    }

    /// The place of a node, found by looking at all.
    pub(crate) fn place(&self, node: NodeIndex) -> Option<u32> {
        self.places.iter().find(|(_, known)| *known == node).map(|(place, _)| *place)
    }
}

fn hash(node: &NodeSpec) -> u32 {
    let mut hash = Xxh3::new();
    hash.update(node.name.as_bytes());
    // no name holds a line break
    hash.update(b"\n");
    hash.update(node.address.as_bytes());
    ((hash.digest() >> (u64::BITS - PLACE_BITS)) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(order: &ScanOrder) -> Vec<NodeIndex> {
        let places = std::iter::successors(order.first(), |place| order.after(*place));
        places.map(|place| order.node(place).unwrap()).collect()
    }

    fn names(count: usize) -> Vec<NodeSpec> {
        (0..count).map(|at| NodeSpec::new(format!("cache-{at}"), format!("h:{}", at + 1))).collect()
    }

    #[test]
    fn every_node_is_visited_once_however_many_share_a_hash() {
        // 20,000 nodes in 2^20 places: some 190 pairs share a hash
        let nodes = names(20_000);
        let mut visited = walk(&ScanOrder::new(&nodes));
        visited.sort_unstable();
        assert_eq!(visited, (0..20_000).map(NodeIndex).collect::<Vec<_>>());
    }

    #[test]
    fn places_do_not_depend_on_the_order_or_on_other_nodes() {
        let nodes = names(9);
        let order = ScanOrder::new(&nodes);
        let mut reversed = nodes.clone();
        reversed.reverse();
        reversed.remove(3);
        let other = ScanOrder::new(&reversed);
        for (at, node) in reversed.iter().enumerate() {
            let before = nodes.iter().position(|known| known == node).unwrap() as u16;
            let place = order.places.iter().find(|(_, index)| index.0 == before).unwrap().0;
            assert_eq!(other.node(place), Some(NodeIndex(at as u16)));
        }
    }

    #[test]
    fn another_address_is_another_place() {
        let order = ScanOrder::new(&[NodeSpec::new("a", "h:1")]);
        let moved = ScanOrder::new(&[NodeSpec::new("a", "h:2")]);
        assert_ne!(order.first(), moved.first());
        assert_eq!(moved.node(order.first().unwrap()), None);
    }
}
