//! Keys that move while those who carry them stop, and while those who have them start again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringway_proxy::settings::{NodeSpec, Timeouts};

use crate::moving_faults::{all_there, fill, joined};
use crate::support::byte_proxy::ByteProxy;
use crate::support::harness::specs;
use crate::support::{Cluster, Harness, RedisServer, StopAtEnd, wait_for};

#[test]
fn i4_whoever_waits_when_carriers_stop_is_not_told_that_a_key_is_gone() {
    let cluster = Cluster::start_with(2, |settings| settings.threads = 2);
    let third = RedisServer::start();
    let mut client = cluster.client();
    fill(&mut client, 20_000);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stopping = StopAtEnd(&stop);
        for id in 0..6 {
            let (mut client, stop) = (cluster.client(), &stop);
            scope.spawn(move || {
                for round in 0usize.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("key:{}", (round * 7919 + id * 3203) % 20_000);
                    let reply = client.text(&["GET", &key]);
                    assert!(reply.contains("value") || reply.starts_with("-NOTSENT"), "{key}: {reply}");
                }
            });
        }
        cluster.apply_and_move(joined(&cluster, &third)).expect("a change");
        for round in 0..30 {
            std::thread::sleep(Duration::from_millis(5 + round % 7));
            cluster.control().hold(Some("a test"));
            cluster.control().hold(None);
        }
        cluster.wait_moved();
    });
    all_there(&mut client, 20_000, &HashMap::new());
}

#[test]
fn i4_whoever_waits_for_a_carrier_that_is_stopped_does_not_go_on_without_it() {
    let cluster = Cluster::start_with(1, |settings| {
        // whatever a carrier waits for ends before the client's own patience
        settings.timeouts = Timeouts { connect: Duration::from_secs(1), operation: Duration::from_secs(3) };
    });
    let next = RedisServer::start();
    let mut client = cluster.client();
    fill(&mut client, 20_000);
    let mut moved = specs(&cluster.nodes);
    moved[0].address = next.address();
    cluster.apply_and_move(moved).expect("a change");
    cluster.nodes[0].pause();
    let waits = (0..20_000).map(|at| format!("key:{at}"));
    let waits = waits.rev().find(|key| next.call::<usize>(&["EXISTS", key]) == 0).expect("a key on its way");
    // the carrier asks a node that does not answer, and gives that up before the client gives up its own wait
    std::thread::sleep(Duration::from_millis(500));
    client.send_command(&["GET", &waits]);
    std::thread::sleep(Duration::from_millis(200));
    cluster.control().hold(Some("a test"));
    cluster.block_on(cluster.control().movement_rests());
    let reply = client.text_reply();
    assert!(reply.starts_with("-NOTSENT node 'cache-1'"), "{waits}: {reply}");
    cluster.nodes[0].resume();
    cluster.control().hold(None);
    cluster.wait_moved();
    all_there(&mut client, 20_000, &HashMap::new());
}

#[test]
fn f3_a_node_that_is_started_again_with_old_values_does_not_bring_them_back() {
    let mut cluster = Cluster::start(1);
    let next = RedisServer::start();
    let mut client = cluster.client();
    fill(&mut client, 1_000);
    // this one is too large to be carried, so that the movement does not end
    let _: () = cluster.nodes[0].call(&["SETRANGE", "large", "160000000", "x"]);
    let _: () = cluster.nodes[0].call(&["SAVE"]);
    let mut moved = specs(&cluster.nodes);
    moved[0].address = next.address();
    cluster.apply_and_move(moved).expect("a change");
    wait_for("all others to have moved", || next.dbsize() == 1_000 && cluster.nodes[0].dbsize() == 1);
    let written: HashMap<usize, String> =
        (0..1_000).step_by(2).map(|at| (at, format!("newer {at}"))).collect();
    for (at, value) in &written {
        assert_eq!(client.text(&["SET", &format!("key:{at}"), value]), "+OK\r\n");
    }
    cluster.nodes[0].restart();
    assert_eq!(cluster.nodes[0].dbsize(), 1_001, "it has what it saved");
    wait_for("what came back to be taken away", || cluster.nodes[0].dbsize() == 1);
    all_there(&mut client, 1_000, &written);
    let _: () = cluster.nodes[0].call(&["DEL", "large"]);
    cluster.wait_moved();
    all_there(&mut client, 1_000, &written);
}

#[test]
fn f4_who_hands_over_waits_for_what_was_sent_before() {
    let (former, next) = (RedisServer::start(), RedisServer::start());
    let wire = ByteProxy::start(&former.address());
    let harness = Harness::in_front_of(&[("n", wire.address())]);
    harness.wait_usable("n");
    let mut client = harness.client();
    assert_eq!(client.text(&["SET", "counter", "5"]), "+OK\r\n");
    wire.hold_requests();
    client.send_command(&["INCR", "counter"]);
    std::thread::sleep(Duration::from_millis(50));
    harness.apply_and_move(vec![NodeSpec::new("n", next.address())]).expect("a change");
    harness.control().hold(Some("a test"));
    let rests = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            harness.block_on(harness.control().movement_rests());
            rests.store(true, Ordering::Relaxed);
        });
        std::thread::sleep(Duration::from_millis(300));
        assert!(!rests.load(Ordering::Relaxed), "the next process would carry what is still written here");
        wire.release_requests();
        assert_eq!(client.text_reply(), ":6\r\n");
        wait_for("it to rest", || rests.load(Ordering::Relaxed));
    });
}
