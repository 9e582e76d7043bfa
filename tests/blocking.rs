//! Commands that wait for something to happen: as a server answers them, and what they must not do to anybody else.

use std::time::{Duration, Instant};

use ringway_proxy::settings::Settings;
use ringway_proxy::stats::NodeState;

use crate::support::frame::{bulk_array, bulk_request};
use crate::support::harness::specs;
use crate::support::{Cluster, Harness, NoReply, RawClient, RedisServer, wait_for};

/// How many clients a server knows to be waiting.
pub(crate) fn waiting(server: &RedisServer) -> usize {
    let info: String = server.call(&["INFO", "clients"]);
    let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
    line.and_then(|count| count.trim().parse().ok()).expect("INFO tells it")
}

pub(crate) fn wait_until_waiting(server: &RedisServer, count: usize) {
    wait_for(&format!("{count} clients to wait"), || waiting(server) == count);
}

/// A client that has sent a command that waits.
pub(crate) fn waiter(mut client: RawClient, line: &str) -> RawClient {
    client.send_command(&line.split(' ').collect::<Vec<_>>());
    client
}

/// The reply of BLPOP and its kin.
pub(crate) fn popped(key: &str, element: &str) -> Vec<u8> {
    bulk_array(&[Some(key.into()), Some(element.into())])
}

fn id_of(client: &mut RawClient) -> String {
    client.text(&["CLIENT", "ID"]).trim_start_matches(':').trim_end().to_owned()
}

#[test]
fn every_command_that_may_wait_answers_as_a_server_does() {
    let cluster = Cluster::start(1);
    let server = RedisServer::start();
    let lines = [
        "BLPOP k 0.02",
        "BRPOP k j 0.02",
        "BLMOVE k d LEFT RIGHT 0.02",
        "BRPOPLPUSH k d 0.02",
        "BLMPOP 0.02 2 k j LEFT",
        "BZPOPMIN z 0.02",
        "BZPOPMAX z y 0.02",
        "BZMPOP 0.02 2 z y MIN",
        "XREAD BLOCK 20 STREAMS s $",
        "RPUSH k a b c d e f g",
        "BLPOP k 0",
        "BRPOP j k 0",
        "BLMOVE k d LEFT RIGHT 0",
        "BRPOPLPUSH k d 0",
        "BLMPOP 0 2 j k LEFT COUNT 2",
        "LRANGE d 0 -1",
        "ZADD z 1 one 2.5 two 3 three 4 four 5 five",
        "BZPOPMIN y z 0",
        "BZPOPMAX z 0",
        "BZMPOP 0 1 z MIN COUNT 2",
        "XADD s 1-1 f v",
        "XADD s 1-2 f w",
        "XREAD COUNT 1 BLOCK 0 STREAMS s 0",
        "XREAD BLOCK 20 STREAMS s 1-2",
        "XGROUP CREATE s g 0",
        "XREADGROUP GROUP g me BLOCK 0 STREAMS s >",
        "XREADGROUP GROUP g me BLOCK 20 STREAMS s >",
        "XREADGROUP GROUP g me BLOCK 0 STREAMS s 0",
        "SET text v",
        "BLPOP text 0",
        "BLMOVE text d LEFT LEFT 0",
        "BZPOPMIN k 0",
        "XREAD BLOCK 0 STREAMS k 0",
        "BLPOP k -1",
        "BLPOP k x",
        "BLPOP k inf",
        "BLPOP k 1e300",
        "BLPOP k",
        "BLMOVE k d UP LEFT 0",
        "BLMOVE k d LEFT LEFT",
        "BLMPOP 0 0 k LEFT",
        "BLMPOP 0 2 k LEFT",
        "BLMPOP -1 1 k LEFT",
        "BZMPOP 0 1 z MIDDLE",
        "XREAD BLOCK -1 STREAMS s $",
        "XREAD BLOCK soon STREAMS s $",
        "XREAD BLOCK 10 STREAMS s",
        "XREADGROUP GROUP none me BLOCK 0 STREAMS s >",
        "CLIENT UNBLOCK 987654",
        "CLIENT UNBLOCK 987654 error",
        "CLIENT UNBLOCK -1 TIMEOUT",
        "CLIENT UNBLOCK x",
        "CLIENT UNBLOCK 1 NOW",
        "CLIENT UNBLOCK 1 ERROR ERROR",
        "CLIENT UNBLOCK",
        "PING",
    ];
    for protocol in ["2", "3"] {
        let (mut through, mut direct) = (cluster.client(), server.client());
        for client in [&mut through, &mut direct] {
            client.call(&["HELLO", protocol]);
            client.call(&["DEL", "k", "j", "d", "z", "y", "s", "text"]);
        }
        for line in lines {
            let args: Vec<&str> = line.split(' ').collect();
            assert_eq!(through.text(&args), direct.text(&args), "RESP{protocol}: {line}");
        }
    }
    assert_eq!(cluster.control().snapshot().blocked_clients, 0);
}

