//! Self-describing traffic while the topology changes: 50 clients write and read values that say whose they are, 200
//! changes are applied, and every reply must be the right one for its slot.
//!
//! What a reply may be: a value written by this client, for this key, not newer than the last write. If the key's owner is
//! the same in every topology that is used, it must be exactly the last write. No command fails.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ringway_proxy::settings::{NodeSpec, TopologySpec};
use ringway_proxy::topology::Topology;

use crate::support::frame::{bulk, bulk_request};
use crate::support::random::Random;
use crate::support::{Cluster, RawClient};

const CLIENTS: usize = 50;
const CHANGES: usize = 200;
const KEYS_PER_CLIENT: usize = 40;

/// The topologies that are gone through: (node, weight) lists over five servers.
const POOL: [&[(usize, u32)]; 7] = [
    &[(0, 1), (1, 1), (2, 1)],
    &[(0, 1), (1, 1), (2, 1), (3, 1)],
    &[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)],
    &[(0, 1), (1, 1), (2, 1), (4, 2)],
    &[(0, 2), (1, 1), (2, 1)],
    &[(0, 1), (2, 1), (3, 1)],
    &[(3, 1), (0, 1), (1, 3), (2, 1)],
];

fn nodes(cluster: &Cluster, list: &[(usize, u32)]) -> Vec<NodeSpec> {
    let node = |&(at, weight): &(usize, u32)| {
        let name = crate::support::harness::node_name(at);
        NodeSpec { weight, ..NodeSpec::new(name, cluster.nodes[at].address()) }
    };
    list.iter().map(node).collect()
}

fn owner_name(topology: &Topology, key: &str) -> String {
    let index = topology.owner(key.as_bytes()).home();
    topology.node(index).expect("a node").name.clone()
}

/// One client and what it knows about its own keys.
struct Client {
    number: usize,
    raw: RawClient,
    random: Random,
    sequence: u64,
    last: HashMap<String, u64>,
    stable: HashMap<String, bool>,
    counter: String,
    count: u64,
}

/// What must stand in a slot.
enum Slot {
    Exactly(Vec<u8>),
    Value(String, u64),
    Values(Vec<(String, u64)>),
}

impl Client {
    fn new(number: usize, cluster: &Cluster, topologies: &[Topology]) -> Self {
        let is_stable = |key: &str| {
            let first = owner_name(&topologies[0], key);
            topologies.iter().all(|topology| owner_name(topology, key) == first)
        };
        let keys = (0..KEYS_PER_CLIENT).map(|n| format!("c{number}:k{n}"));
        let stable: HashMap<String, bool> = keys.map(|key| (key.clone(), is_stable(&key))).collect();
        let mut counters = (0..).map(|n| format!("c{number}:count{n}"));
        let counter = counters.find(|key| is_stable(key)).expect("some key never moves");
        let (raw, random) = (cluster.client(), Random::new(number as u64));
        Self { number, raw, random, sequence: 0, last: HashMap::new(), stable, counter, count: 0 }
    }

    fn key(&mut self) -> String {
        format!("c{}:k{}", self.number, self.random.below(KEYS_PER_CLIENT))
    }

    fn known(&mut self) -> (String, u64) {
        let key = self.key();
        let last = self.last.get(&key).copied().unwrap_or(0);
        (key, last)
    }

    fn command(&mut self) -> (Vec<u8>, Slot) {
        self.sequence += 1;
        match self.random.below(7) {
            0 | 1 => {
                let key = self.key();
                let value = format!("client={} key={key} seq={}", self.number, self.sequence);
                self.last.insert(key.clone(), self.sequence);
                (bulk_request(&["SET", &key, &value]), Slot::Exactly(b"+OK\r\n".to_vec()))
            }
            2 | 3 => {
                let (key, last) = self.known();
                (bulk_request(&["GET", &key]), Slot::Value(key, last))
            }
            4 => {
                let known: Vec<(String, u64)> = (0..5).map(|_| self.known()).collect();
                let mut words = vec!["MGET"];
                words.extend(known.iter().map(|(key, _)| key.as_str()));
                (bulk_request(&words), Slot::Values(known))
            }
            5 => {
                let nonce = format!("nonce {} of {}", self.sequence, self.number);
                (bulk_request(&["ECHO", &nonce]), Slot::Exactly(bulk(nonce.as_bytes())))
            }
            _ => {
                self.count += 1;
                (
                    bulk_request(&["INCR", &self.counter]),
                    Slot::Exactly(format!(":{}\r\n", self.count).into_bytes()),
                )
            }
        }
    }

