//! The core without IO under a seeded simulation: clients' pipelines, joins and the exchanges with nodes, over wires
//! that slice, stall and break as chance will have it.
//!
//! Every command carries a token of its own, and its node answers with it, so that each reply can be predicted: whose
//! it is, where in the order it stands and what it says (laws I1, I2). Nodes note what they ran and when, and the outcome
//! that was told is held against that (laws I3, I4): a write ran once at most, a read twice at most, and whatever ran
//! again did not pass its client's writes (law I2). The seed of a failing run is printed; `RINGWAY_SEED=n` repeats it,
//! `RINGWAY_SEEDS=n` tries so many.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::Spare;
use crate::client::pipeline::Pipeline;
use crate::command::{self, Command, Join};
use crate::error::{Failure, Fate};
use crate::resp::reply::{ReplyScan, ReplyScanner, reply_len};
use crate::resp::request::{RequestBounds, RequestScanner, Scan};
use crate::resp::{Args, encode};
use crate::route::join::Joining;
use crate::settings::NodeSpec;
use crate::upstream::exchange::{Exchange, Keep, ReplyTo};

const NODES: usize = 3;
const CLIENTS: usize = 5;
const EVENTS: usize = 3_000;
/// A reply of this length passes in pieces.
const LONG: usize = 100_000;
/// No more is sent than a node answers within this time.
const PATIENCE: Duration = Duration::from_millis(40);
/// Who has waited for so long to be sent is refused.
const LATE: Duration = Duration::from_millis(400);
/// What tokens of reads and of writes begin with.
const KINDS: [&str; 2] = ["r", "w"];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

#[derive(Default)]
struct Client {
    pipeline: Pipeline,
    spare: Spare,
    /// What it sent: the tokens of each command, in order.
    asked: Vec<Vec<String>>,
    read: Vec<u8>,
    /// A reply broke off, or it left.
    closed: bool,
}

#[derive(Clone)]
struct To {
    client: Rc<RefCell<Client>>,
    number: u64,
    part: u16,
}

impl ReplyTo for To {
    fn reply(&self, bytes: &[u8], last: bool) {
        let client = &mut *self.client.borrow_mut();
        if !client.closed {
            client.pipeline.reply(self.number, self.part, bytes, last, &mut client.spare);
        }
    }

    fn backlog(&self) -> usize {
        0
    }

    fn asker(&self) -> usize {
        Rc::as_ptr(&self.client).addr()
    }

    fn fail(&self, failure: Failure<'_>) {
        let client = &mut *self.client.borrow_mut();
        if !client.closed {
            let told = client.pipeline.fail(self.number, self.part, failure, &mut client.spare);
            client.closed = told.is_err();
        }
    }
}

/// A node with the wires to and from it.
struct Node {
    spec: NodeSpec,
    exchange: Exchange<To>,
    /// On its way to the node, arrived there, answered, on its way back.
    sent: Vec<u8>,
    arrived: Vec<u8>,
    answered: Vec<u8>,
}

struct Simulation {
    random: Random,
    now: Instant,
    /// One that reads and one that writes.
    rows: [&'static Command; 2],
    clients: Vec<Rc<RefCell<Client>>>,
    nodes: Vec<Node>,
    /// When each token was run, by any node, in runs of all.
    ran: HashMap<String, Vec<usize>>,
    runs: usize,
    cuts: u32,
    repeated: usize,
    refused: usize,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let exchange = || {
            let mut exchange = Exchange::new(now);
            exchange.begin(now, PATIENCE, Duration::ZERO);
            exchange
        };
        let node = |at: usize| Node {
            spec: NodeSpec::new(format!("node{at}"), format!("127.0.0.1:{}", 7000 + at)),
            exchange: exchange(),
            sent: Vec::new(),
            arrived: Vec::new(),
            answered: Vec::new(),
        };
        Self {
            random: Random(seed),
            now,
            rows: [b"mget", b"mset"].map(|name| command::find_full(name).expect("a row")),
            clients: (0..CLIENTS).map(|_| Rc::default()).collect(),
            nodes: (0..NODES).map(node).collect(),
            ran: HashMap::new(),
            runs: 0,
            cuts: 0,
            repeated: 0,
            refused: 0,
        }
    }

