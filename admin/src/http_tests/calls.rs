//! What the calls do, and how they keep out of each other's way.

use super::*;

#[tokio::test]
async fn the_topology_is_told_with_its_tag_and_without_credentials() {
    let answer = fixture().await.get("/v1/topology").await;
    assert_eq!((answer.status, answer.headers["etag"].to_str().unwrap()), (StatusCode::OK, "\"1\""));
    let json = answer.json();
    assert_eq!(
        (&json["epoch"], &json["placement"], &json["points"]),
        (&json!(1), &json!("xxh3"), &json!(1024))
    );
    assert_eq!(json["hash_tag"], "{}");
    assert_eq!(json["fingerprint"].as_str().unwrap().len(), 16);
    let node = &json["nodes"][0];
    assert_eq!(
        (&node["name"], &node["address"], &node["weight"]),
        (&json!("cache-1"), &json!("127.0.0.1:1"), &json!(1))
    );
    assert!(["down", "connecting"].contains(&node["state"].as_str().unwrap()));
    let shares: f64 =
        json["nodes"].as_array().unwrap().iter().map(|node| node["share_percent"].as_f64().unwrap()).sum();
    assert!((shares - 100.0).abs() < 0.001);
}

#[tokio::test]
async fn a_plan_changes_nothing_and_equals_the_change() {
    let fixture = fixture().await;
    let plan = fixture
        .json("POST", "/v1/topology/plan", json!({"add": [{"name": "cache-4", "address": "127.0.0.1:4"}]}))
        .await;
    assert_eq!((plan.status, fixture.epoch()), (StatusCode::OK, 1), "{}", plan.text);
    let new = json!({"name": "cache-4", "address": "127.0.0.1:4"});
    let dry = fixture.json("POST", "/v1/nodes?dry_run=true", new.clone()).await;
    assert_eq!((dry.status, fixture.epoch(), &dry.text), (StatusCode::OK, 1, &plan.text));
    let done = fixture.json("POST", "/v1/nodes", new).await;
    assert_eq!((done.status, fixture.epoch(), &done.text), (StatusCode::CREATED, 2, &plan.text));
    assert_eq!(done.headers["etag"], "\"2\"");
    assert_eq!(done.json()["minimum_percent"], 25.0);
}

#[tokio::test]
async fn nodes_join_change_and_leave() {
    let fixture = fixture().await;
    let patch = fixture.json("PATCH", "/v1/nodes/cache-1", json!({"weight": 3})).await;
    assert_eq!(patch.status, StatusCode::OK, "{}", patch.text);
    let moved = fixture.json("PATCH", "/v1/nodes/cache-1", json!({"address": "127.0.0.1:9"})).await;
    assert_eq!((moved.status, &moved.json()["moved_percent"]), (StatusCode::OK, &json!(0.0)));
    let node = fixture.proxy.control().topology().nodes()[0].clone();
    assert_eq!((node.address.as_str(), node.weight), ("127.0.0.1:9", 3));
    assert_eq!(node.credentials.password, Some(Secret::new(PASSWORD)), "credentials stay with the name");
    for (name, status) in [("cache-2", 200), ("cache-2", 404), ("cache-3", 200), ("cache-1", 422)] {
        let answer = fixture.send("DELETE", &format!("/v1/nodes/{name}"), &[], Body::empty()).await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {}", answer.text);
    }
    assert_eq!(fixture.epoch(), 5);
    let back = fixture.send("POST", "/v1/topology/rollback", &[], Body::empty()).await;
    assert_eq!((back.status, fixture.epoch()), (StatusCode::OK, 6));
    let history = fixture.get("/v1/topology/history").await.json();
    assert_eq!(history[0]["epoch"], 6);
    assert_eq!(history[1]["change"], "remove cache-3");
    assert_eq!(history[4]["change"], "reweight cache-1 from 1 to 3");
    assert!(
        history[4]["at"].as_str().unwrap().ends_with('Z')
            && history[4]["moved_percent"].as_f64().unwrap() > 10.0
    );
}

