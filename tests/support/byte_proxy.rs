//! A wire between the proxy and a real node that can be slow, cut or narrow.
//!
//! ```text
//!   proxy ◀──▶ ByteProxy ◀──▶ redis-server
//!               slice, delay, cut: on the way back from the node
//! ```

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;

use super::frame::reply_len;

/// What the wire does with the bytes that come back from the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Passes them on.
    Plain,
    /// Passes them on in pieces of so many bytes, each in a write of its own.
    Slice(usize),
    /// Passes each chunk on after this time.
    Delay(Duration),
    /// Passes so many bytes a second on, in both directions.
    Rate(usize),
    /// Keeps them back; the connection stays open.
    Hold,
    /// Passes everything on but what tells that keys have changed.
    NoInvalidations,
    /// Closes after so many more bytes, with RST if `reset`.
    Cut {
        /// Bytes still passed on.
        after: usize,
        /// RST instead of FIN.
        reset: bool,
    },
}

struct Shared {
    wire: Mutex<Wire>,
    stop: AtomicBool,
    /// New connections are closed at once.
    refuses: AtomicBool,
    open: Mutex<Vec<Connection>>,
    target: SocketAddr,
}

/// One connection through the wire.
struct Connection {
    near: TcpStream,
    /// What comes from the proxy waits.
    held: Arc<AtomicBool>,
}

/// The wire; connections through it end when it is dropped.
pub(crate) struct ByteProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl ByteProxy {
    /// A plain wire to `target` (`127.0.0.1:port`).
    pub(crate) fn start(target: &str) -> Self {
        Self::start_on(super::ports::listener(), target)
    }

    /// A way to a server on which everything takes its time, so that what a test does in the midst of something is done in
    /// the midst of it, however fast the machine is.
    pub(crate) fn start_slow(target: &str) -> Self {
        let wire = Self::start(target);
        wire.set(Wire::Delay(Duration::from_millis(10)));
        wire
    }

    /// As [`ByteProxy::start`]; the kernel keeps little of what the wire has not passed on, so that its sender feels it.
    pub(crate) fn start_narrow(target: &str) -> Self {
        let listener = super::ports::listener();
        // those that are accepted have it from the listener
        SockRef::from(&listener).set_recv_buffer_size(16 * 1024).expect("a small buffer");
        Self::start_on(listener, target)
    }

    fn start_on(listener: TcpListener, target: &str) -> Self {
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            wire: Mutex::new(Wire::Plain),
            stop: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            open: Mutex::default(),
            target: target.parse().expect("ip:port"),
        });
        let acceptor = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &acceptor));
        Self { address, shared }
    }

    /// Where the proxy is told the node is.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes the wire for open and later connections.
    pub(crate) fn set(&self, wire: Wire) {
        *self.shared.wire.lock().expect("wire") = wire;
    }

    /// Closes every open connection.
    pub(crate) fn hang_up(&self) {
        for connection in self.shared.open.lock().expect("open").drain(..) {
            connection.held.store(false, Ordering::SeqCst);
            let _ = connection.near.shutdown(Shutdown::Both);
        }
    }

    /// Closes every connection that is opened from now on; those that are open stay.
    pub(crate) fn refuse_new(&self) {
        self.shared.refuses.store(true, Ordering::SeqCst);
    }

    /// Takes connections again after [`ByteProxy::refuse_new`].
    pub(crate) fn take_new(&self) {
        self.shared.refuses.store(false, Ordering::SeqCst);
    }

    /// Keeps back what the proxy sends on the connections that are open now; later ones pass.
    pub(crate) fn hold_requests(&self) {
        self.set_held(true);
    }

    /// Lets go of what [`ByteProxy::hold_requests`] kept back, even if the proxy has given the connection up.
    pub(crate) fn release_requests(&self) {
        self.set_held(false);
    }

    fn set_held(&self, held: bool) {
        let open = self.shared.open.lock().expect("open");
        open.iter().for_each(|connection| connection.held.store(held, Ordering::SeqCst));
    }
}

