//! What becomes of a link's commands that get no reply: the connection is lost, the node cannot be used, or it is busy for
//! too long. Each of them is told its fate (law I4).

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::exchange::{Entry, Keep, ReplyTo};
use super::greeting::Identity;
use super::link::{Link, State};
use super::siblings::fence;
use crate::error::{Failure, Fate};
use crate::stats::Outcome;

impl<T: ReplyTo + 'static> Link<T> {
    /// The connection is gone with commands unanswered, which the node must not run once it has been sent newer ones,
    /// whichever connection these take: a client may have gone over to another one.
    pub(super) fn give_up(self: &Rc<Self>, identity: Option<Identity>) {
        if let Some(identity) = &identity {
            let concerned = |link: &Rc<Self>| !Rc::ptr_eq(link, self) && identity.is_known_to(link.server());
            fence(&self.siblings, &identity.kill_words(), concerned);
        }
        self.fences.add(identity, Instant::now());
    }

    /// The connection was lost; commands that may go on the next one wait for it.
    pub(super) fn reconnect(&self, keep: Keep, why: &str) {
        self.note_state(State::Connecting, why);
        self.lose(keep, why);
    }

    /// The node cannot be used; nothing waits for it.
    pub(super) fn down(&self, why: &str) {
        self.note_state(State::Down, why);
        self.lose(Keep::Nothing, why);
    }

    /// The link ends; nothing of it is told as the node's state.
    pub(super) fn fail_all(&self, why: &str) {
        self.state.set(State::Down);
        why.clone_into(&mut self.why.borrow_mut());
        self.lose(Keep::Nothing, why);
    }

    fn lose(&self, keep: Keep, why: &str) {
        let mut gone = Vec::new();
        let again = self.exchange.borrow_mut().lost(keep, |entry, fate| gone.push((entry, fate)));
        self.stats.reads_repeated.add(again as u64);
        self.tell_fates(gone, why);
    }

    fn tell_fates(&self, gone: impl IntoIterator<Item = (Entry<T>, Fate)>, why: &str) {
        for (entry, fate) in gone {
            let outcome = match fate {
                Fate::NotSent => Outcome::NotSent,
                Fate::Unknown => Outcome::Unknown,
            };
            if let Some(command) = entry.fail(Failure { fate, node: &self.spec, why }) {
                self.stats.commands.count(command, outcome);
            }
        }
    }

    /// A node has more to do than it can: who has waited for `limit` would not wait for the reply.
    pub(super) fn refuse_late(&self, now: Instant, limit: Duration) {
        // what stands before a command of one that tracks belongs to it
        if self.state.get() != State::Up || self.tracker.is_some() {
            return;
        }
        let late = self.exchange.borrow_mut().take_late(now, limit);
        if late.is_empty() {
            return;
        }
        let why = format!("it is busy; the command waited {} s to be sent", limit.as_secs_f64());
        if self.context.said_busy.happened(now).is_some() {
            let (node, address) = (&self.spec.name, &self.spec.address);
            tracing::warn!(
                node,
                address,
                "a node has more to do than it can: commands are refused (NOTSENT)"
            );
        }
        self.tell_fates(late.into_iter().map(|entry| (entry, Fate::NotSent)), &why);
    }
}
