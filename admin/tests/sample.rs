//! `?sample=N` and `?details=true` against real redis-servers.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use bb8_redis::redis;
use ringway_proxy::control::Control;
use ringway_proxy::settings::{Credentials, Secret};
use serde_json::json;
use support::{Node, call, count, start};

/// Writes each key to the node that owns it now; the number of keys on each node, by name.
async fn fill(control: &Control, keys: std::ops::Range<u32>) -> std::collections::BTreeMap<String, u64> {
    let topology = control.topology();
    let mut batches = std::collections::BTreeMap::<String, (String, redis::Pipeline, u64)>::new();
    for key in keys {
        let key = format!("user:{key}");
        let index = topology.owner(key.as_bytes()).home();
        let node = topology.node(index).unwrap();
        let batch =
            batches.entry(node.name.clone()).or_insert_with(|| (node.address.clone(), redis::pipe(), 0));
        batch.1.set(&key, "x").ignore();
        batch.2 += 1;
    }
    let mut counts = std::collections::BTreeMap::new();
    for (name, (address, pipe, count)) in batches {
        let mut connection = support::connect(&format!("redis://{address}")).await;
        pipe.query_async::<()>(&mut connection).await.unwrap();
        counts.insert(name, count);
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_real_keys_agrees_with_the_exact_share() {
    let servers = [Node::start(&[]), Node::start(&[]), Node::start(&[]), Node::start(&[])];
    let nodes = (0..3).map(|at| servers[at].spec(&format!("cache-{}", at + 1))).collect();
    let (proxy, admin) = start(nodes).await;
    fill(&proxy.control(), 0..30_000).await;
    let plan = json!({"add": [{"name": "cache-4", "address": servers[3].spec("").address}]});

    let (status, report) = call(&admin, "POST", "/v1/topology/plan?sample=10000", Some(plan.clone())).await;
    assert_eq!(status, 200, "{report}");
    let sample = &report["sample"];
    assert_eq!((count(&sample["keys"]), count(&sample["strays"])), (10_000, 0));
    let exact = report["moved_percent"].as_f64().unwrap();
    let sampled = sample["moved_percent"].as_f64().unwrap();
    let flows: u64 = sample["flows"].as_array().unwrap().iter().map(|flow| count(&flow["keys"])).sum();
    assert_eq!(flows, count(&sample["moved"]));

    // all keys: then the sample is a count, and so it must be the brute-force count
    let (_, all) = call(&admin, "POST", "/v1/topology/plan?sample=1000000", Some(plan.clone())).await;
    let whole = all["sample"]["moved_percent"].as_f64().unwrap();
    // five standard errors of a share of a quarter: among 10,000 of 30,000 keys 1.8 points, among 30,000 1.25
    assert!((sampled - whole).abs() < 1.8 && (whole - exact).abs() < 1.25, "{sampled} {whole} {exact}");
    let control = proxy.control();
    let mut spec = control.topology().spec().clone();
    spec.nodes.push(servers[3].spec("cache-4"));
    let planned = control.plan(spec).unwrap();
    let owner = |topology: &ringway_proxy::topology::Topology, key: u32| {
        let index = topology.owner(format!("user:{key}").as_bytes()).home();
        topology.node(index).unwrap().name.clone()
    };
    let moved =
        (0..30_000).filter(|key| owner(&planned.from, *key) != owner(&planned.to, *key)).count() as u64;
    assert_eq!((count(&all["sample"]["keys"]), count(&all["sample"]["moved"])), (30_000, moved));

    // the same figures when the change is made: the sample is taken before the swap
    let node = plan["add"][0].clone();
    let (status, made) = call(&admin, "POST", "/v1/nodes?sample=1000000", Some(node)).await;
    assert_eq!((status, &made), (201, &all));

    // what moved lies on its old node still: strays, which go home on a rollback
    let empty = json!({"reweight": {"cache-4": 1}});
    let (_, after) = call(&admin, "POST", "/v1/topology/plan?sample=1000000", Some(empty)).await;
    assert_eq!((count(&after["sample"]["strays"]), count(&after["sample"]["moved"])), (moved, moved));
    let (_, home) =
        call(&admin, "POST", "/v1/topology/plan?sample=1000000", Some(json!({"remove": ["cache-4"]}))).await;
    assert_eq!((count(&home["sample"]["strays"]), count(&home["sample"]["moved"])), (moved, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn small_nodes_give_all_they_have_and_empty_ones_nothing() {
    let servers = [Node::start(&[]), Node::start(&[])];
    let (proxy, admin) = start(vec![servers[0].spec("a"), servers[1].spec("b")]).await;
    let same = json!({"reweight": {"a": 1}});
    let (_, report) = call(&admin, "POST", "/v1/topology/plan?sample=100", Some(same.clone())).await;
    assert_eq!(
        report["sample"],
        json!({"keys": 0, "moved": 0, "moved_percent": 0.0, "flows": [], "strays": 0})
    );
    fill(&proxy.control(), 0..50).await;
    let (_, report) = call(&admin, "POST", "/v1/topology/plan?sample=100", Some(same)).await;
    assert_eq!(count(&report["sample"]["keys"]), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_asked_with_its_password_and_a_silent_one_refuses_the_sample() {
    let servers = [Node::start(&["--requirepass", "open-sesame"]), Node::start(&[])];
    let mut locked = servers[0].spec("locked");
    locked.credentials = Credentials { username: None, password: Some(Secret::new("open-sesame")) };
    let (_proxy, admin) = start(vec![locked, servers[1].spec("b")]).await;
    let (_, stats) = call(&admin, "GET", "/v1/stats?details=true", None).await;
    for node in [0, 1] {
        let details = &stats["nodes"][node]["details"];
        assert!(details["redis_version"].as_str().unwrap().contains('.'), "{stats}");
        assert!(count(&details["used_memory_bytes"]) > 0 && count(&details["keys"]) == 0, "{stats}");
    }
    let same = json!({"reweight": {"b": 1}});
    assert_eq!(call(&admin, "POST", "/v1/topology/plan?sample=10", Some(same.clone())).await.0, 200);

    // a wrong password is told at once and never repeated
    let wrong = json!({"password": "wrong-sesame"});
    assert_eq!(call(&admin, "PATCH", "/v1/nodes/locked", Some(wrong)).await.0, 200);
    let started = Instant::now();
    let (status, refused) = call(&admin, "POST", "/v1/topology/plan?sample=10", Some(same.clone())).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("sample_unavailable")));
    let text = refused.to_string();
    assert!(
        text.contains("locked") && text.contains("authentication failed") && !text.contains("sesame"),
        "{text}"
    );
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());

    // a node that restarted is asked over a new connection; one that hangs is not waited for
    assert_eq!(
        call(&admin, "PATCH", "/v1/nodes/locked", Some(json!({"password": "open-sesame"}))).await.0,
        200
    );
    let pid = servers[1].id().to_string();
    assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    let started = Instant::now();
    let (status, refused) = call(&admin, "POST", "/v1/topology/plan?sample=10", Some(same.clone())).await;
    let took = started.elapsed();
    assert!(Command::new("kill").args(["-CONT", &pid]).status().unwrap().success());
    assert!(status == 409 && took < Duration::from_secs(5), "{status} {took:?} {refused}");
    assert_eq!(call(&admin, "POST", "/v1/topology/plan?sample=10", Some(same)).await.0, 200);
}
