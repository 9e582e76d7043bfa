//! Why a change is refused, in words for operators.

use crate::topology::TopologyError;

/// Why a topology was not changed; the old one serves on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// Someone else was faster.
    #[error("the topology is at epoch {actual}, not {expected}; read it again and repeat the change")]
    Epoch {
        /// What the caller had seen.
        expected: u64,
        /// What holds now.
        actual: u64,
    },
    /// The wished topology is none.
    #[error("{0}")]
    Topology(#[from] TopologyError),
    /// Nobody has said how nodes are spoken to over TLS.
    #[error(
        "node '{node}': {address} is reached over TLS, which is not set up; add node_tls to the configuration and reload it"
    )]
    NoTls {
        /// The node.
        node: String,
        /// Its address.
        address: String,
    },
    /// Nobody has said who knows where masters are.
    #[error(
        "node '{node}': where {address} is tell sentinels, and there are none to ask; add sentinels to the configuration and restart"
    )]
    NoSentinels {
        /// The node.
        node: String,
        /// Its address.
        address: String,
    },
    /// A node's name cannot be resolved.
    #[error("node '{node}': {address} cannot be resolved: {why}")]
    Unresolvable {
        /// The node.
        node: String,
        /// Its address.
        address: String,
        /// The resolver's words, or the sentinels'.
        why: String,
    },
    /// A node that is this proxy would forward to itself for ever.
    #[error("node '{node}': {address} is the address of this proxy itself")]
    OwnAddress {
        /// The node.
        node: String,
        /// Its address.
        address: String,
    },
    /// There was no change yet.
    #[error("there is no earlier topology to go back to")]
    NothingToUndo,
    /// The topology file could not be written, so the change was not made.
    #[error("the topology could not be kept, so nothing was changed: {0}")]
    NotKept(String),
    /// Keys are on their way by an earlier change.
    #[error(
        "keys are still on their way to the nodes of epoch {0}: wait until they have moved (GET /v1/movement), go back by \
         a rollback, or leave them where they are (DELETE /v1/movement)"
    )]
    StillMoving(u64),
    /// No keys are on their way.
    #[error("no keys are on their way")]
    NothingMoves,
    /// Keys cannot be moved between these nodes, so nothing was changed.
    #[error("keys cannot be moved, so nothing was changed: {0}")]
    CannotMove(String),
    /// Another process makes the changes now.
    #[error("this process takes no changes now: {0}")]
    Held(String),
    /// It serves by the topology of another Ringway.
    #[error("this Ringway follows {0}: change the topology there")]
    Follows(String),
}
