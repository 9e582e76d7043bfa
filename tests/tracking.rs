//! `CLIENT TRACKING`: a client that keeps what it has read hears of every change.
//!
//! Where one node stands behind, a client must see byte for byte what a redis-server of its own would send. Beyond that a
//! cache that is kept by messages alone must be right when all is quiet, whatever happened before.

use std::collections::HashMap;
use std::time::Duration;

use crate::support::byte_proxy::{ByteProxy, Wire};
use crate::support::frame::{bulk, bulk_request};
use crate::support::harness::{named, patient, specs};
use crate::support::{Cluster, Harness, RawClient, RedisServer, wait_for};

/// What a server says that was flushed, and Ringway when a node can no longer tell.
pub(crate) const FORGET_ALL: &str = ">2\r\n$10\r\ninvalidate\r\n_\r\n";

fn forget(key: &str) -> String {
    format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n", key.len())
}

/// What one client was sent for one command, the ECHO behind it included, and the messages that came meanwhile.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    command: &'static str,
    replies: Vec<String>,
    messages: Vec<String>,
}

/// Lines of `client: command`, in RESP3, on a redis-server and on Ringway in front of another: all that each client is sent
/// must be the same. A client named `!` is the one that tracks. Ringway answers ECHO and PING itself, so that their place
/// among messages is not fixed.
fn same(script: &[&'static str]) {
    let (plain, behind) = (RedisServer::start(), RedisServer::start());
    let mut settings = patient(named(&[("n", behind.address())]));
    settings.allowed_commands = vec!["flushall".to_owned()];
    let harness = Harness::start(settings);
    harness.wait_usable("n");
    let expected = seen(script, &|| plain.client(), &[]);
    assert_eq!(seen(script, &|| harness.client(), &expected), expected);
}

/// Runs the script; waits for as many messages as are `expected`.
fn seen(script: &[&'static str], connect: &dyn Fn() -> RawClient, expected: &[Line]) -> Vec<Line> {
    let mut clients: HashMap<&str, RawClient> = HashMap::new();
    let mut seen = Vec::new();
    for (at, command) in script.iter().enumerate() {
        let (name, words) = command.split_once(": ").expect("client: command");
        let client = clients.entry(name).or_insert_with(|| {
            let mut client = connect();
            assert!(client.call(&["HELLO", "3"]).starts_with(b"%"));
            client
        });
        // at once, so that a server says what it has to say either before or after both
        let words: Vec<&str> = words.split(' ').collect();
        client.send(&[bulk_request(&words), bulk_request(&["ECHO", "end"])].concat());
        let most = expected.get(at).map_or(0, |line| line.messages.len());
        let mut line = Line { command, replies: Vec::new(), messages: Vec::new() };
        while line.replies.len() < 2 || line.messages.len() < most {
            let frame = client.text_reply();
            if frame.starts_with('>') { line.messages.push(frame) } else { line.replies.push(frame) }
        }
        seen.push(line);
        // what is to expire does so
        std::thread::sleep(Duration::from_millis(20));
    }
    clients.values_mut().for_each(|client| client.expect_silence(Duration::from_millis(50)));
    seen
}

#[test]
fn a_key_that_was_read_is_spoken_of_once() {
    same(&[
        "!: CLIENT TRACKING ON",
        "!: SET a 1",
        "!: GET a",
        "!: MGET b c",
        "x: SET a 2",
        "!: PING",
        "x: SET a 3",
        "x: SET other 1",
        "!: PING",
        "x: DEL b",
        "x: SET c 1 PX 5",
        "!: GET c",
        "!: PING",
        "!: GET c",
        "x: FLUSHALL",
        "!: PING",
        "!: CLIENT TRACKING OFF",
        "!: GET a",
        "x: SET a 4",
        "!: PING",
    ]);
}

#[test]
fn every_mode_is_the_nodes_own() {
    same(&[
        "!: CLIENT TRACKING ON BCAST PREFIX a PREFIX b",
        "x: MSET a1 1 b1 1 c1 1",
        "!: PING",
        "!: SET a2 1",
        "!: PING",
        "!: CLIENT TRACKING ON BCAST PREFIX a1",
        "!: CLIENT TRACKING ON BCAST PREFIX x PREFIX xy",
        "!: CLIENT TRACKING ON",
        "!: CLIENT TRACKING ON BCAST OPTIN",
        "!: CLIENT TRACKINGINFO",
        "!: CLIENT GETREDIR",
        "x: SET c2 1",
        "!: PING",
        "!: CLIENT TRACKING OFF",
        "!: CLIENT TRACKING ON BCAST",
        "x: SET c3 1",
        "!: CLIENT TRACKING ON BCAST PREFIX d",
        "!: CLIENT TRACKINGINFO",
        "!: CLIENT TRACKING OFF",
        "!: CLIENT TRACKING ON PREFIX a",
        "!: CLIENT TRACKING ON OPTIN OPTOUT",
        "!: CLIENT CACHING YES",
        "!: CLIENT TRACKING ON NOLOOP",
        "!: GET a1",
        "!: SET a1 2",
        "!: GET a1",
        "x: SET a1 3",
        "!: PING",
    ]);
}

#[test]
fn what_is_opted_in_or_out_is_so_for_one_command_or_transaction() {
    same(&[
        "!: CLIENT TRACKING ON OPTIN",
        "!: CLIENT CACHING NO",
        "!: CLIENT CACHING maybe",
        "!: CLIENT TRACKING ON OPTOUT",
        "!: GET a",
        "x: SET a 1",
        "!: PING",
        "!: CLIENT CACHING YES",
        "!: CLIENT TRACKINGINFO",
        "!: GET a",
        "!: GET b",
        "!: CLIENT TRACKINGINFO",
        "x: SET b 2",
        "x: SET a 2",
        "!: CLIENT CACHING YES",
        "!: MULTI",
        "!: PTTL a",
        "!: GET b",
        "!: EXEC",
        "!: GET c",
        "x: SET a 3",
        "x: SET b 3",
        "x: SET c 3",
        "!: PING",
        "!: CLIENT TRACKING OFF",
        "!: CLIENT TRACKING ON OPTOUT",
        "!: CLIENT CACHING NO",
        "!: NOSUCH",
        "!: GET a",
        "x: SET a 4",
        "!: CLIENT CACHING NO",
        "!: CLIENT GETNAME",
        "!: GET a",
        "!: GET b",
        "x: SET a 4",
        "x: SET b 4",
        "!: PING",
    ]);
}

#[test]
fn what_is_opted_in_inside_of_a_transaction_is_so_for_the_rest_of_it() {
    same(&[
        "!: CLIENT TRACKING ON OPTIN",
        "!: MULTI",
        "!: GET a",
        "!: CLIENT CACHING YES",
        "!: GET b",
        "!: GET c",
        "!: EXEC",
        "!: GET d",
        "x: SET a 1",
        "x: SET b 1",
        "x: SET c 1",
        "x: SET d 1",
        "!: PING",
        "y: MULTI",
        "y: CLIENT CACHING YES",
        "y: GET a",
        "y: EXEC",
    ]);
}

#[test]
fn what_cannot_be_had_is_refused_with_the_reason() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client3();
    let longer = vec![b'p'; 65 * 1024];
    let refused = client.call(&[&b"CLIENT"[..], b"TRACKING", b"ON", b"BCAST", b"PREFIX", &longer]);
    assert_eq!(refused, b"-ERR too many prefixes for one client\r\n");
    let many: Vec<String> = (0..1025).flat_map(|n| ["PREFIX".to_owned(), format!("p{n:04}")]).collect();
    let mut words = vec!["CLIENT", "TRACKING", "ON", "BCAST"];
    words.extend(many.iter().map(String::as_str));
    assert_eq!(client.text(&words), "-ERR too many prefixes for one client\r\n");
}

#[test]
fn i9_the_connections_of_a_client_that_tracks_end_with_it() {
    let cluster = Cluster::start(2);
    let connections = || -> usize {
        let of = |server: &RedisServer| {
            server
                .call::<String>(&["CLIENT", "LIST"])
                .lines()
                .filter(|line| line.contains(" flags=t"))
                .count()
        };
        cluster.nodes.iter().map(of).sum()
    };
    let tracks = |client: &mut RawClient| {
        assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
        assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n", "once more changes nothing");
    };
    let (mut leaves, mut resets, mut stops, mut quits) =
        (cluster.client3(), cluster.client3(), cluster.client3(), cluster.client3());
    [&mut leaves, &mut resets, &mut stops, &mut quits].into_iter().for_each(tracks);
    assert_eq!(connections(), 8, "each has one to each node");
    let flags = leaves.text(&["CLIENT", "INFO"]);
    assert!(flags.contains(" flags=t ") && flags.contains(" redir=0 "), "{flags}");
    leaves.send_command(&["GET", "a"]);
    drop(leaves);
    assert_eq!(resets.text(&["RESET"]), "+RESET\r\n");
    assert_eq!(stops.text(&["CLIENT", "TRACKING", "OFF"]), "+OK\r\n");
    // it does not close its side
    assert_eq!(quits.text(&["QUIT"]), "+OK\r\n");
    wait_for("their connections to end", || connections() == 0);
    for client in [&mut resets, &mut stops] {
        assert_eq!(client.text(&["SET", "a", "1"]), "+OK\r\n");
        client.expect_silence(Duration::from_millis(20));
    }
}

#[test]
fn another_database_has_the_client_forget_all_and_tracks_as_well() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client3();
    assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    assert_eq!(client.text(&["GET", "k"]), "_\r\n");
    assert_eq!(client.text(&["SELECT", "0"]), "+OK\r\n", "the same one");
    assert_eq!(client.text(&["SELECT", "1"]), "+OK\r\n");
    assert_eq!(client.text_reply(), FORGET_ALL);
    assert_eq!(client.text(&["GET", "k"]), "_\r\n");
    let mut other = cluster.client();
    assert_eq!(other.text(&["SELECT", "1"]), "+OK\r\n");
    assert_eq!(other.text(&["SET", "k", "v"]), "+OK\r\n");
    assert_eq!(client.text_reply(), forget("k"));
}

