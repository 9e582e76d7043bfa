//! Keys that move while nodes stand still and restart, and clients do everything they may.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringway_proxy::control::MovementPhase;
use ringway_proxy::settings::{NodeSpec, TopologySpec};

use crate::support::byte_proxy::ByteProxy;
use crate::support::frame::bulk_request;
use crate::support::harness::specs;
use crate::support::{Cluster, Harness, RawClient, RedisServer, StopAtEnd, wait_for};

pub(crate) fn joined(cluster: &Cluster, server: &RedisServer) -> Vec<NodeSpec> {
    let new = NodeSpec::new(format!("cache-{}", cluster.nodes.len() + 1), server.address());
    specs(&cluster.nodes).into_iter().chain([new]).collect()
}

pub(crate) fn fill(client: &mut RawClient, count: usize) {
    for at in (0..count).step_by(1_000) {
        let requests: Vec<u8> = (at..at + 1_000)
            .flat_map(|at| bulk_request(&["SET", &format!("key:{at}"), &format!("value {at}")]))
            .collect();
        client.send(&requests);
        (0..1_000).for_each(|_| assert_eq!(client.text_reply(), "+OK\r\n"));
    }
}

pub(crate) fn all_there(client: &mut RawClient, count: usize, written: &HashMap<usize, String>) {
    for at in 0..count {
        let reply = client.text(&["GET", &format!("key:{at}")]);
        let value = written.get(&at).cloned().unwrap_or_else(|| format!("value {at}"));
        assert_eq!(reply, format!("${}\r\n{value}\r\n", value.len()), "key:{at}");
    }
}

#[test]
fn i2_what_is_sent_at_once_is_answered_in_its_order() {
    let cluster = Cluster::start_with(2, |settings| settings.threads = 2);
    let third = RedisServer::start();
    let mut client = cluster.client();
    let counter = |at: usize| format!("counter:{}", at % 97);
    (0..97).for_each(|at| assert_eq!(client.text(&["SET", &counter(at), "0"]), "+OK\r\n"));
    cluster.apply_and_move(joined(&cluster, &third)).expect("a change");
    let mut counts = [0; 97];
    let mut requests = Vec::new();
    let mut expected = String::new();
    for at in 0..5_000 {
        counts[at % 97] += 1;
        requests.extend(bulk_request(&["INCR", &counter(at)]));
        expected += &format!(":{}\r\n", counts[at % 97]);
        if at % 10 == 0 {
            let keys = [counter(at), counter(at + 31), counter(at + 62)];
            requests.extend(bulk_request(&["MGET", &keys[0], &keys[1], &keys[2]]));
            expected += "*3\r\n";
            for n in [at, at + 31, at + 62] {
                let value = counts[n % 97].to_string();
                expected += &format!("${}\r\n{value}\r\n", value.len());
            }
        }
    }
    let mut sender = client.sender();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &requests));
    assert_eq!(String::from_utf8(client.bytes(expected.len())).expect("text"), expected);
    sending.join().expect("the sender").expect("all is sent");
    cluster.wait_moved();
    // nobody who wants no replies gets one
    cluster.apply_and_move(specs(&cluster.nodes)).expect("a change");
    client.send(&bulk_request(&["CLIENT", "REPLY", "OFF"]));
    (0..97).for_each(|at| client.send(&bulk_request(&["INCR", &counter(at)])));
    client.send(&bulk_request(&["CLIENT", "REPLY", "ON"]));
    assert_eq!(client.text_reply(), "+OK\r\n");
    for (at, count) in counts.iter().enumerate() {
        let value = (count + 1).to_string();
        assert_eq!(client.text(&["GET", &counter(at)]), format!("${}\r\n{value}\r\n", value.len()));
    }
}

