//! How many clients of this proxy listen to what, over all workers: for the counts that PUBLISH and PUBSUB answer.
//!
//! A node counts connections of the proxy, one per worker, where a client wants to hear of clients. So what this proxy's
//! connections contributed on that node is taken off, and its clients are added. Touched only by commands of publish
//! and subscribe, hence a plain lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Beginnings;
use crate::command::SubscriptionKind;

/// What this proxy has on one node for one message or channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Listening {
    /// Its own subscriptions, as the node counts them.
    pub(crate) connections: u64,
    /// Subscriptions of its clients that these serve.
    pub(crate) clients: u64,
}

impl Listening {
    /// A node's count with connections of the proxy replaced by its clients.
    pub(crate) fn correct(self, count: i64) -> i64 {
        let others = count.saturating_sub(self.connections as i64).max(0);
        others.saturating_add(self.clients as i64)
    }
}

/// A worker that nodes send one topic to, and how many of its clients listen to it: none while the nodes have yet to
/// confirm that the last one has left.
type Share = (usize, u64);

#[derive(Debug, Default)]
struct State {
    shares: [HashMap<Arc<[u8]>, Vec<Share>>; 3],
    /// By address of a node: the workers whose listening connection is up.
    reached: HashMap<String, Vec<usize>>,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// Topics that anybody listens to, so that PUBLISH need not lock when there are none.
    topics: AtomicUsize,
    state: Mutex<State>,
    /// What is asked for and not confirmed.
    pub(crate) beginnings: Arc<Beginnings>,
}

impl Registry {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no client of this proxy listens to anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.load(Ordering::Relaxed) == 0
    }

    /// So many clients of `worker` listen to a topic from now on; `None`: nodes do not send it any more.
    pub(crate) fn set(&self, kind: SubscriptionKind, name: &Arc<[u8]>, worker: usize, clients: Option<u64>) {
        let state = &mut *self.state();
        let shares = state.shares[kind as usize].entry(Arc::clone(name)).or_default();
        shares.retain(|(known, _)| *known != worker);
        if let Some(clients) = clients {
            shares.push((worker, clients));
        } else if shares.is_empty() {
            state.shares[kind as usize].remove(name);
        }
        self.topics.store(state.shares.iter().map(HashMap::len).sum(), Ordering::Relaxed);
    }

    /// The listening connection of `worker` to the node at `address` is up, or not.
    pub(crate) fn reach(&self, address: &str, worker: usize, is_up: bool) {
        let state = &mut *self.state();
        let workers = state.reached.entry(address.to_owned()).or_default();
        workers.retain(|known| *known != worker);
        if is_up {
            workers.push(worker);
        } else if workers.is_empty() {
            state.reached.remove(address);
        }
    }

    /// What a message published on a node counts of this proxy: channel and every pattern that matches.
    pub(crate) fn receivers(&self, kind: SubscriptionKind, channel: &[u8], address: &str) -> Listening {
        let state = self.state();
        let mut sum = state.sum(state.shares[kind as usize].get(channel), address);
        if kind == SubscriptionKind::Channel {
            for (pattern, shares) in &state.shares[SubscriptionKind::Pattern as usize] {
                if crate::glob::matches(pattern, channel) {
                    let more = state.sum(Some(shares), address);
                    sum.connections += more.connections;
                    sum.clients += more.clients;
                }
            }
        }
        sum
    }

    /// What a node counts of this proxy as listeners of one channel.
    pub(crate) fn listeners(&self, kind: SubscriptionKind, channel: &[u8], address: &str) -> Listening {
        let state = self.state();
        state.sum(state.shares[kind as usize].get(channel), address)
    }

    /// How many clients of this proxy listen to one channel, reached by nodes or not.
    pub(crate) fn clients(&self, kind: SubscriptionKind, channel: &[u8]) -> u64 {
        let state = self.state();
        let shares = state.shares[kind as usize].get(channel);
        shares.map_or(0, |shares| shares.iter().map(|(_, clients)| clients).sum())
    }

    /// How many different patterns this proxy has on every node that it reaches, and clients of it listen to.
    pub(crate) fn patterns(&self) -> (usize, usize) {
        let state = self.state();
        let patterns = &state.shares[SubscriptionKind::Pattern as usize];
        let heard = |shares: &&Vec<Share>| shares.iter().any(|(_, clients)| *clients > 0);
        (patterns.len(), patterns.values().filter(heard).count())
    }

    /// Whether any worker's listening connection to a node is up.
    pub(crate) fn is_reached(&self, address: &str) -> bool {
        self.state().reached.contains_key(address)
    }
}

impl State {
    fn sum(&self, shares: Option<&Vec<Share>>, address: &str) -> Listening {
        let mut sum = Listening::default();
        if let (Some(shares), Some(reached)) = (shares, self.reached.get(address)) {
            for (_, clients) in shares.iter().filter(|(worker, _)| reached.contains(worker)) {
                sum.connections += 1;
                sum.clients += clients;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SubscriptionKind::{Channel, Pattern, Shard};

    #[test]
    fn connections_of_the_proxy_are_replaced_by_its_clients() {
        let registry = Registry::default();
        let name = |text: &str| Arc::<[u8]>::from(text.as_bytes());
        assert!(registry.is_empty());
        for worker in [0, 1] {
            registry.reach("h:1", worker, true);
        }
        registry.reach("h:2", 1, true);
        registry.set(Channel, &name("news"), 0, Some(3));
        registry.set(Channel, &name("news"), 1, Some(2));
        registry.set(Pattern, &name("n*"), 1, Some(4));
        registry.set(Shard, &name("news"), 1, Some(9));
        let on = |address| registry.receivers(Channel, b"news", address);
        assert_eq!(on("h:1"), Listening { connections: 3, clients: 9 });
        assert_eq!(on("h:2"), Listening { connections: 2, clients: 6 });
        assert_eq!(on("h:3"), Listening::default());
        // two clients that are connected to the node itself
        assert_eq!(on("h:1").correct(5), 11);
        // a node that has forgotten the proxy since
        assert_eq!(on("h:1").correct(0), 9);
        assert_eq!(registry.listeners(Channel, b"news", "h:1").connections, 2);
        assert_eq!((registry.clients(Channel, b"news"), registry.patterns()), (5, (1, 1)));
        // the last client of a worker has left, and the node may not know yet
        registry.set(Channel, &name("news"), 1, Some(0));
        registry.set(Pattern, &name("n*"), 1, Some(0));
        assert_eq!(on("h:1"), Listening { connections: 3, clients: 3 });
        assert_eq!((registry.clients(Channel, b"news"), registry.patterns()), (3, (1, 0)));
        registry.set(Channel, &name("news"), 0, None);
        registry.set(Channel, &name("news"), 1, None);
        registry.set(Pattern, &name("n*"), 1, None);
        registry.set(Shard, &name("news"), 1, None);
        registry.reach("h:2", 1, false);
        assert!(registry.is_empty() && registry.is_reached("h:1") && !registry.is_reached("h:2"));
    }
}
