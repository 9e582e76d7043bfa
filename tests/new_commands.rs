//! Commands that the table lacks: learned from what nodes say to COMMAND, or refused with a reason.
//!
//! The nodes are scripted and say what a real server says of its commands, under other names: `x.get` for GET and so on.
//! So its key specifications are real ones, and where a command goes can be compared with what the table knows.

use ringway_proxy::settings::NodeSpec;

use crate::support::frame::bulk_request;
use crate::support::{Act, Cluster, FakeRedis, Harness, RawClient, RedisServer, wait_for};

/// What a real server says to COMMAND, with `x.` before every name.
fn renamed_commands() -> Vec<u8> {
    let server = RedisServer::start();
    let reply = server.client().call(&["COMMAND"]);
    let text = String::from_utf8(reply).expect("a text");
    let mut out = String::new();
    let mut lines = text.split_inclusive("\r\n").peekable();
    while let Some(line) = lines.next() {
        out.push_str(line);
        // an entry begins with ten elements, the first of which is the name
        if line.starts_with("*10") && lines.peek().is_some_and(|next| next.starts_with('$')) {
            let (_, name) = (lines.next(), lines.next().expect("a name"));
            let name = name.trim_end();
            out.push_str(&format!("${}\r\nx.{name}\r\n", name.len() + 2));
        }
    }
    out.into_bytes()
}

/// Two nodes that answer every command with their own name, and say to COMMAND what they are given.
fn nodes(commands: [&[u8]; 2]) -> (Harness, Vec<FakeRedis>) {
    let node = |name: &'static str| {
        FakeRedis::start(move |seen| match seen.name().as_str() {
            "GETDEL" => vec![Act::Finish],
            _ => vec![Act::Send(format!("+{name}\r\n").into_bytes())],
        })
    };
    let nodes = vec![node("cache-1"), node("cache-2")];
    for (node, commands) in nodes.iter().zip(commands) {
        node.tell_commands(commands.to_vec());
    }
    let harness = Harness::in_front_of(&[("cache-1", nodes[0].address()), ("cache-2", nodes[1].address())]);
    (harness, nodes)
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn wait_until_known(client: &mut RawClient, request: &str) {
    wait_for(&format!("{request} to be known"), || {
        !client.text(&words(request)).starts_with("-ERR unknown command")
    });
}

/// Waits until every worker has a connection to a node that owns all keys.
fn wait_answers(harness: &Harness, node: &str) {
    let mut clients: Vec<RawClient> =
        (0..2 * harness.control().threads()).map(|_| harness.client()).collect();
    wait_for(&format!("{node} to answer"), || {
        clients.iter_mut().all(|client| client.text(&["GET", "k"]) == format!("+{node}\r\n"))
    });
}

