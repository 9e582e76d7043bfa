//! All calls in one table, and what their handlers share.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, patch, post};
use ringway_proxy::control::Control;
use tokio::sync::Semaphore;

use crate::error::ApiError;
use crate::follow::Bringing;
use crate::guard::{Guard, Refusals, guard};
use crate::metrics::Metrics;
use crate::pools::Pools;
use crate::sample::Sampler;
use crate::settings::AdminSettings;
use crate::strays::Strays;
use crate::{change, commands, follow, hot_keys, movement, near_cache, read, stats, strays};

/// What every handler can reach; cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) control: Control,
    pub(crate) guard: Arc<Guard>,
    pub(crate) pools: Arc<Pools>,
    pub(crate) sampler: Arc<Sampler>,
    pub(crate) strays: Arc<Strays>,
    pub(crate) metrics: Arc<Metrics>,
    /// What followers ask for.
    pub(crate) bringing: Arc<Bringing>,
    /// Who builds rings now.
    pub(crate) turn: Arc<Semaphore>,
}

/// The whole API behind its guard, and metrics and health alone, open to everybody.
pub(crate) struct Routers {
    pub(crate) api: Router,
    pub(crate) metrics: Router,
    /// Where the listener counts those it has no place for.
    pub(crate) refusals: Arc<Refusals>,
}

/// Both routers over the same figures.
pub(crate) fn routers(settings: &AdminSettings, control: Control) -> Routers {
    let pools = Arc::new(Pools::new(control.clone()));
    let refusals: Arc<Refusals> = Arc::default();
    let api = Api {
        guard: Arc::new(Guard::new(settings, Arc::clone(&refusals))),
        sampler: Arc::new(Sampler::new(Arc::clone(&pools))),
        strays: Arc::new(Strays::new(control.clone(), Arc::clone(&pools))),
        metrics: Arc::new(Metrics::new(control.clone(), Arc::clone(&refusals))),
        bringing: Arc::default(),
        turn: Arc::new(Semaphore::new(1)),
        pools,
        control,
    };
    Routers { api: api_router(api.clone()), metrics: answered(figures()).with_state(api), refusals }
}

fn api_router(api: Api) -> Router {
    let calls = figures()
        .route("/v1/topology", get(read::topology).put(change::put_topology))
        .route("/v1/topology/plan", post(change::plan))
        .route("/v1/topology/rollback", post(change::rollback))
        .route("/v1/topology/history", get(read::history))
        .route("/v1/nodes", post(change::add_node))
        .route("/v1/nodes/{name}", patch(change::patch_node).delete(change::remove_node))
        .route("/v1/route", get(read::route))
        .route("/v1/movement", get(movement::status).delete(movement::end))
        .route("/v1/followers", get(follow::all))
        .route("/v1/followers/{name}", post(follow::report).delete(follow::forget))
        .route("/v1/followers/{name}/keys", post(follow::bring))
        .route("/v1/strays", get(strays::status).post(strays::begin).delete(strays::stop))
        .route("/v1/near-cache", get(near_cache::kept))
        .route("/v1/hot-keys", get(hot_keys::counted))
        .route("/v1/stats", get(stats::stats))
        .route("/v1/commands", get(commands::commands));
    answered(calls).layer(from_fn_with_state(api.clone(), guard)).with_state(api)
}

/// What machines ask.
fn figures() -> Router<Api> {
    Router::new()
        .route("/metrics", get(read::metrics))
        .route("/healthz", get(read::healthz))
        .route("/readyz", get(read::readyz))
}

/// Every other path and method is an error in the form of all errors.
fn answered(calls: Router<Api>) -> Router<Api> {
    calls
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "unknown_path", "there is no such call"))
        .method_not_allowed_fallback(async || {
            let message = "this path has no such method; the Allow header names those it has";
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
}
