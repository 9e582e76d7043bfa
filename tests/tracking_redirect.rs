//! `CLIENT TRACKING … REDIRECT`, and in RESP2: another client is told of the keys that one reads.
//!
//! As in [`crate::tracking`], clients of one node must see what a redis-server of their own would send. The order of what
//! comes to two clients is nobody's to promise.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::byte_proxy::Wire;
use crate::support::harness::{named, patient, specs};
use crate::support::raw_client::NoReply;
use crate::support::{Cluster, Harness, RawClient, RedisServer, wait_for};
use crate::tracking::{nodes_held_back, wait_until_read};

/// How a client of RESP2 is told, that listens to any channel.
pub(crate) fn published(key: &str) -> String {
    format!("*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n${}\r\n{key}\r\n", key.len())
}

/// How it is told to forget everything.
pub(crate) const PUBLISHED_FORGET_ALL: &str = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*-1\r\n";

/// What one command had one client be sent: replies, and messages.
type Seen = (String, String, Vec<String>, Vec<String>);

/// Clients by name: capitals speak RESP3.
struct Clients<'a> {
    connect: &'a dyn Fn() -> RawClient,
    known: BTreeMap<String, (RawClient, String)>,
}

impl Clients<'_> {
    fn get(&mut self, name: &str) -> &mut (RawClient, String) {
        self.known.entry(name.to_owned()).or_insert_with(|| {
            let mut client = (self.connect)();
            if name.chars().all(|letter| letter.is_ascii_uppercase()) {
                client.call(&["HELLO", "3"]);
            }
            let id = client.text(&["CLIENT", "ID"]).trim_matches([':', '\r', '\n']).to_owned();
            (client, id)
        })
    }

    /// Runs `client: command`, where `@name` stands for the number of a client. Waits for as many frames as are `expected`.
    fn run(&mut self, line: &str, expected: Option<&[Seen]>) -> Vec<Seen> {
        let (sender, words) = line.split_once(": ").expect("client: command");
        let (mut command, mut shows_id) = (Vec::new(), line.contains("INFO") || line.contains("GETREDIR"));
        for word in words.split(' ') {
            command.push(match word.strip_prefix('@') {
                Some(name) => self.get(name).1.clone(),
                None => word.to_owned(),
            });
        }
        self.get(sender).0.send_command(&command);
        let ids: Vec<(String, String)> =
            self.known.iter().map(|(name, (_, id))| (name.clone(), id.clone())).collect();
        // a server writes all of it within one turn: whoever is answered afterwards comes behind it
        let mut first = expected.is_none().then(|| {
            let first = self.get(sender).0.reply();
            (self.connect)().call(&["PING"]);
            first
        });
        let mut seen = Vec::new();
        for (name, (client, _)) in &mut self.known {
            let awaited = expected.map(|all| {
                let of_this = all.iter().filter(|(_, to, ..)| to == name);
                of_this.map(|(_, _, replies, messages)| replies.len() + messages.len()).sum::<usize>()
            });
            let (mut replies, mut messages) = (Vec::new(), Vec::new());
            loop {
                let count = replies.len() + messages.len();
                let patience = match awaited {
                    Some(awaited) if count == awaited => break,
                    Some(_) => Duration::from_secs(10),
                    // it is there already
                    None => Duration::from_millis(1),
                };
                let early = if name == sender { first.take() } else { None };
                let Some(frame) = early.or_else(|| client.try_reply(patience).ok()) else { break };
                let mut frame = String::from_utf8_lossy(&frame).into_owned();
                shows_id |= frame.contains("redir-broken");
                for (name, id) in ids.iter().filter(|_| shows_id) {
                    frame = frame.replace(&format!(":{id}\r\n"), &format!("@{name} "));
                }
                // it tells of the server itself
                if words.starts_with("HELLO") && name == sender {
                    frame.clear();
                }
                let is_message = frame.starts_with('>') || frame.starts_with("*3\r\n$7\r\nmessage");
                if is_message { messages.push(frame) } else { replies.push(frame) }
            }
            if !replies.is_empty() || !messages.is_empty() {
                seen.push((line.to_owned(), name.clone(), replies, messages));
            }
        }
        seen
    }
}

