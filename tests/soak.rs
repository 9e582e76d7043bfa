//! Everything at once for as long as one likes: checked traffic, clients that leave in the middle, connections that are
//! cut, nodes that sleep, a ring that changes, and all oracles on. `make soak MINUTES=10`; a few seconds in `make test`.
//!
//! The oracles: every value says whose it is and which write it comes from, so that a foreign, misordered or lost reply
//! is seen (laws I1, I2, I4); unique tokens are counted in the end (OK = once, NOTSENT = never, UNKNOWN = at most once,
//! law I3); descriptors come back (law I9). Nodes are not killed here, since they would lose what the oracles count.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringway_proxy::settings::{NodeSpec, TopologySpec};
use ringway_proxy::topology::Topology;

use crate::support::frame::{bulk, bulk_request};
use crate::support::harness::node_name;
use crate::support::random::Random;
use crate::support::{Cluster, RawClient, RedisServer, StopAtEnd, wait_for};

/// Clients whose traffic is checked, and those that come and leave in the middle.
const STEADY: usize = 12;
const FLEETING: usize = 8;
const NODES: usize = 4;
const KEYS: usize = 16;
/// Commands that are sent before their replies are read.
const WINDOW: usize = 256;

/// The topologies that are gone through: weights of the nodes, 0 for a node that is out.
const POOL: [[u32; NODES]; 5] = [[1, 1, 1, 0], [1, 1, 1, 1], [2, 1, 1, 0], [1, 1, 2, 1], [1, 1, 1, 2]];

fn specs(nodes: &[RedisServer], weights: &[u32; NODES]) -> Vec<NodeSpec> {
    let all = nodes.iter().zip(weights).enumerate();
    all.filter(|(_, (_, weight))| **weight > 0)
        .map(|(at, (node, weight))| NodeSpec {
            weight: *weight,
            ..NodeSpec::new(node_name(at), node.address())
        })
        .collect()
}

#[derive(Default)]
struct Counts {
    replies: AtomicU64,
    failures: AtomicU64,
    cancels: AtomicU64,
    cuts: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Ok,
    NotSent,
    Unknown,
}

/// What a reply may be.
enum Slot {
    Exactly(Vec<u8>),
    Set { key: usize, sequence: u64 },
    Get { key: usize, newest: u64 },
    Token(String),
}

/// A client that knows what it wrote. Its keys never move, and all lie on one node.
struct Steady {
    number: usize,
    raw: RawClient,
    random: Random,
    keys: Vec<String>,
    list: String,
    /// For each key the last write that was sent, and the last that is known to have run.
    sent: Vec<u64>,
    ran: Vec<u64>,
    sequence: u64,
    tokens: Vec<(String, Told)>,
}

impl Steady {
    fn command(&mut self, out: &mut Vec<u8>) -> Slot {
        self.sequence += 1;
        let key = self.random.below(KEYS);
        match self.random.below(100) {
            0 => {
                let token = format!("token-{}-{}", self.number, self.sequence);
                out.extend(bulk_request(&["RPUSH", &self.list, &token]));
                Slot::Token(token)
            }
            1..30 => {
                let value = format!("{}.{key}.{}", self.number, self.sequence);
                out.extend(bulk_request(&["SET", &self.keys[key], &value]));
                self.sent[key] = self.sequence;
                Slot::Set { key, sequence: self.sequence }
            }
            30..38 => {
                let nonce = format!("nonce {} of {}", self.sequence, self.number);
                out.extend(bulk_request(&["ECHO", &nonce]));
                Slot::Exactly(bulk(nonce.as_bytes()))
            }
            _ => {
                out.extend(bulk_request(&["GET", &self.keys[key]]));
                Slot::Get { key, newest: self.sent[key] }
            }
        }
    }

    fn round(&mut self, counts: &Counts) {
        let mut bytes = Vec::new();
        let slots: Vec<Slot> = (0..WINDOW).map(|_| self.command(&mut bytes)).collect();
        self.raw.send(&bytes);
        let mut failures = 0;
        for slot in slots {
            let reply = self.raw.reply();
            failures += u64::from(self.check(slot, &reply).is_break());
        }
        counts.replies.fetch_add(WINDOW as u64, Ordering::Relaxed);
        counts.failures.fetch_add(failures, Ordering::Relaxed);
    }

