//! Where the masters are that sentinels watch over. A node whose address is `redis+sentinel://NAME` is looked for here
//! each time somebody connects to it; who asks the sentinels is [`crate::sentinels`].
//!
//! ```text
//!   sentinels ──told──► Masters: NAME ─► "10.0.0.2:6379", version 3 ──resolve──► Stream::connect
//!                          ▲ doubt: a connection failed, or met a replica          └─ is_outdated, when the version moves on
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::topology::NodeAddress;

/// What is said where there are no sentinels to ask.
pub(crate) const NOBODY_TO_ASK: &str = "there are no sentinels to ask where it is; add the section sentinels";

/// See the head of this file. Shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Masters {
    /// Whether there are sentinels to ask.
    are_asked: bool,
    known: Mutex<BTreeMap<String, Arc<Master>>>,
    /// Grows when somebody is in doubt, or looks for a master that nobody looked for before.
    doubts: watch::Sender<u64>,
    /// How those did who were asked last.
    sentinels: Mutex<Vec<Sentinel>>,
    /// How often a master has moved.
    switches: AtomicU64,
}

/// One of those who are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinel {
    /// As it is configured.
    pub address: String,
    /// Why it does not answer; empty when it does.
    pub why: String,
}

impl Sentinel {
    /// Whether it answered when it was asked last.
    pub fn answers(&self) -> bool {
        self.why.is_empty()
    }
}

/// One master.
#[derive(Debug)]
struct Master {
    told: watch::Sender<Told>,
}

/// What was told of a master last.
#[derive(Debug, Clone, Default)]
struct Told {
    /// `host:port`.
    place: Option<Arc<str>>,
    /// Why nobody can tell; empty while nobody was asked.
    why: String,
    /// Grows with every other place.
    version: u64,
}

/// Where a master was found, for those who are connected to it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    master: Arc<Master>,
    version: u64,
}

impl Found {
    /// Whether the master is elsewhere by now.
    pub(crate) fn is_outdated(&self) -> bool {
        self.master.told.borrow().version != self.version
    }

    /// Ready when [`Found::is_outdated`].
    pub(crate) async fn moves(&self) {
        // the sender lives as long as this one holds the master
        let _ = self.master.told.subscribe().wait_for(|told| told.version != self.version).await;
    }
}

impl Masters {
    pub(crate) fn new(are_asked: bool) -> Self {
        Self { are_asked, ..Self::default() }
    }

    /// Whether there are sentinels to ask.
    pub(crate) fn are_asked(&self) -> bool {
        self.are_asked
    }

