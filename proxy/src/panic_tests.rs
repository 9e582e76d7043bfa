//! Defects, planted: what a panic may take with it and what not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::Proxy;
use crate::resp::Args;
use crate::resp::request::{RequestBounds, RequestScanner, Scan};
use crate::settings::{NodeSpec, Settings};
use crate::stats::ClosedFor;

/// In a test build this text, as an argument or in a reply, is a defect where it is met.
const DEFECT: &[u8] = b"a planted defect";

pub(crate) fn panic_if_asked(bytes: &[u8]) {
    assert!(!bytes.windows(DEFECT.len()).any(|window| window == DEFECT), "planted");
}

/// A node that answers GET with the key itself and anything else as a greeting needs it.
fn node() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let (mut buffer, mut chunk) = (Vec::new(), [0; 4096]);
    let bounds = RequestBounds { authenticated: true, command_bytes: usize::MAX };
    while let Ok(len @ 1..) = stream.read(&mut chunk) {
        buffer.extend_from_slice(&chunk[..len]);
        let mut spans = Vec::new();
        while let Ok(Scan::Request(len)) = RequestScanner::default().scan(&buffer, bounds, &mut spans) {
            let args = Args::new(&buffer[..len], &spans);
            let argument = |at: usize| args.get(at).unwrap_or_default();
            let values: Vec<&[u8]> = args.iter().skip(1).collect();
            let reply = match argument(0).to_ascii_uppercase().as_slice() {
                b"PING" => b"+PONG\r\n".to_vec(),
                b"CLIENT" => b":1\r\n".to_vec(),
                b"MGET" => [format!("*{}\r\n", values.len()).into_bytes(), bulks(&values)].concat(),
                b"GET" => bulks(&values),
                _ => b"+OK\r\n".to_vec(),
            };
            stream.write_all(&reply).unwrap();
            buffer.drain(..len);
        }
    }
}

fn bulks(values: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| crate::resp::encode::bulk(&mut out, value));
    out
}

struct Rig {
    runtime: tokio::runtime::Runtime,
    proxy: Proxy,
}

/// One worker, so that all clients share everything that can be shared, and two nodes.
fn rig() -> Rig {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let nodes = ["a", "b"].map(|name| NodeSpec::new(name, node().to_string()));
    let mut settings = Settings { threads: 1, ..Settings::new(nodes.to_vec()) };
    settings.timeouts.connect = Duration::from_secs(5);
    settings.timeouts.operation = Duration::from_secs(10);
    let proxy = runtime.block_on(Proxy::start(settings)).unwrap();
    Rig { runtime, proxy }
}

impl Rig {
    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.proxy.local_addr()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    fn failed_within(&self, time: Duration) -> Option<&'static str> {
        self.runtime.block_on(async { tokio::time::timeout(time, self.proxy.failed()).await.ok() })
    }
}

fn ask(client: &mut TcpStream, command: &str, expected: &str) {
    client.write_all(command.as_bytes()).unwrap();
    let mut reply = vec![0; expected.len()];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(String::from_utf8_lossy(&reply), expected, "{command}");
}

/// Keys enough that both nodes are asked.
fn mget(first: &str) -> (String, String) {
    let keys: Vec<String> =
        std::iter::once(first.to_owned()).chain((0..20).map(|n| format!("k{n}"))).collect();
    let values: String = keys.iter().map(|key| format!("${}\r\n{key}\r\n", key.len())).collect();
    let command = format!("*{}\r\n$4\r\nMGET\r\n{values}", keys.len() + 1);
    (command, format!("*{}\r\n{values}", keys.len()))
}

#[test]
fn e5_a_panic_in_one_clients_task_closes_that_client_alone() {
    let rig = rig();
    let (mut neighbour, (command, expected)) = (rig.client(), mget("first"));
    ask(&mut neighbour, &command, &expected);
    let defect = String::from_utf8_lossy(DEFECT).into_owned();
    // when it answers by itself, and between the parts of a command for two nodes
    let plants = [format!("ECHO \"{defect}\"\r\n"), mget(&defect).0];
    for (plant, times) in plants.iter().zip(1..) {
        let mut unlucky = rig.client();
        ask(&mut unlucky, "GET before\r\n", "$6\r\nbefore\r\n");
        unlucky.write_all(plant.as_bytes()).unwrap();
        assert_eq!(unlucky.read_to_end(&mut Vec::new()).unwrap_or(0), 0, "closed");
        for _ in 0..3 {
            ask(&mut neighbour, &command, &expected);
            ask(&mut neighbour, "GET after\r\n", "$5\r\nafter\r\n");
        }
        let snapshot = rig.proxy.control().snapshot();
        assert_eq!(snapshot.client_connections, 1, "the books are in order");
        assert_eq!(snapshot.closed[ClosedFor::Panic as usize], times);
        ask(&mut rig.client(), "GET new\r\n", "$3\r\nnew\r\n");
    }
    assert_eq!(rig.failed_within(Duration::from_millis(10)), None, "nothing that is shared has failed");
}

#[test]
fn e5_a_panic_in_what_clients_share_is_told_to_whoever_runs_the_proxy() {
    let rig = rig();
    let mut client = rig.client();
    ask(&mut client, "GET before\r\n", "$6\r\nbefore\r\n");
    // the defect comes back in the node's reply
    client.write_all(format!("GET \"{}\"\r\n", String::from_utf8_lossy(DEFECT)).as_bytes()).unwrap();
    assert_eq!(rig.failed_within(Duration::from_secs(20)), Some("a connection to a node"));
}
