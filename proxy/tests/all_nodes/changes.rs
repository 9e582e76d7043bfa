//! SCAN while the ring changes: keys whose owner stays are found, a node that left is told.

use std::collections::BTreeSet;

use ringway_proxy::settings::NodeSpec;

use crate::cluster::Cluster;
use crate::command_server::{Connection, Server, Value};
use crate::scan::{page, rest};

/// Scans some pages; returns the cursor and what was found.
fn begin(client: &mut Connection, pages: usize) -> (String, BTreeSet<String>) {
    let (mut cursor, mut found) = ("0".to_owned(), BTreeSet::new());
    for _ in 0..pages {
        let (next, keys) = page(client, &cursor, &["COUNT", "20"]);
        found.extend(keys);
        cursor = next;
        assert_ne!(cursor, "0");
    }
    (cursor, found)
}

/// The names of the owners of all keys.
fn owners(cluster: &Cluster, count: usize) -> Vec<String> {
    let topology = cluster.control.topology();
    let name = |key: String| {
        let node = topology.owner(key.as_bytes()).home();
        topology.node(node).expect("known").name.clone()
    };
    (0..count).map(|at| name(format!("key:{at}"))).collect()
}

/// The keys with the same owner in both lists.
fn staying(before: &[String], after: &[String]) -> BTreeSet<String> {
    let pairs = before.iter().zip(after).enumerate();
    pairs.filter(|(_, (before, after))| before == after).map(|(at, _)| format!("key:{at}")).collect()
}

#[test]
fn the_order_of_the_list_and_the_weights_do_not_matter() {
    let cluster = Cluster::start(4);
    cluster.fill(4000);
    let before = owners(&cluster, 4000);
    let mut client = cluster.connect();
    for pages in [1, 30, 80, 120] {
        cluster.apply(cluster.specs().into_iter().map(|node| NodeSpec { weight: 1, ..node }).collect());
        let (cursor, mut found) = begin(&mut client, pages);
        let mut nodes = cluster.specs();
        nodes.rotate_left(1);
        nodes[0].weight = 2;
        cluster.apply(nodes);
        found.extend(rest(&mut client, &cursor, &["COUNT", "20"]).0);
        let staying = staying(&before, &owners(&cluster, 4000));
        assert!(found.is_superset(&staying), "{pages}: {} of {}", found.len(), staying.len());
    }
}

#[test]
fn a_node_that_joins_disturbs_no_scan_and_strays_are_left_out() {
    let cluster = Cluster::start(3);
    cluster.fill(3000);
    let before = owners(&cluster, 3000);
    let mut client = cluster.connect();
    let (cursor, mut found) = begin(&mut client, 40);
    let joining = Server::start();
    let mut nodes = cluster.specs();
    nodes.insert(0, NodeSpec::new("late", joining.address()));
    cluster.apply(nodes);
    found.extend(rest(&mut client, &cursor, &["COUNT", "20"]).0);
    let staying = staying(&before, &owners(&cluster, 3000));
    assert!(staying.len() < 3000 && found.is_superset(&staying));
    // from now on only what can be reached is listed; DBSIZE counts what the nodes hold
    for mut client in cluster.both() {
        assert_eq!(rest(&mut client, "0", &[]).0, staying);
        assert_eq!(client.call(&["DBSIZE"]), Value::Integer(3000));
        for reply in client.pipeline(&vec![vec!["RANDOMKEY"]; 300]) {
            assert!(staying.contains(&reply.text()), "{reply:?} cannot be reached");
        }
    }
}

#[test]
fn a_cursor_whose_node_left_is_an_error_and_any_other_goes_on() {
    let cluster = Cluster::start(3);
    cluster.fill(3000);
    let before = owners(&cluster, 3000);
    let nodes = cluster.specs();
    for leaving in 0..3 {
        cluster.apply(nodes.clone());
        let mut client = cluster.connect();
        let (cursor, mut found) = begin(&mut client, 10);
        let (_, here) = page(&mut client, &cursor, &["COUNT", "20"]);
        let key = here.first().expect("a page with keys");
        let at: usize = key.strip_prefix("key:").and_then(|at| at.parse().ok()).expect("a number");
        let name = &nodes[leaving].name;
        cluster.apply(nodes.iter().filter(|node| node.name != *name).cloned().collect());
        if before[at] == *name {
            let text = client.call(&["SCAN", &cursor]).text();
            assert!(
                text.starts_with("ERR this cursor names no node of the topology: its node has left"),
                "{text}"
            );
        } else {
            found.extend(rest(&mut client, &cursor, &["COUNT", "20"]).0);
            assert!(found.is_superset(&staying(&before, &owners(&cluster, 3000))));
        }
    }
}

#[test]
fn a_node_with_another_address_is_another_node_to_a_cursor() {
    let cluster = Cluster::start(2);
    cluster.fill(1000);
    let mut client = cluster.connect();
    let (cursor, _) = begin(&mut client, 3);
    let others = [Server::start(), Server::start()];
    let moved = cluster.specs().into_iter().zip(&others);
    cluster.apply(moved.map(|(node, server)| NodeSpec { address: server.address(), ..node }).collect());
    assert!(client.call(&["SCAN", &cursor]).text().starts_with("ERR this cursor names no node"));
    assert_eq!(rest(&mut client, "0", &[]), (BTreeSet::new(), 2));
}
