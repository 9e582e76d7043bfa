//! A connection to a node that one client has for itself for a while: for WATCH, and for commands that wait.
//!
//! bb8 keeps those that are free. A connection goes back only when all it was asked is answered; on any doubt (a reply
//! that broke off, a client that left in the middle) it is closed, and its number goes to the [`Fences`], so that a
//! node that slept runs nothing of it after newer commands (law I3).

mod elements;

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bb8::{ErrorSink, ManageConnection, PooledConnection, RunError};
use tokio::sync::{Semaphore, watch};

use super::connect::unmade_within;
use super::exchange::ReplyTo;
use super::greeting::{Fences, Greeting, Identity, greet};
use super::link::ELSEWHERE;
use super::{Lane, Trouble};
use crate::error::Fate;
use crate::net::{Stream, Ways};
use crate::resp::reply::{ReplyScan, ReplyScanner};
use crate::scripts::Scripts;
use crate::settings::{NodeSpec, Timeouts};
use crate::stats::NodeStats;

/// Most connections of one pool. The bound on what clients may take is `limits.dedicated_connections`.
const MOST: u32 = 65_536;
/// Most connections that one pool opens at the same time.
const CONNECTS_AT_ONCE: usize = 32;
/// How long a connection may be kept without use.
const IDLE: Duration = Duration::from_secs(60);
/// A reply longer than this is passed on in pieces, in bytes.
const STREAM_BYTES: usize = 64 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Bytes of a long reply that may wait for the reader before more is read.
const AHEAD_BYTES: usize = 512 * 1024;

/// Why an answer did not come.
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    /// What is certain about the command.
    pub(crate) fate: Fate,
    /// In words for the client.
    pub(crate) why: String,
}

/// How long an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The node must show a sign of life within this time.
    Limited(Duration),
    /// As long as the node can be used at all: the command waits for something to happen.
    Unlimited,
}

/// Why [`Dedicated::gather`] gives up on a reply.
pub(crate) const TOO_LONG: &str = "its reply is too long";

/// Opens the connections of one pool.
pub(crate) struct Dialer {
    pub(crate) spec: Arc<NodeSpec>,
    pub(crate) stats: Arc<NodeStats>,
    pub(crate) fences: Fences,
    pub(crate) scripts: Arc<Scripts>,
    pub(crate) ways: Arc<Ways>,
    pub(crate) timeouts: Timeouts,
    pub(crate) lane: Lane,
    /// What the node is to call the connections, if anything.
    pub(crate) name: Option<&'static str>,
}

/// An open connection, in use or not.
pub(crate) struct Line {
    stream: Stream,
    stats: Arc<NodeStats>,
    fences: Fences,
    identity: Option<Identity>,
    /// When its greeting was begun, which fenced what had been given up by then.
    born: Instant,
    /// Something was asked and not wholly answered.
    doubtful: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.stats.connections_changed(-1);
        if self.doubtful {
            self.fences.add(self.identity.take(), Instant::now());
        }
    }
}

impl ManageConnection for Dialer {
    type Connection = Line;
    type Error = String;

    async fn connect(&self) -> Result<Line, String> {
        self.stats.connects.add(1);
        let born = Instant::now();
        let attempt = async {
            let stream = Stream::connect(&self.spec.address, &self.ways).await;
            let stream = stream.map_err(|error| error.to_string())?;
            let (fences, _) = self.fences.recent(born);
            let greeting = Greeting {
                credentials: &self.spec.credentials,
                name: self.name,
                lane: self.lane,
                fences: &fences,
                scripts: &self.scripts.all(),
                tracking: None,
            };
            let identity = greet(&stream, &greeting).await?.identity;
            Ok::<_, String>((stream, identity))
        };
        let limit = self.timeouts.connect;
        let made = tokio::time::timeout(limit, attempt).await.map_err(|_| unmade_within(limit, &self.spec));
        let (stream, identity) =
            made.flatten().inspect_err(|_| self.ways.masters.doubt(&self.spec.address))?;
        self.stats.connections_changed(1);
        let (stats, fences) = (Arc::clone(&self.stats), self.fences.clone());
        Ok(Line { stream, stats, fences, identity, born, doubtful: false })
    }

