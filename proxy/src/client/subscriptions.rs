//! SUBSCRIBE and its kin, and PUBLISH.
//!
//! ```text
//!   SUBSCRIBE a b ─► slot ─► Hub asks all nodes ─► settled: the slot's reply, two confirmations   (order: law I2)
//!   message ─► Client::push ─► between replies, never inside one, never before its confirmation
//! ```
//! A confirmation is sent when every node that can be asked has confirmed, so that whatever is published after it is
//! heard. Who subscribes in RESP2 is in [`Mode::Subscribed`]; in RESP3 messages are pushes and nothing is forbidden.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::pipeline::Pipeline;
use super::session::{Mode, Session, not_sent, refuse};
use super::{Client, Inner, Reading, SlotRef, subscribing};
use crate::command::{Command, Join, Local, Route, SubscriptionKind};
use crate::limits::SUBSCRIBER_SOFT_TIME;
use crate::pubsub::{Awaited, Beginning};
use crate::resp::{Args, Protocol, encode};
use crate::route::counting::Counting;
use crate::settings::NodeSpec;
use crate::stats::Outcome;
use crate::upstream::{ReplyTo, Sent};

/// What a subscription takes up beside its name, in bytes: the places of the topic with some nodes, when nobody else
/// listens to it.
const SUBSCRIPTION_BYTES: usize = 512;

/// What one client listens to.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    names: [HashSet<Arc<[u8]>>; 3],
    /// Bytes of memory that they take up here, at the hub and in the registry.
    bytes: usize,
    /// Since when it has more messages unread than it may have for long.
    behind_since: Option<Instant>,
}

impl Subscriptions {
    /// How many of a kind.
    pub(super) fn len(&self, kind: SubscriptionKind) -> usize {
        self.names[kind as usize].len()
    }

    /// Whether this holds for all of them.
    pub(super) fn all(&self, holds: impl Fn(SubscriptionKind, &[u8]) -> bool) -> bool {
        let mut each = SubscriptionKind::ALL.into_iter().zip(&self.names);
        each.all(|(kind, names)| names.iter().all(|name| holds(kind, name)))
    }

    /// Bytes of memory that they take up.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_empty(&self) -> bool {
        self.names.iter().all(HashSet::is_empty)
    }

    /// The number in a confirmation: channels and patterns together, shard channels by themselves.
    fn count(&self, kind: SubscriptionKind) -> i64 {
        let count = match kind {
            SubscriptionKind::Shard => self.len(kind),
            _ => self.len(SubscriptionKind::Channel) + self.len(SubscriptionKind::Pattern),
        };
        count as i64
    }
}

/// A command that waits for nodes to confirm.
pub(super) struct Pending {
    to: SlotRef,
    /// Topics that are not settled.
    left: Cell<usize>,
    reply: RefCell<Vec<u8>>,
    /// What the client has listened to since this command, to be undone if a node refuses.
    added: RefCell<Vec<(SubscriptionKind, Arc<[u8]>)>>,
    refusal: RefCell<Option<String>>,
    /// For those who publish behind this command.
    beginning: RefCell<Option<Beginning>>,
}

impl Pending {
    /// One topic more is waited for.
    pub(super) fn wait(&self) {
        self.left.set(self.left.get() + 1);
    }

    /// Whether this client gave the command.
    pub(super) fn is_of(&self, client: &Rc<Client>) -> bool {
        Rc::ptr_eq(&self.to.client, client)
    }

    /// The place of the command in its client's order.
    pub(super) fn number(&self) -> u64 {
        self.to.number
    }

    /// A node will not have one of the topics.
    pub(super) fn refuse(&self, why: &str) {
        // who leaves has nothing to be refused
        if !self.added.borrow().is_empty() {
            self.refusal.borrow_mut().get_or_insert_with(|| why.to_owned());
        }
    }

    /// One topic is settled; the last one answers the command. The client must not be in use.
    pub(super) fn settled(&self) {
        self.left.set(self.left.get() - 1);
        if self.left.get() > 0 {
            return;
        }
        self.beginning.take();
        let mut reply = self.reply.take();
        if let Some(why) = self.refusal.take() {
            reply.clear();
            encode::error(&mut reply, &why);
            self.undo();
        }
        self.to.reply(&reply, true);
    }

    fn undo(&self) {
        let client = &self.to.client;
        let session = &mut client.inner.borrow_mut().session;
        for (kind, name) in self.added.take() {
            forget(client, session, kind, &name, None);
        }
        set_mode(session);
    }
}

