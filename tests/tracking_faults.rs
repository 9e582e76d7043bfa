//! Clients that track, when connections are lost, commands come in odd orders, and others do not read.

use std::time::Duration;

use ringway_proxy::settings::Settings;

use crate::support::byte_proxy::{ByteProxy, Wire};
use crate::support::frame::bulk_request;
use crate::support::harness::{named, patient, specs};
use crate::support::{Cluster, Harness, RawClient, RedisServer, wait_for};
use crate::tracking::FORGET_ALL;
use crate::tracking_redirect::{PUBLISHED_FORGET_ALL, connections, pair, published};

#[test]
fn i7_many_come_back_after_a_loss() {
    // with the timeouts that everybody has
    let cluster = Cluster::start_with(2, |settings| {
        settings.timeouts = Settings::new(Vec::new()).timeouts;
        settings.threads = 2;
    });
    let keys = ["cache-1", "cache-2"].map(|node| cluster.key_of(node));
    let mut pairs: Vec<_> = (0..200).map(|_| pair(&cluster, &[])).collect();
    for node in &cluster.nodes {
        let _: usize = node.call(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
    // nodes that are there answer, at last: all within the patience for one
    wait_for("all to read again", || {
        let reads = |client: &mut RawClient| keys.iter().all(|key| client.text(&["GET", key]) == "$-1\r\n");
        pairs.iter_mut().all(|(client, _)| reads(client))
    });
    let mut writer = cluster.client();
    for key in &keys {
        assert_eq!(writer.text(&["SET", key, "v"]), "+OK\r\n");
        for (_, ear) in &mut pairs {
            let mut told = ear.text_reply();
            while told == PUBLISHED_FORGET_ALL {
                told = ear.text_reply();
            }
            assert_eq!(told, published(key));
        }
    }
}

#[test]
fn i7_whoever_did_not_choose_to_listen_is_not_closed_for_what_it_is_told() {
    let cluster = Cluster::start_with(1, |settings| settings.limits.subscriber_bytes = 64 * 1024);
    let long = "x".repeat(8 << 20);
    let mut writer = cluster.client();
    assert_eq!(writer.text(&["SET", "long", &long]), "+OK\r\n");
    for protocol in ["2", "3"] {
        let (mut client, mut target) = (cluster.client(), cluster.client());
        target.call(&["HELLO", protocol]);
        let id = target.text(&["CLIENT", "ID"]).trim_matches([':', '\r', '\n']).to_owned();
        assert_eq!(client.text(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id]), "+OK\r\n");
        client.call(&["GET", "k"]);
        // it takes its time
        target.send_command(&["GET", "long"]);
        target.send_command(&["ECHO", "behind"]);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(writer.text(&["SET", "k", protocol]), "+OK\r\n");
        std::thread::sleep(Duration::from_millis(100));
        let mut seen: Vec<String> =
            (0..if protocol == "2" { 2 } else { 3 }).map(|_| target.text_reply()).collect();
        seen.retain(|frame| !frame.starts_with('>'));
        assert!(seen[0].len() > long.len() && seen[1].contains("behind"), "RESP{protocol}");
    }
}

#[test]
fn a_select_is_told_before_a_command_that_waits() {
    let cluster = Cluster::start(1);
    let (mut client, mut ear) = pair(&cluster, &[]);
    let mut own = cluster.client3();
    assert_eq!(own.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    for tracks in [&mut client, &mut own] {
        tracks.call(&["GET", "k"]);
        tracks.send(&[bulk_request(&["SELECT", "1"]), bulk_request(&["BLPOP", "none", "0"])].concat());
        assert_eq!(tracks.text_reply(), "+OK\r\n");
    }
    assert_eq!(ear.text_reply(), PUBLISHED_FORGET_ALL);
    assert_eq!(own.text_reply(), FORGET_ALL);
}

#[test]
fn what_is_on_its_way_is_answered_when_tracking_ends_behind_it() {
    let cluster = Cluster::start(2);
    for (protocol, other) in [("3", "2"), ("2", "3")] {
        let mut client = cluster.client();
        client.call(&["HELLO", protocol]);
        assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
        let commands: [&[&str]; 5] = [
            &["HELLO", other],
            &["SET", "x", "1"],
            &["SET", "y", "1"],
            &["CLIENT", "TRACKING", "OFF"],
            &["STRLEN", "x"],
        ];
        client.send(&commands.map(bulk_request).concat());
        client.reply();
        let replies: Vec<String> = (0..4).map(|_| client.text_reply()).collect();
        assert_eq!(replies, ["+OK\r\n", "+OK\r\n", "+OK\r\n", ":1\r\n"]);
    }
}

#[test]
fn what_is_asked_for_while_connections_are_made_holds_for_them() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let harness = Harness::start(patient(named(&[("n", wire.address())])));
    harness.wait_usable("n");
    let (mut client, mut ear) = pair(&harness, &["BCAST", "PREFIX", "a"]);
    let id = client.text(&["CLIENT", "GETREDIR"]).trim_matches([':', '\r', '\n']).to_owned();
    wire.set(Wire::Hold);
    assert_eq!(client.text(&["SELECT", "1"]), "+OK\r\n");
    std::thread::sleep(Duration::from_millis(50));
    client.send_command(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "b", "REDIRECT", &id]);
    std::thread::sleep(Duration::from_millis(50));
    wire.set(Wire::Plain);
    assert_eq!(client.text_reply(), "+OK\r\n");
    assert_eq!(client.text(&["GET", "x"]), "$-1\r\n");
    assert_eq!(server.call::<String>(&["MSET", "a1", "1", "b1", "1", "c1", "1"]), "OK");
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(Some(ear.text_reply()).filter(|frame| frame != PUBLISHED_FORGET_ALL));
    }
    told.sort();
    assert_eq!(told, [published("a1"), published("b1")]);
}

