//! One connection's TLS: plain bytes on this side, records on that of the socket.
//!
//! What is written is told by law (I3, I4): a byte that is *told* as written may have reached the other end, and one that
//! is not has not. Records make that harder than it is on a bare socket, since the library takes bytes that the kernel
//! then does not: they lie here, encrypted, until it does. If all of a caller's bytes were told as written then, the
//! caller would not come again, and they would lie here for ever. So the last one of them is *owed*: it is told only once
//! the kernel has all. Its record is not whole before that, and the other end can read none of it.
//!
//! ```text
//!   try_write(abcdef) ─► all encrypted, the kernel takes a part ─► 5     (f is owed)
//!   try_write(f…)     ─► the rest goes ─► f counts, and what stands behind it is next
//! ```
//! A lock, since connections that are lent to one client at a time must be `Sync`; nobody ever waits for it.

use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustix::net::SendFlags;
use rustls::{CertificateError, ClientConnection, Connection};

use super::record::Unfinished;
use crate::net::raw::Raw;

/// Most bytes of a record on the wire, with room to spare (2^14 + 2,048 + 5: RFC 5246, 6.2.3).
const RECORD_BYTES: usize = 18 * 1024;
/// What is read at once where the caller's buffer cannot hold a record beside it, in bytes: with the rest of a record it
/// is never more than the library takes.
const LITTLE_BYTES: usize = 1024;
/// How many bytes are read at once after records of usual length; a caller's buffer may have room for less.
const MOST_READ: usize = 1 << 20;
/// Records this short on average are read a few at a time: to change keys takes a record of 27 bytes and as long as many
/// commands, and a client may ask for it as often as it likes.
const SHORT_RECORD: usize = 64;
/// How many bytes of such records are read at once.
const SHORT_READ: usize = 2048;
/// Most bytes that the library keeps of messages of its own, which may be many records long.
const KEPT_BYTES: usize = 64 * 1024;
/// So many bytes of such messages are worth a look at how long they take; two tickets or a change of keys are fewer.
const QUIET_BYTES: usize = 1024;
/// Most plain bytes for a node that are encrypted and not sent: what a slow link takes of them is seen by nobody.
const NODE_UNSENT_BYTES: usize = 16 * 1024;

/// See the head of this file.
pub(in crate::net) struct Session(Mutex<Inner>);

struct Inner {
    connection: Connection,
    /// The caller comes again with a byte that is on its way already.
    owes: bool,
    /// Bytes that were encrypted last and that the kernel has not taken yet, no more than so many.
    unsent: usize,
    unfinished: Unfinished,
    /// The handshake is not over.
    greets: bool,
    /// Bytes that came since the handshake was over, or since the last of which a plain byte came out.
    quiet: usize,
    /// How many bytes may be read at once: few after short records, more with each read of longer ones.
    most: usize,
    /// Whose certificates are trusted, in words.
    trusts: &'static str,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    /// `trusts` says in words whose certificates are trusted.
    pub(super) fn new(connection: Connection, trusts: &'static str) -> Self {
        let unfinished = Unfinished::default();
        let (owes, unsent, greets, quiet, most) = (false, 0, true, 0, SHORT_READ);
        Self(Mutex::new(Inner { connection, owes, unsent, unfinished, greets, quiet, most, trusts }))
    }

    /// As [`Session::new`], for one with a node.
    pub(super) fn with_node(connection: ClientConnection, trusts: &'static str) -> Self {
        let mut connection = Connection::from(connection);
        connection.set_buffer_limit(Some(NODE_UNSENT_BYTES));
        Self::new(connection, trusts)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::net) fn is_shaking_hands(&self) -> bool {
        self.inner().connection.is_handshaking()
    }

    /// Bytes of what is not whole yet, in both directions.
    pub(in crate::net) fn held_bytes(&self) -> usize {
        let inner = self.inner();
        inner.unfinished.len().max(inner.quiet.min(KEPT_BYTES)) + inner.unsent
    }

    /// Whether a record, or a long message of the library's, has begun to come.
    pub(in crate::net) fn has_incomplete(&self) -> bool {
        let inner = self.inner();
        inner.unfinished.len() > 0 || inner.quiet > QUIET_BYTES
    }

    /// Whether the caller must come again with a byte that is on its way.
    pub(in crate::net) fn owes(&self) -> bool {
        self.inner().owes
    }

