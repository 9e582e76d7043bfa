//! Several Ringways as processes, one that leads and others that follow it, in front of the same servers; and clients of all
//! of them that check every reply.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::http::{Answer, Http};
use super::ports::free_port;
use super::program::{Files, Program};
use super::raw_client::RawClient;
use super::{RedisServer, wait_for};

/// Keys that nobody writes.
pub(crate) const STILL: usize = 20_000;
/// Counters that clients of all Ringways count.
const SHARED: usize = 60;

/// See the head of this file.
pub(crate) struct Fleet {
    pub(crate) files: Files,
    pub(crate) leader: Program,
    pub(crate) followers: Vec<Program>,
}

impl Fleet {
    /// In front of `servers`, with an operation timeout of ten seconds. The followers know of the first server alone, until
    /// the leader tells them.
    pub(crate) fn start(servers: &[RedisServer], followers: usize) -> Self {
        let nodes = nodes(servers.iter().map(RedisServer::address));
        Self::start_with(&nodes, followers, "timeouts: {connect: 5s, operation: 10s}\n")
    }

    /// As [`Fleet::start`], with these nodes (YAML, one a line) and further lines for all configurations.
    pub(crate) fn start_with(nodes: &str, followers: usize, more: &str) -> Self {
        let files = Files::new(&[]);
        let admin = free_port();
        let one = |name: &str, nodes: &str, admin: u16, rest: &str| {
            let (listen, kept) = (free_port(), files.arg(&format!("{name}.json")));
            files.write(
                &format!("{name}.yaml"),
                &format!(
                    "listen: 127.0.0.1:{listen}\nthreads: 2\nadmin: {{listen: '127.0.0.1:{admin}'}}\n\
                     reuse_port: true\ntopology_file: {kept}\n{more}{rest}nodes:\n{nodes}"
                ),
            );
        };
        one("leader", nodes, admin, "");
        let first = format!("{}\n", nodes.lines().next().expect("a node"));
        for at in 0..followers {
            let follow = format!("follow: {{url: 'http://127.0.0.1:{admin}', name: follower-{at}}}\n");
            one(&format!("follower-{at}"), &first, free_port(), &follow);
        }
        let leader = Program::serve(&files.path("leader.yaml"));
        let followers = (0..followers).map(|at| Program::serve(&files.path(&format!("follower-{at}.yaml"))));
        let fleet = Self { leader, followers: followers.collect(), files };
        fleet.wait_current();
        fleet
    }

    /// All of them, the leader first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Program> {
        std::iter::once(&self.leader).chain(&self.followers)
    }

    /// What the leader says of its followers.
    pub(crate) fn states(&self) -> Vec<(String, String)> {
        let told = self.leader.http().get("/v1/followers").ok();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let all = told["followers"].as_array().expect("a list").iter();
        all.map(|one| (text(&one["name"]), text(&one["state"]))).collect()
    }

    /// Waits until all followers serve by what the leader has.
    pub(crate) fn wait_current(&self) {
        wait_for("the followers to serve by what the leader has", || {
            let states = self.states();
            states.len() >= self.followers.len() && states.iter().all(|(_, state)| state == "current")
        });
    }

    /// How far the keys are.
    pub(crate) fn movement(&self) -> Value {
        self.leader.http().get("/v1/movement").ok()
    }

    /// Waits until so many keys have moved.
    pub(crate) fn wait_some_moved(&self, keys: u64) {
        wait_for("some keys to have moved", || self.movement()["moved"].as_u64() >= Some(keys));
    }

    /// Waits until all keys have moved.
    pub(crate) fn wait_moved(&self) {
        wait_for("all keys to have moved", || self.movement()["state"] == "done");
    }

    /// Ends a process as a power cut would, and starts it again when told to.
    pub(crate) fn kill_leader(&mut self) {
        self.leader.signal(Signal::KILL);
        self.leader.wait();
    }

    /// See [`Fleet::kill_leader`].
    pub(crate) fn start_leader(&mut self) {
        self.leader = Program::serve(&self.files.path("leader.yaml"));
    }

    /// See [`Fleet::kill_leader`].
    pub(crate) fn kill_follower(&mut self, at: usize) {
        self.followers[at].signal(Signal::KILL);
        self.followers[at].wait();
    }

    /// See [`Fleet::kill_leader`].
    pub(crate) fn start_follower(&mut self, at: usize) {
        self.followers[at] = Program::serve(&self.files.path(&format!("follower-{at}.yaml")));
    }
}

