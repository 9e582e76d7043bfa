//! The floor's command line, and the replies it keeps ready.

/// Shown when the command line is not understood.
pub const USAGE: &str =
    "usage: ringway-floor --port PORT [--threads N] [--reply ok|bulk:BYTES|array:COUNT:BYTES]";

/// Least bytes of ready replies: a deep pipeline is answered with one write.
const TIN_BYTES: usize = 64 * 1024;

/// What every command is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`.
    Ok,
    /// A bulk string of so many bytes.
    Bulk(usize),
    /// An array of so many bulk strings of so many bytes.
    Array(usize, usize),
}

/// Many replies in a row.
pub struct Tin {
    /// Whole replies, one after the other.
    pub bytes: Vec<u8>,
    /// Length of one of them.
    pub reply_len: usize,
}

impl Reply {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            ["ok"] => Some(Self::Ok),
            ["bulk", bytes] => Some(Self::Bulk(bytes.parse().ok()?)),
            ["array", count, bytes] => Some(Self::Array(count.parse().ok()?, bytes.parse().ok()?)),
            _ => None,
        }
    }

    fn bytes(self) -> Vec<u8> {
        let bulk = |len: usize| format!("${len}\r\n{}\r\n", "x".repeat(len));
        match self {
            Self::Ok => b"+OK\r\n".to_vec(),
            Self::Bulk(len) => bulk(len).into_bytes(),
            Self::Array(count, len) => format!("*{count}\r\n{}", bulk(len).repeat(count)).into_bytes(),
        }
    }

    /// The reply, as often as a write can use it.
    pub fn tin(self) -> Tin {
        let one = self.bytes();
        let times = TIN_BYTES.div_ceil(one.len()) + 1;
        Tin { reply_len: one.len(), bytes: one.repeat(times) }
    }
}

/// A parsed command line.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// Where to listen on loopback.
    pub port: u16,
    /// Loops that share the clients.
    pub threads: usize,
    /// The answer to everything.
    pub reply: Reply,
}

impl Arguments {
    /// Reads `--name value` pairs.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut port, mut threads, mut reply) = (None, 1, Reply::Bulk(64));
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            let bad = || format!("{name}: '{value}' is not understood");
            match name.as_str() {
                "--port" => port = Some(value.parse().map_err(|_| bad())?),
                "--threads" => threads = value.parse().map_err(|_| bad())?,
                "--reply" => reply = Reply::parse(&value).ok_or_else(bad)?,
                _ => return Err(format!("no such flag: {name}")),
            }
        }
        Ok(Self { port: port.ok_or("--port is missing")?, threads, reply })
    }
}
