//! Where a socket is: an address of the network, or a unix socket's path.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use socket2::SockAddr;

/// See the head of this file. Its text is the one that Redis has for it: `127.0.0.1:6380`, `/run/ringway.sock:0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An address and a port.
    Network(SocketAddr),
    /// An address and a port where TLS is spoken.
    Tls(SocketAddr),
    /// The path of a unix socket. A client of it has no address of its own and is known by that path too.
    Unix(Arc<Path>),
}

impl Endpoint {
    /// What the system tells of a listening socket, or of an end of a connection; `None` for a unix socket without a path.
    pub(crate) fn of(address: &SockAddr) -> Option<Self> {
        match (address.as_socket(), address.as_pathname()) {
            (Some(address), _) => Some(Self::Network(address)),
            (None, path) => path.map(|path| Self::Unix(path.into())),
        }
    }

    /// The address on the network, if it is one.
    pub fn network(&self) -> Option<SocketAddr> {
        match self {
            Self::Network(address) | Self::Tls(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The path, if it is a unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Network(_) | Self::Tls(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Network(address) | Self::Tls(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) | Self::Tls(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{}:0", path.display()),
        }
    }
}