#[test]
fn f1_commands_of_every_kind_find_their_keys() {
    let cluster = Cluster::start(2);
    let third = RedisServer::start();
    let mut client = cluster.client();
    let pairs: Vec<String> = (0..200).flat_map(|at| [format!("k:{at}"), at.to_string()]).collect();
    let keys: Vec<String> = pairs.iter().step_by(2).cloned().collect();
    let with = |word: &str, rest: &[String]| [&[word.to_owned()], rest].concat();
    assert_eq!(client.text(&with("MSET", &pairs)), "+OK\r\n");
    (0..50).for_each(|at| {
        client.text(&["SADD", &format!("{{t:{at}}}a"), "x", "y"]);
        client.text(&["SADD", &format!("{{t:{at}}}b"), "y", "z"]);
        client.text(&["SET", &format!("copy:{at}"), "original"]);
    });
    let ways = [joined(&cluster, &third), specs(&cluster.nodes)];
    for (round, nodes) in ways.into_iter().enumerate() {
        cluster.apply_and_move(nodes).expect("a change");
        let values: String =
            (0..200).map(|at: usize| format!("${}\r\n{at}\r\n", at.to_string().len())).collect();
        assert_eq!(client.text(&with("MGET", &keys)), format!("*200\r\n{values}"));
        assert_eq!(client.text(&with("EXISTS", &keys)), ":200\r\n");
        assert_eq!(client.text(&with("MSET", &pairs)), "+OK\r\n");
        for at in 0..50 {
            let (a, b, c) = (format!("{{t:{at}}}a"), format!("{{t:{at}}}b"), format!("{{t:{at}}}c"));
            assert_eq!(client.text(&["SINTERSTORE", &c, &a, &b]), ":1\r\n");
            let script = "return redis.call('SCARD', KEYS[1]) + redis.call('SCARD', KEYS[2])";
            assert_eq!(client.text(&["EVAL", script, "2", &a, &c]), ":3\r\n");
            let copy = format!("copy:{at}");
            assert_eq!(client.text(&["COPY", &copy, &copy, "DB", "5", "REPLACE"]), ":1\r\n");
            if round == 1 {
                // where the copy of the first round lies may be on its way as well
                assert_eq!(client.text(&["MOVE", &copy, "5"]), ":0\r\n");
            }
        }
        cluster.wait_moved();
        assert_eq!(client.text(&["DBSIZE"]), ":400\r\n");
        client.text(&["SELECT", "5"]);
        assert_eq!(client.text(&["DBSIZE"]), ":50\r\n");
        client.text(&["SELECT", "0"]);
    }
    assert_eq!(third.call::<String>(&["INFO", "keyspace"]).matches("db").count(), 0);
}

#[test]
fn f1_a_cache_hears_of_a_key_that_has_moved() {
    let cluster = Cluster::start(2);
    let third = RedisServer::start();
    let mut cache = cluster.client3();
    let mut other = cluster.client();
    (0..60).for_each(|at| assert_eq!(other.text(&["SET", &format!("key:{at}"), "old"]), "+OK\r\n"));
    assert_eq!(cache.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    let next = |cache: &mut RawClient, messages: &mut Vec<String>| loop {
        let frame = cache.text_reply();
        if !frame.starts_with('>') {
            return frame;
        }
        messages.push(frame);
    };
    let mut messages = Vec::new();
    for at in 0..60 {
        cache.send_command(&["GET", &format!("key:{at}")]);
        assert_eq!(next(&mut cache, &mut messages), "$3\r\nold\r\n");
    }
    cluster.apply_and_move(joined(&cluster, &third)).expect("a change");
    cluster.wait_moved();
    for at in 0..60 {
        let key = format!("key:{at}");
        messages.clear();
        cache.send_command(&["GET", &key]);
        assert_eq!(next(&mut cache, &mut messages), "$3\r\nold\r\n");
        messages.clear();
        assert_eq!(other.text(&["SET", &key, "new"]), "+OK\r\n");
        let limit = Instant::now() + Duration::from_secs(20);
        while !messages.iter().any(|message| message.contains(&key)) {
            assert!(Instant::now() < limit, "no word of {key}: {messages:?}");
            cache.send_command(&["PING"]);
            next(&mut cache, &mut messages);
        }
    }
}

#[test]
fn i5_keys_of_a_node_that_stands_still_are_refused_in_time_and_come_later() {
    let mut cluster = Cluster::start_with(3, |settings| {
        settings.timeouts.operation = Duration::from_secs(1);
        settings.threads = 2;
    });
    let fourth = RedisServer::start();
    let mut client = cluster.client();
    fill(&mut client, 20_000);
    cluster.apply_and_move(joined(&cluster, &fourth)).expect("a change");
    cluster.server_mut("cache-1").pause();
    let state = cluster.control().movement().expect("a movement");
    assert!(state.is_running(), "there are too few keys for this: {state:?}");
    let from_first = cluster.keys_of("cache-4", "key:").filter(|key| {
        let topology = cluster.control().topology();
        let former = topology.former().expect("keys are on their way");
        former.topology().owner(key.as_bytes()).home().0 == 0
    });
    let from_first: Vec<String> = from_first.take(30).collect();
    let mut refused = 0;
    for key in from_first.iter().take(5) {
        let began = Instant::now();
        let reply = client.text(&["APPEND", key, "+"]);
        assert!(reply.starts_with(':') || reply.starts_with("-NOTSENT node 'cache-4'"), "{reply}");
        refused += usize::from(reply.starts_with('-'));
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    let elsewhere: Vec<String> = cluster.keys_of("cache-2", "key:").take(100).collect();
    for key in &elsewhere {
        assert!(client.text(&["GET", key]).contains("value"), "{key}");
    }
    cluster.server("cache-1").resume();
    cluster.wait_moved();
    for key in &from_first {
        let reply = client.text(&["GET", key]);
        assert!(reply.contains("value") && !reply.contains("++"), "{key}: {reply}");
    }
    assert_eq!(client.text(&["DBSIZE"]), ":20000\r\n");
    println!("{refused} of 5 refused while the node stood still");
}

#[test]
fn i4_while_nobody_carries_a_key_it_is_not_taken_for_gone() {
    let cluster = Cluster::start_with(2, |settings| settings.timeouts.operation = Duration::from_secs(1));
    let third = RedisServer::start();
    let mut client = cluster.client();
    fill(&mut client, 20_000);
    cluster.apply_and_move(joined(&cluster, &third)).expect("a change");
    cluster.control().hold(Some("a test"));
    cluster.block_on(cluster.control().movement_rests());
    let arrived = third.dbsize();
    let keys: Vec<String> = cluster.keys_of("cache-3", "key:").take(200).collect();
    let is_there = |key: &String| third.call::<usize>(&["EXISTS", key]) == 1;
    let waits = keys.iter().find(|key| !is_there(key)).expect("a key on its way");
    let reply = client.text(&["GET", waits]);
    assert!(reply.starts_with("-NOTSENT node 'cache-3'"), "{reply}");
    assert_eq!(third.dbsize(), arrived, "nothing is carried");
    cluster.control().hold(None);
    assert!(client.text(&["GET", waits]).contains("value"));
    cluster.wait_moved();
    all_there(&mut client, 20_000, &HashMap::new());
}

#[test]
fn i7_who_asks_for_keys_that_are_not_there_does_not_keep_the_others() {
    let cluster = Cluster::start_with(2, |settings| settings.threads = 2);
    let third = RedisServer::start();
    let mut client = cluster.client();
    fill(&mut client, 10_000);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stopping = StopAtEnd(&stop);
        for id in 0..8 {
            let (mut client, stop) = (cluster.client(), &stop);
            scope.spawn(move || {
                for at in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    assert_eq!(client.text(&["GET", &format!("none:{id}:{at}")]), "$-1\r\n");
                }
            });
        }
        cluster.apply_and_move(joined(&cluster, &third)).expect("a change");
        cluster.wait_moved();
    });
    all_there(&mut client, 10_000, &HashMap::new());
}

