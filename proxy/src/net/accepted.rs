//! A connection that was accepted and waits to be handed to a worker, on whose runtime it will live.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::SendFlags;
use socket2::Socket;

use super::{Endpoint, Raw};

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Accepted {
    inner: Socket,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Network,
    Tls,
    Unix,
}

impl Accepted {
    /// Takes a connection from the one that accepted it `at` an endpoint.
    pub(crate) fn new(socket: impl Into<OwnedFd>, at: &Endpoint) -> Self {
        let kind = match at {
            Endpoint::Network(_) => Kind::Network,
            Endpoint::Tls(_) => Kind::Tls,
            Endpoint::Unix(_) => Kind::Unix,
        };
        Self { inner: socket.into().into(), kind }
    }

    /// The next connection that waits at a socket that listens `at` an endpoint, and whose it is.
    pub(crate) fn next(listener: &Socket, at: &Endpoint) -> io::Result<(Self, Endpoint)> {
        let (inner, peer) = listener.accept()?;
        // what a client of a unix socket may be called is its own to say; it is known by the name of the socket
        let peer = peer.as_socket().map_or_else(|| at.clone(), Endpoint::Network);
        Ok((Self::new(OwnedFd::from(inner), at), peer))
    }

    /// Says a last word and closes. The socket is fresh, so its buffer takes the line; if not, the close says it
    /// all. Who waits for a TLS handshake would not understand it.
    pub(crate) fn dismiss(self, line: &[u8]) {
        if self.kind != Kind::Tls {
            let _ = rustix::net::send(&self.inner, line, SendFlags::NOSIGNAL);
        }
    }

    /// On this thread's runtime, and whether TLS is spoken on it.
    pub(super) fn into_raw(self) -> io::Result<(Raw, bool)> {
        let Self { inner, kind } = self;
        inner.set_nonblocking(true)?;
        let raw = match kind {
            Kind::Network | Kind::Tls => Raw::network(inner.into())?,
            Kind::Unix => Raw::unix(inner.into())?,
        };
        Ok((raw, kind == Kind::Tls))
    }
}
