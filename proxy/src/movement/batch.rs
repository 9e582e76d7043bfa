//! Some keys of one former node, brought to their nodes.
//!
//! ```text
//!   former: MEMORY USAGE ─► as many as their sizes allow: WATCH · PTTL, DUMP ─► new: RESTORE ─► former: MULTI UNLINK EXEC
//!                                   ▲                                                                   │ one was written
//!                                   └───────────────────────────────────────────────────────────────────┘
//! ```
//! Nobody should write a key where it no longer belongs. Somebody who does all the same, past this proxy, is seen by
//! WATCH, and the value is carried anew. A key that is not there has arrived, or there was none: that is said only when
//! its new node is known to run nothing late. What was sent there and not answered may be there, and must not outlive the
//! key at its former node: it is taken away.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};

use tokio::sync::watch;

use super::wires::{Talk, Trouble, Wires, said};
use crate::limits::{CARRIED_BYTES, LARGEST_CARRIED_BYTES};
use crate::resp::reply::{bulk, elements, integer, is_nil};
use crate::route::arrived::Traveller;

/// How often keys are carried that are written meanwhile.
const TRIES: usize = 3;
/// Longest short answers, in bytes.
const SHORT_BYTES: usize = 256 * 1024;
/// What is beside the values in the answers to PTTL and DUMP, in bytes.
const SLACK_BYTES: usize = 1 << 20;

/// What became of one key in all databases.
pub(super) type Outcome = Result<Carried, String>;

/// What was carried of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// In so many databases.
    pub(super) values: u64,
    pub(super) bytes: u64,
}

/// Keys, each with its database, that were sent to their new node without an answer.
pub(super) type Uncertain = RefCell<HashSet<(u32, Box<[u8]>)>>;

/// Which server a former node is: one that was started again may have old values of keys that have moved, as they were when
/// it last saved them.
#[derive(Debug, Default)]
pub(super) struct Server {
    run_id: RefCell<Option<String>>,
    was_replaced: Cell<bool>,
}

impl Server {
    /// Takes note of an answer to `INFO server`.
    pub(super) fn note(&self, reply: &[u8]) {
        let text = String::from_utf8_lossy(bulk(reply).unwrap_or_default()).into_owned();
        let Some(run_id) = text.lines().find_map(|line| line.strip_prefix("run_id:")) else { return };
        let known = self.run_id.replace(Some(run_id.to_owned()));
        if known.is_some_and(|known| known != run_id) {
            self.was_replaced.set(true);
        }
    }

    /// What it calls itself since its start, as far as it was heard.
    pub(super) fn run_id(&self) -> Option<String> {
        self.run_id.borrow().clone()
    }

    /// Whether it was started anew since keys began to leave it.
    pub(super) fn was_replaced(&self) -> bool {
        self.was_replaced.get()
    }
}

/// See the head of this file.
pub(super) struct Batch<'a> {
    pub(super) wires: &'a Wires,
    /// The place of the former node.
    pub(super) source: usize,
    pub(super) databases: &'a [u32],
    /// Whether the value at the former node is the right one where the new node has one too.
    pub(super) former_is_right: bool,
    /// Which server the former node is.
    pub(super) server: &'a Server,
    pub(super) uncertain: &'a Uncertain,
    /// Whether it is to end.
    pub(super) stop: &'a watch::Receiver<bool>,
}

/// One key in one database.
struct Parcel<'k> {
    key: &'k Traveller,
    /// Position among the keys.
    at: usize,
    /// About how much memory it takes up, in bytes.
    size: u64,
}

impl Parcel<'_> {
    /// Where it goes: nodes of the present topology come first among the places, in its order.
    fn target(&self) -> usize {
        usize::from(self.key.to.0)
    }
}

/// The value of a parcel.
struct Value {
    dump: Vec<u8>,
    /// The rest of its life in milliseconds, 0 for ever.
    ttl_ms: i64,
}

