//! The topology: ring + node addresses + epoch, immutable, swapped whole (law I8).
//!
//! A command asks one snapshot once. [`Owner`] is an enum, since a key on its way between two nodes is a state of its
//! own: the compiler lists every place that must know.

mod address;
mod former;
mod scan_order;

use std::sync::Arc;

use ringway_ring::{Member, Ring, RingError};
use xxhash_rust::xxh3::Xxh3;

use crate::settings::{NodeSpec, Origin, TopologySpec};
pub use address::{NodeAddress, SOCKET_PATH_BYTES, socket_path, split_address};
pub use former::Former;
pub(crate) use scan_order::{PLACE_BITS, ScanOrder};

/// Position of a node in [`Topology::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeIndex(pub u16);

/// Who answers for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// One node holds it.
    Node(NodeIndex),
    /// It is on its way, or has arrived; whoever moves keys knows.
    Moving {
        /// The node that held it, as a position in [`Former::nodes`].
        from: NodeIndex,
        /// The node that is to hold it.
        to: NodeIndex,
    },
}

impl Owner {
    /// The node that holds the key, or is to hold it.
    #[inline]
    pub fn home(self) -> NodeIndex {
        match self {
            Owner::Node(node) | Owner::Moving { to: node, .. } => node,
        }
    }
}

/// Why a wished topology is refused. Each text says what is wrong and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TopologyError {
    /// The ring cannot be built.
    #[error("{0}")]
    Ring(#[from] RingError),
    /// A node's address is none.
    #[error(
        "node '{node}': address '{address}' is {}; write for example 127.0.0.1:7001 or /run/redis/redis.sock",
        NodeAddress::FORMS
    )]
    Address {
        /// The node's name.
        node: String,
        /// What stands there.
        address: String,
    },
    /// Two nodes with one address would be one server that counts twice.
    #[error("nodes '{first}' and '{second}' have the same address {address}; give each its own server")]
    SameAddress {
        /// The node that has it first.
        first: String,
        /// The node that repeats it.
        second: String,
        /// The address.
        address: String,
    },
    /// A node's name would not survive an error line, a metric label or a URL.
    #[error("node name '{0}' must be 1 to 255 printable characters without spaces, quotes or backslashes")]
    Name(String),
}

/// Ring, nodes and epoch as one immutable value.
#[derive(Debug)]
pub struct Topology {
    epoch: u64,
    spec: TopologySpec,
    ring: Ring,
    nodes: Box<[Arc<NodeSpec>]>,
    fingerprint: u64,
    scan_order: ScanOrder,
    /// What held before, as long as its nodes may have keys that are others' now.
    former: Option<Box<Former>>,
}

impl Topology {
    /// Builds the ring for a wished topology.
    ///
    /// # Errors
    /// [`TopologyError`] for an empty list, a bad name, weight or address, or two nodes of one name or address.
    pub fn build(epoch: u64, spec: TopologySpec) -> Result<Self, TopologyError> {
        check_nodes(&spec.nodes)?;
        let members: Vec<Member> =
            spec.nodes.iter().map(|node| Member { name: node.name.clone(), weight: node.weight }).collect();
        let ring = Ring::build(&spec.ring, &members)?;
        let nodes = spec.nodes.iter().cloned().map(Arc::new).collect();
        let fingerprint = fingerprint(&ring, &spec.nodes);
        let scan_order = ScanOrder::new(&spec.nodes);
        Ok(Self { epoch, spec, ring, nodes, fingerprint, scan_order, former: None })
    }

    /// As [`Topology::build`]; the keys of the topology in `origin` are on their way to this one, if there is one and any of
    /// its keys are another server's now.
    ///
    /// # Errors
    /// As [`Topology::build`], for either of them.
    pub fn build_moving(
        epoch: u64,
        spec: TopologySpec,
        origin: Option<Origin>,
    ) -> Result<Self, TopologyError> {
        let mut built = Self::build(epoch, spec)?;
        if let Some(Origin { former, former_is_right }) = origin {
            let before = Self::build(epoch, former)?;
            let former = Former::new(before, &built, former_is_right);
            built.former = former.gives_any().then(|| Box::new(former));
        }
        Ok(built)
    }

    /// What held before, as long as keys are on their way from there.
    pub fn former(&self) -> Option<&Former> {
        self.former.as_deref()
    }

