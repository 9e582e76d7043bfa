//! What FUNCTION DUMP writes and FUNCTION RESTORE reads: libraries in the form of an RDB file.
//!
//! ```text
//!   F5 <length><code>   F5 <length><code>   …   <version: 2 bytes><checksum: 8 bytes>
//! ```
//! Lengths and compressed strings are those of RDB. The nodes have checked the checksum before anything is read here.

/// `RDB_OPCODE_FUNCTION2`, the form of every release since 7.0.0.
const LIBRARY: u8 = 0xF5;
/// Version and checksum.
const TRAILER_BYTES: usize = 10;
/// A longer library is not kept anyway.
const MOST_BYTES: usize = crate::limits::SCRIPT_BYTES;

/// The code of each library; `None` when this is another form.
pub(super) fn libraries(payload: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = payload.get(..payload.len().checked_sub(TRAILER_BYTES)?)?;
    let mut found = Vec::new();
    while let Some((kind, after)) = rest.split_first() {
        if *kind != LIBRARY {
            return None;
        }
        let (code, after) = string(after)?;
        found.push(code);
        rest = after;
    }
    Some(found)
}

/// A length, or what stands in its place: the six low bits of an encoding.
enum Length {
    Plain(usize),
    Encoded(u8),
}

fn length(bytes: &[u8]) -> Option<(Length, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let low = first & 0x3f;
    match (first >> 6, *first) {
        (0, _) => Some((Length::Plain(usize::from(low)), rest)),
        (1, _) => {
            let (second, rest) = rest.split_first()?;
            Some((Length::Plain(usize::from(low) << 8 | usize::from(*second)), rest))
        }
        (2, 0x80) => {
            let (length, rest) = rest.split_first_chunk()?;
            Some((Length::Plain(u32::from_be_bytes(*length) as usize), rest))
        }
        (2, 0x81) => {
            let (length, rest) = rest.split_first_chunk()?;
            Some((Length::Plain(usize::try_from(u64::from_be_bytes(*length)).ok()?), rest))
        }
        (3, _) => Some((Length::Encoded(low), rest)),
        _ => None,
    }
}

fn string(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    const LZF: u8 = 3;
    let plain = |bytes| match length(bytes)? {
        (Length::Plain(len), rest) => Some((len, rest)),
        (Length::Encoded(_), _) => None,
    };
    match length(bytes)? {
        (Length::Plain(len), rest) => {
            let (text, rest) = rest.split_at_checked(len)?;
            Some((text.to_vec(), rest))
        }
        (Length::Encoded(LZF), rest) => {
            let (packed, rest) = plain(rest)?;
            let (len, rest) = plain(rest)?;
            let (packed, rest) = rest.split_at_checked(packed)?;
            Some((unpack(packed, len)?, rest))
        }
        // the others are integers, which no code is
        (Length::Encoded(_), _) => None,
    }
}

/// LZF: a byte below 32 announces one more bytes than it says as they are, any other a copy of earlier ones.
fn unpack(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut bytes = packed.iter().copied();
    while let Some(control) = bytes.next() {
        let count = usize::from(control >> 5);
        if count == 0 {
            for _ in 0..=control {
                out.push(bytes.next()?);
            }
        } else {
            let count = 2 + if count == 7 { 7 + usize::from(bytes.next()?) } else { count };
            let back = 1 + (usize::from(control & 0x1f) << 8 | usize::from(bytes.next()?));
            let from = out.len().checked_sub(back)?;
            // source and target may overlap: what was just copied is copied again
            for at in from..from + count {
                out.push(*out.get(at)?);
            }
        }
        if out.len() > len.min(MOST_BYTES) {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A payload of these bodies behind their opcode; nobody looks at version and checksum.
    fn payload(bodies: &[&[u8]]) -> Vec<u8> {
        let mut bytes: Vec<u8> = bodies.iter().flat_map(|body| [&[LIBRARY], *body].concat()).collect();
        bytes.extend_from_slice(&[10, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        bytes
    }

    #[test]
    fn strings_of_every_length_are_read() {
        let long = vec![b'x'; 300];
        let bodies: [Vec<u8>; 4] = [
            b"\x03abc".to_vec(),
            [&[0x41, 0x2c], long.as_slice()].concat(),
            b"\x80\0\0\0\x02de".to_vec(),
            b"\x81\0\0\0\0\0\0\0\x01f".to_vec(),
        ];
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let found = libraries(&payload(&bodies)).unwrap();
        assert_eq!(found, [b"abc".to_vec(), long, b"de".to_vec(), b"f".to_vec()]);
        assert_eq!(libraries(&payload(&[])), Some(Vec::new()));
    }

    #[test]
    fn compressed_strings_are_unpacked() {
        // "ab", then ten bytes from two back: the last two again and again
        assert_eq!(unpack(b"\x01ab\xe0\x01\x01", 12), Some(b"abababababab".to_vec()));
        assert_eq!(unpack(b"\x00a\x40\x00", 5), Some(b"aaaaa".to_vec()));
        assert_eq!(libraries(&payload(&[b"\xc3\x04\x05\x00a\x40\x00"])), Some(vec![b"aaaaa".to_vec()]));
    }

    #[test]
    fn what_is_broken_or_of_another_form_is_nothing() {
        let whole = payload(&[b"\xc3\x04\x05\x00a\x40\x00"]);
        for cut in 1..whole.len() - TRAILER_BYTES {
            let bytes = [&whole[..cut], &whole[whole.len() - TRAILER_BYTES..]].concat();
            assert_eq!(libraries(&bytes), None, "cut at {cut}");
        }
        for bad in [&b""[..], b"123456789", &payload(&[b"\xc0\x07"]), &payload(&[b"\x82\x00"])] {
            assert_eq!(libraries(bad), None, "{bad:?}");
        }
        assert_eq!(unpack(b"\x40\x00", 4), None);
        assert_eq!(unpack(b"\x00a\x40\x00", 4), None);
        assert_eq!(unpack(b"\x00a", 2), None);
    }
}
