//! `/v1/strays` against real redis-servers: what a change of the ring leaves behind is found, moved, deleted, and nothing
//! is lost.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bb8_redis::redis;
use bb8_redis::redis::aio::MultiplexedConnection;
use ringway_admin::Admin;
use ringway_proxy::Proxy;
use ringway_proxy::settings::NodeSpec;
use serde_json::{Value, json};
use support::{Node, call, count, start};

/// Three nodes and one that is to join, in front of which a proxy serves clients.
struct Setup {
    servers: Vec<Node>,
    proxy: Proxy,
    admin: Admin,
}

impl Setup {
    async fn new() -> Self {
        let servers: Vec<Node> = (0..4).map(|_| Node::start(&[])).collect();
        let nodes = (0..3).map(|at| servers[at].spec(&name(at))).collect();
        let (proxy, admin) = start(nodes).await;
        Self { servers, proxy, admin }
    }

    fn spec(&self, at: usize) -> NodeSpec {
        self.servers[at].spec(&name(at))
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        call(&self.admin, method, path, body).await
    }

    async fn join_fourth(&self) {
        let node = json!({"name": name(3), "address": self.spec(3).address});
        assert_eq!(self.call("POST", "/v1/nodes", Some(node)).await.0, 201);
    }

    /// Has strays dealt with, to the end.
    async fn work(&self, wish: Value) -> Value {
        let (status, begun) = self.call("POST", "/v1/strays", Some(wish)).await;
        assert_eq!((status, &begun["state"]), (202, &json!("running")), "{begun}");
        self.ended().await
    }