/// All that all clients are sent must be the same as a redis-server sends, with two workers that share the clients.
fn same(script: &[&str]) {
    let (plain, behind) = (RedisServer::start(), RedisServer::start());
    let mut settings = patient(named(&[("n", behind.address())]));
    settings.allowed_commands = vec!["flushall".to_owned()];
    settings.threads = 2;
    let harness = Harness::start(settings);
    harness.wait_usable("n");
    let mut clients = Clients { connect: &|| plain.client(), known: BTreeMap::new() };
    let expected: Vec<Vec<Seen>> = script.iter().map(|line| clients.run(line, None)).collect();
    let mut clients = Clients { connect: &|| harness.client(), known: BTreeMap::new() };
    for (line, expected) in script.iter().zip(&expected) {
        assert_eq!(clients.run(line, Some(expected)), *expected);
    }
    for (client, _) in clients.known.values_mut() {
        let rest = client.try_reply(Duration::from_millis(50)).expect_err("no more than that");
        assert!(
            matches!(&rest, NoReply::Silent(part) | NoReply::Closed(part) if part.is_empty()),
            "{rest:?}"
        );
    }
}

#[test]
fn another_client_is_told_in_the_protocol_that_it_speaks() {
    same(&[
        "r: SUBSCRIBE __redis__:invalidate",
        "t: CLIENT TRACKING ON REDIRECT @r",
        "t: MGET a b",
        "x: MSET a 2 b 2 c 2",
        "t: SET a 3",
        "t: GET a",
        "t: SET a 4",
        "t: CLIENT GETREDIR",
        "t: CLIENT TRACKINGINFO",
        "t: GET a",
        "x: FLUSHALL",
        "s: SUBSCRIBE any",
        "t: CLIENT TRACKING ON REDIRECT @s",
        "t: GET a",
        "x: SET a 6",
        "t: CLIENT TRACKING ON REDIRECT @R",
        "t: GET a",
        "x: SET a 7",
        "T: CLIENT TRACKING ON REDIRECT @r",
        "T: GET b",
        "x: SET b 9",
        "T: CLIENT TRACKING ON",
        "T: GET b",
        "x: SET b 10",
        "T: PING",
        "T: CLIENT TRACKINGINFO",
        "t: CLIENT TRACKING OFF",
        "t: CLIENT GETREDIR",
        "t: GET a",
        "x: SET a 11",
    ]);
}

#[test]
fn every_mode_can_be_redirected_and_changed_without_a_gap() {
    same(&[
        "r: SUBSCRIBE __redis__:invalidate",
        "t: CLIENT TRACKING ON BCAST PREFIX a PREFIX b REDIRECT @r",
        "x: MSET a1 1 b1 1 c1 1 d1 1",
        "t: CLIENT TRACKING ON BCAST PREFIX c REDIRECT @r",
        "x: MSET c1 2 d1 2",
        "t: CLIENT TRACKING ON BCAST PREFIX c1 REDIRECT @r",
        "t: CLIENT TRACKING ON BCAST NOLOOP PREFIX d REDIRECT @R",
        "t: SET d1 3",
        "x: SET d1 4",
        "t: CLIENT TRACKING ON REDIRECT @r",
        "t: CLIENT TRACKING OFF",
        "t: CLIENT TRACKING ON REDIRECT @r",
        "t: GET k",
        "t: CLIENT TRACKING ON OPTIN REDIRECT @r",
        "t: GET l",
        "x: MSET k 1 l 1",
        "t: CLIENT CACHING YES",
        "t: CLIENT TRACKINGINFO",
        "t: GET l",
        "t: GET k",
        "x: MSET k 2 l 2",
        "t: CLIENT TRACKING ON OPTOUT REDIRECT @r",
        "t: CLIENT TRACKING ON NOLOOP REDIRECT @r",
        "t: CLIENT TRACKING ON OPTOUT REDIRECT @r",
        "t: CLIENT CACHING NO",
        "t: GET k",
        "t: GET l",
        "x: MSET k 3 l 3",
    ]);
}

#[test]
fn whoever_redirects_to_one_that_is_gone_is_told_so() {
    same(&[
        "t: CLIENT TRACKING ON REDIRECT 1000000",
        "t: CLIENT TRACKING ON REDIRECT 0",
        "t: CLIENT TRACKING ON REDIRECT -1",
        "t: CLIENT TRACKING ON REDIRECT one",
        "t: CLIENT TRACKING ON REDIRECT",
        "t: CLIENT TRACKING ON REDIRECT @x REDIRECT @x",
        "t: CLIENT TRACKINGINFO",
        "r: SUBSCRIBE __redis__:invalidate",
        "T: CLIENT TRACKING ON REDIRECT @r",
        "t: CLIENT TRACKING ON REDIRECT @r",
        "T: GET a",
        "t: GET a",
        "r: QUIT",
        "x: SET a 1",
        // in RESP2 nothing tells when it is known
        "T: CLIENT TRACKINGINFO",
        "T: GET a",
        "x: SET a 2",
        "T: CLIENT TRACKING ON REDIRECT @r",
        "T: CLIENT TRACKING ON REDIRECT @R",
        "T: CLIENT TRACKINGINFO",
        "T: GET a",
        "x: SET a 3",
    ]);
}

