//! Answers that are kept, and every kind of write: who reads behind the reply to one sees it, though no node says a word.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ringway_proxy::settings::Settings;

use crate::near_cache::{hits, keeps_long, kept};
use crate::support::byte_proxy::{ByteProxy, Wire};
use crate::support::frame::bulk_request;
use crate::support::harness::{StopAtEnd, named, patient};
use crate::support::{Cluster, Harness, RawClient, RedisServer, wait_for};

#[test]
fn a_read_behind_the_reply_to_a_write_sees_it_whoever_wrote_and_however() {
    let cluster = Cluster::start_with(3, keeps_and_empties);
    writes_are_seen(&cluster, 20);
}

#[test]
fn writes_are_seen_though_no_node_tells_of_them() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let wires: Vec<ByteProxy> = servers.iter().map(|server| ByteProxy::start(&server.address())).collect();
    wires.iter().for_each(|wire| wire.set(Wire::NoInvalidations));
    let mut settings = patient(named(&[("a", wires[0].address()), ("b", wires[1].address())]));
    keeps_and_empties(&mut settings);
    let harness = Harness::start(settings);
    ["a", "b"].iter().for_each(|node| harness.wait_usable(node));
    // they do not: what is written at the node is not seen
    let mut client = harness.client();
    client.call(&["SET", "k", "old"]);
    kept(&harness, &mut client, &["GET", "k"]);
    let server = if harness.owner("k") == "a" { &servers[0] } else { &servers[1] };
    server.call::<()>(&["SET", "k", "new"]);
    (0..20).for_each(|_| assert_eq!(client.text(&["GET", "k"]), "$3\r\nold\r\n"));
    writes_are_seen(&harness, 5);
    // many readers ask for what is to be kept while it is written
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for _ in 0..3 {
            let mut reader = harness.client();
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    reader.text(&["GET", "counter"]);
                }
            });
        }
        for number in 0..500 {
            client.call(&["SET", "counter", &number.to_string()]);
            assert_eq!(
                client.text(&["GET", "counter"]),
                format!("${}\r\n{number}\r\n", number.to_string().len())
            );
        }
    });
}

#[test]
fn what_is_asked_for_while_a_write_is_on_its_way_is_not_kept() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    wire.set(Wire::NoInvalidations);
    let mut settings = patient(named(&[("n", wire.address())]));
    keeps_long(&mut settings);
    settings.threads = 1;
    let harness = Harness::start(settings);
    harness.wait_usable("n");
    let mut clients: Vec<RawClient> = (0..4).map(|_| harness.client()).collect();
    let connections = harness.node("n").connections;
    clients[0].call(&["SET", "k", "old"]);
    // what is sent on the connections that there are waits; one to ask for what is to be kept is opened now
    wire.hold_requests();
    clients[0].send(&bulk_request(&["SET", "k", "new"]));
    std::thread::sleep(Duration::from_millis(20));
    clients[1].send(&bulk_request(&["GET", "k"]));
    wait_for("a connection more", || harness.node("n").connections > connections);
    for _ in 0..20 {
        clients[2].send(&bulk_request(&["GET", "k"]));
        std::thread::sleep(Duration::from_millis(5));
    }
    wire.release_requests();
    assert_eq!(clients[0].text_reply(), "+OK\r\n");
    assert_eq!(clients[3].text(&["GET", "k"]), "$3\r\nnew\r\n");
    // what was queued runs later than others read
    let [writer, reader, ..] = &mut clients[..] else { unreachable!("there are four") };
    reader.reply();
    writer.call(&["MULTI"]);
    writer.call(&["SET", "k", "newer"]);
    assert_eq!(kept(&harness, reader, &["GET", "k"]), "$3\r\nnew\r\n");
    writer.call(&["EXEC"]);
    assert_eq!(reader.text(&["GET", "k"]), "$5\r\nnewer\r\n");
}

