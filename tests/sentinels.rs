//! Nodes whose place sentinels tell: found, followed when a master fails over, and not believed where that would be wrong.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ringway_proxy::control::ApplyError;
use ringway_proxy::settings::{Credentials, NodeSpec, Secret, Sentinels, Settings};

use serde_json::json;

use crate::support::harness::patient;
use crate::support::program::{Files, Program, ringway};
use crate::support::sentinel::{FakeSentinel, Sentinel, pair};
use crate::support::tls::Authority;
use crate::support::{Act, FakeRedis, Harness, RedisServer, wait_for};

fn node(name: &str) -> NodeSpec {
    NodeSpec::new(name, format!("redis+sentinel://{name}"))
}

fn asking(nodes: Vec<NodeSpec>, sentinels: &[String]) -> Settings {
    let sentinels = Sentinels { addresses: sentinels.to_vec(), credentials: Credentials::default() };
    Settings { sentinels: Some(sentinels), ..patient(nodes) }
}

fn found_at(harness: &Harness, name: &str) -> String {
    let stats = harness.http().get("/v1/stats").ok();
    let nodes = stats["nodes"].as_array().expect("a list");
    let node = nodes.iter().find(|node| node["name"] == name).expect("it is there");
    node["found_at"].as_str().unwrap_or("nowhere").to_owned()
}

#[test]
fn a_node_is_where_its_sentinel_says_and_goes_on_at_the_replica_when_its_master_dies() {
    let (mut master, replica) = pair();
    let plain = RedisServer::start();
    let sentinel = Sentinel::start(&[("cache-1", &master)]);
    let nodes = vec![node("cache-1"), NodeSpec::new("cache-2", plain.address())];
    let harness = Harness::start(asking(nodes, &[sentinel.address()])).with_admin();
    harness.wait_usable("cache-1");
    let mut client = harness.client();
    let keys: Vec<String> = harness.keys_of("cache-1", "k:").take(200).collect();
    for key in &keys {
        assert_eq!(client.text(&["SET", key, key]), "+OK\r\n");
    }
    assert_eq!(found_at(&harness, "cache-1"), master.address());
    assert_eq!(found_at(&harness, "cache-2"), "nowhere", "its address says where it is");
    wait_for("the replica to have it all", || replica.dbsize() >= keys.len());
    let mut subscriber = harness.client();
    subscriber.call(&["SUBSCRIBE", "news"]);

    master.kill();
    wait_for("writes to run at the replica", || client.text(&["SET", &keys[0], "new"]) == "+OK\r\n");
    assert_eq!(found_at(&harness, "cache-1"), replica.address());
    for key in &keys[1..] {
        assert_eq!(client.text(&["GET", key]), format!("${}\r\n{key}\r\n", key.len()));
    }
    assert_eq!(replica.call::<String>(&["GET", &keys[0]]), "new");
    // nothing of it has moved any key
    assert_eq!(harness.control().topology().epoch(), 1);
    wait_for("the subscriber to hear by the new master", || {
        client.text(&["PUBLISH", "news", "x"]);
        subscriber.try_reply(Duration::from_millis(50)).is_ok_and(|message| message.ends_with(b"x\r\n"))
    });
    let metrics = harness.http().get("/metrics").text;
    assert!(metrics.contains("ringway_sentinels{state=\"answers\"} 1\n"), "{metrics}");
    assert!(metrics.contains("ringway_master_switches_total 1\n"), "{metrics}");
    let details = harness.http().get("/v1/stats?details=true").ok();
    assert_eq!(details["nodes"][0]["details"]["keys"], replica.dbsize());

    // the old one comes back as a replica, and gets nothing
    master.restart();
    wait_for("the sentinel to have demoted it", || {
        master.try_call::<String>(&["INFO", "replication"]).is_some_and(|text| text.contains("role:slave"))
    });
    assert_eq!(client.text(&["SET", &keys[1], "later"]), "+OK\r\n");
    assert_eq!(found_at(&harness, "cache-1"), replica.address());
}

