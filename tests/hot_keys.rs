//! Which keys clients name most often: counted for a while when an operator asks.

use std::cmp::Reverse;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringway_proxy::control::{HotKeys, KeyCounting};
use rustix::process::Signal;

use crate::near_cache::{keeps_long, kept};
use crate::support::rig::Rig;
use crate::support::{Cluster, Harness, wait_for};

/// Counts from now on, on every worker.
fn count(harness: &Harness) -> KeyCounting {
    let counting = harness.control().count_keys().expect("nobody else counts");
    everybody_heard(harness);
    counting
}

/// What is asked of all workers has come behind what they were told before.
fn everybody_heard(harness: &Harness) {
    harness.client().call(&["CLIENT", "LIST"]);
}

fn ask_for_a_minute(admin: SocketAddr) -> TcpStream {
    let mut asker = TcpStream::connect(admin).expect("the admin API");
    asker.write_all(b"GET /v1/hot-keys?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    asker
}

/// The keys with accesses and writes: the most often named first, equals in the order of their names.
fn told(found: &HotKeys) -> Vec<(&str, u64, u64)> {
    assert_eq!((found.missed, found.unnamed), (0, 0));
    assert!(found.keys.is_sorted_by_key(|key| Reverse(key.accesses)));
    let told = found.keys.iter().map(|key| {
        assert_eq!(key.missed, 0);
        (std::str::from_utf8(&key.key).expect("text"), key.accesses, key.writes)
    });
    let mut told: Vec<_> = told.collect();
    told.sort_by_key(|(key, accesses, _)| (Reverse(*accesses), *key));
    told
}

#[test]
fn keys_are_counted_by_commands_that_were_accepted() {
    let cluster = Cluster::start_with(3, |settings| settings.threads = 2);
    // those who are connected before, on either worker, and one who comes later
    let mut early = [cluster.client(), cluster.client()];
    early[0].call(&["SET", "before", "1"]);
    let counting = count(&cluster);
    let mut late = cluster.client();
    for client in early.iter_mut().chain([&mut late]) {
        client.call(&["SET", "a", "1"]);
        client.call(&["MGET", "a", "b", "a", "c"]);
        client.call(&["EVAL_RO", "return 1", "1", "b"]);
    }
    let client = &mut late;
    // each of a transaction once, scripts and what waits by the keys that they name
    for words in [&["MULTI"][..], &["INCR", "{t}n"], &["GET", "{t}n"], &["EXEC"]] {
        client.call(words);
    }
    client.call(&["EVAL", "return 1", "1", "script"]);
    client.call(&["BLPOP", "list", "0.01"]);
    // what only looks at a key is no write, what may store into it is one; a channel is no key
    for words in
        [&["WATCH", "{u}seen"][..], &["UNWATCH"], &["PFCOUNT", "{u}log"], &["PUBLISH", "channel", "1"]]
    {
        client.call(words);
    }
    client.call(&["SUNIONSTORE", "{u}to", "{u}from"]);
    // no keys, refused, unknown, wrong: none of it names a key
    for words in [&["PING"][..], &["CLUSTER", "KEYSLOT", "a"], &["NOSUCH", "a"], &["GET"], &["MSET", "a"]] {
        client.call(words);
    }
    let found = cluster.block_on(counting.finish()).expect("it goes on");
    let expected = [
        ("a", 9, 3),
        ("b", 6, 0),
        ("c", 3, 0),
        ("{t}n", 2, 1),
        ("list", 1, 1),
        ("script", 1, 1),
        ("{u}from", 1, 0),
        ("{u}log", 1, 1),
        ("{u}seen", 1, 0),
        ("{u}to", 1, 1),
    ];
    assert_eq!(told(&found), expected);
    assert_eq!((found.accesses, found.commands), (26, 16));
    for (node, count) in found.topology.nodes().iter().zip(&found.nodes) {
        let of_node = expected.iter().filter(|(key, ..)| cluster.owner(key) == node.name);
        assert_eq!(*count, of_node.map(|(_, accesses, _)| accesses).sum::<u64>(), "{}", node.name);
    }
    // and no longer
    client.call(&["SET", "after", "1"]);
    let again = count(&cluster);
    assert_eq!(told(&cluster.block_on(again.finish()).expect("it goes on")), []);
}

#[test]
fn what_a_user_may_not_do_is_not_counted() {
    let cluster = Cluster::start_with(1, |settings| {
        settings.allowed_commands = ["acl|setuser".to_owned()].into_iter().collect();
    });
    let mut client = cluster.client();
    client.call(&["ACL", "SETUSER", "shop", "on", ">secret", "~shop:*", "+@all"]);
    client.call(&["AUTH", "shop", "secret"]);
    let counting = count(&cluster);
    assert!(client.text(&["GET", "other"]).starts_with("-NOPERM"));
    client.call(&["GET", "shop:1"]);
    assert_eq!(told(&cluster.block_on(counting.finish()).expect("it goes on")), [("shop:1", 1, 0)]);
}

#[test]
fn what_is_answered_from_the_near_cache_counts_too() {
    let cluster = Cluster::start_with(1, keeps_long);
    let mut client = cluster.client();
    client.call(&["SET", "k", "v"]);
    kept(&cluster, &mut client, &["GET", "k"]);
    let before = cluster.control().snapshot().near.hits;
    let counting = count(&cluster);
    (0..50).for_each(|_| assert_eq!(client.text(&["GET", "k"]), "$1\r\nv\r\n"));
    assert_eq!(told(&cluster.block_on(counting.finish()).expect("it goes on")), [("k", 50, 0)]);
    assert_eq!(cluster.control().snapshot().near.hits, before + 50);
}

#[test]
fn keys_named_equally_often_stand_by_their_node_and_not_by_their_name() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let counting = count(&cluster);
    // all on one node, and as many of each kind
    let tag = cluster.key_of("cache-2");
    let others: Vec<String> = cluster.keys_of("cache-2", "other:").take(50).collect();
    for (at, other) in others.iter().enumerate() {
        client.call(&["GET", &format!("{{{tag}}}:{at}")]);
        client.call(&["GET", other]);
    }
    let elsewhere: Vec<String> = cluster.keys_of("cache-1", "a:").take(20).collect();
    elsewhere.iter().for_each(|key| drop(client.call(&["GET", key])));
    let found = cluster.block_on(counting.finish()).expect("it goes on");
    assert_eq!(found.keys.len(), 120);
    let (first, last) = found.keys.split_at(100);
    assert!(first.iter().all(|key| !key.key.starts_with(b"a:")), "those of the node that was asked most");
    assert!(last.iter().all(|key| key.key.starts_with(b"a:")));
    // 20 of 100 of which half have the tag: none of them has it in one case of 10^6, and the order is always the same
    let tagged = first[..20].iter().filter(|key| key.key.starts_with(b"{")).count();
    assert!((1..20).contains(&tagged), "{tagged}");
}