#[test]
fn i9_whoever_stops_can_begin_again_when_its_connections_have_ended() {
    let cluster = Cluster::start_with(2, |settings| settings.limits.dedicated_connections = 4);
    let mut client = cluster.client();
    let is_own = |line: &String| line.contains(" flags=t") || line.contains(" resp=3");
    for round in 0..5 {
        assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n", "round {round}");
        assert_eq!(client.text(&["CLIENT", "TRACKING", "OFF"]), "+OK\r\n");
        wait_for("its connections to end", || {
            !cluster.nodes.iter().flat_map(connections).any(|of| is_own(&of))
        });
    }
}

#[test]
fn i9_a_node_that_hangs_and_leaves_takes_no_leave_with_it() {
    let cluster = Cluster::start_with(2, |settings| {
        settings.threads = 1;
        settings.timeouts.operation = Duration::from_secs(2);
        settings.limits.dedicated_connections = 4;
    });
    let (mut client, mut ear) = pair(&cluster, &[]);
    let mut plain = cluster.client();
    let (key, hung) = (cluster.key_of("cache-1"), cluster.server("cache-1"));
    client.call(&["GET", &key]);
    assert_eq!(plain.text(&["SET", &key, "v"]), "+OK\r\n");
    assert_eq!(ear.text_reply(), published(&key));
    hung.pause();
    client.send_command(&["GET", &key]);
    plain.send_command(&["GET", &key]);
    // the connection that hears is asked whether it is there later than the others, and given up later
    std::thread::sleep(Duration::from_millis(1400));
    cluster.apply(specs(&cluster.nodes)[1..].to_vec());
    assert!(client.text_reply().starts_with("-UNKNOWN "));
    assert_eq!(client.text(&["CLIENT", "TRACKING", "OFF"]), "+OK\r\n");
    // two connections each to the node that is left
    let mut others = [cluster.client(), cluster.client()];
    for other in &mut others {
        wait_for("leave to have connections", || other.text(&["CLIENT", "TRACKING", "ON"]) == "+OK\r\n");
    }
    hung.resume();
}
