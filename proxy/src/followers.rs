//! Other Ringways that serve by this one's topology, as far as they have said. Pure memory; time is an argument.
//!
//! Whoever was heard of once counts until it says that it leaves, another process has seen that it is dead, or an operator
//! says so: one that cannot be reached may still serve its clients, by a topology of before. Processes count, not names: two
//! of one name are two.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::limits::{FOLLOWER_SILENCE, FOLLOWERS, FOLLOWERS_LEFT, FOLLOWERS_LEFT_TIME};
use crate::upstream::Abandoned;

/// What a follower says of itself.
#[derive(Debug, Clone, Default)]
pub struct FollowerReport {
    /// Which process it is: that of one that is dead, if it takes its place.
    pub instance: String,
    /// Where it reports from, for people.
    pub peer: String,
    /// A word that no other process has.
    pub run: String,
    /// Processes of the same follower that are known to be dead.
    pub replaces: Vec<String>,
    /// The epoch of this leader's topology that it serves by; 0 for none.
    pub serves: u64,
    /// Whether nothing is under way there that it sent by an earlier topology.
    pub settled: bool,
    /// Connections that it has given up with commands unanswered.
    pub given_up: Vec<Abandoned>,
    /// Why it does not serve by the topology that it was told.
    pub trouble: Option<String>,
}

/// A follower that is to be counted after a restart of its leader.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownFollower {
    /// What it is called.
    pub name: String,
    /// Which process it is.
    pub instance: String,
}

/// A follower, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowerStatus {
    /// What it is called.
    pub name: String,
    /// Where it reports from; empty when nothing was heard of it since this process began.
    pub peer: String,
    /// Whether its connection was lost since.
    pub is_lost: bool,
    /// For how long nothing was heard of it; `None` when nothing was since this process began.
    pub silent_for: Option<Duration>,
    /// Whether that is too long.
    pub is_silent: bool,
    /// The epoch that it serves by; 0 for none of this process.
    pub serves: u64,
    /// Why it does not serve by the topology that it was told.
    pub trouble: Option<String>,
}

impl FollowerStatus {
    /// Where it is, in words behind its name.
    fn at(&self) -> String {
        if self.peer.is_empty() { String::new() } else { format!(" at {}", self.peer) }
    }
}

/// Why a follower is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowerRefused {
    /// There are too many.
    #[error(
        "{FOLLOWERS} Ringways follow this one already, which is the most there can be; \
         DELETE /v1/followers/NAME forgets one that is gone"
    )]
    TooMany,
    /// This process has said that it leaves.
    #[error("this process has said that it serves no longer")]
    HasLeft,
    /// Who follows cannot be kept.
    #[error("who follows this Ringway cannot be kept: {0}")]
    NotKept(String),
}

/// What became of a wish to forget followers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// They count no longer.
    Yes,
    /// There is none of that name.
    Unknown,
    /// It was heard of a moment ago, so that it serves clients.
    Lives,
}

#[derive(Debug, Clone)]
struct Follower {
    name: String,
    instance: String,
    heard: Option<Instant>,
    /// Whether its connection was lost since.
    is_lost: bool,
    report: FollowerReport,
}

impl Follower {
    fn is_silent(&self, now: Instant) -> bool {
        self.heard.is_none_or(|heard| now.saturating_duration_since(heard) > FOLLOWER_SILENCE)
    }

    fn has_settled(&self, epoch: u64) -> bool {
        self.report.settled && self.report.serves == epoch
    }
}

/// One that counts no longer.
#[derive(Debug)]
struct Left {
    /// Of one that said so, or is dead: it is not taken again.
    instance: Option<String>,
    at: Instant,
    /// What it had given up may still come to a node.
    given_up: Vec<Abandoned>,
}

#[derive(Debug, Default)]
struct All {
    count: Vec<Follower>,
    /// The last ones that left, oldest first.
    left: VecDeque<Left>,
}

impl All {
    /// Those that go count no longer; for good, or until they say something.
    fn take_away(&mut self, now: Instant, for_good: bool, goes: impl Fn(&Follower) -> bool) {
        let gone: Vec<Follower> = self.count.extract_if(.., |known| goes(known)).collect();
        for Follower { instance, report, .. } in gone {
            self.note_left(for_good.then_some(instance), now, report.given_up);
        }
    }

    fn note_left(&mut self, instance: Option<String>, now: Instant, given_up: Vec<Abandoned>) {
        self.left.push_back(Left { instance, at: now, given_up });
        while self.left.len() > FOLLOWERS_LEFT {
            self.left.pop_front();
        }
    }

    fn has_left(&self, instance: &str) -> bool {
        self.left.iter().any(|left| left.instance.as_deref() == Some(instance))
    }

    /// What one says that counts already, in place of what it said before.
    fn renew(&mut self, at: usize, report: FollowerReport, now: Instant) {
        let known = &mut self.count[at];
        (known.heard, known.is_lost) = (Some(now), false);
        let before = std::mem::replace(&mut known.report, report);
        if before.run != known.report.run {
            // the process before it is dead
            self.note_left(None, now, before.given_up);
        } else if !known.report.settled {
            // it tells what it has given up when it has settled
            known.report.given_up = before.given_up;
        }
    }
}

