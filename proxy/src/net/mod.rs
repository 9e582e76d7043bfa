//! The only place that names a socket type, and the files of unix sockets; TLS lies in here too.
//!
//! [`Stream`] reads and writes through `&self`, so that the end of a turn can write for a connection whose task
//! sleeps.

mod accepted;
mod endpoint;
mod landing;
mod raw;
mod server;
mod socket_file;
pub(crate) mod tls;

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use rustix::net::{SendFlags, Shutdown};

use crate::masters::{Found, Masters};
use crate::topology::NodeAddress;
pub(crate) use accepted::Accepted;
pub use endpoint::Endpoint;
pub(crate) use landing::Landing;
use raw::Raw;
pub(crate) use server::Server;
pub(crate) use socket_file::SocketFile;
pub(crate) use tls::Tls;
use tls::session::Session;

/// A connected stream of bytes, over the network or a unix socket, encrypted or not.
#[derive(Debug)]
pub(crate) struct Stream {
    raw: Raw,
    /// Encrypts what it carries.
    session: Option<Box<Session>>,
    /// Who is at the other end of a unix socket.
    server: Option<Server>,
    /// Where it was found, if sentinels have said so.
    found: Option<Found>,
}

/// What connections are made with.
#[derive(Debug)]
pub(crate) struct Ways {
    /// What is shown, and who is trusted.
    pub(crate) tls: Tls,
    /// Where nodes are that have no address of their own.
    pub(crate) masters: Masters,
}

impl Stream {
    /// Connects to a node's address; names are resolved at every call, so that a node may move. A TLS handshake is over
    /// by the end.
    pub(crate) async fn connect(address: &str, ways: &Ways) -> io::Result<Self> {
        let (place, found) = ways.masters.resolve(address).await.map_err(io::Error::other)?;
        let connected = Self::connect_to(&place, &ways.tls).await;
        let stream = connected.inspect_err(|_| ways.masters.doubt(address))?;
        Ok(Self { found, ..stream })
    }

    async fn connect_to(address: &str, tls: &Tls) -> io::Result<Self> {
        match NodeAddress::parse(address) {
            Some(NodeAddress::Unix(path)) => {
                let server = Server::at(path)?;
                let raw = Raw::connect_unix(path).await?;
                if Server::at(path)? != server {
                    return Err(io::Error::other("another server took its place meanwhile"));
                }
                Ok(Self { raw, session: None, server: Some(server), found: None })
            }
            Some(NodeAddress::Tls(host, _)) => {
                let session = tls.greet_node(host)?;
                let raw = Raw::connect(NodeAddress::place(address)).await?;
                session.shake_hands(&raw).await?;
                Ok(Self { raw, session: Some(Box::new(session)), server: None, found: None })
            }
            _ => Ok(Self { raw: Raw::connect(address).await?, session: None, server: None, found: None }),
        }
    }

    /// Takes over an accepted connection. A TLS handshake is made while it is read from.
    pub(crate) fn from_accepted(accepted: Accepted, tls: &Tls) -> io::Result<Self> {
        let (raw, encrypted) = accepted.into_raw()?;
        let session = if encrypted { Some(Box::new(tls.greet_client()?)) } else { None };
        Ok(Self { raw, session, server: None, found: None })
    }

    /// Who is at the other end of a unix socket; `None` over the network, where addresses tell servers apart.
    pub(crate) fn server(&self) -> Option<Server> {
        self.server
    }

    /// Whether sentinels have said that a master is there.
    pub(crate) fn is_to_a_master(&self) -> bool {
        self.found.is_some()
    }

    /// Whether sentinels say by now that the master is elsewhere.
    pub(crate) fn is_outdated(&self) -> bool {
        self.found.as_ref().is_some_and(Found::is_outdated)
    }

    /// Ready when [`Stream::is_outdated`].
    pub(crate) async fn moves(&self) {
        match &self.found {
            Some(found) => found.moves().await,
            None => std::future::pending().await,
        }
    }

    /// This end; `None` for that of a unix socket.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.raw.local_addr()
    }

    /// The number of its descriptor, to be shown.
    pub(crate) fn descriptor(&self) -> i32 {
        self.raw.descriptor()
    }

    /// Whether a TLS handshake is not over yet.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_shaking_hands())
    }

    /// Bytes of memory that it holds for what is not whole yet, in either direction.
    pub(crate) fn held_bytes(&self) -> usize {
        self.session.as_ref().map_or(0, |session| session.held_bytes())
    }

    /// Whether the other end has sent the beginning of something that cannot be read before its end has come.
    pub(crate) fn has_incomplete(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_incomplete())
    }

    /// Whether a byte is on its way that [`Stream::try_write`] has not told yet: who has nothing more to write must come
    /// again with that byte, the next of all that is not told.
    pub(crate) fn owes(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.owes())
    }

    /// Reads once. 0 is the end of the stream.
    #[inline]
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match &self.session {
            None => self.raw.poll_read(cx, buffer),
            Some(session) => session.poll_read(&self.raw, cx, buffer),
        }
    }

    /// Whether the other end has said that nothing more comes, behind whatever was not read yet.
    pub(crate) fn is_read_closed(&self) -> bool {
        self.raw.is_read_closed()
    }

    /// Writes once, if the kernel takes anything; `WouldBlock` and short counts mean: wait for
    /// [`Stream::poll_write_ready`], then come with the rest, or with more that begins with the rest. A count of 0 says the
    /// same.
    #[inline]
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.session {
            None => self.raw.send(bytes, SendFlags::NOSIGNAL),
            Some(session) => session.try_write(&self.raw, bytes),
        }
    }

    /// As [`Stream::try_write`]; when the kernel takes everything, the end of the stream travels with it, so that the
    /// other end never sees the one without the other.
    pub(crate) fn try_write_last(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &self.session {
            None => self.raw.send(bytes, SendFlags::NOSIGNAL | SendFlags::MORE)?,
            Some(session) => session.try_write_last(&self.raw, bytes)?,
        };
        if written == bytes.len() {
            self.raw.shutdown(Shutdown::Write);
        }
        Ok(written)
    }

    /// Whether bytes have come that nobody has read.
    pub(crate) fn has_unread(&self) -> bool {
        self.raw.has_unread()
    }

    /// Ready when a write may succeed again.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.raw.poll_write_ready(cx)
    }

    /// Tells the other end that nothing more will come.
    pub(crate) fn shutdown_write(&self) {
        if let Some(session) = &self.session {
            session.say_goodbye(&self.raw);
        }
        self.raw.shutdown(Shutdown::Write);
    }

    /// Ends the connection in both directions, before its descriptor is given back.
    pub(crate) fn shutdown(&self) {
        self.raw.shutdown(Shutdown::Both);
    }
}
