//! What a client is and what its next command means: answered here, sent to nodes, or refused.

use std::rc::Rc;
use std::time::Instant;

use super::blocking::replicas;
use super::client_commands::{self, ReplyMode};
use super::exclusive::Running;
use super::identity::{Followed, Identity};
use super::large_values::{LARGE_BYTES, LargeValues, Value, hand_over};
use super::moving::{self, Fetched, Gate};
use super::near::{self, Named};
use super::split::{self, Split};
use super::subscriptions::{self, Subscriptions};
use super::tracking::{self, Tracking};
use super::transaction::{self, Transaction};
use super::{
    Client, Inner, Reading, SlotRef, acl, all_nodes, blocking, emulate, local, monitor, new_commands,
    running_scripts, watched,
};
use crate::acl::Users;
use crate::command::{self, ClientCommand, Command, Local, Route};
use crate::error::{Failure, Fate};
use crate::limits::LARGE_VALUE_BYTES;
use crate::net::Endpoint;
use crate::resp::{Args, Protocol, encode};
use crate::route::{self, Placed};
use crate::stats::Outcome;
use crate::upstream::{Lane, Link, Sent, Traffic};
use crate::worker::Worker;

/// What decides how commands of this client are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Commands are independent of each other.
    Plain,
    /// Between MULTI and EXEC.
    Queueing,
    /// It listens to channels in RESP2, so that few commands are left to it.
    Subscribed,
}

/// One client's state between two commands.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) peer: Endpoint,
    pub(super) protocol: Protocol,
    /// What `SELECT` chose.
    pub(super) database: u32,
    pub(super) mode: Mode,
    pub(super) transaction: Transaction,
    /// What runs on a connection of its own; no other command is handled meanwhile.
    pub(super) running: Option<Running>,
    /// What it listens to; nothing when there is nothing.
    pub(super) subscriptions: Option<Box<Subscriptions>>,
    /// How nodes tell it of keys that change, if they do.
    pub(super) tracking: Option<Box<Tracking>>,
    /// Whether it is shown what clients ask.
    pub(super) monitors: bool,
    pub(super) name: Option<Box<[u8]>>,
    pub(super) library: Option<Box<[u8]>>,
    pub(super) library_version: Option<Box<[u8]>>,
    pub(super) identity: Identity,
    pub(super) last_command: &'static str,
    /// What `CLIENT REPLY` chose; anything but on is one of the unusual things.
    reply: ReplyMode,
    since: Instant,
    /// The epoch that its last command for a node used, or 0.
    epoch: u64,
    /// Whether it moves large values, which decides the shared connections it takes.
    traffic: LargeValues,
    /// Losses of connections to nodes that it knows of: those before it connected, and those it was told by WAIT.
    pub(super) losses: u64,
    /// What sets the next command apart from a usual one, as bits of [`Unusual`]: one look tells that there is nothing.
    unusual: u8,
    /// Bytes of the keys that the next command waits for.
    pub(super) fetching: usize,
    /// What became of them.
    pub(super) fetched: Option<Box<Fetched>>,
    /// The keys that were named since all was answered, where answers are kept.
    pub(super) named: Named,
}

/// Bits of [`Session::unusual`].
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Unusual {
    /// The next command waits until all before it are answered.
    Barrier = 1,
    /// `CLIENT REPLY` is not on.
    Silent = 2,
    /// `CLIENT PAUSE` holds, for some commands at least.
    Paused = 4,
    /// The next command waits for the end of the pause.
    Held = 8,
    /// Nothing is handled for a while: a password was wrong.
    Penalized = 16,
    /// `CLIENT CACHING` said something of the next command.
    Caching = 32,
    /// Somebody looks at what clients ask ([`watched`]).
    Watched = 64,
    /// Nothing is handled before the keys of the next command have arrived at their nodes.
    Fetching = 128,
}

impl Session {
    pub(super) fn new(id: u64, peer: Endpoint, worker: &Worker) -> Self {
        let mut session = Self {
            id,
            peer,
            protocol: Protocol::Resp2,
            database: 0,
            mode: Mode::Plain,
            transaction: Transaction::default(),
            running: None,
            subscriptions: None,
            tracking: None,
            monitors: false,
            name: None,
            library: None,
            library_version: None,
            identity: Identity::new(&worker.shared.access.users()),
            last_command: "NULL",
            reply: ReplyMode::On,
            since: Instant::now(),
            epoch: 0,
            traffic: LargeValues::default(),
            losses: worker.links.losses.get(),
            unusual: 0,
            fetching: 0,
            fetched: None,
            named: Named::default(),
        };
        session.set(Unusual::Paused, worker.pause.get().is_some());
        session.set(Unusual::Watched, watched::is_watched(worker));
        session
    }