#[test]
fn i4_replies_are_true_while_an_operator_has_a_master_fail_over() {
    let (master, replica) = pair();
    let sentinel = Sentinel::start(&[("cache-1", &master)]);
    let mut harness = Harness::start(asking(vec![node("cache-1")], &[sentinel.address()]));
    harness.wait_usable("cache-1");
    let address = harness.address();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|number| {
            let stop = std::sync::Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut client = crate::support::RawClient::connect(address);
                let (mut sent, mut refused) = (0u64, BTreeSet::new());
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    sent += 1;
                    let value = format!("{number}:{sent}");
                    let reply = client.text(&["SET", &format!("w:{number}"), &value]);
                    if reply == "+OK\r\n" {
                        continue;
                    }
                    let known = ["-NOTSENT ", "-UNKNOWN ", "-READONLY "];
                    assert!(known.iter().any(|known| reply.starts_with(known)), "{reply}");
                    refused.insert(reply.split(' ').next().unwrap_or_default().to_owned());
                    std::thread::sleep(Duration::from_millis(2));
                }
                // alone now: what is told holds
                let last = format!("{number}:last");
                assert_eq!(client.text(&["SET", &format!("w:{number}"), &last]), "+OK\r\n");
                let read = client.text(&["GET", &format!("w:{number}")]);
                assert_eq!(read, format!("${}\r\n{last}\r\n", last.len()));
                refused
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(sentinel.text(&["SENTINEL", "FAILOVER", "cache-1"]), "+OK\r\n");
    wait_for("the replica to be the master", || {
        replica.try_call::<String>(&["INFO", "replication"]).is_some_and(|text| text.contains("role:master"))
    });
    let mut client = harness.client();
    wait_for("writes to run there", || {
        client.text(&["SET", "probe", "x"]) == "+OK\r\n"
            && replica.try_call::<bool>(&["EXISTS", "probe"]) == Some(true)
    });
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for writer in writers {
        writer.join().expect("replies are true");
    }
    for number in 0..4 {
        assert_eq!(replica.call::<String>(&["GET", &format!("w:{number}")]), format!("{number}:last"));
    }
    harness.drain();
}

#[test]
fn the_newest_of_several_sentinels_is_believed_and_a_replica_is_not_written_to() {
    let (master, replica) = pair();
    let [first, second] = [FakeSentinel::start(), FakeSentinel::start()];
    // one has slept and names a server that is none any more: here, one that was made a replica
    first.says("cache-1", 4, &replica.address());
    let gone = format!("127.0.0.1:{}", crate::support::ports::free_port());
    let settings = asking(vec![node("cache-1")], &[first.address(), second.address(), gone.clone()]);
    let harness = Harness::start(settings).with_admin();
    wait_for("the replica to be found out", || {
        harness.node("cache-1").why == "it is no master, though its sentinels say so"
    });
    assert!(harness.client().text(&["SET", "k", "v"]).starts_with("-NOTSENT "));
    second.says("cache-1", 5, &master.address());
    harness.wait_usable("cache-1");
    // the older answer changes nothing, however often it is given
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(harness.client().text(&["SET", "k", "v"]), "+OK\r\n");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(found_at(&harness, "cache-1"), master.address());
    let asked = harness.control().sentinels();
    let silent: Vec<&str> =
        asked.iter().filter(|sentinel| !sentinel.answers()).map(|sentinel| &*sentinel.address).collect();
    assert_eq!((asked.len(), silent), (3, vec![&*gone]));
}

#[test]
fn i4_once_one_client_is_served_by_a_new_master_nobody_is_by_the_former() {
    let servers = [RedisServer::start(), RedisServer::start()];
    ["first", "second"]
        .iter()
        .zip(&servers)
        .for_each(|(name, server)| server.call::<()>(&["SET", "who", name]));
    let sentinel = FakeSentinel::start();
    sentinel.says("cache-1", 1, &servers[0].address());
    let settings = Settings { threads: 4, ..asking(vec![node("cache-1")], &[sentinel.address()]) };
    let harness = Harness::start(settings);
    harness.wait_usable("cache-1");
    // on every worker some, each with a connection that is in use
    let mut clients: Vec<_> = (0..16).map(|_| harness.client()).collect();
    clients.iter_mut().for_each(|client| drop(client.text(&["GET", "who"])));
    for epoch in 2..6 {
        let (former, now) = if epoch % 2 == 0 { ("first", "second") } else { ("second", "first") };
        sentinel.says("cache-1", epoch, &servers[usize::from(epoch % 2 == 0)].address());
        let found = |client: &mut crate::support::RawClient| client.text(&["GET", "who"]).contains(now);
        wait_for("one client to be served by the new master", || clients.iter_mut().any(found));
        for client in &mut clients {
            let reply = client.text(&["GET", "who"]);
            assert!(!reply.contains(former), "{reply}");
        }
        wait_for("all to be served by it", || clients.iter_mut().all(found));
    }
}