#[test]
fn i4_learned_commands_go_to_the_node_of_their_keys_and_to_no_other() {
    let commands = renamed_commands();
    let (harness, fakes) = nodes([&commands, &commands]);
    let mut client = harness.client();
    wait_until_known(&mut client, "x.get k");
    wait_for("both to have told", || client.text(&["x.get", "k"]).starts_with('+'));
    let (a, b) = (harness.key_of("cache-1"), harness.key_of("cache-2"));
    for (key, node) in [(&a, "cache-1"), (&b, "cache-2")] {
        for request in [
            format!("X.GET {key}"),
            format!("x.set {key} v ex 10"),
            format!("x.mset {key} {a} {key} {b}"),
            format!("x.zadd {key} 1 m"),
            format!("x.eval script 1 {key} {a} {b}"),
            format!("x.zunionstore {key} 1 {key}"),
            format!("x.georadius {key} 1 2 3 m store {key}"),
            format!("x.object Encoding {key}"),
            format!("x.blpop {key} 0"),
            format!("x.xread block 0 streams {key} $"),
            format!("x.bzmpop 0 1 {key} min"),
            format!("x.lmpop 1 {key} left"),
        ] {
            assert_eq!(client.text(&words(&request)), format!("+{node}\r\n"), "{request}");
        }
        let last =
            &fakes.iter().find(|fake| fake.address() == harness_address(&harness, node)).expect("it").seen();
        let seen = String::from_utf8_lossy(&last.last().expect("one").bytes).into_owned();
        assert_eq!(seen, String::from_utf8_lossy(&bulk_request(&words(&format!("x.lmpop 1 {key} left")))));
    }
    let before: usize = fakes.iter().map(|fake| fake.seen().len()).sum();
    for (request, reply) in [
        (format!("x.mset {a} 1 {b} 2"), "-CROSSSLOT"),
        (format!("x.zunionstore {a} 1 {b}"), "-CROSSSLOT"),
        (format!("x.eval script 9 {a}"), "-ERR syntax error"),
        (format!("x.georadius {a} 1 2 3 m STORE {b}"), "-CROSSSLOT"),
        (format!("x.xread block 0 streams {a} {b} $ $"), "-CROSSSLOT"),
        (format!("x.get {a} {b}"), "-ERR wrong number of arguments for 'x.get' command"),
        (format!("x.object x.nosuch {a}"), "-ERR unknown command 'x.object'"),
        (format!("x.sort {a}"), "-ERR X.SORT is refused: "),
        (format!("x.blpop {a} {b} 0"), "-CROSSSLOT"),
        ("x.publish c m".into(), "-ERR X.PUBLISH is refused: "),
        ("x.flushall".into(), "-ERR X.FLUSHALL is refused: "),
        ("x.debug sleep 0".into(), "-ERR X.DEBUG is refused: "),
        ("x.multi".into(), "-ERR X.MULTI is refused: "),
        ("x.echo a".into(), "-ERR X.ECHO is refused: "),
        ("x.dbsize".into(), "-ERR X.DBSIZE is refused: it names no key"),
        ("x.config get x".into(), "-ERR X.CONFIG is refused: it is for operators"),
        ("y.get k".into(), "-ERR unknown command 'y.get', with args beginning with: 'k' "),
    ] {
        let got = client.text(&words(&request));
        assert!(got.starts_with(reply), "{request}: {got}");
    }
    let after: usize = fakes.iter().map(|fake| fake.seen().len()).sum();
    assert_eq!(before, after, "nothing of it has reached a node");
}

fn harness_address(harness: &Harness, node: &str) -> String {
    let topology = harness.control().topology();
    topology.nodes().iter().find(|known| known.name == node).expect("a node").address.clone()
}

#[test]
fn learned_commands_are_listed_with_those_of_the_table() {
    let commands = renamed_commands();
    let (harness, _fakes) = nodes([&commands, &commands]);
    let (mut client, mut third) = (harness.client(), harness.client3());
    let server = RedisServer::start();
    wait_until_known(&mut client, "x.get k");
    wait_for("both to have told", || client.text(&["x.get", "k"]).starts_with('+'));
    let (mut two, mut three) = (server.client(), server.client());
    three.call(&["HELLO", "3"]);
    for (through, direct) in [(&mut client, &mut two), (&mut third, &mut three)] {
        // arity, flags and the places of keys as the server tells them
        let entry = |reply: String| reply.lines().skip(4).take(7).map(str::to_owned).collect::<Vec<_>>();
        let told = entry(direct.text(&["COMMAND", "INFO", "get"]));
        assert_eq!(entry(through.text(&["COMMAND", "INFO", "X.Get"])), told);
        let list = through.text(&["COMMAND", "LIST", "FILTERBY", "PATTERN", "x.*"]);
        for name in ["x.get", "x.object|encoding", "x.object", "x.blpop"] {
            assert!(list.contains(&format!("\r\n{name}\r\n")), "{name}: {list}");
        }
        for name in ["x.flushall", "x.publish"] {
            assert!(!list.contains(&format!("\r\n{name}\r\n")), "{name} is refused");
        }
        let container = through.text(&["COMMAND", "INFO", "x.object"]);
        assert!(container.contains("x.object|freq") && !container.contains("help"), "{container}");
        let docs = through.text(&["COMMAND", "DOCS", "x.get", "x.object"]);
        assert!(docs.contains("module") && docs.contains("x.object|freq"), "{docs}");
        let all = through.text(&["COMMAND"]);
        let count = through.text(&["COMMAND", "COUNT"]);
        assert_eq!(all.lines().next().map(|head| &head[1..]), count.trim_end().strip_prefix(':'));
        assert!(all.contains("\r\nx.get\r\n") && all.contains("\r\nget\r\n"));
    }
}

