//! Subscriptions that clients of this proxy have asked for and that nodes have yet to confirm, over all workers: what is
//! published, or counted, behind the asking waits a little for them, as if one server had got both in that order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::command::SubscriptionKind;

type Topics = Vec<(SubscriptionKind, Arc<[u8]>)>;

#[derive(Debug, Default)]
struct State {
    /// The number of the last one.
    last: u64,
    open: BTreeMap<u64, Topics>,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Beginnings {
    /// How many there are, so that nobody need lock when there are none.
    open: AtomicUsize,
    state: Mutex<State>,
}

/// One command that subscribes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Beginning {
    number: u64,
    all: Arc<Beginnings>,
}

impl Drop for Beginning {
    fn drop(&mut self) {
        let state = &mut *self.all.state();
        state.open.remove(&self.number);
        self.all.open.store(state.open.len(), Ordering::Release);
    }
}

/// Which topics somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// Those by which a message on this channel is heard.
    Channel(SubscriptionKind, Box<[u8]>),
    /// All of them.
    All,
}

impl Awaited {
    fn concerns(&self, (kind, name): &(SubscriptionKind, Arc<[u8]>)) -> bool {
        match self {
            Awaited::All => true,
            Awaited::Channel(own, channel) if own == kind => **channel == **name,
            Awaited::Channel(SubscriptionKind::Channel, channel) if *kind == SubscriptionKind::Pattern => {
                crate::glob::matches(name, channel)
            }
            Awaited::Channel(..) => false,
        }
    }
}

impl Beginnings {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Topics are asked for.
    pub(crate) fn begin(self: &Arc<Self>, topics: Topics) -> Beginning {
        let state = &mut *self.state();
        state.last += 1;
        state.open.insert(state.last, topics);
        self.open.store(state.open.len(), Ordering::Release);
        Beginning { number: state.last, all: Arc::clone(self) }
    }

    /// Whether there are none.
    #[inline]
    pub(crate) fn are_none(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    /// The number of the last one.
    pub(crate) fn last(&self) -> u64 {
        self.state().last
    }

    /// Whether one of them up to the number `last` is about what is awaited.
    pub(crate) fn concern(&self, awaited: &Awaited, last: u64) -> bool {
        let state = self.state();
        let mut until = state.open.range(..=last);
        until.any(|(_, topics)| topics.iter().any(|topic| awaited.concerns(topic)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SubscriptionKind::{Channel, Pattern, Shard};

    #[test]
    fn who_publishes_waits_for_those_who_asked_before_and_might_hear_it() {
        let all = Arc::new(Beginnings::default());
        assert!(all.are_none());
        let begin = |kind, name: &str| all.begin(vec![(kind, name.as_bytes().into())]);
        let awaited = |kind, name: &str| Awaited::Channel(kind, name.as_bytes().into());
        let (news, pattern, shard) = (begin(Channel, "news"), begin(Pattern, "n*"), begin(Shard, "news"));
        let last = all.last();
        let later = begin(Channel, "later");
        let concern = |kind, name: &str| all.concern(&awaited(kind, name), last);
        assert!(concern(Channel, "news") && concern(Channel, "nothing") && concern(Shard, "news"));
        assert!(!concern(Channel, "later") && !concern(Channel, "x") && !concern(Shard, "nothing"));
        drop(pattern);
        assert!(concern(Channel, "news") && !concern(Channel, "nothing"));
        drop((news, shard));
        assert!(!all.concern(&Awaited::All, last) && all.concern(&Awaited::All, all.last()));
        drop(later);
        assert!(all.are_none());
    }
}
