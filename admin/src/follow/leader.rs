//! `/v1/followers`: what those that follow this Ringway ask of it, and what operators do about them.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ringway_proxy::control::{Control, FollowerRefused, FollowerReport, FollowerStatus, Forgotten};
use serde::Serialize;

use super::{AbandonedForm, Keys, Outcomes, Report, Told};
use crate::audit::Attempt;
use crate::body::{self, Checked};
use crate::error::ApiError;
use crate::form::{Known, TopologyForm};
use crate::guard::Peer;
use crate::limits;
use crate::query::Query;
use crate::routes::Api;

type Name = Result<Path<String>, PathRejection>;

/// Longest name of a follower, in bytes.
const NAME_BYTES: usize = 128;

impl Checked for Report {
    fn check(&self) -> Result<(), ApiError> {
        check_word("instance", &self.instance)?;
        let trouble = self.trouble.as_deref().unwrap_or_default();
        let is_long = |one: &AbandonedForm| one.address.len().max(one.end.len()) > limits::GIVEN_UP_TEXT;
        if trouble.len() > limits::TROUBLE_BYTES
            || self.given_up.len() > limits::GIVEN_UP
            || self.given_up.iter().any(is_long)
            || self.replaces.len() > limits::REPLACES
        {
            return Err(ApiError::bad_request("`trouble`, `given_up` or `replaces` is longer than can be"));
        }
        self.replaces.iter().try_for_each(|word| check_word("replaces", word))
    }
}

impl Checked for Keys {
    fn check(&self) -> Result<(), ApiError> {
        if self.keys.len() > limits::KEYS_ASKED_FOR {
            return Err(ApiError::bad_request(format!("more than {} keys at once", limits::KEYS_ASKED_FOR)));
        }
        Ok(())
    }
}

fn check_word(what: &str, word: &str) -> Result<(), ApiError> {
    if (1..=NAME_BYTES).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "`{what}` must be 1 to {NAME_BYTES} printable ASCII characters without spaces"
    )))
}

fn name_of(name: Name) -> Result<String, ApiError> {
    let Path(name) =
        name.map_err(|_| ApiError::bad_request("the follower's name in the path is not UTF-8"))?;
    check_word("name", &name)?;
    Ok(name)
}

/// `POST /v1/followers/{name}`: answers when there is another topology than the one it serves by, or after its patience.
pub(crate) async fn report(
    State(api): State<Api>,
    name: Name,
    request: Request,
) -> Result<Response, ApiError> {
    Query::parse(request.uri().query(), &[])?;
    let name = name_of(name)?;
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_string()).unwrap_or_default();
    let said = body::read::<Report>(request.into_body()).await?;
    let (control, followers) = (&api.control, api.control.followers());
    control.check_leads()?;
    // epochs of a process before this one count topologies of its own
    let serves = if said.leader == followers.leader() { said.serves } else { 0 };
    let heard = FollowerReport {
        instance: said.instance,
        peer,
        run: said.run,
        replaces: said.replaces,
        serves,
        settled: said.settled && serves > 0,
        given_up: said.given_up.into_iter().map(Into::into).collect(),
        trouble: said.trouble,
    };
    let line = Line { control, instance: heard.instance.clone(), is_held: true };
    if !followers.heard(&name, &heard, Instant::now()) {
        register(&api, name, heard).await?;
    }
    let patience = Duration::from_millis(said.wait_ms).min(limits::FOLLOWER_WAIT);
    if serves > 0 {
        let _ = tokio::time::timeout(patience, control.changes_from(serves)).await;
    }
    control.check_leads()?;
    let topology = control.topology();
    let is_new = topology.epoch() != serves;
    let left_behind = if is_new { control.left_behind() } else { Vec::new() };
    let answer = Told {
        leader: followers.leader().to_owned(),
        epoch: topology.epoch(),
        topology: is_new.then(|| TopologyForm::of(&topology, &Known::new())),
        fences: left_behind.into_iter().map(Into::into).collect(),
    };
    line.ends();
    Ok(Json(answer).into_response())
}

/// A follower waits on the other end.
struct Line<'a> {
    control: &'a Control,
    instance: String,
    is_held: bool,
}

impl Line<'_> {
    /// It gets its answer.
    fn ends(mut self) {
        self.is_held = false;
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        // this is dropped with the work on a request whose connection is lost
        if self.is_held {
            self.control.followers().lost(&self.instance);
        }
    }
}

async fn register(api: &Api, name: String, heard: FollowerReport) -> Result<(), ApiError> {
    let control = api.control.clone();
    // it writes a file
    let work =
        tokio::task::spawn_blocking(move || control.followers().register(&name, heard, Instant::now()));
    let registered = work.await.map_err(|_| ApiError::internal("the work broke off; the log knows more"))?;
    registered.map_err(refused)
}

