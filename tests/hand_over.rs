//! One process takes over from another under load: nobody is refused, no command is lost, no epoch is given twice.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::json;

use crate::support::load::{Load, Seen, list_of};
use crate::support::ports::free_port;
use crate::support::program::{Files, Program, ringway};
use crate::support::raw_client::PATIENCE;
use crate::support::{RedisServer, wait_for};

/// How often one process takes over from another.
const HAND_OVERS: usize = 20;
/// Commands that each client sends at once.
const DEPTHS: [usize; 6] = [1, 1, 1, 1, 4, 16];

/// A configuration for these servers, with the listeners' addresses as they stand.
fn config(servers: &[RedisServer], listen: &str, admin: &str, more: &str) -> String {
    let nodes: String = servers
        .iter()
        .zip(1..)
        .map(|(server, n)| format!("  - {{name: cache-{n}, address: '{}'}}\n", server.address()))
        .collect();
    format!(
        "listen: {listen}\nthreads: 2\nadmin: {{listen: '{admin}'}}\ntimeouts: {{connect: 5s, operation: 10s}}\n\
         {more}nodes:\n{nodes}"
    )
}

fn servers(count: usize) -> Vec<RedisServer> {
    (0..count).map(|_| RedisServer::start()).collect()
}

/// Waits until the clients have got further by a good number of commands.
fn goes_on(load: &Load) {
    let before = load.answered();
    wait_for("the clients to go on", || load.answered() > before + 200);
}

/// SIGTERM, and the end that must follow it.
fn ends_in_order(mut program: Program) {
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
    let log = program.log();
    assert!(!log.contains("panicked") && !log.contains("before these clients had their replies"), "{log}");
}

/// Nobody was refused, nothing was sent in vain, and what was answered ran once and in order; nothing else ran.
fn nothing_was_lost(servers: &[RedisServer], seen: &[Seen]) {
    let mut answered = 0;
    for (client, seen) in seen.iter().enumerate() {
        let list = list_of(client);
        assert_eq!(seen.refused, Vec::<String>::new(), "{list}: refused connections");
        assert_eq!(seen.reset, Vec::<String>::new(), "{list}: commands in doubt");
        assert_eq!(seen.errors, Vec::<String>::new(), "{list}: error replies");
        assert_eq!(seen.unanswered, Vec::<String>::new(), "{list}: commands sent in vain");
        assert!(seen.ends >= HAND_OVERS, "{list}: {} ends", seen.ends);
        // the list moves with the ring: it lies in parts
        let mut ran: Vec<String> = servers
            .iter()
            .flat_map(|server| server.call::<Vec<String>>(&["LRANGE", &list, "0", "-1"]))
            .collect();
        let number =
            |token: &String| token.split_once('-').and_then(|(_, number)| number.parse::<u64>().ok());
        if !ran.is_sorted_by_key(number) {
            ran.sort_by_key(number);
        }
        assert!(ran == seen.answered, "{list}: {} ran, {} answered", ran.len(), seen.answered.len());
        answered += ran.len();
    }
    println!("{HAND_OVERS} hand-overs: {answered} commands answered, 0 refused, 0 lost");
}

#[test]
#[cfg(target_os = "linux")]
fn f4_twenty_hand_overs_under_load_with_a_shared_port_refuse_and_lose_nothing() {
    let servers = servers(3);
    let (listen, admin) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let files = Files::new(&[]);
    let kept = format!("reuse_port: true\ntopology_file: {}\n", files.arg("topology.json"));
    files.write("ringway.yaml", &config(&servers, &listen, &admin, &kept));
    let mut current = Program::serve(&files.path("ringway.yaml"));
    let load = Load::start(current.address(), &DEPTHS);
    let mut epoch = 1;
    for round in 0..HAND_OVERS {
        goes_on(&load);
        let next = Program::serve(&files.path("ringway.yaml"));
        ends_in_order(std::mem::replace(&mut current, next));
        // the newcomer keeps the topology file from now on
        let weight = json!({"weight": 2 + round % 3});
        wait_for("the newcomer to take changes", || {
            let answer = current.http().json("PATCH", "/v1/nodes/cache-1", &weight);
            assert!([200, 503].contains(&answer.status), "{}", answer.text);
            answer.status == 200
        });
        epoch += 1;
        assert_eq!(
            current.http().get("/v1/topology").ok()["epoch"],
            epoch,
            "no epoch is lost or given twice"
        );
    }
    goes_on(&load);
    nothing_was_lost(&servers, &load.stop());
}

