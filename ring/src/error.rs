//! What can be wrong with a ring's description.
//!
//! Every message says what is wrong, where, and how to mend it, so that a caller can print it as it is. A ring that was
//! built cannot fail any more: look-ups and diffs return no errors.

use alloc::string::String;
use core::fmt::{self, Write as _};

use crate::config::{MAX_MEMBERS, MAX_POINTS, MAX_WEIGHT};

/// Why a ring, or a part of its description, was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RingError {
    /// The list of members is empty.
    NoMembers,
    /// The member at this place of the list (from 0) has an empty name.
    EmptyName(usize),
    /// Two members have this name.
    DuplicateName(String),
    /// A member's weight lies outside 1 to [`MAX_WEIGHT`].
    Weight {
        /// The member's name.
        name: String,
        /// The weight that was given.
        weight: u32,
    },
    /// More than [`MAX_MEMBERS`] members; holds their number.
    TooManyMembers(usize),
    /// More than [`MAX_POINTS`] points (for modula: slots) in all; holds their number.
    TooManyPoints(u64),
    /// `points` is 0.
    ZeroPoints,
    /// The hash tag is neither empty nor two ASCII characters; holds what was given.
    HashTag(String),
    /// No key hash has this name.
    KeyHash(String),
    /// No placement has this name.
    Placement(String),
    /// This placement has its own key hash; another cannot be chosen.
    FixedKeyHash(&'static str),
    /// This placement takes no seed, so that there is none to search.
    SeedUnused(&'static str),
}

/// Text from outside as it may stand in a message: on one line, and cut when it is long.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 60;
        for (at, letter) in self.0.chars().enumerate() {
            match letter {
                _ if at == LONGEST => return f.write_char('…'),
                _ if letter.is_control() => write!(f, "{}", letter.escape_debug())?,
                _ => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMembers => write!(f, "the ring has no nodes: name at least one"),
            Self::EmptyName(place) => {
                write!(f, "node number {} has an empty name: give it a stable, unique one", place + 1)
            }
            Self::DuplicateName(name) => {
                let name = Shown(name);
                write!(f, "two nodes are named '{name}': rename one, the name decides which keys a node owns")
            }
            Self::Weight { name, weight } => {
                let name = Shown(name);
                write!(f, "node '{name}' has weight {weight}: use a whole number from 1 to {MAX_WEIGHT}")
            }
            Self::TooManyMembers(count) => {
                write!(f, "the ring has {count} nodes: at most {MAX_MEMBERS} are possible")
            }
            Self::TooManyPoints(count) => {
                write!(
                    f,
                    "the ring would have {count} points: lower `points` or the weights, at most {MAX_POINTS} fit"
                )
            }
            Self::ZeroPoints => write!(f, "`points` is 0: use at least 1, 1024 balances well"),
            Self::HashTag(text) => {
                let text = Shown(text);
                write!(f, "hash tag '{text}' is not two ASCII characters: write \"{{}}\", or \"\" for none")
            }
            Self::KeyHash(name) => {
                write!(f, "unknown key hash '{}': use one of {}", Shown(name), crate::hash::NAMES)
            }
            Self::Placement(name) => {
                let name = Shown(name);
                write!(
                    f,
                    "unknown placement '{name}': use xxh3, ketama, modula, envoy_ring or envoy_ring_murmur"
                )
            }
            Self::FixedKeyHash(placement) => {
                write!(
                    f,
                    "placement {placement} has its own key hash: leave `key_hash` out, it is for ketama and modula"
                )
            }
            Self::SeedUnused(placement) => {
                write!(f, "placement {placement} takes no seed: only xxh3 can be balanced by choosing one")
            }
        }
    }
}

impl core::error::Error for RingError {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn what_comes_from_outside_stays_on_one_line_and_short() {
        let text = RingError::KeyHash("a\nb\r\u{7f}é'".into()).to_string();
        assert!(text.starts_with("unknown key hash 'a\\nb\\r\\u{7f}é'': "), "{text}");
        let text = RingError::Placement("x".repeat(5000)).to_string();
        assert!(text.len() < 200 && text.contains("xx…'"), "{text}");
    }
}
