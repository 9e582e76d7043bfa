//! Who may speak to the control plane at all. Everything here is refused before any handler runs.
//!
//! Without a token the machine's own users are trusted, but not what their browsers load: a page of another origin
//! may make a browser send requests to loopback (cross-site request forgery), and a name that first pointed to its
//! own server may then point to 127.0.0.1 (DNS rebinding). So the Host must be a loopback name, a foreign Origin is
//! refused, and a change must be JSON, which a browser does not send elsewhere without asking first.
//! With a token the token decides; any Host will do, because a proxy in front or a container has its own names.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ringway_proxy::settings::Secret;
use subtle::ConstantTimeEq;

use crate::audit::{self, Attempt, ErrorCode};
use crate::error::ApiError;
use crate::limits;
use crate::routes::Api;
use crate::settings::AdminSettings;

/// Where a request came from; put into every request by the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What a request came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// None, where none is asked for.
    None,
    /// The one that may change.
    Full,
    /// The one that may look and plan.
    Read,
}

impl Token {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Full => "token",
            Self::Read => "read_token",
        }
    }
}

/// Requests and connections that were refused before any handler, by reason; for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    token: AtomicU64,
    rights: AtomicU64,
    host: AtomicU64,
    origin: AtomicU64,
    /// Connections above [`limits::CONNECTIONS`].
    pub(crate) connections: AtomicU64,
}

impl Refusals {
    /// Reason and count.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 5] {
        [
            ("token", &self.token),
            ("rights", &self.rights),
            ("host", &self.host),
            ("origin", &self.origin),
            ("connections", &self.connections),
        ]
        .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }

    fn count(&self, code: &str) {
        let counter = match code {
            "unauthorized" => &self.token,
            "read_only" => &self.rights,
            "foreign_host" => &self.host,
            "foreign_origin" => &self.origin,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a request is measured by.
#[derive(Debug)]
pub(crate) struct Guard {
    token: Option<Secret>,
    read_token: Option<Secret>,
    refusals: Arc<Refusals>,
    open_metrics: bool,
    /// The host that the operator wrote in `listen`, in lower case.
    listen_host: String,
    refused: Mutex<Refused>,
}

/// Requests of strangers refused since the last line about them in the log.
#[derive(Debug, Default)]
struct Refused {
    count: u64,
    logged: Option<Instant>,
}

/// At most one line about strangers in this time, or a thousand tries a second would fill the disk.
const REFUSED_LOG_INTERVAL: Duration = Duration::from_secs(10);

impl Guard {
    pub(crate) fn new(settings: &AdminSettings, refusals: Arc<Refusals>) -> Self {
        Self {
            token: settings.token.clone(),
            read_token: settings.read_token.clone(),
            refusals,
            open_metrics: settings.open_metrics,
            listen_host: host_of(&settings.listen).unwrap_or_default(),
            refused: Mutex::default(),
        }
    }

    /// Says who may be asking, or why nobody may.
    fn admit(&self, request: &Request) -> Result<Token, ApiError> {
        let (headers, uri) = (request.headers(), request.uri());
        self.check_host(headers, uri)?;
        check_origin(headers)?;
        if self.is_open(uri.path()) { Ok(Token::None) } else { self.check_token(headers) }
    }

    fn check_host(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(ApiError::bad_request("a request must have exactly one Host header"));
        };
        let allowed = |authority: &str| host_of(authority).is_some_and(|host| self.is_own_host(&host));
        let named =
            [host.to_str().ok(), uri.authority().map(|authority| authority.as_str()).or(Some("localhost"))];
        if self.token.is_none() && !named.iter().all(|authority| authority.is_some_and(allowed)) {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "foreign_host",
                "without a token only a loopback Host is served; use http://127.0.0.1, or set admin.token",
            ));
        }
        Ok(())
    }

    fn is_own_host(&self, host: &str) -> bool {
        host == "localhost"
            || host == self.listen_host
            || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// Health is asked by those who hold no token and tells nothing that a connection to the port would not.
    fn is_open(&self, path: &str) -> bool {
        matches!(path, "/healthz" | "/readyz") || self.open_metrics && path == "/metrics"
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<Token, ApiError> {
        let Some(token) = &self.token else { return Ok(Token::None) };
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let presented = match (values.next(), values.next()) {
            (Some(value), None) => bearer(value).unwrap_or_default(),
            _ => &[],
        };
        // constant time for equal lengths; the length alone is no secret
        let equals = |token: &Secret| bool::from(presented.ct_eq(token.reveal().as_bytes()));
        let (full, read) = (equals(token), self.read_token.as_ref().is_some_and(equals));
        match (full, read) {
            (true, _) => Ok(Token::Full),
            (false, true) => Ok(Token::Read),
            (false, false) => {
                let message = "present the admin token as  Authorization: Bearer <token>";
                Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message))
            }
        }
    }

    /// Counts a stranger, and tells of strangers now and then.
    fn note_refused(&self, request: &Request, why: &ApiError) {
        self.refusals.count(why.code);
        let mut refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        refused.count += 1;
        if refused.logged.is_none_or(|logged| logged.elapsed() >= REFUSED_LOG_INTERVAL) {
            tracing::warn!(
                last_peer = peer(request).map(|peer| peer.ip().to_string()).unwrap_or_default(),
                last_reason = why.code,
                count = refused.count,
                "admin requests refused: no valid token, or a foreign Host or Origin"
            );
            *refused = Refused { count: 0, logged: Some(Instant::now()) };
        }
    }

    /// What a caller that was let in may not do.
    fn check_call(&self, token: Token, request: &Request) -> Result<(), ApiError> {
        let (method, path) = (request.method(), request.uri().path());
        let reads = *method == Method::GET || *method == Method::HEAD;
        if token == Token::Read && !reads && path != "/v1/topology/plan" {
            self.refusals.count("read_only");
            let message =
                "this token may look and plan, not change: use POST /v1/topology/plan, or the other token";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "read_only", message));
        }
        check_body(method, request.headers())
    }
}

