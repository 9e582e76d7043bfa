//! Connections to nodes, shared by all clients of a worker.
//!
//! ```text
//!   Node ── Link (RESP2) ── Exchange: what was written, what is awaited; no IO
//!        └─ Link (RESP3)      │
//!                             └ entry → ReplyTo: whoever asked
//! ```
//! This module never sees a client: replies go to a [`ReplyTo`].

mod backoff;
mod conversation;
mod exchange;
mod greeting;
mod link;

pub(crate) use exchange::ReplyTo;
pub(crate) use link::{Link, LinkContext, Sent};

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::resp::Protocol;
use crate::settings::NodeSpec;
use crate::stats::NodeStats;

/// A node as one worker reaches it: one shared connection per protocol, opened on first use.
pub(crate) struct Node<T: ReplyTo> {
    pub(crate) spec: Arc<NodeSpec>,
    pub(crate) stats: Arc<NodeStats>,
    links: RefCell<[Option<Rc<Link<T>>>; 2]>,
    context: Rc<LinkContext<T>>,
}

impl<T: ReplyTo + 'static> Node<T> {
    /// Starts to connect at once, so that the first command finds a connection.
    pub(crate) fn start(spec: Arc<NodeSpec>, stats: Arc<NodeStats>, context: Rc<LinkContext<T>>) -> Self {
        let node = Self { spec, stats, links: RefCell::default(), context };
        node.link(Protocol::Resp2);
        node
    }

    /// The connection that speaks `protocol`.
    #[inline]
    pub(crate) fn link(&self, protocol: Protocol) -> Rc<Link<T>> {
        let mut links = self.links.borrow_mut();
        let place = &mut links[protocol as usize];
        Rc::clone(place.get_or_insert_with(|| {
            Link::start(Arc::clone(&self.spec), Arc::clone(&self.stats), protocol, Rc::clone(&self.context))
        }))
    }

    /// Whether this is how the topology now describes the node.
    pub(crate) fn serves(&self, spec: &NodeSpec) -> bool {
        self.spec.name == spec.name
            && self.spec.address == spec.address
            && self.spec.credentials == spec.credentials
    }

    /// Every connection there is, to look after it.
    pub(crate) fn each_link(&self, mut visit: impl FnMut(&Rc<Link<T>>)) {
        self.links.borrow().iter().flatten().for_each(&mut visit);
    }

    /// Answers what is in flight, then closes.
    pub(crate) fn retire(&self) {
        self.each_link(|link| link.retire());
    }

    /// Whether a retired node's connections still have something to do.
    pub(crate) fn is_in_use(&self) -> bool {
        self.links.borrow().iter().flatten().any(|link| Rc::strong_count(link) > 1)
    }
}