#[test]
fn what_is_added_wakes_the_one_who_waits() {
    let cluster = Cluster::start(2);
    let mut other = cluster.client();
    for (wait, add, expected) in [
        ("BLPOP k 0", "RPUSH k a", popped("k", "a")),
        ("BRPOP k 0", "LPUSH k b", popped("k", "b")),
        ("BLMOVE k k RIGHT LEFT 0", "LPUSH k c", b"$1\r\nc\r\n".to_vec()),
        ("BRPOPLPUSH l l 0", "LPUSH l d", b"$1\r\nd\r\n".to_vec()),
        ("BLMPOP 0 1 m RIGHT", "LPUSH m e", b"*2\r\n$1\r\nm\r\n*1\r\n$1\r\ne\r\n".to_vec()),
        ("BZPOPMIN z 0", "ZADD z 1 f", b"*3\r\n$1\r\nz\r\n$1\r\nf\r\n$1\r\n1\r\n".to_vec()),
        ("BZPOPMAX z 0", "ZADD z 2 g", b"*3\r\n$1\r\nz\r\n$1\r\ng\r\n$1\r\n2\r\n".to_vec()),
        ("BZMPOP 0 1 z MAX", "ZADD z 3 h", b"*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\nh\r\n$1\r\n3\r\n".to_vec()),
        (
            "XREAD BLOCK 0 STREAMS s $",
            "XADD s 7-1 f v",
            b"*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n7-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n".to_vec(),
        ),
    ] {
        let key = add.split(' ').nth(1).expect("a key");
        let server = cluster.server(&cluster.owner(key));
        let mut client = waiter(cluster.client(), wait);
        wait_until_waiting(server, 1);
        assert_eq!(cluster.control().snapshot().blocked_clients, 1, "{wait}");
        other.call(&add.split(' ').collect::<Vec<_>>());
        assert_eq!(client.text_reply(), String::from_utf8_lossy(&expected), "{wait}");
        wait_for("nobody to wait", || cluster.control().snapshot().blocked_clients == 0);
    }
}

#[test]
fn b6_a_long_reply_comes_whole_and_what_follows_it_too() {
    let cluster = Cluster::start(1);
    let (field, value) = ("f".repeat(70_000), "v".repeat(5 << 20));
    let mut producer = cluster.client();
    producer.call(&["XADD", "s", "1-1", &field, &value]);
    producer.call(&["RPUSH", "k", &value]);
    let mut direct = cluster.nodes[0].client();
    for read in [&["XREAD", "BLOCK", "0", "STREAMS", "s", "0"][..], &["BRPOP", "k", "0"]] {
        let expected = match read[0] {
            "XREAD" => direct.call(read),
            _ => popped("k", &value),
        };
        let mut client = cluster.client();
        client.send(&[bulk_request(read), bulk_request(&["ECHO", "next"])].concat());
        assert!(client.reply() == expected, "{} of {} bytes", read[0], expected.len());
        assert_eq!(client.text_reply(), "$4\r\nnext\r\n");
    }
}