/// Handles SUBSCRIBE, PSUBSCRIBE and SSUBSCRIBE.
pub(super) fn subscribe(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    kind: SubscriptionKind,
    args: Args<'_>,
) {
    let pending = begin(client, inner, args);
    let session = &mut inner.session;
    let (id, protocol) = (session.id, session.protocol);
    let own = session.subscriptions.get_or_insert_default();
    let mut reply = pending.reply.borrow_mut();
    for name in args.iter().skip(1) {
        if !own.names[kind as usize].contains(name) {
            let name = client.worker.hub.subscribe(client, id, kind, name, &pending);
            pending.added.borrow_mut().push((kind, Arc::clone(&name)));
            own.bytes += SUBSCRIPTION_BYTES + name.len();
            own.names[kind as usize].insert(name);
            client.worker.stats.subscriptions_changed(kind, 1);
        }
        confirm(&mut reply, protocol, kind.subscribe(), Some(name), own.count(kind));
    }
    drop(reply);
    if pending.left.get() > 0 {
        let topics = pending.added.borrow().clone();
        *pending.beginning.borrow_mut() = Some(client.worker.shared.registry.beginnings.begin(topics));
    }
    finish(client, inner, command, &pending);
}

/// Handles UNSUBSCRIBE, PUNSUBSCRIBE and SUNSUBSCRIBE; without names all of the kind are left.
pub(super) fn unsubscribe(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    kind: SubscriptionKind,
    args: Args<'_>,
) {
    let pending = begin(client, inner, args);
    let session = &mut inner.session;
    let protocol = session.protocol;
    let names: Vec<Arc<[u8]>> = if args.len() > 1 {
        args.iter().skip(1).map(Arc::from).collect()
    } else {
        let own = session.subscriptions.as_ref();
        own.map(|own| own.names[kind as usize].iter().cloned().collect()).unwrap_or_default()
    };
    let mut reply = pending.reply.borrow_mut();
    let count = |session: &Session| session.subscriptions.as_ref().map_or(0, |own| own.count(kind));
    for name in &names {
        forget(client, session, kind, name, Some(&pending));
        confirm(&mut reply, protocol, kind.unsubscribe(), Some(name), count(session));
    }
    if names.is_empty() {
        confirm(&mut reply, protocol, kind.unsubscribe(), None, count(session));
    }
    drop(reply);
    finish(client, inner, command, &pending);
}

fn begin(client: &Rc<Client>, inner: &mut Inner, args: Args<'_>) -> Rc<Pending> {
    let number = inner.pipeline.wait(args.frame().len());
    Rc::new(Pending {
        to: SlotRef { client: Rc::clone(client), number, part: 0 },
        left: Cell::new(0),
        reply: RefCell::default(),
        added: RefCell::default(),
        refusal: RefCell::default(),
        beginning: RefCell::default(),
    })
}

/// Answers at once if nobody need be asked.
fn finish(client: &Rc<Client>, inner: &mut Inner, command: &'static Command, pending: &Rc<Pending>) {
    set_mode(&mut inner.session);
    client.worker.stats.local.count(command, Outcome::Ok);
    if pending.left.get() == 0 {
        let reply = pending.reply.take();
        let spare = &mut client.worker.spare.borrow_mut();
        inner.pipeline.reply(pending.to.number, 0, &reply, true, spare);
        client.worker.stats.replies.add(inner.pipeline.take_finished());
        client.mark_dirty();
    }
}

fn confirm(out: &mut Vec<u8>, protocol: Protocol, verb: &str, name: Option<&[u8]>, count: i64) {
    encode::push(out, protocol, 3);
    encode::bulk(out, verb.as_bytes());
    match name {
        Some(name) => encode::bulk(out, name),
        None => encode::null(out, protocol),
    }
    encode::integer(out, count);
}

/// Leaves one topic, if the client listens to it.
fn forget(
    client: &Client,
    session: &mut Session,
    kind: SubscriptionKind,
    name: &Arc<[u8]>,
    pending: Option<&Rc<Pending>>,
) {
    let Some(own) = &mut session.subscriptions else { return };
    if own.names[kind as usize].remove(name) {
        own.bytes -= SUBSCRIPTION_BYTES + name.len();
        client.worker.hub.unsubscribe(session.id, kind, name, pending);
        client.worker.stats.subscriptions_changed(kind, -1);
    }
    if own.is_empty() {
        session.subscriptions = None;
    }
}

/// Leaves everything: the client is gone, or begins anew.
pub(super) fn leave_all(client: &Client, session: &mut Session) {
    let Some(own) = session.subscriptions.take() else { return };
    for (kind, names) in SubscriptionKind::ALL.into_iter().zip(&own.names) {
        names.iter().for_each(|name| client.worker.hub.unsubscribe(session.id, kind, name, None));
        client.worker.stats.subscriptions_changed(kind, -(names.len() as i64));
    }
    set_mode(session);
}

/// Who subscribes in RESP2 cannot tell a message from a reply, so that few commands are left to it.
pub(super) fn set_mode(session: &mut Session) {
    if session.subscriptions.is_some() && session.protocol == Protocol::Resp2 {
        session.mode = Mode::Subscribed;
    } else if session.mode == Mode::Subscribed {
        session.mode = Mode::Plain;
    }
}

