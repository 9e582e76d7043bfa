//! One worker: a current-thread runtime that owns its clients and its own connections to the nodes.
//!
//! Everything here belongs to one thread: plain cells, no locks. Other threads speak to it through
//! [`ToWorker`] and read its counters; the topology reaches it through an `arc_swap::Cache`.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::client::{Client, Hub, Monitors, Near, Parts, Pause, SlotRef, Spare, Waits, caches_follow};
use crate::control::Shared;
use crate::essential::Essential;
use crate::hot_keys::KeyCounts;
use crate::learn;
use crate::memory::Memory;
use crate::movement::{self, Epochs};
use crate::net::{Accepted, Endpoint, Landing, Stream};
use crate::resp::Span;
use crate::route::Scratch;
use crate::seldom::{Seldom, SeldomSaid};
use crate::sentinels;
use crate::stats::WorkerStats;
use crate::topology::{NodeAddress, NodeIndex, Topology};
use crate::turn::Turn;
use crate::upstream::{Abandoned, Fences, Identity, Lane, Link, LinkContext, Node, Trackers};

/// How often waiting is checked against its bounds.
const TICK: Duration = Duration::from_millis(20);
/// A tick that comes so late says that the process stood still, not the nodes.
const STANDSTILL: Duration = Duration::from_millis(200);
/// Ticks between two looks at all clients.
const CLIENT_TICKS: u32 = 25;
/// Bytes read at once from a client.
const CLIENT_BUFFER: usize = 64 * 1024;
/// Bytes read at once from a node.
const NODE_BUFFER: usize = 128 * 1024;

/// What a client of another worker asks this one.
pub(crate) type Question = Box<dyn FnOnce(&Rc<Worker>) + Send>;

/// What other threads may tell a worker.
pub(crate) enum ToWorker {
    /// A new client, its number and its address.
    Client(Accepted, u64, Endpoint),
    /// The topology was swapped: connect to new nodes, let go of old ones.
    TopologyChanged,
    /// Do this on the worker's thread: a client of another worker asks.
    Run(Question),
    /// End the connection of each client, also of those still to come, as soon as nothing of it is open.
    Leave,
    /// Answer what was read, then end every connection and the worker.
    Drain,
    /// End at once.
    Stop,
}

/// The nodes of one topology as this worker reaches them.
pub(crate) struct Routes {
    pub(crate) topology: Arc<Topology>,
    nodes: Vec<Rc<Node<SlotRef>>>,
}

impl Routes {
    /// The shared connection to a node of this topology.
    #[inline]
    pub(crate) fn link(&self, node: NodeIndex, lane: Lane) -> Rc<Link<SlotRef>> {
        self.nodes[usize::from(node.0)].link(lane)
    }

    /// A node of this topology, for connections of a client's own.
    pub(crate) fn node(&self, node: NodeIndex) -> Rc<Node<SlotRef>> {
        Rc::clone(&self.nodes[usize::from(node.0)])
    }

    /// All nodes of this topology, in its order.
    pub(crate) fn nodes(&self) -> Vec<Rc<Node<SlotRef>>> {
        self.nodes.clone()
    }
}

/// See the head of this file.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) turn: Rc<Turn>,
    pub(crate) clients: RefCell<HashMap<u64, Rc<Client>>>,
    pub(crate) dirty_clients: RefCell<Vec<Rc<Client>>>,
    /// Where all clients are read to: nothing stays in it between two turns.
    pub(crate) client_buffer: RefCell<Landing>,
    pub(crate) spans: RefCell<Vec<Span>>,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) parts: RefCell<Parts>,
    pub(crate) spare: RefCell<Spare>,
    pub(crate) waits: Waits,
    /// Who listens to what.
    pub(crate) hub: Rc<Hub>,
    /// What is kept for keys that are read again and again.
    pub(crate) near: Option<Rc<Near>>,
    /// Who is shown what clients ask.
    pub(crate) monitors: Monitors,
    /// Which keys they name, while an operator has them counted.
    pub(crate) key_counts: RefCell<Option<KeyCounts>>,
    /// What `CLIENT PAUSE` asked for, until it ends.
    pub(crate) pause: Cell<Option<Pause>>,
    pub(crate) memory: Memory,
    pub(crate) said: SeldomSaid,
    pub(crate) links: Rc<LinkContext<SlotRef>>,
    /// The topologies by which commands run on connections of their own.
    pub(crate) epochs: Epochs,
    /// Whether a client's connection ends with its next reply after which nothing of it is open.
    pub(crate) leaving: Cell<bool>,
    topology: RefCell<arc_swap::Cache<TopologyOf, Arc<Topology>>>,
    routes: RefCell<Routes>,
    /// Nodes of earlier topologies that still owe replies.
    retired: RefCell<Vec<Rc<Node<SlotRef>>>>,
}

