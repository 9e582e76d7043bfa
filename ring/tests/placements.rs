//! Diffs, shares and successors of the placements that are not the default.
//!
//! twemproxy's `crc32` has only 2^15 hashes, so that every pair of its rings can be checked hash by hash; the larger
//! spaces are checked against a million owners.

mod support;

use std::collections::BTreeMap;

use ringway_ring::{Diff, HashTag, KeyHash, Member, Placement, Ring, RingConfig, diff};
use support::{build, equal_members, random};

fn ring(placement: Placement, members: &[Member]) -> Ring {
    build(&RingConfig { placement, ..RingConfig::default() }, members)
}

/// Names in an order that is not theirs, with weights.
fn weighted(count: u32) -> Vec<Member> {
    (0..count).rev().map(|number| Member::new(format!("node-{number}"), 1 + number % 3)).collect()
}

type Flows = BTreeMap<(String, String), f64>;

/// The flows of these hashes, each hash counting the same.
fn counted(old: &Ring, new: &Ring, hashes: impl ExactSizeIterator<Item = u64>) -> Flows {
    let each = 1.0 / hashes.len() as f64;
    let mut flows = Flows::new();
    for hash in hashes {
        let from = &old.members()[old.owner_of_hash(hash)].name;
        let to = &new.members()[new.owner_of_hash(hash)].name;
        if from != to {
            *flows.entry((from.clone(), to.clone())).or_default() += each;
        }
    }
    flows
}

fn assert_close(found: &Diff, expected: &Flows, tolerance: f64) {
    let flows: Flows =
        found.flows.iter().map(|flow| ((flow.from.clone(), flow.to.clone()), flow.share)).collect();
    for pair in flows.keys().chain(expected.keys()) {
        let share = |flows: &Flows| flows.get(pair).copied().unwrap_or(0.0);
        let (found, expected) = (share(&flows), share(expected));
        assert!((found - expected).abs() < tolerance, "{pair:?}: {found}, counted {expected}");
    }
    assert!((found.moved - expected.values().sum::<f64>()).abs() < 20.0 * tolerance);
}

