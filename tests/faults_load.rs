//! Much at once: one hot node, thousands of idle clients, changes of topology at full load, a node that flaps. What takes
//! long begins with `long_` and runs with `make test-faults`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringway_proxy::settings::NodeSpec;
use ringway_proxy::stats::{NodeState, Outcome};

use crate::support::frame::bulk_request;
use crate::support::harness::specs;
use crate::support::{Cluster, RawClient, RedisServer, StopAtEnd, wait_for};

#[test]
fn e4_a_hot_node_does_not_hold_up_the_others() {
    const CLIENTS: usize = 8;
    const EACH: usize = 500;
    let cluster = Cluster::start(2);
    let (hot, cool) = (cluster.key_of("cache-1"), cluster.key_of("cache-2"));
    // about a millisecond of the node's time each, many times what it can do while the others are served
    let busy = ["EVAL", "for i = 1, 100000 do end return 1", "1", hot.as_str()];
    let work = bulk_request(&busy).repeat(EACH);
    let mut crowd: Vec<RawClient> = (0..CLIENTS).map(|_| cluster.client()).collect();
    crowd.iter_mut().for_each(|client| client.send(&work));
    assert_eq!(crowd[0].reply(), b":1\r\n", "the node is at it");
    let mut neighbour = cluster.client();
    for round in 0..200 {
        let value = round.to_string();
        assert_eq!(neighbour.text(&["SET", &cool, &value]), "+OK\r\n");
        assert_eq!(neighbour.text(&["GET", &cool]), format!("${}\r\n{value}\r\n", value.len()));
    }
    let count = |name: &str| {
        let figures = cluster.node(name);
        figures.commands.iter().filter(|row| row.command == "eval").map(|row| row.count).sum::<u64>()
    };
    let answered = count("cache-1");
    assert!(answered < (CLIENTS * EACH) as u64, "the neighbour waited for all of the hot node's work");
    let unwell = |outcome: Outcome| matches!(outcome, Outcome::NotSent | Outcome::Unknown);
    assert!(!cluster.node("cache-2").commands.iter().any(|row| unwell(row.outcome)));
    // the crowd goes without its replies, and leaves nothing behind
    crowd.into_iter().for_each(RawClient::reset);
    wait_for("the crowd to be forgotten", || cluster.control().snapshot().client_connections == 1);
}

#[test]
#[ignore = "takes 20,000 descriptors; make test-faults"]
#[cfg(target_os = "linux")]
fn long_c5_ten_thousand_idle_clients() {
    use crate::support::rig::{MIB, Rig, raise_descriptors};

    let rig = Rig::start(1, "limits: {clients: 10000}\n", &[]);
    wait_for("rest", || rig.metric("ringway_client_connections") == 0.0);
    let (before, descriptors) = (rig.memory(), rig.descriptors());
    let wanted = raise_descriptors(10_300).saturating_sub(300).min(10_000);
    assert!(wanted >= 2_000, "only {wanted} descriptors can be had here; raise `ulimit -n`");
    let mut crowd: Vec<RawClient> = (0..wanted).map(|_| rig.program.client()).collect();
    for client in &mut crowd {
        assert_eq!(client.text(&["PING"]), "+PONG\r\n");
    }
    // under 3 KiB each, and three times that in a build without optimisation
    rig.grew_at_most(before, wanted as u64 * 8192 + 16 * MIB, "idle clients");
    if wanted == 10_000 {
        assert_eq!(rig.program.client().rest(), b"-ERR max number of clients reached\r\n");
    }
    let ticks = rig.ticks();
    std::thread::sleep(Duration::from_secs(5));
    let used = rig.ticks() - ticks;
    assert!(used < 150, "{used} ticks of 500 for clients that are idle");
    drop(crowd);
    wait_for("the crowd to be forgotten", || rig.metric("ringway_client_connections") == 0.0);
    wait_for("the descriptors to come back", || rig.descriptors() <= descriptors + 2);
    assert_eq!(rig.program.client().text(&["SET", "k", "v"]), "+OK\r\n");
}

