//! The one way to change a topology: plan, apply, undo, and what the workers report.
//!
//! All changes go through [`Control::apply`], one at a time: epochs never go back (law I8), a change that
//! cannot be kept is refused before it is seen by anyone, and nobody else writes the topology.

mod addresses;
mod asking;
mod following;
mod hot_keys;
mod moving;
mod near;
mod refused;
mod users;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use ringway_ring::{Diff, diff};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::acl::AccessControl;
use crate::command::LearnedCommands;
use crate::essential::Failed;
pub use following::{Beside, Brought, Wanted, epoch_of};
pub use hot_keys::KeyCounting;
pub use refused::ApplyError;

pub use crate::followers::{
    FollowerRefused, FollowerReport, FollowerStatus, Followers, Forgotten, KnownFollower, unique_word,
};
pub use crate::hot_keys::{HotKey, HotKeys};
use crate::masters::Masters;
pub use crate::masters::Sentinel;
use crate::movement::{Movement, Order};
pub use crate::movement::{MovementPhase, MovementStatus, SourceStatus};
pub use crate::near::KeptKey;
use crate::near::Writes;
use crate::net::{Endpoint, Tls, Ways};
use crate::pubsub::Registry;
use crate::reports;
pub use crate::reports::CommandReport;
use crate::scripts::Scripts;
use crate::settings::{NodeTls, ServerTls, Settings, Timeouts, TopologySpec};
use crate::stats::{self, Snapshot, WorkerStats};
use crate::topology::Topology;
pub use crate::upstream::Abandoned;
use crate::upstream::Paces;
use crate::versions::NodeVersions;
use crate::worker::ToWorker;

/// How many past changes are remembered.
pub const HISTORY_LEN: usize = 1000;

/// A change of topology, done or only planned.
#[derive(Debug, Clone)]
pub struct Change {
    /// The topology before.
    pub from: Arc<Topology>,
    /// The topology after.
    pub to: Arc<Topology>,
    /// Which part of the key space moves, and from where to where.
    pub diff: Diff,
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The epoch that the change made.
    pub epoch: u64,
    /// When.
    pub at: SystemTime,
    /// What was done, in words.
    pub change: String,
    /// How much of the key space moved, in percent.
    pub moved_percent: f64,
}

type Keep = Box<dyn Fn(&Topology) -> Result<(), String> + Send + Sync>;

type MayMove = Box<dyn Fn() -> Result<Box<dyn Send>, String> + Send + Sync>;

type Count = Box<dyn Fn() -> u64 + Send + Sync>;

/// What the parts of one proxy share.
pub(crate) struct Shared {
    pub(crate) topology: ArcSwap<Topology>,
    pub(crate) settings: Settings,
    pub(crate) workers: Vec<WorkerHandle>,
    /// Who may do what.
    pub(crate) access: AccessControl,
    pub(crate) scripts: Arc<Scripts>,
    /// What connections begin with.
    pub(crate) ways: Arc<Ways>,
    /// How often connections to each node are begun.
    pub(crate) paces: Arc<Paces>,
    /// How many clients listen to what.
    pub(crate) registry: Arc<Registry>,
    /// What nodes tell of commands that the table does not have.
    pub(crate) learned: LearnedCommands,
    /// Which versions of Redis they are.
    pub(crate) versions: NodeVersions,
    /// Leave to use connections to nodes that belong to one client for a while.
    pub(crate) dedicated: Arc<Semaphore>,
    pub(crate) listening: AtomicBool,
    /// Whether the proxy has begun to stop.
    stopping: watch::Sender<bool>,
    /// Where clients connect, over the network first.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) started: Instant,
    pub(crate) failed: Failed,
    /// When a client was last closed for want of memory; held by the worker that decides about it.
    pub(crate) memory_closed_at: Mutex<Option<Instant>>,
    /// Keys on their way after a change.
    pub(crate) movement: Movement,
    /// Who else serves by this topology.
    pub(crate) followers: Followers,
    /// Whether an operator has keys counted.
    pub(crate) counts_keys: AtomicBool,
    /// What clients write, where answers are kept.
    pub(crate) writes: Option<Arc<Writes>>,
    /// What workers that have ended had given up.
    pub(crate) given_up_at_the_end: Mutex<Vec<Abandoned>>,
    /// For those who wait for another epoch, or for its end.
    changed: watch::Sender<()>,
    /// Whether the leader that is followed was heard of last time.
    hears_leader: AtomicBool,
    /// Whether this process makes no changes now, as [`Changes::refuses`] says: for those who must not wait for a change.
    is_held: AtomicBool,
    changes: Mutex<Changes>,
    keep: Mutex<Option<Keep>>,
    may_move: Mutex<Option<MayMove>>,
    dropped_log_lines: Mutex<Option<Count>>,
}