#[test]
fn a_database_that_was_left_can_be_gone_back_to_at_any_time() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client3();
    assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    // the connections of a database that was left are closed within half a second
    for round in 0..14 {
        assert_eq!(client.text(&["SELECT", if round % 2 == 0 { "1" } else { "0" }]), "+OK\r\n");
        assert_eq!(client.text_reply(), FORGET_ALL);
        assert_eq!(client.text(&["GET", "k"]), "_\r\n", "round {round}");
        std::thread::sleep(Duration::from_millis(230));
    }
}

#[test]
fn whoever_wants_no_replies_hears_all_the_same() {
    let cluster = Cluster::start(1);
    let (mut client, mut other) = (cluster.client3(), cluster.client());
    assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    for reply in ["SKIP", "OFF"] {
        assert!(client.call(&["GET", "k"]).len() > 2);
        client.send(
            &[
                bulk_request(&["CLIENT", "REPLY", reply]),
                bulk_request(&["CLIENT", "TRACKING", "ON", "NOLOOP"]),
            ]
            .concat(),
        );
        assert_eq!(other.text(&["SET", "k", reply]), "+OK\r\n");
        assert_eq!(client.text_reply(), forget("k"));
        client.send_command(&["CLIENT", "REPLY", "ON"]);
        assert_eq!(client.text_reply(), "+OK\r\n");
    }
}

