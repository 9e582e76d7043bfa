//! The way from a follower to its leader: JSON over HTTP/1.1 or HTTPS, on connections that are kept.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ringway_proxy::settings::{NodeTls, Secret};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits;

enum Way {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// See the head of this file.
pub(super) struct Wire {
    way: Way,
    /// Scheme, host and port of the leader's admin API.
    base: String,
    /// This follower's place in it.
    path: String,
    token: Option<HeaderValue>,
}

/// Why there is no answer, in words without a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is no connection to it: it has not got what was to be said.
    NotConnected(String),
    /// It did not answer; it may have got it.
    NotReached(String),
    /// It answered that it will not: the status, and its words.
    Refused(u16, String),
}

impl Wire {
    /// To the admin API at `url` (`http://host:port`, `https://host:port`), for the follower `name`.
    ///
    /// # Errors
    /// Why there can be no such way.
    pub(super) fn new(
        url: &str,
        name: &str,
        token: Option<&Secret>,
        tls: Option<&NodeTls>,
    ) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "it is no URL".to_owned())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("it must be http://HOST:PORT or https://HOST:PORT".to_owned());
        };
        let is_more = !matches!(uri.path(), "" | "/") || uri.query().is_some();
        if is_more || authority.as_str().contains('@') || authority.port_u16().is_none() {
            return Err("it must be http://HOST:PORT or https://HOST:PORT and nothing more".to_owned());
        }
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(limits::LEADER_CONNECT_TIME));
        http.set_nodelay(true);
        http.enforce_http(false);
        let mut pool = Client::builder(TokioExecutor::new());
        // before the other end would close it
        pool.pool_timer(TokioTimer::new()).pool_idle_timeout(limits::HEAD_TIME / 2);
        let way = match (scheme, tls) {
            ("http", _) => Way::Plain(pool.build(http)),
            ("https", Some(tls)) => {
                let host = authority.host().trim_start_matches('[').trim_end_matches(']');
                let name = tls.server_name(host).map_err(|error| error.to_string())?;
                let https = HttpsConnectorBuilder::new()
                    .with_tls_config((*tls.config()).clone())
                    .https_only()
                    .with_server_name_resolver(FixedServerNameResolver::new(name))
                    .enable_http1();
                Way::Tls(pool.build(https.wrap_connector(http)))
            }
            ("https", None) => return Err("nobody has said whose certificates are trusted".to_owned()),
            _ => return Err("it must begin with http:// or https://".to_owned()),
        };
        let bearer = |token: &Secret| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
                .map_err(|_| "the token has characters that no HTTP header can carry".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        };
        Ok(Self {
            way,
            base: format!("{scheme}://{authority}"),
            path: format!("/v1/followers/{}", utf8_percent_encode(name, NON_ALPHANUMERIC)),
            token: token.map(bearer).transpose()?,
        })
    }

    /// Sends `body` to this follower's place, or to what is `below` it, and reads the answer.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) async fn post<A: DeserializeOwned>(
        &self,
        below: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<A, Trouble> {
        let body = serde_json::to_vec(body).map_err(|error| Trouble::NotReached(error.to_string()))?;
        let answer = self.send(Method::POST, below, body.into(), limit).await?;
        // its own words could repeat a password
        serde_json::from_slice(&answer).map_err(|_| Trouble::nonsense())
    }

    /// Says that a process of this follower serves no longer, if the leader counts it at all.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) async fn leave(&self, instance: &str, limit: Duration) -> Result<(), Trouble> {
        let below = format!("?instance={}", utf8_percent_encode(instance, NON_ALPHANUMERIC));
        match self.send(Method::DELETE, &below, Bytes::new(), limit).await {
            Ok(_) | Err(Trouble::Refused(404, _)) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    async fn send(
        &self,
        method: Method,
        below: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, Trouble> {
        let mut request = Request::builder().method(method).uri(format!("{}{}{below}", self.base, self.path));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.clone());
        }
        let request =
            request.body(Full::new(body)).map_err(|error| Trouble::NotReached(error.to_string()))?;
        let answered = async {
            let response = match &self.way {
                Way::Plain(client) => client.request(request).await,
                Way::Tls(client) => client.request(request).await,
            };
            let response = response.map_err(|error| match error.is_connect() {
                true => Trouble::NotConnected(innermost(&error)),
                false => Trouble::NotReached(innermost(&error)),
            })?;
            let status = response.status();
            let body = read(response.into_body()).await?;
            Ok((status, body))
        };
        let timed_out = || Trouble::NotReached(format!("no answer within {} s", limit.as_secs_f64()));
        let (status, body) =
            tokio::time::timeout(limit, answered).await.unwrap_or_else(|_| Err(timed_out()))?;
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
    }
}

