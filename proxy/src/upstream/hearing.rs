//! What a listening connection has asked its node for, and what the node says: confirmations and messages by turns.
//!
//! ```text
//!   listen, leave ─► out ─► node          asks: [subscribe a][unsubscribe b][ping]   answered in this order
//!   node ─► frames:  message …  confirmation of the first ask …  message …
//! ```
//! No IO and no clock. The connection speaks RESP2, in which every message is an array that says what it is. A
//! confirmation that does not fit the first ask ends the connection, as does anything that is neither.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::asking::{Asking, KEEP_BYTES};
use crate::command::SubscriptionKind;
use crate::pubsub::Topic;
use crate::resp::reply::{self, ReplyScan, ReplyScanner};
use crate::resp::{Protocol, encode};

/// How a topic stands on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It will be asked for as soon as the connection, which is being made, is there; somebody waits for it.
    Due,
    /// It will be asked for when the node is back.
    Away,
    /// Asked for, by the ask of this number.
    Asked(u64),
    /// Confirmed: messages come.
    Here,
}

#[derive(Debug)]
struct Wish {
    topic: Rc<Topic>,
    standing: Standing,
}

/// What the node is asked for.
#[derive(Debug)]
pub(super) enum Ask {
    Listen(Rc<Topic>, u64),
    Leave(Rc<Topic>),
    /// Whether it is there.
    Probe,
}

/// A message as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: SubscriptionKind,
    /// The channel or pattern that was asked for.
    pub(crate) topic: &'a [u8],
    /// All of it in RESP2.
    pub(crate) frame: &'a [u8],
}

