//! `GET /v1/near-cache`: of which keys answers are kept, and what that is good for.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use ringway_proxy::control::KeptKey;
use serde::Serialize;

use crate::base64_param;
use crate::error::ApiError;
use crate::limits;
use crate::query::Query;
use crate::routes::Api;

#[derive(Serialize)]
pub(crate) struct NearCacheAnswer {
    /// Whether answers are kept at all.
    enabled: bool,
    hits: u64,
    fills: u64,
    invalidations: u64,
    bytes: u64,
    limit_bytes: u64,
    /// Those whose answers were given most often, of so many.
    keys: Vec<Kept>,
    keys_in_all: usize,
}

#[derive(Serialize)]
struct Kept {
    #[serde(flatten)]
    key: base64_param::Key,
    node: Option<String>,
    hits: u64,
    bytes: u64,
}

/// The handler.
pub(crate) async fn kept(State(api): State<Api>, uri: Uri) -> Result<Json<NearCacheAnswer>, ApiError> {
    let limit = Query::parse(uri.query(), &["limit"])?
        .keys("limit", limits::TOLD_KEYS_MOST)?
        .unwrap_or(limits::TOLD_KEYS);
    let settings = api.control.near_cache();
    let near = api.control.snapshot().near;
    let all = api.control.kept_keys().await;
    let topology = api.control.topology();
    let keys_in_all = all.len();
    let told = |KeptKey { key, hits, bytes }| Kept {
        node: topology.node(topology.owner(&key).home()).map(|node| node.name.clone()),
        key: key.into(),
        hits,
        bytes,
    };
    Ok(Json(NearCacheAnswer {
        enabled: settings.is_some(),
        hits: near.hits,
        fills: near.fills,
        invalidations: near.invalidations,
        bytes: near.bytes,
        limit_bytes: settings.map_or(0, |settings| settings.memory_bytes as u64),
        keys: all.into_iter().take(limit as usize).map(told).collect(),
        keys_in_all,
    }))
}