#[test]
fn a_node_that_does_not_track_is_named() {
    let server = RedisServer::start();
    let _: String = server.call(&["ACL", "SETUSER", "default", "-client|tracking"]);
    let harness = Harness::in_front_of(&[("n", server.address())]);
    harness.wait_usable("n");
    let mut client = harness.client3();
    let refused = client.text(&["CLIENT", "TRACKING", "ON"]);
    assert!(
        refused.starts_with("-ERR node 'n' (") && refused.contains("it refuses CLIENT TRACKING: "),
        "{refused}"
    );
    assert_eq!(client.text(&["SET", "k", "v"]), "+OK\r\n", "it goes on without");
}

#[test]
fn a4_a_late_write_of_one_that_tracks_runs_after_none_of_another_that_tracks() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let mut settings = ringway_proxy::settings::Settings::new(named(&[("far", wire.address())]));
    settings.threads = 1;
    let harness = Harness::start(settings);
    harness.wait_usable("far");
    let (mut client, mut other) = (harness.client3(), harness.client3());
    assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    // what is on the open connections arrives late; those that the other one opens pass freely, and no more are opened
    wire.hold_requests();
    client.send_command(&["RPUSH", "tokens", "doubtful"]);
    assert_eq!(other.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    wire.refuse_new();
    let told: Vec<String> = (0..2).map(|_| client.text_reply()).collect();
    assert!(told.iter().any(|line| line.starts_with("-UNKNOWN ")), "{told:?}");
    assert_eq!(other.text(&["RPUSH", "tokens", "certain"]), ":1\r\n");
    // the only connection that speaks to the node has said it
    let stats: String = server.call(&["INFO", "commandstats"]);
    assert!(stats.contains("cmdstat_client|kill:calls=1,"), "{stats}");
    wire.release_requests();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.call::<Vec<String>>(&["LRANGE", "tokens", "0", "-1"]), ["certain"]);
}