    /// Breaks when the command failed, as it may while faults are about.
    fn check(&mut self, slot: Slot, reply: &[u8]) -> ControlFlow<()> {
        let shown = || String::from_utf8_lossy(reply).into_owned();
        let told = match reply {
            [b'-', b'N', b'O', b'T', b'S', b'E', b'N', b'T', b' ', ..] => Told::NotSent,
            [b'-', b'U', b'N', b'K', b'N', b'O', b'W', b'N', b' ', ..] => Told::Unknown,
            [b'-', ..] => panic!("an odd error: {}", shown()),
            _ => Told::Ok,
        };
        match slot {
            Slot::Exactly(expected) => assert!(reply == expected, "a foreign reply: {}", shown()),
            Slot::Token(token) => {
                assert!(told != Told::Ok || reply[0] == b':', "a foreign reply: {}", shown());
                self.tokens.push((token, told));
            }
            Slot::Set { key, sequence } => {
                assert!(told != Told::Ok || reply == b"+OK\r\n", "a foreign reply: {}", shown());
                if told == Told::Ok {
                    self.ran[key] = sequence;
                }
            }
            Slot::Get { key, newest } if told == Told::Ok => {
                let value = std::str::from_utf8(reply).expect("text").trim_end().rsplit("\r\n").next();
                let sequence = match value.unwrap_or_default() {
                    "$-1" => 0,
                    value => value
                        .strip_prefix(&format!("{}.{key}.", self.number))
                        .and_then(|sequence| sequence.parse().ok())
                        .unwrap_or_else(|| panic!("a foreign reply: {}", shown())),
                };
                // an older one is a write that came late or was lost, a newer one a reply out of order
                assert!(
                    (self.ran[key]..=newest).contains(&sequence),
                    "client {}, key {key}: {sequence} was read after {} had run, up to {newest} were sent",
                    self.number,
                    self.ran[key]
                );
            }
            Slot::Get { .. } => {}
        }
        if told == Told::Ok { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Comes, asks, and leaves before it has read all, by FIN or by RST.
fn fleeting(cluster: &Cluster, number: usize, stop: &AtomicBool, counts: &Counts) {
    let mut random = Random::new(number as u64 + 77);
    while !stop.load(Ordering::Relaxed) {
        let mut raw = cluster.client();
        let commands = 1 + random.below(30);
        let mut bytes = Vec::new();
        for _ in 0..commands {
            let key = format!("fleeting:{number}:{}", random.below(100));
            bytes.extend(match random.below(3) {
                0 => bulk_request(&["SET", &key, "foreign"]),
                1 => bulk_request(&["MGET", &key, "fleeting:a", "fleeting:b", "fleeting:c"]),
                _ => bulk_request(&["GET", &key]),
            });
        }
        let whole = bytes.len() - random.below(20);
        if raw.try_send(&bytes[..whole]) && random.below(16) == 0 {
            let _ = raw.try_reply(Duration::from_secs(5));
        }
        if random.below(2) == 0 {
            raw.reset();
        }
        counts.cancels.fetch_add(1, Ordering::Relaxed);
        // the descriptors of a machine are few, and what was cut short lingers
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Cuts one connection after the other, on the side of the node.
fn cut(cluster: &Cluster, stop: &AtomicBool, counts: &Counts) {
    let mut random = Random::new(5);
    while !stop.load(Ordering::Relaxed) {
        let node = &cluster.nodes[random.below(NODES)];
        let mut raw = node.client();
        let Ok(list) = raw.try_call(&["CLIENT", "LIST", "TYPE", "normal"], Duration::from_secs(10)) else {
            continue;
        };
        let text = String::from_utf8_lossy(&list).into_owned();
        let own = raw.try_call(&["CLIENT", "ID"], Duration::from_secs(10)).unwrap_or_default();
        let own = String::from_utf8_lossy(&own).trim_matches([':', '\r', '\n']).to_owned();
        let ids = text.lines().filter_map(|line| line.strip_prefix("id=")?.split(' ').next());
        let ids: Vec<&str> = ids.filter(|id| *id != own).collect();
        if let Some(id) = ids.get(random.below(ids.len().max(1))) {
            let killed = raw.try_call(&["CLIENT", "KILL", "ID", id], Duration::from_secs(10));
            counts.cuts.fetch_add(u64::from(killed == Ok(b":1\r\n".to_vec())), Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}

fn disturb(cluster: &Cluster, random: &mut Random, napped: &mut Instant, counts: &Counts) {
    match random.below(6) {
        0 if napped.elapsed() > Duration::from_secs(20) => {
            *napped = Instant::now();
            let node = &cluster.nodes[random.below(NODES)];
            node.pause();
            std::thread::sleep(Duration::from_millis(1500));
            node.resume();
        }
        0 | 1 => {
            let node = &cluster.nodes[random.below(NODES)];
            node.pause();
            std::thread::sleep(Duration::from_millis(200));
            node.resume();
        }
        2 => {
            let mut raw = cluster.nodes[random.below(NODES)].client();
            // whoever else cuts connections may cut this one
            if let Ok(reply) = raw.try_call(&["CLIENT", "KILL", "TYPE", "normal"], Duration::from_secs(10)) {
                let killed =
                    String::from_utf8_lossy(&reply).trim_matches([':', '\r', '\n']).parse().unwrap_or(0);
                counts.cuts.fetch_add(killed, Ordering::Relaxed);
            }
        }
        _ => drop(cluster.apply(specs(&cluster.nodes, &POOL[random.below(POOL.len())]))),
    }
}

fn soak(duration: Duration) {
    let cluster = Cluster::start_with(NODES, |settings| {
        settings.threads = 2;
        settings.timeouts = ringway_proxy::settings::Timeouts::default();
    });
    let ring = cluster.control().topology().spec().ring.clone();
    let build = |weights| {
        let spec = TopologySpec { ring: ring.clone(), nodes: specs(&cluster.nodes, weights) };
        Topology::build(1, spec).expect("a topology")
    };
    let topologies: Vec<Topology> = POOL.iter().map(build).collect();
    cluster.apply(specs(&cluster.nodes, &POOL[0]));
    let owner = |topology: &Topology, key: &str| {
        let index = topology.owner(key.as_bytes()).home();
        topology.node(index).expect("a node").name.clone()
    };
    let (stop, counts) = (AtomicBool::new(false), Counts::default());
    let descriptors = open_descriptors();
    let mut tokens: HashMap<String, (String, Vec<(String, Told)>)> = HashMap::new();
    std::thread::scope(|scope| {
        // also when something here fails: the threads would go on for ever
        let _stop = StopAtEnd(&stop);
        let clients: Vec<_> = (0..STEADY)
            .map(|number| {
                let home = node_name(number % 3);
                let mine = |key: &String| topologies.iter().all(|topology| owner(topology, key) == home);
                let keys = (0..).map(|n| format!("steady:{number}:{n}")).filter(mine).take(KEYS).collect();
                let list = (0..).map(|n| format!("tokens:{number}:{n}")).find(mine).expect("a list");
                let mut client = Steady {
                    number,
                    raw: cluster.client(),
                    random: Random::new(number as u64),
                    keys,
                    list,
                    sent: vec![0; KEYS],
                    ran: vec![0; KEYS],
                    sequence: 0,
                    tokens: Vec::new(),
                };
                let (stop, counts) = (&stop, &counts);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        client.round(counts);
                    }
                    (home, client.list, client.tokens)
                })
            })
            .collect();
        for number in 0..FLEETING {
            let (cluster, stop, counts) = (&cluster, &stop, &counts);
            scope.spawn(move || fleeting(cluster, number, stop, counts));
        }
        scope.spawn(|| cut(&cluster, &stop, &counts));
        let (mut random, mut napped, end) = (Random::new(1), Instant::now(), Instant::now() + duration);
        let mut told = Instant::now();
        while Instant::now() < end && clients.iter().all(|client| !client.is_finished()) {
            disturb(&cluster, &mut random, &mut napped, &counts);
            std::thread::sleep(Duration::from_millis(random.below(1500) as u64));
            if told.elapsed() > Duration::from_secs(30) {
                told = Instant::now();
                println!("{}", report(&counts, &cluster));
            }
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let (home, list, mine) = client.join().expect("every reply was right");
            tokens.insert(list, (home, mine));
        }
    });
    let (mut ok, mut unknown) = (0, 0);
    for (list, (home, told)) in &tokens {
        let held: Vec<String> = cluster.server(home).call(&["LRANGE", list, "0", "-1"]);
        let mut times: HashMap<&str, u32> = HashMap::new();
        held.iter().for_each(|token| *times.entry(token).or_default() += 1);
        for (token, told) in told {
            let times = times.get(token.as_str()).copied().unwrap_or_default();
            let right = match told {
                Told::Ok => times == 1,
                Told::NotSent => times == 0,
                Told::Unknown => times <= 1,
            };
            assert!(right, "{token} was told to be {told:?} and stands {times} times");
            ok += u64::from(*told == Told::Ok);
            unknown += u64::from(*told == Told::Unknown);
        }
    }
    println!("{}; tokens: {ok} once, {unknown} unknown", report(&counts, &cluster));
    assert!(ok > 0 && counts.cancels.load(Ordering::Relaxed) > 0);
    // links of nodes that came and went, one per worker, may be there beyond those of the beginning, and as many to ask for
    // what is kept
    let more = if cluster.control().near_cache().is_some() { 4 * NODES } else { 2 * NODES };
    wait_for("descriptors to come back", || open_descriptors() <= descriptors + more);
}

fn report(counts: &Counts, cluster: &Cluster) -> String {
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    format!(
        "{} replies checked, {} of them failures that were told, {} clients left in the middle, {} connections cut, \
         epoch {}",
        load(&counts.replies),
        load(&counts.failures),
        load(&counts.cancels),
        load(&counts.cuts),
        cluster.control().topology().epoch()
    )
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[test]
fn a_few_seconds_of_everything_at_once() {
    soak(Duration::from_secs(6));
}

#[test]
#[ignore = "as long as MINUTES says; make soak"]
fn for_minutes() {
    let minutes = std::env::var("MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(10u64);
    soak(Duration::from_secs(60 * minutes));
}