#[test]
fn nodes_that_differ_make_a_refusal_and_a_restart_mends_it() {
    let commands = renamed_commands();
    let (harness, fakes) = nodes([&commands, b"*0\r\n"]);
    let mut client = harness.client();
    wait_until_known(&mut client, "x.get k");
    wait_for("the other node to have told", || {
        client.text(&["x.get", "k"])
            == "-ERR X.GET is refused: node 'cache-2' does not have it; all nodes must\r\n"
    });
    fakes[1].tell_commands(commands);
    let on_other = harness.key_of("cache-2");
    // the connection is lost, and with the next one the node is asked again
    wait_for("it to be asked again", || {
        client.call(&["GETDEL", &on_other]);
        client.text(&["x.get", &on_other]) == "+cache-2\r\n"
    });
    // a node that leaves no longer counts
    let keep = harness.control().topology().nodes()[0].as_ref().clone();
    fakes[0].tell_commands(b"*0\r\n".to_vec());
    harness.apply(vec![keep]);
    assert_eq!(client.text(&["x.get", &on_other]), "+cache-1\r\n");
}

#[test]
fn a_real_server_tells_nothing_that_the_table_lacks_and_is_not_disturbed() {
    let cluster = Cluster::start(2).with_admin();
    let asked = |at: usize| {
        let stats: String = cluster.nodes[at].call(&["INFO", "commandstats"]);
        stats.contains("cmdstat_command:")
    };
    wait_for("both to be asked", || asked(0) && asked(1));
    let mut client = cluster.client();
    assert_eq!(
        client.text(&["json.set", "k", "$", "1"]),
        "-ERR unknown command 'json.set', with args beginning with: 'k' '$' '1' \r\n"
    );
    let all = cluster.http().get("/v1/commands").json();
    let commands = all["commands"].as_array().expect("a list");
    assert_eq!(commands.len(), ringway_proxy::command::command_count(), "no more than the table");
}

#[test]
fn what_the_nodes_do_not_have_is_not_listed() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let mut direct = cluster.nodes[0].client();
    // of the table there are some that came after Redis 7.0, and one that nobody lacks
    for name in ["hexpire", "hgetex", "xackdel", "waitaof", "get"] {
        let its = direct.text(&["COMMAND", "INFO", name]).contains(name);
        wait_for(&format!("{name} to be listed as at the node"), || {
            client.text(&["COMMAND", "INFO", name]).contains(name) == its
        });
        let list = ["COMMAND", "LIST", "FILTERBY", "PATTERN", name];
        assert_eq!(client.text(&list).contains(name), its, "{name}");
    }
    // a node that has less than the others
    let told = |names: &[&str]| {
        let entries = names.iter().map(|name| {
            format!("*10\r\n$3\r\n{name}\r\n:2\r\n*0\r\n:1\r\n:1\r\n:1\r\n*0\r\n*0\r\n*0\r\n*0\r\n")
        });
        format!("*{}\r\n{}", names.len(), entries.collect::<String>())
    };
    let (harness, _fakes) = nodes([told(&["get", "set"]).as_bytes(), told(&["get"]).as_bytes()]);
    let mut client = harness.client();
    wait_for("SET to be gone", || !client.text(&["COMMAND", "INFO", "set"]).contains("set"));
    assert!(client.text(&["COMMAND", "INFO", "get"]).contains("get"));
    // what Ringway answers itself, or asks all nodes, it has
    for name in ["ping", "multi", "dbsize", "subscribe"] {
        assert!(client.text(&["COMMAND", "INFO", name]).contains(name), "{name}");
    }
    // and it is sent all the same: the node says that it has not got it
    let key = harness.key_of("cache-2");
    assert_eq!(client.text(&["SET", &key, "v"]), "+cache-2\r\n");
}

