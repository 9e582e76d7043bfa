//! Unix sockets on both sides: clients that come over one, nodes that are reached over one.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringway_proxy::control::ApplyError;
use ringway_proxy::settings::{NodeSpec, Settings, UnixSocket};
use ringway_proxy::{Proxy, StartError};
use serde_json::json;
use tempfile::TempDir;

use crate::support::frame::{bulk, bulk_request};
use crate::support::harness::patient;
use crate::support::{Cluster, Harness, RawClient, RedisServer, wait_for};

fn connect(path: &Path) -> RawClient {
    let stream = UnixStream::connect(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    TcpStream::from(OwnedFd::from(stream)).into()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A cluster whose clients may come over a unix socket.
fn cluster(folder: &TempDir) -> (Cluster, PathBuf) {
    let path = folder.path().join("ringway.sock");
    let socket = UnixSocket { path: path.clone(), mode: Some(0o600) };
    (Cluster::start_with(2, |settings| settings.unix_socket = Some(socket)), path)
}

/// Servers that listen on unix sockets, and how they are written as nodes.
struct Servers {
    servers: Vec<RedisServer>,
    nodes: Vec<NodeSpec>,
    _folder: TempDir,
}

fn servers(count: usize) -> Servers {
    let folder = folder();
    let path = |n: usize| folder.path().join(format!("node-{n}.sock")).display().to_string();
    Servers {
        servers: (0..count).map(|n| RedisServer::start_with(&["--unixsocket", &path(n)])).collect(),
        nodes: (0..count).map(|n| NodeSpec::new(format!("cache-{}", n + 1), path(n))).collect(),
        _folder: folder,
    }
}

#[test]
fn clients_come_over_a_unix_socket_and_over_the_network() {
    let folder = folder();
    let (cluster, path) = cluster(&folder);
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    let (mut near, mut far) = (connect(&path), cluster.client());
    assert_eq!(near.text(&["SET", "k", "v"]), "+OK\r\n");
    assert_eq!(far.text(&["GET", "k"]), "$1\r\nv\r\n");
    // as a server tells of such a client
    let own = format!("{}:0", path.display());
    let told = near.text(&["CLIENT", "INFO"]);
    assert!(told.contains(&format!(" addr={own} laddr={own} ")) && told.contains(" flags=U "), "{told}");
    assert!(!far.text(&["CLIENT", "INFO"]).contains("flags=U"));
    assert_eq!(far.text(&["CLIENT", "LIST"]).matches(&own).count(), 2);
    // and closes it
    let mut other = connect(&path);
    assert_eq!(other.text(&["ECHO", "here"]), "$4\r\nhere\r\n");
    assert_eq!(far.text(&["CLIENT", "KILL", "LADDR", "/nowhere:0"]), ":0\r\n");
    assert_eq!(far.text(&["CLIENT", "KILL", "ADDR", &own]), ":2\r\n");
    assert!(near.rest().is_empty() && other.rest().is_empty());
    assert_eq!(far.text(&["ECHO", "here"]), "$4\r\nhere\r\n");
}

#[test]
fn large_values_and_deep_pipelines_pass_over_unix_sockets_on_both_sides() {
    let (folder, servers) = (folder(), servers(2));
    let path = folder.path().join("ringway.sock");
    let mut settings = patient(servers.nodes.clone());
    settings.unix_socket = Some(UnixSocket { path: path.clone(), mode: None });
    let harness = Harness::start(settings);
    servers.nodes.iter().for_each(|node| harness.wait_usable(&node.name));
    let mut client = connect(&path);
    let value = vec![b'v'; 20_000_000];
    for node in &servers.nodes {
        let key = harness.key_of(&node.name);
        assert_eq!(client.call(&[b"SET".as_slice(), key.as_bytes(), &value]), b"+OK\r\n");
        assert!(client.call(&["GET", &key]) == bulk(&value));
    }
    let count = 20_000;
    let mut sender = client.sender();
    let requests: Vec<u8> =
        (0..count).flat_map(|n| bulk_request(&["INCRBY", &format!("n:{n}"), &n.to_string()])).collect();
    let writer =
        std::thread::spawn(move || std::io::Write::write_all(&mut sender, &requests).expect("it is taken"));
    (0..count).for_each(|n| assert_eq!(client.text_reply(), format!(":{n}\r\n")));
    writer.join().expect("no panic");
    // the end of the stream behind a pipeline
    client.send(&bulk_request(&["GET", "n:7"]).repeat(3));
    client.finish_sending();
    assert_eq!(client.rest(), b"$1\r\n7\r\n".repeat(3));
}

#[test]
fn nodes_on_unix_sockets_are_measured_and_changed_like_others() {
    let servers = servers(3);
    let harness = Harness::start(patient(servers.nodes[..2].to_vec())).with_admin();
    let mut client = harness.client();
    servers.nodes[..2].iter().for_each(|node| harness.wait_usable(&node.name));
    let mut mset = vec!["MSET".to_owned()];
    (0..1000).for_each(|n| mset.extend([format!("k:{n}"), "v".into()]));
    assert_eq!(client.call(&mset), b"+OK\r\n");
    let http = harness.http();
    let third = json!({"name": "cache-3", "address": servers.nodes[2].address});
    let plan = http.json("POST", "/v1/topology/plan?sample=10000", &json!({"add": [third]})).ok();
    assert_eq!(plan["sample"]["keys"], 1000, "{plan}");
    assert!(plan["sample"]["moved"].as_u64().is_some_and(|moved| (200..500).contains(&moved)), "{plan}");
    http.json("POST", "/v1/nodes", &third).ok();
    harness.wait_usable("cache-3");
    let key = harness.key_of("cache-3");
    assert_eq!(client.text(&["SET", &key, "v"]), "+OK\r\n");
    assert_eq!(servers.servers[2].dbsize(), 1);
    let refused =
        http.json("POST", "/v1/nodes", &json!({"name": "odd", "address": "run/odd.sock"})).refused(422);
    assert!(refused.contains("absolute path"), "{refused}");
}

#[test]
fn the_proxys_own_socket_is_no_node() {
    let folder = folder();
    let (cluster, path) = cluster(&folder);
    let link = folder.path().join("other-name");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    for address in [path, link] {
        let mut wished = cluster.control().topology().spec().clone();
        wished.nodes.push(NodeSpec::new("self", address.display().to_string()));
        let applied = cluster.block_on(cluster.control().apply(wished, None, "test"));
        assert!(matches!(applied, Err(ApplyError::OwnAddress { .. })), "{applied:?}");
    }
}

#[test]
fn a4_a_late_write_over_a_unix_socket_is_fenced() {
    let servers = servers(1);
    let mut settings = Settings::new(servers.nodes.clone());
    settings.timeouts.operation = Duration::from_millis(300);
    settings.threads = 1;
    let harness = Harness::start(settings);
    harness.wait_usable("cache-1");
    let mut client = harness.client();
    assert_eq!(client.text(&["RPUSH", "list", "first"]), ":1\r\n");
    servers.servers[0].pause();
    assert!(client.text(&["RPUSH", "list", "late"]).starts_with("-UNKNOWN node 'cache-1' (/"));
    servers.servers[0].resume();
    wait_for("the node to be back", || client.text(&["RPUSH", "list", "new"]).starts_with(':'));
    // it ran before the new one or never
    let list: Vec<String> = servers.servers[0].call(&["LRANGE", "list", "0", "-1"]);
    assert!(list == ["first", "new"] || list == ["first", "late", "new"], "{list:?}");
    let stats: String = servers.servers[0].call(&["INFO", "commandstats"]);
    assert!(
        stats.contains("cmdstat_client|kill:calls="),
        "the connection that was given up is named: {stats}"
    );
}

/// A server that is restarted numbers its connections anew, and on a unix socket all of them have one address.
#[test]
fn a6_no_connection_of_a_server_is_taken_for_one_of_the_server_before() {
    let mut servers = servers(1);
    // by another name too
    let other = folder();
    let link = other.path().join("link.sock");
    std::os::unix::fs::symlink(&servers.nodes[0].address, &link).expect("a link");
    let mut settings = patient(vec![NodeSpec::new("cache-1", link.display().to_string())]);
    settings.threads = 4;
    let harness = Harness::start(settings);
    harness.wait_usable("cache-1");
    let mut client = harness.client();
    for _ in 0..3 {
        servers.servers[0].pause();
        client.send_command(&["INCR", "n"]);
        wait_for("the write to be under way", || harness.node("cache-1").bytes_out > 0);
        std::thread::sleep(Duration::from_millis(50));
        servers.servers[0].kill();
        assert!(client.text_reply().starts_with("-UNKNOWN "));
        servers.servers[0].restart();
        wait_for("the node to be back", || client.text(&["INCR", "m"]).starts_with(':'));
        let stats: String = servers.servers[0].call(&["INFO", "commandstats"]);
        assert!(!stats.contains("client|kill"), "{stats}");
    }
}

fn proxy_on(harness: &Harness, path: &Path, reuse_port: bool) -> Result<Proxy, StartError> {
    let mut settings = Settings::new(vec![NodeSpec::new("n", "127.0.0.1:1")]);
    settings.unix_socket = Some(UnixSocket { path: path.to_owned(), mode: None });
    settings.reuse_port = reuse_port;
    harness.block_on(Proxy::start(settings))
}

#[test]
fn what_a_dead_process_left_is_replaced_and_nothing_else_is() {
    let folder = folder();
    let (cluster, path) = cluster(&folder);
    let why = |result: Result<Proxy, StartError>| result.map(|_| ()).expect_err("it is refused").to_string();
    let told = why(proxy_on(&cluster, &path, false));
    assert!(told.contains("in use") && told.contains("ringway.sock"), "{told}");
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "kept").expect("a file");
    let told = why(proxy_on(&cluster, &plain, true));
    assert!(told.contains("no socket"), "{told}");
    assert_eq!(std::fs::read_to_string(&plain).expect("it is there"), "kept");
    assert!(proxy_on(&cluster, &folder.path().join("no/such/directory"), false).is_err());
    // one that stands still with a full queue
    let full = folder.path().join("full");
    let still = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    still.bind(&socket2::SockAddr::unix(&full).expect("a path")).expect("bind");
    still.listen(0).expect("listen");
    let _waits = UnixStream::connect(&full).expect("it waits");
    assert!(why(proxy_on(&cluster, &full, false)).contains("in use"));
    // one of another kind
    let datagrams = folder.path().join("datagrams");
    let _datagrams = std::os::unix::net::UnixDatagram::bind(&datagrams).expect("bind");
    for replace in [false, true] {
        assert!(why(proxy_on(&cluster, &datagrams, replace)).contains("cannot tell whether"));
    }
    let left = folder.path().join("left");
    drop(UnixListener::bind(&left).expect("a socket"));
    let proxy = proxy_on(&cluster, &left, false).expect("it is replaced");
    assert_eq!(connect(&left).text(&["ECHO", "here"]), "$4\r\nhere\r\n");
    cluster.block_on(proxy.drain());
    assert!(!left.exists(), "an orderly end leaves nothing");
}

#[test]
fn a_process_takes_a_unix_socket_over_from_another() {
    let folder = folder();
    let (cluster, path) = cluster(&folder);
    let mut old = connect(&path);
    assert_eq!(old.text(&["SET", "k", "v"]), "+OK\r\n");
    // its node is down, by which it is told from the other
    let mut settings = Settings::new(vec![NodeSpec::new("n", "127.0.0.1:1")]);
    settings.unix_socket = Some(UnixSocket { path: path.clone(), mode: None });
    settings.reuse_port = true;
    let second = Harness::start(settings);
    let mut new = connect(&path);
    assert!(new.text(&["GET", "k"]).starts_with("-NOTSENT node 'n'"));
    assert_eq!(old.text(&["GET", "k"]), "$1\r\nv\r\n");
    drop(old);
    drop(cluster);
    assert!(
        connect(&path).text(&["GET", "k"]).starts_with("-NOTSENT node 'n'"),
        "the file is another's by now"
    );
    drop((new, second));
    assert!(!path.exists());
}
