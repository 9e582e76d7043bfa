//! Owners taken from real proxies: nutcracker 0.5.0 (twemproxy) and Envoy 1.40. `testdata/README.md` says how.
//!
//! The law: every row agrees. A row that does not is a key that would move for a user who comes from that proxy.

mod support;

use ringway_ring::{HashTag, Member, Placement, Ring, RingConfig};
use support::tables::{rows, unescape};

const TWEMPROXY: &str = include_str!("../testdata/twemproxy.tsv");
const ENVOY: &str = include_str!("../testdata/envoy_ring_hash.tsv");

fn owner<'r>(ring: &'r Ring, key: &[u8]) -> &'r str {
    &ring.members()[ring.owner(key)].name
}

fn tag(text: &str) -> Option<HashTag> {
    if text == "-" { None } else { HashTag::parse(text).expect("a tag of two characters") }
}

/// The ring's name of `host:port:weight[ name]`: without a name `host:port`, and `host` alone at port 11211.
fn twemproxy_member(server: &str) -> Member {
    let (line, name) = server.split_once(' ').unwrap_or((server, ""));
    let (address, weight) = line.rsplit_once(':').expect("a weight");
    let default = address.strip_suffix(":11211").unwrap_or(address);
    Member::new(if name.is_empty() { default } else { name }, weight.parse().expect("a weight"))
}

#[test]
fn twemproxy_agrees_on_every_row() {
    let mut checked = 0;
    for row in rows(TWEMPROXY) {
        let [hash, distribution, servers, hash_tag, key, expected] = row[..] else {
            panic!("six columns: {row:?}")
        };
        let key_hash = hash.parse().expect("a key hash");
        let placement = Placement::from_name(distribution, Some(key_hash)).expect("a distribution");
        let members: Vec<Member> = servers.split(';').map(twemproxy_member).collect();
        let config = RingConfig { placement, hash_tag: tag(hash_tag), ..RingConfig::default() };
        let ring = Ring::build(&config, &members).expect("a ring");
        assert_eq!(owner(&ring, &unescape(key)), expected, "{row:?}");
        checked += 1;
    }
    assert_eq!(checked, 612);
}

#[test]
fn envoy_agrees_on_every_row() {
    let mut checked = 0;
    for row in rows(ENVOY) {
        let [hash, size, hosts, hash_tag, key, expected] = row[..] else { panic!("six columns: {row:?}") };
        let placement = match hash {
            "XX_HASH" => Placement::EnvoyRing,
            "MURMUR_HASH_2" => Placement::EnvoyRingMurmur,
            other => panic!("unknown ring hash {other}"),
        };
        let host = |host: &str| {
            let (name, weight) = host.rsplit_once('=').expect("a weight");
            Member::new(name, weight.parse().expect("a weight"))
        };
        let members: Vec<Member> = hosts.split(';').map(host).collect();
        let points = size.parse().expect("a size");
        let config = RingConfig { placement, points, hash_tag: tag(hash_tag), seed: 0 };
        let ring = Ring::build(&config, &members).expect("a ring");
        assert_eq!(owner(&ring, &unescape(key)), expected, "{row:?}");
        checked += 1;
    }
    assert_eq!(checked, 200);
}

/// The lowest points of three servers, and the highest, as twemproxy's formula gives them.
#[test]
fn ketama_points_stand_where_twemproxy_puts_them() {
    let members = ["alpha", "beta", "gamma"].map(|name| Member::new(name, 1));
    let placement = Placement::from_name("ketama", None).expect("ketama");
    let ring = Ring::build(&RingConfig { placement, ..RingConfig::default() }, &members).expect("a ring");
    assert_eq!(ring.point_count(), 480);
    for (point, expected) in [(0x0080_0cf9, 0), (0x022e_bb07, 1), (0x0243_b8a9, 2), (0xfff4_9125, 2)] {
        assert_eq!(ring.owner_of_hash(point), expected);
    }
    assert_eq!(ring.owner_of_hash(0xfff4_9126), 0, "past the highest point comes the lowest");
}
