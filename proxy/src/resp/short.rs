//! Lines with a number, read where they lie and without a search for their end. Nearly all counts and lengths have one or
//! two digits, and a line of these two kinds is compared as one word.

/// The number on the line `<kind><number>CRLF` that begins at `at`, and where the next line begins. `None` when the line
/// is anything else: not whole, another kind, a sign, a leading zero, more than nine digits. Somebody slower says what it is.
#[inline]
pub(super) fn number(buffer: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let rest = buffer.get(at..)?;
    let word = u32::from_le_bytes(*rest.first_chunk()?);
    let digit = |byte: u32| usize::from(((word >> (8 * byte)) as u8).wrapping_sub(b'0'));
    let (first, second) = (digit(1), digit(2));
    // `$7` CR LF
    if word & 0xffff_00ff == u32::from_le_bytes([kind, 0, b'\r', b'\n']) {
        return (first <= 9).then_some((first, at + 4));
    }
    // `$64` CR, and LF behind the word
    if word & 0xff00_00ff == u32::from_le_bytes([kind, 0, 0, b'\r']) {
        let is_number = (1..=9).contains(&first) && second <= 9 && rest.get(4) == Some(&b'\n');
        return is_number.then_some((first * 10 + second, at + 5));
    }
    let (value, len) = longer(rest, kind)?;
    Some((value, at + len))
}

/// [`number`] for three digits and more; with the length of the line.
#[inline(never)]
fn longer(line: &[u8], kind: u8) -> Option<(usize, usize)> {
    const DIGITS: usize = 9;
    let (&first, rest) = line.split_first()?;
    if first != kind || !matches!(rest.first(), Some(b'1'..=b'9')) {
        return None;
    }
    let mut value = 0;
    for (at, &byte) in rest.iter().take(DIGITS + 1).enumerate() {
        match byte {
            b'0'..=b'9' if at < DIGITS => value = value * 10 + usize::from(byte - b'0'),
            b'\r' => return (rest.get(at + 1) == Some(&b'\n')).then_some((value, at + 3)),
            _ => return None,
        }
    }
    None
}

/// Where the string of `len` bytes that begins at `start` ends, if it and its line break are there.
#[inline]
pub(super) fn end_of_string(buffer: &[u8], start: usize, len: usize) -> Option<usize> {
    let end = start + len;
    (buffer.get(end..end + 2)? == b"\r\n").then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::request::parse_number;

    #[test]
    fn a_number_is_what_the_slower_way_says_that_it_is_or_is_left_to_it() {
        for value in (0..1200).chain([9_999, 65_536, 1_048_576, 536_870_912, 999_999_999]) {
            let line = format!("xx${value}\r\n");
            assert_eq!(number(line.as_bytes(), 2, b'$'), Some((value, line.len())), "{line:?}");
            assert_eq!(number(line.as_bytes(), 2, b'*'), None);
            for cut in 2..line.len() {
                assert_eq!(number(&line.as_bytes()[..cut], 2, b'$'), None, "{line:?} cut at {cut}");
            }
        }
        for other in
            ["-1", "01", "007", "+1", "", "1 ", " 1", "1x", "x1", "1234567890", "0x10", "\r", "1\n", ":", "/"]
        {
            assert_eq!(number(format!("${other}\r\n$").as_bytes(), 0, b'$'), None, "{other:?}");
            assert!(other.len() == 10 || other == "-1" || parse_number(other.as_bytes()).is_none());
        }
        assert_eq!(number(b"$1\n\r", 0, b'$'), None);
        assert_eq!(number(b"$12\r\r", 0, b'$'), None);
        assert_eq!(number(b"$123\r\r", 0, b'$'), None);
        assert_eq!(number(b"", 0, b'$'), None);
        assert_eq!(number(b"$1\r\n", 9, b'$'), None);
    }

    #[test]
    fn every_line_of_few_bytes_is_read_as_the_slower_way_reads_it() {
        // all lines of up to two bytes between kind and line break
        for a in 0..=255u8 {
            let one = [b'$', a, b'\r', b'\n', b'?'];
            assert_eq!(number(&one, 0, b'$').map(|(value, _)| value as i64), parse_number(&[a]), "{one:?}");
            for b in 0..=255u8 {
                let two = [b'$', a, b, b'\r', b'\n'];
                let slow = parse_number(&[a, b]).filter(|value| *value >= 0);
                assert_eq!(number(&two, 0, b'$').map(|(value, _)| value as i64), slow, "{two:?}");
            }
        }
    }
}
