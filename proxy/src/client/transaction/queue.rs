//! The commands between MULTI and EXEC, as the bytes in which they will be sent. No IO.

use std::convert::Infallible;

use crate::client::client_commands::may_write;
use crate::command::{ClientCommand, Command, Join, Local, Route, Transaction};
use crate::resp::request::{RequestBounds, RequestScanner, Scan};
use crate::resp::{Args, Span};
use crate::route::Scratch;
use crate::route::arrived::{Traveller, travellers};
use crate::route::together::{ALL_NODES, Together, is_publish};
use crate::topology::Topology;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
/// A transaction beyond the bound.
const TOO_LARGE: &str = "ERR the transaction is too large (limits.command_bytes)";

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Queue {
    /// `MULTI` and the commands behind each other.
    block: Vec<u8>,
    /// The commands as they were found when they were queued: nodes may tell of others since then.
    commands: Vec<&'static Command>,
    /// A command was refused: EXEC will not run the others.
    failed: bool,
    /// The rights of the user have changed since commands were queued.
    is_to_be_judged: bool,
    /// One of the commands is held back by a pause of writes.
    may_write: bool,
    /// The topology by which `together` holds.
    epoch: u64,
    together: Together,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            block: MULTI.to_vec(),
            commands: Vec::new(),
            failed: false,
            is_to_be_judged: false,
            may_write: false,
            epoch: 0,
            together: Together::default(),
        }
    }
}

impl Queue {
    /// Adds a command; returns where all of them lie. Once one was refused none is kept any more.
    ///
    /// # Errors
    /// The reply line without its leading `-`; the transaction has failed.
    pub(super) fn add(
        &mut self,
        topology: &Topology,
        (command, args): (&'static Command, &Args<'_>),
        scratch: &mut Scratch,
        limit: usize,
    ) -> Result<Together, String> {
        let frame = args.frame();
        if self.block.len() + frame.len() + EXEC.len() > limit {
            return Err(TOO_LARGE.into());
        }
        let mut together = self.place(topology, scratch)?;
        together.add(topology, command, args, scratch)?;
        self.together = together;
        self.epoch = topology.epoch();
        if !self.failed {
            self.block.extend_from_slice(frame);
            self.commands.push(command);
            self.may_write |= may_write(command);
        }
        Ok(together)
    }

    /// Where the commands lie by `topology`, which may be another than the one by which they were queued (law I8).
    ///
    /// # Errors
    /// The reply line without its leading `-`: they no longer lie together.
    pub(super) fn place(&self, topology: &Topology, scratch: &mut Scratch) -> Result<Together, String> {
        if self.epoch == topology.epoch() || self.commands.is_empty() {
            return Ok(self.together);
        }
        let mut together = Together::default();
        self.each(|command, args| together.add(topology, command, &args, scratch))?;
        Ok(together)
    }

    /// Keys of the commands that are on their way by `topology`.
    pub(super) fn travellers(&self, topology: &Topology, scratch: &mut Scratch) -> Vec<Traveller> {
        let mut keys = Vec::new();
        let Ok(()) = self.each(|command, args| {
            travellers(topology, command, &args, scratch, &mut keys);
            Ok::<(), Infallible>(())
        });
        keys
    }

    /// Visits the commands with their requests, in their order.
    pub(super) fn each<E>(
        &self,
        mut visit: impl FnMut(&'static Command, Args<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut commands = self.commands.iter();
        each_request(&self.block[MULTI.len()..], |args| match commands.next() {
            Some(command) => visit(command, args),
            None => Ok(()),
        })
    }

    /// A command was refused; what was queued is let go.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        self.block = MULTI.to_vec();
    }

    /// The commands were judged by rights that have changed since then.
    pub(super) fn judge_again(&mut self) {
        self.is_to_be_judged = true;
    }

    /// Whether they were.
    pub(super) fn is_to_be_judged(&self) -> bool {
        self.is_to_be_judged
    }

    /// Whether a command was refused.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether one of the commands may write.
    pub(super) fn may_write(&self) -> bool {
        self.may_write
    }

    /// Bytes that are kept for EXEC.
    pub(super) fn bytes(&self) -> usize {
        self.block.capacity() + self.commands.capacity() * size_of::<&Command>()
    }

    /// How many commands were queued.
    pub(super) fn commands(&self) -> u32 {
        u32::try_from(self.commands.len()).unwrap_or(u32::MAX)
    }

    /// The whole block, from `MULTI` to `EXEC`.
    pub(super) fn into_block(mut self) -> Vec<u8> {
        self.block.extend_from_slice(EXEC);
        self.block
    }
}

