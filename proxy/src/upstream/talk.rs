//! A connection of a worker's own to a node, beside those that carry commands, and the task that owns it.
//!
//! ```text
//!   Connecting ──greeted──► Up ──lost──► Down ──back-off──► Up
//!        └──────refused──────────────────▲        nobody waits for a node that is down
//! ```
//! What is said on it is a [`Talk`]'s business, which does no IO.

use std::cell::{Cell, RefCell, RefMut};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::asking::Asking;
use super::backoff::Backoff;
use super::connect::unmade_within;
use super::greeting::{Greeted, Greeting, greet};
use super::link::ELSEWHERE;
use super::{Lane, Paces};
use crate::net::{Stream, Ways};
use crate::resp::{Protocol, encode};
use crate::settings::{NodeSpec, Timeouts};
use crate::stats::NodeStats;
use crate::turn;

/// How long a node may be silent before it is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(1);
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// What is said on a connection.
pub(super) trait Talk: 'static {
    /// What the node is asked for.
    type Ask;

    /// Which protocol is spoken.
    const PROTOCOL: Protocol;
    /// The request that has the node tell of keys, if it is to.
    const TRACKING: Option<&[u8]> = None;
    /// Whether it is there.
    const PROBE: Self::Ask;

    /// The connection.
    fn wire(&self) -> &Wire;
    /// It is up: what is to be said first is said anew.
    fn arrived(&self);
    /// The node said something.
    ///
    /// # Errors
    /// Why the connection must end.
    fn received(&self, bytes: &[u8]) -> Result<(), String>;
    /// What was asked for and is not answered yet.
    fn asking(&self) -> RefMut<'_, Asking<Self::Ask>>;
    /// The connection is lost, or could not be made; before that it stood so.
    fn lost(&self, before: Standing, why: &str);
}

/// What such connections of a worker share.
#[derive(Debug, Clone)]
pub(crate) struct WireContext {
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

/// How a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Connecting,
    Up,
    Down,
}

