//! The topology that held before, as long as keys are on their way from its nodes.

use std::collections::HashMap;
use std::sync::Arc;

use ringway_ring::diff;

use super::{NodeAddress, NodeIndex, Owner, Topology};
use crate::settings::{NodeSpec, Origin};

/// See the head of this file.
#[derive(Debug)]
pub struct Former {
    topology: Topology,
    /// For each of its nodes the one that is reached at the same address now: what lies there need not move.
    stays: Box<[Option<NodeIndex>]>,
    /// For each of its nodes whether any of its keys are another server's now.
    gives: Box<[bool]>,
    is_right: bool,
}

impl Former {
    /// `now` is the topology that holds now.
    pub(super) fn new(topology: Topology, now: &Topology, is_right: bool) -> Self {
        let nodes = now.nodes();
        let by_address: HashMap<String, NodeIndex> = nodes
            .iter()
            .enumerate()
            .map(|(at, node)| (NodeAddress::key(&node.address), NodeIndex(at as u16)))
            .collect();
        let stays =
            topology.nodes().iter().map(|node| by_address.get(&NodeAddress::key(&node.address)).copied());
        let stays: Box<[Option<NodeIndex>]> = stays.collect();
        let moves = diff(topology.ring(), now.ring());
        let gives = |(at, node): (usize, &Arc<NodeSpec>)| {
            let same = stays[at].and_then(|same| nodes.get(usize::from(same.0)));
            // its server has its keys under that name still, and none of them go elsewhere
            let keeps = same.is_some_and(|same| same.name == node.name);
            !moves.exact || !keeps || moves.flows.iter().any(|flow| flow.from == node.name)
        };
        let gives = topology.nodes().iter().enumerate().map(gives).collect();
        Self { topology, stays, gives, is_right }
    }

    /// Who answers for a key whose node is `to` now.
    #[cold]
    pub(super) fn owner(&self, key: &[u8], to: NodeIndex) -> Owner {
        let from = self.topology.owner(key).home();
        match self.stays.get(usize::from(from.0)) {
            Some(Some(same)) if *same == to => Owner::Node(to),
            _ => Owner::Moving { from, to },
        }
    }

    /// Its nodes, in the operator's order.
    pub fn nodes(&self) -> &[Arc<NodeSpec>] {
        self.topology.nodes()
    }

    /// The node of the present topology that is the server of one of its nodes.
    pub fn same_server(&self, node: NodeIndex) -> Option<NodeIndex> {
        self.stays.get(usize::from(node.0)).copied().flatten()
    }

    /// Whether any keys are another server's now.
    pub(super) fn gives_any(&self) -> bool {
        self.gives.contains(&true)
    }

    /// Whether any keys of a node are another server's now.
    pub fn gives(&self, node: NodeIndex) -> bool {
        self.gives.get(usize::from(node.0)).copied().unwrap_or(true)
    }

    /// The topology itself.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Whether a value that is still there is the right one where the new node has one too.
    pub fn is_right(&self) -> bool {
        self.is_right
    }

    /// What it was built from.
    pub fn origin(&self) -> Origin {
        Origin { former: self.topology.spec().clone(), former_is_right: self.is_right }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::TopologySpec;
    use ringway_ring::RingConfig;

    fn spec(nodes: &[(&str, &str)]) -> TopologySpec {
        let nodes = nodes.iter().map(|(name, address)| NodeSpec::new(*name, *address)).collect();
        TopologySpec { ring: RingConfig::default(), nodes }
    }

    fn moving(former: &[(&str, &str)], now: &[(&str, &str)]) -> Topology {
        let origin = Origin { former: spec(former), former_is_right: true };
        Topology::build_moving(2, spec(now), Some(origin)).unwrap()
    }

    #[test]
    fn a_key_moves_when_its_server_is_another_one() {
        let (before, now) = ([("a", "h:1"), ("b", "h:2")], [("a", "h:1"), ("b", "h:2"), ("c", "h:3")]);
        let (old, new) = (Topology::build(1, spec(&before)).unwrap(), moving(&before, &now));
        let (mut moved, mut stayed) = (0, 0);
        for key in (0..1000u32).map(u32::to_le_bytes) {
            match new.owner(&key) {
                Owner::Node(node) => {
                    assert_eq!(old.owner(&key), Owner::Node(node));
                    stayed += 1;
                }
                Owner::Moving { from, to } => {
                    assert_eq!((old.owner(&key), to), (Owner::Node(from), NodeIndex(2)));
                    moved += 1;
                }
            }
            assert_eq!(new.owner(&key).home(), Topology::build(2, spec(&now)).unwrap().owner(&key).home());
        }
        assert!(moved > 200 && stayed > 500, "{moved} moved, {stayed} stayed");
    }

    #[test]
    fn a_node_gives_when_any_of_its_keys_go_elsewhere() {
        let three = [("a", "h:1"), ("b", "h:2"), ("c", "h:3")];
        let gives = |topology: &Topology| -> Vec<bool> {
            (0..3).map(|at| topology.former().unwrap().gives(NodeIndex(at))).collect()
        };
        assert_eq!(gives(&moving(&three, &three[..2])), [false, false, true]);
        assert_eq!(gives(&moving(&three, &[("a", "h:1"), ("b", "h:9"), ("c", "h:3")])), [false, true, false]);
        assert_eq!(gives(&moving(&three, &[three[0], three[1], three[2], ("d", "h:4")])), [true; 3]);
        // names and servers change places
        assert_eq!(gives(&moving(&three, &[("a", "h:2"), ("b", "h:1"), ("c", "h:3")])), [true, true, false]);
    }

    #[test]
    fn another_order_of_the_same_servers_moves_nothing_and_another_address_everything() {
        let before = [("a", "h:1"), ("b", "h:2")];
        let reordered = moving(&before, &[("b", "H:2"), ("a", "h:1")]);
        let readdressed = moving(&before, &[("a", "h:1"), ("b", "h:9")]);
        assert!(reordered.former().is_none());
        for key in (0..200u32).map(u32::to_le_bytes) {
            assert!(matches!(reordered.owner(&key), Owner::Node(_)));
            let moves = matches!(readdressed.owner(&key), Owner::Moving { .. });
            assert_eq!(moves, readdressed.owner(&key).home() == NodeIndex(1));
        }
    }

    #[test]
    fn what_it_was_built_from_builds_it_again() {
        let topology = moving(&[("a", "h:1")], &[("b", "h:2")]);
        let again = Topology::build_moving(3, topology.spec().clone(), topology.origin()).unwrap();
        assert_eq!(again.origin(), topology.origin());
        assert!(again.former().unwrap().is_right() && again.former().unwrap().nodes()[0].name == "a");
    }
}
