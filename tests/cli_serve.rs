//! The binary that runs: serve with its signals and its topology file, dev with its children.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::frame::bulk_request;
use crate::support::program::{Files, Program, run};
use crate::support::{NoReply, RawClient, RedisServer, wait_for};

/// A configuration for these servers that listens on free ports.
fn config(servers: &[RedisServer], more: &str) -> String {
    let nodes: String = servers
        .iter()
        .zip(1..)
        .map(|(server, n)| format!("  - {{name: cache-{n}, address: '{}'}}\n", server.address()))
        .collect();
    let timeouts = if more.contains("timeouts:") { "" } else { "timeouts: {connect: 5s, operation: 10s}\n" };
    format!("listen: 127.0.0.1:0\nadmin: {{listen: '127.0.0.1:0'}}\n{timeouts}{more}nodes:\n{nodes}")
}

fn servers(count: usize) -> Vec<RedisServer> {
    (0..count).map(|_| RedisServer::start()).collect()
}

/// Waits until keys of all nodes can be written.
fn ready(program: &Program) -> RawClient {
    let mut client = program.client();
    wait_for("the nodes", || (0..30).all(|n| client.call(&["DEL", &format!("warm:{n}")]).starts_with(b":")));
    client
}

#[test]
fn serve_says_where_it_listens_what_it_serves_and_how_to_stop() {
    let servers = servers(3);
    let files = Files::new(&[("ringway.yaml", &config(&servers, ""))]);
    let mut program = Program::serve(&files.path("ringway.yaml"));
    let mut client = ready(&program);
    assert_eq!(client.text(&["SET", "k", "v"]), "+OK\r\n");
    assert_eq!(program.http().get("/readyz").status, 200);
    let text = program.text();
    for part in
        ["cache-1", "cache-2", "cache-3", "%", &program.address().to_string(), &program.pid().to_string()]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
    assert!(!program.log().contains("panicked"), "{}", program.log());
}

#[test]
fn a_listener_that_cannot_bind_ends_with_one_and_why() {
    let servers = servers(1);
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("an address").to_string();
    let text = config(&servers, "");
    for line in ["listen: 127.0.0.1:0\n", "admin: {listen: '127.0.0.1:0'}\n"] {
        let files =
            Files::new(&[("ringway.yaml", &text.replace(line, &line.replace("127.0.0.1:0", &address)))]);
        let output = run(&["serve", "--config", &files.arg("ringway.yaml")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&address) && said.to_lowercase().contains("in use"), "{said}");
    }
}

#[test]
fn f4_sigterm_under_load_answers_every_command_that_was_read() {
    let servers = servers(3);
    let files = Files::new(&[("ringway.yaml", &config(&servers, ""))]);
    let mut program = Program::serve(&files.path("ringway.yaml"));
    drop(ready(&program));
    let mut clients: Vec<RawClient> = (0..8).map(|_| program.client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.send(
            &(0..3000)
                .flat_map(|n| bulk_request(&["RPUSH", &format!("drain:{at}:{}", n % 5), "x"]))
                .collect::<Vec<_>>(),
        );
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.reply(), b":1\r\n"));
    program.signal(Signal::TERM);
    let (signalled, mut answered) = (Instant::now(), 0);
    for client in &mut clients {
        answered += 1;
        loop {
            match client.try_reply(Duration::from_secs(20)) {
                Ok(reply) => {
                    assert_eq!(reply[0], b':', "{}", String::from_utf8_lossy(&reply));
                    answered += 1;
                }
                Err(NoReply::Closed(rest)) => {
                    assert!(rest.is_empty(), "whole replies only");
                    break;
                }
                Err(why) => panic!("{why:?}"),
            }
        }
    }
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
    println!("f4: {answered} answered, ended {:?} after SIGTERM", signalled.elapsed());
    let lengths = |server: &RedisServer| -> usize {
        (0..8)
            .flat_map(|at| (0..5).map(move |n| format!("drain:{at}:{n}")))
            .map(|key| server.call::<usize>(&["LLEN", &key]))
            .sum()
    };
    assert_eq!(
        answered,
        servers.iter().map(lengths).sum::<usize>(),
        "what ran was answered, and nothing ran twice"
    );
}

#[test]
fn f4_a_second_sigterm_means_now() {
    let servers = servers(1);
    let files = Files::new(&[(
        "ringway.yaml",
        &config(&servers, "limits: {drain: 60s}\ntimeouts: {operation: 60s}\n"),
    )]);
    let mut program = Program::serve(&files.path("ringway.yaml"));
    let mut client = ready(&program);
    servers[0].pause();
    client.send_command(&["INCR", "stuck"]);
    // a reply to another connection says that the command was read
    wait_for("the command to be read", || {
        program.http().get("/v1/stats").ok()["commands_read"].as_u64() > Some(30)
    });
    program.signal(Signal::TERM);
    program.wait_logged("draining");
    program.signal(Signal::TERM);
    let status = program.wait();
    assert_ne!(status.code(), Some(0), "cut short: {status}");
    servers[0].resume();
}