/// See the head of this file.
pub(super) struct Wire {
    pub(super) spec: Arc<NodeSpec>,
    pub(super) stats: Arc<NodeStats>,
    pub(super) context: WireContext,
    standing: Cell<Standing>,
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

impl Wire {
    pub(super) fn new(spec: Arc<NodeSpec>, stats: Arc<NodeStats>, context: WireContext) -> Self {
        Self {
            spec,
            stats,
            context,
            standing: Cell::new(Standing::Connecting),
            stalled: Cell::new(false),
            waker: RefCell::default(),
            task: RefCell::default(),
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.get()
    }

    /// Whether this is how the topology now describes the node.
    pub(super) fn serves(&self, spec: &NodeSpec) -> bool {
        self.spec.name == spec.name
            && self.spec.address == spec.address
            && self.spec.credentials == spec.credentials
    }

    /// There is something to write, or to look at.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// The node seems to have stopped: the task looks once more and ends the connection.
    pub(super) fn suspect(&self) {
        self.stalled.set(true);
        self.wake();
    }

    /// Ends the connection for good. Returns how it stood.
    pub(super) fn close(&self) -> Standing {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
        self.standing.replace(Standing::Down)
    }
}

/// Begins to connect. Ends with [`Wire::close`].
pub(super) fn start<T: Talk>(talk: &Rc<T>) {
    let task = tokio::task::spawn_local(run(Rc::clone(talk)));
    *talk.wire().task.borrow_mut() = Some(task.abort_handle());
}

/// Asks a node that is silent whether it is there, gives up one that does not answer.
pub(super) fn check<T: Talk>(talk: &T, now: Instant) {
    let wire = talk.wire();
    if wire.standing() != Standing::Up {
        return;
    }
    let mut asking = talk.asking();
    if asking.is_silent(now, SILENCE) {
        asking.push(T::PROBE, now, |out| encode::request(out, &["PING"]));
        wire.wake();
    }
    if asking.is_stalled(now, wire.context.timeouts.operation) {
        wire.suspect();
    }
}

async fn run<T: Talk>(talk: Rc<T>) {
    let wire = talk.wire();
    let mut backoff = Backoff::new(wire.context.sharers, wire.context.paces.of(&wire.spec.address));
    loop {
        let pause = tokio::time::sleep(backoff.pause(Instant::now()));
        tokio::select! {
            () = pause => {}
            () = backoff.answers() => {}
        }
        while let Err(longer) = backoff.begin(Instant::now()) {
            tokio::time::sleep(longer).await;
        }
        let why = match connect::<T>(wire).await {
            Err(why) => {
                backoff.failed();
                why
            }
            Ok((stream, rest)) => {
                backoff.succeeded();
                let why = tokio::select! {
                    biased;
                    why = converse(&*talk, &stream, &rest) => why,
                    () = stream.moves() => ELSEWHERE.into(),
                };
                drop(stream);
                why
            }
        };
        talk.lost(wire.standing.replace(Standing::Down), &why);
    }
}

/// The connection, and what the node has said since it was greeted.
async fn connect<T: Talk>(wire: &Wire) -> Result<(Stream, Vec<u8>), String> {
    let Wire { spec, stats, context, .. } = wire;
    stats.connects.add(1);
    let attempt = async {
        let stream = Stream::connect(&spec.address, &context.ways).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let greeting = Greeting {
            credentials: &spec.credentials,
            name: None,
            lane: Lane { protocol: T::PROTOCOL, ..Lane::default() },
            fences: &[],
            scripts: &[],
            tracking: T::TRACKING,
        };
        let Greeted { rest, .. } = greet(&stream, &greeting).await?;
        Ok((stream, rest))
    };
    let limit = context.timeouts.connect;
    let made = tokio::time::timeout(limit, attempt).await.map_err(|_| unmade_within(limit, spec));
    made.flatten().inspect_err(|_| context.ways.masters.doubt(&spec.address))
}

/// Goes on until the connection ends; returns why it did.
async fn converse<T: Talk>(talk: &T, stream: &Stream, rest: &[u8]) -> String {
    let wire = talk.wire();
    wire.stats.connections_changed(1);
    let _open = Open(&wire.stats);
    wire.standing.set(Standing::Up);
    wire.stalled.set(false);
    talk.arrived();
    if let Err(why) = talk.received(rest) {
        return why;
    }
    let mut buffer = vec![0; READ_BYTES];
    poll_fn(|cx| poll_converse(talk, cx, stream, &mut buffer)).await
}

fn poll_converse<T: Talk>(
    talk: &T,
    cx: &mut Context<'_>,
    stream: &Stream,
    buffer: &mut [u8],
) -> Poll<String> {
    let wire = talk.wire();
    {
        let mut waker = wire.waker.borrow_mut();
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
            // what a former master says may be older than what its successor has taken
            Poll::Ready(Ok(_)) if stream.is_outdated() => break,
            Poll::Ready(Ok(len)) => {
                wire.stats.bytes_in.add(len as u64);
                if let Err(why) = talk.received(&buffer[..len]) {
                    return Poll::Ready(why);
                }
            }
        }
    }
    if stream.is_outdated() {
        return Poll::Ready(ELSEWHERE.into());
    }
    let limit = wire.context.timeouts.operation;
    // what came in the meantime has cleared the suspicion
    if wire.stalled.take() && talk.asking().is_stalled(Instant::now(), limit) {
        return Poll::Ready(format!("no answer for {} s", limit.as_secs_f64()));
    }
    match poll_write(talk, cx, stream) {
        Err(error) => Poll::Ready(error.to_string()),
        Ok(()) => Poll::Pending,
    }
}

fn poll_write<T: Talk>(talk: &T, cx: &mut Context<'_>, stream: &Stream) -> io::Result<()> {
    loop {
        let mut asking = talk.asking();
        if asking.unwritten().is_empty() {
            return Ok(());
        }
        match stream.try_write(asking.unwritten()) {
            Ok(written) => {
                talk.wire().stats.bytes_out.add(written as u64);
                asking.wrote(written);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match stream.poll_write_ready(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(ready) => ready?,
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
