//! Connections of the control plane to the nodes: a small pool for each, opened on demand, closed when idle.
//!
//! They carry `DBSIZE`, `SCAN` and `INFO` and nothing else, and share nothing with the data path: a node that is slow
//! to answer here delays no client.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bb8::{ManageConnection, PooledConnection, RunError};
use bb8_redis::RedisConnectionManager;
use bb8_redis::redis::aio::MultiplexedConnection;
use bb8_redis::redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError};
use ringway_proxy::settings::NodeSpec;
use ringway_proxy::topology::{NodeAddress, Topology};
use tokio::sync::watch;

use crate::limits;

/// A pool of connections to one node.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pool: bb8::Pool<Connector>,
    /// Why the last attempt to connect failed.
    failed: watch::Receiver<String>,
}

/// Connects, and tells those who wait why it cannot: bb8 itself lets them wait for their time limit and then knows
/// no reason.
#[derive(Debug)]
pub(crate) struct Connector {
    redis: RedisConnectionManager,
    failed: watch::Sender<String>,
}

impl ManageConnection for Connector {
    type Connection = MultiplexedConnection;
    type Error = RedisError;

    async fn connect(&self) -> Result<Self::Connection, RedisError> {
        let connected = self.redis.connect().await;
        connected.inspect_err(|error| drop(self.failed.send_replace(told(error))))
    }

    async fn is_valid(&self, connection: &mut Self::Connection) -> Result<(), RedisError> {
        self.redis.is_valid(connection).await
    }

    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        self.redis.has_broken(connection)
    }
}

/// The pools by node name.
#[derive(Debug, Default)]
pub(crate) struct Pools(Mutex<HashMap<String, Entry>>);

/// A pool and what it was made for; a node that was moved or got another password gets a new one.
#[derive(Debug)]
struct Entry {
    node: NodeSpec,
    pool: Pool,
}

impl Pools {
    /// The node's pool.
    ///
    /// # Errors
    /// Why there can be none, in words.
    pub(crate) fn get(&self, node: &NodeSpec) -> Result<Pool, String> {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = pools.get(&node.name)
            && entry.node.address == node.address
            && entry.node.credentials == node.credentials
        {
            return Ok(entry.pool.clone());
        }
        let pool = open(node)?;
        pools.insert(node.name.clone(), Entry { node: node.clone(), pool: pool.clone() });
        Ok(pool)
    }

    /// Forgets the pools of nodes that are not in `topology`; connections in use end with their use.
    pub(crate) fn retain(&self, topology: &Topology) {
        let names: std::collections::HashSet<&str> =
            topology.nodes().iter().map(|node| node.name.as_str()).collect();
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|name, _| names.contains(name.as_str()));
    }
}

fn open(node: &NodeSpec) -> Result<Pool, String> {
    let address = match NodeAddress::parse(&node.address).ok_or("it has no address")? {
        NodeAddress::Network(host, port) => ConnectionAddr::Tcp(host.to_owned(), port),
        NodeAddress::Unix(path) => ConnectionAddr::Unix(path.to_owned()),
    };
    let mut login = RedisConnectionInfo::default();
    if let Some(username) = &node.credentials.username {
        login = login.set_username(username);
    }
    if let Some(password) = &node.credentials.password {
        login = login.set_password(password.reveal());
    }
    let info = address.into_connection_info().map_err(|error| error.to_string())?.set_redis_settings(login);
    let redis = RedisConnectionManager::new(info).map_err(|error| error.to_string())?;
    let (sender, failed) = watch::channel(String::new());
    let pool = bb8::Pool::builder()
        .max_size(limits::NODE_CONNECTIONS)
        .connection_timeout(limits::NODE_CONNECT_TIME)
        .idle_timeout(Some(limits::NODE_IDLE_TIME))
        .retry_connection(false)
        .test_on_check_out(true)
        .build_unchecked(Connector { redis, failed: sender });
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
            RunError::TimedOut => format!("no connection within {} s", limits::NODE_CONNECT_TIME.as_secs()),
        }),
        Ok(()) = failed.changed() => Err(failed.borrow().clone()),
    }
}

/// A node's error in one line. Redis's texts name no password, and only keyless commands are sent.
pub(crate) fn told(error: &RedisError) -> String {
    error.to_string().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
