//! Who of a worker's clients listens to what, and the connections that listen for them.
//!
//! ```text
//!   client A ─┐                              ┌─ Listener cache-1 ◄── node
//!   client B ─┼─► Subject "news" ─► Topic ───┼─ Listener cache-2 ◄── node     one subscription per worker and node
//!   client C ─┘    every message to each     └─ Listener cache-3 ◄── node
//! ```
//! Channels and patterns are listened to on all nodes: a message is published on one of them, so it comes once. Shard
//! channels are listened to where they live; when that changes, the old place is left when the new one has confirmed.
//! The connections are opened with the first subscription and closed when the last has been gone for a while (law I9).

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Client;
use super::subscriptions::Pending;
use crate::command::SubscriptionKind;
use crate::control::Shared;
use crate::pubsub::Topic;
use crate::settings::NodeSpec;
use crate::stats::WorkerStats;
use crate::topology::{NodeIndex, Topology};
use crate::upstream::{Audience, Listener, Message, WireContext};
use crate::worker::{Routes, Worker};

/// How long connections are kept that nobody listens to, so that a client that comes and goes does not open new ones, and
/// what is published right behind a subscription seldom overtakes it.
const LINGER: Duration = Duration::from_secs(10);

type NodeListener = Rc<Listener<Hub>>;

/// See the head of this file.
pub(crate) struct Hub {
    /// The number of the worker.
    worker: usize,
    shared: Arc<Shared>,
    stats: Arc<WorkerStats>,
    myself: Weak<Hub>,
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Empty as long as nobody listens.
    listeners: Vec<NodeListener>,
    /// What the listeners are for.
    topology: Option<Arc<Topology>>,
    subjects: [HashMap<Arc<[u8]>, Subject>; 3],
    unused_since: Option<Instant>,
}

/// One topic and who listens to it.
struct Subject {
    topic: Rc<Topic>,
    /// Who listens, and the number of the command by which.
    clients: HashMap<u64, (Rc<Client>, u64)>,
    /// Commands that are answered when the topic is settled.
    waiting: Vec<Rc<Pending>>,
    /// How many clients the registry knows of; `None` when the nodes do not send to this worker for all it knows.
    told: Option<usize>,
    /// A shard channel's node, and those where it lived before.
    home: Option<NodeListener>,
    former: Vec<NodeListener>,
}

impl Subject {
    fn new(topic: Rc<Topic>) -> Self {
        Self {
            topic,
            clients: HashMap::new(),
            waiting: Vec::new(),
            told: None,
            home: None,
            former: Vec::new(),
        }
    }

    fn leave(&mut self, listeners: &[NodeListener]) {
        if self.topic.kind == SubscriptionKind::Shard {
            self.former.extend(self.home.take());
            self.former.drain(..).for_each(|listener| listener.leave(&self.topic));
        } else {
            listeners.iter().for_each(|listener| listener.leave(&self.topic));
        }
    }

    /// Lives on another node from now on; the former ones are left when it is confirmed there.
    fn move_to(&mut self, home: &NodeListener) {
        if self.home.as_ref().is_some_and(|known| Rc::ptr_eq(known, home)) {
            return;
        }
        self.former.extend(self.home.replace(Rc::clone(home)));
        let before = self.former.len();
        self.former.retain(|former| !Rc::ptr_eq(former, home));
        if self.former.len() == before {
            home.listen(&self.topic);
        }
    }
}

impl Inner {
    fn home(&self, name: &[u8]) -> Option<NodeListener> {
        let NodeIndex(at) = self.topology.as_ref()?.owner(name).home();
        self.listeners.get(usize::from(at)).cloned()
    }

    fn is_unused(&self) -> bool {
        self.subjects.iter().all(HashMap::is_empty)
    }
}

impl Hub {
    pub(crate) fn new(shared: &Arc<Shared>, stats: &Arc<WorkerStats>) -> Rc<Self> {
        let worker = shared.workers.iter().position(|worker| Arc::ptr_eq(&worker.stats, stats));
        Rc::new_cyclic(|myself| Self {
            worker: worker.unwrap_or_default(),
            shared: Arc::clone(shared),
            stats: Arc::clone(stats),
            myself: Weak::clone(myself),
            inner: RefCell::default(),
        })
    }