impl Value {
    fn bytes(&self) -> &[u8] {
        bulk(&self.dump).unwrap_or_default()
    }
}

type Loaded<'p, 'k> = (&'p Parcel<'k>, Value);

impl Batch<'_> {
    /// Brings all of `keys` to their nodes.
    ///
    /// # Errors
    /// The former node was lost, in words that name it, or it is to end; some of the keys may have arrived, or be on both
    /// sides.
    pub(super) async fn carry(&self, keys: &[Traveller]) -> Result<Vec<Outcome>, String> {
        let mut outcomes = vec![Ok(Carried::default()); keys.len()];
        let parcels = |size| keys.iter().enumerate().map(move |(at, key)| Parcel { key, at, size }).collect();
        let nowhere: Vec<Parcel<'_>> = parcels(0);
        // also where the former node has no keys at all
        self.see_that_nothing_comes_late(&nowhere, &mut outcomes).await;
        for database in self.databases {
            let parcels: Vec<Parcel<'_>> = parcels(0);
            let there = self.sized(*database, parcels, &mut outcomes).await?;
            let mut rest = &there[..];
            while !rest.is_empty() {
                if *self.stop.borrow() {
                    return Err("nobody carries it now".to_owned());
                }
                let (group, later) = rest.split_at(fitting(rest));
                self.group(*database, group, &mut outcomes).await?;
                rest = later;
            }
        }
        Ok(outcomes)
    }

    /// A key may be said to have arrived only at a node that runs nothing of carriers before these.
    async fn see_that_nothing_comes_late(&self, parcels: &[Parcel<'_>], outcomes: &mut [Outcome]) {
        for (target, parcels) in by_target(parcels.iter()) {
            if let Err(trouble) = self.wires.make_ours(target).await {
                refuse(&parcels, outcomes, &self.words(target, trouble));
            }
        }
    }

    /// Those of `parcels` that are at the former node, each with its size; the others have arrived, or there are none.
    async fn sized<'k>(
        &self,
        database: u32,
        parcels: Vec<Parcel<'k>>,
        outcomes: &mut [Outcome],
    ) -> Result<Vec<Parcel<'k>>, String> {
        // those whose node is lost stay where they are, untouched
        let parcels: Vec<Parcel<'k>> =
            parcels.into_iter().filter(|parcel| outcomes[parcel.at].is_ok()).collect();
        if parcels.is_empty() {
            return Ok(Vec::new());
        }
        let asked = async {
            let mut source = self.wires.talk(self.source, database).await?;
            source.ask(&[b"INFO", b"server"]);
            for parcel in &parcels {
                source.ask(&[b"MEMORY", b"USAGE", &parcel.key.key]);
            }
            let mut answers = source.answers(SHORT_BYTES).await?;
            source.end();
            self.server.note(&answers.remove(0));
            Ok(answers)
        };
        let answers = asked.await.map_err(|trouble| self.words(self.source, trouble))?;
        let (mut there, mut gone) = (Vec::new(), Vec::new());
        for (parcel, reply) in parcels.into_iter().zip(answers) {
            match integer(&reply) {
                Some(size) if size > LARGEST_CARRIED_BYTES as i64 => outcomes[parcel.at] = Err(too_large()),
                Some(size) => there.push(Parcel { size: size.max(0) as u64, ..parcel }),
                None if is_nil(&reply) => gone.push(parcel),
                None => outcomes[parcel.at] = Err(self.wires.named(self.source, &said(&reply))),
            }
        }
        self.forget(database, gone.iter(), outcomes).await;
        Ok(there)
    }

    /// Takes away what may be at its new node of keys that are gone at their former one.
    async fn forget<'p, 'k: 'p>(
        &self,
        database: u32,
        gone: impl Iterator<Item = &'p Parcel<'k>>,
        outcomes: &mut [Outcome],
    ) {
        let doubtful = gone.filter(|parcel| self.is_uncertain(database, parcel));
        for (target, parcels) in by_target(doubtful) {
            let forgotten = async {
                // the connection that was given up is closed by the greeting of this one
                let mut talk = self.wires.talk(target, database).await?;
                // called back, a key has its right value there already, if it has one
                if self.former_is_right {
                    parcels.iter().for_each(|parcel| talk.ask(&[b"UNLINK", &parcel.key.key]));
                    let answers = talk.answers(SHORT_BYTES).await?;
                    if let Some(refused) = answers.iter().find(|reply| integer(reply).is_none()) {
                        return Err(Trouble::Lost(self.wires.named(target, &said(refused))));
                    }
                }
                talk.end();
                Ok(())
            };
            match forgotten.await {
                Ok(()) => parcels.iter().for_each(|parcel| self.is_certain(database, parcel)),
                Err(trouble) => refuse(&parcels, outcomes, &self.words(target, trouble)),
            }
        }
    }

    /// Carries what is little enough to be carried at once.
    async fn group(
        &self,
        database: u32,
        parcels: &[Parcel<'_>],
        outcomes: &mut [Outcome],
    ) -> Result<(), String> {
        match self.try_group(database, parcels, outcomes).await {
            Err(Trouble::Lost(why)) => return Err(why),
            // sizes are estimates, which a value can be made to deceive, and a key that expires counts as written: the others
            // need not suffer
            Err(Trouble::TooLong | Trouble::Written) => {
                for alone in parcels.chunks(1) {
                    match self.try_group(database, alone, outcomes).await {
                        Err(Trouble::Lost(why)) => return Err(why),
                        Err(Trouble::TooLong) => refuse(&[&alone[0]], outcomes, &too_large()),
                        Err(Trouble::Written) => {
                            let why = "somebody goes on writing there what is on its way";
                            refuse(&[&alone[0]], outcomes, &self.wires.named(self.source, why));
                        }
                        Ok(()) => {}
                    }
                }
            }
            Ok(()) => {}
        }
        Ok(())
    }

    async fn try_group(
        &self,
        database: u32,
        parcels: &[Parcel<'_>],
        outcomes: &mut [Outcome],
    ) -> Result<(), Trouble> {
        // those whose value was written to their new node here
        let mut ours = HashSet::new();
        for _ in 0..TRIES {
            let mut source = self.wires.talk(self.source, database).await?;
            let loaded = self.load(&mut source, parcels, outcomes).await?;
            let placed = self.unload(database, &loaded, &mut ours, outcomes).await;
            let keys = placed.iter().map(|at| &*loaded[*at].0.key.key);
            let gone = self.unlink(&mut source, keys).await?;
            source.end();
            // what was placed by an earlier try, and deleted since
            let is_there = |parcel: &Parcel<'_>| loaded.iter().any(|(there, _)| there.at == parcel.at);
            for parcel in parcels.iter().filter(|parcel| ours.contains(&parcel.at) && !is_there(parcel)) {
                self.uncertain.borrow_mut().insert((database, parcel.key.key.clone()));
            }
            self.forget(database, parcels.iter().filter(|parcel| !is_there(parcel)), outcomes).await;
            let Some(gone) = gone else { continue };
            for (at, gone) in placed.into_iter().zip(gone) {
                let (parcel, value) = &loaded[at];
                // two who wait for one key have it carried once
                if let Ok(carried) = &mut outcomes[parcel.at]
                    && gone > 0
                {
                    carried.values += 1;
                    carried.bytes += value.bytes().len() as u64;
                }
            }
            return Ok(());
        }
        Err(Trouble::Written)
    }

    /// Reads the values of those that are there, and watches all.
    async fn load<'p, 'k>(
        &self,
        source: &mut Talk<'_>,
        parcels: &'p [Parcel<'k>],
        outcomes: &mut [Outcome],
    ) -> Result<Vec<Loaded<'p, 'k>>, Trouble> {
        let mut watch: Vec<&[u8]> = vec![b"WATCH"];
        watch.extend(parcels.iter().map(|parcel| &*parcel.key.key));
        source.ask(&watch);
        for parcel in parcels {
            source.ask(&[b"PTTL", &parcel.key.key]);
            source.ask(&[b"DUMP", &parcel.key.key]);
        }
        source.allow_for(parcels.iter().map(|parcel| parcel.size).sum());
        let mut answers = source.answers(LARGEST_CARRIED_BYTES + SLACK_BYTES).await?.into_iter();
        if let Some(refused) = answers.next().filter(|reply| reply != b"+OK\r\n") {
            return Err(Trouble::Lost(self.wires.named(self.source, &said(&refused))));
        }
        let mut loaded = Vec::new();
        for parcel in parcels {
            let (Some(ttl), Some(dump)) = (answers.next(), answers.next()) else { break };
            let why = match integer(&ttl) {
                None => said(&ttl),
                Some(_) if is_nil(&dump) => continue,
                Some(ttl_ms) if bulk(&dump).is_some() => {
                    // RESTORE takes 0 for a key that lives for ever
                    let ttl_ms = if ttl_ms < 0 { 0 } else { ttl_ms.max(1) };
                    loaded.push((parcel, Value { dump, ttl_ms }));
                    continue;
                }
                Some(_) => said(&dump),
            };
            outcomes[parcel.at] = Err(self.wires.named(self.source, &why));
        }
        Ok(loaded)
    }

    /// Writes the values to their nodes; which of them are there now. A node that is lost holds up its own keys alone.
    async fn unload(
        &self,
        database: u32,
        loaded: &[Loaded<'_, '_>],
        ours: &mut HashSet<usize>,
        outcomes: &mut [Outcome],
    ) -> Vec<usize> {
        let mut ways: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, (parcel, _)) in
            loaded.iter().enumerate().filter(|(_, (parcel, _))| outcomes[parcel.at].is_ok())
        {
            ways.entry(parcel.target()).or_default().push(at);
        }
        let mut placed = Vec::new();
        for (target, group) in ways {
            match self.restore(database, target, loaded, &group, ours, outcomes).await {
                Ok(there) => placed.extend(there),
                Err(trouble) => {
                    let parcels: Vec<&Parcel<'_>> = group.iter().map(|at| loaded[*at].0).collect();
                    refuse(&parcels, outcomes, &self.words(target, trouble));
                }
            }
        }
        placed
    }

    /// Writes the values at `group` to the one node that they go to; which of them are there now.
    async fn restore(
        &self,
        database: u32,
        target: usize,
        loaded: &[Loaded<'_, '_>],
        group: &[usize],
        ours: &mut HashSet<usize>,
        outcomes: &mut [Outcome],
    ) -> Result<Vec<usize>, Trouble> {
        let mut talk = self.wires.talk(target, database).await?;
        let mut sent_before = HashSet::new();
        for (parcel, value) in group.iter().map(|at| &loaded[*at]) {
            let ttl = value.ttl_ms.to_string();
            let mut words: Vec<&[u8]> = vec![b"RESTORE", &parcel.key.key, ttl.as_bytes(), value.bytes()];
            let was_sent = self.is_uncertain(database, parcel);
            if self.is_right() || was_sent || ours.contains(&parcel.at) {
                words.push(b"REPLACE");
            }
            talk.ask(&words);
            // until it is answered
            self.uncertain.borrow_mut().insert((database, parcel.key.key.clone()));
            if was_sent {
                sent_before.insert(parcel.at);
            }
        }
        talk.allow_for(group.iter().map(|at| loaded[*at].0.size).sum());
        let answers = talk.answers(SHORT_BYTES).await?;
        talk.end();
        let mut placed = Vec::new();
        for (at, reply) in group.iter().zip(answers) {
            let parcel = loaded[*at].0;
            // an older copy may be there although this one is not taken
            if reply == b"+OK\r\n" || !sent_before.contains(&parcel.at) {
                self.is_certain(database, parcel);
            }
            if reply == b"+OK\r\n" {
                ours.insert(parcel.at);
                placed.push(*at);
            } else if !self.is_right() && reply.starts_with(b"-BUSYKEY") {
                placed.push(*at);
            } else {
                outcomes[parcel.at] = Err(self.wires.named(target, &said(&reply)));
            }
        }
        Ok(placed)
    }

    /// Deletes keys at the former node, all or, when a watched one has changed, none: then nothing is answered. For each key
    /// whether it was there.
    async fn unlink<'k>(
        &self,
        source: &mut Talk<'_>,
        keys: impl Iterator<Item = &'k [u8]>,
    ) -> Result<Option<Vec<i64>>, Trouble> {
        let keys: Vec<&[u8]> = keys.collect();
        if keys.is_empty() {
            source.ask(&[b"UNWATCH"]);
            source.answers(SHORT_BYTES).await?;
            return Ok(Some(Vec::new()));
        }
        source.ask(&[b"MULTI"]);
        keys.iter().for_each(|key| source.ask(&[b"UNLINK", key]));
        source.ask(&[b"EXEC"]);
        let answers = source.answers(SHORT_BYTES).await?;
        let last = answers.last().map(Vec::as_slice).unwrap_or_default();
        let gone: Option<Vec<i64>> = elements(last).and_then(|gone| gone.map(integer).collect());
        if let Some(gone) = gone.filter(|gone| gone.len() == keys.len()) {
            return Ok(Some(gone));
        }
        if is_nil(last) {
            return Ok(None);
        }
        let refused = answers.iter().find(|reply| reply.starts_with(b"-")).map_or(last, Vec::as_slice);
        Err(Trouble::Lost(self.wires.named(self.source, &said(refused))))
    }

    /// Whether the value at the former node is the right one, as long as nothing is known that speaks against it.
    fn is_right(&self) -> bool {
        self.former_is_right && !self.server.was_replaced()
    }

    fn is_uncertain(&self, database: u32, parcel: &Parcel<'_>) -> bool {
        let uncertain = self.uncertain.borrow();
        !uncertain.is_empty() && uncertain.contains(&(database, parcel.key.key.clone()))
    }

    fn is_certain(&self, database: u32, parcel: &Parcel<'_>) {
        self.uncertain.borrow_mut().remove(&(database, parcel.key.key.clone()));
    }

    fn words(&self, place: usize, trouble: Trouble) -> String {
        match trouble {
            Trouble::Lost(why) => why,
            Trouble::TooLong | Trouble::Written => {
                self.wires.named(place, "its answer is longer than can be")
            }
        }
    }
}

/// How many of the first parcels may be carried at once, one at least.
fn fitting(parcels: &[Parcel<'_>]) -> usize {
    let mut bytes = 0;
    let fits = parcels.iter().take_while(|parcel| {
        bytes += parcel.size;
        bytes <= CARRIED_BYTES as u64
    });
    fits.count().max(1)
}

fn by_target<'p, 'k: 'p>(
    parcels: impl Iterator<Item = &'p Parcel<'k>>,
) -> BTreeMap<usize, Vec<&'p Parcel<'k>>> {
    let mut targets: BTreeMap<usize, Vec<&Parcel<'_>>> = BTreeMap::new();
    parcels.for_each(|parcel| targets.entry(parcel.target()).or_default().push(parcel));
    targets
}

fn refuse(parcels: &[&Parcel<'_>], outcomes: &mut [Outcome], why: &str) {
    parcels.iter().for_each(|parcel| outcomes[parcel.at] = Err(why.to_owned()));
}

fn too_large() -> String {
    format!("its value takes up more than {} MiB: move or delete it by hand", LARGEST_CARRIED_BYTES >> 20)
}