#[test]
fn every_hash_of_the_smallest_space() {
    let crc32 = |count, modula| {
        let placement =
            if modula { Placement::Modula(KeyHash::Crc32) } else { Placement::Ketama(KeyHash::Crc32) };
        ring(placement, &weighted(count))
    };
    let rings = [
        crc32(3, true),
        crc32(4, true),
        crc32(7, true),
        crc32(3, false),
        crc32(90, false),
        crc32(400, false),
    ];
    for old in &rings {
        assert!((old.shares().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        for new in &rings {
            let found = diff(old, new);
            assert!(found.exact);
            assert_close(&found, &counted(old, new, (0..1_u32 << 15).map(u64::from)), 1e-9);
        }
    }
}

#[test]
fn larger_spaces_agree_with_a_sample() {
    let mut next = random(1);
    let hashes: Vec<u64> = (0..200_000).map(|_| next()).collect();
    let ketama = Placement::Ketama(KeyHash::Md5);
    let modula = Placement::Modula(KeyHash::Md5);
    let (envoy, murmur) = (Placement::EnvoyRing, Placement::EnvoyRingMurmur);
    let pairs = [
        (ketama, ketama),
        (ketama, modula),
        (modula, ketama),
        (modula, modula),
        (envoy, envoy),
        (envoy, murmur),
    ];
    for (from, to) in pairs {
        let (old, new) = (ring(from, &weighted(5)), ring(to, &weighted(6)));
        let found = diff(&old, &new);
        assert!(found.exact, "{from:?} to {to:?}");
        let shift = if matches!(from, Placement::EnvoyRing) { 0 } else { 32 };
        assert_close(&found, &counted(&old, &new, hashes.iter().map(|hash| hash >> shift)), 0.005);
    }
}

#[test]
fn an_estimate_says_that_it_is_one() {
    let members = equal_members("cache", 4);
    let other_hash = diff(&ring(Placement::Xxh3, &members), &ring(Placement::EnvoyRing, &members));
    assert!(!other_hash.exact);
    assert!(
        (other_hash.moved - 0.75).abs() < 0.03,
        "unrelated placements agree on a quarter: {}",
        other_hash.moved
    );
    assert_eq!(other_hash.minimum, 0.0);

    let config = |hash_tag| RingConfig { hash_tag, ..RingConfig::default() };
    let other_tag = diff(&build(&config(None), &members), &build(&config(Some(HashTag::BRACES)), &members));
    assert!(!other_tag.exact && other_tag.moved == 0.0, "keys without a tag stay");
}

#[test]
fn slots_that_take_too_long_are_sampled() {
    let modula = Placement::Modula(KeyHash::Fnv1a64);
    let members = |count: usize| -> Vec<Member> {
        (0..count).map(|number| Member::new(format!("{number}"), 1000)).collect()
    };
    let found =
        diff(&ring(modula, &members(10)), &ring(modula, &[members(10), equal_members("one", 1)].concat()));
    assert!(!found.exact && found.moved > 0.5);
}

#[test]
fn a_moved_peer_keeps_its_minimum() {
    let config = RingConfig::default();
    let grown = diff(&build(&config, &equal_members("n", 3)), &build(&config, &equal_members("n", 4)));
    assert!((grown.minimum - 0.25).abs() < 1e-12);
    let swapped = diff(&build(&config, &equal_members("a", 3)), &build(&config, &equal_members("b", 3)));
    assert_eq!((swapped.minimum, swapped.moved), (1.0, 1.0));
    let heavier = [Member::new("a", 1), Member::new("b", 3)];
    let lighter = [Member::new("a", 1), Member::new("b", 1)];
    let change = diff(&build(&config, &lighter), &build(&config, &heavier));
    assert!((change.minimum - 0.25).abs() < 1e-12 && (change.excess() - (change.moved - 0.25)).abs() < 1e-12);
}

#[test]
fn successors_walk_points_and_slots() {
    for placement in [
        Placement::Ketama(KeyHash::Fnv1a64),
        Placement::Modula(KeyHash::Fnv1a64),
        Placement::EnvoyRing,
        Placement::EnvoyRingMurmur,
    ] {
        let ring = ring(placement, &weighted(9));
        for number in 0..200 {
            let key = format!("key:{number}");
            let mut order: Vec<usize> = ring.successors(key.as_bytes()).collect();
            assert_eq!(order[0], ring.owner(key.as_bytes()));
            order.sort_unstable();
            assert_eq!(order, (0..9).collect::<Vec<_>>());
        }
    }
}

/// libketama's points are few where weights are small; who has none owns nothing and is no successor.
#[test]
fn a_server_without_points_owns_nothing() {
    let members = [Member::new("small", 1), Member::new("large", 100)];
    let ring = ring(Placement::Ketama(KeyHash::Fnv1a64), &members);
    assert_eq!(ring.share(0), 0.0);
    assert_eq!(ring.successors(b"key").collect::<Vec<_>>(), [1]);
}

/// Envoy gives points host by host along the list, so that its order is part of the placement.
#[test]
fn the_order_of_the_list_counts_for_envoy_alone() {
    let list = weighted(7);
    let reversed: Vec<Member> = list.iter().rev().cloned().collect();
    for placement in [Placement::Ketama(KeyHash::Md5), Placement::Modula(KeyHash::Md5), Placement::Xxh3] {
        let (one, other) = (ring(placement, &list), ring(placement, &reversed));
        assert_eq!(one.fingerprint(), other.fingerprint());
        assert_eq!(diff(&one, &other).moved, 0.0);
    }
    let envoy = |list: &[Member]| ring(Placement::EnvoyRing, list).fingerprint();
    assert_ne!(envoy(&list), envoy(&reversed));
}
