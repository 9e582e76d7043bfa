//! A client that sends and receives bytes as they are, with generous deadlines and no interpretation.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::frame::{bulk_request, reply_len};

/// How long a reply may take before a test fails; far beyond what any of them needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How late a reader may come for what had come in time: longer than any scheduler lets a test wait.
const LATE: Duration = Duration::from_secs(1);

/// Why no whole reply came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoReply {
    /// The peer closed (or reset) the connection; what had come before is inside.
    Closed(Vec<u8>),
    /// Nothing more came in time; what had come before is inside.
    Silent(Vec<u8>),
}

/// A connection that speaks bytes.
pub(crate) struct RawClient {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were given out already.
    taken: usize,
}

impl From<TcpStream> for RawClient {
    fn from(stream: TcpStream) -> Self {
        // a unix socket has no such thing
        let _ = stream.set_nodelay(true);
        Self { stream, buffer: Vec::new(), taken: 0 }
    }
}

impl RawClient {
    /// Connects or fails the test.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        TcpStream::connect_timeout(&address, PATIENCE).expect("connect").into()
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send");
    }

    /// Sends bytes unless the peer is gone already.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends one command as an array of bulk strings.
    pub(crate) fn send_command(&mut self, args: &[impl AsRef<[u8]>]) {
        self.send(&bulk_request(args));
    }

    /// One command and the bytes of its reply.
    pub(crate) fn call(&mut self, args: &[impl AsRef<[u8]>]) -> Vec<u8> {
        self.send_command(args);
        self.reply()
    }

    /// As [`RawClient::call`], as text for assertions that read well.
    pub(crate) fn text(&mut self, args: &[impl AsRef<[u8]>]) -> String {
        String::from_utf8_lossy(&self.call(args)).into_owned()
    }

    /// As [`RawClient::call`], but a failure is an answer.
    pub(crate) fn try_call(
        &mut self,
        args: &[impl AsRef<[u8]>],
        patience: Duration,
    ) -> Result<Vec<u8>, NoReply> {
        if !self.try_send(&bulk_request(args)) {
            return Err(NoReply::Closed(Vec::new()));
        }
        self.try_reply(patience)
    }

    /// The bytes of the next whole reply.
    pub(crate) fn reply(&mut self) -> Vec<u8> {
        self.try_reply(PATIENCE).unwrap_or_else(|why| panic!("no reply: {}", describe(&why)))
    }

    /// As [`RawClient::reply`], as text.
    pub(crate) fn text_reply(&mut self) -> String {
        String::from_utf8_lossy(&self.reply()).into_owned()
    }

    /// The bytes of the next whole reply, or why there is none.
    pub(crate) fn try_reply(&mut self, patience: Duration) -> Result<Vec<u8>, NoReply> {
        let limit = Instant::now() + patience;
        loop {
            if let Some(len) = reply_len(&self.buffer[self.taken..]) {
                return Ok(self.take(len));
            }
            self.fill(limit)?;
        }
    }

    /// Exactly `len` bytes, whatever they are.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let limit = Instant::now() + PATIENCE;
        while self.buffer.len() - self.taken < len {
            self.fill(limit).unwrap_or_else(|why| panic!("{len} bytes expected: {}", describe(&why)));
        }
        self.take(len)
    }

    /// Everything until the peer closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let limit = Instant::now() + PATIENCE;
        loop {
            match self.fill(limit) {
                Ok(()) => {}
                Err(NoReply::Closed(_)) => return self.take(self.buffer.len() - self.taken),
                Err(why) => panic!("no close: {}", describe(&why)),
            }
        }
    }

    /// Asserts that nothing comes for a while and the connection stays open.
    pub(crate) fn expect_silence(&mut self, duration: Duration) {
        match self.try_reply(duration) {
            Err(NoReply::Silent(bytes)) if bytes.is_empty() => {}
            other => panic!("silence expected, not {other:?}"),
        }
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let bytes = self.buffer[self.taken..self.taken + len].to_vec();
        self.taken += len;
        if self.taken == self.buffer.len() || self.taken > 1 << 20 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        bytes
    }

    fn fill(&mut self, limit: Instant) -> Result<(), NoReply> {
        let held = |client: &Self| client.buffer[client.taken..].to_vec();
        // what came in time is read though the reader comes late, but not for ever
        let now = Instant::now();
        if now > limit + LATE {
            return Err(NoReply::Silent(held(self)));
        }
        let left = limit.saturating_duration_since(now).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left)).expect("timeout");
        let mut chunk = [0; 1 << 16];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(NoReply::Closed(held(self))),
            Ok(len) => {
                self.buffer.extend_from_slice(&chunk[..len]);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => Ok(()),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(NoReply::Silent(held(self))),
                _ => Err(NoReply::Closed(held(self))),
            },
        }
    }

    /// Sends FIN; replies can still be read.
    pub(crate) fn finish_sending(&mut self) {
        match self.stream.shutdown(Shutdown::Write) {
            // the peer was faster with a close of its own
            Err(error) if error.kind() == ErrorKind::NotConnected => {}
            result => result.expect("shutdown"),
        }
    }

    /// Closes with RST instead of FIN.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("linger");
    }

    /// A second handle on the socket, for a thread that only sends.
    pub(crate) fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("a second handle")
    }
}

fn describe(why: &NoReply) -> String {
    let (what, bytes) = match why {
        NoReply::Closed(bytes) => ("closed", bytes),
        NoReply::Silent(bytes) => ("silent", bytes),
    };
    let shown = &bytes[..bytes.len().min(200)];
    format!("{what} after {} bytes: {}", bytes.len(), String::from_utf8_lossy(shown).escape_debug())
}
