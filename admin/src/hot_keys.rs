//! `GET /v1/hot-keys`: which keys clients name most often, counted while the call lasts.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use ringway_proxy::control::HotKey;
use serde::Serialize;

use crate::base64_param;
use crate::error::ApiError;
use crate::limits;
use crate::query::Query;
use crate::report::percent;
use crate::routes::Api;

#[derive(Serialize)]
pub(crate) struct HotKeysAnswer {
    /// For how long was counted.
    seconds: f64,
    epoch: u64,
    commands: u64,
    accesses: u64,
    /// How often a key may have been named that no worker had a place for; 0 when all is exact.
    missed: u64,
    /// Accesses to keys that are too long to be told.
    unnamed: u64,
    nodes: Vec<NodeAccesses>,
    keys: Vec<Told>,
}

#[derive(Serialize)]
struct NodeAccesses {
    name: String,
    accesses: u64,
    percent: f64,
    /// Of the ring: what would be the node's if all keys were named equally often.
    share_percent: f64,
}

#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    key: base64_param::Key,
    node: Option<String>,
    accesses: u64,
    missed: u64,
    writes: u64,
    percent: f64,
    node_percent: f64,
}

/// The handler. Counting ends when whoever asked hangs up.
pub(crate) async fn counted(State(api): State<Api>, uri: Uri) -> Result<Json<HotKeysAnswer>, ApiError> {
    let query = Query::parse(uri.query(), &["seconds", "limit"])?;
    let limit = query.keys("limit", limits::TOLD_KEYS_MOST)?.unwrap_or(limits::TOLD_KEYS);
    let seconds = query.number("seconds", "number of seconds", limits::COUNTING_SECONDS_MOST)?;
    let counting = api.control.count_keys().ok_or_else(|| {
        ApiError::conflict("busy", "keys are counted already, for somebody else; ask again when that is over")
    })?;
    let duration = Duration::from_secs(seconds.unwrap_or(limits::COUNTING_SECONDS));
    let found = tokio::select! {
        () = tokio::time::sleep(duration) => counting.finish().await,
        () = api.control.stops() => None,
    };
    let found = found.ok_or_else(|| {
        let message = "this process is being stopped: nothing is counted any more";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "handing_over", message)
    })?;
    let nodes = found.topology.nodes();
    let told = |HotKey { key, accesses, writes, missed }| {
        let node = found.topology.owner(&key).home();
        let of_node = found.nodes.get(usize::from(node.0)).copied().unwrap_or_default();
        Told {
            node: found.topology.node(node).map(|node| node.name.clone()),
            key: key.into(),
            accesses,
            missed,
            writes,
            percent: part(accesses, found.accesses),
            node_percent: part(accesses, of_node),
        }
    };
    Ok(Json(HotKeysAnswer {
        seconds: (found.duration.as_secs_f64() * 1000.0).round() / 1000.0,
        epoch: found.topology.epoch(),
        commands: found.commands,
        accesses: found.accesses,
        missed: found.missed,
        unnamed: found.unnamed,
        nodes: nodes
            .iter()
            .zip(&found.nodes)
            .zip(found.topology.ring().shares())
            .map(|((node, accesses), share)| NodeAccesses {
                name: node.name.clone(),
                accesses: *accesses,
                percent: part(*accesses, found.accesses),
                share_percent: percent(share),
            })
            .collect(),
        keys: found.keys.into_iter().take(limit as usize).map(told).collect(),
    }))
}

/// In percent; 0 of nothing.
fn part(of: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { percent(of as f64 / all as f64) }
}
