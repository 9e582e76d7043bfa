//! SCRIPT KILL, FUNCTION KILL and FUNCTION STATS, also while a script keeps a node busy.

use std::time::Duration;

use ringway_proxy::settings::{NodeSpec, Secret, Settings};
use ringway_proxy::stats::NodeState;

use crate::support::harness::specs;
use crate::support::{Cluster, Harness, RedisServer};

const NOT_BUSY: &str = "-NOTBUSY No scripts in execution right now.\r\n";
const FOR_EVER: &str = "while true do end";

/// Nodes that answer BUSY soon, with and without a password, and a proxy that gives up soon.
fn busy_soon(password: Option<&str>) -> (Vec<RedisServer>, Harness) {
    let mut options = vec!["--busy-reply-threshold", "100"];
    options.extend(password.iter().flat_map(|password| ["--requirepass", *password]));
    let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start_with(&options)).collect();
    let mut nodes: Vec<NodeSpec> = specs(&servers);
    for node in &mut nodes {
        node.credentials.password = password.map(Secret::new);
    }
    let harness = Harness::start(Settings::new(nodes));
    (1..=3).for_each(|number| harness.wait_usable(&format!("cache-{number}")));
    (servers, harness)
}

#[test]
fn with_nothing_running_the_replies_are_those_of_a_server() {
    let cluster = Cluster::start(3);
    let plain = RedisServer::start();
    let library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    for resp3 in [false, true] {
        let (mut client, mut server) = (cluster.client(), plain.client());
        if resp3 {
            client = cluster.client3();
            server.call(&["HELLO", "3"]);
        }
        for words in [
            &["SCRIPT", "KILL"][..],
            &["FUNCTION", "KILL"],
            &["FUNCTION", "STATS"],
            &["FUNCTION", "LOAD", "REPLACE", library],
            &["FUNCTION", "STATS"],
            &["FUNCTION", "STATS", "more"],
        ] {
            assert_eq!(client.text(words), server.text(words), "{words:?}");
        }
    }
    let mut client = cluster.client();
    assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
    let refused = client.text(&["SCRIPT", "KILL"]);
    assert!(refused.contains("it concerns all nodes, a transaction runs on one"), "{refused}");
}

#[test]
fn a_script_that_does_not_end_is_shown_and_killed_though_its_node_is_given_up() {
    for password in [None, Some("secret")] {
        let (_servers, harness) = busy_soon(password);
        let key = harness.key_of("cache-2");
        let mut runs = harness.client();
        runs.send_command(&["EVAL", FOR_EVER, "1", &key]);
        let told = runs.text_reply();
        assert!(told.starts_with("-UNKNOWN node 'cache-2'"), "{told}");
        let mut client = harness.client();
        // it is a script, no function
        let refused = client.text(&["FUNCTION", "KILL"]);
        assert!(refused.starts_with("-BUSY "), "{refused}");
        assert_eq!(client.text(&["SCRIPT", "KILL"]), "+OK\r\n");
        harness.wait_usable("cache-2");
        assert_eq!(client.text(&["SCRIPT", "KILL"]), NOT_BUSY);
        // and so with a function, which is told by its name
        let library = "#!lua name=lib\nredis.register_function('loops', function() while true do end end)";
        assert_eq!(client.text(&["FUNCTION", "LOAD", library]), "$3\r\nlib\r\n");
        runs.send_command(&["FCALL", "loops", "1", &key]);
        let told = runs.text_reply();
        assert!(told.starts_with("-UNKNOWN node 'cache-2'"), "{told}");
        for mut client in [harness.client(), harness.client3()] {
            let stats = client.text(&["FUNCTION", "STATS"]);
            assert!(stats.contains("duration_ms") && stats.contains("loops"), "{stats}");
        }
        assert_eq!(client.text(&["FUNCTION", "KILL"]), "+OK\r\n");
        harness.wait_usable("cache-2");
    }
}

#[test]
fn a_script_that_wrote_is_not_killed_and_a_node_that_is_not_reached_is_named() {
    let (mut servers, harness) = busy_soon(None);
    let (key, other) = (harness.key_of("cache-1"), harness.key_of("cache-2"));
    let mut client = harness.client();
    servers[0].kill();
    harness.wait_state("cache-1", NodeState::Down);
    let told = client.text(&["SCRIPT", "KILL"]);
    assert!(told.starts_with("-NOTSENT node 'cache-1'"), "{told}");
    // what runs elsewhere is killed all the same
    harness.client().send_command(&["EVAL", FOR_EVER, "1", &other]);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(client.text(&["SCRIPT", "KILL"]), "+OK\r\n");
    servers[0].restart();
    harness.wait_usable("cache-1");
    harness.wait_usable("cache-2");
    let writes = "redis.call('set', KEYS[1], 'v') while true do end";
    harness.client().send_command(&["EVAL", writes, "1", &key]);
    std::thread::sleep(Duration::from_millis(500));
    let told = client.text(&["SCRIPT", "KILL"]);
    assert!(told.starts_with("-UNKILLABLE "), "{told}");
}