    /// Nothing may have come while nobody asked: neither bytes nor the end. Nor may another connection have been given up
    /// with commands unanswered: the node may yet run these, unless a new connection has it close that one first.
    async fn is_valid(&self, line: &mut Line) -> Result<(), String> {
        if self.fences.newest().is_some_and(|newest| newest >= line.born) {
            return Err("older than what was given up".into());
        }
        if line.stream.is_outdated() {
            return Err(ELSEWHERE.into());
        }
        let mut byte = [0];
        match line.stream.poll_read(&mut Context::from_waker(Waker::noop()), &mut byte) {
            Poll::Pending => Ok(()),
            Poll::Ready(_) => Err("closed by the node while it was free".into()),
        }
    }

    fn has_broken(&self, line: &mut Line) -> bool {
        line.doubtful
    }
}

/// Remembers why the last connect failed, for the client that waits for one.
#[derive(Debug, Clone, Default)]
struct LastError(Arc<Mutex<Option<String>>>);

impl ErrorSink<String> for LastError {
    fn sink(&self, error: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<String>> {
        Box::new(self.clone())
    }
}

/// The free connections of one worker to one node in one lane.
#[derive(Clone)]
pub(crate) struct Pool {
    pool: bb8::Pool<Dialer>,
    last_error: LastError,
    /// Leave to be among those for whom a connection is opened.
    turns: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(dialer: Dialer) -> Self {
        let last_error = LastError::default();
        let pool = bb8::Pool::builder()
            .max_size(MOST)
            .max_lifetime(None)
            .idle_timeout(IDLE)
            .connection_timeout(dialer.timeouts.connect)
            .retry_connection(false)
            .error_sink(last_error.boxed_clone())
            .build_unchecked(dialer);
        Self { pool, last_error, turns: Arc::new(Semaphore::new(CONNECTS_AT_ONCE)) }
    }

    /// Gives up at once when there is `trouble`, if it is told of it.
    pub(crate) async fn get(&self, mut trouble: Option<watch::Receiver<Trouble>>) -> Result<Dedicated, Lost> {
        let not_sent = |why: String| Lost { fate: Fate::NotSent, why };
        if let Some(why) = trouble.as_mut().and_then(|trouble| trouble.borrow_and_update().clone()) {
            return Err(not_sent(why.to_string()));
        }
        let line = async {
            // the pool's time begins with the turn, or a thousand who come at once would use up each other's
            let _turn = self.turns.acquire().await;
            self.pool.get_owned().await
        };
        let line = tokio::select! {
            line = line => line,
            why = told(&mut trouble) => return Err(not_sent(why)),
        };
        match line {
            Ok(line) => Ok(Dedicated { line, trouble, waits: false, only_reads: false, partial: Vec::new() }),
            Err(RunError::User(why)) => Err(not_sent(why)),
            Err(RunError::TimedOut) => {
                let known = self.last_error.0.lock().unwrap_or_else(PoisonError::into_inner).take();
                Err(not_sent(known.unwrap_or_else(|| "no connection in time".into())))
            }
        }
    }
}

/// The next trouble of the node, as soon as there is one.
async fn told(trouble: &mut Option<watch::Receiver<Trouble>>) -> String {
    let Some(trouble) = trouble else { return std::future::pending().await };
    match trouble.wait_for(Option::is_some).await {
        Ok(why) => why.as_deref().unwrap_or_default().to_owned(),
        Err(_) => "it left the topology".into(),
    }
}

/// See the head of this file.
pub(crate) struct Dedicated {
    line: PooledConnection<'static, Dialer>,
    /// What ends every wait for the node; `None` after [`Dedicated::outlast`].
    trouble: Option<watch::Receiver<Trouble>>,
    /// What was asked waits for something to happen, or is answered and lasts.
    waits: bool,
    /// What is asked changes nothing.
    only_reads: bool,
    /// Bytes of replies that were read and not passed on.
    partial: Vec<u8>,
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        let node_works = self.trouble.as_ref().is_some_and(|trouble| trouble.borrow().is_none());
        if self.line.doubtful && (self.only_reads || self.waits && node_works) {
            // a node that is awake forgets what waits together with its connection: no fence is needed, and a thousand
            // clients that leave at once would make as many; nor is one for what changes nothing
            self.line.identity = None;
        }
    }
}

