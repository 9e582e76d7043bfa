//! A connection that listens to one node for all clients of a worker.
//!
//! It tells its [`Audience`], which it never sees, of messages and of topics that are settled. When it was lost, everything
//! is asked for again; what a node publishes in between is not heard: that is what publish and subscribe promises, and no
//! more.

use std::cell::{RefCell, RefMut};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use super::asking::Asking;
use super::hearing::{self, Ask, Event, Hearing, Message};
use super::talk::{self, Standing, Talk, Wire, WireContext};
use crate::pubsub::Topic;
use crate::resp::Protocol;
use crate::settings::NodeSpec;
use crate::stats::NodeStats;

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

/// See the head of this file.
pub(crate) struct Listener<A: Audience> {
    wire: Wire,
    audience: Weak<A>,
    hearing: RefCell<Hearing>,
}

impl<A: Audience + 'static> Listener<A> {
    /// Begins to connect. Ends with [`Listener::close`].
    pub(crate) fn start(
        spec: Arc<NodeSpec>,
        stats: Arc<NodeStats>,
        context: WireContext,
        audience: Weak<A>,
    ) -> Rc<Self> {
        let hearing = RefCell::new(Hearing::new(Instant::now()));
        let listener = Rc::new(Self { wire: Wire::new(spec, stats, context), audience, hearing });
        talk::start(&listener);
        listener
    }

    /// Whether this is how the topology now describes the node.
    pub(crate) fn serves(&self, spec: &NodeSpec) -> bool {
        self.wire.serves(spec)
    }

    /// Wants to hear of a topic, which is settled when the node has confirmed it or cannot be asked.
    pub(crate) fn listen(&self, topic: &Rc<Topic>) {
        let hearing = &mut *self.hearing.borrow_mut();
        match self.wire.standing() {
            Standing::Up => {
                hearing.listen(topic, Instant::now());
                self.wire.wake();
            }
            standing => hearing.note(topic, standing == Standing::Connecting),
        }
    }

    /// Does not want to hear of a topic any more; settled when the node has confirmed that.
    pub(crate) fn leave(&self, topic: &Rc<Topic>) {
        let is_up = self.wire.standing() == Standing::Up;
        self.hearing.borrow_mut().leave(topic, is_up, Instant::now());
        if is_up {
            self.wire.wake();
        }
    }

    /// Whether messages of a topic come from this node.
    pub(crate) fn is_here(&self, topic: &Rc<Topic>) -> bool {
        self.hearing.borrow().is_here(topic)
    }

    /// Ends the connection. Returns the topics that are settled by it.
    pub(crate) fn close(&self) -> Vec<Rc<Topic>> {
        if self.wire.close() == Standing::Up
            && let Some(audience) = self.audience.upgrade()
        {
            audience.reached(&self.wire.spec, false);
        }
        self.hearing.borrow_mut().closed()
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

impl<A: Audience + 'static> Talk for Listener<A> {
    type Ask = Ask;

    const PROTOCOL: Protocol = hearing::PROTOCOL;
    const PROBE: Ask = Ask::Probe;

    fn wire(&self) -> &Wire {
        &self.wire
    }

    fn arrived(&self) {
        self.hearing.borrow_mut().arrived(Instant::now());
        if let Some(audience) = self.audience.upgrade() {
            audience.reached(&self.wire.spec, true);
        }
    }

    fn received(&self, bytes: &[u8]) -> Result<(), String> {
        let Some(audience) = self.audience.upgrade() else { return Ok(()) };
        let mut events = Vec::new();
        let result = self.hearing.borrow_mut().received(
            bytes,
            Instant::now(),
            self.wire.context.longest,
            &mut events,
            |message| audience.heard(message),
        );
        for event in events {
            match event {
                Event::Settled(topic) => audience.settled(&topic),
                Event::Refused(topic, why) => audience.refused(&topic, &self.wire.spec, &why),
            }
        }
        result
    }

    fn asking(&self) -> RefMut<'_, Asking<Ask>> {
        RefMut::map(self.hearing.borrow_mut(), |hearing| &mut hearing.asking)
    }

    /// Nobody waits for the node until it is back.
    fn lost(&self, before: Standing, why: &str) {
        let settled = self.hearing.borrow_mut().lost();
        let Some(audience) = self.audience.upgrade() else { return };
        if before == Standing::Up {
            audience.reached(&self.wire.spec, false);
            if self.wire.context.speaks {
                let (node, address) = (&self.wire.spec.name, &self.wire.spec.address);
                tracing::info!(node, address, why, "listening connection to node lost");
            }
        }
        settled.iter().for_each(|topic| audience.settled(topic));
    }
}
