//! Why the keys of a request cannot be told, in the words of the server.
//!
//! Texts are Redis 7.0's.

use std::fmt;

/// Why the keys of a request cannot be told. [`Display`](fmt::Display) is the error's text without the leading `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// The number of keys is no integer.
    NotAnInteger,
    /// The number of keys of a function is no integer.
    BadNumber,
    /// The number of keys is below zero.
    Negative,
    /// The number of keys is no number above zero.
    NotPositive,
    /// This command needs at least one key.
    NoInputKey(&'static str),
    /// The number of keys is larger than the number of arguments.
    TooMany,
    /// The arguments make no sense.
    Syntax,
    /// Keys and values of this command do not pair up.
    Arity(&'static str),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::NotAnInteger => f.write_str("ERR value is not an integer or out of range"),
            KeyError::BadNumber => f.write_str("ERR Bad number of keys provided"),
            KeyError::Negative => f.write_str("ERR Number of keys can't be negative"),
            KeyError::NotPositive => f.write_str("ERR numkeys should be greater than 0"),
            KeyError::NoInputKey(name) => {
                write!(f, "ERR at least 1 input key is needed for '{name}' command")
            }
            KeyError::TooMany => f.write_str("ERR Number of keys can't be greater than number of args"),
            KeyError::Syntax => f.write_str("ERR syntax error"),
            KeyError::Arity(name) => write!(f, "ERR wrong number of arguments for '{name}' command"),
        }
    }
}

impl std::error::Error for KeyError {}
