//! Functions over all nodes: libraries reach nodes that join or restart, and a dump holds what all have.

use ringway_proxy::settings::NodeSpec;

use crate::support::harness::specs;
use crate::support::raw_client::RawClient;
use crate::support::{Cluster, RedisServer};

fn library(name: &str, function: &str, answer: &str) -> String {
    format!(
        "#!lua name={name}\n-- {}\nredis.register_function('{function}', function() return '{answer}' end)",
        "long enough to be compressed when it is dumped, again and again and again ".repeat(3)
    )
}

/// One key of each node now.
fn keys(cluster: &Cluster, nodes: &[&str]) -> Vec<String> {
    nodes.iter().map(|node| cluster.key_of(node)).collect()
}

#[test]
fn functions_reach_nodes_that_join_or_restart_and_overwrite_nothing() {
    let mut cluster = Cluster::start(2);
    let mut client = cluster.client();
    let [one, two, newer] =
        [library("one", "f1", "old"), library("two", "f2", "2"), library("one", "f1", "new")];
    assert_eq!(client.text(&["FUNCTION", "LOAD", &one]), "$3\r\none\r\n");
    assert_eq!(client.text(&["FUNCTION", "LOAD", &two]), "$3\r\ntwo\r\n");
    // what the nodes refuse is not what later ones are told
    assert!(client.text(&["FUNCTION", "LOAD", &newer]).starts_with("-ERR Library 'one' already exists"));
    assert!(client.text(&["FUNCTION", "LOAD", "REPLACE", "#!lua name=one\nbroken("]).starts_with("-ERR "));
    let joining = RedisServer::start();
    let mine = library("two", "f2", "mine");
    let _: String = joining.call(&["FUNCTION", "LOAD", &mine]);
    let mut nodes = specs(&cluster.nodes);
    nodes.push(NodeSpec::new("late", joining.address()));
    cluster.apply(nodes);
    let key = cluster.key_of("late");
    for mut client in [cluster.client(), cluster.client3()] {
        assert_eq!(client.text(&["FCALL", "f1", "1", &key]), "$3\r\nold\r\n", "from the proxy");
        assert!(client.text(&["FCALL_RO", "f2", "1", &key]).starts_with("-ERR Can not execute"));
        assert_eq!(client.text(&["FCALL", "f2", "1", &key]), "$4\r\nmine\r\n", "what the node had stays");
    }
    cluster.apply(specs(&cluster.nodes));
    assert_eq!(client.text(&["FUNCTION", "LOAD", "REPLACE", &newer]), "$3\r\none\r\n");
    // a deletion that is sent before the reply to the loading is there
    client.send_command(&["FUNCTION", "LOAD", "REPLACE", &two]);
    client.send_command(&["FUNCTION", "DELETE", "two"]);
    assert_eq!((client.text_reply(), client.text_reply()), ("$3\r\ntwo\r\n".into(), "+OK\r\n".into()));
    cluster.server_mut("cache-1").restart();
    cluster.wait_all();
    for key in keys(&cluster, &["cache-1", "cache-2"]) {
        for mut client in [cluster.client(), cluster.client3()] {
            assert_eq!(client.text(&["FCALL", "f1", "1", &key]), "$3\r\nnew\r\n");
            assert_eq!(client.text(&["FCALL", "f2", "1", &key]), "-ERR Function not found\r\n", "deleted");
        }
    }
}

#[test]
fn functions_of_a_dump_reach_nodes_that_restart() {
    let mut cluster = Cluster::start(2);
    let bare = RedisServer::start();
    for (name, function) in [("three", "f3"), ("four", "f4")] {
        let _: String = bare.call(&["FUNCTION", "LOAD", &library(name, function, name)]);
    }
    let dump: Vec<u8> = bare.call(&["FUNCTION", "DUMP"]);
    let mut client = cluster.client();
    client.call(&["FUNCTION", "LOAD", &library("one", "f1", "one")]);
    assert_eq!(client.call(&[b"FUNCTION", &b"RESTORE"[..], &dump, b"FLUSH"]), b"+OK\r\n");
    cluster.server_mut("cache-2").restart();
    cluster.wait_all();
    let key = cluster.key_of("cache-2");
    let answers =
        |client: &mut RawClient| ["f1", "f3", "f4"].map(|name| client.text(&["FCALL", name, "1", &key]));
    let missing = "-ERR Function not found\r\n";
    assert_eq!(answers(&mut client), [missing, "$5\r\nthree\r\n", "$4\r\nfour\r\n"]);
    assert_eq!(client.text(&["FUNCTION", "FLUSH"]), "+OK\r\n");
    cluster.server_mut("cache-2").restart();
    cluster.wait_all();
    assert_eq!(answers(&mut client), [missing; 3]);
}

#[test]
fn function_dump_holds_the_libraries_that_all_nodes_have() {
    let cluster = Cluster::start(3);
    let bare = RedisServer::start();
    for mut client in [cluster.client(), cluster.client3()] {
        for name in ["one", "two", "three", "four"] {
            client.call(&["FUNCTION", "LOAD", "REPLACE", &library(name, &format!("f_{name}"), name)]);
        }
        let reply = client.call(&["FUNCTION", "DUMP"]);
        let head = reply.iter().position(|byte| *byte == b'\n').expect("a head");
        let payload = &reply[head + 1..reply.len() - 2];
        let _: () = bare.call(&[b"FUNCTION", &b"RESTORE"[..], payload, b"FLUSH"]);
        assert_eq!(bare.call::<String>(&["FCALL", "f_three", "0"]), "three");
    }
    let _: String = cluster.server("cache-2").call(&["FUNCTION", "DELETE", "two"]);
    let reply = cluster.client().text(&["FUNCTION", "DUMP"]);
    assert_eq!(reply, "-ERR node 'cache-2' answers otherwise than node 'cache-1'\r\n");
}