/// In [`Mode::Subscribed`]: answers what is answered in another way than usual; true when that is done.
#[cold]
pub(super) fn intercept(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    match command.route {
        Route::Local(Local::Ping) if args.len() <= 2 => {
            client.worker.stats.local.count(command, Outcome::Ok);
            client.answer(inner, |out| {
                encode::array(out, 2);
                encode::bulk(out, b"pong");
                encode::bulk(out, args.get(1).unwrap_or_default());
            });
            true
        }
        Route::Subscribe(_) | Route::Unsubscribe(_) => false,
        Route::Local(Local::Ping | Local::Quit | Local::Reset) => false,
        _ => {
            let text = format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                command.full_name
            );
            refuse(client, inner, command, &text);
            true
        }
    }
}

/// Sends PUBLISH or SPUBLISH to the node of its channel; false when it must wait for those before it.
pub(super) fn publish(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    kind: SubscriptionKind,
    args: Args<'_>,
) -> bool {
    let worker = &client.worker;
    let channel = args.get(1).unwrap_or_default();
    if subscribing::holds(client, inner, || Awaited::Channel(kind, channel.into())) {
        return false;
    }
    let link = {
        let routes = worker.routes();
        if !inner.session.follows(routes.topology.epoch(), inner.pipeline.is_empty()) {
            return false;
        }
        let index = routes.topology.owner(channel).home();
        routes.link(index, inner.session.lane())
    };
    let cost = args.frame().len();
    let number = if worker.shared.registry.is_empty() {
        inner.pipeline.wait(cost)
    } else {
        let mut joining = worker.spare.borrow_mut().joining();
        joining.begin(Join::Receivers, false, &[], 1, worker.shared.settings.limits.reply_hard_bytes);
        joining.count(counting(client, [link.spec_arc()].into_iter(), Some((kind, channel.into()))));
        inner.pipeline.join(cost, joining)
    };
    let to = SlotRef { client: Rc::clone(client), number, part: 0 };
    if link.send(args.frame(), to, command) == Sent::No {
        inner.pipeline.unwait(&mut worker.spare.borrow_mut());
        not_sent(client, inner, command, &link);
    }
    true
}

/// What the counts of `nodes` are corrected by.
pub(super) fn counting(
    client: &Client,
    nodes: impl Iterator<Item = Arc<NodeSpec>>,
    published: Option<(SubscriptionKind, Box<[u8]>)>,
) -> Counting {
    Counting { registry: Arc::clone(&client.worker.shared.registry), nodes: nodes.collect(), published }
}

/// Whether the client has had too many messages unread for too long; called now and then.
pub(super) fn is_behind(client: &Client, inner: &mut Inner, now: Instant) -> bool {
    let unread = inner.pipeline.reply_bytes();
    let Some(own) = &mut inner.session.subscriptions else { return false };
    if unread <= client.worker.shared.settings.limits.subscriber_bytes / 4 {
        own.behind_since = None;
        return false;
    }
    let behind = now.saturating_duration_since(*own.behind_since.get_or_insert(now));
    if behind <= SUBSCRIBER_SOFT_TIME {
        return false;
    }
    client.worker.stats.subscribers_cut.add(1);
    true
}

impl Client {
    /// Writes a message between replies; `frame` is all of it in RESP2, which differs from RESP3 in the first byte. A
    /// client that leaves too many unread is closed, so that it holds up nobody (laws I6 and I7). `confirmed_by` is the
    /// number of the command that subscribed.
    pub(super) fn push(self: &Rc<Self>, confirmed_by: u64, frame: &[u8]) {
        self.push_by(|session, pipeline| {
            let head = match session.protocol {
                Protocol::Resp2 => b'*',
                Protocol::Resp3 => b'>',
            };
            pipeline.message(confirmed_by, head, frame.get(1..).unwrap_or_default());
        });
    }

    /// As [`Client::push`], for messages that `write` has take their place.
    pub(super) fn push_by(self: &Rc<Self>, write: impl FnOnce(&Session, &mut Pipeline)) {
        if self.closed.get() {
            return;
        }
        let inner = &mut *self.inner.borrow_mut();
        // nothing comes behind the last word
        if inner.reading == Reading::Refused {
            return;
        }
        self.note_no_reply(inner);
        write(&inner.session, &mut inner.pipeline);
        // whoever has not chosen to listen is bounded by what all replies may take up
        let listens = inner.session.subscriptions.is_some() || inner.session.monitors;
        if listens && inner.pipeline.reply_bytes() > self.worker.shared.settings.limits.subscriber_bytes {
            self.worker.stats.subscribers_cut.add(1);
            tracing::warn!(client = inner.session.id, "closed: it left too many messages unread");
            return self.close();
        }
        self.mark_dirty();
    }
}
