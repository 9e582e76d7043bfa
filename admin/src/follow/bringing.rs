//! Keys that followers have asked for, at the leader: each is asked for once, however often they ask again, and keeps its place
//! among those that are carried.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join_all};
use ringway_proxy::control::{Brought, Control};

use super::OutcomeForm;
use crate::limits;

type One = Shared<BoxFuture<'static, Brought>>;

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Bringing {
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    /// By this topology.
    epoch: u64,
    asked: HashMap<Vec<u8>, (One, Instant)>,
    /// Bytes of their names.
    bytes: usize,
}

impl All {
    /// Forgets those whose outcome nobody has come for in time.
    fn sweep(&mut self, control: &Control, now: Instant) {
        let patience = control.timeouts().operation;
        self.asked.retain(|_, (_, at)| now.saturating_duration_since(*at) < patience);
        self.bytes = self.asked.keys().map(Vec::len).sum();
    }

    /// A key that is on its way for somebody. `None` when there are too many.
    fn ask(&mut self, control: &Control, key: &[u8], now: Instant) -> Option<One> {
        let patience = control.timeouts().operation;
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < patience;
        if let Some((one, _)) = self.asked.get(key).filter(|(one, at)| is_recent(at) && one.peek().is_none())
        {
            return Some(one.clone());
        }
        if self.asked.len() >= limits::KEYS_BRINGING || self.bytes >= limits::KEYS_BRINGING_BYTES {
            return None;
        }
        let brought = control.bring(self.epoch, key.to_vec());
        let bounded = async move {
            let late = |_| Brought::Not(format!("it did not arrive within {} s", patience.as_secs_f64()));
            tokio::time::timeout(patience, brought).await.unwrap_or_else(late)
        };
        let one = bounded.boxed().shared();
        if self.asked.insert(key.to_vec(), (one.clone(), now)).is_none() {
            self.bytes += key.len();
        }
        Some(one)
    }

    fn forget(&mut self, key: &[u8]) {
        if self.asked.remove(key).is_some() {
            self.bytes -= key.len();
        }
    }
}

impl Bringing {
    /// What became of keys after a little while. `None` when nobody brings keys by the topology of `epoch` now.
    pub(crate) async fn bring(
        &self,
        control: &Control,
        epoch: u64,
        keys: Vec<Vec<u8>>,
    ) -> Option<Vec<OutcomeForm>> {
        if control.topology().epoch() != epoch {
            return None;
        }
        let ones: Vec<Option<One>> = {
            let (mut all, now) = (self.all(), Instant::now());
            if all.epoch != epoch {
                *all = All { epoch, ..All::default() };
            }
            if all.asked.len() + keys.len() > limits::KEYS_BRINGING / 2
                || all.bytes > limits::KEYS_BRINGING_BYTES / 2
            {
                all.sweep(control, now);
            }
            keys.iter().map(|key| all.ask(control, key, now)).collect()
        };
        let together = join_all(ones.iter().flatten().cloned());
        let all_taken = ones.iter().all(Option::is_some);
        let whole = async {
            together.await;
            if !all_taken {
                // whoever asks again at once would find no more room
                std::future::pending::<()>().await;
            }
        };
        let _ = tokio::time::timeout(limits::BRING_TIME, whole).await;
        let outcomes: Vec<Option<Brought>> =
            ones.iter().map(|one| one.as_ref().and_then(|one| one.peek().cloned())).collect();
        let mut all = self.all();
        if all.epoch == epoch {
            for (key, _) in keys.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_some()) {
                all.forget(key);
            }
        }
        drop(all);
        outcomes
            .into_iter()
            .map(|outcome| match outcome {
                None => Some(OutcomeForm::Pending),
                Some(Brought::Arrived) => Some(OutcomeForm::Arrived),
                Some(Brought::Not(why)) => Some(OutcomeForm::Not(why)),
                Some(Brought::Unknown) => None,
            })
            .collect()
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
