//! WATCH, and the EXEC that follows it, on a connection of the client's own.
//!
//! ```text
//!   WATCH k ──► own connection, until its +OK          GET k, … ──► shared, as ever
//!   EXEC, all before it answered ──► own connection: MULTI … EXEC at once ──► clean, back to the pool
//! ```
//! What ends the watching otherwise (UNWATCH, DISCARD, RESET, the client's end) has the connection say UNWATCH in the
//! background; it goes back to the pool when that is answered, and is closed on any doubt.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use super::Watch;
use super::queue::{Queue, each_request};
use crate::client::exclusive::{Noted, Permit, TOO_MANY, permit, run};
use crate::client::moving::{self, Gate};
use crate::client::session::refuse;
use crate::client::{Client, Inner, SlotRef};
use crate::command::{self, Command};
use crate::error::{self, Failure, Fate};
use crate::resp::Args;
use crate::route::Scratch;
use crate::route::together::Together;
use crate::stats::Outcome;
use crate::topology::{Owner, Topology};
use crate::upstream::{Dedicated, Lane, Lost, Node, Patience, ReplyTo, error_line, explained, refusal};
use crate::worker::Routes;

/// Longest reply to WATCH and UNWATCH, and to MULTI and what is queued, in bytes.
const SHORT_BYTES: usize = 64 * 1024;
const UNWATCH: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";
/// Watched keys beyond the bound.
const TOO_LARGE: &str = "ERR too many keys are watched (limits.command_bytes)";
/// WATCH on two connections.
pub(super) const OTHER_LANE: &str =
    "ERR the database or the protocol was changed after WATCH; UNWATCH first, then WATCH again";

/// Keys that a connection to their node watches.
pub(super) struct Watching {
    connection: Dedicated,
    node: Rc<Node<SlotRef>>,
    pub(super) lane: Lane,
    /// The WATCH commands, for the keys in them.
    requests: Vec<u8>,
    /// The topology by which the keys lie on the node.
    epoch: u64,
    _permit: Permit,
}

impl std::fmt::Debug for Watching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watching").field("lane", &self.lane).finish_non_exhaustive()
    }
}

impl Watching {
    /// Bytes that the keys take up.
    pub(super) fn bytes(&self) -> usize {
        self.requests.len()
    }

    /// Whether all keys still lie on the node that watches them.
    pub(super) fn holds(&mut self, routes: &Routes, scratch: &mut Scratch) -> bool {
        if self.epoch == routes.topology.epoch() {
            return true;
        }
        let mut together = Together::default();
        let placed = each_request(&self.requests, |args| {
            let command = command::resolve(&args).map_err(|error| error.to_string())?;
            together.add(&routes.topology, command, &args, scratch)
        });
        // one that was on its way may have been written where nobody watched it, also when it is called back
        let node =
            together.fixed().filter(|_| placed.is_ok() && !self.is_on_its_way(&routes.topology, scratch));
        let holds = node.is_some_and(|node| Rc::ptr_eq(&routes.node(node), &self.node));
        if holds {
            self.epoch = routes.topology.epoch();
        }
        holds
    }

    /// Whether a watched key has moved, or is to move, with the change that made this topology.
    fn is_on_its_way(&self, topology: &Topology, scratch: &mut Scratch) -> bool {
        let mut moves = false;
        let looked_at = each_request(&self.requests, |args| {
            let command = command::resolve(&args).map_err(drop)?;
            moves |= command::key_positions(command, &args, &mut scratch.keys).is_err()
                || scratch.keys.iter().any(|at| {
                    let key = args.get(*at as usize).unwrap_or_default();
                    matches!(topology.owner(key), Owner::Moving { .. })
                });
            Ok::<(), ()>(())
        });
        moves || looked_at.is_err()
    }

    /// Whether commands that lie `together` can run on the connection that watches.
    pub(super) fn watches_at(&self, routes: &Routes, together: Together) -> bool {
        together.fixed().is_none_or(|node| Rc::ptr_eq(&routes.node(node), &self.node))
    }

    /// Forgets the keys, so that the connection may serve others.
    pub(super) fn release(mut self, patience: Patience) {
        tokio::task::spawn_local(async move {
            let answer = async {
                self.connection.check()?;
                self.connection.send(UNWATCH, patience).await?;
                self.connection.gather(SHORT_BYTES, patience).await
            };
            // on any other answer the connection is closed
            if answer.await.is_ok_and(|reply| reply == b"+OK\r\n") {
                self.connection.settle();
            }
        });
    }
}

