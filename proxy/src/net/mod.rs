//! The only place that names a socket type, and the files of unix sockets: TLS comes in here.
//!
//! [`Stream`] reads and writes through `&self`, so that the end of a turn can write for a connection whose task
//! sleeps. A short read or write says that the kernel has nothing more: the readiness is cleared at once, and no
//! system call is spent on finding EAGAIN.

mod endpoint;
mod server;
mod socket_file;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, Shutdown};
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

pub use endpoint::Endpoint;
pub(crate) use server::Server;
pub(crate) use socket_file::SocketFile;

/// Bytes for a node that the kernel may keep before it sends them: a quarter of a second at 1 Mbit/s.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 32 * 1024;

/// A connected stream of bytes, over the network or a unix socket.
#[derive(Debug)]
pub(crate) struct Stream {
    inner: Inner,
    /// Who is at the other end of a unix socket.
    server: Option<Server>,
}

#[derive(Debug)]
enum Inner {
    Network(TcpStream),
    Unix(UnixStream),
}

/// The same for both kinds, whose methods have the same names.
macro_rules! either {
    ($inner:expr, $stream:ident => $what:expr) => {
        match $inner {
            Inner::Network($stream) => $what,
            Inner::Unix($stream) => $what,
        }
    };
}

impl Stream {
    /// Connects to `host:port` or to a unix socket's path; names are resolved at every call, so that a node may move.
    pub(crate) async fn connect(address: &str) -> io::Result<Self> {
        if address.starts_with('/') {
            return Self::connect_unix(Path::new(address)).await;
        }
        let inner = TcpStream::connect(address).await?;
        // a connection that waits for something to happen is silent for long: whether it still exists is asked
        on_the_network(&inner, Duration::from_secs(60))?;
        keep_little_unsent(&inner);
        Ok(Self { inner: Inner::Network(inner), server: None })
    }

    async fn connect_unix(path: &Path) -> io::Result<Self> {
        let server = Server::at(path)?;
        let inner = UnixStream::connect(path).await.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::other("its queue of connections is full"),
            _ => error,
        })?;
        if Server::at(path)? != server {
            return Err(io::Error::other("another server took its place meanwhile"));
        }
        Ok(Self { inner: Inner::Unix(inner), server: Some(server) })
    }

    /// Takes over an accepted connection.
    pub(crate) fn from_accepted(accepted: Accepted) -> io::Result<Self> {
        let socket = accepted.inner;
        socket.set_nonblocking(true)?;
        let inner = if accepted.is_on_the_network {
            let stream = TcpStream::from_std(socket.into())?;
            on_the_network(&stream, Duration::from_secs(300))?;
            Inner::Network(stream)
        } else {
            Inner::Unix(UnixStream::from_std(OwnedFd::from(socket).into())?)
        };
        Ok(Self { inner, server: None })
    }

    /// Who is at the other end of a unix socket; `None` over the network, where addresses tell servers apart.
    pub(crate) fn server(&self) -> Option<Server> {
        self.server
    }

    /// This end; `None` for that of a unix socket.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match &self.inner {
            Inner::Network(stream) => stream.local_addr().ok(),
            Inner::Unix(_) => None,
        }
    }

    /// The number of its descriptor, to be shown.
    pub(crate) fn descriptor(&self) -> i32 {
        either!(&self.inner, stream => stream.as_raw_fd())
    }

    /// Reads once. 0 is the end of the stream.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(either!(&self.inner, stream => stream.poll_read_ready(cx)))?;
            let mut short = None;
            let result = either!(&self.inner, stream => stream.try_io(Interest::READABLE, || {
                let (read, _) = rustix::net::recv(stream, &mut *buffer, RecvFlags::empty())?;
                if read > 0 && read < buffer.len() {
                    short = Some(read);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(read)
            }));
            match (result, short) {
                (_, Some(read)) => return Poll::Ready(Ok(read)),
                (Err(error), None) if retry(&error) => {}
                (result, None) => return Poll::Ready(result),
            }
        }
    }

    /// Whether the other end has said that nothing more comes, behind whatever was not read yet.
    pub(crate) fn is_read_closed(&self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        let ready = either!(&self.inner, stream => pin!(stream.ready(Interest::READABLE)).poll(cx));
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// Writes once, if the kernel takes anything; `WouldBlock` and short counts mean: wait for
    /// [`Stream::poll_write_ready`].
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes, SendFlags::NOSIGNAL)
    }

    #[inline]
    fn send(&self, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
        let mut short = None;
        let result = either!(&self.inner, stream => stream.try_io(Interest::WRITABLE, || {
            let written = rustix::net::send(stream, bytes, flags)?;
            if written < bytes.len() {
                short = Some(written);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(written)
        }));
        short.map_or(result, Ok)
    }

    /// As [`Stream::try_write`]; when the kernel takes everything, the end of the stream travels with it, so that the
    /// other end never sees the one without the other.
    pub(crate) fn try_write_last(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.send(bytes, SendFlags::NOSIGNAL | SendFlags::MORE)?;
        if written == bytes.len() {
            self.shutdown_write();
        }
        Ok(written)
    }

    /// Whether bytes have come that nobody has read.
    pub(crate) fn has_unread(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = either!(&self.inner, stream => rustix::net::recv(stream, &mut [0; 1], flags));
        peeked.is_ok_and(|(read, _)| read > 0)
    }

    /// Ready when a write may succeed again.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&self.inner, stream => stream.poll_write_ready(cx))
    }

    /// Tells the other end that nothing more will come.
    pub(crate) fn shutdown_write(&self) {
        // an error means that the connection is gone already
        let _ = either!(&self.inner, stream => rustix::net::shutdown(stream, Shutdown::Write));
    }

    /// Ends the connection in both directions, before its descriptor is given back.
    pub(crate) fn shutdown(&self) {
        let _ = either!(&self.inner, stream => rustix::net::shutdown(stream, Shutdown::Both));
    }
}

