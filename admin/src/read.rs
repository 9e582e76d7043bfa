//! The calls that change nothing: topology, history, route, metrics, health.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use ringway_proxy::control::Control;
use ringway_proxy::settings::NodeSpec;
use ringway_proxy::stats::NodeState;
use ringway_proxy::topology::{Owner, Topology};
use serde::Serialize;

use crate::base64_param;
use crate::error::ApiError;
use crate::query::Query;
use crate::report::percent;
use crate::routes::Api;

#[derive(Serialize)]
struct TopologyAnswer {
    epoch: u64,
    fingerprint: String,
    placement: &'static str,
    key_hash: Option<&'static str>,
    points: u32,
    seed: u64,
    hash_tag: String,
    /// Whether keys are on their way to these nodes.
    moving: bool,
    nodes: Vec<NodeAnswer>,
}

#[derive(Serialize)]
struct NodeAnswer {
    name: String,
    address: String,
    weight: u32,
    share_percent: f64,
    state: &'static str,
}

/// The states that the workers see, by node; a node that no worker knows yet is `connecting`.
pub(crate) fn states(control: &Control) -> HashMap<String, NodeState> {
    control.snapshot().nodes.into_iter().map(|node| (node.name, node.state)).collect()
}

/// `GET /v1/topology`.
pub(crate) async fn topology(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(uri.query(), &[])?;
    let topology = api.control.topology();
    let states = states(&api.control);
    let config = topology.ring().config();
    let shares = topology.ring().shares();
    let node = |(node, share): (&Arc<NodeSpec>, &f64)| NodeAnswer {
        name: node.name.clone(),
        address: node.address.clone(),
        weight: node.weight,
        share_percent: percent(*share),
        state: states.get(&node.name).copied().unwrap_or(NodeState::Connecting).label(),
    };
    let answer = TopologyAnswer {
        epoch: topology.epoch(),
        fingerprint: format!("{:016x}", topology.fingerprint()),
        placement: config.placement.name(),
        key_hash: config.placement.key_hash().map(|hash| hash.name()),
        points: config.points,
        seed: config.seed,
        hash_tag: config.hash_tag.as_ref().map(ToString::to_string).unwrap_or_default(),
        moving: topology.former().is_some(),
        nodes: topology.nodes().iter().zip(&shares).map(node).collect(),
    };
    Ok((etag(topology.epoch()), Json(&answer)).into_response())
}

/// The header that `If-Match` is to repeat.
pub(crate) fn etag(epoch: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{epoch}\"")) {
        headers.insert(header::ETAG, value);
    }
    headers
}

#[derive(Serialize)]
struct HistoryAnswer {
    epoch: u64,
    at: String,
    change: String,
    moved_percent: f64,
}

/// `GET /v1/topology/history`.
pub(crate) async fn history(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(uri.query(), &[])?;
    let row = |entry: ringway_proxy::control::HistoryEntry| HistoryAnswer {
        epoch: entry.epoch,
        at: timestamp(entry.at),
        change: entry.change,
        moved_percent: percent(entry.moved_percent / 100.0),
    };
    let rows: Vec<HistoryAnswer> = api.control.history().into_iter().map(row).collect();
    Ok(Json(rows).into_response())
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn timestamp(at: std::time::SystemTime) -> String {
    match jiff::Timestamp::try_from(at) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => String::new(),
    }
}

#[derive(Serialize)]
struct RouteAnswer<'a> {
    #[serde(flatten)]
    key: base64_param::Bytes<'a>,
    hash: String,
    node: &'a str,
    address: &'a str,
    epoch: u64,
    /// The node that held it before, while keys are on their way: it may still be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    moving_from: Option<&'a str>,
}

/// `GET /v1/route?key=` or `?key_base64=`.
pub(crate) async fn route(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    let query = Query::parse(uri.query(), &["key", "key_base64"])?;
    let key = match (query.bytes("key"), query.bytes("key_base64")) {
        (Some(key), None) => key.to_vec(),
        (None, Some(text)) => base64_param::decode(text)?,
        _ => return Err(ApiError::bad_request("give either `key` or `key_base64`")),
    };
    let topology = api.control.topology();
    let owner = topology.owner(&key);
    let node = node_of(&topology, owner)?;
    let moving_from = match owner {
        Owner::Node(_) => None,
        Owner::Moving { from, .. } => topology
            .former()
            .and_then(|former| former.nodes().get(usize::from(from.0)))
            .map(|node| &*node.name),
    };
    let answer = RouteAnswer {
        key: base64_param::Bytes::new(&key, topology.ring().hashed_part(&key)),
        hash: format!("{:016x}", topology.ring().hash(&key)),
        node: &node.name,
        address: &node.address,
        epoch: topology.epoch(),
        moving_from,
    };
    Ok((etag(topology.epoch()), Json(&answer)).into_response())
}

fn node_of(topology: &Topology, owner: Owner) -> Result<&NodeSpec, ApiError> {
    topology
        .node(owner.home())
        .map(|node| &**node)
        .ok_or_else(|| ApiError::internal("the ring named no node"))
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(uri.query(), &[])?;
    let text = api.metrics.text()?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// `GET /healthz`: the process answers.
pub(crate) async fn healthz() -> Response {
    Json(Health { status: "ok" }).into_response()
}

/// `GET /readyz`: clients would be served.
pub(crate) async fn readyz(State(api): State<Api>) -> Result<Response, ApiError> {
    let not_ready = |why| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why);
    if !api.control.is_listening() {
        return Err(not_ready("the proxy does not accept clients"));
    }
    let states = states(&api.control);
    let topology = api.control.topology();
    if !topology.nodes().iter().any(|node| states.get(&node.name) == Some(&NodeState::Up)) {
        return Err(not_ready("no node answers"));
    }
    Ok(Json(Health { status: "ready" }).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn times_are_rfc_3339_in_utc() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        assert_eq!(timestamp(at), "2023-11-14T22:13:20.250Z");
    }
}
