//! Every kind of mistake in a file, with the line and the words that answer it.

use std::path::Path;
use std::time::Duration;

use ringway_proxy::settings::{MultiKey, NearCacheSettings, Secret, Timeouts, UnixSocket};
use ringway_ring::{KeyHash, Placement, RingConfig};

use super::*;

const NODES: &str = "nodes:\n  - {name: cache-1, address: '127.0.0.1:7001'}\n";

fn config(text: &str) -> Config {
    parse(text, &Secrets::Resolve(Path::new("")), Path::new(""))
        .unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn problems(text: &str) -> Vec<Problem> {
    let list = parse(text, &Secrets::Resolve(Path::new("")), Path::new("")).err().unwrap_or_default();
    Problems::new("f", list).list
}

/// The only problem of `text` must stand on `line` and contain `words`.
#[track_caller]
fn expect(text: &str, line: usize, words: &str) {
    let found = problems(text);
    assert_eq!(found.len(), 1, "{text}\n{found:#?}");
    assert_eq!(found[0].line, line, "{text}\n{found:#?}");
    assert!(found[0].text.contains(words), "{words:?} is not in {:?}", found[0].text);
}

/// As [`expect`], with a valid list of nodes before the text; lines count from the text.
#[track_caller]
fn expect_after_nodes(text: &str, line: usize, words: &str) {
    expect(&format!("{NODES}{text}"), line + 2, words);
}

#[test]
fn defaults_are_those_of_the_proxy() {
    let config = config(NODES);
    assert_eq!(config.settings.listen, "127.0.0.1:6380");
    assert_eq!(config.settings.threads, 0);
    assert_eq!(config.settings.topology.ring, RingConfig::default());
    assert_eq!(config.settings.timeouts, Timeouts::default());
    assert_eq!(config.settings.limits, super::limits::default());
    assert!(config.settings.password.is_none());
    assert_eq!(config.settings.topology.nodes[0].weight, 1);
    assert_eq!(
        config.admin,
        AdminConfig {
            listen: "127.0.0.1:9380".into(),
            token: None,
            read_token: None,
            open_metrics: false,
            tls: None,
            metrics_listen: None
        }
    );
    assert_eq!(config.topology_file, None);
}

#[test]
fn the_example_is_valid_and_shows_the_defaults() {
    let text = include_str!("../../ringway.example.yaml");
    let from_example = config(text);
    let Settings {
        listen,
        unix_socket,
        tls,
        node_tls,
        sentinels,
        reuse_port,
        threads,
        topology,
        first_epoch,
        origin: _,
        held: _,
        timeouts,
        limits,
        password,
        users,
        users_file,
        allowed_commands,
        multi_key,
        near_cache,
    } = from_example.settings;
    assert!(allowed_commands.is_empty() && !reuse_port && unix_socket.is_none());
    assert!(tls.is_none() && node_tls.is_none() && sentinels.is_none());
    assert!(users.is_none() && users_file.is_none());
    assert_eq!((multi_key, near_cache), (MultiKey::Refuse, None));
    assert_eq!(from_example.admin, config(NODES).admin);
    assert_eq!((listen.as_str(), threads, first_epoch, password), ("127.0.0.1:6380", 0, 1, None));
    assert_eq!(
        (topology.ring, timeouts, limits),
        (RingConfig::default(), Timeouts::default(), limits::default())
    );
}

#[test]
fn maps_may_be_blocks_or_flow() {
    let flow =
        config(&format!("{NODES}timeouts: {{ connect: 250ms, operation: 2s }}\nlimits: {{ clients: 50 }}\n"));
    let block =
        config(&format!("{NODES}timeouts:\n  connect: 250ms\n  operation: 2s\nlimits:\n  clients: 50\n"));
    assert_eq!(flow.settings.timeouts, block.settings.timeouts);
    assert_eq!(flow.settings.timeouts.connect, Duration::from_millis(250));
    assert_eq!((flow.settings.limits.clients, block.settings.limits.clients), (50, 50));
}

#[test]
fn every_section_is_read() {
    let text = "listen: 0.0.0.0:7000\nthreads: 4\nring: {placement: ketama, key_hash: md5, hash_tag: ''}\n\
        nodes:\n- name: a\n  address: h1:1\n  weight: 3\n  username: u\n  password: p\n- {name: b, address: '[::1]:2'}\n\
        limits: {pipeline_bytes: 2MiB, reply_stuck: 2m, drain: 500ms}\nauth: {password: secret}\n\
        admin: {listen: '0.0.0.0:9', token: t0k}\ntopology_file: topology.json\n";
    let config = config(text);
    assert_eq!(config.settings.topology.ring.placement, Placement::Ketama(KeyHash::Md5));
    assert_eq!(config.settings.topology.ring.hash_tag, None);
    assert_eq!(config.settings.topology.nodes[0].credentials.username.as_deref(), Some("u"));
    assert_eq!(config.settings.topology.nodes[1].address, "[::1]:2");
    assert_eq!(config.settings.limits.pipeline_bytes, 2 << 20);
    assert_eq!(config.settings.limits.reply_stuck, Duration::from_secs(120));
    assert_eq!(config.settings.password.as_ref().map(Secret::reveal), Some("secret"));
    assert_eq!(config.topology_file.as_deref(), Some(Path::new("topology.json")));
    assert!(!format!("{config:?}").contains("secret"), "a debug print shows no password");
}

#[test]
fn unknown_fields_name_the_nearest() {
    expect_after_nodes("listn: 127.0.0.1:1\n", 1, "'listn'; the nearest known field is 'listen'");
    expect_after_nodes("ring:\n  point: 5\n", 2, "'point' in ring; the nearest known field is 'points'");
    expect_after_nodes(
        "limits: {client: 1}\n",
        1,
        "'client' in limits; the nearest known field is 'clients'",
    );
    let text = "nodes:\n  - name: a\n    adress: h:1\n    address: h:1\n";
    expect(text, 3, "'adress' in nodes[0]; the nearest known field is 'address'");
}

#[test]
fn fields_in_the_wrong_place_are_told_where_they_belong() {
    for (text, line, told) in [
        (
            "users_file: users.acl\n",
            1,
            "'users_file'; the nearest known field is 'auth.users_file' (known here: listen",
        ),
        ("max-age: 1s\n", 1, "'max-age'; the nearest known field is 'near_cache.max_age'"),
        ("clients: 5\n", 1, "'clients'; the nearest known field is 'limits.clients'"),
        (
            "limits:\n  operation: 1s\n",
            2,
            "'operation' in limits; the nearest known field is 'timeouts.operation'",
        ),
        ("ring:\n  threads: 2\n", 2, "'threads' in ring; the nearest known field is 'threads'"),
        ("token: x\n", 1, "'admin.token'"),
        ("weight: 2\n", 1, "the nearest known field is 'nodes[].weight'"),
        // also of several
        (
            "password: x\n",
            1,
            "the nearest known fields are 'nodes[].password', 'sentinels.password' and 'auth.password'",
        ),
        // what is only misspelt is meant for where it stands
        (
            "auth:\n  user_file: x\n",
            2,
            "'user_file' in auth; the nearest known field is 'users_file' (known: password",
        ),
    ] {
        expect_after_nodes(text, line, told);
    }
}

#[test]
fn nodes_must_be_a_list_of_maps() {
    expect("listen: 127.0.0.1:1\n", 1, "nodes is missing");
    expect("listen: 127.0.0.1:1\nnodes: []\n", 2, "nodes is empty");
    expect("listen: 127.0.0.1:1\nnodes:\n", 2, "nodes is missing");
    expect("nodes: cache-1\n", 1, "nodes is a single value");
    expect("nodes:\n  a: h:1\n", 2, "nodes is a map");
    expect("- a\n", 1, "the file is a list");
    expect("", 1, "nodes is missing");
    let found = problems("nodes:\n  - h:1\n");
    assert!(found[0].text.contains("nodes[0] is a single value"), "{found:?}");
}

#[test]
fn nodes_are_checked_one_by_one() {
    expect("nodes:\n  - name: a\n", 2, "nodes[0].address is missing");
    expect("nodes:\n  - address: h:1\n", 2, "nodes[0].name is missing");
    expect(
        "nodes:\n  - name: a\n    address: h\n",
        3,
        "is neither host:port nor rediss://host:port (over TLS) nor the absolute path",
    );
    expect(
        "nodes:\n  - name: a\n    address: unix:/run/redis.sock\n",
        3,
        "write for example 127.0.0.1:7001 or /run/",
    );
    expect(
        "nodes:\n  - {name: a, address: /run/a}\n  - {name: b, address: /run/a}\n",
        3,
        "also the address on line 2",
    );
    config("nodes:\n  - {name: a, address: /run/a}\n  - {name: b, address: /run/A}\n");
    expect("nodes:\n  - name: a b\n    address: h:1\n", 2, "printable characters");
    expect(
        "nodes:\n  - {name: a, address: 'h:1'}\n  - {name: a, address: 'h:2'}\n",
        3,
        "also the name of the node on line 2",
    );
    expect(
        "nodes:\n  - {name: a, address: 'h:1'}\n  - {name: b, address: 'H:1'}\n",
        3,
        "also the address on line 2",
    );
    for wrong in ["0", "1001", "-1", "heavy", "1.5", "[1]"] {
        expect(
            &format!("nodes:\n  - name: a\n    weight: {wrong}\n    address: h:1\n"),
            3,
            "nodes[0].weight",
        );
    }
    expect("nodes:\n  - {name: a, address: 'h:1', username: u}\n", 2, "without a password");
    expect("nodes:\n  - {name: a, address: 'localhost:6380'}\n", 2, "where the proxy itself listens");
}

#[test]
fn the_ring_is_checked() {
    expect_after_nodes("ring: {placement: ketamma}\n", 1, "unknown placement 'ketamma'");
    expect_after_nodes("ring:\n  key_hash: md5\n", 2, "has its own key hash");
    expect_after_nodes("ring:\n  placement: ketama\n  key_hash: md6\n", 3, "unknown key hash 'md6'");
    expect_after_nodes("ring: {placement: ketama, key_hash: \"md\\n6\"}\n", 1, "unknown key hash 'md\\n6'");
    expect_after_nodes("ring:\n  points: 0\n", 2, "ring.points: '0' is out of range");
    expect_after_nodes("ring:\n  points: 99999999999\n", 2, "out of range");
    expect_after_nodes("ring:\n  seed: -1\n", 2, "not a whole number");
    expect_after_nodes("ring:\n  hash_tag: {}\n", 2, "quote the two characters");
    expect_after_nodes("ring:\n  hash_tag: '{'\n", 2, "is not two ASCII characters");
    expect_after_nodes("ring: {placement: ketama, points: 160}\n", 1, "has no effect with placement ketama");
    expect_after_nodes("ring: {placement: modula, seed: 3}\n", 1, "has no effect with placement modula");
    expect_after_nodes("ring: 1024\n", 1, "ring is a single value");
    let heavy = "nodes: [{name: a, address: 'h:1', weight: 1000}]\nring: {points: 8000000}\n";
    expect(heavy, 2, "would have 8000000000 points");
}

#[test]
fn durations_and_sizes_are_checked() {
    expect_after_nodes(
        "timeouts:\n  connect: 0s\n",
        2,
        "timeouts.connect: '0s' is out of range; use 1ms to 1m",
    );
    expect_after_nodes("timeouts:\n  operation: 900\n", 2, "has no unit; write 900ms or 900s");
    expect_after_nodes("timeouts:\n  operation: 99h\n", 2, "out of range");
    expect_after_nodes("timeouts: fast\n", 1, "timeouts is a single value");
    expect_after_nodes("limits:\n  clients: 0\n", 2, "limits.clients: '0' is out of range");
    expect_after_nodes("limits:\n  pipeline_bytes: 64KB\n", 2, "write 64KiB");
    expect_after_nodes("limits:\n  command_bytes: 1\n", 2, "out of range; use 64KiB to 1024GiB");
    expect_after_nodes(
        "limits: {reply_soft_bytes: 8MiB, reply_hard_bytes: 1MiB}\n",
        1,
        "above reply_hard_bytes",
    );
    expect_after_nodes("threads: many\n", 1, "threads: 'many' is not a whole number");
}

#[test]
fn commands_that_may_be_allowed_are_named() {
    expect_after_nodes("commands: {allow: [flushal]}\n", 1, "the nearest that can be allowed is 'flushall'");
    expect_after_nodes("commands: {allow: get}\n", 1, "commands.allow is a single value");
    expect_after_nodes("commands: {allow: [[keys]]}\n", 1, "write command names");
    expect_after_nodes("commands: {deny: [keys]}\n", 1, "nearest known field is 'allow'");
    let config = config(&format!("{NODES}commands: {{allow: [FLUSHALL, keys]}}\n"));
    assert_eq!(config.settings.allowed_commands, ["flushall", "keys"]);
}

#[test]
fn a_near_cache_is_there_when_its_section_is() {
    let read = |text: &str| config(&format!("{NODES}{text}\n")).settings.near_cache;
    assert_eq!(read(""), None);
    assert_eq!(read("near_cache: null"), None);
    assert_eq!(read("near_cache: {}"), Some(NearCacheSettings::default()));
    let told = NearCacheSettings {
        memory_bytes: 64 << 20,
        max_age: Duration::from_millis(250),
        value_bytes: 1 << 20,
        hot_reads: 2,
    };
    assert_eq!(
        read("near_cache: {memory_bytes: 64MiB, max_age: 250ms, value_bytes: 1MiB, hot_reads: 2}"),
        Some(told)
    );
    expect_after_nodes("near_cache: {max_age: 2m}\n", 1, "near_cache.max_age");
    expect_after_nodes("near_cache: {memory_bytes: 1KiB}\n", 1, "near_cache.memory_bytes");
    expect_after_nodes("near_cache: {memory: 1MiB}\n", 1, "the nearest known field is 'memory_bytes'");
    let text = "near_cache:\n  memory_bytes: 1MiB\n  value_bytes: 2MiB\n";
    expect_after_nodes(text, 3, "near_cache.value_bytes is above memory_bytes");
}

#[test]
fn a_unix_socket_has_a_path_and_perhaps_a_mode() {
    let read = |text: &str| config(&format!("{NODES}unix_socket: {text}\n")).settings.unix_socket.unwrap();
    let socket = |mode| UnixSocket { path: "/run/ringway.sock".into(), mode };
    assert_eq!(read("{path: /run/ringway.sock}"), socket(None));
    for mode in ["660", "0660", "'660'"] {
        assert_eq!(read(&format!("{{path: /run/ringway.sock, mode: {mode}}}")), socket(Some(0o660)));
    }
    expect_after_nodes("unix_socket: {mode: 660}\n", 1, "unix_socket.path is missing");
    expect_after_nodes("unix_socket:\n  path: ringway.sock\n", 2, "is not an absolute path");
    expect_after_nodes("unix_socket:\n  path: /run/r\n  mode: 888\n", 3, "is no octal mode");
    expect_after_nodes("unix_socket:\n  path: /run/r\n  mode: 1777\n", 3, "is no octal mode");
    expect_after_nodes("listen: /run/r\n", 1, "a unix socket goes into unix_socket.path");
    let own = "unix_socket: {path: /run/r}\nnodes:\n  - {name: a, address: /run/r}\n";
    expect(own, 3, "is where the proxy itself listens");
}

#[test]
fn admin_needs_a_token_where_others_can_reach_it() {
    expect_after_nodes("admin:\n  listen: 0.0.0.0:9380\n", 2, "admin.token is missing");
    expect_after_nodes("admin:\n  listen: 127.0.0.1:6380\n", 2, "the proxy's own address");
    expect_after_nodes("admin:\n  listen: 9380\n", 2, "is not host:port");
    expect_after_nodes("admin:\n  token: 'two words'\n", 2, "printable ASCII");
    expect_after_nodes("admin:\n  open_metrics: maybe\n", 2, "neither true nor false");
    config(&format!("{NODES}admin: {{listen: '0.0.0.0:9380', token: abc, open_metrics: true}}\n"));
}

#[test]
fn admin_tokens_and_listeners_fit_together() {
    expect_after_nodes("admin:\n  read_token: abc\n", 2, "set admin.token too");
    expect_after_nodes("admin:\n  token: abc\n  read_token: abc\n", 3, "the same as admin.token");
    expect_after_nodes("admin:\n  token: abc\n  read_token: 'a b'\n", 3, "admin.read_token has characters");
    expect_after_nodes("admin:\n  metrics_listen: 127.0.0.1:9380\n", 2, "the address of admin.listen");
    expect_after_nodes("admin:\n  metrics_listen: 127.0.0.1:6380\n", 2, "the proxy's own address");
    expect_after_nodes("admin:\n  metrics_listen: 9381\n", 2, "write for example 127.0.0.1:9381");
    expect_after_nodes("reuse_port: maybe\n", 1, "neither true nor false");
    expect_after_nodes("limits:\n  drain_idle: 2h\n", 2, "out of range; use 0ms to 1h");
    let config = config(&format!(
        "{NODES}reuse_port: true\nadmin: {{token: abc, read_token: def, metrics_listen: '0.0.0.0:9381'}}\n"
    ));
    assert!(config.settings.reuse_port);
    assert_eq!(config.admin.metrics_listen.as_deref(), Some("0.0.0.0:9381"));
    assert_eq!(config.admin.read_token.as_ref().map(Secret::reveal), Some("def"));
}

#[test]
fn secrets_that_cannot_be_read_are_told() {
    expect_after_nodes("auth: {password: {env: RINGWAY_NO_SUCH}}\n", 1, "RINGWAY_NO_SUCH, which is not set");
    expect_after_nodes("auth:\n  password: {file: no-such-file}\n", 2, "no-such-file");
    expect_after_nodes("auth:\n  pass: x\n", 2, "nearest known field is 'password'");
}

#[test]
fn the_topology_file_needs_its_directory() {
    expect_after_nodes("topology_file: /no/such/dir/topology.json\n", 1, "does not exist");
    expect_after_nodes("topology_file: /\n", 1, "is a directory");
}

#[test]
fn all_problems_come_at_once_and_in_order() {
    let text = "thread: 1\nthreads: -1\nnodes:\n  - {name: a, address: h}\n  - {name: b, address: 'h:2', weight: 0}\nadmin: {listen: '0.0.0.0:1'}\nthreads: 2\n";
    let lines: Vec<usize> = problems(text).iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 2, 4, 5, 6, 7]);
}