impl Dedicated {
    /// What the node calls this connection (`CLIENT ID`), if it tells.
    pub(crate) fn id(&self) -> Option<i64> {
        self.line.identity.as_ref().map(Identity::id)
    }

    /// Looks whether a connection that was kept for a while can still be used.
    ///
    /// # Errors
    /// [`Lost`]: NOTSENT, as nothing was sent.
    pub(crate) fn check(&mut self) -> Result<(), Lost> {
        let elsewhere = || self.line.stream.is_outdated().then(|| ELSEWHERE.into());
        let known = self.trouble.as_ref().and_then(|trouble| trouble.borrow().clone()).or_else(elsewhere);
        let mut byte = [0];
        let came = self.line.stream.poll_read(&mut Context::from_waker(Waker::noop()), &mut byte);
        let why = match (known, came) {
            (None, Poll::Pending) => return Ok(()),
            (Some(why), _) => why.to_string(),
            (None, Poll::Ready(Err(error))) => error.to_string(),
            (None, Poll::Ready(Ok(_))) => "it closed the connection that watched the keys".into(),
        };
        self.line.doubtful = true;
        Err(Lost { fate: Fate::NotSent, why })
    }

    /// Nothing that is asked from now on, until the connection is given back, changes anything: the node need not be kept
    /// from running it late.
    pub(crate) fn only_reads(&mut self) {
        self.only_reads = true;
    }

    /// What has the node close this connection, if it tells how it knows it.
    pub(super) fn kill_words(&self) -> Option<[String; 6]> {
        self.line.identity.as_ref().map(Identity::kill_words)
    }

