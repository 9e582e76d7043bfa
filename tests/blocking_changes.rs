//! Commands that wait while the ring changes: whoever waits is served where the key is now, and nothing is lost.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringway_proxy::settings::{NodeSpec, TopologySpec};

use crate::blocking::{popped, wait_until_waiting, waiter};
use crate::support::harness::specs;
use crate::support::{Cluster, RedisServer, wait_for};

/// The nodes with these weights.
fn weighted(cluster: &Cluster, weights: &[u32]) -> Vec<NodeSpec> {
    let nodes = specs(&cluster.nodes).into_iter().zip(weights);
    nodes.map(|(node, &weight)| NodeSpec { weight, ..node }).collect()
}

/// Keys that a change takes from one node and gives to another.
fn moving(cluster: &Cluster, nodes: &[NodeSpec], from: &str, to: &str, count: usize) -> Vec<String> {
    let ring = cluster.control().topology().spec().ring.clone();
    let planned = cluster.control().plan(TopologySpec { ring, nodes: nodes.to_vec() }).expect("a plan").to;
    let owner = |key: &str| {
        let index = planned.owner(key.as_bytes()).home();
        planned.node(index).expect("a node").name.clone()
    };
    cluster.keys_of(from, "moving:").filter(|key| owner(key) == to).take(count).collect()
}

#[test]
fn f1_whoever_waits_is_served_where_the_key_is_now() {
    let cluster = Cluster::start(2);
    let heavier = weighted(&cluster, &[1, 50]);
    let key = &moving(&cluster, &heavier, "cache-1", "cache-2", 1)[0];
    let stays = cluster.key_of("cache-2");
    let mut client = waiter(cluster.client(), &format!("BLPOP {key} 0"));
    let mut other = waiter(cluster.client(), &format!("BLPOP {stays} 0"));
    cluster.nodes.iter().for_each(|node| wait_until_waiting(node, 1));
    cluster.apply(heavier);
    wait_until_waiting(&cluster.nodes[0], 0);
    wait_until_waiting(&cluster.nodes[1], 2);
    let mut producer = cluster.client();
    producer.call(&["RPUSH", key, "moved"]);
    assert_eq!(client.reply(), popped(key, "moved"));
    producer.call(&["RPUSH", &stays, "stayed"]);
    assert_eq!(other.reply(), popped(&stays, "stayed"));
    assert_eq!(client.text(&["LLEN", key]), ":0\r\n");
}

#[test]
fn f1_whoever_waits_leaves_a_node_that_leaves() {
    let cluster = Cluster::start(3);
    let key = cluster.key_of("cache-3");
    let mut client = waiter(cluster.client(), &format!("BRPOP {key} 0"));
    let mut sorted = waiter(cluster.client3(), &format!("BZMPOP 0 1 {{{key}}}z MIN"));
    wait_until_waiting(&cluster.nodes[2], 2);
    cluster.apply(specs(&cluster.nodes[..2]));
    wait_until_waiting(&cluster.nodes[2], 0);
    let mut producer = cluster.client();
    assert_eq!(producer.text(&["RPUSH", &key, "moved"]), ":1\r\n");
    assert_eq!(client.reply(), popped(&key, "moved"));
    producer.call(&["ZADD", &format!("{{{key}}}z"), "1", "member"]);
    assert!(sorted.text_reply().ends_with("$6\r\nmember\r\n,1\r\n"));
    assert_eq!(cluster.server("cache-3").dbsize(), 0);
}

#[test]
fn f1_whoever_waits_goes_with_a_node_to_its_new_address() {
    let cluster = Cluster::start(2);
    let replacement = RedisServer::start();
    let key = cluster.key_of("cache-1");
    let mut client = waiter(cluster.client(), &format!("BLMOVE {key} {key} LEFT LEFT 0"));
    wait_until_waiting(&cluster.nodes[0], 1);
    let mut nodes = specs(&cluster.nodes);
    nodes[0].address = replacement.address();
    cluster.apply(nodes);
    wait_until_waiting(&replacement, 1);
    wait_until_waiting(&cluster.nodes[0], 0);
    cluster.client().call(&["RPUSH", &key, "v"]);
    assert_eq!(client.text_reply(), "$1\r\nv\r\n");
}