type Keep = Box<dyn Fn(&[KnownFollower]) -> Result<(), String> + Send + Sync>;

/// See the head of this file.
pub struct Followers {
    leader: String,
    all: Mutex<All>,
    told: watch::Sender<()>,
    /// Held by whoever changes which of them count; it may take as long as a disk does.
    keep: Mutex<Option<Keep>>,
}

impl Default for Followers {
    fn default() -> Self {
        Self {
            leader: unique_word(),
            all: Mutex::default(),
            told: watch::Sender::new(()),
            keep: Mutex::default(),
        }
    }
}

/// A word that no other process has.
pub fn unique_word() -> String {
    // keys of hash functions are the randomness that the standard library offers
    let word = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", word(), word())
}

impl Followers {
    /// A word for this process: what another one has said of epochs is not about the same topologies.
    pub fn leader(&self) -> &str {
        &self.leader
    }

    /// These count from now on, though nothing was heard of them yet, beside those that were heard of; `keep` is told
    /// whenever there are others. Nobody is taken before this is said.
    pub fn remember(
        &self,
        known: Vec<KnownFollower>,
        keep: impl Fn(&[KnownFollower]) -> Result<(), String> + Send + Sync + 'static,
    ) {
        *self.keeping() = Some(Box::new(keep));
        let mut all = self.all();
        all.count.retain(|follower| follower.heard.is_some());
        for KnownFollower { name, instance } in known.into_iter().take(FOLLOWERS) {
            if all.count.iter().all(|follower| follower.instance != instance) {
                let report = FollowerReport::default();
                all.count.push(Follower { name, instance, heard: None, is_lost: false, report });
            }
        }
    }

    /// Takes note of what one says that counts already; whether it did. If not, [`Followers::register`] is to be asked.
    pub fn heard(&self, name: &str, report: &FollowerReport, now: Instant) -> bool {
        let mut all = self.all();
        let is_other = |known: &Follower| report.replaces.contains(&known.instance);
        if all.count.iter().any(is_other) {
            return false;
        }
        let is_it = |known: &Follower| known.instance == report.instance && known.name == name;
        let Some(at) = all.count.iter().position(is_it) else { return false };
        all.renew(at, report.clone(), now);
        drop(all);
        self.told.send_replace(());
        true
    }

    /// The connection of one was lost while it waited for an answer.
    pub fn lost(&self, instance: &str) {
        if let Some(known) = self.all().count.iter_mut().find(|known| known.instance == instance) {
            known.is_lost = true;
        }
    }

    /// Has one count from now on, in place of those that it replaces. It may take as long as a disk does.
    ///
    /// # Errors
    /// [`FollowerRefused`]; it does not count then.
    pub fn register(&self, name: &str, report: FollowerReport, now: Instant) -> Result<(), FollowerRefused> {
        let keep = self.keeping();
        let goes =
            |known: &Follower| known.instance == report.instance || report.replaces.contains(&known.instance);
        let mut known: Vec<KnownFollower> = {
            let all = self.all();
            if all.has_left(&report.instance) {
                return Err(FollowerRefused::HasLeft);
            }
            all.count.iter().filter(|known| !goes(known)).map(KnownFollower::from).collect()
        };
        if known.len() >= FOLLOWERS {
            return Err(FollowerRefused::TooMany);
        }
        known.push(KnownFollower { name: name.to_owned(), instance: report.instance.clone() });
        known.sort();
        let no_place = || Err("it has no topology_file; set one at the Ringway that leads".to_owned());
        keep.as_ref().map_or_else(no_place, |keep| keep(&known)).map_err(FollowerRefused::NotKept)?;
        let mut all = self.all();
        for known in all.count.iter().filter(|known| report.replaces.contains(&known.instance)) {
            tracing::info!(follower = known.name, "a process of a follower is dead");
        }
        if all.count.iter().all(|known| known.instance != report.instance) {
            tracing::info!(follower = name, address = report.peer, "another Ringway follows this one");
        }
        // one that goes by another name now
        let same = |known: &Follower| known.instance == report.instance;
        all.take_away(now, false, same);
        all.take_away(now, true, goes);
        let (name, instance) = (name.to_owned(), report.instance.clone());
        all.count.push(Follower { name, instance, heard: Some(now), is_lost: false, report });
        drop(all);
        self.told.send_replace(());
        Ok(())
    }

