//! Ringways that follow one another while one of them is killed, stands still or is replaced, and what strangers may not do.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::byte_proxy::ByteProxy;
use crate::support::fleet::{Fleet, STILL, all_still_there, fill, join, nodes, servers};
use crate::support::frame::bulk_request;
use crate::support::ports::free_port;
use crate::support::program::{Files, Program};
use crate::support::tls::Authority;
use crate::support::{RedisServer, wait_for};

fn state(program: &Program) -> Value {
    program.http().get("/v1/topology").ok()
}

#[test]
fn i4_no_keys_move_past_a_follower_that_is_not_heard_of() {
    let (servers, third) = (servers(2), RedisServer::start());
    let mut fleet = Fleet::start(&servers, 2);
    fill(&mut fleet.leader.client());
    fleet.kill_follower(1);
    fleet.leader.wait_logged("no keys can be moved past this follower");
    let leader = fleet.leader.http();
    let why = join(&leader, "cache-3", &third.address()).refused(409);
    assert!(why.contains("'follower-1'") && why.contains("DELETE /v1/followers/follower-1"), "{why}");
    assert_eq!(state(&fleet.leader)["epoch"], 1);
    // the leader forgets nobody when it is started again
    fleet.kill_leader();
    fleet.start_leader();
    wait_for("the other one to be heard", || {
        fleet.states().contains(&("follower-0".to_owned(), "current".to_owned()))
    });
    let leader = fleet.leader.http();
    let why = join(&leader, "cache-3", &third.address()).refused(409);
    assert!(why.contains("'follower-1'") && why.contains("since the start"), "{why}");
    // a change without keys relies on nobody
    assert_eq!(leader.json("PATCH", "/v1/nodes/cache-2", &json!({"weight": 2})).status, 200);
    assert_eq!(leader.send("POST", "/v1/topology/rollback", None).status, 200);
    leader.send("DELETE", "/v1/followers/nobody", None).refused(404);
    assert!(leader.send("DELETE", "/v1/followers/follower-0", None).refused(409).contains("a moment ago"));
    assert_eq!(leader.send("DELETE", "/v1/followers/follower-1", None).status, 204);
    assert_eq!(join(&leader, "cache-3", &third.address()).status, 201);
    fleet.wait_moved();
    all_still_there(&mut fleet.followers[0].client());
    // and it comes back to what holds by then
    fleet.start_follower(1);
    fleet.wait_current();
    all_still_there(&mut fleet.followers[1].client());
}

#[test]
fn f5_a_follower_that_is_killed_and_started_again_leaves_nothing_behind() {
    let (servers, third) = (servers(2), RedisServer::start());
    let mut fleet = Fleet::start(&servers, 1);
    for _ in 0..3 {
        fleet.kill_follower(0);
        fleet.start_follower(0);
    }
    fleet.wait_current();
    assert_eq!(fleet.states(), [("follower-0".to_owned(), "current".to_owned())]);
    // those before it would be missed by now
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(join(&fleet.leader.http(), "cache-3", &third.address()).status, 201);
    fleet.wait_moved();
    assert_eq!(fleet.states().len(), 1);
    let left = std::fs::read_dir(fleet.files.path("")).expect("a folder").flatten();
    let left = left.filter(|file| file.file_name().to_string_lossy().contains(".json.follower-"));
    assert_eq!(left.count(), 1, "a file for each that lives");
}

#[test]
fn f5_a_follower_that_left_does_not_come_back_by_what_it_was_told_then() {
    let (servers, third) = (servers(2), RedisServer::start());
    let mut fleet = Fleet::start(&servers, 1);
    fill(&mut fleet.leader.client());
    fleet.followers[0].signal(Signal::TERM);
    assert_eq!(fleet.followers[0].wait().code(), Some(0));
    // nobody waits for it
    assert_eq!(join(&fleet.leader.http(), "cache-3", &third.address()).status, 201);
    fleet.wait_moved();
    fleet.kill_leader();
    // one that is stopped while it waits is not one that the leader counts
    let config = fleet.files.arg("follower-0.yaml");
    for signal in [Signal::TERM, Signal::KILL] {
        let mut waits = crate::support::program::ringway(&["serve", "--config", &config]);
        let waits = waits.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        let mut waits = waits.spawn().expect("the binary");
        std::thread::sleep(Duration::from_millis(500));
        rustix::process::kill_process(rustix::process::Pid::from_child(&waits), signal).expect("signal");
        waits.wait().expect("wait");
    }
    std::thread::scope(|scope| {
        let config = fleet.files.path("follower-0.yaml");
        let started = scope.spawn(move || Program::serve(&config));
        std::thread::sleep(Duration::from_secs(4));
        assert!(!started.is_finished(), "it serves by the topology of then");
        let leader = Program::serve(&fleet.files.path("leader.yaml"));
        let follower = started.join().expect("it is told");
        all_still_there(&mut follower.client());
        drop(leader);
    });
}