/// What became of a topic.
#[derive(Debug)]
pub(super) enum Event {
    /// All nodes that can answer have.
    Settled(Rc<Topic>),
    /// The node will not have it; its words.
    Refused(Rc<Topic>, String),
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Hearing {
    wanted: HashMap<(SubscriptionKind, Arc<[u8]>), Wish>,
    pub(super) asking: Asking<Ask>,
    next: u64,
    scanner: ReplyScanner,
    /// The beginning of a frame whose end has not come.
    partial: Vec<u8>,
    /// How many bytes of `partial` the scanner has used.
    scanned: usize,
}

impl Hearing {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            wanted: HashMap::new(),
            asking: Asking::new(now),
            next: 0,
            scanner: ReplyScanner::default(),
            partial: Vec::new(),
            scanned: 0,
        }
    }

    /// Asks for a topic while the connection is up.
    pub(super) fn listen(&mut self, topic: &Rc<Topic>, now: Instant) {
        topic.asked();
        let number = self.ask_to_listen(topic, now);
        self.want(topic, Standing::Asked(number));
    }

    fn want(&mut self, topic: &Rc<Topic>, standing: Standing) {
        self.wanted.insert(topic.key(), Wish { topic: Rc::clone(topic), standing });
    }

    fn standing(&self, topic: &Topic) -> Option<Standing> {
        self.wanted.get(&topic.key()).map(|wish| wish.standing)
    }

    /// Notes a topic while there is no connection; `due` when one is being made that somebody waits for.
    pub(super) fn note(&mut self, topic: &Rc<Topic>, due: bool) {
        if due {
            topic.asked();
        }
        self.want(topic, if due { Standing::Due } else { Standing::Away });
    }

    /// A topic is not wanted any more; `up` when the node must be told.
    pub(super) fn leave(&mut self, topic: &Rc<Topic>, up: bool, now: Instant) {
        match self.wanted.remove(&topic.key()).map(|wish| wish.standing) {
            None => {}
            Some(_) if up => {
                topic.asked();
                self.ask(Ask::Leave(Rc::clone(topic)), topic.kind.unsubscribe(), topic, now);
            }
            Some(Standing::Due) => drop(topic.answered()),
            Some(_) => {}
        }
    }

    /// Whether messages of a topic come from this node.
    pub(super) fn is_here(&self, topic: &Rc<Topic>) -> bool {
        self.standing(topic) == Some(Standing::Here)
    }

    /// A new connection is up: asks for everything that is wanted.
    pub(super) fn arrived(&mut self, now: Instant) {
        self.asking.heard(now);
        let wanted = std::mem::take(&mut self.wanted);
        for Wish { topic, standing } in wanted.into_values() {
            if standing != Standing::Due {
                topic.asked();
            }
            let number = self.ask_to_listen(&topic, now);
            self.want(&topic, Standing::Asked(number));
        }
    }

    /// There is no connection, or none any more; nobody waits for this node. Returns the topics that are settled by it.
    pub(super) fn lost(&mut self) -> Vec<Rc<Topic>> {
        let mut settled = Vec::new();
        let mut answered = |topic: &Rc<Topic>| {
            if topic.answered() {
                settled.push(Rc::clone(topic));
            }
        };
        for wish in self.wanted.values_mut() {
            if std::mem::replace(&mut wish.standing, Standing::Away) == Standing::Due {
                answered(&wish.topic);
            }
        }
        for ask in self.asking.abandon() {
            if let Ask::Listen(topic, _) | Ask::Leave(topic) = ask {
                answered(&topic);
            }
        }
        (self.partial, self.scanned, self.scanner) = (Vec::new(), 0, ReplyScanner::default());
        settled
    }

    /// As [`Hearing::lost`], and nothing is wanted any more.
    pub(super) fn closed(&mut self) -> Vec<Rc<Topic>> {
        let settled = self.lost();
        self.wanted = HashMap::new();
        settled
    }

    fn ask_to_listen(&mut self, topic: &Rc<Topic>, now: Instant) -> u64 {
        self.next += 1;
        self.ask(Ask::Listen(Rc::clone(topic), self.next), topic.kind.subscribe(), topic, now);
        self.next
    }

    fn ask(&mut self, ask: Ask, verb: &str, topic: &Topic, now: Instant) {
        self.asking.push(ask, now, |out| encode::request(out, &[verb.as_bytes(), &*topic.name]));
    }

    /// Takes what the node said: messages go to `heard` at once, the rest to `events`.
    ///
    /// # Errors
    /// Why the connection must be closed.
    pub(super) fn received(
        &mut self,
        bytes: &[u8],
        now: Instant,
        longest: usize,
        events: &mut Vec<Event>,
        mut heard: impl FnMut(&Message<'_>),
    ) -> Result<(), String> {
        self.asking.heard(now);
        let mut have = std::mem::take(&mut self.partial);
        // most reads hold whole frames only, which need no copy
        let joined: &[u8] = if have.is_empty() {
            bytes
        } else {
            have.extend_from_slice(bytes);
            &have
        };
        let (mut start, mut scanned) = (0, std::mem::take(&mut self.scanned));
        while scanned < joined.len() {
            match self.scanner.scan(&joined[scanned..]).map_err(|error| error.to_string())? {
                ReplyScan::Complete(len) => {
                    let end = scanned + len;
                    self.frame(&joined[start..end], events, &mut heard)?;
                    (start, scanned) = (end, end);
                }
                ReplyScan::Partial(used) => {
                    scanned += used;
                    break;
                }
            }
        }
        let rest = joined.len() - start;
        if rest > longest {
            return Err("it sends a message longer than limits.subscriber_bytes".into());
        }
        self.scanned = scanned - start;
        if have.is_empty() {
            self.partial.extend_from_slice(&bytes[start..]);
        } else {
            have.drain(..start);
            if have.is_empty() {
                have.shrink_to(KEEP_BYTES);
            }
            self.partial = have;
        }
        Ok(())
    }

    fn frame(
        &mut self,
        frame: &[u8],
        events: &mut Vec<Event>,
        heard: &mut impl FnMut(&Message<'_>),
    ) -> Result<(), String> {
        const STRANGE: &str = "it says what was not asked of a listening connection";
        if let Some(message) = message(frame) {
            heard(&message);
            return Ok(());
        }
        let ask = self.asking.take().ok_or(STRANGE)?;
        if frame.first() == Some(&b'-') {
            return self.refused(ask, frame, events);
        }
        let fits = match &ask {
            Ask::Probe => is_pong(frame),
            Ask::Listen(topic, _) => confirms(frame, topic.kind.subscribe(), &topic.name),
            Ask::Leave(topic) => confirms(frame, topic.kind.unsubscribe(), &topic.name),
        };
        if !fits {
            // whoever waits for it is told when the connection is given up
            self.asking.give_back(ask);
            return Err(STRANGE.into());
        }
        match ask {
            Ask::Probe => {}
            Ask::Listen(topic, number) => {
                let wish = self.wanted.get_mut(&topic.key());
                if let Some(wish) = wish.filter(|wish| wish.standing == Standing::Asked(number)) {
                    wish.standing = Standing::Here;
                }
                settle(topic, events);
            }
            Ask::Leave(topic) => settle(topic, events),
        }
        Ok(())
    }

    fn refused(&mut self, ask: Ask, frame: &[u8], events: &mut Vec<Event>) -> Result<(), String> {
        let words = String::from_utf8_lossy(&frame[1..]).trim_end().to_owned();
        match ask {
            Ask::Probe => return Err(format!("it answers PING with: {words}")),
            Ask::Leave(topic) => settle(topic, events),
            Ask::Listen(topic, number) => {
                if self.standing(&topic) == Some(Standing::Asked(number)) {
                    self.wanted.remove(&topic.key());
                    events.push(Event::Refused(Rc::clone(&topic), words));
                }
                settle(topic, events);
            }
        }
        Ok(())
    }
}

fn settle(topic: Rc<Topic>, events: &mut Vec<Event>) {
    if topic.answered() {
        events.push(Event::Settled(topic));
    }
}

/// A message, if it is one.
fn message(frame: &[u8]) -> Option<Message<'_>> {
    let mut elements = reply::elements(frame).filter(|elements| matches!(elements.left(), 3 | 4))?;
    let kind = match reply::bulk(elements.next()?)? {
        b"message" => SubscriptionKind::Channel,
        b"pmessage" => SubscriptionKind::Pattern,
        b"smessage" => SubscriptionKind::Shard,
        _ => return None,
    };
    Some(Message { kind, topic: reply::bulk(elements.next()?)?, frame })
}

fn confirms(frame: &[u8], verb: &str, name: &[u8]) -> bool {
    let Some(mut elements) = reply::elements(frame).filter(|elements| elements.left() == 3) else {
        return false;
    };
    elements.next().and_then(reply::bulk) == Some(verb.as_bytes())
        && elements.next().and_then(reply::bulk) == Some(name)
}

/// While nothing is subscribed a node answers as usual.
fn is_pong(frame: &[u8]) -> bool {
    frame == b"+PONG\r\n" || frame == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
}

/// What every listening connection speaks.
pub(super) const PROTOCOL: Protocol = Protocol::Resp2;

#[cfg(test)]
#[path = "hearing_tests.rs"]
mod tests;