fn refused(why: FollowerRefused) -> ApiError {
    let message = why.to_string();
    match why {
        FollowerRefused::TooMany => ApiError::conflict("too_many_followers", message),
        FollowerRefused::HasLeft => ApiError::conflict("has_left", message),
        FollowerRefused::NotKept(_) => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "not_kept", message),
    }
}

/// `POST /v1/followers/{name}/keys`.
pub(crate) async fn bring(
    State(api): State<Api>,
    name: Name,
    request: Request,
) -> Result<Response, ApiError> {
    Query::parse(request.uri().query(), &[])?;
    name_of(name)?;
    let asked = body::read::<Keys>(request.into_body()).await?;
    api.control.check_leads()?;
    let decoded: Result<Vec<Vec<u8>>, _> = asked.keys.iter().map(|key| STANDARD.decode(key)).collect();
    let keys = decoded.map_err(|_| ApiError::bad_request("a key is not base64"))?;
    let outcomes = if asked.leader == api.control.followers().leader() {
        api.bringing.bring(&api.control, asked.epoch, keys).await
    } else {
        None
    };
    Ok(Json(Outcomes { outcomes }).into_response())
}

/// `DELETE /v1/followers/{name}`: it serves no longer; with `?instance=` that one process of it.
pub(crate) async fn forget(
    State(api): State<Api>,
    tried: Option<Extension<Attempt>>,
    name: Name,
    request: Request,
) -> Result<Response, ApiError> {
    let query = Query::parse(request.uri().query(), &["instance"])?;
    let name = name_of(name)?;
    let instance = query.bytes("instance").map(|word| String::from_utf8_lossy(word).into_owned());
    // one that says so itself does nothing that an operator tried
    let tried = tried.filter(|Extension(attempt)| {
        if instance.is_some() {
            attempt.planned();
        }
        instance.is_none()
    });
    body::none(request.into_body()).await?;
    api.control.check_leads()?;
    let control = api.control.clone();
    let forgotten = name.clone();
    // it writes a file
    let work = tokio::task::spawn_blocking(move || {
        control.followers().leaves(&forgotten, instance.as_deref(), Instant::now())
    });
    let left = work.await.map_err(|_| ApiError::internal("the work broke off; the log knows more"))?;
    match left.map_err(refused)? {
        Forgotten::Yes => {}
        Forgotten::Unknown => {
            let message = format!("nobody called '{name}' follows this Ringway");
            return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_follower", message));
        }
        Forgotten::Lives => {
            let message = format!(
                "'{name}' was heard of a moment ago: it serves clients. Stop it, and it says so itself"
            );
            return Err(ApiError::conflict("follower_lives", message));
        }
    }
    if let Some(Extension(attempt)) = tried {
        attempt.begun(format!("forget follower '{name}'"));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Serialize)]
struct All {
    /// Whom this one follows.
    follows: Option<Follows>,
    followers: Vec<One>,
}

#[derive(Serialize)]
struct Follows {
    leader: String,
    in_touch: bool,
}

#[derive(Serialize)]
struct One {
    name: String,
    /// Where it reports from.
    address: String,
    state: &'static str,
    /// The epoch that it serves by; nothing when it is none of this leader's.
    epoch: Option<u64>,
    /// Seconds since it was heard of; nothing when it was not since this leader began.
    silent_seconds: Option<f64>,
    trouble: Option<String>,
}

/// All that [`state`] answers.
pub(crate) const STATES: [&str; 4] = ["current", "behind", "in_trouble", "silent"];

/// What a follower is, in one word.
pub(crate) fn state(follower: &FollowerStatus, epoch: u64) -> &'static str {
    match follower {
        FollowerStatus { is_silent: true, .. } => "silent",
        FollowerStatus { trouble: Some(_), .. } => "in_trouble",
        FollowerStatus { serves, .. } if *serves == epoch => "current",
        _ => "behind",
    }
}

/// `GET /v1/followers`.
pub(crate) async fn all(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(uri.query(), &[])?;
    let epoch = api.control.topology().epoch();
    let one = |follower: FollowerStatus| One {
        state: state(&follower, epoch),
        name: follower.name,
        address: follower.peer,
        epoch: (follower.serves > 0).then_some(follower.serves),
        silent_seconds: follower.silent_for.map(|time| (time.as_secs_f64() * 1e3).round() / 1e3),
        trouble: follower.trouble,
    };
    let followers = api.control.followers().all_of_them(Instant::now()).into_iter().map(one).collect();
    let in_touch = api.control.hears_leader();
    let follows = api.control.follows().map(|leader| Follows { leader, in_touch });
    Ok(Json(All { follows, followers }).into_response())
}
