//! Nodes and connections that die, stall and come back. Test names begin with the fault's row.
//!
//! The oracle of most of them is the token census: unique tokens are pushed, each outcome is noted, and in the end the
//! lists themselves are counted. OK = once, NOTSENT = never, UNKNOWN = at most once (laws I3, I4).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ringway_proxy::settings::{Credentials, NodeSpec, Secret, Settings};
use ringway_proxy::stats::NodeState;

use crate::support::byte_proxy::ByteProxy;
use crate::support::census::{Told, told, under_load};
use crate::support::frame::bulk_request;
use crate::support::harness::{node_name, patient, specs};
use crate::support::{Act, Cluster, FakeRedis, Harness, NoReply, RawClient, RedisServer, wait_for};

#[test]
fn a1_node_killed_at_full_load() {
    // every write is on disk before its reply, so that the census can be taken after the restart
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let nodes: Vec<RedisServer> = (0..3).map(|_| RedisServer::start_with(&durable)).collect();
    let harness = Harness::start(patient(specs(&nodes)));
    let mut cluster = Cluster { harness, nodes };
    cluster.wait_all();
    let totals = under_load(&mut cluster, |nodes| {
        nodes[1].kill();
        std::thread::sleep(Duration::from_millis(300));
        nodes[1].restart();
    });
    let told = |node: &str, told| totals.get(&(node.to_owned(), told)).copied().unwrap_or(0);
    assert!(told("cache-2", Told::NotSent) > 0, "later commands were refused: {totals:?}");
    for healthy in ["cache-1", "cache-3"] {
        assert_eq!(told(healthy, Told::NotSent) + told(healthy, Told::Unknown), 0, "undisturbed: {totals:?}");
    }
    cluster.wait_usable("cache-2");
}