#[test]
fn sighup_applies_a_changed_file_or_refuses_it_and_says_why() {
    let servers = servers(3);
    let files = Files::new(&[("ringway.yaml", &config(&servers[..2], ""))]);
    let program = Program::serve(&files.path("ringway.yaml"));
    let mut client = ready(&program);
    let epoch = || program.http().get("/v1/topology").ok()["epoch"].as_u64().expect("an epoch");
    files.write("ringway.yaml", &config(&servers, ""));
    program.signal(Signal::HUP);
    wait_for("the new epoch", || epoch() == 2);
    assert_eq!(program.http().get("/v1/topology").ok()["nodes"].as_array().expect("nodes").len(), 3);
    assert_eq!(client.text(&["SET", "k", "v"]), "+OK\r\n", "the connection lives on");

    files.write("ringway.yaml", "nodes: [{name: a, adress: x}]\n");
    program.signal(Signal::HUP);
    program.wait_logged("adress");
    assert_eq!(epoch(), 2, "the old topology serves on");
    assert_eq!(client.text(&["GET", "k"]), "$1\r\nv\r\n");

    let history = program.http().get("/v1/topology/history").ok();
    assert!(history[0]["change"].as_str().is_some_and(|change| change.contains("SIGHUP")), "{history}");
}

#[test]
fn a_topology_applied_over_http_survives_a_restart() {
    let servers = servers(3);
    let files = Files::new(&[]);
    let kept = format!("topology_file: {}\n", files.arg("topology.json"));
    files.write("ringway.yaml", &config(&servers[..2], &kept));
    let mut program = Program::serve(&files.path("ringway.yaml"));
    let body = json!({"name": "cache-3", "address": servers[2].address(), "weight": 2});
    program.http().json("POST", "/v1/nodes", &body).ok();
    let before = program.http().get("/v1/topology").ok();
    program.signal(Signal::KILL);
    program.wait();
    let again = Program::serve(&files.path("ringway.yaml"));
    let after = again.http().get("/v1/topology").ok();
    assert_eq!(after["fingerprint"], before["fingerprint"]);
    assert_eq!(after["nodes"].as_array().expect("nodes").len(), 3);
    drop(again);

    // F5: a half-written file is refused with a reason, not guessed at
    let text = std::fs::read_to_string(files.path("topology.json")).expect("kept");
    files.write("topology.json", &text[..text.len() / 2]);
    let output = run(&["serve", "--config", &files.arg("ringway.yaml")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("topology.json"), "{said}");
}

#[test]
fn i8_epochs_do_not_go_back_over_a_restart() {
    let servers = servers(3);
    let files = Files::new(&[]);
    let kept = format!("topology_file: {}\n", files.arg("topology.json"));
    files.write("ringway.yaml", &config(&servers, &kept));
    let program = Program::serve(&files.path("ringway.yaml"));
    for weight in 2..6 {
        program.http().json("PATCH", "/v1/nodes/cache-1", &json!({"weight": weight})).ok();
    }
    let epoch =
        |program: &Program| program.http().get("/v1/topology").ok()["epoch"].as_u64().expect("an epoch");
    let before = epoch(&program);
    drop(program);
    let again = Program::serve(&files.path("ringway.yaml"));
    assert!(
        epoch(&again) >= before,
        "{} after {before}: an old If-Match would match another topology",
        epoch(&again)
    );
}

#[test]
fn i11_no_key_value_or_secret_is_logged() {
    let servers = servers(2);
    let more = "auth: {password: hunter2secret}\n";
    let files = Files::new(&[("ringway.yaml", &config(&servers, more))]);
    let mut program = Program::start(&["--log", "trace", "serve", "--config", &files.arg("ringway.yaml")]);
    let mut client = program.client();
    assert_eq!(client.text(&["AUTH", "hunter2secret"]), "+OK\r\n");
    wait_for("the nodes", || client.call(&["SET", "hunter2key", "hunter2value"]) == b"+OK\r\n");
    client.call(&["MSET", "hunter2a", "hunter2b", "hunter2c", "hunter2d"]);
    client.call(&["hunter2command", "hunter2arg"]);
    client.send(b"*1\r\n$x hunter2\r\n");
    client.rest();
    program.client().call(&["AUTH", "hunter2wrong"]);
    program.signal(Signal::TERM);
    program.wait();
    let said = program.log() + &program.text();
    assert!(!said.contains("hunter2"), "{said}");
}

/// Processes that have `parent` as their parent, or as their parent's parent.
fn descendants(parent: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let after_name = stat.rsplit_once(')')?.1.to_owned();
            Some((pid, after_name.split_whitespace().nth(1)?.parse().ok()?))
        })
        .collect();
    let children: Vec<u32> = parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid).collect();
    let below: Vec<u32> =
        parents.iter().filter(|(_, of)| children.contains(of)).map(|(pid, _)| *pid).collect();
    [children, below].concat()
}

fn exists(pid: u32) -> bool {
    // a zombie has no command line
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
#[cfg(target_os = "linux")]
fn dev_starts_nodes_and_leaves_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut program =
            Program::start(&["dev", "--nodes", "2", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let mut client = ready(&program);
        assert_eq!(client.text(&["MSET", "a", "1", "b", "2", "c", "3"]), "+OK\r\n");
        assert_eq!(program.http().get("/v1/topology").ok()["nodes"].as_array().expect("nodes").len(), 2);
        let children = descendants(program.pid());
        assert!(children.len() >= 2, "{children:?}");
        program.signal(signal);
        let status = program.wait();
        if signal != Signal::KILL {
            assert_eq!(status.code(), Some(0), "{}", program.log());
        }
        wait_for("the nodes to end", || !children.iter().any(|pid| exists(*pid)));
    }
}

#[test]
fn dev_tells_a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("an address").to_string();
    let output = run(&["dev", "--nodes", "1", "--listen", &address, "--admin", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&address), "{said}");
}
