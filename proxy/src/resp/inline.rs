//! Inline commands: a line typed by a person, turned into the request it stands for.
//!
//! Words and quotes follow Redis (`sdssplitargs`): double quotes know `\n \r \t \b \a \xHH \\ \"`, single
//! quotes know `\'`, and a closing quote must be followed by a space or the end.

use super::encode;
use super::request::RequestError;

/// Splits a line into its arguments.
///
/// # Errors
/// [`RequestError::Quotes`] when a quote does not close or is followed by more text.
pub fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, RequestError> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|byte| is_space(*byte)) {
            at += 1;
        }
        if at >= line.len() {
            return Ok(words);
        }
        let mut word = Vec::new();
        at = read_word(line, at, &mut word)?;
        words.push(word);
    }
}

/// Whether C's `isspace` says so, as Redis asks it.
pub(super) fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Encodes arguments as a RESP request.
pub fn encode_request(arguments: &[Vec<u8>], out: &mut Vec<u8>) {
    encode::array(out, arguments.len());
    for argument in arguments {
        encode::bulk(out, argument);
    }
}

/// Whether a line is the start of an HTTP request: someone points a browser, or an attack, at this port.
pub fn is_http(words: &[Vec<u8>]) -> bool {
    let is = |word: &[u8], text: &str| word.eq_ignore_ascii_case(text.as_bytes());
    let first = words.first().map_or(&b""[..], Vec::as_slice);
    is(first, "post") || is(first, "host:") || words.last().is_some_and(|last| last.starts_with(b"HTTP/"))
}

/// Whether bytes begin a handshake of TLS: someone takes this port for one with encryption.
pub fn is_tls(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x16)
}

fn read_word(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Result<usize, RequestError> {
    while let Some(&byte) = line.get(at) {
        match byte {
            b'"' => return read_quoted(line, at + 1, b'"', word),
            b'\'' => return read_quoted(line, at + 1, b'\'', word),
            // Redis ends a word at these and at NUL
            b' ' | b'\n' | b'\r' | b'\t' | 0 => return Ok(at + 1),
            _ => word.push(byte),
        }
        at += 1;
    }
    Ok(at)
}

fn read_quoted(line: &[u8], mut at: usize, quote: u8, word: &mut Vec<u8>) -> Result<usize, RequestError> {
    loop {
        match (line.get(at).copied(), line.get(at + 1).copied()) {
            (None, _) => return Err(RequestError::Quotes),
            (Some(b'\\'), Some(b'x')) if quote == b'"' && hex_pair(line, at + 2).is_some() => {
                word.extend(hex_pair(line, at + 2));
                at += 4;
            }
            (Some(b'\\'), Some(escaped)) if quote == b'"' => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
                at += 2;
            }
            (Some(b'\\'), Some(b'\'')) if quote == b'\'' => {
                word.push(b'\'');
                at += 2;
            }
            (Some(byte), next) if byte == quote => {
                let closed = next.is_none_or(is_space);
                return if closed { Ok(at + 1) } else { Err(RequestError::Quotes) };
            }
            (Some(byte), _) => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

fn hex_pair(line: &[u8], at: usize) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (high, low) = (digit(*line.get(at)?)?, digit(*line.get(at + 1)?)?);
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_quotes_are_split_as_redis_splits_them() {
        let words = |line: &str| split(line.as_bytes()).map(|w| w.concat_words());
        assert_eq!(words("SET key  value\r\n").unwrap(), "SET|key|value");
        assert_eq!(words(r#"SET "a b" 'c d'"#).unwrap(), "SET|a b|c d");
        assert_eq!(words(r#"SET "\x41\n\q" 'it\'s'"#).unwrap(), "SET|A\nq|it's");
        assert_eq!(words(r#"SET "" ''"#).unwrap(), "SET||");
        assert_eq!(words("  ").unwrap(), "");
        for bad in [r#"SET "a"#, r#"SET "a"b"#, "SET 'a", "SET 'a'b"] {
            assert_eq!(words(bad), Err(RequestError::Quotes), "{bad}");
        }
    }

    trait Concat {
        fn concat_words(&self) -> String;
    }

    impl Concat for Vec<Vec<u8>> {
        fn concat_words(&self) -> String {
            self.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join("|")
        }
    }

    #[test]
    fn http_is_known_by_its_first_line() {
        for line in ["POST /", "Host: x", "GET / HTTP/1.1", "PUT /v1 HTTP/1.0"] {
            assert!(is_http(&split(line.as_bytes()).unwrap()), "{line}");
        }
        assert!(!is_http(&split(b"GET HTTP").unwrap()));
    }
}