/// What a service manager does: starts the binary with sockets that it keeps.
fn activated(config: &std::path::Path, clients: &TcpListener, admin: &TcpListener) -> Program {
    let given =
        |socket: &TcpListener| Stdio::from(OwnedFd::from(socket.try_clone().expect("a second handle")));
    let script = "export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=admin:clients; \
                  exec \"$@\" 3<&0 4<&1 0</dev/null 1>&2";
    let binary = ringway(&[]).get_program().to_owned();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh"]).arg(binary).arg("serve").arg("--config").arg(config);
    command.env_remove("RUST_LOG").stdin(given(admin)).stdout(given(clients));
    Program::start_command(command, true)
}

#[test]
#[cfg(target_os = "linux")]
fn f4_twenty_hand_overs_under_load_with_sockets_of_systemd_refuse_and_lose_nothing() {
    let servers = servers(3);
    let bound = || TcpListener::bind("127.0.0.1:0").expect("bind");
    let (clients, admin) = (bound(), bound());
    let address = |socket: &TcpListener| -> SocketAddr { socket.local_addr().expect("an address") };
    let files = Files::new(&[]);
    let kept = format!("topology_file: {}\n", files.arg("topology.json"));
    files.write("ringway.yaml", &config(&servers, "127.0.0.1:1", "127.0.0.1:2", &kept));
    let start = || activated(&files.path("ringway.yaml"), &clients, &admin);
    let mut current = start();
    assert_eq!(current.address(), address(&clients), "the socket wins over the file");
    assert_eq!(current.http().address(), address(&admin));
    let load = Load::start(address(&clients), &DEPTHS);
    for round in 0..HAND_OVERS {
        goes_on(&load);
        if round % 2 == 0 {
            // as two services that share the sockets
            let next = start();
            ends_in_order(std::mem::replace(&mut current, next));
        } else {
            // as `systemctl restart`: whoever connects meanwhile waits in the queue
            ends_in_order(current);
            current = start();
        }
    }
    goes_on(&load);
    nothing_was_lost(&servers, &load.stop());
}

#[test]
#[cfg(target_os = "linux")]
fn f4_sockets_of_systemd_that_have_no_place_are_refused_with_a_reason() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("bind");
    let files = Files::new(&[("ringway.yaml", "nodes: [{name: a, address: '127.0.0.1:1'}]\n")]);
    for (names, fds, said) in [
        ("clients:clients", 2, "two of this name"),
        ("clients:web", 2, "FileDescriptorName"),
        ("clients", 3, "socket 1"),
    ] {
        let given = || Stdio::from(OwnedFd::from(socket.try_clone().expect("a second handle")));
        let script = "export LISTEN_PID=$$; exec \"$@\" 3<&0 4<&1 0</dev/null 1>&2";
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, "sh"]).arg(ringway(&[]).get_program());
        command.args(["serve", "--config", &files.arg("ringway.yaml")]);
        command.env("LISTEN_FDS", fds.to_string()).env("LISTEN_FDNAMES", names);
        let output = command.stdin(given()).stdout(given()).stderr(Stdio::piped()).output().expect("sh runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{names}: {text}");
        assert!(text.contains(said), "{names}: {text}");
    }
}

