//! MULTI, EXEC, DISCARD, WATCH and UNWATCH, as Redis does them, on the keys of one node.
//!
//! ```text
//!   MULTI  ──► Mode::Queueing: commands are looked at and kept, +QUEUED
//!   EXEC   ──► one block MULTI … EXEC over the shared link, nothing in between; only its last reply is passed on
//!          └─► after WATCH: over the connection that watches
//! ```
//! The first key decides the node, a key of another one is CROSSSLOT. All keys are placed again at EXEC, by the topology
//! that holds then (law I8).

mod queue;
mod watch;

use std::rc::Rc;

use super::moving::{self, Gate};
use super::session::{Mode, Session, not_sent, refuse};
use super::{Client, Inner, SlotRef, acl, all_nodes};
use crate::command::{ClientCommand, Command, Flags, Local, ResolveError, Route, Transaction as Step};
use crate::error;
use crate::near::WriteGuard;
use crate::resp::{Args, Protocol, encode};
use crate::route::{Scratch, together};
use crate::stats::Outcome;
use crate::topology::NodeIndex;
use crate::upstream::Patience;
use crate::worker::{Routes, Worker};
use queue::Queue;
use watch::Watching;

const PREVIOUS_ERRORS: &str = "EXECABORT Transaction discarded because of previous errors.";

/// What a client has begun: queued commands, watched keys.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    queue: Option<Box<Queue>>,
    watch: Watch,
    /// What the queued commands write.
    writes: Option<Box<WriteGuard>>,
}

#[derive(Debug, Default)]
enum Watch {
    #[default]
    Nothing,
    Keys(Box<Watching>),
    /// Keys were watched and no longer are, by no wish of the client: EXEC answers as if one had changed.
    Lost,
}

impl Transaction {
    /// Commands that are queued; `None` outside of MULTI.
    pub(super) fn queued(&self) -> Option<u32> {
        self.queue.as_ref().map(|queue| queue.commands())
    }

    /// Whether keys are watched, or were.
    pub(super) fn watches(&self) -> bool {
        !matches!(self.watch, Watch::Nothing)
    }

    /// One more of the queued commands writes.
    pub(super) fn will_write(&mut self, more: &WriteGuard) {
        if self.queue.is_some() {
            let writes = self.writes.take();
            self.writes =
                Some(writes.map_or_else(|| Box::new(more.planned()), |writes| Box::new(writes.and(more))));
        }
    }

    /// What EXEC writes.
    pub(super) fn writes(&self) -> Option<WriteGuard> {
        self.writes.as_ref().map(|writes| writes.planned())
    }

    /// Whether a queued command may write.
    pub(super) fn may_write(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.may_write())
    }

    /// The rights of the user have changed: EXEC judges what was queued by those that it has then.
    pub(super) fn judge_again(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.judge_again();
        }
    }

    /// Bytes that are kept for EXEC.
    pub(super) fn bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.bytes())
    }

    /// Bytes of memory held: what is kept for EXEC, and the watched keys.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        let watched = match &self.watch {
            Watch::Keys(watching) => watching.bytes(),
            Watch::Nothing | Watch::Lost => 0,
        };
        self.bytes() + watched
    }

    /// Whether a watched key is known to have changed, or is no longer watched.
    pub(super) fn has_lost_watch(&self) -> bool {
        matches!(self.watch, Watch::Lost)
    }

    /// Keys that moved with a change of the topology are no longer watched.
    fn look_at(&mut self, routes: &Routes, scratch: &mut Scratch) {
        if let Watch::Keys(watching) = &mut self.watch
            && !watching.holds(routes, scratch)
        {
            self.watch = Watch::Lost;
        }
    }

    /// Drops queue and watch.
    pub(super) fn end(&mut self, worker: &Worker) {
        self.queue = None;
        self.writes = None;
        self.unwatch(worker);
    }

    fn unwatch(&mut self, worker: &Worker) {
        if let Watch::Keys(watching) = std::mem::take(&mut self.watch) {
            watching.release(Patience::Limited(worker.shared.settings.timeouts.operation));
        }
    }
}

/// Ends a client's transaction, if there is one.
fn end(client: &Client, session: &mut Session) {
    session.transaction.end(&client.worker);
    // an EXEC that is refused for its words may come from one who listens
    if session.mode == Mode::Queueing {
        session.mode = Mode::Plain;
    }
}

/// Whether a command is queued, or refused, between MULTI and EXEC; others act at once.
#[inline]
pub(super) fn takes(command: &Command) -> bool {
    !matches!(
        command.route,
        Route::Transaction(Step::Exec | Step::Discard) | Route::Local(Local::Quit | Local::Reset)
    )
}

