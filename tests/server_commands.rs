//! Commands about servers through the proxy: what all nodes say together has the shape of what one says.

use ringway_proxy::settings::NodeSpec;

use crate::support::byte_proxy::ByteProxy;
use crate::support::frame::{bulk, reply_len};
use crate::support::raw_client::RawClient;
use crate::support::{Cluster, Harness, RedisServer, wait_for};

/// The kinds of everything in a reply, in order: `*3 $ : :`; so that two replies of one shape are equal.
fn shape(reply: &[u8]) -> String {
    let mut rest = reply;
    let mut kinds = Vec::new();
    while !rest.is_empty() {
        let line = rest.split(|byte| *byte == b'\r').next().expect("a line");
        let is_many = matches!(line[0], b'*' | b'%' | b'~');
        kinds.push(if is_many {
            String::from_utf8_lossy(line).into()
        } else {
            char::from(line[0]).to_string()
        });
        let len = if is_many { line.len() + 2 } else { reply_len(rest).expect("whole") };
        rest = &rest[len..];
    }
    kinds.join(" ")
}

/// The elements of a list or map, each as its bytes.
fn elements(reply: &[u8]) -> Vec<Vec<u8>> {
    assert!(matches!(reply[0], b'*' | b'%' | b'~'), "{}", String::from_utf8_lossy(reply));
    let mut rest = &reply[reply.iter().position(|byte| *byte == b'\n').expect("a line") + 1..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (element, after) = rest.split_at(reply_len(rest).expect("whole"));
        found.push(element.to_vec());
        rest = after;
    }
    found
}

/// What a string or a number says.
fn said(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(reply);
    let (head, rest) = text.split_once("\r\n").expect("a line");
    if head.starts_with('$') { rest.trim_end_matches("\r\n").to_owned() } else { head[1..].to_owned() }
}

fn number(reply: &[u8]) -> i64 {
    said(reply).parse().unwrap_or_else(|_| panic!("no number: {}", String::from_utf8_lossy(reply)))
}

/// A client of each protocol to the proxy, each with one to a server.
fn both(cluster: &Cluster, bare: &RedisServer) -> [(RawClient, RawClient); 2] {
    let mut three = bare.client();
    three.call(&["HELLO", "3"]);
    [(cluster.client(), bare.client()), (cluster.client3(), three)]
}

fn allowing(names: &[&str]) -> Cluster {
    Cluster::start_with(3, |settings| {
        settings.allowed_commands = names.iter().map(ToString::to_string).collect()
    })
}

#[test]
fn slow_logs_of_all_nodes_are_one() {
    let cluster = allowing(&["config|set"]);
    let bare = RedisServer::start();
    for (mut ours, mut theirs) in both(&cluster, &bare) {
        for client in [&mut ours, &mut theirs] {
            assert_eq!(client.text(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]), "+OK\r\n");
            for at in 0..20 {
                client.call(&["SET", &format!("key:{at}"), "v"]);
            }
            assert_eq!(client.text(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]), "+OK\r\n");
        }
        let each: Vec<i64> = cluster.nodes.iter().map(|node| node.call(&["SLOWLOG", "LEN"])).collect();
        assert_eq!(number(&ours.call(&["SLOWLOG", "LEN"])), each.iter().sum::<i64>());
        let entries = elements(&ours.call(&["SLOWLOG", "GET", "-1"]));
        assert_eq!(entries.len() as i64, each.iter().sum::<i64>());
        let fields: Vec<Vec<Vec<u8>>> = entries.iter().map(|entry| elements(entry)).collect();
        let times: Vec<i64> = fields.iter().map(|fields| number(&fields[1])).collect();
        assert!(times.is_sorted_by(|a, b| a >= b), "the latest first: {times:?}");
        let mut numbers: Vec<i64> = fields.iter().map(|fields| number(&fields[0])).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), entries.len(), "no number twice");
        for at in 0..20 {
            let key = format!("key:{at}");
            let words = bulk_list(&["SET", &key, "v"]);
            let entry = fields.iter().find(|fields| fields[3] == words).expect("logged");
            assert_eq!(said(&entry[5]), cluster.owner(&key), "the node is told");
        }
        for args in
            [&["GET"][..], &["GET", "3"], &["GET", "0"], &["GET", "x"], &["GET", "-2"], &["GET", "1", "2"]]
        {
            let request = [&["SLOWLOG"], args].concat();
            let (found, expected) = (ours.call(&request), theirs.call(&request));
            if expected[0] == b'-' {
                assert_eq!(found, expected, "{args:?}");
            }
            let shape_of_list = |reply: &[u8]| shape(reply).split(' ').next().map(str::to_owned);
            assert_eq!(shape_of_list(&found), shape_of_list(&expected), "{args:?}");
        }
        let set = |client: &mut RawClient| {
            let entries = elements(&client.call(&["SLOWLOG", "GET", "-1"]));
            let sets = entries.into_iter().find(|entry| elements(entry)[3].starts_with(b"*3\r\n$3\r\nSET"));
            shape(&sets.expect("a SET"))
        };
        assert_eq!(set(&mut ours), set(&mut theirs));
        assert_eq!(ours.text(&["SLOWLOG", "RESET"]), "+OK\r\n");
        assert_eq!(ours.text(&["SLOWLOG", "LEN"]), ":0\r\n");
        assert_eq!(ours.text(&["SLOWLOG", "GET"]), "*0\r\n");
    }
}