#[test]
fn files_that_are_no_text_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.yaml");
    std::fs::write(&path, b"listen: 127.0.0.1:1\nnodes: \xff\n").unwrap();
    let problems = load(&path, Depth::Run).unwrap_err();
    assert_eq!(problems.list[0].line, 2);
    assert!(
        problems.to_string().ends_with("bad.yaml:2: is not UTF-8 here; save the file as UTF-8"),
        "{problems}"
    );
    assert!(load(folder.path(), Depth::Run).unwrap_err().to_string().contains("is a directory"));
    assert!(
        load(&folder.path().join("none"), Depth::Run).unwrap_err().to_string().contains("cannot be read")
    );
}

#[test]
fn multi_key_is_one_of_two_words() {
    assert_eq!(config(&format!("{NODES}multi_key: emulate\n")).settings.multi_key, MultiKey::Emulate);
    assert_eq!(config(&format!("{NODES}multi_key: null\n")).settings.multi_key, MultiKey::Refuse);
    expect_after_nodes("multi_key: emulat\n", 1, "'emulat' is not known; the nearest value is 'emulate'");
    expect_after_nodes("threads: 1\nmulti_key: [emulate]\n", 2, "multi_key is a list; write one value");
}

#[test]
fn what_misses_its_end_is_reported_on_a_line_that_exists() {
    expect("nodes: [{name: a", 1, "not valid YAML");
    expect("nodes: [{name: a\n\n\n", 1, "not valid YAML");
    let lines: Vec<usize> = problems("nodes: null\n? ").iter().map(|problem| problem.line).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| (1..=2).contains(line)), "{lines:?}");
}