/// Lets the cache borrow the swap inside [`Shared`].
pub(crate) struct TopologyOf(Arc<Shared>);

impl std::ops::Deref for TopologyOf {
    type Target = ArcSwap<Topology>;

    fn deref(&self) -> &Self::Target {
        &self.0.topology
    }
}

/// What a worker's tasks run on. The kernel is looked at when all that is ready has run, as that ends a turn
/// ([`crate::turn`]), or after so many steps.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::LocalRuntime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .event_interval(256)
        .build_local(tokio::runtime::LocalOptions::default())
}

/// Runs a worker on its own thread until it is drained or all senders are gone.
pub(crate) fn run(shared: Arc<Shared>, stats: Arc<WorkerStats>, inbox: UnboundedReceiver<ToWorker>) {
    let failed = shared.failed.clone();
    let _essential = Essential::new("a worker", &failed);
    match runtime() {
        Ok(runtime) => runtime.block_on(async { Worker::new(shared, stats).serve(inbox).await }),
        Err(error) => {
            tracing::error!(%error, "a worker could not start its runtime");
            failed.send_replace(Some("the start of a worker"));
        }
    }
}

impl Worker {
    fn new(shared: Arc<Shared>, stats: Arc<WorkerStats>) -> Rc<Self> {
        let turn = Rc::new(Turn::default());
        let links = Rc::new(LinkContext {
            timeouts: shared.settings.timeouts,
            scripts: Arc::clone(&shared.scripts),
            turn: Rc::clone(&turn),
            ways: Arc::clone(&shared.ways),
            speaks: shared.workers.first().is_some_and(|first| Arc::ptr_eq(&first.stats, &stats)),
            sharers: shared.workers.len(),
            paces: Arc::clone(&shared.paces),
            queue_bytes: Cell::new(shared.settings.limits.node_queue_bytes),
            losses: Cell::new(0),
            failed: shared.failed.clone(),
            trackers: Trackers::default(),
            said_busy: Seldom::default(),
            fences: RefCell::default(),
            dirty: RefCell::default(),
            buffer: RefCell::new(Landing::new(NODE_BUFFER)),
        });
        let topology = shared.topology.load_full();
        let worker = Self {
            said: SeldomSaid::default(),
            memory: Memory::new(shared.settings.limits.memory_bytes),
            topology: RefCell::new(arc_swap::Cache::new(TopologyOf(Arc::clone(&shared)))),
            routes: RefCell::new(Routes { topology, nodes: Vec::new() }),
            hub: Hub::new(&shared, &stats),
            near: Near::new(&shared, &stats, links.speaks),
            monitors: Monitors::default(),
            key_counts: RefCell::default(),
            scratch: RefCell::new(Scratch::new(shared.settings.limits.databases)),
            shared,
            stats,
            turn,
            clients: RefCell::default(),
            dirty_clients: RefCell::default(),
            client_buffer: RefCell::new(Landing::new(CLIENT_BUFFER)),
            spans: RefCell::default(),
            parts: RefCell::default(),
            spare: RefCell::default(),
            waits: Waits::default(),
            leaving: Cell::new(false),
            pause: Cell::new(None),
            links,
            epochs: Epochs::default(),
            retired: RefCell::default(),
        };
        worker.connect_nodes();
        Rc::new(worker)
    }

