//! The calls that plan and change: one loop for all of them.
//!
//! ```text
//! read the topology ─ If-Match? ─ edit -> wished list ─ [plan ─ sample] ─ apply with the epoch that was read
//!         ^                                                                   │ somebody was faster
//!         └──────────────────────────── without If-Match ◄────────────────────┴─ with If-Match: 412
//! ```
//!
//! Rings are built on a blocking thread, one at a time: health answers meanwhile, and a burst of plans costs time
//! but not memory. The work goes on when the caller hangs up, so that no change is without its line in the log.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use ringway_proxy::control::{ApplyError, Change, Control};
use ringway_proxy::settings::TopologySpec;
use ringway_proxy::topology::Topology;

use crate::audit::Attempt;
use crate::body;
use crate::error::ApiError;
use crate::limits;
use crate::precondition::Precondition;
use crate::query::Query;
use crate::read::etag;
use crate::report::{MovementReport, SampleReport};
use crate::routes::Api;
use crate::wish::{self, Edit, ListBody, NodeBody, PatchBody, PlanBody};

/// How a change is to be made.
struct Mode {
    precondition: Precondition,
    dry_run: bool,
    /// Whether the keys move with the ring.
    move_keys: bool,
    sample: Option<u64>,
}

impl Mode {
    fn of(request: &Request) -> Result<Self, ApiError> {
        let query = Query::parse(request.uri().query(), &["dry_run", "move_keys", "sample"])?;
        let (dry_run, move_keys) = (query.flag("dry_run")?, query.flag("move_keys")?);
        if dry_run && let Some(attempt) = request.extensions().get::<Attempt>() {
            attempt.planned();
        }
        let precondition = Precondition::of(request.headers())?;
        Ok(Self { precondition, dry_run, move_keys, sample: query.sample()? })
    }
}

type Name = Result<Path<String>, PathRejection>;
type Tried = Option<Extension<Attempt>>;

fn name_of(name: Name) -> Result<String, ApiError> {
    name.map(|Path(name)| name).map_err(|_| ApiError::bad_request("the node's name in the path is not UTF-8"))
}

/// `POST /v1/topology/plan`.
pub(crate) async fn plan(
    State(api): State<Api>,
    tried: Tried,
    request: Request,
) -> Result<Response, ApiError> {
    let query = Query::parse(request.uri().query(), &["sample"])?;
    let precondition = Precondition::of(request.headers())?;
    let mode = Mode { precondition, dry_run: true, move_keys: false, sample: query.sample()? };
    let edit = body::read::<PlanBody>(request.into_body()).await?.into();
    perform(&api, tried, mode, edit, StatusCode::OK).await
}

/// `PUT /v1/topology`.
pub(crate) async fn put_topology(
    State(api): State<Api>,
    tried: Tried,
    request: Request,
) -> Result<Response, ApiError> {
    let mode = Mode::of(&request)?;
    let edit = body::read::<ListBody>(request.into_body()).await?.into();
    perform(&api, tried, mode, edit, StatusCode::OK).await
}

/// `POST /v1/nodes`.
pub(crate) async fn add_node(
    State(api): State<Api>,
    tried: Tried,
    request: Request,
) -> Result<Response, ApiError> {
    let mode = Mode::of(&request)?;
    let edit = Edit::Add(body::read::<NodeBody>(request.into_body()).await?);
    perform(&api, tried, mode, edit, StatusCode::CREATED).await
}

/// `PATCH /v1/nodes/{name}`.
pub(crate) async fn patch_node(
    State(api): State<Api>,
    tried: Tried,
    name: Name,
    request: Request,
) -> Result<Response, ApiError> {
    let (name, mode) = (name_of(name)?, Mode::of(&request)?);
    let edit = Edit::Patch(name, body::read::<PatchBody>(request.into_body()).await?);
    perform(&api, tried, mode, edit, StatusCode::OK).await
}

/// `DELETE /v1/nodes/{name}`.
pub(crate) async fn remove_node(
    State(api): State<Api>,
    tried: Tried,
    name: Name,
    request: Request,
) -> Result<Response, ApiError> {
    let (name, mode) = (name_of(name)?, Mode::of(&request)?);
    body::none(request.into_body()).await?;
    perform(&api, tried, mode, Edit::Remove(name), StatusCode::OK).await
}

