//! Every call of the control plane over real HTTP.

use ringway_admin::AdminSettings;
use ringway_proxy::settings::Secret;
use serde_json::{Value, json};

use crate::support::http::Http;
use crate::support::{Cluster, Harness, RawClient, RedisServer, wait_for};

fn close(left: &Value, right: f64) -> bool {
    left.as_f64().is_some_and(|left| (left - right).abs() < 0.01)
}

fn node_list(http: &Http) -> Vec<Value> {
    let topology = http.get("/v1/topology").ok();
    let nodes = topology["nodes"].as_array().expect("nodes").clone();
    let wished =
        |node: Value| json!({"name": node["name"], "address": node["address"], "weight": node["weight"]});
    nodes.into_iter().map(wished).collect()
}

fn epoch(http: &Http) -> u64 {
    http.get("/v1/topology").ok()["epoch"].as_u64().expect("an epoch")
}

#[test]
fn the_topology_and_where_keys_are() {
    let cluster = Cluster::start(3).with_admin();
    let http = cluster.http();
    let answer = http.get("/v1/topology");
    let topology = answer.ok();
    assert_eq!(topology["epoch"], 1);
    assert_eq!(answer.etag.as_deref(), Some("\"1\""));
    assert_eq!(
        (&topology["placement"], &topology["points"], &topology["hash_tag"]),
        (&json!("xxh3"), &json!(1024), &json!("{}"))
    );
    assert!(topology["fingerprint"].as_str().is_some_and(|text| text.len() == 16));
    let nodes = topology["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), 3);
    let total: f64 = nodes.iter().map(|node| node["share_percent"].as_f64().expect("a share")).sum();
    assert!((total - 100.0).abs() < 0.01, "{total}");
    assert!(nodes.iter().all(|node| node["state"] == "up" && node["weight"] == 1), "{nodes:?}");

    for (path, key, part) in [
        ("/v1/route?key=plain", "plain", "plain"),
        ("/v1/route?key=%7Buser%3A7%7D%3Acart", "{user:7}:cart", "user:7"),
        ("/v1/route?key=%D0%BA%D0%BB%D1%8E%D1%87", "ключ", "ключ"),
        ("/v1/route?key_base64=cGxhaW4=", "plain", "plain"),
        ("/v1/route?key=", "", ""),
    ] {
        let route = http.get(path).ok();
        assert_eq!((&route["key"], &route["hashed_part"]), (&json!(key), &json!(part)), "{route}");
        assert_eq!(route["node"], cluster.owner(key));
        let at = nodes.iter().find(|node| node["name"] == route["node"]).expect("a node of the topology");
        assert_eq!((&route["address"], &route["epoch"]), (&at["address"], &json!(1)));
        let hash = format!("{:016x}", cluster.control().topology().ring().hash(key.as_bytes()));
        assert_eq!(route["hash"], hash);
    }
    // 0xff 0x00 is no text: it can only be asked for, and told, in base64
    let route = http.get("/v1/route?key_base64=/wA=").ok();
    assert_eq!(route["node"], cluster.owner(b"\xff\0"));
    http.get("/v1/route").refused(400);
    http.get("/v1/route?key=a&key_base64=YQ==").refused(400);
    http.get("/v1/route?key_base64=%21").refused(400);
}

#[test]
fn a_plan_reports_and_touches_nothing() {
    let cluster = Cluster::start(3).with_admin();
    let http = cluster.http();
    let four = RedisServer::start();
    let wished = [node_list(&http), vec![json!({"name": "cache-4", "address": four.address()})]].concat();
    let by_list = http.json("POST", "/v1/topology/plan", &json!({"nodes": wished})).ok();
    let add = json!({"add": [{"name": "cache-4", "address": four.address(), "weight": 1}]});
    assert_eq!(http.json("POST", "/v1/topology/plan", &add).ok(), by_list);
    let dry = http
        .json("POST", "/v1/nodes?dry_run=true", &json!({"name": "cache-4", "address": four.address()}))
        .ok();
    assert_eq!(dry, by_list);

    assert_eq!((&by_list["from_epoch"], &by_list["to_epoch"]), (&json!(1), &json!(2)));
    assert!(close(&by_list["minimum_percent"], 25.0), "{by_list}");
    let moved = by_list["moved_percent"].as_f64().expect("a number");
    assert!((20.0..30.0).contains(&moved), "{moved}");
    let flows = by_list["flows"].as_array().expect("flows");
    assert!(flows.iter().all(|flow| flow["to"] == "cache-4"), "{flows:?}");
    let sum: f64 = flows.iter().map(|flow| flow["percent"].as_f64().expect("a number")).sum();
    assert!((sum - moved).abs() < 0.01, "{sum} of {moved}");
    let joined = by_list["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .find(|node| node["name"] == "cache-4")
        .expect("cache-4")
        .clone();
    assert_eq!(joined["before_percent"], 0.0);
    assert!(close(&joined["after_percent"], moved), "a join moves exactly what it takes");
    assert!(by_list.get("sample").is_none());

    let mixed = json!({"remove": ["cache-1"], "reweight": {"cache-2": 3}});
    let mixed = http.json("POST", "/v1/topology/plan", &mixed).ok();
    assert!(close(&mixed["minimum_percent"], 100.0 * (1.0 - (1.0 / 3.0 + 0.25))), "{mixed}");
    assert_eq!(epoch(&http), 1);
    assert_eq!(http.get("/v1/topology/history").ok(), json!([]));
}

#[test]
fn nodes_join_change_and_leave_one_by_one() {
    let cluster = Cluster::start(2).with_admin();
    let http = cluster.http();
    let (three, replacement) = (RedisServer::start(), RedisServer::start());
    let joined = http.json("POST", "/v1/nodes", &json!({"name": "cache-3", "address": three.address()}));
    assert!(matches!(joined.status, 200 | 201), "{}", joined.status);
    assert_eq!(joined.ok()["to_epoch"], 2);
    cluster.wait_usable("cache-3");
    assert!(cluster.client().text(&["SET", &cluster.key_of("cache-3"), "v"]).starts_with("+OK"));
    assert_eq!(three.dbsize(), 1);

    let heavier = http.json("PATCH", "/v1/nodes/cache-3", &json!({"weight": 3})).ok();
    assert_eq!(heavier["to_epoch"], 3);
    assert!(
        heavier["flows"].as_array().expect("flows").iter().all(|flow| flow["to"] == "cache-3"),
        "{heavier}"
    );
    let planned = http.json("PATCH", "/v1/nodes/cache-3?dry_run=true", &json!({"weight": 1})).ok();
    assert_eq!(planned["moved_percent"], heavier["moved_percent"]);
    assert_eq!(epoch(&http), 3);

    let moved = http.json("PATCH", "/v1/nodes/cache-3", &json!({"address": replacement.address()})).ok();
    assert_eq!((&moved["moved_percent"], &moved["to_epoch"]), (&json!(0.0), &json!(4)));
    cluster.wait_usable("cache-3");
    assert!(cluster.client().text(&["SET", &cluster.key_of("cache-3"), "v"]).starts_with("+OK"));
    assert_eq!(replacement.dbsize(), 1);

    let left = http.send("DELETE", "/v1/nodes/cache-3", None).ok();
    assert!(left["flows"].as_array().expect("flows").iter().all(|flow| flow["from"] == "cache-3"), "{left}");
    assert_eq!(node_list(&http).len(), 2);

    let history = http.get("/v1/topology/history").ok();
    let epochs: Vec<u64> = history
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["epoch"].as_u64().expect("epoch"))
        .collect();
    assert_eq!(epochs, [5, 4, 3, 2], "newest first");
    for entry in history.as_array().expect("a list") {
        assert!(entry["change"].as_str().is_some_and(|text| !text.is_empty()), "{entry}");
        assert!(entry["at"].as_str().is_some_and(|text| text.contains('T')), "{entry}");
        assert!(entry["moved_percent"].is_number(), "{entry}");
    }
    http.send("DELETE", "/v1/nodes/cache-3", None).refused(404);
    http.json("PATCH", "/v1/nodes/nobody", &json!({"weight": 2})).refused(404);
    http.json("POST", "/v1/nodes", &json!({"name": "cache-1", "address": three.address()})).refused(409);
}

#[test]
fn put_applies_the_wished_list_and_rollback_undoes_it() {
    let cluster = Cluster::start(3).with_admin();
    let http = cluster.http();
    let all = node_list(&http);
    let fingerprint = http.get("/v1/topology").ok()["fingerprint"].clone();
    http.send("POST", "/v1/topology/rollback", None).refused(409);
    let body = json!({"nodes": &all[..2]});
    let report = http.clone().header("If-Match", "\"1\"").json("PUT", "/v1/topology", &body).ok();
    assert_eq!(report["to_epoch"], 2);
    http.clone().header("If-Match", "\"1\"").json("PUT", "/v1/topology", &json!({"nodes": all})).refused(412);
    assert_eq!(node_list(&http).len(), 2);

    let undone = http.send("POST", "/v1/topology/rollback", None).ok();
    assert_eq!((&undone["from_epoch"], &undone["to_epoch"]), (&json!(2), &json!(3)));
    assert_eq!(undone["moved_percent"], report["moved_percent"]);
    let topology = http.get("/v1/topology");
    assert_eq!(topology.ok()["fingerprint"], fingerprint);
    assert_eq!(topology.etag.as_deref(), Some("\"3\""));
}

#[test]
fn f1_ten_puts_with_one_if_match_have_one_winner() {
    let cluster = Cluster::start(3).with_admin();
    let http = cluster.http().header("If-Match", "\"1\"");
    let all = node_list(&http);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (1..=10u64)
            .map(|weight| {
                let (http, mut nodes) = (http.clone(), all.clone());
                nodes[0]["weight"] = json!(weight);
                scope.spawn(move || http.json("PUT", "/v1/topology", &json!({"nodes": nodes})).status)
            })
            .collect();
        tasks.into_iter().map(|task| task.join().expect("no panic")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 9, "{statuses:?}");
    assert_eq!(epoch(&cluster.http()), 2);
}

#[test]
fn f2_what_cannot_be_meant_is_refused_with_a_reason() {
    let cluster = Cluster::start(2).with_admin();
    let http = cluster.http();
    let all = node_list(&http);
    let with = |node: Value| json!({"nodes": ([all.clone(), vec![node]].concat())});
    let bad: Vec<(Value, &str)> = vec![
        (json!({"nodes": []}), "node"),
        (with(json!({"name": "cache-1", "address": "127.0.0.1:1"})), "cache-1"),
        (with(json!({"name": "w", "address": "127.0.0.1:1", "weight": 0})), "weight"),
        (with(json!({"name": "w", "address": "127.0.0.1:1", "weight": 1001})), "weight"),
        (with(json!({"name": "n", "address": "nowhere"})), "host:port"),
        (with(json!({"name": "n", "address": "nowhere.invalid:6379"})), "nowhere.invalid"),
        (with(json!({"name": "n", "address": all[0]["address"]})), "same address"),
        (with(json!({"name": "self", "address": cluster.address().to_string()})), "proxy itself"),
        (with(json!({"name": "n", "address": "127.0.0.1:1", "wieght": 1})), "weight"),
        (with(json!({"name": "n"})), "address"),
        (json!({"nodes": "all"}), ""),
    ];
    for (body, reason) in bad {
        let answer = http.json("PUT", "/v1/topology", &body);
        assert!(matches!(answer.status, 400 | 409 | 422), "{body}: {} {}", answer.status, answer.text);
        let message = answer.refused(answer.status);
        assert!(message.contains(reason), "{body}: {message}");
    }
    for text in ["", "{", "[]", "null", "{\"nodes\": [1]}", &"[".repeat(5000)] {
        let json = http.clone().header("Content-Type", "application/json");
        let answer = json.send("PUT", "/v1/topology", Some(text.to_owned()));
        assert!(matches!(answer.status, 400 | 422), "{} {}", answer.status, answer.text);
        answer.refused(answer.status);
    }
    assert_eq!(epoch(&http), 1);
    assert_eq!(cluster.client().text(&["SET", "still", "here"]), "+OK\r\n");
    http.get("/v1/nothing").refused(404);
    http.send("DELETE", "/v1/topology", None).refused(405);
}

#[test]
fn a_sample_is_drawn_from_the_keys_that_are_really_there() {
    let cluster = Cluster::start(3).with_admin();
    let http = cluster.http();
    let mut client = cluster.client();
    let mut mset = vec!["MSET".to_owned()];
    (0..3000).for_each(|n| mset.extend([format!("sampled:{n}"), "v".into()]));
    assert_eq!(client.call(&mset), b"+OK\r\n");
    let body = json!({"remove": ["cache-3"]});
    let all = http.json("POST", "/v1/topology/plan?sample=100000", &body).ok();
    let sample = &all["sample"];
    assert_eq!(sample["keys"], 3000, "there are no more: {sample}");
    assert_eq!(sample["moved"], cluster.server("cache-3").dbsize(), "the keys that the leaving node holds");
    let flows = sample["flows"].as_array().expect("flows");
    assert!(flows.iter().all(|flow| flow["from"] == "cache-3"), "{sample}");
    let flowed: u64 = flows.iter().map(|flow| flow["keys"].as_u64().expect("keys")).sum();
    assert_eq!(sample["moved"], flowed);

    let some = http.json("POST", "/v1/topology/plan?sample=500", &body).ok();
    let keys = some["sample"]["keys"].as_u64().expect("keys");
    assert!((400..=600).contains(&keys), "{keys}");
    let moved = some["sample"]["moved_percent"].as_f64().expect("a number");
    // five standard deviations of 500 draws
    assert!((moved - some["moved_percent"].as_f64().expect("a number")).abs() < 11.0, "{some}");
    // the control plane's reading is no traffic of clients
    let snapshot = cluster.control().snapshot();
    let scans =
        snapshot.nodes.iter().flat_map(|node| &node.commands).filter(|count| count.command.contains("scan"));
    assert_eq!(scans.count(), 0);
    http.json("POST", "/v1/topology/plan?sample=-1", &body).refused(400);
}

#[test]
fn ready_follows_the_nodes_and_the_listener() {
    let mut server = RedisServer::start();
    server.kill();
    let mut harness = Harness::in_front_of(&[("only", server.address())]).with_admin();
    let http = harness.http();
    assert_eq!(http.get("/healthz").status, 200);
    assert_eq!(http.get("/readyz").status, 503);
    server.restart();
    wait_for("readiness", || http.get("/readyz").status == 200);
    server.kill();
    wait_for("the node's death to be seen", || http.get("/readyz").status == 503);
    server.restart();
    wait_for("readiness again", || http.get("/readyz").status == 200);
    harness.drain();
    assert_eq!((http.get("/healthz").status, http.get("/readyz").status), (200, 503));
}

#[test]
fn a_node_that_stands_still_is_not_ready_though_nobody_asks_it_anything() {
    let server = RedisServer::start();
    let harness = Harness::hasty(&[("only", server.address())]).with_admin();
    let http = harness.http();
    wait_for("readiness", || http.get("/readyz").status == 200);
    server.pause();
    wait_for("the stall to be seen", || http.get("/readyz").status == 503);
    server.resume();
    wait_for("readiness again", || http.get("/readyz").status == 200);
}

#[test]
fn g1_a_token_is_asked_for_and_never_shown() {
    let server = RedisServer::start();
    let harness = Harness::in_front_of(&[("only", server.address())]).with_admin_settings(AdminSettings {
        listen: "127.0.0.1:0".into(),
        token: Some(Secret::new("correct-token")),
        ..AdminSettings::default()
    });
    let http = harness.http();
    let calls = [
        ("GET", "/v1/topology"),
        ("GET", "/v1/stats"),
        ("POST", "/v1/topology/rollback"),
        ("GET", "/v1/route?key=a"),
    ];
    for (method, path) in calls {
        http.send(method, path, None).refused(401);
        for wrong in [
            "Bearer wrong",
            "Bearer correct-toke",
            "Bearer correct-tokens",
            "correct-token",
            "Basic correct-token",
            "Bearer ",
        ] {
            let answer = http.clone().header("Authorization", wrong).send(method, path, None);
            answer.refused(401);
            assert!(!answer.text.contains("correct-token"), "{}", answer.text);
        }
    }
    let in_url = http.get("/v1/topology?token=correct-token");
    assert!(matches!(in_url.status, 400 | 401), "{}", in_url.status);
    assert_eq!(http.clone().header("Authorization", "Bearer correct-token").get("/v1/topology").status, 200);
    assert_eq!(http.get("/healthz").status, 200, "a health check needs no secret");
}

#[test]
fn g2_foreign_hosts_origins_and_content_types_are_refused() {
    let server = RedisServer::start();
    let harness = Harness::in_front_of(&[("only", server.address())]).with_admin();
    let http = harness.http();
    let body = json!({"nodes": []});
    for (name, value) in [("Host", "evil.example"), ("Origin", "http://evil.example")] {
        let answer = http.clone().header(name, value).get("/v1/topology");
        assert!((400..500).contains(&answer.status), "{name}: {} {}", answer.status, answer.text);
        let answer = http.clone().header(name, value).json("PUT", "/v1/topology", &body);
        assert!(matches!(answer.status, 400 | 403 | 421), "{name}: {} {}", answer.status, answer.text);
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let answer =
            http.clone().header("Content-Type", kind).send("PUT", "/v1/topology", Some(body.to_string()));
        assert!((400..500).contains(&answer.status), "{kind}: {}", answer.status);
        assert!(!answer.text.contains("at least one"), "refused before it is read: {}", answer.text);
    }
    assert_eq!(harness.control().topology().epoch(), 1);
}

#[test]
fn g3_large_bodies_and_slow_headers_do_not_hold_it_up() {
    let server = RedisServer::start();
    let harness = Harness::in_front_of(&[("only", server.address())]).with_admin();
    let http = harness.http();
    let mut slow: Vec<RawClient> = (0..100).map(|_| RawClient::connect(http.address())).collect();
    slow.iter_mut()
        .for_each(|client| client.send(b"GET /v1/topology HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow:"));
    let mut large = RawClient::connect(http.address());
    large.send(b"PUT /v1/topology HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n");
    let said = String::from_utf8_lossy(&large.rest()).into_owned();
    assert!(said.starts_with("HTTP/1.1 4"), "{said}");
    assert_eq!(http.get("/healthz").status, 200);
    slow.iter_mut().for_each(|client| drop(client.rest()));
}

#[test]
fn two_control_planes_of_two_proxies_do_not_meet() {
    let servers: Vec<RedisServer> = (0..2).map(|_| RedisServer::start()).collect();
    let one = Harness::in_front_of(&[("a", servers[0].address())]).with_admin();
    let two = Harness::in_front_of(&[("b", servers[1].address())]).with_admin();
    assert_eq!(node_list(&one.http())[0]["name"], "a");
    assert_eq!(node_list(&two.http())[0]["name"], "b");
    two.http().json("POST", "/v1/nodes", &json!({"name": "c", "address": servers[0].address()})).ok();
    assert_eq!((epoch(&one.http()), epoch(&two.http())), (1, 2));
}
