//! What becomes of the commands of a connection that is lost.
//!
//! ```text
//!            written whole          written in part    not begun
//!   write    UNKNOWN                NOTSENT            goes on the next connection
//!   read     goes once more         goes once more     goes on the next connection
//! ```
//! Rules for reads (laws I2, I3, I4); where one is not met, a read fares as a write does:
//!
//! - The node, or the way to it, closed the connection. After a stall nothing goes again, so that a node that stands still
//!   costs a client one operation timeout, nor after bytes that are no replies: a node in doubt is asked nothing twice.
//! - It is known to change nothing (`Command::may_repeat`), and goes once more, not twice.
//! - No byte of its reply was passed on.
//! - Its client has nothing but such reads unanswered on the connection. A write that is UNKNOWN ran or did not: a read
//!   before it might now see what it wrote, and whether one behind it does would hang on the fence.
//! - Its bytes are still held.
//!
//! What goes again stands before everything that was not begun, in its order.

use std::collections::HashSet;
use std::time::Instant;

use super::{Entry, Exchange, Other, ReplyTo};
use crate::error::Fate;
use crate::resp::reply::ReplyScanner;

/// Which commands of a lost connection go on the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// None: there is no hope for a next one.
    Nothing,
    /// Those of which no byte was written.
    Unsent,
    /// Those too that only read.
    UnsentAndReads,
}

impl<T: ReplyTo> Entry<T> {
    fn may_repeat(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.command.may_repeat())
    }

    /// Who asked; nobody for probes and fences.
    fn asker(&self) -> Option<usize> {
        match &self.asked {
            Some(asked) => Some(asked.to.asker()),
            None => self.block().map(|block| block.asker()),
        }
    }

    /// Whether it was written whole, now or on the connection before.
    fn was_sent(&self, written: u64) -> bool {
        self.end <= written || matches!(self.other.as_deref(), Some(Other::Repeated { sent: true }))
    }

    fn is_repeated(&self) -> bool {
        matches!(self.other.as_deref(), Some(Other::Repeated { .. }))
    }
}

impl<T: ReplyTo> Exchange<T> {
    /// The connection is gone. Commands that do not go on the next one leave through `lost` with their fate. Returns how
    /// many reads go again.
    pub(crate) fn lost(&mut self, keep: Keep, mut lost: impl FnMut(Entry<T>, Fate)) -> usize {
        let written = self.out.written();
        let doubtful = if keep == Keep::UnsentAndReads { self.doubtful() } else { HashSet::new() };
        let mut again = Vec::new();
        let mut passed_on = std::mem::take(&mut self.streaming);
        while let Some(front) = self.queue.front() {
            if keep != Keep::Nothing && front.start >= written {
                break;
            }
            let fate = if front.was_sent(written) { Fate::Unknown } else { Fate::NotSent };
            let goes_again = keep == Keep::UnsentAndReads
                && !std::mem::take(&mut passed_on)
                && front.may_repeat()
                && !front.is_repeated()
                && !front.asker().is_some_and(|asker| doubtful.contains(&asker))
                && self.out.holds(front.start);
            let Some(entry) = self.queue.pop_front() else { break };
            if goes_again {
                again.push(entry);
            } else {
                lost(entry, fate);
            }
        }
        self.scanner = ReplyScanner::default();
        self.partial = Vec::new();
        self.scanned = 0;
        if let Some(told) = &mut self.told {
            told.break_off();
        }
        self.restart(again)
    }

    /// Whether something was written whole that is not answered and may change something.
    pub(crate) fn awaits_doubtful(&self) -> bool {
        let written = self.queue.iter().take_while(|entry| entry.end <= self.out.written());
        written.into_iter().any(|entry| entry.asker().is_some() && !entry.may_repeat())
    }

    /// Whether something that was asked for by `then` is not answered, whatever became of its connection.
    pub(crate) fn awaits_since(&self, then: Instant) -> bool {
        self.queue.iter().any(|entry| entry.at <= then && entry.asker().is_some())
    }

    /// Who waits for something that was written whole and may have changed something.
    fn doubtful(&self) -> HashSet<usize> {
        let written = self.queue.iter().take_while(|entry| entry.end <= self.out.written());
        written.filter(|entry| !entry.may_repeat()).filter_map(Entry::asker).collect()
    }

    /// The next connection begins with what goes again, then the first command that stayed.
    fn restart(&mut self, again: Vec<Entry<T>>) -> usize {
        let written = self.out.written();
        let from = self.queue.front().map_or(self.open, |front| front.start);
        self.out.restart(from, again.iter().map(|entry| entry.start..entry.end));
        let mut end = from;
        let count = again.len();
        for mut entry in again.into_iter().rev() {
            let len = entry.end - entry.start;
            entry.other = Some(Box::new(Other::Repeated { sent: entry.end <= written }));
            (entry.start, entry.end) = (end - len, end);
            end -= len;
            self.queue.push_front(entry);
        }
        count
    }
}

#[cfg(test)]
#[path = "lost_tests.rs"]
mod tests;
