//! One connection to a node and the task that owns it: connect, greet, converse, and after a loss again.
//!
//! ```text
//!   Connecting ──greeted──► Up ──closed──► Connecting     commands wait, at most for the connect timeout
//!       │ refused, silent    │ stalled
//!       ▼                    ▼
//!      Down ◄────────────────┘      commands are NOTSENT at once; the task tries again with back-off
//! ```
//! Laws kept here: I3 (a write that was written is never written again, a read once at most), I5 (a stalled node is given up), I7 (a node
//! that is down costs nothing).

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::backoff::Backoff;
use super::block::Block;
use super::connect::Unmade;
use super::context::LinkContext;
use super::conversation::End;
use super::exchange::{Exchange, Keep, ReplyTo};
use super::greeting::Fences;
use super::siblings::Siblings;
use super::tracking::{Ear, FORGET_ALL, Tracker};
use super::{Lane, Trouble};
use crate::command::Command;
use crate::essential::Essential;
use crate::net::{Server, Stream};
use crate::resp::{Protocol, encode};
use crate::settings::NodeSpec;
use crate::stats::{NodeState, NodeStats};

/// How long a node may be silent, with nothing asked of it, before it is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(1);

/// Why a connection to a master is given up that works.
pub(super) const ELSEWHERE: &str = "its sentinels name another server as the master";

/// Whether a command was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It waits to be written.
    Yes,
    /// It certainly will not run; [`Link::why`] says why.
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Up,
    Down,
}

/// What a link is told of its node and shares with the node's other connections.
pub(super) struct Place<T: ReplyTo> {
    pub(super) spec: Arc<NodeSpec>,
    pub(super) stats: Arc<NodeStats>,
    pub(super) fences: Fences,
    pub(super) siblings: Siblings<T>,
    pub(super) trouble: watch::Sender<Trouble>,
    pub(super) lane: Lane,
    pub(super) ear: Option<Ear<T>>,
}

/// See the head of this file.
pub(crate) struct Link<T: ReplyTo> {
    pub(super) spec: Arc<NodeSpec>,
    pub(super) stats: Arc<NodeStats>,
    pub(super) lane: Lane,
    pub(super) fences: Fences,
    pub(super) siblings: Siblings<T>,
    trouble: watch::Sender<Trouble>,
    /// Whose connection it is, if it is one client's alone.
    pub(super) tracker: Option<Rc<Tracker<T>>>,
    /// Where that client hears of what it reads here, if not here.
    pub(super) ear: Option<Ear<T>>,
    /// As which the node knows the connection that there is, if it tells.
    pub(super) id: Cell<Option<i64>>,
    /// Told of every change of the state.
    pub(super) turned: Notify,
    /// How many connections that were given up the node was told of on this one.
    pub(super) fenced: Cell<u64>,
    pub(super) context: Rc<LinkContext<T>>,
    pub(super) exchange: RefCell<Exchange<T>>,
    pub(super) stream: RefCell<Option<Stream>>,
    pub(super) state: Cell<State>,
    pub(super) why: RefCell<String>,
    pub(super) waker: RefCell<Option<Waker>>,
    pub(super) dirty: Cell<bool>,
    /// The kernel takes no more bytes; the task waits until it does.
    pub(super) blocked: Cell<bool>,
    /// A write failed; the task ends the conversation.
    pub(super) broken: RefCell<Option<String>>,
    pub(super) stalled: Cell<bool>,
    pub(super) retired: Cell<bool>,
    /// Nothing comes of it any more.
    pub(super) over: Cell<bool>,
}

