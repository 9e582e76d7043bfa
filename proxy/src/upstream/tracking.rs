//! Connections that are one client's alone, on which nodes tell it of the keys that it read (`CLIENT TRACKING`).
//!
//! ```text
//!   RESP3   client ── Link (Traffic::Own) ── node     greeted with CLIENT TRACKING ON …; all its commands take it
//!                  ◄── replies and invalidations, in the order in which the node sent them
//!
//!   RESP2   client ── Link (Traffic::Own) ── node     CLIENT TRACKING ON REDIRECT to the other one
//!                  ◄─ Link (Traffic::Ear) ── node     of RESP3, since RESP2 has no place for messages
//! ```
//! A node sends an invalidation over the connection that read the key, in its place between the replies, or over the one
//! that this one names. What it says is passed on as it is, so that every mode of tracking works as with one server. Where
//! a node can no longer tell, the client is told to forget everything: a connection was lost, or keys have moved to another
//! node.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::Traffic;
use super::connect::Unmade;
use super::exchange::{ReplyTo, When};
use super::link::{Link, State};
use crate::resp::encode;

/// The message by which a server that was flushed has its clients forget all keys.
pub(crate) const FORGET_ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";
/// How a node's reason begins that does not track.
pub(super) const REFUSES: &str = "it refuses CLIENT TRACKING";
/// How a message begins that names keys to forget.
pub(crate) const INVALIDATION: &[u8] = b">2\r\n$10\r\ninvalidate\r\n";

/// One client that tracks, from `CLIENT TRACKING ON` until it is off.
pub(crate) struct Tracker<T: ReplyTo> {
    number: Cell<u64>,
    wish: RefCell<Wish>,
    /// How often the wish has changed.
    changes: Cell<u64>,
    to: T,
    /// Its connections, those that still end included.
    links: RefCell<Vec<Weak<Link<T>>>>,
    /// How many of them are not over.
    open: Cell<usize>,
    /// Leave to have the connections.
    permit: RefCell<Option<OwnedSemaphorePermit>>,
    says: Cell<Option<bool>>,
    settled: Cell<bool>,
    ended: Cell<bool>,
}

/// What a client asks for by `CLIENT TRACKING ON`.
pub(crate) struct Wish {
    /// The words that turn tracking on at a node.
    pub(crate) words: Words,
    /// Keys are tracked that the client names beforehand, and no others.
    pub(crate) opts_in: bool,
    /// It hears of keys that it has not read.
    pub(crate) broadcast: bool,
}

/// The words of a command.
pub(crate) type Words = Vec<Box<[u8]>>;

/// The connection on which a client of RESP2 hears of the keys that it reads on another one.
pub(super) struct Ear<T: ReplyTo> {
    pub(super) link: Rc<Link<T>>,
    /// As which the node knew it when it was named.
    named: Cell<Option<i64>>,
}

impl<T: ReplyTo> Ear<T> {
    pub(super) fn new(link: Rc<Link<T>>) -> Self {
        Self { link, named: Cell::new(None) }
    }

    /// Whether it can be named.
    pub(super) fn is_there(&self) -> bool {
        self.link.id.get().is_some()
    }

    /// Why it cannot, and will not soon.
    pub(super) fn why_not(&self) -> Option<String> {
        let why = match self.link.state.get() {
            State::Connecting => return None,
            State::Up => "the node does not answer CLIENT ID".to_owned(),
            State::Down => self.link.why.borrow().clone(),
        };
        Some(format!("no connection to hear of keys on: {why}"))
    }
}

/// What turns tracking on, with messages to the connection of the number `ear`, if not to the same one.
fn request(words: &[Box<[u8]>], ear: Option<i64>) -> Vec<u8> {
    let redirect = ear.map(|id| [(*b"REDIRECT").into(), id.to_string().into_bytes().into()]);
    let mut out = Vec::new();
    encode::request(&mut out, &[words, redirect.as_ref().map_or(&[], |words| &words[..])].concat());
    out
}

