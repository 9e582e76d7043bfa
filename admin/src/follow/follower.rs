//! A Ringway that follows another one: takes over its topology, and asks it for keys that are on their way.
//!
//! ```text
//!   report ──► told another topology? ─► Control::take_over ─► commands by earlier ones end ─► report: settled
//!     ▲                                                                                           │
//!     └──────────────────────────── at most WAIT later, or at once ◄──────────────────────────────┘
//! ```
//! A leader that cannot be reached changes nothing: what it said last is served by.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ringway_proxy::control::{Abandoned, Control, Wanted, unique_word};
use ringway_proxy::settings::{NodeTls, Origin, Secret, TopologySpec};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::wire::{Trouble, Wire};
use super::{Keys, OutcomeForm, Outcomes, Report, Told};
use crate::form::Known;
use crate::limits;

/// Whom to follow.
#[derive(Debug, Clone)]
pub struct Follow {
    /// Its admin API: `http://host:port` or `https://host:port`.
    pub url: String,
    /// Its `admin.token`.
    pub token: Option<Secret>,
    /// What this follower is called there; another one for each.
    pub name: String,
    /// Whose certificates are trusted, for `https`.
    pub tls: Option<NodeTls>,
}

/// What the leader said first.
#[derive(Debug)]
pub struct First {
    /// Its topology.
    pub spec: TopologySpec,
    /// Where keys come from that are on their way.
    pub origin: Option<Origin>,
    /// The epoch of that topology there.
    pub epoch: u64,
    leader: String,
}

/// What is served by, in the leader's words and in ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held {
    leader: String,
    /// 0 for what the leader has not said.
    epoch: u64,
    own_epoch: u64,
}

