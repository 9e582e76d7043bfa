//! The section `ring`: placement, key hash, points, seed and hash tag.

use ringway_proxy::settings::NodeSpec;
use ringway_ring::{HashTag, KeyHash, Placement, RingConfig, RingError};

use super::problem::shown;
use super::reader::{Reader, Section};
use super::yaml::Value;

const FIELDS: &[&str] = &["placement", "key_hash", "points", "seed", "hash_tag"];
/// Envoy's upper bound on the ring's size, the largest number of points that any placement asks for.
const MOST_POINTS: u64 = 8 << 20;

/// Reads `ring`.
pub(crate) fn ring(reader: &mut Reader, root: &Section<'_>) -> RingConfig {
    let at = reader.inner(root, "ring", FIELDS);
    let default = RingConfig::default();
    let placement = placement(reader, &at).unwrap_or(default.placement);
    let points = reader.integer(&at, "points", 1..=MOST_POINTS, u64::from(default.points));
    let seed = reader.integer(&at, "seed", 0..=u64::MAX, default.seed);
    let config = RingConfig {
        placement,
        points: u32::try_from(points).unwrap_or(default.points),
        seed,
        hash_tag: hash_tag(reader, &at, default.hash_tag),
    };
    refuse_what_has_no_effect(reader, &at, &config, &default);
    config
}

fn placement(reader: &mut Reader, at: &Section<'_>) -> Option<Placement> {
    let key_hash = match reader.text(at, "key_hash").map(str::parse::<KeyHash>) {
        None => None,
        Some(Ok(hash)) => Some(hash),
        Some(Err(error)) => {
            reader.problem(at.line_of("key_hash"), format!("ring.key_hash: {error}"));
            return None;
        }
    };
    let name = reader.text(at, "placement").unwrap_or("xxh3");
    match Placement::from_name(name, key_hash) {
        Ok(placement) => Some(placement),
        Err(RingError::Placement(name)) => {
            let error = RingError::Placement(shown(&name));
            reader.problem(at.line_of("placement"), format!("ring.placement: {error}"));
            None
        }
        Err(error) => {
            reader.problem(at.line_of("key_hash"), format!("ring.key_hash: {error}"));
            None
        }
    }
}

fn hash_tag(reader: &mut Reader, at: &Section<'_>, default: Option<HashTag>) -> Option<HashTag> {
    if at.get("hash_tag").is_some_and(|node| !matches!(node.value, Value::Scalar(_))) {
        let text = "ring.hash_tag is not text; quote the two characters: \"{}\", or \"\" for none";
        reader.problem(at.line_of("hash_tag"), text);
        return default;
    }
    let Some(text) = reader.text(at, "hash_tag") else { return default };
    HashTag::parse(text).unwrap_or_else(|_| {
        let error = RingError::HashTag(shown(text));
        reader.problem(at.line_of("hash_tag"), format!("ring.hash_tag: {error}"));
        default
    })
}

/// A value that the placement does not look at is a misunderstanding, unless it is the default written out.
fn refuse_what_has_no_effect(
    reader: &mut Reader,
    at: &Section<'_>,
    config: &RingConfig,
    default: &RingConfig,
) {
    let name = config.placement.name();
    if config.placement.key_hash().is_some() && config.points != default.points {
        let text =
            format!("ring.points has no effect with placement {name}, whose points are fixed; leave it out");
        reader.problem(at.line_of("points"), text);
    }
    if config.placement != Placement::Xxh3 && config.seed != default.seed {
        let text = format!("ring.seed has no effect with placement {name}; leave it out, it is for xxh3");
        reader.problem(at.line_of("seed"), text);
    }
}

/// The ring's members for these nodes.
pub(crate) fn members(nodes: &[NodeSpec]) -> Vec<ringway_ring::Member> {
    nodes.iter().map(|node| ringway_ring::Member::new(node.name.clone(), node.weight)).collect()
}
