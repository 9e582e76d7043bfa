//! A connection that listens to one node for all clients of a worker, and the task that owns it.
//!
//! ```text
//!   Connecting ──greeted──► Up ──lost──► Down ──back-off──► Up: everything is asked for again
//!        └──────refused──────────────────▲        nobody waits for a node that is down
//! ```
//! It tells its [`Audience`], which it never sees, of messages and of topics that are settled. What a node publishes
//! while the connection is lost is not heard: that is what publish and subscribe promises, and no more.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::backoff::Backoff;
use super::connect::unmade_within;
use super::greeting::{Greeting, greet};
use super::hearing::{Event, Hearing, Message, PROTOCOL};
use super::link::ELSEWHERE;
use super::{Lane, Paces};
use crate::net::{Stream, Ways};
use crate::pubsub::Topic;
use crate::settings::{NodeSpec, Timeouts};
use crate::stats::NodeStats;
use crate::turn;

/// How long a node may be silent before it is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(1);
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// Whoever is told what was heard.
pub(crate) trait Audience {
    /// A message came. Must not call the listener.
    fn heard(&self, message: &Message<'_>);
    /// Every node that can answer for a topic has.
    fn settled(&self, topic: &Rc<Topic>);
    /// A node will not have a topic; its words. [`Audience::settled`] follows.
    fn refused(&self, topic: &Rc<Topic>, node: &NodeSpec, why: &str);
    /// The connection is up, or not any more.
    fn reached(&self, node: &NodeSpec, is_up: bool);
}

/// What all listeners of a worker share.
#[derive(Debug, Clone)]
pub(crate) struct ListenContext {
    pub(crate) timeouts: Timeouts,
    /// Whether this worker logs what becomes of connections; one of all does.
    pub(crate) speaks: bool,
    /// Connections that are made to a node again when it is lost, this one and its like included.
    pub(crate) sharers: usize,
    /// How often all connections to a node are begun.
    pub(crate) paces: Arc<Paces>,
    /// How nodes are spoken to over TLS.
    pub(crate) ways: Arc<Ways>,
    /// Longest message, in bytes.
    pub(crate) longest: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Up,
    Down,
}

/// See the head of this file.
pub(crate) struct Listener<A: Audience> {
    spec: Arc<NodeSpec>,
    stats: Arc<NodeStats>,
    context: ListenContext,
    audience: Weak<A>,
    state: Cell<State>,
    hearing: RefCell<Hearing>,
    stalled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    task: RefCell<Option<AbortHandle>>,
}

/// Counts the connection for as long as it is open, however its task ends.
struct Open<'a>(&'a NodeStats);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections_changed(-1);
    }
}