#[test]
fn f1_a_rollback_before_any_key_has_moved_moves_none() {
    let (former, next) = (RedisServer::start(), RedisServer::start());
    let wire = ByteProxy::start(&former.address());
    let listed = nodes([wire.address()].into_iter());
    let fleet = Fleet::start_with(&listed, 1, "timeouts: {connect: 5s, operation: 10s}\n");
    let mut client = fleet.followers[0].client();
    assert_eq!(client.text(&["SET", "counter", "5"]), "+OK\r\n");
    wire.hold_requests();
    client.send_command(&["INCR", "counter"]);
    std::thread::sleep(Duration::from_millis(100));
    let leader = fleet.leader.http();
    let readdress = json!({"address": next.address()});
    assert_eq!(leader.json("PATCH", "/v1/nodes/cache-1?move_keys=true", &readdress).status, 200);
    assert_eq!(fleet.movement()["state"], "begins");
    let report = leader.send("POST", "/v1/topology/rollback", None).ok();
    assert_eq!((&report["to_epoch"], &fleet.movement()["state"]), (&json!(3), &json!("ended")));
    assert_eq!(state(&fleet.leader)["moving"], false);
    wire.release_requests();
    assert_eq!(client.text_reply(), ":6\r\n");
    // there is nothing to go back to but what was there before
    assert_eq!(leader.send("POST", "/v1/topology/rollback", None).ok()["moved_percent"], 0.0);
    fleet.wait_current();
    assert_eq!(client.text(&["INCR", "counter"]), ":7\r\n");
    assert_eq!(next.dbsize(), 0);
}

#[test]
fn i4_a_change_that_a_follower_does_not_take_over_is_taken_back() {
    let (servers, third) = (servers(2), RedisServer::start());
    let listed = nodes(servers.iter().map(RedisServer::address));
    let fleet = Fleet::start_with(&listed, 2, "timeouts: {connect: 5s, operation: 1s}\n");
    fill(&mut fleet.leader.client());
    let before = state(&fleet.leader);
    // it was heard of a moment ago
    fleet.followers[1].signal(Signal::STOP);
    let leader = fleet.leader.http();
    assert_eq!(join(&leader, "cache-3", &third.address()).status, 201);
    wait_for("it to be taken back", || state(&fleet.leader)["epoch"] == 3);
    let movement = fleet.movement();
    assert_eq!((&movement["state"], &movement["moved"]), (&json!("ended"), &json!(0)), "{movement}");
    let why = movement["why"].as_str().expect("a reason");
    assert!(why.contains("'follower-1'") && why.contains("epoch 2"), "{why}");
    assert_eq!(state(&fleet.leader)["fingerprint"], before["fingerprint"]);
    assert_eq!(third.dbsize(), 0);
    all_still_there(&mut fleet.followers[0].client());
    fleet.followers[1].signal(Signal::CONT);
    fleet.wait_current();
    all_still_there(&mut fleet.followers[1].client());
    assert_eq!(join(&leader, "cache-3", &third.address()).status, 201);
    fleet.wait_moved();
    fleet.wait_current();
    all_still_there(&mut fleet.followers[1].client());
}

