//! A topology changes whole, for every client at once, and moves only what it must.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_proxy::control::{ApplyError, Change};
use ringway_proxy::settings::{NodeSpec, TopologySpec};
use ringway_proxy::topology::Topology;

use crate::support::frame::bulk_request;
use crate::support::harness::specs;
use crate::support::{Cluster, Harness, RedisServer};

const KEYS: usize = 200_000;

fn owner<'t>(topology: &'t Topology, key: &str) -> &'t str {
    let index = topology.owner(key.as_bytes()).home();
    &topology.node(index).expect("an owner is a node").name
}

/// What really moves, counted key by key: (from, to) → keys.
fn brute_force(from: &Topology, to: &Topology) -> BTreeMap<(String, String), usize> {
    let mut flows = BTreeMap::new();
    for n in 0..KEYS {
        let key = format!("brute:{n:x}");
        let (before, after) = (owner(from, &key), owner(to, &key));
        if before != after {
            *flows.entry((before.to_owned(), after.to_owned())).or_default() += 1;
        }
    }
    flows
}

/// Addresses nobody listens on: placement needs no servers.
fn unreachable(nodes: &[(&str, u32)]) -> Vec<NodeSpec> {
    let node = |(at, (name, weight)): (usize, &(&str, u32))| NodeSpec {
        weight: *weight,
        ..NodeSpec::new(*name, format!("127.0.0.1:{}", at + 1))
    };
    nodes.iter().enumerate().map(node).collect()
}

fn planned(before: &[(&str, u32)], after: &[(&str, u32)]) -> Change {
    let ring = ringway_ring::RingConfig::default();
    let build = |epoch, nodes| {
        Arc::new(
            Topology::build(epoch, TopologySpec { ring: ring.clone(), nodes: unreachable(nodes) })
                .expect("valid"),
        )
    };
    let (from, to) = (build(1, before), build(2, after));
    Change { diff: ringway_ring::diff(from.ring(), to.ring()), from, to }
}

#[test]
fn the_report_agrees_with_a_count_over_200_000_keys() {
    let three = [("a", 1), ("b", 1), ("c", 1)];
    let changes: &[&[(&str, u32)]] = &[
        &[("a", 1), ("b", 1), ("c", 1), ("d", 1)],
        &[("a", 1), ("c", 1)],
        &[("a", 1), ("b", 3), ("c", 1)],
        &[("a", 1), ("b", 1), ("d", 2), ("e", 1)],
        &[("c", 1), ("b", 1), ("a", 1)],
    ];
    for after in changes {
        let change = planned(&three, after);
        let counted = brute_force(&change.from, &change.to);
        let percent = |keys: usize| keys as f64 * 100.0 / KEYS as f64;
        let moved = percent(counted.values().sum());
        assert!(
            (change.diff.moved * 100.0 - moved).abs() < 0.5,
            "{after:?}: {} against {moved}",
            change.diff.moved * 100.0
        );
        // and so does every single flow
        for flow in &change.diff.flows {
            let keys = counted.get(&(flow.from.clone(), flow.to.clone())).copied().unwrap_or(0);
            assert!((flow.share * 100.0 - percent(keys)).abs() < 0.5, "{flow:?} against {keys} keys");
        }
        for (from, to) in counted.keys() {
            assert!(
                change.diff.flows.iter().any(|flow| flow.from == *from && flow.to == *to),
                "{from} to {to} is missing"
            );
        }
    }
}

#[test]
fn a_node_that_joins_takes_keys_only_for_itself() {
    let change = planned(&[("a", 1), ("b", 1), ("c", 1)], &[("a", 1), ("b", 1), ("c", 1), ("new", 1)]);
    let counted = brute_force(&change.from, &change.to);
    assert_eq!(counted.len(), 3, "from each of the three");
    assert!(counted.keys().all(|(_, to)| to == "new"), "{counted:?}");
    assert!(change.diff.flows.iter().all(|flow| flow.to == "new"));
    assert!((change.diff.minimum - 0.25).abs() < 1e-9);
}

#[test]
fn a_node_that_leaves_moves_only_its_own_keys() {
    let change = planned(&[("a", 1), ("b", 1), ("gone", 1)], &[("a", 1), ("b", 1)]);
    let counted = brute_force(&change.from, &change.to);
    assert!(counted.keys().all(|(from, _)| from == "gone"), "{counted:?}");
    let owned = (0..KEYS).filter(|n| owner(&change.from, &format!("brute:{n:x}")) == "gone").count();
    assert_eq!(counted.values().sum::<usize>(), owned, "all of them");
}