/// What the kernel takes counts as written, and as progress. If it took megabytes for a slow link, nobody would see them
/// become less, and a node that is only far away would be given up as silent; and more of what is lost with a connection
/// would be UNKNOWN.
#[cfg(target_os = "linux")]
fn keep_little_unsent(stream: &TcpStream) {
    // without it the kernel's buffer is as long as it likes
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES);
}

#[cfg(not(target_os = "linux"))]
fn keep_little_unsent(_stream: &TcpStream) {}

/// What a connection over the network needs; whether its other end exists is asked after so long a silence.
fn on_the_network(stream: &TcpStream, silence: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(silence))
}

fn retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A connection that was accepted and waits to be handed to a worker, on whose runtime it will live.
#[derive(Debug)]
pub(crate) struct Accepted {
    inner: Socket,
    is_on_the_network: bool,
}

impl Accepted {
    /// Takes a connection from the one that accepted it.
    pub(crate) fn new(socket: impl Into<OwnedFd>, is_on_the_network: bool) -> Self {
        Self { inner: socket.into().into(), is_on_the_network }
    }

    /// The next connection that waits at a socket that listens `at` an endpoint, and whose it is.
    pub(crate) fn next(listener: &Socket, at: &Endpoint) -> io::Result<(Self, Endpoint)> {
        let (inner, peer) = listener.accept()?;
        // what a client of a unix socket may be called is its own to say; it is known by the name of the socket
        let peer = peer.as_socket().map_or_else(|| at.clone(), Endpoint::Network);
        Ok((Self { inner, is_on_the_network: peer.network().is_some() }, peer))
    }

    /// Says a last word and closes. The socket is fresh, so its buffer takes the line; if not, the close says it
    /// all.
    pub(crate) fn dismiss(self, line: &[u8]) {
        let _ = rustix::net::send(&self.inner, line, SendFlags::NOSIGNAL);
    }
}
