//! Changes of the ring that take the keys along: no client misses a key, and no write is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ringway_proxy::control::{ApplyError, MovementPhase, MovementStatus};
use ringway_proxy::settings::NodeSpec;

use crate::support::harness::{node_name, specs};
use crate::support::{Cluster, RedisServer, StopAtEnd, wait_for};

/// Keys that nobody writes while they move.
const STILL: usize = 30_000;

fn status(cluster: &Cluster) -> MovementStatus {
    cluster.control().movement().expect("a movement")
}

fn wait_done(cluster: &Cluster) -> MovementStatus {
    cluster.wait_moved();
    let status = status(cluster);
    assert_eq!((status.phase, status.left, &status.why), (MovementPhase::Done, 0, &None), "{status:?}");
    status
}

/// Writes keys through the proxy.
fn fill(cluster: &Cluster, count: usize) {
    let mut client = cluster.client();
    for at in (0..count).step_by(500) {
        let mut words = vec!["MSET".to_owned()];
        (at..(at + 500).min(count))
            .for_each(|at| words.extend([format!("still:{at}"), format!("value {at}")]));
        assert_eq!(client.text(&words), "+OK\r\n");
    }
}

fn all_still_there(cluster: &Cluster, count: usize) {
    let mut client = cluster.client();
    for at in (0..count).step_by(500) {
        let keys = (at..(at + 500).min(count)).map(|at| format!("still:{at}"));
        let words: Vec<String> = std::iter::once("MGET".to_owned()).chain(keys).collect();
        let expected: String = (at..(at + 500).min(count))
            .map(|at| format!("value {at}"))
            .map(|value| format!("${}\r\n{value}\r\n", value.len()))
            .collect();
        assert_eq!(client.text(&words), format!("*{}\r\n{expected}", words.len() - 1));
    }
}

/// Each key lies on the node that the ring names, and nowhere else.
fn no_strays(cluster: &Cluster, servers: &[&RedisServer]) {
    for (at, server) in servers.iter().enumerate() {
        let keys: Vec<String> = server.call(&["KEYS", "*"]);
        let strays: Vec<&String> = keys.iter().filter(|key| cluster.owner(key) != node_name(at)).collect();
        assert!(strays.is_empty(), "{} of {} keys on {}", strays.len(), keys.len(), node_name(at));
    }
}

/// Runs `what` while clients count in keys of their own and read others: every reply is checked. Returns how many
/// commands were answered.
fn under_load(cluster: &Cluster, name: &str, what: impl FnOnce()) -> u64 {
    const CLIENTS: usize = 6;
    const COUNTERS: usize = 300;
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let counts: Vec<Vec<u64>> = thread::scope(|scope| {
        let client = |id: usize| {
            let (stop, answered) = (&stop, &answered);
            move || {
                let (mut client, mut counts) = (cluster.client(), vec![0u64; COUNTERS]);
                for round in 0usize.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // all of them once, then to and fro
                    let at = round.wrapping_mul(7919) % COUNTERS;
                    counts[at] += 1;
                    let key = format!("{name}:{id}:{at}");
                    assert_eq!(client.text(&["INCR", &key]), format!(":{}\r\n", counts[at]), "{key}");
                    let (a, b) =
                        (round.wrapping_mul(104_729) % STILL, round.wrapping_mul(15_485_863) % STILL);
                    let (a, b) = (format!("still:{a}"), format!("still:{b}"));
                    assert_eq!(client.text(&["EXISTS", &a, &b, &key]), ":3\r\n", "{a} {b} {key}");
                    answered.fetch_add(2, Ordering::Relaxed);
                }
                counts
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|id| scope.spawn(client(id))).collect();
        let stopping = StopAtEnd(&stop);
        let all = 2 * (CLIENTS * COUNTERS) as u64;
        wait_for("each counter to be there", || answered.load(Ordering::Relaxed) > 2 * all);
        what();
        let end = answered.load(Ordering::Relaxed);
        wait_for("the clients to go on", || answered.load(Ordering::Relaxed) > end + 100);
        drop(stopping);
        clients.into_iter().map(|client| client.join().expect("the client")).collect()
    });
    let mut client = cluster.client();
    for (id, counts) in counts.iter().enumerate() {
        for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let text = count.to_string();
            let expected = format!("${}\r\n{text}\r\n", text.len());
            assert_eq!(client.text(&["GET", &format!("{name}:{id}:{at}")]), expected);
        }
    }
    answered.into_inner()
}