    /// One command with a token for each of its keys, over one node or several.
    fn ask(&mut self) {
        let at = self.random.below(CLIENTS);
        let client = Rc::clone(&self.clients[at]);
        if client.borrow().closed {
            return;
        }
        let keys = [1, 1, 1, 2, 5][self.random.below(5)];
        let number_of_command = client.borrow().asked.len();
        // two thirds read
        let kind = usize::from(self.random.below(3) == 0);
        let nodes: Vec<usize> = (0..keys).map(|_| self.random.below(NODES)).collect();
        let tokens: Vec<String> = nodes
            .iter()
            .enumerate()
            .map(|(key, node)| {
                let long = if self.random.below(40) == 0 { "x".repeat(LONG) } else { String::new() };
                format!("{}{node}.{at}.{number_of_command}.{key}.{long}", KINDS[kind])
            })
            .collect();
        let mut parts: Vec<usize> = Vec::new();
        let mut assignment = Vec::new();
        for node in &nodes {
            let part = parts.iter().position(|known| known == node).unwrap_or_else(|| {
                parts.push(*node);
                parts.len() - 1
            });
            assignment.push(part as u16);
        }
        let number = {
            let client = &mut *client.borrow_mut();
            client.asked.push(tokens.clone());
            if keys == 1 {
                client.pipeline.wait(10)
            } else {
                let mut joining: Box<Joining> = client.spare.joining();
                joining.begin(Join::Values, true, &assignment, parts.len(), usize::MAX);
                client.pipeline.join(10, joining)
            }
        };
        for (part, node) in parts.iter().enumerate() {
            let mine: Vec<&String> = tokens
                .iter()
                .zip(&assignment)
                .filter(|(_, of)| usize::from(**of) == part)
                .map(|(token, _)| token)
                .collect();
            let node = &mut self.nodes[*node];
            // ONE answers a string, MANY an array of strings
            encode::array(node.exchange.out(), 1 + mine.len());
            encode::bulk(node.exchange.out(), if keys == 1 { b"ONE" } else { b"MANY" });
            for token in mine {
                encode::bulk(node.exchange.out(), token.as_bytes());
            }
            let to = To { client: Rc::clone(&client), number, part: part as u16 };
            node.exchange.commit(to, self.rows[kind], self.now);
        }
    }

    fn write(&mut self) {
        let node = &mut self.nodes[self.random.below(NODES)];
        let bytes = node.exchange.sendable();
        let some = if self.random.below(2) == 0 { bytes.len() } else { self.random.below(bytes.len() + 1) };
        node.sent.extend_from_slice(&bytes[..some]);
        node.exchange.wrote(some, self.now);
    }

    /// Bytes arrive at a node, which runs what is whole.
    fn arrive(&mut self) {
        let node = &mut self.nodes[self.random.below(NODES)];
        let some = self.random.below(node.sent.len() + 1);
        node.arrived.extend(node.sent.drain(..some));
        let bounds = RequestBounds { authenticated: true, command_bytes: usize::MAX };
        let (mut used, mut spans) = (0, Vec::new());
        while let Ok(Scan::Request(len)) =
            RequestScanner::default().scan(&node.arrived[used..], bounds, &mut spans)
        {
            let args = Args::new(&node.arrived[used..used + len], &spans);
            if args.get(0) == Some(b"MANY") {
                encode::array(&mut node.answered, args.len() - 1);
            }
            for token in args.iter().skip(1) {
                self.runs += 1;
                self.ran.entry(String::from_utf8_lossy(token).into_owned()).or_default().push(self.runs);
                encode::bulk(&mut node.answered, token);
            }
            used += len;
        }
        node.arrived.drain(..used);
    }