#[test]
fn f1_the_timeout_goes_on_over_a_change() {
    let cluster = Cluster::start(2);
    let (heavier, even) = (weighted(&cluster, &[1, 50]), weighted(&cluster, &[1, 1]));
    let key = &moving(&cluster, &heavier, "cache-1", "cache-2", 1)[0];
    let begun = Instant::now();
    let mut client = waiter(cluster.client(), &format!("BLPOP {key} 2"));
    let mut reader = waiter(cluster.client3(), &format!("XREAD BLOCK 2000 STREAMS {{{key}}}s 0-5"));
    wait_until_waiting(&cluster.nodes[0], 2);
    for nodes in [&heavier, &even, &heavier, &even] {
        cluster.apply(nodes.clone());
        let at = usize::from(cluster.owner(key) == "cache-2");
        // those whose time is over wait nowhere
        wait_for("both to wait there", || {
            crate::blocking::waiting(&cluster.nodes[at]) == 2 || begun.elapsed() > Duration::from_secs(2)
        });
    }
    assert_eq!(client.text_reply(), "*-1\r\n");
    assert_eq!(reader.text_reply(), "_\r\n");
    assert!(begun.elapsed() >= Duration::from_millis(1990), "{:?}", begun.elapsed());
    // it answers for its whole time, not for ever anew
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn f1_a_wait_that_cannot_go_on_says_why() {
    let cluster = Cluster::start(2);
    let heavier = weighted(&cluster, &[1, 3]);
    let keys = moving(&cluster, &heavier, "cache-1", "cache-2", 1);
    let stays = moving(&cluster, &heavier, "cache-1", "cache-1", 1);
    let (moves, stays) = (&keys[0], &stays[0]);
    let mut apart = waiter(cluster.client(), &format!("BLPOP {moves} {stays} 0"));
    let mut from_now = waiter(cluster.client(), &format!("XREAD BLOCK 0 STREAMS {{{moves}}}s $"));
    let mut from_id = waiter(cluster.client(), &format!("XREAD BLOCK 0 STREAMS {{{moves}}}s 5-0"));
    wait_until_waiting(&cluster.nodes[0], 3);
    cluster.apply(heavier);
    let expected =
        "-UNBLOCKED the topology changed: its keys lie on several nodes now; nothing was taken\r\n";
    assert_eq!(apart.text_reply(), expected);
    let reply = from_now.text_reply();
    assert!(reply.starts_with("-UNBLOCKED the topology changed: ") && reply.contains("'$'"), "{reply}");
    wait_until_waiting(&cluster.nodes[1], 1);
    let mut producer = cluster.client();
    producer.call(&["XADD", &format!("{{{moves}}}s"), "5-1", "f", "v"]);
    assert!(from_id.text_reply().contains("$3\r\n5-1\r\n"));
    producer.call(&["RPUSH", moves, "kept"]);
    assert_eq!(apart.text(&["LLEN", moves]), ":1\r\n");
}

#[test]
fn f1_a_node_that_cannot_be_asked_leaves_it_unknown_whether_it_took_an_element() {
    let cluster = Cluster::start_with(2, |settings| {
        settings.timeouts.connect = Duration::from_millis(500);
        settings.timeouts.operation = Duration::from_secs(1);
    });
    let key = cluster.key_of("cache-2");
    let mut clients: Vec<_> = (0..5).map(|_| waiter(cluster.client(), &format!("BLPOP {key} 0"))).collect();
    wait_until_waiting(&cluster.nodes[1], clients.len());
    cluster.nodes[1].pause();
    cluster.apply(specs(&cluster.nodes[..1]));
    for client in &mut clients {
        let reply = client.text_reply();
        assert!(reply.starts_with("-UNKNOWN node 'cache-2'"), "{reply}");
        assert!(reply.contains("its keys moved to another node"), "{reply}");
        assert_eq!(client.text(&["PING"]), "+PONG\r\n");
    }
    cluster.nodes[1].resume();
}

#[test]
fn a_node_that_refuses_to_end_a_wait_leaves_it_unknown() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    let id = client.text(&["CLIENT", "ID"]).trim_start_matches(':').trim_end().to_owned();
    let mut client = waiter(client, "BLPOP k 0");
    wait_until_waiting(&cluster.nodes[0], 1);
    let _: () = cluster.nodes[0].call(&["ACL", "SETUSER", "default", "-client|unblock"]);
    assert_eq!(cluster.client().text(&["CLIENT", "UNBLOCK", &id]), ":1\r\n");
    let reply = client.text_reply();
    assert!(reply.starts_with("-UNKNOWN node 'cache-1'") && reply.contains("NOPERM"), "{reply}");
    // its connection was closed, and with it the wait
    wait_until_waiting(&cluster.nodes[0], 0);
    // whoever leaves is not kept by it either
    let client = waiter(client, "BLPOP k 0");
    wait_until_waiting(&cluster.nodes[0], 1);
    drop(client);
    wait_until_waiting(&cluster.nodes[0], 0);
    assert_eq!(cluster.client().text(&["RPUSH", "k", "kept"]), ":1\r\n");
}