#[test]
fn sentinels_are_named_where_a_node_needs_them() {
    let node = "nodes: [{name: a, address: 'redis+sentinel://main'}]\n";
    let config = config(&format!(
        "{node}sentinels: {{addresses: [h:26379, 'rediss://[::1]:26379'], username: u, password: p}}\n"
    ));
    let sentinels = config.settings.sentinels.expect("they are named");
    assert_eq!(sentinels.addresses, ["h:26379", "rediss://[::1]:26379"]);
    assert_eq!(sentinels.credentials.username.as_deref(), Some("u"));
    assert!(config.settings.node_tls.is_some(), "one is reached over TLS");
    expect(node, 1, "where redis+sentinel://main is tell sentinels; name them");
    for (fields, words) in [
        ("{}", "sentinels.addresses is missing"),
        ("{addresses: []}", "has 0 entries"),
        ("{addresses: h:1}", "sentinels.addresses is a single value"),
        ("{addresses: [h]}", "'h' is neither host:port nor rediss://host:port"),
        ("{addresses: [/run/s.sock]}", "is neither host:port"),
        ("{addresses: ['redis+sentinel://main']}", "is neither host:port"),
        ("{addresses: [h:1, h:1]}", "'h:1' stands there twice"),
        ("{addresses: [[h:1]]}", "it holds a list"),
        ("{addresses: [h:1], username: u}", "stands without a password"),
        ("{addresses: [h:1], master: x}", "nearest known field"),
    ] {
        expect(&format!("{node}sentinels: {fields}\n"), 2, words);
    }
    let twice = "nodes: [{name: a, address: 'redis+sentinel://m'},\n {name: b, address: 'rediss+sentinel://m'}]\nsentinels: {addresses: [h:1]}\n";
    expect(twice, 2, "give each node its own server");
    expect(
        "nodes: [{name: a, address: 'redis+sentinel://m m'}]\nsentinels: {addresses: [h:1]}\n",
        1,
        "redis+sentinel://NAME",
    );
}

