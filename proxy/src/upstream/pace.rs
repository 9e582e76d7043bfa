//! How often connections to one node are begun, over all workers and lanes of the process.
//!
//! ```text
//!   link of worker 0 ─┐              ┌ at most 10 in any second
//!   link of worker 1 ─┼─► Pace ──────┤ at most 6 of them while the node does not answer: the rest is for those
//!   its RESP3 link   ─┘   of a node  └ who wait to hear that it does, and then connect at once
//! ```
//! The first connect of each link is counted and never refused: how many there are is bounded by workers and lanes. The
//! connections of clients that have some of their own, of which there may be many more, have a pace beside it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

const SECOND: Duration = Duration::from_secs(1);
/// Most connects in any second.
const MOST: usize = 10;
/// Most connects in any second while they fail.
const MOST_IN_VAIN: usize = 6;
/// The same of connections that are one client's alone: a thousand are there again after ten seconds.
const MOST_OF_OWN: usize = 100;

/// The pace of each node that somebody connects to, by address.
#[derive(Debug, Default)]
pub(crate) struct Paces(Mutex<HashMap<String, Weak<Pace>>>);

impl Paces {
    /// That of the node at `address`.
    pub(crate) fn of(&self, address: &str) -> Arc<Pace> {
        self.get(address, MOST)
    }

    /// That of connections to it that are one client's alone.
    pub(crate) fn of_own(&self, address: &str) -> Arc<Pace> {
        // no address holds a line break
        self.get(&format!("{address}\nown"), MOST_OF_OWN)
    }

    fn get(&self, name: &str, most: usize) -> Arc<Pace> {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = paces.get(name).and_then(Weak::upgrade) {
            return known;
        }
        paces.retain(|_, pace| pace.strong_count() > 0);
        let pace = Arc::new(Pace::new(most));
        paces.insert(name.to_owned(), Arc::downgrade(&pace));
        pace
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Pace {
    most: usize,
    state: Mutex<State>,
    answers: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// When connects were begun within the last second.
    begun: VecDeque<Instant>,
    /// The last connect failed.
    in_vain: bool,
    /// How often the node has answered.
    answers: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(MOST)
    }
}

impl Pace {
    fn new(most: usize) -> Self {
        Self { most, state: Mutex::default(), answers: Notify::default() }
    }

    /// Begins a connect that must not be refused.
    pub(crate) fn begin_first(&self, now: Instant) {
        self.state().begin(now);
    }

    /// Begins a connect.
    ///
    /// # Errors
    /// When to ask again: there were too many within the last second.
    pub(crate) fn begin(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state();
        state.forget(now);
        let most = if state.in_vain { MOST_IN_VAIN } else { self.most };
        match state.begun.len().checked_sub(most) {
            None => {
                state.begin(now);
                Ok(())
            }
            Some(over) => Err((state.begun[over] + SECOND).saturating_duration_since(now)),
        }
    }

    /// The node has answered: those who wait for that may try at once.
    pub(crate) fn succeeded(&self) {
        {
            let mut state = self.state();
            state.in_vain = false;
            state.answers += 1;
        }
        self.answers.notify_waiters();
    }

    /// How often the node has answered: whoever was busy connecting sees what it has not been told.
    pub(crate) fn answered(&self) -> u64 {
        self.state().answers
    }

    /// Whether the last connect failed.
    pub(crate) fn is_in_vain(&self) -> bool {
        self.state().in_vain
    }

    /// A connect was in vain.
    pub(crate) fn failed(&self) {
        self.state().in_vain = true;
    }

    /// Ready when the node has answered anybody.
    pub(crate) async fn answers(&self) {
        self.answers.notified().await;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, now: Instant) {
        while self.begun.front().is_some_and(|at| now.saturating_duration_since(*at) >= SECOND) {
            self.begun.pop_front();
        }
    }

    fn begin(&mut self, now: Instant) {
        self.forget(now);
        self.begun.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a crowd that asks every millisecond may begin, by second.
    fn begun(pace: &Pace, start: Instant, seconds: u64) -> Vec<u64> {
        let of = |second: u64| {
            let at = |millis| start + Duration::from_millis(second * 1000 + millis);
            (0..1000).filter(|millis| pace.begin(at(*millis)).is_ok()).count() as u64
        };
        (0..seconds).map(of).collect()
    }

    #[test]
    fn no_more_than_ten_begin_in_a_second_and_six_while_they_fail() {
        let (pace, start) = (Pace::default(), Instant::now());
        assert_eq!(begun(&pace, start, 3), [10, 10, 10]);
        pace.failed();
        assert_eq!(begun(&pace, start + 3 * SECOND, 3), [6, 6, 6]);
        let wait = pace.begin(start + 6 * SECOND - Duration::from_millis(400)).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= SECOND, "{wait:?}");
        pace.succeeded();
        let at_once = (0..10).filter(|_| pace.begin(start + 6 * SECOND - Duration::from_millis(1)).is_ok());
        assert_eq!(at_once.count(), 4, "what was kept for those who wait");
    }

    #[test]
    fn all_who_connect_to_a_node_share_its_pace_until_nobody_does() {
        let paces = Paces::default();
        let (one, other) = (paces.of("h:1"), paces.of("h:2"));
        assert!(Arc::ptr_eq(&one, &paces.of("h:1")) && !Arc::ptr_eq(&one, &other));
        drop(one);
        paces.of("h:3");
        assert_eq!(paces.0.lock().unwrap().len(), 2);
    }
}