    /// Where keys come from, as long as some are on their way.
    pub fn origin(&self) -> Option<Origin> {
        self.former().map(Former::origin)
    }

    /// Number of this topology; grows by one with each change.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What it was built from, credentials included.
    pub fn spec(&self) -> &TopologySpec {
        &self.spec
    }

    /// The placement.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The nodes in the operator's order.
    pub fn nodes(&self) -> &[Arc<NodeSpec>] {
        &self.nodes
    }

    /// The node at an index that this topology gave out.
    pub fn node(&self, index: NodeIndex) -> Option<&Arc<NodeSpec>> {
        self.nodes.get(usize::from(index.0))
    }

    /// Who answers for `key`; constant time in the number of nodes.
    #[inline]
    pub fn owner(&self, key: &[u8]) -> Owner {
        let node = self.home(key);
        match &self.former {
            None => Owner::Node(node),
            Some(former) => former.owner(key, node),
        }
    }

    /// The node that holds `key`, or is to hold it.
    #[inline]
    pub(crate) fn home(&self, key: &[u8]) -> NodeIndex {
        NodeIndex(self.ring.owner(key) as u16)
    }

    /// How SCAN walks over the nodes.
    pub(crate) fn scan_order(&self) -> &ScanOrder {
        &self.scan_order
    }

    /// Same for two topologies that place and reach every key alike, whatever the order of their nodes.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

fn check_nodes(nodes: &[NodeSpec]) -> Result<(), TopologyError> {
    for node in nodes {
        if !valid_name(&node.name) {
            return Err(TopologyError::Name(
                node.name.chars().take(64).collect::<String>().escape_debug().to_string(),
            ));
        }
        if NodeAddress::parse(&node.address).is_none() {
            let address = node.address.chars().take(128).collect::<String>().escape_debug().to_string();
            return Err(TopologyError::Address { node: node.name.clone(), address });
        }
    }
    let mut by_address: std::collections::HashMap<String, &NodeSpec> = std::collections::HashMap::new();
    for node in nodes {
        if let Some(first) = by_address.insert(NodeAddress::key(&node.address), node)
            && first.name != node.name
        {
            return Err(TopologyError::SameAddress {
                first: first.name.clone(),
                second: node.name.clone(),
                address: node.address.clone(),
            });
        }
    }
    Ok(())
}

fn valid_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.chars().all(|c| !c.is_control() && !c.is_whitespace() && !matches!(c, '\'' | '"' | '\\'))
}

fn fingerprint(ring: &Ring, nodes: &[NodeSpec]) -> u64 {
    let mut sorted: Vec<&NodeSpec> = nodes.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hash = Xxh3::new();
    hash.update(&ring.fingerprint().to_le_bytes());
    for node in sorted {
        for part in [&node.name, &node.address] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_ring::RingConfig;

    fn spec(nodes: &[(&str, &str)]) -> TopologySpec {
        let nodes = nodes.iter().map(|(name, address)| NodeSpec::new(*name, *address)).collect();
        TopologySpec { ring: RingConfig::default(), nodes }
    }

    #[test]
    fn order_of_nodes_changes_neither_owner_nor_fingerprint() {
        let one = Topology::build(1, spec(&[("a", "h:1"), ("b", "h:2"), ("c", "h:3")])).unwrap();
        let two = Topology::build(1, spec(&[("c", "h:3"), ("a", "h:1"), ("b", "h:2")])).unwrap();
        assert_eq!(one.fingerprint(), two.fingerprint());
        for key in 0..1000u32 {
            let left = one.owner(&key.to_le_bytes()).home();
            let right = two.owner(&key.to_le_bytes()).home();
            assert_eq!(one.node(left).unwrap().name, two.node(right).unwrap().name);
        }
    }

    #[test]
    fn two_nodes_of_one_address_are_refused() {
        let error = Topology::build(1, spec(&[("a", "h:1"), ("b", "H:1")])).unwrap_err();
        assert!(error.to_string().contains("same address"), "{error}");
    }

    #[test]
    fn names_that_could_forge_a_reply_are_refused() {
        for name in ["", "a b", "a\r\nb", "a'b"] {
            assert!(Topology::build(1, spec(&[(name, "h:1")])).is_err(), "{name:?}");
        }
    }
}