#[test]
fn in_another_database_it_waits_there() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    client.call(&["SELECT", "3"]);
    let mut client = waiter(client, "BLPOP k 0");
    wait_until_waiting(&cluster.nodes[0], 1);
    let mut other = cluster.client();
    assert_eq!(other.text(&["RPUSH", "k", "in 0"]), ":1\r\n");
    other.call(&["SELECT", "3"]);
    assert_eq!(other.text(&["RPUSH", "k", "in 3"]), ":1\r\n");
    assert_eq!(client.reply(), popped("k", "in 3"));
}

#[test]
fn those_who_wait_are_served_in_the_order_of_their_arrival() {
    let cluster = Cluster::start(1);
    let mut clients = Vec::new();
    for count in 1..=5 {
        clients.push(waiter(cluster.client(), "BLPOP queue 0"));
        wait_until_waiting(&cluster.nodes[0], count);
    }
    let mut producer = cluster.client();
    for n in 0..clients.len() {
        assert_eq!(producer.text(&["RPUSH", "queue", &n.to_string()]), ":1\r\n");
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.reply(), popped("queue", &n.to_string()));
    }
}

#[test]
fn i2_what_is_pipelined_around_a_wait_runs_in_order() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let (key, node) = ("waited:for", cluster.owner("waited:for"));
    let lines: [&[&str]; 7] = [
        &["SET", "before", "1"],
        &["BLPOP", key, "0"],
        &["INCR", "before"],
        &["BLPOP", key, "0"],
        &["GET", "before"],
        &["BLPOP", key, "0.01"],
        &["PING"],
    ];
    client.send(&lines.iter().flat_map(|args| bulk_request(args)).collect::<Vec<u8>>());
    assert_eq!(client.text_reply(), "+OK\r\n", "what stands before it does not wait");
    wait_until_waiting(cluster.server(&node), 1);
    let mut other = cluster.client();
    assert_eq!(other.text(&["GET", "before"]), "$1\r\n1\r\n", "what stands behind it has not run");
    other.call(&["RPUSH", key, "one", "two"]);
    assert_eq!(client.reply(), popped(key, "one"));
    assert_eq!(client.text_reply(), ":2\r\n");
    assert_eq!(client.reply(), popped(key, "two"));
    for expected in ["$1\r\n2\r\n", "*-1\r\n", "+PONG\r\n"] {
        assert_eq!(client.text_reply(), expected);
    }
}

#[test]
fn keys_of_several_nodes_are_refused_and_a_tag_brings_them_together() {
    let cluster = Cluster::start(2);
    let (here, there) = (cluster.key_of("cache-1"), cluster.key_of("cache-2"));
    let mut client = cluster.client();
    let crossslot = "-CROSSSLOT Keys in request don't hash to the same node\r\n";
    assert_eq!(client.text(&["BLPOP", &here, &there, "0"]), crossslot);
    assert_eq!(client.text(&["BLMOVE", &here, &there, "LEFT", "LEFT", "0"]), crossslot);
    assert_eq!(client.text(&["BZMPOP", "0", "2", &here, &there, "MIN"]), crossslot);
    assert_eq!(client.text(&["XREAD", "BLOCK", "0", "STREAMS", &here, &there, "$", "$"]), crossslot);
    assert_eq!(client.text(&["BLPOP", "{t}a", "{t}b", "0.01"]), "*-1\r\n");
}

#[test]
fn c8_a_client_that_leaves_while_it_waits_takes_nothing_with_it() {
    let cluster = Cluster::start(1);
    let server = &cluster.nodes[0];
    let before = cluster.node("cache-1").connections;
    let mut other = cluster.client();
    for reset in [false, true] {
        for round in 0..5 {
            let clients: Vec<_> = (0..10).map(|_| waiter(cluster.client(), "BRPOP queue 0")).collect();
            wait_until_waiting(server, clients.len());
            for mut client in clients {
                if reset {
                    client.reset();
                } else if round % 2 == 0 {
                    client.finish_sending();
                    assert_eq!(client.rest(), b"");
                } else {
                    drop(client);
                }
            }
            wait_until_waiting(server, 0);
            assert_eq!(other.text(&["RPUSH", "queue", "kept"]), ":1\r\n");
            assert_eq!(other.text(&["BLPOP", "queue", "0"]), "*2\r\n$5\r\nqueue\r\n$4\r\nkept\r\n");
        }
    }
    wait_for("the clients to be forgotten", || {
        let snapshot = cluster.control().snapshot();
        snapshot.client_connections == 1 && snapshot.blocked_clients == 0
    });
    // the one that `other` had for itself is kept for the next
    wait_for("their connections to be closed", || cluster.node("cache-1").connections <= before + 2);
}

