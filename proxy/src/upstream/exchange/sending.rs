//! What may be written and when, and what is taken back before it is.

use std::time::{Duration, Instant};

use super::{Entry, Exchange, ReplyTo};

impl<T: ReplyTo> Exchange<T> {
    /// Bytes that wait to be written.
    #[inline]
    pub(crate) fn unwritten(&self) -> &[u8] {
        self.out.unwritten()
    }

    /// What of [`Exchange::unwritten`] may be written now; the rest waits for replies.
    #[inline]
    pub(crate) fn sendable(&mut self) -> &[u8] {
        let waiting = self.out.unwritten();
        let Some(held) = self.queue.get(self.window.allowed()) else {
            self.window.lets_all_go();
            return waiting;
        };
        // bytes of it that are written already are no hindrance
        let len = waiting.len().min(held.start.saturating_sub(self.out.written()) as usize);
        self.window.hold_back(len < waiting.len());
        &waiting[..len]
    }

    /// Whether something waits for replies to be written.
    #[inline]
    pub(crate) fn holds_back(&self) -> bool {
        self.window.holds_back()
    }

    /// The kernel took `len` bytes of [`Exchange::unwritten`].
    #[inline]
    pub(crate) fn wrote(&mut self, len: usize, now: Instant) {
        // bytes behind a command that is wholly written are no sign of life: the kernel takes them for a dead node
        if self.queue.front().is_none_or(|front| front.end > self.out.written()) {
            self.progress = now;
        }
        if self.out.wrote(len) {
            self.out.tidy(self.queue.front().map_or(u64::MAX, |front| front.start));
        }
        if self.window.is_due() {
            let written = self.out.written();
            let under_way = self.queue.partition_point(|entry| entry.end <= written);
            self.window.begin(under_way, written, now);
        }
    }

    /// Looks how the node does; to be called now and then.
    pub(crate) fn look(&mut self, now: Instant) {
        let owes = |front: &Entry<T>| front.end <= self.out.written();
        let silent = match self.queue.front() {
            Some(front) if owes(front) => now.saturating_duration_since(front.at.max(self.progress)),
            _ => Duration::ZERO,
        };
        self.window.look(silent);
    }

    /// Takes back the commands, the oldest first, of which no byte was written for longer than `limit`.
    pub(crate) fn take_late(&mut self, now: Instant, limit: Duration) -> Vec<Entry<T>> {
        if self.out.unwritten().is_empty() {
            return Vec::new();
        }
        let (written, since) = (self.out.written(), self.window.since());
        let first = self.queue.partition_point(|entry| entry.start < written);
        let late = |entry: &&Entry<T>| {
            entry.is_a_clients() && now.saturating_duration_since(entry.at.max(since)) > limit
        };
        let count = self.queue.range(first..).take_while(late).count();
        let (Some(begin), Some(last)) =
            (self.queue.get(first), self.queue.range(first..first + count).next_back())
        else {
            return Vec::new();
        };
        let len = last.end - begin.start;
        // the bytes of a command that is written in part stay together
        let partial =
            first.checked_sub(1).and_then(|at| self.queue.get_mut(at)).filter(|entry| entry.end > written);
        self.out.take_back(partial.as_ref().map(|entry| entry.start..entry.end), len);
        if let Some(partial) = partial {
            (partial.start, partial.end) = (partial.start + len, partial.end + len);
        }
        self.queue.drain(first..first + count).collect()
    }
}