#[test]
fn f1_a_node_joins_and_leaves_and_no_client_misses_a_key() {
    let cluster = Cluster::start_with(3, |settings| settings.threads = 2);
    let fourth = RedisServer::start();
    fill(&cluster, STILL);
    let four: Vec<NodeSpec> =
        specs(&cluster.nodes).into_iter().chain([NodeSpec::new("cache-4", fourth.address())]).collect();
    let all = || -> Vec<&RedisServer> { cluster.nodes.iter().chain([&fourth]).collect() };
    let answered = under_load(&cluster, "joins", || {
        cluster.apply_and_move(four.clone()).expect("a change");
        let status = wait_done(&cluster);
        assert!(status.moved > STILL as u64 / 6 && fourth.dbsize() > STILL / 6, "{status:?}");
    });
    no_strays(&cluster, &all());
    all_still_there(&cluster, STILL);
    let before = fourth.dbsize();
    let answered = answered
        + under_load(&cluster, "leaves", || {
            cluster.apply_and_move(specs(&cluster.nodes)).expect("a change");
            wait_done(&cluster);
            assert_eq!(fourth.dbsize(), 0, "of {before}");
        });
    no_strays(&cluster, &all());
    all_still_there(&cluster, STILL);
    let mut client = cluster.client();
    assert!(client.text(&["DBSIZE"]).starts_with(':'));
    println!("{answered} commands answered while {before} keys went to a fourth node and back");
}

#[test]
fn f1_keys_that_are_on_their_way_are_called_back() {
    let cluster = Cluster::start_with(3, |settings| settings.threads = 2);
    let fourth = RedisServer::start();
    fill(&cluster, STILL);
    let three = cluster.control().topology().spec().clone();
    let four: Vec<NodeSpec> =
        specs(&cluster.nodes).into_iter().chain([NodeSpec::new("cache-4", fourth.address())]).collect();
    under_load(&cluster, "back", || {
        for round in 0..6 {
            cluster.apply_and_move(four.clone()).expect("a change");
            wait_for("some keys to have moved", || status(&cluster).moved > 20 * round);
            let change = cluster.control().rollback(None).expect("a rollback");
            assert_eq!(change.to.spec(), &three);
            wait_done(&cluster);
            assert_eq!(fourth.dbsize(), 0);
        }
        // and once more to and fro
        cluster.apply_and_move(four.clone()).expect("a change");
        wait_for("some keys to have moved", || status(&cluster).moved > 50);
        cluster.control().rollback(None).expect("a rollback");
        cluster.control().rollback(None).expect("a rollback of it");
        wait_done(&cluster);
        assert!(fourth.dbsize() > STILL / 6);
    });
    no_strays(&cluster, &cluster.nodes.iter().chain([&fourth]).collect::<Vec<_>>());
    all_still_there(&cluster, STILL);
    cluster.block_on(cluster.control().rollback_and_move(None)).expect("a rollback");
    wait_done(&cluster);
    assert_eq!((cluster.control().topology().spec(), fourth.dbsize()), (&three, 0));
    all_still_there(&cluster, STILL);
}

#[test]
fn f1_what_waits_watches_and_queues_goes_along() {
    let cluster = Cluster::start(1);
    let next = RedisServer::start();
    let mut moved = specs(&cluster.nodes);
    moved[0].address = next.address();
    let mut client = cluster.client();
    let mut waiting = cluster.client();
    waiting.send_command(&["BLPOP", "queue", "0"]);
    wait_for("it to wait", || {
        cluster.nodes[0].call::<String>(&["INFO", "clients"]).contains("blocked_clients:1\r")
    });
    client.text(&["SELECT", "3"]);
    client.text(&["SET", "elsewhere", "3"]);
    client.text(&["SELECT", "0"]);
    for words in [
        vec!["SET", "text", "1"],
        vec!["SET", "short", "lived", "PX", "600000"],
        vec!["RPUSH", "list", "a", "b"],
        vec!["ZADD", "scores", "1", "one"],
        vec!["XADD", "stream", "1-1", "field", "value"],
        vec!["XGROUP", "CREATE", "stream", "group", "0"],
    ] {
        assert!(!client.text(&words).starts_with('-'), "{words:?}");
    }
    let mut watching = cluster.client();
    assert_eq!(watching.text(&["WATCH", "text"]), "+OK\r\n");
    assert_eq!(watching.text(&["MULTI"]), "+OK\r\n");
    assert_eq!(watching.text(&["INCR", "text"]), "+QUEUED\r\n");
    let mut queueing = cluster.client();
    assert_eq!(queueing.text(&["MULTI"]), "+OK\r\n");
    assert_eq!(queueing.text(&["LPOP", "list"]), "+QUEUED\r\n");
    assert_eq!(queueing.text(&["INCR", "text"]), "+QUEUED\r\n");
    cluster.apply_and_move(moved).expect("a change");
    assert_eq!(queueing.text(&["EXEC"]), "*2\r\n$1\r\na\r\n:2\r\n");
    assert_eq!(watching.text(&["EXEC"]), "*-1\r\n", "the key left the connection that watched it");
    assert_eq!(client.text(&["RPUSH", "queue", "x"]), ":1\r\n");
    assert_eq!(waiting.text_reply(), "*2\r\n$5\r\nqueue\r\n$1\r\nx\r\n");
    wait_done(&cluster);
    assert_eq!(cluster.nodes[0].dbsize(), 0);
    assert_eq!(client.text(&["LRANGE", "list", "0", "-1"]), "*1\r\n$1\r\nb\r\n");
    assert_eq!(client.text(&["ZSCORE", "scores", "one"]), "$1\r\n1\r\n");
    assert!(client.text(&["XREADGROUP", "GROUP", "group", "me", "STREAMS", "stream", ">"]).contains("value"));
    let ttl: u64 =
        client.text(&["PTTL", "short"]).trim_start_matches(':').trim_end().parse().expect("a number");
    assert!((500_000..=600_000).contains(&ttl), "{ttl}");
    client.text(&["SELECT", "3"]);
    assert_eq!(client.text(&["GET", "elsewhere"]), "$1\r\n3\r\n");
    assert_eq!(cluster.nodes[0].call::<String>(&["INFO", "keyspace"]).matches("db").count(), 0);
}

