//! A session over a socket that takes little at once, against the library's own other end.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustls::{ClientConnection, ServerConnection};

use super::*;
use crate::net::tls::{Authorities, Identity, NodeTls, ServerTls, Verify};

/// Both ends' settings, of a certificate made for this test.
fn made() -> (ServerTls, NodeTls) {
    let made = rcgen::generate_simple_self_signed(vec!["node".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = Identity { certificate: certificate.as_bytes(), key: key.as_bytes() };
    let nodes = NodeTls::new(Authorities::Pem(certificate.as_bytes()), None, Verify::Name, None).unwrap();
    (ServerTls::new(identity, None).unwrap(), nodes)
}

/// The other end: a connection of the library over a socket that is not waited for.
struct Peer {
    connection: Connection,
    socket: UnixStream,
    /// Plain bytes that have come.
    came: Vec<u8>,
}

impl Peer {
    /// Reads and writes what can be, at most `most` encrypted bytes.
    fn step(&mut self, most: usize) {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let mut left = most;
        while left > 0 {
            match self.connection.read_tls(&mut (&mut self.socket).take(left as u64)) {
                Ok(0) => break,
                Ok(read) => left -= read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
            // an alert of this end comes behind what it has sent
            let goes_on = self.connection.process_new_packets().is_ok();
            let mut plain = [0; 4096];
            while let Ok(read @ 1..) = self.connection.reader().read(&mut plain) {
                self.came.extend_from_slice(&plain[..read]);
            }
            if !goes_on {
                break;
            }
        }
    }
}

/// A session and its other end, their handshake over. The kernel holds a few kilobytes between them.
async fn pair(node: bool) -> (Session, Raw, Peer) {
    let (near, far) = UnixStream::pair().unwrap();
    for socket in [&near, &far] {
        socket.set_nonblocking(true).unwrap();
        socket2::SockRef::from(socket).set_send_buffer_size(4096).unwrap();
    }
    let (server, nodes) = made();
    let client = || ClientConnection::new(nodes.config(), nodes.server_name("node").unwrap()).unwrap();
    let server = || ServerConnection::new(server.config.clone()).unwrap();
    let (session, connection) = match node {
        true => (Session::new(client().into(), ""), Connection::from(server())),
        false => (Session::new(server().into(), ""), Connection::from(client())),
    };
    let raw = Raw::unix(OwnedFd::from(near)).unwrap();
    let mut peer = Peer { connection, socket: far, came: Vec::new() };
    let mut nothing = [0; 64 * 1024];
    while session.is_shaking_hands() || peer.connection.is_handshaking() {
        poll_fn(|cx| {
            if node && session.is_shaking_hands() {
                assert!(!matches!(session.poll_hands(&raw, cx), Poll::Ready(Err(_))));
            } else {
                assert!(session.poll_read(&raw, cx, &mut nothing).is_pending());
            }
            Poll::Ready(())
        })
        .await;
        peer.step(usize::MAX);
        tokio::task::yield_now().await;
    }
    (session, raw, peer)
}

/// The next of a sequence (xorshift, Marsaglia 2003) below a bound.
fn random(state: &mut u64, below: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state % below as u64) as usize
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_io().build().unwrap().block_on(test)
}

#[test]
fn i4_no_byte_arrives_that_was_not_told_as_written_and_all_that_were_do() {
    for node in [false, true] {
        run(async {
            let (session, raw, mut peer) = pair(node).await;
            let rng = &mut 0x9e37_79b9_7f4a_7c15;
            let bytes: Vec<u8> = (0..600_000_u32).map(|n| (n / 7 + n) as u8).collect();
            let (mut told, mut owed) = (0, 0);
            while told < bytes.len() {
                // what is offered may end anywhere behind what was offered before
                let end = (told + 1 + random(rng, 100_000)).min(bytes.len());
                match session.try_write(&raw, &bytes[told..end]) {
                    Ok(written) => told += written,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                owed += usize::from(session.inner().owes);
                assert!(session.held_bytes() <= 70 * 1024, "{}", session.held_bytes());
                if random(rng, 3) > 0 {
                    // everything that the kernel has
                    peer.step(usize::MAX);
                    assert!(peer.came.len() <= told, "{} came, {told} were told", peer.came.len());
                } else {
                    peer.step(random(rng, 5000));
                }
                // the runtime learns that there is room again
                tokio::task::yield_now().await;
            }
            peer.step(usize::MAX);
            assert!(peer.came == bytes && owed > 10, "{} of {}, {owed}", peer.came.len(), bytes.len());
        });
    }
}

#[test]
fn what_comes_is_read_whole_however_it_is_cut_and_whatever_the_buffer() {
    for (node, room) in [(false, 1), (false, 700), (true, 40_000), (false, 64 * 1024), (true, 64 * 1024)] {
        run(async {
            let (session, raw, mut peer) = pair(node).await;
            let rng = &mut 0x9e37_79b9_7f4a_7c15;
            let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n / 5 + n) as u8).collect();
            let (mut sent, mut came, mut buffer) = (0, Vec::new(), vec![0; room]);
            while came.len() < bytes.len() {
                if sent < bytes.len() {
                    let end = (sent + 1 + random(rng, 20_000)).min(bytes.len());
                    sent += peer.connection.writer().write(&bytes[sent..end]).unwrap();
                }
                peer.step(0);
                tokio::task::yield_now().await;
                poll_fn(|cx| {
                    for _ in 0..random(rng, 40_000) {
                        match session.poll_read(&raw, cx, &mut buffer) {
                            Poll::Ready(Ok(read)) => came.extend_from_slice(&buffer[..read]),
                            Poll::Ready(Err(error)) => panic!("{error}"),
                            Poll::Pending => break,
                        }
                    }
                    Poll::Ready(())
                })
                .await;
                assert!(session.held_bytes() < RECORD_BYTES);
            }
            assert!(came == bytes);
            // the end, and that no half of a record is forgotten when it is asked
            peer.connection.send_close_notify();
            peer.step(0);
            let end = poll_fn(|cx| session.poll_read(&raw, cx, &mut buffer)).await;
            assert!(matches!(end, Ok(0)) && !session.has_incomplete());
        });
    }
}

#[test]
fn i4_what_is_owed_does_not_go_when_the_other_end_breaks_the_rules() {
    for len in [12_000, 14_000, 16_000] {
        run(async {
            let (session, raw, mut peer) = pair(true).await;
            let bytes = vec![b'x'; len];
            let told = session.try_write(&raw, &bytes).unwrap();
            assert!(told + 1 == len && session.owes());
            // what is no record; then there is room
            peer.socket
                .write_all(&[
                    23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
                ])
                .unwrap();
            let mut came = peer;
            came.step(usize::MAX);
            tokio::task::yield_now().await;
            let mut buffer = [0; 64 * 1024];
            let read = poll_fn(|cx| session.poll_read(&raw, cx, &mut buffer)).await;
            assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidData);
            came.step(usize::MAX);
            assert!(came.came.len() <= told, "{} came, {told} were told", came.came.len());
        });
    }
}

#[test]
fn short_records_are_read_a_few_at_a_time() {
    run(async {
        let (session, raw, mut peer) = pair(false).await;
        let mut buffer = [0; 64 * 1024];
        let mut read = |session: &Session, raw: &Raw| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            while let Poll::Ready(read) = session.poll_read(raw, &mut cx, &mut buffer) {
                read.unwrap();
            }
            session.inner().most
        };
        for (len, most) in [(4000, true), (1, false), (4000, true)] {
            for _ in 0..20 {
                assert_eq!(peer.connection.writer().write(&vec![b'x'; len]).unwrap(), len);
                peer.step(0);
                tokio::task::yield_now().await;
                read(&session, &raw);
            }
            assert_eq!(read(&session, &raw) > SHORT_READ, most, "{len}");
        }
    });
}

#[test]
fn what_is_no_tls_is_an_error_that_says_so() {
    run(async {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let raw = Raw::unix(OwnedFd::from(near)).unwrap();
        let session = Session::new(ServerConnection::new(made().0.config.clone()).unwrap().into(), "");
        far.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
        let mut buffer = [0; 64 * 1024];
        let error = poll_fn(|cx| session.poll_read(&raw, cx, &mut buffer)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("does not speak TLS"), "{error}");
    });
}