#[test]
fn i3_keys_wait_for_what_a_follower_has_sent() {
    let (former, next) = (RedisServer::start(), RedisServer::start());
    let wire = ByteProxy::start(&former.address());
    let fleet = Fleet::start_with(
        &nodes([wire.address()].into_iter()),
        1,
        "timeouts: {connect: 5s, operation: 10s}\n",
    );
    let (mut client, mut other) = (fleet.followers[0].client(), fleet.leader.client());
    assert_eq!(client.text(&["SET", "counter", "5"]), "+OK\r\n");
    assert_eq!(other.text(&["GET", "counter"]), "$1\r\n5\r\n");
    // it is written, and the node does not see it yet
    wire.hold_requests();
    client.send_command(&["INCR", "counter"]);
    std::thread::sleep(Duration::from_millis(100));
    let leader = fleet.leader.http();
    let moved = leader.json("PATCH", "/v1/nodes/cache-1?move_keys=true", &json!({"address": next.address()}));
    assert_eq!(moved.status, 200, "{}", moved.text);
    other.send_command(&["GET", "counter"]);
    other.expect_silence(Duration::from_millis(500));
    assert_eq!((&fleet.movement()["state"], next.dbsize()), (&json!("begins"), 0));
    wire.release_requests();
    assert_eq!(client.text_reply(), ":6\r\n");
    assert_eq!(other.text_reply(), "$1\r\n6\r\n");
    fleet.wait_moved();
    assert_eq!((former.dbsize(), next.call::<u64>(&["GET", "counter"])), (0, 6));
}

#[test]
fn i3_what_a_follower_has_given_up_does_not_run_behind_the_keys() {
    let (former, next) = (RedisServer::start(), RedisServer::start());
    let wire = ByteProxy::start(&former.address());
    let fleet = Fleet::start_with(
        &nodes([wire.address()].into_iter()),
        1,
        "timeouts: {connect: 5s, operation: 1s}\n",
    );
    let mut client = fleet.followers[0].client();
    assert_eq!(client.text(&["SET", "counter", "5"]), "+OK\r\n");
    wire.hold_requests();
    client.send_command(&["INCR", "counter"]);
    std::thread::sleep(Duration::from_millis(100));
    let leader = fleet.leader.http();
    let moved = leader.json("PATCH", "/v1/nodes/cache-1?move_keys=true", &json!({"address": next.address()}));
    assert_eq!(moved.status, 200, "{}", moved.text);
    // the follower gives it up, says so, and can do nothing more about it itself
    wire.refuse_new();
    wait_for("it to be given up", || fleet.movement()["state"] == "moves");
    assert!(client.text_reply().starts_with("-UNKNOWN"));
    fleet.followers[0].signal(Signal::STOP);
    wire.take_new();
    fleet.wait_moved();
    // what was given up comes only now, if nobody has seen to it that it does not
    wire.release_requests();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(former.dbsize(), 0, "it ran where the key no longer is");
    fleet.followers[0].signal(Signal::CONT);
    let mut other = fleet.leader.client();
    assert_eq!(other.text(&["GET", "counter"]), "$1\r\n5\r\n");
}

#[test]
fn i8_a_leader_that_begins_anew_is_believed_and_epochs_never_go_back() {
    let (servers, third) = (servers(2), RedisServer::start());
    let mut fleet = Fleet::start(&servers, 1);
    let body = json!({"name": "cache-3", "address": third.address()});
    assert_eq!(fleet.leader.http().json("POST", "/v1/nodes", &body).status, 201);
    fleet.wait_current();
    assert_eq!(state(&fleet.followers[0])["epoch"], 2);
    fleet.kill_leader();
    std::fs::remove_file(fleet.files.path("leader.json")).expect("a file");
    fleet.start_leader();
    fleet.wait_current();
    let (leaders, followers) = (state(&fleet.leader), state(&fleet.followers[0]));
    assert_eq!((&leaders["epoch"], &followers["epoch"]), (&json!(1), &json!(3)));
    assert_eq!(leaders["fingerprint"], followers["fingerprint"]);
    // the two numbers mean the same
    fill(&mut fleet.leader.client());
    assert_eq!(join(&fleet.leader.http(), "cache-3", &third.address()).status, 201);
    all_still_there(&mut fleet.followers[0].client());
    fleet.wait_moved();
    all_still_there(&mut fleet.followers[0].client());
    assert!(state(&fleet.followers[0])["epoch"].as_u64() > Some(3));
}

