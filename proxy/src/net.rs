//! The only place that names a socket type: TLS and unix sockets come in here.
//!
//! [`Stream`] reads and writes through `&self`, so that the end of a turn can write for a connection whose task
//! sleeps. A short read or write says that the kernel has nothing more: the readiness is cleared at once, and no
//! system call is spent on finding EAGAIN.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes for a node that the kernel may keep before it sends them: a quarter of a second at 1 Mbit/s.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 32 * 1024;

/// A connected stream of bytes.
#[derive(Debug)]
pub(crate) struct Stream {
    inner: TcpStream,
}

impl Stream {
    /// Connects; names are resolved at every call, so that a node may move.
    pub(crate) async fn connect(address: &str) -> io::Result<Self> {
        let inner = TcpStream::connect(address).await?;
        inner.set_nodelay(true)?;
        // a connection that waits for something to happen is silent for long: whether it still exists is asked
        let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
        socket2::SockRef::from(&inner).set_tcp_keepalive(&keepalive)?;
        keep_little_unsent(&inner);
        Ok(Self { inner })
    }

    /// Takes over an accepted connection.
    pub(crate) fn from_accepted(accepted: Accepted) -> io::Result<Self> {
        let stream = accepted.inner;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(300));
        socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok(Self { inner: TcpStream::from_std(stream)? })
    }

    /// This end.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// The number of its descriptor, to be shown.
    pub(crate) fn descriptor(&self) -> i32 {
        self.inner.as_raw_fd()
    }

    /// Reads once. 0 is the end of the stream.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.inner.poll_read_ready(cx))?;
            let mut short = None;
            let result = self.inner.try_io(Interest::READABLE, || {
                let (read, _) = rustix::net::recv(&self.inner, &mut *buffer, RecvFlags::empty())?;
                if read > 0 && read < buffer.len() {
                    short = Some(read);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(read)
            });
            match (result, short) {
                (_, Some(read)) => return Poll::Ready(Ok(read)),
                (Err(error), None) if retry(&error) => {}
                (result, None) => return Poll::Ready(result),
            }
        }
    }

    /// Whether the other end has said that nothing more comes, behind whatever was not read yet.
    pub(crate) fn is_read_closed(&self) -> bool {
        let ready = pin!(self.inner.ready(Interest::READABLE));
        let ready = ready.poll(&mut Context::from_waker(Waker::noop()));
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
        let result = self.inner.try_io(Interest::WRITABLE, || {
            let written = rustix::net::send(&self.inner, bytes, flags)?;
            if written < bytes.len() {
                short = Some(written);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(written)
        });
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
        let peeked = rustix::net::recv(&self.inner, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        peeked.is_ok_and(|(read, _)| read > 0)
    }

    /// Ready when a write may succeed again.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_write_ready(cx)
    }

    /// Tells the other end that nothing more will come.
    pub(crate) fn shutdown_write(&self) {
        // an error means that the connection is gone already
        let _ = rustix::net::shutdown(&self.inner, rustix::net::Shutdown::Write);
    }

    /// Ends the connection in both directions, before its descriptor is given back.
    pub(crate) fn shutdown(&self) {
        let _ = rustix::net::shutdown(&self.inner, rustix::net::Shutdown::Both);
    }
}

/// What the kernel takes counts as written, and as progress. If it took megabytes for a slow link, nobody would see them
/// become less, and a node that is only far away would be given up as silent; and more of what is lost with a connection
/// would be UNKNOWN.
#[cfg(target_os = "linux")]
fn keep_little_unsent(stream: &TcpStream) {
    // without it the kernel's buffer is as long as it likes
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES);
}

#[cfg(not(target_os = "linux"))]
fn keep_little_unsent(_stream: &TcpStream) {}

fn retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A connection that was accepted and waits to be handed to a worker, on whose runtime it will live.
#[derive(Debug)]
pub(crate) struct Accepted {
    inner: std::net::TcpStream,
}

impl Accepted {
    /// Takes the connection away from the runtime that accepted it.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        Ok(Self { inner: stream.into_std()? })
    }

    /// Says a last word and closes. The socket is fresh, so its buffer takes the line; if not, the close says it
    /// all.
    pub(crate) fn dismiss(self, line: &[u8]) {
        let _ = rustix::net::send(&self.inner, line, SendFlags::NOSIGNAL);
    }
}

impl From<std::net::TcpStream> for Accepted {
    fn from(inner: std::net::TcpStream) -> Self {
        Self { inner }
    }
}
