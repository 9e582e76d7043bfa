//! Hashes of keys: twemproxy's twelve by name, and what each placement uses.
//!
//! Every placement compares hashes with positions of one hash space, 0 to `last_hash`. Two rings can be compared
//! exactly if, and only if, they hash keys alike.

mod checksum;
mod classic;
mod murmur;

use core::fmt;
use core::str::FromStr;

use md5::{Digest, Md5};
use xxhash_rust::xxh3::xxh3_64;

pub(crate) use murmur::murmur64;

use crate::config::Placement;
use crate::error::RingError;

/// The names, for messages.
pub(crate) const NAMES: &str =
    "md5, crc16, crc32, crc32a, fnv1_64, fnv1a_64, fnv1_32, fnv1a_32, hsieh, murmur, jenkins, one_at_a_time";

/// twemproxy's key hashes, with every quirk of its build for x86-64: bytes from 0x80 on count as negative numbers
/// where its C code reads them as `char`. Names are those of its `hash:` setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyHash {
    /// `md5`: the first little-endian word of the digest (RFC 1321).
    Md5,
    /// `crc16`: CCITT polynomial 0x1021, its register never cut to 16 bits.
    Crc16,
    /// `crc32`: bits 16 to 30 of the CRC-32 only. With ketama every key falls to one server; twemproxy keeps it for
    /// compatibility, and so does this.
    Crc32,
    /// `crc32a`: the whole CRC-32.
    Crc32a,
    /// `fnv1_64`: the low word of FNV-1 with 64 bits.
    Fnv1_64,
    /// `fnv1a_64`, twemproxy's default: the low word of FNV-1a with 64 bits.
    Fnv1a64,
    /// `fnv1_32`.
    Fnv1_32,
    /// `fnv1a_32`.
    Fnv1a32,
    /// `hsieh`: SuperFastHash, begun with 0 instead of the length.
    Hsieh,
    /// `murmur`: MurmurHash2 with 32 bits, its seed made from the length.
    Murmur,
    /// `jenkins`: lookup3's `hashlittle`, initial value 13.
    Jenkins,
    /// `one_at_a_time`: Jenkins's short hash.
    OneAtATime,
}

impl KeyHash {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Md5,
        Self::Crc16,
        Self::Crc32,
        Self::Crc32a,
        Self::Fnv1_64,
        Self::Fnv1a64,
        Self::Fnv1_32,
        Self::Fnv1a32,
        Self::Hsieh,
        Self::Murmur,
        Self::Jenkins,
        Self::OneAtATime,
    ];

    /// twemproxy's name, such as `fnv1a_64`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Crc16 => "crc16",
            Self::Crc32 => "crc32",
            Self::Crc32a => "crc32a",
            Self::Fnv1_64 => "fnv1_64",
            Self::Fnv1a64 => "fnv1a_64",
            Self::Fnv1_32 => "fnv1_32",
            Self::Fnv1a32 => "fnv1a_32",
            Self::Hsieh => "hsieh",
            Self::Murmur => "murmur",
            Self::Jenkins => "jenkins",
            Self::OneAtATime => "one_at_a_time",
        }
    }

    /// The hash of these bytes. twemproxy does not hash an empty key: its hash is 0.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u32 {
        if key.is_empty() {
            return 0;
        }
        match self {
            Self::Md5 => md5(key),
            Self::Crc16 => checksum::crc16(key),
            Self::Crc32 => checksum::crc32(key),
            Self::Crc32a => checksum::crc32a(key),
            Self::Fnv1_64 => classic::fnv1_64(key),
            Self::Fnv1a64 => classic::fnv1a_64(key),
            Self::Fnv1_32 => classic::fnv1_32(key),
            Self::Fnv1a32 => classic::fnv1a_32(key),
            Self::Hsieh => classic::hsieh(key),
            Self::Murmur => murmur::murmur32(key),
            Self::Jenkins => classic::jenkins(key),
            Self::OneAtATime => classic::one_at_a_time(key),
        }
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyHash {
    type Err = RingError;

    fn from_str(name: &str) -> Result<Self, RingError> {
        let found = Self::ALL.into_iter().find(|hash| hash.name() == name);
        found.ok_or_else(|| RingError::KeyHash(name.into()))
    }
}

/// How a ring hashes keys, and so its hash space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyFunction {
    Xxh3,
    /// Envoy hashes keys so whatever makes its points.
    Murmur64,
    Twemproxy(KeyHash),
}

impl KeyFunction {
    pub(crate) fn of(placement: Placement) -> Self {
        match placement {
            Placement::Xxh3 => Self::Xxh3,
            Placement::Ketama(hash) | Placement::Modula(hash) => Self::Twemproxy(hash),
            Placement::EnvoyRing | Placement::EnvoyRingMurmur => Self::Murmur64,
        }
    }

    #[inline]
    pub(crate) fn hash(self, key: &[u8]) -> u64 {
        match self {
            Self::Xxh3 => xxh3_64(key),
            Self::Murmur64 => murmur64(key),
            Self::Twemproxy(hash) => hash.hash(key).into(),
        }
    }

    /// The greatest hash that can occur.
    pub(crate) fn last_hash(self) -> u64 {
        match self {
            Self::Xxh3 | Self::Murmur64 => u64::MAX,
            Self::Twemproxy(KeyHash::Crc32) => checksum::CRC32_MASK.into(),
            Self::Twemproxy(_) => u32::MAX.into(),
        }
    }

    /// The number of hashes that can occur.
    pub(crate) fn space(self) -> u128 {
        u128::from(self.last_hash()) + 1
    }
}

fn md5(key: &[u8]) -> u32 {
    let digest = Md5::digest(key);
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What nutcracker 0.5.0 computes for one key.
    #[test]
    fn known_hashes() {
        let known = [
            ("one_at_a_time", 0xa3ac_13e0),
            ("md5", 0xe4d4_6b12),
            ("crc16", 0xe164_5650),
            ("crc32", 0x6873),
            ("crc32a", 0xe873_2775),
            ("fnv1_64", 0xd39e_3d20),
            ("fnv1a_64", 0xae7b_40d6),
            ("fnv1_32", 0xa6af_fca0),
            ("fnv1a_32", 0x4f7c_1bf6),
            ("hsieh", 0xda3b_9063),
            ("murmur", 0x4ca4_7a0b),
            ("jenkins", 0x94a1_fb1a),
        ];
        for (name, hash) in known {
            assert_eq!(name.parse::<KeyHash>().unwrap().hash(b"user:1001"), hash, "{name}");
        }
    }

    #[test]
    fn names_are_listed_and_read_back() {
        for hash in KeyHash::ALL {
            assert_eq!(hash.name().parse(), Ok(hash));
            assert!(NAMES.split(", ").any(|name| name == hash.name()));
            assert_eq!(hash.hash(b""), 0);
        }
        assert_eq!("sha1".parse::<KeyHash>(), Err(RingError::KeyHash("sha1".into())));
    }
}
