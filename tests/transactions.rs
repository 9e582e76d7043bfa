//! MULTI, EXEC, DISCARD, WATCH and UNWATCH: reply by reply as one plain server answers, and true when nodes fail.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::frame::{bulk, bulk_request};
use crate::support::{Cluster, RawClient, RedisServer, wait_for};

/// A line as a command; words are separated by single spaces.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn request(line: &str) -> Vec<u8> {
    bulk_request(&words(line))
}

/// Sends each line to the proxy and to a plain server, compares the replies.
pub(crate) fn compare(proxied: &mut RawClient, plain: &mut RawClient, lines: &[&str]) {
    for line in lines {
        let (ours, theirs) = (proxied.text(&words(line)), plain.text(&words(line)));
        assert_eq!(ours, theirs, "{line} of {lines:?}");
    }
}

/// What Redis and the proxy must answer alike.
const SCRIPTS: &[&[&str]] = &[
    &["MULTI", "SET {t}a 1", "INCR {t}a", "GET {t}a", "EXEC", "GET {t}a"],
    &["MULTI", "EXEC", "EXEC", "DISCARD", "UNWATCH"],
    &["MULTI", "SET {t}a 1", "DISCARD", "GET {t}a", "EXEC"],
    &["MULTI", "MULTI", "SET {t}a 1", "MULTI", "WATCH {t}a", "EXEC"],
    &["MULTI", "NOSUCH", "SET {t}a 1", "EXEC", "EXISTS {t}a"],
    &["MULTI", "SET {t}a 1", "GET", "SET {t}b 1", "EXEC", "EXISTS {t}a {t}b"],
    &["MULTI", "OBJECT NOSUCH {t}a", "EXEC"],
    &["MULTI", "SET {t}a x", "INCR {t}a", "LPUSH {t}a 1", "SET {t}b 2", "EXEC", "GET {t}b"],
    &["MULTI", "EXEC now", "EXEC", "EXEC now"],
    &["MULTI", "DISCARD now", "DISCARD", "MULTI now", "WATCH", "UNWATCH now"],
    &["MULTI", "DISCARD now", "EXEC"],
    &["MULTI", "MGET {t}a {t}b", "MSET {t}a 1 {t}b 2", "DEL {t}a {t}b", "EXISTS {t}a {t}b", "EXEC"],
    &["MULTI", "HSET {t}h f 1.5", "HGETALL {t}h", "ZADD {t}z 1.5 m", "ZSCORE {t}z m", "EXEC"],
    &["MULTI", "GET {t}none", "LRANGE {t}none 0 -1", "HGETALL {t}none", "EXEC"],
    &["MULTI", "BLPOP {t}none 0", "XREAD BLOCK 0 STREAMS {t}none $", "BLMPOP 0 1 {t}none LEFT", "EXEC"],
    &["MULTI", "EVAL return{KEYS[1],ARGV[1]} 1 {t}a x", "EVAL return{1,2} 0", "EXEC"],
    &["MULTI", "PING", "PING x", "ECHO y", "UNWATCH", "EXEC"],
    &["MULTI", "EVAL return{1,{2}} 0", "EXEC"],
    &["WATCH {t}a", "MULTI", "SET {t}a 1", "EXEC", "GET {t}a"],
    &["WATCH {t}a", "SET {t}a 2", "MULTI", "SET {t}a 1", "EXEC", "GET {t}a"],
    &["WATCH {t}a", "SET {t}a 2", "UNWATCH", "MULTI", "SET {t}a 1", "EXEC", "GET {t}a"],
    &["WATCH {t}a", "SET {t}a 2", "MULTI", "DISCARD", "MULTI", "SET {t}a 1", "EXEC"],
    &["WATCH {t}a", "WATCH {t}b {t}c", "SET {t}c 2", "MULTI", "EXEC", "MULTI", "EXEC"],
    &["WATCH {t}a", "SET {t}a 2", "MULTI", "NOSUCH", "EXEC", "MULTI", "PING", "EXEC"],
    &["WATCH {t}a", "MULTI", "EXEC", "WATCH {t}a", "MULTI", "PING", "EXEC"],
    &["WATCH {t}a", "SET {t}a 2", "EXEC now", "MULTI", "PING", "EXEC"],
    &["WATCH {t}a {t}a {t}b", "GET {t}a", "MULTI", "INCR {t}a", "BLPOP {t}l 0", "EXEC"],
];