/// Visits requests that stand behind each other; each was scanned before.
pub(super) fn each_request<E>(
    mut bytes: &[u8],
    mut visit: impl FnMut(Args<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let bounds = RequestBounds { authenticated: true, command_bytes: usize::MAX };
    let mut spans: Vec<Span> = Vec::new();
    while let Ok(Scan::Request(len)) = RequestScanner::default().scan(bytes, bounds, &mut spans) {
        let (frame, rest) = bytes.split_at(len);
        visit(Args::new(frame, &spans))?;
        bytes = rest;
    }
    Ok(())
}

/// Why a command cannot stand between MULTI and EXEC, in words that follow "refused inside MULTI:". A command that
/// waits elsewhere does not wait there.
pub(super) fn barred(command: &Command) -> Option<&'static str> {
    match command.route {
        Route::Key
        | Route::Waiting
        | Route::Split(_)
        | Route::Local(Local::Ping | Local::Echo | Local::Time)
        | Route::Transaction(Transaction::Unwatch) => None,
        _ if is_publish(command) => None,
        // the connection is the client's own, if it tracks; if not, the node says so
        Route::Client(ClientCommand::Caching) => None,
        // it tells of the node that runs the transaction
        Route::AllNodes(Join::Info) => None,
        // where that node has all keys (`Together` knows)
        Route::AllNodes(_) if command.concerns_all_keys() => None,
        Route::AllNodes(_) | Route::Scan | Route::Replicas | Route::Running => Some(ALL_NODES),
        Route::Local(_) | Route::Client(_) | Route::Acl(_) => {
            Some("Ringway answers it, not the node that runs the transaction")
        }
        Route::Refused(rule) => Some(rule),
        _ => Some("it would change the connection to the node, which clients of Ringway share"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;
    use crate::error;
    use crate::resp::encode;
    use crate::settings::{NodeSpec, Origin, TopologySpec};
    use ringway_ring::RingConfig;

    const LIMIT: usize = 1 << 20;

    fn topology(epoch: u64, names: &[&str]) -> Topology {
        let nodes = names.iter().map(|name| NodeSpec::new(*name, format!("{name}:1"))).collect();
        Topology::build(epoch, TopologySpec { ring: RingConfig::default(), nodes }).unwrap()
    }

    fn add(queue: &mut Queue, topology: &Topology, parts: &[&str], limit: usize) -> Result<(), String> {
        let mut frame = Vec::new();
        encode::array(&mut frame, parts.len());
        parts.iter().for_each(|part| encode::bulk(&mut frame, part.as_bytes()));
        each_request(&frame, |args| {
            let command = command::resolve(&args).unwrap();
            queue.add(topology, (command, &args), &mut Scratch::new(16), limit).map(drop)
        })
    }

    fn owner(topology: &Topology, key: &str) -> u16 {
        topology.owner(key.as_bytes()).home().0
    }

    #[test]
    fn the_block_is_what_came_between_multi_and_exec() {
        let topology = topology(1, &["a"]);
        let mut queue = Queue::default();
        add(&mut queue, &topology, &["INCR", "n"], LIMIT).unwrap();
        add(&mut queue, &topology, &["PING"], LIMIT).unwrap();
        assert_eq!(queue.commands(), 2);
        let expected =
            "*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nEXEC\r\n";
        assert_eq!(String::from_utf8(queue.into_block()).unwrap(), expected);
    }

    #[test]
    fn a_block_beyond_the_bound_is_refused() {
        let topology = topology(1, &["a"]);
        let mut queue = Queue::default();
        add(&mut queue, &topology, &["SET", "k", "v"], 100).unwrap();
        assert_eq!(add(&mut queue, &topology, &["SET", "k", &"v".repeat(40)], 100).unwrap_err(), TOO_LARGE);
        queue.fail();
        add(&mut queue, &topology, &["SET", "k", "v"], 100).unwrap();
        assert!(
            queue.has_failed() && queue.block == MULTI,
            "nothing is kept for an EXEC that will not run it"
        );
    }

    #[test]
    fn i8_another_topology_places_what_is_queued_anew() {
        let before = topology(1, &["a"]);
        let after = topology(2, &["a", "b"]);
        let on = |node| (0..).map(|n| format!("k{n}")).find(|key| owner(&after, key) == node).unwrap();
        let (stays, moves) = (on(0), on(1));
        let mut queue = Queue::default();
        add(&mut queue, &before, &["SET", &moves, "1"], LIMIT).unwrap();
        let moved = queue.place(&after, &mut Scratch::new(16)).unwrap();
        assert_eq!(moved.fixed().map(|node| node.0), Some(1));
        add(&mut queue, &before, &["SET", &stays, "1"], LIMIT).unwrap();
        assert_eq!(queue.place(&after, &mut Scratch::new(16)).unwrap_err(), error::CROSSSLOT);
        assert_eq!(add(&mut queue, &after, &["GET", &stays], LIMIT).unwrap_err(), error::CROSSSLOT);
        assert!(queue.place(&before, &mut Scratch::new(16)).is_ok());
    }

    #[test]
    fn keys_of_a_command_that_only_nodes_know_are_on_their_way_too() {
        let spec = |address: &str| TopologySpec {
            ring: RingConfig::default(),
            nodes: vec![NodeSpec::new("a", address)],
        };
        let origin = Origin { former: spec("h:1"), former_is_right: true };
        let topology = Topology::build_moving(2, spec("h:2"), Some(origin)).unwrap();
        let (set, scratch) = (command::find_full(b"set").unwrap(), &mut Scratch::new(16));
        let mut frame = Vec::new();
        encode::request(&mut frame, &["JSON.SET", "document", "$"]);
        let mut queue = Queue::default();
        each_request(&frame, |args| queue.add(&topology, (set, &args), scratch, LIMIT).map(drop)).unwrap();
        let keys = queue.travellers(&topology, scratch);
        assert_eq!(keys.iter().map(|one| &*one.key).collect::<Vec<_>>(), [b"document"]);
        // and another topology places it anew
        let other = Topology::build(3, spec("h:3")).unwrap();
        let placed = queue.place(&other, scratch).unwrap();
        assert_eq!(placed.fixed().map(|node| node.0), Some(0));
    }

    #[test]
    fn what_concerns_the_connection_or_all_nodes_is_barred() {
        for row in command::all().filter(|row| !row.is_container()) {
            let free = ["ping", "echo", "time", "unwatch", "info", "client|caching"].contains(&row.full_name)
                || row.concerns_all_keys() && row.full_name != "scan";
            let keyed = matches!(row.route, Route::Key | Route::Waiting | Route::Split(_));
            assert_eq!(barred(row).is_none(), free || keyed || is_publish(row), "{}", row.full_name);
        }
    }
}