#[test]
fn c8_a_client_that_leaves_much_unread_behind_takes_nothing_with_it() {
    let cluster = Cluster::start(1);
    let mut client = waiter(cluster.client(), "BLPOP queue 0");
    wait_until_waiting(&cluster.nodes[0], 1);
    // more than is read ahead, and no more than the kernel takes
    client.send(&bulk_request(&["PING"]).repeat(7_000));
    drop(client);
    wait_until_waiting(&cluster.nodes[0], 0);
    assert_eq!(cluster.client().text(&["RPUSH", "queue", "kept"]), ":1\r\n");
}

#[test]
fn c2_a_half_closed_client_gets_what_is_there_already_and_waits_for_nothing() {
    let cluster = Cluster::start(1);
    let mut other = cluster.client();
    for _ in 0..50 {
        other.call(&["RPUSH", "queue", "a", "b"]);
        let mut client = cluster.client();
        let lines: [&[&str]; 5] = [
            &["PING"],
            &["BLPOP", "queue", "0"],
            &["BRPOP", "queue", "0"],
            &["BLPOP", "queue", "0"],
            &["RPUSH", "queue", "never"],
        ];
        client.send(&lines.iter().flat_map(|args| bulk_request(args)).collect::<Vec<u8>>());
        client.finish_sending();
        let expected = [b"+PONG\r\n".to_vec(), popped("queue", "a"), popped("queue", "b")].concat();
        assert_eq!(String::from_utf8_lossy(&client.rest()), String::from_utf8_lossy(&expected));
    }
    assert_eq!(other.text(&["EXISTS", "queue"]), ":0\r\n");
    wait_for("the clients to be forgotten", || {
        let snapshot = cluster.control().snapshot();
        (snapshot.client_connections, snapshot.blocked_clients) == (1, 0)
    });
}

#[test]
fn c8_more_than_the_limit_are_answered_an_error() {
    let cluster = Cluster::start_with(1, |settings| settings.limits.dedicated_connections = 2).with_admin();
    let server = &cluster.nodes[0];
    let first = waiter(cluster.client(), "BLPOP k 0");
    let mut second = waiter(cluster.client(), "BLPOP k 0");
    wait_until_waiting(server, 2);
    let mut third = cluster.client();
    let refused = third.text(&["BLPOP", "k", "0"]);
    assert!(refused.starts_with("-ERR") && refused.contains("limits.dedicated_connections"), "{refused}");
    assert_eq!(third.text(&["PING"]), "+PONG\r\n");
    assert_eq!(cluster.http().get("/v1/stats").ok()["blocked_clients"], 2);
    assert!(cluster.http().get("/metrics").text.contains("\nringway_blocked_clients 2\n"));
    drop(first);
    wait_until_waiting(server, 1);
    wait_for("its place to be free", || cluster.http().get("/v1/stats").ok()["blocked_clients"] == 1);
    let mut third = waiter(third, "BLPOP k 0");
    wait_until_waiting(server, 2);
    cluster.client().call(&["RPUSH", "k", "a", "b"]);
    assert_eq!(second.reply(), popped("k", "a"));
    assert_eq!(third.reply(), popped("k", "b"));
}

