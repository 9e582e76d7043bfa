//! TLS on both sides: clients that come over it, nodes that are reached over it, whom either trusts, and certificates that
//! are renewed.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway_proxy::control::ApplyError;
use ringway_proxy::settings::{Authorities, NodeSpec, NodeTls, ServerTls, Settings, TlsSocket, Verify};
use ringway_proxy::stats::NodeState;
use serde_json::json;
use tokio_rustls::rustls::ClientConfig;

use crate::support::byte_proxy::{ByteProxy, Wire};
use crate::support::frame::{bulk, bulk_request};
use crate::support::harness::{named, patient};
use crate::support::ports::free_port;
use crate::support::tls::{Authority, client};
use crate::support::{Cluster, Harness, RawClient, RedisServer, wait_for};

/// Where clients come over TLS.
fn tls_address(harness: &Harness) -> SocketAddr {
    let found = harness.control().endpoints().iter().find_map(|endpoint| match endpoint {
        ringway_proxy::listen::Endpoint::Tls(address) => Some(*address),
        _ => None,
    });
    found.expect("it listens for TLS")
}

/// Plain nodes, clients over TLS.
fn cluster(authority: &Authority) -> (Cluster, Arc<ClientConfig>) {
    let socket = authority.socket();
    (Cluster::start_with(3, |settings| settings.tls = Some(socket)), authority.client(None, false))
}

/// Servers that speak TLS under the names that are given, and how they are written as nodes.
struct Servers {
    servers: Vec<RedisServer>,
    nodes: Vec<NodeSpec>,
}

fn servers(authority: &Authority, count: usize, names: &[&str], more: &[&str]) -> Servers {
    let mut found = Servers { servers: Vec::new(), nodes: Vec::new() };
    for at in 0..count {
        let port = free_port();
        let options = authority.server_options(port, names);
        let options: Vec<&str> = options.iter().map(String::as_str).chain(more.iter().copied()).collect();
        found.servers.push(RedisServer::start_with(&options));
        found.nodes.push(NodeSpec::new(format!("cache-{}", at + 1), format!("rediss://127.0.0.1:{port}")));
    }
    found
}

#[test]
fn clients_come_over_tls_of_either_version_and_without() {
    let authority = Authority::new();
    let (cluster, config) = cluster(&authority);
    let address = tls_address(&cluster);
    let mut plain = cluster.client();
    for old in [false, true] {
        let mut client = client(address, &authority.client(None, old));
        assert_eq!(client.text(&["SET", "k", "v"]), "+OK\r\n");
        assert_eq!(plain.text(&["GET", "k"]), "$1\r\nv\r\n");
        let told = client.text(&["CLIENT", "INFO"]);
        assert!(told.contains(&format!(" laddr={address} ")), "{told}");
    }
    // a pipeline larger than anything that is read or written at once, and values of many records
    let mut client = client(address, &config);
    let large = vec![b'x'; 3 << 20];
    let mut commands = Vec::new();
    for n in 0..20_000 {
        commands.extend(bulk_request(&[&b"SET"[..], format!("key:{n}").as_bytes(), b"value"]));
    }
    commands.extend(bulk_request(&[&b"SET"[..], b"large", &large]));
    commands.extend(bulk_request(&["MGET", "large", "key:7", "large"]));
    std::thread::scope(|scope| {
        let mut writer = client.sender();
        scope.spawn(move || writer.write_all(&commands).expect("it is taken"));
        (0..=20_000).for_each(|_| assert_eq!(client.text_reply(), "+OK\r\n"));
        let large = bulk(&large);
        let expected = [&b"*3\r\n"[..], &large, b"$5\r\nvalue\r\n", &large].concat();
        assert!(client.reply() == expected);
    });
}

#[test]
fn c2_a_client_that_ends_its_side_over_tls_has_every_reply() {
    let authority = Authority::new();
    let (cluster, config) = cluster(&authority);
    let mut client = client(tls_address(&cluster), &config);
    for n in 0..1000 {
        client.send_command(&["SET".to_owned(), format!("key:{n}"), "value".to_owned()]);
    }
    client.finish_sending();
    assert_eq!(client.rest(), "+OK\r\n".repeat(1000).into_bytes());
}