#[test]
fn i9_connections_of_ones_own_are_bounded() {
    let cluster = Cluster::start_with(2, |settings| settings.limits.dedicated_connections = 5);
    let mut clients: Vec<RawClient> = (0..3).map(|_| cluster.client3()).collect();
    for client in &mut clients[..2] {
        assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    }
    let refused = clients[2].text(&["CLIENT", "TRACKING", "ON"]);
    assert!(refused.contains("limits.dedicated_connections"), "{refused}");
    assert_eq!(clients[0].text(&["CLIENT", "TRACKING", "OFF"]), "+OK\r\n");
    wait_for("leave to have others", || clients[2].text(&["CLIENT", "TRACKING", "ON"]) == "+OK\r\n");
}

#[test]
fn a_lost_connection_has_the_client_forget_all() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client3();
    assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    let key = cluster.key_of("cache-1");
    assert_eq!(client.text(&["GET", &key]), "_\r\n");
    let killed: usize = cluster.server("cache-1").call(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert!(killed > 0);
    assert_eq!(client.text_reply(), FORGET_ALL);
    // and tracks again with the next connection
    assert_eq!(client.text(&["GET", &key]), "_\r\n");
    assert_eq!(cluster.client().text(&["SET", &key, "v"]), "+OK\r\n");
    assert_eq!(client.text_reply(), forget(&key));
}