fn peer(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0)
}

/// The middleware in front of every route, the unknown ones included.
pub(crate) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let has_body = !request.body().is_end_stream();
    let request_changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = match api.guard.admit(&request) {
        Ok(token) => {
            let (method, path) = (request.method(), request.uri().path());
            let attempt = audit::is_change(method, path)
                .then(|| Attempt::new(&api.control, peer(&request), token, method, path));
            let response = match api.guard.check_call(token, &request) {
                Ok(()) => {
                    if let Some(attempt) = &attempt {
                        request.extensions_mut().insert(attempt.clone());
                    }
                    next.run(request).await
                }
                Err(error) => error.into_response(),
            };
            if let Some(attempt) = attempt {
                attempt.answered(response.status(), response.extensions().get::<ErrorCode>().copied());
            }
            response
        }
        Err(error) => {
            api.guard.note_refused(&request, &error);
            error.into_response()
        }
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // a body that was not read ends the connection, which whoever would use it again must know; and who is refused because
    // another process makes the changes finds that one by another connection
    let is_held = response.status() == StatusCode::SERVICE_UNAVAILABLE && request_changes;
    if is_held || has_body && response.status().is_client_error() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The credentials of `Authorization: Bearer <credentials>`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`, in lower case and without brackets.
fn host_of(authority: &str) -> Option<String> {
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let host = match authority.strip_prefix('[') {
        Some(rest) => {
            let (inner, port) = rest.split_once(']')?;
            (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(inner)?
        }
        None => match authority.split_once(':') {
            Some((host, port)) => is_port(port).then_some(host)?,
            None => authority,
        },
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// A browser says which page makes it ask. Only a page of this very address may.
fn check_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let own = |origin: &HeaderValue| {
        let origin = origin.to_str().ok()?;
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))?;
        authority.eq_ignore_ascii_case(host).then_some(())
    };
    if headers.get_all(header::ORIGIN).iter().all(|origin| own(origin).is_some()) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "foreign_origin",
        "requests from pages of another origin are refused",
    ))
}

/// What is sent must be JSON and not announced as too much.
fn check_body(method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limits::BODY_BYTES as u64) {
        return Err(ApiError::too_large());
    }
    let has_body = length.unwrap_or(0) > 0 || headers.contains_key(header::TRANSFER_ENCODING);
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (None, _) if !has_body => Ok(()),
        (Some(value), None) if is_json(value) => Ok(()),
        _ => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "a body must come as  Content-Type: application/json",
        )),
    }
}

fn is_json(value: &HeaderValue) -> bool {
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_apart() {
        for (authority, host) in [
            ("127.0.0.1:9380", "127.0.0.1"),
            ("LocalHost", "localhost"),
            ("[::1]:9380", "::1"),
            ("[::1]", "::1"),
        ] {
            assert_eq!(host_of(authority).as_deref(), Some(host), "{authority}");
        }
        for bad in ["", ":9380", "[::1", "[::1]x", "a:b", "::1", "user@localhost:x"] {
            assert_eq!(host_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_that_only_look_like_loopback_are_foreign() {
        let guard = Guard::new(
            &AdminSettings { listen: "ringway.internal:1".into(), ..AdminSettings::default() },
            Arc::default(),
        );
        for own in ["localhost", "127.0.0.1", "127.8.8.8", "::1", "ringway.internal"] {
            assert!(guard.is_own_host(own), "{own}");
        }
        for foreign in
            ["localhost.evil.example", "127.0.0.1.evil.example", "evil.example", "10.0.0.1", "0.0.0.0"]
        {
            assert!(!guard.is_own_host(foreign), "{foreign}");
        }
    }
}
