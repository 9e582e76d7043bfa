//! Connections between which keys are carried, one pool for each server and database.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use crate::control::Shared;
use crate::resp::encode;
use crate::resp::reply::{bulk, integer};
use crate::settings::NodeSpec;
use crate::stats::NodeStats;
use crate::topology::{NodeAddress, NodeIndex, Topology};
use crate::upstream::{Dedicated, Dialer, Fences, Lane, Patience, Pool, TOO_LONG};

/// What servers call the connections.
pub(super) const NAME: &str = "ringway-carrier";
/// Longest answer to CLIENT LIST, in bytes.
const LIST_BYTES: usize = 64 << 20;
/// How often a server that was lost is tried again: whoever asks it for something meanwhile is told so at once, and the
/// keys of others go on.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Bytes of values that a server reads or writes in a second at least; with more it is given more time.
const BYTES_PER_SECOND: u64 = 16 << 20;

/// What was given up, by address of the server; outlives a single movement.
pub(super) type GivenUp = Rc<RefCell<HashMap<String, Fences>>>;

/// Why a server did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It cannot be reached, or did not answer, in words that name it.
    Lost(String),
    /// It answered with more than is held here.
    TooLong,
    /// What is on its way is written to where it comes from.
    Written,
}

/// One server.
struct Place {
    spec: Arc<NodeSpec>,
    fences: Fences,
    pools: RefCell<HashMap<u32, Pool>>,
    /// Whether carriers of a process before this one are closed for certain.
    is_ours: tokio::sync::Mutex<bool>,
    /// Why it was lost, until it is reached again.
    lost: RefCell<Option<String>>,
}

/// See the head of this file.
pub(super) struct Wires {
    shared: Arc<Shared>,
    me: Weak<Self>,
    /// Those of the present topology in its order, then those of the former one that are not among them.
    places: Vec<Place>,
    /// For each node of the former topology its place.
    former: Vec<usize>,
}

impl Wires {
    /// To all servers of a topology and of the one before.
    pub(super) fn new(shared: &Arc<Shared>, topology: &Topology, given_up: &GivenUp) -> Rc<Self> {
        let mut specs: Vec<Arc<NodeSpec>> = topology.nodes().to_vec();
        let mut places = Vec::new();
        if let Some(former) = topology.former() {
            for (at, node) in former.nodes().iter().enumerate() {
                places.push(match former.same_server(NodeIndex(at as u16)) {
                    Some(NodeIndex(same)) => usize::from(same),
                    None => {
                        specs.push(Arc::clone(node));
                        specs.len() - 1
                    }
                });
            }
        }
        let place = |spec: Arc<NodeSpec>| {
            let fences = given_up.borrow_mut().entry(NodeAddress::key(&spec.address)).or_default().clone();
            Place { spec, fences, pools: RefCell::default(), is_ours: false.into(), lost: RefCell::default() }
        };
        let all = specs.into_iter().map(place).collect();
        Rc::new_cyclic(|me| Self { shared: Arc::clone(shared), me: me.clone(), places: all, former: places })
    }

    /// Where a node of the former topology is.
    pub(super) fn of_former(&self, node: NodeIndex) -> usize {
        self.former[usize::from(node.0)]
    }

    /// Whether a node of the former topology is at `place`.
    pub(super) fn leads_from(&self, place: usize) -> bool {
        self.former.contains(&place)
    }

    /// How the server at `place` is known.
    pub(super) fn spec(&self, place: usize) -> &NodeSpec {
        &self.places[place].spec
    }

    /// Words that name the server at `place`.
    pub(super) fn named(&self, place: usize, why: &str) -> String {
        let NodeSpec { name, address, .. } = self.spec(place);
        format!("node '{name}' ({address}): {why}")
    }