#[test]
fn a6_connections_closed_by_the_node_again_and_again() {
    let mut cluster = Cluster::start(2);
    let before = cluster.node("cache-1").connects;
    let began = Instant::now();
    let totals = under_load(&mut cluster, |nodes| {
        for _ in 0..20 {
            let _: usize = nodes[0].call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let disturbed = |node: &str| {
        [Told::NotSent, Told::Unknown].iter().any(|told| totals.contains_key(&(node.to_owned(), *told)))
    };
    assert!(!disturbed("cache-2"), "{totals:?}");
    cluster.wait_usable("cache-1");
    let connects = cluster.node("cache-1").connects - before;
    let allowed = 10 * (began.elapsed().as_secs() + 2);
    assert!(connects <= allowed, "{connects} connects in {:?}", began.elapsed());
}

#[test]
fn a2_the_proxy_starts_with_all_nodes_down_and_they_join_when_they_are_up() {
    let mut nodes: Vec<RedisServer> = (0..2).map(|_| RedisServer::start()).collect();
    nodes.iter_mut().for_each(RedisServer::kill);
    let harness = Harness::start(Settings::new(specs(&nodes)));
    let mut cluster = Cluster { harness, nodes };
    let mut client = cluster.client();
    assert_eq!(client.text(&["PING"]), "+PONG\r\n");
    for at in 0..2 {
        let (name, key) = (node_name(at), cluster.key_of(&node_name(at)));
        assert_eq!(told(&client.call(&["INCR", &key]), &name), Told::NotSent);
    }
    cluster.nodes[1].restart();
    cluster.wait_usable("cache-2");
    assert_eq!(client.text(&["INCR", &cluster.key_of("cache-2")]), ":1\r\n");
    assert_eq!(told(&client.call(&["INCR", &cluster.key_of("cache-1")]), "cache-1"), Told::NotSent);
    cluster.nodes[0].restart();
    cluster.wait_all();
    assert_eq!(client.text(&["INCR", &cluster.key_of("cache-1")]), ":1\r\n");
}

#[test]
fn a3_a_stalled_node_is_unknown_then_fails_fast_then_comes_back() {
    let cluster = Cluster::start_with(3, |settings| {
        settings.threads = 1;
        settings.timeouts.operation = Duration::from_secs(2);
    });
    let stalled = cluster.key_of("cache-1");
    let mut client = cluster.client();
    let mut neighbour = cluster.client();
    cluster.server("cache-1").pause();
    let sent = Instant::now();
    assert_eq!(told(&client.call(&["INCR", &stalled]), "cache-1"), Told::Unknown);
    let timeout = cluster.control().timeouts().operation;
    assert!(sent.elapsed() >= timeout / 2, "not before the operation timeout: {:?}", sent.elapsed());

    // fail fast: fifty in a row would take fifty timeouts otherwise
    let sent = Instant::now();
    for _ in 0..50 {
        assert_eq!(told(&client.call(&["INCR", &stalled]), "cache-1"), Told::NotSent);
        assert_eq!(neighbour.call(&["INCR", &cluster.key_of("cache-2")])[0], b':');
    }
    assert!(sent.elapsed() < timeout * 20, "{:?}", sent.elapsed());
    cluster.wait_state("cache-1", NodeState::Down);

    cluster.server("cache-1").resume();
    cluster.wait_usable("cache-1");
    assert_eq!(client.call(&["INCR", &stalled])[0], b':');
}

#[test]
fn a3_a_short_pause_opens_nothing() {
    let cluster = Cluster::start_with(2, |settings| settings.timeouts.operation = Duration::from_secs(3));
    let key = cluster.key_of("cache-1");
    let connects = cluster.node("cache-1").connects;
    let mut sleeper = cluster.server("cache-1").client();
    sleeper.send_command(&["DEBUG", "SLEEP", "0.3"]);
    let mut client = cluster.client();
    for n in 1..20 {
        assert_eq!(client.text(&["INCR", &key]), format!(":{n}\r\n"));
    }
    assert_eq!(sleeper.reply(), b"+OK\r\n");
    assert_eq!(cluster.node("cache-1").connects, connects, "no connection was given up");
}

#[test]
fn a4_a_node_stopped_at_full_load_makes_no_write_twice() {
    let mut cluster = Cluster::start_with(2, |settings| settings.timeouts.operation = Duration::from_secs(1));
    let totals = under_load(&mut cluster, |nodes| {
        nodes[0].pause();
        std::thread::sleep(Duration::from_millis(2500));
        nodes[0].resume();
    });
    assert!(totals.contains_key(&("cache-1".into(), Told::Unknown)), "{totals:?}");
    assert!(!totals.contains_key(&("cache-2".into(), Told::Unknown)), "{totals:?}");
}

#[test]
fn a4_writes_still_on_their_way_are_fenced_before_the_first_new_one() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let mut settings = Settings::new(vec![NodeSpec::new("far", wire.address())]);
    settings.threads = 1;
    let harness = Harness::start(settings);
    harness.wait_usable("far");
    let mut client = harness.client();
    for round in 0..2 {
        // what is on the open connection arrives late; a new connection passes freely
        wire.hold_requests();
        let doubtful = format!("doubtful-{round}");
        assert_eq!(told(&client.call(&["RPUSH", "tokens", &doubtful]), "far"), Told::Unknown);
        let certain = format!("certain-{round}");
        wait_for("a new connection", || {
            told(&client.call(&["RPUSH", "tokens", &certain]), "far") == Told::Ok
        });
        wire.release_requests();
        std::thread::sleep(Duration::from_millis(300));
        let held: Vec<String> = server.call(&["LRANGE", "tokens", "0", "-1"]);
        assert_eq!(held.last(), Some(&certain), "the late write came after a newer one: {held:?}");
    }
}

#[test]
fn a8_a_greeting_error_is_nobodys_reply() {
    let greeting = Act::text("-ERR max number of clients reached\r\n");
    let node = FakeRedis::greeting(vec![greeting, Act::Finish]);
    let harness = Harness::in_front_of(&[("full", node.address())]);
    let mut client = harness.client();
    for n in 0..20 {
        let reply = client.text(&["INCR", "k"]);
        assert_eq!(told(reply.as_bytes(), "full"), Told::NotSent, "{reply}");
        assert_eq!(client.text(&["ECHO", &format!("{n}")]), format!("${}\r\n{n}\r\n", n.to_string().len()));
    }
    wait_for("the reason to be told", || {
        client.text(&["INCR", "k"]).contains("max number of clients reached")
    });
}

#[test]
fn a8_a_real_node_that_is_full_takes_part_when_it_has_room() {
    let server = RedisServer::start();
    let _: () = server.call(&["CONFIG", "SET", "maxclients", "1"]);
    // this one connection is all that the server takes
    let mut only = server.client();
    assert_eq!(only.text(&["PING"]), "+PONG\r\n");
    let harness = Harness::in_front_of(&[("full", server.address())]);
    let mut client = harness.client();
    for _ in 0..5 {
        assert_eq!(told(&client.call(&["INCR", "k"]), "full"), Told::NotSent);
    }
    assert_eq!(only.text(&["CONFIG", "SET", "maxclients", "100"]), "+OK\r\n");
    harness.wait_usable("full");
    assert_eq!(client.text(&["INCR", "k"]), ":1\r\n");
}

#[test]
fn a_node_that_restarts_is_used_again_and_its_neighbours_never_notice() {
    let mut cluster = Cluster::start(3);
    let neighbour = cluster.key_of("cache-1");
    let mut client = cluster.client();
    for round in 1..=3 {
        cluster.server_mut("cache-2").restart();
        assert_eq!(client.text(&["INCR", &neighbour]), format!(":{round}\r\n"));
        cluster.wait_usable("cache-2");
        assert_eq!(client.text(&["SET", &cluster.key_of("cache-2"), "v"]), "+OK\r\n");
    }
    assert_eq!(cluster.node("cache-2").state, NodeState::Up);
}

#[test]
fn a_refused_password_is_notsent_and_never_shown() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let node = |password: Option<&str>| {
        let credentials = Credentials { username: None, password: password.map(Secret::new) };
        NodeSpec { credentials, ..NodeSpec::new("locked", server.address()) }
    };
    for password in [Some("wrong-secret"), None] {
        let harness = Harness::start(Settings::new(vec![node(password)]));
        let mut client = harness.client();
        let mut reply = String::new();
        for _ in 0..5 {
            reply = client.text(&["SET", "k", "v"]);
            assert_eq!(told(reply.as_bytes(), "locked"), Told::NotSent, "{reply}");
            assert!(!reply.contains("wrong-secret"), "{reply}");
        }
        assert!(
            reply.to_lowercase().contains("auth")
                || reply.contains("WRONGPASS")
                || reply.contains("password"),
            "{reply}"
        );
    }
    let harness = Harness::start(patient(vec![node(Some("right"))]));
    harness.wait_usable("locked");
    assert_eq!(harness.client().text(&["SET", "k", "v"]), "+OK\r\n");
    // a named user
    let mut admin = server.client();
    admin.call(&["AUTH", "right"]);
    assert_eq!(admin.text(&["ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all"]), "+OK\r\n");
    let credentials = Credentials { username: Some("app".into()), password: Some(Secret::new("pw")) };
    let named =
        Harness::start(patient(vec![NodeSpec { credentials, ..NodeSpec::new("locked", server.address()) }]));
    named.wait_usable("locked");
    assert_eq!(named.client().text(&["GET", "k"]), "$1\r\nv\r\n");
}

#[test]
fn a14_reconnects_are_bounded_however_many_commands_ask() {
    let node = FakeRedis::greeting(vec![Act::Finish]);
    let mut settings = Settings::new(vec![NodeSpec::new("flapping", node.address())]);
    settings.threads = 1;
    let harness = Harness::start(settings);
    let mut client = harness.client();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        assert_eq!(told(&client.call(&["INCR", "k"]), "flapping"), Told::NotSent);
    }
    // the upper bound follows the clock, so that a slow machine cannot break it
    let allowed = 10 * (began.elapsed().as_secs() as usize + 1) + 5;
    let connections = node.connections();
    assert!((1..=allowed).contains(&connections), "{connections} connections in {:?}", began.elapsed());
}

