//! What is refused before any handler runs, and what a token opens.

use super::*;
use crate::limits;

#[tokio::test]
async fn unknown_paths_and_methods_answer_json() {
    let fixture = fixture().await;
    for path in ["/", "/v1", "/v1/nodes/", "/v1/topology/", "/v1/nodes/a/b", "//metrics"] {
        assert_eq!(fixture.get(path).await.code(), "unknown_path", "{path}");
    }
    for (method, path, allowed) in
        [("POST", "/v1/topology", "PUT"), ("GET", "/v1/nodes", "POST"), ("GET", "/v1/nodes/cache-1", "PATCH")]
    {
        let answer = fixture.send(method, path, &[], Body::empty()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
        );
        assert!(answer.headers["allow"].to_str().unwrap().contains(allowed), "{path}");
    }
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused_before_any_handler() {
    let fixture = fixture().await;
    for host in ["evil.example", "127.0.0.1.evil.example:9380", "10.0.0.7:9380", "localhost.", ""] {
        for path in ["/v1/topology", "/healthz", "/nothing"] {
            let answer = fixture.send("GET", path, &[("host", host)], Body::empty()).await;
            let expected = if host.is_empty() { StatusCode::BAD_REQUEST } else { StatusCode::FORBIDDEN };
            assert_eq!(answer.status, expected, "{host} {path}");
        }
    }
    let absolute = fixture.get("http://evil.example/v1/topology").await;
    assert_eq!(absolute.status, StatusCode::FORBIDDEN);
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:9380"] {
        assert_eq!(
            fixture.send("GET", "/healthz", &[("host", host)], Body::empty()).await.status,
            StatusCode::OK
        );
    }
    for origin in ["http://evil.example", "null", "http://127.0.0.1:3000", "http://localhost:9380"] {
        let headers = [("origin", origin)];
        let answer = fixture.send("DELETE", "/v1/nodes/cache-1", &headers, Body::empty()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::FORBIDDEN, "foreign_origin"),
            "{origin}"
        );
    }
    let own = [("origin", "http://127.0.0.1:9380")];
    assert_eq!(fixture.send("GET", "/v1/topology", &own, Body::empty()).await.status, StatusCode::OK);
    assert_eq!(fixture.epoch(), 1);
}

#[tokio::test]
async fn a_change_must_be_json() {
    let fixture = fixture().await;
    let body = r#"{"name":"cache-4","address":"127.0.0.1:4"}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let headers = [("content-type", kind), ("content-length", "44")];
        let answer = fixture.send("POST", "/v1/nodes", &headers, body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json"),
            "{kind}"
        );
    }
    let form =
        fixture.send("POST", "/v1/topology/rollback", &[("content-type", "text/plain")], Body::empty()).await;
    assert_eq!(form.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let announced = [("content-type", "application/json"), ("content-length", "104857600")];
    let answer = fixture.send("POST", "/v1/nodes", &announced, body).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
    let charset = [("content-type", "Application/JSON; charset=utf-8")];
    assert_eq!(fixture.send("POST", "/v1/nodes", &charset, body).await.status, StatusCode::CREATED);
    let streamed = "x".repeat(limits::BODY_BYTES + 1);
    let json = [("content-type", "application/json")];
    assert_eq!(
        fixture.send("POST", "/v1/nodes", &json, streamed).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[tokio::test]
async fn the_token_opens_and_nothing_else_does() {
    let fixture = fixture_with_token().await;
    let right = format!("Bearer {TOKEN}");
    let in_url = format!("/v1/topology?token={TOKEN}");
    for (uri, authorization) in [
        ("/v1/topology", ""),
        ("/v1/topology", "Bearer"),
        ("/v1/topology", "Bearer "),
        ("/v1/topology", "Bearer wrong"),
        ("/v1/topology", TOKEN),
        ("/v1/topology", &right[..right.len() - 1]),
        ("/v1/topology", &format!("{right}x")),
        ("/v1/topology", &right.replace("Bearer", "Basic")),
        ("/metrics", ""),
        ("/nothing", ""),
        (&in_url, ""),
    ] {
        let answer = fixture.send("GET", uri, &[("authorization", authorization)], Body::empty()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::UNAUTHORIZED, "unauthorized"),
            "{uri}"
        );
        assert!(answer.headers.contains_key("www-authenticate"));
    }
    for (host, scheme) in [("127.0.0.1", "Bearer"), ("ringway.example:9380", "bearer")] {
        let authorization = format!("{scheme} {TOKEN}");
        let headers = [("host", host), ("authorization", authorization.as_str())];
        assert_eq!(
            fixture.send("GET", "/v1/topology", &headers, Body::empty()).await.status,
            StatusCode::OK,
            "{host}"
        );
    }
    assert_eq!(fixture.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(fixture.get("/readyz").await.code(), "not_ready");
}

#[tokio::test]
async fn metrics_can_be_opened_without_opening_more() {
    let token = Some(Secret::new(TOKEN));
    let settings = AdminSettings { token, open_metrics: true, ..AdminSettings::default() };
    let fixture = fixture_with(settings).await;
    let answer = fixture.get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    for name in [
        "ringway_client_connections 0\n",
        "ringway_topology_epoch 1\n",
        "ringway_last_change_moved_ratio 0\n",
        "ringway_node_up{node=\"cache-1\"} 0\n",
        "ringway_node_connections{node=\"cache-3\"} 0\n",
        "ringway_node_share_ratio{node=\"cache-2\"} 0.3",
        "ringway_bytes_total{direction=\"in\",side=\"client\"} 0\n",
        "ringway_bytes_total{direction=\"out\",side=\"node\"} 0\n",
        "process_resident_memory_bytes ",
    ] {
        assert!(answer.text.contains(name), "{name} in\n{}", answer.text);
    }
    assert_eq!(fixture.get("/v1/stats").await.status, StatusCode::UNAUTHORIZED);
}
