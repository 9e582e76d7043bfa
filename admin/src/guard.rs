//! Who may speak to the control plane at all. Everything here is refused before any handler runs.
//!
//! Without a token the machine's own users are trusted, but not what their browsers load: a page of another origin
//! may make a browser send requests to loopback (cross-site request forgery), and a name that first pointed to its
//! own server may then point to 127.0.0.1 (DNS rebinding). So the Host must be a loopback name, a foreign Origin is
//! refused, and a change must be JSON, which a browser does not send elsewhere without asking first.
//! With a token the token decides; any Host will do, because a proxy in front or a container has its own names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ringway_proxy::settings::Secret;
use subtle::ConstantTimeEq;

use crate::error::ApiError;
use crate::limits;
use crate::routes::Api;
use crate::settings::AdminSettings;

/// Where a request came from; put into every request by the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What a request is measured by.
#[derive(Debug)]
pub(crate) struct Guard {
    token: Option<Secret>,
    open_metrics: bool,
    /// The host that the operator wrote in `listen`, in lower case.
    listen_host: String,
    refused: Mutex<Refused>,
}

/// Refused tokens since the last line about them in the log.
#[derive(Debug, Default)]
struct Refused {
    count: u64,
    logged: Option<Instant>,
}

/// At most one line about refused tokens in this time, or a thousand tries a second would fill the disk.
const REFUSED_LOG_INTERVAL: Duration = Duration::from_secs(10);

impl Guard {
    pub(crate) fn new(settings: &AdminSettings) -> Self {
        Self {
            token: settings.token.clone(),
            open_metrics: settings.open_metrics,
            listen_host: host_of(&settings.listen).unwrap_or_default(),
            refused: Mutex::default(),
        }
    }

    /// Lets a request pass, or says why not.
    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let (headers, uri) = (request.headers(), request.uri());
        self.check_host(headers, uri)?;
        check_origin(headers)?;
        if !self.is_open(uri.path()) {
            self.check_token(headers).inspect_err(|_| self.note_refused(request))?;
        }
        check_body(request.method(), headers)
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

    fn check_token(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(token) = &self.token else { return Ok(()) };
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let presented = match (values.next(), values.next()) {
            (Some(value), None) => bearer(value),
            _ => None,
        };
        // constant time for equal lengths; the length alone is no secret
        let equal = presented.is_some_and(|presented| bool::from(presented.ct_eq(token.reveal().as_bytes())));
        if equal {
            return Ok(());
        }
        let message = "present the admin token as  Authorization: Bearer <token>";
        Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message))
    }

    fn note_refused(&self, request: &Request) {
        let mut refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        refused.count += 1;
        if refused.logged.is_none_or(|logged| logged.elapsed() >= REFUSED_LOG_INTERVAL) {
            let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
            tracing::warn!(last_peer = ?peer, count = refused.count, "admin requests without a valid token refused");
            *refused = Refused { count: 0, logged: Some(Instant::now()) };
        }
    }
}

/// The middleware in front of every route, the unknown ones included.
pub(crate) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let mut response = match api.guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
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
        let guard =
            Guard::new(&AdminSettings { listen: "ringway.internal:1".into(), ..AdminSettings::default() });
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
