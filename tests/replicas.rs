//! WAIT over several nodes with real replicas: the answer holds for every write of the client, or is an error.

use std::time::Duration;

use crate::blocking::{wait_until_waiting, waiter};
use crate::support::frame::bulk_request;
use crate::support::harness::specs;
use crate::support::{Act, Cluster, FakeRedis, Harness, RedisServer, wait_for};

const CANNOT_TELL: &str = "-ERR what this client wrote may be gone: ";

/// A server that follows another one.
fn replica_of(server: &RedisServer) -> RedisServer {
    let address = server.address();
    let (host, port) = address.split_once(':').expect("host and port");
    let _: String = server.call(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    RedisServer::start_with(&["--replicaof", host, port])
}

/// Two replicas of the first server, one of every other, all of them in line.
fn replicas_of(servers: &[RedisServer]) -> Vec<RedisServer> {
    let of_first = servers.first().into_iter().chain(servers).map(replica_of).collect();
    for (at, server) in servers.iter().enumerate() {
        let expected = if at == 0 { 2 } else { 1 };
        wait_for("the replicas", || {
            let info: String = server.call(&["INFO", "replication"]);
            info.matches("state=online").count() == expected
        });
    }
    of_first
}

fn get(server: &RedisServer, key: &str) -> Option<String> {
    server.call(&["GET", key])
}

#[test]
fn i4_wait_answers_what_is_true_of_every_write_of_the_client() {
    let cluster = Cluster::start(2);
    let replicas = replicas_of(&cluster.nodes);
    let (here, there) = (cluster.key_of("cache-1"), cluster.key_of("cache-2"));
    for mut client in [cluster.client(), cluster.client3()] {
        for round in 0..50 {
            let value = round.to_string();
            // all at once: what stands before it is waited for, what stands behind it comes later
            let lines: [&[&str]; 5] = [
                &["SET", &here, &value],
                &["SET", &there, &value],
                &["WAIT", "1", "0"],
                &["SET", &here, "later"],
                &["WAIT", "1", "0"],
            ];
            client.send(&lines.iter().flat_map(|line| bulk_request(line)).collect::<Vec<u8>>());
            assert_eq!(client.text_reply(), "+OK\r\n");
            assert_eq!(client.text_reply(), "+OK\r\n");
            let first = client.text_reply();
            assert!(first == ":1\r\n", "{first}");
            assert_eq!(get(&replicas[2], &there), Some(value), "the answer is the replica's word");
            assert_eq!(client.text_reply(), "+OK\r\n");
            assert_eq!(client.text_reply(), ":1\r\n");
            assert!(replicas[..2].iter().any(|replica| get(replica, &here).as_deref() == Some("later")));
        }
        wait_for("all to be counted: one node has one replica only", || {
            let reply = client.text(&["WAIT", "2", "100"]);
            assert!(matches!(&*reply, ":0\r\n" | ":1\r\n"), "{reply}");
            reply == ":1\r\n"
        });
        replicas[2].pause();
        client.call(&["SET", &there, "unheard"]);
        assert_eq!(client.text(&["WAIT", "1", "50"]), ":0\r\n");
        assert_eq!(client.text(&["WAIT", "0", "0"]), ":0\r\n");
        replicas[2].resume();
        assert_eq!(client.text(&["WAIT", "1", "0"]), ":1\r\n");
        assert_eq!(get(&replicas[2], &there).as_deref(), Some("unheard"));
        wait_for("a look without waiting to tell it", || client.text(&["WAIT", "0", "0"]) == ":1\r\n");
    }
    assert_eq!(cluster.control().snapshot().blocked_clients, 0);
}

#[test]
fn wait_answers_as_one_server_does() {
    let cluster = Cluster::start(1);
    let server = RedisServer::start();
    let _replicas = [replicas_of(&cluster.nodes), replicas_of(std::slice::from_ref(&server))];
    for protocol in ["2", "3"] {
        let (mut through, mut direct) = (cluster.client(), server.client());
        for client in [&mut through, &mut direct] {
            client.call(&["HELLO", protocol]);
        }
        for line in [
            "SET k v",
            "WAIT 2 0",
            "WAIT",
            "WAIT 1",
            "WAIT x 0",
            "WAIT 0 x",
            "WAIT 1 x",
            "WAIT 1 -1",
            "WAIT 0 -1",
            "WAIT 1 0 0",
            "WAIT 2 9223372036854775807",
            "WAIT 99999999999999999999 0",
            "WAITAOF 1 0 0",
            "EVAL return(redis.call('wait','1','0')) 0",
            "PING",
        ] {
            let args: Vec<&str> = line.split(' ').collect();
            assert_eq!(through.text(&args), direct.text(&args), "RESP{protocol}: {line}");
        }
    }
}

#[test]
fn client_unblock_ends_a_wait_for_replicas() {
    let cluster = Cluster::start(2);
    let _replicas = replicas_of(&cluster.nodes);
    let mut other = cluster.client();
    for (reason, expected) in [
        // as many as have acknowledged by then
        (&["TIMEOUT"][..], ":"),
        (&[], ":"),
        (&["ERROR"], "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
    ] {
        let mut client = cluster.client();
        let id = client.text(&["CLIENT", "ID"]);
        let id = id.trim_start_matches(':').trim_end();
        // of the first node two replicas answer at once, of the second one never does
        let mut client = waiter(client, "WAIT 2 0");
        wait_until_waiting(&cluster.nodes[1], 1);
        wait_until_waiting(&cluster.nodes[0], 0);
        assert_eq!(cluster.control().snapshot().blocked_clients, 1);
        let unblock = [&["CLIENT", "UNBLOCK", id][..], reason].concat();
        assert_eq!(other.text(&unblock), ":1\r\n");
        let reply = client.text_reply();
        assert!(reply.starts_with(expected), "{reason:?}: {reply}");
        assert_eq!(other.text(&unblock), ":0\r\n");
        assert_eq!(client.text(&["WAIT", "1", "0"]), ":1\r\n", "it serves on");
    }
}

#[test]
fn c8_who_leaves_while_waiting_for_replicas_leaves_nothing_behind() {
    let cluster = Cluster::start(2);
    for reset in [false, true] {
        let clients: Vec<_> = (0..10).map(|_| waiter(cluster.client(), "WAIT 1 0")).collect();
        cluster.nodes.iter().for_each(|node| wait_until_waiting(node, 10));
        for mut client in clients {
            if reset {
                client.reset();
            } else {
                client.finish_sending();
                assert_eq!(client.rest(), b"");
            }
        }
        cluster.nodes.iter().for_each(|node| wait_until_waiting(node, 0));
    }
    wait_for("them to be forgotten", || cluster.control().snapshot().blocked_clients == 0);
}

#[test]
fn i4_a_node_that_dies_or_leaves_is_an_error_and_not_a_number() {
    let mut cluster = Cluster::start(2);
    let there = cluster.key_of("cache-2");
    let (mut client, mut bystander) = (cluster.client(), cluster.client());
    client.call(&["SET", &there, "v"]);
    let mut waits = waiter(client, "WAIT 1 0");
    cluster.nodes.iter().for_each(|node| wait_until_waiting(node, 1));
    cluster.server_mut("cache-2").kill();
    let reply = waits.text_reply();
    assert!(reply.starts_with("-UNKNOWN node 'cache-2'"), "{reply}");
    wait_for("it to be down for all", || waits.text(&["SET", &there, "v"]).starts_with("-NOTSENT"));
    wait_for("what is lost to have been told", || !waits.text(&["WAIT", "0", "0"]).starts_with(CANNOT_TELL));
    let reply = waits.text(&["WAIT", "0", "0"]);
    assert!(reply.starts_with("-NOTSENT node 'cache-2'"), "{reply}");
    cluster.server_mut("cache-2").restart();
    cluster.wait_usable("cache-2");
    // it has written nothing, but who knows that
    let reply = bystander.text(&["WAIT", "0", "0"]);
    assert!(reply.starts_with(CANNOT_TELL), "{reply}");
    wait_for("it to be told once", || bystander.text(&["WAIT", "0", "0"]) == ":0\r\n");
    assert_eq!(cluster.client().text(&["WAIT", "0", "0"]), ":0\r\n", "one who came later has lost nothing");

    let mut waits = waiter(bystander, "WAIT 1 0");
    cluster.nodes.iter().for_each(|node| wait_until_waiting(node, 1));
    cluster.apply(specs(&cluster.nodes[..1]));
    let reply = waits.text_reply();
    assert!(reply.starts_with("-UNKNOWN node 'cache-2'"), "{reply}");
    wait_until_waiting(&cluster.nodes[0], 0);
    let reply = waits.text(&["WAIT", "0", "0"]);
    assert!(reply.starts_with(CANNOT_TELL), "{reply}");
    assert_eq!(waits.text(&["WAIT", "0", "0"]), ":0\r\n");
}

#[test]
fn each_node_takes_one_of_the_connections_that_clients_may_have() {
    let cluster = Cluster::start_with(2, |settings| settings.limits.dedicated_connections = 3);
    let mut waits = waiter(cluster.client(), "WAIT 1 0");
    wait_until_waiting(&cluster.nodes[0], 1);
    let mut other = cluster.client();
    let reply = other.text(&["WAIT", "1", "0"]);
    assert!(reply.starts_with("-ERR too many clients use a connection of their own"), "{reply}");
    assert_eq!(other.text(&["BLPOP", "k", "0.01"]), "*-1\r\n", "there is one left");
    waits.finish_sending();
    assert_eq!(waits.rest(), b"");
    wait_for("room", || other.text(&["WAIT", "1", "10"]) == ":0\r\n");
}

#[test]
fn nobody_who_listens_to_everything_hears_of_it() {
    let cluster = Cluster::start(2);
    let mut listener = cluster.client();
    listener.call(&["PSUBSCRIBE", "*"]);
    assert_eq!(cluster.client().text(&["WAIT", "1", "10"]), ":0\r\n");
    assert_eq!(cluster.client().text(&["PUBLISH", "c", "last"]), ":1\r\n");
    assert!(listener.text_reply().ends_with("last\r\n"), "it is the first message");
}

/// Nodes that answer these requests as they are told.
fn scripted(answers: [&'static [(&'static str, &'static str)]; 2]) -> (Harness, Vec<FakeRedis>) {
    let node = |answers: &'static [(&'static str, &'static str)]| {
        FakeRedis::start(move |seen| {
            let known = answers.iter().find(|(name, _)| *name == seen.name());
            vec![Act::text(known.map_or("+PONG\r\n", |(_, reply)| reply))]
        })
    };
    let nodes: Vec<_> = answers.into_iter().map(node).collect();
    let harness = Harness::in_front_of(&[("cache-1", nodes[0].address()), ("cache-2", nodes[1].address())]);
    (harness, nodes)
}

#[test]
fn waitaof_is_the_least_in_both_places_and_old_servers_wait_too() {
    const UNKNOWN: &str = "-ERR unknown command `SPUBLISH`, with args beginning with: \r\n";
    let (harness, nodes) = scripted([
        &[("SPUBLISH", ":0\r\n"), ("WAITAOF", "*2\r\n:1\r\n:0\r\n"), ("WAIT", ":3\r\n")],
        &[("SPUBLISH", UNKNOWN), ("WAITAOF", "*2\r\n:0\r\n:2\r\n"), ("WAIT", ":2\r\n")],
    ]);
    let mut client = harness.client();
    assert_eq!(client.text(&["WAITAOF", "1", "0", "0"]), "*2\r\n:0\r\n:0\r\n");
    assert_eq!(client.text(&["WAIT", "2", "0"]), ":2\r\n");
    for node in &nodes {
        let names: Vec<String> = node.seen().iter().map(|seen| seen.name()).collect();
        assert_eq!(names, ["SPUBLISH", "WAITAOF", "SPUBLISH", "WAIT"], "each behind a message");
    }
}

#[test]
fn i4_a_node_that_forbids_the_message_gives_no_number() {
    const FORBIDDEN: &str = "-NOPERM this user has no permissions to run the 'spublish' command\r\n";
    let (harness, _nodes) = scripted([
        &[("SPUBLISH", ":0\r\n"), ("WAIT", ":3\r\n")],
        &[("SPUBLISH", FORBIDDEN), ("WAIT", ":2\r\n")],
    ]);
    let mut client = harness.client();
    let reply = client.text(&["WAIT", "1", "0"]);
    assert!(reply.starts_with("-UNKNOWN node 'cache-2'") && reply.contains("needs SPUBLISH"), "{reply}");
    assert!(client.try_call(&["PING"], Duration::from_secs(10)).is_ok());
}