impl<T: ReplyTo + 'static> Tracker<T> {
    /// Which connections are its own.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic::Own(self.number.get())
    }

    /// Asks for something else from now on and says so in the words `said`. A connection that is not there yet will ask for
    /// what holds by then. Returns those that read, which may not have been answered.
    pub(crate) fn change(&self, wish: Wish, said: &[Box<[u8]>]) -> Vec<Rc<Link<T>>> {
        self.wish.replace(wish);
        self.changes.update(|changes| changes + 1);
        let mut links = self.links();
        links.retain(|link| link.reader().is_some() && !link.retired.get());
        links.iter().filter(|link| link.state.get() == State::Up).for_each(|link| link.ask(said));
        links
    }

    /// A connection of its own begins.
    pub(super) fn has(&self, link: &Rc<Link<T>>) {
        let mut links = self.links.borrow_mut();
        links.retain(|link| link.strong_count() > 0);
        links.push(Rc::downgrade(link));
        self.open.update(|open| open + 1);
    }

    /// One of them is over for good.
    pub(super) fn has_no_more(&self) {
        self.open.update(|open| open - 1);
        self.give_back();
    }

    /// Others may have as many connections, once the last one is over.
    fn give_back(&self) {
        if self.ended.get() && self.open.get() == 0 {
            self.permit.take();
        }
    }

    fn links(&self) -> Vec<Rc<Link<T>>> {
        self.links.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Has leave for more connections.
    pub(crate) fn permit(&self, more: OwnedSemaphorePermit) {
        match &mut *self.permit.borrow_mut() {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
    }

    /// Whether keys are tracked that the client names beforehand, and no others. A read that is sent again on the next
    /// connection would not be.
    fn opts_in(&self) -> bool {
        self.wish.borrow().opts_in
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
        if self.wish.borrow().broadcast && self.settled.get() {
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
pub(crate) struct Trackers<T: ReplyTo> {
    last: Cell<u64>,
    known: RefCell<HashMap<u64, Rc<Tracker<T>>>>,
}

impl<T: ReplyTo> Default for Trackers<T> {
    fn default() -> Self {
        Self { last: Cell::new(0), known: RefCell::default() }
    }
}

impl<T: ReplyTo + 'static> Trackers<T> {
    /// A client tracks from now on; messages go to `to`.
    pub(crate) fn start(&self, wish: Wish, permit: OwnedSemaphorePermit, to: T) -> Rc<Tracker<T>> {
        let tracker = Rc::new(Tracker {
            number: Cell::new(0),
            wish: RefCell::new(wish),
            changes: Cell::new(0),
            to,
            links: RefCell::default(),
            open: Cell::new(0),
            permit: RefCell::new(Some(permit)),
            says: Cell::new(None),
            settled: Cell::new(false),
            ended: Cell::new(false),
        });
        self.renew(&tracker);
        tracker
    }

    /// It takes new connections from now on. The former ones are closed once they have nothing to do, and never taken again.
    pub(crate) fn renew(&self, tracker: &Rc<Tracker<T>>) {
        tracker.links().iter().for_each(|link| link.retire());
        let number = self.last.get() + 1;
        self.last.set(number);
        let mut known = self.known.borrow_mut();
        known.remove(&tracker.number.replace(number));
        known.insert(number, Rc::clone(tracker));
    }

    /// It tracks no longer; its connections are closed once they have nothing to do.
    pub(crate) fn end(&self, tracker: &Tracker<T>) {
        tracker.links().iter().for_each(|link| link.retire());
        tracker.ended.set(true);
        tracker.give_back();
        self.known.borrow_mut().remove(&tracker.number.get());
    }

    /// Whose connection this is, if it is one client's alone.
    pub(super) fn of(&self, traffic: Traffic) -> Option<Rc<Tracker<T>>> {
        match traffic {
            Traffic::Own(number) | Traffic::Ear(number) => self.known.borrow().get(&number).cloned(),
            Traffic::Usual | Traffic::Large => None,
        }
    }

    /// Whether a connection was one client's alone and is no longer anyone's.
    pub(super) fn have_left(&self, traffic: Traffic) -> bool {
        matches!(traffic, Traffic::Own(number) | Traffic::Ear(number) if !self.known.borrow().contains_key(&number))
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
            let server = self.server();
            for identity in new.iter().filter(|identity| identity.is_known_to(server)) {
                encode::request(exchange.out(), &identity.kill_words());
                exchange.commit_fence(now);
            }
        }
        if let Some(says) = tracker.caching() {
            let word = if says { "YES" } else { "NO" };
            encode::request(exchange.out(), &["CLIENT", "CACHING", word]);
            exchange.commit_fence(now);
        }
    }

    /// What turns tracking on here, as a request, if anything is to.
    ///
    /// # Errors
    /// [`Unmade::Outdated`]: the connection that is to be named is not there any more.
    pub(super) fn tracking(&self) -> Result<Option<Vec<u8>>, Unmade> {
        // nobody wants to be told any more of what is read on one that ends
        let Some(tracker) = self.reader().filter(|_| !self.retired.get()) else { return Ok(None) };
        if let Some(ear) = &self.ear {
            ear.named.set(Some(ear.link.id.get().ok_or(Unmade::Outdated)?));
        }
        Ok(Some(request(&tracker.wish.borrow().words, self.named_ear())))
    }

    fn named_ear(&self) -> Option<i64> {
        self.ear.as_ref()?.named.get()
    }

    /// The client that tracks and reads here.
    pub(super) fn reader(&self) -> Option<&Rc<Tracker<T>>> {
        self.tracker.as_ref().filter(|_| !matches!(self.lane.traffic, Traffic::Ear(_)))
    }

    /// How often what the client asks for has changed.
    pub(super) fn wish_changes(&self) -> u64 {
        self.reader().map_or(0, |tracker| tracker.changes.get())
    }

    /// Gives the connection up when the one is gone on which the node was told to speak.
    pub(super) fn check_ear(&self) {
        let is_gone = |ear: &Ear<T>| ear.link.id.get() != ear.named.get();
        if self.state.get() == State::Up && !self.retired.get() && self.ear.as_ref().is_some_and(is_gone) {
            *self.broken.borrow_mut() = Some("the connection to hear of keys on was lost".into());
            self.wake();
        }
    }

    /// Has the node track as these words say, whatever it answers.
    fn ask(self: &Rc<Self>, words: &[Box<[u8]>]) {
        let request = request(words, self.named_ear());
        self.append(|out| out.extend_from_slice(&request));
        self.commit_fence();
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

    /// Waits until the connection is made or is known not to be, and the node has answered all that it was sent; for the
    /// connect timeout at most.
    pub(crate) async fn settled(&self) {
        let awaits = || self.state.get() == State::Up && !self.exchange.borrow().is_idle();
        let wait = async {
            while self.state.get() == State::Connecting || awaits() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // one that takes longer is made later
        let _ = tokio::time::timeout(self.context.timeouts.connect, wait).await;
    }
}