#[test]
fn c4_a_handshake_that_does_not_end_is_closed_and_what_is_no_tls_at_once() {
    let authority = Authority::new();
    let socket = authority.socket();
    let cluster = Cluster::start_with(1, |settings| {
        settings.tls = Some(socket);
        settings.limits.authentication = Duration::from_secs(1);
    });
    let address = tls_address(&cluster);
    let mut silent = RawClient::connect(address);
    let mut half = RawClient::connect(address);
    half.send(&[22, 3, 1, 2, 0, 1, 0, 1]);
    // who has made it may be silent for longer
    let mut idle = client(address, &authority.client(None, false));
    assert_eq!(idle.text(&["ECHO", "here"]), "$4\r\nhere\r\n");
    let mut other = RawClient::connect(address);
    other.send(b"PING\r\nPING\r\n");
    let said = other.rest();
    assert!(!said.starts_with(b"+") && !said.starts_with(b"-"), "{said:?}");
    assert!(silent.rest().is_empty() && half.rest().is_empty());
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(idle.text(&["ECHO", "here"]), "$4\r\nhere\r\n");
    wait_for("nothing but one client", || cluster.control().snapshot().client_connections == 1);
}

#[test]
fn clients_must_show_a_certificate_when_it_is_asked_for() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let asked = ServerTls::new(authority.issue(&["localhost"]).identity(), Some(authority.pem().as_bytes()));
    let socket = TlsSocket { listen: "127.0.0.1:0".into(), tls: asked.expect("certificates") };
    let cluster = Cluster::start_with(1, |settings| {
        settings.tls = Some(socket);
        settings.limits.command_incomplete = Duration::from_secs(1);
    });
    let address = tls_address(&cluster);
    for old in [false, true] {
        let names: Vec<String> = (0..60).map(|n| format!("application-{n}.example.internal")).collect();
        let own = authority.issue(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut welcome = client(address, &authority.client(Some(&own), old));
        // a long certificate is no command that has begun
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(welcome.text(&["ECHO", "here"]), "$4\r\nhere\r\n");
        let stranger = strangers.issue(&["an application"]);
        for refused in [authority.client(None, old), authority.client(Some(&stranger), old)] {
            let mut client = client(address, &refused);
            client.try_send(b"SET k v\r\n");
            assert!(client.rest().is_empty());
        }
    }
    assert_eq!(cluster.client().text(&["EXISTS", "k"]), ":0\r\n");
}

#[test]
fn nodes_are_reached_over_tls_by_every_kind_of_connection() {
    let authority = Authority::new();
    let nodes = servers(&authority, 2, &["127.0.0.1"], &[]);
    let mut settings = patient(nodes.nodes);
    settings.node_tls = Some(authority.node_tls());
    let harness = Harness::start(settings).with_admin();
    harness.wait_usable("cache-1");
    harness.wait_usable("cache-2");
    let mut client = harness.client();
    // shared connections, many parts and large values
    for n in 0..500 {
        assert_eq!(client.text(&["SET", &format!("key:{n}"), "v"]), "+OK\r\n");
    }
    let large = vec![b'x'; 5 << 20];
    assert_eq!(client.call(&[&b"SET"[..], b"large", &large]), b"+OK\r\n");
    assert!(client.call(&["GET", "large"]) == bulk(&large));
    assert_eq!(client.text(&["DEL", "key:1", "key:2", "key:3", "key:4", "large"]), ":5\r\n");
    // lent ones
    client.send_command(&["BLPOP", "queue", "0"]);
    wait_for("it waits", || harness.control().snapshot().blocked_clients == 1);
    assert_eq!(harness.client().text(&["LPUSH", "queue", "job"]), ":1\r\n");
    assert_eq!(client.text_reply(), "*2\r\n$5\r\nqueue\r\n$3\r\njob\r\n");
    // those that listen
    let mut listener = harness.client3();
    assert!(listener.text(&["SUBSCRIBE", "news"]).contains("subscribe"));
    assert_eq!(client.text(&["PUBLISH", "news", "hello"]), ":1\r\n");
    assert!(listener.text_reply().contains("hello"));
    // those that track, those that ask for commands, and those of the control plane
    assert_eq!(listener.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    let add = json!({"remove": ["cache-2"]});
    let answer = harness.http().json("POST", "/v1/topology/plan?sample=200", &add).ok();
    assert_eq!(answer["sample"]["keys"], 200);
    assert!(nodes.servers.iter().all(|server| server.dbsize() > 100));
}

#[test]
fn a1_a_node_over_tls_that_goes_and_comes_is_told_and_found_again() {
    let authority = Authority::new();
    let mut nodes = servers(&authority, 2, &["127.0.0.1"], &[]);
    let mut settings = Settings::new(nodes.nodes.clone());
    settings.node_tls = Some(authority.node_tls());
    let harness = Harness::start(settings);
    harness.wait_usable("cache-1");
    let (key, other) = (harness.key_of("cache-1"), harness.key_of("cache-2"));
    let mut client = harness.client();
    assert_eq!(client.text(&["SET", &key, "v"]), "+OK\r\n");
    nodes.servers[0].kill();
    harness.wait_state("cache-1", NodeState::Down);
    let told = client.text(&["SET", &key, "v"]);
    assert!(told.starts_with("-NOTSENT node 'cache-1' (rediss://127.0.0.1:"), "{told}");
    assert_eq!(client.text(&["SET", &other, "v"]), "+OK\r\n");
    nodes.servers[0].restart();
    harness.wait_usable("cache-1");
    nodes.servers[0].pause();
    let told = client.text(&["INCR", &key]);
    assert!(told.starts_with("-UNKNOWN node 'cache-1'"), "{told}");
    nodes.servers[0].resume();
    harness.wait_usable("cache-1");
}

#[test]
fn i4_counts_are_those_of_a_node_whose_connections_over_tls_are_cut() {
    let authority = Authority::new();
    let node = RedisServer::start();
    let behind = authority.terminate(node.address().parse().expect("an address"));
    let mut settings = patient(named(&[("cache-1", format!("rediss://{behind}"))]));
    settings.node_tls = Some(authority.node_tls());
    let harness = Harness::start(settings);
    harness.wait_usable("cache-1");
    let (mut ran, mut unknown) = (0, 0);
    for round in 0..15 {
        let mut client = harness.client();
        let pad = "x".repeat(20_000);
        let mut commands = Vec::new();
        for _ in 0..200 {
            commands.extend(bulk_request(&[
                "EVAL",
                "return redis.call('incr', KEYS[1])",
                "1",
                "count",
                &pad,
            ]));
        }
        std::thread::scope(|scope| {
            let mut writer = client.sender();
            scope.spawn(move || writer.write_all(&commands).expect("it is taken"));
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(round % 10));
                let _: i64 = node.call(&["CLIENT", "KILL", "TYPE", "normal"]);
            });
            for _ in 0..200 {
                let reply = client.text_reply();
                match reply.as_bytes()[..2] {
                    [b':', _] => ran += 1,
                    [b'-', b'U'] => unknown += 1,
                    _ => assert!(reply.starts_with("-NOTSENT"), "{reply}"),
                }
            }
        });
        harness.wait_usable("cache-1");
    }
    let counted: i64 = node.call(&["GET", "count"]);
    assert!((ran..=ran + unknown).contains(&counted), "{counted} of {ran} and {unknown}");
    assert!(unknown > 0 && ran > 0);
}