    /// The place of its worker among all.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    /// A client listens from now on. `pending` waits if nodes must be asked first. Returns the name, to be kept.
    pub(super) fn subscribe(
        &self,
        client: &Rc<Client>,
        id: u64,
        kind: SubscriptionKind,
        name: &[u8],
        pending: &Rc<Pending>,
    ) -> Arc<[u8]> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.listeners.is_empty() {
            self.connect(inner, &client.worker.routes());
        }
        let home = if kind == SubscriptionKind::Shard { inner.home(name) } else { None };
        let subjects = &mut inner.subjects[kind as usize];
        if !subjects.contains_key(name) {
            let topic = Rc::new(Topic::new(kind, name));
            subjects.insert(Arc::clone(&topic.name), Subject::new(topic));
        }
        let Some(subject) = subjects.get_mut(name) else { return name.into() };
        let is_first = subject.clients.is_empty();
        subject.clients.insert(id, (Rc::clone(client), pending.number()));
        match home {
            Some(home) if is_first => subject.move_to(&home),
            None if is_first => inner.listeners.iter().for_each(|listener| listener.listen(&subject.topic)),
            _ => {}
        }
        if subject.topic.is_settled() {
            self.tell(subject);
        } else {
            pending.wait();
            subject.waiting.push(Rc::clone(pending));
        }
        Arc::clone(&subject.topic.name)
    }

    /// A client listens no more. `pending` waits until the nodes send nothing more, if nobody else listens.
    pub(super) fn unsubscribe(
        &self,
        id: u64,
        kind: SubscriptionKind,
        name: &Arc<[u8]>,
        pending: Option<&Rc<Pending>>,
    ) {
        let inner = &mut *self.inner.borrow_mut();
        let Some(subject) = inner.subjects[kind as usize].get_mut(name) else { return };
        subject.clients.remove(&id);
        // it hears nothing from now on, whatever nodes still send
        self.tell_fewer(subject);
        if !subject.clients.is_empty() {
            return;
        }
        subject.leave(&inner.listeners);
        if let Some(pending) = pending.filter(|_| !subject.topic.is_settled()) {
            pending.wait();
            subject.waiting.push(Rc::clone(pending));
        }
        if !subject.topic.is_settled() {
            return;
        }
        if subject.waiting.is_empty() {
            self.tell(subject);
            inner.subjects[kind as usize].remove(name);
        } else if let Some(myself) = self.myself.upgrade() {
            // whoever waits may be the client that is being handled: it is told behind its back
            let topic = Rc::clone(&subject.topic);
            tokio::task::spawn_local(async move { myself.settled(&topic) });
        }
    }

    /// Tells the registry how many listen, when the nodes have confirmed it.
    fn tell(&self, subject: &mut Subject) {
        let clients = Some(subject.clients.len()).filter(|clients| *clients > 0);
        self.tell_that(subject, clients);
    }

    /// Tells the registry of clients that have left, before the nodes may know.
    fn tell_fewer(&self, subject: &mut Subject) {
        let clients = subject.told.map(|told| told.min(subject.clients.len()));
        self.tell_that(subject, clients);
    }

    fn tell_that(&self, subject: &mut Subject, clients: Option<usize>) {
        if clients != subject.told {
            subject.told = clients;
            let clients = clients.map(|clients| clients as u64);
            self.shared.registry.set(subject.topic.kind, &subject.topic.name, self.worker, clients);
        }
    }

    /// Brings the connections in line with the topology, if anybody listens.
    pub(crate) fn follow(&self, worker: &Worker) {
        let settled = {
            let inner = &mut *self.inner.borrow_mut();
            if inner.listeners.is_empty() {
                return;
            }
            self.connect(inner, &worker.routes())
        };
        settled.iter().for_each(|topic| self.settled(topic));
    }

    /// Returns the topics that are settled because a node that was asked is gone.
    fn connect(&self, inner: &mut Inner, routes: &Routes) -> Vec<Rc<Topic>> {
        if inner.topology.as_ref().is_some_and(|known| Arc::ptr_eq(known, &routes.topology)) {
            return Vec::new();
        }
        let mut old = std::mem::take(&mut inner.listeners);
        let mut new = Vec::new();
        for at in 0..routes.topology.nodes().len() {
            let node = routes.node(NodeIndex(at as u16));
            let listener = match old.iter().position(|listener| listener.serves(&node.spec)) {
                Some(at) => old.swap_remove(at),
                None => {
                    let (spec, stats) = (Arc::clone(&node.spec), Arc::clone(&node.stats));
                    let listener = Listener::start(spec, stats, self.context(), Weak::clone(&self.myself));
                    new.push(Rc::clone(&listener));
                    listener
                }
            };
            inner.listeners.push(listener);
        }
        inner.topology = Some(Arc::clone(&routes.topology));
        let [channels, patterns, _] = &inner.subjects;
        for subject in channels.values().chain(patterns.values()).filter(|one| !one.clients.is_empty()) {
            new.iter().for_each(|listener| listener.listen(&subject.topic));
        }
        let mut shards = std::mem::take(&mut inner.subjects[SubscriptionKind::Shard as usize]);
        for subject in shards.values_mut().filter(|subject| !subject.clients.is_empty()) {
            if let Some(home) = inner.home(&subject.topic.name) {
                subject.move_to(&home);
            }
        }
        inner.subjects[SubscriptionKind::Shard as usize] = shards;
        old.iter().flat_map(|listener| listener.close()).collect()
    }

    fn context(&self) -> WireContext {
        let settings = &self.shared.settings;
        WireContext {
            timeouts: settings.timeouts,
            speaks: self.worker == 0,
            // each worker's link tries as well
            sharers: 2 * self.shared.workers.len(),
            paces: Arc::clone(&self.shared.paces),
            ways: Arc::clone(&self.shared.ways),
            longest: settings.limits.subscriber_bytes,
        }
    }

    /// Looks after the connections; called at every tick.
    pub(crate) fn check(&self, now: Instant, stood_still: bool) {
        let inner = &mut *self.inner.borrow_mut();
        for listener in &inner.listeners {
            if stood_still { listener.forgive(now) } else { listener.check(now) }
        }
        if inner.listeners.is_empty() || !inner.is_unused() {
            inner.unused_since = None;
        } else if now.saturating_duration_since(*inner.unused_since.get_or_insert(now)) > LINGER {
            // with nothing to listen to there is nothing to settle
            inner.listeners.drain(..).for_each(|listener| drop(listener.close()));
            inner.topology = None;
        }
    }

    /// Unties what holds each other.
    pub(crate) fn let_go(&self) {
        let inner = std::mem::take(&mut *self.inner.borrow_mut());
        inner.listeners.iter().for_each(|listener| drop(listener.close()));
    }
}