async fn read(body: Incoming) -> Result<Bytes, Trouble> {
    let whole = Limited::new(body, limits::TOLD_BYTES).collect().await;
    Ok(whole.map_err(|error| Trouble::NotReached(error.to_string()))?.to_bytes())
}

impl Trouble {
    /// Whether it is the same trouble going on.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Refused(..), _) | (_, Self::Refused(..)) => self == other,
            _ => true,
        }
    }

    /// What answers there is no Ringway.
    pub(super) fn nonsense() -> Self {
        Self::Refused(200, "its answer is not what a Ringway says".to_owned())
    }
}

/// What an answer that is an error says.
fn refusal(status: StatusCode, body: &[u8]) -> Trouble {
    #[derive(Deserialize)]
    struct Envelope {
        error: Said,
    }
    #[derive(Deserialize)]
    struct Said {
        message: String,
    }
    let said = serde_json::from_slice::<Envelope>(body).map(|envelope| envelope.error.message);
    let said: String = said.unwrap_or_default().chars().take(300).collect();
    Trouble::Refused(status.as_u16(), said.escape_debug().to_string())
}

/// The cause of an error that tells nothing itself ("client error (Connect)").
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    let text = error.to_string();
    // in words that say what to do
    [
        ("close_notify", "it closed the connection"),
        ("invalid HTTP version", "what answers there does not speak HTTP; is it https://?"),
        (
            "UnknownIssuer",
            "nobody who is trusted has signed its certificate; name the authority: follow.tls.ca",
        ),
    ]
    .iter()
    .find(|(part, _)| text.contains(part))
    .map_or(text.clone(), |(_, words)| (*words).to_owned())
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotConnected(why) | Self::NotReached(why) => write!(f, "it is not reached: {why}"),
            Self::Refused(200, why) => f.write_str(why),
            Self::Refused(status, why) => write!(f, "it refuses: {status} {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_an_admin_api() {
        let way = |url: &str| Wire::new(url, "a b", None, None).map(|wire| (wire.base, wire.path));
        let (base, path) = way("http://h:9380/").unwrap();
        assert_eq!((&*base, &*path), ("http://h:9380", "/v1/followers/a%20b"));
        assert!(way("http://[::1]:9380").is_ok());
        for bad in [
            "",
            "h:9380",
            "/x",
            "ftp://h:1",
            "http://h:1/x",
            "http://h:1?x",
            "http://u:p@h:1",
            "http://h",
            "http://h:99999",
        ] {
            assert!(way(bad).is_err(), "{bad}");
        }
        assert!(way("https://h:9380").unwrap_err().contains("certificates"));
    }

    #[test]
    fn what_was_refused_is_said_and_nothing_else() {
        let told = refusal(StatusCode::CONFLICT, br#"{"error": {"code": "x", "message": "no\nway"}}"#);
        assert_eq!(told.to_string(), "it refuses: 409 no\\nway");
        assert_eq!(refusal(StatusCode::NOT_FOUND, b"<html>").to_string(), "it refuses: 404 ");
    }
}