/// Follows until it is told to leave.
pub struct Follower {
    wire: Arc<Wire>,
    url: String,
    instance: String,
    tasks: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Follower {
    /// Reaches nobody yet.
    ///
    /// # Errors
    /// What is wrong with the URL, the token or the certificates.
    pub fn new(follow: &Follow) -> Result<Self, String> {
        let Follow { url, token, name, tls } = follow;
        let wire = Arc::new(Wire::new(url, name, token.as_ref(), tls.as_ref())?);
        Ok(Self { wire, url: url.clone(), instance: unique_word(), tasks: Vec::new() })
    }

    /// What the leader serves by now.
    ///
    /// # Errors
    /// Why it does not say, or says nothing that can be served by.
    pub async fn first(&self) -> Result<First, String> {
        let report = self.report(&Held::default(), None, None, Duration::ZERO);
        let told: Told =
            self.wire.post("", &report, limits::LEADER_TIME).await.map_err(|trouble| trouble.to_string())?;
        let form = told.topology.ok_or("its answer is not what a Ringway says")?;
        let (spec, origin) = form.restore(&Known::new())?;
        Ok(First { spec, origin, epoch: told.epoch, leader: told.leader })
    }

    /// Follows from now on; `first` is what the proxy was started with, if the leader has said it.
    pub fn follow(&mut self, control: &Control, first: Option<&First>) {
        let wishes = control.follow(&self.url);
        let own_epoch = control.topology().epoch();
        let held = first.map(|First { leader, epoch, .. }| Held {
            leader: leader.clone(),
            epoch: *epoch,
            own_epoch,
        });
        control.note_leader(held.is_some());
        let held = watch::Sender::new(held.unwrap_or_default());
        let fetching = fetch(Arc::clone(&self.wire), held.subscribe(), wishes);
        let follows = Follows {
            wire: Arc::clone(&self.wire),
            url: self.url.clone(),
            instance: self.instance.clone(),
            control: control.clone(),
            held,
        };
        self.tasks = vec![tokio::spawn(follows.run()), tokio::spawn(fetching)];
    }

    /// Says that this process serves no longer.
    pub async fn leave(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Err(trouble) = self.wire.leave(&self.instance, limits::LEADER_CONNECT_TIME).await {
            tracing::warn!(leader = self.url, "it is not told that this Ringway has ended: {trouble}");
        }
    }

    fn report(
        &self,
        held: &Held,
        settled: Option<&[Abandoned]>,
        trouble: Option<&str>,
        wait: Duration,
    ) -> Report {
        report(&self.instance, held, settled, trouble, wait)
    }
}

fn report(
    instance: &str,
    held: &Held,
    settled: Option<&[Abandoned]>,
    trouble: Option<&str>,
    wait: Duration,
) -> Report {
    let mut given_up: Vec<_> = settled.unwrap_or_default().iter().cloned().map(Into::into).collect();
    given_up.truncate(limits::GIVEN_UP);
    Report {
        instance: instance.to_owned(),
        leader: held.leader.clone(),
        serves: held.epoch,
        settled: settled.is_some(),
        given_up,
        trouble: trouble.map(|why| why.chars().take(limits::TROUBLE_BYTES / 4).collect()),
        wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Keeps what is served by in line with what the leader says.
struct Follows {
    wire: Arc<Wire>,
    url: String,
    instance: String,
    control: Control,
    held: watch::Sender<Held>,
}

impl Follows {
    async fn run(self) {
        let mut settled: Option<Vec<Abandoned>> = None;
        let mut trouble: Option<String> = None;
        let mut silence: Option<Trouble> = None;
        loop {
            let held = self.held.borrow().clone();
            if settled.is_none() && held.epoch > 0 {
                let all = self.control.settled(held.own_epoch);
                // until then the leader is told that this one lives
                settled = tokio::time::timeout(limits::FOLLOWER_SETTLES, all).await.ok();
            }
            let is_new = settled.is_none() || trouble.is_some();
            let wait = if is_new { Duration::ZERO } else { limits::FOLLOWER_WAIT };
            let report = report(&self.instance, &held, settled.as_deref(), trouble.as_deref(), wait);
            let told = self.wire.post::<Told>("", &report, wait + limits::LEADER_TIME).await;
            match told {
                Err(why) => {
                    self.control.note_leader(false);
                    if silence.as_ref() != Some(&why) {
                        tracing::warn!(
                            leader = self.url,
                            "the topology is served by that it said last: {why}"
                        );
                    }
                    silence = Some(why);
                    tokio::time::sleep(limits::LEADER_AGAIN).await;
                }
                Ok(told) => {
                    self.control.note_leader(true);
                    if silence.take().is_some() {
                        tracing::info!(leader = self.url, "it is heard again");
                    }
                    if told.topology.is_none() {
                        // what could not be taken over is no longer what the leader has
                        trouble = None;
                        continue;
                    }
                    match self.take_over(told).await {
                        Ok(held) => {
                            self.held.send_replace(held);
                            (settled, trouble) = (None, None);
                        }
                        Err(why) => {
                            if trouble.as_ref() != Some(&why) {
                                tracing::error!(leader = self.url, "its topology is not taken over: {why}");
                            }
                            trouble = Some(why);
                            tokio::time::sleep(limits::LEADER_AGAIN).await;
                        }
                    }
                }
            }
        }
    }

    async fn take_over(&self, told: Told) -> Result<Held, String> {
        let Told { leader, epoch, topology, fences } = told;
        let spec = topology.ok_or("there is none")?.restore(&Known::new())?;
        let fences = fences.into_iter().map(Into::into).collect();
        let control = self.control.clone();
        let what = format!("taken over from {}, where it has epoch {epoch}", self.url);
        let runtime = tokio::runtime::Handle::current();
        // it builds a ring and writes a file
        let work = tokio::task::spawn_blocking(move || {
            let taken = runtime.block_on(control.take_over(epoch, spec, fences, &what));
            taken.map(|change| (change.is_some(), control.topology().epoch()))
        });
        let (is_other, own_epoch) =
            work.await.map_err(|_| "the work broke off".to_owned())?.map_err(|error| error.to_string())?;
        if is_other {
            tracing::info!(leader = self.url, epoch = own_epoch, "the topology is taken over");
        }
        Ok(Held { leader, epoch, own_epoch })
    }
}

/// Asks the leader for keys that clients wait for, some at once.
async fn fetch(wire: Arc<Wire>, held: watch::Receiver<Held>, mut wishes: UnboundedReceiver<Wanted>) {
    let mut queue = VecDeque::new();
    let mut asking: JoinSet<Vec<Wanted>> = JoinSet::new();
    loop {
        while asking.len() < limits::KEYS_REQUESTS && !queue.is_empty() {
            let held = held.borrow().clone();
            asking.spawn(ask(Arc::clone(&wire), held, next(&mut queue)));
        }
        tokio::select! {
            wanted = wishes.recv() => {
                let Some(wanted) = wanted else { return };
                queue.push_back(wanted);
                while let Ok(wanted) = wishes.try_recv() {
                    queue.push_back(wanted);
                }
            }
            Some(again) = asking.join_next(), if !asking.is_empty() => {
                queue.extend(again.unwrap_or_default());
            }
        }
    }
}

/// What is asked for at once.
fn next(queue: &mut VecDeque<Wanted>) -> Vec<Wanted> {
    let (mut next, mut keys, mut bytes) = (Vec::new(), 0, 0);
    while let Some(wanted) = queue.front() {
        keys += wanted.keys().count();
        bytes += wanted.keys().map(<[u8]>::len).sum::<usize>();
        if !next.is_empty() && (keys > limits::KEYS_ASKED_FOR || bytes > limits::KEYS_BYTES) {
            break;
        }
        next.extend(queue.pop_front());
    }
    next
}

/// Asks for keys; those that are to be asked for again.
async fn ask(wire: Arc<Wire>, held: Held, wanted: Vec<Wanted>) -> Vec<Wanted> {
    let mut asked = Vec::new();
    for wanted in wanted {
        if !wanted.is_awaited() {
            continue;
        }
        if wanted.epoch() != held.own_epoch {
            wanted.look_again();
        } else if wanted.keys().map(<[u8]>::len).sum::<usize>() > limits::KEYS_BYTES {
            wanted.answer(Err("its name is longer than can be asked for".to_owned()));
        } else {
            asked.push(wanted);
        }
    }
    if asked.is_empty() {
        return asked;
    }
    let keys = asked.iter().flat_map(Wanted::keys).map(|key| STANDARD.encode(key)).collect();
    let body = Keys { leader: held.leader, epoch: held.epoch, keys };
    match wire.post::<Outcomes>("/keys", &body, limits::LEADER_TIME).await {
        Err(trouble) => {
            tracing::debug!(%trouble, "keys on their way cannot be asked for");
            tokio::time::sleep(limits::LEADER_AGAIN).await;
            asked
        }
        Ok(Outcomes { outcomes: None }) => {
            asked.into_iter().for_each(Wanted::look_again);
            Vec::new()
        }
        Ok(Outcomes { outcomes: Some(outcomes) }) => hand_out(asked, outcomes),
    }
}

fn hand_out(asked: Vec<Wanted>, outcomes: Vec<OutcomeForm>) -> Vec<Wanted> {
    let (mut outcomes, mut again) = (outcomes.into_iter(), Vec::new());
    for wanted in asked {
        let count = wanted.keys().count();
        let these: Vec<OutcomeForm> = outcomes.by_ref().take(count).collect();
        let has_all = these.len() == count;
        let refused = these.iter().find_map(|outcome| match outcome {
            OutcomeForm::Not(why) => Some(why.clone()),
            _ => None,
        });
        if let Some(why) = refused {
            wanted.answer(Err(why));
        } else if has_all && these.iter().all(|outcome| matches!(outcome, OutcomeForm::Arrived)) {
            wanted.answer(Ok(()));
        } else {
            again.push(wanted);
        }
    }
    again
}
