//! `--demo`: asks for every product once per phase, one request after the other, and prints what it measured.
//!
//! In the middle a fourth node joins through the admin API. Its part of the keys misses once and is filled again: a
//! ring change costs a cache misses, not errors. At the end the node leaves and the ring is as it was.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::shop::PRODUCTS;
use super::{Failure, Flags};

const NODE: &str = "cache-demo";

pub(crate) fn run(flags: &Flags, service: SocketAddr) -> Result<(), Failure> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)));
    let agent: ureq::Agent = config.build().into();
    let site = Site { agent: agent.clone(), base: format!("http://{service}/products") };
    let ring = Ring { agent, base: flags.admin.trim_end_matches('/').to_owned(), token: flags.token.clone() };
    let topology = ring.call("GET", "/v1/topology", None)?;
    println!("ring: {} nodes, epoch {}", topology["nodes"].as_array().map_or(0, Vec::len), topology["epoch"]);

    println!("\n{:<34} {:>9} {:>7} {:>7} {:>9} {:>9}", "phase", "requests", "hits", "down", "median", "99 %");
    site.phase("cold")?;
    site.phase("warm")?;

    let server = match &flags.add_node {
        Some(address) => Server { address: address.clone(), process: None },
        None => Server::start()?,
    };
    let joined = Joined::join(&ring, &server.address)?;
    site.phase("right after a node has joined")?;
    site.phase("once more")?;
    drop(joined);
    site.phase("right after it has left")?;

    site.check_invalidation()?;
    Ok(())
}

/// The web service as a visitor sees it.
struct Site {
    agent: ureq::Agent,
    base: String,
}

impl Site {
    /// The product and where its page came from.
    fn get(&self, id: i64) -> Result<(Value, String), Failure> {
        let mut answer = self.agent.get(format!("{}/{id}", self.base)).call()?;
        let cache =
            answer.headers().get("x-cache").and_then(|label| label.to_str().ok()).unwrap_or("").to_owned();
        if answer.status() != 200 {
            return Err(format!("product {id}: status {}", answer.status()).into());
        }
        Ok((answer.body_mut().read_json()?, cache))
    }

    fn phase(&self, name: &str) -> Result<(), Failure> {
        let (mut hits, mut down, mut times) = (0, 0, Vec::new());
        for id in 1..=PRODUCTS {
            let begin = Instant::now();
            let (_, cache) = self.get(id)?;
            times.push(begin.elapsed());
            hits += u32::from(cache == "hit");
            down += u32::from(cache == "down");
        }
        times.sort();
        let milliseconds = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        let ratio = f64::from(hits) * 100.0 / times.len() as f64;
        let (median, slow) = (milliseconds(50), milliseconds(99));
        println!("{name:<34} {:>9} {ratio:>5.1} % {down:>7} {median:>6.2} ms {slow:>6.2} ms", times.len());
        Ok(())
    }

    /// A write is seen by the next read.
    fn check_invalidation(&self) -> Result<(), Failure> {
        self.agent.put(format!("{}/1", self.base)).send_json(json!({"price_cents": 4242}))?;
        let (first, second) = (self.get(1)?, self.get(1)?);
        println!("\nafter a write: {} with price {}, then {}", first.1, first.0["price_cents"], second.1);
        Ok(())
    }
}

/// Ringway's admin API.
#[derive(Clone)]
struct Ring {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl Ring {
    fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        if !text.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let mut answer = self.agent.run(request.body(text)?).map_err(|error| {
            format!(
                "{}: {error}; start Ringway with `make up`, or name its admin API with --admin",
                self.base
            )
        })?;
        let value: Value = answer.body_mut().read_json()?;
        match value["error"]["message"].as_str() {
            Some(message) => Err(format!("{method} {path}: {message}").into()),
            None => Ok(value),
        }
    }
}

/// The node is on the ring; it leaves when this is dropped, however the demo ends.
struct Joined(Ring);

impl Joined {
    fn join(ring: &Ring, address: &str) -> Result<Self, Failure> {
        let report = ring.call("POST", "/v1/nodes", Some(json!({"name": NODE, "address": address})))?;
        let (moved, least) = (&report["moved_percent"], &report["minimum_percent"]);
        println!(
            "-- {NODE} ({address}) joins: {moved} % of the key space moves to it, the least possible is {least} %"
        );
        Ok(Self(ring.clone()))
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        match self.0.call("DELETE", &format!("/v1/nodes/{NODE}"), None) {
            Ok(_) => {
                println!("-- {NODE} leaves: its keys go back to nodes that still hold what they held before")
            }
            Err(error) => eprintln!("{NODE} could not be removed again: {error}"),
        }
    }
}

/// A Redis server without persistence on a free port, stopped at the end.
struct Server {
    address: String,
    process: Option<Child>,
}

impl Server {
    fn start() -> Result<Self, Failure> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let arguments =
            ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let spawn = |program: &str| Command::new(program).args(arguments).stdout(Stdio::null()).spawn();
        let process = spawn("redis-server").or_else(|_| spawn("valkey-server"));
        let process = process
            .map_err(|_| "neither redis-server nor valkey-server on the path; give --add-node HOST:PORT")?;
        let server = Self { address: format!("127.0.0.1:{port}"), process: Some(process) };
        for _ in 0..100 {
            if TcpStream::connect(&server.address).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("the new Redis server does not answer".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