fn bulk_list(words: &[&str]) -> Vec<u8> {
    let body: Vec<u8> = words.iter().flat_map(|word| bulk(word.as_bytes())).collect();
    [format!("*{}\r\n", words.len()).into_bytes(), body].concat()
}

#[test]
fn latencies_of_all_nodes_are_one() {
    let cluster = allowing(&["config|set"]);
    let bare = RedisServer::start();
    for (mut ours, mut theirs) in both(&cluster, &bare) {
        let nothing =
            ["LATENCY LATEST", "LATENCY HISTORY command", "LATENCY HISTORY nosuch", "LATENCY RESET command"];
        for line in nothing {
            let request: Vec<&str> = line.split(' ').collect();
            assert_eq!(ours.call(&request), theirs.call(&request), "{line}");
        }
        assert_eq!(ours.text(&["CONFIG", "SET", "latency-monitor-threshold", "1"]), "+OK\r\n");
        theirs.call(&["CONFIG", "SET", "latency-monitor-threshold", "1"]);
        for (node, seconds) in cluster.nodes.iter().zip(["0.002", "0.02", "0.004"]) {
            let _: () = node.call(&["DEBUG", "SLEEP", seconds]);
        }
        theirs.call(&["DEBUG", "SLEEP", "0.002"]);
        assert_eq!(ours.text(&["CONFIG", "SET", "latency-monitor-threshold", "0"]), "+OK\r\n");
        theirs.call(&["CONFIG", "SET", "latency-monitor-threshold", "0"]);
        // a machine that is slow in other ways makes events of its own
        let command = |client: &mut RawClient| {
            let events = elements(&client.call(&["LATENCY", "LATEST"]));
            events.into_iter().find(|event| said(&elements(event)[0]) == "command").expect("an event")
        };
        let event = command(&mut ours);
        assert_eq!(shape(&event), shape(&command(&mut theirs)));
        let [last, worst] = [2, 3].map(|at| number(&elements(&event)[at]));
        assert!(worst >= 20 && (1..=worst).contains(&last), "{last}, at worst {worst}");
        let history = elements(&ours.call(&["LATENCY", "HISTORY", "command"]));
        let samples: Vec<Vec<Vec<u8>>> = history.iter().map(|sample| elements(sample)).collect();
        assert!(samples.is_sorted_by(|a, b| number(&a[0]) < number(&b[0])), "one per second, in order");
        assert!(samples.iter().map(|sample| number(&sample[1])).max() >= Some(20));
        let advice = ours.text(&["LATENCY", "DOCTOR"]);
        let kind = theirs.text(&["LATENCY", "DOCTOR"]).chars().next().expect("a kind");
        assert!(
            advice.starts_with(kind)
                && ["cache-1", "cache-2", "cache-3"].iter().all(|node| advice.contains(node))
        );
        assert_eq!(ours.text(&["LATENCY", "RESET", "command", "nosuch"]), ":3\r\n", "on each node");
        for client in [&mut ours, &mut theirs] {
            assert!(client.text(&["LATENCY", "RESET"]).starts_with(':'));
            assert_eq!(client.text(&["LATENCY", "LATEST"]), "*0\r\n");
        }
        for at in 0..30 {
            ours.call(&["SETNX", &format!("key:{at}"), "v"]);
            theirs.call(&["SETNX", &format!("key:{at}"), "v"]);
        }
        let calls = |client: &mut RawClient| {
            let reply = client.call(&["LATENCY", "HISTOGRAM", "setnx", "nosuch"]);
            let fields = elements(&elements(&reply)[1]);
            let counts = elements(&fields[3]);
            assert_eq!(
                number(&fields[1]),
                number(counts.last().expect("a count")),
                "the last bound holds all"
            );
            (reply[..2].to_vec(), said(&elements(&reply)[0]), number(&fields[1]))
        };
        assert_eq!(calls(&mut ours), calls(&mut theirs));
        assert_eq!(
            ours.call(&["LATENCY", "HISTOGRAM", "nosuch"]),
            theirs.call(&["LATENCY", "HISTOGRAM", "nosuch"])
        );
        assert!(ours.text(&["LATENCY", "GRAPH", "command"]).contains("LATENCY HISTORY has the samples"));
    }
}