impl<A: Audience + 'static> Listener<A> {
    /// Begins to connect. Ends with [`Listener::close`].
    pub(crate) fn start(
        spec: Arc<NodeSpec>,
        stats: Arc<NodeStats>,
        context: ListenContext,
        audience: Weak<A>,
    ) -> Rc<Self> {
        let listener = Rc::new(Self {
            spec,
            stats,
            context,
            audience,
            state: Cell::new(State::Connecting),
            hearing: RefCell::new(Hearing::new(Instant::now())),
            stalled: Cell::new(false),
            waker: RefCell::default(),
            task: RefCell::default(),
        });
        let task = tokio::task::spawn_local(Rc::clone(&listener).run());
        *listener.task.borrow_mut() = Some(task.abort_handle());
        listener
    }

    /// Whether this is how the topology now describes the node.
    pub(crate) fn serves(&self, spec: &NodeSpec) -> bool {
        self.spec.name == spec.name
            && self.spec.address == spec.address
            && self.spec.credentials == spec.credentials
    }

    /// Wants to hear of a topic, which is settled when the node has confirmed it or cannot be asked.
    pub(crate) fn listen(&self, topic: &Rc<Topic>) {
        let hearing = &mut *self.hearing.borrow_mut();
        match self.state.get() {
            State::Up => {
                hearing.listen(topic, Instant::now());
                self.wake();
            }
            state => hearing.note(topic, state == State::Connecting),
        }
    }

    /// Does not want to hear of a topic any more; settled when the node has confirmed that.
    pub(crate) fn leave(&self, topic: &Rc<Topic>) {
        let is_up = self.state.get() == State::Up;
        self.hearing.borrow_mut().leave(topic, is_up, Instant::now());
        if is_up {
            self.wake();
        }
    }

    /// Whether messages of a topic come from this node.
    pub(crate) fn is_here(&self, topic: &Rc<Topic>) -> bool {
        self.hearing.borrow().is_here(topic)
    }

    /// Ends the connection. Returns the topics that are settled by it.
    pub(crate) fn close(&self) -> Vec<Rc<Topic>> {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
        if self.state.replace(State::Down) == State::Up
            && let Some(audience) = self.audience.upgrade()
        {
            audience.reached(&self.spec, false);
        }
        self.hearing.borrow_mut().closed()
    }

    /// Asks a node that is silent, gives up one that does not answer; called at every tick.
    pub(crate) fn check(&self, now: Instant) {
        if self.state.get() != State::Up {
            return;
        }
        let hearing = &mut *self.hearing.borrow_mut();
        if hearing.is_silent(now, SILENCE) {
            hearing.probe(now);
            self.wake();
        }
        if hearing.is_stalled(now, self.context.timeouts.operation) {
            self.stalled.set(true);
            self.wake();
        }
    }

    /// The proxy itself stood still: that is not the node's fault.
    pub(crate) fn forgive(&self, now: Instant) {
        self.hearing.borrow_mut().forgive(now);
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    async fn run(self: Rc<Self>) {
        let mut backoff = Backoff::new(self.context.sharers, self.context.paces.of(&self.spec.address));
        loop {
            let pause = tokio::time::sleep(backoff.pause(Instant::now()));
            tokio::select! {
                () = pause => {}
                () = backoff.answers() => {}
            }
            while let Err(longer) = backoff.begin(Instant::now()) {
                tokio::time::sleep(longer).await;
            }
            match self.connect().await {
                Err(why) => {
                    backoff.failed();
                    self.down(&why);
                }
                Ok(stream) => {
                    backoff.succeeded();
                    let why = self.converse(&stream).await;
                    drop(stream);
                    self.down(&why);
                }
            }
        }
    }

    async fn connect(&self) -> Result<Stream, String> {
        self.stats.connects.add(1);
        let attempt = async {
            let stream = Stream::connect(&self.spec.address, &self.context.ways).await;
            let stream = stream.map_err(|error| error.to_string())?;
            let greeting = Greeting {
                credentials: &self.spec.credentials,
                name: None,
                lane: Lane { protocol: PROTOCOL, ..Lane::default() },
                fences: &[],
                scripts: &[],
                tracking: None,
            };
            greet(&stream, &greeting).await?;
            Ok(stream)
        };
        let limit = self.context.timeouts.connect;
        let made = tokio::time::timeout(limit, attempt).await.map_err(|_| unmade_within(limit, &self.spec));
        made.flatten().inspect_err(|_| self.context.ways.masters.doubt(&self.spec.address))
    }

    /// Listens until the connection ends; returns why it did.
    async fn converse(&self, stream: &Stream) -> String {
        self.stats.connections_changed(1);
        let _open = Open(&self.stats);
        self.state.set(State::Up);
        self.stalled.set(false);
        self.hearing.borrow_mut().arrived(Instant::now());
        if let Some(audience) = self.audience.upgrade() {
            audience.reached(&self.spec, true);
        }
        let mut buffer = vec![0; READ_BYTES];
        poll_fn(|cx| self.poll_converse(cx, stream, &mut buffer)).await
    }

    fn poll_converse(&self, cx: &mut Context<'_>, stream: &Stream, buffer: &mut [u8]) -> Poll<String> {
        {
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        // not for ever: others wait as well
        for round in 0.. {
            if round == 16 {
                turn::go_on_in_the_next(cx);
                break;
            }
            match stream.poll_read(cx, buffer) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Poll::Ready("it closed the connection".into()),
                Poll::Ready(Err(error)) => return Poll::Ready(error.to_string()),
                Poll::Ready(Ok(len)) => {
                    if let Err(why) = self.received(&buffer[..len]) {
                        return Poll::Ready(why);
                    }
                }
            }
        }
        let limit = self.context.timeouts.operation;
        // what came in the meantime has cleared the suspicion
        if self.stalled.take() && self.hearing.borrow().is_stalled(Instant::now(), limit) {
            return Poll::Ready(format!("no answer for {} s", limit.as_secs_f64()));
        }
        if stream.is_outdated() {
            return Poll::Ready(ELSEWHERE.into());
        }
        match self.poll_write(cx, stream) {
            Err(error) => Poll::Ready(error.to_string()),
            Ok(()) => Poll::Pending,
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, stream: &Stream) -> io::Result<()> {
        let hearing = &mut *self.hearing.borrow_mut();
        while !hearing.unwritten().is_empty() {
            match stream.try_write(hearing.unwritten()) {
                Ok(written) => {
                    self.stats.bytes_out.add(written as u64);
                    hearing.wrote(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match stream.poll_write_ready(cx) {
                        Poll::Pending => break,
                        Poll::Ready(ready) => ready?,
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn received(&self, bytes: &[u8]) -> Result<(), String> {
        self.stats.bytes_in.add(bytes.len() as u64);
        let Some(audience) = self.audience.upgrade() else { return Ok(()) };
        let mut events = Vec::new();
        let result = self.hearing.borrow_mut().received(
            bytes,
            Instant::now(),
            self.context.longest,
            &mut events,
            |message| audience.heard(message),
        );
        for event in events {
            match event {
                Event::Settled(topic) => audience.settled(&topic),
                Event::Refused(topic, why) => audience.refused(&topic, &self.spec, &why),
            }
        }
        result
    }

    /// Nobody waits for the node until it is back.
    fn down(&self, why: &str) {
        let before = self.state.replace(State::Down);
        let settled = self.hearing.borrow_mut().lost();
        let Some(audience) = self.audience.upgrade() else { return };
        if before == State::Up {
            audience.reached(&self.spec, false);
            if self.context.speaks {
                let (node, address) = (&self.spec.name, &self.spec.address);
                tracing::info!(node, address, why, "listening connection to node lost");
            }
        }
        settled.iter().for_each(|topic| audience.settled(topic));
    }
}