/// Queues a command.
pub(super) fn queue(client: &Rc<Client>, inner: &mut Inner, command: &'static Command, args: Args<'_>) {
    // as in Redis, these two fail without consequences
    match command.route {
        Route::Transaction(Step::Multi) => {
            return refuse(client, inner, command, "ERR MULTI calls can not be nested");
        }
        Route::Transaction(Step::Watch) => {
            return refuse(client, inner, command, "ERR WATCH inside MULTI is not allowed");
        }
        _ => {}
    }
    match add(client, &mut inner.session.transaction, command, args) {
        Ok(()) => client.answer(inner, |out| encode::simple(out, "QUEUED")),
        Err(text) => {
            spoil(inner);
            refuse(client, inner, command, &text);
        }
    }
}

fn add(
    client: &Client,
    transaction: &mut Transaction,
    command: &'static Command,
    args: Args<'_>,
) -> Result<(), String> {
    // in Redis's words
    if command.flags.contains(Flags::NO_MULTI) {
        return Err("ERR Command not allowed inside a transaction".into());
    }
    if let Some(why) = queue::barred(command) {
        return Err(together::barred(command, why));
    }
    if let Some(text) = all_nodes::refusal(client, command) {
        return Err(text);
    }
    // on the connection that watches nobody tracks
    if command.route == Route::Client(ClientCommand::Caching) && transaction.watches() {
        return Err("ERR CLIENT CACHING is refused inside MULTI behind WATCH".into());
    }
    let routes = client.worker.routes();
    let scratch = &mut *client.worker.scratch.borrow_mut();
    transaction.look_at(&routes, scratch);
    let Some(queue) = &mut transaction.queue else { return Ok(()) };
    let limit = client.worker.shared.settings.limits.command_bytes;
    let together = queue.add(&routes.topology, (command, &args), scratch, limit)?;
    match &transaction.watch {
        Watch::Keys(watching) if !watching.watches_at(&routes, together) => Err(error::CROSSSLOT.into()),
        _ => Ok(()),
    }
}

/// A command was refused: EXEC will run nothing.
fn spoil(inner: &mut Inner) {
    if let Some(queue) = &mut inner.session.transaction.queue {
        queue.fail();
    }
}

/// Answers a request that is no command, or that a stranger makes, where that is EXEC or stands before one; false
/// when the usual answer is due.
pub(super) fn rejected(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: Option<&'static Command>,
    text: &str,
) -> bool {
    spoil(inner);
    let Some(command) = command.filter(|command| command.route == Route::Transaction(Step::Exec)) else {
        return false;
    };
    end(client, &mut inner.session);
    abort(client, inner, command, text.strip_prefix("ERR ").unwrap_or(text));
    true
}

/// The command that was meant, where that is known.
pub(super) fn meant(error: &ResolveError) -> Option<&'static Command> {
    match error {
        ResolveError::Arity(command) => Some(command),
        _ => None,
    }
}

/// Handles a step of a transaction; false when it must wait for all before it.
pub(super) fn run(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    step: Step,
    args: Args<'_>,
) -> bool {
    match step {
        Step::Multi => {
            inner.session.transaction.queue = Some(Box::default());
            inner.session.mode = Mode::Queueing;
            answer_ok(client, inner, command);
        }
        Step::Discard if inner.session.transaction.queue.is_none() => {
            refuse(client, inner, command, "ERR DISCARD without MULTI");
        }
        Step::Discard => {
            end(client, &mut inner.session);
            answer_ok(client, inner, command);
        }
        Step::Unwatch => {
            inner.session.transaction.unwatch(&client.worker);
            answer_ok(client, inner, command);
        }
        Step::Watch => return watch::watch(client, inner, command, args),
        Step::Exec => return exec(client, inner, command),
    }
    true
}

fn answer_ok(client: &Rc<Client>, inner: &mut Inner, command: &'static Command) {
    client.worker.stats.local.count(command, Outcome::Ok);
    client.answer(inner, |out| encode::simple(out, "OK"));
}

fn abort(client: &Rc<Client>, inner: &mut Inner, command: &'static Command, why: &str) {
    refuse(client, inner, command, &format!("EXECABORT Transaction discarded because of: {why}"));
}

