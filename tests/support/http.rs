//! JSON over HTTP, as an operator's script would speak it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use ureq::http::Request;

/// A change waits until it is on disk, which machines that write much else at the time can make a matter of half a minute.
const PATIENCE: Duration = Duration::from_secs(120);

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// The `ETag` header.
    pub(crate) etag: Option<String>,
    /// The body as it came.
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text))
    }

    /// The body as JSON of an answer that must be a success.
    pub(crate) fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.json()
    }

    /// Checks the shape of an error and gives its message.
    pub(crate) fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        let body = self.json();
        assert!(body["error"]["code"].as_str().is_some_and(|code| !code.is_empty()), "{}", self.text);
        body["error"]["message"].as_str().expect("error.message is a text").to_owned()
    }
}

/// A client for one control plane.
#[derive(Clone)]
pub(crate) struct Http {
    agent: ureq::Agent,
    address: SocketAddr,
    headers: Vec<(String, String)>,
}

impl Http {
    /// Speaks to `address` without a token.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let config =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
        Self { agent: config.into(), address, headers: Vec::new() }
    }

    /// Where it speaks to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a further header with every request.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// `GET path`.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None)
    }

    /// `method path` with a JSON body.
    pub(crate) fn json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.clone().header("Content-Type", "application/json").send(method, path, Some(body.to_string()))
    }

    /// `method path` with a body as it stands, or none.
    pub(crate) fn send(&self, method: &str, path: &str, body: Option<String>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let result = match body {
            Some(body) => self.agent.run(request.body(body).expect("a request")),
            // as curl does it: neither a body nor its type is announced
            None if method == "POST" => {
                self.agent.run(request.header("Content-Length", "0").body(()).expect("a request"))
            }
            None => self.agent.run(request.body(()).expect("a request")),
        };
        let mut response = result.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let etag = response.headers().get("etag").map(|value| value.to_str().expect("ASCII").to_owned());
        let text = response.body_mut().with_config().limit(64 << 20).read_to_string().expect("a body");
        Answer { status: response.status().as_u16(), etag, text }
    }
}
