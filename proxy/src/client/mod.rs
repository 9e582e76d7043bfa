//! A connection from an application: its task reads and cuts commands, the end of the turn writes replies.
//!
//! ```text
//!   poll ─► read into the worker's buffer ─► scan ─► session::dispatch ─► Link / local answer
//!                         └ rest of an unfinished command ─► pending
//!   SlotRef::reply ─► pipeline ─► dirty ─► (end of turn) flush
//! ```
//! An idle client owns no buffer. Reading stops while the pipeline or the replies are full: that is the
//! back-pressure (law I6). A client that is gone only marks itself closed; what is in flight for it is read and
//! dropped by whoever has it (law I1).

mod acl;
mod again;
mod all_nodes;
mod blocking;
mod bounds;
mod client_commands;
mod emulate;
mod exclusive;
mod hub;
mod identity;
mod info;
mod keys;
mod large_values;
mod leaving;
mod local;
mod messages;
mod monitor;
mod moving;
mod near;
mod new_commands;
pub(crate) mod pipeline;
mod running_scripts;
mod session;
mod slot;
mod spare;
mod split;
mod subscribing;
mod subscriptions;
mod tracking;
mod transaction;
mod watched;
mod window;
mod workers;
mod writing;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::net::{Endpoint, Stream};
use crate::resp::inline;
use crate::resp::request::{RequestBounds, RequestError, RequestScanner, Scan};
use crate::resp::{Args, Span};
use crate::turn;
use crate::upstream::Link;
use crate::worker::Worker;
pub(crate) use acl::users_changed;
pub(crate) use blocking::Waits;
use bounds::Leave;
pub(crate) use client_commands::Pause;
pub(crate) use hub::Hub;
pub(crate) use monitor::Monitors;
pub(crate) use near::Near;
use pipeline::Pipeline;
use session::{Session, Unusual};
pub(crate) use slot::SlotRef;
pub(crate) use spare::Spare;
pub(crate) use split::Parts;
pub(crate) use tracking::follow as caches_follow;
pub(crate) use watched::count_keys;

/// A reply of so many bytes is worth a write of its own, which saves a copy.
const DIRECT_BYTES: usize = 8 * 1024;
/// Replies that are held behind others are counted at the end of the turn from so many bytes on.
const UNTOLD_BYTES: usize = 16 * 1024;
/// What is kept of the memory of a large command when a small one follows it, in bytes.
const KEEP_PENDING_BYTES: usize = 64 * 1024;
/// A client with fewer bytes of replies to take has caught up.
const CAUGHT_UP_BYTES: usize = 256 * 1024;
/// How long a closed connection's last bytes may take to be read by the other end.
const LINGER: Duration = Duration::from_secs(1);

/// Whether and why no more commands are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Commands are read.
    Open,
    /// The client has ended its side, or the proxy drains: what was read is answered, then the end.
    Ended,
    /// `QUIT` or broken input: what comes before is answered, anything after is ignored, then the end.
    Refused,
}

/// See the head of this file.
pub(crate) struct Client {
    worker: Rc<Worker>,
    stream: Stream,
    inner: RefCell<Inner>,
    waker: RefCell<Option<Waker>>,
    dirty: Cell<bool>,
    /// What it is to be sent has waited a turn for more, and goes now.
    has_waited: Cell<bool>,
    closed: Cell<bool>,
    /// Whether anything was read since someone looked.
    active: Cell<bool>,
    /// Bytes of memory held, as the worker was told.
    held: Cell<usize>,
    /// It took a long reply so slowly that nobody waits for it until it has caught up.
    lags: Cell<bool>,
    /// What is to be written may hold no reply, but what a node has said beside replies.
    says_no_reply: Cell<bool>,
    /// Since when it makes a TLS handshake, or a record of it has not come to its end.
    in_part_since: Cell<Option<Instant>>,
    /// When something was last read, to half a second.
    last_seen: Cell<Instant>,
}

