//! Other Ringways that serve by this one's topology, as far as they have said. Pure memory; time is an argument.
//!
//! Whoever was heard of once counts until it says that it leaves or an operator says so: one that cannot be reached may
//! still serve its clients, by a topology of before.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::limits::{FOLLOWER_SILENCE, FOLLOWERS};
use crate::upstream::Abandoned;

/// What a follower says of itself.
#[derive(Debug, Clone, Default)]
pub struct FollowerReport {
    /// Which process it is: a follower that is replaced has two for a while.
    pub instance: String,
    /// The epoch of this leader's topology that it serves by; 0 for none.
    pub serves: u64,
    /// Whether nothing is under way there that it sent by an earlier topology.
    pub settled: bool,
    /// Connections that it has given up with commands unanswered.
    pub given_up: Vec<Abandoned>,
    /// Why it does not serve by the topology that it was told.
    pub trouble: Option<String>,
}

/// A follower, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowerStatus {
    /// What it is called.
    pub name: String,
    /// For how long nothing was heard of it; `None` when nothing was since this process began.
    pub silent_for: Option<Duration>,
    /// Whether that is too long.
    pub is_silent: bool,
    /// The epoch that it serves by; 0 for none of this process.
    pub serves: u64,
    /// Why it does not serve by the topology that it was told.
    pub trouble: Option<String>,
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
    /// Their names cannot be kept.
    #[error("the names of those that follow cannot be kept: {0}")]
    NotKept(String),
}

#[derive(Debug)]
struct Follower {
    name: String,
    heard: Option<Instant>,
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

type Keep = Box<dyn Fn(&[String]) -> Result<(), String> + Send + Sync>;

/// See the head of this file.
pub struct Followers {
    leader: String,
    all: Mutex<Vec<Follower>>,
    told: watch::Sender<()>,
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

    /// Those of these names count from now on, though nothing was heard of them yet; `keep` is told whenever there are
    /// others.
    pub fn remember(
        &self,
        names: Vec<String>,
        keep: impl Fn(&[String]) -> Result<(), String> + Send + Sync + 'static,
    ) {
        *self.keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(keep));
        let mut all = self.all();
        for name in names.into_iter().take(FOLLOWERS) {
            if all.iter().all(|known| known.name != name) {
                all.push(Follower { name, heard: None, report: FollowerReport::default() });
            }
        }
    }

    /// Takes note of what one says. A process of the same name of which nothing is heard any more is taken to have been
    /// replaced by it.
    ///
    /// # Errors
    /// [`FollowerRefused`]; it does not count then.
    pub fn heard(&self, name: &str, report: FollowerReport, now: Instant) -> Result<(), FollowerRefused> {
        let mut all = self.all();
        let is_it = |known: &Follower| known.name == name && known.report.instance == report.instance;
        if let Some(known) = all.iter_mut().find(|known| is_it(known)) {
            (known.heard, known.report) = (Some(now), report);
        } else {
            let before = names(&all);
            if all.iter().filter(|known| known.name != name || !known.is_silent(now)).count() >= FOLLOWERS {
                return Err(FollowerRefused::TooMany);
            }
            if !before.iter().any(|known| known == name) {
                let mut after = before;
                after.push(name.to_owned());
                self.keep(&after).map_err(FollowerRefused::NotKept)?;
                tracing::info!(follower = name, "another Ringway follows this one");
            }
            all.retain(|known| known.name != name || !known.is_silent(now));
            all.push(Follower { name: name.to_owned(), heard: Some(now), report });
        }
        drop(all);
        self.told.send_replace(());
        Ok(())
    }

    /// A process of this name, or with `None` all of them, serves no longer; whether there was one.
    pub fn leaves(&self, name: &str, instance: Option<&str>) -> bool {
        let mut all = self.all();
        let before = all.len();
        let goes = |known: &Follower| {
            known.name == name && instance.is_none_or(|instance| known.report.instance == instance)
        };
        all.retain(|known| !goes(known));
        let has_gone = all.len() < before;
        let left = names(&all);
        drop(all);
        if has_gone {
            if let Err(why) = self.keep(&left) {
                tracing::warn!(
                    why,
                    follower = name,
                    "that it has left is not kept: it counts again after a restart"
                );
            }
            tracing::info!(follower = name, "another Ringway no longer follows this one");
            self.told.send_replace(());
        }
        has_gone
    }

    /// All of them, by name.
    pub fn all_of_them(&self, now: Instant) -> Vec<FollowerStatus> {
        let all = self.all();
        let mut told: Vec<FollowerStatus> = all.iter().map(|known| status(known, now)).collect();
        told.sort_by(|a, b| a.name.cmp(&b.name));
        told
    }

    /// Why a change must not rely on all of them taking it over.
    pub(crate) fn trouble(&self, now: Instant) -> Option<String> {
        self.all_of_them(now).into_iter().find_map(|one| match (one.trouble, one.silent_for) {
            (Some(trouble), _) => Some(format!("Ringway '{}', which follows this one, says: {trouble}", one.name)),
            (None, silent_for) if one.is_silent => Some(format!(
                "Ringway '{}', which follows this one, was not heard of {}: it may serve clients still. Wait until it \
                 is back; when it has ended, DELETE /v1/followers/{0}",
                one.name,
                silent_for.map_or("since the start".to_owned(), |time| format!("for {} s", time.as_secs())),
            )),
            _ => None,
        })
    }

