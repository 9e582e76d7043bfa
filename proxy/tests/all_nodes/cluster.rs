//! Some redis-servers and a proxy in front of them, for one test.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;

use ringway_proxy::Proxy;
use ringway_proxy::control::Control;
use ringway_proxy::settings::{NodeSpec, Settings, TopologySpec};
use tokio::sync::oneshot;

use crate::command_server::{Connection, Server, Value};

/// The servers are called `node-0`, `node-1`, …; all ends when it is dropped.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Option<Server>>,
    pub(crate) control: Control,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Cluster {
    pub(crate) fn start(nodes: usize) -> Self {
        Self::start_with(nodes, |_| {})
    }

    pub(crate) fn start_with(nodes: usize, adjust: impl FnOnce(&mut Settings)) -> Self {
        let servers: Vec<Option<Server>> = (0..nodes).map(|_| Some(Server::start())).collect();
        let mut settings = Settings::new(specs(&servers));
        settings.threads = 1;
        adjust(&mut settings);
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let proxy = Proxy::start(settings).await.expect("the proxy starts");
                tell.send((proxy.control(), proxy.local_addr())).expect("the test waits");
                let _ = stopped.await;
            });
        });
        let (control, address) = told.recv().expect("the proxy starts");
        Self { servers, control, address, stop: Some(stop), thread: Some(thread) }
    }

    /// A RESP2 connection to the proxy.
    pub(crate) fn connect(&self) -> Connection {
        Connection::to(self.address)
    }

    /// One connection of each protocol to the proxy.
    pub(crate) fn both(&self) -> [Connection; 2] {
        [self.connect(), self.connect().resp3()]
    }

    /// A connection past the proxy.
    pub(crate) fn node(&self, index: usize) -> Connection {
        self.servers[index].as_ref().expect("alive").connect()
    }

    /// Ends a server.
    pub(crate) fn kill(&mut self, index: usize) {
        self.servers[index] = None;
    }

    /// Applies a topology of these nodes, in this order.
    pub(crate) fn apply(&self, nodes: Vec<NodeSpec>) {
        let spec = TopologySpec { ring: self.control.topology().spec().ring.clone(), nodes };
        runtime().block_on(self.control.apply(spec, None, "test")).expect("applied");
    }

    /// The nodes as the topology describes them now.
    pub(crate) fn specs(&self) -> Vec<NodeSpec> {
        self.control.topology().spec().nodes.clone()
    }

    /// Sets `key:0`, `key:1`, … through the proxy.
    pub(crate) fn fill(&self, count: usize) {
        let mut client = self.connect();
        let all: Vec<Vec<String>> =
            (0..count).map(|at| vec!["SET".into(), format!("key:{at}"), "v".into()]).collect();
        for some in all.chunks(500) {
            assert!(client.pipeline(some).iter().all(|reply| *reply == Value::Simple(b"OK".to_vec())));
        }
    }

    /// Waits until the proxy has noticed that a node is gone.
    pub(crate) fn wait_until_down(&self, name: &str) {
        for _ in 0..200 {
            let nodes = self.control.snapshot().nodes;
            if nodes.iter().any(|node| node.name == name && node.state.label() == "down") {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("{name} is not seen as down");
    }
}

/// Names and addresses of servers.
pub(crate) fn specs(servers: &[Option<Server>]) -> Vec<NodeSpec> {
    let alive = servers.iter().enumerate();
    alive
        .map(|(at, server)| NodeSpec::new(format!("node-{at}"), server.as_ref().expect("alive").address()))
        .collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}