struct Inner {
    session: Session,
    pipeline: Pipeline,
    /// The beginning of a command whose end has not come, and what was read beyond a full pipeline.
    pending: Vec<u8>,
    scanner: RequestScanner,
    reading: Reading,
    /// The kernel takes no more bytes; the task waits until it does.
    blocked: bool,
    /// Since when replies wait without the client taking a byte.
    stuck_since: Option<Instant>,
    /// Since when `pending` holds the beginning of a command and nothing else.
    incomplete_since: Option<Instant>,
    /// Reading has stopped for want of room.
    paused: bool,
    /// How many bytes of replies may wait before reading stops: `limits.reply_soft_bytes`, or more for one that writes all
    /// before it reads ([`Client::check`]).
    reply_room: usize,
    /// Length of `pending` while commands are cut from it, else 0.
    lent: usize,
    /// Who takes `pending` over, and how long the command is that fills most of it.
    taken_by: Option<(Rc<Link<SlotRef>>, usize)>,
}

impl Client {
    /// Serves one connection until it ends.
    pub(crate) fn start(worker: Rc<Worker>, stream: Stream, id: u64, peer: Endpoint) {
        let session = Session::new(id, peer, &worker);
        let reply_room = worker.shared.settings.limits.reply_soft_bytes;
        let client = Rc::new(Self {
            inner: RefCell::new(Inner {
                session,
                pipeline: Pipeline::default(),
                pending: Vec::new(),
                scanner: RequestScanner::default(),
                reading: Reading::Open,
                blocked: false,
                stuck_since: None,
                incomplete_since: None,
                paused: false,
                reply_room,
                lent: 0,
                taken_by: None,
            }),
            waker: RefCell::default(),
            dirty: Cell::new(false),
            has_waited: Cell::new(false),
            closed: Cell::new(false),
            active: Cell::new(true),
            held: Cell::new(0),
            lags: Cell::new(false),
            says_no_reply: Cell::new(false),
            in_part_since: Cell::new(stream.is_shaking_hands().then(|| worker.turn.now())),
            last_seen: Cell::new(worker.turn.now()),
            stream,
            worker,
        });
        client.worker.clients.borrow_mut().insert(id, Rc::clone(&client));
        tokio::task::spawn_local(client.run(id));
    }

    async fn run(self: Rc<Self>, id: u64) {
        // also when the task panics: nobody but this client is to notice
        let _leave = Leave { client: &self, id };
        poll_fn(|cx| self.poll(cx)).await;
        self.hears_no_more();
        let finished = !self.closed.replace(true) && self.is_finished();
        if finished {
            self.linger().await;
        }
    }

    /// Nothing more is said to it, however long it takes to close.
    fn hears_no_more(&self) {
        let session = &mut self.inner.borrow_mut().session;
        subscriptions::leave_all(self, session);
        monitor::leave(&self.worker, session);
        session.track(None);
    }

