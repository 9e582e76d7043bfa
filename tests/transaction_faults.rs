//! Transactions while nodes fail and the ring changes: what is told is true, and nothing runs in part.

use std::time::{Duration, Instant};

use ringway_proxy::settings::NodeSpec;
use ringway_proxy::stats::NodeState;

use crate::support::byte_proxy::ByteProxy;
use crate::support::fake_redis::Seen;
use crate::support::frame::bulk_request;
use crate::support::harness::{node_name, specs};
use crate::support::{Act, Cluster, FakeRedis, Harness, RawClient, RedisServer, wait_for};

/// Two servers of which the ring knows the first alone.
fn cluster_of_one_and_a_spare() -> Cluster {
    let cluster = Cluster::start(2);
    cluster.apply(specs(&cluster.nodes[..1]));
    cluster
}

/// Keys that stay on the first node, and keys that move, when the second joins.
fn keys(cluster: &Cluster) -> ([String; 2], [String; 2]) {
    cluster.apply(specs(&cluster.nodes));
    let two = |node| {
        let mut keys = cluster.keys_of(node, "key:");
        [keys.next().expect("a key"), keys.next().expect("a key")]
    };
    let (first, second) = (node_name(0), node_name(1));
    let found = (two(&first), two(&second));
    cluster.apply(specs(&cluster.nodes[..1]));
    found
}

fn queue(client: &mut RawClient, keys: &[&String]) {
    assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
    for key in keys {
        assert_eq!(client.text(&["SET", key, "1"]), "+QUEUED\r\n");
    }
}

#[test]
fn i8_keys_are_placed_again_when_the_ring_changes_before_exec() {
    let cluster = cluster_of_one_and_a_spare();
    let (stay, moving) = keys(&cluster);
    let (mut torn, mut whole, mut late) = (cluster.client(), cluster.client(), cluster.client());
    queue(&mut torn, &[&stay[0], &moving[0]]);
    queue(&mut whole, &[&moving[0], &moving[1]]);
    queue(&mut late, &[&moving[0]]);
    cluster.apply(specs(&cluster.nodes));
    let aborted = "-EXECABORT Transaction discarded because of: CROSSSLOT Keys in request don't hash to the same node\r\n";
    assert_eq!(torn.text(&["EXEC"]), aborted);
    assert_eq!((cluster.nodes[0].dbsize(), cluster.nodes[1].dbsize()), (0, 0));
    assert_eq!(whole.text(&["EXEC"]), "*2\r\n+OK\r\n+OK\r\n");
    assert_eq!((cluster.nodes[0].dbsize(), cluster.nodes[1].dbsize()), (0, 2));
    // what is queued after the change is judged by it
    assert!(late.text(&["SET", &stay[0], "1"]).starts_with("-CROSSSLOT"));
    assert!(late.text(&["EXEC"]).starts_with("-EXECABORT"));
    assert_eq!(cluster.nodes[0].dbsize(), 0);
}

#[test]
fn f1_a_watched_key_that_moves_counts_as_changed() {
    let cluster = cluster_of_one_and_a_spare();
    let (stay, moving) = keys(&cluster);
    let mut clients: Vec<RawClient> = (0..3).map(|_| cluster.client()).collect();
    for (client, key) in clients.iter_mut().zip([&stay[0], &moving[0], &moving[1]]) {
        assert_eq!(client.text(&["WATCH", key]), "+OK\r\n");
    }
    queue(&mut clients[2], &[&moving[1]]);
    cluster.apply(specs(&cluster.nodes));
    // keys elsewhere on the ring are no matter
    queue(&mut clients[0], &[&stay[0]]);
    assert_eq!(clients[0].text(&["EXEC"]), "*1\r\n+OK\r\n");
    queue(&mut clients[1], &[&moving[0]]);
    assert_eq!(clients[1].text(&["EXEC"]), "*-1\r\n");
    assert_eq!(clients[2].text(&["EXEC"]), "*-1\r\n");
    assert_eq!((cluster.nodes[0].dbsize(), cluster.nodes[1].dbsize()), (1, 0));
    // the next try finds the new node
    for client in &mut clients {
        assert_eq!(client.text(&["WATCH", &moving[0]]), "+OK\r\n");
        queue(client, &[&moving[0]]);
        assert_eq!(client.text(&["EXEC"]), "*1\r\n+OK\r\n");
    }
}

