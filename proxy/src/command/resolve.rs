//! From a request to its row: existence first, then the number of arguments, as Redis checks them.
//!
//! The texts of the errors are Redis 7.0's, byte for byte: what is echoed of the request is cut at 128 bytes and at
//! the first NUL, and holds no line break (law I10: no client's bytes may forge a reply).

use std::fmt;

use super::row::Command;
use super::table;
use crate::resp::Args;

/// The row of a request. Ignores the case of letters, goes on to the subcommand of a container, checks the number of
/// arguments. No allocation unless it fails.
#[inline]
pub fn resolve(args: &Args) -> Result<&'static Command, ResolveError> {
    let name = args.get(0).unwrap_or_default();
    let Some(command) = table::find(name) else {
        return Err(ResolveError::unknown(args));
    };
    let command = match args.get(1) {
        Some(below) if command.is_container() => match table::find_below(command, below) {
            Some(subcommand) => subcommand,
            None => return Err(ResolveError::unknown_subcommand(name, below)),
        },
        _ => command,
    };
    if command.accepts(args.len()) { Ok(command) } else { Err(ResolveError::Arity(command)) }
}

/// Why a request has no row. [`Display`](fmt::Display) is the error's text without the leading `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError {
    /// No such command; the text that says so.
    Unknown(Box<[u8]>),
    /// No such subcommand of a container; the text that says so.
    UnknownSubcommand(Box<[u8]>),
    /// The command exists and wants another number of arguments.
    Arity(&'static Command),
}

/// How much of a name, and of all arguments together, an error repeats.
const ECHO_BYTES: usize = 128;

impl ResolveError {
    fn unknown(args: &Args) -> Self {
        let mut text = b"ERR unknown command '".to_vec();
        text.extend(shown(args.get(0).unwrap_or_default(), ECHO_BYTES));
        text.extend_from_slice(b"', with args beginning with: ");
        let begin = text.len();
        for arg in args.iter().skip(1) {
            let used = text.len() - begin;
            if used >= ECHO_BYTES {
                break;
            }
            text.push(b'\'');
            text.extend(shown(arg, ECHO_BYTES - used));
            text.extend_from_slice(b"' ");
        }
        ResolveError::Unknown(text.into())
    }

    fn unknown_subcommand(container: &[u8], name: &[u8]) -> Self {
        let mut text = b"ERR unknown subcommand '".to_vec();
        text.extend(shown(name, ECHO_BYTES));
        text.extend_from_slice(b"'. Try ");
        text.extend(shown(container, ECHO_BYTES).map(|byte| byte.to_ascii_uppercase()));
        text.extend_from_slice(b" HELP.");
        ResolveError::UnknownSubcommand(text.into())
    }

    /// Appends the error as a reply, with the client's own bytes where they are not UTF-8.
    pub fn write_reply(&self, out: &mut Vec<u8>) {
        out.push(b'-');
        match self {
            ResolveError::Unknown(text) | ResolveError::UnknownSubcommand(text) => {
                out.extend_from_slice(text)
            }
            ResolveError::Arity(_) => out.extend_from_slice(self.to_string().as_bytes()),
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// What an error shows of a client's bytes: up to the first NUL, at most `limit`, line breaks as spaces.
fn shown(bytes: &[u8], limit: usize) -> impl Iterator<Item = u8> + '_ {
    let until_nul = bytes.iter().copied().take_while(|byte| *byte != 0);
    until_nul.take(limit).map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte })
}

impl fmt::Display for ResolveError {
    /// Bytes that are not UTF-8 become one `?` each, so that the text never grows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::Unknown(text) | ResolveError::UnknownSubcommand(text) => {
                for chunk in text.utf8_chunks() {
                    f.write_str(chunk.valid())?;
                    chunk.invalid().iter().try_for_each(|_| f.write_str("?"))?;
                }
                Ok(())
            }
            ResolveError::Arity(command) => {
                write!(f, "ERR wrong number of arguments for '{}' command", command.full_name)
            }
        }
    }
}

impl std::error::Error for ResolveError {}

#[cfg(test)]
mod tests {
    use super::super::test_args::request;
    use super::*;

    fn text(parts: &[&[u8]]) -> String {
        resolve(&request(parts).args())
            .map(|row| row.full_name.to_owned())
            .unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn finds_rows_and_checks_the_number_of_arguments() {
        assert_eq!(text(&[b"GeT", b"k"]), "get");
        assert_eq!(text(&[b"get"]), "ERR wrong number of arguments for 'get' command");
        assert_eq!(text(&[b"OBJECT", b"encoding", b"k"]), "object|encoding");
        assert_eq!(text(&[b"object"]), "ERR wrong number of arguments for 'object' command");
        assert_eq!(text(&[b"object", b"freq"]), "ERR wrong number of arguments for 'object|freq' command");
        assert_eq!(text(&[b"command"]), "command");
        assert_eq!(text(&[b"command", b"DOCS"]), "command|docs");
    }

    #[test]
    fn unknown_names_are_echoed_like_redis_does() {
        assert_eq!(text(&[b"foo"]), "ERR unknown command 'foo', with args beginning with: ");
        assert_eq!(
            text(&[b"foo", b"a", b"b"]),
            "ERR unknown command 'foo', with args beginning with: 'a' 'b' "
        );
        assert_eq!(text(&[b"x\r\n+OK"]), "ERR unknown command 'x  +OK', with args beginning with: ");
        assert_eq!(text(&[b"xGroup", b"f\r\n\0g"]), "ERR unknown subcommand 'f  '. Try XGROUP HELP.");
        assert_eq!(text(&[b"\xff\0b", b"\xff"]), "ERR unknown command '?', with args beginning with: '?' ");
    }

    #[test]
    fn long_echoes_are_cut() {
        let (name, b, c) = ([b'a'; 300], [b'b'; 100], [b'c'; 100]);
        let expected = format!(
            "ERR unknown command '{}', with args beginning with: '{}' '{}' ",
            "a".repeat(128),
            "b".repeat(100),
            "c".repeat(25)
        );
        assert_eq!(text(&[&name, &b, &c, b"d"]), expected);
    }

    #[test]
    fn a_reply_is_one_line() {
        let mut out = Vec::new();
        resolve(&request(&[b"x\r\n", b"\n\xff"]).args()).expect_err("unknown").write_reply(&mut out);
        assert_eq!(out, b"-ERR unknown command 'x  ', with args beginning with: ' \xff' \r\n");
    }
}
