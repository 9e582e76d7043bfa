//! Reads a node's answer: arrays of members, of members and scores, of pairs of both.
//!
//! An answer is whole when it comes here, so that its count of elements is true: each has its bytes.

use crate::resp::reply;

/// What is left to read of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    left: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// `None` when the answer is no array and no set.
    pub(super) fn new(answer: &'a [u8]) -> Option<Self> {
        let elements = reply::elements(answer)?;
        Some(Self { left: elements.left(), rest: elements.rest() })
    }

    /// Elements that are left.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Whether there is another element; it counts as read.
    pub(super) fn advance(&mut self) -> bool {
        let more = self.left > 0;
        self.left -= usize::from(more);
        more
    }

    /// The rest of a line behind `kind`.
    pub(super) fn line(&mut self, kind: u8) -> Option<&'a [u8]> {
        let (_, rest) = self.rest.split_first().filter(|(first, _)| **first == kind)?;
        let end = memchr::memchr(b'\r', rest)?;
        self.rest = rest.get(end..)?.strip_prefix(b"\r\n")?;
        Some(&rest[..end])
    }

    /// A bulk string.
    pub(super) fn bulk(&mut self) -> Option<&'a [u8]> {
        let len = length(self.line(b'$')?)?;
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest.strip_prefix(b"\r\n")?;
        Some(bytes)
    }
}

/// The members of an array or a set; `None` for one that is no bulk string, and then no more.
impl<'a> Iterator for Reader<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.advance() {
            return None;
        }
        let member = self.bulk();
        if member.is_none() {
            self.left = 0;
        }
        Some(member)
    }
}

fn length(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0usize, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(usize::from(digit)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_one_by_one() {
        let read: Vec<_> = Reader::new(b"~3\r\n$1\r\na\r\n$0\r\n\r\n$3\r\n\r\n\0\r\n").unwrap().collect();
        assert_eq!(read, [Some(&b"a"[..]), Some(b""), Some(b"\r\n\0")]);
    }

    #[test]
    fn what_is_no_member_ends_the_reading() {
        for bad in [
            &b":1\r\n"[..],
            b"$-1\r\n",
            b"$\r\n",
            b"$1x\r\na\r\n",
            b"$5\r\na\r\n",
            b"$1\r\nab\r",
            b"_\r\n",
            b"",
        ] {
            let answer = [b"*2\r\n", bad].concat();
            let read: Vec<_> = Reader::new(&answer).unwrap().collect();
            assert_eq!(read, [None], "{bad:?}");
        }
        assert!(Reader::new(b":1\r\n").is_none() && Reader::new(b"*-1\r\n").is_none());
    }
}