#[test]
fn f1_a_node_that_leaves_or_changes_its_address_no_longer_watches() {
    let cluster = Cluster::start(2);
    let key = cluster.key_of("cache-2");
    let (mut leaves, mut moves) = (cluster.client(), cluster.client());
    assert_eq!(leaves.text(&["WATCH", &key]), "+OK\r\n");
    cluster.apply(specs(&cluster.nodes[..1]));
    assert_eq!(leaves.text(&["WATCH", &key]), "+OK\r\n", "as Redis does when a watched key changed already");
    queue(&mut leaves, &[&key]);
    assert_eq!(leaves.text(&["EXEC"]), "*-1\r\n");
    let other = RedisServer::start();
    assert_eq!(moves.text(&["WATCH", &key]), "+OK\r\n");
    cluster.apply(vec![NodeSpec::new("cache-1", other.address())]);
    queue(&mut moves, &[&key]);
    assert_eq!(moves.text(&["EXEC"]), "*-1\r\n");
    queue(&mut moves, &[&key]);
    assert_eq!(moves.text(&["EXEC"]), "*1\r\n+OK\r\n");
    assert_eq!((cluster.nodes[0].dbsize(), cluster.nodes[1].dbsize(), other.dbsize()), (0, 0, 1));
}

#[test]
fn a1_a_node_killed_between_multi_and_exec_is_told_as_not_sent() {
    for watch in [false, true] {
        let mut cluster = Cluster::start(1);
        let mut client = cluster.client();
        if watch {
            assert_eq!(client.text(&["WATCH", "{t}w"]), "+OK\r\n");
        }
        queue(&mut client, &[&"{t}k".to_owned()]);
        cluster.server_mut("cache-1").kill();
        cluster.wait_state("cache-1", NodeState::Down);
        // the other workers find it out for themselves, at the latest when they are asked
        wait_for("the node to be refused", || {
            cluster.client().call(&["GET", "{t}k"]).starts_with(b"-NOTSENT")
        });
        let told = client.text(&["EXEC"]);
        assert!(told.starts_with("-NOTSENT node 'cache-1'"), "watch {watch}: {told}");
        cluster.server_mut("cache-1").restart();
        cluster.wait_usable("cache-1");
        assert_eq!(client.text(&["EXEC"]), "-ERR EXEC without MULTI\r\n");
        assert_eq!(client.text(&["WATCH", "{t}w"]), "+OK\r\n");
        queue(&mut client, &[&"{t}k".to_owned()]);
        assert_eq!(client.text(&["EXEC"]), "*1\r\n+OK\r\n");
    }
}

#[test]
fn a1_a_node_restarted_after_watch_runs_nothing() {
    let mut cluster = Cluster::start(1);
    let mut client = cluster.client();
    assert_eq!(client.text(&["WATCH", "{t}w"]), "+OK\r\n");
    cluster.server_mut("cache-1").restart();
    cluster.wait_usable("cache-1");
    queue(&mut client, &[&"{t}k".to_owned()]);
    let told = client.text(&["EXEC"]);
    assert!(told.starts_with("-NOTSENT node 'cache-1'"), "{told}");
    // a further WATCH on a lost connection loses the first ones
    assert_eq!(client.text(&["WATCH", "{t}w"]), "+OK\r\n");
    cluster.server_mut("cache-1").restart();
    cluster.wait_usable("cache-1");
    assert!(client.text(&["WATCH", "{t}x"]).starts_with("-NOTSENT"));
    queue(&mut client, &[&"{t}k".to_owned()]);
    assert_eq!(client.text(&["EXEC"]), "*-1\r\n");
    assert_eq!(cluster.client().text(&["EXISTS", "{t}k"]), ":0\r\n");
}

/// A node that knows transactions, and asks `at` what to do with a command by its name.
fn node(at: impl Fn(&str) -> Option<Vec<Act>> + Send + Sync + 'static) -> FakeRedis {
    FakeRedis::start(move |seen: &Seen| {
        let name = seen.name();
        at(&name).unwrap_or_else(|| match name.as_str() {
            "MULTI" | "WATCH" | "UNWATCH" => vec![Act::text("+OK\r\n")],
            "EXEC" => vec![Act::text("*1\r\n+OK\r\n")],
            "DEL" => vec![Act::text(":0\r\n")],
            _ => vec![Act::text("+QUEUED\r\n")],
        })
    })
}

fn in_front_of(node: &FakeRedis) -> Harness {
    let harness = Harness::in_front_of(&[("bad", node.address())]);
    harness.wait_usable("bad");
    harness
}

#[test]
fn i3_a_node_that_dies_during_exec_leaves_one_unknown_and_never_a_second_try() {
    for watch in [false, true] {
        for dies_at in ["MULTI", "SET", "EXEC"] {
            for act in [Act::Finish, Act::Reset] {
                let node = node(move |name| (name == dies_at).then(|| vec![act.clone()]));
                let harness = in_front_of(&node);
                let mut client = harness.client();
                if watch {
                    assert_eq!(client.text(&["WATCH", "{t}w"]), "+OK\r\n");
                }
                queue(&mut client, &[&"{t}k".to_owned()]);
                let told = client.text(&["EXEC"]);
                assert!(told.starts_with("-UNKNOWN node 'bad'"), "{dies_at}, watch {watch}: {told}");
                harness.wait_usable("bad");
                let seen = node.seen();
                let times = |name: &str| seen.iter().filter(|seen| seen.name() == name).count();
                assert_eq!(times("MULTI"), 1, "{dies_at}, watch {watch}");
                assert!(times("SET") <= 1 && times("EXEC") <= 1);
            }
        }
    }
}

