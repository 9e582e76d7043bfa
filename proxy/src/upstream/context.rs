//! What the links of a worker have in common.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::exchange::ReplyTo;
use super::greeting::Fences;
use super::link::Link;
use super::pace::Paces;
use super::tracking::Trackers;
use crate::essential::Failed;
use crate::net::{Landing, Ways};
use crate::scripts::Scripts;
use crate::seldom::Seldom;
use crate::settings::Timeouts;
use crate::topology::NodeAddress;
use crate::turn::Turn;

/// What all links of a worker share.
pub(crate) struct LinkContext<T: ReplyTo> {
    pub(crate) timeouts: Timeouts,
    pub(crate) turn: Rc<Turn>,
    /// Whether this worker logs what becomes of nodes; one of all does.
    pub(crate) speaks: bool,
    /// What every new connection makes known to its node.
    pub(crate) scripts: Arc<Scripts>,
    /// How nodes are spoken to over TLS.
    pub(crate) ways: Arc<Ways>,
    /// Workers that connect to the same nodes.
    pub(crate) sharers: usize,
    /// How often all of them connect to a node.
    pub(crate) paces: Arc<Paces>,
    /// Where a defect that ends a link's task is told.
    pub(crate) failed: Failed,
    /// Most bytes that may wait for one connection; fewer while memory is short.
    pub(crate) queue_bytes: Cell<usize>,
    /// How often a connection was lost that had worked, or a node has left: what a client was told before may not hold.
    pub(crate) losses: Cell<u64>,
    /// Clients with connections of their own on which nodes tell them of keys.
    pub(crate) trackers: Trackers<T>,
    /// A node was busy for so long that commands for it were refused.
    pub(crate) said_busy: Seldom,
    /// Connections that were given up, by the address of the server: a node that leaves and comes back, or whose keys
    /// move away, is not to run late what it was sent before.
    pub(crate) fences: RefCell<HashMap<String, Fences>>,
    /// Links with something to write at the end of the turn.
    pub(crate) dirty: RefCell<Vec<Rc<Link<T>>>>,
    /// Where all links read to: nothing stays in it between two turns.
    pub(crate) buffer: RefCell<Landing>,
}

impl<T: ReplyTo> LinkContext<T> {
    /// The connections to the server at `address` that were given up.
    pub(crate) fn fences_of(&self, address: &str) -> Fences {
        let mut known = self.fences.borrow_mut();
        known.retain(|_, fences| fences.is_in_use());
        known.entry(NodeAddress::key(address)).or_default().clone()
    }
}
