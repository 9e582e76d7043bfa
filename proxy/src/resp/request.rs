//! Incremental scan of requests: where does the next command end, and where are its arguments?
//!
//! ```text
//!   *2\r\n $3\r\n GET\r\n $1\r\n k\r\n     a frame; the scanner remembers `at` when bytes run out
//!   |------ done ------|^at
//! ```
//! A scan never restarts (a slow sender costs nothing twice) and never reserves memory for a number that a
//! peer sent (law I6). Error texts are Redis's own. Stricter than Redis in one place: the line break after an
//! argument is checked, where Redis would lose its place (law I10).

use super::args::Span;
use super::{encode, inline, short};
use crate::limits;

/// Why a byte string is no request. The connection is told and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// `*` without a sensible number.
    #[error("invalid multibulk length")]
    ArrayLen,
    /// `$` without a sensible number.
    #[error("invalid bulk length")]
    BulkLen,
    /// Something else where `$` belongs.
    #[error("expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    /// `*` and then no line break for too long.
    #[error("too big mbulk count string")]
    ArrayLine,
    /// `$` and then no line break for too long.
    #[error("too big bulk count string")]
    BulkLine,
    /// Too many arguments before authentication.
    #[error("unauthenticated multibulk length")]
    UnauthenticatedArrayLen,
    /// Too long an argument before authentication.
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulkLen,
    /// A line or an argument does not end with CR LF.
    #[error("expected CRLF")]
    ExpectedLineBreak,
    /// An inline line that does not end.
    #[error("too big inline request")]
    InlineLine,
    /// A NUL in an inline line, where Redis would wait for ever.
    #[error("unexpected NUL in inline request")]
    InlineNul,
    /// A quote in an inline line that does not close.
    #[error("unbalanced quotes in request")]
    Quotes,
    /// The whole command exceeds the proxy's bound.
    #[error("command exceeds limits.command_bytes")]
    CommandBytes,
}

impl RequestError {
    /// Appends the error line, byte for byte as Redis writes it.
    pub fn write_reply(&self, out: &mut Vec<u8>) {
        let mut text = b"ERR Protocol error: ".to_vec();
        match self {
            RequestError::ExpectedBulk(byte) => {
                text.extend_from_slice(b"expected '$', got '");
                text.push(*byte);
                text.push(b'\'');
            }
            other => text.extend_from_slice(other.to_string().as_bytes()),
        }
        encode::error_bytes(out, &text);
    }
}

/// What the scanner found at the start of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// Not all bytes are there yet.
    Incomplete,
    /// A whole RESP request of this many bytes; its arguments are in `spans`.
    Request(usize),
    /// A whole inline line of this many bytes, line break included.
    Inline(usize),
    /// Bytes that mean nothing and are skipped (`*0`, `*-1`, a blank line).
    Nothing(usize),
}

/// Bounds that depend on who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestBounds {
    /// Whether the client may send long requests already.
    pub authenticated: bool,
    /// Bytes of one whole command.
    pub command_bytes: usize,
}

/// Remembers how far the request at the start of a buffer has been scanned.
#[derive(Debug, Default, Clone, Copy)]
pub struct RequestScanner {
    /// Offset of the next byte to look at.
    at: usize,
    /// Arguments still to come; 0 while the `*` line is incomplete.
    arguments_left: i64,
    /// Length of the argument whose bytes are awaited.
    bulk: Option<usize>,
}

enum Line {
    /// The number on the line and where the next line begins.
    Number(Option<i64>, usize),
    Incomplete,
    TooLong,
    NoLineBreak,
}

impl RequestScanner {
    /// Scans on in `buffer`, which begins at the start of a request and holds all bytes seen so far.
    ///
    /// # Errors
    /// [`RequestError`]: the connection cannot be understood any more.
    #[inline]
    pub fn scan(
        &mut self,
        buffer: &[u8],
        bounds: RequestBounds,
        spans: &mut Vec<Span>,
    ) -> Result<Scan, RequestError> {
        if self.at == 0
            && let Some(len) = whole(buffer, bounds, spans)
        {
            return Ok(Scan::Request(len));
        }
        self.scan_on(buffer, bounds, spans)
    }