#[test]
fn f1_while_keys_move_no_other_change_is_taken_and_no_answer_is_partial() {
    let cluster = Cluster::start_with(2, |settings| {
        settings.allowed_commands = ["keys", "flushall", "flushdb", "swapdb"].map(str::to_owned).into();
    });
    let cluster = cluster.with_admin();
    let third = RedisServer::start();
    fill(&cluster, 20_000);
    // a key that cannot arrive keeps the movement going
    let three: Vec<NodeSpec> =
        specs(&cluster.nodes).into_iter().chain([NodeSpec::new("cache-3", third.address())]).collect();
    cluster.apply_and_move(three.clone()).expect("a change");
    let _: () = third.call(&["CONFIG", "SET", "maxmemory", "1mb"]);
    wait_for("the nodes to be full", || status(&cluster).left > 0);
    let http = cluster.http();
    let seen = http.get("/v1/movement").ok();
    assert_eq!(seen["state"], "moves");
    assert!(
        seen["why"].as_str().expect("a reason").contains("cache-3") && seen["left"].as_u64() > Some(0),
        "{seen}"
    );
    assert_eq!(http.get("/v1/topology").ok()["moving"], true);
    let mut client = cluster.client();
    for words in [
        &["DBSIZE"][..],
        &["KEYS", "*"],
        &["SCAN", "0"],
        &["RANDOMKEY"],
        &["FLUSHALL"],
        &["FLUSHDB"],
        &["SORT", "still:1", "BY", "{still:1}*"],
    ] {
        let reply = client.text(words);
        assert!(reply.starts_with("-ERR") && reply.contains("while keys move"), "{words:?}: {reply}");
    }
    let error = cluster.apply_and_move(specs(&cluster.nodes)).expect_err("keys are on their way");
    assert!(matches!(error, ApplyError::StillMoving(2)), "{error}");
    assert_eq!(http.get("/v1/strays").status, 404);
    let busy = http.json("POST", "/v1/strays", &serde_json::json!({"action": "count"}));
    assert_eq!(busy.status, 409, "{}", busy.text);
    let on_its_way = cluster
        .keys_of("cache-3", "still:")
        .find(|key| cluster.nodes.iter().any(|node| node.call::<usize>(&["EXISTS", key]) == 1));
    let on_its_way = on_its_way.expect("a key that does not arrive");
    let refused = client.text(&["GET", &on_its_way]);
    assert!(refused.starts_with("-NOTSENT node 'cache-3'") && refused.contains("OOM"), "{refused}");
    let route = http.get(&format!("/v1/route?key={on_its_way}")).ok();
    assert!(route["node"] == "cache-3" && route["moving_from"].as_str().is_some(), "{route}");
    // room is made, and it comes to its end by itself
    let _: () = third.call(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(client.text(&["GET", &on_its_way]).contains("value"));
    wait_done(&cluster);
    all_still_there(&cluster, 20_000);
    let seen = http.get("/v1/movement").ok();
    assert!(seen["state"] == "done" && seen["ended_at"].is_string(), "{seen}");
    assert_eq!(http.get("/v1/topology").ok()["moving"], false);
    assert_eq!(http.send("DELETE", "/v1/movement", None).refused(409), "no keys are on their way");
    assert_eq!(client.text(&["DBSIZE"]), ":20000\r\n");
}

#[test]
fn f1_a_movement_is_ended_and_what_is_left_stays_where_it_was() {
    let cluster = Cluster::start(2).with_admin();
    let third = RedisServer::start();
    fill(&cluster, 20_000);
    let body = serde_json::json!({"name": "cache-3", "address": third.address()});
    let joined = cluster.http().json("POST", "/v1/nodes?move_keys=true", &body);
    assert_eq!(joined.status, 201, "{}", joined.text);
    let _: () = third.call(&["CONFIG", "SET", "maxmemory", "1mb"]);
    wait_for("the node to be full", || status(&cluster).left > 0);
    let report = cluster.http().send("DELETE", "/v1/movement", None).ok();
    assert_eq!((&report["from_epoch"], &report["to_epoch"]), (&2.into(), &3.into()));
    assert_eq!(cluster.http().get("/v1/movement").ok()["state"], "ended");
    let _: () = third.call(&["CONFIG", "SET", "maxmemory", "0"]);
    let mut client = cluster.client();
    let key = cluster.keys_of("cache-3", "still:").find(|key| third.call::<usize>(&["EXISTS", key]) == 0);
    assert_eq!(client.text(&["GET", &key.expect("a key that was left")]), "$-1\r\n");
    // what is left are strays now, which can be moved
    let strays = serde_json::json!({"action": "move"});
    assert_eq!(cluster.http().json("POST", "/v1/strays", &strays).status, 202);
    wait_for("the strays to be moved", || cluster.http().get("/v1/strays").ok()["state"] == "done");
    all_still_there(&cluster, 20_000);
    // back is where it was before the change that moved keys
    let back = cluster.http().send("POST", "/v1/topology/rollback?move_keys=true", None).ok();
    assert_eq!(back["nodes"].as_array().map(Vec::len), Some(3));
    wait_done(&cluster);
    assert_eq!(third.dbsize(), 0);
    all_still_there(&cluster, 20_000);
}

#[test]
fn f1_what_cannot_be_moved_changes_nothing() {
    let cluster = Cluster::start(2);
    let replica = RedisServer::start();
    let (host, port) =
        cluster.nodes[0].address().rsplit_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let _: () = replica.call(&["REPLICAOF", &host, &port]);
    let joined = |address: String| {
        specs(&cluster.nodes).into_iter().chain([NodeSpec::new("cache-3", address)]).collect::<Vec<_>>()
    };
    let same = cluster.nodes[1].address().replace("127.0.0.1", "localhost");
    for (address, part) in [
        (replica.address(), "it is a replica"),
        (format!("127.0.0.1:{}", crate::support::ports::free_port()), "refused"),
        (same, "the same server"),
    ] {
        let error = cluster.apply_and_move(joined(address)).expect_err(part);
        assert!(matches!(&error, ApplyError::CannotMove(why) if why.contains(part)), "{part}: {error}");
    }
    assert_eq!(cluster.control().topology().epoch(), 1);
    assert_eq!(cluster.control().movement(), None);
}

#[test]
fn i7_a_node_that_stands_still_holds_up_only_the_keys_that_go_there() {
    let cluster = Cluster::start_with(3, |settings| {
        settings.timeouts.operation = Duration::from_secs(1);
        settings.threads = 2;
    });
    let fourth = RedisServer::start();
    fill(&cluster, 3_000);
    let four: Vec<NodeSpec> =
        specs(&cluster.nodes).into_iter().chain([NodeSpec::new("cache-4", fourth.address())]).collect();
    let mut client = cluster.client();
    let stays: Vec<String> = cluster.keys_of("cache-2", "still:").take(20).collect();
    fourth.pause();
    let refused = cluster.apply_and_move(four.clone()).expect_err("it does not answer");
    assert!(matches!(refused, ApplyError::CannotMove(_)), "{refused}");
    fourth.resume();
    cluster.apply_and_move(four).expect("a change");
    fourth.pause();
    let on_its_way: Vec<String> = cluster.keys_of("cache-4", "still:").take(40).collect();
    let mut not_sent = 0;
    for key in &on_its_way {
        let reply = client.text(&["GET", key]);
        assert!(
            reply.contains("value") || reply.starts_with("-NOTSENT") || reply.starts_with("-UNKNOWN"),
            "{reply}"
        );
        not_sent += usize::from(!reply.contains("value"));
        if not_sent > 3 {
            break;
        }
    }
    assert!(not_sent > 0, "the node stands still");
    for key in stays.iter().filter(|key| cluster.owner(key) == "cache-2") {
        assert!(client.text(&["GET", key]).contains("value"), "{key}");
    }
    fourth.resume();
    cluster.wait_usable("cache-4");
    wait_done(&cluster);
    all_still_there(&cluster, 3_000);
}