    /// Waits until all of them serve by the topology of `epoch` and have nothing under way by an earlier one; what they have
    /// given up.
    pub(crate) async fn settled(&self, epoch: u64) -> Vec<Abandoned> {
        let mut told = self.told.subscribe();
        loop {
            {
                let all = self.all();
                if all.iter().all(|known| known.has_settled(epoch)) {
                    return all.iter().flat_map(|known| known.report.given_up.clone()).collect();
                }
            }
            if told.changed().await.is_err() {
                // unreachable: this owns the sender
                std::future::pending::<()>().await;
            }
        }
    }

    /// The name of one that [`Followers::settled`] waits for.
    pub(crate) fn awaited(&self, epoch: u64) -> Option<String> {
        self.all().iter().find(|known| !known.has_settled(epoch)).map(|known| known.name.clone())
    }

    fn keep(&self, names: &[String]) -> Result<(), String> {
        let keep = self.keep.lock().unwrap_or_else(PoisonError::into_inner);
        keep.as_ref().map_or(Ok(()), |keep| keep(names))
    }

    fn all(&self) -> MutexGuard<'_, Vec<Follower>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(all: &[Follower]) -> Vec<String> {
    let mut names: Vec<String> = all.iter().map(|known| known.name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

fn status(known: &Follower, now: Instant) -> FollowerStatus {
    FollowerStatus {
        name: known.name.clone(),
        silent_for: known.heard.map(|heard| now.saturating_duration_since(heard)),
        is_silent: known.is_silent(now),
        serves: known.report.serves,
        trouble: known.report.trouble.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn report(instance: &str, serves: u64, settled: bool) -> FollowerReport {
        FollowerReport { instance: instance.to_owned(), serves, settled, ..FollowerReport::default() }
    }

    #[test]
    fn who_was_heard_of_counts_until_it_leaves() {
        let (followers, now) = (Followers::default(), Instant::now());
        followers.heard("a", report("1", 1, true), now).unwrap();
        assert_eq!(followers.trouble(now), None);
        let after = now + FOLLOWER_SILENCE + Duration::from_secs(1);
        assert!(followers.trouble(after).unwrap().contains("'a'"));
        assert_eq!(followers.awaited(1), None, "it serves by that topology, though it is silent");
        assert_eq!(followers.awaited(2).as_deref(), Some("a"));
        assert!(!followers.leaves("a", Some("2")) && followers.leaves("a", Some("1")));
        assert_eq!((followers.trouble(after), followers.awaited(2)), (None, None));
    }

    #[test]
    fn a_process_that_replaces_another_counts_beside_it_until_that_is_silent() {
        let (followers, now) = (Followers::default(), Instant::now());
        followers.heard("a", report("1", 1, true), now).unwrap();
        followers.heard("a", report("2", 1, true), now).unwrap();
        assert_eq!(followers.all_of_them(now).len(), 2);
        let after = now + FOLLOWER_SILENCE + Duration::from_secs(1);
        followers.heard("a", report("3", 1, true), after).unwrap();
        assert_eq!(followers.all_of_them(after).len(), 1);
    }

    #[test]
    fn names_are_kept_and_counted_after_a_restart() {
        let (kept, now) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
        let keep = || {
            let kept = Arc::clone(&kept);
            move |names: &[String]| {
                *kept.lock().unwrap() = names.to_vec();
                Ok(())
            }
        };
        let followers = Followers::default();
        followers.remember(Vec::new(), keep());
        followers.heard("b", report("1", 1, true), now).unwrap();
        followers.heard("a", report("1", 1, true), now).unwrap();
        assert_eq!(*kept.lock().unwrap(), ["a", "b"]);
        followers.leaves("b", None);
        let again = Followers::default();
        again.remember(kept.lock().unwrap().clone(), keep());
        assert!(again.trouble(now).unwrap().contains("since the start"));
        again.heard("a", report("2", 0, false), now).unwrap();
        assert_eq!((again.trouble(now), again.awaited(1).as_deref()), (None, Some("a")));
        assert_eq!(again.all_of_them(now).len(), 1);
    }

    #[test]
    fn they_are_bounded_and_none_counts_that_cannot_be_kept() {
        let (followers, now) = (Followers::default(), Instant::now());
        for at in 0..FOLLOWERS {
            followers.heard(&format!("{at}"), report("1", 1, true), now).unwrap();
        }
        assert_eq!(followers.heard("more", report("1", 1, true), now), Err(FollowerRefused::TooMany));
        let followers = Followers::default();
        followers.remember(Vec::new(), |_| Err("a full disk".to_owned()));
        let refused = followers.heard("a", report("1", 1, true), now).unwrap_err();
        assert!(refused.to_string().contains("a full disk") && followers.all_of_them(now).is_empty());
    }

    #[tokio::test]
    async fn a_movement_waits_for_all_and_hears_what_they_have_given_up() {
        let (followers, now) = (Followers::default(), Instant::now());
        assert!(followers.settled(2).await.is_empty());
        followers.heard("a", report("1", 1, true), now).unwrap();
        followers.heard("b", report("1", 2, true), now).unwrap();
        let given_up = Abandoned { address: "h:1".into(), id: 7, end: "h:9".into(), socket: None };
        let tell = async {
            tokio::task::yield_now().await;
            followers.heard("a", report("1", 2, false), now).unwrap();
            tokio::task::yield_now().await;
            let report = FollowerReport { given_up: vec![given_up.clone()], ..report("1", 2, true) };
            followers.heard("a", report, now).unwrap();
        };
        let (heard, ()) = tokio::join!(followers.settled(2), tell);
        assert_eq!(heard, [given_up]);
    }
}
