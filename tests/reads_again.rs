//! Reads that are sent once more when their connection to a node is lost (law I3), and all that is not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ringway_proxy::settings::{NodeSpec, Settings};

use crate::support::byte_proxy::{ByteProxy, Wire};
use crate::support::frame::{bulk, bulk_request};
use crate::support::harness::{StopAtEnd, patient};
use crate::support::{Act, Cluster, FakeRedis, Harness, NoReply, RawClient, RedisServer, wait_for};

/// The two ways in which a connection ends.
fn cut(reset: bool) -> Act {
    if reset { Act::Reset } else { Act::Finish }
}

/// A node that sends `piece` and cuts the connection for the first `cuts` commands, and answers `reply` to all others.
fn cutting_node(cuts: usize, reset: bool, piece: Vec<u8>, reply: Vec<u8>) -> FakeRedis {
    let seen = AtomicUsize::new(0);
    FakeRedis::start(move |command| match command.name().as_str() {
        "TTL" => vec![Act::text(":-2\r\n")],
        // a pause, so that a RST does not overtake the piece
        _ if seen.fetch_add(1, Ordering::SeqCst) < cuts => {
            vec![Act::Send(piece.clone()), Act::Wait(Duration::from_millis(1)), cut(reset)]
        }
        _ => vec![Act::Send(reply.clone())],
    })
}

/// A proxy with one worker, hence one connection, in front of a node, and a client of it.
fn in_front_of(node: &FakeRedis) -> (Harness, RawClient) {
    let mut settings = patient(vec![NodeSpec::new("far", node.address())]);
    settings.threads = 1;
    let harness = Harness::start(settings);
    let mut client = harness.client();
    wait_for("the node to be connected", || client.call(&["TTL", "warm"]) == b":-2\r\n");
    // a node that is known to answer at once is sent many commands before it has answered the first
    client.send(&bulk_request(&["TTL", "warm"]).repeat(100));
    (0..100).for_each(|_| assert_eq!(client.reply(), b":-2\r\n"));
    (harness, client)
}

/// How often the node saw each command, TTL aside.
fn seen(node: &FakeRedis) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for command in node.seen().iter().filter(|command| command.name() != "TTL") {
        let text = command.args.join(&b' ');
        *counts.entry(String::from_utf8_lossy(&text).into_owned()).or_default() += 1;
    }
    counts
}

fn is_unknown(reply: &[u8]) -> bool {
    reply.starts_with(b"-UNKNOWN node 'far' (")
}

#[test]
fn a6_a_read_goes_once_more_and_a_write_never() {
    for reset in [false, true] {
        for (words, reads) in [
            (&["GET", "k"][..], true),
            (&["HGETALL", "k"], true),
            (&["EVAL_RO", "return 1", "1", "k"], true),
            (&["INCR", "k"], false),
            (&["GETEX", "k"], false),
            (&["EVAL", "return 1", "1", "k"], false),
            (&["PUBLISH", "k", "m"], false),
            (&["PFCOUNT", "k"], false),
        ] {
            let node = cutting_node(1, reset, Vec::new(), b":7\r\n".to_vec());
            let (harness, mut client) = in_front_of(&node);
            let reply = client.call(words);
            let shown = String::from_utf8_lossy(&reply);
            assert!(if reads { reply == b":7\r\n" } else { is_unknown(&reply) }, "{words:?}: {shown}");
            assert_eq!(seen(&node), HashMap::from([(words.join(" "), 1 + usize::from(reads))]));
            assert_eq!(harness.node("far").reads_repeated, u64::from(reads));
        }
    }
}

#[test]
fn a6_a_node_that_cuts_every_connection_sees_a_read_twice_and_a_write_once() {
    for reset in [false, true] {
        let node = cutting_node(usize::MAX, reset, Vec::new(), Vec::new());
        let (_harness, mut client) = in_front_of(&node);
        for n in 0..4 {
            let (get, incr) = (format!("get:{n}"), format!("incr:{n}"));
            assert!(is_unknown(&client.call(&["GET", &get])));
            assert!(is_unknown(&client.call(&["INCR", &incr])));
            let seen = seen(&node);
            assert_eq!(seen[&format!("GET {get}")], 2, "{seen:?}");
            assert_eq!(seen[&format!("INCR {incr}")], 1, "{seen:?}");
        }
    }
}

