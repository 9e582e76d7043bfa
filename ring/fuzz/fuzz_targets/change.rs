//! Any two descriptions of rings: building never panics, and what was built keeps the ring's laws.
//!
//! `cargo +nightly fuzz run change` in `ring/`. Checked are: the owner is the first successor, shares sum to 1, a diff
//! agrees with the owners of the keys given, and with both rings' shares member by member.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ringway_ring::{HashTag, KeyHash, Member, Placement, Ring, RingConfig, diff};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    old: Description<'a>,
    new: Description<'a>,
    keys: Vec<&'a [u8]>,
}

#[derive(Arbitrary, Debug)]
struct Description<'a> {
    placement: u8,
    points: u8,
    seed: u64,
    tag: &'a str,
    members: Vec<(&'a str, u8)>,
}

impl Description<'_> {
    fn build(&self) -> Option<Ring> {
        let hash = KeyHash::ALL[usize::from(self.placement / 5) % 12];
        let placement = match self.placement % 5 {
            0 => Placement::Xxh3,
            1 => Placement::Ketama(hash),
            2 => Placement::Modula(hash),
            3 => Placement::EnvoyRing,
            _ => Placement::EnvoyRingMurmur,
        };
        let hash_tag = HashTag::parse(self.tag).ok()?;
        let config = RingConfig { placement, points: self.points.into(), seed: self.seed, hash_tag };
        let member = |&(name, weight): &(&str, u8)| Member::new(name, u32::from(weight) * 5);
        let members: Vec<Member> = self.members.iter().take(40).map(member).collect();
        Ring::build(&config, &members).ok()
    }
}

fn share(shares: &[(String, f64)], name: &str) -> f64 {
    shares.iter().find(|share| share.0 == name).map_or(0.0, |share| share.1)
}

fuzz_target!(|input: Input<'_>| {
    let (Some(old), Some(new)) = (input.old.build(), input.new.build()) else { return };
    let change = diff(&old, &new);
    assert!((0.0..=1.0 + 1e-9).contains(&change.moved) && (0.0..=1.0).contains(&change.minimum));
    for ring in [&old, &new] {
        assert!((ring.shares().iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((ring.arcs().map(|arc| arc.len).sum::<f64>() - 1.0).abs() < 1e-9);
        for key in &input.keys {
            assert_eq!(ring.successors(key).next(), Some(ring.owner(key)));
        }
    }
    if !change.exact {
        return;
    }
    for key in &input.keys {
        let (from, to) = (&old.members()[old.owner(key)].name, &new.members()[new.owner(key)].name);
        assert!(from == to || change.flows.iter().any(|flow| &flow.from == from && &flow.to == to));
    }
    for name in old.members().iter().chain(new.members()).map(|member| &member.name) {
        let given: f64 = change.flows.iter().filter(|flow| &flow.from == name).map(|flow| flow.share).sum();
        let taken: f64 = change.flows.iter().filter(|flow| &flow.to == name).map(|flow| flow.share).sum();
        let difference = share(&change.after, name) - share(&change.before, name);
        assert!((difference - (taken - given)).abs() < 1e-9, "{name}");
    }
});
