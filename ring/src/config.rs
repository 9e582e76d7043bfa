//! What a ring is made from: the placement with its parameters, and the members.
//!
//! The law: these values, and nothing else, decide who owns a key. An address, the order of a list or the history of
//! changes never does (Envoy's placement alone looks at the order, because Envoy does).

use alloc::string::String;
use core::fmt;

use crate::error::RingError;
use crate::hash::KeyHash;
use crate::tag::HashTag;

/// The most members a ring can have: a point keeps its member in 16 bits.
pub const MAX_MEMBERS: usize = 65_535;

/// The most points (for modula: slots) a ring can have, 64 Mi; at about 14 bytes a point that is 0.9 GiB.
pub const MAX_POINTS: u64 = 64 << 20;

/// The largest weight of a member; the smallest is 1.
pub const MAX_WEIGHT: u32 = 1000;

/// How points and keys are placed. Each variant is a contract: its owners never change. A better placement would come
/// as a new variant with a new name, and golden vectors in `testdata/` hold every one of these in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Placement {
    /// The default. A key's position is XXH3-64 of its hashed part; point `i` of a member is the SplitMix64 finaliser
    /// of XXH3-64(name, seed) + (i + 1) · 0x9E3779B97F4A7C15. Positions count by their top 48 bits. A member's points
    /// depend on its own name and weight and on the seed only, so that nothing moves between unchanged members.
    Xxh3,
    /// twemproxy's `ketama`, bit for bit, with one of its key hashes. Takes neither `points` nor `seed`.
    Ketama(KeyHash),
    /// twemproxy's `modula`, bit for bit, with one of its key hashes. Takes neither `points` nor `seed`.
    Modula(KeyHash),
    /// Envoy's `RING_HASH` with `XX_HASH` points. `points` is the minimum ring size; takes no `seed`.
    EnvoyRing,
    /// Envoy's `RING_HASH` with `MURMUR_HASH_2` points; otherwise like [`Placement::EnvoyRing`].
    EnvoyRingMurmur,
}

impl Placement {
    /// The name in configuration files: `xxh3`, `ketama`, `modula`, `envoy_ring` or `envoy_ring_murmur`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Xxh3 => "xxh3",
            Self::Ketama(_) => "ketama",
            Self::Modula(_) => "modula",
            Self::EnvoyRing => "envoy_ring",
            Self::EnvoyRingMurmur => "envoy_ring_murmur",
        }
    }

    /// The chosen key hash, where the placement lets one be chosen.
    #[must_use]
    pub const fn key_hash(&self) -> Option<KeyHash> {
        match self {
            Self::Ketama(hash) | Self::Modula(hash) => Some(*hash),
            Self::Xxh3 | Self::EnvoyRing | Self::EnvoyRingMurmur => None,
        }
    }

    /// The placement of this name. `ketama` and `modula` without a key hash take twemproxy's default, `fnv1a_64`.
    ///
    /// # Errors
    /// [`RingError::Placement`] for an unknown name, [`RingError::FixedKeyHash`] if a key hash is given to a placement
    /// that has its own.
    pub fn from_name(name: &str, key_hash: Option<KeyHash>) -> Result<Self, RingError> {
        let placement = match name {
            "xxh3" => Self::Xxh3,
            "ketama" => Self::Ketama(key_hash.unwrap_or(KeyHash::Fnv1a64)),
            "modula" => Self::Modula(key_hash.unwrap_or(KeyHash::Fnv1a64)),
            "envoy_ring" => Self::EnvoyRing,
            "envoy_ring_murmur" => Self::EnvoyRingMurmur,
            _ => return Err(RingError::Placement(name.into())),
        };
        match (key_hash, placement.key_hash()) {
            (Some(_), None) => Err(RingError::FixedKeyHash(placement.name())),
            _ => Ok(placement),
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Everything but the members that decides who owns a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// How points and keys are placed.
    pub placement: Placement,
    /// `xxh3`: points per unit of weight, never a share of a total. `envoy_ring`: the minimum ring size. `ketama` and
    /// `modula` do not look at it, twemproxy's numbers are fixed.
    pub points: u32,
    /// Part of the `xxh3` placement: another seed is another set of points. The other placements do not look at it.
    pub seed: u64,
    /// The characters around the part of a key that is hashed instead of the whole; `None` hashes all of every key.
    pub hash_tag: Option<HashTag>,
}

impl Default for RingConfig {
    /// `xxh3` with 1024 points, seed 0 and the hash tag `{}`.
    fn default() -> Self {
        Self { placement: Placement::Xxh3, points: 1024, seed: 0, hash_tag: Some(HashTag::BRACES) }
    }
}

/// A node on the ring: the name that is hashed, and its weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Stable and unique; it alone places the node, so that a new address moves no keys.
    pub name: String,
    /// The node's part of the keys, in proportion to the weights of the others: 1 to [`MAX_WEIGHT`].
    pub weight: u32,
}

impl Member {
    /// A member of this name and weight.
    #[must_use]
    pub fn new(name: impl Into<String>, weight: u32) -> Self {
        Self { name: name.into(), weight }
    }
}
