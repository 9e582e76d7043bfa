//! Clients that move large values take connections which they share with their like.
//!
//! Replies come over a connection one after the other, so that whoever stands behind a value of many megabytes waits until
//! all of it has passed. A client is known by what it has moved: from its first large reply on, or from a large command of
//! its own on, its commands go over to [`Traffic::Large`], once nothing is awaited on the connections it used before
//! (`Session::follows`, law I2). A while after its last large value it goes back.

use std::rc::Rc;
use std::time::Instant;

use super::{Client, Inner, SlotRef};
use crate::command::Command;
use crate::limits::{LARGE_VALUE_BYTES, LARGE_VALUE_TIME};
use crate::upstream::{Link, Traffic};

/// A command of more bytes is handed over rather than copied; it was gathered in a buffer of its own.
pub(super) const LARGE_BYTES: usize = 64 * 1024;

/// What was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// A command.
    Command,
    /// A piece of the reply to the command of this number.
    Reply(u64),
}

/// Which connections a client takes, and is to take.
#[derive(Debug, Default)]
pub(super) struct LargeValues {
    now: Traffic,
    next: Traffic,
    /// The reply that comes in pieces, and how many bytes have come of it.
    reply: (u64, usize),
    /// When the last large value was moved.
    last: Option<Instant>,
}

impl LargeValues {
    /// The connections that its commands take.
    #[inline]
    pub(super) fn now(&self) -> Traffic {
        self.now
    }

    /// The connections that its commands are to take from now on are its own, or no longer.
    pub(super) fn own(&mut self, own: Option<Traffic>) {
        self.next = own.unwrap_or_default();
    }

    /// So many bytes were moved; true when the client is to go over to other connections.
    pub(super) fn moved(&mut self, value: Value, bytes: usize, at: Instant) -> bool {
        let moved = match value {
            Value::Command => bytes,
            Value::Reply(number) => {
                let before = if self.reply.0 == number { self.reply.1 } else { 0 };
                self.reply = (number, before + bytes);
                self.reply.1
            }
        };
        if moved < LARGE_VALUE_BYTES {
            return false;
        }
        self.last = Some(at);
        self.goes_to(Traffic::Large)
    }

    /// True when the client is to go back.
    pub(super) fn cool_down(&mut self, now: Instant) -> bool {
        let Some(_) = self.last.filter(|last| now.saturating_duration_since(*last) > LARGE_VALUE_TIME) else {
            return false;
        };
        self.last = None;
        self.goes_to(Traffic::Usual)
    }

    /// Goes over to the connections that it is to take.
    pub(super) fn follow(&mut self) {
        self.now = self.next;
    }

    fn goes_to(&mut self, traffic: Traffic) -> bool {
        // who has connections of its own is in nobody's way
        if matches!(self.next, Traffic::Own(_)) {
            return false;
        }
        std::mem::replace(&mut self.next, traffic) != traffic
    }
}

/// Lets the link take the client's own buffer where this command fills most of it, instead of a copy. The caller of
/// [`super::session::dispatch`] does so before anything else is handled.
#[cold]
pub(super) fn hand_over(
    client: &Rc<Client>,
    inner: &mut Inner,
    link: &Rc<Link<SlotRef>>,
    len: usize,
    command: &'static Command,
) -> bool {
    if len <= inner.lent / 2 || inner.lent == 0 || !link.is_usable() {
        return false;
    }
    let number = inner.pipeline.wait(len);
    link.promise(len, SlotRef { client: Rc::clone(client), number, part: 0 }, command);
    inner.taken_by = Some((Rc::clone(link), len));
    client.worker.stats.commands_read.add(1);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_by_one_large_value_not_by_many_small_ones() {
        let (mut traffic, now) = (LargeValues::default(), Instant::now());
        for number in 0..100 {
            assert!(!traffic.moved(Value::Reply(number), LARGE_VALUE_BYTES / 2, now));
        }
        assert!(!traffic.moved(Value::Command, LARGE_VALUE_BYTES - 1, now));
        assert!(!traffic.moved(Value::Reply(100), LARGE_VALUE_BYTES / 2, now));
        assert!(traffic.moved(Value::Reply(100), LARGE_VALUE_BYTES / 2, now));
        assert!(!traffic.moved(Value::Command, LARGE_VALUE_BYTES, now), "it goes over once");
    }

    #[test]
    fn it_goes_over_when_told_to_and_back_a_while_after_its_last_large_value() {
        let (mut traffic, now) = (LargeValues::default(), Instant::now());
        assert!(traffic.moved(Value::Command, LARGE_VALUE_BYTES, now));
        assert_eq!(traffic.now(), Traffic::Usual);
        traffic.follow();
        assert_eq!(traffic.now(), Traffic::Large);
        assert!(!traffic.cool_down(now + LARGE_VALUE_TIME));
        assert!(!traffic.moved(Value::Command, LARGE_VALUE_BYTES, now + LARGE_VALUE_TIME));
        assert!(!traffic.cool_down(now + LARGE_VALUE_TIME + LARGE_VALUE_TIME / 2));
        assert!(traffic.cool_down(now + 3 * LARGE_VALUE_TIME));
        assert!(!traffic.cool_down(now + 4 * LARGE_VALUE_TIME));
        traffic.follow();
        assert_eq!(traffic.now(), Traffic::Usual);
    }
}
