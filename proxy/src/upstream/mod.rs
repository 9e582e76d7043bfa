//! Connections to nodes: shared by all clients of a worker, or lent to one of them for a while.
//!
//! ```text
//!   Node ── Link (RESP2) ── Exchange: what was written, what is awaited; no IO
//!        ├─ Link (RESP3)      │
//!        ├─ …                 └ entry → ReplyTo: whoever asked
//!        └─ pool of Dedicated: one client at a time, for WATCH and for commands that wait
//!   Listener ── Hearing: what was asked for, what is said; one per node, for all clients that subscribe
//! ```
//! There is one link, and one pool, per [`Lane`], opened on first use; a client that tracks keys has links of its own. This
//! module never sees a client: replies go to a [`ReplyTo`].

mod asking;
mod backoff;
mod between;
mod block;
mod connect;
mod context;
mod conversation;
mod dedicated;
pub(crate) mod exchange;
mod filler;
mod filling;
mod greeting;
mod hearing;
mod link;
mod listener;
mod losing;
mod pace;
mod question;
mod siblings;
mod talk;
mod tracking;

pub(crate) use block::{error_line, explained, refusal};
pub(crate) use context::LinkContext;
pub(crate) use dedicated::{Dedicated, Dialer, Lost, Patience, Pool, TOO_LONG};
pub(crate) use exchange::{ReplyTo, When};
pub(crate) use filler::{Filler, Keeper};
pub use greeting::Abandoned;
pub(crate) use greeting::{Fences, Identity};
pub(crate) use hearing::Message;
pub(crate) use link::{Link, Sent};
pub(crate) use listener::{Audience, Listener};
pub(crate) use pace::Paces;
pub(crate) use question::{ask_busy, ask_once};
pub(crate) use talk::WireContext;
pub(crate) use tracking::{FORGET_ALL, INVALIDATION, Tracker, Trackers, Wish, Words};

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::resp::{Protocol, encode};
use crate::settings::NodeSpec;
use crate::stats::NodeStats;
use siblings::Siblings;
use tracking::Ear;

/// What a connection to a node is set to, and for whom it is. All commands on one connection share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Lane {
    /// How the node writes its replies.
    pub(crate) protocol: Protocol,
    /// The database that `SELECT` chose.
    pub(crate) database: u32,
    /// Whose commands share it.
    pub(crate) traffic: Traffic,
}

/// Who shares a connection: whatever stands behind a large value waits until all of it has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Traffic {
    #[default]
    Usual,
    /// Clients that move large values.
    Large,
    /// One client alone, which nodes are to tell of keys; [`Trackers`] knows it by this number.
    Own(u64),
    /// No commands: the client of this number, which speaks RESP2, hears of keys.
    Ear(u64),
}

/// Why a node cannot be used, for those who wait on a connection of their own; `None` while it can.
pub(crate) type Trouble = Option<Arc<str>>;

/// A node as one worker reaches it.
pub(crate) struct Node<T: ReplyTo> {
    pub(crate) spec: Arc<NodeSpec>,
    pub(crate) stats: Arc<NodeStats>,
    /// For usual commands in database 0, which nearly all are, by protocol.
    links: RefCell<[Option<Rc<Link<T>>>; 2]>,
    /// The other lanes.
    others: RefCell<HashMap<Lane, Rc<Link<T>>>>,
    pools: RefCell<HashMap<Lane, Pool>>,
    fences: Fences,
    siblings: Siblings<T>,
    trouble: watch::Sender<Trouble>,
    /// Held by whoever asks by [`Node::errand`]; the last failure.
    errands: tokio::sync::Mutex<Option<(Instant, Lost)>>,
    context: Rc<LinkContext<T>>,
}

/// Longest answer to an errand, in bytes.
const ERRAND_BYTES: usize = 4096;