/// The nodes `cache-1`, `cache-2`, … of a configuration.
pub(crate) fn nodes(addresses: impl Iterator<Item = String>) -> String {
    addresses
        .zip(1..)
        .map(|(address, n)| format!("  - {{name: cache-{n}, address: '{address}'}}\n"))
        .collect()
}

/// So many servers.
pub(crate) fn servers(count: usize) -> Vec<RedisServer> {
    (0..count).map(|_| RedisServer::start()).collect()
}

/// Has a node join and its keys move.
/// A node joins, and its keys come along.
pub(crate) fn join(leader: &Http, name: &str, address: &str) -> Answer {
    leader.json("POST", "/v1/nodes?move_keys=true", &json!({"name": name, "address": address}))
}

/// Writes the keys that nobody writes again.
pub(crate) fn fill(client: &mut RawClient) {
    for at in (0..STILL).step_by(1_000) {
        let mut words = vec!["MSET".to_owned()];
        (at..at + 1_000).for_each(|at| words.extend([format!("still:{at}"), format!("value {at}")]));
        assert_eq!(client.text(&words), "+OK\r\n");
    }
}

/// None of them is missed.
pub(crate) fn all_still_there(client: &mut RawClient) {
    for at in (0..STILL).step_by(1_000) {
        let keys = (at..at + 1_000).map(|at| format!("still:{at}"));
        let words: Vec<String> = std::iter::once("MGET".to_owned()).chain(keys).collect();
        let expected: String = (at..at + 1_000)
            .map(|at| format!("value {at}"))
            .map(|value| format!("${}\r\n{value}\r\n", value.len()))
            .collect();
        assert!(client.text(&words) == format!("*1000\r\n{expected}"), "still:{at} and those behind it");
    }
}

/// What clients have seen.
#[derive(Default)]
pub(crate) struct Seen {
    counted: Vec<AtomicU64>,
    /// Commands that were refused as NOTSENT.
    pub(crate) refused: AtomicU64,
    /// Commands that were answered.
    pub(crate) answered: AtomicU64,
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self { counted: (0..SHARED).map(|_| AtomicU64::new(0)).collect(), ..Self::default() }
    }

    /// Each count that was answered was made once, and no other.
    pub(crate) fn agrees_with(&self, client: &mut RawClient) {
        for (at, counted) in self.counted.iter().enumerate() {
            let counted = counted.load(Ordering::Relaxed).to_string();
            let reply = client.text(&["GET", &format!("shared:{at}")]);
            let expected = format!("${}\r\n{counted}\r\n", counted.len());
            assert!(
                reply == expected || counted == "0" && reply == "$-1\r\n",
                "shared:{at}: {reply} {counted}"
            );
        }
    }

    fn is_refused(&self, reply: &str) -> bool {
        let refused = reply.starts_with("-NOTSENT");
        self.refused.fetch_add(u64::from(refused), Ordering::Relaxed);
        self.answered.fetch_add(u64::from(!refused), Ordering::Relaxed);
        refused
    }
}

/// A client of one Ringway that goes on until `stop`, and checks every reply: of a counter of its own, of counters that all
/// share, and of a key that nobody writes.
pub(crate) fn use_it(mut client: RawClient, id: usize, seen: &Seen, stop: &AtomicBool) {
    let (mut own, mut last) = (0, [0u64; SHARED]);
    let number = |reply: &str| reply.trim_start_matches(':').trim_end().parse::<u64>().ok();
    for round in 0usize.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let (shared, still) = ((round * 7 + id) % SHARED, (round * 7919 + id * 3203) % STILL);
        client.send_command(&["INCR", &format!("own:{id}")]);
        client.send_command(&["INCR", &format!("shared:{shared}")]);
        client.send_command(&["GET", &format!("still:{still}")]);
        let reply = client.text_reply();
        if !seen.is_refused(&reply) {
            own += 1;
            assert_eq!(reply, format!(":{own}\r\n"), "own:{id}");
        }
        let reply = client.text_reply();
        if !seen.is_refused(&reply) {
            let count = number(&reply).unwrap_or_else(|| panic!("shared:{shared}: {reply}"));
            assert!(count > last[shared], "shared:{shared}: {count} after {}", last[shared]);
            last[shared] = count;
            seen.counted[shared].fetch_add(1, Ordering::Relaxed);
        }
        let reply = client.text_reply();
        if !seen.is_refused(&reply) {
            let value = format!("value {still}");
            assert_eq!(reply, format!("${}\r\n{value}\r\n", value.len()), "still:{still}");
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
