//! Real servers and the proxy in front of them, in one line, and everything gone when dropped.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringway_admin::{Admin, AdminSettings};
use ringway_proxy::Proxy;
use ringway_proxy::control::{ApplyError, Change, Control};
use ringway_proxy::listen::Endpoint;
use ringway_proxy::settings::{NearCacheSettings, NodeSpec, Settings, TopologySpec};
use ringway_proxy::stats::{NodeSnapshot, NodeState};
use tokio::runtime::Runtime;

use super::http::Http;
use super::raw_client::{PATIENCE, RawClient};
use super::redis_server::RedisServer;
use super::tls;

/// One proxy in this process, and its control plane when asked for.
pub(crate) struct Harness {
    runtime: Runtime,
    proxy: Option<Proxy>,
    admin: Option<Admin>,
    control: Control,
}

impl Harness {
    /// A proxy in front of nodes that may be anything.
    pub(crate) fn start(mut settings: Settings) -> Self {
        if let Some(everywhere) = &*tls::EVERYWHERE {
            settings.node_tls.get_or_insert_with(|| everywhere.authority.node_tls());
            settings.tls.get_or_insert_with(|| everywhere.authority.socket());
            over_tls(&mut settings.topology.nodes);
        }
        // in every test answers are kept at once: set by hand
        if std::env::var_os("RINGWAY_TEST_NEAR_CACHE").is_some() {
            let keeping = NearCacheSettings { hot_reads: 1, ..NearCacheSettings::default() };
            settings.near_cache.get_or_insert(keeping);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let proxy = runtime.block_on(Proxy::start(settings)).expect("the proxy starts");
        let control = proxy.control();
        Self { runtime, proxy: Some(proxy), admin: None, control }
    }

    /// A proxy in front of `(name, address)` pairs that waits long for them.
    pub(crate) fn in_front_of(nodes: &[(&str, String)]) -> Self {
        Self::start(patient(named(nodes)))
    }

    /// As [`Harness::in_front_of`] with the product's own timeouts, for nodes that are to be given up.
    pub(crate) fn hasty(nodes: &[(&str, String)]) -> Self {
        Self::start(Settings::new(named(nodes)))
    }

    /// Starts the control plane beside it, on a free loopback port.
    pub(crate) fn with_admin(self) -> Self {
        self.with_admin_settings(AdminSettings { listen: "127.0.0.1:0".into(), ..AdminSettings::default() })
    }

    /// As [`Harness::with_admin`] with settings of one's own.
    pub(crate) fn with_admin_settings(mut self, settings: AdminSettings) -> Self {
        let admin = self.runtime.block_on(Admin::start(settings, self.control.clone()));
        self.admin = Some(admin.expect("the control plane starts"));
        self
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.control.local_addr()
    }

    /// The handle for changes.
    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// Applies a list of nodes as the next topology.
    pub(crate) fn apply(&self, mut nodes: Vec<NodeSpec>) -> Change {
        over_tls(&mut nodes);
        let spec = TopologySpec { ring: self.control.topology().spec().ring.clone(), nodes };
        self.runtime.block_on(self.control.apply(spec, None, "test")).expect("the topology is applied")
    }

    /// As [`Harness::apply`]; the keys move.
    pub(crate) fn apply_and_move(&self, mut nodes: Vec<NodeSpec>) -> Result<Change, ApplyError> {
        over_tls(&mut nodes);
        let spec = TopologySpec { ring: self.control.topology().spec().ring.clone(), nodes };
        self.runtime.block_on(self.control.apply_and_move(spec, None, "test"))
    }

    /// Waits until no key is on its way.
    pub(crate) fn wait_moved(&self) {
        wait_for("all keys to have moved", || self.control.topology().former().is_none());
    }

    /// The HTTP side.
    pub(crate) fn http(&self) -> Http {
        Http::new(self.admin.as_ref().expect("started with_admin").local_addr())
    }

    /// A raw client connection.
    pub(crate) fn client(&self) -> RawClient {
        match &*tls::EVERYWHERE {
            Some(everywhere) => {
                let tls =
                    self.control.endpoints().iter().find(|endpoint| matches!(endpoint, Endpoint::Tls(_)));
                let address = tls.and_then(Endpoint::network).expect("it listens for TLS");
                tls::client(address, &everywhere.authority.client(None, false))
            }
            None => RawClient::connect(self.address()),
        }
    }

    /// A raw client that speaks RESP3.
    pub(crate) fn client3(&self) -> RawClient {
        let mut client = self.client();
        assert!(client.call(&["HELLO", "3"]).starts_with(b"%"), "HELLO 3 answers a map");
        client
    }

    /// A redis-rs connection; `protocol` is 2 or 3.
    pub(crate) fn connection(&self, protocol: u8) -> redis::Connection {
        let query = if protocol == 3 { "?protocol=resp3" } else { "" };
        let client = redis::Client::open(format!("redis://{}/{query}", self.address())).expect("a URL");
        client.get_connection().expect("redis-rs connects with its default handshake")
    }

    /// The name of the node that owns `key` now.
    pub(crate) fn owner(&self, key: impl AsRef<[u8]>) -> String {
        let topology = self.control.topology();
        let index = topology.owner(key.as_ref()).home();
        topology.node(index).expect("an owner is a node").name.clone()
    }

    /// Keys `{prefix}0`, `{prefix}1`, … that `node` owns now.
    pub(crate) fn keys_of<'a>(&'a self, node: &'a str, prefix: &'a str) -> impl Iterator<Item = String> + 'a {
        (0u32..).map(move |n| format!("{prefix}{n}")).filter(move |key| self.owner(key) == node)
    }

    /// One key that `node` owns now.
    pub(crate) fn key_of(&self, node: &str) -> String {
        self.keys_of(node, "key:").next().expect("every node owns keys")
    }

    /// The figures of one node.
    pub(crate) fn node(&self, name: &str) -> NodeSnapshot {
        let snapshot = self.control.snapshot();
        snapshot.nodes.into_iter().find(|node| node.name == name).unwrap_or_else(|| panic!("no node {name}"))
    }

    /// Waits until a write to `node` succeeds; any worker's connection may be the one that is used.
    pub(crate) fn wait_usable(&self, node: &str) {
        let key = self.keys_of(node, "warm:").next().expect("every node owns keys");
        // several clients, so that every worker has a connection to the node before the test goes on
        let mut clients: Vec<RawClient> = (0..2 * self.control.threads()).map(|_| self.client()).collect();
        wait_for(&format!("{node} to be usable"), || {
            clients.iter_mut().all(|client| client.call(&["DEL", &key]).starts_with(b":"))
        });
    }

    /// Waits until a node is seen in a state.
    pub(crate) fn wait_state(&self, node: &str, state: NodeState) {
        wait_for(&format!("{node} to be {}", state.label()), || self.node(node).state == state);
    }

    /// Stops accepting, lets commands end, stops.
    pub(crate) fn drain(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            self.runtime.block_on(proxy.drain());
        }
    }

    /// Runs a future on the harness's runtime.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// Real servers named `cache-1`, `cache-2`, … and a proxy in front of them.
