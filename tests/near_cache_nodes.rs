//! Answers that are kept, when nodes move, stand still, refuse or are lost; and what operators see of them.

use std::time::{Duration, Instant};

use ringway_proxy::settings::{NearCacheSettings, NodeSpec, Secret, Settings};

use crate::near_cache::{LONG, answered_here, hits, keeping, keeps_long, kept};
use crate::support::byte_proxy::{ByteProxy, Wire};
use crate::support::frame::bulk_request;
use crate::support::harness::{named, node_name, patient, specs};
use crate::support::{Cluster, Harness, RedisServer, wait_for};

#[test]
fn a_database_that_a_node_does_not_have_is_no_reason_to_keep_nothing() {
    let server = RedisServer::start_with(&["--databases", "1"]);
    let mut settings = patient(specs(std::slice::from_ref(&server)));
    keeps_long(&mut settings);
    let harness = Harness::start(settings);
    harness.wait_usable("cache-1");
    let (mut zero, mut five) = (harness.client(), harness.client());
    five.call(&["SELECT", "5"]);
    zero.call(&["SET", "k", "v"]);
    for _ in 0..20 {
        assert!(five.text(&["GET", "k"]).starts_with("-NOTSENT"));
        assert_eq!(kept(&harness, &mut zero, &["GET", "k"]), "$1\r\nv\r\n");
    }
}

#[test]
fn what_is_too_long_is_the_nodes_to_answer() {
    let mut settings = keeping(LONG);
    settings.value_bytes = 1000;
    let cluster = Cluster::start_with(1, |all| all.near_cache = Some(settings));
    let mut client = cluster.client();
    let (long, short) = ("v".repeat(1000), "v".repeat(900));
    client.call(&["SET", "long", &long]);
    client.call(&["SET", "short", &short]);
    kept(&cluster, &mut client, &["GET", "short"]);
    let (before, bytes) = (hits(&cluster), cluster.node("cache-1").bytes_out);
    (0..50).for_each(|_| assert_eq!(client.text(&["GET", "long"]), format!("$1000\r\n{long}\r\n")));
    assert_eq!(hits(&cluster), before);
    // 50 reads, and one that found out
    assert!(cluster.node("cache-1").bytes_out - bytes < 60 * 25);
}

#[test]
fn an_mget_of_long_values_is_the_nodes_to_answer() {
    let cluster = Cluster::start_with(2, keeps_long);
    let mut client = cluster.client();
    let keys: Vec<String> = (0..10).map(|key| format!("key:{key}")).collect();
    let value = "v".repeat(40_000);
    for key in &keys {
        client.call(&["SET", key, &value]);
        kept(&cluster, &mut client, &["GET", key]);
    }
    let mget = |keys: &'static [usize]| -> Vec<String> {
        ["MGET".to_owned()].into_iter().chain(keys.iter().map(|key| format!("key:{key}"))).collect()
    };
    // 200,000 bytes are put together here, 280,000 are passed on; what is not given does not count
    let few = mget(&[0, 1, 2, 3, 4]);
    let reply = kept(&cluster, &mut client, &few.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(reply, format!("*5\r\n{}", format!("$40000\r\n{value}\r\n").repeat(5)));
    let (before, here) = (hits(&cluster), answered_here(&cluster, "mget"));
    for _ in 0..20 {
        let reply = client.text(&mget(&[0, 1, 2, 3, 4, 5, 6]));
        assert_eq!(reply, format!("*7\r\n{}", format!("$40000\r\n{value}\r\n").repeat(7)));
    }
    assert_eq!((hits(&cluster), answered_here(&cluster, "mget")), (before, here));
}

#[test]
fn i7_what_is_given_at_once_is_a_part_of_what_a_client_may_leave_unread() {
    let cluster = Cluster::start_with(1, |settings| {
        let near = NearCacheSettings { value_bytes: 1 << 20, ..keeping(LONG) };
        (settings.threads, settings.near_cache) = (1, Some(near));
        settings.limits.reply_soft_bytes = 64 * 1024;
        settings.limits.reply_hard_bytes = 512 * 1024;
    });
    let mut client = cluster.client();
    client.call(&["SET", "short", &"v".repeat(15_000)]);
    client.call(&["SET", "long", &"v".repeat(140_000)]);
    kept(&cluster, &mut client, &["MGET", "short", "short"]);
    let here = || (answered_here(&cluster, "get"), answered_here(&cluster, "mget"));
    let before = here();
    let mut nine = vec!["MGET"];
    nine.resize(10, "short");
    for _ in 0..20 {
        assert_eq!(client.call(&["GET", "long"]).len(), 9 + 140_000 + 2);
        assert_eq!(client.call(&nine).len(), 4 + 9 * (8 + 15_000 + 2));
    }
    assert_eq!(here(), before);
}

