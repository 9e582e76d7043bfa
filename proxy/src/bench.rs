//! Doors for the benchmarks into what is private: the pure parts of a command's way, one turn at a time.
//!
//! Compiled with the feature `bench` only and no part of the public interface. Each type holds the memory that a
//! worker would hold, so that the second turn costs what every later one costs.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use crate::client::Spare;
use crate::client::pipeline::Pipeline;
use crate::command::{self, Command};
use crate::error::Failure;
use crate::resp::Args;
use crate::route::join::Joining;
use crate::route::{self, Placed, Scratch};
use crate::settings::{NodeSpec, Settings};
use crate::topology::Topology;
use crate::upstream::exchange::{Exchange, ReplyTo};

/// A topology and what placing a command needs.
#[derive(Debug)]
pub struct Router {
    topology: Topology,
    scratch: Scratch,
}

impl Router {
    /// A default ring of `nodes` nodes.
    ///
    /// # Panics
    /// When there can be no such ring.
    pub fn new(nodes: usize) -> Self {
        let node = |number| NodeSpec::new(format!("node{number}"), format!("127.0.0.1:{}", 7001 + number));
        let spec = Settings::new((0..nodes).map(node).collect()).topology;
        let topology = Topology::build(1, spec).expect("a topology of plain nodes");
        Self { topology, scratch: Scratch::new(16) }
    }

    /// The node of a command whose keys lie together; `None` when it must be split or is refused.
    #[inline]
    pub fn place(&mut self, command: &Command, args: &Args<'_>) -> Option<u16> {
        match route::place(&self.topology, command, args, &mut self.scratch) {
            Placed::Node(node) => Some(node.0),
            Placed::Split(_) | Placed::Computed(_) | Placed::OnTheWay | Placed::Refused(_) => None,
        }
    }
}

/// A split command's join and its reply.
#[derive(Debug, Default)]
pub struct Joiner {
    joining: Joining,
    out: Vec<u8>,
}

impl Joiner {
    /// Joins the parts' arrays in the order of `assignment`; returns the whole.
    pub fn values(&mut self, assignment: &[u16], replies: &[&[u8]]) -> &[u8] {
        self.out.clear();
        self.joining.begin(command::Join::Values, false, assignment, replies.len(), usize::MAX);
        for (part, reply) in replies.iter().enumerate() {
            self.joining.reply(part, reply, true);
        }
        self.joining.finish(&mut self.out);
        &self.out
    }
}

/// One client's pipeline.
#[derive(Debug, Default)]
pub struct Slots {
    pipeline: Pipeline,
    spare: Spare,
}

impl Slots {
    /// Takes a slot for each of `arrivals`, answers them in that order, writes; returns the bytes written.
    #[inline]
    pub fn turn(&mut self, arrivals: &[usize], frame_len: usize, reply: &[u8]) -> usize {
        let mut first = None;
        for _ in arrivals {
            let number = self.pipeline.wait(frame_len);
            first.get_or_insert(number);
        }
        let first = first.unwrap_or_default();
        for &arrival in arrivals {
            self.pipeline.reply(first + arrival as u64, 0, reply, true, &mut self.spare);
        }
        let written = self.pipeline.unwritten().len();
        self.pipeline.wrote(written);
        self.pipeline.take_finished();
        written
    }
}

/// Counts what it is told; the counterpart of a client.
#[derive(Debug, Default, Clone)]
struct Sink(Rc<Cell<usize>>);

impl ReplyTo for Sink {
    #[inline]
    fn reply(&self, bytes: &[u8], _last: bool) {
        self.0.set(self.0.get() + bytes.len());
    }

    fn backlog(&self) -> usize {
        0
    }

    fn asker(&self) -> usize {
        0
    }

    fn fail(&self, _failure: Failure<'_>) {}
}

/// One connection to a node, without the connection.
#[derive(Debug)]
pub struct Conversation {
    exchange: Exchange<Sink>,
    sink: Sink,
    now: Instant,
}

impl Default for Conversation {
    fn default() -> Self {
        let now = Instant::now();
        let mut conversation = Self { exchange: Exchange::new(now), sink: Sink::default(), now };
        // a node that is known to answer at once is sent many commands before it has answered the first
        (0..1000).for_each(|_| conversation.send(b"x", command::all().next().expect("there are some")));
        while !conversation.exchange.is_idle() {
            let sent = conversation.exchange.sendable().len();
            conversation.receive(&b":1\r\n".repeat(sent));
        }
        conversation
    }
}

impl Conversation {
    /// Appends a command that is written with the next [`Conversation::receive`].
    #[inline]
    pub fn send(&mut self, frame: &[u8], command: &'static Command) {
        self.exchange.out().extend_from_slice(frame);
        self.exchange.commit(self.sink.clone(), command, self.now);
    }

    /// Writes what was sent and pairs the node's bytes with it; returns all bytes of replies so far.
    ///
    /// # Panics
    /// When the bytes are no replies to what was sent.
    #[inline]
    pub fn receive(&mut self, replies: &[u8]) -> usize {
        let waiting = self.exchange.sendable().len();
        self.exchange.wrote(waiting, self.now);
        self.exchange.received(replies, self.now, |_, _, _| {}).expect("replies to what was sent");
        self.sink.0.get()
    }
}