#[test]
fn c8_a_thousand_that_wait_disturb_nobody() {
    const CLIENTS: usize = 1000;
    let cluster = Cluster::start(2);
    let mut clients: Vec<(String, RawClient)> = (0..CLIENTS)
        .map(|n| {
            let key = format!("mine:{n}");
            let client = waiter(cluster.client(), &format!("BLPOP {key} 0"));
            (key, client)
        })
        .collect();
    wait_for("all to wait", || cluster.nodes.iter().map(waiting).sum::<usize>() == CLIENTS);
    let mut other = cluster.client();
    for n in 0..2000 {
        let (key, value) = (format!("other:{n}"), n.to_string());
        assert_eq!(other.text(&["SET", &key, &value]), "+OK\r\n");
        assert_eq!(other.text(&["GET", &key]), format!("${}\r\n{value}\r\n", value.len()));
    }
    assert_eq!(cluster.control().snapshot().blocked_clients, CLIENTS as u64);
    for (key, client) in clients.iter_mut().skip(1).step_by(2) {
        assert_eq!(other.text(&["RPUSH", key, key]), ":1\r\n");
        assert_eq!(client.reply(), popped(key, key));
    }
    drop(clients);
    wait_for("nobody to wait", || cluster.nodes.iter().map(waiting).sum::<usize>() == 0);
    wait_for("the clients to be forgotten", || cluster.control().snapshot().client_connections == 1);
    assert_eq!(other.text(&["PING"]), "+PONG\r\n");
}

#[test]
fn a1_a_node_that_dies_ends_the_wait() {
    let mut cluster = Cluster::start(2);
    let mut client = waiter(cluster.client(), &format!("BLPOP {} 0", cluster.key_of("cache-1")));
    let mut healthy = waiter(cluster.client(), &format!("BLPOP {} 0", cluster.key_of("cache-2")));
    cluster.nodes.iter().for_each(|node| wait_until_waiting(node, 1));
    cluster.server_mut("cache-1").kill();
    let reply = client.text_reply();
    assert!(reply.starts_with("-UNKNOWN node 'cache-1'"), "{reply}");
    cluster.wait_state("cache-1", NodeState::Down);
    let reply = client.text(&["BLPOP", &cluster.key_of("cache-1"), "0"]);
    assert!(reply.starts_with("-NOTSENT node 'cache-1'"), "{reply}");
    let key = cluster.key_of("cache-2");
    client.call(&["RPUSH", &key, "v"]);
    assert_eq!(healthy.reply(), popped(&key, "v"), "nobody else is concerned");
}

#[test]
fn a3_a_node_that_stands_still_ends_the_wait_and_takes_nothing_later() {
    let node = RedisServer::start();
    let harness = Harness::hasty(&[("cache-1", node.address())]);
    harness.wait_usable("cache-1");
    let mut client = waiter(harness.client(), "BLPOP k 0");
    wait_until_waiting(&node, 1);
    node.pause();
    let reply = client.text_reply();
    assert!(reply.starts_with("-UNKNOWN node 'cache-1'"), "{reply}");
    harness.wait_state("cache-1", NodeState::Down);
    let reply = client.text(&["BLPOP", "k", "0"]);
    assert!(reply.starts_with("-NOTSENT node 'cache-1'"), "{reply}");
    node.resume();
    harness.wait_usable("cache-1");
    assert_eq!(client.text(&["RPUSH", "k", "kept"]), ":1\r\n");
    assert_eq!(client.call(&["BLPOP", "k", "1"]), popped("k", "kept"));
}