#[test]
fn transactions_answer_as_one_server_does() {
    let plain = RedisServer::start();
    let cluster = Cluster::start(3);
    for script in SCRIPTS {
        for three in [false, true] {
            let clean: Vec<&str> = words("DEL {t}a {t}b {t}c {t}h {t}l {t}z");
            let mut proxied = if three { cluster.client3() } else { cluster.client() };
            let mut direct = plain.client();
            if three {
                direct.call(&["HELLO", "3"]);
            }
            proxied.call(&clean);
            direct.call(&clean);
            compare(&mut proxied, &mut direct, script);
        }
    }
}

#[test]
fn exec_tells_why_a_node_refused_a_command_when_it_was_queued() {
    let cluster = Cluster::start(1);
    let _: String = cluster.server("cache-1").call(&["CONFIG", "SET", "maxmemory", "1"]);
    for mut client in [cluster.client(), cluster.client3()] {
        for watch in [false, true] {
            if watch {
                assert_eq!(client.text(&["WATCH", "k"]), "+OK\r\n");
            }
            client.call(&["MULTI"]);
            // Ringway queues it; the node is asked at EXEC
            assert_eq!(client.text(&["SET", "k", "v"]), "+QUEUED\r\n");
            assert_eq!(client.text(&["GET", "k"]), "+QUEUED\r\n");
            assert_eq!(
                client.text(&["EXEC"]),
                "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.\r\n"
            );
            assert_eq!(client.text(&["EXEC"]), "-ERR EXEC without MULTI\r\n");
        }
    }
}

#[test]
fn reset_and_quit_end_a_transaction() {
    let plain = RedisServer::start();
    let cluster = Cluster::start(2);
    let (mut proxied, mut direct) = (cluster.client(), plain.client());
    compare(&mut proxied, &mut direct, &["MULTI", "SET {t}a 1", "RESET", "EXEC", "GET {t}a"]);
    compare(
        &mut proxied,
        &mut direct,
        &["WATCH {t}a", "SET {t}a 1", "MULTI", "RESET", "MULTI", "GET {t}a", "EXEC"],
    );
    proxied.send(b"MULTI\r\nSET {t}a 2\r\nQUIT\r\nEXEC\r\n");
    assert_eq!(proxied.rest(), b"+OK\r\n+QUEUED\r\n+OK\r\n");
    assert_eq!(direct.text(&["GET", "{t}a"]), "$1\r\n1\r\n");
}

#[test]
fn d7_a_pipelined_transaction_split_at_every_byte() {
    let cluster = Cluster::start(2);
    let mut control = cluster.client();
    for watch in ["", "WATCH {t}w"] {
        let mut lines = vec!["SET {t}n 0", "MULTI", "INCR {t}n", "GET {t}n", "EXEC", "INCR {t}n"];
        if !watch.is_empty() {
            lines.insert(1, watch);
        }
        let bytes: Vec<u8> = lines.iter().flat_map(|line| request(line)).collect();
        let mut expected = b"+OK\r\n".repeat(lines.len() - 4);
        expected.extend(b"+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n$1\r\n1\r\n:2\r\n");
        for cut in 0..=bytes.len() {
            let mut client = cluster.client();
            client.send(&bytes[..cut]);
            // the first part is read alone
            control.call(&["PING"]);
            client.send(&bytes[cut..]);
            let got = client.bytes(expected.len());
            assert_eq!(got, expected, "cut at {cut}: {:?}", String::from_utf8_lossy(&got));
        }
    }
}

