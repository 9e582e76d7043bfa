//! Several Ringways on one topology: a change of the one that leads is served by all, and keys move with it while clients of
//! all of them go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::byte_proxy::{ByteProxy, Wire};
use crate::support::fleet::{Fleet, Seen, all_still_there, fill, join, nodes, servers, use_it};
use crate::support::program::Program;
use crate::support::{RedisServer, StopAtEnd, wait_for};

#[test]
fn f1_what_the_leader_says_is_served_by_all() {
    let (servers, fourth) = (servers(3), RedisServer::start());
    let fleet = Fleet::start(&servers, 2);
    let topology = |at: usize| fleet.all().nth(at).expect("one").http().get("/v1/topology").ok();
    let agree = || {
        let leaders = topology(0);
        (1..3)
            .map(topology)
            .all(|one| one["fingerprint"] == leaders["fingerprint"] && one["epoch"] == leaders["epoch"])
    };
    assert!(agree(), "they served something else before they were ready");
    let leader = fleet.leader.http();
    let body = json!({"name": "cache-4", "address": fourth.address()});
    assert_eq!(leader.json("POST", "/v1/nodes", &body).status, 201);
    wait_for("all to serve by it", agree);
    assert_eq!(topology(1)["nodes"].as_array().expect("a list").len(), 4);
    let key = (0..).map(|at| format!("key:{at}"));
    let key =
        key.into_iter().find(|key| leader.get(&format!("/v1/route?key={key}")).ok()["node"] == "cache-4");
    let key = key.expect("a key of it");
    assert_eq!(fleet.followers[0].client().text(&["SET", &key, "x"]), "+OK\r\n");
    assert_eq!(fleet.followers[1].client().text(&["GET", &key]), "$1\r\nx\r\n");
    assert_eq!(fourth.dbsize(), 1);
    // changes are made at one place
    let follower = fleet.followers[0].http();
    let why = follower.json("PATCH", "/v1/nodes/cache-4", &json!({"weight": 2})).refused(409);
    assert!(why.contains("this Ringway follows http://127.0.0.1:"), "{why}");
    for (method, path) in
        [("POST", "/v1/topology/rollback"), ("DELETE", "/v1/movement"), ("GET", "/v1/movement")]
    {
        follower.send(method, path, None).refused(409);
    }
    follower.json("POST", "/v1/strays", &json!({"action": "count"})).refused(409);
    let report = follower.json("POST", "/v1/topology/plan", &json!({"remove": ["cache-4"]})).ok();
    assert_eq!(report["flows"].as_array().expect("a list").len(), 3, "a plan changes nothing");
    fleet.followers[0].signal(Signal::HUP);
    fleet.followers[0].wait_logged("nodes and ring are those of http://127.0.0.1:");
    assert!(agree());
    let told = follower.get("/v1/followers").ok();
    assert_eq!(told["follows"]["in_touch"], true);
    assert_eq!(told["followers"], json!([]));
    let metrics = fleet.leader.http().get("/metrics").text;
    assert!(metrics.contains("ringway_followers{state=\"current\"} 2"), "{metrics}");
    assert!(follower.get("/metrics").text.contains("ringway_follows_in_touch 1"));
    // and back
    assert_eq!(leader.send("POST", "/v1/topology/rollback", None).status, 200);
    wait_for("all to serve by it", agree);
    assert_eq!(topology(2)["nodes"].as_array().expect("a list").len(), 3);
    let changes = follower.get("/v1/topology/history").ok();
    assert!(changes[0]["change"].as_str().expect("text").contains("where it has epoch 3"), "{changes}");
}

#[test]
fn f1_one_that_ends_in_order_is_not_waited_for() {
    let servers = servers(2);
    let mut fleet = Fleet::start(&servers, 2);
    fleet.followers[1].signal(Signal::TERM);
    assert_eq!(fleet.followers[1].wait().code(), Some(0), "{}", fleet.followers[1].log());
    assert_eq!(fleet.states(), [("follower-0".to_owned(), "current".to_owned())]);
    // and is there again when it is
    fleet.start_follower(1);
    fleet.wait_current();
    assert_eq!(fleet.states().len(), 2);
}

