//! The default placement's contract: owners that must never change.
//!
//! `testdata/xxh3.tsv` was written once, by `write_the_table` below. If a row fails, the placement has changed and every
//! user's keys would move: the change belongs into a new placement with a new name, never into this table.

mod support;

use ringway_ring::{HashTag, Member, Ring, RingConfig};
use support::tables::{escape, rows, unescape};
use support::{build, equal_members, model, random};

const TABLE: &str = include_str!("../testdata/xxh3.tsv");
const HEADER: &str = "points\tseed\thash_tag\tmembers\tkey\thash\towner";

fn owner<'r>(ring: &'r Ring, key: &[u8]) -> &'r str {
    &ring.members()[ring.owner(key)].name
}

/// `name=weight` joined by `;`.
fn members(text: &str) -> Vec<Member> {
    let member = |part: &str| {
        let (name, weight) = part.rsplit_once('=').expect("a weight");
        Member::new(name, weight.parse().expect("a weight"))
    };
    text.split(';').map(member).collect()
}

fn tag(text: &str) -> Option<HashTag> {
    if text == "-" { None } else { HashTag::parse(text).expect("a tag of two characters") }
}

#[test]
fn every_row_agrees() {
    let mut checked = 0;
    for row in rows(TABLE) {
        let [points, seed, hash_tag, member_list, key, hash, expected] = row[..] else {
            panic!("seven: {row:?}")
        };
        let (points, seed) = (points.parse().expect("points"), seed.parse().expect("a seed"));
        let config = RingConfig { points, seed, hash_tag: tag(hash_tag), ..RingConfig::default() };
        let ring = build(&config, &members(member_list));
        let key = unescape(key);
        assert_eq!(format!("{:016x}", ring.hash(&key)), hash, "{row:?}");
        assert_eq!(owner(&ring, &key), expected, "{row:?}");
        checked += 1;
    }
    assert_eq!(checked, 480);
}

/// The table is not only what this code once did: the model, written separately, agrees with it.
#[test]
fn the_model_agrees() {
    let mut made = (String::new(), Vec::new());
    for row in rows(TABLE) {
        let [points, seed, _, member_list, _, hash, expected] = row[..] else { panic!("seven: {row:?}") };
        let description = format!("{points} {seed} {member_list}");
        if made.0 != description {
            let (points, seed) = (points.parse().expect("points"), seed.parse().expect("a seed"));
            made = (description, model::points(points, seed, &members(member_list)));
        }
        let hash = u64::from_str_radix(hash, 16).expect("a hash");
        assert_eq!(model::owner(&made.1, hash), expected, "{row:?}");
    }
}

/// Fingerprints are part of the contract too: proxies compare them.
#[test]
fn fingerprints_stay() {
    let ring = build(&RingConfig::default(), &members("cache-1=1;cache-2=1;cache-3=1"));
    assert_eq!(format!("{:016x}", ring.fingerprint()), "1a11aa348ccbcba7");
}

#[test]
#[ignore = "writes the table; run by hand for a new placement: cargo test --test golden -- --ignored --nocapture"]
fn write_the_table() {
    let list = |members: &[Member]| {
        let parts: Vec<String> = members.iter().map(|m| format!("{}={}", m.name, m.weight)).collect();
        parts.join(";")
    };
    let configs = [
        (1024, 0, "{}", "cache-1=1;cache-2=1;cache-3=1".to_owned()),
        (1024, 42, "{}", "cache-1=1;cache-2=1;cache-3=1".to_owned()),
        (160, 0, "{}", "zeta=1;alpha=3;mid=2;10.0.0.7:6379=1".to_owned()),
        (160, u64::MAX, "-", "zeta=1;alpha=3;mid=2;10.0.0.7:6379=1".to_owned()),
        (1, 7, "<>", "a=1;b=1;c=1;d=1000".to_owned()),
        (40, 0, "{}", list(&equal_members("redis", 100))),
        (1024, 0, "{}", "only=1".to_owned()),
        (1024, 0, "$$", list(&equal_members("кэш", 12))),
    ];
    println!("{HEADER}");
    for (points, seed, hash_tag, member_list) in &configs {
        let config =
            RingConfig { points: *points, seed: *seed, hash_tag: tag(hash_tag), ..RingConfig::default() };
        let ring = build(&config, &members(member_list));
        for key in keys() {
            let (hash, owner) = (ring.hash(&key), owner(&ring, &key));
            println!("{points}\t{seed}\t{hash_tag}\t{member_list}\t{}\t{hash:016x}\t{owner}", escape(&key));
        }
    }
}

/// Sixty keys: everyday ones, tags of every kind, and random bytes of all lengths at which XXH3 changes its way.
fn keys() -> Vec<Vec<u8>> {
    let texts = [
        "",
        "a",
        "user:1001",
        "user:1002",
        "cart:42",
        "session:9f8e7d6c5b4a",
        "ключ:1",
        "{user:7}:cart",
        "{user:7}:profile",
        "x{}y{z}",
        "{{a}}",
        "}{",
        "{a",
        "a}b{c}d",
        "$a$b",
        "$$a$",
        "<u>1",
        "<>u",
        "a b\tc",
        "back\\slash",
    ];
    let mut next = random(2026);
    let lengths = [
        1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 128, 129, 200, 240, 241, 256, 257,
        400,
    ];
    let mut keys: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    keys.extend(lengths.map(|len| (0..len).map(|_| next() as u8).collect()));
    keys.extend((0..14).map(|number| format!("key:{:x}", next() >> (4 * number)).into_bytes()));
    keys
}