#[test]
fn a13_a_slow_wire_under_tls_is_no_reason_to_give_up() {
    let authority = Authority::new();
    let nodes = servers(&authority, 1, &["127.0.0.1"], &[]);
    let behind = nodes.nodes[0].address.trim_start_matches("rediss://").to_owned();
    let wire = ByteProxy::start_narrow(&behind);
    let mut settings = Settings::new(named(&[("cache-1", format!("rediss://{}", wire.address()))]));
    settings.node_tls = Some(authority.node_tls());
    settings.timeouts.operation = Duration::from_secs(4);
    settings.threads = 1;
    let harness = Harness::start(settings);
    harness.wait_usable("cache-1");
    wire.set(Wire::Rate(50_000));
    // the kernel takes a part of what the library has taken
    for len in [120_000, 130_000] {
        let mut client = harness.client();
        client.send_command(&["SET", "large", &"x".repeat(len)]);
        client.send_command(&["SET", "small", "v"]);
        assert_eq!((client.text_reply(), client.text_reply()), ("+OK\r\n".into(), "+OK\r\n".into()), "{len}");
    }
}

#[test]
fn c3_what_is_not_read_of_a_slow_reader_over_tls_is_not_held_against_it() {
    let authority = Authority::new();
    let socket = authority.socket();
    let cluster = Cluster::start_with(1, |settings| {
        settings.tls = Some(socket);
        settings.limits.authentication = Duration::from_secs(1);
        settings.limits.command_incomplete = Duration::from_secs(1);
    });
    let large = vec![b'x'; 40 << 20];
    assert_eq!(cluster.client().call(&[&b"SET"[..], b"large", &large]), b"+OK\r\n");
    let mut client = client(tls_address(&cluster), &authority.client(None, false));
    let mut writer = client.sender();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut commands = bulk_request(&["GET", "large"]);
            (0..400).for_each(|_| commands.extend(bulk_request(&["SET", "k", &"y".repeat(1000)])));
            writer.write_all(&commands).expect("it is taken");
        });
        std::thread::sleep(Duration::from_secs(3));
        assert!(client.reply() == bulk(&large));
        (0..400).for_each(|_| assert_eq!(client.text_reply(), "+OK\r\n"));
    });
}