#[test]
fn client_unblock_ends_a_wait_from_any_client() {
    let cluster = Cluster::start_with(1, |settings| settings.threads = 2);
    let server = &cluster.nodes[0];
    let mut others: Vec<RawClient> = (0..4).map(|_| cluster.client()).collect();
    for (n, other) in others.iter_mut().enumerate() {
        for (wait, nil) in [("BLPOP k 0", "*-1\r\n"), ("BLMOVE k d LEFT LEFT 0", "*-1\r\n")] {
            let mut client = cluster.client();
            let id = id_of(&mut client);
            assert_eq!(other.text(&["CLIENT", "UNBLOCK", &id]), ":0\r\n", "it does not wait");
            let mut client = waiter(client, wait);
            wait_until_waiting(server, 1);
            let mut words = vec!["CLIENT", "UNBLOCK", &id];
            words.extend(["timeout"].iter().filter(|_| n % 2 == 0));
            assert_eq!(other.text(&words), ":1\r\n");
            assert_eq!(client.text_reply(), nil);
            let mut client = waiter(client, wait);
            wait_until_waiting(server, 1);
            assert_eq!(other.text(&["CLIENT", "UNBLOCK", &id, "ERROR"]), ":1\r\n");
            assert_eq!(client.text_reply(), "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
            assert_eq!(other.text(&["CLIENT", "UNBLOCK", &id]), ":0\r\n", "it does not wait any more");
            assert_eq!(client.text(&["PING"]), "+PONG\r\n");
        }
    }
    // what comes behind it runs after it
    let mut client = cluster.client();
    let id = id_of(&mut client);
    let mut client = waiter(client, "BLPOP k 0");
    wait_until_waiting(server, 1);
    let other = &mut others[0];
    other.send(&[bulk_request(&["CLIENT", "UNBLOCK", &id]), bulk_request(&["RPUSH", "k", "kept"])].concat());
    assert_eq!((other.text_reply(), other.text_reply()), (":1\r\n".into(), ":1\r\n".into()));
    assert_eq!(client.text_reply(), "*-1\r\n");
    assert_eq!(client.text(&["LLEN", "k"]), ":1\r\n");
}

#[test]
fn f4_a_drain_does_not_wait_for_those_who_wait() {
    let nodes = [RedisServer::start()];
    let mut settings = Settings::new(specs(&nodes));
    settings.limits.drain = Duration::from_secs(60);
    let mut harness = Harness::start(settings);
    harness.wait_usable("cache-1");
    let mut clients: Vec<_> = (0..20).map(|_| waiter(harness.client(), "BLPOP k 0")).collect();
    wait_until_waiting(&nodes[0], clients.len());
    // it waits behind another command that is answered
    let mut late = harness.client();
    late.send(&[bulk_request(&["PING"]), bulk_request(&["BLPOP", "k", "0"])].concat());
    assert_eq!(late.text_reply(), "+PONG\r\n");
    let begun = Instant::now();
    harness.drain();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    for client in clients.iter_mut().chain([&mut late]) {
        assert!(
            matches!(client.try_reply(Duration::from_secs(30)), Err(NoReply::Closed(rest)) if rest.is_empty())
        );
    }
    wait_until_waiting(&nodes[0], 0);
}

#[test]
fn i9_connections_of_those_who_waited_are_used_again() {
    let cluster = Cluster::start_with(1, |settings| settings.threads = 1);
    let connects = cluster.node("cache-1").connects;
    let mut client = cluster.client();
    for n in 0..100 {
        client.call(&["RPUSH", "k", &n.to_string()]);
        assert_eq!(client.call(&["BLPOP", "k", "0"]), popped("k", &n.to_string()));
        assert_eq!(client.text(&["BLPOP", "k", "0.001"]), "*-1\r\n");
        assert!(client.text(&["BLPOP", "k", "-1"]).starts_with("-ERR timeout is negative"));
    }
    assert_eq!(cluster.node("cache-1").connects, connects + 1, "one connection served them all");
}

#[test]
fn c2_a_half_closed_client_gets_all_of_a_long_reply_that_it_waited_for() {
    let cluster = Cluster::start_with(1, |settings| settings.limits.reply_soft_bytes = 1024);
    let mut producer = cluster.client();
    // far more than the kernel holds for a client that does not read; how much is left with the proxy varies
    for len in (0..8).map(|n| (16 << 20) + n * 200_000) {
        producer.call(&[b"RPUSH", &b"queue"[..], &vec![b'v'; len]]);
        let mut client = waiter(cluster.client(), "BLPOP queue 0");
        let expected = popped("queue", "").len() - 1 + len.to_string().len() + len;
        let mut got = 0;
        wait_for("it to wait", || cluster.control().snapshot().blocked_clients == 1);
        while cluster.control().snapshot().blocked_clients == 1 {
            got += client.bytes(16 * 1024).len();
        }
        client.finish_sending();
        assert_eq!(got + client.rest().len(), expected, "{len}");
    }
}
