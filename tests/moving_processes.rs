//! Keys that move while the proxy is killed, started again and replaced by another process.

use std::collections::HashMap;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::moving_faults::{all_there, fill};
use crate::support::byte_proxy::{ByteProxy, Wire};
use crate::support::ports::free_port;
use crate::support::program::{Files, Program};
use crate::support::{RedisServer, wait_for};

const KEYS: usize = 40_000;

/// A configuration file for these servers, with a topology file beside it.
fn configured(files: &Files, servers: &[RedisServer], admin: u16, listen: u16) {
    let nodes: String = servers
        .iter()
        .zip(1..)
        .map(|(server, n)| format!("  - {{name: cache-{n}, address: '{}'}}\n", server.address()))
        .collect();
    files.write(
        "ringway.yaml",
        &format!(
            "listen: 127.0.0.1:{listen}\nthreads: 2\nadmin: {{listen: '127.0.0.1:{admin}'}}\nreuse_port: true\n\
             timeouts: {{connect: 5s, operation: 10s}}\ntopology_file: {}\nnodes:\n{nodes}",
            files.arg("topology.json")
        ),
    );
}

fn moved(program: &Program) -> u64 {
    program.http().get("/v1/movement").ok()["moved"].as_u64().expect("a number")
}

fn wait_moved(program: &Program) {
    wait_for("all keys to have moved", || program.http().get("/v1/movement").ok()["state"] == "done");
}

#[test]
fn f3_killed_in_the_midst_it_goes_on_after_a_restart() {
    let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    let fourth = RedisServer::start();
    let wire = ByteProxy::start_slow(&fourth.address());
    let files = Files::new(&[]);
    configured(&files, &servers, free_port(), free_port());
    let mut program = Program::serve(&files.path("ringway.yaml"));
    let mut client = program.client();
    fill(&mut client, KEYS);
    let body = json!({"name": "cache-4", "address": wire.address()});
    let answer = program.http().json("POST", "/v1/nodes?move_keys=true", &body);
    assert_eq!(answer.status, 201, "{}", answer.text);
    // what is written meanwhile is as safe as before
    let mut written = HashMap::new();
    for round in 0..3 {
        let before = moved(&program);
        for at in (round..KEYS).step_by(KEYS / 50) {
            let value = format!("written {round} {at}");
            assert_eq!(client.text(&["SET", &format!("key:{at}"), &value]), "+OK\r\n");
            written.insert(at, value);
        }
        wait_for("some keys to have moved", || moved(&program) > before + 100);
        assert_eq!(
            program.http().get("/v1/movement").ok()["state"],
            "moves",
            "it is to be killed in the midst"
        );
        program.signal(Signal::KILL);
        program.wait();
        program = Program::serve(&files.path("ringway.yaml"));
        program.wait_logged("keys were on their way to these nodes; they go on");
        client = program.client();
        assert_eq!(program.http().get("/v1/topology").ok()["epoch"], 2);
    }
    wire.set(Wire::Plain);
    wait_moved(&program);
    all_there(&mut client, KEYS, &written);
    assert_eq!(client.text(&["DBSIZE"]), format!(":{KEYS}\r\n"));
    // a restart at the end has nothing to go on with
    program.signal(Signal::KILL);
    program.wait();
    let program = Program::serve(&files.path("ringway.yaml"));
    assert_eq!(program.http().get("/v1/topology").ok()["epoch"], 3);
    assert_eq!(program.http().get("/v1/movement").status, 404);
}

#[test]
#[cfg(target_os = "linux")]
fn f4_another_process_carries_on_where_one_was_replaced() {
    let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    let fourth = RedisServer::start();
    let wire = ByteProxy::start_slow(&fourth.address());
    let files = Files::new(&[]);
    configured(&files, &servers, free_port(), free_port());
    let mut current = Program::serve(&files.path("ringway.yaml"));
    let mut client = current.client();
    fill(&mut client, KEYS);
    let body = json!({"name": "cache-4", "address": wire.address()});
    assert_eq!(current.http().json("POST", "/v1/nodes?move_keys=true", &body).status, 201);
    wait_for("some keys to have moved", || moved(&current) > 100);
    let next = Program::serve(&files.path("ringway.yaml"));
    assert_eq!(next.http().get("/v1/topology").ok()["epoch"], 2);
    std::thread::sleep(Duration::from_millis(100));
    assert!(!next.log().contains("keys begin to move"), "it stands by: {}", next.log());
    current.signal(Signal::TERM);
    assert_eq!(current.wait().code(), Some(0), "{}", current.log());
    current = next;
    current.wait_logged("keys begin to move");
    let mut client = current.client();
    let written = HashMap::from([(7, "written".to_owned()), (8, "written too".to_owned())]);
    for (at, value) in &written {
        assert_eq!(client.text(&["SET", &format!("key:{at}"), value]), "+OK\r\n");
    }
    wire.set(Wire::Plain);
    wait_moved(&current);
    all_there(&mut client, KEYS, &written);
    assert_eq!(client.text(&["DBSIZE"]), format!(":{KEYS}\r\n"));
}

#[test]
fn f4_while_another_process_answers_clients_no_movement_begins() {
    let servers: Vec<RedisServer> = (0..2).map(|_| RedisServer::start()).collect();
    let third = RedisServer::start();
    let files = Files::new(&[]);
    configured(&files, &servers, free_port(), free_port());
    let first = Program::serve(&files.path("ringway.yaml"));
    // by the same topology file, to be called by itself
    configured(&files, &servers, free_port(), free_port());
    let mut second = Program::serve(&files.path("ringway.yaml"));
    let body = json!({"name": "cache-3", "address": third.address()});
    let join = || first.http().json("POST", "/v1/nodes?move_keys=true", &body);
    assert!(join().refused(409).contains("another process answers clients"));
    assert_eq!(second.http().json("POST", "/v1/nodes?move_keys=true", &body).status, 503, "it stands by");
    assert_eq!(second.http().send("DELETE", "/v1/movement", None).status, 503);
    second.signal(Signal::TERM);
    second.wait();
    assert_eq!(join().status, 201);
    wait_moved(&first);
}
