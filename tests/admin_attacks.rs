//! The control plane under attack: strangers, floods, dawdlers. Nothing changes, nothing is told, and the clients of the
//! proxy do not feel it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::Http;
use crate::support::program::{Files, Program};
use crate::support::{Cluster, RawClient, RedisServer, wait_for};

const TOKEN: &str = "full-7Hq2vXw9";
const READ_TOKEN: &str = "read-3Mz8kLp5";
const NODE_PASSWORD: &str = "node-5Tb1cRd6";

/// A program with both tokens and a listener for metrics.
struct Attacked {
    program: Program,
    _servers: Vec<RedisServer>,
    _files: Files,
}

impl Attacked {
    fn start(admin: &str) -> Self {
        let servers: Vec<RedisServer> = (0..2).map(|_| RedisServer::start()).collect();
        let nodes: String = servers
            .iter()
            .zip(1..)
            .map(|(server, n)| format!("  - {{name: cache-{n}, address: '{}'}}\n", server.address()))
            .collect();
        let text = format!(
            "listen: 127.0.0.1:0\nadmin: {{listen: '127.0.0.1:0'{admin}}}\n\
             timeouts: {{connect: 5s, operation: 10s}}\nnodes:\n{nodes}"
        );
        let files = Files::new(&[("ringway.yaml", &text)]);
        let program = Program::serve(&files.path("ringway.yaml"));
        let mut client = program.client();
        wait_for("the nodes", || {
            (0..30).all(|n| client.call(&["DEL", &format!("warm:{n}")]).starts_with(b":"))
        });
        Self { program, _servers: servers, _files: files }
    }

    fn with_tokens() -> Self {
        Self::start(&format!(", token: {TOKEN}, read_token: {READ_TOKEN}, metrics_listen: '127.0.0.1:0'"))
    }

    fn bearing(&self, token: &str) -> Http {
        self.program.http().header("Authorization", &format!("Bearer {token}"))
    }

    fn epoch(&self, http: &Http) -> u64 {
        http.get("/v1/topology").ok()["epoch"].as_u64().expect("an epoch")
    }