    /// [`RequestScanner::scan`] for what is not whole, not usual or not right.
    #[inline(never)]
    fn scan_on(
        &mut self,
        buffer: &[u8],
        bounds: RequestBounds,
        spans: &mut Vec<Span>,
    ) -> Result<Scan, RequestError> {
        let fresh = self.at == 0;
        spans.clear();
        if fresh {
            match buffer.first() {
                None => return Ok(Scan::Incomplete),
                Some(b'*') => {}
                Some(_) => return inline_line(buffer),
            }
            match number_line(buffer, 0) {
                Line::Incomplete => return Ok(Scan::Incomplete),
                Line::TooLong => return Err(RequestError::ArrayLine),
                Line::NoLineBreak => return Err(RequestError::ExpectedLineBreak),
                Line::Number(count, next) => {
                    let count =
                        count.filter(|count| *count <= limits::ARGUMENTS).ok_or(RequestError::ArrayLen)?;
                    if count <= 0 {
                        return Ok(Scan::Nothing(next));
                    }
                    if count > limits::UNAUTHENTICATED_ARGUMENTS && !bounds.authenticated {
                        return Err(RequestError::UnauthenticatedArrayLen);
                    }
                    self.arguments_left = count;
                    self.at = next;
                }
            }
        }
        if !self.arguments(buffer, bounds, fresh, spans)? {
            return Ok(Scan::Incomplete);
        }
        let len = self.at;
        *self = Self::default();
        if !fresh {
            collect_spans(&buffer[..len], spans);
        }
        Ok(Scan::Request(len))
    }

    /// Walks over arguments; false when bytes run out.
    fn arguments(
        &mut self,
        buffer: &[u8],
        bounds: RequestBounds,
        collect: bool,
        spans: &mut Vec<Span>,
    ) -> Result<bool, RequestError> {
        while self.arguments_left > 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => match self.bulk_line(buffer, bounds)? {
                    Some(len) => len,
                    None => return Ok(false),
                },
            };
            let end = self.at + len;
            match buffer.get(end..end + 2) {
                Some(b"\r\n") => {}
                Some(_) => return Err(RequestError::ExpectedLineBreak),
                None => return Ok(false),
            }
            if collect {
                spans.push(Span { start: self.at as u32, end: end as u32 });
            }
            self.bulk = None;
            self.arguments_left -= 1;
            self.at = end + 2;
        }
        Ok(true)
    }

    fn bulk_line(&mut self, buffer: &[u8], bounds: RequestBounds) -> Result<Option<usize>, RequestError> {
        match buffer.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => return Err(RequestError::ExpectedBulk(*other)),
        }
        match number_line(buffer, self.at) {
            Line::Incomplete => Ok(None),
            Line::TooLong => Err(RequestError::BulkLine),
            Line::NoLineBreak => Err(RequestError::ExpectedLineBreak),
            Line::Number(len, next) => {
                let len =
                    len.and_then(|len| u64::try_from(len).ok()).filter(|len| *len <= limits::BULK_BYTES);
                let len = len.ok_or(RequestError::BulkLen)?;
                if len > limits::UNAUTHENTICATED_BULK_BYTES && !bounds.authenticated {
                    return Err(RequestError::UnauthenticatedBulkLen);
                }
                if next as u64 + len + 2 > bounds.command_bytes.min(u32::MAX as usize) as u64 {
                    return Err(RequestError::CommandBytes);
                }
                self.at = next;
                self.bulk = Some(len as usize);
                Ok(self.bulk)
            }
        }
    }

    /// How many bytes more the argument being received needs, to let a reader choose its buffer.
    pub fn awaited(&self, have: usize) -> usize {
        self.bulk.map_or(0, |len| (self.at + len + 2).saturating_sub(have))
    }
}

