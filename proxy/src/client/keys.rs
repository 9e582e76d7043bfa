//! KEYS over all nodes, passed through as it comes: neither the nodes' replies nor the joined one are ever whole here.
//!
//! ```text
//!   each node: KEYS p ─► its own keys are kept while they are few ─► all of them at once
//!        └─ many ─► MULTI, KEYS p, KEYS p, EXEC ─┬─ first copy: its own keys are counted ─► the head of the reply
//!                                                └─ second copy: its own keys pass, node after node, as they are read
//! ```
//! A reply says first how many elements follow, and only the ring knows which of a node's keys are its own. Inside of a
//! transaction both copies are the same: nothing changes, and time stands still. Until its turn comes the second one waits
//! in the node's buffers, so that memory here stays flat whatever there is and however slowly it is read (law I6). A node
//! that fails before the head makes an error, after it the end of the connection: never a part of the answer (law I4).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};

use super::all_nodes::would_miss_keys;
use super::exclusive::{self, Permit};
use super::session::refuse;
use super::{Client, Inner, SlotRef};
use crate::command::Command;
use crate::error::{Failure, Fate};
use crate::movement::Begun;
use crate::resp::request::parse_number;
use crate::resp::{Args, encode};
use crate::route::keyspace::is_own;
use crate::stats::Outcome;
use crate::topology::{NodeIndex, Topology};
use crate::upstream::{Dedicated, Lane, Lost, Node, Patience, ReplyTo};

/// Bytes that may wait for the client before more is read.
const AHEAD_BYTES: usize = 512 * 1024;

/// Bytes of keys that are kept, over all nodes, rather than to have the nodes list them twice more.
const KEPT_BYTES: usize = 256 * 1024;

/// Begins to list the keys; false when the commands before it are not answered.
pub(super) fn begin(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    if !inner.pipeline.is_empty() {
        inner.session.hold();
        return false;
    }
    // of one look: which keys are a node's own depends on its place in the topology (law I8)
    let (topology, nodes) = {
        let routes = client.worker.routes();
        (Arc::clone(&routes.topology), routes.nodes())
    };
    if would_miss_keys(client, inner, command, &topology) {
        return true;
    }
    let Some(permit) = exclusive::permits(&client.worker, nodes.len()) else {
        refuse(client, inner, command, exclusive::TOO_MANY);
        return true;
    };
    let settings = &client.worker.shared.settings;
    let limits = &settings.limits;
    let begun = client.worker.epochs.begin(topology.epoch());
    let ask = Ask {
        once: args.frame().into(),
        twice: twice(args.frame()).into(),
        kept: KEPT_BYTES / nodes.len().max(1),
        topology,
        lane: inner.session.own_lane(),
        longest: limits.reply_hard_bytes,
        limit: settings.timeouts.operation,
    };
    let ahead = AHEAD_BYTES.min(limits.reply_hard_bytes / 2);
    exclusive::run(client, inner, args.frame().len(), false, |to| {
        Listing { to, command, nodes, ask, ahead, _permit: permit, begun: Cell::new(Some(begun)) }.run()
    });
    true
}

/// The request twice inside of a transaction.
fn twice(request: &[u8]) -> Vec<u8> {
    [b"*1\r\n$5\r\nMULTI\r\n", request, request, b"*1\r\n$4\r\nEXEC\r\n"].concat()
}

/// What every node is asked, and how its reply is read.
#[derive(Clone)]
struct Ask {
    once: Rc<[u8]>,
    twice: Rc<[u8]>,
    /// Most bytes of one node's keys that are kept.
    kept: usize,
    topology: Arc<Topology>,
    lane: Lane,
    /// Longest key that is believed, in bytes.
    longest: usize,
    /// How long a node may be silent.
    limit: Duration,
}

/// How often a node is to list its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copies {
    One,
    Two,
}

/// A node whose first or only copy was read.
struct Counted {
    connection: Dedicated,
    /// Keys that it has.
    all: u64,
    /// Keys that the ring gives to it.
    own: u64,
    /// These, when they were few and are not to come again.
    kept: Option<Vec<u8>>,
}