    /// What the metrics count for `ringway_admin_refused_total{reason=…}`.
    fn refused(&self, reason: &str) -> u64 {
        let text = self.program.metrics().get("/metrics").text;
        let name = format!("ringway_admin_refused_total{{reason=\"{reason}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name)).expect("counted");
        line.parse().expect("a number")
    }

    /// The lines of the log about changes, as JSON.
    fn audit(&self) -> Vec<Value> {
        let log = self.program.log();
        let lines = log.lines().filter(|line| line.contains("\"call\""));
        lines.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

/// Every call that can change the topology, with a body it would take.
fn changes() -> Vec<(&'static str, &'static str, Value)> {
    let node = json!({"name": "cache-9", "address": "127.0.0.1:9"});
    vec![
        ("PUT", "/v1/topology", json!({"nodes": [node]})),
        ("POST", "/v1/nodes", node.clone()),
        ("POST", "/v1/nodes?dry_run=true", node),
        ("PATCH", "/v1/nodes/cache-1", json!({"weight": 7})),
        ("DELETE", "/v1/nodes/cache-1", json!({})),
        ("POST", "/v1/topology/rollback", json!({})),
    ]
}

#[test]
fn g1_wrong_tokens_are_refused_counted_and_told_once() {
    let attacked = Attacked::with_tokens();
    let started = Instant::now();
    let mut tries = 0;
    let mut stream = TcpStream::connect(attacked.program.http().address()).expect("connect");
    for round in 0..1000 {
        let wrong = match round % 4 {
            0 => format!("GET /v1/topology?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            1 => format!(
                "GET /v1/topology HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}{round}\r\n\r\n"
            ),
            2 => format!("GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {TOKEN}\r\n\r\n"),
            _ => "DELETE /v1/nodes/cache-1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n"
                .to_owned(),
        };
        stream.write_all(wrong.as_bytes()).expect("send");
        assert_eq!(status(&mut stream), 401, "{wrong}");
        tries += 1;
    }
    println!("{tries} wrong tokens refused within {:?}", started.elapsed());
    assert_eq!(attacked.refused("token"), tries);
    let log = attacked.program.log();
    let told = log.lines().filter(|line| line.contains("no valid token")).count() as u64;
    assert!((1..=2 + started.elapsed().as_secs() / 10).contains(&told), "{told} lines: {log}");
    assert!(!log.contains(TOKEN), "{log}");
    assert_eq!(attacked.audit(), Vec::<Value>::new(), "a stranger gets no line of its own");
    assert_eq!(attacked.epoch(&attacked.bearing(TOKEN)), 1);
}

/// The status of the next answer on a connection, whose body is read as well.
fn status(stream: &mut TcpStream) -> u16 {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.trim().parse::<usize>().expect("a number"));
    stream.read_exact(&mut vec![0; length]).expect("a body");
    head[9..12].parse().expect("a status")
}

#[test]
fn g1_the_read_token_looks_and_plans_and_changes_nothing() {
    let attacked = Attacked::with_tokens();
    let reader = attacked.bearing(READ_TOKEN);
    for path in
        ["/v1/topology", "/v1/topology/history", "/v1/route?key=k", "/v1/stats?details=true", "/metrics"]
    {
        assert_eq!(reader.get(path).status, 200, "{path}");
    }
    let add = json!({"add": [{"name": "cache-9", "address": "127.0.0.1:9"}]});
    assert_eq!(reader.json("POST", "/v1/topology/plan", &add).ok()["to_epoch"], 2);
    let calls = changes();
    for (method, path, body) in &calls {
        let why = reader.json(method, path, body).refused(403);
        assert!(why.contains("not change"), "{why}");
    }
    assert_eq!(attacked.epoch(&reader), 1);
    assert_eq!(attacked.refused("rights"), calls.len() as u64);
    let audit = attacked.audit();
    assert_eq!(audit.len(), calls.len(), "{audit:?}");
    for line in &audit {
        assert_eq!(
            (&line["token"], &line["status"], &line["code"]),
            (&json!("read_token"), &json!(403), &json!("read_only"))
        );
    }
    assert_eq!(attacked.bearing(TOKEN).json("PATCH", "/v1/nodes/cache-1", &json!({"weight": 2})).status, 200);
}

#[test]
fn g1_every_change_that_was_tried_has_one_line_and_no_secret() {
    let attacked = Attacked::with_tokens();
    let full = attacked.bearing(TOKEN);
    let weight = json!({"weight": 2});
    full.json("PATCH", "/v1/nodes/cache-1", &json!({"weight": 2, "password": NODE_PASSWORD})).ok();
    full.clone().header("If-Match", "\"1\"").json("PATCH", "/v1/nodes/cache-1", &weight).refused(412);
    full.json("DELETE", "/v1/nodes/cache-7", &json!({})).refused(404);
    full.json("PATCH", "/v1/nodes/cache-1", &json!({"weight": 0})).refused(422);
    full.json("PATCH", &format!("/v1/nodes/cache-1?password={NODE_PASSWORD}"), &weight).refused(400);
    full.json("PATCH", "/v1/nodes/cache-1", &json!({"password": [NODE_PASSWORD]})).refused(400);
    full.json("POST", "/v1/nodes?dry_run=true", &json!({"name": "c", "address": "127.0.0.1:9"})).ok();
    full.json("POST", "/v1/topology/plan", &json!({"remove": ["cache-1"]})).ok();
    full.json("POST", "/v1/topology/rollback", &json!({})).ok();
    attacked.program.wait_logged("rollback");
    let audit = attacked.audit();
    let of = |line: &Value| {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        (text("call"), text("result"), line["from_epoch"].as_u64(), line["to_epoch"].as_u64(), text("code"))
    };
    let line = |call: &str, result: &str, from, to, code: &str| {
        (call.to_owned(), result.to_owned(), Some(from), Some(to), code.to_owned())
    };
    let expected = [
        line("PATCH /v1/nodes/cache-1", "done", 1, 2, ""),
        line("PATCH /v1/nodes/cache-1", "refused", 2, 2, "epoch_changed"),
        line("DELETE /v1/nodes/cache-7", "refused", 2, 2, "unknown_node"),
        line("PATCH /v1/nodes/cache-1", "refused", 2, 2, "bad_topology"),
        line("PATCH /v1/nodes/cache-1", "refused", 2, 2, "bad_request"),
        line("PATCH /v1/nodes/cache-1", "refused", 2, 2, "bad_request"),
        line("POST /v1/topology/rollback", "done", 2, 3, ""),
    ];
    assert_eq!(audit.iter().map(of).collect::<Vec<_>>(), expected, "plans change nothing and have no line");
    for line in &audit {
        assert_eq!(line["token"], "token", "{line}");
        let peer: SocketAddr = line["peer"].as_str().expect("a peer").parse().expect("an address");
        assert!(peer.ip().is_loopback());
    }
    let log = attacked.program.log();
    for secret in [TOKEN, READ_TOKEN, NODE_PASSWORD] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn g2_strangers_from_browsers_are_refused_before_any_handler() {
    let attacked = Attacked::start(", metrics_listen: '127.0.0.1:0'");
    let http = attacked.program.http();
    let node = json!({"name": "cache-9", "address": "127.0.0.1:9"});
    for (name, value, code) in [
        ("Host", "evil.example", "foreign_host"),
        ("Host", "127.0.0.1.evil.example:9380", "foreign_host"),
        ("Origin", "http://evil.example", "foreign_origin"),
        ("Origin", "null", "foreign_origin"),
    ] {
        let answer = http.clone().header(name, value).json("POST", "/v1/nodes", &node);
        answer.refused(403);
        assert_eq!(answer.json()["error"]["code"], code, "{name}: {value}");
    }
    let plain =
        http.clone().header("Content-Type", "text/plain").send("POST", "/v1/nodes", Some(node.to_string()));
    plain.refused(415);
    assert_eq!((attacked.refused("host"), attacked.refused("origin")), (2, 2));
    assert_eq!(attacked.epoch(&http), 1);
    let audit = attacked.audit();
    assert_eq!(audit.len(), 1, "{audit:?}");
    assert_eq!((&audit[0]["code"], &audit[0]["token"]), (&json!("not_json"), &json!("none")));
}

#[test]
fn g1_the_listener_for_metrics_answers_nothing_else() {
    let attacked = Attacked::with_tokens();
    let metrics = attacked.program.metrics();
    assert!(metrics.get("/metrics").text.contains("ringway_topology_epoch 1"));
    assert_eq!(metrics.clone().header("Host", "ringway.internal").get("/healthz").status, 200);
    assert_eq!(metrics.get("/readyz").status, 200);
    metrics.get("/v1/topology").refused(404);
    for (method, path, body) in changes() {
        metrics
            .clone()
            .header("Authorization", &format!("Bearer {TOKEN}"))
            .json(method, path, &body)
            .refused(404);
    }
    metrics.json("POST", "/metrics", &json!({})).refused(405);
    assert_eq!(attacked.program.http().get("/metrics").status, 401, "the other one still asks for the token");
}

/// How long each of many commands took, over connections that are opened anew now and then.
fn commands(program: &Program, rounds: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        // the first one's time is that of its connection too
        let mut started = Instant::now();
        let mut client = program.client();
        for n in 0..50 {
            assert_eq!(client.call(&["SET", &format!("flood:{n}"), "v"]), b"+OK\r\n");
            times.push(started.elapsed());
            started = Instant::now();
        }
    }
    times.sort_unstable();
    times
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() - 1) * percent / 100]
}

