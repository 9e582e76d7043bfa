//! Addresses of nodes as operators write them: `host:port`, `[v6]:port`, `rediss://host:port` over TLS, the path of a unix
//! socket, or the name of a master that sentinels watch over.

use std::path::{Path, PathBuf};

/// Longest path of a unix socket, in bytes: what every system can name (Linux 107, macOS 103) with the number of a process
/// behind it.
pub const SOCKET_PATH_BYTES: usize = 95;

/// What the address of a node that speaks TLS begins with, as in the addresses that Redis's tools know.
const TLS: &str = "rediss://";

/// What stands before the name of a master that sentinels know, and the same over TLS.
const SENTINEL: &str = "redis+sentinel://";
const SENTINEL_TLS: &str = "rediss+sentinel://";

/// Longest name of a master, in bytes.
const MASTER_NAME_BYTES: usize = 128;

/// An address in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeAddress<'a> {
    /// Host and port.
    Network(&'a str, u16),
    /// Host and port of a node that speaks TLS.
    Tls(&'a str, u16),
    /// An absolute path.
    Unix(&'a Path),
    /// Wherever sentinels say that the master of this name is.
    Sentinel {
        /// As sentinels call the master.
        name: &'a str,
        /// Whether it speaks TLS.
        over_tls: bool,
    },
}

impl<'a> NodeAddress<'a> {
    /// What an address looks like, for messages.
    pub const FORMS: &'static str = "neither host:port nor rediss://host:port (over TLS) nor the absolute path of a unix socket (at most 95 bytes, without spaces) nor redis+sentinel://NAME";

    /// Reads an address; `None` when it is none.
    pub fn parse(address: &'a str) -> Option<Self> {
        if let Some(path) = socket_path(address) {
            return Some(Self::Unix(path));
        }
        for (scheme, over_tls) in [(SENTINEL, false), (SENTINEL_TLS, true)] {
            if let Some(name) = address.strip_prefix(scheme) {
                return is_master_name(name).then_some(Self::Sentinel { name, over_tls });
            }
        }
        match address.strip_prefix(TLS) {
            Some(place) => split_address(place).map(|(host, port)| Self::Tls(host, port)),
            None => split_address(address).map(|(host, port)| Self::Network(host, port)),
        }
    }

    /// The part of an address that says where, without how it is spoken there.
    pub fn place(address: &str) -> &str {
        address.strip_prefix(TLS).unwrap_or(address)
    }

    /// The address over TLS of what lies at `host:port`.
    pub(crate) fn over_tls(place: &str) -> String {
        format!("{TLS}{place}")
    }

    /// Whether it is spoken to over TLS.
    pub fn is_over_tls(&self) -> bool {
        matches!(self, Self::Tls(..) | Self::Sentinel { over_tls: true, .. })
    }

    /// The text by which two addresses are told to be the same: hosts have no letters of two cases, and a port speaks TLS
    /// or does not.
    pub fn key(address: &str) -> String {
        // the names of masters have letters of two cases
        if let Some(name) = address.strip_prefix(SENTINEL).or_else(|| address.strip_prefix(SENTINEL_TLS)) {
            return format!("{SENTINEL}{name}");
        }
        let address = Self::place(address);
        if address.starts_with('/') {
            // `/run//a` is `/run/a`
            let path: PathBuf = Path::new(address).components().collect();
            path.display().to_string()
        } else {
            address.to_ascii_lowercase()
        }
    }
}

/// Sentinels take letters, digits and `.-_`.
fn is_master_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=MASTER_NAME_BYTES).contains(&name.len()) && name.chars().all(plain)
}

/// The path of a unix socket: absolute, of no more than [`SOCKET_PATH_BYTES`], without spaces, which servers do not tell
/// from the end of an address, and with nothing that could forge a line.
pub fn socket_path(text: &str) -> Option<&Path> {
    let fits = text.starts_with('/')
        && !text.ends_with('/')
        && text.len() <= SOCKET_PATH_BYTES
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    fits.then(|| Path::new(text))
}

/// Host and port of `host:port` or `[v6]:port`; `None` when it is neither.
pub fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())?,
        None => Some(host).filter(|host| !host.contains(':'))?,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    (!host.is_empty() && host.len() <= 253 && host.chars().all(plain)).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_an_address_are_one() {
        assert!(NodeAddress::FORMS.contains(&format!("{SOCKET_PATH_BYTES} bytes")));
        let same = |a: &str, b: &str| NodeAddress::key(a) == NodeAddress::key(b);
        assert!(
            same("rediss://HOST:1", "host:1")
                && same("HOST:1", "host:1")
                && same("/run//a", "/run/./a")
                && !same("/run/A", "/run/a")
                && same("rediss+sentinel://a", "redis+sentinel://a")
                && !same("redis+sentinel://A", "redis+sentinel://a")
        );
    }

    #[test]
    fn addresses_are_split_or_refused() {
        let network = |host, port| Some(NodeAddress::Network(host, port));
        assert_eq!(NodeAddress::parse("127.0.0.1:7001"), network("127.0.0.1", 7001));
        assert_eq!(NodeAddress::parse("cache-1.internal:6379"), network("cache-1.internal", 6379));
        assert_eq!(NodeAddress::parse("[::1]:7001"), network("::1", 7001));
        assert_eq!(NodeAddress::parse("rediss://[::1]:7001"), Some(NodeAddress::Tls("::1", 7001)));
        assert_eq!(NodeAddress::parse("rediss://cache-1:6379"), Some(NodeAddress::Tls("cache-1", 6379)));
        let master = |name, over_tls| Some(NodeAddress::Sentinel { name, over_tls });
        assert_eq!(NodeAddress::parse("redis+sentinel://cache-1"), master("cache-1", false));
        assert_eq!(NodeAddress::parse("rediss+sentinel://Cache_1.a"), master("Cache_1.a", true));
        let longest = format!("/{}", "x".repeat(SOCKET_PATH_BYTES - 1));
        for path in ["/run/redis/redis.sock", "/with:6379", longest.as_str()] {
            assert_eq!(NodeAddress::parse(path), Some(NodeAddress::Unix(Path::new(path))));
        }
        let too_long = format!("{longest}x");
        for bad in [
            "",
            ":",
            "host",
            "host:",
            ":1",
            "host:0",
            "host:65536",
            "::1:7001",
            "[::1:7",
            "a b:1",
            "h:\r\n1",
            "/",
            "/run/",
            "/run/a\r\n",
            "/with a space",
            "run/redis.sock",
            "unix:/run/redis.sock",
            "rediss://",
            "rediss://host",
            "rediss://host:1/0",
            "rediss://user@host:1",
            "rediss:///run/redis.sock",
            "redis://host:1",
            "redis+sentinel://",
            "redis+sentinel://host:26379",
            "redis+sentinel://a b",
            "redis+sentinel://a/0",
            "sentinel://a",
            &too_long,
        ] {
            assert_eq!(NodeAddress::parse(bad), None, "{bad:?}");
        }
    }
}