impl Audience for Hub {
    fn heard(&self, message: &Message<'_>) {
        let inner = self.inner.borrow();
        let Some(subject) = inner.subjects[message.kind as usize].get(message.topic) else { return };
        subject.clients.values().for_each(|(client, by)| client.push(*by, message.frame));
        self.stats.messages_delivered.add(subject.clients.len() as u64);
    }

    fn settled(&self, topic: &Rc<Topic>) {
        let waiting = {
            let inner = &mut *self.inner.borrow_mut();
            let subjects = &mut inner.subjects[topic.kind as usize];
            let Some(subject) = subjects.get_mut(&topic.name).filter(|one| Rc::ptr_eq(&one.topic, topic))
            else {
                return;
            };
            if !topic.is_settled() {
                return;
            }
            let waiting = std::mem::take(&mut subject.waiting);
            self.tell(subject);
            if subject.clients.is_empty() {
                subjects.remove(&topic.name);
            } else if subject.home.as_ref().is_some_and(|home| home.is_here(topic)) {
                subject.former.drain(..).for_each(|former| former.leave(topic));
            }
            waiting
        };
        waiting.iter().for_each(|pending| pending.settled());
    }

    fn refused(&self, topic: &Rc<Topic>, node: &NodeSpec, why: &str) {
        // the client is told; this is for who looks for the rule
        tracing::debug!(node = node.name, address = node.address, why, "node refuses a subscription");
        let inner = self.inner.borrow();
        let Some(subject) = inner.subjects[topic.kind as usize].get(&topic.name) else { return };
        subject.waiting.iter().for_each(|pending| pending.refuse(why));
        // who was confirmed before would hear no more of this node without knowing: Redis closes it as well
        let waits = |client: &Rc<Client>| subject.waiting.iter().any(|pending| pending.is_of(client));
        let clients = subject.clients.values().map(|(client, _)| client);
        clients.filter(|client| !waits(client)).for_each(|client| client.close());
    }

    fn reached(&self, node: &NodeSpec, is_up: bool) {
        self.shared.registry.reach(&node.address, self.worker, is_up);
    }
}