impl<T: ReplyTo + 'static> Node<T> {
    /// Starts to connect at once, so that the first command finds a connection.
    pub(crate) fn start(spec: Arc<NodeSpec>, stats: Arc<NodeStats>, context: Rc<LinkContext<T>>) -> Self {
        let fences = context.fences_of(&spec.address);
        let node = Self {
            spec,
            stats,
            links: RefCell::default(),
            others: RefCell::default(),
            pools: RefCell::default(),
            fences,
            siblings: Siblings::default(),
            trouble: watch::Sender::default(),
            errands: tokio::sync::Mutex::default(),
            context,
        };
        node.link(Lane::default());
        node
    }

    /// The shared connection of `lane`.
    #[inline]
    pub(crate) fn link(&self, lane: Lane) -> Rc<Link<T>> {
        if lane.database == 0 && lane.traffic == Traffic::Usual {
            let mut links = self.links.borrow_mut();
            Rc::clone(links[lane.protocol as usize].get_or_insert_with(|| self.start_link(lane)))
        } else {
            let known = self.others.borrow().get(&lane).cloned();
            known.unwrap_or_else(|| {
                let link = self.start_link(lane);
                self.others.borrow_mut().insert(lane, Rc::clone(&link));
                link
            })
        }
    }

    #[cold]
    fn start_link(&self, lane: Lane) -> Rc<Link<T>> {
        let place = link::Place {
            spec: Arc::clone(&self.spec),
            stats: Arc::clone(&self.stats),
            fences: self.fences.clone(),
            siblings: Rc::clone(&self.siblings),
            trouble: self.trouble.clone(),
            lane,
            ear: self.ear_of(lane),
        };
        let link = Link::start(place, Rc::clone(&self.context));
        let mut siblings = self.siblings.borrow_mut();
        siblings.retain(|sibling| sibling.strong_count() > 0);
        siblings.push(Rc::downgrade(&link));
        drop(siblings);
        link
    }

    /// The connection on which a client hears of the keys that it reads on the one of `lane`, if not there.
    fn ear_of(&self, lane: Lane) -> Option<Ear<T>> {
        match lane {
            Lane { protocol: Protocol::Resp2, traffic: Traffic::Own(number), .. } => {
                let traffic = Traffic::Ear(number);
                Some(Ear::new(self.link(Lane { protocol: Protocol::Resp3, database: 0, traffic })))
            }
            _ => None,
        }
    }

    /// A connection that nobody else uses; it goes back when it is dropped, if nothing is in doubt.
    ///
    /// # Errors
    /// [`Lost`] with nothing sent: the node is not usable, or there is no connection to be had.
    pub(crate) async fn dedicated(&self, lane: Lane) -> Result<Dedicated, Lost> {
        let pool = self.pool(lane);
        pool.get(Some(self.trouble.subscribe())).await
    }

    fn pool(&self, lane: Lane) -> Pool {
        let mut pools = self.pools.borrow_mut();
        let pool = pools.entry(lane).or_insert_with(|| {
            Pool::new(Dialer {
                spec: Arc::clone(&self.spec),
                stats: Arc::clone(&self.stats),
                fences: self.fences.clone(),
                scripts: Arc::clone(&self.context.scripts),
                ways: Arc::clone(&self.context.ways),
                timeouts: self.context.timeouts,
                lane,
                name: None,
            })
        });
        pool.clone()
    }

    /// Asks the node something about its connections, even when it has left the topology. One after the other, so that
    /// a thousand who ask at once need one connection; a failure answers all who are in line.
    ///
    /// # Errors
    /// [`Lost`], after the operation timeout at the latest when nobody is before.
    pub(crate) async fn errand(&self, words: &[&str]) -> Result<Vec<u8>, Lost> {
        let since = Instant::now();
        let mut failed = self.errands.lock().await;
        if let Some((at, lost)) = &*failed
            && *at >= since
        {
            return Err(lost.clone());
        }
        let mut request = Vec::new();
        encode::request(&mut request, words);
        let patience = Patience::Limited(self.context.timeouts.operation);
        let result = async {
            let mut connection = self.pool(Lane::default()).get(None).await?;
            connection.send(&request, patience).await?;
            let reply = connection.gather(ERRAND_BYTES, patience).await?;
            connection.settle();
            Ok(reply)
        };
        let result = result.await;
        *failed = result.as_ref().err().map(|lost: &Lost| (Instant::now(), lost.clone()));
        result
    }

    /// Has the node close a connection that is given up with a write unanswered, before it runs any command that is sent
    /// on a shared connection from now on: a node that slept must not run the old write after newer ones (law I3). A
    /// shared connection that is not there says the same when it greets.
    pub(crate) fn fence(&self, connection: &Dedicated) {
        if let Some(words) = connection.kill_words() {
            siblings::fence(&self.siblings, &words, |_| true);
        }
    }

    /// As [`Node::fence`], for a connection that somebody else has given up.
    pub(crate) fn fence_off(&self, identity: &Identity) {
        siblings::fence(&self.siblings, &identity.kill_words(), |link| identity.is_known_to(link.server()));
    }

    /// Tells when the node becomes usable, be it again or still, and when it does no longer.
    pub(crate) fn trouble(&self) -> watch::Receiver<Trouble> {
        self.trouble.subscribe()
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
        self.others.borrow().values().for_each(&mut visit);
    }

    /// Lets go of connections that were one client's alone and are no longer, once what is in flight is answered.
    pub(crate) fn tidy(&self) {
        self.others.borrow_mut().retain(|lane, link| {
            let has_ended = self.context.trackers.have_left(lane.traffic);
            if has_ended {
                link.retire();
            }
            !has_ended || Rc::strong_count(link) > 1
        });
    }

    /// Answers what is in flight, then closes.
    pub(crate) fn retire(&self) {
        self.trouble.send_replace(Some("it left the topology".into()));
        self.each_link(|link| link.retire());
    }

    /// Whether a retired node's connections still have something to do.
    pub(crate) fn is_in_use(&self) -> bool {
        let mut in_use = false;
        self.each_link(|link| {
            in_use |= match link.lane.traffic {
                // the connection that reads holds it as long as there are both
                Traffic::Ear(_) => !link.over.get(),
                _ => Rc::strong_count(link) > 1,
            };
        });
        in_use
    }
}