    /// Bytes of memory held beside commands and replies: a transaction, subscriptions, names.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        let name = |name: &Option<Box<[u8]>>| name.as_ref().map_or(0, |name| name.len());
        self.transaction.held_bytes()
            + self.subscriptions.as_ref().map_or(0, |own| own.bytes())
            + self.tracking.as_ref().map_or(0, |tracking| tracking.bytes())
            + name(&self.name)
            + name(&self.library)
            + name(&self.library_version)
            + self.fetching
    }

    #[inline]
    pub(super) fn is_authenticated(&self) -> bool {
        !self.identity.is_stranger()
    }

    /// Its user is what these say now. False when it is none of them, or is shown or hears what it may not any more: then the
    /// connection is to end.
    pub(super) fn follow_users(&mut self, users: &Users) -> bool {
        match self.identity.follow(users) {
            Followed::Same => return true,
            Followed::Gone => return false,
            // what was queued was judged by other rights
            Followed::Changed => self.transaction.judge_again(),
        }
        let user = self.identity.user();
        let may_monitor =
            || command::find_full(b"monitor").zip(user).is_some_and(|(row, user)| user.may_run(row));
        if self.monitors && !may_monitor() {
            return false;
        }
        let may_hear = |kind, name: &[u8]| user.is_some_and(|user| user.may_hear(name, kind));
        self.subscriptions.as_ref().is_none_or(|own| own.all(may_hear))
    }

    /// Whether the next command waits: for all before it, for its keys, or as a penalty.
    #[inline]
    pub(super) fn waits(&self) -> bool {
        const WAITS: u8 = Unusual::Barrier as u8 | Unusual::Penalized as u8 | Unusual::Fetching as u8;
        self.unusual & WAITS != 0
    }

    /// Whether all has come that the next command waits for; `nothing_awaited` when those before it are answered.
    #[cold]
    pub(super) fn waits_no_longer(&self, nothing_awaited: bool) -> bool {
        let has_keys = !self.is(Unusual::Fetching) || self.fetched.is_some();
        has_keys && !self.is(Unusual::Penalized) && (nothing_awaited || !self.is(Unusual::Barrier))
    }

    /// A password was wrong.
    pub(super) fn penalize(&mut self) {
        self.set(Unusual::Penalized, true);
        self.identity.was_wrong();
    }

    /// Whether this sets the next command apart.
    #[inline]
    pub(super) fn is(&self, what: Unusual) -> bool {
        self.unusual & what as u8 != 0
    }

    /// Sets the next command apart, or no longer so.
    pub(super) fn set(&mut self, what: Unusual, on: bool) {
        self.unusual = if on { self.unusual | what as u8 } else { self.unusual & !(what as u8) };
    }

    /// What `CLIENT REPLY` chose.
    pub(super) fn reply(&self) -> ReplyMode {
        self.reply
    }

    /// Chooses what becomes of replies.
    pub(super) fn set_reply(&mut self, reply: ReplyMode) {
        self.reply = reply;
        self.set(Unusual::Silent, reply != ReplyMode::On);
    }

    /// Which shared connections its commands take. Ask [`Session::follows`] first.
    #[inline]
    pub(super) fn lane(&self) -> Lane {
        Lane { protocol: self.protocol, database: self.database, traffic: self.traffic.now() }
    }

    /// What a connection of its own is set to.
    pub(super) fn own_lane(&self) -> Lane {
        Lane { traffic: Traffic::Usual, ..self.lane() }
    }

    /// Notes that so many bytes of a value were moved for this client; those of a reply come in pieces.
    #[cold]
    pub(super) fn moved(&mut self, value: Value, bytes: usize, now: Instant) {
        if self.traffic.moved(value, bytes, now) {
            self.epoch = 0;
        }
    }

    /// Goes back to usual connections when it has moved no large value for long.
    pub(super) fn cool_down(&mut self, now: Instant) {
        if self.traffic.cool_down(now) {
            self.epoch = 0;
        }
    }

    /// Nodes tell it of keys from now on, or no longer: its commands go over to other connections.
    pub(super) fn track(&mut self, tracking: Option<Box<Tracking>>) {
        if tracking.is_none() && self.tracking.is_none() {
            return;
        }
        self.tracking = tracking;
        self.renew_own();
        self.set(Unusual::Caching, false);
    }

    /// Its commands go over to the connections that it has for itself now, or to shared ones.
    pub(super) fn renew_own(&mut self) {
        self.traffic.own(self.tracking.as_ref().map(|tracking| tracking.traffic()));
        self.epoch = 0;
    }

    /// Whether it can be sent what is no reply.
    pub(super) fn has_place_for_messages(&self) -> bool {
        self.protocol == Protocol::Resp3 || self.subscriptions.is_some()
    }

    /// The next command waits until all before it are answered.
    pub(super) fn hold(&mut self) {
        self.set(Unusual::Barrier, true);
    }

    /// Goes over to the topology of `epoch`, and to other shared connections if it is to, unless replies are awaited from
    /// those it used before: on a new connection later commands must not overtake (law I2). Epochs begin with 1; 0 stands
    /// for connections that are to be left.
    #[inline]
    pub(super) fn follows(&mut self, epoch: u64, nothing_awaited: bool) -> bool {
        if self.epoch == epoch {
            return true;
        }
        self.set(Unusual::Barrier, !nothing_awaited);
        if nothing_awaited {
            self.epoch = epoch;
            self.traffic.follow();
        }
        nothing_awaited
    }

    /// When the client connected.
    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

