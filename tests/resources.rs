//! What the proxy's process holds: memory stays inside its bounds (law I6), descriptors come back (law I9). Measured on the
//! built binary, because a test process also holds what the tests hold.
#![cfg(target_os = "linux")]

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::frame::bulk_request;
use crate::support::program::{self, Files, Program};
use crate::support::rig::{MIB, Rig};
use crate::support::{RawClient, RedisServer, wait_for};

#[test]
fn c3_clients_that_do_not_read_are_closed_at_the_hard_limit_and_stall_nobody() {
    let rig = Rig::start(2, "limits: {reply_hard_bytes: 8MiB}\n", &[]);
    let mut normal = rig.program.client();
    // more than the kernel keeps and the hard limit together
    let value = vec![b'x'; 30_000_000];
    assert_eq!(normal.call(&[b"SET".as_slice(), b"large", &value]), b"+OK\r\n");
    let before = rig.memory();
    // each asks for 60 MB and takes nothing
    let pipeline = bulk_request(&["GET", "large"]).repeat(2);
    let mut greedy: Vec<RawClient> = (0..10).map(|_| rig.program.client()).collect();
    greedy.iter_mut().for_each(|client| client.send(&pipeline));
    for n in 0..100 {
        assert_eq!(normal.text(&["STRLEN", "large"]), ":30000000\r\n", "round {n}");
        assert_eq!(normal.text(&["SET", &format!("small:{n}"), "v"]), "+OK\r\n", "round {n}");
    }
    // ten times the hard limit and one value more, and what a build without optimisation adds
    rig.grew_at_most(before, 150 * MIB, "10 clients that do not read");
    // they are gone although they neither closed nor read
    wait_for("the greedy to be closed", || {
        rig.program.http().get("/v1/stats").ok()["client_connections"] == 1
    });
    assert_eq!(normal.text(&["STRLEN", "large"]), ":30000000\r\n");
}

#[test]
fn c3_a_client_that_reads_late_gets_everything_below_the_hard_limit() {
    let rig = Rig::start(1, "", &[]);
    let mut late = rig.program.client();
    let value = vec![b'x'; 100_000];
    late.call(&[b"SET".as_slice(), b"large", &value]);
    late.send(&bulk_request(&["GET", "large"]).repeat(300));
    std::thread::sleep(Duration::from_millis(500));
    for n in 0..300 {
        assert_eq!(late.reply().len(), 100_000 + 11, "reply {n}");
    }
}

#[test]
fn c4_incomplete_commands_cost_little_and_reach_no_node() {
    let rig = Rig::start(1, "", &[]);
    let before = rig.memory();
    let starts: [&[u8]; 4] = [
        b"*3\r\n$3\r\nSET\r\n$4\r\nslow\r\n$536870912\r\nabc",
        b"*1048576\r\n$1\r\na\r\n",
        b"*2\r\n$3\r\nGET\r\n$5\r\nsl",
        b"SET slow inline",
    ];
    let mut slow: Vec<RawClient> = (0..400).map(|_| rig.program.client()).collect();
    for (at, client) in slow.iter_mut().enumerate() {
        client.send(starts[at % starts.len()]);
    }
    for _ in 0..20 {
        slow.iter_mut().for_each(|client| client.send(b"x"));
    }
    let mut normal = rig.program.client();
    assert_eq!(normal.text(&["EXISTS", "slow"]), ":0\r\n");
    // 16 KiB each, and what 400 connections cost in a build without optimisation
    rig.grew_at_most(before, 400 * 16 * 1024 + 24 * MIB, "400 slow clients");
}

#[test]
fn i9_descriptors_and_memory_come_back_after_churn() {
    let rig = Rig::start(2, "", &[]);
    drop(rig.program.client());
    let count = || rig.descriptors();
    wait_for("rest", || rig.program.http().get("/v1/stats").ok()["client_connections"] == 0);
    let before = (count(), rig.memory());
    for round in 0..10 {
        let mut clients: Vec<RawClient> = (0..200).map(|_| rig.program.client()).collect();
        for (at, client) in clients.iter_mut().enumerate() {
            client.send_command(&["SET", &format!("churn:{at}"), "v"]);
        }
        for (at, mut client) in clients.into_iter().enumerate() {
            match (at + round) % 4 {
                0 => client.reset(),
                1 => drop(client),
                2 => assert_eq!(client.reply(), b"+OK\r\n"),
                _ => {
                    client.finish_sending();
                    assert_eq!(client.rest(), b"+OK\r\n");
                }
            }
        }
    }
    // the control plane's own keep-alive connection may come and go
    wait_for("the descriptors to come back", || count() <= before.0 + 2);
    rig.grew_at_most(before.1, 32 * MIB, "2000 clients that came and went");
}

#[test]
fn i9_a_node_that_comes_and_goes_leaves_no_descriptors() {
    let mut rig = Rig::start(2, "", &[]);
    let before = rig.descriptors();
    for _ in 0..5 {
        rig.servers[0].kill();
        let mut client = rig.program.client();
        wait_for("the death to be seen", || {
            (0..20).any(|n| client.call(&["INCR", &format!("k{n}")]).starts_with(b"-NOTSENT"))
        });
        rig.servers[0].restart();
        wait_for("the node to be back", || {
            (0..20).all(|n| client.call(&["DEL", &format!("k{n}")]).starts_with(b":"))
        });
    }
    wait_for("the descriptors to come back", || rig.descriptors() <= before + 2);
}

#[test]
fn e5_a_log_that_nobody_reads_holds_up_nobody() {
    let server = RedisServer::start();
    let good = format!(
        "listen: 127.0.0.1:0\nadmin: {{listen: '127.0.0.1:0'}}\nnodes:\n  - {{name: n1, address: '{}'}}\n",
        server.address()
    );
    let files = Files::new(&[("ringway.yaml", &good)]);
    let mut command = program::ringway(&["serve", "--config", &files.arg("ringway.yaml")]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = Program::watch(command, false);
    let mut client = program.client();
    wait_for("the node", || client.call(&["SET", "k", "v"]) == b"+OK\r\n");
    // a reload of a file with many mistakes has many lines to say
    let mistakes: String = (0..4000).map(|n| format!("mistake{n}: 1\n")).collect();
    files.write("ringway.yaml", &(good + &mistakes));
    let dropped = || {
        program.http().get("/metrics").text.lines().any(|line| {
            line.strip_prefix("ringway_log_lines_dropped_total ").is_some_and(|count| count != "0")
        })
    };
    wait_for("lines to be dropped", || {
        program.signal(Signal::HUP);
        dropped()
    });
    for n in 0..100 {
        assert_eq!(client.text(&["SET", "k", &n.to_string()]), "+OK\r\n");
    }
    program.signal(Signal::TERM);
    assert!(program.wait().success());
}
