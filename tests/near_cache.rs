//! Answers that Ringway keeps for keys that are read again and again: what clients read is never older than what any of
//! them was told, and what others change is seen.

use std::time::{Duration, Instant};

use ringway_proxy::settings::{NearCacheSettings, Settings};

use crate::support::frame::{bulk, bulk_request};
use crate::support::random::Random;
use crate::support::{Cluster, Harness, RawClient, RedisServer, wait_for};

/// So long that whatever is seen to change was told by the node.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn keeping(max_age: Duration) -> NearCacheSettings {
    NearCacheSettings { max_age, hot_reads: 1, ..NearCacheSettings::default() }
}

pub(crate) fn keeps_long(settings: &mut Settings) {
    settings.threads = 2;
    settings.near_cache = Some(keeping(LONG));
}

pub(crate) fn hits(harness: &Harness) -> u64 {
    harness.control().snapshot().near.hits
}

/// How often Ringway has answered this command itself.
pub(crate) fn answered_here(harness: &Harness, name: &str) -> u64 {
    let local = harness.control().snapshot().local;
    local.iter().filter(|count| count.command.eq_ignore_ascii_case(name)).map(|count| count.count).sum()
}

/// Reads until the answer is one that was kept; returns it.
pub(crate) fn kept(harness: &Harness, client: &mut RawClient, words: &[&str]) -> String {
    let mut reply = String::new();
    wait_for("a kept answer", || {
        let before = (hits(harness), answered_here(harness, words[0]));
        reply = client.text(words);
        hits(harness) > before.0 && answered_here(harness, words[0]) > before.1
    });
    reply
}

#[test]
fn what_is_kept_is_what_the_node_answers_in_both_protocols() {
    let plain = RedisServer::start();
    let cluster = Cluster::start_with(2, keeps_long);
    let fill: [&[&str]; 8] = [
        &["SET", "s", "value"],
        &["SET", "number", "17"],
        &["HSET", "h", "f", "1", "g", "", "long", "a\r\nb"],
        &["SADD", "set", "one"],
        &["RPUSH", "l", "a", "b", "c"],
        &["ZADD", "z", "1", "a", "2.5", "b", "inf", "c", "1e300", "d", "-0.1", "e"],
        &["ZADD", "lex", "0", "a", "0", "b"],
        &["PFADD", "hll", "a"],
    ];
    let reads: [&[&str]; 52] = [
        &["GET", "s"],
        &["GET", "none"],
        &["get", "number"],
        &["STRLEN", "s"],
        &["GETRANGE", "s", "1", "-2"],
        &["SUBSTR", "s", "0", "0"],
        &["GETBIT", "s", "3"],
        &["BITCOUNT", "s"],
        &["BITCOUNT", "s", "0", "1", "BYTE"],
        &["BITPOS", "s", "1"],
        &["TYPE", "h"],
        &["TYPE", "none"],
        &["HGET", "h", "f"],
        &["HGET", "h", "none"],
        &["HMGET", "h", "f", "none", "long"],
        &["HGETALL", "h"],
        &["HGETALL", "none"],
        &["HKEYS", "h"],
        &["HVALS", "h"],
        &["HLEN", "h"],
        &["HEXISTS", "h", "f"],
        &["HSTRLEN", "h", "long"],
        &["SMEMBERS", "set"],
        &["SMEMBERS", "none"],
        &["SISMEMBER", "set", "one"],
        &["SMISMEMBER", "set", "one", "two"],
        &["SCARD", "set"],
        &["LINDEX", "l", "1"],
        &["LINDEX", "l", "9"],
        &["LLEN", "l"],
        &["LRANGE", "l", "0", "-1"],
        &["LRANGE", "none", "0", "-1"],
        &["ZCARD", "z"],
        &["ZCOUNT", "z", "-inf", "2"],
        &["ZLEXCOUNT", "lex", "-", "+"],
        &["ZSCORE", "z", "b"],
        &["ZSCORE", "z", "none"],
        &["ZMSCORE", "z", "a", "none", "c", "d"],
        &["ZRANK", "z", "b"],
        &["ZREVRANK", "z", "none"],
        &["ZRANGE", "z", "0", "-1"],
        &["ZRANGE", "z", "0", "-1", "WITHSCORES"],
        &["ZRANGE", "z", "(1", "+inf", "BYSCORE", "LIMIT", "0", "2", "WITHSCORES"],
        &["ZRANGE", "none", "0", "-1", "WITHSCORES"],
        &["ZREVRANGE", "z", "0", "1", "WITHSCORES"],
        &["ZRANGEBYSCORE", "z", "-inf", "3"],
        &["ZRANGEBYSCORE", "z", "-inf", "3", "WITHSCORES"],
        &["ZREVRANGEBYSCORE", "z", "+inf", "-inf", "WITHSCORES"],
        &["ZRANGEBYLEX", "lex", "-", "+"],
        &["ZREVRANGEBYLEX", "lex", "+", "-"],
        &["GET", "hll"],
        &["STRLEN", "none"],
    ];
    for words in fill {
        assert_eq!(plain.client().call(words), cluster.client().call(words));
    }
    let named: Vec<String> = reads.iter().map(|words| words[0].to_ascii_lowercase()).collect();
    for row in ringway_proxy::command::all().filter(|row| row.kept) {
        assert!(named.iter().any(|name| *name == row.name), "{} is not tried", row.name);
    }
    for protocol in ["2", "3"] {
        let (mut direct, mut client) = (plain.client(), cluster.client());
        direct.call(&["HELLO", protocol]);
        client.call(&["HELLO", protocol]);
        for words in reads {
            assert_eq!(kept(&cluster, &mut client, words), direct.text(words), "{words:?} in RESP{protocol}");
        }
        // of several nodes, one key twice, one that is not there
        for keys in [&["s"][..], &["s", "number", "none", "s"], &["none", "none"]] {
            let words: Vec<&str> = ["MGET"].iter().chain(keys).copied().collect();
            assert_eq!(
                kept(&cluster, &mut client, &words),
                direct.text(&words),
                "{words:?} in RESP{protocol}"
            );
        }
    }
    // an error is the node's, each time
    let before = hits(&cluster);
    let mut client = cluster.client();
    assert!((0..20).all(|_| client.text(&["GET", "h"]).starts_with("-WRONGTYPE")));
    // so is what MGET makes of it
    (0..20).for_each(|_| assert_eq!(client.text(&["MGET", "s", "h"]), "*2\r\n$5\r\nvalue\r\n$-1\r\n"));
    assert_eq!(hits(&cluster), before);
}

