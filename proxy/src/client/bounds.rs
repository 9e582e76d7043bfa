//! What a client may hold and how long it may keep others waiting; how it leaves.

use std::time::{Duration, Instant};

use super::client_commands::set_held;
use super::session::Unusual;
use super::{Client, Inner, Reading, exclusive, subscriptions};
use crate::net::Endpoint;
use crate::stats::ClosedFor;

/// Who takes no byte of its replies for so long does not only read slowly.
const TAKES_NOTHING: Duration = Duration::from_millis(200);
/// By how much the room for its replies grows each time.
const ROOM_GROWS_BY: usize = 4;

impl Client {
    /// Looks for a client that has waited, or kept others waiting, for too long; called now and then.
    pub(crate) fn check(&self, now: Instant) {
        let mut inner = self.inner.borrow_mut();
        let limits = &self.worker.shared.settings.limits;
        let over = |since: Option<Instant>, limit: Duration| {
            since.is_some_and(|since| now.saturating_duration_since(since) > limit)
        };
        let why = if over(inner.stuck_since, limits.reply_stuck) {
            Some(ClosedFor::UnreadReplies)
        } else if over(inner.incomplete_since, limits.command_incomplete) {
            Some(ClosedFor::IncompleteCommand)
        } else if let Some(why) = self.is_in_part(&inner, now) {
            Some(why)
        } else if over(inner.session.identity.stranger_since(), limits.authentication) {
            Some(ClosedFor::NoAuthentication)
        } else {
            None
        };
        if let Some(why) = why {
            drop(inner);
            return self.close_for(why);
        }
        if exclusive::has_left(self, &inner) || subscriptions::is_behind(self, &mut inner, now) {
            drop(inner);
            return self.close();
        }
        self.make_room(&mut inner, now);
        inner.session.cool_down(now);
        if self.active.replace(false) {
            self.last_seen.set(now);
        } else {
            inner.pipeline.shrink();
        }
        self.account(&inner);
    }

    /// Many a library writes a whole pipeline before it reads the first reply. It would wait for ever for who reads no more of
    /// it until it has taken some, so one that takes nothing is read on in steps, up to a quarter of what it may leave unread.
    /// Not if its replies are long: few commands would fill any room.
    fn make_room(&self, inner: &mut Inner, now: Instant) {
        let limits = &self.worker.shared.settings.limits;
        let (least, most) = (limits.reply_soft_bytes, limits.reply_hard_bytes / 4);
        match inner.stuck_since {
            None => inner.reply_room = least,
            Some(since) if now.saturating_duration_since(since) < TAKES_NOTHING => {}
            Some(_) if inner.pipeline.reply_bytes() < inner.reply_room || !inner.pipeline.is_of_short() => {}
            Some(_) => {
                let more = inner.reply_room.saturating_mul(ROOM_GROWS_BY).min(most);
                if more > inner.reply_room {
                    inner.reply_room = more;
                    self.wake();
                }
            }
        }
    }

    /// Reads no more of a client that does not speak Redis's protocol, so that it is closed.
    pub(super) fn refuse_protocol(&self, inner: &mut Inner) {
        if let Some(clients) = self.worker.said.other_protocol.happened(self.worker.turn.now()) {
            let peer = inner.session.peer.clone();
            tracing::warn!(%peer, clients, "a client speaks HTTP or TLS on the Redis port; closed");
        }
        inner.reading = Reading::Refused;
    }

    /// Why it is closed whose TLS handshake, or a record that has begun, does not come to its end in time.
    fn is_in_part(&self, inner: &Inner, now: Instant) -> Option<ClosedFor> {
        let limits = &self.worker.shared.settings.limits;
        let (why, limit) = if self.stream.is_shaking_hands() {
            (ClosedFor::NoHandshake, limits.authentication)
        } else if self.stream.has_incomplete()
            // a large command comes in many records, and one of them is always incomplete
            && !self.active.get()
            // and nobody sends more of what is not read
            && !inner.paused
            && self.worker.memory.admits(self.held.get())
            && self.may_read(inner)
        {
            (ClosedFor::IncompleteCommand, limits.command_incomplete)
        } else {
            self.in_part_since.set(None);
            return None;
        };
        let since = self.in_part_since.get().unwrap_or(now);
        self.in_part_since.set(Some(since));
        (now.saturating_duration_since(since) > limit).then_some(why)
    }

    /// What was wrong with what a client sent over TLS; other errors say only that it is gone.
    pub(super) fn note_tls_error(&self, error: &std::io::Error) {
        if error.kind() != std::io::ErrorKind::InvalidData {
            return;
        }
        self.worker.stats.closed.count(ClosedFor::NoHandshake);
        if let Some(clients) = self.worker.said.bad_tls.happened(self.worker.turn.now()) {
            let peer = self.peer();
            tracing::warn!(%peer, clients, %error, "TLS with clients failed; the reason is the last one's");
        }
    }

    /// Goes on after a wrong password.
    pub(super) fn end_penalty(&self) {
        self.inner.borrow_mut().session.set(Unusual::Penalized, false);
        self.wake();
    }

    /// Whether it could go on but for memory.
    pub(crate) fn waits_for_memory(&self, readable: usize) -> bool {
        self.held.get() > readable && !self.closed.get() && self.may_read(&self.inner.borrow())
    }

    /// Ends the connection without another word and counts why.
    pub(crate) fn close_for(&self, why: ClosedFor) {
        if !self.closed.get() {
            self.worker.stats.closed.count(why);
        }
        self.close();
    }

    /// Drops what is held for a client that is closed; what is in flight for it is read and dropped by whoever has it.
    pub(crate) fn discard(&self) {
        self.hears_no_more();
        let mut inner = self.inner.borrow_mut();
        self.worker.stats.replies_dropped.add(inner.pipeline.unfinished());
        inner.session.running = None;
        set_held(&self.worker, &mut inner.session, false);
        inner.session.transaction.end(&self.worker);
        inner.pipeline.discard();
        inner.pending = Vec::new();
        self.account(&inner);
    }

    /// Tells the worker how much memory is held, if that has changed; once a turn is enough.
    pub(super) fn account(&self, inner: &Inner) {
        let own = inner.pending.len() + inner.pipeline.held_bytes() + inner.session.held_bytes();
        let now = own + self.stream.held_bytes();
        let before = self.held.replace(now);
        if before != now && self.worker.memory.changed(before, now) {
            self.worker.turn.schedule();
        }
    }

    /// Bytes of memory held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.get()
    }

    /// The other end.
    pub(crate) fn peer(&self) -> Endpoint {
        self.inner.borrow().session.peer.clone()
    }

    /// Clients that hold no more than `readable` may be read again.
    pub(crate) fn read_again(&self, readable: usize) {
        if self.held.get() <= readable && self.inner.borrow().paused {
            self.wake();
        }
    }
}

/// Takes a client out of its worker's books, however its task ends.
pub(super) struct Leave<'a> {
    pub(super) client: &'a Client,
    pub(super) id: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let Self { client, id } = self;
        client.closed.set(true);
        client.worker.clients.borrow_mut().remove(id);
        client.worker.stats.clients_changed(-1);
        if std::thread::panicking() {
            client.worker.stats.closed.count(ClosedFor::Panic);
            client.worker.forget_half_done();
        }
        // what is still in flight for this client holds it, but neither its memory nor its peer
        client.stream.shutdown();
        client.discard();
    }
}