    fn answer(&mut self) {
        let node = &mut self.nodes[self.random.below(NODES)];
        let some = self.random.below(node.answered.len() + 1);
        let bytes: Vec<u8> = node.answered.drain(..some).collect();
        node.exchange.received(&bytes, self.now, |_, _, _| {}).expect("an honest node breaks no rule");
    }

    /// The connection breaks; what had arrived was run, what had not is gone.
    fn cut(&mut self) {
        self.cuts += 1;
        let keep =
            [Keep::Nothing, Keep::Unsent, Keep::UnsentAndReads, Keep::UnsentAndReads][self.random.below(4)];
        let node = &mut self.nodes[self.random.below(NODES)];
        (node.sent, node.arrived, node.answered) = Default::default();
        let mut lost = Vec::new();
        self.repeated += node.exchange.lost(keep, |entry, fate| lost.push((entry, fate)));
        for (entry, fate) in lost {
            entry.fail(Failure { fate, node: &node.spec, why: "it broke" });
        }
        node.exchange.begin(self.now, PATIENCE, Duration::ZERO);
    }

    /// A node is busy for too long.
    fn refuse_late(&mut self) {
        let node = &mut self.nodes[self.random.below(NODES)];
        for entry in node.exchange.take_late(self.now, LATE) {
            self.refused += 1;
            entry.fail(Failure { fate: Fate::NotSent, node: &node.spec, why: "it is busy" });
        }
    }

    fn read(&mut self) {
        let at = self.random.below(CLIENTS);
        let some = self.random.below(3);
        let client = &mut *self.clients[at].borrow_mut();
        let len = client.pipeline.unwritten().len();
        let len = if some == 0 { len / 2 } else { len };
        client.read.extend_from_slice(&client.pipeline.unwritten()[..len]);
        client.pipeline.wrote(len);
    }

    fn leave(&mut self) {
        let at = self.random.below(CLIENTS);
        self.clients[at].borrow_mut().closed = true;
    }

    fn run(&mut self) {
        for _ in 0..EVENTS {
            self.now += Duration::from_millis(self.random.below(3) as u64);
            match self.random.below(201) {
                0..60 => self.ask(),
                60..100 => self.write(),
                100..140 => self.arrive(),
                140..175 => self.answer(),
                175..198 => self.read(),
                198 => self.cut(),
                199 => self.refuse_late(),
                200 => self.nodes.iter_mut().for_each(|node| node.exchange.look(self.now)),
                _ if self.random.below(20) == 0 => self.leave(),
                _ => {}
            }
        }
        let mut rounds = 0;
        while self.nodes.iter().any(|node| !node.exchange.is_idle()) {
            rounds += 1;
            assert!(rounds < 100_000, "a node is left with something that it cannot answer");
            self.write();
            self.arrive();
            self.answer();
        }
        for client in &self.clients {
            let client = &mut *client.borrow_mut();
            let rest = client.pipeline.unwritten().to_vec();
            client.read.extend_from_slice(&rest);
        }
    }

    /// Holds what every client read against what it asked and what nodes ran.
    fn judge(&self) -> Result<(), String> {
        for (at, client) in self.clients.iter().enumerate() {
            let client = client.borrow();
            self.judge_order(&client.asked)?;
            let mut rest = client.read.as_slice();
            for (number, tokens) in client.asked.iter().enumerate() {
                let Some(len) = reply_len(rest) else {
                    if client.closed {
                        self.judge_beginning(rest, tokens)?;
                        break;
                    }
                    return Err(format!("client {at}: no reply to command {number}"));
                };
                let (reply, after) = rest.split_at(len);
                self.judge_reply(reply, tokens)
                    .map_err(|why| format!("client {at}, command {number}: {why}"))?;
                rest = after;
            }
            if !client.closed && !rest.is_empty() {
                return Err(format!("client {at}: {} bytes that nobody asked for", rest.len()));
            }
        }
        Ok(())
    }