#[test]
fn in_resp2_nobody_is_told_who_is_not_named() {
    same(&[
        "t: CLIENT TRACKING ON",
        "t: CLIENT TRACKINGINFO",
        "t: CLIENT GETREDIR",
        // what was read before is spoken of when there is a place for it
        "t: GET a",
        "t: GET b",
        "t: HELLO 3",
        "x: SET a 2",
        "t: GET c",
        "x: SET c 2",
        "t: HELLO 2",
        "x: SET b 1",
        "t: GET b",
        "x: SET b 2",
        "t: PING",
    ]);
}

#[test]
fn i2_whoever_is_told_in_resp2_is_told_behind_the_reply_that_it_listens() {
    let cluster = Cluster::start_with(1, |settings| settings.threads = 2);
    let (mut client, mut ear, mut writer) = (cluster.client(), cluster.client(), cluster.client());
    let id = ear.text(&["CLIENT", "ID"]).trim_matches([':', '\r', '\n']).to_owned();
    assert_eq!(client.text(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id]), "+OK\r\n");
    for round in 0..50 {
        assert!(client.text(&["GET", "k"]).starts_with('$'));
        writer.send_command(&["SET", "k", "v"]);
        ear.send_command(&["SUBSCRIBE", "any"]);
        assert!(ear.text_reply().starts_with("*3\r\n$9\r\nsubscribe\r\n"), "round {round}");
        assert_eq!(writer.text_reply(), "+OK\r\n");
        ear.send_command(&["UNSUBSCRIBE"]);
        // what was said in between may be told or not
        let mut told = ear.text_reply();
        while told == published("k") {
            told = ear.text_reply();
        }
        assert!(told.starts_with("*3\r\n$11\r\nunsubscribe\r\n"), "{told}");
    }
    ear.expect_silence(Duration::from_millis(50));
}

/// A client of RESP2 that tracks, and the one that is told.
pub(crate) fn pair(harness: &Harness, mode: &[&str]) -> (RawClient, RawClient) {
    let (mut client, mut ear) = (harness.client(), harness.client());
    let id = ear.text(&["CLIENT", "ID"]).trim_matches([':', '\r', '\n']).to_owned();
    ear.call(&["SUBSCRIBE", "__redis__:invalidate"]);
    let words = [&["CLIENT", "TRACKING", "ON", "REDIRECT", &id], mode].concat();
    assert_eq!(client.text(&words), "+OK\r\n");
    (client, ear)
}

/// The connections that a server has from clients, one line each.
pub(crate) fn connections(server: &RedisServer) -> Vec<String> {
    server.call::<String>(&["CLIENT", "LIST"]).lines().map(str::to_owned).collect()
}

/// The number at the server of the connection on which it speaks of keys.
fn ear_at(server: &RedisServer) -> String {
    let redirects = |line: &String| line.contains(" flags=t ") && !line.contains(" redir=0 ");
    let line = connections(server).into_iter().find(redirects).expect("a connection that tracks");
    let after = line.split(" redir=").nth(1).expect("where it redirects to");
    after.split(' ').next().expect("a number").to_owned()
}

#[test]
fn whichever_connection_is_lost_all_is_forgotten_and_tracked_again() {
    let cluster = Cluster::start(2);
    let (mut client, mut ear) = pair(&cluster, &[]);
    let (key, server) = (cluster.key_of("cache-1"), cluster.server("cache-1"));
    let mut writer = cluster.client();
    for lost in ["the one that hears", "the one that reads", "all"] {
        assert!(client.text(&["GET", &key]).starts_with('$'), "before {lost} is lost");
        let ear_id = ear_at(server);
        match lost {
            "the one that hears" => {
                let killed: usize = server.call(&["CLIENT", "KILL", "ID", &ear_id]);
                assert_eq!(killed, 1);
            }
            "the one that reads" => {
                let of_it = |line: &&String| line.contains(&format!(" redir={ear_id} "));
                let line = connections(server).iter().find(of_it).cloned().expect("it reads");
                let id = line.trim_start_matches("id=").split(' ').next().expect("a number").to_owned();
                let killed: usize = server.call(&["CLIENT", "KILL", "ID", &id]);
                assert_eq!(killed, 1);
            }
            _ => drop(server.call::<usize>(&["CLIENT", "KILL", "TYPE", "normal"])),
        }
        assert_eq!(ear.text_reply(), PUBLISHED_FORGET_ALL, "{lost}");
        assert!(client.text(&["GET", &key]).starts_with('$'), "{lost} is there again");
        assert_eq!(writer.text(&["SET", &key, lost]), "+OK\r\n");
        assert_eq!(ear.text_reply(), published(&key), "{lost}");
    }
    ear.expect_silence(Duration::from_millis(50));
}