#[test]
fn a_block_is_contiguous_on_the_shared_connection() {
    let cluster = Cluster::start_with(1, |settings| settings.threads = 1);
    let stop = AtomicBool::new(false);
    let torn = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let (cluster, stop) = (&cluster, &stop);
            scope.spawn(move || {
                let mut client = cluster.client();
                while !stop.load(Ordering::SeqCst) {
                    // in pieces, so that commands of others come in between
                    for line in ["MULTI", &format!("SET {{t}}who {name}"), "INCR {t}steps", "GET {t}who"] {
                        client.send_command(&words(line));
                    }
                    client.send_command(&["EXEC"]);
                    let got = client.bytes("+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n".len());
                    assert!(got.starts_with(b"+OK\r\n+QUEUED"));
                    let reply = client.text_reply();
                    assert!(reply.ends_with(&format!("$1\r\n{name}\r\n")), "{reply:?}");
                }
            });
        }
        for _ in 0..2 {
            let (cluster, stop) = (&cluster, &stop);
            scope.spawn(move || {
                let mut client = cluster.client();
                while !stop.load(Ordering::SeqCst) {
                    client.call(&["SET", "{t}who", "x"]);
                }
            });
        }
        // the witness: MONITOR shows what ran in which order
        let mut monitor = cluster.nodes[0].client();
        monitor.send_command(&["MONITOR"]);
        monitor.reply();
        let (mut blocks, mut inside) = (0, 0);
        while blocks < 300 {
            let line = monitor.text_reply().to_lowercase();
            let is = |name: &str| line.contains(&format!("] \"{name}\""));
            match inside {
                0 if is("multi") => inside = 1,
                1 if is("set") && !line.ends_with("\"x\"\r\n") => inside = 2,
                2 if is("incr") => inside = 3,
                3 if is("get") => inside = 4,
                4 if is("exec") => (inside, blocks) = (0, blocks + 1),
                0 => {}
                _ => {
                    torn.fetch_add(1, Ordering::SeqCst);
                    inside = 0;
                }
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(torn.load(Ordering::SeqCst), 0);
}

/// `count` clients add one to a counter by WATCH, GET, MULTI, SET, EXEC until each has succeeded `rounds` times.
fn count_with_watch(cluster: &Cluster, count: usize, rounds: usize) {
    let lost = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..count {
            let lost = &lost;
            scope.spawn(move || {
                let mut client = cluster.client();
                let key = format!("{{counter{}}}", number % 20);
                for _ in 0..rounds {
                    loop {
                        assert_eq!(client.text(&["WATCH", &key]), "+OK\r\n");
                        let value = client.text(&["GET", &key]);
                        let value: u64 = value.split("\r\n").nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
                        client.call(&["MULTI"]);
                        client.call(&["SET", &key, &(value + 1).to_string()]);
                        match client.text(&["EXEC"]).as_str() {
                            "*1\r\n+OK\r\n" => break,
                            "*-1\r\n" => drop(lost.fetch_add(1, Ordering::Relaxed)),
                            other => panic!("{other:?}"),
                        }
                    }
                }
            });
        }
    });
    let mut client = cluster.client();
    let counters = (0..20).map(|number| client.text(&["GET", &format!("{{counter{number}}}")]));
    let sum: usize = counters
        .map(|reply| reply.split("\r\n").nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0))
        .sum();
    assert_eq!(sum, count * rounds, "no update is lost");
    assert!(lost.load(Ordering::Relaxed) > 0, "clients met each other");
}

#[test]
fn two_hundred_clients_with_watch_lose_no_update() {
    let cluster = Cluster::start(3);
    count_with_watch(&cluster, 200, 5);
}

#[test]
fn keys_of_another_node_are_refused_and_nothing_runs() {
    let cluster = Cluster::start(2);
    let (one, two) = (cluster.key_of("cache-1"), cluster.key_of("cache-2"));
    let mut client = cluster.client();
    let crossslot = "-CROSSSLOT Keys in request don't hash to the same node\r\n";
    let previous = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
    assert_eq!(client.text(&["SET", &one, "1"]), "+QUEUED\r\n");
    assert_eq!(client.text(&["SET", &two, "1"]), crossslot);
    assert_eq!(client.text(&["EXEC"]), previous);
    assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
    assert_eq!(client.text(&["MSET", &one, "1", &two, "1"]), crossslot);
    assert_eq!(client.text(&["EXEC"]), previous);
    assert_eq!(client.text(&["EXISTS", &one, &two]), ":0\r\n");
    // a watch of another node is refused, that of the first stays
    assert_eq!(client.text(&["WATCH", &one, &two]), crossslot);
    assert_eq!(client.text(&["WATCH", &one]), "+OK\r\n");
    assert_eq!(client.text(&["WATCH", &two]), crossslot);
    assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
    assert_eq!(client.text(&["SET", &two, "1"]), crossslot);
    assert_eq!(client.text(&["EXEC"]), previous);
    assert_eq!(client.text(&["WATCH", &one]), "+OK\r\n");
    cluster.client().call(&["SET", &one, "changed"]);
    assert_eq!(client.text(&["WATCH", &two]), crossslot);
    assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
    assert_eq!(client.text(&["GET", &one]), "+QUEUED\r\n");
    assert_eq!(client.text(&["EXEC"]), "*-1\r\n");
}