    /// What a client sent to one node ran in its order, where one of two is a write: nothing ran again after what came
    /// behind it.
    fn judge_order(&self, asked: &[Vec<String>]) -> Result<(), String> {
        for node in 0..NODES {
            let (mut last_write, mut last_of_all) = (0, 0);
            let here = [0, 1].map(|kind| format!("{}{node}.", KINDS[kind]));
            for token in asked.iter().flatten() {
                let reads = token.starts_with(&here[0]);
                let runs = self.ran.get(token).filter(|_| reads || token.starts_with(&here[1]));
                let Some((first, last)) = runs.and_then(|runs| runs.first().zip(runs.last())) else {
                    continue;
                };
                if *first < if reads { last_write } else { last_of_all } {
                    return Err(format!("'{token:.20}' did not run behind what stands before it"));
                }
                last_of_all = last_of_all.max(*last);
                last_write = if reads { last_write } else { *last };
            }
        }
        Ok(())
    }

    fn expected(tokens: &[String]) -> Vec<u8> {
        let mut reply = Vec::new();
        if tokens.len() > 1 {
            encode::array(&mut reply, tokens.len());
        }
        tokens.iter().for_each(|token| encode::bulk(&mut reply, token.as_bytes()));
        reply
    }

    fn judge_reply(&self, reply: &[u8], tokens: &[String]) -> Result<(), String> {
        let ran = |token: &String| self.ran.get(token).map_or(0, Vec::len);
        let most = |token: &String| if token.starts_with(KINDS[0]) { 2 } else { 1 };
        let told =
            reply.strip_prefix(b"-").map(|text| text.split(|byte| *byte == b' ').next().unwrap_or(text));
        let fits = match told {
            None if reply != Self::expected(tokens) => return Err("a foreign or changed reply".into()),
            None => tokens.iter().all(|token| (1..=most(token)).contains(&ran(token))),
            Some(code) if code == Fate::NotSent.code().as_bytes() => {
                tokens.iter().all(|token| ran(token) == 0)
            }
            Some(code) if code == Fate::Unknown.code().as_bytes() => {
                tokens.iter().all(|token| ran(token) <= most(token))
            }
            Some(_) => return Err(format!("an odd error: {}", reply.escape_ascii())),
        };
        let counts: Vec<usize> = tokens.iter().map(ran).collect();
        fits.then_some(()).ok_or_else(|| format!("told {told:?}, and it ran {counts:?} times"))
    }

    /// A connection that ends may end inside a reply, but never in a foreign one.
    fn judge_beginning(&self, bytes: &[u8], tokens: &[String]) -> Result<(), String> {
        let mut scanner = ReplyScanner::default();
        let whole = matches!(scanner.scan(bytes), Ok(ReplyScan::Complete(_)));
        let fits = bytes.starts_with(b"-") || Self::expected(tokens).starts_with(bytes);
        (fits && !whole).then_some(()).ok_or_else(|| "a foreign beginning".into())
    }
}

#[test]
fn i1_i2_i3_i4_hold_in_any_order_of_events() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos() as u64;
    let (first, seeds) = match number("RINGWAY_SEED") {
        Some(seed) => (seed, 1),
        None => (now, number("RINGWAY_SEEDS").unwrap_or(40)),
    };
    let (mut replies, mut cuts, mut repeated, mut refused) = (0, 0, 0, 0);
    for seed in first..first + seeds {
        let mut simulation = Simulation::new(seed);
        simulation.run();
        if let Err(why) = simulation.judge() {
            panic!("RINGWAY_SEED={seed}: {why}");
        }
        replies += simulation.clients.iter().map(|client| client.borrow().asked.len()).sum::<usize>();
        cuts += simulation.cuts;
        repeated += simulation.repeated;
        refused += simulation.refused;
    }
    println!(
        "{replies} commands, {cuts} broken connections, {repeated} reads sent again, {refused} that came too late"
    );
    assert!(replies > 0 && (cuts > 0 && repeated > 0 && refused > 0 || seeds < 10));
}
