//! Commands whose keys lie on several nodes: six are split and joined, the others are refused whole.

use crate::support::frame::{bulk_array, bulk_request};
use crate::support::harness::node_name;
use crate::support::random::Random;
use crate::support::{Cluster, RawClient};

const CROSSSLOT: &str = "-CROSSSLOT Keys in request don't hash to the same node\r\n";

fn command(name: &str, keys: &[String]) -> Vec<u8> {
    let words: Vec<&str> = std::iter::once(name).chain(keys.iter().map(String::as_str)).collect();
    bulk_request(&words)
}

fn ask(client: &mut RawClient, name: &str, keys: &[String]) -> String {
    client.send(&command(name, keys));
    String::from_utf8_lossy(&client.reply()).into_owned()
}

#[test]
fn joined_in_order_with_duplicates_and_misses() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let mut random = Random::new(5);
    for n in (0..100).step_by(2) {
        client.call(&["SET", &format!("k{n}"), &format!("v{n}")]);
    }
    for _ in 0..200 {
        // even keys exist, odd ones do not, and most draws repeat some
        let drawn: Vec<usize> = (0..1 + random.below(40)).map(|_| random.below(100)).collect();
        let keys: Vec<String> = drawn.iter().map(|n| format!("k{n}")).collect();
        let values: Vec<Option<Vec<u8>>> =
            drawn.iter().map(|n| (n % 2 == 0).then(|| format!("v{n}").into_bytes())).collect();
        client.send(&command("MGET", &keys));
        assert_eq!(client.reply(), bulk_array(&values));
        // EXISTS and TOUCH count a key as often as it is named
        let there = format!(":{}\r\n", values.iter().flatten().count());
        assert_eq!(ask(&mut client, "EXISTS", &keys), there);
        assert_eq!(ask(&mut client, "TOUCH", &keys), there);
    }
}

#[test]
fn mset_takes_the_last_value_of_a_key_named_twice() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    for n in 0..50 {
        let (key, other) = (format!("twice{n}"), format!("other{n}"));
        assert_eq!(client.text(&["MSET", &key, "first", &other, "x", &key, "last"]), "+OK\r\n");
        assert_eq!(client.text(&["GET", &key]), "$4\r\nlast\r\n");
    }
}

#[test]
fn del_counts_a_key_once() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    for name in ["DEL", "UNLINK"] {
        client.call(&["MSET", "d1", "x", "d2", "x", "d3", "x", "d4", "x"]);
        let keys: Vec<String> = ["d1", "d2", "d1", "none", "d3", "d4", "d2"].map(str::to_owned).to_vec();
        assert_eq!(ask(&mut client, name, &keys), ":4\r\n");
        assert_eq!(ask(&mut client, name, &keys), ":0\r\n");
    }
}

#[test]
fn ten_thousand_keys() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let keys: Vec<String> = (0..10_000).map(|n| format!("many:{n}")).collect();
    let pairs: Vec<String> = keys.iter().flat_map(|key| [key.clone(), format!("value of {key}")]).collect();
    assert_eq!(ask(&mut client, "MSET", &pairs), "+OK\r\n");
    let values: Vec<Option<Vec<u8>>> =
        keys.iter().map(|key| Some(format!("value of {key}").into_bytes())).collect();
    client.send(&command("MGET", &keys));
    assert!(client.reply() == bulk_array(&values));
    for (name, reply) in
        [("EXISTS", ":10000\r\n"), ("TOUCH", ":10000\r\n"), ("UNLINK", ":10000\r\n"), ("DEL", ":0\r\n")]
    {
        assert_eq!(ask(&mut client, name, &keys), reply, "{name}");
    }
}

#[test]
fn resp3_clients_get_resp3_parts() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client3();
    client.call(&["MSET", "r1", "1", "r2", "2"]);
    let keys: Vec<String> = (0..8).map(|n| format!("r{n}")).collect();
    assert_eq!(ask(&mut client, "MGET", &keys), "*8\r\n_\r\n$1\r\n1\r\n$1\r\n2\r\n_\r\n_\r\n_\r\n_\r\n_\r\n");
}

#[test]
fn wrong_type_in_a_part_is_a_miss_as_in_redis() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    client.call(&["RPUSH", "list", "x"]);
    client.call(&["SET", "text", "y"]);
    assert_eq!(client.text(&["MGET", "list", "text", "none"]), "*3\r\n$-1\r\n$1\r\ny\r\n$-1\r\n");
}

#[test]
fn wrong_number_of_arguments_sends_nothing() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    assert_eq!(
        client.text(&["MSET", "a", "1", "b"]),
        "-ERR wrong number of arguments for 'mset' command\r\n"
    );
    for name in ["MGET", "DEL", "UNLINK", "EXISTS", "TOUCH", "MSET"] {
        let expected = format!("-ERR wrong number of arguments for '{}' command\r\n", name.to_lowercase());
        assert_eq!(client.text(&[name]), expected);
    }
    assert!(cluster.nodes.iter().all(|node| node.dbsize() == 0));
}