/// What EXEC comes to.
enum Outlook {
    /// An error line.
    Refused(String),
    /// A watched key changed, or nothing was queued: the reply is known.
    Known(&'static str),
    /// To be sent over the shared connection of a node, of any when there is none.
    Shared(Box<Queue>, Option<NodeIndex>),
    /// To be sent on the connection that watches.
    Own(Box<Queue>, Box<Watching>),
}

fn exec(client: &Rc<Client>, inner: &mut Inner, command: &'static Command) -> bool {
    if inner.session.transaction.queue.is_none() {
        refuse(client, inner, command, "ERR EXEC without MULTI");
        return true;
    }
    let watches = matches!(inner.session.transaction.watch, Watch::Keys(_));
    if watches && !inner.pipeline.is_empty() {
        inner.session.hold();
        return false;
    }
    if let Some(denied) = denied_by_now(client, inner) {
        end(client, &mut inner.session);
        abort(client, inner, command, &denied);
        return true;
    }
    let worker = &client.worker;
    let routes = worker.routes();
    if !inner.session.follows(routes.topology.epoch(), inner.pipeline.is_empty()) {
        return false;
    }
    if let Some(queue) =
        inner.session.transaction.queue.as_ref().filter(|_| routes.topology.former().is_some())
    {
        let scratch = &mut worker.scratch.borrow_mut();
        let keys = queue.travellers(&routes.topology, scratch);
        match moving::gate_for(client, inner, &routes.topology, keys) {
            Gate::Open => {}
            Gate::Waits => return false,
            Gate::Refused(text) => {
                // nothing of it has run
                end(client, &mut inner.session);
                refuse(client, inner, command, &text);
                return true;
            }
        }
    }
    let outlook = outlook(&routes, &mut inner.session, &mut worker.scratch.borrow_mut());
    end(client, &mut inner.session);
    match outlook {
        Outlook::Refused(text) => refuse(client, inner, command, &text),
        Outlook::Known(reply) => {
            worker.stats.local.count(command, Outcome::Ok);
            client.answer(inner, |out| out.extend_from_slice(reply.as_bytes()));
        }
        Outlook::Shared(queue, node) => send(client, inner, command, &routes, *queue, node),
        Outlook::Own(queue, watching) => {
            watch::exec(client, inner, command, watching, *queue, routes.topology.epoch());
        }
    }
    true
}

/// Why one of the queued commands is not for this client any more.
fn denied_by_now(client: &Client, inner: &Inner) -> Option<String> {
    let queue = inner.session.transaction.queue.as_ref().filter(|queue| queue.is_to_be_judged())?;
    let judged = queue.each(|command, args| match acl::judge(client, &inner.session, command, &args) {
        Ok(()) => Ok(()),
        Err(judgement) => Err(acl::text_of(client, inner, judgement, &args)),
    });
    judged.err()
}

/// Looks at the transaction by one topology, and takes what is to be sent out of the session.
fn outlook(routes: &Routes, session: &mut Session, scratch: &mut Scratch) -> Outlook {
    let (lane, protocol) = (session.own_lane(), session.protocol);
    let transaction = &mut session.transaction;
    transaction.look_at(routes, scratch);
    let Some(queue) = transaction.queue.take() else { return Outlook::Refused(PREVIOUS_ERRORS.into()) };
    let aborted = |why: &str| {
        let why = why.strip_prefix("ERR ").unwrap_or(why);
        Outlook::Refused(format!("EXECABORT Transaction discarded because of: {why}"))
    };
    if queue.has_failed() {
        return Outlook::Refused(PREVIOUS_ERRORS.into());
    }
    let nil = if protocol == Protocol::Resp3 { "_\r\n" } else { "*-1\r\n" };
    match &transaction.watch {
        Watch::Lost => return Outlook::Known(nil),
        Watch::Keys(watching) if watching.lane != lane => return aborted(watch::OTHER_LANE),
        Watch::Nothing if queue.commands() == 0 => return Outlook::Known("*0\r\n"),
        Watch::Keys(_) | Watch::Nothing => {}
    }
    let together = match queue.place(&routes.topology, scratch) {
        Ok(together) => together,
        Err(text) => return aborted(&text),
    };
    match std::mem::take(&mut transaction.watch) {
        Watch::Keys(watching) if watching.watches_at(routes, together) => Outlook::Own(queue, watching),
        Watch::Keys(watching) => {
            transaction.watch = Watch::Keys(watching);
            aborted(error::CROSSSLOT)
        }
        _ => Outlook::Shared(queue, together.node()),
    }
}

/// Sends a whole transaction over the shared connection of its node: its bytes stand behind each other there.
fn send(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    routes: &Routes,
    queue: Queue,
    node: Option<NodeIndex>,
) {
    let node = node.unwrap_or_else(|| routes.topology.owner(&inner.session.id.to_le_bytes()).home());
    let link = routes.link(node, inner.session.lane());
    if !link.is_usable() {
        return not_sent(client, inner, command, &link);
    }
    let replies_before = 1 + u64::from(queue.commands());
    let block = queue.into_block();
    let number = inner.pipeline.wait(block.len());
    link.append(|out| out.extend_from_slice(&block));
    link.commit_block(SlotRef { client: Rc::clone(client), number, part: 0 }, command, replies_before);
}