    fn round(&mut self) {
        let (commands, slots): (Vec<_>, Vec<_>) = (0..30).map(|_| self.command()).unzip();
        self.raw.send(&commands.concat());
        for slot in slots {
            let reply = self.raw.reply();
            let text = String::from_utf8_lossy(&reply).into_owned();
            match slot {
                Slot::Exactly(expected) => {
                    assert!(reply == expected, "{text:?} instead of {:?}", String::from_utf8_lossy(&expected))
                }
                Slot::Value(key, last) => self.check(&key, last, &text),
                Slot::Values(known) => {
                    let mut rest = text.strip_prefix("*5\r\n").unwrap_or_else(|| panic!("{text:?}"));
                    for (key, last) in known {
                        let len =
                            crate::support::frame::reply_len(rest.as_bytes()).expect("five whole elements");
                        let (element, others) = rest.split_at(len);
                        self.check(&key, last, element);
                        rest = others;
                    }
                    assert!(rest.is_empty());
                }
            }
        }
    }

    fn check(&self, key: &str, last: u64, reply: &str) {
        let must_be_last = self.stable[key];
        if reply == "$-1\r\n" {
            assert!(last == 0 || !must_be_last, "{key} never moved, but it was missed");
            return;
        }
        let value = reply
            .strip_prefix('$')
            .and_then(|rest| rest.split_once("\r\n"))
            .unwrap_or_else(|| panic!("{reply:?}"))
            .1;
        let mine = format!("client={} key={key} seq=", self.number);
        let sequence = value
            .trim_end()
            .strip_prefix(&mine)
            .unwrap_or_else(|| panic!("a foreign reply for {key}: {value:?}"));
        let sequence: u64 = sequence.parse().expect("a number");
        assert!(sequence <= last, "{key}: {sequence} is newer than {last}, a reply out of order");
        assert!(!must_be_last || sequence == last, "{key} never moved, but {sequence} was read after {last}");
    }
}

#[test]
fn f1_fifty_clients_while_two_hundred_changes_are_applied() {
    let cluster = Cluster::start(5);
    let ring = cluster.control().topology().spec().ring.clone();
    let build = |list: &&[(usize, u32)]| {
        Topology::build(1, TopologySpec { ring: ring.clone(), nodes: nodes(&cluster, list) }).expect("valid")
    };
    let mut topologies: Vec<Topology> = POOL.iter().map(build).collect();
    // the clients begin while all five nodes are equal
    topologies.push(build(&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)].as_slice()));
    let done = AtomicBool::new(false);
    let rounds = AtomicU64::new(0);
    let stable = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (cluster, topologies, done, rounds, stable) =
                (&cluster, &topologies, &done, &rounds, &stable);
            scope.spawn(move || {
                let mut client = Client::new(number, cluster, topologies);
                stable.fetch_add(
                    client.stable.values().filter(|stable| **stable).count() as u64,
                    Ordering::Relaxed,
                );
                while !done.load(Ordering::Relaxed) {
                    client.round();
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                client.round();
            });
        }
        let mut random = Random::new(200);
        let finish = Finish(&done);
        for change in 0..CHANGES {
            if change > 0 && random.below(8) == 0 {
                cluster.control().rollback(None).expect("rolled back");
            } else {
                cluster.apply(nodes(&cluster, POOL[random.below(POOL.len())]));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(finish);
    });
    assert_eq!(cluster.control().topology().epoch() as usize, CHANGES + 1);
    let (rounds, stable) = (rounds.into_inner(), stable.into_inner());
    assert!(rounds > CLIENTS as u64, "only {rounds} rounds");
    let all = (CLIENTS * KEYS_PER_CLIENT) as u64;
    assert!(stable > all / 20 && stable < all, "{stable} of {all} keys never moved: both kinds must occur");
}

/// Ends the clients even when a change fails, so that the test ends too.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