#[test]
fn f1_keys_move_while_clients_of_all_go_on() {
    let (servers, fourth) = (servers(3), RedisServer::start());
    let wire = ByteProxy::start_slow(&fourth.address());
    let fleet = Fleet::start(&servers, 2);
    let leader = fleet.leader.http();
    fill(&mut fleet.followers[0].client());
    let (stop, seen) = (AtomicBool::new(false), Seen::new());
    std::thread::scope(|scope| {
        let _stopping = StopAtEnd(&stop);
        for (id, program) in (0..3).flat_map(|_| fleet.all()).enumerate() {
            let (client, seen, stop) = (program.client(), &seen, &stop);
            scope.spawn(move || use_it(client, id, seen, stop));
        }
        let body = json!({"name": "cache-4", "address": wire.address()});
        let answer = leader.json("POST", "/v1/nodes?move_keys=true", &body);
        assert_eq!(answer.status, 201, "{}", answer.text);
        fleet.wait_some_moved(500);
        assert_eq!(fleet.movement()["state"], "moves", "it is to be called back in the midst");
        assert_eq!(leader.send("POST", "/v1/topology/rollback", None).status, 200);
        wire.set(Wire::Plain);
        fleet.wait_moved();
        assert_eq!(leader.json("POST", "/v1/nodes?move_keys=true", &body).status, 201);
        fleet.wait_moved();
        assert_eq!(leader.send("DELETE", "/v1/nodes/cache-1?move_keys=true", None).status, 200);
        fleet.wait_moved();
        fleet.wait_current();
        std::thread::sleep(Duration::from_millis(200));
    });
    assert_eq!(seen.refused.load(Ordering::Relaxed), 0);
    assert_eq!(servers[0].dbsize(), 0, "nothing is left where nothing is looked for");
    for program in fleet.all() {
        all_still_there(&mut program.client());
        seen.agrees_with(&mut program.client());
    }
    println!("{} commands answered", seen.answered.load(Ordering::Relaxed));
}

#[test]
fn f1_a_follower_alone_waits_for_its_leader_and_then_goes_on_without_it() {
    let servers = servers(2);
    let mut fleet = Fleet::start_with(&nodes(servers.iter().map(RedisServer::address)), 1, "");
    fleet.kill_leader();
    wait_for("the follower to miss it", || {
        fleet.followers[0].http().get("/v1/followers").ok()["follows"]["in_touch"] == false
    });
    let mut client = fleet.followers[0].client();
    assert_eq!(client.text(&["MSET", "a", "1", "b", "2", "c", "3", "d", "4"]), "+OK\r\n");
    // started again it has what it was told
    fleet.kill_follower(0);
    fleet.start_follower(0);
    fleet.followers[0].wait_logged("what the leader said last is served, until it is reached");
    let nodes = fleet.followers[0].http().get("/v1/topology").ok();
    assert_eq!(nodes["nodes"].as_array().expect("a list").len(), 2);
    assert_eq!(fleet.followers[0].client().text(&["MGET", "a", "d"]), "*2\r\n$1\r\n1\r\n$1\r\n4\r\n");
    fleet.start_leader();
    fleet.wait_current();
    // one that was told nothing yet serves nobody by a guess
    let config = fleet.files.path("follower-0.yaml");
    fleet.kill_follower(0);
    fleet.kill_leader();
    std::fs::remove_file(fleet.files.path("follower-0.json")).expect("a file");
    std::thread::scope(|scope| {
        let started = scope.spawn(|| crate::support::program::Program::serve(&config));
        std::thread::sleep(Duration::from_millis(500));
        assert!(!started.is_finished(), "it has begun without its leader");
        let leader = crate::support::program::Program::serve(&fleet.files.path("leader.yaml"));
        let follower = started.join().expect("it is told");
        assert_eq!(follower.http().get("/v1/topology").ok()["nodes"].as_array().expect("a list").len(), 2);
        drop(leader);
    });
}