    async fn ended(&self) -> Value {
        let began = Instant::now();
        loop {
            let (status, now) = self.call("GET", "/v1/strays", None).await;
            assert_eq!(status, 200, "{now}");
            if now["state"] != "running" {
                return now;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{now}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A client of the proxy, in a database.
    async fn client(&self, database: u32) -> MultiplexedConnection {
        connect(self.proxy.local_addr().port(), database).await
    }

    async fn node(&self, at: usize, database: u32) -> MultiplexedConnection {
        connect(self.servers[at].port, database).await
    }

    /// The place of the owner of a key.
    fn owner(&self, key: &str) -> usize {
        let topology = self.proxy.control().topology();
        let index = topology.owner(key.as_bytes()).home();
        let node = topology.node(index).unwrap();
        (0..4).find(|at| name(*at) == node.name).unwrap()
    }
}

fn name(at: usize) -> String {
    format!("cache-{}", at + 1)
}

async fn connect(port: u16, database: u32) -> MultiplexedConnection {
    support::connect(&format!("redis://127.0.0.1:{port}/{database}")).await
}

async fn run<T: redis::FromRedisValue>(connection: &mut MultiplexedConnection, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| {
        command.arg(*word);
    });
    command.query_async(connection).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

async fn set_many(connection: &mut MultiplexedConnection, keys: std::ops::Range<u32>) {
    let mut pipe = redis::pipe();
    keys.for_each(|key| {
        pipe.set(format!("user:{key}"), format!("value of {key}")).ignore();
    });
    pipe.query_async::<()>(connection).await.unwrap();
}

/// How many of the keys a client finds with their values; a wrong value fails.
async fn found(connection: &mut MultiplexedConnection, keys: std::ops::Range<u32>) -> usize {
    let mut pipe = redis::pipe();
    keys.clone().for_each(|key| {
        pipe.get(format!("user:{key}"));
    });
    let values: Vec<Option<String>> = pipe.query_async(connection).await.unwrap();
    let right = |(key, value): (u32, Option<String>)| {
        value.map(|value| assert_eq!(value, format!("value of {key}"))).is_some()
    };
    keys.zip(values).filter_map(|pair| right(pair).then_some(())).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_type_in_every_database_go_home_with_the_rest_of_their_lives() {
    let setup = Setup::new().await;
    let mut databases = [setup.client(0).await, setup.client(3).await];
    for client in &mut databases {
        set_many(client, 0..3000).await;
        for at in 0..20 {
            run::<()>(client, &["SET", &format!("brief:{at}"), "x", "PX", "600000"]).await;
            run::<()>(client, &["RPUSH", &format!("list:{at}"), "a", "b", "c"]).await;
            run::<()>(client, &["HSET", &format!("hash:{at}"), "f", "1", "g", "2"]).await;
            run::<()>(client, &["SADD", &format!("set:{at}"), "x", "y"]).await;
            run::<()>(client, &["ZADD", &format!("zset:{at}"), "1.5", "x", "2", "y"]).await;
            run::<String>(client, &["XADD", &format!("stream:{at}"), "7-1", "f", "v"]).await;
            run::<()>(client, &["SET", &format!("binary\r\n:{at}"), "\r\n\0"]).await;
        }
    }
    setup.join_fourth().await;
    assert!(found(&mut databases[0], 0..3000).await < 3000, "keys of the new node's part are missed");

    let counted = setup.work(json!({"action": "count"})).await;
    let strays = count(&counted["strays"]);
    assert!(counted["state"] == "done" && strays > 1000, "{counted}");
    assert_eq!(count(&counted["keys"]), 2 * (3000 + 7 * 20));
    let flows: BTreeMap<&str, u64> =
        counted["flows"].as_array().unwrap().iter().fold(BTreeMap::new(), |mut flows, flow| {
            *flows.entry(flow["to"].as_str().unwrap()).or_default() += count(&flow["keys"]);
            flows
        });
    assert_eq!(flows, BTreeMap::from([("cache-4", strays)]));

    let moved = setup.work(json!({"action": "move", "keys_per_second": 1_000_000})).await;
    assert_eq!((&moved["state"], &moved["why"]), (&json!("done"), &Value::Null), "{moved}");
    assert_eq!((count(&moved["moved"]), count(&moved["left"])), (strays, 0), "{moved}");
    for client in &mut databases {
        assert_eq!(found(client, 0..3000).await, 3000);
        for at in 0..20 {
            let life: i64 = run(client, &["PTTL", &format!("brief:{at}")]).await;
            assert!((500_000..=600_000).contains(&life), "{life}");
            assert_eq!(run::<i64>(client, &["PTTL", &format!("list:{at}")]).await, -1);
            assert_eq!(
                run::<Vec<String>>(client, &["LRANGE", &format!("list:{at}"), "0", "-1"]).await,
                ["a", "b", "c"]
            );
            assert_eq!(run::<String>(client, &["HGET", &format!("hash:{at}"), "g"]).await, "2");
            assert_eq!(run::<u32>(client, &["SCARD", &format!("set:{at}")]).await, 2);
            assert_eq!(run::<f64>(client, &["ZSCORE", &format!("zset:{at}"), "x"]).await, 1.5);
            assert_eq!(run::<u32>(client, &["XLEN", &format!("stream:{at}")]).await, 1);
            assert_eq!(run::<String>(client, &["GET", &format!("binary\r\n:{at}")]).await, "\r\n\0");
        }
    }
    let again = setup.work(json!({"action": "count"})).await;
    assert_eq!((count(&again["strays"]), count(&again["keys"])), (0, count(&counted["keys"])), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_left_is_emptied_by_its_name() {
    let setup = Setup::new().await;
    let mut client = setup.client(0).await;
    set_many(&mut client, 0..2000).await;
    let (status, _) = setup.call("DELETE", "/v1/nodes/cache-2", None).await;
    assert_eq!(status, 200);
    let left: u64 = run(&mut setup.node(1, 0).await, &["DBSIZE"]).await;
    assert!(left > 300 && found(&mut client, 0..2000).await == 2000 - left as usize);

    let moved = setup.work(json!({"action": "move", "from": ["cache-2"], "keys_per_second": 100_000})).await;
    assert_eq!((&moved["state"], count(&moved["moved"])), (&json!("done"), left), "{moved}");
    assert_eq!(moved["nodes"][0]["name"], "cache-2");
    assert_eq!(found(&mut client, 0..2000).await, 2000);
    assert_eq!(run::<u64>(&mut setup.node(1, 0).await, &["DBSIZE"]).await, 0);

    // one that nobody remembers is named with its address
    run::<()>(&mut setup.node(3, 0).await, &["SET", "user:1", "an old value"]).await;
    run::<()>(&mut setup.node(3, 0).await, &["SET", "only here", "x"]).await;
    let old = json!({"name": "old", "address": setup.spec(3).address});
    let moved = setup.work(json!({"action": "move", "from": [old]})).await;
    assert_eq!((count(&moved["moved"]), count(&moved["superseded"])), (1, 1), "{moved}");
    assert_eq!(found(&mut client, 1..2).await, 1, "what the owner has is not overwritten");
    let there: String = run(&mut setup.node(3, 0).await, &["GET", "user:1"]).await;
    assert_eq!(there, "an old value", "nobody knows which one is newer: both stay");
    assert_eq!(run::<String>(&mut client, &["GET", "only here"]).await, "x");
    let (status, unknown) =
        setup.call("POST", "/v1/strays", Some(json!({"action": "count", "from": ["x"]}))).await;
    assert_eq!((status, &unknown["error"]["code"]), (404, &json!("unknown_node")), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strays_that_match_are_deleted_and_nothing_else() {
    let setup = Setup::new().await;
    let mut client = setup.client(0).await;
    set_many(&mut client, 0..1000).await;
    for at in 0..300 {
        run::<()>(&mut client, &["SET", &format!("session:{at}"), "x"]).await;
    }
    setup.join_fourth().await;
    let before = setup.work(json!({"action": "count"})).await;
    let gone =
        setup.work(json!({"action": "delete", "match": "session:*", "keys_per_second": 100_000})).await;
    let deleted = count(&gone["deleted"]);
    assert!(gone["state"] == "done" && deleted > 20 && count(&gone["strays"]) == deleted, "{gone}");
    let after = setup.work(json!({"action": "count"})).await;
    assert_eq!(count(&before["strays"]) - count(&after["strays"]), deleted);
    let here = found(&mut client, 0..1000).await as u64;
    assert_eq!(here + count(&after["strays"]), 1000);
    // back at the old ring they are as they were, but for what was deleted
    assert_eq!(setup.call("POST", "/v1/topology/rollback", None).await.0, 200);
    assert_eq!(found(&mut client, 0..1000).await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_a_stray_meanwhile_is_not_lost() {
    let setup = Setup::new().await;
    setup.join_fourth().await;
    let keys: Vec<String> =
        (0..).map(|at| format!("counter:{at}")).filter(|key| setup.owner(key) == 3).take(20).collect();
    for round in 0..3 {
        // another client goes on to use the old node, as a proxy with an older ring would
        let (mut writer, mut owner) = (setup.node(0, 0).await, setup.node(3, 0).await);
        let mut moved = 0;
        for key in &keys {
            run::<()>(&mut writer, &["SET", key, "0"]).await;
            run::<()>(&mut owner, &["DEL", key]).await;
        }
        let (status, _) = setup
            .call("POST", "/v1/strays", Some(json!({"action": "move", "keys_per_second": 1_000_000})))
            .await;
        assert_eq!(status, 202);
        let mut written = vec![0_i64; keys.len()];
        let mut ended = Value::Null;
        while ended.is_null() {
            for (at, key) in keys.iter().enumerate() {
                run::<i64>(&mut writer, &["INCR", key]).await;
                written[at] += 1;
            }
            let (_, now) = setup.call("GET", "/v1/strays", None).await;
            if now["state"] != "running" {
                ended = now;
            }
        }
        assert_eq!(ended["state"], "done", "{ended}");
        for again in [false, true] {
            for (key, written) in keys.iter().zip(&written) {
                let there: Option<i64> = run(&mut writer, &["GET", key]).await;
                let here: Option<i64> = run(&mut owner, &["GET", key]).await;
                // nothing counts twice and nothing is lost, whether or not it has moved, and moved again
                let (there, here) = (there.unwrap_or(0), here.unwrap_or(0));
                assert_eq!(there + here, *written, "round {round}, again {again}: {there} {here} {ended}");
                moved += u32::from(here > 0);
            }
            // now nobody writes any more
            ended = setup.work(json!({"action": "move", "keys_per_second": 1_000_000})).await;
        }
        assert!(moved > 0, "{ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_ring_end_the_work_and_lose_no_key() {
    let setup = Setup::new().await;
    let mut client = setup.client(0).await;
    set_many(&mut client, 0..3000).await;
    // the fourth is in the ring or has just left it
    let all: Vec<String> = (0..4).map(name).collect();
    let wish = json!({"action": "move", "from": all, "keys_per_second": 1_000_000});
    setup.join_fourth().await;
    for pause_ms in [1150, 1170, 1190, 1210, 1250] {
        let (status, begun) = setup.call("POST", "/v1/strays", Some(wish.clone())).await;
        assert_eq!(status, 202, "{begun}");
        // in the midst of it: the first second it waits for what was sent before the change
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        assert_eq!(setup.call("POST", "/v1/topology/rollback", None).await.0, 200);
        let ended = setup.ended().await;
        let why = ended["why"].as_str().unwrap_or_default();
        let stopped = ended["state"] == "stopped" && why.contains("the topology was changed meanwhile");
        assert!(stopped || ended["state"] == "done", "{ended}");
    }
    for _ in 0..2 {
        let ended = setup.work(wish.clone()).await;
        assert_eq!(ended["state"], "done", "{ended}");
        assert_eq!(found(&mut client, 0..3000).await, 3000);
        assert_eq!(setup.call("POST", "/v1/topology/rollback", None).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_work_at_a_time_which_can_be_ended() {
    let setup = Setup::new().await;
    let (status, none) = setup.call("GET", "/v1/strays", None).await;
    assert_eq!((status, &none["error"]["code"]), (404, &json!("no_strays_work")));
    set_many(&mut setup.client(0).await, 0..3000).await;
    setup.join_fourth().await;
    let slow = json!({"action": "move", "keys_per_second": 1});
    assert_eq!(setup.call("POST", "/v1/strays", Some(slow.clone())).await.0, 202);
    let (status, busy) = setup.call("POST", "/v1/strays", Some(slow)).await;
    assert_eq!((status, &busy["error"]["code"]), (409, &json!("strays_busy")), "{busy}");
    let (status, stopped) = setup.call("DELETE", "/v1/strays", None).await;
    assert_eq!((status, &stopped["state"]), (200, &json!("stopped")), "{stopped}");
    assert!(stopped["ended_at"].is_string(), "{stopped}");
    assert_eq!(setup.work(json!({"action": "count"})).await["state"], "done");

    for (wish, about) in [
        (json!({"action": "burn"}), "burn"),
        (json!({"action": "move", "mach": "x"}), "did you mean `match`?"),
        (json!({"action": "move", "keys_per_second": 0}), "keys_per_second"),
        (json!({"action": "move", "from": []}), "names no node"),
        (json!({"action": "move", "from": ["cache-1", "cache-1"]}), "twice"),
        (json!({"action": "move", "from": [1]}), "from[0]: give a node's name"),
        (json!({"action": "move", "from": ["cache-1", {"name": "x"}]}), "from[1]: `address` is missing"),
        (
            json!({"action": "move", "from": [{"name": "x", "adress": "h:1", "address": "h:1"}]}),
            "did you mean `address`?",
        ),
        (
            json!({"action": "move", "from": [{"name": "cache-1", "address": "h:1"}]}),
            "name it by its name alone",
        ),
        (json!({}), "action"),
    ] {
        let (status, refused) = setup.call("POST", "/v1/strays", Some(wish.clone())).await;
        assert_eq!(status, 400, "{wish}");
        assert!(refused["error"]["message"].as_str().unwrap().contains(about), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_under_two_names_is_left_alone() {
    let setup = Setup::new().await;
    let mut client = setup.client(0).await;
    set_many(&mut client, 0..500).await;
    let port = setup.servers[0].port;
    let twin = json!({"name": "twin", "address": format!("localhost:{port}")});
    for wish in [
        json!({"action": "delete", "from": [twin]}),
        json!({"action": "move", "from": [{"name": "twin", "address": format!("127.0.0.1:{port}")}]}),
    ] {
        let ended = setup.work(wish).await;
        assert_eq!(ended["state"], "failed", "{ended}");
        assert!(ended["why"].as_str().unwrap().contains("'cache-1' and 'twin' are one server"), "{ended}");
    }
    assert_eq!(found(&mut client, 0..500).await, 500);

    // a node that cannot be reached is named, and nothing is touched
    let away = json!({"action": "delete", "from": [{"name": "away", "address": "127.0.0.1:1"}]});
    let ended = setup.work(away).await;
    assert!(
        ended["state"] == "failed" && ended["why"].as_str().unwrap().contains("node 'away' (127.0.0.1:1)"),
        "{ended}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_owner_does_not_take_and_what_is_too_large_stays() {
    let setup = Setup::new().await;
    setup.join_fourth().await;
    let mut keys = (0..).map(|at| format!("key:{at}")).filter(|key| setup.owner(key) == 3);
    let (small, large) = (keys.next().unwrap(), keys.next().unwrap());
    let mut holder = setup.node(0, 0).await;
    run::<()>(&mut holder, &["SETRANGE", &large, "67108864", "x"]).await;
    let ended = setup.work(json!({"action": "move"})).await;
    assert_eq!((count(&ended["left"]), count(&ended["moved"])), (1, 0), "{ended}");
    assert!(ended["state"] == "done" && ended["why"].as_str().unwrap().contains("64 MiB"), "{ended}");
    assert_eq!(run::<u64>(&mut holder, &["STRLEN", &large]).await, 67_108_865);

    run::<()>(&mut holder, &["DEL", &large]).await;
    run::<()>(&mut holder, &["SET", &small, "x"]).await;
    let mut owner = setup.node(3, 0).await;
    run::<()>(&mut owner, &["CONFIG", "SET", "maxmemory", "1"]).await;
    let ended = setup.work(json!({"action": "move"})).await;
    assert_eq!((count(&ended["left"]), count(&ended["moved"])), (1, 0), "{ended}");
    let why = ended["why"].as_str().unwrap();
    assert!(why.contains("node 'cache-4'") && why.contains("OOM") && !why.contains(&small), "{why}");
    assert_eq!(run::<String>(&mut holder, &["GET", &small]).await, "x");
    run::<()>(&mut owner, &["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(count(&setup.work(json!({"action": "move"})).await["moved"]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_again_destroys_nothing_that_is_newer() {
    let setup = Setup::new().await;
    let mut client = setup.client(0).await;
    setup.join_fourth().await;
    let keys: Vec<String> = (0..600).map(|at| format!("k:{at}")).collect();
    let write = async |client: &mut MultiplexedConnection, value: &str| {
        for key in &keys {
            run::<()>(client, &["SET", key, value]).await;
        }
    };
    write(&mut client, "old").await;
    assert_eq!(setup.call("POST", "/v1/topology/rollback", None).await.0, 200);
    write(&mut client, "new").await;
    setup.join_fourth().await;
    let moved = setup.work(json!({"action": "move", "keys_per_second": 1_000_000})).await;
    assert!(count(&moved["superseded"]) > 50 && count(&moved["moved"]) == 0, "{moved}");
    assert_eq!(setup.call("POST", "/v1/topology/rollback", None).await.0, 200);
    for key in &keys {
        assert_eq!(run::<String>(&mut client, &["GET", key]).await, "new");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_does_not_allow_is_told_before_anything_is_touched_and_tells_no_key() {
    for renamed in ["MULTI", "RESTORE"] {
        let servers: Vec<Node> = (0..2).map(|_| Node::start(&["--rename-command", renamed, ""])).collect();
        let (_proxy, admin) = start(vec![servers[0].spec("a"), servers[1].spec("b")]).await;
        let mut holder = connect(servers[0].port, 0).await;
        set_many(&mut holder, 0..100).await;
        assert_eq!(call(&admin, "POST", "/v1/strays", Some(json!({"action": "move"}))).await.0, 202);
        let ended = loop {
            let (_, now) = call(&admin, "GET", "/v1/strays", None).await;
            if now["state"] != "running" {
                break now;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let why = ended["why"].as_str().unwrap().to_lowercase();
        let says = format!("unknown command '{}'", renamed.to_lowercase());
        assert!(why.contains(&says) && !why.contains("user:"), "{ended}");
        assert_eq!(count(&ended["moved"]), 0, "{ended}");
        assert_eq!(run::<u64>(&mut holder, &["DBSIZE"]).await, 100, "{ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_looks_small_is_measured() {
    let setup = Setup::new().await;
    setup.join_fourth().await;
    let mut holder = setup.node(0, 0).await;
    let key = (0..).map(|at| format!("key:{at}")).find(|key| setup.owner(key) == 3).unwrap();
    let (small, large) = ("s".repeat(9000), "l".repeat(20 << 20));
    for value in [&small, &small, &small, &small, &small, &small, &large, &large, &large, &large] {
        run::<()>(&mut holder, &["RPUSH", &key, value]).await;
    }
    let estimate: u64 = run(&mut holder, &["MEMORY", "USAGE", &key]).await;
    assert!(estimate < 1 << 20, "{estimate}");
    let ended = setup.work(json!({"action": "move"})).await;
    assert!(count(&ended["left"]) == 1 && ended["why"].as_str().unwrap().contains("64 MiB"), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_no_node_of_its_own() {
    let setup = Setup::new().await;
    let mut client = setup.client(0).await;
    set_many(&mut client, 0..300).await;
    let mut replica = setup.node(3, 0).await;
    run::<()>(&mut replica, &["REPLICAOF", "127.0.0.1", &setup.servers[0].port.to_string()]).await;
    let from = json!([{"name": "old", "address": setup.spec(3).address}]);
    let ended = setup.work(json!({"action": "delete", "from": from})).await;
    assert!(
        ended["state"] == "failed" && ended["why"].as_str().unwrap().contains("it is a replica"),
        "{ended}"
    );
    assert_eq!(found(&mut client, 0..300).await, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stalled_node_was_sent_last_is_fenced_before_the_next_work() {
    let setup = Setup::new().await;
    let mut client = setup.client(0).await;
    set_many(&mut client, 0..3000).await;
    setup.join_fourth().await;
    let slow = json!({"action": "move", "keys_per_second": 300});
    assert_eq!(setup.call("POST", "/v1/strays", Some(slow)).await.0, 202);
    tokio::time::sleep(Duration::from_millis(1600)).await;
    let signal = |signal: &str| {
        let pid = setup.servers[0].id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
    };
    signal("-STOP");
    let ended = setup.ended().await;
    signal("-CONT");
    assert!(ended["state"] == "failed" && ended["why"].as_str().unwrap().contains("'cache-1'"), "{ended}");
    let ended = setup.work(json!({"action": "move", "keys_per_second": 1_000_000})).await;
    assert_eq!(ended["state"], "done", "{ended}");
    let stats: String = run(&mut setup.node(0, 0).await, &["INFO", "commandstats"]).await;
    assert!(stats.contains("cmdstat_client|kill:calls=1,"), "{stats}");
    assert_eq!(found(&mut client, 0..3000).await, 3000);
}
