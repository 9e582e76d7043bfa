//! Keys really lie where the ring's shares say.

use crate::support::Cluster;
use crate::support::frame::bulk_request;
use crate::support::harness::node_name;
use crate::support::random::Random;

const KEYS: usize = 100_000;

/// The values that chi-square with so many degrees of freedom exceeds with a probability of one in a million
/// (-2 ln 1e-6 for two; for four the root of exp(-x/2)(1 + x/2) = 1e-6).
fn one_in_a_million(degrees: usize) -> f64 {
    match degrees {
        2 => 27.631,
        4 => 33.377,
        other => panic!("no value for {other} degrees of freedom"),
    }
}

fn shares(cluster: &Cluster) -> Vec<f64> {
    // a ring compared with itself tells every member's exact share
    let topology = cluster.control().topology();
    let diff = ringway_ring::diff(topology.ring(), topology.ring());
    diff.before.into_iter().map(|(_, share)| share).collect()
}

fn written_as_predicted(nodes: usize) {
    let cluster = Cluster::start(nodes);
    let mut random = Random::new(nodes as u64);
    let mut client = cluster.client();
    let mut expected_here = vec![0usize; nodes];
    let mut written = 0;
    while written < KEYS {
        let mut batch = Vec::new();
        for _ in 0..1000 {
            let key = format!("{:016x}:{written}", random.next());
            let owner = cluster.control().topology().owner(key.as_bytes()).home();
            expected_here[usize::from(owner.0)] += 1;
            batch.extend(bulk_request(&["SET", &key, ""]));
            written += 1;
        }
        client.send(&batch);
        assert!(client.bytes(5000).chunks(5).all(|reply| reply == b"+OK\r\n"));
    }
    let counts: Vec<usize> = cluster.nodes.iter().map(|node| node.dbsize()).collect();
    assert_eq!(counts, expected_here, "each key on the node that the ring names");
    let chi_square: f64 = counts
        .iter()
        .zip(shares(&cluster))
        .map(|(&count, share)| {
            let expected = share * KEYS as f64;
            (count as f64 - expected).powi(2) / expected
        })
        .sum();
    assert!(chi_square < one_in_a_million(nodes - 1), "chi-square {chi_square:.1} for {counts:?}");
}

#[test]
fn a_hundred_thousand_keys_over_three_nodes() {
    written_as_predicted(3);
}

#[test]
fn a_hundred_thousand_keys_over_five_nodes() {
    written_as_predicted(5);
}

#[test]
fn weights_are_kept() {
    let cluster = Cluster::start_with(3, |settings| settings.topology.nodes[1].weight = 3);
    let shares = shares(&cluster);
    // 1024 points per unit of weight: a relative standard deviation of about 2 %, so 15 % never happens by chance
    for (at, ideal) in [0.2, 0.6, 0.2].into_iter().enumerate() {
        let share = shares[at];
        assert!((share / ideal - 1.0).abs() < 0.15, "{} has {share}", node_name(at));
    }
}