#[test]
fn keys_that_move_are_forgotten_with_all_others() {
    let cluster = Cluster::start(3);
    let all = specs(&cluster.nodes);
    cluster.apply(all[..2].to_vec());
    let (mut idle, mut broadcast) = (cluster.client3(), cluster.client3());
    assert_eq!(idle.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    assert_eq!(broadcast.text(&["CLIENT", "TRACKING", "ON", "BCAST"]), "+OK\r\n");
    assert_eq!(idle.text(&["GET", "k"]), "_\r\n");
    cluster.apply(all);
    for client in [&mut idle, &mut broadcast] {
        assert_eq!(client.text_reply(), FORGET_ALL);
        assert_eq!(client.text_reply(), FORGET_ALL, "and behind what was on its way");
    }
    // the newcomer's keys are spoken of as well, without having been read
    let key = cluster.key_of("cache-3");
    let connected = || {
        let list: String = cluster.server("cache-3").call(&["CLIENT", "LIST"]);
        list.contains("flags=tB")
    };
    wait_for("the newcomer to track", connected);
    assert_eq!(cluster.client().text(&["SET", &key, "v"]), "+OK\r\n");
    // and what was missed until then may have been any key
    assert_eq!([broadcast.text_reply(), broadcast.text_reply()], [FORGET_ALL, &forget(&key)]);
}

/// Two nodes, what the first of which says can be held back.
pub(crate) fn nodes_held_back() -> (ByteProxy, [RedisServer; 2], Harness) {
    let servers = [RedisServer::start(), RedisServer::start()];
    let wire = ByteProxy::start(&servers[0].address());
    let nodes = [("held", wire.address()), ("free", servers[1].address())];
    let harness = Harness::start(patient(named(&nodes)));
    nodes.iter().for_each(|(name, _)| harness.wait_usable(name));
    (wire, servers, harness)
}

/// As [`nodes_held_back`], and a client that tracks.
fn one_held_back() -> (ByteProxy, [RedisServer; 2], Harness, RawClient) {
    let (wire, servers, harness) = nodes_held_back();
    let mut client = harness.client3();
    assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    (wire, servers, harness, client)
}

/// Waits until the one GET that a server was sent has run there.
pub(crate) fn wait_until_read(server: &RedisServer) {
    wait_for("the node to have answered", || {
        server.call::<String>(&["INFO", "commandstats"]).contains("cmdstat_get:calls=1,")
    });
}

#[test]
fn i2_a_message_stays_behind_the_reply_that_it_makes_old() {
    let (wire, servers, harness, mut client) = one_held_back();
    let [held, free] = ["held", "free"].map(|node| harness.key_of(node));
    wire.set(Wire::Hold);
    // the free node's reply waits for the other's, and so must what the free node says after it
    client.send(&[bulk_request(&["GET", &held]), bulk_request(&["GET", &free])].concat());
    wait_until_read(&servers[1]);
    assert_eq!(harness.client().text(&["SET", &free, "v"]), "+OK\r\n");
    client.expect_silence(Duration::from_millis(100));
    wire.set(Wire::Plain);
    let seen: Vec<String> = (0..3).map(|_| client.text_reply()).collect();
    assert_eq!(seen, ["_\r\n", "_\r\n", &forget(&free)]);
}

#[test]
fn i2_what_a_former_node_still_answers_is_forgotten_as_well() {
    let (wire, servers, harness, mut client) = one_held_back();
    let key = harness.key_of("held");
    wire.set(Wire::Hold);
    client.send_command(&["GET", &key]);
    wait_until_read(&servers[0]);
    harness.apply(named(&[("free", servers[1].address())]));
    assert_eq!(harness.client().text(&["SET", &key, "new"]), "+OK\r\n");
    assert_eq!(client.text_reply(), FORGET_ALL);
    wire.set(Wire::Plain);
    assert_eq!(client.text_reply(), "_\r\n", "the former node's answer, which is old");
    assert_eq!(client.text_reply(), FORGET_ALL);
}

#[test]
fn what_is_read_on_another_connection_is_forgotten_at_once() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client3();
    assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    assert_eq!(client.text(&["WATCH", "w"]), "+OK\r\n");
    let request = [bulk_request(&["MULTI"]), bulk_request(&["GET", "k"]), bulk_request(&["EXEC"])].concat();
    client.send(&request);
    let replies: Vec<String> = (0..4).map(|_| client.text_reply()).collect();
    assert_eq!(replies, ["+OK\r\n", "+QUEUED\r\n", "*1\r\n_\r\n", FORGET_ALL]);
    assert_eq!(client.text(&["XREAD", "BLOCK", "1", "STREAMS", "s", "$"]), "_\r\n");
    assert_eq!(client.text_reply(), FORGET_ALL);
}

#[test]
fn i1_a_message_in_pieces_and_between_replies_shifts_nothing() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let harness = Harness::start(patient(named(&[("n", wire.address())])));
    harness.wait_usable("n");
    wire.set(Wire::Slice(3));
    let mut client = harness.client3();
    assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    let mut other = harness.client();
    for round in 0..50 {
        let key = format!("k{round}");
        assert_eq!(client.text(&["GET", &key]), "_\r\n");
        other.send_command(&["SET", &key, "v"]);
        let asked: Vec<u8> = (0..5).flat_map(|n| bulk_request(&["ECHO", &format!("{n}")])).collect();
        let reads: Vec<u8> =
            (0..5).flat_map(|n| bulk_request(&["SETRANGE", &format!("r{n}"), "0", "x"])).collect();
        client.send(&[asked, reads].concat());
        let (mut messages, mut replies) = (0, Vec::new());
        while replies.len() < 10 || messages < 1 {
            let frame = client.text_reply();
            if frame.starts_with('>') {
                assert_eq!(frame, forget(&key));
                messages += 1;
            } else {
                replies.push(frame);
            }
        }
        let echoes = (0..5).map(|n| String::from_utf8(bulk(format!("{n}").as_bytes())).expect("text"));
        let expected: Vec<String> = echoes.chain((0..5).map(|_| ":1\r\n".into())).collect();
        assert_eq!(replies, expected);
        assert_eq!(other.reply(), b"+OK\r\n");
    }
}
