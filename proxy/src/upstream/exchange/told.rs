//! What a node says beside its replies: push messages, on connections where they may come.

use std::fmt;

use crate::resp::reply::{ReplyError, ReplyScan, ReplyScanner};
use crate::upstream::tracking::INVALIDATION;

/// Passes messages on in the order in which they come; those that nobody has asked for are read and dropped.
pub(super) struct Told {
    begun: Option<Begun>,
    /// Those that are whole and were not passed on.
    whole: Vec<u8>,
    tell: Tell,
}

/// Who is told.
pub(super) type Tell = Box<dyn Fn(&[u8])>;

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").field("begun", &self.begun).field("whole", &self.whole).finish_non_exhaustive()
    }
}

/// Longest message, in bytes: more keys than a node forgets at once.
const LONGEST: usize = 64 << 20;
/// How much is taken at a time of a message that has begun: what is behind its end was copied in vain.
const STEP: usize = 4096;

/// A message whose end has not come.
#[derive(Debug, Default)]
struct Begun {
    /// None before its first line is whole.
    scanner: Option<ReplyScanner>,
    bytes: Vec<u8>,
    /// How many of `bytes` the scanner has used.
    scanned: usize,
}

impl Told {
    pub(super) fn new(tell: Tell) -> Self {
        Self { begun: None, whole: Vec::new(), tell }
    }

    /// Whether a message has begun and not ended.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Takes messages from the start of `bytes` and passes on those that are whole; returns the rest.
    pub(super) fn take_all<'b>(&mut self, mut bytes: &'b [u8]) -> Result<&'b [u8], ReplyError> {
        while self.has_begun() && !bytes.is_empty() || bytes.first() == Some(&b'>') {
            bytes = self.take(bytes)?;
        }
        if !self.whole.is_empty() {
            (self.tell)(&std::mem::take(&mut self.whole));
        }
        Ok(bytes)
    }

    /// Takes what belongs to a message from the start of `bytes`; returns the rest.
    fn take<'b>(&mut self, mut bytes: &'b [u8]) -> Result<&'b [u8], ReplyError> {
        // mostly it is whole, and many stand one behind the other
        if self.begun.is_none()
            && let Some((mut scanner, head)) = ReplyScanner::of_push(bytes)?
            && let ReplyScan::Complete(len) = scanner.scan(&bytes[head..])?
        {
            let (message, rest) = bytes.split_at(head + len);
            if message.starts_with(INVALIDATION) {
                self.whole.extend_from_slice(message);
            }
            return Ok(rest);
        }
        let begun = self.begun.get_or_insert_default();
        loop {
            let (step, after) = bytes.split_at(bytes.len().min(STEP));
            if let Some(rest) = begun.take(step)? {
                if begun.bytes.starts_with(INVALIDATION) {
                    self.whole.append(&mut begun.bytes);
                }
                self.begun = None;
                return Ok(&bytes[step.len() - rest..]);
            }
            if after.is_empty() {
                return Ok(after);
            }
            bytes = after;
        }
    }

    /// The connection is gone, and with it the rest of a message.
    pub(super) fn break_off(&mut self) {
        self.begun = None;
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        self.begun.as_ref().map_or(0, |begun| begun.bytes.len())
    }
}

impl Begun {
    /// Returns how many bytes are behind the message when it is whole.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<usize>, ReplyError> {
        if self.bytes.len() + bytes.len() > LONGEST {
            return Err(ReplyError::Length);
        }
        self.bytes.extend_from_slice(bytes);
        if self.scanner.is_none() {
            let Some((scanner, len)) = ReplyScanner::of_push(&self.bytes)? else { return Ok(None) };
            (self.scanner, self.scanned) = (Some(scanner), len);
        }
        let Some(scanner) = &mut self.scanner else { return Ok(None) };
        match scanner.scan(&self.bytes[self.scanned..])? {
            ReplyScan::Partial(used) => {
                self.scanned += used;
                Ok(None)
            }
            ReplyScan::Complete(len) => {
                let rest = self.bytes.len() - self.scanned - len;
                self.bytes.truncate(self.scanned + len);
                Ok(Some(rest))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    const KEYS: &[u8] = b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$3\r\n>1\r\r\n";

    fn told() -> (Told, Rc<RefCell<Vec<Vec<u8>>>>) {
        let heard = Rc::new(RefCell::new(Vec::new()));
        let hears = Rc::clone(&heard);
        (Told::new(Box::new(move |messages| hears.borrow_mut().push(messages.to_vec()))), heard)
    }

    #[test]
    fn a_message_is_passed_on_whole_however_it_is_cut() {
        let mut stream = KEYS.to_vec();
        stream.extend_from_slice(b"+OK\r\n");
        for cut in 1..KEYS.len() {
            let (mut told, heard) = told();
            assert_eq!(told.take_all(&stream[..cut]), Ok(&[][..]), "{cut}");
            assert!(told.has_begun() && heard.borrow().is_empty());
            assert_eq!(told.take_all(&stream[cut..]), Ok(&b"+OK\r\n"[..]), "{cut}");
            assert!(!told.has_begun());
            assert_eq!(*heard.borrow(), [KEYS], "{cut}");
        }
    }

    #[test]
    fn those_that_stand_together_are_passed_on_together() {
        let (mut told, heard) = told();
        let stream = [KEYS, b">1\r\n$5\r\nother\r\n", KEYS, b":1\r\n", KEYS].concat();
        assert_eq!(told.take_all(&stream), Ok(&stream[stream.len() - KEYS.len() - 4..]));
        assert_eq!(*heard.borrow(), [[KEYS, KEYS].concat()]);
    }

    #[test]
    fn other_messages_are_dropped_and_broken_ones_end_the_connection() {
        let (mut told, heard) = told();
        assert_eq!(told.take_all(b">2\r\n$5\r\nother\r\n:1\r\n$-1\r\n"), Ok(&b"$-1\r\n"[..]));
        assert!(heard.borrow().is_empty());
        for (broken, why) in [
            (b">0\r\n", ReplyError::Length),
            (b">x\r\n", ReplyError::Length),
            (b">1\r\n?\r\n", ReplyError::Type),
        ] as [(&[u8], _); 3]
        {
            assert_eq!(self::told().0.take_all(broken), Err(why));
        }
    }
}
