//! Published messages that may not leave yet: each waits for the reply that confirms its own subscription.
//!
//! A client may subscribe to one channel after the other without reading: what is published on the first does not wait for
//! the confirmation of the last, which may come long after the first was left again. Messages keep their order.

use std::collections::VecDeque;

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
    /// How many of `bytes` have left.
    at: usize,
    /// Behind which command's reply so many of `bytes` leave.
    behind: VecDeque<(u64, usize)>,
}

impl Messages {
    pub(crate) fn is_empty(&self) -> bool {
        self.behind.is_empty()
    }

    /// Bytes of messages.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Adds a message, its first byte and the rest, that leaves behind the reply to the command `number`.
    pub(crate) fn push(&mut self, number: u64, head: u8, rest: &[u8]) {
        self.bytes.push(head);
        self.bytes.extend_from_slice(rest);
        match self.behind.back_mut() {
            // whoever stands before keeps it as long at least
            Some((last, len)) if *last >= number => *len += 1 + rest.len(),
            _ => self.behind.push_back((number, 1 + rest.len())),
        }
    }

    /// Moves to `out` what may leave once all replies below `base` have left.
    pub(crate) fn release(&mut self, base: u64, out: &mut Vec<u8>) {
        let before = self.at;
        while let Some((_, len)) = self.behind.front().filter(|(number, _)| *number < base) {
            self.at += len;
            self.behind.pop_front();
        }
        out.extend_from_slice(&self.bytes[before..self.at]);
        if self.behind.is_empty() {
            *self = Self::default();
        } else if self.at > self.bytes.len() / 2 {
            // what is moved is less than what has left
            self.bytes.drain(..self.at);
            self.at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_waits_for_its_own_confirmation_and_for_those_before_it() {
        let (mut messages, mut out) = (Messages::default(), Vec::new());
        messages.push(3, b'a', b"1");
        messages.push(8, b'b', b"2");
        messages.push(3, b'c', b"3");
        messages.push(9, b'd', b"4");
        for (base, seen) in [(3, ""), (4, "a1"), (8, "a1"), (9, "a1b2c3"), (10, "a1b2c3d4")] {
            messages.release(base, &mut out);
            assert_eq!(out, seen.as_bytes(), "{base}");
        }
        assert!(messages.is_empty());
        assert_eq!(messages.len(), 0);
    }
}
