//! INFO through the proxy: one page, parsed as client libraries parse that of a server, whatever state the nodes are in.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use ringway_proxy::settings::{NodeSpec, Secret, Settings};
use ringway_proxy::stats::NodeState;

use crate::support::harness::{named, patient};
use crate::support::raw_client::RawClient;
use crate::support::{Act, Cluster, FakeRedis, Harness, RedisServer, wait_for};

/// A value as redis-py reads it.
#[derive(Debug, Clone, PartialEq)]
enum Parsed {
    Number(f64),
    Text(String),
    List(Vec<String>),
    Parts(BTreeMap<String, String>),
}

impl Parsed {
    fn number(&self) -> f64 {
        match self {
            Parsed::Number(number) => *number,
            other => panic!("{other:?} is no number"),
        }
    }

    fn part(&self, name: &str) -> &str {
        match self {
            Parsed::Parts(parts) => parts.get(name).unwrap_or_else(|| panic!("no {name} in {parts:?}")),
            other => panic!("{other:?} has no parts"),
        }
    }
}

/// The text of the reply in either protocol.
fn page(client: &mut RawClient, args: &[&str]) -> String {
    let request: Vec<&str> = std::iter::once("INFO").chain(args.iter().copied()).collect();
    let reply = client.text(&request);
    let (head, rest) = reply.split_once("\r\n").expect("a head");
    let text = rest.strip_suffix("\r\n").expect("an end");
    match head.split_at(1) {
        ("$", len) => {
            assert_eq!(len.parse(), Ok(text.len()));
            text.to_owned()
        }
        ("=", len) => {
            assert_eq!(len.parse(), Ok(text.len()));
            text.strip_prefix("txt:").expect("plain text").to_owned()
        }
        _ => panic!("no text: {reply}"),
    }
}

/// redis-py's way: cut at the first colon, then at commas, then at the last equals sign.
fn parse(page: &str) -> BTreeMap<String, Parsed> {
    let mut fields = BTreeMap::new();
    for line in page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line} has no colon"));
        let parsed = if value.contains('=') {
            let parts =
                value.split(',').map(|part| part.rsplit_once('=').unwrap_or_else(|| panic!("{line}")));
            Parsed::Parts(parts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
        } else if value.contains(',') {
            Parsed::List(value.split(',').map(str::to_owned).collect())
        } else {
            value.parse().map_or_else(|_| Parsed::Text(value.to_owned()), Parsed::Number)
        };
        // each section that is short of nodes names the same ones
        let before = fields.insert(name.to_owned(), parsed);
        assert!(before.is_none() || before.as_ref() == fields.get(name), "{name} stands there twice");
    }
    fields
}

fn info(client: &mut RawClient) -> BTreeMap<String, Parsed> {
    parse(&page(client, &[]))
}

#[test]
fn clients_that_wait_are_told_as_blocked() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let blocked = |client: &mut RawClient| parse(&page(client, &["clients"]))["blocked_clients"].number();
    assert_eq!(blocked(&mut client), 0.0);
    let mut waiters = [cluster.client(), cluster.client3()];
    for waiter in &mut waiters {
        waiter.send_command(&["BLPOP", "list", "0"]);
    }
    wait_for("both to wait", || blocked(&mut client) == 2.0);
    // who is counted waits at the node already, or will before any later command of others comes there
    client.call(&["RPUSH", "list", "a", "b"]);
    waiters.iter_mut().for_each(|waiter| assert!(waiter.reply().starts_with(b"*2")));
    wait_for("nobody to wait", || blocked(&mut client) == 0.0);
    // as in Redis, whoever a pause holds back counts too
    assert_eq!(client.text(&["CLIENT", "PAUSE", "60000", "WRITE"]), "+OK\r\n");
    let mut leaves = cluster.client();
    leaves.send_command(&["SET", "k", "v"]);
    waiters.iter_mut().for_each(|waiter| waiter.send_command(&["SET", "k", "v"]));
    wait_for("all to be held back", || blocked(&mut client) == 3.0);
    drop(leaves);
    wait_for("one to be gone", || blocked(&mut client) == 2.0);
    assert_eq!(client.text(&["CLIENT", "UNPAUSE"]), "+OK\r\n");
    waiters.iter_mut().for_each(|waiter| assert_eq!(waiter.text_reply(), "+OK\r\n"));
    assert_eq!(blocked(&mut client), 0.0);
}

