//! KEYS, FLUSHALL and others: refused until the settings allow them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringway_proxy::command;
use ringway_proxy::topology::{NodeIndex, Owner};

use crate::cluster::{Cluster, ok};
use crate::command_server::{Connection, Value};

fn texts(reply: &Value) -> BTreeSet<String> {
    let found: Vec<String> = reply.elements().iter().map(Value::text).collect();
    let different: BTreeSet<String> = found.iter().cloned().collect();
    assert_eq!(found.len(), different.len(), "each key once");
    different
}

fn size(client: &mut Connection) -> Value {
    client.call(&["DBSIZE"])
}

#[test]
fn they_are_refused_by_default_and_the_refusal_says_how_to_allow_them() {
    let names: Vec<&str> = command::guarded().map(|row| row.full_name).collect();
    let server = ["bgrewriteaof", "bgsave", "flushall", "flushdb", "monitor", "save", "swapdb"];
    let below =
        ["acl|deluser", "acl|save", "acl|setuser", "config|resetstat", "config|rewrite", "config|set"];
    assert_eq!(names, [&["keys"][..], &server, &below].concat());
    let cluster = Cluster::start(2);
    cluster.fill(10);
    for mut client in cluster.both() {
        for request in [&["KEYS", "*"][..], &["FLUSHALL"], &["flushdb", "ASYNC"], &["MONITOR"]] {
            let refusal = client.call(request).text();
            let name = request[0].to_lowercase();
            let begin = format!("ERR {} is refused: it ", name.to_uppercase());
            let end = format!("allows it in ringway.yaml with  commands: {{ allow: [{name}] }}");
            assert!(refusal.starts_with(&begin) && refusal.ends_with(&end), "{refusal}");
        }
        assert_eq!(size(&mut client), Value::Integer(10));
    }
}

#[test]
fn one_that_is_allowed_runs_and_the_others_do_not() {
    let cluster = Cluster::start_with(3, |settings| settings.allowed_commands = vec!["FlushAll".into()]);
    for mut client in cluster.both() {
        for request in [&["FLUSHALL"][..], &["flushall", "ASYNC"], &["FLUSHALL", "SYNC"]] {
            cluster.fill(30);
            assert_eq!(client.call(request), ok());
            assert_eq!(size(&mut client), Value::Integer(0));
        }
        assert_eq!(client.call(&["FLUSHALL", "x"]), cluster.node(0).call(&["FLUSHALL", "x"]));
        assert!(client.call(&["FLUSHDB"]).text().starts_with("ERR FLUSHDB is refused"));
    }
    let cluster = Cluster::start_with(2, |settings| settings.allowed_commands = vec!["flushdb".into()]);
    for mut client in cluster.both() {
        cluster.fill(30);
        assert_eq!(client.call(&["FLUSHDB"]), ok());
        assert_eq!(size(&mut client), Value::Integer(0));
    }
}

#[test]
fn keys_lists_the_keys_of_all_nodes_and_no_strays() {
    let cluster = Cluster::start_with(3, |settings| settings.allowed_commands = vec!["keys".into()]);
    for mut client in cluster.both() {
        assert_eq!(client.call(&["KEYS", "none"]), Value::Array(Vec::new()));
    }
    cluster.fill(1000);
    let all: BTreeSet<String> = (0..1000).map(|at| format!("key:{at}")).collect();
    // the same key everywhere: two of the three are out of reach
    for node in 0..3 {
        cluster.node(node).call(&["SET", "stray", "v"]);
    }
    for mut client in cluster.both() {
        assert_eq!(texts(&client.call(&["KEYS", "key:*"])), all);
        let some = all.iter().filter(|key| key.starts_with("key:99")).cloned().collect();
        assert_eq!(texts(&client.call(&["KEYS", "key:99*"])), some);
        assert_eq!(texts(&client.call(&["KEYS", "s*"])), ["stray".to_owned()].into());
        assert_eq!(size(&mut client), Value::Integer(1003), "DBSIZE counts what the nodes hold");
    }
}

#[test]
fn i6_keys_of_any_number_pass_through_small_bounds() {
    let cluster = Cluster::start_with(3, |settings| {
        settings.allowed_commands = vec!["keys".into()];
        settings.limits.reply_soft_bytes = 50_000;
        settings.limits.reply_hard_bytes = 100_000;
    });
    cluster.fill(20_000);
    let all: BTreeSet<String> = (0..20_000).map(|at| format!("key:{at}")).collect();
    for mut client in cluster.both() {
        assert_eq!(texts(&client.call(&["KEYS", "*"])), all);
        assert_eq!(texts(&client.call(&["KEYS", "key:1999?"])).len(), 10);
        assert_eq!(size(&mut client), Value::Integer(20_000));
    }
}

#[test]
fn i4_a_node_that_may_not_list_its_keys_is_named() {
    let cluster = Cluster::start_with(2, |settings| settings.allowed_commands = vec!["keys".into()]);
    cluster.fill(20);
    let mut client = cluster.connect();
    cluster.node(1).call(&["ACL", "SETUSER", "default", "-keys"]);
    let reply = client.call(&["KEYS", "*"]).text();
    assert!(reply.starts_with("NOPERM ") && reply.ends_with(" (node 'node-1')"), "{reply}");
    cluster.node(0).call(&["ACL", "SETUSER", "default", "-keys"]);
    let reply = client.call(&["KEYS", "*"]).text();
    assert!(reply.starts_with("NOPERM ") && !reply.contains("node-1"), "{reply}");
    for node in 0..2 {
        cluster.node(node).call(&["ACL", "SETUSER", "default", "+keys"]);
    }
    assert_eq!(texts(&client.call(&["KEYS", "*"])).len(), 20);
    assert_eq!(size(&mut client), Value::Integer(20));
}

#[test]
fn i6_replies_that_wait_for_an_earlier_one_are_bounded_as_well() {
    let cluster = Cluster::start_with(2, |settings| {
        settings.limits.reply_soft_bytes = 50_000;
        settings.limits.reply_hard_bytes = 100_000;
        settings.timeouts.operation = Duration::from_secs(10);
    });
    let topology = cluster.control.topology();
    let key_of = |node: u16| {
        let owned = |key: &String| topology.owner(key.as_bytes()) == Owner::Node(NodeIndex(node));
        (0..).map(|at| format!("k{at}")).find(owned).expect("some key")
    };
    let (slow, fast) = (key_of(1), key_of(0));
    let mut client = cluster.connect();
    client.call(&["SET", &fast, &"x".repeat(10_000)]);
    let mut sleeper = cluster.node(1);
    let sleeping = std::thread::spawn(move || sleeper.call(&["DEBUG", "SLEEP", "1.5"]));
    std::thread::sleep(Duration::from_millis(200));
    let mut socket = TcpStream::connect(cluster.address).expect("connect");
    let get = |key: &str| format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
    socket.write_all((get(&slow) + &get(&fast).repeat(40)).as_bytes()).expect("write");
    let begun = Instant::now();
    let read = socket.read(&mut [0; 100]);
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "closed while the first reply was awaited");
    sleeping.join().expect("slept");
    assert_eq!(size(&mut client), Value::Integer(1));
}
