//! The reply of RESP2 to a read whose reply in RESP3 is known.
//!
//! Only for the reads whose answers are kept ([`crate::command::Command::kept`]): maps and sets are arrays in RESP2, doubles
//! strings, null is a null string, and members with their scores, which are pairs in arrays of their own, stand one after
//! the other. A test holds each of these commands against a real server in both protocols.

use crate::resp::encode;
use crate::resp::reply::reply_len;
use crate::resp::request::parse_number;

/// The reply in RESP2. `None` for what this module does not know.
pub(super) fn resp2(reply: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(reply.len());
    match inside(reply) {
        Some((count, rest)) => {
            let mut elements = Vec::with_capacity(reply.len());
            let (len, rest) = flat(rest, count, &mut elements)?;
            rest.is_empty().then_some(())?;
            encode::array(&mut out, len);
            out.extend_from_slice(&elements);
        }
        None => scalar(reply, &mut out)?,
    }
    Some(out)
}

/// Writes `count` elements, and of arrays among them what they hold; how many that makes, and what follows them.
fn flat<'a>(mut rest: &'a [u8], count: usize, out: &mut Vec<u8>) -> Option<(usize, &'a [u8])> {
    let mut len = 0;
    for _ in 0..count {
        match inside(rest) {
            Some((pair, inner)) => {
                let mut inner = inner;
                for _ in 0..pair {
                    inner = element(inner, out)?;
                }
                len += pair;
                rest = inner;
            }
            None => {
                rest = element(rest, out)?;
                len += 1;
            }
        }
    }
    Some((len, rest))
}

/// Writes one value that holds no others; what follows it.
fn element<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (this, after) = rest.split_at_checked(reply_len(rest)?)?;
    scalar(this, out)?;
    Some(after)
}

fn scalar(reply: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match reply.first()? {
        b'$' | b':' | b'+' => out.extend_from_slice(reply),
        b'_' => out.extend_from_slice(b"$-1\r\n"),
        b',' => encode::bulk(out, reply.get(1..)?.strip_suffix(b"\r\n")?),
        _ => return None,
    }
    Some(())
}

/// How many values an array, a set or a map holds, and all that follows its first line; `None` for anything else.
fn inside(reply: &[u8]) -> Option<(usize, &[u8])> {
    let (kind, rest) = reply.split_first().filter(|(kind, _)| matches!(kind, b'*' | b'~' | b'%'))?;
    let end = memchr::memchr(b'\r', rest)?;
    let count = usize::try_from(parse_number(&rest[..end])?).ok()?;
    let count = if *kind == b'%' { count.checked_mul(2)? } else { count };
    Some((count, rest.get(end + 2..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_reply_is_what_resp2_has_for_it() {
        for (newer, older) in [
            (&b"$5\r\nhe\r\no\r\n"[..], &b"$5\r\nhe\r\no\r\n"[..]),
            (b"_\r\n", b"$-1\r\n"),
            (b":7\r\n", b":7\r\n"),
            (b"+string\r\n", b"+string\r\n"),
            (b",1.5\r\n", b"$3\r\n1.5\r\n"),
            (b",inf\r\n", b"$3\r\ninf\r\n"),
            (b"*2\r\n$1\r\na\r\n_\r\n", b"*2\r\n$1\r\na\r\n$-1\r\n"),
            (b"%1\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
            (b"~1\r\n$1\r\na\r\n", b"*1\r\n$1\r\na\r\n"),
            (b"*0\r\n", b"*0\r\n"),
            (b"%0\r\n", b"*0\r\n"),
            (b"*1\r\n*2\r\n$1\r\na\r\n,2\r\n", b"*2\r\n$1\r\na\r\n$1\r\n2\r\n"),
        ] {
            assert_eq!(resp2(newer).as_deref(), Some(older), "{}", newer.escape_ascii());
        }
        for unknown in
            [&b"#t\r\n"[..], b"=5\r\ntxt:a\r\n", b"*2\r\n$1\r\na\r\n", b"*1\r\n*1\r\n*0\r\n", b"", b"*"]
        {
            assert_eq!(resp2(unknown), None, "{}", unknown.escape_ascii());
        }
    }
}
