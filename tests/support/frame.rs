//! RESP as far as tests need it, written apart from the product's scanner so that neither hides the other's mistakes.

/// A command as an array of bulk strings.
pub(crate) fn bulk_request(args: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend(bulk(arg.as_ref()));
    }
    out
}

/// A bulk string.
pub(crate) fn bulk(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("${}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}

/// An array of bulk strings, `None` as RESP2's nil.
pub(crate) fn bulk_array(elements: &[Option<Vec<u8>>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", elements.len()).into_bytes();
    for element in elements {
        match element {
            Some(bytes) => out.extend(bulk(bytes)),
            None => out.extend_from_slice(b"$-1\r\n"),
        }
    }
    out
}

/// Length of the whole reply at the start of `bytes`, RESP2 or RESP3; `None` while it is incomplete.
///
/// Walks without recursion, so that depth is no matter.
pub(crate) fn reply_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut values_left = 1u64;
    while values_left > 0 {
        values_left -= 1;
        let line_end = at + bytes[at..].windows(2).position(|pair| pair == b"\r\n")?;
        let number = || -> i64 {
            let text = std::str::from_utf8(&bytes[at + 1..line_end]).expect("a length in digits");
            text.parse().unwrap_or_else(|_| panic!("'{text}' is no length"))
        };
        let kind = bytes[at];
        let next = line_end + 2;
        at = match kind {
            b'$' | b'=' | b'!' => match usize::try_from(number()) {
                Ok(len) => next + len + 2,
                Err(_) => next,
            },
            b'*' | b'~' | b'>' => {
                values_left += u64::try_from(number()).unwrap_or(0);
                next
            }
            b'%' => {
                values_left += 2 * u64::try_from(number()).unwrap_or(0);
                next
            }
            // an attribute is no value of its own: its pairs and then the value it stands before
            b'|' => {
                values_left += 2 * u64::try_from(number()).unwrap_or(0) + 1;
                next
            }
            b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' => next,
            other => panic!("no reply begins with {:?}: {:?}", char::from(other), &bytes[at..line_end]),
        };
        if at > bytes.len() {
            return None;
        }
    }
    Some(at)
}

/// The first whole command (array of bulk strings) in `bytes`: its arguments and length.
pub(crate) fn parse_command(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let line = |at: usize| -> Option<(usize, usize)> {
        let end = at + bytes.get(at..)?.windows(2).position(|pair| pair == b"\r\n")?;
        let text = std::str::from_utf8(&bytes[at + 1..end]).expect("a length in digits");
        Some((text.parse().expect("a length"), end + 2))
    };
    assert!(bytes.first().is_none_or(|&byte| byte == b'*'), "the proxy sends commands as arrays: {bytes:?}");
    let (count, mut at) = line(0)?;
    let mut args = Vec::new();
    for _ in 0..count {
        let (len, start) = line(at)?;
        args.push(bytes.get(start..start + len)?.to_vec());
        at = start + len + 2;
    }
    (at <= bytes.len()).then_some((args, at))
}

#[test]
fn replies_are_measured_whole() {
    for reply in [
        "+OK\r\n",
        "$-1\r\n",
        "$3\r\na\r\n\r\n",
        "*2\r\n:1\r\n*1\r\n_\r\n",
        "%1\r\n+a\r\n~1\r\n,1.5\r\n",
        "*0\r\n",
    ] {
        let bytes = reply.as_bytes();
        assert_eq!(reply_len(&[bytes, b"+more"].concat()), Some(bytes.len()), "{reply:?}");
        for cut in 1..bytes.len() {
            assert_eq!(reply_len(&bytes[..cut]), None, "{reply:?} cut at {cut}");
        }
    }
}