#[test]
fn i4_a_node_that_refuses_multi_is_unknown() {
    for watch in [false, true] {
        let node = node(|name| match name {
            "MULTI" => Some(vec![Act::text("-NOPERM no permission for 'multi'\r\n")]),
            "SET" => Some(vec![Act::text("+OK\r\n")]),
            "EXEC" => Some(vec![Act::text("-ERR EXEC without MULTI\r\n")]),
            _ => None,
        });
        let harness = in_front_of(&node);
        let mut client = harness.client();
        if watch {
            assert_eq!(client.text(&["WATCH", "{t}w"]), "+OK\r\n");
        }
        queue(&mut client, &[&"{t}k".to_owned()]);
        let told = client.text(&["EXEC"]);
        assert!(told.starts_with("-UNKNOWN node 'bad'") && told.contains("NOPERM"), "watch {watch}: {told}");
        assert_eq!(client.text(&["DEL", "{t}k"]), ":0\r\n", "the connection goes on");
    }
}

#[test]
fn a4_an_exec_without_an_answer_is_fenced_before_the_next_command() {
    // the node answers everything but EXEC, as one does that has not come to it yet
    let node = FakeRedis::unhelpful(|seen| match seen.name().as_str() {
        "PING" => vec![Act::text("+PONG\r\n")],
        "CLIENT" if seen.args[1].eq_ignore_ascii_case(b"ID") => vec![Act::text(":7\r\n")],
        "CLIENT" => vec![Act::text("+id=7 addr=127.0.0.1:7\r\n")],
        "EXEC" => Vec::new(),
        "GET" => vec![Act::text("+QUEUED\r\n")],
        "DEL" => vec![Act::text(":0\r\n")],
        _ => vec![Act::text("+OK\r\n")],
    });
    let harness = Harness::hasty(&[("slow", node.address())]);
    harness.wait_usable("slow");
    let mut client = harness.client();
    assert_eq!(client.text(&["WATCH", "{t}w"]), "+OK\r\n");
    assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
    assert_eq!(client.text(&["GET", "{t}k"]), "+QUEUED\r\n");
    let told = client.text(&["EXEC"]);
    assert!(told.starts_with("-UNKNOWN node 'slow'"), "{told}");
    assert_eq!(client.text(&["SET", "{t}k", "newer"]), "+OK\r\n");
    let seen = node.seen();
    let at = |what: &dyn Fn(&Seen) -> bool| seen.iter().position(what).expect("it was seen");
    let fence = at(&|seen| seen.name() == "CLIENT" && seen.args[1].eq_ignore_ascii_case(b"KILL"));
    assert_eq!(seen[fence].args[2..], [&b"ID"[..], b"7", b"ADDR", b"127.0.0.1:7"].map(<[u8]>::to_vec));
    assert!(at(&|seen| seen.name() == "EXEC") < fence && fence < at(&|seen| seen.name() == "SET"));
}

#[test]
fn a_watch_that_the_node_refuses_watches_nothing() {
    let node = node(|name| (name == "WATCH").then(|| vec![Act::text("-NOPERM no 'watch'\r\n")]));
    let harness = in_front_of(&node);
    let mut client = harness.client();
    assert_eq!(client.text(&["WATCH", "{t}w"]), "-NOPERM no 'watch'\r\n");
    queue(&mut client, &[&"{t}k".to_owned()]);
    assert_eq!(client.text(&["EXEC"]), "*1\r\n+OK\r\n");
}

#[test]
fn i4_a_block_whose_exec_was_not_written_is_not_sent() {
    for watch in [false, true] {
        let server = RedisServer::start();
        let wire = ByteProxy::start(&server.address());
        let harness = Harness::in_front_of(&[("slow", wire.address())]);
        harness.wait_usable("slow");
        let mut client = harness.client();
        if watch {
            assert_eq!(client.text(&["WATCH", "{t}w"]), "+OK\r\n");
        }
        assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
        // far more than the kernel holds for a wire that takes nothing
        let value = vec![b'v'; 16 << 20];
        for n in 0..4 {
            client.send(&bulk_request(&[b"SET".as_slice(), format!("{{t}}{n}").as_bytes(), &value]));
            assert_eq!(client.text_reply(), "+QUEUED\r\n");
        }
        let written = || harness.node("slow").bytes_out;
        let before = written();
        wire.hold_requests();
        client.send_command(&["EXEC"]);
        wait_for("the block to be under way", || written() > before);
        wire.hang_up();
        let told = client.text_reply();
        assert!(told.starts_with("-NOTSENT node 'slow'"), "watch {watch}: {told}");
        harness.wait_usable("slow");
        assert_eq!(server.dbsize(), 0);
        assert_eq!(client.text(&["SET", "{t}k", "v"]), "+OK\r\n");
    }
}