#[test]
fn memory_of_all_nodes_is_one_and_that_of_a_key_is_its_nodes() {
    let cluster = Cluster::start(3);
    let bare = RedisServer::start();
    for (mut ours, mut theirs) in both(&cluster, &bare) {
        for client in [&mut ours, &mut theirs] {
            for at in 0..30 {
                client.call(&["SET", &format!("key:{at}"), "v"]);
            }
        }
        let (found, expected) = (ours.call(&["MEMORY", "STATS"]), theirs.call(&["MEMORY", "STATS"]));
        assert_eq!(found[0], expected[0]);
        let (found, expected) = (elements(&found), elements(&expected));
        let mut place = 0;
        for pair in found.chunks(2) {
            // in the server's order, with the server's types
            place +=
                expected[place..].iter().position(|field| *field == pair[0]).expect("a field of Redis") + 1;
            let kinds = [shape(&pair[1]), shape(&expected[place])];
            assert_eq!(kinds[0], kinds[1], "{}", said(&pair[0]));
        }
        let value = |name: &str| {
            let at = found.chunks(2).position(|pair| said(&pair[0]) == name).expect("a field");
            said(&found[2 * at + 1])
        };
        assert_eq!(value("keys.count"), "30");
        assert!(value("fragmentation").parse::<f64>().is_ok_and(|ratio| ratio > 0.0));
        assert!(!found.contains(&bulk(b"peak.allocated")), "peaks of several nodes are no sum");
        assert_eq!(ours.text(&["MEMORY", "PURGE"]), theirs.text(&["MEMORY", "PURGE"]));
        for what in ["DOCTOR", "MALLOC-STATS"] {
            let text = ours.text(&["MEMORY", what]);
            let kind = theirs.text(&["MEMORY", what]).chars().next().expect("a kind");
            let named = (1..=3).all(|node| text.contains(&format!("# node 'cache-{node}' (127.0.0.1:")));
            assert!(text.starts_with(kind) && named, "{text}");
        }
        for line in [
            "MEMORY USAGE key:1",
            "MEMORY USAGE key:1 SAMPLES 0",
            "MEMORY USAGE nosuch",
            "OBJECT ENCODING key:1",
            "OBJECT REFCOUNT key:1",
            "OBJECT IDLETIME nosuch",
            "OBJECT FREQ key:1",
            "OBJECT ENCODING nosuch",
        ] {
            let request: Vec<&str> = line.split(' ').collect();
            assert_eq!(ours.text(&request), theirs.text(&request), "{line}");
        }
    }
}

