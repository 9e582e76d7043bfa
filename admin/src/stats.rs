//! `GET /v1/stats`: what the metrics hold, as JSON per node, and with `?details=true` what the nodes say of
//! themselves.
//!
//! Details are asked over the control plane's own connections. A node that does not answer in time has an `error`
//! there; the rest of the answer does not wait for it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use bb8_redis::redis::cmd;
use futures_util::stream::{self, StreamExt};
use ringway_proxy::settings::NodeSpec;
use ringway_proxy::stats::{CommandCount, LATENCY_BOUNDS_US, NodeSnapshot, Snapshot};
use ringway_proxy::topology::Topology;
use serde::Serialize;

use crate::error::ApiError;
use crate::limits;
use crate::pools::{Pools, connection, told};
use crate::query::Query;
use crate::report::percent;
use crate::routes::Api;

type Commands = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

#[derive(Serialize)]
struct Stats {
    epoch: u64,
    uptime_seconds: f64,
    listening: bool,
    threads: usize,
    last_change_moved_percent: f64,
    client_connections: u64,
    blocked_clients: u64,
    client_bytes: Bytes,
    commands_read: u64,
    replies: u64,
    replies_dropped: u64,
    proxy_commands: Commands,
    emulated: BTreeMap<&'static str, u64>,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Bytes {
    r#in: u64,
    out: u64,
}

