//! The bytes on their way to a node, and the last ones that went: a read whose connection is lost goes once more.
//!
//! ```text
//!   bytes: │ answered │ written, awaited │ waits to be written │ ◄── appended
//!                                        ▲ at; `written` in the stream of all bytes
//! ```
//! What was written stays where it lies, which costs no copy and nothing per command; what is answered is taken out in
//! large pieces, and all of it when somebody looks and nothing is awaited. No more than [`REPEAT_BYTES`] of what is
//! awaited are kept behind a write that took all there was (law I6): then all of it is forgotten, and so it is when a
//! large command brings its own buffer.

use std::ops::Range;

use crate::limits::REPEAT_BYTES;

/// A buffer larger than this is given back when it is empty, in bytes.
const KEEP_BYTES: usize = 1 << 20;
/// What was written is looked at when there is so much of it, in bytes: little enough to stay in the nearest cache.
const TIDY_BYTES: usize = 8 * 1024;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// Bytes of `bytes` that are written already.
    at: usize,
    /// Stream offset up to which everything is written.
    written: u64,
}

impl Outgoing {
    /// Where to append.
    #[inline]
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes that wait to be written.
    #[inline]
    pub(super) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Stream offset up to which everything is written.
    #[inline]
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Stream offset one past the last byte that was appended.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        self.written + (self.bytes.len() - self.at) as u64
    }

    /// Bytes of memory held.
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// The kernel took `len` bytes. Whether there is so much behind them that it is time to [`Outgoing::tidy`].
    #[inline]
    pub(super) fn wrote(&mut self, len: usize) -> bool {
        self.written += len as u64;
        self.at += len;
        self.at > TIDY_BYTES
    }

    /// Everything written is answered.
    pub(super) fn settle(&mut self) {
        if self.at == self.bytes.len() {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.at = 0;
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes = Vec::new();
        }
    }

    /// Takes out what is answered, which is everything before the stream offset `awaited`, or what is too much to be kept.
    /// What is moved is never more than what is taken out, so
    /// that all of this together costs less than the appending did.
    #[cold]
    pub(super) fn tidy(&mut self, awaited: u64) {
        let kept = (self.written.saturating_sub(awaited) as usize).min(self.at);
        let (answered, len) = (self.at - kept, self.bytes.len());
        if kept > REPEAT_BYTES && self.at == len {
            self.clear();
        } else if answered >= len - answered {
            self.take_out(answered);
        } else if self.at > KEEP_BYTES && self.at > len / 2 {
            self.take_out(self.at);
        }
    }

    fn take_out(&mut self, len: usize) {
        self.bytes.drain(..len);
        self.at -= len;
    }

    /// Takes over `frame` behind what waits to be written: a large command is held once, not twice.
    pub(super) fn supply(&mut self, mut frame: Vec<u8>) {
        let waiting = self.unwritten().len();
        if waiting > frame.len() {
            return self.bytes.extend_from_slice(&frame);
        }
        frame.reserve_exact(waiting);
        frame.splice(..0, self.bytes.drain(self.at..));
        self.bytes = frame;
        self.at = 0;
    }

    /// Takes back the next `len` bytes that wait to be written, which are counted as written. Whether it is time to
    /// [`Outgoing::tidy`].
    pub(super) fn take_back(&mut self, len: u64) -> bool {
        self.wrote(len as usize)
    }

    /// Takes back everything from the stream offset `from` on, of which nothing is written.
    pub(super) fn truncate(&mut self, from: u64) {
        self.bytes.truncate(self.at + (from - self.written) as usize);
    }

    /// Whether the bytes from the stream offset `start` on are still here.
    pub(super) fn holds(&self, start: u64) -> bool {
        self.written.saturating_sub(start) <= self.at as u64
    }

    /// Begins the stream of the next connection: of what comes before the stream offset `from` only `again` is left, in
    /// its order. All of `again` must be held. Nothing is written yet; the offset of the first byte is [`Self::written`].
    pub(super) fn restart(&mut self, from: u64, again: impl Iterator<Item = Range<u64>>) {
        let (at, written) = (self.at as u64, self.written);
        let place = |offset: u64| (at + offset - written) as usize;
        let mut len = 0;
        for range in again {
            let (start, end) = (place(range.start), place(range.end));
            self.bytes.copy_within(start..end, len);
            len += end - start;
        }
        self.bytes.drain(len..place(from));
        self.at = 0;
        self.written = from - len as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrote(outgoing: &mut Outgoing, len: usize, awaited: u64) {
        if outgoing.wrote(len) {
            outgoing.tidy(awaited);
        }
    }

    #[test]
    fn i6_what_is_kept_of_what_was_written_is_bounded() {
        let mut outgoing = Outgoing::default();
        let (command, mut most) = ([b'x'; 100], 0);
        // nothing is ever answered
        for _ in 0..100_000 {
            outgoing.buffer().extend_from_slice(&command);
            wrote(&mut outgoing, command.len(), 0);
            most = most.max(outgoing.held());
        }
        assert!((REPEAT_BYTES - command.len()..=REPEAT_BYTES).contains(&most), "{most}");
        // all but the last ten thousand bytes are answered
        let mut most = 0;
        for _ in 0..100_000 {
            outgoing.buffer().extend_from_slice(&command);
            let awaited = outgoing.end() - 10_000;
            wrote(&mut outgoing, command.len(), awaited);
            most = most.max(outgoing.held());
        }
        assert!((10_000..=30_000).contains(&most), "{most}");
        assert!(outgoing.holds(outgoing.end() - 10_000));
        // a command of its own buffer leaves nothing behind
        outgoing.supply(vec![b'y'; 4 << 20]);
        wrote(&mut outgoing, 4 << 20, 0);
        assert_eq!((outgoing.held(), outgoing.bytes.capacity()), (0, 0));
    }

    #[test]
    fn the_next_stream_begins_with_what_goes_again() {
        for answered in [0, 3] {
            for written in [6, 8] {
                let mut outgoing = Outgoing::default();
                outgoing.buffer().extend_from_slice(b"aaabbbcccddd");
                wrote(&mut outgoing, written, 0);
                outgoing.take_out(answered);
                assert!(outgoing.holds(3) && outgoing.holds(0) == (answered == 0));
                outgoing.restart(9, std::iter::once(3..6));
                assert_eq!(outgoing.unwritten(), b"bbbddd");
                assert_eq!((outgoing.written(), outgoing.end()), (6, 12));
            }
        }
    }
}
