//! The process as its supervisor sees it: what systemd is told, and how soon it serves again after it was killed.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::frame::bulk_request;
use crate::support::program::{Files, Program, ringway, run};
use crate::support::{RedisServer, wait_for};

/// Far above what a restart takes on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(15);

/// A service manager's end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    files: Files,
}

impl Manager {
    fn new(files: Files) -> Self {
        let socket = UnixDatagram::bind(files.path("notify")).expect("bind");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
        Self { socket, files }
    }

    fn start(&self) -> Program {
        let mut command = ringway(&["serve", "--config", &self.files.arg("ringway.yaml")]);
        command.env("NOTIFY_SOCKET", self.files.path("notify")).stdout(std::process::Stdio::piped());
        Program::start_command(command, true)
    }

    /// The next message, line by line.
    fn told(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let len = self.socket.recv(&mut bytes).expect("the service manager is told");
        String::from_utf8_lossy(&bytes[..len]).lines().map(str::to_owned).collect()
    }
}

/// Microseconds since the machine started, as systemd compares them.
fn monotonic_usec() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000 + now.tv_nsec / 1000).expect("after the start")
}

#[test]
fn f4_systemd_is_told_ready_reloading_and_stopping() {
    let text =
        "listen: 127.0.0.1:0\nadmin: {listen: '127.0.0.1:0'}\nnodes: [{name: a, address: '127.0.0.1:1'}]\n";
    let manager = Manager::new(Files::new(&[("ringway.yaml", text)]));
    let mut program = manager.start();
    assert_eq!(manager.told(), ["READY=1"]);
    assert_eq!(program.client().call(&["PING"]), b"+PONG\r\n", "ready means that clients are accepted");
    for broken in [false, true] {
        if broken {
            manager.files.write("ringway.yaml", "nodes: []\n");
        }
        let before = monotonic_usec();
        program.signal(Signal::HUP);
        let told = manager.told();
        let at = told.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("a time");
        let at: u64 = at.parse().expect("a number");
        assert!(told.contains(&"RELOADING=1".to_owned()), "{told:?}");
        assert!((before..=monotonic_usec()).contains(&at), "{at} is not between {before} and now");
        assert_eq!(manager.told(), ["READY=1"], "also when the file is refused: the old one serves on");
    }
    program.signal(Signal::TERM);
    assert_eq!(manager.told(), ["STOPPING=1"]);
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}

#[test]
fn f4_a_program_that_fails_to_start_never_says_that_it_is_ready() {
    let text = "nodes: [{name: a, adress: x}]\n";
    let manager = Manager::new(Files::new(&[("ringway.yaml", text)]));
    let mut command = ringway(&["serve", "--config", &manager.files.arg("ringway.yaml")]);
    let output =
        command.env("NOTIFY_SOCKET", manager.files.path("notify")).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    manager.socket.set_nonblocking(true).expect("non-blocking");
    assert!(manager.socket.recv(&mut [0; 64]).is_err());
}

/// A hundred nodes: seven servers, each on fifteen loopback addresses.
#[cfg(target_os = "linux")]
fn hundred_nodes() -> (Vec<RedisServer>, String) {
    let mut servers = Vec::new();
    let mut lines = Vec::new();
    for group in 0..7 {
        let mut addresses = vec!["127.0.0.1".to_owned()];
        addresses.extend((1..15).map(|at| format!("127.0.{}.{at}", group + 1)));
        let mut options = vec!["--bind"];
        options.extend(addresses.iter().map(String::as_str));
        let server = RedisServer::start_with(&options);
        let port = server.address().rsplit_once(':').expect("a port").1.to_owned();
        lines.extend(addresses.iter().map(|ip| format!("{ip}:{port}")));
        servers.push(server);
    }
    let nodes = lines.iter().take(100).zip(1..);
    let nodes: String =
        nodes.map(|(address, n)| format!("  - {{name: cache-{n}, address: '{address}'}}\n")).collect();
    (servers, format!("nodes:\n{nodes}"))
}

#[test]
#[cfg(target_os = "linux")]
fn f5_killed_and_started_again_with_a_hundred_nodes_it_serves_soon() {
    let (_servers, nodes) = hundred_nodes();
    let files = Files::new(&[]);
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: {{listen: '127.0.0.1:0'}}\ntimeouts: {{connect: 5s, operation: 10s}}\n\
         topology_file: {}\n{nodes}",
        files.arg("topology.json")
    );
    files.write("ringway.yaml", &text);
    let config = files.path("ringway.yaml");
    // keys of nearly every node
    let all: Vec<u8> = (0..1000).flat_map(|n| bulk_request(&["SET", &format!("key:{n}"), "v"])).collect();
    let served = |program: &Program| {
        let mut client = program.client();
        client.send(&all);
        assert!((0..1000).all(|_| client.reply() == b"+OK\r\n"), "every node is reached");
    };
    let mut program = Program::serve(&config);
    served(&program);
    program.http().json("PATCH", "/v1/nodes/cache-1", &json!({"weight": 2})).ok();
    let topology = |program: &Program| {
        let answer = program.http().get("/v1/topology").ok();
        (answer["epoch"].clone(), answer["fingerprint"].clone())
    };
    let before = topology(&program);
    program.signal(Signal::KILL);
    program.wait();
    let started = Instant::now();
    let again = Program::serve(&config);
    let listens = started.elapsed();
    served(&again);
    let serves = started.elapsed();
    println!(
        "started again with 100 nodes: listens after {listens:?}, has served 1,000 keys after {serves:?}"
    );
    assert!(serves < SOON, "{serves:?}");
    assert_eq!(topology(&again), before, "the topology that was applied last, under its epoch");
}

#[test]
fn f5_a_half_written_topology_file_is_refused_with_a_reason() {
    let files = Files::new(&[]);
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: {{listen: '127.0.0.1:0'}}\ntopology_file: {}\n\
         nodes: [{{name: a, address: '127.0.0.1:1'}}, {{name: b, address: '127.0.0.1:2'}}]\n",
        files.arg("topology.json")
    );
    files.write("ringway.yaml", &text);
    let mut program = Program::serve(&files.path("ringway.yaml"));
    program.http().json("PATCH", "/v1/nodes/a", &json!({"weight": 2})).ok();
    program.signal(Signal::KILL);
    program.wait();
    let whole = std::fs::read_to_string(files.path("topology.json")).expect("kept");
    for part in [0, 1, whole.len() / 3, whole.len() / 2, whole.len() - 3] {
        files.write("topology.json", &whole[..part]);
        let output = run(&["serve", "--config", &files.arg("ringway.yaml")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{part}: {said}");
        assert!(said.contains("topology.json") && said.contains("delete it"), "{part}: {said}");
    }
    // a file that was being written when the machine went down lies beside it, and does no harm
    files.write("topology.json", &whole);
    files.write(".ringway-topology-abc", &whole[..whole.len() / 2]);
    let again = Program::serve(&files.path("ringway.yaml"));
    wait_for("the epoch that was kept", || again.http().get("/v1/topology").ok()["epoch"] == 2);
}
