//! The listening socket, and how it changes hands without a connection being refused or lost.
//!
//! ```text
//!   own        bind ─────────────────────► close: who is in the queue is accepted first
//!   shared     bind beside the old process ─► every new connection is steered here ─► the old one's queue runs dry
//!   replaced   take the path from the old process ─► its queue stays with it and runs dry          (unix sockets)
//!   inherited  from a service manager ───► close: the queue stays with whoever else holds the socket
//! ```
//! Two processes with `SO_REUSEPORT` each have a queue of their own, and closing a listener resets what waits in its
//! queue. So the one that comes last asks the kernel to steer every new connection to it (a filter of one
//! instruction); from then on the queue of the old one only shrinks, and it can be emptied before it is closed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UnixListener;

pub use crate::net::Endpoint;
use crate::net::{Accepted, SocketFile};

/// Connections that may wait to be accepted; the kernel's own bound (`net.core.somaxconn`) is often lower.
const BACKLOG: i32 = 4096;

/// Where the socket comes from, which says what its closing does to connections that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Bound here and nowhere else.
    Own,
    /// Bound here, maybe beside another process (`SO_REUSEPORT`).
    Shared,
    /// Bound by a service manager, which keeps it open.
    Inherited,
}

/// A socket that listens, not yet accepted from.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    origin: Origin,
    at: Endpoint,
    /// What a unix socket that was bound here leaves in the file system.
    file: Option<SocketFile>,
}

impl Listener {
    /// Binds and listens; the address may be a name. With `reuse_port` another process of the same user may listen
    /// there as well; new connections come to the one that came last, where the kernel can do that (Linux).
    ///
    /// # Errors
    /// The address cannot be resolved or is in use.
    pub async fn bind(address: &str, reuse_port: bool) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no such address");
        for address in tokio::net::lookup_host(address).await? {
            match bind(address, reuse_port) {
                Ok(socket) => {
                    let origin = if reuse_port { Origin::Shared } else { Origin::Own };
                    return Self::new(socket, origin);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Makes a unix socket with these rights (`None`: what the process's umask leaves of all) and listens. A file that a
    /// process left that is gone is replaced; with `replace` so is the socket of one that lives, which goes on with the
    /// connections it has.
    ///
    /// # Errors
    /// Somebody listens there, the file is no socket, or the directory takes none.
    pub fn bind_unix(path: &Path, mode: Option<u32>, replace: bool) -> io::Result<Self> {
        let (socket, file) = SocketFile::create(path, mode, replace, BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, origin: Origin::Own, at: Endpoint::Unix(path.into()), file: Some(file) })
    }

    /// Takes a socket that a service manager bound.
    ///
    /// # Errors
    /// The socket does not listen.
    pub fn inherited(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        let socket = Socket::from(socket.into());
        if !socket.is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen"));
        }
        socket.set_nonblocking(true)?;
        Self::new(socket, Origin::Inherited)
    }

    fn new(socket: Socket, origin: Origin) -> io::Result<Self> {
        let at = Endpoint::of(&socket.local_addr()?);
        let at =
            at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the socket has no address"))?;
        Ok(Self { socket, origin, at, file: None })
    }

    /// Clients speak TLS there; a unix socket stays as it is.
    #[must_use]
    pub fn over_tls(mut self) -> Self {
        if let Endpoint::Network(address) = self.at {
            self.at = Endpoint::Tls(address);
        }
        self
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.at
    }

    /// The socket alone, for a listener that need not empty its queue.
    pub fn into_std(self) -> TcpListener {
        self.socket.into()
    }

    /// To be accepted from on this runtime.
    ///
    /// # Errors
    /// The system's words.
    pub(crate) fn start(self) -> io::Result<Open> {
        let socket = OwnedFd::from(self.socket);
        let socket = match self.at {
            Endpoint::Network(_) | Endpoint::Tls(_) => {
                Listening::Network(tokio::net::TcpListener::from_std(socket.into())?)
            }
            Endpoint::Unix(_) => Listening::Unix(UnixListener::from_std(socket.into())?),
        };
        Ok(Open { socket, origin: self.origin, at: self.at, file: self.file })
    }
}

#[derive(Debug)]
enum Listening {
    Network(tokio::net::TcpListener),
    Unix(UnixListener),
}

/// A socket that is accepted from.
#[derive(Debug)]
pub(crate) struct Open {
    socket: Listening,
    origin: Origin,
    at: Endpoint,
    file: Option<SocketFile>,
}

impl Open {
    /// What its closing does to connections that wait.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// The next connection.
    ///
    /// # Errors
    /// The system's words; those that wait go on waiting.
    pub(crate) async fn accept(&self) -> io::Result<(Accepted, Endpoint)> {
        match &self.socket {
            Listening::Network(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Accepted::new(stream.into_std()?, &self.at), Endpoint::Network(peer)))
            }
            Listening::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Accepted::new(stream.into_std()?, &self.at), self.at.clone()))
            }
        }
    }

    /// Lets nobody find the socket any more, where that takes more than to close it.
    pub(crate) fn hide(&mut self) {
        drop(self.file.take());
    }

    /// The next connection that waits in the queue right now. Asks the kernel itself: the runtime's readiness may be
    /// older.
    pub(crate) fn accept_waiting(&self) -> Option<(Accepted, Endpoint)> {
        match &self.socket {
            Listening::Network(listener) => accept_waiting(&SockRef::from(listener), &self.at),
            Listening::Unix(listener) => accept_waiting(&SockRef::from(listener), &self.at),
        }
    }
}