#[test]
fn crossslot_executes_nothing() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let first = cluster.keys_of("cache-1", "x").next().expect("a key");
    let second = cluster.keys_of("cache-2", "x").next().expect("a key");
    let (a, b) = (first.as_str(), second.as_str());
    let commands: &[&[&str]] = &[
        &["MSETNX", a, "1", b, "2"],
        &["RENAME", a, b],
        &["COPY", a, b],
        &["SMOVE", a, b, "m"],
        &["LMOVE", a, b, "LEFT", "RIGHT"],
        &["RPOPLPUSH", a, b],
        &["SINTERSTORE", a, b],
        &["SUNION", a, b],
        &["ZUNIONSTORE", a, "1", b],
        &["ZUNION", "2", a, b],
        &["BITOP", "AND", a, b],
        &["PFMERGE", a, b],
        &["PFCOUNT", a, b],
        &["EVAL", "return redis.call('set', KEYS[1], 'x')", "2", a, b],
        &["SORT", a, "STORE", b],
        &["GEOSEARCHSTORE", a, b, "FROMLONLAT", "0", "0", "BYRADIUS", "1", "km"],
        &["XREAD", "STREAMS", a, b, "0", "0"],
        &["LCS", a, b],
    ];
    for args in commands {
        assert_eq!(client.text(args), CROSSSLOT, "{args:?}");
    }
    assert!(cluster.nodes.iter().all(|node| node.dbsize() == 0), "nothing was executed");
    assert_eq!(client.text(&["ECHO", "x"]), "$1\r\nx\r\n");
}

/// Twelve keys that a node owns, so that every node has a part.
fn spread(cluster: &Cluster) -> Vec<String> {
    (0..3).flat_map(|at| cluster.keys_of(&node_name(at), "spread:").take(12).collect::<Vec<_>>()).collect()
}

#[test]
fn a2_a_dead_node_fails_the_whole_command_and_says_what_ran() {
    let mut cluster = Cluster::start(3);
    let keys = spread(&cluster);
    let pairs: Vec<String> = keys.iter().flat_map(|key| [key.clone(), "old".into()]).collect();
    let mut client = cluster.client();
    assert_eq!(ask(&mut client, "MSET", &pairs), "+OK\r\n");
    cluster.server_mut("cache-2").kill();
    crate::support::wait_for("the dead node to be noticed", || {
        ask(&mut client, "GET", &keys[12..13]).starts_with("-NOTSENT")
    });

    for name in ["MGET", "EXISTS", "TOUCH"] {
        let reply = ask(&mut client, name, &keys);
        // reading changes nothing, so nothing has to be told about the other parts
        assert!(reply.starts_with("-NOTSENT node 'cache-2' ("), "{name}: {reply}");
    }
    let pairs: Vec<String> = keys.iter().flat_map(|key| [key.clone(), "new".into()]).collect();
    let reply = ask(&mut client, "MSET", &pairs);
    let changed = keys[..12]
        .iter()
        .chain(&keys[24..])
        .filter(|key| ask(&mut client, "GET", std::slice::from_ref(key)) == "$3\r\nnew\r\n");
    match changed.count() {
        0 => assert!(reply.starts_with("-NOTSENT node 'cache-2' ("), "{reply}"),
        _ => assert!(reply.starts_with("-UNKNOWN node 'cache-2' (") && reply.contains("ran"), "{reply}"),
    }
    let reply = ask(&mut client, "DEL", &keys);
    assert!(reply.starts_with('-') && reply.contains("node 'cache-2'"), "{reply}");

    // keys that do not touch the dead node go on
    let healthy: Vec<String> = keys[..12].iter().chain(&keys[24..]).cloned().collect();
    assert!(ask(&mut client, "EXISTS", &healthy).starts_with(':'));

    cluster.server_mut("cache-2").restart();
    cluster.wait_usable("cache-2");
    assert_eq!(ask(&mut client, "DEL", &keys[12..24]), ":0\r\n");
    assert!(ask(&mut client, "MGET", &keys).starts_with("*36\r\n"));
}

#[test]
fn a_dead_node_does_not_disturb_replies_around_it() {
    let mut cluster = Cluster::start(3);
    let dead = cluster.key_of("cache-3");
    let keys = spread(&cluster);
    cluster.server_mut("cache-3").kill();
    let mut client = cluster.client();
    for n in 0..300 {
        client.send_command(&["SET", &keys[n % 12], &format!("{n}")]);
        client.send_command(&["GET", &dead]);
        client.send(&command("MGET", &keys));
        client.send_command(&["ECHO", &format!("n{n}")]);
    }
    for n in 0..300 {
        assert_eq!(client.reply(), b"+OK\r\n");
        for _ in 0..2 {
            let reply = String::from_utf8_lossy(&client.reply()).into_owned();
            assert!(
                reply.starts_with("-NOTSENT node 'cache-3'") || reply.starts_with("-UNKNOWN node 'cache-3'"),
                "{reply}"
            );
        }
        let nonce = format!("n{n}");
        assert_eq!(client.reply(), crate::support::frame::bulk(nonce.as_bytes()));
    }
}
