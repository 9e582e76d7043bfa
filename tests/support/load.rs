//! Clients that write without a pause and reconnect when their connection ends, and note what became of each command.
//!
//! A client behaves as a connection pool does: before it sends, it looks whether the other end has closed. Each command
//! pushes a token that occurs once to the client's own list, so that the node can say afterwards which commands ran, and
//! in which order.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::frame::bulk_request;
use super::raw_client::PATIENCE;

/// What one client saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Tokens whose command was answered with success.
    pub(crate) answered: Vec<String>,
    /// Tokens whose command was sent and not answered, on a connection that ended in order.
    pub(crate) unanswered: Vec<String>,
    /// Tokens whose command was sent and not answered, on a connection that was reset.
    pub(crate) reset: Vec<String>,
    /// Replies that were errors.
    pub(crate) errors: Vec<String>,
    /// Connections that could not be opened, or were reset before anything was sent.
    pub(crate) refused: Vec<String>,
    /// Connections that ended in order.
    pub(crate) ends: usize,
}

/// Clients at work, each on a thread.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Seen>>,
}

impl Load {
    /// One client for each of `depths`, which is how many commands it sends at once.
    pub(crate) fn start(address: SocketAddr, depths: &[usize]) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = depths.iter().enumerate().map(|(id, depth)| {
            let (stop, answered, depth) = (Arc::clone(&stop), Arc::clone(&answered), *depth);
            std::thread::spawn(move || run(address, id, depth, &stop, &answered))
        });
        let clients = clients.collect();
        Self { stop, answered, clients }
    }

    /// Commands answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends the clients between two commands and tells what each saw.
    pub(crate) fn stop(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().expect("the client")).collect()
    }
}

/// The list that a client writes to.
pub(crate) fn list_of(client: usize) -> String {
    format!("load:{client}")
}

fn run(address: SocketAddr, id: usize, depth: usize, stop: &AtomicBool, answered: &AtomicU64) -> Seen {
    let mut seen = Seen::default();
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let stream = match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => stream,
            Err(error) => {
                seen.refused.push(error.to_string());
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
        };
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        connection(stream, id, depth, &mut number, stop, answered, &mut seen);
    }
    seen
}

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Reset,
}

/// Uses one connection until it ends.
fn connection(
    mut stream: TcpStream,
    id: usize,
    depth: usize,
    number: &mut u64,
    stop: &AtomicBool,
    answered: &AtomicU64,
    seen: &mut Seen,
) {
    let mut buffer = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match has_ended(&stream) {
            Ok(false) => {}
            Ok(true) => {
                seen.ends += 1;
                return;
            }
            Err(error) => return seen.refused.push(error.to_string()),
        }
        let tokens: Vec<String> = (0..depth).map(|at| format!("{id}-{}", *number + at as u64)).collect();
        *number += depth as u64;
        let list = list_of(id);
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| bulk_request(&["RPUSH", &list, token])).collect();
        let mut state = if stream.write_all(&bytes).is_ok() { State::Open } else { State::Reset };
        for token in tokens {
            if state == State::Open {
                match line(&mut stream, &mut buffer) {
                    Ok(Some(reply)) if reply.starts_with(':') => {
                        answered.fetch_add(1, Ordering::Relaxed);
                        seen.answered.push(token);
                        continue;
                    }
                    Ok(Some(reply)) => {
                        seen.errors.push(reply);
                        continue;
                    }
                    Ok(None) => state = State::Ended,
                    Err(_) => state = State::Reset,
                }
            }
            let unanswered = if state == State::Ended { &mut seen.unanswered } else { &mut seen.reset };
            unanswered.push(token);
        }
        if state != State::Open {
            seen.ends += usize::from(state == State::Ended);
            return;
        }
    }
}

/// Whether the other end has closed; nothing else may have come.
fn has_ended(stream: &TcpStream) -> std::io::Result<bool> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    match peeked {
        Ok(0) => Ok(true),
        Ok(_) => Err(std::io::Error::other("a reply that nobody asked for")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// One line of a reply; `None` at the end of the stream.
fn line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<String>> {
    loop {
        if let Some(end) = buffer.windows(2).position(|pair| pair == b"\r\n") {
            let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 2);
            return Ok(Some(line));
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            len => buffer.extend_from_slice(&chunk[..len]),
        }
    }
}