#[test]
fn i7_who_reads_nothing_is_given_no_more_of_what_is_kept_than_nodes_would_give() {
    let cluster = Cluster::start_with(1, |settings| {
        keeps_long(settings);
        settings.threads = 1;
    });
    let mut client = cluster.client();
    client.call(&["SET", "k", &"v".repeat(15_000)]);
    kept(&cluster, &mut client, &["MGET", "k"]);
    let (mut slow, requests) = (cluster.client(), 4_000);
    let before = answered_here(&cluster, "mget");
    slow.send(&bulk_request(&["MGET", "k"]).repeat(requests));
    // so long that its room would have grown several times
    std::thread::sleep(Duration::from_millis(1500));
    let held = cluster.control().snapshot().memory_bytes;
    assert!(held < 12 << 20, "{held}");
    (0..requests).for_each(|_| assert_eq!(slow.reply().len(), 4 + 8 + 15_000 + 2));
    assert!(answered_here(&cluster, "mget") > before + 100, "many of them were answered here");
}

#[test]
fn where_next_to_nothing_is_short_enough_to_be_kept_that_is() {
    let mut settings = keeping(LONG);
    settings.value_bytes = 4;
    let cluster = Cluster::start_with(1, |all| all.near_cache = Some(settings));
    let mut client = cluster.client();
    client.call(&["SET", "long", "value"]);
    (0..20).for_each(|_| assert_eq!(client.text(&["GET", "long"]), "$5\r\nvalue\r\n"));
    assert_eq!(kept(&cluster, &mut client, &["STRLEN", "long"]), ":5\r\n");
    assert_eq!(cluster.control().snapshot().near.keys, 1);
}

#[test]
fn keys_that_move_with_the_ring_are_read_where_they_are() {
    let servers = [RedisServer::start(), RedisServer::start(), RedisServer::start()];
    let mut settings = patient(specs(&servers[..2]));
    keeps_long(&mut settings);
    let harness = Harness::start(settings);
    let mut client = harness.client();
    let keys: Vec<String> = (0..60).map(|key| format!("key:{key}")).collect();
    keys.iter().for_each(|key| drop(client.call(&["SET", key, "old"])));
    keys.iter().for_each(|key| drop(kept(&harness, &mut client, &["GET", key])));
    servers[2].call::<()>(&["SET", "unused", "1"]);
    harness.apply(specs(&servers));
    let moved: Vec<&String> = keys.iter().filter(|key| harness.owner(key) == node_name(2)).collect();
    assert!(!moved.is_empty());
    for key in &keys {
        let expected = if moved.contains(&key) { "$-1\r\n" } else { "$3\r\nold\r\n" };
        assert_eq!(client.text(&["GET", key]), expected, "{key}");
        assert_eq!(kept(&harness, &mut client, &["GET", key]), expected, "{key}");
    }
    // back, and the keys that were written there are brought along
    moved.iter().for_each(|key| drop(client.call(&["SET", key, "new"])));
    moved.iter().for_each(|key| drop(kept(&harness, &mut client, &["GET", key])));
    harness.apply_and_move(specs(&servers[..2])).expect("it is applied");
    for key in &moved {
        assert_eq!(client.text(&["GET", key]), "$3\r\nnew\r\n", "{key}");
    }
    harness.wait_moved();
    for key in &moved {
        assert_eq!(kept(&harness, &mut client, &["GET", key]), "$3\r\nnew\r\n", "{key}");
    }
}

