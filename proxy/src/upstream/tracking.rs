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

use super::Traffic;
use super::exchange::{ReplyTo, When};
use super::link::{Link, State};

/// The message by which a server that was flushed has its clients forget all keys.
pub(crate) const FORGET_ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";
/// How a message begins that names keys to forget.
pub(super) const INVALIDATION: &[u8] = b">2\r\n$10\r\ninvalidate\r\n";

/// One client that tracks, from `CLIENT TRACKING ON` until it is off.
pub(crate) struct Tracker<T> {
    number: u64,
    request: Vec<u8>,
    opts_in: bool,
    to: T,
    says: Cell<Option<bool>>,
    ended: Cell<bool>,
}

impl<T: ReplyTo> Tracker<T> {
    /// Which connections are its own.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic::Own(self.number)
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
    /// A client tracks from now on. `request` turns tracking on at a node; messages go to `to`.
    pub(crate) fn start(&self, request: Vec<u8>, opts_in: bool, to: T) -> Rc<Tracker<T>> {
        let number = self.last.get() + 1;
        self.last.set(number);
        let (says, ended) = (Cell::new(None), Cell::new(false));
        let tracker = Rc::new(Tracker { number, request, opts_in, to, says, ended });
        self.known.borrow_mut().insert(number, Rc::clone(&tracker));
        tracker
    }

    /// It tracks no longer; its connections are closed when they have nothing to do.
    pub(crate) fn end(&self, tracker: &Tracker<T>) {
        tracker.ended.set(true);
        self.known.borrow_mut().remove(&tracker.number);
    }

    /// Whose connection this is, if it is one client's alone.
    pub(super) fn of(&self, traffic: Traffic) -> Option<Rc<Tracker<T>>> {
        match traffic {
            Traffic::Own(number) => self.known.borrow().get(&number).cloned(),
            Traffic::Usual | Traffic::Large => None,
        }
    }

    /// Whether the connection was one client's alone and is no longer anyone's.
    pub(super) fn has_ended(&self, traffic: Traffic) -> bool {
        matches!(traffic, Traffic::Own(number) if !self.known.borrow().contains_key(&number))
    }
}

impl<T: ReplyTo + 'static> Link<T> {
    /// Tells the node, ahead of a command, whether the keys that it reads are to be tracked.
    #[cold]
    pub(super) fn say_caching(&self) {
        let Some(says) = self.tracker.as_ref().and_then(|tracker| tracker.caching()) else { return };
        let mut exchange = self.exchange.borrow_mut();
        if exchange.is_between_commands() {
            let request: &[u8] = match says {
                true => b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n",
                false => b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$2\r\nNO\r\n",
            };
            exchange.out().extend_from_slice(request);
            exchange.commit_fence(self.context.turn.now());
        }
    }

    /// Whether [`Tracker::opts_in`] holds for the connection.
    pub(super) fn opts_in(&self) -> bool {
        self.tracker.as_ref().is_some_and(|tracker| tracker.opts_in())
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