fn keeps_and_empties(settings: &mut Settings) {
    keeps_long(settings);
    settings.allowed_commands = ["flushall", "flushdb", "swapdb"].map(String::from).into();
}

/// Writes of every kind, so often, and reads behind them.
fn writes_are_seen(cluster: &Harness, rounds: usize) {
    let key = "{t}k";
    // what makes the value, what changes it, and what it is then
    let none = "$-1\r\n";
    let new = "$3\r\nnew\r\n";
    let writes: [(&[&[&str]], &str); 24] = [
        (&[&["SET", key, "new"]], new),
        (&[&["set", key, "new", "EX", "100"]], new),
        (&[&["MSET", "a", "1", "b", "2", "c", "3", key, "new"]], new),
        (&[&["DEL", "a", "b", key]], none),
        (&[&["UNLINK", key]], none),
        (&[&["GETDEL", key]], none),
        (&[&["GETSET", key, "new"]], new),
        (&[&["APPEND", key, "w"]], "$4\r\noldw\r\n"),
        (&[&["RENAME", key, "{t}other"]], none),
        (&[&["SET", "{t}other", "new"], &["RENAME", "{t}other", key]], new),
        (&[&["SET", "{t}other", "new"], &["COPY", "{t}other", key, "REPLACE"]], new),
        (&[&["SETBIT", key, "1", "0"]], "$3\r\n/ld\r\n"),
        (&[&["BITOP", "AND", key, "{t}none", "{t}none"]], none),
        (&[&["SELECT", "5"], &["DEL", key], &["SELECT", "0"], &["MOVE", key, "5"]], none),
        (&[&["PEXPIRE", key, "0"]], none),
        (&[&["EVAL", "return redis.call('set', KEYS[1], 'new')", "1", key]], new),
        (&[&["MULTI"], &["SET", key, "new"], &["EXEC"]], new),
        (&[&["MULTI"], &["SET", "{t}x", "1"], &["DEL", key], &["EXEC"]], none),
        (&[&["WATCH", key], &["MULTI"], &["SET", key, "new"], &["EXEC"]], new),
        (&[&["SORT", "{t}list", "STORE", key]], none),
        (&[&["SELECT", "3"], &["SET", key, "new"], &["SELECT", "0"], &["SWAPDB", "0", "3"]], new),
        (&[&["FLUSHDB"]], none),
        (&[&["FLUSHALL"]], none),
        (&[&["RPUSH", "{t}list", "1"], &["SORT", "{t}list", "STORE", key], &["LLEN", key]], "-WRONGTYPE"),
    ];
    for (steps, expected) in writes {
        let (mut writer, mut reader, mut other) = (cluster.client(), cluster.client(), cluster.client());
        for _ in 0..rounds {
            writer.call(&["DEL", key, "{t}other", "{t}list"]);
            writer.call(&["SET", key, "old"]);
            assert_eq!(kept(cluster, &mut reader, &["GET", key]), "$3\r\nold\r\n");
            assert_eq!(kept(cluster, &mut other, &["GET", key]), "$3\r\nold\r\n");
            for words in steps {
                let reply = writer.text(words);
                assert!(!reply.starts_with('-'), "{words:?}: {reply}");
            }
            for client in [&mut reader, &mut other, &mut writer] {
                let reply = client.text(&["GET", key]);
                assert!(reply.starts_with(expected), "{steps:?}: {reply}");
            }
            // several keys at once, one of which is wanted by GET as well
            if !expected.starts_with('-') {
                let (both, none) = (["MGET", key, "{t}nothing"], "$-1\r\n");
                assert_eq!(kept(cluster, &mut reader, &both), format!("*2\r\n{expected}{none}"), "{steps:?}");
                writer.call(&["SET", "{t}nothing", "1"]);
                assert_eq!(reader.text(&both), format!("*2\r\n{expected}$1\r\n1\r\n"), "{steps:?}");
                writer.call(&["DEL", "{t}nothing"]);
                assert_eq!(reader.text(&both), format!("*2\r\n{expected}{none}"), "{steps:?}");
            }
        }
    }
    // one who waits has written when its reply comes
    let (mut pusher, mut popper, mut reader) = (cluster.client(), cluster.client(), cluster.client());
    for _ in 0..rounds {
        assert_eq!(kept(cluster, &mut reader, &["LLEN", "list"]), ":0\r\n");
        popper.send(&bulk_request(&["BLMOVE", "list", "list", "LEFT", "RIGHT", "0"]));
        pusher.call(&["RPUSH", "list", "x"]);
        popper.reply();
        assert_eq!(reader.text(&["LLEN", "list"]), ":1\r\n");
        pusher.call(&["DEL", "list"]);
    }
}

