//! Connections that are one client's alone, on which nodes tell it of the keys that it read (`CLIENT TRACKING`).
//!
//! ```text
//!   client ── Link (Traffic::Own) ── node     greeted with CLIENT TRACKING ON …; all its commands take it
//!          ◄── replies and invalidations, in the order in which the node sent them
//! ```
//! A node sends an invalidation over the connection that read the key, in its place between the replies. What it says is
//! passed on as it is, so that every mode of tracking works as with one server. Where a node can no longer tell, the
//! client is told to forget everything: a connection was lost, or keys have moved to another node.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::Traffic;
use super::exchange::{ReplyTo, When};
use super::link::{Link, State};
use crate::resp::encode;

/// The message by which a server that was flushed has its clients forget all keys.
pub(crate) const FORGET_ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";
/// How a node's reason begins that does not track.
pub(super) const REFUSES: &str = "it refuses CLIENT TRACKING";
/// How a message begins that names keys to forget.
pub(super) const INVALIDATION: &[u8] = b">2\r\n$10\r\ninvalidate\r\n";

/// One client that tracks, from `CLIENT TRACKING ON` until it is off.
pub(crate) struct Tracker<T> {
    number: Cell<u64>,
    request: Vec<u8>,
    opts_in: bool,
    broadcast: bool,
    to: T,
    /// Leave to have the connections; given back when the last of them is gone.
    _permit: OwnedSemaphorePermit,
    says: Cell<Option<bool>>,
    settled: Cell<bool>,
    ended: Cell<bool>,
}

/// What a client asks for by `CLIENT TRACKING ON`.
pub(crate) struct Wish {
    /// What turns tracking on at a node.
    pub(crate) request: Vec<u8>,
    /// Keys are tracked that the client names beforehand, and no others.
    pub(crate) opts_in: bool,
    /// It hears of keys that it has not read.
    pub(crate) broadcast: bool,
    /// Leave to have the connections.
    pub(crate) permit: OwnedSemaphorePermit,
}

impl<T: ReplyTo> Tracker<T> {
    /// Which connections are its own.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic::Own(self.number.get())
    }

    /// What each of its connections says to its node, as a request.
    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    /// Whether keys are tracked that the client names beforehand, and no others. A read that is sent again on the next
    /// connection would not be.
    pub(super) fn opts_in(&self) -> bool {
        self.opts_in
    }

    /// `CLIENT CACHING` stands before what is sent from now on.
    pub(crate) fn set_caching(&self, says: Option<bool>) {
        self.says.set(says);
    }

    /// What `CLIENT CACHING` is to say before the next command.
    pub(super) fn caching(&self) -> Option<bool> {
        self.says.get()
    }

    /// The first connections are made, as far as they can be.
    pub(crate) fn settle(&self) {
        self.settled.set(true);
    }

    /// A node tells again, or for the first time, after the client was told that nodes do. What it broadcasts may concern
    /// keys that were read elsewhere, and some of it was missed.
    pub(super) fn hears_again(&self) {
        if self.broadcast && self.settled.get() {
            self.tell(FORGET_ALL);
        }
    }

    /// A node has said something, or can no longer.
    pub(super) fn tell(&self, message: &[u8]) {
        if !self.ended.get() {
            self.to.told(message, When::Now);
        }
    }
}

/// Those of a worker's clients that track.
pub(crate) struct Trackers<T> {
    last: Cell<u64>,
    known: RefCell<HashMap<u64, Rc<Tracker<T>>>>,
}

impl<T> Default for Trackers<T> {
    fn default() -> Self {
        Self { last: Cell::new(0), known: RefCell::default() }
    }
}

impl<T> Trackers<T> {
    /// A client tracks from now on; messages go to `to`.
    pub(crate) fn start(&self, wish: Wish, to: T) -> Rc<Tracker<T>> {
        let tracker = Rc::new(Tracker {
            number: Cell::new(0),
            request: wish.request,
            opts_in: wish.opts_in,
            broadcast: wish.broadcast,
            to,
            _permit: wish.permit,
            says: Cell::new(None),
            settled: Cell::new(false),
            ended: Cell::new(false),
        });
        self.renew(&tracker);
        tracker
    }

    /// It takes new connections from now on. The former ones are closed when they have nothing to do, and never taken again.
    pub(crate) fn renew(&self, tracker: &Rc<Tracker<T>>) {
        let number = self.last.get() + 1;
        self.last.set(number);
        let mut known = self.known.borrow_mut();
        known.remove(&tracker.number.replace(number));
        known.insert(number, Rc::clone(tracker));
    }

    /// It tracks no longer; its connections are closed when they have nothing to do.
    pub(crate) fn end(&self, tracker: &Tracker<T>) {
        tracker.ended.set(true);
        self.known.borrow_mut().remove(&tracker.number.get());
    }

    /// Whose connection this is, if it is one client's alone.
    pub(super) fn of(&self, traffic: Traffic) -> Option<Rc<Tracker<T>>> {
        match traffic {
            Traffic::Own(number) => self.known.borrow().get(&number).cloned(),
            Traffic::Usual | Traffic::Large => None,
        }
    }

    /// Whether a connection was one client's alone and is no longer anyone's.
    pub(super) fn have_left(&self, traffic: Traffic) -> bool {
        matches!(traffic, Traffic::Own(number) if !self.known.borrow().contains_key(&number))
    }
}

impl<T: ReplyTo + 'static> Link<T> {
    /// What stands before a command on a connection that is one client's alone: fences that have come up since the last
    /// one, and whether the keys that it reads are to be tracked.
    #[cold]
    pub(super) fn say_first(&self) {
        let Some(tracker) = &self.tracker else { return };
        let mut exchange = self.exchange.borrow_mut();
        if !exchange.is_between_commands() {
            return;
        }
        let now = self.context.turn.now();
        if self.fences.count() != self.fenced.get() {
            let (new, count) = self.fences.since(self.fenced.get());
            self.fenced.set(count);
            for identity in new {
                let words = identity.kill_words();
                encode::array(exchange.out(), words.len());
                words.iter().for_each(|word| encode::bulk(exchange.out(), word.as_bytes()));
                exchange.commit_fence(now);
            }
        }
        if let Some(says) = tracker.caching() {
            let word = if says { "YES" } else { "NO" };
            encode::array(exchange.out(), 3);
            ["CLIENT", "CACHING", word].iter().for_each(|word| encode::bulk(exchange.out(), word.as_bytes()));
            exchange.commit_fence(now);
        }
    }

    /// Whether [`Tracker::opts_in`] holds for the connection.
    pub(super) fn opts_in(&self) -> bool {
        self.tracker.as_ref().is_some_and(|tracker| tracker.opts_in())
    }

    /// Why the node refuses to track, if it does.
    pub(crate) fn refuses_to_track(&self) -> Option<String> {
        let why = self.why.borrow();
        (self.state.get() == State::Down && why.starts_with(REFUSES)).then(|| why.clone())
    }

    /// Waits until the connection is made or is known not to be, for the connect timeout at most.
    pub(crate) async fn settled(&self) {
        let wait = async {
            while self.state.get() == State::Connecting {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // one that takes longer is made later
        let _ = tokio::time::timeout(self.context.timeouts.connect, wait).await;
    }
}