#[test]
fn who_follows_says_whom_and_needs_no_nodes() {
    let kept = "topology_file: t.json\n";
    let config = config(&format!("{kept}follow: {{url: 'http://h:9380', token: x}}\n"));
    let follow = config.follow.expect("it follows");
    assert_eq!((&*follow.url, follow.token), ("http://h:9380", Some(Secret::new("x"))));
    assert!(follow.name.ends_with(":6380") && config.settings.topology.nodes.is_empty());
    for (fields, words) in [
        ("{}", "follow.url is missing"),
        ("{url: 'h:9380'}", "must be http://HOST:PORT"),
        ("{url: 'http://h'}", "must be http://HOST:PORT"),
        ("{url: 'http://h:99999'}", "must be http://HOST:PORT"),
        ("{url: 'http://127.0.0.1:9380'}", "where this one's own admin API listens"),
        ("{url: 'http://h:1', ur: x}", "nearest known field is 'url'"),
        ("{url: 'http://h:1', name: 'a b'}", "follow.name"),
        ("{url: 'http://h:1', token: \"a\\nb\"}", "follow.token"),
        ("{url: 'http://h:1', tls: {verify: chain}}", "does not begin with https://"),
        ("{url: 'https://h:1', tls: {ca: /none}}", "follow.tls.ca"),
    ] {
        expect(&format!("{kept}follow: {fields}\n"), 2, words);
    }
    let found = problems(&format!("{kept}follow: {{url: 'http://user:hunter2@h:1'}}\n"));
    assert!(found.len() == 1 && !found[0].text.contains("hunter2"), "{found:#?}");
    expect("follow: {url: 'http://h:1'}\n", 1, "follow needs a topology_file");
}
