//! Incremental scan of replies: where does the next reply end?
//!
//! Nothing is decoded: a reply is a number of bytes. Nesting needs no stack, only a count of the elements
//! still to come (`*2` adds two, `%2` four), so depth and breadth cost O(1) memory (law I6). A scan remembers
//! where it stopped.

use super::request::parse_number;
use super::short;

/// Longest line that holds a number, in bytes: type, sign, 19 digits and CR LF fit with room to spare.
const NUMBER_LINE_BYTES: usize = 32;

/// Why bytes from a node are no reply. The connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// No reply begins with this byte.
    #[error("unknown reply type")]
    Type,
    /// A length or count that is none.
    #[error("bad length in a reply")]
    Length,
    /// A line or string without its CR LF.
    #[error("missing line break in a reply")]
    LineBreak,
    /// A push message, which nobody asked for.
    #[error("unexpected push message")]
    Push,
}

/// Remembers how far the reply at the start of a stream has been scanned.
#[derive(Debug, Clone, Copy)]
pub struct ReplyScanner {
    /// Elements still to come, the one being scanned included.
    elements: u64,
    /// Bytes of a bulk string, its line break included, still to skip.
    skip: u64,
    /// Whether a line of text has begun and not ended.
    text: bool,
}

impl Default for ReplyScanner {
    fn default() -> Self {
        Self { elements: 1, skip: 0, text: false }
    }
}

/// How far a scan came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyScan {
    /// The reply ends after this many bytes of the buffer.
    Complete(usize),
    /// This many bytes belong to the reply and need not be shown again; more must follow.
    Partial(usize),
}

impl ReplyScanner {
    /// For what follows the first line of a push message, which `buffer` begins with, and the length of that line. `None`
    /// when the line is not whole.
    ///
    /// # Errors
    /// [`ReplyError`]: it is no push message.
    pub fn of_push(buffer: &[u8]) -> Result<Option<(Self, usize)>, ReplyError> {
        if buffer.first().is_some_and(|kind| *kind != b'>') {
            return Err(ReplyError::Type);
        }
        let Some(end) = Self::default().short_line(buffer)? else { return Ok(None) };
        match number(&buffer[1..end])? {
            count @ 1.. => Ok(Some((Self { elements: count as u64, ..Self::default() }, end + 2))),
            _ => Err(ReplyError::Length),
        }
    }

    /// Scans on. `buffer` begins with the first byte that earlier calls did not report as used.
    ///
    /// # Errors
    /// [`ReplyError`]: the stream cannot be understood any more.
    #[inline]
    pub fn scan(&mut self, buffer: &[u8]) -> Result<ReplyScan, ReplyError> {
        if self.is_fresh()
            && let Some(len) = whole(buffer)
        {
            return Ok(ReplyScan::Complete(len));
        }
        self.scan_on(buffer)
    }

    /// Whether it is at the start of a reply.
    #[inline]
    fn is_fresh(&self) -> bool {
        self.elements == 1 && self.skip == 0 && !self.text
    }

    /// [`ReplyScanner::scan`] for what is not whole, not of a usual kind or not right.
    #[inline(never)]
    fn scan_on(&mut self, buffer: &[u8]) -> Result<ReplyScan, ReplyError> {
        let mut at = 0;
        loop {
            if self.skip > 0 {
                let rest = &buffer[at..];
                let take = self.skip.min(rest.len() as u64);
                check_line_break(&rest[..take as usize], self.skip)?;
                self.skip -= take;
                at += take as usize;
                if self.skip > 0 {
                    return Ok(ReplyScan::Partial(at));
                }
                self.elements -= 1;
            }
            if self.text {
                at += self.text_line(&buffer[at..])?;
                if self.text {
                    return Ok(ReplyScan::Partial(at));
                }
            }
            while self.elements > 0
                && let Some(len) = whole(&buffer[at..])
            {
                self.elements -= 1;
                at += len;
            }
            if self.elements == 0 {
                *self = Self::default();
                return Ok(ReplyScan::Complete(at));
            }
            match self.header(&buffer[at..])? {
                Some(len) => at += len,
                None => return Ok(ReplyScan::Partial(at)),
            }
        }
    }

