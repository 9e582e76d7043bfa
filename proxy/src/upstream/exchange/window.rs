//! How much a node is sent before it has answered what it was sent before.
//!
//! Redis runs all that it read at once of a connection (16 KiB, some two hundred short commands) before it sends the first
//! of the replies. Two hundred commands of 6 ms each are more than a second of silence, in which a node that works hard
//! would be taken for one that stands still, and everything on its connection would be lost. So no more is under way than
//! the node answers within its patience, a quarter of the operation timeout; the rest waits on this side, where it
//! certainly did not run (law I4), and leaves when it has waited too long.
//!
//! It is measured in rounds: from a write until everything is answered that was under way then. A round begins when
//! somebody looks, some fifty times a second, and with every write while something is held back: what goes without
//! hindrance costs nothing.
//!
//! ```text
//!   the round took                                  then
//!   hardly longer than the way there and back       four times as many or twice, if some were held back
//!   up to the patience longer                       one more, if some were held back
//!   longer                                          an eighth fewer
//!   so long that a silence is near                  half as many, or fewer: what would have fitted
//!   as long with fewer commands                     no fewer than that: it is not they that take the time
//! ```
//! One more here and a part fewer there is what lets several connections come to equal parts. The way is what the
//! greeting took, or the shortest round. For nodes that answer at once the bound soon lies far above what clients have
//! under way.
//!
//! Behind a silence of the patience and the way nothing is sent at all.

use std::time::{Duration, Instant};

/// How many commands may be under way on a new connection.
const FIRST_COMMANDS: usize = 4;
/// The bound grows no further.
const MOST_COMMANDS: usize = 1 << 20;
/// When nobody has looked for so long, this process stood still: how long a round took says nothing of the node.
const STANDSTILL: Duration = Duration::from_millis(200);

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Window {
    patience: Duration,
    /// How long an answer takes whatever is sent.
    way: Duration,
    /// Since when commands could be sent.
    since: Instant,
    looked: Instant,
    commands: usize,
    /// The same, or 0 when the node was silent for too long when somebody looked.
    may_be_sent: usize,
    /// To send fewer does not help.
    least: usize,
    /// The round after which the bound was lowered last: its commands, and how long it took.
    too_long: Option<(usize, Duration)>,
    /// Whether the last round took notably longer than the way.
    is_slow: bool,
    round: Option<Round>,
    /// Whether the next write begins a round.
    due: bool,
    /// Whether commands were held back since the last round ended.
    wants_more: bool,
    holds_back: bool,
}

#[derive(Debug)]
struct Round {
    began: Instant,
    /// Stream offset one past the last byte under way when it began.
    end: u64,
    commands: usize,
}

impl Window {
    /// That of a new connection; to be greeted took so long.
    pub(super) fn new(now: Instant, patience: Duration, greeting: Duration) -> Self {
        Self {
            patience,
            way: greeting.min(patience.saturating_mul(2)),
            since: now,
            looked: now,
            commands: FIRST_COMMANDS,
            may_be_sent: FIRST_COMMANDS,
            least: 1,
            too_long: None,
            is_slow: false,
            round: None,
            due: false,
            wants_more: false,
            holds_back: false,
        }
    }

    /// Somebody looks; `silent` tells how long the node has been owing replies without a word.
    pub(super) fn look(&mut self, silent: Duration, now: Instant) {
        self.looked = now;
        let too_long = silent > self.patience.saturating_add(self.way);
        self.may_be_sent = if too_long { 0 } else { self.commands };
        self.due = self.round.is_none();
    }

    /// How many commands may be under way; 0 when nothing may be sent.
    #[inline]
    pub(super) fn allowed(&self) -> usize {
        self.may_be_sent
    }

    /// Since when commands could be sent.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Whether the node is known to be slow: whoever waits, waits for it.
    pub(super) fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// What waits does not wait for the node to be less busy.
    pub(super) fn moves(&mut self, now: Instant) {
        self.since = now;
    }

    /// Until now nothing could be sent.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.since = now;
        self.round = None;
        self.may_be_sent = self.commands;
    }

    /// Whether something waits for replies to what was sent before.
    #[inline]
    pub(super) fn holds_back(&self) -> bool {
        self.holds_back
    }

    /// Notes that nothing waits for replies.
    #[inline]
    pub(super) fn lets_all_go(&mut self) {
        self.holds_back = false;
    }

    /// Notes whether something waits for replies.
    pub(super) fn hold_back(&mut self, holds_back: bool) {
        self.holds_back = holds_back;
        if holds_back {
            self.wants_more = true;
            self.due = self.round.is_none();
        }
    }

    /// Whether the next write begins a round.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// So many commands are under way, the last one up to this stream offset.
    pub(super) fn begin(&mut self, commands: usize, end: u64, now: Instant) {
        self.due = false;
        self.round = (commands > 0).then_some(Round { began: now, end, commands });
    }

    /// The node has sent something; everything before this stream offset is answered.
    #[inline]
    pub(super) fn answered(&mut self, before: u64, now: Instant) {
        self.may_be_sent = self.commands;
        if let Some(round) = self.round.take_if(|round| before >= round.end) {
            self.learn(&round, now);
        }
    }

    #[cold]
    fn learn(&mut self, round: &Round, now: Instant) {
        let wants_more = std::mem::take(&mut self.wants_more);
        self.due = self.holds_back;
        if now.saturating_duration_since(self.looked) > STANDSTILL {
            return;
        }
        let took = now.saturating_duration_since(round.began);
        self.way = self.way.min(took);
        let more = took - self.way;
        self.is_slow = more >= self.patience / 8;
        if more <= self.patience {
            (self.least, self.too_long) = (1, None);
            if wants_more {
                let grown = match self.is_slow {
                    true => self.commands + 1,
                    false => self.commands * if took < self.patience { 4 } else { 2 },
                };
                self.commands = grown.min(MOST_COMMANDS);
            }
        } else {
            let sent = round.commands;
            match self.too_long {
                Some((before, _)) if sent * 4 > before * 3 => {}
                Some((_, longer)) if took.saturating_mul(8) > longer.saturating_mul(7) => self.least = sent,
                _ => self.too_long = Some((sent, took)),
            }
            // five eighths of what a silence may last
            let is_urgent = took > self.patience.saturating_mul(5) / 2;
            let fewer = if is_urgent {
                let fit = sent as f64 * self.patience.as_secs_f64() / more.as_secs_f64();
                (fit as usize).min(sent.div_ceil(2))
            } else {
                sent - sent / 8
            };
            self.commands = self.commands.min(fewer).max(self.least);
        }
        self.may_be_sent = self.commands;
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
