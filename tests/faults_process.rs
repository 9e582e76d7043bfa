//! What one client does to its connection is nobody else's business; what kills the process costs no more than a restart.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::frame::bulk_request;
use crate::support::program::{Files, Program, run};
use crate::support::{Cluster, RawClient, RedisServer, wait_for};

/// Commands that change what a connection is, or that hold it up.
const PERSONAL: [&str; 23] = [
    "CLIENT REPLY OFF",
    "CLIENT REPLY SKIP",
    "CLIENT NO-EVICT ON",
    "CLIENT SETNAME personal",
    "MONITOR",
    "SUBSCRIBE channel",
    "PSUBSCRIBE chan*",
    "SSUBSCRIBE channel",
    "MULTI",
    "WATCH own",
    "SELECT 1",
    "HELLO 3",
    "RESET",
    "AUTH wrong",
    "BLPOP absent 0",
    "BRPOPLPUSH absent own 0",
    "XREAD BLOCK 0 STREAMS absent $",
    "WAIT 1 0",
    "SYNC",
    "PSYNC ? -1",
    "REPLICAOF NO ONE",
    "DEBUG SLEEP 0",
    "QUIT",
];

/// One more round of writing and reading; the replies must be one's own.
fn is_served(client: &mut RawClient, keys: &[String], round: usize) {
    for key in keys {
        let value = format!("{key} {round}");
        assert_eq!(client.text(&["SET", key, &value]), "+OK\r\n", "round {round}");
        assert_eq!(client.text(&["GET", key]), format!("${}\r\n{value}\r\n", value.len()), "round {round}");
    }
}

#[test]
fn c7_what_one_client_does_to_its_connection_concerns_no_other() {
    let cluster = Cluster::start_with(2, |settings| settings.threads = 1);
    let keys = ["cache-1", "cache-2"].map(|node| cluster.key_of(node));
    let mut neighbour = cluster.client();
    for (command, round) in PERSONAL.iter().zip(0..) {
        let mut personal = cluster.client();
        personal.send(format!("{command}\r\n").as_bytes());
        is_served(&mut neighbour, &keys, round);
        // whatever it became, it gets replies of its own or none
        personal.try_send(&bulk_request(&["ECHO", "mine"]));
        if let Ok(first) = personal.try_reply(Duration::from_millis(100)) {
            let text = String::from_utf8_lossy(&first);
            assert!(keys.iter().all(|key| !text.contains(key.as_str())), "{command}: {text}");
        }
        is_served(&mut neighbour, &keys, round + 1000);
        drop(personal);
        is_served(&mut neighbour, &keys, round + 2000);
    }
}

#[test]
fn c8_who_leaves_in_the_middle_leaves_nothing_at_the_nodes() {
    let cluster = Cluster::start_with(2, |settings| settings.threads = 1);
    let keys = ["cache-1", "cache-2"].map(|node| cluster.key_of(node));
    let mut neighbour = cluster.client();
    let beginnings = [
        "MULTI\r\nSET own 1\r\n",
        "WATCH own\r\nGET own\r\n",
        "WATCH own\r\nMULTI\r\nINCR own\r\n",
        "BLPOP absent 0\r\n",
        "SUBSCRIBE channel\r\n",
    ];
    for (beginning, round) in beginnings.iter().zip(0..) {
        for reset in [true, false] {
            let mut leaver = cluster.client();
            leaver.send(beginning.as_bytes());
            // it may be answered or not; it is seen in any case
            let _ = leaver.try_reply(Duration::from_millis(50));
            if reset {
                leaver.reset();
            } else {
                drop(leaver);
            }
            is_served(&mut neighbour, &keys, round);
        }
    }
    wait_for("the leavers to be forgotten", || cluster.control().snapshot().client_connections == 1);
    for server in &cluster.nodes {
        wait_for("the node to be rid of them", || {
            let list: String = server.call(&["CLIENT", "LIST"]);
            let held = |line: &str| {
                line.contains(" flags=b") || line.contains(" flags=x") || !line.contains(" multi=-1")
            };
            let subscribed = |line: &str| !line.contains(" sub=0 psub=0");
            !list.lines().any(|line| held(line) || subscribed(line))
        });
    }
}

#[test]
fn f5_a_killed_proxy_goes_on_where_it_was_with_a_hundred_nodes() {
    let server = RedisServer::start();
    // nobody listens on port 1
    let dead: String = (2..=100).map(|n| format!("  - {{name: n{n}, address: '127.0.0.{n}:1'}}\n")).collect();
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: {{listen: '127.0.0.1:0'}}\ntopology_file: kept.json\nnodes:\n  - {{name: n1, \
         address: '{}', weight: 100}}\n{dead}",
        server.address()
    );
    let files = Files::new(&[("ringway.yaml", &text)]);
    let config = files.arg("ringway.yaml");
    let mut program = Program::start(&["serve", "--config", &config]);
    let body = serde_json::json!({"weight": 200});
    assert_eq!(program.http().json("PATCH", "/v1/nodes/n1", &body).ok()["to_epoch"], 2);
    program.signal(Signal::KILL);
    program.wait();
    let again = Program::start(&["serve", "--config", &config]);
    assert_eq!(again.http().get("/v1/topology").ok()["epoch"], 2, "what was applied still holds");
    let mut client = again.client();
    wait_for("the node that lives", || {
        (0..50).any(|n| client.call(&["SET", &format!("k{n}"), "v"]) == b"+OK\r\n")
    });
    drop(again);
    // the disk was full, the file was edited by hand, or it is not ours
    let kept = std::fs::read_to_string(files.path("kept.json")).expect("it was written");
    for broken in [&kept[..kept.len() / 2], "", "{}", "[]", "\0\0\0"] {
        files.write("kept.json", broken);
        let output = run(&["serve", "--config", &config]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{broken:?}: {said}");
        assert!(said.contains("kept.json"), "{broken:?}: {said}");
    }
}
