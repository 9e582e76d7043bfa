//! Encoding of replies and requests into a byte buffer, in RESP2 or RESP3.

use super::Protocol;

/// Appends a decimal number.
pub fn decimal(out: &mut Vec<u8>, number: i64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

fn header(out: &mut Vec<u8>, kind: u8, number: i64) {
    out.push(kind);
    decimal(out, number);
    out.extend_from_slice(b"\r\n");
}

/// `+text`; the caller guarantees that `text` holds no line break.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    out.push(b'+');
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `-text`, with every line break in it replaced by a space, so that no peer's text can forge a reply.
pub fn error(out: &mut Vec<u8>, text: &str) {
    error_bytes(out, text.as_bytes());
}

/// [`error`] for a text that echoes bytes as they came.
pub fn error_bytes(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'-');
    out.extend(text.iter().map(|&byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

/// `:number`.
pub fn integer(out: &mut Vec<u8>, number: i64) {
    header(out, b':', number);
}

/// A request of these words.
pub fn request(out: &mut Vec<u8>, words: &[impl AsRef<[u8]>]) {
    array(out, words.len());
    words.iter().for_each(|word| bulk(out, word.as_ref()));
}

/// A bulk string, also one argument of a request.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', bytes.len() as i64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// The head of an array with `len` elements to follow; also the head of a request.
pub fn array(out: &mut Vec<u8>, len: usize) {
    header(out, b'*', len as i64);
}

/// The head of a message out of order, with `len` elements to follow: `>` in RESP3, an array in RESP2.
pub fn push(out: &mut Vec<u8>, protocol: Protocol, len: usize) {
    match protocol {
        Protocol::Resp2 => header(out, b'*', len as i64),
        Protocol::Resp3 => header(out, b'>', len as i64),
    }
}

/// The head of a map with `pairs` pairs to follow: `%` in RESP3, a flat array in RESP2.
pub fn map(out: &mut Vec<u8>, protocol: Protocol, pairs: usize) {
    match protocol {
        Protocol::Resp2 => header(out, b'*', 2 * pairs as i64),
        Protocol::Resp3 => header(out, b'%', pairs as i64),
    }
}

/// The head of a set: `~` in RESP3, an array in RESP2.
pub fn set(out: &mut Vec<u8>, protocol: Protocol, len: usize) {
    match protocol {
        Protocol::Resp2 => header(out, b'*', len as i64),
        Protocol::Resp3 => header(out, b'~', len as i64),
    }
}

/// A missing value: `_` in RESP3, `$-1` in RESP2.
pub fn null(out: &mut Vec<u8>, protocol: Protocol) {
    out.extend_from_slice(match protocol {
        Protocol::Resp2 => b"$-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    });
}

/// Appends a number with a fraction, or its digits in RESP2.
pub fn double(out: &mut Vec<u8>, protocol: Protocol, value: f64) {
    match protocol {
        Protocol::Resp2 => bulk(out, value.to_string().as_bytes()),
        Protocol::Resp3 => out.extend_from_slice(format!(",{value}\r\n").as_bytes()),
    }
}

/// A text made for people: a verbatim string in RESP3 (as Redis answers `INFO`), a bulk string in RESP2.
pub fn verbatim(out: &mut Vec<u8>, protocol: Protocol, text: &str) {
    match protocol {
        Protocol::Resp2 => bulk(out, text.as_bytes()),
        Protocol::Resp3 => {
            header(out, b'=', text.len() as i64 + 4);
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}