#[test]
fn i2_keys_that_are_on_their_way_are_fetched_by_whoever_is_asked() {
    let former = RedisServer::start();
    let next = RedisServer::start();
    let fleet = Fleet::start(std::slice::from_ref(&former), 1);
    fill(&mut fleet.leader.client());
    let leader = fleet.leader.http();
    let moved = leader.json("PATCH", "/v1/nodes/cache-1?move_keys=true", &json!({"address": next.address()}));
    assert_eq!(moved.status, 200, "{}", moved.text);
    let mut client = fleet.followers[0].client();
    // a long pipeline, and commands of many keys, in their order
    let requests: Vec<u8> = (0..STILL)
        .rev()
        .step_by(3)
        .flat_map(|at| bulk_request(&["APPEND", &format!("still:{at}"), ""]))
        .collect();
    let mut sender = client.sender();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &requests));
    for at in (0..STILL).rev().step_by(3) {
        assert_eq!(client.text_reply(), format!(":{}\r\n", format!("value {at}").len()), "still:{at}");
    }
    sending.join().expect("the sender").expect("all is sent");
    all_still_there(&mut client);
    let binary = b"\x00\xff\r\n";
    client.send(&bulk_request(&[b"SET".as_slice(), binary, b"x"]));
    assert_eq!(client.text_reply(), "+OK\r\n");
    fleet.wait_moved();
    assert_eq!((former.dbsize(), next.dbsize()), (0, STILL + 1));
}

/// A leader and what a follower of it is to be told, as configuration files.
fn files(servers: &[RedisServer], admin: &str, follow: &str) -> Files {
    let nodes = nodes(servers.iter().map(RedisServer::address));
    let files = Files::new(&[]);
    for (name, more) in [("leader", admin), ("follower", follow)] {
        let (listen, kept) = (free_port(), files.arg(&format!("{name}.json")));
        let text = format!("listen: 127.0.0.1:{listen}\ntopology_file: {kept}\n{more}nodes:\n{nodes}");
        files.write(&format!("{name}.yaml"), &text);
    }
    files
}

#[test]
fn g1_only_who_may_change_the_ring_may_follow() {
    let (servers, third) = (servers(2), RedisServer::start_with(&["--requirepass", "node-secret"]));
    let (admin, own) = (free_port(), free_port());
    let follow = |token: &str| {
        format!(
            "admin: {{listen: '127.0.0.1:{own}'}}\n\
             follow: {{url: 'http://127.0.0.1:{admin}', name: f, token: {token}}}\n"
        )
    };
    let leaders =
        format!("admin: {{listen: '127.0.0.1:{admin}', token: full-secret, read_token: read-secret}}\n");
    let files = files(&servers, &leaders, &follow("full-secret"));
    let leader = Program::serve(&files.path("leader.yaml"));
    let report = json!({"instance": "i", "leader": "", "serves": 0, "settled": false});
    for (token, status) in [("", 401), ("Bearer wrong", 401), ("Bearer read-secret", 403)] {
        let http = leader.http().header("Authorization", token);
        http.json("POST", "/v1/followers/f", &report).refused(status);
        http.json("POST", "/v1/followers/f/keys", &json!({"leader": "", "epoch": 1, "keys": []}))
            .refused(status);
        http.send("DELETE", "/v1/followers/f", None).refused(status);
    }
    let http = leader.http().header("Authorization", "Bearer full-secret");
    assert_eq!(http.get("/v1/followers").ok()["followers"], json!([]), "nobody was let in");
    let follower = Program::serve(&files.path("follower.yaml"));
    // a node that only the leader knows the password of
    let body = json!({"name": "cache-3", "address": third.address(), "password": "node-secret"});
    assert_eq!(http.json("POST", "/v1/nodes", &body).status, 201);
    let mut client = follower.client();
    wait_for("the follower to use it", || {
        (0..50).all(|at| client.text(&["SET", &format!("key:{at}"), "x"]) == "+OK\r\n")
            && follower.http().get("/v1/topology").ok()["epoch"] == 2
    });
    let stats = third.client().text(&["AUTH", "node-secret"]);
    assert_eq!(stats, "+OK\r\n");
    for log in [leader.log(), follower.log(), follower.text()] {
        assert!(!log.contains("secret"), "{log}");
    }
    // reports are no changes, of which each has a line
    assert!(!leader.log().contains("POST /v1/followers/f"), "{}", leader.log());
    drop(follower);
    std::fs::write(
        files.path("follower.yaml"),
        std::fs::read_to_string(files.path("follower.yaml"))
            .expect("a file")
            .replace("token: full-secret", "token: wrong"),
    )
    .expect("a file");
    let mut command = crate::support::program::ringway(&["serve", "--config", &files.arg("follower.yaml")]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("the binary");
    // longer than a leader that is not reached is waited for where it counts this follower
    std::thread::sleep(Duration::from_millis(4500));
    assert!(child.try_wait().expect("wait").is_none(), "it waits for a leader that lets it in");
    child.kill().expect("kill");
    let mut log = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut log).expect("text");
    child.wait().expect("wait");
    assert!(log.contains("it refuses: 401 present the admin token"), "{log}");
    assert_eq!(log.matches("does not say what to serve").count(), 1, "said once: {log}");
    assert!(!log.contains("topology of"), "nothing is served: {log}");
}

