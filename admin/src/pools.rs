//! Connections of the control plane to the nodes: a small pool for each, opened on demand, closed when idle.
//!
//! They carry `DBSIZE`, `SCAN` and `INFO` and nothing else (work on strays has connections that are in no pool), and share
//! nothing with the data path: a node that is slow to answer here delays no client.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use bb8::{ManageConnection, PooledConnection, RunError};
use bb8_redis::RedisConnectionManager;
use bb8_redis::redis::aio::MultiplexedConnection;
use bb8_redis::redis::{
    AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError, cmd,
};
use ringway_proxy::control::Control;
use ringway_proxy::settings::NodeSpec;
use ringway_proxy::topology::{NodeAddress, Topology};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use crate::limits;

/// A pool of connections to one node.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pool: bb8::Pool<Connector>,
    /// Why the last attempt to connect failed.
    failed: watch::Receiver<String>,
}

/// The way to a node.
#[derive(Debug)]
enum Way {
    Plain(RedisConnectionManager),
    /// Host and port, and what is said there first.
    Tls(String, u16, RedisConnectionInfo, Control),
    /// Wherever sentinels say that it is.
    Found(NodeSpec, Control),
}

impl Way {
    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        match self {
            Self::Plain(redis) => redis.connect().await,
            Self::Found(node, control) => {
                let address = control.find(node).await.map_err(io::Error::other)?;
                let there = NodeSpec { address, ..node.clone() };
                let way = way(&there, control).map_err(io::Error::other)?;
                // what was found is an address of another form, so this ends
                Box::pin(way.connect()).await
            }
            Self::Tls(host, port, login, control) => {
                // nobody else would end an attempt that is answered by silence
                let attempt = over_tls(host, *port, login, control);
                let late = || io::Error::from(io::ErrorKind::TimedOut);
                tokio::time::timeout(limits::NODE_CONNECT_TIME, attempt).await.map_err(|_| late())?
            }
        }
    }
}

async fn over_tls(
    host: &str,
    port: u16,
    login: &RedisConnectionInfo,
    control: &Control,
) -> Result<MultiplexedConnection, RedisError> {
    // certificates may have been renewed since the last one
    let tls = control.node_tls().ok_or_else(|| io::Error::other("node_tls is not set up"))?;
    let name = tls.server_name(host)?;
    let socket = TcpStream::connect((host, port)).await?;
    let stream = TlsConnector::from(tls.config()).connect(name, socket).await?;
    let (connection, driver) =
        MultiplexedConnection::new_with_config(login, stream, AsyncConnectionConfig::default()).await?;
    // ends with its last connection
    tokio::spawn(driver);
    Ok(connection)
}

/// Connects, and tells those who wait why it cannot: bb8 itself lets them wait for their time limit and then knows
/// no reason.
#[derive(Debug)]
pub(crate) struct Connector {
    way: Way,
    failed: watch::Sender<String>,
}

impl ManageConnection for Connector {
    type Connection = MultiplexedConnection;
    type Error = RedisError;

    async fn connect(&self) -> Result<Self::Connection, RedisError> {
        let connected = self.way.connect().await;
        connected.inspect_err(|error| drop(self.failed.send_replace(told(error))))
    }

    async fn is_valid(&self, connection: &mut Self::Connection) -> Result<(), RedisError> {
        cmd("PING").query_async::<()>(connection).await
    }

    fn has_broken(&self, _: &mut Self::Connection) -> bool {
        // it is asked when it is taken out
        false
    }
}

/// The pools by node name.
#[derive(Debug)]
pub(crate) struct Pools {
    control: Control,
    entries: Mutex<HashMap<String, Entry>>,
}

/// A pool and what it was made for; a node that was moved or got another password gets a new one.
#[derive(Debug)]
struct Entry {
    node: NodeSpec,
    /// Where sentinels had found it.
    found: Option<String>,
    pool: Pool,
}

impl Pools {
    /// None yet.
    pub(crate) fn new(control: Control) -> Self {
        Self { control, entries: Mutex::default() }
    }