fn headers(page: &str) -> Vec<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# ")).collect()
}

#[test]
fn figures_are_those_of_all_nodes_in_the_form_of_a_server() {
    let cluster = Cluster::start(3);
    let bare = RedisServer::start();
    for mut client in [cluster.client(), cluster.client3()] {
        for at in 0..90 {
            client.call(&["SET", &format!("key:{at}"), "v"]);
            client.call(&["GET", &format!("key:{at}")]);
        }
        for at in 0..30 {
            client.call(&["EXPIRE", &format!("key:{at}"), "1000"]);
            client.call(&["GET", &format!("no:{at}")]);
        }
        let nodes: Vec<_> =
            cluster.nodes.iter().map(|node| parse(&page(&mut node.client(), &["all"]))).collect();
        let sum = |name: &str| nodes.iter().map(|node| node[name].number()).sum::<f64>();
        let text = page(&mut client, &["all"]);
        let ours = parse(&text);
        for name in
            ["keyspace_hits", "keyspace_misses", "expired_keys", "evicted_keys", "total_error_replies"]
        {
            assert_eq!(ours[name], Parsed::Number(sum(name)), "{name}");
        }
        assert!(sum("keyspace_hits") >= 90.0 && sum("keyspace_misses") >= 30.0);
        // each look costs some memory and counts itself
        assert!((ours["used_memory"].number() / sum("used_memory") - 1.0).abs() < 0.5);
        assert!(ours["total_commands_processed"].number() >= sum("total_commands_processed"));
        let database = &ours["db0"];
        assert_eq!((database.part("keys"), database.part("expires")), ("90", "30"));
        // a server samples times to live now and then
        wait_for("an average time to live", || {
            let ttl: f64 = info(&mut client)["db0"].part("avg_ttl").parse().expect("a number");
            (1.0..=1_000_000.0).contains(&ttl)
        });
        let calls = |page: &BTreeMap<String, Parsed>| {
            page["cmdstat_get"].part("calls").parse::<u64>().expect("calls")
        };
        assert_eq!(calls(&ours), nodes.iter().map(calls).sum::<u64>());
        // what is named as a server names it, a server has
        let theirs = parse(&page(&mut bare.client(), &["everything"]));
        let is_own =
            |name: &str| name.starts_with("ringway_") || name.starts_with("node") || name == "topology_epoch";
        let is_counted =
            |name: &str| ["cmdstat_", "errorstat_", "db0"].iter().any(|begin| name.starts_with(begin));
        // Redis counts what users may not do since 7.2
        let is_newer = |name: &str| name.starts_with("acl_access_denied_");
        for name in ours.keys().filter(|name| !is_own(name) && !is_counted(name) && !is_newer(name)) {
            assert!(theirs.contains_key(name), "{name} is no field of Redis");
        }
        for name in [
            "redis_version",
            "redis_mode",
            "role",
            "loading",
            "cluster_enabled",
            "connected_slaves",
            "master_repl_offset",
        ] {
            assert_eq!(ours[name], theirs[name], "{name}");
        }
        assert!(!ours.contains_key("run_id"), "by which keys that are moved are told to be another server's");
        assert_eq!(ours["ringway_version"], Parsed::Text(env!("CARGO_PKG_VERSION").into()));
        assert_eq!(ours["tcp_port"].number() as u16, cluster.address().port());
        assert!(ours["connected_clients"].number() >= 1.0 && !text.contains("missing"));
        for (at, node) in cluster.nodes.iter().enumerate() {
            let line = &ours[&format!("node{at}")];
            assert_eq!(line.part("name"), format!("cache-{}", at + 1));
            assert_eq!((line.part("address"), line.part("state")), (&*node.address(), "up"));
            assert_eq!(line.part("keys"), node.dbsize().to_string());
            assert_eq!(Parsed::Text(line.part("version").into()), nodes[at]["redis_version"]);
            assert!(line.part("used_memory").parse::<u64>().is_ok_and(|bytes| bytes > 0));
        }
    }
}

