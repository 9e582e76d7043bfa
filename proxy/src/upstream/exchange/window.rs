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
//!   the round took    patience more than the shortest one    as many commands as would have fitted
//!                     less, and commands were held back      four times as many, or twice when it is near
//! ```
//! The shortest round is what the way to the node takes: to send less does not make it shorter. For nodes that answer at
//! once the bound soon lies far above what clients have under way.
//!
//! Behind a silence as long as the patience nothing is sent at all.

use std::time::{Duration, Instant};

/// The bound grows no further.
const MOST_COMMANDS: usize = 1 << 20;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Window {
    patience: Duration,
    /// Since when commands could be sent.
    since: Instant,
    commands: usize,
    /// The same, or 0 when the node was silent for too long when somebody looked.
    may_be_sent: usize,
    shortest: Duration,
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
    /// That of a new connection.
    pub(super) fn new(now: Instant, patience: Duration) -> Self {
        Self {
            patience,
            since: now,
            commands: 1,
            may_be_sent: 1,
            shortest: Duration::MAX,
            round: None,
            due: false,
            wants_more: false,
            holds_back: false,
        }
    }

    /// Somebody looks; `silent` tells how long the node has been owing replies without a word.
    pub(super) fn look(&mut self, silent: Duration) {
        self.may_be_sent = if silent > self.patience { 0 } else { self.commands };
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
        let took = now.saturating_duration_since(round.began);
        self.shortest = self.shortest.min(took);
        let more = took - self.shortest;
        let wants_more = std::mem::take(&mut self.wants_more);
        if more > self.patience {
            let fit = round.commands as f64 * self.patience.as_secs_f64() / more.as_secs_f64();
            self.commands = (fit as usize).max(1);
        } else if wants_more {
            let factor = if more < self.patience / 8 { 4 } else { 2 };
            self.commands = (self.commands * factor).min(MOST_COMMANDS);
        }
        self.due = self.holds_back;
        self.may_be_sent = self.commands;
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