#[test]
fn a6_a_node_is_connected_to_at_most_ten_times_a_second_over_all_workers_and_lanes() {
    const WORKERS: usize = 4;
    // it greets well and leaves with the first command, or does not even greet
    for greets in [true, false] {
        let node = if greets {
            FakeRedis::start(|_| vec![Act::Finish])
        } else {
            FakeRedis::greeting(vec![Act::Finish])
        };
        let mut settings = Settings::new(vec![NodeSpec::new("flapping", node.address())]);
        settings.threads = WORKERS;
        let harness = Harness::start(settings);
        let mut clients: Vec<RawClient> = (0..WORKERS).map(|_| harness.client()).collect();
        clients.extend((0..WORKERS).map(|_| harness.client3()));
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(4) {
            clients.iter_mut().for_each(|client| client.send_command(&["INCR", "k"]));
            for client in &mut clients {
                assert_ne!(told(&client.reply(), "flapping"), Told::Ok);
            }
        }
        // the first of each lane and worker is not held back; the rest follows the clock
        let allowed = 2 * WORKERS + 10 * (began.elapsed().as_secs() as usize + 1);
        println!("a6: {} connects in {:?}", node.connections(), began.elapsed());
        assert!(node.connections() <= allowed, "{} connects in {:?}", node.connections(), began.elapsed());
    }
}

#[test]
fn a6_a_close_that_is_seen_before_a_write_is_invisible() {
    let cluster = Cluster::start_with(1, |settings| settings.threads = 1);
    let (mut client, mut written) = (cluster.client(), 0);
    for _ in 0..10 {
        let connects = cluster.node("cache-1").connects;
        let _: usize = cluster.nodes[0].call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        // without a pause the write may be on its way when the close comes
        wait_for("the close to be seen", || cluster.node("cache-1").connects > connects);
        for _ in 0..10 {
            written += 1;
            assert_eq!(client.text(&["INCR", "n"]), format!(":{written}\r\n"));
        }
    }
}