/// The length of the request that `buffer` begins with, if all of it is there and nothing about it is unusual: nearly all
/// are found by this.
#[inline]
fn whole(buffer: &[u8], bounds: RequestBounds, spans: &mut Vec<Span>) -> Option<usize> {
    spans.clear();
    let (count, mut at) = short::number(buffer, 0, b'*')?;
    if count == 0 || !bounds.authenticated {
        return None;
    }
    for _ in 0..count {
        let (len, start) = short::number(buffer, at, b'$')?;
        let end = short::end_of_string(buffer, start, len)?;
        spans.push(Span { start: start as u32, end: end as u32 });
        at = end + 2;
    }
    (at <= bounds.command_bytes.min(u32::MAX as usize)).then_some(at)
}

/// Fills `spans` for a frame that was found whole in several steps.
fn collect_spans(frame: &[u8], spans: &mut Vec<Span>) {
    spans.clear();
    let Line::Number(_, mut at) = number_line(frame, 0) else { return };
    while at < frame.len() {
        let Line::Number(Some(len), start) = number_line(frame, at) else { return };
        let end = start + len.max(0) as usize;
        spans.push(Span { start: start as u32, end: end as u32 });
        at = end + 2;
    }
}

/// Reads the line `?<number>CRLF` that begins at `at`; its first byte is the type.
fn number_line(buffer: &[u8], at: usize) -> Line {
    let rest = &buffer[at..];
    let window = &rest[..rest.len().min(limits::LINE_BYTES + 1)];
    match memchr::memchr2(b'\r', b'\n', window) {
        None if rest.len() > limits::LINE_BYTES => Line::TooLong,
        None => Line::Incomplete,
        Some(end) if window[end] == b'\n' => Line::NoLineBreak,
        Some(end) => match rest.get(end + 1) {
            None => Line::Incomplete,
            Some(b'\n') => Line::Number(parse_number(&rest[1..end]), at + end + 2),
            Some(_) => Line::NoLineBreak,
        },
    }
}

/// A decimal number as Redis's `string2ll` takes it: no sign but `-`, no leading zero, no space, no overflow.
pub fn parse_number(digits: &[u8]) -> Option<i64> {
    let (negative, body) = match digits {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, digits),
    };
    match body {
        [] => return None,
        [b'0'] if !negative => return Some(0),
        [b'0', ..] => return None,
        _ => {}
    }
    let mut value: i64 = 0;
    for byte in body {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?;
        value = if negative { value.checked_sub(digit)? } else { value.checked_add(digit)? };
    }
    Some(value)
}

