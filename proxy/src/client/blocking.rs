//! Commands that wait for something to happen (BLPOP and its kin, XREAD and XREADGROUP with BLOCK), and CLIENT UNBLOCK.
//!
//! ```text
//!   begin ─► connection of its own ─► sent ─► waits ─┬─ the reply begins ─► passed on
//!                  ▲                                 ├─ CLIENT UNBLOCK ───► the node is asked; its reply is passed on
//!                  │                                 └─ the keys moved ───► the node is asked; a reply is passed on
//!                  └─── with the rest of the time, at the new owner ◄─────────┴─ nil: nothing was taken
//! ```
//! How long a command waits is the node's to say, as is every error. The node alone ends a wait that is to end without
//! its client: it knows whether an element is on its way, so that none is lost in between. So too when a client ends
//! its side or the proxy drains; one that resets takes its connection with it, which ends the wait as in Redis.

pub(super) mod replicas;
pub(super) mod unblock;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

use super::again::Request;
use super::exclusive::{self, Noted, Permit};
use super::moving::{self, Gate};
use super::session::{self, refuse};
use super::{Client, Inner, Reading, SlotRef};
use crate::command::{self, Command};
use crate::error::{self, Failure, Fate};
use crate::movement::Begun;
use crate::resp::{Args, encode};
use crate::route::arrived::travellers;
use crate::route::{self, Placed, Scratch};
use crate::stats::Outcome;
use crate::upstream::{Dedicated, Lane, Lost, Node, Patience, ReplyTo};
use crate::worker::{Routes, Worker};

/// How long a reply that must be on its way is waited for before the node is asked again: it may not have read the
/// command yet when it is asked to end the wait.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// Longest reply that says that nothing happened, in bytes.
const NIL_BYTES: usize = 1024;

/// Who waits on one worker, and the epoch that those who wait look at.
#[derive(Default)]
pub(crate) struct Waits {
    clients: RefCell<HashMap<u64, UnboundedSender<Order>>>,
    epoch: watch::Sender<u64>,
}

impl Waits {
    /// Keys may have moved.
    pub(crate) fn topology_changed(&self, epoch: u64) {
        self.epoch.send_replace(epoch);
    }

    /// Passes an order on, which is dropped when the client does not wait here. Whether it does.
    fn order(&self, client: u64, order: Order) -> bool {
        self.clients.borrow().get(&client).is_some_and(|to| to.send(order).is_ok())
    }

    /// Nobody waits for what `client` asked: the wait ends, and with it the connection to the client. False when it
    /// does not wait.
    pub(super) fn leave(&self, client: u64) -> bool {
        self.order(client, Order::Leave)
    }
}

/// What a client that waits is told by others.
enum Order {
    /// `CLIENT UNBLOCK`.
    Unblock {
        /// TIMEOUT or ERROR: what the client is to be answered.
        reason: &'static str,
        /// Whether it waited.
        answer: oneshot::Sender<bool>,
    },
    /// The client has ended its side, or the proxy drains.
    Leave,
}

/// Begins a command that may wait; false when it must wait for those before it.
pub(super) fn begin(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    if !command::blocks(command, &args) {
        return session::send(client, inner, command, args);
    }
    if !inner.pipeline.is_empty() {
        inner.session.hold();
        return false;
    }
    let (node, epoch) = {
        let routes = client.worker.routes();
        let scratch = &mut *client.worker.scratch.borrow_mut();
        let found = match moving::gate(client, inner, &routes.topology, command, &args, scratch) {
            Gate::Open => owner(&routes, command, &args, scratch),
            Gate::Waits => return false,
            Gate::Refused(text) => Err(text),
        };
        match found {
            Ok(node) => (node, routes.topology.epoch()),
            Err(text) => {
                refuse(client, inner, command, &text);
                return true;
            }
        }
    };
    inner.session.follows(epoch, true);
    let Some(permit) = exclusive::permit(client) else {
        refuse(client, inner, command, exclusive::TOO_MANY);
        return true;
    };
    let (lane, id) = (inner.session.own_lane(), inner.session.id);
    let begun = client.worker.epochs.begin(epoch);
    let request = Request::new(args);
    exclusive::run(client, inner, args.frame().len(), true, |to| {
        Wait::new(to, id, command, lane, request, (node, begun), permit).run()
    });
    if inner.reading != Reading::Open {
        // what is there already is still answered
        client.worker.waits.leave(id);
    }
    true
}