    /// Says that nothing more comes and waits, a little, for the other end to read what was written: a close
    /// with unread input would make the kernel throw the last replies away.
    async fn linger(&self) {
        self.stream.shutdown_write();
        let end = poll_fn(|cx| {
            let mut buffer = self.worker.client_buffer.borrow_mut();
            for _ in 0..16 {
                match self.stream.poll_read(cx, &mut buffer) {
                    Poll::Ready(Ok(read)) if read > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            turn::go_on_in_the_next(cx);
            Poll::Pending
        });
        // a client that goes on sending is not waited for
        let _ = tokio::time::timeout(LINGER, end).await;
    }

    /// Ends the connection without another word.
    fn close(&self) {
        self.closed.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn mark_dirty(self: &Rc<Self>) {
        if !self.dirty.replace(true) {
            self.worker.dirty_clients.borrow_mut().push(Rc::clone(self));
            self.worker.turn.schedule();
        }
    }

    /// Reads and handles what there is; ready when the connection is to be closed.
    fn poll(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        if self.closed.get() {
            return Poll::Ready(());
        }
        if self.poll_blocked(cx).is_err() {
            return Poll::Ready(());
        }
        if !self.inner.borrow().pending.is_empty() {
            self.resume();
        }
        if self.poll_commands(cx).is_err() || self.closed.get() {
            return Poll::Ready(());
        }
        if self.is_finished() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether everything is answered and nothing more will be read.
    fn is_finished(&self) -> bool {
        let inner = self.inner.borrow();
        let answered = inner.pipeline.is_empty() && inner.pipeline.unwritten().is_empty();
        let handled = match inner.reading {
            Reading::Open => return false,
            // a command without its end will never be one, and nobody waits for the end of a pause
            Reading::Ended => {
                inner.pending.is_empty()
                    || inner.incomplete_since.is_some()
                    || inner.session.is(Unusual::Held)
            }
            Reading::Refused => true,
        };
        answered && handled
    }

    fn poll_blocked(&self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.inner.borrow().blocked {
            match self.stream.poll_write_ready(cx) {
                Poll::Pending => break,
                Poll::Ready(ready) => ready?,
            }
            self.inner.borrow_mut().blocked = false;
            self.write()?;
        }
        Ok(())
    }

    /// Reads as long as there is something and room for it, but not for ever: others wait as well.
    fn poll_commands(self: &Rc<Self>, cx: &mut Context<'_>) -> Result<(), ()> {
        let mut buffer = self.worker.client_buffer.borrow_mut();
        if self.stream.is_shaking_hands() && !self.worker.turn.affords_costly() {
            // a crowd that comes at once does not hold up those who are here
            turn::go_on_in_the_next(cx);
            return Ok(());
        }
        for _ in 0..4 {
            if !self.has_room() {
                self.inner.borrow_mut().paused = true;
                return self.poll_end(cx, &mut buffer);
            }
            match self.stream.poll_read(cx, &mut buffer) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => {
                    self.note_tls_error(&error);
                    return Err(());
                }
                Poll::Ready(Ok(0)) => {
                    let mut inner = self.inner.borrow_mut();
                    if inner.reading == Reading::Open {
                        inner.reading = Reading::Ended;
                    }
                    return Ok(());
                }
                Poll::Ready(Ok(len)) => {
                    self.worker.stats.client_bytes_in.add(len as u64);
                    self.active.set(true);
                    self.received(&buffer[..len]);
                }
            }
        }
        turn::go_on_in_the_next(cx);
        Ok(())
    }

    /// Whether another command may be read.
    fn has_room(&self) -> bool {
        self.worker.memory.admits(self.held.get()) && self.may_read(&self.inner.borrow())
    }

    /// Whether nothing of the client's own stands against reading.
    fn may_read(&self, inner: &Inner) -> bool {
        let whole_command_waits = !inner.pending.is_empty() && inner.incomplete_since.is_none();
        inner.reading == Reading::Open && !whole_command_waits && self.may_handle(inner)
    }

    #[inline]
    fn may_handle(&self, inner: &Inner) -> bool {
        let limits = &self.worker.shared.settings.limits;
        inner.pipeline.len() < limits.pipeline_commands.min(inner.pipeline.most())
            && inner.pipeline.waiting_bytes() < limits.pipeline_bytes
            && inner.pipeline.reply_bytes() < inner.reply_room
            && (!inner.session.waits() || inner.session.waits_no_longer(inner.pipeline.is_empty()))
    }

    /// Handles bytes as they came from the kernel; what is no whole command yet stays in `pending`.
    fn received(self: &Rc<Self>, bytes: &[u8]) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.pending.is_empty() {
            let used = self.handle(inner, bytes);
            if used < bytes.len() {
                inner.pending.extend_from_slice(&bytes[used..]);
                self.account(inner);
            }
        } else {
            inner.pending.extend_from_slice(bytes);
            self.handle_pending(inner);
            self.account(inner);
        }
        if inner.reading == Reading::Refused {
            inner.pending = Vec::new();
        }
    }

    /// Goes on with what was left in `pending` when the pipeline was full.
    fn resume(self: &Rc<Self>) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.incomplete_since.is_none() && self.may_handle(inner) {
            self.handle_pending(inner);
            self.account(inner);
        }
    }

    fn handle_pending(self: &Rc<Self>, inner: &mut Inner) {
        let mut pending = std::mem::take(&mut inner.pending);
        inner.lent = pending.len();
        let mut used = self.handle(inner, &pending);
        while let Some((link, len)) = inner.taken_by.take() {
            pending.drain(..used);
            let rest = pending.split_off(len);
            link.supply(std::mem::replace(&mut pending, rest));
            inner.lent = pending.len();
            used = self.handle(inner, &pending);
        }
        inner.lent = 0;
        inner.pending = pending;
        if used == inner.pending.len() {
            inner.pending = Vec::new();
        } else {
            inner.pending.drain(..used);
            if inner.pending.len() < inner.pending.capacity() / 4 {
                inner.pending.shrink_to(KEEP_PENDING_BYTES);
            }
        }
    }

    /// Cuts and dispatches commands; returns how many bytes they took.
    fn handle(self: &Rc<Self>, inner: &mut Inner, bytes: &[u8]) -> usize {
        let spans = &mut *self.worker.spans.borrow_mut();
        let mut used = 0;
        let incomplete_since = inner.incomplete_since.take();
        while used < bytes.len() && inner.reading != Reading::Refused && self.may_handle(inner) {
            let bounds = RequestBounds {
                authenticated: inner.session.is_authenticated(),
                command_bytes: self.worker.shared.settings.limits.command_bytes,
            };
            match inner.scanner.scan(&bytes[used..], bounds, spans) {
                Ok(Scan::Request(len)) => {
                    if !session::dispatch(self, inner, Args::new(&bytes[used..used + len], spans)) {
                        break;
                    }
                    used += len;
                }
                Ok(Scan::Nothing(len)) => used += len,
                Ok(Scan::Inline(len)) => match self.handle_inline(inner, &bytes[used..used + len]) {
                    Ok(true) => used += len,
                    Ok(false) => break,
                    Err(error) => self.refuse(inner, error),
                },
                // a hello of TLS need not hold a line break, and whoever sent it waits for an answer
                Ok(Scan::Incomplete) if inline::is_tls(&bytes[used..]) => self.refuse_protocol(inner),
                Ok(Scan::Incomplete) => {
                    let now = self.worker.turn.now();
                    inner.incomplete_since = Some(incomplete_since.filter(|_| used == 0).unwrap_or(now));
                    break;
                }
                Err(error) => self.refuse(inner, error),
            }
        }
        if spans.capacity() > 64 * 1024 {
            *spans = Vec::new();
        }
        if inner.reading == Reading::Refused { bytes.len() } else { used }
    }

    /// Handles a typed line; false when it must wait for those before it.
    fn handle_inline(self: &Rc<Self>, inner: &mut Inner, line: &[u8]) -> Result<bool, RequestError> {
        let mut spans: Vec<Span> = Vec::new();
        let words = inline::split(line)?;
        if inline::is_http(&words) || inline::is_tls(line) {
            self.refuse_protocol(inner);
            return Ok(true);
        }
        if words.is_empty() {
            return Ok(true);
        }
        let mut frame = Vec::new();
        inline::encode_request(&words, &mut frame);
        let bounds = RequestBounds { authenticated: true, command_bytes: usize::MAX };
        RequestScanner::default().scan(&frame, bounds, &mut spans)?;
        // the frame does not lie in `pending`, so that nobody can take it over with it
        let lent = std::mem::take(&mut inner.lent);
        let handled = session::dispatch(self, inner, Args::new(&frame, &spans));
        inner.lent = lent;
        Ok(handled)
    }

    /// Tells the client why its input is not understood; nothing after it is read.
    fn refuse(self: &Rc<Self>, inner: &mut Inner, error: RequestError) {
        inner.reading = Reading::Refused;
        if !inner.session.is(Unusual::Silent) {
            self.answer(inner, |out| error.write_reply(out));
        }
    }

    /// Adds a reply that is ready at once.
    fn answer(self: &Rc<Self>, inner: &mut Inner, write: impl FnOnce(&mut Vec<u8>)) {
        inner.pipeline.answer(&mut self.worker.spare.borrow_mut(), write);
        self.answered();
    }

    /// A reply that was ready at once was added.
    fn answered(self: &Rc<Self>) {
        self.worker.stats.replies.add(1);
        self.mark_dirty();
    }
}
