//! A connection to one node over which answers are asked for that are to be kept: the node tracks what is read on it, and
//! says when that changes.
//!
//! It tells its [`Keeper`], which it never sees. Opened when the first answer of its node is wanted.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::asking::Asking;
use super::filling::{Ask, Event, Filling};
use super::talk::{self, Standing, Talk, Wire, WireContext};
use crate::resp::Protocol;
use crate::settings::NodeSpec;
use crate::stats::NodeStats;

/// Whoever keeps answers.
pub(crate) trait Keeper {
    /// What was asked for under this number has come; nothing when it is too long. `life` is how long the key had to live
    /// after it was asked for.
    fn filled(&self, number: u64, reply: Option<&[u8]>, life: Option<Duration>);
    /// What was asked for under this number will not come.
    fn failed(&self, number: u64);
    /// A key has changed.
    fn changed(&self, key: &[u8]);
    /// Nothing holds any more that was asked for on this connection.
    fn lost(&self, line: u64);
}

/// See the head of this file.
pub(crate) struct Filler<K: Keeper> {
    wire: Wire,
    /// The number of the connection for its keeper.
    line: u64,
    keeper: Weak<K>,
    filling: RefCell<Filling>,
    /// Whether it was said that the node cannot be used for this.
    said: Cell<bool>,
}

impl<K: Keeper + 'static> Filler<K> {
    /// Begins to connect. Ends with [`Filler::close`].
    pub(crate) fn start(
        spec: Arc<NodeSpec>,
        stats: Arc<NodeStats>,
        context: WireContext,
        line: u64,
        keeper: Weak<K>,
    ) -> Rc<Self> {
        let filling = RefCell::new(Filling::new(context.longest, Instant::now()));
        let wire = Wire::new(spec, stats, context);
        let filler = Rc::new(Self { wire, line, keeper, filling, said: Cell::new(false) });
        talk::start(&filler);
        filler
    }

    /// Whether this is how the topology now describes the node.
    pub(crate) fn serves(&self, spec: &NodeSpec) -> bool {
        self.wire.serves(spec)
    }

    /// The number of the connection.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Whether anything can be asked for.
    pub(crate) fn is_up(&self) -> bool {
        self.wire.standing() == Standing::Up
    }

    /// Asks for what the request reads of `key` that `write` appends. False when that is not possible.
    pub(crate) fn ask(
        &self,
        database: u32,
        key: &[u8],
        number: u64,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let asked =
            self.is_up() && self.filling.borrow_mut().ask(database, key, number, Instant::now(), write);
        if asked {
            self.wire.wake();
        }
        asked
    }

    /// Ends the connection.
    pub(crate) fn close(&self) {
        self.wire.close();
        if let Some(keeper) = self.keeper.upgrade() {
            keeper.lost(self.line);
        }
    }

    /// Asks a node that is silent, gives up one that does not answer; called at every tick.
    pub(crate) fn check(&self, now: Instant) {
        talk::check(self, now);
    }

    /// The proxy itself stood still: that is not the node's fault.
    pub(crate) fn forgive(&self, now: Instant) {
        self.asking().heard(now);
    }
}

impl<K: Keeper + 'static> Talk for Filler<K> {
    type Ask = Ask;

    const PROTOCOL: Protocol = Protocol::Resp3;
    const PROBE: Ask = Ask::Probe;
    const TRACKING: Option<&[u8]> = Some(b"*3\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$2\r\nON\r\n");

    fn wire(&self) -> &Wire {
        &self.wire
    }

    fn arrived(&self) {
        self.said.set(false);
        self.filling.borrow_mut().arrived(Instant::now());
    }

    fn received(&self, bytes: &[u8]) -> Result<(), String> {
        let mut events = Vec::new();
        let result = self.filling.borrow_mut().received(bytes, Instant::now(), &mut events);
        let Some(keeper) = self.keeper.upgrade() else { return Ok(()) };
        for event in events {
            match event {
                Event::Filled(number, reply, life) => keeper.filled(number, reply.as_deref(), life),
                Event::Failed(number) => keeper.failed(number),
                Event::Changed(key) => keeper.changed(&key),
                Event::AllChanged => keeper.lost(self.line),
            }
        }
        result
    }

    fn asking(&self) -> RefMut<'_, Asking<Ask>> {
        RefMut::map(self.filling.borrow_mut(), |filling| &mut filling.asking)
    }

    fn lost(&self, before: Standing, why: &str) {
        let (node, address) = (&self.wire.spec.name, &self.wire.spec.address);
        if before == Standing::Up {
            if self.wire.context.speaks {
                tracing::info!(node, address, why, "connection lost on which a node tells of kept keys");
            }
        } else if self.wire.context.speaks && !self.said.replace(true) {
            tracing::warn!(node, address, why, "nothing of this node is kept (near_cache)");
        }
        if let Some(keeper) = self.keeper.upgrade() {
            keeper.lost(self.line);
        }
    }
}
