//! What was asked for on a connection and is not answered yet, in order, and the bytes that ask for it.
//!
//! ```text
//!   push ─► │ out: bytes not yet written │ ──write──► node
//!           asks: [a][b][c]  ◄── take ── answered in this order
//! ```
//! No IO and no clock: bytes and times come in as arguments.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A buffer larger than this is given back when it is empty, in bytes.
pub(super) const KEEP_BYTES: usize = 64 * 1024;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Asking<A> {
    asks: VecDeque<A>,
    out: Vec<u8>,
    out_at: usize,
    /// When the node last said something, or was first asked since it had nothing to say.
    progress: Instant,
}

impl<A> Asking<A> {
    pub(super) fn new(now: Instant) -> Self {
        Self { asks: VecDeque::new(), out: Vec::new(), out_at: 0, progress: now }
    }

    /// Asks for something by the bytes that are appended.
    pub(super) fn push(&mut self, ask: A, now: Instant, write: impl FnOnce(&mut Vec<u8>)) {
        if self.asks.is_empty() {
            self.progress = now;
        }
        write(&mut self.out);
        self.asks.push_back(ask);
    }

    /// What the node answers next.
    pub(super) fn take(&mut self) -> Option<A> {
        self.asks.pop_front()
    }

    /// What was taken is not answered after all.
    pub(super) fn give_back(&mut self, ask: A) {
        self.asks.push_front(ask);
    }

    /// Whether all is answered.
    pub(super) fn is_empty(&self) -> bool {
        self.asks.is_empty()
    }

    /// The connection is lost: nothing is asked any more. Returns what has no answer.
    pub(super) fn abandon(&mut self) -> VecDeque<A> {
        (self.out, self.out_at) = (Vec::new(), 0);
        std::mem::take(&mut self.asks)
    }

    /// The node said something, or this process stood still, which is not the node's fault.
    pub(super) fn heard(&mut self, now: Instant) {
        self.progress = now;
    }

    /// Whether the node has left asks unanswered for `limit` without a sign of life.
    pub(super) fn is_stalled(&self, now: Instant, limit: Duration) -> bool {
        !self.asks.is_empty() && now.saturating_duration_since(self.progress) > limit
    }

    /// Whether nothing is asked and nothing was heard for `limit`.
    pub(super) fn is_silent(&self, now: Instant, limit: Duration) -> bool {
        self.asks.is_empty() && now.saturating_duration_since(self.progress) > limit
    }

    /// Bytes that wait to be written.
    pub(super) fn unwritten(&self) -> &[u8] {
        &self.out[self.out_at..]
    }

    /// The kernel took `len` bytes of [`Asking::unwritten`].
    pub(super) fn wrote(&mut self, len: usize) {
        self.out_at += len;
        if self.out_at == self.out.len() {
            self.out.clear();
            self.out_at = 0;
            self.out.shrink_to(KEEP_BYTES);
        } else if self.out_at > KEEP_BYTES && self.out_at > self.out.len() / 2 {
            self.out.drain(..self.out_at);
            self.out_at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_order_however_many_are_taken_at_once() {
        let now = Instant::now();
        for taken in [1, 7, KEEP_BYTES + 1, 3 * KEEP_BYTES] {
            let mut asking = Asking::new(now);
            let (mut expected, mut written) = (Vec::new(), Vec::new());
            for number in 0..4_u8 {
                let bytes = vec![number; KEEP_BYTES / 2];
                asking.push(number, now, |out| out.extend_from_slice(&bytes));
                expected.extend(bytes);
                let len = taken.min(asking.unwritten().len());
                written.extend_from_slice(&asking.unwritten()[..len]);
                asking.wrote(len);
            }
            while !asking.unwritten().is_empty() {
                let len = taken.min(asking.unwritten().len());
                written.extend_from_slice(&asking.unwritten()[..len]);
                asking.wrote(len);
            }
            assert!(written == expected, "{taken} at once");
            assert!(asking.out.capacity() <= KEEP_BYTES, "an empty buffer is given back");
        }
    }

    #[test]
    fn what_was_written_is_not_held_though_a_few_bytes_are_always_left() {
        let mut asking = Asking::new(Instant::now());
        asking.push((), Instant::now(), |out| out.extend_from_slice(&[0; 40]));
        for _ in 0..100_000 {
            asking.wrote(asking.unwritten().len() - 5);
            asking.push((), Instant::now(), |out| out.extend_from_slice(&[0; 40]));
            assert!(asking.take().is_some() && asking.out.len() < 2 * KEEP_BYTES);
        }
    }

    #[test]
    fn a_node_is_silent_when_nothing_is_asked_and_stalled_when_something_is() {
        let (began, limit) = (Instant::now(), Duration::from_secs(1));
        let later = |seconds| began + Duration::from_secs(seconds);
        let mut asking = Asking::new(began);
        assert!(asking.is_silent(later(2), limit) && !asking.is_stalled(later(2), limit));
        // the time in which nothing was asked does not count against the node
        asking.push((), later(5), |_| {});
        asking.push((), later(6), |_| {});
        assert!(!asking.is_silent(later(9), limit));
        assert!(!asking.is_stalled(later(6), limit) && asking.is_stalled(later(7), limit));
        asking.heard(later(8));
        assert!(asking.take().is_some());
        assert!(!asking.is_stalled(later(9), limit) && asking.is_stalled(later(10), limit));
        assert_eq!(asking.abandon().len(), 1);
        assert!(asking.is_silent(later(10), limit));
    }
}