/// Clients that write and read until `done`; answers how many commands each of them had answered. An error is a failure.
fn undisturbed(cluster: &Cluster, clients: usize, mut change: impl FnMut() -> bool) -> u64 {
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..clients)
            .map(|number| {
                let (mut client, stop, answered) = (cluster.client(), &stop, &answered);
                scope.spawn(move || {
                    for round in 0u64.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let key = |at: u64| format!("swap:{number}:{}", (round * 10 + at) % 997);
                        let batch: Vec<u8> =
                            (0..10).flat_map(|at| bulk_request(&["SET", &key(at), &key(at)])).collect();
                        client.send(&batch);
                        (0..10).for_each(|_| assert_eq!(client.reply(), b"+OK\r\n"));
                        // a key may have moved away from where it was written, but it is never another's value
                        let reply = client.text(&["GET", &key(0)]);
                        let expected = format!("${}\r\n{}\r\n", key(0).len(), key(0));
                        assert!(reply == expected || reply == "$-1\r\n", "{reply:?}");
                        answered.fetch_add(11, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let _stop = StopAtEnd(&stop);
        while change() {
            assert!(workers.iter().all(|worker| !worker.is_finished()), "a command failed");
        }
    });
    answered.load(Ordering::Relaxed)
}

#[test]
#[ignore = "takes a minute; make test-faults"]
fn long_f1_a_thousand_changes_at_full_load() {
    let cluster = Cluster::start(3);
    let extra = RedisServer::start();
    let mut changes = 0;
    let answered = undisturbed(&cluster, 8, || {
        let mut nodes = specs(&cluster.nodes);
        match changes % 4 {
            0 => nodes.push(NodeSpec::new("extra", extra.address())),
            1 => nodes[0].weight = 1 + changes % 7,
            2 => nodes.truncate(2),
            _ => nodes.rotate_left(1),
        }
        cluster.apply(nodes);
        changes += 1;
        changes < 1000
    });
    println!("f1: {answered} commands answered over {changes} changes, none failed");
    assert!(answered > 1000, "{answered} commands");
    assert_eq!(cluster.control().topology().epoch(), 1001);
    // nodes that left are let go of
    let connections: usize = {
        cluster.apply(specs(&cluster.nodes));
        let list = || extra.call::<String>(&["CLIENT", "LIST"]).lines().count();
        wait_for("the extra node to be left", || list() == 1);
        list()
    };
    assert_eq!(connections, 1, "the one that asks");
}

#[test]
#[ignore = "takes a minute; make test-faults"]
fn long_a14_a_node_that_flaps_for_a_minute() {
    let mut cluster = Cluster::start_with(2, |settings| {
        settings.threads = 1;
        settings.timeouts.connect = Duration::from_millis(500);
        settings.timeouts.operation = Duration::from_secs(5);
    });
    let (healthy, flapping) = (cluster.key_of("cache-2"), cluster.key_of("cache-1"));
    let connects = cluster.node("cache-1").connects;
    let began = Instant::now();
    let (mut client, mut ok, mut refused) = (cluster.client(), 0, 0);
    while began.elapsed() < Duration::from_secs(60) {
        cluster.server_mut("cache-1").restart();
        let until = Instant::now() + Duration::from_millis(200);
        while Instant::now() < until {
            assert_eq!(client.call(&["SET", &healthy, "v"]), b"+OK\r\n", "the other node is not concerned");
            match client.call(&["SET", &flapping, "v"])[0] {
                b'+' => ok += 1,
                _ => refused += 1,
            }
        }
        cluster.server_mut("cache-1").kill();
        let until = Instant::now() + Duration::from_millis(200);
        while Instant::now() < until {
            assert_eq!(client.call(&["SET", &healthy, "v"]), b"+OK\r\n", "the other node is not concerned");
            refused += usize::from(client.call(&["SET", &flapping, "v"])[0] == b'-');
        }
    }
    assert!(ok > 0 && refused > 0, "{ok} written, {refused} refused");
    let connects = cluster.node("cache-1").connects - connects;
    let allowed = 10 * (began.elapsed().as_secs() + 2);
    assert!(connects <= allowed, "{connects} connects in {:?}", began.elapsed());
    let memory = cluster.control().snapshot().memory_bytes;
    println!(
        "a14: {connects} connects in {:?}, {memory} bytes held; {ok} written, {refused} refused",
        began.elapsed()
    );
    assert!(memory < 1 << 20, "nothing piles up");
    cluster.server_mut("cache-1").restart();
    cluster.wait_state("cache-1", NodeState::Up);
}
