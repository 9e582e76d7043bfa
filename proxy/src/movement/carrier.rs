//! Whoever carries the keys of one former node: first those that clients wait for, then, page by page, all others.
//!
//! It rests after each batch that nobody waits for as long as the batch took, so that both nodes have half of their time
//! for their clients.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Where;
use super::batch::{Batch, Outcome, Server, Uncertain};
use super::engine::Done;
use super::status::{MovementStatus, SourceStatus};
use super::wires::{Trouble, Wires, said};
use crate::control::Shared;
use crate::essential::Essential;
use crate::limits::{CARRIED_KEYS, CARRIED_SCAN_COUNT};
use crate::resp::reply::{bulk, elements};
use crate::route::arrived::Traveller;
use crate::topology::{NodeIndex, Owner, Topology};

/// See [`Rounds::rest`].
const LEAST_REST: Duration = Duration::from_millis(3);
/// How long the walk is put off while clients wait for keys.
const OVERDUE: Duration = Duration::from_millis(20);
/// How long a carrier waits after trouble with a server.
const AFTER_TROUBLE: Duration = Duration::from_millis(500);
/// How long it waits before it looks once more for keys that could not be moved.
const AFTER_LEFT: Duration = Duration::from_secs(5);
/// Longest answer to SCAN and INFO, in bytes.
const PAGE_BYTES: usize = 256 << 20;

/// A key that a client waits for, and where to say what became of it.
pub(super) struct Asked {
    pub(super) key: Traveller,
    pub(super) waiting: Rc<Waiting>,
}

/// A command that waits for several keys.
pub(super) struct Waiting {
    answer: std::cell::RefCell<Option<tokio::sync::oneshot::Sender<Result<Where, String>>>>,
    left: std::cell::Cell<usize>,
}

impl Waiting {
    pub(super) fn new(answer: tokio::sync::oneshot::Sender<Result<Where, String>>, keys: usize) -> Rc<Self> {
        Rc::new(Self { answer: Some(answer).into(), left: keys.into() })
    }

    /// Whether somebody still waits.
    fn is_open(&self) -> bool {
        self.answer.borrow().as_ref().is_some_and(|answer| !answer.is_closed())
    }

    /// One of the keys has arrived, or cannot.
    fn heard(&self, outcome: Result<(), String>) {
        self.left.set(self.left.get().saturating_sub(1));
        if (outcome.is_err() || self.left.get() == 0)
            && let Some(answer) = self.answer.borrow_mut().take()
        {
            // who has left does not mind
            let _ = answer.send(outcome.map(|()| Where::There));
        }
    }
}

/// How far the walk over the node's keys is.
enum Walk {
    /// It has not begun: its databases are not known.
    Unknown,
    /// The databases still to be walked, the first of them from this cursor on.
    At(VecDeque<u32>, String),
}

/// When the walk goes on.
enum Next {
    /// After as long as the last step took.
    Soon,
    After(Duration),
    /// It is at its end.
    Never,
}

/// See the head of this file.
pub(super) struct Carrier {
    pub(super) shared: Arc<Shared>,
    pub(super) topology: Arc<Topology>,
    pub(super) wires: Rc<Wires>,
    /// Its node, in the former topology.
    pub(super) source: NodeIndex,
    pub(super) asked: UnboundedReceiver<Asked>,
    pub(super) stop: watch::Receiver<bool>,
    /// Told when nothing is left to move.
    pub(super) done: Rc<Done>,
}

