//! `/v1/strays`: keys that lie on a node which the ring does not ask for them, left behind by changes of the topology.
//!
//! They take up memory, and a later change that gives the node its part of the ring back would show them again as they
//! were. One piece of work at a time walks over the nodes and counts them, moves them to their owners or deletes them.
//!
//! ```text
//!   POST ─► Job (`job`): node by node, database by database, SCAN
//!                └─► some keys at once (`batch`): WATCH, copy to the owner, look at the epoch, MULTI UNLINK EXEC
//!   GET  ─► its progress                  DELETE ─► it ends after the keys that it has in hand
//! ```
//! It runs beside the traffic on connections of its own, and writes nothing of the data path's.

mod batch;
mod job;
mod servers;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use ringway_proxy::control::Control;
use ringway_proxy::settings::NodeSpec;
use ringway_proxy::topology::Topology;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::Attempt;
use crate::body::{self, Checked, Unknown, check_unknown};
use crate::change::follows_nobody;
use crate::error::ApiError;
use crate::limits;
use crate::pools::Pools;
use crate::query::Query;
use crate::routes::Api;
use crate::wish::NodeBody;
use job::Job;
use servers::Doubts;

/// What is to become of strays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// They are only counted.
    Count,
    /// Each goes to its owner, unless that has a key of this name.
    Move,
    /// They are deleted.
    Delete,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Move => "move",
            Self::Delete => "delete",
        }
    }
}

/// What a caller asks for.
#[derive(Debug, Deserialize)]
struct StraysBody {
    action: Action,
    /// A pattern as SCAN takes it; other keys are left alone.
    r#match: Option<String>,
    /// The nodes to look at; all of the topology when absent.
    from: Option<Vec<Value>>,
    /// Strays that are moved or deleted within a second at most.
    #[serde(default = "usual_pace")]
    keys_per_second: u32,
    #[serde(flatten)]
    unknown: Unknown,
}

/// A node to look at.
#[derive(Debug)]
enum Source {
    /// One of the topology, or of the one before its last change.
    Name(String),
    /// Any other.
    Node(NodeBody),
}

fn usual_pace() -> u32 {
    limits::STRAYS_PER_SECOND
}

impl Checked for StraysBody {
    fn check(&self) -> Result<(), ApiError> {
        check_unknown("", &self.unknown, &["action", "match", "from", "keys_per_second"])?;
        if self.from.as_ref().is_some_and(|from| from.len() > limits::NODES) {
            return Err(ApiError::bad_request(format!("`from` names more than {} nodes", limits::NODES)));
        }
        if self.from.as_ref().is_some_and(Vec::is_empty) {
            return Err(ApiError::bad_request("`from` names no node; leave it out to look at all"));
        }
        let most = limits::STRAYS_PER_SECOND_MOST;
        if !(1..=most).contains(&self.keys_per_second) {
            return Err(ApiError::bad_request(format!("`keys_per_second` must be 1 to {most}")));
        }
        Ok(())
    }
}

/// The work on strays that goes on, or went on last.
#[derive(Debug)]
pub(crate) struct Strays {
    control: Control,
    pools: Arc<Pools>,
    last: Mutex<Option<Arc<Job>>>,
    doubts: Arc<Doubts>,
}

impl Strays {
    /// Nothing yet.
    pub(crate) fn new(control: Control, pools: Arc<Pools>) -> Self {
        Self { control, pools, last: Mutex::default(), doubts: Arc::default() }
    }

    fn last(&self) -> Option<Arc<Job>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether work goes on.
    pub(crate) fn are_dealt_with(&self) -> bool {
        self.last().is_some_and(|job| job.is_running())
    }

    fn begin(&self, wish: StraysBody) -> Result<Arc<Job>, ApiError> {
        let topology = self.control.topology();
        if topology.former().is_some() {
            let message = "keys are on their way with a change of the ring (GET /v1/movement): no node has strays of it \
                           before that is over";
            return Err(ApiError::conflict("still_moving", message));
        }
        let sources = sources(&self.control, &topology, wish.from)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_some_and(|job| job.is_running()) {
            let message =
                "work on strays goes on already: GET /v1/strays tells how far it is, DELETE ends it";
            return Err(ApiError::conflict("strays_busy", message));
        }
        let order = job::Order {
            action: wish.action,
            pattern: wish.r#match,
            keys_per_second: wish.keys_per_second,
            sources,
        };
        let (pools, doubts) = (Arc::clone(&self.pools), Arc::clone(&self.doubts));
        let job = Job::begin(order, topology, self.control.clone(), pools, doubts);
        *last = Some(Arc::clone(&job));
        Ok(job)
    }
}

