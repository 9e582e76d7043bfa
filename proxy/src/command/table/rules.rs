//! Why commands are refused, one text per reason; clients read them behind the command's name, users in the README.

/// KEYS.
pub(super) const ALL_KEYS: &str = "it lists every key of every node and stops them meanwhile, SCAN does not";
/// FLUSHALL and FLUSHDB.
pub(super) const ALL_DATA: &str = "it deletes all data of all nodes";
/// The debugger of scripts.
pub(super) const ONE_SCRIPT: &str = "concerns what runs on one server; connect to the node";
/// SWAPDB.
pub(super) const TWO_DATABASES: &str =
    "it exchanges the data of all clients of two databases, node by node and not at one moment";
/// MIGRATE.
pub(super) const MIGRATE: &str = "would move keys past the ring";
/// Commands between a primary and its replicas.
pub(super) const REPLICATION: &str = "replication is a matter between servers";
/// ACL SETUSER and ACL DELUSER.
pub(super) const USERS: &str = "it changes who may do what, for every client";
/// ACL SAVE.
pub(super) const USERS_FILE: &str = "it writes over the file of users";
/// MONITOR.
pub(super) const MONITOR: &str = "it would show the commands of other clients";
/// DEBUG and other tools for developers.
pub(super) const DEBUG: &str = "a tool for developers of the server";
/// Everything an operator does to one server.
pub(super) const ONE_SERVER: &str = "concerns one server; connect to the node";
/// BGSAVE and BGREWRITEAOF.
pub(super) const ALL_FORK: &str = "it makes every node fork and write all its data to disk at once";
/// SAVE.
pub(super) const ALL_STOP: &str = "it stops every node until all its data are on disk, BGSAVE does not";
/// CONFIG SET, CONFIG REWRITE and CONFIG RESETSTAT.
pub(super) const ALL_SETTINGS: &str = "it changes how all nodes run, for every client";
/// SHUTDOWN.
pub(super) const STOP: &str = "it would stop every node at once; stop a node where it runs";
/// LATENCY GRAPH.
pub(super) const GRAPH: &str = "draws one server; LATENCY HISTORY has the samples of all nodes";
/// CLUSTER and its kin.
pub(super) const CLUSTER: &str = "Ringway is not a Redis Cluster node";