#[test]
fn c1_a_client_that_resets_at_every_byte_disturbs_nobody() {
    let cluster = Cluster::start(2);
    let mut neighbour = cluster.client();
    let commands = [
        bulk_request(&["SET", "victim", "value"]),
        bulk_request(&["MGET", "victim", "other", "third"]),
        bulk_request(&["ECHO", "never read"]),
    ]
    .concat();
    for cut in 0..=commands.len() {
        for reset in [true, false] {
            let mut client = cluster.client();
            client.send(&commands[..cut]);
            if reset {
                client.reset();
            } else {
                drop(client);
            }
        }
        let value = format!("value {cut}");
        assert_eq!(neighbour.text(&["SET", "mine", &value]), "+OK\r\n");
        assert_eq!(neighbour.text(&["GET", "mine"]), format!("${}\r\n{value}\r\n", value.len()));
    }
    // nothing is kept for those that left
    wait_for("the clients to be forgotten", || cluster.control().snapshot().client_connections == 1);
    // in the middle of a large reply
    let value = vec![b'x'; 1 << 20];
    neighbour.call(&[b"SET".as_slice(), b"large", &value]);
    for len in [1, 10, 1000, 100_000] {
        let mut client = cluster.client();
        client.send_command(&["GET", "large"]);
        client.bytes(len);
        client.reset();
        assert_eq!(neighbour.text(&["STRLEN", "large"]), ":1048576\r\n");
    }
    wait_for("the clients to be forgotten", || cluster.control().snapshot().client_connections == 1);
}

#[test]
fn c5_one_client_too_many_is_told_so() {
    let cluster = Cluster::start_with(1, |settings| {
        settings.limits.clients = 6;
        settings.threads = 2;
    });
    wait_for("the first clients to be gone", || cluster.control().snapshot().client_connections == 0);
    let mut clients: Vec<RawClient> = (0..6).map(|_| cluster.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.text(&["PING"]), "+PONG\r\n"));
    let mut seventh = cluster.client();
    assert_eq!(seventh.rest(), b"-ERR max number of clients reached\r\n");
    clients.pop();
    wait_for("room", || {
        cluster.client().try_call(&["PING"], Duration::from_secs(5)) == Ok(b"+PONG\r\n".to_vec())
    });
}

#[test]
fn a_wire_that_breaks_loses_nothing_else() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let harness = Harness::in_front_of(&[("far", wire.address())]);
    harness.wait_usable("far");
    let mut client = harness.client();
    let mut outcomes = HashMap::<Told, u32>::new();
    for round in 0..10 {
        for n in 0..50 {
            let told = told(&client.call(&["RPUSH", "tokens", &format!("{round}:{n}")]), "far");
            *outcomes.entry(told).or_default() += 1;
        }
        wire.hang_up();
        wait_for("the wire to be mended", || {
            let told = told(&client.call(&["RPUSH", "tokens", "probe"]), "far");
            *outcomes.entry(told).or_default() += 1;
            told == Told::Ok
        });
    }
    let length: u32 = server.call(&["LLEN", "tokens"]);
    let ok = outcomes[&Told::Ok];
    let unknown = outcomes.get(&Told::Unknown).copied().unwrap_or(0);
    assert!((ok..=ok + unknown).contains(&length), "{length} tokens after {outcomes:?}");
}

#[test]
fn drain_answers_every_command_that_was_read() {
    let mut cluster = Cluster::start(2);
    let mut client = cluster.client();
    let commands = 2000;
    client.send(
        &(0..commands)
            .flat_map(|n| bulk_request(&["RPUSH", &format!("drain:{}", n % 7), "x"]))
            .collect::<Vec<_>>(),
    );
    // the first reply says that reading has begun
    assert_eq!(client.reply(), b":1\r\n");
    cluster.harness.drain();
    let mut replies = 1;
    loop {
        match client.try_reply(Duration::from_secs(20)) {
            Ok(reply) => {
                assert_eq!(reply[0], b':', "{}", String::from_utf8_lossy(&reply));
                replies += 1;
            }
            Err(NoReply::Closed(rest)) => {
                assert!(rest.is_empty(), "a whole number of replies");
                break;
            }
            Err(why) => panic!("{why:?}"),
        }
    }
    let pushed: usize = cluster
        .nodes
        .iter()
        .flat_map(|node| (0..7).map(|n| node.call::<usize>(&["LLEN", &format!("drain:{n}")])))
        .sum();
    assert_eq!(replies, pushed, "what ran was answered");
}
