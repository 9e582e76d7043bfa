//! What must hold for every ring of the default placement and every change of it.
//!
//! Rings here are small (few points, few members), because that is where ties, wraps and empty buckets are frequent.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use ringway_ring::{Diff, Member, Ring, diff};
use support::{model, ring};

/// Distinct names with weights.
fn members(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Member>> {
    let names = prop::collection::btree_map("[a-z0-9:._-]{1,12}", 1_u32..=4, count);
    let list =
        names.prop_map(|names| names.into_iter().map(|(name, weight)| Member { name, weight }).collect());
    Strategy::prop_shuffle(list)
}

fn name(ring: &Ring, hash: u64) -> &str {
    &ring.members()[ring.owner_of_hash(hash)].name
}

/// What `diff` should say, from the owners of every range between any two points.
fn brute_force(points: u32, seeds: [u64; 2], old: &Ring, new: &Ring) -> BTreeMap<(String, String), u128> {
    let mut ends: Vec<u64> = vec![(1 << 48) - 1];
    for (ring, seed) in [old, new].into_iter().zip(seeds) {
        ends.extend(model::points(points, seed, ring.members()).into_iter().map(|point| point.0));
    }
    ends.sort_unstable();
    ends.dedup();
    let mut flows = BTreeMap::new();
    let mut first = 0;
    for end in ends {
        let (from, to) = (name(old, end << 16), name(new, end << 16));
        if from != to {
            *flows.entry((from.to_owned(), to.to_owned())).or_default() += u128::from(end + 1 - first) << 16;
        }
        first = end + 1;
    }
    flows
}

fn fraction(hashes: u128) -> f64 {
    hashes as f64 / 2_f64.powi(64)
}

/// Flows in their order, each as the brute force has it, and their sum.
fn assert_same(found: &Diff, expected: &BTreeMap<(String, String), u128>) {
    assert!(found.exact);
    let flows: BTreeMap<_, _> =
        found.flows.iter().map(|flow| ((flow.from.clone(), flow.to.clone()), flow.share)).collect();
    assert_eq!(flows.len(), found.flows.len());
    assert_eq!(flows, expected.iter().map(|(pair, &hashes)| (pair.clone(), fraction(hashes))).collect());
    assert_eq!(found.moved, fraction(expected.values().sum()));
    assert!(found.flows.is_sorted_by_key(|flow| (-flow.share, flow.from.clone(), flow.to.clone())));
}

fn share_of(shares: &[(String, f64)], name: &str) -> f64 {
    shares.iter().find(|share| share.0 == name).map_or(0.0, |share| share.1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn owners_are_those_of_the_model(members in members(1..12), points in 1_u32..80, seed: u64, hashes: Vec<u64>) {
        let ring = ring(points, seed, &members);
        let model = model::points(points, seed, &members);
        let edges = model.iter().flat_map(|point| [point.0 << 16, (point.0 << 16) | 0xffff, ((point.0 + 1) << 16)]);
        for hash in edges.chain(hashes).chain([0, u64::MAX]) {
            prop_assert_eq!(name(&ring, hash), model::owner(&model, hash));
        }
        prop_assert_eq!(ring.point_count(), model.len());
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(
        (list, shuffled) in members(1..12).prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
        points in 1_u32..80, seed: u64, hashes: Vec<u64>,
    ) {
        let (one, other) = (ring(points, seed, &list), ring(points, seed, &shuffled));
        prop_assert_eq!(one.fingerprint(), other.fingerprint());
        prop_assert_eq!(diff(&one, &other).flows, vec![]);
        prop_assert_eq!(one.members(), &list[..]);
        for hash in hashes {
            prop_assert_eq!(name(&one, hash), name(&other, hash));
        }
    }

    #[test]
    fn a_join_moves_only_to_the_newcomer_and_leaving_undoes_it(
        members in members(2..12), points in 1_u32..80, seed: u64,
    ) {
        let (newcomer, rest) = members.split_last().unwrap();
        let (before, after) = (ring(points, seed, rest), ring(points, seed, &members));
        let join = diff(&before, &after);
        prop_assert!(join.flows.iter().all(|flow| flow.to == newcomer.name));
        prop_assert!((join.moved - share_of(&join.after, &newcomer.name)).abs() < 1e-12);

        let leave = diff(&after, &before);
        prop_assert!(leave.flows.iter().all(|flow| flow.from == newcomer.name));
        prop_assert_eq!(join.moved, leave.moved);

        let back = ring(points, seed, rest);
        prop_assert_eq!(diff(&before, &back).moved, 0.0);
        prop_assert_eq!(before.fingerprint(), back.fingerprint());
    }

    #[test]
    fn a_new_weight_moves_only_to_or_from_its_member(
        members in members(1..12), which: Index, weight in 1_u32..=6, points in 1_u32..80, seed: u64,
    ) {
        let place = which.index(members.len());
        let mut changed = members.clone();
        changed[place].weight = weight;
        let found = diff(&ring(points, seed, &members), &ring(points, seed, &changed));
        let grows = weight > members[place].weight;
        for flow in found.flows {
            prop_assert_eq!(if grows { &flow.to } else { &flow.from }, &members[place].name);
        }
    }

    #[test]
    fn nothing_moves_between_two_unchanged_members(
        all in members(2..16), old_mask: u16, new_mask: u16, weights: [u32; 16], points in 1_u32..80, seed: u64,
    ) {
        let chosen = |mask: u16| move |(place, _): &(usize, &Member)| (mask | 1) >> place & 1 == 1;
        let old: Vec<Member> = all.iter().enumerate().filter(chosen(old_mask)).map(|(_, m)| m.clone()).collect();
        let reweighted = |(place, m): (usize, &Member)| {
            let weight = if weights[place] % 3 == 0 { 1 + weights[place] % 5 } else { m.weight };
            Member::new(m.name.clone(), weight)
        };
        let new: Vec<Member> = all.iter().enumerate().filter(chosen(new_mask)).map(reweighted).collect();
        let found = diff(&ring(points, seed, &old), &ring(points, seed, &new));
        let unchanged = |name: &String| {
            let weight = |list: &[Member]| list.iter().find(|m| &m.name == name).map(|m| m.weight);
            weight(&old).is_some() && weight(&old) == weight(&new)
        };
        prop_assert!(!found.flows.iter().any(|flow| unchanged(&flow.from) && unchanged(&flow.to)));
    }

    #[test]
    fn the_diff_is_exact(
        old in members(1..10), new in members(1..10), common in members(0..6), points in 1_u32..60, seeds: [u64; 2],
        one_seed: bool,
    ) {
        let seeds = if one_seed { [seeds[0]; 2] } else { seeds };
        let merged = |own: &[Member]| {
            let mut list: BTreeMap<String, u32> = own.iter().map(|m| (m.name.clone(), m.weight)).collect();
            list.extend(common.iter().map(|m| (m.name.clone(), m.weight)));
            list.into_iter().map(|(name, weight)| Member { name, weight }).collect::<Vec<_>>()
        };
        let (old, new) = (ring(points, seeds[0], &merged(&old)), ring(points, seeds[1], &merged(&new)));
        let found = diff(&old, &new);
        assert_same(&found, &brute_force(points, seeds, &old, &new));
        prop_assert_eq!(found.before.iter().map(|share| share.1).collect::<Vec<_>>(), old.shares());
        prop_assert_eq!(found.after.iter().map(|share| share.1).collect::<Vec<_>>(), new.shares());
    }

    #[test]
    fn shares_and_arcs_add_up(members in members(1..12), points in 1_u32..80, seed: u64) {
        let ring = ring(points, seed, &members);
        prop_assert!((ring.shares().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let mut by_arcs = vec![0.0; members.len()];
        let mut at = 0.0;
        for arc in ring.arcs() {
            prop_assert!((arc.start - at).abs() < 1e-12 && arc.len > 0.0);
            at = arc.start + arc.len;
            by_arcs[arc.member] += arc.len;
        }
        prop_assert!((at - 1.0).abs() < 1e-12);
        for (place, sum) in by_arcs.into_iter().enumerate() {
            prop_assert!((sum - ring.share(place)).abs() < 1e-9);
        }
    }

    #[test]
    fn successors_are_who_inherits(members in members(1..8), points in 1_u32..40, seed: u64, key: Vec<u8>) {
        let full = ring(points, seed, &members);
        let order: Vec<usize> = full.successors(&key).collect();
        prop_assert_eq!(order[0], full.owner(&key));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..members.len()).collect::<Vec<_>>());
        for gone in 1..members.len() {
            let left = |place: &usize| !order[..gone].contains(place);
            let rest: Vec<Member> = (0..members.len()).filter(left).map(|place| members[place].clone()).collect();
            let ring = ring(points, seed, &rest);
            prop_assert_eq!(&ring.members()[ring.owner(&key)].name, &members[order[gone]].name);
        }
    }
}
