//! `/v1/movement`: keys on their way to their nodes after a change with `?move_keys=true`.

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use ringway_proxy::control::{MovementPhase, MovementStatus};
use serde::Serialize;

use crate::audit::Attempt;
use crate::body;
use crate::change::follows_nobody;
use crate::error::ApiError;
use crate::precondition::Precondition;
use crate::query::Query;
use crate::read::{etag, timestamp};
use crate::report::MovementReport;
use crate::routes::Api;

/// How far a movement is.
#[derive(Serialize)]
struct Answer {
    /// The topology to whose nodes the keys go.
    epoch: u64,
    /// `begins`, `moves`, `done` or `ended`.
    state: &'static str,
    /// Whether keys are called back to where they were.
    back: bool,
    /// Why it does not go on, or why keys are left.
    why: Option<String>,
    started_at: String,
    ended_at: Option<String>,
    /// Keys that are at their new node now.
    moved: u64,
    /// Bytes of their values.
    bytes: u64,
    /// How often a command waited for its keys.
    fetched: u64,
    /// Keys that could not be moved when they were last tried.
    left: u64,
    /// The nodes that keys leave.
    nodes: Vec<Source>,
}

#[derive(Serialize)]
struct Source {
    name: String,
    address: String,
    done: bool,
    /// Keys that were looked at.
    keys: u64,
    why: Option<String>,
}

impl From<MovementStatus> for Answer {
    fn from(status: MovementStatus) -> Self {
        let state = match status.phase {
            MovementPhase::Begins => "begins",
            MovementPhase::Moves => "moves",
            MovementPhase::Done => "done",
            MovementPhase::Ended => "ended",
        };
        let nodes = status.sources.into_iter().filter(|source| source.gives).map(|source| Source {
            name: source.name,
            address: source.address,
            done: source.done,
            keys: source.looked_at,
            why: source.why,
        });
        Self {
            epoch: status.epoch,
            state,
            back: status.back,
            why: status.why,
            started_at: timestamp(status.started_at),
            ended_at: status.ended_at.map(timestamp),
            moved: status.moved,
            bytes: status.bytes,
            fetched: status.fetched,
            left: status.left,
            nodes: nodes.collect(),
        }
    }
}

/// `GET /v1/movement`.
pub(crate) async fn status(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(uri.query(), &[])?;
    if let Some(leader) = api.control.follows() {
        let message = format!("this Ringway follows {leader}, which moves the keys: ask there");
        return Err(ApiError::conflict("follows", message));
    }
    let none = || ApiError::new(StatusCode::NOT_FOUND, "no_movement", "no keys were moved with a change yet");
    let status = api.control.movement().ok_or_else(none)?;
    Ok(Json(Answer::from(status)).into_response())
}

/// `DELETE /v1/movement`: keys that have not arrived stay where they are, and are found no more.
pub(crate) async fn end(
    State(api): State<Api>,
    tried: Option<Extension<Attempt>>,
    request: Request,
) -> Result<Response, ApiError> {
    Query::parse(request.uri().query(), &[])?;
    follows_nobody(&api)?;
    let precondition = Precondition::of(request.headers())?;
    body::none(request.into_body()).await?;
    let epoch = api.control.topology().epoch();
    precondition.check(epoch)?;
    let control = api.control.clone();
    // the work goes on when the caller hangs up, so that no change is without its line in the log
    let work = tokio::spawn(async move {
        let done = control.end_movement(epoch).await;
        if let (Ok(change), Some(Extension(attempt))) = (&done, &tried) {
            attempt.done("end the movement of keys", change);
        }
        done
    });
    let done = work.await.map_err(|_| ApiError::internal("the work broke off; the log knows more"))?;
    let report = MovementReport::from(&done?);
    Ok((etag(report.to_epoch), Json(report)).into_response())
}