    /// Sends requests. Each of their replies must be read, then [`Dedicated::settle`] called, or the connection is
    /// closed when it is dropped.
    ///
    /// # Errors
    /// [`Lost`]: NOTSENT, as the last byte was not taken.
    pub(crate) async fn send(&mut self, mut bytes: &[u8], patience: Patience) -> Result<(), Lost> {
        self.line.doubtful = true;
        self.waits = patience == Patience::Unlimited;
        let not_sent = |why: String| Lost { fate: Fate::NotSent, why };
        while !bytes.is_empty() {
            match self.line.stream.try_write(bytes) {
                Ok(written) => {
                    self.line.stats.bytes_out.add(written as u64);
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let stream = &self.line.stream;
                    let ready = within(
                        patience,
                        (&mut self.trouble, stream),
                        poll_fn(|cx| stream.poll_write_ready(cx)),
                    );
                    ready.await.map_err(not_sent)?.map_err(|error| not_sent(error.to_string()))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(not_sent(error.to_string())),
            }
        }
        Ok(())
    }

    /// Waits until the next reply begins. Nothing is lost when the wait is broken off.
    ///
    /// # Errors
    /// [`Lost`]: UNKNOWN.
    pub(crate) async fn begins(&mut self, patience: Patience) -> Result<(), Lost> {
        while self.partial.is_empty() {
            self.read(patience).await?;
        }
        Ok(())
    }

    /// From now on neither that the node leaves the topology nor that it is down for others ends a wait: whoever calls
    /// this waits for an answer that is due, and has bounds of its own.
    pub(crate) fn outlast(&mut self) {
        self.trouble = None;
    }

    /// Reads the next reply and passes it to `to`: at once when it is short, in pieces and no faster than they are
    /// taken when it is long.
    ///
    /// # Errors
    /// [`Lost`]: UNKNOWN. Pieces may have been passed on already.
    pub(crate) async fn reply(&mut self, to: &impl ReplyTo, patience: Patience) -> Result<(), Lost> {
        let mut scanner = ReplyScanner::default();
        let mut scanned = 0;
        loop {
            match scanner.scan(&self.partial[scanned..]).map_err(|error| unknown(error.to_string()))? {
                ReplyScan::Complete(len) => {
                    let end = scanned + len;
                    to.reply(&self.partial[..end], true);
                    self.partial.drain(..end);
                    self.partial.shrink_to(STREAM_BYTES);
                    return Ok(());
                }
                ReplyScan::Partial(used) => scanned += used,
            }
            if scanned > STREAM_BYTES {
                to.reply(&self.partial[..scanned], false);
                self.partial.drain(..scanned);
                scanned = 0;
                // the reader's own bounds end this wait
                while to.backlog() > AHEAD_BYTES {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            self.read(patience).await?;
        }
    }

    /// Reads the next reply into memory.
    ///
    /// # Errors
    /// [`Lost`]: UNKNOWN; so too when it is longer than `most` bytes.
    pub(crate) async fn gather(&mut self, most: usize, patience: Patience) -> Result<Vec<u8>, Lost> {
        let mut scanner = ReplyScanner::default();
        let mut scanned = 0;
        loop {
            match scanner.scan(&self.partial[scanned..]).map_err(|error| unknown(error.to_string()))? {
                ReplyScan::Complete(len) => {
                    let rest = self.partial.split_off(scanned + len);
                    return Ok(std::mem::replace(&mut self.partial, rest));
                }
                ReplyScan::Partial(used) => scanned += used,
            }
            if self.partial.len() > most {
                return Err(unknown(TOO_LONG.into()));
            }
            self.read(patience).await?;
        }
    }

    /// Everything that was asked is answered and nothing of it lasts: another client may have the connection.
    pub(crate) fn settle(&mut self) {
        self.line.doubtful = !self.partial.is_empty();
    }

    /// Everything is answered, but something of it lasts (a watched key): the connection is closed unless it is settled
    /// later, and what lasts ends with it.
    pub(crate) fn taint(&mut self) {
        self.line.doubtful = true;
        self.waits = true;
    }

    async fn read(&mut self, patience: Patience) -> Result<(), Lost> {
        let mut buffer = [0; READ_BYTES];
        let stream = &self.line.stream;
        let read =
            within(patience, (&mut self.trouble, stream), poll_fn(|cx| stream.poll_read(cx, &mut buffer)));
        match read.await.map_err(unknown)? {
            Ok(0) => Err(unknown("it closed the connection".into())),
            Ok(len) => {
                self.line.stats.bytes_in.add(len as u64);
                self.partial.extend_from_slice(&buffer[..len]);
                Ok(())
            }
            Err(error) => Err(unknown(error.to_string())),
        }
    }
}

fn unknown(why: String) -> Lost {
    Lost { fate: Fate::Unknown, why }
}

/// Waits for `what` as long as patience lasts and the node can be used. Whoever gives up closes the connection, so
/// that nothing is read by another (law I1).
async fn within<R>(
    patience: Patience,
    (trouble, stream): (&mut Option<watch::Receiver<Trouble>>, &Stream),
    what: impl Future<Output = R>,
) -> Result<R, String> {
    let outlasts = trouble.is_none();
    let limited = async {
        match patience {
            Patience::Limited(limit) => {
                tokio::time::sleep(limit).await;
                limit
            }
            Patience::Unlimited => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = what => Ok(done),
        () = stream.moves(), if !outlasts => Err(ELSEWHERE.into()),
        why = told(trouble) => Err(why),
        limit = limited => Err(format!("no answer for {} s", limit.as_secs_f64())),
    }
}
