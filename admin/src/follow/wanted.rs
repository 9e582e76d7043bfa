//! Keys that a follower's clients wait for: asked of the leader, many at once, until all have arrived.

use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ringway_proxy::control::Wanted;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::follower::Held;
use super::wire::Wire;
use super::{Keys, OutcomeForm, Outcomes};
use crate::limits;

/// Keys of one command, and which of them have not arrived.
struct Waiting {
    wanted: Wanted,
    left: Vec<Vec<u8>>,
}

impl Waiting {
    fn new(wanted: Wanted) -> Self {
        let left = wanted.keys().map(<[u8]>::to_vec).collect();
        Self { wanted, left }
    }
}

/// Those that wait, in the order in which they came.
#[derive(Default)]
struct Queue {
    all: VecDeque<Waiting>,
    /// At this length those are looked for who wait no longer.
    full: usize,
}

impl Queue {
    fn push(&mut self, waiting: Waiting) {
        if self.all.len() >= self.full {
            self.all.retain(|waiting| waiting.wanted.is_awaited());
            self.full = (2 * self.all.len()).max(64);
        }
        self.all.push_back(waiting);
    }

    /// What is asked for next, with how many keys of each.
    fn next(&mut self) -> Vec<(Waiting, usize)> {
        let (mut next, mut keys, mut bytes) = (Vec::new(), 0, 0);
        while let Some(waiting) = self.all.pop_front() {
            if !waiting.wanted.is_awaited() {
                continue;
            }
            let mut count = 0;
            for key in &waiting.left {
                if keys == limits::KEYS_ASKED_FOR || keys > 0 && bytes + key.len() > limits::KEYS_BYTES {
                    break;
                }
                (count, keys, bytes) = (count + 1, keys + 1, bytes + key.len());
            }
            if count == 0 && !waiting.left.is_empty() {
                self.all.push_front(waiting);
                break;
            }
            next.push((waiting, count));
        }
        next
    }
}

/// Asks for keys that clients wait for, some at once, as long as there is anybody who tells of them.
pub(super) async fn fetch(
    wire: Arc<Wire>,
    held: watch::Receiver<Held>,
    mut wishes: UnboundedReceiver<Wanted>,
) {
    let mut queue = Queue::default();
    let mut asking: JoinSet<Vec<Waiting>> = JoinSet::new();
    loop {
        while asking.len() < limits::KEYS_REQUESTS && !queue.all.is_empty() {
            let (held, next) = (held.borrow().clone(), queue.next());
            if !next.is_empty() {
                asking.spawn(ask(Arc::clone(&wire), held, next));
            }
        }
        tokio::select! {
            wanted = wishes.recv() => {
                let Some(wanted) = wanted else { return };
                queue.push(Waiting::new(wanted));
                while let Ok(wanted) = wishes.try_recv() {
                    queue.push(Waiting::new(wanted));
                }
            }
            Some(again) = asking.join_next(), if !asking.is_empty() => {
                again.unwrap_or_default().into_iter().for_each(|waiting| queue.push(waiting));
            }
        }
    }
}

/// Asks for so many keys of each; those that are to be asked for again.
async fn ask(wire: Arc<Wire>, held: Held, next: Vec<(Waiting, usize)>) -> Vec<Waiting> {
    let mut asked = Vec::new();
    for (waiting, count) in next {
        if waiting.wanted.epoch() != held.own_epoch {
            waiting.wanted.look_again();
        } else if waiting.left.iter().any(|key| key.len() > limits::KEYS_BYTES) {
            waiting.wanted.answer(Err("its name is longer than can be asked for".to_owned()));
        } else {
            asked.push((waiting, count));
        }
    }
    if asked.is_empty() {
        return Vec::new();
    }
    let keys = asked.iter().flat_map(|(waiting, count)| &waiting.left[..*count]);
    let keys = keys.map(|key| STANDARD.encode(key)).collect();
    let body = Keys { leader: held.leader, epoch: held.epoch, keys };
    let answer = wire.post::<Outcomes>("/keys", &body, limits::LEADER_TIME).await;
    match answer {
        Err(trouble) => {
            tracing::debug!(%trouble, "keys on their way cannot be asked for");
            tokio::time::sleep(limits::LEADER_AGAIN).await;
            asked.into_iter().map(|(waiting, _)| waiting).collect()
        }
        Ok(Outcomes { outcomes: None }) => {
            asked.into_iter().for_each(|(waiting, _)| waiting.wanted.look_again());
            Vec::new()
        }
        Ok(Outcomes { outcomes: Some(outcomes) }) => hand_out(asked, outcomes),
    }
}

/// Tells those who wait; the others are to be asked for again.
fn hand_out(asked: Vec<(Waiting, usize)>, outcomes: Vec<OutcomeForm>) -> Vec<Waiting> {
    let (mut outcomes, mut again) = (outcomes.into_iter(), Vec::new());
    for (mut waiting, count) in asked {
        let (mut refused, later) = (None, waiting.left.split_off(count));
        waiting.left.retain(|_| match outcomes.next() {
            Some(OutcomeForm::Arrived) => false,
            Some(OutcomeForm::Not(why)) => {
                refused = Some(why);
                true
            }
            Some(OutcomeForm::Pending) | None => true,
        });
        waiting.left.extend(later);
        match refused {
            Some(why) => waiting.wanted.answer(Err(why)),
            None if waiting.left.is_empty() => waiting.wanted.answer(Ok(())),
            None => again.push(waiting),
        }
    }
    again
}