    /// Makes the handshake with a node.
    pub(in crate::net) async fn shake_hands(&self, raw: &Raw) -> io::Result<()> {
        poll_fn(|cx| self.poll_hands(raw, cx)).await.map_err(|error| {
            let why = if error.kind() == io::ErrorKind::UnexpectedEof {
                "it closed the connection".to_owned()
            } else {
                error.to_string()
            };
            io::Error::new(error.kind(), format!("TLS handshake failed: {why}"))
        })
    }

    fn poll_hands(&self, raw: &Raw, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.inner();
        loop {
            inner.flush(raw, SendFlags::NOSIGNAL)?;
            if inner.connection.wants_write() {
                ready!(raw.poll_write_ready(cx))?;
            } else if !inner.connection.is_handshaking() {
                return Poll::Ready(Ok(()));
            } else {
                let mut little = [0; LITTLE_BYTES];
                match ready!(raw.poll_read(cx, &mut little))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    read => inner.take(raw, &little[..read])?,
                }
            }
        }
    }

    /// As [`Raw::poll_read`], of what was sent before it was encrypted. [`io::ErrorKind::InvalidData`]: the other end
    /// does not speak TLS as it must.
    pub(in crate::net) fn poll_read(
        &self,
        raw: &Raw,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.inner();
        loop {
            if let Some(read) = inner.read(buffer)? {
                return Poll::Ready(Ok(read));
            }
            // words of the library's own; what is owed must wait for its writer, who is told of it
            if inner.connection.wants_write() && !inner.owes {
                inner.flush(raw, SendFlags::NOSIGNAL)?;
                if inner.connection.wants_write()
                    && let Poll::Ready(ready) = raw.poll_write_ready(cx)
                {
                    ready?;
                    continue;
                }
            }
            if buffer.len() >= 2 * RECORD_BYTES {
                // plain bytes are never more than the encrypted ones, but for the beginning of a record that came before
                let end = buffer.len().min(RECORD_BYTES + inner.most);
                let read = ready!(raw.poll_read(cx, &mut buffer[RECORD_BYTES..end]))?;
                let plain = inner.take_in_place(raw, buffer, read)?;
                if plain > 0 {
                    return Poll::Ready(Ok(plain));
                }
            } else {
                let mut little = [0; LITTLE_BYTES];
                let read = ready!(raw.poll_read(cx, &mut little))?;
                inner.take(raw, &little[..read])?;
            }
        }
    }

    /// As [`Raw::send`]; see the head of this file.
    pub(in crate::net) fn try_write(&self, raw: &Raw, bytes: &[u8]) -> io::Result<usize> {
        self.inner().write(raw, bytes, SendFlags::NOSIGNAL)
    }

    /// As [`Session::try_write`]; if all of it goes, so does the word that nothing more comes, and the kernel keeps both
    /// for the end of the stream.
    pub(in crate::net) fn try_write_last(&self, raw: &Raw, bytes: &[u8]) -> io::Result<usize> {
        let inner = &mut *self.inner();
        let flags = SendFlags::NOSIGNAL | SendFlags::MORE;
        let written = inner.write(raw, bytes, flags)?;
        if written == bytes.len() {
            inner.say_goodbye(raw, flags);
        }
        Ok(written)
    }

    /// Says that nothing more comes, if the kernel takes it.
    pub(in crate::net) fn say_goodbye(&self, raw: &Raw) {
        self.inner().say_goodbye(raw, SendFlags::NOSIGNAL);
    }
}

impl Inner {
    /// See the head of this file.
    fn write(&mut self, raw: &Raw, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.flush(raw, flags)?;
        if self.connection.wants_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut taken = usize::from(std::mem::take(&mut self.owes));
        while taken < bytes.len() {
            let len = match self.connection.writer().write(&bytes[taken..]) {
                Ok(len) => len,
                // what went before is told; what is wrong comes again with the next call
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            };
            taken += len;
            self.unsent = len;
            if self.flush(raw, flags).is_err() {
                // some of it may have gone; what is wrong comes again with the next call
                break;
            }
            if self.connection.wants_write() {
                if taken == bytes.len() {
                    self.owes = true;
                    taken -= 1;
                }
                break;
            }
        }
        Ok(taken)
    }

    /// What is owed is no end.
    fn say_goodbye(&mut self, raw: &Raw, flags: SendFlags) {
        if !self.owes {
            self.connection.send_close_notify();
            let _ = self.flush(raw, flags);
        }
    }

