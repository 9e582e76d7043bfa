//! Transactions with commands about all keys: on the only node as on one server, refused where there are several.

use ringway_proxy::settings::Settings;

use crate::near_cache::{keeps_long, kept};
use crate::support::{Cluster, RedisServer};
use crate::transactions::{compare, words};

/// What concerns all keys, in a transaction on the only node.
const ALL_KEYS: &[&[&str]] = &[
    &[
        "MULTI",
        "SET a 1",
        "DBSIZE",
        "KEYS *",
        "RANDOMKEY",
        "FLUSHDB",
        "DBSIZE",
        "RANDOMKEY",
        "SET b 2",
        "EXEC",
        "GET b",
    ],
    &["MULTI", "SET a 1", "SWAPDB 0 3", "GET a", "FLUSHALL", "DBSIZE", "EXEC", "DBSIZE"],
    &["MULTI", "DBSIZE now", "EXEC"],
    &["MULTI", "SAVE", "EXEC"],
    &["MULTI", "SHUTDOWN", "EXEC"],
    &["WATCH a", "MULTI", "FLUSHALL ASYNC", "SET a 1", "EXEC", "GET a"],
    &["SET a 1", "WATCH a", "FLUSHALL", "MULTI", "DBSIZE", "EXEC"],
];

fn with_all_keys(nodes: usize, more: impl FnOnce(&mut Settings)) -> Cluster {
    Cluster::start_with(nodes, |settings| {
        settings.allowed_commands = ["flushall", "flushdb", "swapdb", "keys"].map(String::from).into();
        more(settings);
    })
}

#[test]
fn the_only_node_has_all_keys_also_in_a_transaction() {
    let plain = RedisServer::start();
    let cluster = with_all_keys(1, |_| {});
    for script in ALL_KEYS {
        for three in [false, true] {
            let mut proxied = if three { cluster.client3() } else { cluster.client() };
            let mut direct = plain.client();
            if three {
                direct.call(&["HELLO", "3"]);
            }
            proxied.call(&["FLUSHALL"]);
            direct.call(&["FLUSHALL"]);
            compare(&mut proxied, &mut direct, script);
        }
    }
}

#[test]
fn what_is_refused_outside_of_a_transaction_is_refused_inside() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    client.call(&["SET", "a", "1"]);
    for line in ["FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "KEYS *"] {
        client.call(&["MULTI"]);
        let reply = client.text(&words(line));
        assert!(reply.starts_with("-ERR ") && reply.contains("the operator allows it"), "{line}: {reply}");
        assert!(client.text(&["EXEC"]).starts_with("-EXECABORT"));
    }
    assert_eq!(client.text(&["GET", "a"]), "$1\r\n1\r\n");
}

#[test]
fn i8_a_second_node_between_multi_and_exec_has_keys_as_well() {
    let cluster = with_all_keys(2, |_| {});
    let both = cluster.control().topology().spec().nodes.clone();
    cluster.apply(both[..1].to_vec());
    let mut client = cluster.client();
    client.call(&["SET", "a", "1"]);
    for watched in [false, true] {
        cluster.apply(both[..1].to_vec());
        if watched {
            assert_eq!(client.text(&["WATCH", "a"]), "+OK\r\n");
        }
        assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
        assert_eq!(client.text(&["FLUSHALL"]), "+QUEUED\r\n");
        cluster.apply(both.clone());
        let reply = client.text(&["EXEC"]);
        let moved = watched && cluster.owner("a") != both[0].name;
        let expected = "-EXECABORT Transaction discarded because of: FLUSHALL is refused inside MULTI: it concerns all nodes";
        assert!(if moved { reply == "*-1\r\n" } else { reply.starts_with(expected) }, "{reply}");
    }
    cluster.apply(both[..1].to_vec());
    assert_eq!(client.text(&["GET", "a"]), "$1\r\n1\r\n");
}

#[test]
fn a_flush_in_a_transaction_leaves_nothing_that_is_kept() {
    let cluster = with_all_keys(1, keeps_long);
    let (mut reader, mut writer) = (cluster.client(), cluster.client());
    for flush in ["FLUSHALL", "FLUSHDB", "SWAPDB 0 1"] {
        for _ in 0..20 {
            writer.call(&["SET", "k", "v"]);
            assert_eq!(kept(&cluster, &mut reader, &["GET", "k"]), "$1\r\nv\r\n");
            writer.call(&["MULTI"]);
            writer.call(&words(flush));
            assert!(writer.text(&["EXEC"]).ends_with("+OK\r\n"));
            assert_eq!(reader.text(&["GET", "k"]), "$-1\r\n", "{flush}");
            writer.call(&["FLUSHALL"]);
        }
    }
}
