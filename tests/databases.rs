//! Databases: each has its own keys, placed alike, and order holds across them. A bare server is the judge.

use crate::support::frame::bulk_request;
use crate::support::{Cluster, RawClient, RedisServer};

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn allowing(nodes: usize) -> Cluster {
    Cluster::start_with(nodes, |settings| {
        settings.threads = 2;
        settings.allowed_commands = ["keys", "flushdb", "flushall", "swapdb"].map(String::from).to_vec();
    })
}

/// Each line to both, one after the other.
fn same(ours: &mut RawClient, theirs: &mut RawClient, script: &str) {
    for line in script.split("; ") {
        assert_eq!(ours.text(&words(line)), theirs.text(&words(line)), "{line}");
    }
}

#[test]
fn a_session_over_databases_is_answered_as_redis_answers() {
    let (cluster, bare) = (allowing(1), RedisServer::start());
    for protocol in ["2", "3"] {
        let (mut ours, mut theirs) = (cluster.client(), bare.client());
        ours.call(&["HELLO", protocol]);
        theirs.call(&["HELLO", protocol]);
        same(
            &mut ours,
            &mut theirs,
            "FLUSHALL; SET k zero; SELECT 1; GET k; SET k one; SET only1 x; DBSIZE; SELECT 0; GET k; DBSIZE; MOVE k 1; \
             MOVE k 2; GET k; SELECT 2; GET k; MOVE k 2; MOVE k x; MOVE k -1; MOVE k 16; MOVE nokey 3; MOVE k; \
             COPY k c; COPY k c DB 3; COPY k c DB 3; COPY k c DB 3 REPLACE; COPY k k DB 4; COPY k k; COPY k c DB 16; \
             COPY k c DB x; COPY k c DB; COPY k c DB -1; COPY k c WHAT; SELECT 3; GET c; SELECT 4; GET k; KEYS *; \
             RANDOMKEY; SCAN 0; SWAPDB 4 5; KEYS *; SELECT 5; KEYS *; SWAPDB 5 5; SWAPDB x 1; SWAPDB 1 x; SWAPDB 1 16; \
             SWAPDB -1 0; FLUSHDB; DBSIZE; SELECT 1; DBSIZE; GET k; SELECT 16; SELECT -1; SELECT x; SELECT; GET k; \
             FLUSHALL; DBSIZE; RESET; DBSIZE",
        );
    }
}

#[test]
fn i2_a_pipeline_over_databases_keeps_its_order() {
    let cluster = allowing(3);
    let mut client = cluster.client();
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for round in 0..60 {
        let database = (round * 7 % 16).to_string();
        let key = format!("k{}", round % 5);
        let value = round.to_string();
        bytes.extend(bulk_request(&["SELECT", &database]));
        bytes.extend(bulk_request(&["SET", &key, &value]));
        bytes.extend(bulk_request(&["MOVE", &key, &((round + 1) * 7 % 16).to_string()]));
        bytes.extend(bulk_request(&["SELECT", &((round + 1) * 7 % 16).to_string()]));
        bytes.extend(bulk_request(&["GETDEL", &key]));
        expected.extend(b"+OK\r\n+OK\r\n:1\r\n+OK\r\n");
        expected.extend(format!("${}\r\n{value}\r\n", value.len()).bytes());
    }
    client.send(&bytes);
    assert_eq!(String::from_utf8_lossy(&client.bytes(expected.len())), String::from_utf8_lossy(&expected));
}