    /// Plain bytes that are here already; `Some(0)` at the end of the stream.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.connection.reader().read(buffer) {
            Ok(read) => {
                self.quiet = 0;
                Ok(Some(read))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // closed without a word: commands and replies say themselves where they end
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }

    /// Takes encrypted bytes; none are the end of the stream.
    fn take(&mut self, raw: &Raw, mut bytes: &[u8]) -> io::Result<()> {
        self.follow(bytes);
        if bytes.is_empty() {
            return self.take_one(raw, bytes).map(drop);
        }
        while !bytes.is_empty() {
            let taken = self.take_one(raw, bytes)?;
            if taken == 0 {
                // behind the other end's last word
                break;
            }
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Takes `read` encrypted bytes that lie at [`RECORD_BYTES`] in `buffer`, and puts the plain ones to its beginning;
    /// answers how many they are.
    fn take_in_place(&mut self, raw: &Raw, buffer: &mut [u8], read: usize) -> io::Result<usize> {
        let (mut at, end, mut plain) = (RECORD_BYTES, RECORD_BYTES + read, 0);
        self.follow(&buffer[at..end]);
        loop {
            let taken = self.take_one(raw, &buffer[at..end])?;
            at += taken;
            plain += self.read(&mut buffer[plain..at])?.unwrap_or(0);
            if taken == 0 || at == end {
                return Ok(plain);
            }
        }
    }

    /// Keeps account of what comes.
    fn follow(&mut self, bytes: &[u8]) {
        self.unfinished.follow(bytes);
        let shortest = SHORT_RECORD * self.unfinished.take_whole();
        self.most = if bytes.len() < shortest { SHORT_READ } else { (2 * self.most).min(MOST_READ) };
        self.quiet += bytes.len();
    }

    /// Takes as many of the encrypted bytes as the library will at once.
    fn take_one(&mut self, raw: &Raw, mut bytes: &[u8]) -> io::Result<usize> {
        let taken = self.connection.read_tls(&mut bytes)?;
        if let Err(error) = self.connection.process_new_packets() {
            // the other end is told what is wrong, if the kernel takes it; not behind what is owed, which would go and
            // never be told
            if !self.owes {
                let _ = self.flush(raw, SendFlags::NOSIGNAL);
            }
            return Err(io::Error::new(io::ErrorKind::InvalidData, told(&error, self.trusts)));
        }
        if self.greets && !self.connection.is_handshaking() {
            (self.greets, self.quiet) = (false, self.unfinished.len());
        }
        Ok(taken)
    }

    /// Writes what is encrypted, as far as the kernel takes it.
    fn flush(&mut self, raw: &Raw, flags: SendFlags) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Sink(raw, flags)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent = 0;
        Ok(())
    }
}

/// The library's words, and what they mean where they do not say it.
fn told(error: &rustls::Error, trusts: &str) -> String {
    use rustls::{AlertDescription as Alert, Error};
    match error {
        Error::InvalidMessage(_) => format!("it does not speak TLS ({error})"),
        Error::InvalidCertificate(error) => format!("its certificate {}", about_certificate(error, trusts)),
        Error::AlertReceived(alert @ (Alert::CertificateRequired | Alert::BadCertificate)) => {
            format!("it refuses the certificate that it was shown, or was shown none ({alert:?})")
        }
        error => error.to_string(),
    }
}

/// What is wrong with a certificate, as the end of a sentence about it.
pub(super) fn about_certificate(error: &CertificateError, trusts: &str) -> String {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => format!("is signed by none of the authorities of {trusts}"),
        E::Expired | E::ExpiredContext { .. } => "has expired".to_owned(),
        E::NotValidYet | E::NotValidYetContext { .. } => "is not valid yet".to_owned(),
        // the library has no words of its own for these two
        E::Other(other) if format!("{other:?}").contains("UnsupportedCertVersion") => {
            "is of X.509 version 1; sign it again as version 3 (openssl x509 -req … -extfile)".to_owned()
        }
        E::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "is an authority's own; sign one that is none (basicConstraints=CA:FALSE)".to_owned()
        }
        error => format!("cannot be used: {error}"),
    }
}

/// Where records go.
struct Sink<'a>(&'a Raw, SendFlags);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes, self.1)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match pieces {
            [one] => self.write(one),
            pieces => self.0.send_vectored(pieces, self.1),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