#[test]
fn f1_hundreds_who_wait_go_with_their_keys() {
    let cluster = Cluster::start(2);
    let keys: Vec<String> = cluster.keys_of("cache-2", "many:").take(300).collect();
    let mut clients: Vec<_> =
        keys.iter().map(|key| (key, waiter(cluster.client(), &format!("BLPOP {key} 0")))).collect();
    wait_until_waiting(&cluster.nodes[1], keys.len());
    cluster.apply(specs(&cluster.nodes[..1]));
    wait_until_waiting(&cluster.nodes[0], keys.len());
    wait_until_waiting(&cluster.nodes[1], 0);
    let mut producer = cluster.client();
    for (key, client) in &mut clients {
        producer.call(&["RPUSH", key, "v"]);
        assert_eq!(client.reply(), popped(key, "v"));
    }
}

#[test]
fn client_unblock_reaches_who_waits_at_another_node_now() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let id = client.text(&["CLIENT", "ID"]).trim_start_matches(':').trim_end().to_owned();
    let mut client = waiter(client, &format!("BLPOP {} 0", cluster.key_of("cache-2")));
    wait_until_waiting(&cluster.nodes[1], 1);
    cluster.apply(specs(&cluster.nodes[..1]));
    wait_until_waiting(&cluster.nodes[0], 1);
    assert_eq!(cluster.client().text(&["CLIENT", "UNBLOCK", &id, "ERROR"]), ":1\r\n");
    assert_eq!(client.text_reply(), "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
}

/// Elements do not move with their queue, so the ring goes back and forth until all are delivered.
#[test]
fn f1_every_element_is_delivered_once_over_ring_changes() {
    const TOKENS: usize = 10_000;
    const SIDE: usize = 20;
    let cluster = Cluster::start(3);
    let rings =
        [weighted(&cluster, &[1, 1, 1]), weighted(&cluster, &[1, 9, 1]), weighted(&cluster, &[9, 1, 1])];
    let (delivered, produced) = (Mutex::new(HashSet::new()), AtomicUsize::new(0));
    let count = || delivered.lock().expect("no panic").len();
    thread::scope(|scope| {
        let mut consumers = Vec::new();
        for n in 0..SIDE {
            let (mut client, delivered) = (cluster.client(), &delivered);
            consumers.push(scope.spawn(move || {
                loop {
                    let reply = client.text(&["BLPOP", &format!("queue:{n}"), "0"]);
                    let element = reply.split("\r\n").nth(4).unwrap_or_else(|| panic!("{reply}")).to_owned();
                    if element == "end" {
                        return;
                    }
                    assert!(delivered.lock().expect("no panic").insert(element), "twice: {reply}");
                }
            }));
            let (mut client, produced) = (cluster.client(), &produced);
            scope.spawn(move || {
                for token in 0..TOKENS / SIDE {
                    let queue = format!("queue:{}", (n + token) % SIDE);
                    let reply = client.text(&["RPUSH", &queue, &format!("{n}:{token}")]);
                    assert!(reply.starts_with(':'), "{reply}");
                    produced.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let limit = Instant::now() + Duration::from_secs(60);
        for nodes in rings.iter().cycle() {
            cluster.apply(nodes.clone());
            // one change after so many elements, or after a while when those that are left lie elsewhere
            let (before, since) = (count(), Instant::now());
            while count() < TOKENS && count() < before + 100 && since.elapsed() < Duration::from_millis(50) {
                thread::sleep(Duration::from_millis(1));
            }
            if count() == TOKENS
                || Instant::now() > limit
                || consumers.iter().any(|consumer| consumer.is_finished())
            {
                break;
            }
        }
        let mut client = cluster.client();
        for n in 0..SIDE {
            client.call(&["RPUSH", &format!("queue:{n}"), "end"]);
        }
    });
    assert_eq!((produced.into_inner(), count()), (TOKENS, TOKENS));
    assert_eq!(cluster.nodes.iter().map(RedisServer::dbsize).sum::<usize>(), 0, "nothing is left over");
}

#[test]
fn f1_a_reply_that_has_begun_comes_whole_from_a_node_that_leaves() {
    // far more than the kernel holds for a client that does not read
    const LEN: usize = 32 << 20;
    let value = vec![b'v'; LEN];
    for watch in [false, true] {
        let cluster = Cluster::start(2);
        let key = cluster.key_of("cache-2");
        let mut client = cluster.client();
        client.call(&[b"RPUSH", key.as_bytes(), &value]);
        if watch {
            for line in [&["WATCH", &key][..], &["MULTI"], &["LPOP", &key]] {
                client.call(line);
            }
        }
        let received = || cluster.node("cache-2").bytes_in;
        let before = received();
        let command = if watch { "EXEC".to_owned() } else { format!("BLPOP {key} 0") };
        let mut client = waiter(client, &command);
        wait_for("the reply to begin", || received() > before + 64 * 1024);
        cluster.apply(specs(&cluster.nodes[..1]));
        let reply = client.reply();
        assert!(
            reply.len() > LEN,
            "watch {watch}: {}",
            String::from_utf8_lossy(&reply[..reply.len().min(200)])
        );
        assert_eq!(client.text(&["PING"]), "+PONG\r\n");
    }
}
