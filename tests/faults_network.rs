//! The way to a node: packets that are dropped, links that are slow. What needs a network of its own makes one.

use std::time::{Duration, Instant};

use ringway_proxy::settings::{NodeSpec, Settings};

use crate::support::byte_proxy::{ByteProxy, Wire};
use crate::support::census::{Told, told, under_load};
use crate::support::netns::{Dropped, drop_packets, entered, narrow_loopback};
use crate::support::{Cluster, Harness, RedisServer, wait_for};

/// The product's own timeouts.
fn hasty(nodes: usize) -> Cluster {
    Cluster::start_with(nodes, |settings| {
        settings.timeouts = Settings::new(Vec::new()).timeouts;
        settings.threads = 2;
    })
}

/// Packets of one node are dropped for three seconds at full load: as when it stands still, and nothing runs twice.
fn packets_are_dropped(what: Dropped) {
    let mut cluster = hasty(2);
    let address = cluster.nodes[0].address();
    let mut healed = Instant::now();
    let mut dropped = true;
    let totals = under_load(&mut cluster, |_| {
        let rules = drop_packets(&address, what);
        dropped = rules.is_some();
        std::thread::sleep(Duration::from_secs(3));
        drop(rules);
        healed = Instant::now();
    });
    if !dropped {
        return println!("a11 is skipped: the kernel takes no rules of nft");
    }
    let count = |node: &str, told| totals.get(&(node.to_owned(), told)).copied().unwrap_or(0);
    for told in [Told::Unknown, Told::NotSent] {
        assert!(count("cache-1", told) > 0, "{totals:?}");
        assert_eq!(count("cache-2", told), 0, "the other node is not concerned: {totals:?}");
    }
    cluster.wait_usable("cache-1");
    println!("a11: {what:?}: used again at most {:?} after the way was mended; {totals:?}", healed.elapsed());
}

#[test]
fn a11_packets_dropped_both_ways_are_as_a_standstill() {
    if entered("faults_network::a11_packets_dropped_both_ways_are_as_a_standstill", "nft") {
        packets_are_dropped(Dropped::BothWays);
    }
}

#[test]
fn a11_packets_dropped_from_the_node_make_no_duplicates() {
    if entered("faults_network::a11_packets_dropped_from_the_node_make_no_duplicates", "nft") {
        packets_are_dropped(Dropped::FromNode);
    }
}

/// A proxy with the product's own timeouts in front of a far node and a near one.
struct Far {
    harness: Harness,
    wire: ByteProxy,
    _servers: [RedisServer; 2],
}

impl Far {
    fn start() -> Self {
        let servers = [RedisServer::start(), RedisServer::start()];
        let wire = ByteProxy::start(&servers[0].address());
        let nodes = vec![NodeSpec::new("far", wire.address()), NodeSpec::new("near", servers[1].address())];
        let harness = Harness::start(Settings::new(nodes));
        harness.wait_usable("far");
        harness.wait_usable("near");
        Self { harness, wire, _servers: servers }
    }
}

#[test]
fn a13_slow_wires_are_no_reason_to_give_up() {
    let far = Far::start();
    let harness = &far.harness;
    let (slow, near) = (harness.key_of("far"), harness.key_of("near"));
    let connects = harness.node("far").connects;
    let (mut client, mut neighbour) = (harness.client(), harness.client());
    let mut count = 0;
    for (millis, rounds) in [(5, 50), (50, 10), (500, 3)] {
        far.wire.set(Wire::Delay(Duration::from_millis(millis)));
        for _ in 0..rounds {
            count += 1;
            client.send_command(&["INCR", &slow]);
            let mut longest = Duration::ZERO;
            for _ in 0..10 {
                let sent = Instant::now();
                assert_eq!(told(&neighbour.call(&["INCR", &near]), "near"), Told::Ok);
                longest = longest.max(sent.elapsed());
            }
            assert!(
                millis < 500 || longest < Duration::from_millis(millis),
                "the neighbour waited {longest:?}"
            );
            assert_eq!(client.text_reply(), format!(":{count}\r\n"), "{millis} ms");
        }
    }
    assert_eq!(harness.node("far").connects, connects, "nothing was given up");
}

#[test]
fn a13_a_long_reply_over_one_megabit_comes_whole() {
    let far = Far::start();
    let harness = &far.harness;
    let (slow, near) = (harness.key_of("far"), harness.key_of("near"));
    let (mut client, mut neighbour) = (harness.client(), harness.client());
    let value = vec![b'v'; 400_000];
    assert_eq!(client.call(&[b"SET".as_slice(), slow.as_bytes(), &value]), b"+OK\r\n");
    let connects = harness.node("far").connects;
    far.wire.set(Wire::Rate(125_000));
    let sent = Instant::now();
    client.send_command(&["GET", &slow]);
    let mut served = 0;
    while sent.elapsed() < Duration::from_millis(2500) {
        assert_eq!(told(&neighbour.call(&["INCR", &near]), "near"), Told::Ok);
        served += 1;
    }
    assert_eq!(client.reply().len(), value.len() + "$400000\r\n\r\n".len());
    println!(
        "a13: 400 kB over 1 Mbit took {:?}; {served} commands of the other node meanwhile",
        sent.elapsed()
    );
    assert_eq!(harness.node("far").connects, connects, "nothing was given up");
}

/// What the kernel holds of a command for a slow link is on its way: as long as it becomes less, the node is not given up.
#[test]
#[ignore = "takes twenty seconds; make test-faults"]
fn long_a13_long_writes_over_a_link_of_one_megabit_go_through() {
    const LEN: usize = 1_000_000;
    if !entered("faults_network::long_a13_long_writes_over_a_link_of_one_megabit_go_through", "tc") {
        return;
    }
    // less than the 8 s that the write takes, more than lost packets, sent again later and later, take on a narrow link
    let cluster = Cluster::start_with(1, |settings| settings.timeouts.operation = Duration::from_secs(6));
    let connects = cluster.node("cache-1").connects;
    if !narrow_loopback("1mbit") {
        return println!("a13 is skipped: the kernel has no tbf");
    }
    let mut client = cluster.client();
    let value = vec![b'v'; LEN];
    let sent = Instant::now();
    // over the narrow loopback twice: to the proxy and to the node
    let reply = client.text(&[b"SET".as_slice(), b"slow", &value]);
    println!("a13: {LEN} bytes written over 1 Mbit took {:?}: {}", sent.elapsed(), reply.trim_end());
    assert_eq!(reply, "+OK\r\n");
    assert_eq!(client.text(&["STRLEN", "slow"]), format!(":{LEN}\r\n"));
    // one more, for large values
    assert_eq!(cluster.node("cache-1").connects, connects + 1, "nothing was given up");
    wait_for("the node to be up", || cluster.node("cache-1").connections > 0);
}
