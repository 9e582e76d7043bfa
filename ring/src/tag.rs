//! Hash tags: the part of a key between two marks is hashed instead of the whole, so that keys which share it share
//! their node.
//!
//! ```text
//!   {user:7}:cart      hashes  user:7
//!   a{}b{c}            hashes  a{}b{c}   (nothing between the first pair, and there is no second try)
//! ```
//!
//! For `{}` this is the rule of the Redis Cluster specification ("Hash tags"); twemproxy's rule for any other two
//! characters is the same. Most keys have no tag, so the test for the opening mark looks at 16 bytes at once: plain
//! loops over arrays that compilers turn into vector compares.

use core::fmt;

use crate::error::RingError;

/// The opening and the closing mark of a hash tag. They may be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HashTag {
    open: u8,
    close: u8,
}

impl HashTag {
    /// `{}`, the marks of Redis Cluster.
    pub const BRACES: Self = Self { open: b'{', close: b'}' };

    /// Reads the two marks as they stand in a configuration: `"{}"`; an empty text means no hash tags.
    ///
    /// # Errors
    /// [`RingError::HashTag`] if the text is neither empty nor two ASCII characters.
    pub fn parse(text: &str) -> Result<Option<Self>, RingError> {
        match *text.as_bytes() {
            [] => Ok(None),
            [open, close] if text.is_ascii() => Ok(Some(Self { open, close })),
            _ => Err(RingError::HashTag(text.into())),
        }
    }

    /// The opening mark.
    #[must_use]
    pub const fn open(&self) -> u8 {
        self.open
    }

    /// The closing mark.
    #[must_use]
    pub const fn close(&self) -> u8 {
        self.close
    }

    /// The bytes between the first opening mark and the first closing mark after it, if at least one byte lies there;
    /// else the whole key.
    #[must_use]
    #[inline]
    pub fn hashed_part<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        if contains(key, self.open) { self.between(key) } else { key }
    }

    #[inline(never)]
    fn between<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        let Some(open) = key.iter().position(|&byte| byte == self.open) else { return key };
        let rest = &key[open + 1..];
        match rest.iter().position(|&byte| byte == self.close) {
            None | Some(0) => key,
            Some(end) => &rest[..end],
        }
    }
}

impl fmt::Display for HashTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", char::from(self.open), char::from(self.close))
    }
}

/// Whether the byte occurs. Blocks that may overlap cover the usual lengths without a loop. The border lies at 32
/// because XXH3 has one there too, so that a processor has to guess it only once for both.
#[inline]
fn contains(key: &[u8], byte: u8) -> bool {
    if let (Some(first), Some(last), ..=32) = (key.first_chunk(), key.last_chunk(), key.len()) {
        return blocks_contain([first, last], byte);
    }
    if let (Some(first), Some(last), ..=64) = (key.first_chunk(), key.last_chunk(), key.len()) {
        return pairs_contain([first, last], byte);
    }
    rarely_contains(key, byte)
}

#[inline]
fn pairs_contain(pairs: [&[u8; 32]; 2], byte: u8) -> bool {
    let [[a, b], [c, d]] = pairs.map(|pair| pair.as_chunks::<16>().0).map(|halves| [&halves[0], &halves[1]]);
    blocks_contain([a, b, c, d], byte)
}

/// Written so that it compiles to one compare per block and one test at the end.
#[inline]
fn blocks_contain<const N: usize>(blocks: [&[u8; 16]; N], byte: u8) -> bool {
    let mut found = [0_u8; 16];
    for block in blocks {
        for (found, &other) in found.iter_mut().zip(block) {
            *found |= if other == byte { 0xff } else { 0 };
        }
    }
    u128::from_ne_bytes(found) != 0
}

/// For keys shorter than 16 bytes, whose search is short, and longer than 64, where it is worth its loop.
fn rarely_contains(key: &[u8], byte: u8) -> bool {
    let (blocks, rest) = key.as_chunks::<16>();
    blocks.iter().any(|block| blocks_contain([block], byte)) || rest.contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    fn braces(key: &str) -> &str {
        core::str::from_utf8(HashTag::BRACES.hashed_part(key.as_bytes())).unwrap()
    }

    #[test]
    fn the_rule_of_redis_cluster() {
        assert_eq!(braces("{user1000}.following"), "user1000");
        assert_eq!(braces("foo{}{bar}"), "foo{}{bar}");
        assert_eq!(braces("foo{{bar}}zap"), "{bar");
        assert_eq!(braces("foo{bar}{zap}"), "bar");
        assert_eq!(braces("}{a"), "}{a");
        assert_eq!(braces("}{a}"), "a");
        assert_eq!(braces(""), "");
    }

    #[test]
    fn other_marks_even_equal_ones() {
        let dollars = HashTag::parse("$$").unwrap().unwrap();
        assert_eq!(dollars.hashed_part(b"a$b$c"), b"b");
        assert_eq!(dollars.hashed_part(b"a$$b$"), b"a$$b$");
        assert_eq!(dollars.to_string(), "$$");
        assert_eq!(HashTag::parse(""), Ok(None));
        for wrong in ["{", "{}}", "\u{e9}", "«»"] {
            assert_eq!(HashTag::parse(wrong), Err(RingError::HashTag(wrong.into())));
        }
    }

    #[test]
    fn a_mark_is_found_at_every_place_of_every_length() {
        for len in 0..100 {
            let mut key = vec![b'x'; len];
            assert!(!contains(&key, b'{'));
            for at in 0..len {
                key[at] = b'{';
                assert!(contains(&key, b'{'), "length {len}, place {at}");
                key[at] = b'x';
            }
        }
    }
}
