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
            self.tidy();
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
        self.window.look(silent, now);
    }

    /// Takes back the commands, the oldest first, that have waited for longer than `limit` for a node that is slow: not
    /// while it is the way there that is full, nor while a long reply passes.
    pub(crate) fn take_late(&mut self, now: Instant, limit: Duration) -> Vec<Entry<T>> {
        let written = self.out.written();
        if self.out.end() == written {
            return Vec::new();
        }
        let first = self.queue.partition_point(|entry| entry.start < written);
        let is_in_part = first.checked_sub(1).is_some_and(|at| self.queue[at].end > written);
        if is_in_part || self.streaming || !self.window.is_slow() {
            self.window.moves(now);
            return Vec::new();
        }
        let since = self.window.since();
        let late = |entry: &&Entry<T>| {
            entry.is_a_clients() && now.saturating_duration_since(entry.at.max(since)) > limit
        };
        let count = self.queue.range(first..).take_while(late).count();
        let late: Vec<Entry<T>> = self.queue.drain(first..first + count).collect();
        if let (Some(begin), Some(end)) = (late.first(), late.last())
            && self.out.take_back(end.end - begin.start)
        {
            self.tidy();
        }
        late
    }

    /// Lets go of bytes that are written and answered.
    fn tidy(&mut self) {
        self.out.tidy(self.queue.front().map_or(u64::MAX, |front| front.start));
    }
}