#[test]
fn f3_a_leader_that_is_killed_in_the_midst_goes_on_when_it_is_back() {
    let (servers, fourth) = (servers(3), RedisServer::start());
    let wire = ByteProxy::start_slow(&fourth.address());
    let listed = nodes(servers.iter().map(RedisServer::address));
    let mut fleet = Fleet::start_with(&listed, 2, "timeouts: {connect: 5s, operation: 2s}\n");
    fill(&mut fleet.leader.client());
    let (stop, seen) = (AtomicBool::new(false), Seen::new());
    std::thread::scope(|scope| {
        let _stopping = StopAtEnd(&stop);
        for id in 0..6 {
            let (client, seen, stop) = (fleet.followers[id % 2].client(), &seen, &stop);
            scope.spawn(move || use_it(client, id, seen, stop));
        }
        assert_eq!(join(&fleet.leader.http(), "cache-4", &wire.address()).status, 201);
        for _ in 0..2 {
            let before = fleet.movement()["moved"].as_u64().expect("a number");
            fleet.wait_some_moved(before + 100);
            assert_eq!(fleet.movement()["state"], "moves", "it is to be killed in the midst");
            fleet.kill_leader();
            std::thread::sleep(Duration::from_millis(300));
            fleet.start_leader();
        }
        wire.set(Wire::Plain);
        fleet.wait_moved();
        fleet.wait_current();
    });
    for program in fleet.all() {
        all_still_there(&mut program.client());
        seen.agrees_with(&mut program.client());
    }
    println!("{} refused meanwhile", seen.refused.load(Ordering::Relaxed));
}

#[test]
#[cfg(target_os = "linux")]
fn f4_leader_and_followers_are_replaced_while_keys_move() {
    let (servers, fourth) = (servers(3), RedisServer::start());
    let wire = ByteProxy::start_slow(&fourth.address());
    let listed = nodes(servers.iter().map(RedisServer::address));
    let mut fleet = Fleet::start_with(&listed, 2, "timeouts: {connect: 5s, operation: 4s}\n");
    fill(&mut fleet.leader.client());
    let (stop, seen) = (AtomicBool::new(false), Seen::new());
    std::thread::scope(|scope| {
        let _stopping = StopAtEnd(&stop);
        for id in 0..4 {
            let (client, seen, stop) = (fleet.followers[0].client(), &seen, &stop);
            scope.spawn(move || use_it(client, id, seen, stop));
        }
        assert_eq!(join(&fleet.leader.http(), "cache-4", &wire.address()).status, 201);
        fleet.wait_some_moved(100);
        let next = Program::serve(&fleet.files.path("follower-1.yaml"));
        let mut old = std::mem::replace(&mut fleet.followers[1], next);
        old.signal(Signal::TERM);
        assert_eq!(old.wait().code(), Some(0), "{}", old.log());
        assert_eq!(fleet.movement()["state"], "moves", "it is to be replaced in the midst");
        // from here on the address of the admin API is that of the next one
        let next = Program::serve(&fleet.files.path("leader.yaml"));
        assert!(!next.log().contains("keys begin to move"), "it stands by: {}", next.log());
        let mut old = std::mem::replace(&mut fleet.leader, next);
        old.signal(Signal::TERM);
        assert_eq!(old.wait().code(), Some(0), "{}", old.log());
        fleet.leader.wait_logged("keys begin to move");
        wire.set(Wire::Plain);
        fleet.wait_moved();
        fleet.wait_current();
    });
    assert_eq!(seen.refused.load(Ordering::Relaxed), 0);
    assert_eq!(fleet.states().len(), 2, "{:?}", fleet.states());
    for program in fleet.all() {
        all_still_there(&mut program.client());
        seen.agrees_with(&mut program.client());
    }
}