#[test]
fn a7_a_refusal_at_queue_time_on_the_node_aborts_the_whole() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    client.call(&["SET", "{t}old", "v"]);
    let _: () = cluster.nodes[0].call(&["CONFIG", "SET", "maxmemory", "1"]);
    for watch in [false, true] {
        if watch {
            assert_eq!(client.text(&["WATCH", "{t}w"]), "+OK\r\n");
        }
        assert_eq!(client.text(&["MULTI"]), "+OK\r\n");
        assert_eq!(client.text(&["DEL", "{t}old"]), "+QUEUED\r\n");
        assert_eq!(client.text(&["SET", "{t}new", "v"]), "+QUEUED\r\n");
        assert_eq!(
            client.text(&["EXEC"]),
            "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.\r\n"
        );
        assert_eq!(client.text(&["EXISTS", "{t}old", "{t}new"]), ":1\r\n");
    }
}

#[test]
fn transactions_run_in_the_database_of_their_client() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    assert_eq!(client.text(&["SELECT", "3"]), "+OK\r\n");
    for watch in [false, true] {
        if watch {
            assert_eq!(client.text(&["WATCH", "{t}k"]), "+OK\r\n");
        }
        queue(&mut client, &[&"{t}k".to_owned()]);
        assert_eq!(client.text(&["EXEC"]), "*1\r\n+OK\r\n");
        assert_eq!(client.text(&["DEL", "{t}k"]), ":1\r\n");
    }
    // the keys are watched in another database than EXEC would run in
    for change in [["SELECT", "4"], ["HELLO", "3"]] {
        assert_eq!(client.text(&["WATCH", "{t}k"]), "+OK\r\n");
        client.call(&change);
        assert!(client.text(&["WATCH", "{t}k"]).starts_with("-ERR the database or the protocol was changed"));
        queue(&mut client, &[&"{t}k".to_owned()]);
        let told = client.text(&["EXEC"]);
        assert!(told.starts_with("-EXECABORT Transaction discarded because of: the database"), "{told}");
        assert_eq!(client.text(&["UNWATCH"]), "+OK\r\n");
    }
    assert_eq!(client.text(&["EXISTS", "{t}k"]), ":0\r\n");
}

#[test]
fn f4_a_drain_does_not_wait_for_an_exec_that_may_never_come() {
    let mut cluster = Cluster::start(1);
    let (mut queueing, mut watching) = (cluster.client(), cluster.client());
    queue(&mut queueing, &[&"{t}k".to_owned()]);
    assert_eq!(watching.text(&["WATCH", "{t}k"]), "+OK\r\n");
    cluster.harness.drain();
    assert!(queueing.rest().is_empty() && watching.rest().is_empty());
    wait_for("every connection to be closed", || {
        let list: String = cluster.nodes[0].call(&["CLIENT", "LIST"]);
        list.lines().count() == 1
    });
    assert_eq!(cluster.nodes[0].dbsize(), 0);
}

#[test]
fn i9_an_exec_that_a_node_takes_with_it_opens_no_connection_to_it() {
    let cluster = Cluster::start_with(2, |settings| settings.timeouts.operation = Duration::from_secs(1));
    let (node, key) = (&cluster.nodes[1], cluster.key_of("cache-2"));
    let mut own = node.client();
    let mut connections = || own.text(&["CLIENT", "LIST"]).matches(" laddr=").count();
    // no shared connection of this protocol and database is there
    let mut client = cluster.client3();
    assert_eq!(client.text(&["SELECT", "5"]), "+OK\r\n");
    assert_eq!(client.text(&["WATCH", &key]), "+OK\r\n");
    queue(&mut client, &[&key]);
    let written = || cluster.node("cache-2").bytes_out;
    let before = written();
    node.pause();
    client.send_command(&["EXEC"]);
    wait_for("EXEC to be under way", || written() >= before + 64);
    cluster.apply(specs(&cluster.nodes[..1]));
    let told = client.text_reply();
    assert!(told.starts_with("-UNKNOWN node 'cache-2'"), "{told}");
    node.resume();
    wait_for("all connections to end", || connections() == 1);
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        assert_eq!(connections(), 1, "nothing connects to a node that has left");
    }
}