/// The node that all keys of a command lie on, or are to lie on when they have arrived.
fn owner(
    routes: &Routes,
    command: &Command,
    args: &Args<'_>,
    scratch: &mut Scratch,
) -> Result<Rc<Node<SlotRef>>, String> {
    let trusted = scratch.arrived.trust(routes.topology.epoch());
    let placed = route::place(&routes.topology, command, args, scratch);
    scratch.arrived.trust(trusted);
    scratch.shrink();
    match placed {
        Placed::Node(index) => Ok(routes.node(index)),
        Placed::Split(_) | Placed::Computed(_) | Placed::OnTheWay => Err(error::CROSSSLOT.into()),
        Placed::Refused(text) => Err(text),
    }
}

/// How the wait at one node ended.
enum End {
    /// The client has its reply.
    Answered(Outcome),
    /// Nothing was taken: the client may wait elsewhere, or leave.
    LetGo,
    /// Nothing was taken, and the client has left.
    Left,
}

/// What ends a look at the connection.
enum Event {
    Topology,
    Order(Order),
    Begun(Result<(), Lost>),
}

/// A client in the list of those who wait, until this is dropped.
struct Listed {
    worker: Rc<Worker>,
    /// The client's number.
    id: u64,
    orders: UnboundedReceiver<Order>,
    /// Whether it counts as one that waits.
    counted: bool,
}

impl Listed {
    fn new(worker: &Rc<Worker>, id: u64) -> Self {
        let (sender, orders) = unbounded_channel();
        worker.waits.clients.borrow_mut().insert(id, sender);
        Self { worker: Rc::clone(worker), id, orders, counted: false }
    }

    /// It counts as one that waits from now on. Not before there is a connection: who sees the count takes it that the
    /// node will soon know.
    fn count(&mut self) {
        if !std::mem::replace(&mut self.counted, true) {
            self.worker.stats.blocked_changed(1);
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.worker.waits.clients.borrow_mut().remove(&self.id);
        if self.counted {
            self.worker.stats.blocked_changed(-1);
        }
    }
}

/// A client that waits.
struct Wait {
    to: SlotRef,
    listed: Listed,
    command: &'static Command,
    lane: Lane,
    request: Request,
    node: Rc<Node<SlotRef>>,
    /// The topology by which it is the keys' node; nothing while no node has the command.
    begun: Option<Begun>,
    since: Instant,
    /// Whether any node has got the command.
    asked: bool,
    changes: watch::Receiver<u64>,
    _permit: Permit,
}

impl Wait {
    fn new(
        to: SlotRef,
        id: u64,
        command: &'static Command,
        lane: Lane,
        request: Request,
        (node, begun): (Rc<Node<SlotRef>>, Begun),
        permit: Permit,
    ) -> Self {
        let worker = &to.client.worker;
        let listed = Listed::new(worker, id);
        let changes = worker.waits.epoch.subscribe();
        let (begun, since) = (Some(begun), Instant::now());
        Self {
            to,
            listed,
            command,
            lane,
            request,
            node,
            begun,
            since,
            asked: false,
            changes,
            _permit: permit,
        }
    }

    async fn run(mut self) {
        let mut frame = Rc::clone(&self.request.frame);
        loop {
            match self.at_node(&frame).await {
                Ok(End::Answered(outcome)) => return self.node.stats.commands.count(self.command, outcome),
                Ok(End::LetGo) => {}
                Ok(End::Left) => return leave(&self.to.client),
                // the node left before it got the command
                Err(lost) if lost.fate == Fate::NotSent && self.has_moved() => {}
                Err(lost) => return self.lost(&lost),
            }
            self.begun = None;
            match self.elsewhere().await {
                Ok(rest) => frame = rest,
                Err(text) => return self.unblocked(&text),
            }
        }
    }

