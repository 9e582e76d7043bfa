//! A command that a client runs on a connection to a node of its own.
//!
//! ```text
//!   dispatch ─► run: takes a slot, spawns the work ─► … ─► SlotRef::reply ─► the slot leaves, dispatch goes on
//! ```
//! Such a command begins when all before it are answered, and nothing is handled until it is answered itself, so that
//! order holds across two connections (law I2). Meanwhile the client is read into a small buffer, only to see its end.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

use super::session::Unusual;
use super::{Client, Inner, Reading, SlotRef};
use crate::error::Failure;
use crate::upstream::ReplyTo;
use crate::worker::Worker;

/// What is read of a client while its command runs, in bytes.
pub(super) const READ_AHEAD_BYTES: usize = 64 * 1024;

/// The answer to one connection too many.
pub(super) const TOO_MANY: &str =
    "ERR too many clients use a connection of their own at once (limits.dedicated_connections)";

/// Work in progress; dropped, it is broken off, and its connection closed.
#[derive(Debug)]
pub(super) struct Running {
    task: AbortHandle,
    /// Nobody wants the result any more when the client has ended its side.
    pub(super) ends_with_client: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Leave to use one connection of the client's own; given back when it is dropped.
pub(super) type Permit = OwnedSemaphorePermit;

/// Leave to use a connection, as long as fewer than `limits.dedicated_connections` are in use.
pub(super) fn permit(client: &Client) -> Option<Permit> {
    permits(&client.worker, 1)
}

/// As [`permit`], for several connections at once.
pub(super) fn permits(worker: &Worker, count: usize) -> Option<Permit> {
    let count = u32::try_from(count).ok()?;
    std::sync::Arc::clone(&worker.shared.dedicated).try_acquire_many_owned(count).ok()
}

/// Whether a client whose next command cannot be handled for long is read ahead, to see its end; and whether nobody
/// wants the result any more when it has ended its side.
fn ends_with_client(inner: &Inner) -> Option<bool> {
    match &inner.session.running {
        // once it is answered only the rest of its reply is to be taken
        Some(running) => Some(running.ends_with_client && !inner.pipeline.is_empty()),
        // the end of a pause is awaited for its own sake once all before it is answered and the answers are written
        None => {
            let answered = || inner.pipeline.is_empty() && inner.pipeline.unwritten().is_empty();
            inner.session.is(Unusual::Held).then(answered)
        }
    }
}

/// Whether a client that waits has ended its side behind more input than is read ahead; looked for now and then.
pub(super) fn has_left(client: &Client, inner: &Inner) -> bool {
    inner.pending.len() >= READ_AHEAD_BYTES
        && ends_with_client(inner) == Some(true)
        && client.stream.is_read_closed()
}

impl Client {
    /// While a command runs on a connection of its own, or waits for the end of a pause: looks whether the client is
    /// still there, and keeps a little of what it says.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Result<(), ()> {
        let mut inner = self.inner.borrow_mut();
        let Some(ends_with_client) = ends_with_client(&inner) else { return Ok(()) };
        while inner.reading == Reading::Open && inner.pending.len() < READ_AHEAD_BYTES {
            match self.stream.poll_read(cx, buffer) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => {
                    drop(inner);
                    self.note_tls_error(&error);
                    return Err(());
                }
                Poll::Ready(Ok(0)) if ends_with_client && !self.worker.waits.leave(inner.session.id) => {
                    return Err(());
                }
                Poll::Ready(Ok(0)) => inner.reading = Reading::Ended,
                Poll::Ready(Ok(len)) => {
                    self.worker.stats.client_bytes_in.add(len as u64);
                    inner.pending.extend_from_slice(&buffer[..len]);
                    // it may be whole by now: who goes on with it will see
                    inner.incomplete_since = None;
                }
            }
        }
        Ok(())
    }
}

/// Runs `work`, which must answer the slot that it is given. The caller has seen to it that nothing waits before it.
pub(super) fn run<F: Future<Output = ()> + 'static>(
    client: &Rc<Client>,
    inner: &mut Inner,
    cost: usize,
    ends_with_client: bool,
    work: impl FnOnce(SlotRef) -> F,
) {
    let number = inner.pipeline.wait(cost);
    let work = work(SlotRef { client: Rc::clone(client), number, part: 0 });
    let task = tokio::task::spawn_local(work).abort_handle();
    inner.session.running = Some(Running { task, ends_with_client });
    inner.session.hold();
}

/// Passes a reply on and remembers whether it is an error.
pub(super) struct Noted<'a> {
    pub(super) to: &'a SlotRef,
    pub(super) is_error: Cell<Option<bool>>,
}

impl ReplyTo for Noted<'_> {
    fn reply(&self, bytes: &[u8], last: bool) {
        if self.is_error.get().is_none() {
            self.is_error.set(bytes.first().map(|kind| *kind == b'-'));
        }
        self.to.reply(bytes, last);
    }

    fn backlog(&self) -> usize {
        self.to.backlog()
    }

    fn asker(&self) -> usize {
        self.to.asker()
    }

    fn lags(&self) {
        self.to.lags();
    }

    fn fail(&self, failure: Failure<'_>) {
        self.to.fail(failure);
    }
}