#[test]
fn g3_a_flood_of_the_control_plane_is_not_felt_by_clients() {
    let attacked = Attacked::with_tokens();
    let address = attacked.program.http().address();
    let calm = commands(&attacked.program, 20);

    // more connections than there is room for, each with half a head
    let slow: Vec<TcpStream> = (0..1000)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("connect");
            // one that was closed at once is what the rest are about
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc");
            stream
        })
        .collect();
    let opened = Instant::now();
    let flooded = commands(&attacked.program, 20);
    assert_eq!(attacked.program.metrics().get("/healthz").status, 200, "health has a listener of its own");
    // how many, depends on how many had come when the first of them ran out of time
    assert!(attacked.refused("connections") > 0);
    slow.into_iter().for_each(closed);
    println!(
        "clients' p99: {:?} in calm, {:?} under 1,000 slow connections, which were gone after {:?}",
        percentile(&calm, 99),
        percentile(&flooded, 99),
        opened.elapsed()
    );
    assert!(percentile(&flooded, 99) < Duration::from_secs(1), "{:?}", percentile(&flooded, 99));
    assert_eq!(attacked.epoch(&attacked.bearing(TOKEN)), 1, "the control plane is back");
}

/// Waits until the other end has closed, in order or not.
fn closed(mut stream: TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
    let mut sink = Vec::new();
    if let Err(error) = stream.read_to_end(&mut sink) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "not closed");
    }
}