#[test]
fn f1_who_watches_a_key_that_goes_and_comes_back_misses_no_write() {
    let cluster = Cluster::start(2);
    let third = RedisServer::start();
    let nodes = joined(&cluster, &third);
    let ring = cluster.control().topology().spec().ring.clone();
    let planned = cluster.control().plan(TopologySpec { ring, nodes: nodes.clone() }).expect("a plan").to;
    let goes = |key: &String| planned.owner(key.as_bytes()).home().0 == 2;
    let watched = cluster.keys_of("cache-1", "watched:").find(&goes).expect("a key that moves");
    let stays = cluster.keys_of("cache-1", "stays:").find(|key| !goes(key)).expect("a key that does not");
    let mut client = cluster.client();
    assert_eq!(client.text(&["WATCH", &watched]), "+OK\r\n");
    cluster.apply_and_move(nodes).expect("a change");
    let mut other = cluster.client();
    assert_eq!(other.text(&["SET", &watched, "written"]), "+OK\r\n");
    cluster.wait_moved();
    cluster.block_on(cluster.control().rollback_and_move(None)).expect("a rollback");
    // the key is not where it is watched yet
    cluster.control().hold(Some("a test"));
    assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
    assert_eq!(client.text(&["SET", &stays, "1"]), "+QUEUED\r\n");
    assert_eq!(client.text(&["EXEC"]), "*-1\r\n");
    cluster.control().hold(None);
    cluster.wait_moved();
    assert_eq!(client.text(&["GET", &watched]), "$7\r\nwritten\r\n");
}