impl Drop for ByteProxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        self.hang_up();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for near in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(near) = near else { continue };
        if shared.refuses.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(far) = TcpStream::connect(shared.target) else { continue };
        let handles = || Some((near.try_clone().ok()?, far.try_clone().ok()?, near.try_clone().ok()?));
        let Some((near_reader, far_writer, kept)) = handles() else { continue };
        let held = Arc::new(AtomicBool::new(false));
        let connection = Connection { near: kept, held: Arc::clone(&held) };
        shared.open.lock().expect("open").push(connection);
        let (forth, shared) = (Arc::clone(shared), Arc::clone(shared));
        std::thread::spawn(move || copy(near_reader, far_writer, &held, &forth));
        std::thread::spawn(move || copy_back(far, near, &shared));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, held: &AtomicBool, shared: &Shared) {
    let _ = to.set_nodelay(true);
    let mut chunk = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut chunk) {
        wait_while(held);
        let wire = *shared.wire.lock().expect("wire");
        let passed = match wire {
            Wire::Rate(rate) => drip(&mut to, &chunk[..len], rate),
            _ => to.write_all(&chunk[..len]).is_ok(),
        };
        if !passed {
            break;
        }
    }
    // the end is kept back like the bytes before it
    wait_while(held);
    let _ = to.shutdown(Shutdown::Write);
}

/// Writes in pieces of ten milliseconds.
fn drip(to: &mut TcpStream, bytes: &[u8], rate: usize) -> bool {
    bytes.chunks((rate / 100).max(1)).all(|piece| {
        std::thread::sleep(Duration::from_millis(10) * piece.len() as u32 / (rate / 100).max(1) as u32);
        to.write_all(piece).is_ok()
    })
}

fn wait_while(held: &AtomicBool) {
    while held.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn copy_back(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let _ = to.set_nodelay(true);
    let mut chunk = vec![0; 1 << 16];
    while let Ok(len) = from.read(&mut chunk) {
        if len == 0 || !pass(&mut to, &chunk[..len], shared) {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// Whether the connection goes on.
fn pass(to: &mut TcpStream, bytes: &[u8], shared: &Shared) -> bool {
    let wire = *shared.wire.lock().expect("wire");
    match wire {
        Wire::Plain => to.write_all(bytes).is_ok(),
        Wire::Slice(len) => bytes.chunks(len).all(|piece| {
            std::thread::yield_now();
            to.write_all(piece).is_ok()
        }),
        Wire::Delay(duration) => {
            std::thread::sleep(duration);
            to.write_all(bytes).is_ok()
        }
        Wire::Rate(rate) => drip(to, bytes, rate),
        Wire::NoInvalidations => to.write_all(&without_invalidations(bytes)).is_ok(),
        Wire::Hold => {
            while *shared.wire.lock().expect("wire") == Wire::Hold {
                if shared.stop.load(Ordering::SeqCst) {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            pass(to, bytes, shared)
        }
        Wire::Cut { after, reset } if bytes.len() >= after => {
            let _ = to.write_all(&bytes[..after]);
            shared.set_plain();
            if reset {
                let _ = SockRef::from(&*to).set_linger(Some(Duration::ZERO));
            }
            false
        }
        Wire::Cut { after, reset } => {
            *shared.wire.lock().expect("wire") = Wire::Cut { after: after - bytes.len(), reset };
            to.write_all(bytes).is_ok()
        }
    }
}

/// Without the messages that are whole in it.
fn without_invalidations(mut bytes: &[u8]) -> Vec<u8> {
    const MESSAGE: &[u8] = b">2\r\n$10\r\ninvalidate\r\n";
    let mut passed = Vec::new();
    while let Some(at) = bytes.windows(MESSAGE.len()).position(|window| window == MESSAGE) {
        let Some(len) = reply_len(&bytes[at..]) else { break };
        passed.extend_from_slice(&bytes[..at]);
        bytes = &bytes[at + len..];
    }
    passed.extend_from_slice(bytes);
    passed
}

impl Shared {
    fn set_plain(&self) {
        *self.wire.lock().expect("wire") = Wire::Plain;
    }
}