/// Handles WATCH outside of MULTI; false when it must wait for those before it.
pub(super) fn watch(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    if !inner.pipeline.is_empty() {
        inner.session.hold();
        return false;
    }
    {
        let routes = client.worker.routes();
        let scratch = &mut *client.worker.scratch.borrow_mut();
        match moving::gate(client, inner, &routes.topology, command, &args, scratch) {
            Gate::Open => {}
            Gate::Waits => return false,
            Gate::Refused(text) => {
                refuse(client, inner, command, &text);
                return true;
            }
        }
    }
    let (node, epoch) = match prepare(client, inner, command, args) {
        Ok(Some(found)) => found,
        // the next EXEC will answer nil whatever else is watched
        Ok(None) => {
            super::answer_ok(client, inner, command);
            return true;
        }
        Err(text) => {
            refuse(client, inner, command, &text);
            return true;
        }
    };
    // the connection that watches already, or leave to take one
    let held = match std::mem::take(&mut inner.session.transaction.watch) {
        Watch::Keys(watching) => Ok(watching),
        _ => match permit(client) {
            Some(permit) => Err(permit),
            None => {
                refuse(client, inner, command, TOO_MANY);
                return true;
            }
        },
    };
    let request = args.frame().to_vec();
    let lane = inner.session.own_lane();
    let patience = Patience::Limited(client.worker.shared.settings.timeouts.operation);
    run(client, inner, request.len(), false, |to| async move {
        let began = held.is_ok();
        let started = Instant::now();
        let asked = async {
            let mut watching = match held {
                Ok(watching) => watching,
                Err(permit) => {
                    let (connection, node) = (node.dedicated(lane).await?, Rc::clone(&node));
                    let requests = Vec::new();
                    Box::new(Watching { connection, node, lane, requests, epoch, _permit: permit })
                }
            };
            watching.connection.check()?;
            watching.connection.send(&request, patience).await?;
            let reply = watching.connection.gather(SHORT_BYTES, patience).await?;
            Ok::<_, Lost>((watching, reply))
        };
        let result = asked.await;
        count(&node, command, started, result.as_ref().map(|(_, reply)| reply.starts_with(b"-")));
        let set = |watch| to.client.inner.borrow_mut().session.transaction.watch = watch;
        match result {
            Ok((mut watching, reply)) => {
                if reply == b"+OK\r\n" {
                    watching.requests.extend_from_slice(&request);
                    watching.connection.taint();
                }
                if watching.requests.is_empty() {
                    watching.release(patience);
                } else {
                    set(Watch::Keys(watching));
                }
                to.reply(&reply, true);
            }
            Err(Lost { fate, why }) => {
                // what was watched before is no longer
                set(if began { Watch::Lost } else { Watch::Nothing });
                to.fail(Failure { fate, node: &node.spec, why: &why });
            }
        }
    });
    true
}

/// The node of keys, and the number of the topology that says so.
type Place = (Rc<Node<SlotRef>>, u64);

/// Where the keys are to be watched; `None` when an earlier watch is lost already.
fn prepare(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> Result<Option<Place>, String> {
    let routes = client.worker.routes();
    let scratch = &mut *client.worker.scratch.borrow_mut();
    let lane = inner.session.own_lane();
    inner.session.follows(routes.topology.epoch(), true);
    let transaction = &mut inner.session.transaction;
    transaction.look_at(&routes, scratch);
    let mut together = Together::default();
    together.add(&routes.topology, command, &args, scratch)?;
    let node = together.fixed().map(|node| routes.node(node)).ok_or(error::CROSSSLOT)?;
    match &transaction.watch {
        Watch::Lost => return Ok(None),
        Watch::Keys(watching) if watching.lane != lane => return Err(OTHER_LANE.into()),
        Watch::Keys(watching) if !Rc::ptr_eq(&watching.node, &node) => return Err(error::CROSSSLOT.into()),
        Watch::Keys(watching) => {
            let limit = client.worker.shared.settings.limits.command_bytes;
            if watching.requests.len() + args.frame().len() > limit {
                return Err(TOO_LARGE.into());
            }
        }
        Watch::Nothing => {}
    }
    Ok(Some((node, routes.topology.epoch())))
}

/// Sends a whole transaction on the connection that watches, by the topology of `epoch`. Nothing of this client waits
/// before it.
pub(super) fn exec(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    mut watching: Box<Watching>,
    queue: Queue,
    epoch: u64,
) {
    let commands = queue.commands();
    let block = queue.into_block();
    let running = Cell::new(Some(client.worker.epochs.begin(epoch)));
    let patience = Patience::Limited(client.worker.shared.settings.timeouts.operation);
    run(client, inner, block.len(), false, |to| async move {
        let started = Instant::now();
        let noted = Noted { to: &to, is_error: Cell::new(None) };
        let connection = &mut watching.connection;
        let result = async {
            connection.check()?;
            connection.send(&block, patience).await?;
            // as on a shared connection, a node that leaves the topology answers what it was asked
            connection.outlast();
            let begun = connection.gather(SHORT_BYTES, patience).await?;
            if begun != b"+OK\r\n" {
                return Err(Lost { fate: Fate::Unknown, why: refusal(&begun) });
            }
            let mut error = None;
            for _ in 0..commands {
                let queued = connection.gather(SHORT_BYTES, patience).await?;
                error = error.or_else(|| error_line(&queued));
            }
            // with the first byte of its reply it has run, however slowly the client takes it
            connection.begins(patience).await?;
            running.take();
            if error.is_none() {
                return connection.reply(&noted, patience).await;
            }
            let reply = connection.gather(SHORT_BYTES, patience).await?;
            noted.reply(&explained(&reply, error.as_deref()), true);
            Ok(())
        };
        let result = result.await.map(|()| noted.is_error.get() == Some(true));
        to.client.has_read_untracked();
        count(&watching.node, command, started, result.as_ref().copied());
        match result {
            // nothing is watched any more
            Ok(false) => watching.connection.settle(),
            Ok(true) => {}
            Err(Lost { fate, why }) => {
                if fate == Fate::Unknown {
                    watching.node.fence(&watching.connection);
                }
                to.fail(Failure { fate, node: &watching.node.spec, why: &why });
            }
        }
    });
}

/// Counts a command by what became of it: whether its reply is an error, or why there is none.
fn count(node: &Node<SlotRef>, command: &'static Command, started: Instant, is_error: Result<bool, &Lost>) {
    let outcome = match is_error {
        Ok(false) => Outcome::Ok,
        Ok(true) => Outcome::Error,
        Err(Lost { fate: Fate::NotSent, .. }) => Outcome::NotSent,
        Err(Lost { fate: Fate::Unknown, .. }) => Outcome::Unknown,
    };
    node.stats.commands.count(command, outcome);
    if is_error.is_ok() {
        node.stats.seconds.observe(started.elapsed());
    }
}