/// Why a node's keys cannot be listed.
enum Failed {
    Lost(Lost),
    /// Its own words.
    Said(Vec<u8>),
}

impl From<Lost> for Failed {
    fn from(lost: Lost) -> Self {
        Failed::Lost(lost)
    }
}

/// KEYS of one client.
struct Listing {
    to: SlotRef,
    command: &'static Command,
    nodes: Vec<Rc<Node<SlotRef>>>,
    ask: Ask,
    ahead: usize,
    _permit: Permit,
    /// No key moves to another node before all nodes have looked.
    begun: Cell<Option<Begun>>,
}

impl Listing {
    async fn run(self) {
        let Some(counted) = self.count(Copies::One).await else { return };
        let kept: Option<Vec<&[u8]>> = counted.iter().map(|node| node.kept.as_deref()).collect();
        if let Some(kept) = kept {
            self.to.reply(&[&head(&counted), &*kept.concat()].concat(), true);
            return self.nodes.iter().for_each(|node| node.stats.commands.count(self.command, Outcome::Ok));
        }
        drop(counted);
        let Some(counted) = self.count(Copies::Two).await else { return };
        // what they found then is what they tell
        self.begun.take();
        self.to.reply(&head(&counted), false);
        for (at, counted) in counted.into_iter().enumerate() {
            if let Err(lost) = self.pass_on(at, counted).await {
                return self.lost(at, &lost);
            }
            self.nodes[at].stats.commands.count(self.command, Outcome::Ok);
        }
        self.to.reply(b"", true);
    }