#[test]
fn what_concerns_the_connection_or_all_nodes_aborts_a_transaction() {
    let cluster = Cluster::start_with(2, |settings| {
        settings.allowed_commands = ["flushall".to_owned()].into();
    });
    let mut client = cluster.client();
    let refused = [
        "SELECT 0",
        "HELLO 3",
        "AUTH x",
        "CLIENT ID",
        "CLIENT INFO",
        "DBSIZE",
        "FLUSHALL",
        "SCAN 0",
        "SUBSCRIBE c",
        "MONITOR",
        "COMMAND COUNT",
        "SCRIPT EXISTS x",
        "CONFIG GET *",
        "RANDOMKEY",
        "WAIT 0 0",
    ];
    for line in refused {
        assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
        assert_eq!(client.text(&["SET", "{t}a", "1"]), "+QUEUED\r\n");
        let reply = client.text(&words(line));
        let name = line.split(' ').next().expect("a name");
        assert!(
            reply.starts_with(&format!("-ERR {name}")) && reply.contains("inside MULTI: "),
            "{line}: {reply}"
        );
        assert_eq!(
            client.text(&["EXEC"]),
            "-EXECABORT Transaction discarded because of previous errors.\r\n"
        );
    }
    assert_eq!(client.text(&["GET", "{t}a"]), "$-1\r\n");
    assert_eq!(client.text(&["PING"]), "+PONG\r\n", "RESP2 and usable");
}

#[test]
fn strangers_begin_nothing() {
    let cluster = Cluster::start_with(1, |settings| {
        settings.password = Some(ringway_proxy::settings::Secret::new("pa55word"));
    });
    let plain = RedisServer::start_with(&["--requirepass", "pa55word"]);
    let (mut proxied, mut direct) = (cluster.client(), plain.client());
    compare(
        &mut proxied,
        &mut direct,
        &["MULTI", "EXEC", "EXEC now", "WATCH k", "DISCARD", "AUTH pa55word", "EXEC", "MULTI", "PING"],
    );
    // RESET makes a stranger of it, and ends what it began
    compare(&mut proxied, &mut direct, &["RESET", "EXEC", "AUTH pa55word", "EXEC"]);
}

#[test]
fn i6_a_transaction_beyond_the_bound_is_refused() {
    let cluster = Cluster::start_with(1, |settings| settings.limits.command_bytes = 1 << 20);
    let mut client = cluster.client();
    client.call(&["MULTI"]);
    let value = "v".repeat(100_000);
    let mut replies = Vec::new();
    for n in 0..12 {
        replies.push(client.text(&["SET", &format!("{{t}}{n}"), &value]));
    }
    assert_eq!(replies[9], "+QUEUED\r\n");
    assert!(
        replies[10].starts_with("-ERR the transaction is too large (limits.command_bytes)"),
        "{}",
        replies[10]
    );
    assert!(client.text(&["EXEC"]).starts_with("-EXECABORT"));
    assert_eq!(cluster.nodes[0].dbsize(), 0);
    assert_eq!(client.text(&["SET", "k", "v"]), "+OK\r\n");
}

#[test]
fn a_long_transaction_and_its_long_reply_pass() {
    let cluster = Cluster::start(1);
    for watch in [false, true] {
        let mut client = cluster.client();
        if watch {
            client.call(&["WATCH", "{t}w"]);
        }
        let value = vec![b'v'; 3 << 20];
        let mut bytes = request("MULTI");
        for n in 0..4 {
            bytes.extend(bulk_request(&[b"SET".as_slice(), format!("{{t}}{n}").as_bytes(), &value]));
        }
        for n in 0..4 {
            bytes.extend(request(&format!("GET {{t}}{n}")));
        }
        bytes.extend(request("EXEC"));
        let mut sender = client.sender();
        let writer =
            std::thread::spawn(move || std::io::Write::write_all(&mut sender, &bytes).expect("sent"));
        assert_eq!(client.bytes(5 + 8 * 9), [b"+OK\r\n".to_vec(), b"+QUEUED\r\n".repeat(8)].concat());
        let mut expected = b"*8\r\n".to_vec();
        expected.extend(b"+OK\r\n".repeat(4));
        expected.extend(bulk(&value).repeat(4));
        assert!(client.reply() == expected);
        writer.join().expect("sent");
        assert_eq!(client.text(&["PING"]), "+PONG\r\n");
    }
}

