//! A socket's bytes as they are, over the network or a unix socket.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// Bytes for a node that the kernel may keep before it sends them: a quarter of a second at 1 Mbit/s.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 32 * 1024;

/// See the head of this file.
#[derive(Debug)]
pub(super) enum Raw {
    Network(TcpStream),
    Unix(UnixStream),
}

/// The same for both kinds, whose methods have the same names.
macro_rules! either {
    ($raw:expr, $stream:ident => $what:expr) => {
        match $raw {
            Raw::Network($stream) => $what,
            Raw::Unix($stream) => $what,
        }
    };
}

impl Raw {
    /// Connects to a node at `host:port`; names are resolved at every call, so that a node may move.
    pub(super) async fn connect(address: &str) -> io::Result<Self> {
        let inner = TcpStream::connect(address).await?;
        // a connection that waits for something to happen is silent for long: whether it still exists is asked
        on_the_network(&inner, Duration::from_secs(60))?;
        keep_little_unsent(&inner);
        Ok(Self::Network(inner))
    }

    /// Connects to a node at the path of a unix socket.
    pub(super) async fn connect_unix(path: &Path) -> io::Result<Self> {
        let inner = UnixStream::connect(path).await.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::other("its queue of connections is full"),
            _ => error,
        })?;
        Ok(Self::Unix(inner))
    }

    /// Takes over a client's connection over the network.
    pub(super) fn network(socket: OwnedFd) -> io::Result<Self> {
        let stream = TcpStream::from_std(socket.into())?;
        on_the_network(&stream, Duration::from_secs(300))?;
        Ok(Self::Network(stream))
    }

    /// Takes over a client's connection over a unix socket.
    pub(super) fn unix(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self::Unix(UnixStream::from_std(socket.into())?))
    }

    /// This end; `None` for that of a unix socket.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Network(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The number of its descriptor.
    pub(super) fn descriptor(&self) -> i32 {
        either!(self, stream => stream.as_raw_fd())
    }

    /// Reads once. 0 is the end of the stream. A short read says that the kernel has nothing more: the readiness is
    /// cleared at once, and no system call is spent on finding EAGAIN.
    #[inline]
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(either!(self, stream => stream.poll_read_ready(cx)))?;
            let mut short = None;
            let result = either!(self, stream => stream.try_io(Interest::READABLE, || {
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
    pub(super) fn is_read_closed(&self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        let ready = either!(self, stream => pin!(stream.ready(Interest::READABLE)).poll(cx));
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// Writes once; `WouldBlock` and short counts mean: wait for [`Raw::poll_write_ready`].
    #[inline]
    pub(super) fn send(&self, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
        let sent = || match self {
            Self::Network(stream) => rustix::net::send(stream, bytes, flags),
            Self::Unix(stream) => rustix::net::send(stream, bytes, flags),
        };
        self.send_with(bytes.len(), sent)
    }

    /// As [`Raw::send`], of several pieces.
    pub(super) fn send_vectored(&self, pieces: &[IoSlice<'_>], flags: SendFlags) -> io::Result<usize> {
        let sent = || {
            let socket = either!(self, stream => stream.as_fd());
            rustix::net::sendmsg(socket, pieces, &mut SendAncillaryBuffer::default(), flags)
        };
        self.send_with(pieces.iter().map(|piece| piece.len()).sum(), sent)
    }

    #[inline]
    fn send_with(&self, len: usize, send: impl Fn() -> rustix::io::Result<usize>) -> io::Result<usize> {
        let mut short = None;
        let result = either!(self, stream => stream.try_io(Interest::WRITABLE, || {
            let written = send()?;
            if written < len {
                short = Some(written);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(written)
        }));
        short.map_or(result, Ok)
    }

    /// Whether bytes have come that nobody has read.
    pub(super) fn has_unread(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = either!(self, stream => rustix::net::recv(stream, &mut [0; 1], flags));
        peeked.is_ok_and(|(read, _)| read > 0)
    }

    /// Ready when a write may succeed again.
    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_write_ready(cx))
    }

    /// Ends the connection in these directions.
    pub(super) fn shutdown(&self, how: Shutdown) {
        // an error means that the connection is gone already
        let _ = either!(self, stream => rustix::net::shutdown(stream, how));
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