    /// Has every node count; answers the client when one cannot.
    async fn count(&self, copies: Copies) -> Option<Vec<Counted>> {
        let mut asked = JoinSet::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let (node, ask) = (Rc::clone(node), self.ask.clone());
            asked.spawn_local(async move { (at, ask.count(&node, NodeIndex(at as u16), copies).await) });
        }
        let (mut counted, mut said) = (Vec::new(), Vec::new());
        while let Some(ended) = asked.join_next().await {
            match ended {
                Ok((at, Ok(node))) => counted.push((at, node)),
                Ok((at, Err(Failed::Said(text)))) => said.push((at, text)),
                Ok((at, Err(Failed::Lost(lost)))) => {
                    self.lost(at, &lost);
                    return None;
                }
                // a part that panicked has no answer
                Err(_) => {
                    self.to.client.close();
                    return None;
                }
            }
        }
        if !said.is_empty() {
            self.refused(&said);
            return None;
        }
        counted.sort_unstable_by_key(|(at, _)| *at);
        Some(counted.into_iter().map(|(_, node)| node).collect())
    }

    /// Passes the own keys of the second copy on, no faster than the client takes them.
    async fn pass_on(&self, at: usize, counted: Counted) -> Result<(), Lost> {
        let Counted { mut connection, all, own, .. } = counted;
        // it has everything to say, whatever becomes of the node's other connections
        connection.outlast();
        let (mut left, mut passed, mut out) = (all, 0, Vec::new());
        while left > 0 {
            let mut is_understood = true;
            let shown =
                connection.elements(left, self.ask.longest, self.ask.patience(), |key| {
                    match is_own(&self.ask.topology, NodeIndex(at as u16), key) {
                        Some(true) => {
                            out.extend_from_slice(key);
                            passed += 1;
                        }
                        Some(false) => {}
                        None => is_understood = false,
                    }
                });
            left -= shown.await?;
            if !is_understood || passed > own {
                return Err(changed());
            }
            self.to.reply(&out, false);
            out.clear();
            // the reader's own bounds end this wait
            while self.to.backlog() > self.ahead {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        if passed != own {
            return Err(changed());
        }
        connection.settle();
        Ok(())
    }

    fn lost(&self, at: usize, Lost { fate, why }: &Lost) {
        let outcome = match fate {
            Fate::NotSent => Outcome::NotSent,
            Fate::Unknown => Outcome::Unknown,
        };
        self.nodes[at].stats.commands.count(self.command, outcome);
        self.to.fail(Failure { fate: *fate, node: &self.nodes[at].spec, why });
    }

    /// What all say is said in their words, what one says is said of it.
    fn refused(&self, said: &[(usize, Vec<u8>)]) {
        let Some((at, text)) = said.first() else { return };
        let mut words = String::from_utf8_lossy(text.strip_prefix(b"-").unwrap_or(text)).into_owned();
        if said.len() < self.nodes.len() || said.iter().any(|(_, other)| other != text) {
            words.push_str(&format!(" (node '{}')", self.nodes[*at].spec.name));
        }
        self.nodes[*at].stats.commands.count(self.command, Outcome::Error);
        let mut out = Vec::new();
        encode::error(&mut out, &words);
        self.to.reply(&out, true);
    }
}

impl Ask {
    fn patience(&self) -> Patience {
        Patience::Limited(self.limit)
    }

    /// Asks one node and reads the first copy; of two the second one is left where it is.
    async fn count(&self, node: &Node<SlotRef>, index: NodeIndex, copies: Copies) -> Result<Counted, Failed> {
        let (request, before) = match copies {
            Copies::One => (&self.once, 0),
            // what is said to MULTI, KEYS, KEYS and EXEC itself
            Copies::Two => (&self.twice, 4),
        };
        let mut connection = node.dedicated(self.lane).await?;
        connection.only_reads();
        connection.send(request, self.patience()).await?;
        for _ in 0..before {
            let said = connection.line(self.patience()).await?;
            if said.starts_with(b"-") {
                return Err(Failed::Said(said));
            }
        }
        let head = connection.line(self.patience()).await?;
        if copies == Copies::One && head.starts_with(b"-") {
            connection.settle();
        }
        let all = array_len(&head)?;
        let mut kept = (copies == Copies::One).then(Vec::new);
        let own = self.read_own(&mut connection, index, all, &mut kept).await?;
        match copies {
            Copies::One => connection.settle(),
            Copies::Two if array_len(&connection.line(self.patience()).await?)? != all => {
                return Err(changed().into());
            }
            Copies::Two => {}
        }
        Ok(Counted { connection, all, own, kept })
    }

    /// Counts a node's own keys among `all`; keeps them as long as that is asked for and they are few.
    async fn read_own(
        &self,
        connection: &mut Dedicated,
        index: NodeIndex,
        all: u64,
        kept: &mut Option<Vec<u8>>,
    ) -> Result<u64, Failed> {
        let (mut left, mut own, mut is_understood) = (all, 0, true);
        while left > 0 {
            let shown = connection.elements(left, self.longest, self.patience(), |key| {
                match is_own(&self.topology, index, key) {
                    Some(true) => {
                        own += 1;
                        kept.as_mut().into_iter().for_each(|kept| kept.extend_from_slice(key));
                    }
                    Some(false) => {}
                    None => is_understood = false,
                }
            });
            left -= shown.await?;
            kept.take_if(|kept| kept.len() > self.kept);
            // others want their turn: hashing many keys takes long
            yield_now().await;
        }
        if is_understood { Ok(own) } else { Err(changed().into()) }
    }
}

/// The head of the reply.
fn head(counted: &[Counted]) -> Vec<u8> {
    let mut head = Vec::new();
    encode::array(&mut head, counted.iter().map(|node| node.own as usize).sum());
    head
}

/// The length in the head of an array; an error in its place is the node's own words.
fn array_len(head: &[u8]) -> Result<u64, Failed> {
    if head.starts_with(b"-") {
        return Err(Failed::Said(head.to_vec()));
    }
    let len = head.strip_prefix(b"*").and_then(parse_number).and_then(|len| u64::try_from(len).ok());
    len.ok_or_else(|| changed().into())
}

fn changed() -> Lost {
    Lost { fate: Fate::Unknown, why: "it does not answer KEYS as Redis does".into() }
}
