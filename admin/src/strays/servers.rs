//! Connections of work on strays: one to each server that it concerns, for this work alone.
//!
//! When a server fails, what it was sent last may still run when nobody expects it any more, and delete a key that is at
//! home again by then. So its connection is remembered as a [`Doubt`], and no further work begins at that server before
//! it has closed it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bb8_redis::redis::aio::MultiplexedConnection;
use bb8_redis::redis::{RedisError, Value, cmd};
use futures_util::stream::{self, StreamExt};
use ringway_proxy::settings::NodeSpec;
use ringway_proxy::topology::Topology;

use crate::limits;
use crate::pools::{Pools, alone, told};

/// One server, and the database that its connection is in.
pub(super) struct Server {
    pub(super) spec: NodeSpec,
    connection: MultiplexedConnection,
    /// Where sentinels had found it, and who knows where they do now.
    found: Option<String>,
    pools: Arc<Pools>,
    database: u32,
    /// What it calls itself since its start.
    run_id: String,
    /// What it calls this connection.
    id: i64,
}

/// A connection on which a server may yet run something.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Doubt {
    run_id: String,
    id: i64,
}

/// Those that no server has closed for certain.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<Vec<Doubt>>);

impl Doubts {
    /// Has a server close those that it knows.
    async fn settle(&self, server: &mut Server) -> Result<(), String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for doubt in known.iter().filter(|doubt| doubt.run_id == server.run_id) {
            let mut kill = cmd("CLIENT");
            kill.arg("KILL").arg("ID").arg(doubt.id);
            let killed = kill.query_async::<()>(&mut server.connection).await;
            killed.map_err(|error| server.named(&told(&error)))?;
            self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| known != doubt);
        }
        Ok(())
    }
}

/// Those of the topology first, in its order, then others.
pub(super) struct Servers(Vec<Server>);

impl Servers {
    /// Connects to the nodes of `topology` and to `others`.
    ///
    /// # Errors
    /// Names each that cannot be reached, and those that cannot be told apart: two names for one server would make
    /// strays of each other's keys.
    pub(super) async fn connect(
        topology: &Topology,
        others: &[NodeSpec],
        pools: &Arc<Pools>,
        doubts: &Doubts,
    ) -> Result<Self, String> {
        let specs: Vec<NodeSpec> = topology.nodes().iter().map(|node| (**node).clone()).collect();
        let all = specs.into_iter().chain(others.iter().cloned());
        let found: Vec<Result<Server, String>> =
            stream::iter(all.map(|spec| open(spec, pools))).buffered(limits::NODES_AT_ONCE).collect().await;
        let (mut servers, mut errors) = (Vec::new(), Vec::new());
        for server in found {
            match server {
                Ok(server) => servers.push(server),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors.join("; "));
        }
        tell_apart(&servers)?;
        for server in &mut servers {
            doubts.settle(server).await?;
        }
        Ok(Self(servers))
    }

    /// Remembers that each may yet run something of this work.
    pub(super) fn doubt(&self, doubts: &Doubts) {
        let all = self.0.iter().map(|server| Doubt { run_id: server.run_id.clone(), id: server.id });
        doubts.0.lock().unwrap_or_else(PoisonError::into_inner).extend(all);
    }

    /// The one at a place.
    pub(super) fn at(&mut self, place: usize) -> &mut Server {
        &mut self.0[place]
    }

    /// Where the server of a node is, if it is one of them.
    pub(super) fn place(&self, node: &NodeSpec) -> Option<usize> {
        self.0.iter().position(|server| server.spec.name == node.name && server.spec.address == node.address)
    }
}

impl Server {
    /// Its connection, in a database.
    ///
    /// # Errors
    /// Why not, with the node's name.
    pub(super) async fn in_database(&mut self, database: u32) -> Result<MultiplexedConnection, String> {
        if self.pools.found(&self.spec) != self.found {
            return Err(self.named("it has failed over to another server; begin anew"));
        }
        if self.database != database {
            let select = cmd("SELECT").arg(database).query_async::<()>(&mut self.connection).await;
            select.map_err(|error| self.named(&told(&error)))?;
            self.database = database;
        }
        Ok(self.connection.clone())
    }

    /// An error of this server.
    pub(super) fn named(&self, why: &str) -> String {
        named(&self.spec, why)
    }

    /// The numbers of the databases that hold keys.
    ///
    /// # Errors
    /// Why it does not tell, with the node's name.
    pub(super) async fn databases(&mut self) -> Result<Vec<u32>, String> {
        let info = cmd("INFO").arg("keyspace").query_async::<String>(&mut self.connection).await;
        let info = info.map_err(|error| self.named(&told(&error)))?;
        let number = |line: &str| line.strip_prefix("db")?.split_once(':')?.0.parse().ok();
        Ok(info.lines().filter_map(number).collect())
    }
}

fn named(node: &NodeSpec, why: &str) -> String {
    format!("node '{}' ({}): {why}", node.name, node.address)
}

async fn open(spec: NodeSpec, pools: &Arc<Pools>) -> Result<Server, String> {
    let mut connection = alone(pools, &spec).await.map_err(|why| named(&spec, &why))?;
    let found = pools.found(&spec);
    connection.set_response_timeout(limits::STRAYS_ANSWER_TIME);
    let failed = |error: RedisError| named(&spec, &told(&error));
    let id = cmd("CLIENT").arg("ID").query_async::<i64>(&mut connection).await.map_err(failed)?;
    // what it may not do is told before anything is touched
    for word in ["MULTI", "EXEC"] {
        cmd(word).query_async::<Value>(&mut connection).await.map_err(failed)?;
    }
    let info = cmd("INFO").query_async::<String>(&mut connection).await.map_err(failed)?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    if field("role:") == "slave" {
        return Err(named(&spec, "it is a replica, whose keys are another server's as well"));
    }
    let run_id = field("run_id:").to_owned();
    Ok(Server { spec, connection, found, pools: Arc::clone(pools), database: 0, run_id, id })
}

fn tell_apart(servers: &[Server]) -> Result<(), String> {
    let mut known: HashMap<&str, &Server> = HashMap::new();
    for server in servers {
        if server.run_id.is_empty() {
            return Err(
                server.named("it tells no run_id (INFO server), by which it could be told from the others")
            );
        }
        if let Some(first) = known.insert(&server.run_id, server) {
            let (first, second) = (&first.spec.name, &server.spec.name);
            return Err(format!(
                "'{first}' and '{second}' are one server, so that each has the other's keys for strays"
            ));
        }
    }
    Ok(())
}
