//! A node that is down or silent: all or a named failure.

use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::command_server::Value;

fn allow_all(settings: &mut ringway_proxy::settings::Settings) {
    settings.allowed_commands = ["keys", "flushall", "flushdb"].map(String::from).to_vec();
}

#[test]
fn i4_with_a_node_down_nothing_is_sent_to_any() {
    let mut cluster = Cluster::start_with(3, allow_all);
    cluster.fill(90);
    let address = cluster.specs()[1].address.clone();
    let [mut two, mut three] = cluster.both();
    two.call(&["DBSIZE"]);
    three.call(&["DBSIZE"]);
    let before: Vec<Value> = [0, 2].map(|at| cluster.node(at).call(&["DBSIZE"])).to_vec();
    cluster.kill(1);
    cluster.wait_until_down("node-1");
    for client in [&mut two, &mut three] {
        for request in [
            &["DBSIZE"][..],
            &["RANDOMKEY"],
            &["KEYS", "*"],
            &["FLUSHALL"],
            &["FLUSHDB"],
            &["SCRIPT", "LOAD", "return 1"],
            &["SCRIPT", "EXISTS", "abc"],
            &["SCRIPT", "FLUSH"],
            &["FUNCTION", "FLUSH"],
        ] {
            let reply = client.call(request).text();
            assert!(
                reply.starts_with(&format!("NOTSENT node 'node-1' ({address}): ")),
                "{request:?}: {reply}"
            );
        }
    }
    let after: Vec<Value> = [0, 2].map(|at| cluster.node(at).call(&["DBSIZE"])).to_vec();
    assert_eq!(before, after);
    for at in [0, 2] {
        let stats = cluster.node(at).call(&["INFO", "commandstats"]).text();
        assert!(!stats.contains("flush") && !stats.contains("script"), "{stats}");
    }
}

#[test]
fn i4_a_node_that_falls_silent_fails_the_whole_and_the_rest_is_told() {
    let cluster = Cluster::start_with(2, allow_all);
    cluster.fill(50);
    let mut client = cluster.connect();
    for (request, changes) in [(&["DBSIZE"][..], false), (&["FLUSHALL"], true)] {
        let mut sleeper = cluster.node(1);
        let sleeping = std::thread::spawn(move || sleeper.call(&["DEBUG", "SLEEP", "1.6"]));
        std::thread::sleep(Duration::from_millis(200));
        let begun = Instant::now();
        let reply = client.call(request).text();
        assert!(begun.elapsed() < Duration::from_millis(1400), "{:?}", begun.elapsed());
        assert!(reply.starts_with("UNKNOWN node 'node-1' "), "{reply}");
        assert_eq!(reply.ends_with("; the parts of this command on other nodes ran"), changes, "{reply}");
        sleeping.join().expect("slept");
        // the node is used again when it answers again
        let again = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            matches!(client.call(&["DBSIZE"]), Value::Integer(_))
        });
        assert!(again);
    }
    assert_eq!(cluster.node(0).call(&["DBSIZE"]), Value::Integer(0));
}

#[test]
fn a_node_that_refuses_alone_is_named() {
    let cluster = Cluster::start_with(2, allow_all);
    cluster.fill(20);
    let mut client = cluster.connect();
    cluster.node(1).call(&["ACL", "SETUSER", "default", "-dbsize", "-flushall"]);
    let sum = client.call(&["DBSIZE"]).text();
    assert!(sum.starts_with("NOPERM ") && sum.ends_with(" (node 'node-1')"), "{sum}");
    let flush = client.call(&["FLUSHALL"]).text();
    assert!(flush.ends_with(" (node 'node-1'; the parts of this command on other nodes ran)"), "{flush}");
}
