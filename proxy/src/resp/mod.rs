//! RESP, the Redis serialisation protocol: frames as byte ranges, incremental scans, encoding.
//!
//! Nothing here does IO, keeps a clock or knows a command. A request is cut where it lies in the read
//! buffer ([`Args`]), a reply is only measured ([`reply::ReplyScanner`]): both travel as the bytes that came in.
//! Law kept here: I10, a byte string is framed exactly as Redis frames it, or refused.

pub mod args;
pub mod encode;
pub mod inline;
pub mod reply;
pub mod request;
mod short;

pub use args::{Args, Span};

/// Which version of RESP a connection speaks; `HELLO` changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// RESP2, what every connection starts with.
    #[default]
    Resp2,
    /// RESP3, after `HELLO 3`.
    Resp3,
}

impl Protocol {
    /// The number `HELLO` uses for it.
    pub fn version(self) -> u8 {
        match self {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        }
    }
}