    /// A connection to the server at `place`, younger than all that was given up.
    ///
    /// # Errors
    /// It cannot be reached, or could not and has not been since.
    pub(super) async fn talk(&self, place: usize, database: u32) -> Result<Talk<'_>, Trouble> {
        self.make_ours(place).await?;
        self.connect(place, database).await
    }

    /// Sees to it that the server at `place` runs nothing any more that carriers before these have sent.
    ///
    /// # Errors
    /// It cannot be reached.
    pub(super) async fn make_ours(&self, place: usize) -> Result<(), Trouble> {
        if let Some(why) = &*self.places[place].lost.borrow() {
            return Err(Trouble::Lost(why.clone()));
        }
        let mut is_ours = self.places[place].is_ours.lock().await;
        if !*is_ours {
            if let Some(why) = &*self.places[place].lost.borrow() {
                return Err(Trouble::Lost(why.clone()));
            }
            self.close_others(self.connect(place, 0).await?).await?;
            *is_ours = true;
        }
        Ok(())
    }

    async fn connect(&self, place: usize, database: u32) -> Result<Talk<'_>, Trouble> {
        let pool = {
            let mut pools = self.places[place].pools.borrow_mut();
            pools.entry(database).or_insert_with(|| self.pool(&self.places[place], database)).clone()
        };
        let line = pool.get(None).await.map_err(|lost| self.lose(place, &lost.why))?;
        Ok(Talk { line, wires: self, place, requests: Vec::new(), awaited: 0, more_time: Duration::ZERO })
    }

    /// Has the server close connections of carriers that are not of this movement: of a process that has ended, whose last
    /// words the server may not have read yet.
    async fn close_others(&self, mut talk: Talk<'_>) -> Result<(), Trouble> {
        talk.ask(&[b"CLIENT", b"ID"]);
        talk.ask(&[b"CLIENT", b"LIST"]);
        let answers = talk.answers(LIST_BYTES).await?;
        let [own, list] = &*answers else { return Ok(()) };
        let (Some(own), Some(list)) = (integer(own), bulk(list)) else {
            let refused =
                answers.iter().find(|reply| reply.starts_with(b"-")).map_or(&b""[..], Vec::as_slice);
            return Err(Trouble::Lost(self.named(talk.place, &said(refused))));
        };
        // the first is nobody's: whether it may be asked for shows before it matters
        let others = carriers(&String::from_utf8_lossy(list)).filter(|id| *id != own).collect::<Vec<_>>();
        for id in std::iter::once(0).chain(others) {
            talk.ask(&[b"CLIENT", b"KILL", b"ID", id.to_string().as_bytes()]);
        }
        let answers = talk.answers(LIST_BYTES).await?;
        // one that is gone by now is no error
        if let Some(refused) = answers.first().filter(|reply| reply.starts_with(b"-NOPERM")) {
            return Err(Trouble::Lost(self.named(talk.place, &said(refused))));
        }
        talk.end();
        Ok(())
    }

    /// The server at `place` was lost: nobody waits for it until it can be reached again.
    fn lose(&self, place: usize, why: &str) -> Trouble {
        let why = self.named(place, why);
        let known = self.places[place].lost.borrow_mut().replace(why.clone());
        if known.is_none() {
            let wires = self.me.clone();
            tokio::task::spawn_local(async move {
                loop {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    let Some(wires) = wires.upgrade() else { return };
                    if let Ok(talk) = wires.connect(place, 0).await {
                        talk.end();
                        wires.places[place].lost.take();
                        return;
                    }
                }
            });
        }
        Trouble::Lost(why)
    }

    fn pool(&self, place: &Place, database: u32) -> Pool {
        Pool::new(Dialer {
            spec: Arc::clone(&place.spec),
            // these connections are not those of clients, whose figures are told
            stats: Arc::new(NodeStats::new(&place.spec.name)),
            fences: place.fences.clone(),
            scripts: Arc::default(),
            ways: Arc::clone(&self.shared.ways),
            timeouts: self.shared.settings.timeouts,
            lane: Lane { database, ..Lane::default() },
            name: Some(NAME),
        })
    }
}

/// A connection in use: closed, and fenced from then on, unless it is brought to a good end.
pub(super) struct Talk<'w> {
    line: Dedicated,
    wires: &'w Wires,
    place: usize,
    requests: Vec<u8>,
    awaited: usize,
    /// Beyond the operation timeout.
    more_time: Duration,
}