#[test]
fn a_connection_that_is_lost_takes_with_it_what_was_kept_by_it() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let mut settings = patient(named(&[("n", wire.address())]));
    keeps_long(&mut settings);
    let harness = Harness::start(settings);
    harness.wait_usable("n");
    let mut client = harness.client();
    for round in 0..5 {
        client.call(&["SET", "k", &round.to_string()]);
        kept(&harness, &mut client, &["GET", "k"]);
        // nothing that the node says from now on arrives
        wire.set(Wire::Hold);
        server.call::<()>(&["SET", "k", "new"]);
        wire.hang_up();
        wire.set(Wire::Plain);
        wait_for("the new value", || client.text(&["GET", "k"]) == "$3\r\nnew\r\n");
    }
}

#[test]
fn nothing_is_answered_for_longer_of_a_node_that_stands_still_than_the_settings_say() {
    let max_age = Duration::from_millis(300);
    let server = RedisServer::start();
    let mut settings = Settings::new(specs(std::slice::from_ref(&server)));
    settings.timeouts.operation = Duration::from_millis(500);
    settings.near_cache = Some(keeping(max_age));
    let harness = Harness::start(settings);
    harness.wait_usable("cache-1");
    let mut client = harness.client();
    client.call(&["SET", "k", "v"]);
    kept(&harness, &mut client, &["GET", "k"]);
    server.pause();
    let stopped = Instant::now();
    loop {
        let asked = Instant::now();
        let reply = client.text(&["GET", "k"]);
        if reply.starts_with("-UNKNOWN") || reply.starts_with("-NOTSENT") {
            break;
        }
        assert!(asked < stopped + max_age + Duration::from_millis(50), "{reply}");
    }
    server.resume();
    wait_for("the node", || client.text(&["GET", "k"]) == "$1\r\nv\r\n");
    assert_eq!(kept(&harness, &mut client, &["GET", "k"]), "$1\r\nv\r\n");
}

#[test]
fn a_node_that_may_not_track_answers_itself() {
    let server = RedisServer::start();
    server.call::<()>(&["ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-client|tracking"]);
    let mut node = NodeSpec::new("n", server.address());
    node.credentials.username = Some("app".into());
    node.credentials.password = Some(Secret::new("secret"));
    let mut settings = patient(vec![node]);
    keeps_long(&mut settings);
    let harness = Harness::start(settings);
    harness.wait_usable("n");
    let mut client = harness.client();
    client.call(&["SET", "k", "v"]);
    (0..100).for_each(|_| assert_eq!(client.text(&["GET", "k"]), "$1\r\nv\r\n"));
    assert_eq!(hits(&harness), 0);
}

#[test]
fn operators_see_what_is_kept() {
    let cluster = Cluster::start_with(2, keeps_long).with_admin();
    let mut client = cluster.client();
    client.call(&["SET", "k", "v"]);
    client.call(&[&b"SET"[..], b"\xff", b"v"]);
    (0..3).for_each(|_| drop(kept(&cluster, &mut client, &["GET", "k"])));
    let before = hits(&cluster);
    wait_for("a kept answer", || {
        client.call(&[&b"GET"[..], b"\xff"]);
        hits(&cluster) > before
    });
    let told = cluster.http().get("/v1/near-cache").ok();
    assert_eq!((&told["enabled"], &told["keys_in_all"]), (&true.into(), &2.into()));
    assert_eq!((&told["keys"][0]["key"], &told["keys"][0]["hits"]), (&"k".into(), &3.into()));
    assert_eq!(told["keys"][0]["node"], cluster.owner("k"));
    assert_eq!(told["keys"][1]["key_base64"], "/w==");
    assert_eq!(told["hits"], 4);
    assert_eq!(cluster.http().get("/v1/near-cache?limit=1").ok()["keys"].as_array().map(Vec::len), Some(1));
    assert!(cluster.http().get("/v1/near-cache?limit=0").refused(400).contains("from 1 to 1000"));
    let metrics = cluster.http().get("/metrics").text;
    for name in
        ["hits_total 4", "fills_total", "invalidations_total", "keys 2", "bytes", "limit_bytes 16777216"]
    {
        assert!(metrics.contains(&format!("\nringway_near_cache_{name}")), "{name}");
    }
    let without = Cluster::start(1).with_admin();
    assert_eq!(without.http().get("/v1/near-cache").ok()["enabled"], false);
    assert!(!without.http().get("/metrics").text.contains("near_cache"));
}
