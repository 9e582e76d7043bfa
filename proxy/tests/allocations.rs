//! Commands cost no memory in steady state: a counting allocator around a running proxy.
//!
//! One worker, three real nodes in processes of their own, eight clients that send and receive through fixed
//! buffers. After a warm-up every allocation and reallocation of this process is counted, whichever thread makes it:
//! what is left are the worker's. What happens per tick and not per command (every 0.5 s the buffers of a client that
//! happens to be idle are given back) is allowed for by [`TOLERATED_PER_COMMAND`].
//!
//! One test only, so that no other thread of the test binary allocates.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ringway_proxy::Proxy;
use ringway_proxy::resp::encode;
use ringway_proxy::settings::{NodeSpec, Settings};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Room for buffers that grow when a busy machine makes larger batches; a single allocation per command would be two
/// hundred times as many.
const TOLERATED_PER_COMMAND: f64 = 0.005;
const NODES: usize = 3;
const CLIENTS: usize = 8;
const KEYS: usize = 64;
const VALUE_BYTES: usize = 64;
const WARM_UP_ROUNDS: usize = 200;
const ROUNDS: usize = 1000;

#[test]
fn commands_allocate_nothing_in_steady_state() {
    let nodes: Vec<Node> = (0..NODES).map(|_| Node::start()).collect();
    let address = start_proxy(&nodes);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(address)).collect();
    let keys: Vec<String> = (0..KEYS).map(|number| format!("key:{number:04}")).collect();
    let scenarios = scenarios(&keys);
    let setup = &scenarios[0];
    (0..KEYS).for_each(|_| clients[0].exchange(setup));
    let mut report = String::new();
    let mut worst: f64 = 0.0;
    for scenario in &scenarios {
        (0..WARM_UP_ROUNDS).for_each(|_| round(&mut clients, scenario));
        let region = Region::new(ALLOCATOR);
        (0..ROUNDS).for_each(|_| round(&mut clients, scenario));
        let change = region.change();
        let commands = (ROUNDS * CLIENTS * scenario.commands) as f64;
        let per_command = (change.allocations + change.reallocations) as f64 / commands;
        worst = worst.max(per_command);
        report += &format!(
            "{:<24} {commands:>8} commands, {:>6} allocations, {:>6} reallocations: {per_command:.5} per command\n",
            scenario.name, change.allocations, change.reallocations
        );
    }
    println!("{report}");
    assert!(worst <= TOLERATED_PER_COMMAND, "a command allocates:\n{report}");
}

/// Every client sends, then every client receives, so that the proxy has something of all of them at once.
fn round(clients: &mut [Client], scenario: &Scenario) {
    clients.iter_mut().for_each(|client| client.send(scenario));
    clients.iter_mut().for_each(|client| client.receive(scenario));
}

/// What each client sends in a round.
struct Scenario {
    name: &'static str,
    request: Vec<u8>,
    reply: Vec<u8>,
    commands: usize,
}

fn scenarios(keys: &[String]) -> Vec<Scenario> {
    let value = "v".repeat(VALUE_BYTES);
    let (mut ok, mut found) = (Vec::new(), Vec::new());
    encode::simple(&mut ok, "OK");
    encode::bulk(&mut found, value.as_bytes());
    let scenario = |name, commands: &[Vec<&str>], reply: Vec<u8>| Scenario {
        name,
        request: commands.iter().flat_map(|words| request(words)).collect(),
        reply,
        commands: commands.len(),
    };
    let gets: Vec<Vec<&str>> = keys.iter().map(|key| vec!["GET", key.as_str()]).collect();
    let sets: Vec<Vec<&str>> = keys.iter().map(|key| vec!["SET", key.as_str(), value.as_str()]).collect();
    let names = || keys[..10].iter().map(String::as_str);
    let mget: Vec<&str> = ["MGET"].into_iter().chain(names()).collect();
    let mset: Vec<&str> = ["MSET"].into_iter().chain(names().flat_map(|key| [key, value.as_str()])).collect();
    let exists: Vec<&str> = ["EXISTS"].into_iter().chain(names()).collect();
    let mut values = Vec::new();
    encode::array(&mut values, 10);
    values.extend(found.repeat(10));
    let mut mixed_reply = [ok.as_slice(), found.as_slice(), values.as_slice(), b":10\r\n"].concat();
    mixed_reply.extend_from_slice(b"+PONG\r\n");
    vec![
        scenario("SET pipelined", &sets, ok.repeat(KEYS)),
        scenario("SET", &sets[..1], ok.clone()),
        scenario("GET", &gets[..1], found.clone()),
        scenario("GET pipelined", &gets, found.repeat(KEYS)),
        scenario("MGET of 10 keys", std::slice::from_ref(&mget), values.clone()),
        scenario("MGET pipelined", &vec![mget.clone(); 16], values.repeat(16)),
        scenario("MSET of 10 keys", &[mset], ok.clone()),
        scenario("EXISTS of 10 keys", std::slice::from_ref(&exists), b":10\r\n".to_vec()),
        scenario("PING", &[vec!["PING"]], b"+PONG\r\n".to_vec()),
        scenario(
            "mixed, pipelined",
            &[sets[1].clone(), gets[2].clone(), mget, exists, vec!["PING"]],
            mixed_reply,
        ),
    ]
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode::array(&mut frame, words.len());
    words.iter().for_each(|word| encode::bulk(&mut frame, word.as_bytes()));
    frame
}

/// Sends and receives without allocating.
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the proxy listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket option");
        Self { stream, received: vec![0; 64 * 1024] }
    }

    fn send(&mut self, scenario: &Scenario) {
        self.stream.write_all(&scenario.request).expect("the proxy takes the commands");
    }

    fn receive(&mut self, scenario: &Scenario) {
        let reply = &mut self.received[..scenario.reply.len()];
        self.stream.read_exact(reply).expect("the proxy replies");
        assert!(*reply == scenario.reply, "{}: another reply than expected", scenario.name);
    }

    fn exchange(&mut self, scenario: &Scenario) {
        self.send(scenario);
        self.receive(scenario);
    }
}

/// A proxy with one worker on threads of its own.
fn start_proxy(nodes: &[Node]) -> SocketAddr {
    let node = |(number, node): (usize, &Node)| {
        NodeSpec::new(format!("node{number}"), format!("127.0.0.1:{}", node.port))
    };
    let mut settings = Settings::new(nodes.iter().enumerate().map(node).collect());
    settings.threads = 1;
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let proxy = Proxy::start(settings).await.expect("a proxy");
            tell.send(proxy.local_addr()).expect("the test waits");
            std::future::pending::<()>().await;
        });
    });
    told.recv().expect("the proxy has started")
}

/// A redis-server on a free port, killed when dropped.
struct Node {
    child: Child,
    port: u16,
}

impl Node {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let spawn = |program| {
            let mut command = Command::new(program);
            command.args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--port",
                &port.to_string(),
            ]);
            command.current_dir(std::env::temp_dir()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        };
        let child = spawn("redis-server").or_else(|_| spawn("valkey-server"));
        let child = child.expect("redis-server is missing; install it: `apt-get install redis-server`");
        let node = Self { child, port };
        for _ in 0..400 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return node;
            }
            thread::sleep(Duration::from_millis(25));
        }
        panic!("no redis-server came up on port {port}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