pub(crate) struct Cluster {
    /// The proxy; declared first, so that it goes before its nodes.
    pub(crate) harness: Harness,
    /// The servers in the order of their names.
    pub(crate) nodes: Vec<RedisServer>,
}

impl std::ops::Deref for Cluster {
    type Target = Harness;

    fn deref(&self) -> &Harness {
        &self.harness
    }
}

impl Cluster {
    /// `count` servers and the proxy, all in use.
    pub(crate) fn start(count: usize) -> Self {
        Self::start_with(count, |_| {})
    }

    /// As [`Cluster::start`] with settings changed by `change`.
    pub(crate) fn start_with(count: usize, change: impl FnOnce(&mut Settings)) -> Self {
        let nodes: Vec<RedisServer> = (0..count).map(|_| RedisServer::start()).collect();
        let mut settings = patient(specs(&nodes));
        change(&mut settings);
        let open_to_all = settings.first_users().lets_everybody_in();
        let cluster = Self { harness: Harness::start(settings), nodes };
        if open_to_all {
            cluster.wait_all();
        }
        cluster
    }

    /// Waits until every node is usable.
    pub(crate) fn wait_all(&self) {
        for at in 0..self.nodes.len() {
            self.wait_usable(&node_name(at));
        }
    }

    /// Adds the control plane.
    pub(crate) fn with_admin(self) -> Self {
        Self { harness: self.harness.with_admin(), nodes: self.nodes }
    }

    /// The server of this name.
    pub(crate) fn server(&self, name: &str) -> &RedisServer {
        &self.nodes[node_index(name)]
    }

    /// The server of this name, to be killed or restarted.
    pub(crate) fn server_mut(&mut self, name: &str) -> &mut RedisServer {
        &mut self.nodes[node_index(name)]
    }
}

/// With TLS everywhere: nodes that are real servers are reached over it.
fn over_tls(nodes: &mut [NodeSpec]) {
    if let Some(everywhere) = &*tls::EVERYWHERE {
        for node in nodes {
            node.address = everywhere.address(&node.address).unwrap_or_else(|| node.address.clone());
        }
    }
}

pub(crate) fn named(nodes: &[(&str, String)]) -> Vec<NodeSpec> {
    nodes.iter().map(|(name, address)| NodeSpec::new(*name, address.clone())).collect()
}

/// Settings with timeouts that a busy machine does not run into. Tests of the timeouts set their own.
pub(crate) fn patient(nodes: Vec<NodeSpec>) -> Settings {
    let mut settings = Settings::new(nodes);
    settings.timeouts.connect = Duration::from_secs(5);
    settings.timeouts.operation = Duration::from_secs(10);
    settings
}

/// `cache-1` for 0.
pub(crate) fn node_name(at: usize) -> String {
    format!("cache-{}", at + 1)
}

fn node_index(name: &str) -> usize {
    name.trim_start_matches("cache-").parse::<usize>().expect("cache-N") - 1
}

/// Specifications of weight 1 for servers, named by their place.
pub(crate) fn specs(nodes: &[RedisServer]) -> Vec<NodeSpec> {
    nodes.iter().enumerate().map(|(at, node)| NodeSpec::new(node_name(at), node.address())).collect()
}

/// Tells threads to stop when it is dropped.
pub(crate) struct StopAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits for a condition with the patience of all tests.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < limit, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