#[test]
fn keys_of_one_node_are_read_at_one_moment_however_much_of_them_is_kept() {
    let cluster = Cluster::start_with(2, |settings| {
        keeps_long(settings);
        settings.threads = 3;
    });
    let stop = AtomicBool::new(false);
    let mut writer = cluster.client();
    writer.call(&["MSET", "{t}a", "0", "{t}b", "0", "{t}c", "0"]);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (mut client, stop) = (cluster.client(), &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let reply = client.text(&["MGET", "{t}a", "{t}b", "{t}c"]);
                        let values: Vec<&str> = reply.lines().skip(2).step_by(2).collect();
                        assert!(
                            values.len() == 3 && values.iter().all(|value| *value == values[0]),
                            "{reply}"
                        );
                        // some of them are kept and others are not
                        client.text(&["GET", "{t}b"]);
                    }
                })
            })
            .collect();
        let (mut number, before) = (0, hits(&cluster));
        while number < 500 || hits(&cluster) < before + 2000 {
            number += 1;
            let value = number.to_string();
            writer.call(&["MSET", "{t}a", &value, "{t}b", &value, "{t}c", &value]);
            if number % 10 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
            assert!(readers.iter().all(|reader| !reader.is_finished()), "a reader has ended");
        }
    });
}

#[test]
fn while_a_write_is_on_its_way_its_key_is_read_at_the_node() {
    let cluster = Cluster::start_with(1, |settings| {
        keeps_long(settings);
        settings.threads = 1;
    });
    let (mut writer, mut reader) = (cluster.client(), cluster.client());
    writer.call(&["SET", "k", "old"]);
    kept(&cluster, &mut reader, &["GET", "k"]);
    cluster.server("cache-1").pause();
    writer.send(&bulk_request(&["SET", "k", "new"]));
    // what the kernel has taken the worker reads before what comes later
    std::thread::sleep(Duration::from_millis(50));
    reader.send(&bulk_request(&["GET", "k"]));
    std::thread::sleep(Duration::from_millis(50));
    cluster.server("cache-1").resume();
    assert_eq!((writer.text_reply(), reader.text_reply()), ("+OK\r\n".into(), "$3\r\nnew\r\n".into()));
}

#[test]
fn what_was_answered_to_one_client_is_not_unknown_to_another() {
    let cluster = Cluster::start_with(2, keeps_long);
    let (told, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut writer = cluster.client();
    writer.call(&["SET", "counter", "0"]);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let mut client = cluster.client();
                let (told, stop) = (&told, &stop);
                scope.spawn(move || {
                    let mut last = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let least = told.load(Ordering::SeqCst).max(last);
                        let reply = client.text(&["GET", "counter"]);
                        last = reply.lines().nth(1).expect("a value").parse().expect("a number");
                        assert!(last >= least, "{last} after {least}");
                    }
                })
            })
            .collect();
        let before = hits(&cluster);
        let mut number = 0;
        // until many reads were answered here, between many writes
        while number < 500 || hits(&cluster) < before + 2000 {
            number += 1;
            writer.call(&["SET", "counter", &number.to_string()]);
            told.store(number, Ordering::SeqCst);
            if number % 10 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
            assert!(readers.iter().all(|reader| !reader.is_finished()), "a reader has ended");
        }
    });
}
