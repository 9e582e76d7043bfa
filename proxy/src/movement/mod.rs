//! Moving keys to their nodes after a change of the topology, while clients go on.
//!
//! ```text
//!   client ─ command with a key on its way ─► waits ─► Fetch ─┐                         ┌─► the command goes on
//!                                                             ▼                         │
//!   topology with a former one ─► engine: waits for what was sent before ─► carriers, one for each former node
//!                                                             ▲                         │
//!                              SCAN of that node, its keys ───┘   WATCH, DUMP ─► RESTORE ─► MULTI UNLINK EXEC
//! ```
//! What makes it right:
//!
//! - A key is served at its new node only after it is known to be gone from its former one. Until then its commands wait,
//!   for the operation timeout at most; then they are NOTSENT.
//! - Nothing is carried before all that was sent by earlier topologies is answered or given up, and what was given up is
//!   fenced on the carriers' connections as on all others (law I3).
//! - One carrier deals with all keys of a former node, one batch after the other: no key is carried twice at once.
//! - What a carrier has sent and not seen answered is fenced too, before anything else of it reaches that server.
//!
//! All of it runs on one worker. Values pass through its memory, [`crate::limits::CARRIED_BYTES`] at a time for each
//! former node, or one larger value.

mod batch;
mod carrier;
mod engine;
mod epochs;
mod inspect;
mod status;
mod wires;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::control::{ApplyError, Change};
use crate::route::arrived::Traveller;
use crate::topology::Topology;
pub(crate) use engine::run;
pub(crate) use epochs::{Begun, Epochs};
pub use status::{MovementPhase, MovementStatus, SourceStatus};

/// Has keys brought to their nodes.
pub(crate) struct Fetch {
    /// The topology that says where they are to go.
    pub(crate) epoch: u64,
    pub(crate) keys: Vec<Traveller>,
    /// Whether all are there, or why one is not. Also said when the topology is another one: look at it again.
    pub(crate) answer: oneshot::Sender<Result<(), String>>,
}

/// What the engine is told.
pub(crate) enum Order {
    Fetch(Fetch),
    /// The topology is another one, or whether this process may act is.
    Look,
    /// Whether keys can be moved between the nodes of these topologies: the second is to come after the first.
    Inspect(Box<(Topology, oneshot::Sender<Result<(), String>>)>),
    /// Leave the keys where they are that are on their way by the topology of this epoch.
    End(u64, oneshot::Sender<Result<Change, ApplyError>>),
    /// Tell when nothing is carried any more; the caller has seen to it that nothing more is begun.
    Rest(oneshot::Sender<()>),
}

/// The way to the engine, and what it says of itself.
pub(crate) struct Movement {
    orders: UnboundedSender<Order>,
    inbox: Mutex<Option<UnboundedReceiver<Order>>>,
    status: Mutex<Option<MovementStatus>>,
}

impl Movement {
    /// For a proxy that begins with this topology.
    pub(crate) fn of(topology: &Topology) -> Self {
        let (orders, inbox) = unbounded_channel();
        let status = topology.former().map(|_| MovementStatus::new(topology));
        Self { orders, inbox: Mutex::new(Some(inbox)), status: Mutex::new(status) }
    }

    /// Tells the engine; false when there is none any more.
    pub(crate) fn order(&self, order: Order) -> bool {
        self.orders.send(order).is_ok()
    }

    /// For the one that runs the engine.
    pub(crate) fn inbox(&self) -> Option<UnboundedReceiver<Order>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes something of the movement to the topology of `epoch`, unless another one has taken its place.
    fn note(&self, epoch: u64, what: impl FnOnce(&mut MovementStatus)) {
        if let Some(status) = self.status().as_mut().filter(|status| status.epoch == epoch) {
            what(status);
        }
    }

    /// How far the last movement is; nothing before the first.
    pub(crate) fn status(&self) -> MutexGuard<'_, Option<MovementStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