    /// The process `instance` of this name serves no longer, and will not; with `None` all of it that are silent are
    /// forgotten until they say something. It may take as long as a disk does.
    ///
    /// # Errors
    /// [`FollowerRefused::NotKept`]; they still count then.
    pub fn leaves(
        &self,
        name: &str,
        instance: Option<&str>,
        now: Instant,
    ) -> Result<Forgotten, FollowerRefused> {
        let keep = self.keeping();
        let goes = |known: &Follower| {
            known.name == name
                && match instance {
                    Some(instance) => known.instance == instance,
                    None => known.is_silent(now),
                }
        };
        let known: Vec<KnownFollower> = {
            let mut all = self.all();
            if !all.count.iter().any(goes) {
                if let Some(instance) = instance {
                    // a report of it may be on its way still
                    all.note_left(Some(instance.to_owned()), now, Vec::new());
                }
                let lives = instance.is_none() && all.count.iter().any(|known| known.name == name);
                return Ok(if lives { Forgotten::Lives } else { Forgotten::Unknown });
            }
            all.count.iter().filter(|known| !goes(known)).map(KnownFollower::from).collect()
        };
        let keep = |known: &[KnownFollower]| keep.as_ref().map_or(Ok(()), |keep| keep(known));
        keep(&known).map_err(FollowerRefused::NotKept)?;
        tracing::info!(follower = name, "another Ringway no longer follows this one");
        let mut all = self.all();
        all.take_away(now, instance.is_some(), goes);
        let mut left: Vec<KnownFollower> = all.count.iter().map(KnownFollower::from).collect();
        drop(all);
        self.told.send_replace(());
        left.sort();
        if left.len() > known.len() {
            // one that was silent has said something meanwhile
            keep(&left).map_err(FollowerRefused::NotKept)?;
        }
        Ok(Forgotten::Yes)
    }

    /// From now on nobody begins to count or ceases to: another process says who does.
    pub fn close(&self) {
        *self.keeping() = Some(Box::new(|_| Err("another process leads now".to_owned())));
    }

    /// All of them, by name.
    pub fn all_of_them(&self, now: Instant) -> Vec<FollowerStatus> {
        let all = self.all();
        let mut told: Vec<FollowerStatus> = all.count.iter().map(|known| status(known, now)).collect();
        told.sort_by(|a, b| a.name.cmp(&b.name));
        told
    }

    /// Why a change must not rely on all of them taking it over.
    pub(crate) fn trouble(&self, now: Instant) -> Option<String> {
        self.all_of_them(now).into_iter().find_map(|one| match (&one.trouble, one.silent_for) {
            (_, silent_for) if one.is_silent => Some(format!(
                "Ringway '{}'{}, which follows this one, was not heard of {}: it may serve clients still. Wait until it \
                 is back; when it has ended, DELETE /v1/followers/{0}",
                one.name,
                one.at(),
                silent_for.map_or("since the start".to_owned(), |time| format!("for {} s", time.as_secs())),
            )),
            _ if one.is_lost => Some(format!(
                "the connection to Ringway '{}'{}, which follows this one, was lost a moment ago: it may serve clients \
                 still. Wait until it is back",
                one.name,
                one.at(),
            )),
            (Some(trouble), _) => {
                Some(format!("Ringway '{}', which follows this one, says: {}", one.name, trouble.escape_debug()))
            }
            (None, _) => None,
        })
    }

    /// Waits until all of them serve by the topology of `epoch` and have nothing under way by an earlier one; what they, and
    /// those that have left, have given up.
    pub(crate) async fn settled(&self, epoch: u64) -> Vec<Abandoned> {
        let mut told = self.told.subscribe();
        loop {
            {
                let all = self.all();
                if all.count.iter().all(|known| known.has_settled(epoch)) {
                    let recent = all.left.iter().filter(|left| left.at.elapsed() < FOLLOWERS_LEFT_TIME);
                    let left = recent.flat_map(|left| left.given_up.clone());
                    return all
                        .count
                        .iter()
                        .flat_map(|known| known.report.given_up.clone())
                        .chain(left)
                        .collect();
                }
            }
            if told.changed().await.is_err() {
                // unreachable: this owns the sender
                std::future::pending::<()>().await;
            }
        }
    }

    /// The name of one that [`Followers::settled`] waits for, and its trouble, if it has said any.
    pub(crate) fn awaited(&self, epoch: u64) -> Option<(String, Option<String>)> {
        let all = self.all();
        let awaited = || all.count.iter().filter(|known| !known.has_settled(epoch));
        let known = awaited().find(|known| known.report.trouble.is_some()).or_else(|| awaited().next())?;
        Some((known.name.clone(), known.report.trouble.clone()))
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keeping(&self) -> MutexGuard<'_, Option<Keep>> {
        self.keep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<&Follower> for KnownFollower {
    fn from(known: &Follower) -> Self {
        Self { name: known.name.clone(), instance: known.instance.clone() }
    }
}

fn status(known: &Follower, now: Instant) -> FollowerStatus {
    FollowerStatus {
        name: known.name.clone(),
        peer: known.report.peer.clone(),
        is_lost: known.is_lost,
        silent_for: known.heard.map(|heard| now.saturating_duration_since(heard)),
        is_silent: known.is_silent(now),
        serves: known.report.serves,
        trouble: known.report.trouble.clone(),
    }
}

#[cfg(test)]
mod tests;