    /// The topology that holds now and the way to its nodes; one call per command (law I8).
    #[inline]
    pub(crate) fn routes(&self) -> Ref<'_, Routes> {
        let current = {
            let mut cache = self.topology.borrow_mut();
            let latest = cache.load();
            Arc::ptr_eq(latest, &self.routes.borrow().topology)
        };
        if !current {
            self.connect_nodes();
        }
        self.routes.borrow()
    }

    /// Brings the nodes in line with the topology: those that stay keep their connections.
    fn connect_nodes(&self) {
        let topology = Arc::clone(self.topology.borrow_mut().load());
        let mut routes = self.routes.borrow_mut();
        let mut old = std::mem::take(&mut routes.nodes);
        for spec in topology.nodes() {
            let node = match old.iter().position(|node| node.serves(spec)) {
                Some(at) => old.swap_remove(at),
                None => {
                    let stats = self.stats.node(&spec.name);
                    let node = Node::start(Arc::clone(spec), stats, Rc::clone(&self.links));
                    if self.links.speaks {
                        let shared = Arc::clone(&self.shared);
                        // another one had the name
                        shared.versions.retain(|name| name != spec.name);
                        tokio::task::spawn_local(learn::follow(Arc::clone(spec), node.trouble(), shared));
                    }
                    Rc::new(node)
                }
            };
            routes.nodes.push(node);
        }
        if self.links.speaks {
            let stays = |name: &str| topology.nodes().iter().any(|node| node.name == name);
            self.shared.learned.retain(stays);
            self.shared.versions.retain(stays);
        }
        self.stats.retain_nodes(|name| topology.nodes().iter().any(|node| node.name == name));
        old.iter().for_each(|node| node.retire());
        self.links.losses.update(|losses| losses + old.len() as u64);
        self.retired.borrow_mut().append(&mut old);
        self.waits.topology_changed(topology.epoch());
        routes.topology = topology;
    }

    async fn serve(self: Rc<Self>, mut inbox: UnboundedReceiver<ToWorker>) {
        let (worker, essential) =
            (Rc::clone(&self), Essential::new("the end of a turn", &self.shared.failed));
        tokio::task::spawn_local(async move {
            let _essential = essential;
            worker.turn.run(|| worker.end_turn()).await;
        });
        let (worker, essential) = (Rc::clone(&self), Essential::new("a worker's clock", &self.shared.failed));
        tokio::task::spawn_local(async move {
            let _essential = essential;
            worker.tick().await;
        });
        if self.links.speaks
            && let Some(orders) = self.shared.movement.inbox()
        {
            tokio::task::spawn_local(movement::run(Arc::clone(&self.shared), orders));
        }
        if self.links.speaks
            && let Some(settings) = self.shared.settings.sentinels.clone()
        {
            let (shared, essential) =
                (Arc::clone(&self.shared), Essential::new("who asks the sentinels", &self.shared.failed));
            tokio::task::spawn_local(async move {
                let _essential = essential;
                sentinels::follow(settings, shared).await;
            });
        }
        while let Some(message) = inbox.recv().await {
            match message {
                ToWorker::Client(stream, id, peer) => self.accept(stream, id, peer),
                ToWorker::TopologyChanged => {
                    let topology = Arc::clone(&self.routes().topology);
                    // also where no command comes: for how long is counted is told of the slowest
                    self.key_counts.borrow_mut().iter_mut().for_each(|counts| counts.follow(&topology));
                    self.hub.follow(&self);
                    self.near.iter().for_each(|near| near.follow(&self));
                    if self.shared.topology.load().former().is_none() {
                        self.scratch.borrow_mut().arrived.forget();
                    }
                    caches_follow(&self);
                }
                ToWorker::Run(what) => what(&self),
                ToWorker::Leave => self.leaving.set(true),
                ToWorker::Drain => break,
                ToWorker::Stop => return self.let_go(),
            }
        }
        tokio::select! {
            () = self.drain() => {}
            () = stopped(&mut inbox, &self.stats) => {}
        }
        self.let_go();
    }

    /// Unties what holds each other, so that everything ends with the runtime.
    fn let_go(&self) {
        let mut at_the_end =
            self.shared.given_up_at_the_end.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (address, fences) in &*self.links.fences.borrow() {
            let (recent, _) = fences.recent(Instant::now());
            let address = NodeAddress::key(address);
            at_the_end.extend(recent.into_iter().map(|one| Abandoned::new(address.clone(), one)));
        }
        drop(at_the_end);
        self.hub.let_go();
        self.near.iter().for_each(|near| near.let_go());
        self.monitors.let_go();
        self.clients.borrow_mut().clear();
        self.dirty_clients.borrow_mut().clear();
        self.links.dirty.borrow_mut().clear();
        self.routes.borrow_mut().nodes.clear();
        self.retired.borrow_mut().clear();
    }

    fn accept(self: &Rc<Self>, accepted: Accepted, id: u64, peer: Endpoint) {
        match Stream::from_accepted(accepted, &self.shared.ways.tls) {
            Ok(stream) => Client::start(Rc::clone(self), stream, id, peer),
            Err(error) => {
                self.stats.clients_changed(-1);
                tracing::debug!(%error, "a client was gone before it was served");
            }
        }
    }

    /// Writes each node once, then each client once, but for those for whom more is on its way: whether there are such.
    fn end_turn(self: &Rc<Self>) -> bool {
        Monitors::show(self);
        // what writing makes dirty again is written in the next turn
        let mut links = std::mem::take(&mut *self.links.dirty.borrow_mut());
        links.drain(..).for_each(|link| link.flush());
        keep_longer(&self.links.dirty, links);
        let mut clients = std::mem::take(&mut *self.dirty_clients.borrow_mut());
        clients.retain(|client| {
            let waits = client.waits_for_more();
            if !waits {
                client.flush();
            }
            waits
        });
        let wait = !clients.is_empty();
        let mut dirty = self.dirty_clients.borrow_mut();
        clients.append(&mut dirty);
        *dirty = clients;
        drop(dirty);
        if self.memory.is_over() {
            self.mind_memory(self.turn.now());
        }
        wait
    }

    /// Waits until nothing is under way that was sent by a topology before that of `epoch`; the connections that were given
    /// up, by address of the server.
    pub(crate) async fn followed(&self, epoch: u64) -> Vec<(String, Fences)> {
        // from here on nothing is sent by an earlier one
        drop(self.routes());
        let since = Instant::now();
        loop {
            let mut awaits = self.epochs.runs_before(epoch);
            self.each_node(|node| node.each_link(|link| awaits |= link.awaits_since(since)));
            if !awaits {
                let fences = self.links.fences.borrow();
                return fences.iter().map(|(address, fences)| (address.clone(), fences.clone())).collect();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Has the server at `address` close connections that somebody else has given up, before it runs any command that is
    /// sent to it from now on.
    pub(crate) fn fence(&self, address: &str, given_up: &[Identity]) {
        let fences = self.links.fences_of(address);
        for identity in given_up {
            fences.add(Some(identity.clone()), Instant::now());
            self.each_node(|node| {
                if NodeAddress::key(&node.spec.address) == address {
                    node.fence_off(identity);
                }
            });
        }
    }

    /// A client's task has panicked: what it had begun and not ended must not become part of another's command.
    pub(crate) fn forget_half_done(&self) {
        self.parts.take();
        self.scratch.replace(Scratch::new(self.shared.settings.limits.databases));
        self.spans.take();
        self.each_node(|node| node.each_link(|link| link.drop_uncommitted()));
    }

    /// Every node with a connection, those that leave included.
    pub(crate) fn each_node(&self, mut visit: impl FnMut(&Node<SlotRef>)) {
        let (routes, retired) = (self.routes.borrow(), self.retired.borrow());
        routes.nodes.iter().chain(retired.iter()).for_each(|node| visit(node));
    }

    async fn tick(&self) {
        let mut last = Instant::now();
        for round in 0u32.. {
            tokio::time::sleep(TICK).await;
            let now = Instant::now();
            let stood_still = now - last > STANDSTILL;
            last = now;
            self.each_node(|node| {
                node.each_link(|link| if stood_still { link.forgive(now) } else { link.check(now) });
            });
            self.hub.check(now, stood_still);
            self.near.iter().for_each(|near| near.check(now, stood_still, round));
            self.count_memory(now);
            Pause::end_in_time(self, now);
            if round % CLIENT_TICKS == 0 {
                self.clients.borrow().values().for_each(|client| client.check(now));
                self.retired.borrow_mut().retain(|node| node.is_in_use());
                self.each_node(Node::tidy);
            }
        }
    }

    /// Answers what was read; the caller bounds how long that may take.
    async fn drain(&self) {
        self.leaving.set(true);
        Pause::end(self);
        for round in 0u32.. {
            let all: Vec<Rc<Client>> = self.clients.borrow().values().cloned().collect();
            if all.is_empty() {
                return;
            }
            all.iter().for_each(|client| client.drain(round > 0));
            drop(all);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Ready when the worker is told to stop, or when nobody can tell it any more. Clients that come too late are closed.
async fn stopped(inbox: &mut UnboundedReceiver<ToWorker>, stats: &WorkerStats) {
    loop {
        match inbox.recv().await {
            Some(ToWorker::Stop) | None => return,
            Some(ToWorker::Client(..)) => stats.clients_changed(-1),
            Some(_) => {}
        }
    }
}

/// Puts an emptied list back, so that its memory serves the next turn.
fn keep_longer<T>(place: &RefCell<Vec<T>>, emptied: Vec<T>) {
    let mut place = place.borrow_mut();
    if place.is_empty() && place.capacity() < emptied.capacity() {
        *place = emptied;
    }
}
