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
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

use super::{Client, Inner, SlotRef};
use crate::command::Command;
use crate::error::{Failure, Fate};
use crate::stats::Outcome;
use crate::upstream::{Lane, Lost, Node, Patience, ReplyTo};

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
    std::sync::Arc::clone(&client.worker.shared.dedicated).try_acquire_owned().ok()
}

/// Whether a client that waits has ended its side behind more input than is read ahead; looked for now and then.
pub(super) fn has_left(client: &Client, inner: &Inner) -> bool {
    let waits = inner.session.running.as_ref().is_some_and(|running| running.ends_with_client);
    waits
        && inner.pending.len() >= READ_AHEAD_BYTES
        && !inner.pipeline.is_empty()
        && client.stream.is_read_closed()
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

/// Asks a node on a free connection and passes the reply on.
pub(super) async fn ask(
    node: &Node<SlotRef>,
    lane: Lane,
    command: &'static Command,
    frame: &[u8],
    patience: Patience,
    to: SlotRef,
) {
    let started = Instant::now();
    let noted = Noted { to: &to, is_error: Cell::new(None) };
    let result = async {
        let mut connection = node.dedicated(lane).await?;
        connection.send(frame, patience).await?;
        connection.reply(&noted, patience).await?;
        connection.settle();
        Ok::<_, Lost>(())
    };
    let result = result.await;
    let outcome = match &result {
        Ok(()) if noted.is_error.get() == Some(true) => Outcome::Error,
        Ok(()) => Outcome::Ok,
        Err(Lost { fate: Fate::NotSent, .. }) => Outcome::NotSent,
        Err(Lost { fate: Fate::Unknown, .. }) => Outcome::Unknown,
    };
    node.stats.commands.count(command, outcome);
    match result {
        // a command that waited says nothing about the node's speed
        Ok(()) if patience == Patience::Unlimited => {}
        Ok(()) => node.stats.seconds.observe(started.elapsed()),
        Err(Lost { fate, why }) => to.fail(Failure { fate, node: &node.spec, why: &why }),
    }
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

    fn lags(&self) {
        self.to.lags();
    }

    fn fail(&self, failure: Failure<'_>) {
        self.to.fail(failure);
    }
}
