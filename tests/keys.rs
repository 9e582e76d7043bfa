//! KEYS over several nodes: streamed, in little memory, whole or not at all.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::frame::bulk_request;
use crate::support::harness::specs;
use crate::support::rig::{MIB, Rig};
use crate::support::{Cluster, RawClient, RedisServer, wait_for};

/// Long, so that some ten thousand keys are much more than sockets hold.
fn prefix() -> String {
    "k".repeat(110)
}

/// Fills a server with keys `{prefix}:0` and so on, whoever owns them.
fn populate(server: &RedisServer, count: usize) {
    let _: String = server.call(&["DEBUG", "POPULATE", &count.to_string(), &prefix(), "1"]);
}

/// The bytes of the reply that lists all of them.
fn reply_bytes(count: usize) -> usize {
    let element = |n: usize| {
        let len = prefix().len() + 1 + n.to_string().len();
        format!("${len}\r\n").len() + len + 2
    };
    format!("*{count}\r\n").len() + (0..count).map(element).sum::<usize>()
}

/// The elements of an array of bulk strings.
fn elements(reply: &[u8]) -> BTreeSet<String> {
    let text = std::str::from_utf8(reply).expect("a text");
    text.lines().skip(2).step_by(2).map(str::to_owned).collect()
}

fn allowing_keys(count: usize) -> Cluster {
    Cluster::start_with(count, |settings| {
        settings.allowed_commands = vec!["keys".into()];
        // listing many keys takes a server long on a busy machine
        settings.timeouts.operation = Duration::from_secs(60);
    })
}

#[test]
fn i6_three_times_fifty_thousand_long_keys_pass_through_in_little_memory() {
    const COUNT: usize = 50_000;
    let servers = (0..3).map(|_| RedisServer::start()).collect();
    let more = "commands: {allow: [keys]}\ntimeouts: {connect: 5s, operation: 60s}\n";
    let rig = Rig::on(servers, more, &[]);
    // the same on every node: two thirds of each are strays and are left out
    rig.servers.iter().for_each(|server| populate(server, COUNT));
    let len = reply_bytes(COUNT);
    assert!(len as u64 > 5 * MIB, "{len}");
    for round in 0..2 {
        let (before, mut client) = (rig.memory(), rig.program.client());
        client.send_command(&["KEYS", "k*"]);
        let mut reply = Vec::new();
        while reply.len() < len {
            reply.extend(client.bytes((1 << 20).min(len - reply.len())));
            if reply.len() < 2 << 20 {
                // a reader that takes its time
                std::thread::sleep(Duration::from_millis(20));
                rig.grew_at_most(before, 3 * MIB, "KEYS for a slow reader");
            }
        }
        rig.grew_at_most(before, 3 * MIB, "KEYS");
        assert!(reply.starts_with(format!("*{COUNT}\r\n").as_bytes()));
        assert_eq!(elements(&reply).len(), COUNT, "each once, round {round}");
        assert_eq!(client.text(&["PING"]), "+PONG\r\n");
    }
}

#[test]
fn i4_a_node_that_fails_in_the_middle_of_keys_ends_the_connection() {
    const COUNT: usize = 40_000;
    let mut cluster = allowing_keys(3);
    cluster.nodes.iter().for_each(|server| populate(server, COUNT));
    let mut client = cluster.client();
    client.send_command(&["KEYS", "*"]);
    let head = format!("*{COUNT}\r\n");
    assert_eq!(client.bytes(head.len()), head.as_bytes());
    cluster.server_mut("cache-3").kill();
    let rest = client.rest();
    assert!(head.len() + rest.len() < reply_bytes(COUNT), "{} bytes", rest.len());
    // before the head it is an error like any other
    let mut client = cluster.client();
    wait_for("it to be down", || client.text(&["KEYS", "*"]).starts_with("-NOTSENT node 'cache-3'"));
    cluster.server_mut("cache-3").restart();
    cluster.wait_usable("cache-3");
    wait_for("it to be listed again", || client.text(&["KEYS", "none"]) == "*0\r\n");
}

#[test]
fn keys_goes_on_when_a_node_leaves_the_topology_in_the_middle() {
    const COUNT: usize = 40_000;
    let cluster = allowing_keys(3);
    cluster.nodes.iter().for_each(|server| populate(server, COUNT));
    let mut client = cluster.client();
    client.send_command(&["KEYS", "*"]);
    let head = format!("*{COUNT}\r\n");
    assert_eq!(client.bytes(head.len()), head.as_bytes());
    cluster.apply(specs(&cluster.nodes[..2]));
    let rest = client.bytes(reply_bytes(COUNT) - head.len());
    assert_eq!(elements(&[head.as_bytes(), &rest].concat()).len(), COUNT);
    assert_eq!(client.text(&["PING"]), "+PONG\r\n");
}

#[test]
fn c8_who_leaves_while_keys_come_leaves_nothing_behind() {
    let cluster = allowing_keys(2);
    cluster.nodes.iter().for_each(|server| populate(server, 20_000));
    let clients: Vec<RawClient> = (0..8)
        .map(|_| {
            let mut client = cluster.client();
            client.send_command(&["KEYS", "*"]);
            client.bytes(1);
            client
        })
        .collect();
    clients.into_iter().for_each(RawClient::reset);
    wait_for("what was still to come for them to be dropped", || {
        cluster.nodes.iter().all(|server| {
            let list: String = server.call(&["CLIENT", "LIST"]);
            list.lines().all(|line| line.contains(" oll=0 "))
        })
    });
    wait_for("them to be forgotten", || cluster.control().snapshot().client_connections <= 1);
}

#[test]
fn keys_answers_as_one_server_does_among_other_commands() {
    let cluster = allowing_keys(1);
    let server = RedisServer::start();
    for protocol in ["2", "3"] {
        let (mut through, mut direct) = (cluster.client(), server.client());
        for client in [&mut through, &mut direct] {
            client.call(&["HELLO", protocol]);
            client.call(&["FLUSHDB"]);
            client.call(&["SELECT", "3"]);
        }
        // one key at most matches each pattern: no order is promised
        let lines: [&[&str]; 15] = [
            &["SET", "one", "1"],
            &["KEYS", "one"],
            &["SET", "two", "2"],
            &["KEYS", "t*"],
            &["KEYS", "none"],
            &["KEYS"],
            &["KEYS", "a", "b"],
            &["SET", "\r\n*1\r\n", "odd"],
            &["KEYS", "*\r\n"],
            &["CLIENT", "REPLY", "SKIP"],
            &["KEYS", "*"],
            &["DEL", "one", "two", "\r\n*1\r\n"],
            &["KEYS", "*"],
            &["SELECT", "0"],
            &["PING"],
        ];
        let requests: Vec<u8> = lines.iter().flat_map(|line| bulk_request(line)).collect();
        for client in [&mut through, &mut direct] {
            client.send(&requests);
            client.finish_sending();
        }
        let (got, expected) = (through.rest(), direct.rest());
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&expected), "RESP{protocol}");
    }
}