#[test]
fn g1_a_leader_is_reached_over_tls() {
    let (servers, authority) = (servers(2), Authority::new());
    let pair = authority.issue(&["localhost"]);
    let (certificate, key) = (authority.file("c.pem", &pair.certificate), authority.file("k.pem", &pair.key));
    let ca = authority.file("ca.pem", &authority.pem());
    let (admin, own) = (free_port(), free_port());
    let leaders = format!(
        "admin: {{listen: '127.0.0.1:{admin}', tls: {{certificate: {}, key: {}}}}}\n",
        certificate.display(),
        key.display()
    );
    let follow = format!(
        "admin: {{listen: '127.0.0.1:{own}'}}\n\
         follow: {{url: 'https://localhost:{admin}', name: f, tls: {{ca: {}}}}}\n",
        ca.display()
    );
    let files = files(&servers, &leaders, &follow);
    let _leader = Program::serve(&files.path("leader.yaml"));
    let follower = Program::serve(&files.path("follower.yaml"));
    let told = follower.http().get("/v1/followers").ok();
    assert_eq!(told["follows"], json!({"leader": format!("https://localhost:{admin}"), "in_touch": true}));
    assert_eq!(follower.client().text(&["SET", "a", "1"]), "+OK\r\n");
}

#[test]
fn g3_what_is_no_report_is_refused() {
    let servers = servers(1);
    let fleet = Fleet::start(&servers, 0);
    let leader = fleet.leader.http();
    let report = |instance: &str| json!({"instance": instance, "leader": "", "serves": 0, "settled": false});
    leader.json("POST", "/v1/followers/f", &json!({})).refused(400);
    leader.json("POST", "/v1/followers/f", &report("")).refused(400);
    leader.json("POST", "/v1/followers/f", &report(&"x".repeat(129))).refused(400);
    leader.json("POST", &format!("/v1/followers/{}", "x".repeat(129)), &report("i")).refused(400);
    leader.json("POST", "/v1/followers/a%20b", &report("i")).refused(400);
    leader
        .json("POST", "/v1/followers/f/keys", &json!({"leader": "", "epoch": 1, "keys": ["?"]}))
        .refused(400);
    let many: Vec<&str> = vec![""; 513];
    leader
        .json("POST", "/v1/followers/f/keys", &json!({"leader": "", "epoch": 1, "keys": many}))
        .refused(400);
    assert_eq!(leader.get("/v1/followers").ok()["followers"], json!([]));
    // nobody brings keys by a topology that is not there
    let none =
        leader.json("POST", "/v1/followers/f/keys", &json!({"leader": "x", "epoch": 1, "keys": ["a2V5"]}));
    assert_eq!(none.ok(), json!({"outcomes": null}));
    // their number is bounded
    for at in 0..100 {
        let told = leader.json("POST", &format!("/v1/followers/f{at}"), &report(&format!("i{at}"))).ok();
        assert_eq!(told["topology"]["nodes"].as_array().expect("a list").len(), 1);
    }
    let why = leader.json("POST", "/v1/followers/one-more", &report("i")).refused(409);
    assert!(why.contains("DELETE /v1/followers/NAME"), "{why}");
    // a report that knows the future waits no longer than one that does not
    let began = std::time::Instant::now();
    let told = leader.json(
        "POST",
        "/v1/followers/f0",
        &json!({"instance": "i0", "leader": "x", "serves": u64::MAX,
        "settled": true, "wait_ms": u64::MAX}),
    );
    assert_eq!(told.ok()["epoch"], 1);
    assert!(began.elapsed() < Duration::from_secs(20));
}