#[test]
fn settings_in_which_all_nodes_agree_are_told() {
    let cluster = allowing(&["config|set", "config|resetstat", "config|rewrite"]);
    let bare = RedisServer::start();
    for (mut ours, mut theirs) in both(&cluster, &bare) {
        for line in [
            "CONFIG GET maxmemory-policy",
            "CONFIG GET MaxMemory",
            "CONFIG GET nosuch",
            "CONFIG GET save",
            "CONFIG SET nosuch 1",
            "CONFIG SET maxmemory x",
            "CONFIG RESETSTAT",
            "CONFIG REWRITE",
        ] {
            let request: Vec<&str> = line.split(' ').collect();
            assert_eq!(ours.text(&request), theirs.text(&request), "{line}");
        }
        // servers list in the order of their hash tables
        let pairs = |client: &mut RawClient| {
            let reply = client.call(&["CONFIG", "GET", "maxmemory*", "APPENDonly"]);
            let mut pairs: Vec<Vec<Vec<u8>>> = elements(&reply).chunks(2).map(<[_]>::to_vec).collect();
            pairs.sort();
            (reply[0], pairs)
        };
        assert_eq!(pairs(&mut ours), pairs(&mut theirs));
        assert_eq!(ours.text(&["CONFIG", "SET", "hash-max-listpack-entries", "99"]), "+OK\r\n");
        for node in &cluster.nodes {
            let value: Vec<String> = node.call(&["CONFIG", "GET", "hash-max-listpack-entries"]);
            assert_eq!(value[1], "99");
        }
        // ports differ by nature
        let differing = ours.text(&["CONFIG", "GET", "maxmemory", "port"]);
        let expected = "-ERR the nodes do not agree: 'port' of node 'cache-2' is not that of node 'cache-1'; ask each node\r\n";
        assert_eq!(differing, expected);
        let all = elements(&ours.call(&["CONFIG", "GET", "*"]));
        let left_out = said(&all[all.len() - 1]);
        assert_eq!(said(&all[all.len() - 2]), "ringway-left-out");
        for name in ["port", "requirepass", "masterauth"] {
            assert!(left_out.split(' ').any(|left| left == name), "{name} in {left_out}");
        }
        let total = elements(&theirs.call(&["CONFIG", "GET", "*"])).len() / 2;
        assert_eq!(all.len() / 2 - 1 + left_out.split(' ').count(), total, "every setting is told or named");
        assert!(ours.text(&["CONFIG", "GET", "requirepass"]).starts_with("-ERR 'requirepass' is a secret"));
    }
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    for line in
        ["CONFIG SET maxmemory 1mb", "CONFIG RESETSTAT", "CONFIG REWRITE", "SAVE", "BGSAVE", "BGREWRITEAOF"]
    {
        let request: Vec<&str> = line.split(' ').collect();
        let refusal = client.text(&request);
        assert!(
            refusal.contains(" is refused: it ") && refusal.contains("commands: { allow: ["),
            "{refusal}"
        );
    }
    let value: Vec<String> = cluster.nodes[0].call(&["CONFIG", "GET", "maxmemory"]);
    assert_eq!(value[1], "0");
}

#[test]
fn all_nodes_save_and_the_oldest_save_counts() {
    let cluster = allowing(&["save", "bgsave", "bgrewriteaof"]);
    let bare = RedisServer::start();
    for (mut ours, mut theirs) in both(&cluster, &bare) {
        assert_eq!(ours.text(&["SAVE"]), theirs.text(&["SAVE"]));
        let times: Vec<i64> = cluster.nodes.iter().map(|node| node.call(&["LASTSAVE"])).collect();
        assert_eq!(Some(number(&ours.call(&["LASTSAVE"]))), times.into_iter().min());
        for command in ["BGSAVE", "BGREWRITEAOF"] {
            assert_eq!(ours.text(&[command]), theirs.text(&[command]));
            let busy = |node: &RedisServer| {
                let page: String = node.call(&["INFO", "persistence"]);
                ["rdb_bgsave_in_progress:1", "aof_rewrite_in_progress:1"]
                    .iter()
                    .any(|line| page.contains(line))
            };
            wait_for("the children to end", || !cluster.nodes.iter().any(busy) && !busy(&bare));
        }
        assert_eq!(ours.text(&["BGSAVE", "x"]), theirs.text(&["BGSAVE", "x"]));
    }
}

#[test]
fn what_needs_no_node_is_answered_as_a_server_would() {
    let mut cluster = Cluster::start(1);
    let bare = RedisServer::start();
    for (mut ours, mut theirs) in both(&cluster, &bare) {
        for line in ["ROLE", "ACL WHOAMI", "ACL LIST", "ACL USERS", "ROLE x", "MODULE LIST"] {
            let request: Vec<&str> = line.split(' ').collect();
            assert_eq!(ours.text(&request), theirs.text(&request), "{line}");
        }
        for line in ["LOLWUT", "LOLWUT VERSION 5", "TIME"] {
            let request: Vec<&str> = line.split(' ').collect();
            assert_eq!(shape(&ours.call(&request)), shape(&theirs.call(&request)), "{line}");
        }
        assert!(ours.text(&["LOLWUT"]).contains("Redis ver. 7."));
        for line in ["SHUTDOWN NOSAVE", "SWAPDB 0 1", "DEBUG SLEEP 0", "ACL SETUSER a", "SCRIPT DEBUG NO"] {
            let refusal = ours.text(&line.split(' ').collect::<Vec<_>>());
            assert!(refusal.starts_with("-ERR ") && refusal.contains(" is refused: "), "{line}: {refusal}");
        }
    }
    cluster.server_mut("cache-1").kill();
    let mut client = cluster.client();
    assert!(client.text(&["ROLE"]).starts_with("*3") && client.text(&["ACL", "WHOAMI"]).contains("default"));
}