#[test]
fn sections_are_chosen_as_with_a_server() {
    let cluster = Cluster::start(2);
    let bare = RedisServer::start();
    let (mut ours, mut theirs) = (cluster.client(), bare.client());
    for args in [
        &[][..],
        &["default"],
        &["DEFAULT"],
        &["all"],
        &["everything"],
        &["server"],
        &["SERVER", "Cpu", "nosuch", "cpu"],
        &["memory"],
        &["Persistence", "stats"],
        &["clients", "all"],
        &["keyspace", "cluster"],
        &["commandstats"],
        &["errorstats", "latencystats", "replication"],
        &["nosuch"],
        &["nosuch", "neither"],
    ] {
        let page = page(&mut ours, args);
        let theirs = self::page(&mut theirs, args);
        let found: Vec<&str> = headers(&page).into_iter().filter(|name| *name != "Nodes").collect();
        assert_eq!(found, headers(&theirs), "{args:?}");
        let whole = args.is_empty()
            || args.iter().any(|arg| ["all", "default", "everything"].contains(&&*arg.to_lowercase()));
        assert_eq!(page.contains("# Nodes\r\n"), whole, "{args:?}");
    }
    assert_eq!(headers(&page(&mut ours, &["NODES"])), ["Nodes"]);
    assert_eq!(ours.text(&["INFO", "nosuch"]), theirs.text(&["INFO", "nosuch"]));
    let (mut ours, mut theirs) = (cluster.client3(), bare.client());
    theirs.call(&["HELLO", "3"]);
    assert_eq!(ours.text(&["INFO", "nosuch"]), theirs.text(&["INFO", "nosuch"]));
}

#[test]
fn a2_the_page_comes_while_nodes_are_down_and_names_them() {
    let mut cluster = Cluster::start(3);
    let mut client = cluster.client();
    for at in 0..60 {
        client.call(&["SET", &format!("key:{at}"), "v"]);
    }
    cluster.server_mut("cache-2").kill();
    cluster.wait_state("cache-2", NodeState::Down);
    let left = cluster.nodes[0].dbsize() + cluster.nodes[2].dbsize();
    for mut client in [cluster.client(), cluster.client3()] {
        let page = page(&mut client, &[]);
        assert!(page.contains("# Memory\r\nringway_missing_nodes:cache-2\r\n"), "{page}");
        assert!(page.contains("# Keyspace\r\nringway_missing_nodes:cache-2\r\n"), "{page}");
        let server = self::page(&mut client, &["server", "clients"]);
        assert!(!server.contains("missing") && headers(&server) == ["Server", "Clients"]);
        let fields = parse(&self::page(&mut client, &["keyspace"]));
        assert_eq!(fields["db0"].part("keys"), left.to_string());
        let fields = parse(&self::page(&mut client, &["nodes"]));
        let states: Vec<&str> = (0..3).map(|at| fields[&format!("node{at}")].part("state")).collect();
        assert_eq!(states, ["up", "down", "up"]);
    }
    cluster.server_mut("cache-1").kill();
    cluster.server_mut("cache-3").kill();
    for node in ["cache-1", "cache-3"] {
        cluster.wait_state(node, NodeState::Down);
    }
    let page = page(&mut client, &["persistence", "stats"]);
    assert!(
        page.starts_with("# Persistence\r\nloading:0\r\nringway_missing_nodes:cache-1,cache-2,cache-3\r\n"),
        "{page}"
    );
    for node in &mut cluster.nodes {
        node.restart();
    }
    cluster.wait_all();
    assert!(!self::page(&mut client, &[]).contains("missing"));
}