#[derive(Serialize)]
struct Node {
    name: String,
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found_at: Option<String>,
    weight: Option<u32>,
    share_percent: f64,
    state: &'static str,
    why: String,
    connections: u64,
    connects: u64,
    reads_repeated: u64,
    commands: Commands,
    latency: Latency,
    hits: u64,
    misses: u64,
    bytes: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

/// Percentiles are upper bounds: the bucket's end, at most twice the true value; `null` is beyond 16.8 s or nothing.
#[derive(Serialize)]
struct Latency {
    count: u64,
    sum_seconds: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Details {
    Known { redis_version: String, used_memory_bytes: u64, keys: u64 },
    Error { error: String },
}

/// The handler.
pub(crate) async fn stats(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    let with_details = Query::parse(uri.query(), &["details"])?.flag("details")?;
    let topology = api.control.topology();
    let mut answer = gather(&api, &topology, api.control.snapshot());
    if with_details {
        api.pools.retain(&topology);
        let asked: Vec<_> = topology.nodes().iter().map(|node| details(&api.pools, node)).collect();
        let known: Vec<Details> = stream::iter(asked).buffered(limits::NODES_AT_ONCE).collect().await;
        for (node, details) in answer.nodes.iter_mut().zip(known) {
            node.details = Some(details);
        }
    }
    Ok(Json(answer).into_response())
}

/// The nodes of the topology in their order, then those that left and still have figures.
fn gather(api: &Api, topology: &Topology, snapshot: Snapshot) -> Stats {
    let mut figures: BTreeMap<String, NodeSnapshot> =
        snapshot.nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
    let mut nodes = Vec::new();
    for (spec, share) in topology.nodes().iter().zip(topology.ring().shares()) {
        let node = node(&spec.name, Some(spec), share, figures.remove(&spec.name));
        nodes.push(Node { found_at: api.control.found(&spec.address), ..node });
    }
    nodes.extend(figures.into_iter().map(|(name, figures)| node(&name, None, 0.0, Some(figures))));
    Stats {
        epoch: topology.epoch(),
        uptime_seconds: api.control.uptime().as_secs_f64(),
        listening: api.control.is_listening(),
        threads: api.control.threads(),
        last_change_moved_percent: percent(api.control.last_moved()),
        client_connections: snapshot.client_connections,
        blocked_clients: snapshot.blocked_clients,
        client_bytes: Bytes { r#in: snapshot.client_bytes_in, out: snapshot.client_bytes_out },
        commands_read: snapshot.commands_read,
        replies: snapshot.replies,
        replies_dropped: snapshot.replies_dropped,
        proxy_commands: commands(&snapshot.local),
        emulated: snapshot.emulated,
        nodes,
    }
}

fn node(
    name: &str,
    spec: Option<&std::sync::Arc<NodeSpec>>,
    share: f64,
    figures: Option<NodeSnapshot>,
) -> Node {
    let figures = figures.as_ref();
    let count = |read: fn(&NodeSnapshot) -> u64| figures.map_or(0, read);
    Node {
        name: name.to_owned(),
        address: spec.map(|spec| spec.address.clone()),
        found_at: None,
        weight: spec.map(|spec| spec.weight),
        share_percent: percent(share),
        state: match spec {
            None => "leaving",
            Some(_) => figures.map_or("connecting", |figures| figures.state.label()),
        },
        why: figures.map(|figures| figures.why.clone()).unwrap_or_default(),
        connections: count(|node| node.connections),
        connects: count(|node| node.connects),
        reads_repeated: count(|node| node.reads_repeated),
        commands: figures.map(|figures| commands(&figures.commands)).unwrap_or_default(),
        latency: figures.map_or_else(
            || latency(&[], 0.0),
            |node| latency(&node.latency_buckets, node.latency_sum_seconds),
        ),
        hits: count(|node| node.hits),
        misses: count(|node| node.misses),
        bytes: Bytes { r#in: count(|node| node.bytes_in), out: count(|node| node.bytes_out) },
        details: None,
    }
}

fn commands(counts: &[CommandCount]) -> Commands {
    let mut commands = Commands::new();
    for count in counts {
        commands.entry(count.command).or_default().insert(count.outcome.label(), count.count);
    }
    commands
}

fn latency(buckets: &[u64], sum_seconds: f64) -> Latency {
    Latency {
        count: buckets.iter().sum(),
        sum_seconds,
        p50_ms: quantile_ms(buckets, 0.50),
        p99_ms: quantile_ms(buckets, 0.99),
    }
}

/// The upper bound of the bucket in which the quantile lies.
fn quantile_ms(buckets: &[u64], quantile: f64) -> Option<f64> {
    let rank = (buckets.iter().sum::<u64>() as f64 * quantile).ceil() as u64;
    let mut below = 0;
    let bucket = buckets.iter().position(|bucket| {
        below += bucket;
        below >= rank && rank > 0
    })?;
    LATENCY_BOUNDS_US.get(bucket).map(|us| *us as f64 / 1000.0)
}

async fn details(pools: &Pools, node: &NodeSpec) -> Details {
    let asked = tokio::time::timeout(limits::DETAILS_TIME, ask(pools, node)).await;
    let late = || Err(format!("no answer within {} s", limits::DETAILS_TIME.as_secs()));
    asked.unwrap_or_else(|_| late()).unwrap_or_else(|error| Details::Error { error })
}

async fn ask(pools: &Pools, node: &NodeSpec) -> Result<Details, String> {
    let pool = pools.get(node)?;
    let mut connection = connection(&pool).await?;
    let info: String = cmd("INFO").query_async(&mut *connection).await.map_err(|error| told(&error))?;
    let keys: u64 = cmd("DBSIZE").query_async(&mut *connection).await.map_err(|error| told(&error))?;
    let field =
        |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    Ok(Details::Known {
        redis_version: field("redis_version").unwrap_or_default().to_owned(),
        used_memory_bytes: field("used_memory").and_then(|text| text.parse().ok()).unwrap_or(0),
        keys,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_end_of_their_bucket() {
        let mut buckets = [0; LATENCY_BOUNDS_US.len() + 1];
        assert_eq!(quantile_ms(&buckets, 0.5), None);
        (buckets[0], buckets[3]) = (98, 2);
        assert_eq!(quantile_ms(&buckets, 0.5), Some(0.064));
        assert_eq!(quantile_ms(&buckets, 0.99), Some(0.512));
        buckets[LATENCY_BOUNDS_US.len()] = 1000;
        assert_eq!(quantile_ms(&buckets, 0.99), None);
    }
}
