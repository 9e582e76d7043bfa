//! `CLIENT TRACKING … REDIRECT`: another client, on whatever worker, is told of the keys that one has read.
//!
//! In RESP3 it is told by push messages, in RESP2 while it listens to any channel, as if they were published on
//! `__redis__:invalidate`; else it hears nothing. When it is gone, the one that tracks is told so with every message.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::{Client, Reading};
use crate::resp::reply::{ReplyScan, ReplyScanner};
use crate::resp::{Protocol, encode};
use crate::upstream::{INVALIDATION, When};
use crate::worker::{ToWorker, Worker};

/// The channel on which a client of RESP2 hears of keys.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// How often it is looked whether the replies have left behind which a message is to come: at first, and at last.
const LOOKS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(100)];

/// Who is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    id: u64,
    /// Its place among the workers.
    worker: usize,
}

impl Target {
    /// The client of this number, if there is one.
    pub(super) async fn find(id: u64, worker: &Worker) -> Option<Self> {
        let place =
            move |worker: Rc<Worker>| std::future::ready(there(&worker, id).map(|_| worker.hub.worker()));
        let worker = worker.shared.gather(place).await.into_iter().flatten().next()?;
        Some(Self { id, worker })
    }

    /// Passes a message on for `client`, which tracks; behind all its replies if they are awaited.
    pub(super) fn tell(self, client: &Rc<Client>, message: &[u8], when: When) {
        let (client, message) = (Rc::clone(client), Box::from(message));
        let mark = client.inner.borrow().pipeline.mark();
        if when == When::Now || client.inner.borrow().pipeline.has_left(mark) {
            return self.pass_on(client, message);
        }
        tokio::task::spawn_local(async move {
            let [mut look, longest] = LOOKS;
            while !client.closed.get() && !client.inner.borrow().pipeline.has_left(mark) {
                tokio::time::sleep(look).await;
                look = (look * 2).min(longest);
            }
            self.pass_on(client, message);
        });
    }

    fn pass_on(self, client: Rc<Client>, message: Box<[u8]>) {
        let Self { id, worker } = self;
        let Some(worker) = client.worker.shared.workers.get(worker) else { return };
        let (answer, answered) = oneshot::channel();
        let hand_over = move |worker: &Rc<Worker>| {
            let other = there(worker, id);
            if let Some(other) = &other {
                other.overhear(&message);
            }
            // the one that tracks may be gone by now
            let _ = answer.send(other.is_some());
        };
        // a worker that has ended has no clients left
        let _ = worker.sender.send(ToWorker::Run(Box::new(hand_over)));
        tokio::task::spawn_local(async move {
            if answered.await == Ok(false) {
                client.tells_nobody(id);
            }
        });
    }
}

/// The client of this number, unless it is about to go.
fn there(worker: &Worker, id: u64) -> Option<Rc<Client>> {
    let client = worker.clients.borrow().get(&id).cloned()?;
    let goes = client.closed.get() || client.inner.borrow().reading == Reading::Refused;
    (!goes).then_some(client)
}

impl Client {
    /// Messages about keys that another client has read.
    fn overhear(self: &Rc<Self>, messages: &[u8]) {
        if !self.inner.borrow().session.has_place_for_messages() {
            return;
        }
        self.push_by(|session, pipeline| match session.protocol {
            Protocol::Resp3 => pipeline.told(messages, When::Now),
            // not before it knows that it listens
            Protocol::Resp2 => pipeline.told(&published(messages), When::Last),
        });
    }

    /// The one that was to be told is gone.
    fn tells_nobody(self: &Rc<Self>, id: u64) {
        match &mut self.inner.borrow_mut().session.tracking {
            Some(tracking) if tracking.redirect() == Some(id) => tracking.is_broken = true,
            // it has chosen someone else since, or nobody
            _ => return,
        }
        let mut message = Vec::new();
        encode::push(&mut message, Protocol::Resp3, 2);
        encode::bulk(&mut message, b"tracking-redir-broken");
        encode::integer(&mut message, id as i64);
        self.told_itself(&message, When::Now);
    }
}

/// Invalidations as they are published in RESP2.
fn published(mut messages: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(rest) = messages.strip_prefix(INVALIDATION) {
        let Ok(ReplyScan::Complete(len)) = ReplyScanner::default().scan(rest) else { break };
        let (keys, after) = rest.split_at(len);
        encode::array(&mut out, 3);
        encode::bulk(&mut out, b"message");
        encode::bulk(&mut out, CHANNEL);
        out.extend_from_slice(if keys == b"_\r\n" { b"*-1\r\n" } else { keys });
        messages = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::FORGET_ALL;

    #[test]
    fn every_message_is_published_for_itself() {
        let mut messages = FORGET_ALL.to_vec();
        messages.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$3\r\n>2\r\r\n");
        messages.extend_from_slice(FORGET_ALL);
        let all = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*-1\r\n";
        let two = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*2\r\n$1\r\na\r\n$3\r\n>2\r\r\n";
        assert_eq!(published(&messages), [all, two, all].concat().into_bytes());
        assert!(published(b"").is_empty());
    }
}