    /// The node's pool.
    ///
    /// # Errors
    /// Why there can be none, in words.
    pub(crate) fn get(&self, node: &NodeSpec) -> Result<Pool, String> {
        let found = self.control.found(&node.address);
        let mut pools = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = pools.get(&node.name)
            && entry.node.address == node.address
            && entry.node.credentials == node.credentials
            && entry.found == found
        {
            return Ok(entry.pool.clone());
        }
        let pool = open(node, &self.control)?;
        pools.insert(node.name.clone(), Entry { node: node.clone(), found, pool: pool.clone() });
        Ok(pool)
    }

    /// Where sentinels say that the node is, if it is theirs to say.
    pub(crate) fn found(&self, node: &NodeSpec) -> Option<String> {
        self.control.found(&node.address)
    }

    /// Forgets the pools of nodes that are not in `topology`; connections in use end with their use.
    pub(crate) fn retain(&self, topology: &Topology) {
        let names: std::collections::HashSet<&str> =
            topology.nodes().iter().map(|node| node.name.as_str()).collect();
        let mut pools = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|name, _| names.contains(name.as_str()));
    }
}

/// A connection that is in no pool, for one piece of work.
///
/// # Errors
/// Why there is none, in words.
pub(crate) async fn alone(pools: &Pools, node: &NodeSpec) -> Result<MultiplexedConnection, String> {
    let connected = tokio::time::timeout(limits::NODE_CONNECT_TIME, async {
        way(node, &pools.control)?.connect().await.map_err(|error| told(&error))
    });
    connected.await.map_err(|_| no_connection())?
}

fn no_connection() -> String {
    format!("no connection within {} s", limits::NODE_CONNECT_TIME.as_secs())
}

fn way(node: &NodeSpec, control: &Control) -> Result<Way, String> {
    let mut login = RedisConnectionInfo::default();
    if let Some(username) = &node.credentials.username {
        login = login.set_username(username);
    }
    if let Some(password) = &node.credentials.password {
        login = login.set_password(password.reveal());
    }
    let plain = |address: ConnectionAddr, login| {
        let info = address.into_connection_info()?.set_redis_settings(login);
        RedisConnectionManager::new(info).map(Way::Plain)
    };
    let way = match NodeAddress::parse(&node.address).ok_or("it has no address")? {
        NodeAddress::Network(host, port) => plain(ConnectionAddr::Tcp(host.to_owned(), port), login),
        NodeAddress::Unix(path) => plain(ConnectionAddr::Unix(path.to_owned()), login),
        NodeAddress::Tls(host, port) => Ok(Way::Tls(host.to_owned(), port, login, control.clone())),
        NodeAddress::Sentinel { .. } => Ok(Way::Found(node.clone(), control.clone())),
    };
    way.map_err(|error: RedisError| error.to_string())
}

fn open(node: &NodeSpec, control: &Control) -> Result<Pool, String> {
    let way = way(node, control)?;
    let (sender, failed) = watch::channel(String::new());
    let pool = bb8::Pool::builder()
        .max_size(limits::NODE_CONNECTIONS)
        .connection_timeout(limits::NODE_CONNECT_TIME)
        .idle_timeout(Some(limits::NODE_IDLE_TIME))
        .retry_connection(false)
        .test_on_check_out(true)
        .build_unchecked(Connector { way, failed: sender });
    Ok(Pool { pool, failed })
}

/// A connection to the node.
///
/// # Errors
/// Why there is none, in words.
pub(crate) async fn connection(pool: &Pool) -> Result<PooledConnection<'_, Connector>, String> {
    let mut failed = pool.failed.clone();
    failed.mark_unchanged();
    tokio::select! {
        got = pool.pool.get() => got.map_err(|error| match error {
            RunError::User(error) => told(&error),
            RunError::TimedOut => no_connection(),
        }),
        Ok(()) = failed.changed() => Err(failed.borrow().clone()),
    }
}

/// A node's error in one line. Redis's texts name no password, and no argument but where a command is not known.
pub(crate) fn told(error: &RedisError) -> String {
    let text = error.to_string();
    let text = text.split(", with args beginning with").next().unwrap_or_default();
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