#[test]
fn keys_lie_on_the_same_node_in_every_database() {
    let cluster = allowing(3);
    let (mut client, mut other) = (cluster.client(), cluster.client3());
    for database in ["0", "1", "15"] {
        client.call(&["SELECT", database]);
        other.call(&["SELECT", database]);
        for at in 0..60 {
            assert_eq!(client.text(&["SET", &format!("key:{at}"), database]), "+OK\r\n");
            assert_eq!(
                other.text(&["GET", &format!("key:{at}")]),
                format!("${}\r\n{database}\r\n", database.len())
            );
        }
        assert_eq!(client.text(&["DBSIZE"]), ":60\r\n", "the keys of this database");
    }
    for node in ["cache-1", "cache-2", "cache-3"] {
        let mut direct = cluster.server(node).client();
        let listing = |direct: &mut RawClient, database: &str| {
            direct.call(&["SELECT", database]);
            let text = direct.text(&["KEYS", "*"]);
            let mut keys: Vec<String> = text.lines().skip(2).step_by(2).map(str::to_owned).collect();
            keys.sort();
            keys
        };
        let here = listing(&mut direct, "0");
        assert!(!here.is_empty() && here.iter().all(|key| cluster.owner(key) == node));
        assert_eq!(listing(&mut direct, "1"), here);
        assert_eq!(listing(&mut direct, "15"), here);
    }
    // SCAN walks over one database, and FLUSHDB empties one
    client.call(&["SELECT", "1"]);
    let (mut cursor, mut found) = ("0".to_owned(), std::collections::BTreeSet::new());
    loop {
        let page = client.text(&["SCAN", &cursor, "COUNT", "7"]);
        let texts: Vec<&str> = page.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
        cursor = texts[0].to_owned();
        found.extend(texts[1..].iter().map(|key| (*key).to_owned()));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 60);
    assert_eq!(client.text(&["FLUSHDB"]), "+OK\r\n");
    assert_eq!(client.text(&["RANDOMKEY"]), "$-1\r\n");
    client.call(&["SELECT", "15"]);
    assert_eq!(client.text(&["DBSIZE"]), ":60\r\n");
    assert_eq!(client.text(&["SWAPDB", "15", "1"]), "+OK\r\n");
    assert_eq!(client.text(&["DBSIZE"]), ":0\r\n");
}

#[test]
fn swapdb_is_refused_until_it_is_allowed() {
    let cluster = Cluster::start(1);
    let refusal = cluster.client().text(&["SWAPDB", "0", "1"]);
    assert!(
        refusal.starts_with("-ERR SWAPDB is refused") && refusal.contains("allow: [swapdb]"),
        "{refusal}"
    );
}

#[test]
fn databases_beyond_the_limit_cannot_be_named() {
    let cluster = Cluster::start_with(1, |settings| {
        settings.limits.databases = 2;
        settings.allowed_commands = vec!["swapdb".into()];
    });
    let mut client = cluster.client();
    client.call(&["SET", "k", "v"]);
    for request in ["SELECT 2", "MOVE k 2", "COPY k c DB 2", "SWAPDB 0 2", "SWAPDB 2 0"] {
        assert_eq!(client.text(&words(request)), "-ERR DB index is out of range\r\n", "{request}");
    }
    assert_eq!(client.text(&["MOVE", "k", "1"]), ":1\r\n");
}

#[test]
fn i4_a_node_with_fewer_databases_is_named_and_the_others_serve() {
    let few = RedisServer::start_with(&["--databases", "2"]);
    let many = RedisServer::start();
    let harness = crate::support::Harness::in_front_of(&[("few", few.address()), ("many", many.address())]);
    harness.wait_usable("few");
    harness.wait_usable("many");
    let (mut client, on_few, on_many) = (harness.client(), harness.key_of("few"), harness.key_of("many"));
    assert_eq!(client.text(&["SELECT", "9"]), "+OK\r\n");
    assert_eq!(client.text(&["SET", &on_many, "v"]), "+OK\r\n");
    let refused = client.text(&["SET", &on_few, "v"]);
    assert!(
        refused.starts_with("-NOTSENT node 'few'") && refused.contains("refuses the database"),
        "{refused}"
    );
    assert_eq!(client.text(&["SELECT", "1"]), "+OK\r\n");
    assert_eq!(client.text(&["SET", &on_few, "v"]), "+OK\r\n", "the node itself is well");
}
