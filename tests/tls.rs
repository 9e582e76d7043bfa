//! TLS on both sides: clients that come over it, nodes that are reached over it, whom either trusts, and certificates that
//! are renewed.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway_proxy::control::ApplyError;
use ringway_proxy::settings::{Authorities, NodeSpec, NodeTls, ServerTls, Settings, TlsSocket, Verify};
use ringway_proxy::stats::NodeState;
use rustix::process::Signal;
use serde_json::json;
use tokio_rustls::rustls::ClientConfig;

use crate::support::frame::{bulk, bulk_request};
use crate::support::harness::{named, patient};
use crate::support::ports::free_port;
use crate::support::program::{self, Files, Program};
use crate::support::raw_client::PATIENCE;
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
    let cluster = Cluster::start_with(1, |settings| settings.tls = Some(socket));
    let address = tls_address(&cluster);
    for old in [false, true] {
        let own = authority.issue(&["an application"]);
        let mut welcome = client(address, &authority.client(Some(&own), old));
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
        ("none of the authorities", reply(nodes.clone(), Some(tls(&strangers.pem(), Verify::Name, None)))),
        ("none of the authorities", reply(nodes.clone(), Some(tls(&strangers.pem(), Verify::Chain, None)))),
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

/// A configuration over these files, in a folder of its own.
fn configuration(authority: &Authority, files: &[(&str, &str)], text: &str) -> Files {
    let pair = authority.issue(&["localhost"]);
    let ca = authority.pem();
    let mut all = vec![("server.pem", pair.certificate.as_str()), ("server.key", &pair.key), ("ca.pem", &ca)];
    all.extend_from_slice(files);
    all.push(("ringway.yaml", text));
    Files::new(&all)
}

#[test]
fn certificates_are_renewed_by_a_reload_and_bad_ones_are_refused() {
    let (first, second) = (Authority::new(), Authority::new());
    let node = RedisServer::start();
    let text = format!(
        "listen: 127.0.0.1:0\nthreads: 1\nadmin: {{listen: '127.0.0.1:0'}}\n\
         tls: {{listen: '127.0.0.1:0', certificate: server.pem, key: server.key}}\n\
         nodes: [{{name: cache-1, address: '{}'}}]\n",
        node.address()
    );
    let files = configuration(&first, &[], &text);
    let program = Program::serve(&files.path("ringway.yaml"));
    let text = program.text();
    let line = text.lines().find(|line| line.ends_with("(TLS)")).expect("it is told");
    let address: SocketAddr = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("one");
    let [old, new] = [&first, &second].map(|authority| authority.client(None, false));
    let answers = |config: &Arc<ClientConfig>| {
        let mut client = client(address, config);
        client.try_call(&["ECHO", "here"], PATIENCE).is_ok()
    };
    let mut stays = client(address, &old);
    assert_eq!(stays.text(&["ECHO", "here"]), "$4\r\nhere\r\n");
    assert!(answers(&old) && !answers(&new));
    // a key of another certificate: everything stays
    let pair = second.issue(&["localhost"]);
    files.write("server.pem", &pair.certificate);
    program.signal(Signal::HUP);
    program.wait_logged("server.key does not belong to the certificate");
    assert!(answers(&old) && !answers(&new));
    files.write("server.key", &pair.key);
    program.signal(Signal::HUP);
    wait_for("the new certificate", || answers(&new));
    assert!(!answers(&old));
    assert_eq!(stays.text(&["ECHO", "here"]), "$4\r\nhere\r\n");
}

#[test]
fn the_control_plane_speaks_tls_when_it_is_told_to() {
    let (authority, second) = (Authority::new(), Authority::new());
    let node = RedisServer::start();
    let text = format!(
        "listen: 127.0.0.1:0\nthreads: 1\n\
         admin: {{listen: '127.0.0.1:0', metrics_listen: '127.0.0.1:0', token: secret, \
                  tls: {{certificate: server.pem, key: server.key}}}}\n\
         nodes: [{{name: cache-1, address: '{}'}}]\n",
        node.address()
    );
    let files = configuration(&authority, &[], &text);
    let program = Program::serve(&files.path("ringway.yaml"));
    let told = program.text();
    let address = told.lines().find_map(|line| line.strip_prefix("admin    https://")).expect("it is told");
    let address: SocketAddr = address.parse().expect("an address");
    let ask = |config: &Arc<ClientConfig>, token: &str| {
        let mut client = client(address, config);
        let head = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
        client.try_send(format!("GET /v1/topology HTTP/1.1\r\n{head}").as_bytes());
        String::from_utf8_lossy(&client.rest()).into_owned()
    };
    let [old, new] = [&authority, &second].map(|authority| authority.client(None, false));
    let answer = ask(&old, "secret");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("cache-1"), "{answer}");
    assert!(ask(&old, "wrong").starts_with("HTTP/1.1 401 "));
    assert!(ask(&new, "secret").is_empty());
    let mut plain = RawClient::connect(address);
    plain.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(!plain.rest().starts_with(b"HTTP"));
    assert_eq!(program.metrics().get("/healthz").status, 200);
    let pair = second.issue(&["localhost"]);
    files.write("server.pem", &pair.certificate);
    files.write("server.key", &pair.key);
    program.signal(Signal::HUP);
    wait_for("the new certificate", || ask(&new, "secret").starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn what_is_wrong_with_files_is_told_with_its_line() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pair = other.issue(&["localhost"]);
    let head = "nodes: [{name: a, address: 'rediss://127.0.0.1:1'}]\n";
    let more = [("other.key", pair.key.as_str()), ("empty.pem", "nothing\n")];
    for (text, told) in [
        ("tls: {certificate: server.pem}", "tls.key is missing"),
        ("tls: {certificate: none.pem, key: server.key}", "tls.certificate: none.pem cannot be read"),
        ("tls: {certificate: empty.pem, key: server.key}", "holds no certificate in PEM form"),
        ("tls: {certificate: server.pem, key: ca.pem}", "tls.key: ca.pem holds no private key"),
        ("tls: {certificate: server.pem, key: other.key}", "other.key does not belong to the certificate"),
        ("tls: {certificate: server.pem, key: server.key, client_ca: empty.pem}", "tls.client_ca: empty.pem"),
        ("tls: {certificate: server.pem, key: server.key, listen: '127.0.0.1:6380'}", "use another port"),
        ("tls: {certifcate: server.pem}", "nearest known field is 'certificate'"),
        ("admin: {tls: {certificate: server.pem}}", "admin.tls.key is missing"),
        (
            "admin: {tls: {certificate: server.pem, key: other.key}}",
            "admin.tls.key: other.key does not belong",
        ),
        ("node_tls: {ca: empty.pem}", "node_tls.ca: empty.pem holds no certificate"),
        ("node_tls: {ca: ca.pem, key: server.key}", "stands without node_tls.certificate"),
        ("node_tls: {ca: ca.pem, verify: none}", "'none' is not known; the nearest value is 'name'"),
        ("node_tls: {ca: ca.pem, server_name: 'a b'}", "is no name that a certificate could bear"),
        ("node_tls: {ca: .}", "is no file"),
    ] {
        let files = configuration(&authority, &more, &format!("{head}{text}\n"));
        let path = files.path("ringway.yaml").display().to_string();
        let output = program::run(&["check", "--config", &path]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}: {said}");
        assert!(said.contains(&format!("{path}:2: ")) && said.contains(told), "{text}: {said}");
        assert!(!said.contains("PRIVATE"), "{said}");
    }
    let good = "tls: {certificate: server.pem, key: server.key, client_ca: ca.pem}\n\
        node_tls: {ca: ca.pem, certificate: server.pem, key: server.key, verify: chain, server_name: a.example}\n";
    let files = configuration(&authority, &more, &format!("{head}{good}"));
    program::stdout(&["check", "--config", &files.path("ringway.yaml").display().to_string()]);
}
