//! Whether two replies say the same, whatever the order of what they list.
//!
//! Servers list libraries and functions in the order of their hash tables, which differs from server to server.
//! Each reply is summed up in one number: strings by their hash, lists by the sum of what is in them.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::resp::reply;

/// Deeper replies are not compared; FUNCTION LIST nests five deep.
const DEPTH: usize = 16;

/// The same for two replies that differ only in the order of list elements; `None` when it is no whole reply, or one
/// that is too deep.
pub(super) fn summary(reply: &[u8]) -> Option<u64> {
    let (sum, rest) = summary_of_first(reply, DEPTH)?;
    rest.is_empty().then_some(sum)
}

/// Sums up the first reply in `bytes`; returns what follows it.
fn summary_of_first(bytes: &[u8], depth: usize) -> Option<(u64, &[u8])> {
    let inside = match bytes.first()? {
        b'*' | b'~' => 1,
        b'%' => 2,
        _ => {
            let (reply, rest) = bytes.split_at(reply::reply_len(bytes)?);
            return Some((xxh3_64(reply), rest));
        }
    };
    let depth = depth.checked_sub(1)?;
    let (head, mut rest) = bytes.split_at(memchr::memchr(b'\n', bytes)? + 1);
    let digits = head.get(1..)?.strip_suffix(b"\r\n")?;
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let mut sum = 0u64;
    for _ in 0..count.checked_mul(inside)? {
        let (element, after) = summary_of_first(rest, depth)?;
        // another hash than the element's own, or lists could be told from their concatenation by nothing
        sum = sum.wrapping_add(xxh3_64_with_seed(&element.to_le_bytes(), 1));
        rest = after;
    }
    Some((xxh3_64_with_seed(&sum.to_le_bytes(), xxh3_64(head)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_lists_does_not_count_and_everything_else_does() {
        let one = summary(b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n%1\r\n+k\r\n~2\r\n+x\r\n+y\r\n").unwrap();
        let other = b"*2\r\n*2\r\n%1\r\n+k\r\n~2\r\n+y\r\n+x\r\n:1\r\n$1\r\na\r\n";
        assert_eq!(summary(other), Some(one));
        for different in [
            &b"*2\r\n$1\r\nb\r\n*2\r\n:1\r\n%1\r\n+k\r\n~2\r\n+x\r\n+y\r\n"[..],
            b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n%1\r\n+k\r\n~1\r\n+x\r\n",
            b"*3\r\n$1\r\na\r\n:1\r\n%1\r\n+k\r\n~2\r\n+x\r\n+y\r\n",
            b"*0\r\n",
            b"*-1\r\n",
        ] {
            assert_ne!(summary(different), Some(one));
        }
        assert_ne!(summary(b"*1\r\n*1\r\n+x\r\n"), summary(b"*1\r\n+x\r\n"));
    }

    #[test]
    fn what_is_broken_or_too_deep_has_no_summary() {
        for bad in [&b""[..], b"*", b"*1\r\n", b"*1\r\n+x\r\n+y\r\n", b"*18446744073709551615\r\n+x\r\n"] {
            assert_eq!(summary(bad), None, "{bad:?}");
        }
        assert_eq!(summary(&b"*1\r\n".repeat(1_000_000)), None);
    }
}