#[test]
fn a_real_node_joins_and_its_keys_are_written_there_at_once() {
    let cluster = Cluster::start(3);
    let newcomer = RedisServer::start();
    let mut client = cluster.client();
    let mut nodes = specs(&cluster.nodes);
    nodes.push(NodeSpec::new("cache-4", newcomer.address()));
    let change = cluster.apply(nodes);
    assert_eq!(
        (change.from.epoch() + 1, change.to.epoch()),
        (change.to.epoch(), cluster.control().topology().epoch())
    );
    let mut here = 0;
    for n in 0..400 {
        let key = format!("joined:{n}");
        assert_eq!(client.text(&["SET", &key, "v"]), "+OK\r\n", "a node that joins costs no command");
        here += usize::from(cluster.owner(&key) == "cache-4");
    }
    assert_eq!(newcomer.dbsize(), here);
    assert!(here > 0);
}

#[test]
fn clients_that_stay_connected_go_with_every_change() {
    let cluster = Cluster::start(3);
    let mut clients: Vec<_> = (0..4).map(|_| cluster.client()).collect();
    let all = specs(&cluster.nodes);
    let lists = [&all[..], &all[..2], &all[1..], &all[..1], &all[..]];
    for (round, list) in lists.into_iter().enumerate() {
        cluster.apply(list.to_vec());
        for (number, client) in clients.iter_mut().enumerate() {
            for n in 0..60 {
                let key = format!("stays:{round}:{number}:{n}");
                assert_eq!(client.text(&["SET", &key, "v"]), "+OK\r\n");
                let owner = cluster.owner(&key);
                assert_eq!(cluster.server(&owner).call::<i64>(&["EXISTS", &key]), 1, "{key} is on {owner}");
            }
        }
    }
}

#[test]
fn a_node_that_moves_to_another_address_moves_no_keys() {
    let cluster = Cluster::start(2);
    let replacement = RedisServer::start();
    let keys: Vec<String> = cluster.keys_of("cache-2", "moved:").take(50).collect();
    let mut client = cluster.client();
    let mut nodes = specs(&cluster.nodes);
    nodes[1].address = replacement.address();
    let change = cluster.apply(nodes);
    assert_eq!(change.diff.moved, 0.0);
    for key in &keys {
        assert_eq!(client.text(&["SET", key, "v"]), "+OK\r\n");
    }
    assert_eq!((replacement.dbsize(), cluster.server("cache-2").dbsize()), (50, 0));
}

#[test]
fn commands_in_flight_on_a_leaving_node_are_answered_by_it() {
    let cluster = Cluster::start(3);
    for round in 0..20 {
        let list = cluster.keys_of("cache-3", &format!("round{round}:")).next().expect("a key");
        let mut client = cluster.client();
        let pushes: Vec<u8> =
            (0..500).flat_map(|n| bulk_request(&["RPUSH", &list, &format!("{n}")])).collect();
        client.send(&pushes);
        let all = specs(&cluster.nodes);
        cluster.apply(all[..2].to_vec());
        // each push was counted by the old or by the new owner, each in its order, none failed
        let mut last = 0;
        let mut restarts = 0;
        for _ in 0..500 {
            let reply = String::from_utf8_lossy(&client.reply()).into_owned();
            let length: i64 =
                reply.trim_start_matches(':').trim_end().parse().unwrap_or_else(|_| panic!("{reply}"));
            restarts += usize::from(length != last + 1);
            last = length;
        }
        assert!(restarts <= 1, "the list began again {restarts} times for one change");
        cluster.apply(all);
    }
}

#[test]
fn one_of_ten_changes_with_the_same_expected_epoch_wins() {
    let harness = Harness::in_front_of(&[("a", "127.0.0.1:1".into())]);
    let epoch = harness.control().topology().epoch();
    let ring = harness.control().topology().spec().ring.clone();
    let results = harness.block_on(async {
        let mut tasks = Vec::new();
        for n in 0..10 {
            let control = harness.control().clone();
            let spec =
                TopologySpec { ring: ring.clone(), nodes: unreachable(&[("a", 1), (&format!("n{n}"), 1)]) };
            tasks.push(tokio::spawn(async move { control.apply(spec, Some(epoch), "race").await.map(drop) }));
        }
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await.expect("no panic"));
        }
        results
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let lost = |result: &&Result<(), ApplyError>| matches!(result, Err(ApplyError::Epoch { expected, actual }) if *expected == epoch && *actual == epoch + 1);
    assert_eq!(results.iter().filter(lost).count(), 9);
    assert_eq!(harness.control().history().len(), 1);
}