impl<T: ReplyTo + 'static> Link<T> {
    /// Makes the link and the task that connects it.
    pub(super) fn start(place: Place<T>, context: Rc<LinkContext<T>>) -> Rc<Self> {
        let Place { spec, stats, fences, siblings, trouble, lane, ear } = place;
        let tracker = context.trackers.of(lane.traffic);
        let mut exchange = Exchange::new(context.turn.now());
        if let Some(tracker) = tracker.clone().filter(|_| lane.protocol == Protocol::Resp3) {
            exchange.hear(move |messages| tracker.tell(messages));
        }
        let link = Rc::new(Self {
            spec,
            stats,
            lane,
            fences,
            siblings,
            trouble,
            tracker,
            ear,
            id: Cell::new(None),
            turned: Notify::new(),
            fenced: Cell::new(0),
            exchange: RefCell::new(exchange),
            context,
            stream: RefCell::default(),
            state: Cell::new(State::Connecting),
            why: RefCell::default(),
            waker: RefCell::default(),
            dirty: Cell::new(false),
            blocked: Cell::new(false),
            broken: RefCell::default(),
            stalled: Cell::new(false),
            retired: Cell::new(false),
            over: Cell::new(false),
        });
        link.tracker.iter().for_each(|tracker| tracker.has(&link));
        tokio::task::spawn_local(Rc::clone(&link).run());
        link
    }

    /// The node.
    pub(crate) fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// The node, to be kept.
    pub(crate) fn spec_arc(&self) -> Arc<NodeSpec> {
        Arc::clone(&self.spec)
    }

    /// Who is at the other end, where the address does not tell.
    pub(super) fn server(&self) -> Option<Server> {
        self.stream.borrow().as_ref().and_then(Stream::server)
    }

    /// This worker's figures of the node.
    pub(crate) fn stats(&self) -> &NodeStats {
        &self.stats
    }

    /// Why the link takes no commands.
    pub(crate) fn why(&self) -> String {
        if self.state.get() == State::Down {
            self.why.borrow().clone()
        } else {
            "too many bytes wait for it (limits.node_queue_bytes)".into()
        }
    }

    /// Whether a command would be taken now.
    #[inline]
    pub(crate) fn is_usable(&self) -> bool {
        self.state.get() != State::Down
            && self.exchange.borrow().unwritten().len() < self.context.queue_bytes.get()
    }

    /// Takes one whole command as its bytes.
    #[inline]
    pub(crate) fn send(self: &Rc<Self>, frame: &[u8], to: T, command: &'static Command) -> Sent {
        if !self.is_usable() {
            return Sent::No;
        }
        self.append(|out| out.extend_from_slice(frame));
        self.commit(to, command);
        Sent::Yes
    }

    /// Appends bytes of a command that is built in steps. Check [`Link::is_usable`] first and end it with
    /// [`Link::commit`] before anything else is sent.
    #[inline]
    pub(crate) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.tracker.is_some() {
            self.say_first();
        }
        write(self.exchange.borrow_mut().out());
    }

    /// The bytes appended since the last commit are one command whose reply goes to `to`.
    #[inline]
    pub(crate) fn commit(self: &Rc<Self>, to: T, command: &'static Command) {
        self.exchange.borrow_mut().commit(to, command, self.context.turn.now());
        self.mark_dirty();
    }

    /// The bytes appended since the last commit are one block of commands: `before` replies are awaited and dropped, the
    /// one after them goes to `to` and counts for `command`.
    pub(crate) fn commit_block(self: &Rc<Self>, to: T, command: &'static Command, before: u64) {
        let block = Block::new(to, command, before, Arc::clone(&self.spec));
        self.exchange.borrow_mut().commit_block(block, self.context.turn.now());
        self.mark_dirty();
    }

    /// Says something to the node on nobody's behalf, whatever it answers.
    pub(super) fn fence(self: &Rc<Self>, words: &[String]) {
        self.append(|out| encode::request(out, words));
        self.commit_fence();
    }

    /// Nobody awaits the answer to what was appended.
    pub(super) fn commit_fence(self: &Rc<Self>) {
        self.exchange.borrow_mut().commit_fence(self.context.turn.now());
        self.mark_dirty();
    }

    /// Announces a command of `len` bytes, which [`Link::supply`] must bring before anything else is sent. Check
    /// [`Link::is_usable`] first.
    pub(crate) fn promise(self: &Rc<Self>, len: usize, to: T, command: &'static Command) {
        self.say_first();
        self.exchange.borrow_mut().promise(len, to, command, self.context.turn.now());
        self.mark_dirty();
    }

    /// The command that was promised; it is not copied.
    pub(crate) fn supply(&self, frame: Vec<u8>) {
        self.exchange.borrow_mut().supply(frame);
    }

    /// Takes back bytes that were appended and never committed.
    pub(crate) fn drop_uncommitted(&self) {
        self.exchange.borrow_mut().drop_uncommitted();
    }

    #[inline]
    fn mark_dirty(self: &Rc<Self>) {
        if !self.dirty.replace(true) {
            self.context.dirty.borrow_mut().push(Rc::clone(self));
            self.context.turn.schedule();
        }
    }

    /// Writes what waits, once; called at the end of the turn.
    pub(crate) fn flush(&self) {
        self.dirty.set(false);
        if self.state.get() != State::Up || self.blocked.get() {
            return;
        }
        let stream = self.stream.borrow();
        let mut exchange = self.exchange.borrow_mut();
        let Some(stream) = stream.as_ref().filter(|_| !exchange.unwritten().is_empty()) else { return };
        let mut waiting = exchange.sendable().len();
        if waiting == 0 && stream.owes() {
            // it goes whatever may be sent: the node waits for it to answer what it belongs to
            waiting = 1;
        }
        if waiting == 0 {
            return;
        }
        if stream.is_outdated() {
            // others may have written to its successor: what a former master takes now is lost
            *self.broken.borrow_mut() = Some(ELSEWHERE.into());
            return self.wake();
        }
        match stream.try_write(&exchange.unwritten()[..waiting]) {
            Ok(written) => {
                self.stats.bytes_out.add(written as u64);
                exchange.wrote(written, self.context.turn.now());
                if written < waiting {
                    self.blocked.set(true);
                    self.wake();
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                self.blocked.set(true);
                self.wake();
            }
            Err(error) => {
                *self.broken.borrow_mut() = Some(error.to_string());
                self.wake();
            }
        }
    }

    /// Gives up a node that leaves commands unanswered, asks one that is silent; called at every tick.
    pub(crate) fn check(self: &Rc<Self>, now: Instant) {
        let limit = self.context.timeouts.operation;
        if self.state.get() == State::Up && self.exchange.borrow().is_silent(now, SILENCE) {
            self.exchange.borrow_mut().probe(now);
            self.mark_dirty();
        }
        if self.stream.borrow().as_ref().is_some_and(Stream::is_outdated) {
            *self.broken.borrow_mut() = Some(ELSEWHERE.into());
            self.wake();
        }
        self.check_ear();
        self.exchange.borrow_mut().look(now);
        self.refuse_late(now, limit);
        if !self.exchange.borrow().is_stalled(now, limit) {
            return;
        }
        match self.state.get() {
            State::Up => {
                self.stalled.set(true);
                self.wake();
            }
            State::Connecting => self.down(&format!("no connection for {} s", limit.as_secs_f64())),
            State::Down => {}
        }
    }

    /// Whether something that was asked for by `then` is not answered.
    pub(crate) fn awaits_since(&self, then: Instant) -> bool {
        self.exchange.borrow().awaits_since(then)
    }

    /// Bytes of memory that the connection holds; gives back what an idle one has no use for.
    pub(crate) fn held_bytes(&self) -> usize {
        self.exchange.borrow_mut().held_bytes()
    }

    /// The proxy itself stood still: that is not the node's fault.
    pub(crate) fn forgive(&self, now: Instant) {
        self.exchange.borrow_mut().forgive(now);
    }

    /// Ends once everything in flight is answered.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.wake();
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn remember_waker(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    async fn run(self: Rc<Self>) {
        let _essential = Essential::new("a connection to a node", &self.context.failed);
        // who tracks must not take the turns of those that all share
        let pace = match &self.tracker {
            Some(_) => self.context.paces.of_own(&self.spec.address),
            None => self.context.paces.of(&self.spec.address),
        };
        let mut backoff = Backoff::new(self.context.sharers, pace);
        backoff.leads(self.tracker.is_some() || self.lane == Lane::default());
        loop {
            self.wait_for_ear().await;
            if self.waits_in_vain(&mut backoff).await {
                break;
            }
            match self.connect().await {
                Err(Unmade::Outdated) => {}
                Err(Unmade::Failed(why)) => {
                    self.context.ways.masters.doubt(&self.spec.address);
                    backoff.failed();
                    self.down(&why);
                }
                Ok(identity) => {
                    backoff.succeeded();
                    let end = self.converse().await;
                    self.context.ways.masters.doubt(&self.spec.address);
                    *self.stream.borrow_mut() = None;
                    self.id.set(None);
                    self.blocked.set(false);
                    self.stats.connections_changed(-1);
                    // what the node has not answered it may still run, unless the fence comes first
                    if self.exchange.borrow().awaits_doubtful() {
                        self.give_up(identity);
                    }
                    match end {
                        End::Retired => break,
                        // what stands behind CLIENT CACHING must not go without it
                        End::Closed(why) | End::Distrusted(why) if self.opts_in() => {
                            self.reconnect(Keep::Nothing, &why);
                        }
                        End::Closed(why) => self.reconnect(Keep::UnsentAndReads, &why),
                        End::Distrusted(why) => self.reconnect(Keep::Unsent, &why),
                        End::Stalled => {
                            let seconds = self.context.timeouts.operation.as_secs_f64();
                            self.down(&format!("no answer for {seconds} s"));
                        }
                    }
                }
            }
        }
        self.fail_all("it left the topology");
        self.over.set(true);
        self.tracker.iter().for_each(|tracker| tracker.has_no_more());
    }

    pub(super) fn note_state(&self, state: State, why: &str) {
        let before = self.state.replace(state);
        why.clone_into(&mut self.why.borrow_mut());
        self.turned.notify_waiters();
        if before == State::Up && state != State::Up {
            self.context.losses.update(|losses| losses + 1);
            if let Some(tracker) = self.reader() {
                tracker.tell(FORGET_ALL);
            }
        } else if state == State::Up
            && let Some(tracker) = self.reader()
        {
            tracker.hears_again();
        }
        // the connection that is always there speaks for the node
        if self.lane != Lane::default() || self.retired.get() {
            return;
        }
        let told = match state {
            State::Connecting => NodeState::Connecting,
            State::Up => NodeState::Up,
            State::Down => NodeState::Down,
        };
        match state {
            State::Down => drop(self.trouble.send_replace(Some(why.into()))),
            State::Up => drop(self.trouble.send_replace(None)),
            State::Connecting => {}
        }
        let known = self.stats.state();
        self.stats.set_state(told, why);
        if !self.context.speaks {
            return;
        }
        let (node, address) = (&self.spec.name, &self.spec.address);
        match state {
            State::Up if known != NodeState::Up => tracing::info!(node, address, "node is up"),
            State::Down if before != State::Down => tracing::warn!(node, address, why, "node is down"),
            State::Connecting => tracing::info!(node, address, why, "connection to node lost"),
            _ => {}
        }
    }
}
