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

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::control::{ApplyError, Change};
use crate::limits::FOLLOWERS_LEFT_TIME;
use crate::route::arrived::Traveller;
use crate::topology::Topology;
use crate::upstream::Abandoned;
pub(crate) use engine::{followed, run};
pub(crate) use epochs::{Begun, Epochs};
pub use status::{MovementPhase, MovementStatus, SourceStatus};

/// Has keys brought to their nodes.
#[derive(Debug)]
pub(crate) struct Fetch {
    /// The topology that says where they are to go.
    pub(crate) epoch: u64,
    pub(crate) keys: Vec<Traveller>,
    /// Where they are, or why one of them is not there.
    pub(crate) answer: oneshot::Sender<Result<Where, String>>,
}

/// Where keys are that were to be brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// At the nodes of the topology by which they were asked for.
    There,
    /// Nobody brings them by that topology, or not now: look at the one that holds.
    Unknown,
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

/// In place of an epoch: somebody is taking the change back.
const TAKEN_BACK: u64 = u64::MAX;

type Elsewhere = Box<dyn Fn(Fetch) -> Result<(), Fetch> + Send + Sync>;

/// The way to the engine, and what it says of itself.
pub(crate) struct Movement {
    orders: UnboundedSender<Order>,
    inbox: Mutex<Option<UnboundedReceiver<Order>>>,
    status: Mutex<Option<MovementStatus>>,
    /// Whoever brings keys instead, if that is another process.
    elsewhere: Mutex<Option<Elsewhere>>,
    /// See [`Movement::set_out`].
    sets_out: AtomicU64,
    /// What carriers gave up when a movement was ended, for other processes to be told.
    left_behind: Mutex<(Option<Instant>, Vec<Abandoned>)>,
}

impl Movement {
    /// For a proxy that begins with this topology.
    pub(crate) fn of(topology: &Topology) -> Self {
        let (orders, inbox) = unbounded_channel();
        let status = topology.former().map(|_| MovementStatus::new(topology));
        Self {
            orders,
            inbox: Mutex::new(Some(inbox)),
            status: Mutex::new(status),
            elsewhere: Mutex::default(),
            sets_out: AtomicU64::new(0),
            left_behind: Mutex::default(),
        }
    }

    /// From now on keys are brought by whoever is told through `tell`, which gives back what it cannot tell.
    pub(crate) fn bring_elsewhere(&self, tell: impl Fn(Fetch) -> Result<(), Fetch> + Send + Sync + 'static) {
        *self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(tell));
    }

    /// Passes a wish on to whoever brings keys instead; gives it back when there is nobody.
    fn pass_on(&self, fetch: Fetch) -> Option<Fetch> {
        match &*self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(tell) => tell(fetch).err(),
            None => Some(fetch),
        }
    }

    /// The change that made `epoch` was made by this process, and all keys are where they were: until the first one may be
    /// carried, it can be taken back.
    pub(crate) fn set_out(&self, epoch: u64) {
        self.sets_out.store(epoch, Ordering::SeqCst);
    }

    /// Whether the change that made `epoch` may be taken back: then no key is carried until [`Movement::set_out`].
    pub(crate) fn stop_before_it_begins(&self, epoch: u64) -> bool {
        let swapped = self.sets_out.compare_exchange(epoch, TAKEN_BACK, Ordering::SeqCst, Ordering::SeqCst);
        swapped.is_ok()
    }

    /// Whether keys may be carried by the topology of `epoch` from now on.
    fn may_begin(&self, epoch: u64) -> bool {
        let begins = |now| match now {
            TAKEN_BACK => None,
            now if now == epoch => Some(0),
            now => Some(now),
        };
        self.sets_out.fetch_update(Ordering::SeqCst, Ordering::SeqCst, begins).is_ok()
    }

    /// Tells the engine; false when there is none any more.
    pub(crate) fn order(&self, order: Order) -> bool {
        self.orders.send(order).is_ok()
    }

    /// What other processes must have their connections fence before they serve by the topology that holds now.
    pub(crate) fn left_behind(&self) -> Vec<Abandoned> {
        match &*self.left_behind.lock().unwrap_or_else(PoisonError::into_inner) {
            (Some(at), left) if at.elapsed() < FOLLOWERS_LEFT_TIME => left.clone(),
            _ => Vec::new(),
        }
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
