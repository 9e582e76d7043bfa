//! DBSIZE and RANDOMKEY.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::Cluster;
use crate::command_server::Value;

#[test]
fn dbsize_is_the_sum_over_all_nodes() {
    let cluster = Cluster::start(3);
    for mut client in cluster.both() {
        assert_eq!(client.call(&["DBSIZE"]), Value::Integer(0));
    }
    cluster.fill(300);
    for mut client in cluster.both() {
        assert_eq!(client.call(&["dbsize"]), Value::Integer(300));
        let error = client.call(&["DBSIZE", "x"]).text();
        assert_eq!(error, "ERR wrong number of arguments for 'dbsize' command");
    }
    let on_nodes = (0..3).map(|at| cluster.node(at).call(&["DBSIZE"]));
    assert!(on_nodes.into_iter().all(|size| matches!(size, Value::Integer(1..))));
}

#[test]
fn i2_a_pipeline_sees_its_own_writes() {
    let cluster = Cluster::start(3);
    let mut client = cluster.connect();
    let mut commands = Vec::new();
    for at in 0..100 {
        commands.push(vec!["SET".to_owned(), format!("k{at}"), "v".into()]);
        commands.push(vec!["DBSIZE".to_owned()]);
        commands.push(vec!["GET".to_owned(), format!("k{at}")]);
    }
    for (at, replies) in client.pipeline(&commands).chunks(3).enumerate() {
        assert_eq!(replies[1], Value::Integer(at as i64 + 1));
        assert_eq!(replies[2], Value::Bulk(b"v".to_vec()));
    }
}

#[test]
fn randomkey_is_nil_without_keys_and_finds_the_only_one() {
    let cluster = Cluster::start(3);
    for mut client in cluster.both() {
        assert_eq!(client.call(&["RANDOMKEY"]), Value::Nil);
    }
    cluster.fill(1);
    for mut client in cluster.both() {
        assert_eq!(client.call(&["RANDOMKEY"]).text(), "key:0");
    }
}

#[test]
fn randomkey_is_weighted_by_the_size_of_the_nodes() {
    let cluster = Cluster::start(3);
    cluster.fill(2000);
    let topology = cluster.control.topology();
    let owner = |key: &str| {
        let node = topology.owner(key.as_bytes()).home();
        usize::from(node.0)
    };
    // node 0 keeps a tenth of its keys
    let mut kept: BTreeMap<usize, usize> = BTreeMap::new();
    let mut client = cluster.connect();
    for at in 0..2000 {
        let key = format!("key:{at}");
        if owner(&key) == 0 && at % 10 != 0 {
            client.call(&["DEL", &key]);
        } else {
            *kept.entry(owner(&key)).or_default() += 1;
        }
    }
    let draws = 3000;
    let mut drawn: BTreeMap<usize, usize> = BTreeMap::new();
    let mut different = BTreeSet::new();
    for reply in client.pipeline(&vec![vec!["RANDOMKEY"]; draws]) {
        *drawn.entry(owner(&reply.text())).or_default() += 1;
        different.insert(reply.text());
    }
    let total: usize = kept.values().sum();
    for node in 0..3 {
        let expected = kept[&node] as f64 / total as f64;
        let found = drawn.get(&node).copied().unwrap_or(0) as f64 / draws as f64;
        println!("node {node}: {expected:.3} of the keys, {found:.3} of the draws");
        assert!((expected - found).abs() < 0.05, "node {node}: {expected} and {found}");
    }
    assert!(different.len() > 500, "{} different keys", different.len());
}