#[test]
fn f4_while_another_process_keeps_the_topology_file_changes_are_refused_and_followed() {
    let servers = servers(2);
    let files = Files::new(&[]);
    let kept = format!("topology_file: {}\n", files.arg("topology.json"));
    files.write("ringway.yaml", &config(&servers, "127.0.0.1:0", "127.0.0.1:0", &kept));
    let first = Program::serve(&files.path("ringway.yaml"));
    let second = Program::serve(&files.path("ringway.yaml"));
    let epoch =
        |program: &Program| program.http().get("/v1/topology").ok()["epoch"].as_u64().expect("an epoch");
    let weight = |program: &Program, weight: u32| {
        program.http().json("PATCH", "/v1/nodes/cache-1", &json!({"weight": weight}))
    };
    let why = weight(&second, 2).refused(503);
    assert!(why.contains("another process keeps the topology file"), "{why}");
    second.signal(Signal::HUP);
    weight(&first, 3).ok();
    weight(&first, 4).ok();
    wait_for("the second to follow", || epoch(&second) == 3);
    let fingerprint = |program: &Program| program.http().get("/v1/topology").ok()["fingerprint"].clone();
    assert_eq!(fingerprint(&first), fingerprint(&second));
    ends_in_order(first);
    wait_for("the second to take changes", || weight(&second, 5).status == 200);
    assert_eq!(epoch(&second), 4);
    let text = std::fs::read_to_string(files.path("topology.json")).expect("kept");
    assert!(text.contains("\"epoch\": 4"), "{text}");
}

#[test]
fn f4_a_connection_ends_with_a_reply_and_not_while_a_command_is_on_its_way() {
    let servers = servers(1);
    let text = config(&servers, "127.0.0.1:0", "127.0.0.1:0", "limits: {drain: 60s, drain_idle: 60s}\n");
    let files = Files::new(&[("ringway.yaml", &text.replace("threads: 2", "threads: 1"))]);
    let mut program = Program::serve(&files.path("ringway.yaml"));
    let mut busy = program.client();
    let mut idle = program.client();
    let mut probe = program.client();
    wait_for("the node", || busy.call(&["SET", "k", "v"]) == b"+OK\r\n");
    assert_eq!(idle.call(&["PING"]), b"+PONG\r\n");
    program.signal(Signal::TERM);
    wait_for("the first end", || probe.try_call(&["PING"], PATIENCE).is_err());
    // the first half of a command keeps the connection open until the rest has come and is answered
    busy.send(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$3\r\nGET");
    assert_eq!(busy.reply(), b"$1\r\nv\r\n");
    busy.send(b"\r\n$1\r\nk\r\n");
    assert_eq!(busy.rest(), b"$1\r\nv\r\n", "the last reply and the end");
    assert_eq!(idle.text(&["GET", "k"]), "$1\r\nv\r\n", "a client that was idle is answered once more");
    assert_eq!(idle.rest(), b"");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}

#[test]
fn f4_what_a_client_is_told_of_keys_is_not_its_last_word() {
    let servers = servers(1);
    let text = config(&servers, "127.0.0.1:0", "127.0.0.1:0", "limits: {drain: 60s, drain_idle: 60s}\n");
    let files = Files::new(&[("ringway.yaml", &text.replace("threads: 2", "threads: 1"))]);
    let mut program = Program::serve(&files.path("ringway.yaml"));
    let [mut told, mut reader, mut writer, mut probe] = [(); 4].map(|()| program.client());
    wait_for("the node", || writer.call(&["SET", "k", "v"]) == b"+OK\r\n");
    assert!(told.text(&["HELLO", "3"]).starts_with('%'));
    let id = told.text(&["CLIENT", "ID"]).trim_matches([':', '\r', '\n']).to_owned();
    assert_eq!(reader.text(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id]), "+OK\r\n");
    assert_eq!(reader.text(&["GET", "k"]), "$1\r\nv\r\n");
    program.signal(Signal::TERM);
    wait_for("the first end", || probe.try_call(&["PING"], PATIENCE).is_err());
    assert_eq!(writer.text(&["SET", "k", "w"]), "+OK\r\n");
    assert_eq!(told.text_reply(), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
    told.expect_silence(std::time::Duration::from_millis(300));
    assert_eq!(told.text(&["GET", "k"]), "$1\r\nw\r\n", "it is answered once more");
    assert_eq!(told.rest(), b"");
    assert_eq!(reader.text(&["GET", "k"]), "$1\r\nw\r\n");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}