fn inline_line(buffer: &[u8]) -> Result<Scan, RequestError> {
    let window = &buffer[..buffer.len().min(limits::LINE_BYTES + 1)];
    match memchr::memchr(b'\n', window) {
        None if buffer.len() > limits::LINE_BYTES => Err(RequestError::InlineLine),
        None => Ok(Scan::Incomplete),
        Some(end) if buffer[..end].contains(&0) => Err(RequestError::InlineNul),
        Some(end) if buffer[..end].iter().all(|byte| inline::is_space(*byte)) => Ok(Scan::Nothing(end + 1)),
        Some(end) => Ok(Scan::Inline(end + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: RequestBounds = RequestBounds { authenticated: true, command_bytes: 1 << 30 };

    fn scan_whole(bytes: &[u8]) -> Result<(Scan, Vec<Vec<u8>>), RequestError> {
        let mut spans = Vec::new();
        let scan = RequestScanner::default().scan(bytes, FREE, &mut spans)?;
        Ok((scan, spans.iter().map(|s| bytes[s.start as usize..s.end as usize].to_vec()).collect()))
    }

    #[test]
    fn a_request_is_found_at_every_split() {
        let bytes = b"*3\r\n$3\r\nSET\r\n$12\r\nhello\r\nworld\r\n$0\r\n\r\n*1\r\n";
        let whole = bytes.len() - 4;
        for first in 0..=whole {
            for second in first..=whole {
                let mut scanner = RequestScanner::default();
                let mut spans = Vec::new();
                for have in [first, second] {
                    let scan = scanner.scan(&bytes[..have], FREE, &mut spans).unwrap();
                    if have < whole {
                        assert_eq!(scan, Scan::Incomplete, "{have}");
                    } else {
                        assert_eq!(scan, Scan::Request(whole));
                    }
                    if have == whole {
                        break;
                    }
                }
                if second < whole {
                    assert_eq!(scanner.scan(bytes, FREE, &mut spans), Ok(Scan::Request(whole)));
                }
                let args: Vec<&[u8]> =
                    spans.iter().map(|s| &bytes[s.start as usize..s.end as usize]).collect();
                assert_eq!(args, [&b"SET"[..], b"hello\r\nworld"[..].as_ref(), b""]);
            }
        }
    }

    #[test]
    fn numbers_are_read_as_redis_reads_them() {
        for (text, value) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("01", None),
            ("-0", None),
            ("+1", None),
            ("", None),
            ("-", None),
            (" 1", None),
            ("1 ", None),
            ("1e3", None),
        ] {
            assert_eq!(parse_number(text.as_bytes()), value, "{text:?}");
        }
    }

    #[test]
    fn broken_requests_get_the_texts_of_redis() {
        for (bytes, text) in [
            (&b"*01\r\n"[..], "invalid multibulk length"),
            (b"*2147483648\r\n", "invalid multibulk length"),
            (b"*x\r\n", "invalid multibulk length"),
            (b"*1\r\n:1\r\n", "expected '$', got ':'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "invalid bulk length"),
            (b"*1\r\n$1\r\nxyz", "expected CRLF"),
            (b"*1\n$1\nx\n", "expected CRLF"),
        ] {
            assert_eq!(scan_whole(bytes).unwrap_err().to_string(), text, "{bytes:?}");
        }
    }

    #[test]
    fn empty_requests_are_skipped() {
        assert_eq!(scan_whole(b"*0\r\n").unwrap().0, Scan::Nothing(4));
        assert_eq!(scan_whole(b"*-1\r\n").unwrap().0, Scan::Nothing(5));
        assert_eq!(scan_whole(b"\r\n").unwrap().0, Scan::Nothing(2));
        assert_eq!(scan_whole(b"PING\r\nx").unwrap().0, Scan::Inline(6));
    }

    #[test]
    fn a_promised_length_reserves_nothing() {
        let mut spans = Vec::new();
        let mut scanner = RequestScanner::default();
        assert_eq!(scanner.scan(b"*2147483647\r\n$536870912\r\n", FREE, &mut spans), Ok(Scan::Incomplete));
        assert!(spans.capacity() < 64);
        assert_eq!(scanner.awaited(26), 536_870_912 + 2 - (26 - 25));
    }

    #[test]
    fn lines_without_an_end_are_refused_at_64_kib() {
        let long =
            |first: u8| std::iter::once(first).chain(std::iter::repeat_n(b'1', 65_536)).collect::<Vec<_>>();
        assert_eq!(scan_whole(&long(b'*')).unwrap_err(), RequestError::ArrayLine);
        assert_eq!(scan_whole(&long(b'P')).unwrap_err(), RequestError::InlineLine);
        let mut bulk = b"*1\r\n".to_vec();
        bulk.extend(long(b'$'));
        assert_eq!(scan_whole(&bulk).unwrap_err(), RequestError::BulkLine);
    }

    #[test]
    fn before_authentication_requests_are_short() {
        let bounds = RequestBounds { authenticated: false, command_bytes: 1 << 30 };
        let scan = |bytes: &[u8]| RequestScanner::default().scan(bytes, bounds, &mut Vec::new());
        assert_eq!(scan(b"*11\r\n"), Err(RequestError::UnauthenticatedArrayLen));
        assert_eq!(scan(b"*10\r\n"), Ok(Scan::Incomplete));
        assert_eq!(scan(b"*1\r\n$16385\r\n"), Err(RequestError::UnauthenticatedBulkLen));
        assert_eq!(scan(b"*1\r\n$16384\r\n"), Ok(Scan::Incomplete));
    }
}