#[test]
fn g3_an_operator_is_served_at_once_while_a_thousand_dawdle() {
    let attacked = Attacked::start(", metrics_listen: '127.0.0.1:0'");
    let address = attacked.program.http().address();
    // half a head, and a head with half a body
    let body = "POST /v1/topology/plan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{";
    let beginnings = ["GET /healthz HTTP/1.1\r\nHost: loc", body];
    let dawdle = |at: usize| {
        let mut stream = TcpStream::connect(address).expect("connect");
        // it may have been closed already for one that came later
        let _ = stream.write_all(beginnings[at % 2].as_bytes());
        stream
    };
    let mut slow: Vec<TcpStream> = (0..1000).map(dawdle).collect();
    let mut times = Vec::new();
    for round in 0..50 {
        let started = Instant::now();
        // a connection of its own for each, like a script that calls curl
        assert_eq!(Http::new(address).get("/v1/topology").status, 200, "round {round}");
        times.push(started.elapsed());
        slow.extend((0..10).map(dawdle));
    }
    times.sort_unstable();
    println!(
        "g3: an operator was answered after {:?} (p50), {:?} (longest) beside a thousand who dawdle",
        percentile(&times, 50),
        percentile(&times, 100)
    );
    assert!(percentile(&times, 50) < Duration::from_secs(1), "{times:?}");
    assert!(attacked.refused("connections") >= 1000 - 256);
    slow.into_iter().for_each(closed);
}

#[test]
fn g3_huge_and_deep_bodies_are_refused_and_the_clients_go_on() {
    let attacked = Attacked::with_tokens();
    let address = attacked.program.http().address();
    let mut client: RawClient = attacked.program.client();
    let head = |length: &str| {
        format!(
            "PUT /v1/topology HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\n{length}\r\n\r\n"
        )
    };
    // 100 MB, announced and in chunks: refused long before it has come
    for length in ["Content-Length: 104857600", "Transfer-Encoding: chunked"] {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.write_all(head(length).as_bytes()).expect("send");
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        let mut sent = 0;
        while sent < 100 << 20 && stream.write_all(chunk.as_bytes()).is_ok() {
            sent += chunk.len();
            if sent % (1 << 20) < chunk.len() {
                assert_eq!(client.call(&["SET", "k", "v"]), b"+OK\r\n");
            }
        }
        assert!(sent < 32 << 20, "{length}: {sent} bytes were taken");
    }
    let full = attacked.bearing(TOKEN);
    for (what, deep) in [
        ("arrays", "[".repeat(500_000)),
        ("objects", r#"{"a":"#.repeat(200_000)),
        ("closed", format!("{{\"nodes\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000))),
    ] {
        let answer =
            full.clone().header("Content-Type", "application/json").send("PUT", "/v1/topology", Some(deep));
        let why = answer.refused(400);
        assert!(why.len() < 300, "{what}: {why}");
        assert_eq!(client.call(&["SET", "k", "v"]), b"+OK\r\n");
    }
    assert_eq!(attacked.epoch(&full), 1);
    assert!(!attacked.program.log().contains("panicked"));
}

#[test]
fn g3_a_refusal_before_the_body_has_come_says_that_the_connection_ends() {
    let cluster = Cluster::start(1).with_admin();
    let address = cluster.http().address();
    let mut client = RawClient::connect(address);
    let head = format!(
        "PATCH /v1/nodes/cache-1 HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\n"
    );
    client.send(head.as_bytes());
    let answer = String::from_utf8(client.rest()).expect("a text").to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 415 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
}