#[test]
fn b1_a_read_cut_at_every_byte_is_answered_by_the_next_connection() {
    let reply = b"*3\r\n$1\r\na\r\n*1\r\n:1\r\n$-1\r\n";
    let cases: Vec<(usize, bool)> = (0..reply.len()).flat_map(|at| [(at, false), (at, true)]).collect();
    let nodes: Vec<FakeRedis> = cases
        .iter()
        .map(|(at, reset)| cutting_node(1, *reset, reply[..*at].to_vec(), reply.to_vec()))
        .collect();
    let spec = |(at, node): (usize, &FakeRedis)| NodeSpec::new(format!("n{at}"), node.address());
    let mut settings = patient(nodes.iter().enumerate().map(spec).collect());
    settings.threads = 1;
    settings.topology.ring.points = 64;
    let harness = Harness::start(settings);
    for (at, case) in cases.iter().enumerate() {
        let (mut client, key) = (harness.client(), harness.key_of(&format!("n{at}")));
        wait_for("the node to be connected", || client.call(&["TTL", &key]) == b":-2\r\n");
        client.send(&[bulk_request(&["LRANGE", &key, "0", "-1"]), bulk_request(&["ECHO", "next"])].concat());
        assert_eq!(client.reply(), reply, "{case:?}");
        assert_eq!(client.text_reply(), "$4\r\nnext\r\n", "{case:?}");
        assert_eq!(seen(&nodes[at]).values().sum::<usize>(), 2, "{case:?}");
    }
}

#[test]
fn b1_a_long_reply_that_was_begun_is_not_begun_again() {
    let value = bulk(&vec![b'v'; 300_000]);
    // (bytes that come before the cut, whether some of them are with the client by then)
    for (at, begun) in [(3, false), (100, true), (70_000, true), (299_999, true)] {
        let node = cutting_node(1, false, value[..at].to_vec(), value.clone());
        let (_harness, mut client) = in_front_of(&node);
        client.send_command(&["GET", "k"]);
        if begun {
            let rest = client.rest();
            assert!(value.starts_with(&rest) && rest.len() <= at, "{} bytes", rest.len());
        } else {
            assert!(client.reply() == value, "cut at {at}");
        }
        assert_eq!(seen(&node)["GET k"], if begun { 1 } else { 2 }, "cut at {at}");
    }
}

/// A node that answers nothing until it has seen a command that says `last`, then cuts; on later connections it answers
/// each read with its key and each write with OK.
fn gathering_node() -> FakeRedis {
    let cut_before = AtomicBool::new(false);
    FakeRedis::start(move |command| match command.name().as_str() {
        "TTL" => vec![Act::text(":-2\r\n")],
        _ if cut_before.load(Ordering::SeqCst) => {
            let key = bulk(&command.args[1]);
            vec![Act::Send(if command.name() == "GET" { key } else { b"+OK\r\n".to_vec() })]
        }
        _ if command.args[1] == b"last" => {
            cut_before.store(true, Ordering::SeqCst);
            vec![Act::Reset]
        }
        _ => Vec::new(),
    })
}

#[test]
fn i2_reads_beside_their_clients_own_unknown_write_are_unknown_and_others_go_again() {
    let node = gathering_node();
    let (harness, mut mixed) = in_front_of(&node);
    let (mut reader, mut writer) = (harness.client(), harness.client());
    let arrived = |count| wait_for("the commands to arrive", || seen(&node).len() == count);
    reader.send(&[bulk_request(&["GET", "a"]), bulk_request(&["GET", "b"])].concat());
    arrived(2);
    mixed.send(
        &[
            bulk_request(&["GET", "k"]),
            bulk_request(&["SET", "k", "v"]),
            bulk_request(&["ECHO", "between"]),
            bulk_request(&["GET", "k2"]),
        ]
        .concat(),
    );
    arrived(5);
    writer.send_command(&["SET", "last", "v"]);
    assert_eq!(reader.text_reply(), "$1\r\na\r\n");
    assert_eq!(reader.text_reply(), "$1\r\nb\r\n");
    for expected in [None, None, Some("$7\r\nbetween\r\n"), None] {
        let reply = mixed.text_reply();
        assert!(expected.map_or(is_unknown(reply.as_bytes()), |text| text == reply), "{reply}");
    }
    assert!(is_unknown(&writer.reply()));
    let counts = seen(&node);
    let twice: Vec<_> =
        counts.iter().filter(|(_, count)| **count == 2).map(|(command, _)| command.as_str()).collect();
    assert!(twice.len() == 2 && twice.contains(&"GET a") && twice.contains(&"GET b"), "{counts:?}");
    assert_eq!(counts.values().sum::<usize>(), 8, "{counts:?}");
}