#[test]
fn f1_connections_to_a_master_that_has_moved_are_left_though_they_work() {
    let answers = |name: &'static str| {
        FakeRedis::start(move |seen| {
            vec![Act::Send(match seen.name().as_str() {
                "ROLE" => b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".to_vec(),
                "WATCH" | "UNWATCH" => b"+OK\r\n".to_vec(),
                "BLPOP" if name == "old" => Vec::new(),
                _ => format!("+{name}\r\n").into_bytes(),
            })]
        })
    };
    let (old, new) = (answers("old"), answers("new"));
    let sentinel = FakeSentinel::start();
    sentinel.says("cache-1", 1, &old.address());
    let harness = Harness::start(asking(vec![node("cache-1")], &[sentinel.address()])).with_admin();
    let mut client = harness.client();
    wait_for("it to be used", || client.text(&["GET", "k"]) == "+old\r\n");
    // connections of clients' own: one is free, one watches, one waits
    assert_eq!(client.text(&["WATCH", "k"]), "+OK\r\n");
    client.text(&["UNWATCH"]);
    let mut watching = harness.client();
    assert_eq!(watching.text(&["WATCH", "k"]), "+OK\r\n");
    let mut waiting = harness.client();
    waiting.send_command(&["BLPOP", "k", "0"]);
    wait_for("it to wait there", || old.seen().iter().any(|seen| seen.name() == "BLPOP"));
    sentinel.says("cache-1", 2, &new.address());
    wait_for("the new one to be used", || client.text(&["GET", "k"]) == "+new\r\n");
    // what waited there may have been answered by now: who can know
    let told = waiting.text_reply();
    assert!(told.starts_with("-UNKNOWN ") && told.contains("name another server as the master"), "{told}");
    assert_eq!(waiting.text(&["BLPOP", "k", "0"]), "+new\r\n");
    assert_eq!(watching.text(&["MULTI"]), "+OK\r\n");
    assert_eq!(watching.text(&["SET", "k", "v"]), "+QUEUED\r\n");
    let told = watching.text(&["EXEC"]);
    assert!(told.starts_with("-NOTSENT ") && told.contains("name another server as the master"), "{told}");
    assert!(new.seen().iter().all(|seen| seen.name() != "EXEC"), "without what it watched nothing may run");
    let before = old.seen().len();
    for _ in 0..20 {
        assert_eq!(client.text(&["GET", "k"]), "+new\r\n");
    }
    assert_eq!(client.text(&["BLPOP", "k", "1"]), "+new\r\n");
    assert_eq!(old.seen().len(), before, "nothing is sent to the old one any more");
}

#[test]
fn a_sentinel_that_hangs_holds_up_nobody() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let [first, second] = [FakeSentinel::start(), FakeSentinel::start()];
    let hangs = FakeRedis::unhelpful(|_| vec![Act::Wait(Duration::from_secs(60))]);
    for sentinel in [&first, &second] {
        sentinel.says("cache-1", 1, &old.address());
    }
    let settings = asking(vec![node("cache-1")], &[hangs.address(), first.address(), second.address()]);
    let harness = Harness::start(settings).with_admin();
    harness.wait_usable("cache-1");
    second.says("cache-1", 2, &new.address());
    wait_for("the new one to be used", || found_at(&harness, "cache-1") == new.address());
    harness.wait_usable("cache-1");
    // a name that nobody looked for before is found as well
    let third = RedisServer::start();
    first.says("cache-2", 1, &third.address());
    second.says("cache-2", 1, &third.address());
    let add = json!({"name": "cache-2", "address": "redis+sentinel://cache-2"});
    harness.http().json("POST", "/v1/nodes", &add).ok();
    harness.wait_usable("cache-2");
}

