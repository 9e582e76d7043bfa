//! Rows about Redis Cluster.
//!
//! Ringway places keys by its own ring and is not a cluster node, so all are refused.

use super::super::bits::Categories;
use super::super::build::Family;
use super::super::row::{Command, Group};
use super::rules;

const ROW: Family = Family::new(Group::Cluster, Categories::EMPTY);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.refused("asking", 1, rules::CLUSTER, "3.0.0", "Announces a command for a slot that is moving")
        .fast()
        .also(Categories::CONNECTION),
    ROW.container("cluster", "3.0.0", "Commands about a Redis Cluster", CLUSTER),
    ROW.refused("readonly", 1, rules::CLUSTER, "3.0.0", "Allows reads from a replica of a cluster")
        .anytime()
        .fast()
        .also(Categories::CONNECTION),
    ROW.refused("readwrite", 1, rules::CLUSTER, "3.0.0", "Ends READONLY")
        .anytime()
        .fast()
        .also(Categories::CONNECTION),
];

const CLUSTER: &[Command] = &[
    ROW.refused("cluster|addslots", -3, rules::CLUSTER, "3.0.0", "Gives slots to this cluster node")
        .admin()
        .no_async_loading()
        .stale(),
    ROW.refused("cluster|addslotsrange", -4, rules::CLUSTER, "7.0.0", "Gives ranges of slots to this node")
        .admin()
        .no_async_loading()
        .stale(),
    ROW.refused("cluster|bumpepoch", 2, rules::CLUSTER, "3.0.0", "Raises the configuration epoch")
        .admin()
        .no_async_loading()
        .stale(),
    ROW.refused("cluster|count-failure-reports", 3, rules::CLUSTER, "3.0.0", "Reports of a failure")
        .admin()
        .stale(),
    ROW.refused("cluster|countkeysinslot", 3, rules::CLUSTER, "3.0.0", "Number of keys in a slot").stale(),
    ROW.refused("cluster|delslots", -3, rules::CLUSTER, "3.0.0", "Takes slots from this cluster node")
        .admin()
        .no_async_loading()
        .stale(),
    ROW.refused("cluster|delslotsrange", -4, rules::CLUSTER, "7.0.0", "Takes ranges of slots from this node")
        .admin()
        .no_async_loading()
        .stale(),
    ROW.refused("cluster|failover", -2, rules::CLUSTER, "3.0.0", "Makes a replica take over")
        .admin()
        .no_async_loading()
        .stale(),
    ROW.refused("cluster|flushslots", 2, rules::CLUSTER, "3.0.0", "Takes all slots from this cluster node")
        .admin()
        .no_async_loading()
        .stale(),
    ROW.refused("cluster|forget", 3, rules::CLUSTER, "3.0.0", "Removes a node from the cluster's list")
        .admin()
        .no_async_loading()
        .stale(),
    ROW.refused("cluster|getkeysinslot", 4, rules::CLUSTER, "3.0.0", "Some keys of a slot").stale(),
    ROW.refused("cluster|help", 2, rules::CLUSTER, "5.0.0", "Lists the subcommands").anytime(),
    ROW.refused("cluster|info", 2, rules::CLUSTER, "3.0.0", "State of the cluster").stale(),
    ROW.refused("cluster|keyslot", 3, rules::CLUSTER, "3.0.0", "Slot of a key").stale(),
    ROW.refused("cluster|links", 2, rules::CLUSTER, "7.0.0", "Links to the other cluster nodes").stale(),
    ROW.refused("cluster|meet", -4, rules::CLUSTER, "3.0.0", "Joins another cluster node")
        .admin()
        .no_async_loading()
        .stale(),
    ROW.refused("cluster|myid", 2, rules::CLUSTER, "3.0.0", "Identifier of this cluster node").stale(),
    ROW.refused("cluster|nodes", 2, rules::CLUSTER, "3.0.0", "Configuration as the cluster node sees it")
        .stale(),
    ROW.refused("cluster|replicas", 3, rules::CLUSTER, "5.0.0", "Replicas of a cluster node").admin().stale(),
    ROW.refused("cluster|replicate", 3, rules::CLUSTER, "3.0.0", "Makes this node a replica of another")
        .admin()
        .no_async_loading()
        .stale(),
    ROW.refused("cluster|reset", -2, rules::CLUSTER, "3.0.0", "Forgets the cluster")
        .admin()
        .noscript()
        .stale(),
    ROW.refused("cluster|saveconfig", 2, rules::CLUSTER, "3.0.0", "Writes the cluster configuration to disk")
        .admin()
        .no_async_loading()
        .stale(),
    ROW.refused("cluster|set-config-epoch", 3, rules::CLUSTER, "3.0.0", "Sets the epoch of a new node")
        .admin()
        .no_async_loading()
        .stale(),
    ROW.refused("cluster|setslot", -4, rules::CLUSTER, "3.0.0", "Changes the state of a slot")
        .admin()
        .no_async_loading()
        .stale(),
    ROW.refused("cluster|shards", 2, rules::CLUSTER, "7.0.0", "Slots and nodes of every shard").stale(),
    ROW.refused("cluster|slaves", 3, rules::CLUSTER, "3.0.0", "Older name of CLUSTER REPLICAS")
        .admin()
        .stale(),
    ROW.refused("cluster|slots", 2, rules::CLUSTER, "3.0.0", "Which node serves which slots").stale(),
    ROW.refused("cluster|myshardid", 2, rules::CLUSTER, "7.2.0", "Identifier of the shard").stale(),
];