/// What an entry of `from` means.
fn read_source(at: usize, value: Value) -> Result<Source, ApiError> {
    match value {
        Value::String(name) => Ok(Source::Name(name)),
        Value::Object(_) => {
            let node: NodeBody = serde_json::from_value(value)
                .map_err(|error| ApiError::bad_request(format!("from[{at}]: {error}")))?;
            node.check_in(&format!("from[{at}]: ")).map(|()| Source::Node(node))
        }
        _ => Err(ApiError::bad_request(format!(
            "from[{at}]: give a node's name, or {{\"name\", \"address\"}} of one that is not in the topology"
        ))),
    }
}

/// The nodes to look at, each with its place in the topology if it has one.
fn sources(
    control: &Control,
    topology: &Topology,
    from: Option<Vec<Value>>,
) -> Result<Vec<(NodeSpec, Option<usize>)>, ApiError> {
    let all = || topology.nodes().iter().map(|node| Value::String(node.name.clone())).collect();
    let mut found: Vec<(NodeSpec, Option<usize>)> = Vec::new();
    for (at, from) in from.unwrap_or_else(all).into_iter().enumerate() {
        let source = match read_source(at, from)? {
            Source::Node(node) if topology.nodes().iter().any(|known| known.name == node.name()) => {
                let why = "that is a node of the topology: name it by its name alone";
                return Err(ApiError::bad_request(format!("from[{at}]: {why}, or choose another name")));
            }
            Source::Node(node) => (node.spec(None), None),
            Source::Name(name) => match topology.nodes().iter().position(|node| node.name == name) {
                Some(at) => ((*topology.nodes()[at]).clone(), Some(at)),
                None => {
                    let before = control.previous();
                    let left = before.iter().flat_map(|before| before.nodes()).find(|node| node.name == name);
                    let left = left.ok_or_else(|| ApiError::unknown_node(&name))?;
                    ((**left).clone(), None)
                }
            },
        };
        if found.iter().any(|(known, _)| known.name == source.0.name) {
            return Err(ApiError::bad_request("`from` names a node twice"));
        }
        found.push(source);
    }
    Ok(found)
}

/// How far work on strays is.
#[derive(Debug, Clone, Serialize)]
struct Status {
    action: Action,
    r#match: Option<String>,
    state: Phase,
    /// Why it did not come to its end, or why keys were left.
    why: Option<String>,
    epoch: u64,
    started_at: String,
    ended_at: Option<String>,
    #[serde(flatten)]
    counts: Counts,
    nodes: Vec<NodeStatus>,
    flows: Vec<Flow>,
}

/// Whether it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Running,
    Done,
    /// It was told to end, or the topology changed.
    Stopped,
    /// A server failed or refused it.
    Failed,
}

/// Keys, by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Counts {
    /// All that were looked at.
    keys: u64,
    /// Those that lie where the ring does not ask for them.
    strays: u64,
    /// Strays that are at their owner now.
    moved: u64,
    /// Strays whose owner has a key of this name with another value: both stay.
    superseded: u64,
    /// Strays that were deleted because that was asked for.
    deleted: u64,
    /// Strays that had expired or were gone when it was their turn.
    gone: u64,
    /// Strays that stay where they are; `why` tells the first reason.
    left: u64,
}

/// One node that is looked at.
#[derive(Debug, Clone, Serialize)]
struct NodeStatus {
    name: String,
    address: String,
    done: bool,
    keys: u64,
    strays: u64,
}

/// Strays of one node that have the same owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Flow {
    from: String,
    to: String,
    keys: u64,
}

/// `POST /v1/strays`.
pub(crate) async fn begin(
    State(api): State<Api>,
    tried: Option<Extension<Attempt>>,
    request: Request,
) -> Result<Response, ApiError> {
    Query::parse(request.uri().query(), &[])?;
    let wish = body::read::<StraysBody>(request.into_body()).await?;
    let what = format!("{} strays", wish.action.name());
    api.control.check_leads()?;
    let job = api.strays.begin(wish)?;
    if let Some(Extension(attempt)) = tried {
        attempt.begun(what);
    }
    Ok((StatusCode::ACCEPTED, Json(job.status())).into_response())
}

/// `GET /v1/strays`.
pub(crate) async fn status(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(uri.query(), &[])?;
    Ok(Json(the_last(&api)?.status()).into_response())
}

/// `DELETE /v1/strays`: answers when it has ended.
pub(crate) async fn stop(
    State(api): State<Api>,
    tried: Option<Extension<Attempt>>,
    request: Request,
) -> Result<Response, ApiError> {
    Query::parse(request.uri().query(), &[])?;
    body::none(request.into_body()).await?;
    follows_nobody(&api)?;
    let job = the_last(&api)?;
    if let Some(Extension(attempt)) = tried {
        attempt.begun("stop the work on strays".to_owned());
    }
    job.stop().await;
    Ok(Json(job.status()).into_response())
}

fn the_last(api: &Api) -> Result<Arc<Job>, ApiError> {
    let none = || ApiError::new(StatusCode::NOT_FOUND, "no_strays_work", "no work on strays was begun yet");
    api.strays.last().ok_or_else(none)
}
