//! Ports for test servers.
//!
//! They are taken below the kernel's ephemeral range (32768 and up on Linux): the port of a server that was killed must
//! stay free for its restart, and a connect to a dead ephemeral port can even connect to itself.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port that nobody listens on now and that this process hands out once.
pub(crate) fn free_port() -> u16 {
    listener().local_addr().expect("an address").port()
}

/// A listener on such a port. Who wants to listen takes it: bound a second time, the port may be refused, because a child
/// process that is just being started has the first listener as well until it runs its own program.
pub(crate) fn listener() -> TcpListener {
    // processes start far apart, so that two test runs on one machine rarely meet
    let offset = std::process::id().wrapping_mul(7919) % COUNT;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + (offset + step) % COUNT) as u16;
        // twemproxy leaves this port out of the names it hashes, which would surprise its tests
        if port != 11_211
            && let Ok(listener) = TcpListener::bind(("127.0.0.1", port))
        {
            return listener;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
