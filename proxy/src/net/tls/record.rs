//! Counts what has come of a TLS record whose end has not: the library keeps it and does not say how much.

/// Bytes before a record's contents: type, version, length (RFC 8446, 5.1).
const HEADER: usize = 5;

/// Follows a stream of records.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// Records that have come to their end.
    whole: usize,
    /// Bytes of the record that have come.
    have: usize,
    /// The last two bytes of its header as far as they have come: how long its contents are.
    length: u16,
}

impl Unfinished {
    /// Looks at the next bytes of the stream.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.have < HEADER {
                if self.have >= HEADER - 2 {
                    self.length = self.length << 8 | u16::from(*first);
                }
                self.have += 1;
                bytes = rest;
            } else {
                let taken = (HEADER + usize::from(self.length) - self.have).min(bytes.len());
                self.have += taken;
                bytes = &bytes[taken..];
            }
            if self.have >= HEADER && self.have == HEADER + usize::from(self.length) {
                *self = Self { whole: self.whole + 1, ..Self::default() };
            }
        }
    }

    /// How many records have come to their end since this was asked.
    pub(super) fn take_whole(&mut self) -> usize {
        std::mem::take(&mut self.whole)
    }

    /// Bytes of it that have come.
    pub(super) fn len(&self) -> usize {
        self.have
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_followed_at_every_split() {
        let mut stream = Vec::new();
        let mut ends = vec![0];
        for len in [0_u16, 1, 255, 256, 700] {
            stream.extend_from_slice(&[23, 3, 3]);
            stream.extend_from_slice(&len.to_be_bytes());
            stream.extend(std::iter::repeat_n(0xff, usize::from(len)));
            ends.push(stream.len());
        }
        for first in 0..=stream.len() {
            let mut unfinished = Unfinished::default();
            unfinished.follow(&stream[..first]);
            let begun = ends.iter().rev().find(|end| **end <= first).unwrap();
            assert_eq!(unfinished.len(), first - begun, "{first}");
            unfinished.follow(&stream[first..]);
            assert_eq!((unfinished.len(), unfinished.take_whole(), unfinished.take_whole()), (0, 5, 0));
        }
    }
}
