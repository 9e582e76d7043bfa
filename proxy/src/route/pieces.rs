//! Taking replies of nodes apart: what a list or a map holds, what a text says.

use crate::resp::reply;

/// The elements of a list or set, or the names and values of a map in turn, each as its bytes; `None` when it is none
/// of them.
pub(super) fn inside(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let each = match bytes.first()? {
        b'*' | b'~' => 1,
        b'%' => 2,
        _ => return None,
    };
    let end = memchr::memchr(b'\r', bytes)?;
    let count: usize = std::str::from_utf8(bytes.get(1..end)?).ok()?.parse().ok()?;
    let mut rest = bytes.get(end + 2..)?;
    let mut found = Vec::new();
    for _ in 0..count.checked_mul(each)? {
        let (element, after) = rest.split_at(reply::reply_len(rest)?);
        found.push(element);
        rest = after;
    }
    rest.is_empty().then_some(found)
}

/// A map, or what RESP2 has for one: names and values.
pub(super) fn pairs(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let all = inside(bytes)?;
    let pairs = all.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| (pair[0], pair[1])).collect())
}

/// The bytes of a string of any kind.
pub(super) fn text(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.split_first()? {
        (b'$', _) => reply::bulk(bytes),
        (b'+' | b',', line) => line.strip_suffix(b"\r\n"),
        (b'=', rest) => {
            let head = memchr::memchr(b'\n', rest)? + 1;
            // behind the head stands the kind of text in three letters and a colon
            rest.get(head + 4..)?.strip_suffix(b"\r\n")
        }
        _ => None,
    }
}

/// Whether a reply is a map of RESP3, so that one made of it is one as well.
pub(super) fn is_map(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_maps_are_taken_apart_and_nothing_else_is() {
        assert_eq!(inside(b"*2\r\n:1\r\n*1\r\n+a\r\n"), Some(vec![&b":1\r\n"[..], b"*1\r\n+a\r\n"]));
        for map in [&b"%1\r\n$1\r\nk\r\n,1.5\r\n"[..], b"*2\r\n$1\r\nk\r\n,1.5\r\n"] {
            assert_eq!(pairs(map), Some(vec![(&b"$1\r\nk\r\n"[..], &b",1.5\r\n"[..])]));
        }
        for none in [&b"$1\r\na\r\n"[..], b"*1\r\n", b"*1\r\n:1\r\n:2\r\n", b"*-1\r\n", b"*", b"", b":1\r\n"]
        {
            assert_eq!(inside(none), None, "{none:?}");
        }
        assert_eq!(pairs(b"*1\r\n:1\r\n"), None);
        assert_eq!(inside(b"%9223372036854775807\r\n"), None);
    }

    #[test]
    fn texts_of_every_kind_are_read() {
        for reply in [&b"$3\r\nabc\r\n"[..], b"+abc\r\n", b"=7\r\ntxt:abc\r\n", b",abc\r\n"] {
            assert_eq!(text(reply), Some(&b"abc"[..]), "{reply:?}");
        }
        for none in [&b""[..], b":1\r\n", b"$-1\r\n", b"=", b"=3\r\nab\r\n"] {
            assert_eq!(text(none), None, "{none:?}");
        }
    }
}
