//! The whole API without a socket: requests go into the router, in front of a proxy whose nodes cannot be reached.

mod calls;
mod refusals;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use ringway_proxy::Proxy;
use ringway_proxy::settings::{Credentials, NodeSpec, Secret, Settings};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::routes::routers;
use crate::settings::AdminSettings;

/// Long and random enough; must appear in no answer.
const TOKEN: &str = "f3Q8-token-r9wLx2";
const PASSWORD: &str = "node-password-7Kd";

struct Fixture {
    router: Router,
    proxy: Proxy,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }

    /// The error's code, after a check that it is one of the promised shape.
    fn code(&self) -> String {
        let json = self.json();
        assert!(json["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{json}");
        json["error"]["code"].as_str().unwrap().to_owned()
    }
}

async fn fixture_with(settings: AdminSettings) -> Fixture {
    let mut nodes: Vec<NodeSpec> =
        (1..=3).map(|at| NodeSpec::new(format!("cache-{at}"), format!("127.0.0.1:{at}"))).collect();
    nodes[0].credentials = Credentials { username: None, password: Some(Secret::new(PASSWORD)) };
    let proxy = Proxy::start(Settings { threads: 1, ..Settings::new(nodes) }).await.unwrap();
    Fixture { router: routers(&settings, proxy.control()).api, proxy }
}

async fn fixture() -> Fixture {
    fixture_with(AdminSettings::default()).await
}

async fn fixture_with_token() -> Fixture {
    fixture_with(AdminSettings { token: Some(Secret::new(TOKEN)), ..AdminSettings::default() }).await
}

impl Fixture {
    async fn send(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(uri);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "127.0.0.1:9380");
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(!text.contains(TOKEN) && !text.contains(PASSWORD), "a secret in {text}");
        assert_eq!(headers["cache-control"], "no-store");
        Answer { status, headers, text }
    }

    async fn get(&self, uri: &str) -> Answer {
        self.send("GET", uri, &[], Body::empty()).await
    }

    async fn json(&self, method: &str, uri: &str, body: Value) -> Answer {
        self.send(method, uri, &[("content-type", "application/json")], body.to_string()).await
    }

    async fn if_match(&self, tag: &str, method: &str, uri: &str, body: Value) -> Answer {
        let headers = [("content-type", "application/json"), ("if-match", tag)];
        self.send(method, uri, &headers, body.to_string()).await
    }

    fn epoch(&self) -> u64 {
        self.proxy.control().topology().epoch()
    }
}

fn three() -> Value {
    json!({"nodes": [
        {"name": "cache-1", "address": "127.0.0.1:1"},
        {"name": "cache-2", "address": "127.0.0.1:2"},
        {"name": "cache-3", "address": "127.0.0.1:3", "weight": 2},
    ]})
}