#[test]
fn i5_a_node_that_stands_still_holds_the_page_up_for_the_operation_timeout_at_most() {
    let cluster = Cluster::start_with(2, |settings| settings.timeouts.operation = Duration::from_millis(500));
    let mut client = cluster.client();
    cluster.server("cache-1").pause();
    let page = page(&mut client, &[]);
    cluster.server("cache-1").resume();
    let fields = parse(&page);
    assert_eq!(fields["node0"].part("state"), "down", "{page}");
    assert_eq!(fields["node1"].part("state"), "up", "{page}");
    assert!(fields.contains_key("used_memory"), "of the other node: {page}");
}

#[test]
fn i5_the_page_comes_before_any_node_was_reached() {
    // one that takes connections and never says a word, one where nobody listens
    let silent = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = silent.local_addr().expect("an address").to_string();
    let nodes = vec![NodeSpec::new("silent", address), NodeSpec::new("nobody", "127.0.0.1:1")];
    let harness = Harness::start(Settings::new(nodes));
    let began = Instant::now();
    let page = page(&mut harness.client(), &[]);
    assert!(began.elapsed() < Duration::from_secs(20), "after {:?}", began.elapsed());
    assert!(
        page.contains("ringway_missing_nodes:silent,nobody\r\n") && page.contains("loading:0\r\n"),
        "{page}"
    );
}

#[test]
fn a_stranger_is_told_nothing() {
    let cluster = Cluster::start_with(1, |settings| settings.password = Some(Secret::new("secret")));
    let mut client = cluster.client();
    for section in ["server", "all"] {
        assert_eq!(client.text(&["INFO", section]), "-NOAUTH Authentication required.\r\n");
    }
    client.call(&["AUTH", "secret"]);
    assert!(info(&mut client).contains_key("redis_version"));
}

#[test]
fn a_node_that_refuses_to_tell_is_up_and_missing() {
    let cluster = Cluster::start(2);
    let _: () = cluster.nodes[1].call(&["ACL", "SETUSER", "default", "-info"]);
    let page = page(&mut cluster.client(), &["stats", "nodes"]);
    let fields = parse(&page);
    assert_eq!((fields["node1"].part("state"), fields["node1"].part("error")), ("up", "NOPERM"));
    assert!(page.contains("# Stats\r\n") && page.contains("ringway_missing_nodes:cache-2\r\n"), "{page}");
}

#[test]
fn the_version_is_the_lowest_of_the_nodes() {
    let (real, newer) = (RedisServer::start(), FakeRedis::start(|_| vec![Act::text("+OK\r\n")]));
    newer.tell_version("99.4.1-rc2");
    let nodes = named(&[("real", real.address()), ("newer", newer.address())]);
    let harness = Harness::start(patient(nodes.clone()));
    let mut client = harness.client();
    // a node may tell its own between the two replies
    let mut both_are = |version: &str| {
        let hello = client.text(&["HELLO"]);
        let page = page(&mut client, &["server"]);
        hello.contains(&format!("$7\r\nversion\r\n${}\r\n{version}\r\n", version.len()))
            && page.contains(&format!("redis_version:{version}\r\n"))
    };
    let own: String = real.call(&["INFO", "server"]);
    let own = own.lines().find_map(|line| line.strip_prefix("redis_version:")).expect("it tells");
    wait_for("the nodes to have told", || both_are(own));
    // the older one leaves
    harness.apply(nodes[1..].to_vec());
    wait_for("what is left", || both_are("99.4.1"));
    harness.apply(nodes);
    wait_for("the older one to be back", || both_are(own));
}