impl Carrier {
    /// Carries until it is told to stop.
    pub(super) async fn run(mut self) {
        let _essential = Essential::new("a carrier of keys", &self.shared.failed);
        let mut stop = self.stop.clone();
        let mut rounds = Rounds::default();
        while !*stop.borrow() {
            let mut asked = Vec::new();
            while asked.len() < CARRIED_KEYS
                && let Ok(one) = self.asked.try_recv()
            {
                asked.push(one);
            }
            if !asked.is_empty() {
                self.serve(asked, &mut rounds).await;
                // whoever asks without end, for keys that there are not, does not keep the others from moving
                if rounds.next.is_some_and(|at| at.elapsed() > OVERDUE) {
                    self.walk(&mut rounds).await;
                }
                continue;
            }
            let next = rounds.next;
            let turn = async {
                match next {
                    // a clock would wake it a millisecond late
                    Some(at) if at <= Instant::now() => {}
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                one = self.asked.recv() => match one {
                    Some(one) => self.serve(vec![one], &mut rounds).await,
                    None => return,
                },
                () = turn => self.walk(&mut rounds).await,
            }
        }
    }

    /// Carries what clients wait for.
    async fn serve(&self, asked: Vec<Asked>, rounds: &mut Rounds) {
        let asked: Vec<Asked> = asked.into_iter().filter(|one| one.waiting.is_open()).collect();
        if asked.is_empty() {
            return;
        }
        let (keys, waiting): (Vec<_>, Vec<_>) = asked.into_iter().map(|one| (one.key, one.waiting)).unzip();
        let outcomes = match self.carry(&keys, rounds).await {
            Ok(outcomes) => outcomes.into_iter().map(|outcome| outcome.map(drop)).collect(),
            // who carries them from now on is for others to say: what is not answered is asked for again
            Err(_) if *self.stop.borrow() => return,
            Err(why) => vec![Err(why); keys.len()],
        };
        waiting.iter().zip(outcomes).for_each(|(waiting, outcome)| waiting.heard(outcome));
    }

    async fn carry(&self, keys: &[Traveller], rounds: &mut Rounds) -> Result<Vec<Outcome>, String> {
        if rounds.databases.is_none() {
            rounds.databases = Some(self.databases(rounds).await?);
        }
        // one that has no keys any more may have had some that are uncertain
        let doubtful =
            rounds.uncertain.borrow().iter().map(|(database, _)| *database).collect::<BTreeSet<_>>();
        let databases: BTreeSet<u32> = rounds.databases.iter().flatten().copied().chain(doubtful).collect();
        let databases: Vec<u32> = databases.into_iter().collect();
        let batch = Batch {
            wires: &self.wires,
            source: self.wires.of_former(self.source),
            databases: &databases,
            server: &rounds.server,
            former_is_right: self.topology.former().is_some_and(|former| former.is_right()),
            uncertain: &rounds.uncertain,
            stop: &self.stop,
        };
        let outcomes = batch.carry(keys).await?;
        self.note_all(|status| {
            for carried in outcomes.iter().flatten() {
                status.moved += carried.values;
                status.bytes += carried.bytes;
            }
        });
        Ok(outcomes)
    }

    /// The next step of the walk: a batch, or a page of keys.
    async fn walk(&self, rounds: &mut Rounds) {
        let began = Instant::now();
        let outcome = self.step(rounds).await;
        if outcome.is_err() && *self.stop.borrow() {
            return;
        }
        self.note(|source| {
            let why = outcome.as_ref().err();
            if let Some(why) = why.filter(|why| source.why.as_ref() != Some(why)) {
                tracing::warn!(node = source.name, why, "its keys do not move");
            }
            source.why = why.cloned();
        });
        rounds.next = match outcome {
            Ok(Next::Soon) => Some(Instant::now() + rounds.rest(began.elapsed())),
            Ok(Next::After(rest)) => Some(Instant::now() + rest),
            Ok(Next::Never) => None,
            Err(_) => Some(Instant::now() + AFTER_TROUBLE),
        };
    }

    async fn step(&self, rounds: &mut Rounds) -> Result<Next, String> {
        if !rounds.page.is_empty() {
            let count = rounds.page.len().min(CARRIED_KEYS);
            let keys: Vec<Traveller> = rounds.page[rounds.page.len() - count..].to_vec();
            let outcomes = self.carry(&keys, rounds).await?;
            rounds.page.truncate(rounds.page.len() - count);
            for why in outcomes.into_iter().filter_map(Result::err) {
                rounds.left += 1;
                self.note_all(|status| {
                    status.left += 1;
                    if status.why.as_ref() != Some(&why) {
                        tracing::warn!(why, "a key cannot be moved");
                        status.why = Some(why);
                    }
                });
            }
            return Ok(Next::Soon);
        }
        match std::mem::replace(&mut rounds.walk, Walk::Unknown) {
            Walk::Unknown => {
                let databases = self.databases(rounds).await?;
                rounds.walked = rounds.server.run_id();
                // they are counted anew
                let left = std::mem::take(&mut rounds.left_before);
                self.note_all(|status| status.left = status.left.saturating_sub(left));
                rounds.databases = Some(databases.clone());
                rounds.walk = Walk::At(databases.into(), "0".to_owned());
            }
            Walk::At(databases, cursor) => {
                let Some(database) = databases.front().copied() else {
                    return self.come_round(rounds).await;
                };
                // when the page does not come, it is asked for again
                rounds.walk = Walk::At(databases, cursor.clone());
                let next = self.page(database, &cursor, rounds).await?;
                if let Walk::At(databases, cursor) = &mut rounds.walk {
                    if next == "0" {
                        databases.pop_front();
                    }
                    *cursor = next;
                }
            }
        }
        Ok(Next::Soon)
    }

    /// All keys were looked at: those that could not be moved are looked for once more, later.
    async fn come_round(&self, rounds: &mut Rounds) -> Result<Next, String> {
        let left = std::mem::replace(&mut rounds.left, 0);
        rounds.left_before = left;
        // what may be at its new node is not left there unseen, though it be gone here
        let keys = rounds.uncertain.borrow().iter().map(|(_, key)| key.clone()).collect::<HashSet<_>>();
        let travels = |key: Box<[u8]>| match self.topology.owner(&key) {
            Owner::Moving { from, to } => Some(Traveller { key, from, to }),
            Owner::Node(_) => None,
        };
        rounds.page.extend(keys.into_iter().filter_map(travels));
        if left > 0 {
            return Ok(Next::After(AFTER_LEFT));
        }
        if !rounds.page.is_empty() {
            return Ok(Next::After(AFTER_TROUBLE));
        }
        // another server goes through its keys in another order: what was its cursor says nothing
        self.databases(rounds).await?;
        if rounds.server.run_id() != rounds.walked {
            return Ok(Next::Soon);
        }
        self.note(|source| source.done = true);
        self.done.note(self.source);
        Ok(Next::Never)
    }

    /// The databases that hold keys. No other one gets keys that are to move: they are not written where they no longer
    /// belong.
    async fn databases(&self, rounds: &Rounds) -> Result<Vec<u32>, String> {
        let place = self.wires.of_former(self.source);
        let mut talk = self.wires.talk(place, 0).await.map_err(|trouble| self.words(trouble))?;
        talk.ask(&[b"INFO", b"server"]);
        talk.ask(&[b"INFO", b"keyspace"]);
        let answers = talk.answers(PAGE_BYTES).await.map_err(|trouble| self.words(trouble))?;
        talk.end();
        let [server, reply] = &*answers else { return Ok(Vec::new()) };
        let was_replaced = rounds.server.was_replaced();
        rounds.server.note(server);
        if rounds.server.was_replaced() && !was_replaced {
            let why = "it was started anew while its keys move: where a key is at its new node already, that value counts";
            tracing::warn!("{}", self.wires.named(place, why));
        }
        let text = bulk(reply).ok_or_else(|| self.wires.named(place, &said(reply)))?;
        let number = |line: &str| line.strip_prefix("db")?.split_once(':')?.0.parse().ok();
        Ok(String::from_utf8_lossy(text).lines().filter_map(number).collect())
    }

    /// Looks at the keys behind a cursor, and adds those that are to move; the next cursor.
    async fn page(&self, database: u32, cursor: &str, rounds: &mut Rounds) -> Result<String, String> {
        let place = self.wires.of_former(self.source);
        let mut talk = self.wires.talk(place, database).await.map_err(|trouble| self.words(trouble))?;
        talk.ask(&[b"SCAN", cursor.as_bytes(), b"COUNT", rounds.scan_count.to_string().as_bytes()]);
        let answers = talk.answers(PAGE_BYTES).await.map_err(|trouble| {
            if trouble == Trouble::TooLong {
                rounds.scan_count = (rounds.scan_count / 2).max(1);
            }
            self.words(trouble)
        })?;
        talk.end();
        let reply = answers.first().map(Vec::as_slice).unwrap_or_default();
        let (next, keys) =
            read_page(reply).ok_or_else(|| self.wires.named(place, &said(&reply[..reply.len().min(256)])))?;
        let mut looked_at = 0;
        for key in keys {
            looked_at += 1;
            if let Owner::Moving { from, to } = self.topology.owner(key)
                && from == self.source
            {
                rounds.page.push(Traveller { key: key.into(), from, to });
            }
        }
        self.note(|source| source.looked_at += looked_at);
        Ok(next)
    }

    fn words(&self, trouble: Trouble) -> String {
        match trouble {
            Trouble::Lost(why) => why,
            Trouble::TooLong | Trouble::Written => {
                self.wires.named(self.wires.of_former(self.source), "its answer is longer than can be")
            }
        }
    }

    fn note(&self, what: impl FnOnce(&mut SourceStatus)) {
        self.note_all(|status| {
            if let Some(source) = status.sources.get_mut(usize::from(self.source.0)) {
                what(source);
            }
        });
    }

    fn note_all(&self, what: impl FnOnce(&mut MovementStatus)) {
        self.shared.movement.note(self.topology.epoch(), what);
    }
}

/// The next cursor and the keys of a reply to SCAN.
fn read_page(reply: &[u8]) -> Option<(String, impl Iterator<Item = &[u8]>)> {
    let mut parts = elements(reply).filter(|parts| parts.left() == 2)?;
    let next = std::str::from_utf8(bulk(parts.next()?)?).ok()?.to_owned();
    Some((next, elements(parts.next()?)?.filter_map(bulk)))
}

/// Where the walk is, and when it goes on.
struct Rounds {
    walk: Walk,
    /// Those that hold keys, once they are known.
    databases: Option<Vec<u32>>,
    /// Which server the node is, and was when the walk began.
    server: Server,
    walked: Option<String>,
    /// Keys that may be at their new node although they are not known to be.
    uncertain: Uncertain,
    /// Keys that were found and are to be carried.
    page: Vec<Traveller>,
    /// Keys of this round that could not be moved.
    left: u64,
    /// Those of the round before.
    left_before: u64,
    /// Keys that the node is to look at for one `SCAN`; fewer when their names are long.
    scan_count: usize,
    /// Rest that was put off.
    owed: Duration,
    /// When the walk goes on; never, when it is over.
    next: Option<Instant>,
}

impl Rounds {
    /// How long to rest after a step that took so long: as long again, for the nodes' clients. Short rests are put off,
    /// as no clock wakes anybody after less than a millisecond.
    fn rest(&mut self, took: Duration) -> Duration {
        self.owed += took;
        if self.owed < LEAST_REST { Duration::ZERO } else { std::mem::take(&mut self.owed) }
    }
}

impl Default for Rounds {
    fn default() -> Self {
        Self {
            walk: Walk::Unknown,
            databases: None,
            server: Server::default(),
            walked: None,
            uncertain: Uncertain::default(),
            page: Vec::new(),
            left: 0,
            left_before: 0,
            scan_count: CARRIED_SCAN_COUNT,
            owed: Duration::ZERO,
            next: Some(Instant::now()),
        }
    }
}