    /// Takes one header line; `None` when it is not whole.
    #[inline]
    fn header(&mut self, rest: &[u8]) -> Result<Option<usize>, ReplyError> {
        let Some(&kind) = rest.first() else { return Ok(None) };
        match kind {
            b'+' | b'-' | b',' | b'(' => {
                self.text = true;
                Ok(Some(1))
            }
            b':' | b'#' | b'_' => {
                let line = self.short_line(rest)?;
                if line.is_some() {
                    self.elements -= 1;
                }
                Ok(line.map(|end| end + 2))
            }
            b'$' | b'=' | b'!' => {
                let Some(end) = self.short_line(rest)? else { return Ok(None) };
                match number(&rest[1..end])? {
                    // a null has no body
                    -1 if kind == b'$' => self.elements -= 1,
                    len if len >= 0 => self.skip = len as u64 + 2,
                    _ => return Err(ReplyError::Length),
                }
                Ok(Some(end + 2))
            }
            b'*' | b'~' | b'%' | b'|' => {
                let Some(end) = self.short_line(rest)? else { return Ok(None) };
                let count = number(&rest[1..end])?;
                self.aggregate(kind, count)?;
                Ok(Some(end + 2))
            }
            b'>' => Err(ReplyError::Push),
            _ => Err(ReplyError::Type),
        }
    }

    fn aggregate(&mut self, kind: u8, count: i64) -> Result<(), ReplyError> {
        let inside = match (kind, count) {
            (b'*', -1) => 0,
            (_, count) if count < 0 => return Err(ReplyError::Length),
            (b'%' | b'|', count) => (count as u64).checked_mul(2).ok_or(ReplyError::Length)?,
            (_, count) => count as u64,
        };
        // an attribute stands before a value and is none itself
        let this = u64::from(kind != b'|');
        self.elements = (self.elements - this).checked_add(inside).ok_or(ReplyError::Length)?;
        Ok(())
    }

    /// The rest of a line of text (`+`, `-`, `,`, `(`), of any length: returns how many bytes of it are used up.
    #[inline]
    fn text_line(&mut self, rest: &[u8]) -> Result<usize, ReplyError> {
        let Some(end) = memchr::memchr(b'\r', rest) else { return Ok(rest.len()) };
        match rest.get(end + 1) {
            // the CR is shown again with what follows it
            None => Ok(end),
            Some(b'\n') => {
                self.text = false;
                self.elements -= 1;
                Ok(end + 2)
            }
            Some(_) => Err(ReplyError::LineBreak),
        }
    }

    /// A line that holds one number; returns where its CR stands.
    #[inline]
    fn short_line(&mut self, rest: &[u8]) -> Result<Option<usize>, ReplyError> {
        let window = &rest[..rest.len().min(NUMBER_LINE_BYTES)];
        match window.iter().position(|byte| *byte == b'\r') {
            None if rest.len() >= NUMBER_LINE_BYTES => Err(ReplyError::Length),
            None => Ok(None),
            Some(end) => match rest.get(end + 1) {
                None => Ok(None),
                Some(b'\n') => Ok(Some(end)),
                Some(_) => Err(ReplyError::LineBreak),
            },
        }
    }

    /// Bytes of the string being skipped that are still to come, its line break included.
    pub fn awaited(&self) -> u64 {
        self.skip
    }
}

/// The length of the reply that `buffer` begins with, if all of it is there and it is of one of the kinds that nearly all
/// are.
#[inline]
fn whole(buffer: &[u8]) -> Option<usize> {
    match buffer.first()? {
        b'$' => match short::number(buffer, 0, b'$') {
            Some((len, start)) => Some(short::end_of_string(buffer, start, len)? + 2),
            None => buffer.starts_with(b"$-1\r\n").then_some(5),
        },
        b':' => short::number(buffer, 0, b':').map(|(_, end)| end),
        b'+' => buffer.starts_with(b"+OK\r\n").then_some(5),
        _ => None,
    }
}

#[inline]
fn number(digits: &[u8]) -> Result<i64, ReplyError> {
    match digits {
        [digit @ b'0'..=b'9'] => Ok(i64::from(digit - b'0')),
        _ => parse_number(digits).ok_or(ReplyError::Length),
    }
}

/// `taken` are the next of `skip` bytes, the last two of which must be CR LF.
#[inline]
fn check_line_break(taken: &[u8], skip: u64) -> Result<(), ReplyError> {
    let take = taken.len() as u64;
    let cr = skip >= 2 && take >= skip - 1 && taken[(skip - 2) as usize] != b'\r';
    let lf = take == skip && take > 0 && taken[(skip - 1) as usize] != b'\n';
    if cr || lf { Err(ReplyError::LineBreak) } else { Ok(()) }
}

/// The length of the first whole reply in `buffer`, if it holds one.
pub fn reply_len(buffer: &[u8]) -> Option<usize> {
    match ReplyScanner::default().scan(buffer) {
        Ok(ReplyScan::Complete(len)) => Some(len),
        _ => None,
    }
}

/// The elements of an array, set or push reply, each as its bytes; `None` when `reply` is no such reply.
pub fn elements(reply: &[u8]) -> Option<Elements<'_>> {
    let (kind, rest) = reply.split_first().filter(|(kind, _)| matches!(kind, b'*' | b'~'))?;
    if let Some((left, start)) = short::number(reply, 0, *kind) {
        return Some(Elements { left, rest: &reply[start..] });
    }
    let end = memchr::memchr(b'\r', rest)?;
    let count = number(&rest[..end]).ok()?;
    Some(Elements { left: usize::try_from(count).ok()?, rest: rest.get(end + 2..)? })
}

