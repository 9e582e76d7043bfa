//! When to try a node again: soon, then less often, never all at the same moment.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pace::Pace;

/// First pause after a failure, and the least time between two connects.
const FIRST: Duration = Duration::from_millis(100);
/// Longest pause: with it a node that answers again is back in use within half a second.
const LONGEST: Duration = Duration::from_millis(400);
/// The same for a connection that does not speak for the node.
const LONGEST_OF_OTHERS: Duration = Duration::from_secs(5);

/// Doubling pauses with jitter. Takes time as an argument, holds no timer.
#[derive(Debug)]
pub(crate) struct Backoff {
    pace: Arc<Pace>,
    leads: bool,
    /// How often the node had answered when the last connect was begun.
    answered: u64,
    least: Duration,
    failures: u32,
    begun: bool,
    last_connect: Option<Instant>,
    random: u64,
}

impl Backoff {
    /// `sharers` connections go to the same node, whose connects `pace` bounds; that they begin apart keeps one from
    /// waiting for the others.
    pub(crate) fn new(sharers: usize, pace: Arc<Pace>) -> Self {
        let sharers = u32::try_from(sharers).unwrap_or(u32::MAX).clamp(1, 4);
        Self {
            pace,
            leads: true,
            answered: 0,
            least: FIRST * sharers,
            failures: 0,
            begun: false,
            last_connect: None,
            random: RandomState::new().build_hasher().finish() | 1,
        }
    }

    /// Whether the connection speaks for the node. One that does not is told by the others when the node answers; if it
    /// fails all the same, what it is set to may be what the node does not have, and it tries seldom.
    pub(crate) fn leads(&mut self, leads: bool) {
        self.leads = leads;
    }

    /// Whether others found that the node does not answer.
    pub(crate) fn is_in_vain(&self) -> bool {
        self.pace.is_in_vain()
    }

    /// A connection works.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        if self.leads {
            self.pace.succeeded();
        }
    }

    /// A connection could not be made or did not answer.
    pub(crate) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        if self.leads {
            self.pace.failed();
        }
    }

    /// Begins a connect, after a pause.
    ///
    /// # Errors
    /// How long to wait until asking again: others have begun too many.
    pub(crate) fn begin(&mut self, now: Instant) -> Result<(), Duration> {
        self.answered = self.pace.answered();
        if std::mem::replace(&mut self.begun, true) {
            let apart = 1.0 + 0.05 * self.fraction();
            return self.pace.begin(now).map_err(|wait| wait.mul_f64(apart));
        }
        self.pace.begin_first(now);
        Ok(())
    }

    /// Ready when others tell that the node answers, which makes a pause after a failure pointless.
    pub(crate) fn answers(&self) -> impl Future<Output = ()> + 'static {
        let others = (self.failures > 0).then(|| Arc::clone(&self.pace));
        let has_missed = self.pace.answered() != self.answered;
        async move {
            match others {
                Some(_) if has_missed => {}
                Some(pace) => pace.answers().await,
                None => std::future::pending().await,
            }
        }
    }

    /// How long to wait before the next connect, which is taken as begun then.
    pub(crate) fn pause(&mut self, now: Instant) -> Duration {
        let wished = match self.failures {
            0 => Duration::ZERO,
            n => {
                let longest = if self.leads { LONGEST } else { LONGEST_OF_OTHERS };
                (self.least * 2u32.saturating_pow(n.min(8) - 1)).min(longest.max(self.least))
            }
        };
        let wished = wished.mul_f64(0.75 + 0.25 * self.fraction());
        let since = self.last_connect.map_or(self.least, |last| now.saturating_duration_since(last));
        let pause = wished.max(self.least.saturating_sub(since));
        self.last_connect = Some(now + pause);
        pause
    }

    /// 0..1, by xorshift.
    fn fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_connect_is_at_once_and_pauses_grow_to_a_bound() {
        let mut backoff = Backoff::new(1, Arc::default());
        let now = Instant::now();
        assert_eq!(backoff.pause(now), Duration::ZERO);
        let mut last = Duration::ZERO;
        for round in 0..20 {
            backoff.failed();
            last = backoff.pause(now + Duration::from_secs(round));
            assert!(last >= Duration::from_millis(75) && last <= LONGEST, "{last:?}");
        }
        assert!(last >= Duration::from_millis(300));
    }

    #[test]
    fn one_that_does_not_speak_for_the_node_tries_seldom_and_tells_nobody() {
        let (pace, now) = (Arc::new(Pace::default()), Instant::now());
        let mut other = Backoff::new(1, Arc::clone(&pace));
        other.leads(false);
        for round in 0..20 {
            other.failed();
            other.pause(now + Duration::from_secs(round));
        }
        assert!(other.pause(now + Duration::from_secs(30)) > LONGEST);
        assert!(!pace.is_in_vain(), "what it is set to may be the reason");
    }

    #[test]
    fn what_the_node_answered_while_a_connect_failed_is_not_missed() {
        let pace = Arc::new(Pace::default());
        let mut other = Backoff::new(1, Arc::clone(&pace));
        let is_told = |backoff: &Backoff| {
            let answers = std::pin::pin!(backoff.answers());
            answers.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
        };
        other.begin(Instant::now()).unwrap();
        other.failed();
        assert!(!is_told(&other));
        other.begin(Instant::now() + Duration::from_secs(1)).unwrap();
        pace.succeeded();
        other.failed();
        assert!(is_told(&other));
    }

    #[test]
    fn connects_never_come_faster_than_the_least_pause() {
        let mut backoff = Backoff::new(1, Arc::default());
        let mut now = Instant::now();
        let start = now;
        for _ in 0..50 {
            now += backoff.pause(now);
            backoff.succeeded();
        }
        assert!(now - start >= FIRST * 49, "{:?}", now - start);
    }
}