#[test]
fn a_node_joins_by_its_masters_name_with_its_keys_if_sentinels_know_it() {
    let (master, _replica) = pair();
    let plain = RedisServer::start();
    let sentinel = Sentinel::start(&[("cache-2", &master)]);
    let first = NodeSpec::new("cache-1", plain.address());
    let harness = Harness::start(asking(vec![first.clone()], &[sentinel.address()])).with_admin();
    harness.wait_usable("cache-1");
    let mut client = harness.client();
    for number in 0..500 {
        client.call(&["SET", &format!("k:{number}"), &number.to_string()]);
    }
    let add = |name: &str| json!({"name": "cache-2", "address": format!("redis+sentinel://{name}")});
    let refused = harness.http().json("POST", "/v1/nodes", &add("nobody"));
    assert_eq!(refused.json()["error"]["code"], "unresolvable_address");
    let why = refused.refused(422);
    assert!(why.ends_with("cannot be resolved: no sentinel knows where a master 'nobody' is"), "{why}");
    harness.http().json("POST", "/v1/nodes?move_keys=true", &add("cache-2")).ok();
    harness.wait_moved();
    for number in 0..500 {
        let (key, value) = (format!("k:{number}"), number.to_string());
        assert_eq!(client.text(&["GET", &key]), format!("${}\r\n{value}\r\n", value.len()));
    }
    assert!(master.dbsize() > 50 && master.dbsize() + plain.dbsize() >= 500, "{}", master.dbsize());

    let alone = Harness::start(patient(vec![first.clone()]));
    let spec = alone.control().topology().spec().clone();
    let wish = ringway_proxy::settings::TopologySpec { nodes: vec![first, node("cache-2")], ..spec };
    let refused = alone.block_on(alone.control().apply(wish, None, "test")).expect_err("nobody to ask");
    assert!(matches!(refused, ApplyError::NoSentinels { .. }), "{refused}");
}

#[test]
fn sentinels_and_masters_are_spoken_to_over_tls_and_with_passwords() {
    let master = RedisServer::start_with(&["--requirepass", "of-the-node"]);
    let authority = Authority::new();
    let sentinel = FakeSentinel::start();
    let encrypted = |address: String| authority.terminate(address.parse().expect("an address")).to_string();
    sentinel.says("cache-1", 1, &encrypted(master.address()));
    let credentials = |password: &str| Credentials { username: None, password: Some(Secret::new(password)) };
    let node = NodeSpec {
        credentials: credentials("of-the-node"),
        ..NodeSpec::new("cache-1", "rediss+sentinel://cache-1")
    };
    let sentinels = Sentinels {
        addresses: vec![format!("rediss://{}", encrypted(sentinel.address()))],
        credentials: credentials("of-the-sentinel"),
    };
    let settings =
        Settings { node_tls: Some(authority.node_tls()), sentinels: Some(sentinels), ..patient(vec![node]) };
    let harness = Harness::start(settings).with_admin();
    harness.wait_usable("cache-1");
    let details = harness.http().get("/v1/stats?details=true").ok();
    assert_eq!(details["nodes"][0]["details"]["keys"], 0, "the control plane reaches it, too: {details}");
    assert!(sentinel.was_told("of-the-sentinel") && !sentinel.was_told("of-the-node"));
}

#[test]
fn a_process_reads_its_sentinels_from_the_file_and_says_what_is_wrong_with_them() {
    let master = RedisServer::start();
    let sentinel = FakeSentinel::start();
    let config = |name: &str| {
        format!(
            "listen: 127.0.0.1:0\nadmin: {{listen: '127.0.0.1:0'}}\ntimeouts: {{connect: 5s, operation: 10s}}\n\
            sentinels: {{addresses: ['{}'], password: {{env: SENTINEL_PASSWORD}}}}\n\
            nodes: [{{name: cache-1, address: 'redis+sentinel://{name}'}}]\n",
            sentinel.address()
        )
    };
    let files = Files::new(&[("ringway.yaml", &config("main"))]);
    let mut command = ringway(&["serve", "--config", &files.arg("ringway.yaml")]);
    command.env("SENTINEL_PASSWORD", "not-to-be-told");
    let program = Program::watch(command, true);
    let mut client = program.client();
    wait_for("the reason to be told", || {
        client.text(&["GET", "k"]).ends_with("no sentinel knows where a master 'main' is\r\n")
    });
    sentinel.says("main", 1, &master.address());
    wait_for("the node", || client.text(&["SET", "k", "v"]) == "+OK\r\n");
    assert!(sentinel.was_told("not-to-be-told"));
    // the sentinel goes, and what it said is believed on
    drop(sentinel);
    program.wait_logged("a sentinel does not answer");
    assert_eq!(client.text(&["GET", "k"]), "$1\r\nv\r\n");
    assert!(!program.log().contains("not-to-be-told"), "{}", program.log());
}