/// Iterates over the elements of a reply.
#[derive(Debug, Clone, Copy)]
pub struct Elements<'a> {
    left: usize,
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// How many are left.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The bytes of those that are left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let len = reply_len(self.rest)?;
        let (element, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(element)
    }
}

/// Whether a reply says that nothing is there.
#[inline]
pub fn is_nil(reply: &[u8]) -> bool {
    matches!(reply, [b'$', b'-', ..] | [b'_', ..] | [b'*', b'-', ..])
}

/// The value of an integer reply.
pub fn integer(reply: &[u8]) -> Option<i64> {
    let digits = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    parse_number(digits)
}

/// The bytes of a bulk string reply.
pub fn bulk(reply: &[u8]) -> Option<&[u8]> {
    let rest = reply.strip_prefix(b"$")?;
    let end = memchr::memchr(b'\r', rest)?;
    let len = usize::try_from(number(&rest[..end]).ok()?).ok()?;
    let body = rest.get(end + 2..)?.strip_suffix(b"\r\n")?;
    (body.len() == len).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: &[&[u8]] = &[
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":-12\r\n",
        b"$5\r\nhe\r\no\r\n",
        b"$0\r\n\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n",
        b"%1\r\n+k\r\n~2\r\n#t\r\n_\r\n",
        b",3.25\r\n",
        b"(3492890328409238509324850943850943825024385\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"!5\r\nERR x\r\n",
        b"|1\r\n+ttl\r\n:3\r\n*1\r\n:1\r\n",
    ];

    /// Feeds `bytes` cut at `splits`, keeping what the scanner did not use, as an upstream does.
    fn scan_in_pieces(bytes: &[u8], splits: &[usize]) -> Result<usize, ReplyError> {
        let mut scanner = ReplyScanner::default();
        let mut used = 0;
        for &have in splits {
            match scanner.scan(&bytes[used..have])? {
                ReplyScan::Complete(len) => return Ok(used + len),
                ReplyScan::Partial(len) => used += len,
            }
        }
        Ok(0)
    }

    #[test]
    fn every_reply_type_is_measured_at_every_pair_of_splits() {
        for reply in REPLIES {
            let mut stream = reply.to_vec();
            stream.extend_from_slice(b"+next\r\n");
            for first in 0..=reply.len() {
                for second in first..=reply.len() {
                    let found = scan_in_pieces(&stream, &[first, second, stream.len()]).unwrap();
                    assert_eq!(
                        found,
                        reply.len(),
                        "{:?} at {first} and {second}",
                        String::from_utf8_lossy(reply)
                    );
                }
            }
        }
    }

    #[test]
    fn malformed_replies_are_refused() {
        for bad in [
            &b"?\r\n"[..],
            b"$-2\r\n",
            b"*1e20\r\n",
            b"*-2\r\n",
            b"$3\r\nabcd\r\n",
            b"$3\r\nabc\rX",
            b"+OK\rX",
            b">1\r\n+x\r\n",
            b"*99999999999999999999999999999999999\r\n",
            b"%9223372036854775807\r\n%9223372036854775807\r\n",
        ] {
            let end = bad.len();
            assert!(scan_in_pieces(bad, &[end]).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn depth_and_breadth_cost_no_memory() {
        let mut deep = b"*1\r\n".repeat(1_000_000);
        deep.extend_from_slice(b":1\r\n");
        assert_eq!(reply_len(&deep), Some(deep.len()));
    }

    #[test]
    fn a_bulk_string_is_its_bytes() {
        assert_eq!(bulk(b"$5\r\nhe\r\no\r\n"), Some(&b"he\r\no"[..]));
        assert_eq!(bulk(b"$0\r\n\r\n"), Some(&b""[..]));
        for other in [&b"$-1\r\n"[..], b"$2\r\na\r\n", b"+a\r\n", b"$", b"$1\r", b"$1\r\n"] {
            assert_eq!(bulk(other), None, "{other:?}");
        }
    }

    #[test]
    fn elements_of_an_array_come_one_by_one() {
        let found: Vec<&[u8]> = elements(b"*3\r\n$1\r\na\r\n$-1\r\n*1\r\n:1\r\n").unwrap().collect();
        assert_eq!(found, [&b"$1\r\na\r\n"[..], b"$-1\r\n", b"*1\r\n:1\r\n"]);
        assert!(elements(b"-ERR\r\n").is_none() && elements(b"*-1\r\n").is_none());
    }
}