#[test]
fn the_admin_api_tells_what_becomes_of_each_command() {
    let commands = renamed_commands();
    let (harness, _fakes) = nodes([&commands, &commands]);
    let harness = harness.with_admin();
    let mut client = harness.client();
    wait_for("both to have told", || client.text(&["x.get", "k"]).starts_with('+'));
    let all = harness.http().get("/v1/commands").json();
    let entry = |name: &str| {
        let list = all["commands"].as_array().expect("a list");
        list.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
    };
    let get = entry("get");
    assert_eq!(
        (&get["supported"], &get["how"], &get["since"]),
        (&true.into(), &"to the key's node".into(), &"1.0.0".into())
    );
    assert_eq!(get["keys"][0], "index 1, range 0 1 0");
    assert!(get["why_not"].is_null());
    let monitor = entry("monitor");
    assert_eq!((&monitor["supported"], &monitor["how"]), (&false.into(), &serde_json::Value::Null));
    assert!(monitor["why_not"].as_str().is_some_and(|why| why.contains("other clients")));
    assert!(entry("flushall")["why_not"].as_str().is_some_and(|why| why.contains("deletes all")));
    let learned = entry("x.zunionstore");
    assert_eq!((&learned["supported"], &learned["since"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(learned["keys"][1], "index 2, keynum 0 1 1");
    let waits = entry("x.blpop")["how"].clone();
    assert!(waits.as_str().is_some_and(|how| how.contains("a connection of the client's own")), "{waits}");
    let counted = harness.http().get("/metrics").text;
    assert!(counted.contains("command=\"(learned)\""), "learned commands are counted together");
}

#[test]
fn f1_a_transaction_with_a_learned_command_is_placed_anew_when_the_ring_changes() {
    let commands = renamed_commands();
    let node = |name: &'static str| {
        FakeRedis::start(move |seen| {
            vec![Act::Send(match seen.name().as_str() {
                "MULTI" => b"+OK\r\n".to_vec(),
                "X.GET" => b"+QUEUED\r\n".to_vec(),
                "EXEC" => format!("*1\r\n+{name}\r\n").into_bytes(),
                _ => format!("+{name}\r\n").into_bytes(),
            })]
        })
    };
    let fakes = [node("cache-1"), node("cache-2")];
    fakes.iter().for_each(|fake| fake.tell_commands(commands.clone()));
    let harness = Harness::in_front_of(&[("cache-1", fakes[0].address())]);
    let mut client = harness.client();
    wait_until_known(&mut client, "x.get k");
    assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
    assert_eq!(client.text(&["x.get", "k"]), "+QUEUED\r\n");
    // the node that comes has not told of the command when it is asked to run it, and never tells
    fakes[1].tell_commands(b"*0\r\n".to_vec());
    harness.apply(vec![NodeSpec::new("cache-2", fakes[1].address())]);
    let mut other = harness.client();
    wait_for("what has left to be forgotten", || {
        other.text(&["x.get", "k"]).starts_with("-ERR unknown command")
    });
    wait_answers(&harness, "cache-2");
    assert_eq!(client.text(&["EXEC"]), "*1\r\n+cache-2\r\n");
}

#[test]
fn learned_commands_are_known_while_all_nodes_are_replaced_at_once() {
    let commands = renamed_commands();
    let (harness, fakes) = nodes([&commands, &commands]);
    let spec = |at: usize| NodeSpec::new(format!("cache-{}", at + 1), fakes[at].address());
    harness.apply(vec![spec(0)]);
    let mut client = harness.client();
    wait_until_known(&mut client, "x.get k");
    for turn in 1..=20 {
        let at = turn % 2;
        harness.apply(vec![spec(at)]);
        for _ in 0..20 {
            let reply = client.text(&["x.get", "k"]);
            assert!(!reply.starts_with("-ERR unknown"), "turn {turn}: {reply}");
        }
        wait_answers(&harness, &spec(at).name);
        assert_eq!(client.text(&["x.get", "k"]), format!("+cache-{}\r\n", at + 1));
    }
}