    /// The address to connect to for a node's address: where its master is, if sentinels are to say so, or itself. Waits
    /// until they have been asked; the caller bounds how long.
    ///
    /// # Errors
    /// Why nobody can tell.
    pub(crate) async fn resolve<'a>(
        &self,
        address: &'a str,
    ) -> Result<(Cow<'a, str>, Option<Found>), String> {
        let Some(NodeAddress::Sentinel { name, over_tls }) = NodeAddress::parse(address) else {
            return Ok((Cow::Borrowed(address), None));
        };
        if !self.are_asked {
            return Err(NOBODY_TO_ASK.into());
        }
        let master = self.master(name);
        let mut told = master.told.subscribe();
        // the sender lives as long as this one holds the master
        let told = told.wait_for(|told| told.place.is_some() || !told.why.is_empty()).await;
        let (place, why, version) =
            told.map(|told| (told.place.clone(), told.why.clone(), told.version)).unwrap_or_default();
        match place {
            Some(place) => Ok((Cow::Owned(as_address(&place, over_tls)), Some(Found { master, version }))),
            None => {
                self.doubts.send_modify(|doubts| *doubts += 1);
                Err(why)
            }
        }
    }

    /// Where a node is now whose address sentinels resolve; `None` for other addresses, and while nobody has told.
    pub(crate) fn place_of(&self, address: &str) -> Option<String> {
        let NodeAddress::Sentinel { name, over_tls } = NodeAddress::parse(address)? else { return None };
        let master = self.known().get(name).cloned()?;
        let place = master.told.borrow().place.clone()?;
        Some(as_address(&place, over_tls))
    }

    /// The node of this address was not where it is said to be, or was no master there: if sentinels are asked for it they
    /// are asked again soon.
    pub(crate) fn doubt(&self, address: &str) {
        if matches!(NodeAddress::parse(address), Some(NodeAddress::Sentinel { .. })) {
            self.doubts.send_modify(|doubts| *doubts += 1);
        }
    }

    /// Changes when somebody is in doubt, or looks for a master that nobody looked for before.
    pub(crate) fn doubts(&self) -> watch::Receiver<u64> {
        self.doubts.subscribe()
    }

    /// All that somebody looks for, or is connected to.
    pub(crate) fn names(&self) -> Vec<String> {
        self.known().keys().cloned().collect()
    }

    /// Keeps only those for whom `stays` says so, and those that somebody is connected to.
    pub(crate) fn retain(&self, stays: impl Fn(&str) -> bool) {
        self.known().retain(|name, master| stays(name) || Arc::strong_count(master) > 1);
    }

    /// A sentinel has told where a master is, `host:port`. Returns where it was before, if that was elsewhere.
    pub(crate) fn tell(&self, name: &str, place: &str) -> Option<String> {
        let mut before = None;
        self.master(name).told.send_if_modified(|told| {
            if told.place.as_deref() == Some(place) {
                return false;
            }
            before = told.place.replace(place.into()).map(|place| place.to_string());
            told.version += 1;
            told.why = String::new();
            true
        });
        self.switches.fetch_add(u64::from(before.is_some()), Ordering::Relaxed);
        before
    }

    /// How often a master has moved.
    pub(crate) fn switches(&self) -> u64 {
        self.switches.load(Ordering::Relaxed)
    }

    /// Nobody can tell where a master is. What was told before is believed on.
    pub(crate) fn cannot_tell(&self, name: &str, why: &str) {
        self.master(name).told.send_if_modified(|told| {
            let is_new = told.place.is_none() && told.why != why;
            if is_new {
                why.clone_into(&mut told.why);
            }
            is_new
        });
    }

    /// Notes how one did who was asked; returns how it did before, if it was asked before.
    pub(crate) fn note(&self, sentinel: Sentinel) -> Option<Sentinel> {
        let mut all = self.sentinels.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|known| known.address == sentinel.address) {
            Some(known) => Some(std::mem::replace(known, sentinel)),
            None => {
                all.push(sentinel);
                None
            }
        }
    }

    /// Those who were asked last.
    pub(crate) fn sentinels(&self) -> Vec<Sentinel> {
        self.sentinels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn master(&self, name: &str) -> Arc<Master> {
        let mut known = self.known();
        if let Some(master) = known.get(name) {
            return Arc::clone(master);
        }
        self.doubts.send_modify(|doubts| *doubts += 1);
        let master = Arc::new(Master { told: watch::Sender::default() });
        known.insert(name.to_owned(), Arc::clone(&master));
        master
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Master>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_address(place: &str, over_tls: bool) -> String {
    if over_tls { NodeAddress::over_tls(place) } else { place.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_looks_for_a_master_waits_until_somebody_tells_and_notices_when_it_moves() {
        let masters = Arc::new(Masters::new(true));
        let address = "rediss+sentinel://cache-1";
        let mut doubts = masters.doubts();
        let looking = {
            let masters = Arc::clone(&masters);
            tokio::spawn(async move { masters.resolve(address).await })
        };
        doubts.changed().await.expect("it lives");
        assert_eq!((masters.names(), masters.place_of(address)), (vec!["cache-1".to_owned()], None));
        assert_eq!(masters.tell("cache-1", "10.0.0.1:6379"), None);
        let (place, found) = looking.await.expect("no panic").expect("it is told");
        assert_eq!(place, "rediss://10.0.0.1:6379");
        let found = found.expect("it may move");
        masters.cannot_tell("cache-1", "no sentinel answers");
        masters.tell("cache-1", "10.0.0.1:6379");
        assert!(!found.is_outdated(), "what was told is believed on");
        assert_eq!(masters.tell("cache-1", "10.0.0.2:6379").as_deref(), Some("10.0.0.1:6379"));
        assert!(found.is_outdated());
        found.moves().await;
        assert_eq!(masters.place_of("redis+sentinel://cache-1").as_deref(), Some("10.0.0.2:6379"));
        masters.retain(|_| false);
        assert_eq!(masters.names().len(), 1, "somebody is connected to it");
        drop(found);
        masters.retain(|_| false);
        assert!(masters.names().is_empty());
    }

    #[tokio::test]
    async fn what_no_sentinel_is_to_say_is_itself_and_what_none_can_say_is_refused() {
        let masters = Masters::new(false);
        let (place, found) = masters.resolve("h:1").await.expect("an address");
        assert!(place == "h:1" && found.is_none());
        assert_eq!(masters.resolve("redis+sentinel://m").await.unwrap_err(), NOBODY_TO_ASK);
        let masters = Masters::new(true);
        masters.cannot_tell("m", "no sentinel knows it");
        assert_eq!(masters.resolve("redis+sentinel://m").await.unwrap_err(), "no sentinel knows it");
    }
}