#[test]
fn keys_that_move_are_forgotten_by_whoever_is_told() {
    let cluster = Cluster::start(3);
    let all = specs(&cluster.nodes);
    cluster.apply(all[..2].to_vec());
    let (mut client, mut ear) = pair(&cluster, &[]);
    assert_eq!(client.text(&["GET", "k"]), "$-1\r\n");
    cluster.apply(all);
    assert_eq!([ear.text_reply(), ear.text_reply()], [PUBLISHED_FORGET_ALL; 2]);
    let key = cluster.key_of("cache-3");
    assert_eq!(client.text(&["GET", &key]), "$-1\r\n");
    assert_eq!(cluster.client().text(&["SET", &key, "v"]), "+OK\r\n");
    assert_eq!(ear.text_reply(), published(&key));
    assert_eq!(client.text(&["SELECT", "1"]), "+OK\r\n");
    assert_eq!(ear.text_reply(), PUBLISHED_FORGET_ALL);
}

#[test]
fn i2_what_a_former_node_still_answers_is_forgotten_by_whoever_is_told() {
    let (wire, servers, harness) = nodes_held_back();
    let (mut client, mut ear) = pair(&harness, &[]);
    let key = harness.key_of("held");
    wire.set(Wire::Hold);
    client.send_command(&["GET", &key]);
    wait_until_read(&servers[0]);
    harness.apply(named(&[("free", servers[1].address())]));
    assert_eq!(ear.text_reply(), PUBLISHED_FORGET_ALL);
    ear.expect_silence(Duration::from_millis(300));
    wire.set(Wire::Plain);
    assert_eq!(client.text_reply(), "$-1\r\n", "the former node's answer, which is old");
    assert_eq!(ear.text_reply(), PUBLISHED_FORGET_ALL);
}

#[test]
fn i9_two_connections_to_each_node_end_with_their_client() {
    let cluster = Cluster::start_with(2, |settings| settings.limits.dedicated_connections = 10);
    // nobody else speaks RESP3 to a node here
    let is_own = |line: &&String| line.contains(" flags=t") || line.contains(" resp=3");
    let count =
        || cluster.nodes.iter().map(|node| connections(node).iter().filter(is_own).count()).sum::<usize>();
    let (mut first, _first_ear) = pair(&cluster, &[]);
    let (second, _second_ear) = pair(&cluster, &["BCAST"]);
    assert_eq!(count(), 8, "each has two to each node");
    let info = first.text(&["CLIENT", "INFO"]);
    assert!(info.contains(" flags=t ") && !info.contains(" redir=0 "), "{info}");
    let mut third = cluster.client3();
    assert_eq!(third.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n", "and one each with RESP3");
    let refused = third.text(&["HELLO", "2"]);
    assert!(refused.starts_with("-ERR too many clients use a connection of their own"), "{refused}");
    assert_eq!(third.text(&["CLIENT", "TRACKING", "OFF"]), "+OK\r\n");
    drop(second);
    assert_eq!(first.text(&["CLIENT", "TRACKING", "OFF"]), "+OK\r\n");
    wait_for("their connections to end", || count() == 0);
    assert_eq!(first.text(&["SET", "a", "1"]), "+OK\r\n");
    assert!(third.call(&["HELLO", "2"]).starts_with(b"*"));
}

#[test]
fn i6_whoever_leaves_what_it_is_told_unread_is_closed() {
    let cluster = Cluster::start_with(1, |settings| settings.limits.subscriber_bytes = 64 * 1024);
    let (mut client, _ear) = pair(&cluster, &["BCAST"]);
    let clients = || client_count(&cluster);
    let before = clients();
    let mut writer = cluster.client();
    let long = "k".repeat(8 * 1024);
    wait_for("it to be closed", || {
        for n in 0..100 {
            writer.call(&["SET", &format!("{long}{n}"), "v"]);
        }
        clients() == before
    });
    // the one that tracks goes on, and knows
    assert_eq!(client.text(&["SET", "a", "1"]), "+OK\r\n");
    wait_for("it to be known", || client.text(&["CLIENT", "TRACKINGINFO"]).contains("broken_redirect"));
}

fn client_count(harness: &Harness) -> u64 {
    harness.control().snapshot().client_connections
}