/// Handles one whole command; false when it must wait for all before it and be shown again, or is to be handed over with
/// the buffer it lies in (`Inner::taken_by`).
#[inline]
pub(super) fn dispatch(client: &Rc<Client>, inner: &mut Inner, args: Args<'_>) -> bool {
    if inner.session.unusual != 0 { unusual(client, inner, args) } else { serve(client, inner, args) }
}

/// [`dispatch`] when something sets the command apart.
#[cold]
fn unusual(client: &Rc<Client>, inner: &mut Inner, args: Args<'_>) -> bool {
    if inner.session.is(Unusual::Fetching) {
        moving::go_on(client, inner, args, other)
    } else {
        other(client, inner, args)
    }
}

fn other(client: &Rc<Client>, inner: &mut Inner, args: Args<'_>) -> bool {
    if inner.session.is(Unusual::Barrier) {
        // whoever waited for order has waited by now
        inner.session.set(Unusual::Barrier, false);
        inner.session.running = None;
    }
    if inner.session.is(Unusual::Paused) && client_commands::is_held(client, inner, args) {
        return false;
    }
    if inner.session.is(Unusual::Watched) {
        return watched::serve(client, inner, args);
    }
    tracking::serve(client, inner, args)
}

/// Handles a command to which nothing unusual applies any more.
#[inline]
pub(super) fn serve(client: &Rc<Client>, inner: &mut Inner, args: Args<'_>) -> bool {
    let command = match command::resolve(&args) {
        Ok(command) => command,
        Err(error) => match new_commands::resolve(client, inner, &args, error) {
            Some(command) => command,
            None => return true,
        },
    };
    if matches!(command.route, Route::Local(Local::Hello | Local::Reset | Local::Select)) {
        inner.session.set(Unusual::Barrier, !inner.pipeline.is_empty());
        if inner.session.is(Unusual::Barrier) {
            return false;
        }
    }
    inner.session.last_command = command.full_name;
    if !inner.session.identity.may_everything() && acl::denies(client, inner, command, args) {
        return true;
    }
    match &client.worker.near {
        Some(near) => near::serve(near, client, inner, command, args),
        None => run(client, inner, command, args),
    }
}

