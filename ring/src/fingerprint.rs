//! One number that says whether two rings place keys alike.
//!
//! The law: everything that decides an owner goes in, nothing else does. Members are taken in name order, since the
//! order of the list decides nothing; Envoy's placement alone looks at the list's order, and there it goes in.

use alloc::vec::Vec;

use xxhash_rust::xxh3::xxh3_64;

use crate::config::{Member, Placement};
use crate::ring::Ring;

/// Changes when the way of counting changes.
const VERSION: u8 = 1;

/// XXH3-64 over the configuration and the members, every variable part preceded by its length.
pub(crate) fn fingerprint(ring: &Ring) -> u64 {
    let config = ring.config();
    let mut bytes = Vec::from([VERSION]);
    put(&mut bytes, config.placement.name());
    put(&mut bytes, config.placement.key_hash().map_or("", |hash| hash.name()));
    bytes.extend(config.points.to_le_bytes());
    bytes.extend(config.seed.to_le_bytes());
    match config.hash_tag {
        Some(tag) => bytes.extend([2, tag.open(), tag.close()]),
        None => bytes.push(0),
    }
    match config.placement {
        Placement::EnvoyRing | Placement::EnvoyRingMurmur => put_members(&mut bytes, ring.members().iter()),
        _ => put_members(&mut bytes, ring.members_by_name().map(|(_, member)| member)),
    }
    xxh3_64(&bytes)
}

fn put_members<'m>(bytes: &mut Vec<u8>, members: impl Iterator<Item = &'m Member>) {
    for member in members {
        put(bytes, &member.name);
        bytes.extend(member.weight.to_le_bytes());
    }
}

fn put(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
