//! What cannot be built, and what the messages say.

mod support;

use ringway_ring::{HashTag, KeyHash, Member, Placement, Ring, RingConfig, RingError, best_seed};
use support::{build, equal_members};

fn error(config: &RingConfig, members: &[Member]) -> RingError {
    Ring::build(config, members).expect_err("a refusal")
}

#[test]
fn members_are_checked() {
    let config = RingConfig::default();
    assert_eq!(error(&config, &[]), RingError::NoMembers);
    assert_eq!(error(&config, &[Member::new("a", 1), Member::new("", 1)]), RingError::EmptyName(1));
    let twice = [Member::new("b", 1), Member::new("a", 1), Member::new("b", 2)];
    assert_eq!(error(&config, &twice), RingError::DuplicateName("b".into()));
    for weight in [0, 1001] {
        assert_eq!(
            error(&config, &[Member::new("a", weight)]),
            RingError::Weight { name: "a".into(), weight }
        );
    }
    assert_eq!(error(&config, &equal_members("n", 65_536)), RingError::TooManyMembers(65_536));
}

#[test]
fn memory_is_bounded_before_it_is_taken() {
    let all = [Placement::Xxh3, Placement::EnvoyRing];
    for placement in all {
        let zero = RingConfig { placement, points: 0, ..RingConfig::default() };
        assert_eq!(error(&zero, &equal_members("n", 1)), RingError::ZeroPoints);
    }
    let huge = RingConfig { points: u32::MAX, ..RingConfig::default() };
    let heavy = [Member::new("a", 1000)];
    assert_eq!(error(&huge, &heavy), RingError::TooManyPoints(u64::from(u32::MAX) * 1000));
}

#[test]
fn the_most_members_work() {
    let members = equal_members("n", 65_535);
    let ring = build(&RingConfig { points: 1, ..RingConfig::default() }, &members);
    let owner = ring.owner(b"key");
    assert!(owner < 65_535 && ring.share(owner) > 0.0);
}

#[test]
fn names_are_read_back() {
    for placement in [Placement::Xxh3, Placement::EnvoyRing, Placement::EnvoyRingMurmur] {
        assert_eq!(Placement::from_name(placement.name(), None), Ok(placement));
        let refused = Err(RingError::FixedKeyHash(placement.name()));
        assert_eq!(Placement::from_name(placement.name(), Some(KeyHash::Md5)), refused);
    }
    assert_eq!(Placement::from_name("ketama", None), Ok(Placement::Ketama(KeyHash::Fnv1a64)));
    assert_eq!(Placement::from_name("modula", Some(KeyHash::Md5)), Ok(Placement::Modula(KeyHash::Md5)));
    assert_eq!(Placement::from_name("random", None), Err(RingError::Placement("random".into())));
}

#[test]
fn a_seed_is_searched_only_where_there_is_one() {
    let envoy = RingConfig { placement: Placement::EnvoyRing, ..RingConfig::default() };
    assert_eq!(best_seed(&envoy, &equal_members("n", 3), 5), Err(RingError::SeedUnused("envoy_ring")));
    let found = best_seed(&RingConfig::default(), &equal_members("n", 3), 0).expect("a seed");
    assert_eq!(found.0, 0, "no tries still answers for the seed that is configured");
}

/// A message says what, where and how to mend it.
#[test]
fn messages_name_the_culprit() {
    let messages = [
        (RingError::DuplicateName("cache-1".into()), "cache-1"),
        (RingError::Weight { name: "cache-2".into(), weight: 0 }, "'cache-2' has weight 0"),
        (RingError::EmptyName(2), "number 3"),
        (HashTag::parse("{").expect_err("one character"), "'{'"),
        ("sha1".parse::<KeyHash>().expect_err("no key hash"), "fnv1a_64"),
    ];
    for (error, part) in messages {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn rings_can_be_shared_and_shown() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    let ring = build(&RingConfig::default(), &equal_members("n", 3));
    shared(&ring);
    assert_eq!(format!("{ring:?}"), "Ring { placement: Xxh3, members: 3, points: 3072, .. }");
}
