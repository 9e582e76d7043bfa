//! The reading side of a link: replies come in until the connection ends.
//!
//! One rule beyond passing bytes on: a long reply is read no faster than its asker takes it, as long as the asker is
//! fast, so that a value of any size passes through little memory (law I6). All who wait for the node wait with
//! it, so a slow asker is not waited for; what it leaves is kept up to its hard limit (law I7).

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::exchange::ReplyTo;
use super::link::Link;
use crate::command::Command;
use crate::resp::reply;
use crate::stats::{NodeStats, Observation, Outcome};
use crate::turn;

/// Bytes of a long reply that may wait for its reader before the node is read no further.
const LONG_REPLY_BYTES: usize = 512 * 1024;
/// How long the reader of a long reply may take to catch up, in milliseconds.
const READER_PATIENCE_MS: usize = 50;

/// What a replica answers to a write.
const READ_ONLY: &[u8] = b"-READONLY ";

/// Why a conversation ended.
pub(super) enum End {
    /// By the node, or somewhere on the way to it.
    Closed(String),
    /// By this end: what the node sent is no reply to what it was asked.
    Distrusted(String),
    Stalled,
    Retired,
}

impl<T: ReplyTo + 'static> Link<T> {
    /// Reads replies until the connection ends.
    pub(super) async fn converse(&self) -> End {
        loop {
            if let Some(end) = poll_fn(|cx| self.poll_converse(cx)).await {
                return end;
            }
            self.wait_for_reader().await;
        }
    }

    /// Whether to let the asker of a long reply take some of it before more is read.
    fn is_ahead_of_reader(&self) -> bool {
        self.exchange.borrow().long_reply_backlog().is_some_and(|backlog| backlog > LONG_REPLY_BYTES)
    }

    /// Waits while the asker takes at least 50 MB/s. All who wait for this node wait with it, so a slower one is
    /// not waited for, neither here nor with its next replies, until it has caught up: what it leaves is kept, up to
    /// `limits.reply_hard_bytes` (laws I6 and I7).
    async fn wait_for_reader(&self) {
        let backlog = || self.exchange.borrow().long_reply_backlog().unwrap_or(0);
        let before = backlog();
        for _ in 0..READER_PATIENCE_MS {
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.forgive(Instant::now());
            if backlog() <= LONG_REPLY_BYTES / 2 {
                return;
            }
        }
        let taken = before.saturating_sub(backlog());
        if taken < READER_PATIENCE_MS * 50_000 {
            self.exchange.borrow().long_reply_lags();
        }
    }

    /// Ready with the end of the conversation, or with nothing when the reader of a long reply lags behind.
    fn poll_converse(&self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        self.remember_waker(cx);
        if let Poll::Ready(end) = self.poll_replies(cx) {
            return Poll::Ready(end);
        }
        if let Some(why) = self.broken.borrow_mut().take() {
            return Poll::Ready(Some(End::Closed(why)));
        }
        // replies that came make room for what waited for them
        if self.exchange.borrow().holds_back() {
            self.flush();
        }
        // replies that came in the meantime have cleared the suspicion
        if self.stalled.take()
            && self.exchange.borrow().is_stalled(Instant::now(), self.context.timeouts.operation)
        {
            return Poll::Ready(Some(End::Stalled));
        }
        if self.blocked.get() {
            let ready = self.stream.borrow().as_ref().map(|stream| stream.poll_write_ready(cx));
            if let Some(Poll::Ready(_)) = ready {
                self.blocked.set(false);
                self.flush();
                if self.blocked.get() {
                    // not writable after all: ask again, which registers for the next time
                    cx.waker().wake_by_ref();
                }
            }
        }
        if self.retired.get() && self.exchange.borrow().is_idle() {
            return Poll::Ready(Some(End::Retired));
        }
        Poll::Pending
    }

    /// Reads as long as there is something, but not for ever: others wait as well.
    fn poll_replies(&self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        let mut buffer = self.context.buffer.borrow_mut();
        for _ in 0..4 {
            let read = {
                let stream = self.stream.borrow();
                let Some(stream) = stream.as_ref() else { return Poll::Pending };
                match stream.poll_read(cx, &mut buffer) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(read) => read,
                }
            };
            match read {
                Ok(0) => return Poll::Ready(Some(End::Closed("it closed the connection".into()))),
                Err(error) => return Poll::Ready(Some(End::Closed(error.to_string()))),
                Ok(len) => {
                    if let Err(why) = self.received(&buffer[..len]) {
                        return Poll::Ready(Some(End::Distrusted(why)));
                    }
                    if self.is_ahead_of_reader() {
                        return Poll::Ready(None);
                    }
                    // a long reply is read piece by piece, so that it costs others no more than one piece at a time
                    if len == buffer.len() && self.exchange.borrow().is_streaming() {
                        break;
                    }
                }
            }
        }
        turn::go_on_in_the_next(cx);
        Poll::Pending
    }

    pub(super) fn received(&self, bytes: &[u8]) -> Result<(), String> {
        self.stats.bytes_in.add(bytes.len() as u64);
        // a node that sends is alive, however late this process comes to read it
        self.stalled.set(false);
        let now = self.context.turn.now();
        let stats = &*self.stats;
        // commands of one turn came at the same time, and most replies of one read are to such
        let took = |at: Instant| Observation::of(now.saturating_duration_since(at));
        let mut latest = (now, took(now));
        let result = self.exchange.borrow_mut().received(bytes, now, |command, at, reply| {
            let is_error = count(stats, command, reply);
            if is_error && reply.starts_with(READ_ONLY) {
                // a failover has made it a replica, and has not closed this connection
                self.context.ways.masters.doubt(&self.spec.address);
            }
            if at != latest.0 {
                latest = (at, took(at));
            }
            stats.seconds.add(latest.1);
        });
        result.map_err(|violation| violation.to_string())
    }
}

/// Counts an answered command, and for look-ups whether the key was there. Whether it was answered by an error.
#[inline]
fn count(stats: &NodeStats, command: &'static Command, reply: &[u8]) -> bool {
    if reply.first() == Some(&b'-') {
        stats.commands.count(command, Outcome::Error);
        return true;
    }
    stats.commands.count(command, Outcome::Ok);
    if !command.lookup {
        return false;
    }
    if let Some(values) = reply::elements(reply) {
        let (hits, misses) =
            values.fold(
                (0, 0),
                |(hits, misses), value| {
                    if reply::is_nil(value) { (hits, misses + 1) } else { (hits + 1, misses) }
                },
            );
        stats.hits.add(hits);
        stats.misses.add(misses);
    } else if reply::is_nil(reply) {
        stats.misses.add(1);
    } else {
        stats.hits.add(1);
    }
    false
}