/// Handles a command that its client may give.
#[inline]
pub(super) fn run(client: &Rc<Client>, inner: &mut Inner, command: &'static Command, args: Args<'_>) -> bool {
    if inner.session.mode != Mode::Plain && mode_takes(client, inner, command, args) {
        client.worker.stats.commands_read.add(1);
        return true;
    }
    let handled = match command.route {
        Route::Key | Route::Split(_) => send(client, inner, command, args),
        Route::Waiting => blocking::begin(client, inner, command, args),
        Route::Replicas => replicas::begin(client, inner, command, args),
        Route::Running => running_scripts::begin(client, inner, command, args),
        Route::AllNodes(join) => all_nodes::send(client, inner, command, join, args),
        Route::Scan => all_nodes::scan(client, inner, command, args),
        Route::Transaction(step) => transaction::run(client, inner, command, step, args),
        Route::Publish(kind) => subscriptions::publish(client, inner, command, kind, args),
        Route::Subscribe(kind) => {
            subscriptions::subscribe(client, inner, command, kind, args);
            true
        }
        Route::Unsubscribe(kind) => {
            subscriptions::unsubscribe(client, inner, command, kind, args);
            true
        }
        Route::Local(Local::ClientUnblock) => blocking::unblock::unblock(client, inner, command, args),
        Route::Local(Local::Monitor) => {
            monitor::begin(client, inner, command, args);
            true
        }
        Route::Acl(what) => {
            acl::answer(client, inner, command, what, args);
            true
        }
        Route::Client(ClientCommand::Tracking) => tracking::begin(client, inner, command, args),
        Route::Client(what) => {
            client_commands::answer(client, inner, command, what, args);
            true
        }
        Route::Local(what) => {
            let database = inner.session.database;
            local::answer(client, inner, command, what, args);
            if what == Local::Select && inner.session.database != database {
                tracking::follow_database(client, inner);
            }
            if what == Local::Quit {
                inner.reading = Reading::Refused;
            }
            true
        }
        Route::Refused(rule) => {
            refuse(client, inner, command, &refusal(command, rule));
            true
        }
    };
    if handled {
        client.worker.stats.commands_read.add(1);
    }
    handled
}

/// Whether a command was dealt with because of the client's mode.
#[cold]
fn mode_takes(client: &Rc<Client>, inner: &mut Inner, command: &'static Command, args: Args<'_>) -> bool {
    match inner.session.mode {
        Mode::Plain => false,
        Mode::Queueing => {
            let takes = transaction::takes(command);
            if takes {
                transaction::queue(client, inner, command, args);
            }
            takes
        }
        Mode::Subscribed => subscriptions::intercept(client, inner, command, args),
    }
}

fn refusal(command: &Command, rule: &str) -> String {
    format!("ERR {} is refused: {rule}", command.full_name.to_ascii_uppercase().replace('|', " "))
}

/// Answers an error that is the proxy's own.
pub(super) fn refuse(client: &Rc<Client>, inner: &mut Inner, command: &'static Command, text: &str) {
    client.worker.stats.local.count(command, Outcome::Error);
    client.answer(inner, |out| encode::error(out, text));
}

/// Sends a command to the node, or the nodes, that own its keys; false as [`dispatch`] answers it.
#[inline]
pub(super) fn send(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    let worker = &client.worker;
    if args.frame().len() >= LARGE_VALUE_BYTES {
        inner.session.moved(Value::Command, args.frame().len(), worker.turn.now());
    }
    let routes = worker.routes();
    if !inner.session.follows(routes.topology.epoch(), inner.pipeline.is_empty()) {
        return false;
    }
    let scratch = &mut *worker.scratch.borrow_mut();
    match route::place(&routes.topology, command, &args, scratch) {
        Placed::Node(index) => {
            let link = routes.link(index, inner.session.lane());
            let len = args.frame().len();
            if len > LARGE_BYTES && hand_over(client, inner, &link, len, command) {
                return false;
            }
            let number = inner.pipeline.wait(args.frame().len());
            let to = SlotRef { client: Rc::clone(client), number, part: 0 };
            if link.send(args.frame(), to, command) == Sent::No {
                inner.pipeline.unwait(&mut worker.spare.borrow_mut());
                not_sent(client, inner, command, &link);
            }
        }
        Placed::Split(join) => {
            let (keys, owners) = (&scratch.keys, &scratch.owners);
            split::send(client, inner, &Split { command, join, args, routes: &routes, keys, owners });
            scratch.shrink();
        }
        Placed::Computed(computed) => {
            emulate::send(client, inner, command, computed, args, &routes, scratch);
            scratch.shrink();
        }
        Placed::OnTheWay => match moving::gate(client, inner, &routes.topology, command, &args, scratch) {
            Gate::Refused(text) => refuse(client, inner, command, &text),
            Gate::Open | Gate::Waits => return false,
        },
        Placed::Refused(text) => refuse(client, inner, command, &text),
    }
    true
}

pub(super) fn not_sent(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    link: &Link<SlotRef>,
) {
    link.stats().commands.count(command, Outcome::NotSent);
    let why = link.why();
    let text = Failure { fate: Fate::NotSent, node: link.spec(), why: &why }.text();
    client.answer(inner, |out| encode::error(out, &text));
}