/// `POST /v1/topology/rollback`.
pub(crate) async fn rollback(
    State(api): State<Api>,
    tried: Tried,
    uri: Uri,
    request: Request,
) -> Result<Response, ApiError> {
    let move_keys = Query::parse(uri.query(), &["move_keys"])?.flag("move_keys")?;
    follows_nobody(&api)?;
    let precondition = Precondition::of(request.headers())?;
    body::none(request.into_body()).await?;
    let epoch = api.control.topology().epoch();
    precondition.check(epoch)?;
    begin_alone(&api, move_keys)?;
    let expected = precondition.is_some().then_some(epoch);
    let control = api.control.clone();
    let runtime = tokio::runtime::Handle::current();
    let change = on_blocking_thread(&api, move || {
        // what is on its way is called back, and so is what arrives in this very moment
        let done = match move_keys || control.topology().former().is_some() {
            true => runtime.block_on(control.rollback_and_move(expected)),
            false => control.rollback(expected),
        };
        if let Ok(change) = &done {
            note(tried.as_ref(), |attempt| attempt.done("rollback", change));
        }
        done
    });
    let report = MovementReport::from(&change.await??);
    Ok((etag(report.to_epoch), Json(report)).into_response())
}

/// Plans, and unless it is a dry run makes, one change.
async fn perform(
    api: &Api,
    tried: Tried,
    mode: Mode,
    edit: Edit,
    changed: StatusCode,
) -> Result<Response, ApiError> {
    if !mode.dry_run {
        follows_nobody(api)?;
    }
    for _ in 0..limits::EDIT_TRIES {
        let current = api.control.topology();
        mode.precondition.check(current.epoch())?;
        let spec = edit.of(current.spec())?;
        let mut sample = None;
        if mode.dry_run || mode.sample.is_some() {
            let Some(planned) = plan_from(api, &current, &spec).await? else { continue };
            sample = sampled(api, &planned, mode.sample).await?;
            if mode.dry_run {
                let report = MovementReport { sample, ..MovementReport::from(&planned) };
                return Ok((etag(report.from_epoch), Json(report)).into_response());
            }
        }
        begin_alone(api, mode.move_keys)?;
        match apply(api, tried.clone(), &current, spec, mode.move_keys).await? {
            Ok(change) => {
                let report = MovementReport { sample, ..MovementReport::from(&change) };
                return Ok((changed, etag(report.to_epoch), Json(report)).into_response());
            }
            Err(ApplyError::Epoch { .. }) if !mode.precondition.is_some() => continue,
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::conflict("busy", "others changed the topology each time this change was tried; try again"))
}

/// The plan, unless `current` is no longer what holds.
async fn plan_from(api: &Api, current: &Topology, spec: &TopologySpec) -> Result<Option<Change>, ApiError> {
    let (control, spec) = (api.control.clone(), spec.clone());
    let planned = on_blocking_thread(api, move || control.plan(spec)).await??;
    Ok((planned.from.epoch() == current.epoch()).then_some(planned))
}

/// The sample is taken before the swap: afterwards new owners fill up and the picture blurs. So a node that does not
/// answer refuses the call while nothing has changed.
async fn sampled(api: &Api, planned: &Change, keys: Option<u64>) -> Result<Option<SampleReport>, ApiError> {
    match keys {
        Some(keys) => api.sampler.sample(planned, keys).await.map(Some),
        None => Ok(None),
    }
}

/// Where another Ringway is followed, that is said before anything else that is wrong.
pub(crate) fn follows_nobody(api: &Api) -> Result<(), ApiError> {
    api.control.follows().map_or(Ok(()), |leader| Err(ApplyError::Follows(leader).into()))
}

/// Nobody else moves keys while a movement begins, nor begins to before it is known to have begun.
fn begin_alone(api: &Api, move_keys: bool) -> Result<(), ApiError> {
    if move_keys && api.strays.are_dealt_with() {
        let message = "work on strays goes on: it would carry keys to where they no longer belong; DELETE /v1/strays ends it";
        return Err(ApiError::conflict("strays_busy", message));
    }
    Ok(())
}

async fn apply(
    api: &Api,
    tried: Tried,
    current: &Arc<Topology>,
    spec: TopologySpec,
    move_keys: bool,
) -> Result<Result<Change, ApplyError>, ApiError> {
    let (control, current): (Control, Arc<Topology>) = (api.control.clone(), Arc::clone(current));
    let runtime = tokio::runtime::Handle::current();
    on_blocking_thread(api, move || {
        let what = wish::describe(current.spec(), &spec);
        let expected = Some(current.epoch());
        let done = match move_keys {
            true => runtime.block_on(control.apply_and_move(spec, expected, &what)),
            false => runtime.block_on(control.apply(spec, expected, &what)),
        };
        if let Ok(change) = &done {
            note(tried.as_ref(), |attempt| attempt.done(&what, change));
        }
        done
    })
    .await
}

/// Runs what may take seconds for the largest rings, one at a time.
async fn on_blocking_thread<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let turn = Arc::clone(&api.turn).acquire_owned().await;
    let job = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    job.await.map_err(|_| ApiError::internal("the work broke off; the log knows more"))
}

/// A plan has no attempt to note anything in.
fn note(tried: Option<&Extension<Attempt>>, what: impl FnOnce(&Attempt)) {
    if let Some(Extension(attempt)) = tried {
        what(attempt);
    }
}