/// How to reach one worker.
pub(crate) struct WorkerHandle {
    pub(crate) sender: UnboundedSender<ToWorker>,
    pub(crate) stats: Arc<WorkerStats>,
}

#[derive(Default)]
struct Changes {
    history: std::collections::VecDeque<HistoryEntry>,
    previous: Option<Arc<Topology>>,
    last_moved: f64,
    /// Why no change is taken now.
    held: Option<String>,
    /// Whose topology is served by.
    follows: Option<String>,
}

impl Changes {
    /// Why no change is taken now.
    fn refuses(&self) -> Option<ApplyError> {
        let follows = self.follows.clone().map(ApplyError::Follows);
        follows.or_else(|| self.held.clone().map(ApplyError::Held))
    }
}

impl Shared {
    /// Where clients connect over the network.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        let nowhere = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, 0));
        self.endpoints.iter().find_map(Endpoint::network).unwrap_or(nowhere)
    }

    pub(crate) fn new(
        topology: Topology,
        settings: Settings,
        workers: Vec<WorkerHandle>,
        endpoints: Vec<Endpoint>,
    ) -> Self {
        let movement = Movement::of(&topology);
        let is_held = AtomicBool::new(settings.held.is_some());
        let changes = Changes { held: settings.held.clone(), ..Changes::default() };
        Self {
            ways: Arc::new(Ways {
                tls: Tls::new(
                    settings.tls.as_ref().map(|socket| socket.tls.clone()),
                    settings.node_tls.clone(),
                ),
                masters: Masters::new(settings.sentinels.is_some()),
            }),
            topology: ArcSwap::from_pointee(topology),
            access: AccessControl::new(&settings),
            dedicated: Arc::new(Semaphore::new(settings.limits.dedicated_connections)),
            writes: settings.near_cache.map(|_| Arc::default()),
            settings,
            workers,
            scripts: Arc::default(),
            paces: Arc::default(),
            registry: Arc::default(),
            learned: LearnedCommands::default(),
            versions: NodeVersions::default(),
            listening: AtomicBool::new(false),
            stopping: watch::Sender::new(false),
            endpoints,
            started: Instant::now(),
            failed: Failed::new(None),
            counts_keys: AtomicBool::default(),
            memory_closed_at: Mutex::default(),
            movement,
            followers: Followers::default(),
            given_up_at_the_end: Mutex::default(),
            changed: watch::Sender::new(()),
            hears_leader: AtomicBool::new(false),
            is_held,
            changes: Mutex::new(changes),
            keep: Mutex::default(),
            may_move: Mutex::default(),
            dropped_log_lines: Mutex::default(),
        }
    }

    /// Returns when the proxy begins to stop.
    pub(crate) async fn stops(&self) {
        // the sender lives as long as this
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Whether this process makes no changes now.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle on a running proxy, cheap to clone.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("epoch", &self.topology().epoch()).finish()
    }
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The topology that holds now.
    pub fn topology(&self) -> Arc<Topology> {
        self.shared.topology.load_full()
    }

    /// Calls `keep` with every new topology before it takes effect; an error refuses the change.
    pub fn keep_with(&self, keep: impl Fn(&Topology) -> Result<(), String> + Send + Sync + 'static) {
        *self.shared.keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(keep));
    }

    /// What a change would move; nothing is touched.
    ///
    /// # Errors
    /// As [`Control::apply`], but neither names are resolved nor the epoch compared.
    pub fn plan(&self, spec: TopologySpec) -> Result<Change, ApplyError> {
        let from = self.topology();
        let to = Topology::build(from.epoch() + 1, spec)?;
        Ok(Change { diff: diff(from.ring(), to.ring()), from, to: Arc::new(to) })
    }

    /// Makes `spec` the topology: for every worker from its next command on.
    ///
    /// `expected` is the epoch the caller has seen, if it cares; `change` tells the history what was done.
    ///
    /// # Errors
    /// [`ApplyError`]; the old topology serves on.
    pub async fn apply(
        &self,
        spec: TopologySpec,
        expected: Option<u64>,
        change: &str,
    ) -> Result<Change, ApplyError> {
        self.check_epoch(expected)?;
        // everything that needs no lock is refused before the resolver is asked
        Topology::build(0, spec.clone())?;
        self.check_addresses(&spec).await?;
        self.swap(&mut self.shared.changes(), (spec, None), expected, change)
    }

    fn publish(&self, changes: &mut Changes, done: &Change, change: &str, phase: MovementPhase) {
        MovementStatus::follow(&mut self.shared.movement.status(), &done.from, &done.to, phase);
        self.shared.topology.store(Arc::clone(&done.to));
        for worker in &self.shared.workers {
            // a worker that has ended needs no topology
            let _ = worker.sender.send(ToWorker::TopologyChanged);
        }
        self.shared.movement.order(Order::Look);
        self.shared.changed.send_replace(());
        // that keys have arrived is nothing to go back from
        let arrives = done.from.former().is_some() && done.from.spec() == done.to.spec();
        if !arrives {
            changes.previous = Some(Arc::clone(&done.from));
            changes.last_moved = done.diff.moved;
        }
        changes.history.push_front(HistoryEntry {
            epoch: done.to.epoch(),
            at: SystemTime::now(),
            change: change.to_owned(),
            moved_percent: done.diff.moved * 100.0,
        });
        changes.history.truncate(HISTORY_LEN);
    }

    /// Refuses every change from now on and says why, or with `None` takes them again. Returns when a change that has
    /// begun is done.
    pub fn hold(&self, why: Option<&str>) {
        let mut changes = self.shared.changes();
        changes.held = why.map(str::to_owned);
        self.shared.is_held.store(changes.refuses().is_some(), Ordering::Relaxed);
        drop(changes);
        self.shared.changed.send_replace(());
        self.shared.movement.order(Order::Look);
    }

    fn check_epoch(&self, expected: Option<u64>) -> Result<(), ApplyError> {
        let actual = self.topology().epoch();
        match expected {
            Some(expected) if expected != actual => Err(ApplyError::Epoch { expected, actual }),
            _ => Ok(()),
        }
    }

    /// The topology before the last change, which a rollback would bring back.
    pub fn previous(&self) -> Option<Arc<Topology>> {
        self.shared.changes().previous.clone()
    }

    /// Past changes, newest first, at most [`HISTORY_LEN`].
    pub fn history(&self) -> Vec<HistoryEntry> {
        self.shared.changes().history.iter().cloned().collect()
    }

    /// Part of the key space that the last change moved, 0..=1; 0 before the first one.
    pub fn last_moved(&self) -> f64 {
        self.shared.changes().last_moved
    }

    /// Sums of all workers' figures.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = stats::snapshot(self.shared.workers.iter().map(|worker| &*worker.stats));
        let count = self.shared.dropped_log_lines.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.log_lines_dropped = count.as_ref().map_or(0, |count| count());
        snapshot
    }

    /// Every command that is known, of the table and of the nodes: what becomes of it here.
    pub fn commands(&self) -> Vec<CommandReport> {
        reports::commands(&self.shared.settings, &self.shared.learned)
    }

    /// Where clients connect over the network.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr()
    }

    /// Everywhere clients connect.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.shared.endpoints
    }

    /// From the next connections on, clients over TLS are shown `clients`, and nodes are spoken to as `nodes` says.
    /// `None` for clients leaves what they are shown.
    pub fn change_tls(&self, clients: Option<ServerTls>, nodes: Option<NodeTls>) {
        self.shared.ways.tls.change(clients, nodes);
    }

    /// Until when the certificate is valid that clients are shown over TLS.
    pub fn certificate_expires(&self) -> Option<SystemTime> {
        self.shared.ways.tls.expires()
    }

    /// How nodes are connected to over TLS, if it was said.
    pub fn node_tls(&self) -> Option<Arc<NodeTls>> {
        self.shared.ways.tls.nodes()
    }

    /// Lets the figures tell how many lines of the log were dropped.
    pub fn count_dropped_log_lines_with(&self, count: impl Fn() -> u64 + Send + Sync + 'static) {
        *self.shared.dropped_log_lines.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(count));
    }

    /// Tells when an essential part has failed.
    pub(crate) fn failures(&self) -> watch::Receiver<Option<&'static str>> {
        self.shared.failed.subscribe()
    }

    /// Whether new clients are accepted.
    pub fn is_listening(&self) -> bool {
        self.shared.listening.load(Ordering::Relaxed)
    }

    /// Returns when the proxy begins to stop: [`Proxy::drain`](crate::Proxy::drain) was called.
    pub async fn stops(&self) {
        self.shared.stops().await;
    }

    pub(crate) fn begins_to_stop(&self) {
        self.shared.stopping.send_replace(true);
    }

    /// Clients connected, those on their way to a worker included.
    pub(crate) fn clients(&self) -> i64 {
        self.shared.workers.iter().map(|worker| worker.stats.clients()).sum()
    }

    /// How many workers there are.
    pub fn threads(&self) -> usize {
        self.shared.workers.len()
    }

    /// How long the proxy has run.
    pub fn uptime(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Bytes that clients and connections to nodes may make the process hold.
    pub fn memory_limit(&self) -> usize {
        self.shared.settings.limits.memory_bytes
    }

    /// The timeouts in force.
    pub fn timeouts(&self) -> Timeouts {
        self.shared.settings.timeouts
    }
}