#[test]
fn with_another_ring_counting_begins_anew() {
    // of two workers at least one has no client
    let cluster = Cluster::start_with(3, |settings| settings.threads = 2);
    let mut client = cluster.client();
    let counting = count(&cluster);
    client.call(&["GET", "a"]);
    let mut nodes: Vec<_> = cluster.control().topology().spec().nodes.clone();
    nodes.pop();
    cluster.apply(nodes);
    everybody_heard(&cluster);
    let begun = Instant::now();
    client.call(&["GET", "b"]);
    std::thread::sleep(Duration::from_millis(50));
    let least = begun.elapsed();
    let found = cluster.block_on(counting.finish()).expect("it goes on");
    assert!(found.duration >= least, "{:?}, {least:?}", found.duration);
    assert_eq!((told(&found), found.topology.epoch(), found.nodes.len()), (vec![("b", 1, 0)], 2, 2));
}

#[test]
fn operators_ask_over_http_while_clients_go_on() {
    let cluster = Cluster::start_with(3, |settings| settings.threads = 2).with_admin();
    let (hot, other) = (cluster.key_of("cache-2"), cluster.key_of("cache-3"));
    let long = "long".repeat(1000);
    let over = AtomicBool::new(false);
    let found = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..2)
            .map(|_| {
                let (mut client, over, hot, other, long) = (cluster.client(), &over, &hot, &other, &long);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        (0..4).for_each(|_| drop(client.call(&["GET", hot])));
                        client.call(&["SET", other, "v"]);
                        client.call(&[&b"GET"[..], b"\xff\x00"]);
                        client.call(&["GET", long]);
                    }
                })
            })
            .collect();
        let found = cluster.http().get("/v1/hot-keys?seconds=1&limit=3").ok();
        over.store(true, Ordering::Relaxed);
        askers.into_iter().for_each(|asker| asker.join().expect("a client"));
        found
    });
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{value}"));
    assert!(number(&found["seconds"]) >= 1.0, "{found}");
    assert_eq!((&found["epoch"], &found["missed"]), (&1.into(), &0.into()));
    assert!(number(&found["unnamed"]) >= 1.0, "{found}");
    assert_eq!(found["commands"], found["accesses"]);
    let keys = found["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 3, "{found}");
    assert!(keys.iter().any(|key| key["key_base64"] == "/wA="), "{found}");
    assert_eq!((&keys[0]["key"], &keys[0]["node"]), (&hot.as_str().into(), &"cache-2".into()));
    assert_eq!((&keys[0]["writes"], &keys[0]["missed"]), (&0.into(), &0.into()));
    // four of seven, but for those who were in the midst of their seven at either end
    let share = number(&keys[0]["accesses"]) / number(&found["accesses"]);
    assert!((number(&keys[0]["percent"]) / 100.0 - share).abs() < 0.001, "{found}");
    assert!(number(&found["accesses"]) < 100.0 || (0.5..0.65).contains(&share), "{found}");
    let of_node = number(&keys[0]["accesses"]) / number(&found["nodes"][1]["accesses"]);
    assert!((number(&keys[0]["node_percent"]) / 100.0 - of_node).abs() < 0.001, "{found}");
    let nodes = found["nodes"].as_array().expect("nodes");
    let shares = nodes.iter().map(|node| number(&node["share_percent"])).sum::<f64>();
    assert!((shares - 100.0).abs() < 0.001, "{found}");
    assert_eq!(
        nodes.iter().map(|node| number(&node["accesses"])).sum::<f64>(),
        number(&found["accesses"]),
        "{found}"
    );
    for (query, words) in [
        ("seconds=0", "number of seconds from 1 to 60"),
        ("seconds=61", "number of seconds from 1 to 60"),
        ("limit=1001", "number of keys from 1 to 1000"),
        ("second=1", "did you mean `seconds`"),
    ] {
        let refused = cluster.http().get(&format!("/v1/hot-keys?{query}")).refused(400);
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn one_at_a_time_and_it_ends_with_whoever_asked() {
    let cluster = Cluster::start(1).with_admin();
    let http = cluster.http();
    let is_counting = || cluster.control().count_keys().is_none();
    // one of them; whoever comes while is looked is refused
    let mut askers = Vec::new();
    wait_for("counting", || {
        askers.push(ask_for_a_minute(http.address()));
        is_counting()
    });
    let busy = http.get("/v1/hot-keys?seconds=1").refused(409);
    assert!(busy.contains("counted already"), "{busy}");
    // it hangs up: nothing is counted any more, and the next one may
    drop(askers);
    wait_for("the end of it", || !is_counting());
    everybody_heard(&cluster);
    cluster.client().call(&["GET", "k"]);
    assert_eq!(http.get("/v1/hot-keys?seconds=1").ok()["keys"], serde_json::json!([]));
}

#[test]
fn many_keys_are_counted_in_bounded_memory_and_the_hot_one_is_found() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let counting = count(&cluster);
    let mut batch = Vec::new();
    for round in 0..40 {
        batch.clear();
        for key in 0..500 {
            write!(batch, "GET rare:{round}:{key}\r\n").expect("memory");
            if key % 10 == 0 {
                batch.extend_from_slice(b"GET hot\r\n");
            }
        }
        client.send(&batch);
        (0..550).for_each(|_| drop(client.reply()));
    }
    let found = cluster.block_on(counting.finish()).expect("it goes on");
    assert_eq!((found.accesses, found.keys.len() <= 2 * 4096), (22_000, true));
    let first = &found.keys[0];
    assert_eq!(first.key, b"hot");
    assert!(first.accesses <= 2000 && first.accesses + first.missed >= 2000, "{first:?}");
    // no more than one in as many as there are places
    assert!(found.missed <= 22_000 / 4097, "{}", found.missed);
}

#[test]
fn a_proxy_that_ends_does_not_wait_for_it() {
    let mut rig = Rig::hasty(1);
    let mut askers = Vec::new();
    wait_for("counting", || {
        askers.push(ask_for_a_minute(rig.program.http().address()));
        rig.program.http().get("/v1/hot-keys?seconds=1").status == 409
    });
    let asked = Instant::now();
    rig.program.signal(Signal::TERM);
    assert!(rig.program.wait().success());
    // the call would have lasted a minute
    assert!(asked.elapsed() < Duration::from_secs(40));
    // whoever had keys counted was told why it is over, the others that keys were counted already
    let answers = askers.iter_mut().map(|asker| {
        let mut answer = String::new();
        asker.read_to_string(&mut answer).expect("an answer");
        answer
    });
    let (over, busy): (Vec<String>, Vec<String>) = answers.partition(|answer| answer.contains("503"));
    assert_eq!(over.len(), 1, "{over:?} {busy:?}");
    assert!(over[0].contains("this process is being stopped"), "{over:?}");
    assert!(busy.iter().all(|answer| answer.contains("counted already")), "{busy:?}");
}