#[tokio::test]
async fn what_is_not_there_or_there_already_is_told() {
    let fixture = fixture().await;
    let taken = json!({"name": "cache-1", "address": "127.0.0.1:4"});
    assert_eq!(fixture.json("POST", "/v1/nodes", taken).await.code(), "node_exists");
    assert_eq!(fixture.json("PATCH", "/v1/nodes/nobody", json!({"weight": 2})).await.code(), "unknown_node");
    assert_eq!(
        fixture.json("PATCH", "/v1/nodes/%ff", json!({"weight": 2})).await.status,
        StatusCode::BAD_REQUEST
    );
    let undo = fixture.send("POST", "/v1/topology/rollback", &[], Body::empty()).await;
    assert_eq!((undo.status, undo.code().as_str()), (StatusCode::CONFLICT, "nothing_to_undo"));
    assert_eq!(fixture.epoch(), 1);
}

#[tokio::test]
async fn if_match_is_honoured_by_every_change() {
    let fixture = fixture().await;
    let node = json!({"name": "cache-4", "address": "127.0.0.1:4"});
    for (tag, status) in [("\"2\"", 412), ("W/\"1\"", 412), ("\"x\"", 412), ("1", 400), ("\"1", 400)] {
        for (method, uri, body) in [
            ("PUT", "/v1/topology", three()),
            ("POST", "/v1/topology/plan", three()),
            ("POST", "/v1/nodes", node.clone()),
            ("PATCH", "/v1/nodes/cache-1", json!({"weight": 2})),
            ("DELETE", "/v1/nodes/cache-1", json!({})),
            ("POST", "/v1/topology/rollback", json!({})),
        ] {
            let answer = fixture.if_match(tag, method, uri, body).await;
            assert_eq!(answer.status.as_u16(), status, "{tag} {method} {uri}: {}", answer.text);
            answer.code();
        }
    }
    assert_eq!(fixture.epoch(), 1);
    assert_eq!(fixture.if_match("\"7\", \"1\"", "PUT", "/v1/topology", three()).await.status, StatusCode::OK);
    assert_eq!(fixture.if_match("*", "PUT", "/v1/topology", three()).await.status, StatusCode::OK);
    assert_eq!(
        fixture.if_match("\"3\"", "POST", "/v1/topology/rollback", json!({})).await.status,
        StatusCode::OK
    );
    assert_eq!(fixture.epoch(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_with_one_tag_one_wins_and_edits_without_tag_all_do() {
    let fixture = fixture().await;
    let puts = (0..10).map(|_| fixture.if_match("\"1\"", "PUT", "/v1/topology", three()));
    let statuses: Vec<u16> =
        futures_util::future::join_all(puts).await.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 9, "{statuses:?}");
    let adds = (4..8).map(|at| {
        fixture.json(
            "POST",
            "/v1/nodes",
            json!({"name": format!("cache-{at}"), "address": format!("127.0.0.1:{at}")}),
        )
    });
    for answer in futures_util::future::join_all(adds).await {
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    }
    assert_eq!(fixture.proxy.control().topology().nodes().len(), 7);
}

#[tokio::test]
async fn a_bad_topology_is_refused_with_a_reason_and_the_old_one_serves_on() {
    let fixture = fixture().await;
    let own = fixture.proxy.local_addr().to_string();
    let node =
        |name: &str, address: &str, weight: i64| json!({"name": name, "address": address, "weight": weight});
    for (nodes, status) in [
        (json!([]), 422),
        (json!([node("a", "127.0.0.1:1", 1), node("a", "127.0.0.1:2", 1)]), 422),
        (json!([node("a", "127.0.0.1:1", 1), node("b", "127.0.0.1:1", 1)]), 422),
        (json!([node("a", "127.0.0.1:1", 0)]), 422),
        (json!([node("a", "127.0.0.1:1", 1001)]), 422),
        (json!([node("a", "127.0.0.1:1", -1)]), 400),
        (json!([node("a", "nonsense", 1)]), 422),
        (json!([node("a b", "127.0.0.1:1", 1)]), 422),
        (json!([node("a", "no-such-host.invalid:1", 1)]), 422),
        (json!([node("a", &own, 1)]), 422),
        (json!("nodes"), 400),
    ] {
        let answer = fixture.json("PUT", "/v1/topology", json!({"nodes": nodes})).await;
        assert_eq!(answer.status.as_u16(), status, "{nodes}: {}", answer.text);
        answer.code();
    }
    let million =
        format!(r#"{{"nodes":[{}]}}"#, vec![r#"{"name":"n","address":"h:1"}"#; 1_000_000].join(","));
    let json = ("content-type", "application/json");
    assert_eq!(
        fixture.send("PUT", "/v1/topology", &[json], million).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(fixture.epoch(), 1);
}

#[tokio::test]
async fn a_parameter_or_field_that_nobody_knows_never_becomes_a_change() {
    let fixture = fixture().await;
    for (method, uri, body) in [
        ("DELETE", "/v1/nodes/cache-1?dryrun=true", json!({})),
        ("DELETE", "/v1/nodes/cache-1?dry_run=yes", json!({})),
        ("DELETE", "/v1/nodes/cache-1", json!({"dry_run": true})),
        ("PATCH", "/v1/nodes/cache-1", json!({"weigth": 2, "address": "127.0.0.1:8"})),
        ("POST", "/v1/topology/rollback?dry_run=true", json!({})),
        ("PUT", "/v1/topology?sample=0", three()),
        ("POST", "/v1/topology/plan?dry_run=false", three()),
    ] {
        let answer = fixture.json(method, uri, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {uri}: {}", answer.text);
    }
    assert_eq!(fixture.epoch(), 1);
}

#[tokio::test]
async fn a_sample_that_cannot_be_taken_is_an_error_and_no_change() {
    let fixture = fixture().await;
    let answer = fixture.json("PUT", "/v1/topology?sample=100", three()).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::CONFLICT, "sample_unavailable"));
    for node in ["cache-1", "cache-2", "cache-3"] {
        assert!(answer.text.contains(node), "{}", answer.text);
    }
    assert_eq!(fixture.epoch(), 1);
}

#[tokio::test]
async fn routes_are_told_for_text_and_for_bytes() {
    let fixture = fixture().await;
    let json = fixture.get("/v1/route?key=a%7Btag%7Db").await.json();
    assert_eq!(
        (&json["key"], &json["hashed_part"], &json["epoch"]),
        (&json!("a{tag}b"), &json!("tag"), &json!(1))
    );
    assert_eq!(json["hash"].as_str().unwrap().len(), 16);
    assert!(json["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    let same = fixture.get("/v1/route?key_base64=YXt0YWd9Yg").await;
    assert_eq!(same.json(), json);
    let binary = fixture.get("/v1/route?key=%ff%00").await.json();
    assert_eq!(binary["key_base64"], "/wA=");
    assert_eq!(fixture.get("/v1/route?key_base64=/wA=").await.json(), binary);
    for bad in ["/v1/route", "/v1/route?key=a&key_base64=YQ", "/v1/route?key_base64=*", "/v1/route?k=a"] {
        assert_eq!(fixture.get(bad).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn readiness_needs_a_node_and_stats_say_why_there_is_none() {
    let fixture = fixture().await;
    let answer = fixture.get("/readyz").await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "not_ready"));
    let stats = fixture.get("/v1/stats").await.json();
    assert_eq!(
        (&stats["epoch"], &stats["listening"], &stats["threads"]),
        (&json!(1), &json!(true), &json!(1))
    );
    assert_eq!(stats["nodes"][1]["name"], "cache-2");
    assert!(stats["nodes"][1].get("details").is_none());
    let detailed = fixture.get("/v1/stats?details=true").await.json();
    assert!(detailed["nodes"][1]["details"]["error"].is_string(), "{detailed}");
}