fn accept_waiting(listener: &Socket, at: &Endpoint) -> Option<(Accepted, Endpoint)> {
    loop {
        match Accepted::next(listener, at) {
            Ok(accepted) => return Some(accepted),
            Err(error) => match error.kind() {
                // that one was gone already; the next may not be
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                io::ErrorKind::WouldBlock => return None,
                _ => {
                    tracing::warn!(%error, "connections that waited to be accepted are lost");
                    return None;
                }
            },
        }
    }
}

fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    if reuse_port && let Err(error) = steer_here(&socket) {
        tracing::warn!(
            %error,
            "the system cannot steer new connections to the newest process: a few may be reset when the old one ends"
        );
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Asks the kernel to give every new connection to the second socket of the group, which is the newest of two. When
/// there is no second one it falls back to the only one there is, so the filter may stay for good.
#[cfg(target_os = "linux")]
fn steer_here(socket: &Socket) -> io::Result<()> {
    use nix::libc::{sock_filter, sock_fprog};
    use nix::sys::socket::{setsockopt, sockopt::AttachReusePortCbpf};

    /// `BPF_RET | BPF_K`: answer a constant.
    const RETURN: u16 = 0x06;
    let mut steps = [sock_filter { code: RETURN, jt: 0, jf: 0, k: 1 }];
    let program = sock_fprog { len: 1, filter: steps.as_mut_ptr() };
    setsockopt(socket, AttachReusePortCbpf, &program)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn steer_here(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    async fn bound(address: &str, reuse_port: bool) -> Listener {
        Listener::bind(address, reuse_port).await.unwrap()
    }

    #[tokio::test]
    async fn an_address_is_shared_only_when_both_ask_for_it() {
        let own = bound("127.0.0.1:0", false).await;
        let address = own.endpoint().to_string();
        assert_eq!(Listener::bind(&address, true).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let shared = bound("127.0.0.1:0", true).await;
        let address = shared.endpoint().to_string();
        assert!(Listener::bind(&address, true).await.is_ok());
        assert_eq!(Listener::bind(&address, false).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn new_connections_come_to_the_newest_listener_and_fall_back_when_it_is_gone() {
        let mut current = bound("127.0.0.1:0", true).await;
        let address = current.endpoint().network().unwrap();
        for _ in 0..5 {
            let newest = bound(&address.to_string(), true).await;
            let clients: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
            assert!(accept_waiting(&current.socket, current.endpoint()).is_none(), "the old one gets nobody");
            for client in &clients {
                let (_, peer) =
                    accept_waiting(&newest.socket, newest.endpoint()).expect("the newest one gets all");
                assert_eq!(peer.network(), client.local_addr().ok());
            }
            // a newcomer that fails leaves everything as it was
            drop(bound(&address.to_string(), true).await);
            drop(std::mem::replace(&mut current, newest));
            let _client = TcpStream::connect(address).unwrap();
            assert!(accept_waiting(&current.socket, current.endpoint()).is_some());
        }
    }

    #[tokio::test]
    async fn a_socket_that_does_not_listen_is_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        assert!(Listener::inherited(socket).is_err());
        let own = bound("127.0.0.1:0", false).await;
        assert!(Listener::inherited(own.into_std()).is_ok());
    }
}