#[test]
fn i2_what_is_sent_while_the_connection_is_made_again_stays_behind_the_reads() {
    let node = gathering_node();
    let (harness, mut client) = in_front_of(&node);
    let gets: Vec<u8> = (0..15).flat_map(|n| bulk_request(&["GET", &format!("k{n}")])).collect();
    client.send(&[gets, bulk_request(&["GET", "last"])].concat());
    wait_for("the cut", || seen(&node).len() == 16);
    client.send_command(&["SET", "k0", "new"]);
    client.send_command(&["GET", "after"]);
    for key in (0..15).map(|n| format!("k{n}")).chain(["last".into()]) {
        assert_eq!(client.reply(), bulk(key.as_bytes()));
    }
    assert_eq!(client.text_reply(), "+OK\r\n");
    assert_eq!(client.text_reply(), "$5\r\nafter\r\n");
    // in the order of the client on both connections
    let all: Vec<Vec<u8>> =
        node.seen().iter().filter(|c| c.name() != "TTL").map(|c| c.args[1].clone()).collect();
    let (first, second) = all.split_at(16);
    assert!(second[..16] == *first && second[16..] == [b"k0".to_vec(), b"after".to_vec()]);
    assert_eq!(harness.node("far").reads_repeated, 16);
}

#[test]
fn a_part_of_a_split_read_goes_again_and_the_whole_is_right() {
    let servers: Vec<RedisServer> = (0..2).map(|_| RedisServer::start()).collect();
    let wires: Vec<ByteProxy> = servers.iter().map(|server| ByteProxy::start(&server.address())).collect();
    let harness = Harness::in_front_of(&[("far", wires[0].address()), ("near", wires[1].address())]);
    harness.wait_usable("far");
    harness.wait_usable("near");
    let (mut client, nodes) = (harness.client(), ["far", "near"]);
    let keys: Vec<String> = nodes.iter().flat_map(|node| harness.keys_of(node, "k").take(3)).collect();
    keys.iter().for_each(|key| assert_eq!(client.text(&["SET", key, key]), "+OK\r\n"));
    let words: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    let expected = [b"*6\r\n".to_vec(), keys.iter().flat_map(|key| bulk(key.as_bytes())).collect()].concat();
    for (round, reset) in [false, true].into_iter().enumerate() {
        wires[0].set(Wire::Cut { after: 7 * round, reset });
        assert_eq!(client.call(&words), expected);
        wires[0].set(Wire::Plain);
    }
    assert!(harness.node("far").reads_repeated >= 2 && harness.node("near").reads_repeated == 0);
    // a write over several nodes is not
    wires[0].set(Wire::Cut { after: 0, reset: false });
    let words: Vec<&str> = ["DEL"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    let reply = client.text(&words);
    assert!(reply.starts_with("-UNKNOWN node 'far' ("), "{reply}");
}

#[test]
fn a3_a_read_left_by_a_node_that_stands_still_is_not_sent_again() {
    let node = FakeRedis::start(|command| match command.name().as_str() {
        "TTL" => vec![Act::text(":-2\r\n")],
        _ => vec![Act::Wait(Duration::from_secs(4))],
    });
    let mut settings = Settings::new(vec![NodeSpec::new("far", node.address())]);
    settings.threads = 1;
    let harness = Harness::start(settings);
    let mut client = harness.client();
    wait_for("the node to be connected", || client.call(&["TTL", "warm"]) == b":-2\r\n");
    let sent = Instant::now();
    assert!(is_unknown(&client.call(&["GET", "k"])));
    let (took, limit) = (sent.elapsed(), harness.control().timeouts().operation);
    assert!(took >= limit / 2 && took < limit * 3, "one operation timeout: {took:?}");
    wait_for("the next connection", || client.call(&["TTL", "warm"]) == b":-2\r\n");
    assert_eq!(seen(&node), HashMap::from([("GET k".to_owned(), 1)]));
    assert_eq!(harness.node("far").reads_repeated, 0);
}

#[test]
fn a1_a_read_is_unknown_when_the_node_does_not_come_back() {
    let mut cluster = Cluster::start(1);
    let mut client = cluster.client();
    cluster.server("cache-1").pause();
    client.send_command(&["GET", "k"]);
    client.expect_silence(Duration::from_millis(200));
    let killed = Instant::now();
    cluster.server_mut("cache-1").kill();
    let reply = client.text_reply();
    assert!(reply.starts_with("-UNKNOWN node 'cache-1' ("), "{reply}");
    let operation = cluster.control().timeouts().operation;
    assert!(killed.elapsed() < operation / 2, "refused at once: {:?}", killed.elapsed());
}

#[test]
fn b3_a_node_that_sends_what_is_no_reply_is_asked_nothing_twice() {
    let node = cutting_node(1, false, b"@nothing\r\n".to_vec(), b":7\r\n".to_vec());
    let (_harness, mut client) = in_front_of(&node);
    let reply = client.call(&["GET", "k"]);
    assert!(is_unknown(&reply), "{}", String::from_utf8_lossy(&reply));
    wait_for("the next connection", || client.call(&["GET", "again"]) == b":7\r\n");
    assert_eq!(seen(&node)["GET k"], 1);
}

#[test]
fn a6_readers_hardly_notice_connections_that_are_killed_again_and_again() {
    let cluster = Cluster::start_with(2, |settings| settings.threads = 1);
    let keys: Vec<String> = cluster.keys_of("cache-1", "k").take(50).collect();
    keys.iter().for_each(|key| assert_eq!(cluster.client().text(&["SET", key, key]), "+OK\r\n"));
    let (stop, right, unknown) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = cluster.client();
                let batch: Vec<u8> = keys.iter().flat_map(|key| bulk_request(&["GET", key])).collect();
                while !stop.load(Ordering::Relaxed) {
                    client.send(&batch);
                    for key in &keys {
                        let reply = client.reply();
                        let is_right = reply == bulk(key.as_bytes());
                        let shown = String::from_utf8_lossy(&reply);
                        assert!(is_right || shown.starts_with("-UNKNOWN node 'cache-1' ("), "{shown}");
                        if is_right { &right } else { &unknown }.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let _stop = StopAtEnd(&stop);
        for _ in 0..15 {
            let before = right.load(Ordering::Relaxed);
            let _: usize = cluster.nodes[0].call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            // each kill hits a connection that works
            wait_for("replies after the cut", || right.load(Ordering::Relaxed) > before + 2000);
        }
    });
    let (right, unknown) = (right.into_inner(), unknown.into_inner());
    let repeated = cluster.node("cache-1").reads_repeated;
    println!("{right} reads answered, {repeated} of them sent again, {unknown} UNKNOWN");
    assert!(repeated > 0 && unknown * 5 <= repeated, "{unknown} UNKNOWN, {repeated} sent again");
}

#[test]
fn transactions_and_reads_behind_them_are_not_sent_again() {
    let node = FakeRedis::start(|command| match command.name().as_str() {
        "TTL" => vec![Act::text(":-2\r\n")],
        "MULTI" => vec![Act::text("+OK\r\n")],
        "GET" => vec![Act::text("+QUEUED\r\n")],
        _ => vec![Act::Finish],
    });
    let (_harness, mut client) = in_front_of(&node);
    for words in [&["MULTI"][..], &["GET", "k"], &["EXEC"], &["STRLEN", "k"]] {
        client.send_command(words);
    }
    assert_eq!(client.text_reply(), "+OK\r\n");
    assert_eq!(client.text_reply(), "+QUEUED\r\n");
    assert!(is_unknown(&client.reply()));
    match client.try_reply(Duration::from_secs(20)) {
        // it was not begun when the connection was lost, or stood behind the transaction
        Ok(reply) => assert!(is_unknown(&reply), "{}", String::from_utf8_lossy(&reply)),
        Err(NoReply::Closed(rest) | NoReply::Silent(rest)) => panic!("{}", String::from_utf8_lossy(&rest)),
    }
    let counts = seen(&node);
    assert_eq!((counts["MULTI"], counts["GET k"], counts["EXEC"]), (1, 1, 1), "{counts:?}");
}