impl Talk<'_> {
    /// Asks for something, with all that is asked before [`Talk::answers`].
    pub(super) fn ask(&mut self, words: &[&[u8]]) {
        encode::request(&mut self.requests, words);
        self.awaited += 1;
    }

    /// The answers to what is asked next may take as long as values of so many bytes do.
    pub(super) fn allow_for(&mut self, bytes: u64) {
        self.more_time = Duration::from_millis(bytes.saturating_mul(1000) / BYTES_PER_SECOND);
    }

    /// The answers, in the order of what was asked, together of no more than `most` bytes.
    ///
    /// # Errors
    /// The server was lost; whether it has done what it was asked is unknown.
    pub(super) async fn answers(&mut self, most: usize) -> Result<Vec<Vec<u8>>, Trouble> {
        let more_time = std::mem::take(&mut self.more_time);
        let patience = Patience::Limited(self.wires.shared.settings.timeouts.operation + more_time);
        let requests = std::mem::take(&mut self.requests);
        let lost = |why: String| match &*why {
            TOO_LONG => Trouble::TooLong,
            why => self.wires.lose(self.place, why),
        };
        self.line.send(&requests, patience).await.map_err(|error| lost(error.why))?;
        drop(requests);
        let (mut answers, mut left) = (Vec::with_capacity(self.awaited), most);
        for _ in 0..std::mem::take(&mut self.awaited) {
            let answer = self.line.gather(left, patience).await.map_err(|error| lost(error.why))?;
            left = left.checked_sub(answer.len()).ok_or(Trouble::TooLong)?;
            answers.push(answer);
        }
        Ok(answers)
    }

    /// Nothing of what was asked lasts: somebody else may have the connection.
    pub(super) fn end(mut self) {
        self.line.settle();
    }
}

/// The numbers of carriers' connections in an answer to CLIENT LIST.
fn carriers(list: &str) -> impl Iterator<Item = i64> {
    let name = format!("name={NAME}");
    list.lines()
        .filter(move |line| line.split(' ').any(|word| word == name))
        .filter_map(|line| line.split(' ').find_map(|word| word.strip_prefix("id="))?.parse().ok())
}

/// What a server said instead of doing what it was asked, without any key.
pub(super) fn said(reply: &[u8]) -> String {
    let line =
        reply.strip_prefix(b"-").unwrap_or(reply).split(|byte| *byte == b'\r').next().unwrap_or_default();
    let code = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let runs = line.windows(10).any(|part| part == b"to run the");
    if code == b"NOPERM" && !runs {
        return "NOPERM: the user that Ringway is there may not run MULTI, EXEC, WATCH, SCAN, DUMP, PTTL, MEMORY USAGE, \
                RESTORE and UNLINK on all keys, or not CLIENT ID, LIST and KILL"
            .to_owned();
    }
    let visible = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' };
    let text: String = line[..line.len().min(128)].iter().map(visible).collect();
    // what follows repeats the arguments
    text.split(", with args").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{carriers, said};

    #[test]
    fn carriers_are_known_by_their_name() {
        let list = "id=7 addr=127.0.0.1:1 name=ringway-carrier db=0\nid=8 addr=127.0.0.1:2 name= db=0\n\
                    id=9 name=ringway-carrier-2 db=0\nid=10 addr=h:3 name=ringway-carrier lib-name=\n";
        assert_eq!(carriers(list).collect::<Vec<_>>(), [7, 10]);
    }

    #[test]
    fn what_a_server_says_is_one_line_without_keys() {
        assert_eq!(said(b"-OOM command not allowed\r\n"), "OOM command not allowed");
        assert_eq!(said(b"-ERR a\x1b[31m\r\n"), "ERR a?[31m");
        let unknown = b"-ERR unknown command 'RESTORE', with args beginning with: 'secret' '0' \r\n";
        assert_eq!(said(unknown), "ERR unknown command 'RESTORE'");
        assert!(!said(b"-NOPERM No permissions to access the 'secret' key\r\n").contains("secret"));
    }
}