#[test]
fn i2_a_client_reads_what_it_wrote_in_one_pipeline_whatever_is_kept() {
    let cluster = Cluster::start_with(2, keeps_long);
    let mut random = Random::new(17);
    let (mut writer, mut reader) = (cluster.client(), cluster.client());
    let mut values = [None::<u64>; 5];
    let before = hits(&cluster);
    for round in 0..1500 {
        // others keep the keys hot
        let reads: Vec<u8> =
            (0..8).flat_map(|_| bulk_request(&["GET", &format!("k{}", random.below(5))])).collect();
        reader.send(&reads);
        let (mut requests, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..1 + random.below(6) {
            let at = random.below(5);
            let key = format!("k{at}");
            let value_of = |at: usize| {
                let value = values[at].map(|value| bulk(value.to_string().as_bytes()));
                value.unwrap_or_else(|| b"$-1\r\n".to_vec())
            };
            match random.below(10) {
                0 => {
                    values[at] = Some(round);
                    requests.extend(bulk_request(&["SET", &key, &round.to_string()]));
                    expected.extend(b"+OK\r\n");
                }
                1 => {
                    requests.extend(bulk_request(&["DEL", &key]));
                    expected.extend(if values[at].take().is_some() { b":1\r\n" } else { b":0\r\n" });
                }
                2 | 3 => {
                    let other = random.below(5);
                    requests.extend(bulk_request(&["MGET", &key, &format!("k{other}"), &key]));
                    expected.extend(b"*3\r\n");
                    [at, other, at].iter().for_each(|at| expected.extend(value_of(*at)));
                }
                _ => {
                    requests.extend(bulk_request(&["GET", &key]));
                    expected.extend(value_of(at));
                }
            }
        }
        writer.send(&requests);
        assert_eq!(String::from_utf8(writer.bytes(expected.len())), String::from_utf8(expected), "{round}");
        (0..8).for_each(|_| drop(reader.reply()));
    }
    assert!(hits(&cluster) > before + 1000, "{} of them were answered here", hits(&cluster) - before);
}

#[test]
fn i2_what_a_client_has_asked_for_before_is_not_newer_than_what_it_asks_for_next() {
    let cluster = Cluster::start_with(1, keeps_long);
    let mut client = cluster.client3();
    let node = cluster.server("cache-1");
    let pipelines: [&[&[&str]]; 8] = [
        &[&["MULTI"], &["GET", "k"], &["EXEC"], &["GET", "k"]],
        &[&["WATCH", "other"], &["GET", "k"], &["UNWATCH"], &["GET", "k"]],
        &[&["CLIENT", "TRACKING", "ON"], &["GET", "k"], &["CLIENT", "TRACKING", "OFF"], &["GET", "k"]],
        &[&["MGET", "k", "COLD"], &["GET", "k"]],
        &[&["MGET", "k", "COLD"], &["MGET", "k"]],
        &[&["GETRANGE", "k", "0", "-1"], &["MGET", "k"]],
        &[&["EVAL_RO", "return redis.call('get', KEYS[1])", "1", "k"], &["GET", "k"]],
        &[&["GETRANGE", "k", "0", "-1"], &["GET", "k"]],
    ];
    for (at, pipeline) in pipelines.iter().enumerate() {
        let mut was_new = 0;
        for round in 0..5 {
            client.call(&["SET", "k", "old"]);
            kept(&cluster, &mut client, &["GET", "k"]);
            // the node is busy, and what it does next is the other one's write
            let mut busy = node.client();
            busy.send(
                &[bulk_request(&["DEBUG", "SLEEP", "0.1"]), bulk_request(&["SET", "k", "new"])].concat(),
            );
            std::thread::sleep(Duration::from_millis(20));
            // a key that was never read
            let cold = format!("cold:{at}:{round}");
            let named = |word: &&'static str| if *word == "COLD" { cold.as_str() } else { *word };
            let requests = pipeline.iter().map(|words| words.iter().map(named).collect::<Vec<&str>>());
            client.send(&requests.flat_map(|words| bulk_request(&words)).collect::<Vec<u8>>());
            let mut replies = Vec::new();
            while replies.len() < pipeline.len() {
                let reply = client.text_reply();
                if !reply.starts_with('>') {
                    replies.push(reply);
                }
            }
            let (last, before) = replies.split_last().expect("replies");
            if before.iter().any(|reply| reply.contains("new")) {
                assert!(last.contains("new"), "{pipeline:?}: {replies:?}");
                was_new += 1;
            }
            (0..2).for_each(|_| drop(busy.reply()));
        }
        assert!(was_new > 0, "{pipeline:?} has not asked the node");
    }
}

#[test]
fn i6_a_long_request_is_not_kept() {
    let cluster = Cluster::start_with(1, keeps_long);
    let mut client = cluster.client();
    client.call(&["HSET", "h", "f", "1"]);
    kept(&cluster, &mut client, &["HMGET", "h", "f"]);
    let mut words = vec!["HMGET", "h"];
    words.resize(1000, "f");
    let (before, fills) = (hits(&cluster), cluster.control().snapshot().near.fills);
    (0..20).for_each(|_| drop(client.call(&words)));
    let near = cluster.control().snapshot().near;
    assert_eq!((near.hits, near.fills), (before, fills));
}

#[test]
fn one_who_waits_or_queues_keeps_nothing_from_being_kept() {
    let cluster = Cluster::start_with(1, keeps_long);
    let (mut waits, mut queues, mut client) = (cluster.client(), cluster.client(), cluster.client());
    let queues_of = (0..300).map(|queue| format!("q{queue}"));
    let words: Vec<String> =
        ["BLPOP".to_owned()].into_iter().chain(queues_of).chain(["0".to_owned()]).collect();
    waits.send(&bulk_request(&words));
    queues.call(&["MULTI"]);
    assert_eq!(queues.text(&["EVAL", "return 1", "1", "q1"]), "+QUEUED\r\n");
    assert_eq!(queues.text(&["DEL", "list", "q1"]), "+QUEUED\r\n");
    client.call(&["RPUSH", "list", "x"]);
    assert_eq!(kept(&cluster, &mut client, &["LLEN", "list"]), ":1\r\n");
    assert_eq!(kept(&cluster, &mut client, &["LLEN", "q1"]), ":0\r\n");
    queues.call(&["EXEC"]);
    assert_eq!(client.text(&["LLEN", "list"]), ":0\r\n");
    cluster.client().call(&["RPUSH", "q7", "a", "b"]);
    assert_eq!(waits.text_reply(), "*2\r\n$2\r\nq7\r\n$1\r\na\r\n");
    assert_eq!(client.text(&["LLEN", "q7"]), ":1\r\n");
}

#[test]
fn what_others_change_at_the_node_is_seen() {
    let cluster = Cluster::start_with(2, keeps_long);
    let mut client = cluster.client();
    client.call(&["SET", "k", "old"]);
    client.call(&["HSET", "h", "f", "old"]);
    assert_eq!(kept(&cluster, &mut client, &["GET", "k"]), "$3\r\nold\r\n");
    assert_eq!(kept(&cluster, &mut client, &["HGETALL", "h"]).lines().count(), 5);
    cluster.server(&cluster.owner("k")).call::<()>(&["SET", "k", "new"]);
    cluster.server(&cluster.owner("h")).call::<()>(&["HSET", "h", "f", "new"]);
    wait_for("the new value", || client.text(&["GET", "k"]) == "$3\r\nnew\r\n");
    wait_for("the new field", || client.text(&["HGETALL", "h"]).contains("new"));
    assert!(cluster.control().snapshot().near.invalidations >= 2);
    // a server that is emptied says so of all keys at once
    assert_eq!(kept(&cluster, &mut client, &["GET", "k"]), "$3\r\nnew\r\n");
    cluster.server(&cluster.owner("k")).call::<()>(&["FLUSHALL"]);
    wait_for("that it is gone", || client.text(&["GET", "k"]) == "$-1\r\n");
}

#[test]
fn nothing_is_answered_of_a_key_whose_time_is_up() {
    let cluster = Cluster::start_with(1, keeps_long);
    let mut client = cluster.client();
    for _ in 0..5 {
        client.call(&["SET", "k", "v", "PX", "400"]);
        let set = Instant::now();
        let mut was_kept = false;
        loop {
            // a server counts in whole milliseconds, and the last one belongs to the key
            let is_over = set.elapsed() > Duration::from_millis(402);
            let before = hits(&cluster);
            let reply = client.text(&["GET", "k"]);
            if reply == "$-1\r\n" {
                break;
            }
            assert!(!is_over, "it was asked for behind its end");
            was_kept |= hits(&cluster) > before;
        }
        assert!(was_kept);
    }
}

#[test]
fn databases_and_watched_keys_are_told_apart() {
    let cluster = Cluster::start_with(1, keeps_long);
    let (mut zero, mut three) = (cluster.client(), cluster.client());
    three.call(&["SELECT", "3"]);
    zero.call(&["SET", "k", "zero"]);
    three.call(&["SET", "k", "three"]);
    for _ in 0..5 {
        assert_eq!(kept(&cluster, &mut zero, &["GET", "k"]), "$4\r\nzero\r\n");
        assert_eq!(kept(&cluster, &mut three, &["GET", "k"]), "$5\r\nthree\r\n");
        assert_eq!(kept(&cluster, &mut zero, &["MGET", "k"]), "*1\r\n$4\r\nzero\r\n");
        assert_eq!(kept(&cluster, &mut three, &["MGET", "k"]), "*1\r\n$5\r\nthree\r\n");
    }
    // what is read of a watched key is compared with what is there at EXEC: it comes from there
    zero.call(&["WATCH", "k"]);
    let before = hits(&cluster);
    (0..10).for_each(|_| assert_eq!(zero.text(&["GET", "k"]), "$4\r\nzero\r\n"));
    (0..10).for_each(|_| assert_eq!(zero.text(&["MGET", "k"]), "*1\r\n$4\r\nzero\r\n"));
    assert_eq!(hits(&cluster), before);
    zero.call(&["UNWATCH"]);
    assert_eq!(kept(&cluster, &mut zero, &["GET", "k"]), "$4\r\nzero\r\n");
}

#[test]
fn a_client_that_tracks_reads_from_its_nodes() {
    let cluster = Cluster::start_with(1, keeps_long);
    let (mut client, mut other) = (cluster.client(), cluster.client3());
    client.call(&["SET", "k", "old"]);
    kept(&cluster, &mut client, &["GET", "k"]);
    assert_eq!(other.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    let before = hits(&cluster);
    (0..5).for_each(|_| assert_eq!(other.text(&["GET", "k"]), "$3\r\nold\r\n"));
    (0..5).for_each(|_| assert_eq!(other.text(&["MGET", "k"]), "*1\r\n$3\r\nold\r\n"));
    assert_eq!(hits(&cluster), before);
    client.call(&["SET", "k", "new"]);
    assert_eq!(other.text_reply(), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
}