#[test]
fn i4_a_node_that_is_down_fails_what_only_all_can_tell() {
    let mut cluster = allowing(&["config|set"]);
    cluster.server_mut("cache-2").kill();
    cluster.wait_state("cache-2", ringway_proxy::stats::NodeState::Down);
    let mut client = cluster.client();
    for line in [
        "SLOWLOG LEN",
        "SLOWLOG GET",
        "SLOWLOG RESET",
        "LATENCY LATEST",
        "MEMORY STATS",
        "MEMORY DOCTOR",
        "CONFIG GET maxmemory",
        "CONFIG SET maxmemory 1gb",
        "LASTSAVE",
        "MODULE LIST",
    ] {
        let reply = client.text(&line.split(' ').collect::<Vec<_>>());
        assert!(reply.starts_with("-NOTSENT node 'cache-2' ("), "{line}: {reply}");
    }
    let value: Vec<String> = cluster.nodes[0].call(&["CONFIG", "GET", "maxmemory"]);
    assert_eq!(value[1], "0", "no node got what not all could get");
}

#[test]
fn i2_what_concerns_all_nodes_does_not_overtake_what_its_client_wrote_before() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let mut settings = crate::support::harness::patient(vec![NodeSpec::new("only", wire.address())]);
    settings.allowed_commands = vec!["flushall".into()];
    let harness = Harness::start(settings);
    let read = || harness.control().snapshot().commands_read;
    for (request, reply) in [
        (&["FLUSHALL"][..], "+OK\r\n"),
        (&["DBSIZE"], ":1\r\n"),
        (&["SCAN", "0"], "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n"),
        (&["INFO", "keyspace"], "$44\r\n# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n\r\n"),
    ] {
        harness.apply(vec![NodeSpec::new("only", wire.address())]);
        harness.wait_usable("only");
        let mut client = harness.client();
        assert_eq!(client.text(&["DEL", "k"])[..1], *":");
        wire.hold_requests();
        let before = read();
        client.send_command(&["SET", "k", "v"]);
        wait_for("the write to be on its way", || read() > before);
        harness.apply(vec![NodeSpec::new("only", server.address())]);
        // the new address is reached by others before the write gets there
        assert_eq!(harness.client().text(&["EXISTS", "k"]), ":0\r\n");
        client.send_command(request);
        client.expect_silence(std::time::Duration::from_millis(200));
        wire.release_requests();
        assert_eq!(client.text_reply(), "+OK\r\n", "the write");
        assert_eq!(client.text_reply(), reply, "{request:?}");
        let left = if request[0] == "FLUSHALL" { 0 } else { 1 };
        assert_eq!(client.text(&["EXISTS", "k"]), format!(":{left}\r\n"), "{request:?}");
    }
}

#[test]
fn config_set_does_not_lock_the_proxy_out_of_its_nodes() {
    let cluster = allowing(&["config|set"]);
    let mut client = cluster.client();
    for [setting, value] in [["requirepass", "secret"], ["PORT", "0"], ["bind", "127.0.0.2"]] {
        let reply = client.text(&["CONFIG", "SET", "maxmemory-samples", "7", setting, value]);
        let name = setting.to_lowercase();
        assert!(reply.starts_with(&format!("-ERR CONFIG SET {name} is refused: it would lock")), "{reply}");
    }
    assert_eq!(client.text(&["CONFIG", "SET", "maxmemory-samples", "6"]), "+OK\r\n");
    // a database that nobody used before needs a connection that is new
    assert_eq!(client.text(&["SELECT", "7"]), "+OK\r\n");
    assert_eq!(client.text(&["SET", "key", "requirepass"]), "+OK\r\n");
}