#[test]
fn i7_who_reads_slowly_does_not_keep_keys_from_moving() {
    let cluster = Cluster::start(1);
    let next = RedisServer::start();
    let mut client = cluster.client();
    client.text(&["SET", "large", &"x".repeat(60 << 20)]);
    let mut slow = cluster.client();
    assert_eq!(slow.text(&["WATCH", "large"]), "+OK\r\n");
    slow.send(&[bulk_request(&["MULTI"]), bulk_request(&["GET", "large"]), bulk_request(&["EXEC"])].concat());
    assert_eq!(slow.text_reply(), "+OK\r\n");
    assert_eq!(slow.text_reply(), "+QUEUED\r\n");
    assert_eq!(slow.bytes(4), b"*1\r\n");
    let mut moved = specs(&cluster.nodes);
    moved[0].address = next.address();
    cluster.apply_and_move(moved).expect("a change");
    cluster.wait_moved();
    assert_eq!(client.text(&["STRLEN", "large"]), format!(":{}\r\n", 60 << 20));
    assert_eq!(slow.bytes(10), b"$62914560\r");
}

#[test]
fn i3_a_copy_that_arrives_late_does_not_outlive_its_key() {
    const SHORT: usize = 20_000;
    let cluster = Cluster::start_with(1, |settings| settings.timeouts.operation = Duration::from_secs(1));
    let next = RedisServer::start();
    let mut client = cluster.client();
    let key = |at: usize| format!("short:{at}");
    let requests: Vec<u8> =
        (0..SHORT).flat_map(|at| bulk_request(&["SET", &key(at), "lived", "PX", "8000"])).collect();
    let mut sender = client.sender();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &requests));
    (0..SHORT).for_each(|_| assert_eq!(client.text_reply(), "+OK\r\n"));
    sending.join().expect("the sender").expect("all is sent");
    let mut moved = specs(&cluster.nodes);
    moved[0].address = next.address();
    cluster.apply_and_move(moved).expect("a change");
    let state = || cluster.control().movement().expect("a movement");
    wait_for("some keys to have moved", || state().moved > 1_000);
    // with values on their way to it that it does not answer for
    next.pause();
    assert!(state().is_running(), "{:?}", state());
    wait_for("it to be given up", || state().left > 0);
    wait_for("the keys to expire", || cluster.nodes[0].dbsize() == 0);
    next.resume();
    cluster.wait_usable("cache-1");
    for at in 0..SHORT {
        assert_eq!(client.text(&["GET", &key(at)]), "$-1\r\n", "{} has come back to life", key(at));
    }
    cluster.wait_moved();
}

#[test]
fn i3_nothing_is_carried_before_what_was_sent_is_answered() {
    let (former, next) = (RedisServer::start(), RedisServer::start());
    let wire = ByteProxy::start(&former.address());
    let harness = Harness::in_front_of(&[("n", wire.address())]);
    harness.wait_usable("n");
    let (mut client, mut other) = (harness.client(), harness.client());
    assert_eq!(client.text(&["SET", "counter", "5"]), "+OK\r\n");
    // it is written, and the node does not see it yet; connections that are opened from now on are not held up
    wire.hold_requests();
    client.send_command(&["INCR", "counter"]);
    wait_for("it to be on its way", || harness.node("n").bytes_out > 0);
    std::thread::sleep(Duration::from_millis(50));
    harness.apply_and_move(vec![NodeSpec::new("n", next.address())]).expect("a change");
    other.send_command(&["GET", "counter"]);
    other.expect_silence(Duration::from_millis(300));
    let status = harness.control().movement().expect("a movement");
    assert_eq!((status.phase, next.dbsize()), (MovementPhase::Begins, 0));
    wire.release_requests();
    assert_eq!(client.text_reply(), ":6\r\n");
    assert_eq!(other.text_reply(), "$1\r\n6\r\n");
    harness.wait_moved();
    assert_eq!((former.dbsize(), next.call::<u64>(&["GET", "counter"])), (0, 6));
}

#[test]
fn i4_what_was_not_carried_yet_is_right_where_it_is() {
    let cluster = Cluster::start(2);
    let third = RedisServer::start();
    let mut client = cluster.client();
    fill(&mut client, 20_000);
    cluster.apply_and_move(joined(&cluster, &third)).expect("a change");
    // before that a rollback would have nothing to call back
    wait_for("keys to set out", || cluster.control().movement().is_some_and(|one| one.moved > 0));
    cluster.control().hold(Some("a test"));
    cluster.block_on(cluster.control().movement_rests());
    let waits: Vec<String> = cluster
        .keys_of("cache-3", "key:")
        .take(3_000)
        .filter(|key| third.call::<usize>(&["EXISTS", key]) == 0)
        .take(100)
        .collect();
    assert!(!waits.is_empty(), "nothing is on its way any more");
    // as a copy that nobody knows of would be
    for key in &waits {
        let _: () = third.call(&["SET", key, "stale"]);
    }
    cluster.control().hold(None);
    cluster.control().rollback(None).expect("a rollback");
    cluster.wait_moved();
    assert_eq!(third.dbsize(), 0);
    all_there(&mut client, 20_000, &HashMap::new());
}