#[test]
fn rollback_is_a_change_of_its_own() {
    let cluster = Cluster::start(3);
    let control = cluster.control();
    assert_eq!(control.rollback(None).unwrap_err(), ApplyError::NothingToUndo);
    let before = control.topology();
    cluster.apply(specs(&cluster.nodes[..2]));
    let changed = control.topology();
    let undone = control.rollback(Some(changed.epoch())).expect("undone");
    assert_eq!(undone.to.epoch(), before.epoch() + 2);
    assert_eq!(undone.to.fingerprint(), before.fingerprint());
    assert!(matches!(control.rollback(Some(changed.epoch())), Err(ApplyError::Epoch { .. })));
    // the way there and the way back move the same keys
    let history = control.history();
    assert_eq!(
        history.iter().map(|entry| entry.epoch).collect::<Vec<_>>(),
        [before.epoch() + 2, before.epoch() + 1]
    );
    assert!((history[0].moved_percent - history[1].moved_percent).abs() < 1e-9);
    assert!((control.last_moved() * 100.0 - history[0].moved_percent).abs() < 1e-9);
}

#[test]
fn f2_a_bad_topology_is_refused_and_the_old_one_serves_on() {
    let cluster = Cluster::start(2);
    let control = cluster.control();
    let before = control.topology();
    let good = specs(&cluster.nodes);
    let with = |node: NodeSpec| [good.clone(), vec![node]].concat();
    let bad: Vec<(Vec<NodeSpec>, &str)> = vec![
        (vec![], "node"),
        (with(NodeSpec::new("cache-1", "127.0.0.1:1")), "cache-1"),
        (with(NodeSpec { weight: 0, ..NodeSpec::new("w", "127.0.0.1:1") }), "weight"),
        (with(NodeSpec { weight: 1001, ..NodeSpec::new("w", "127.0.0.1:1") }), "weight"),
        (with(NodeSpec::new("n", "nowhere.invalid:6379")), "nowhere.invalid"),
        (with(NodeSpec::new("n", "no port")), "host:port"),
        (with(NodeSpec::new("n", good[0].address.clone())), "same address"),
        (with(NodeSpec::new("a\r\nb", "127.0.0.1:1")), "name"),
        (with(NodeSpec::new("self", cluster.address().to_string())), "this proxy itself"),
        (
            (0..70_000)
                .map(|n| NodeSpec::new(format!("n{n}"), format!("127.0.0.1:{}", n % 65_535 + 1)))
                .collect(),
            "",
        ),
    ];
    for (nodes, reason) in bad {
        let spec = TopologySpec { ring: before.spec().ring.clone(), nodes };
        let error = cluster.block_on(control.apply(spec, None, "bad")).expect_err(reason);
        assert!(error.to_string().contains(reason), "{error} should speak of {reason}");
        assert!(error.to_string().len() < 500, "a message, not a dump: {error}");
    }
    assert!(Arc::ptr_eq(&before, &control.topology()));
    assert!(control.history().is_empty());
    assert_eq!(cluster.client().text(&["SET", "still", "here"]), "+OK\r\n");
}

#[test]
fn two_proxies_live_in_one_process_and_do_not_know_each_other() {
    let servers: Vec<RedisServer> = (0..2).map(|_| RedisServer::start()).collect();
    let one = Harness::in_front_of(&[("a", servers[0].address())]);
    let two = Harness::in_front_of(&[("b", servers[1].address())]);
    one.wait_usable("a");
    two.wait_usable("b");
    assert_eq!(one.client().text(&["SET", "k", "one"]), "+OK\r\n");
    assert_eq!(two.client().text(&["GET", "k"]), "$-1\r\n");
    two.apply(vec![NodeSpec::new("b", servers[1].address()), NodeSpec::new("a", servers[0].address())]);
    assert_eq!(one.control().topology().nodes().len(), 1);
}