    /// Has the node that owns the keys run the command, and waits with it.
    async fn at_node(&mut self, frame: &[u8]) -> Result<End, Lost> {
        let mut connection = self.node.dedicated(self.lane).await?;
        self.listed.count();
        connection.send(frame, Patience::Unlimited).await?;
        self.asked = true;
        loop {
            let event = tokio::select! {
                biased;
                // before the trouble that the same change means for the connection to a node that left
                _ = self.changes.changed() => Event::Topology,
                Some(order) = self.listed.orders.recv() => Event::Order(order),
                begun = connection.begins(Patience::Unlimited) => Event::Begun(begun),
            };
            match event {
                Event::Begun(begun) => {
                    begun?;
                    return self.pass_on(connection).await;
                }
                Event::Topology if !self.has_moved() && !self.is_on_its_way() => {
                    let epoch = self.to.client.worker.routes().topology.epoch();
                    if let Some(begun) = &mut self.begun {
                        begun.go_over_to(epoch);
                    }
                }
                Event::Topology => {
                    let ended =
                        self.end_wait(&mut connection, "TIMEOUT", "its keys moved to another node").await?;
                    return if ended {
                        self.let_go(connection).await
                    } else {
                        self.pass_on(connection).await
                    };
                }
                Event::Order(Order::Unblock { reason, answer }) => {
                    let ended = self.end_wait(&mut connection, reason, "CLIENT UNBLOCK ended the wait").await;
                    // if the node cannot be asked the client waits no longer all the same
                    let _ = answer.send(!matches!(ended, Ok(false)));
                    ended?;
                    return self.pass_on(connection).await;
                }
                Event::Order(Order::Leave) => {
                    if !self.end_wait(&mut connection, "TIMEOUT", "the wait was to end").await? {
                        return self.pass_on(connection).await;
                    }
                    let end = self.let_go(connection).await?;
                    return Ok(if matches!(end, End::LetGo) { End::Left } else { end });
                }
            }
        }
    }

    /// Passes the reply on that has begun or is about to.
    async fn pass_on(&mut self, mut connection: Dedicated) -> Result<End, Lost> {
        let noted = Noted { to: &self.to, is_error: Cell::new(None) };
        // a node that leaves the topology answers what it has begun
        connection.outlast();
        // with the first byte of its reply it has run, however slowly the client takes it
        connection.begins(self.patience()).await?;
        self.begun = None;
        connection.reply(&noted, self.patience()).await?;
        if self.command.is_read() {
            self.to.client.has_read_untracked();
        }
        connection.settle();
        let is_error = noted.is_error.get() == Some(true);
        Ok(End::Answered(if is_error { Outcome::Error } else { Outcome::Ok }))
    }

    /// Takes the nil of a wait that the node has ended because it was asked to.
    async fn let_go(&self, mut connection: Dedicated) -> Result<End, Lost> {
        let reply = connection.gather(NIL_BYTES, self.patience()).await?;
        connection.settle();
        if matches!(&*reply, b"*-1\r\n" | b"$-1\r\n" | b"_\r\n") {
            return Ok(End::LetGo);
        }
        self.to.reply(&reply, true);
        Ok(End::Answered(if reply.starts_with(b"-") { Outcome::Error } else { Outcome::Ok }))
    }

    async fn end_wait(&self, connection: &mut Dedicated, reason: &str, because: &str) -> Result<bool, Lost> {
        let limit = self.to.client.worker.shared.settings.timeouts.operation;
        end_wait(&self.node, connection, reason, because, limit).await
    }

    /// Whether another node, or none alone, owns the keys now.
    fn has_moved(&self) -> bool {
        let worker = &self.to.client.worker;
        let (routes, args) = (worker.routes(), self.request.args());
        let now = owner(&routes, self.command, &args, &mut worker.scratch.borrow_mut());
        !now.is_ok_and(|node| Rc::ptr_eq(&node, &self.node))
    }

    /// Whether one of the keys is on its way by the topology that holds now, be it to the node that has the command: what
    /// carries it there is not to be taken for what the client waits for.
    fn is_on_its_way(&self) -> bool {
        let worker = &self.to.client.worker;
        let (routes, mut keys) = (worker.routes(), Vec::new());
        let scratch = &mut worker.scratch.borrow_mut();
        travellers(&routes.topology, self.command, &self.request.args(), scratch, &mut keys);
        !keys.is_empty()
    }