#[test]
fn client_info_and_transactions_without_keys() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    assert!(client.text(&["CLIENT", "INFO"]).contains(" multi=-1 "));
    for _ in 0..3 {
        client.call(&["MULTI"]);
        assert_eq!(client.text(&["TIME"]), "+QUEUED\r\n");
        assert_eq!(client.text(&["PING"]), "+QUEUED\r\n");
        let reply = client.text(&["EXEC"]);
        assert!(reply.starts_with("*2\r\n*2\r\n") && reply.ends_with("+PONG\r\n"), "{reply:?}");
    }
    // a script that was run without keys is known where its digest is called
    let digest: String = RedisServer::start().call(&["SCRIPT", "LOAD", "return 7"]);
    client.call(&["EVAL", "return 7", "0"]);
    client.call(&["MULTI"]);
    client.call(&["EVALSHA", &digest, "0"]);
    assert_eq!(client.text(&["EXEC"]), "*1\r\n:7\r\n");
}

/// Connections that the node has, but for the one that asks.
fn clients_of(server: &RedisServer) -> usize {
    let list: String = server.call(&["CLIENT", "LIST"]);
    list.lines().count() - 1
}

#[test]
fn c8_a_client_that_leaves_inside_of_a_transaction_taints_nothing() {
    let cluster = Cluster::start_with(1, |settings| settings.threads = 1);
    let idle = clients_of(&cluster.nodes[0]);
    for round in 0..30 {
        let mut client = cluster.client();
        match round % 3 {
            0 => drop(client.call(&["WATCH", "{t}k"])),
            1 => {
                client.call(&["WATCH", "{t}k"]);
                client.call(&["MULTI"]);
                client.call(&["SET", "{t}k", "gone"]);
            }
            // it leaves while EXEC is on its way
            _ => {
                client.send(&[request("WATCH {t}k"), request("MULTI"), request("EXEC")].concat());
            }
        }
        if round % 2 == 0 {
            client.reset()
        } else {
            drop(client)
        }
        cluster.client().call(&["SET", "{t}k", &round.to_string()]);
    }
    // whoever gets one of those connections finds nothing watched and nothing queued
    for _ in 0..30 {
        let mut client = cluster.client();
        assert_eq!(client.text(&["WATCH", "{t}other"]), "+OK\r\n");
        cluster.client().call(&["SET", "{t}k", "again"]);
        assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
        assert_eq!(client.text(&["GET", "{t}k"]), "+QUEUED\r\n");
        assert_eq!(client.text(&["EXEC"]), "*1\r\n$5\r\nagain\r\n");
    }
    // those that are free are few, and serve again
    wait_for("connections to be given back", || clients_of(&cluster.nodes[0]) <= idle + 4);
}

#[test]
fn connections_of_watching_clients_are_bounded_and_come_back() {
    let cluster = Cluster::start_with(1, |settings| settings.limits.dedicated_connections = 3);
    let mut clients: Vec<RawClient> = (0..4).map(|_| cluster.client()).collect();
    for client in &mut clients[..3] {
        assert_eq!(client.text(&["WATCH", "k"]), "+OK\r\n");
        assert_eq!(client.text(&["WATCH", "k"]), "+OK\r\n", "the same connection");
    }
    let refused = clients[3].text(&["WATCH", "k"]);
    assert!(refused.starts_with("-ERR too many clients use a connection of their own"), "{refused}");
    assert_eq!(clients[0].text(&["UNWATCH"]), "+OK\r\n");
    let last = &mut clients[3];
    wait_for("the connection to be given back", || last.text(&["WATCH", "k"]) == "+OK\r\n");
    clients[1].call(&["MULTI"]);
    assert_eq!(clients[1].text(&["EXEC"]), "*0\r\n");
    wait_for("the connection to be given back", || clients[0].text(&["WATCH", "k"]) == "+OK\r\n");
}

#[test]
fn info_in_a_transaction_tells_of_the_node_that_runs_it() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    for node in ["cache-1", "cache-2"] {
        let key = cluster.key_of(node);
        let port = cluster.server(node).address().split(':').next_back().expect("a port").to_owned();
        assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
        for request in [&["SET", &key, "v"][..], &["INFO", "server"], &["INFO"]] {
            assert_eq!(client.text(request), "+QUEUED\r\n");
        }
        let replies = client.text(&["EXEC"]);
        let of_it = format!("tcp_port:{port}\r\n");
        assert!(replies.starts_with("*3\r\n+OK\r\n$") && replies.matches(&of_it).count() == 2, "{replies}");
    }
    // alone it runs on any
    client.text(&["MULTI"]);
    client.text(&["INFO"]);
    assert!(client.text(&["EXEC"]).starts_with("*1\r\n$"));
}