#[test]
fn a_node_that_is_not_trusted_gets_no_command_and_the_reason_is_told() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let named_so = servers(&authority, 1, &["cache.internal"], &[]);
    let plain = RedisServer::start();
    let pem = authority.pem();
    let tls = |trusted: &str, verify, name| {
        NodeTls::new(Authorities::Pem(trusted.as_bytes()), None, verify, name).expect("an authority")
    };
    let reply = |nodes: Vec<NodeSpec>, tls: Option<NodeTls>| {
        let mut settings = patient(nodes);
        settings.node_tls = tls;
        let harness = Harness::start(settings);
        harness.client().text(&["SET", "k", "v"])
    };
    let nodes = &named_so.nodes;
    for (told, reply) in [
        (
            "none of the authorities of node_tls.ca",
            reply(nodes.clone(), Some(tls(&strangers.pem(), Verify::Name, None))),
        ),
        (
            "none of the authorities of node_tls.ca",
            reply(nodes.clone(), Some(tls(&strangers.pem(), Verify::Chain, None))),
        ),
        ("certificate", reply(nodes.clone(), Some(tls(&pem, Verify::Name, None)))),
        ("node_tls", reply(nodes.clone(), None)),
        (
            "speak TLS",
            reply(
                named(&[("cache-1", format!("rediss://{}", plain.address()))]),
                Some(tls(&pem, Verify::Name, None)),
            ),
        ),
    ] {
        assert!(reply.starts_with("-NOTSENT node 'cache-1' (rediss://") && reply.contains(told), "{reply}");
    }
    assert_eq!(named_so.servers[0].dbsize() + plain.dbsize(), 0);
    // by the name that it has, or by none
    assert_eq!(reply(nodes.clone(), Some(tls(&pem, Verify::Name, Some("cache.internal")))), "+OK\r\n");
    assert_eq!(reply(nodes.clone(), Some(tls(&pem, Verify::Chain, None))), "+OK\r\n");
}

#[test]
fn a_node_that_asks_for_a_certificate_is_shown_one() {
    let authority = Authority::new();
    let strict = servers(&authority, 1, &["127.0.0.1"], &["--tls-auth-clients", "yes"]);
    let own = authority.issue(&["ringway"]);
    let pem = authority.pem();
    let tls = |identity| NodeTls::new(Authorities::Pem(pem.as_bytes()), identity, Verify::Name, None);
    let reply = |tls: NodeTls| {
        let mut settings = patient(strict.nodes.clone());
        settings.node_tls = Some(tls);
        Harness::start(settings).client().text(&["SET", "k", "v"])
    };
    assert_eq!(reply(tls(Some(own.identity())).expect("a certificate")), "+OK\r\n");
    let refused = reply(tls(None).expect("an authority"));
    assert!(refused.starts_with("-NOTSENT"), "{refused}");
}

#[test]
fn a_node_moves_to_tls_and_back_while_it_is_used() {
    let authority = Authority::new();
    let nodes = servers(&authority, 1, &["127.0.0.1"], &[]);
    let plain = named(&[("cache-1", nodes.servers[0].address())]);
    let mut settings = patient(plain.clone());
    settings.node_tls = Some(authority.node_tls());
    let harness = Harness::start(settings);
    harness.wait_usable("cache-1");
    let mut client = harness.client();
    for list in [&nodes.nodes, &plain, &nodes.nodes] {
        let change = harness.apply(list.clone());
        assert_eq!(change.diff.moved, 0.0, "the name decides, not the address");
        (0..100).for_each(|_| assert!(client.text(&["INCR", "count"]).starts_with(':')));
    }
    assert_eq!(nodes.servers[0].call::<i64>(&["GET", "count"]), 300);
    // without node_tls nobody can be moved there
    let bare = Harness::start(patient(plain));
    let spec = ringway_proxy::settings::TopologySpec {
        ring: bare.control().topology().spec().ring.clone(),
        nodes: nodes.nodes.clone(),
    };
    let refused = bare.block_on(bare.control().apply(spec, None, "test")).expect_err("it is refused");
    assert!(matches!(refused, ApplyError::NoTls { .. }) && refused.to_string().contains("add node_tls"));
}

#[test]
fn replies_over_tls_on_both_sides_reach_their_askers() {
    let authority = Authority::new();
    let node = RedisServer::start();
    let behind = authority.terminate(node.address().parse().expect("an address"));
    let mut settings = patient(named(&[("cache-1", format!("rediss://{behind}"))]));
    settings.node_tls = Some(authority.node_tls());
    settings.tls = Some(authority.socket());
    let harness = Harness::start(settings);
    let mut clients: Vec<RawClient> =
        (0..10).map(|_| client(tls_address(&harness), &authority.client(None, false))).collect();
    for round in 0..20 {
        for (at, client) in clients.iter_mut().enumerate() {
            client.send_command(&["SET", &format!("key:{at}"), &format!("{at}:{round}")]);
            client.send_command(&["GET", &format!("key:{at}")]);
        }
        for (at, client) in clients.iter_mut().enumerate() {
            let value = format!("{at}:{round}");
            assert_eq!(client.text_reply(), "+OK\r\n");
            assert_eq!(client.reply(), bulk(value.as_bytes()));
        }
    }
}