    /// Goes on at the node that owns the keys now: what to ask it, or why the wait must end.
    async fn elsewhere(&mut self) -> Result<Rc<[u8]>, String> {
        let (worker, args) = (Rc::clone(&self.to.client.worker), self.request.args());
        // the topology by which the keys have arrived
        let mut arrived = 0;
        loop {
            let (epoch, keys) = {
                let (routes, mut keys) = (worker.routes(), Vec::new());
                let scratch = &mut *worker.scratch.borrow_mut();
                let epoch = routes.topology.epoch();
                if arrived != epoch {
                    travellers(&routes.topology, self.command, &args, scratch, &mut keys);
                }
                if keys.is_empty() {
                    self.node = owner(&routes, self.command, &args, scratch)
                        .map_err(|_| "its keys lie on several nodes now".to_owned())?;
                    self.begun = Some(worker.epochs.begin(epoch));
                    break;
                }
                (epoch, keys)
            };
            let fetched = moving::fetch(&worker, epoch, keys).await;
            fetched.map_err(|why| format!("a key is still on its way: {why}"))?;
            arrived = epoch;
        }
        if !self.asked {
            return Ok(Rc::clone(&self.request.frame));
        }
        self.request.after(self.command, self.since.elapsed()).map_err(str::to_owned)
    }

    /// How long a node may be silent when an answer is due.
    fn patience(&self) -> Patience {
        Patience::Limited(self.to.client.worker.shared.settings.timeouts.operation)
    }

    fn lost(&self, Lost { fate, why }: &Lost) {
        let outcome = match fate {
            Fate::NotSent => Outcome::NotSent,
            Fate::Unknown => Outcome::Unknown,
        };
        self.node.stats.commands.count(self.command, outcome);
        self.to.fail(Failure { fate: *fate, node: &self.node.spec, why });
    }

    /// Ends the wait by an error that is the proxy's own; no node has taken anything.
    fn unblocked(&self, why: &str) {
        self.to.client.worker.stats.local.count(self.command, Outcome::Error);
        let mut reply = Vec::new();
        encode::error(&mut reply, &format!("UNBLOCKED the topology changed: {why}; nothing was taken"));
        self.to.reply(&reply, true);
    }
}

/// Ends the client without a reply, as Redis does with one that leaves while it waits.
fn leave(client: &Client) {
    let inner = &mut *client.inner.borrow_mut();
    inner.reading = Reading::Refused;
    inner.pipeline.unwait(&mut client.worker.spare.borrow_mut());
    client.worker.stats.replies_dropped.add(1);
    client.wake();
}

/// Asks the node to end the wait on `connection`. False when it had ended before: then its reply has begun.
async fn end_wait(
    node: &Node<SlotRef>,
    connection: &mut Dedicated,
    reason: &str,
    because: &str,
    limit: Duration,
) -> Result<bool, Lost> {
    connection.outlast();
    let refused = |why: &str| Lost {
        fate: Fate::Unknown,
        why: format!("{because}, and it could not be asked about it: {why}"),
    };
    let id = connection.id().ok_or_else(|| refused("it does not number its connections"))?.to_string();
    let limit = Instant::now() + limit;
    loop {
        let answer = node.errand(&["CLIENT", "UNBLOCK", &id, reason]).await;
        match answer.as_deref() {
            Ok(b":1\r\n") => return Ok(true),
            Ok(b":0\r\n") => {}
            Ok(other) => return Err(refused(&words(other))),
            Err(lost) => return Err(refused(&lost.why)),
        }
        match tokio::time::timeout(ASK_AGAIN, connection.begins(Patience::Unlimited)).await {
            Ok(begun) => return begun.map(|()| false),
            Err(_) if Instant::now() > limit => return Err(refused("it neither waits nor answers")),
            Err(_) => {}
        }
    }
}

/// A node's words, short.
fn words(reply: &[u8]) -> String {
    let line = reply.split(|byte| *byte == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(&line[..line.len().min(128)]).into_owned()
}
