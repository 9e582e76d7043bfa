//! A node that misbehaves on command.
//!
//! It takes part in the greeting (AUTH, HELLO, PING, CLIENT, SELECT) like a server, and asks a script what to do with every
//! other command. It records the exact bytes of what it saw.
//!
//! ```text
//!   proxy ── RPUSH k v ──▶ FakeRedis ── script(&Seen) ──▶ [Send(..), Wait(..), Reset]
//! ```

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

use super::frame::parse_command;

/// One step of a script.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Write these bytes.
    Send(Vec<u8>),
    /// Let time pass.
    Wait(Duration),
    /// Close with FIN.
    Finish,
    /// Close with RST.
    Reset,
}

impl Act {
    /// [`Act::Send`] of a text.
    pub(crate) fn text(text: &str) -> Self {
        Act::Send(text.as_bytes().to_vec())
    }
}

/// A command as the node saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The exact bytes.
    pub(crate) bytes: Vec<u8>,
    /// The arguments, the command's name first.
    pub(crate) args: Vec<Vec<u8>>,
}

impl Seen {
    /// The command's name in upper case.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.args[0]).to_ascii_uppercase()
    }
}

type Script = dyn Fn(&Seen) -> Vec<Act> + Send + Sync;

struct Shared {
    script: Box<Script>,
    greeting: Option<Vec<Act>>,
    answers_greeting: bool,
    /// What it says to COMMAND.
    commands: Mutex<Vec<u8>>,
    /// What it says to INFO.
    page: Mutex<String>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    stop: AtomicBool,
}

/// The scripted node; it stops listening when dropped.
pub(crate) struct FakeRedis {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeRedis {
    /// Answers the greeting well and everything else by `script`.
    pub(crate) fn start(script: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static) -> Self {
        Self::launch(Box::new(script), None, true)
    }

    /// Does `acts` to every connection before it has read anything.
    pub(crate) fn greeting(acts: Vec<Act>) -> Self {
        Self::launch(Box::new(|_| Vec::new()), Some(acts), true)
    }

    /// Asks the script about the greeting's commands too.
    pub(crate) fn unhelpful(script: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static) -> Self {
        Self::launch(Box::new(script), None, false)
    }

    /// What it says to COMMAND from now on, instead of that it has none.
    pub(crate) fn tell_commands(&self, reply: Vec<u8>) {
        *self.shared.commands.lock().expect("no panic in a script") = reply;
    }

    /// The version that it tells in INFO from now on, instead of none.
    pub(crate) fn tell_version(&self, version: &str) {
        *self.shared.page.lock().expect("no panic in a script") =
            format!("# Server\r\nredis_version:{version}\r\n");
    }

    fn launch(script: Box<Script>, greeting: Option<Vec<Act>>, answers_greeting: bool) -> Self {
        let listener = super::ports::listener();
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            script,
            greeting,
            answers_greeting,
            commands: Mutex::new(b"*0\r\n".to_vec()),
            page: Mutex::new("# Server\r\n".to_owned()),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Every command the script was asked about, in the order of arrival.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no panic in a script").clone()
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for FakeRedis {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // wakes the acceptor
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // whatever the script does not end is ended by dropping the stream: FIN
            let _ = serve(stream, &shared);
        });
    }
}

/// `Err` ends the connection.
fn serve(mut stream: TcpStream, shared: &Shared) -> Result<(), ()> {
    let _ = stream.set_nodelay(true);
    // short, so that a stopped node lets go of its connections
    stream.set_read_timeout(Some(Duration::from_millis(100))).map_err(drop)?;
    if let Some(acts) = &shared.greeting {
        perform(&mut stream, acts)?;
    }
    let mut buffer = Vec::new();
    loop {
        while let Some((args, len)) = parse_command(&buffer) {
            let bytes: Vec<u8> = buffer.drain(..len).collect();
            if shared.answers_greeting
                && let Some(reply) = greeting_reply(&args, shared)
            {
                stream.write_all(&reply).map_err(drop)?;
                continue;
            }
            let seen = Seen { bytes, args };
            shared.seen.lock().map_err(drop)?.push(seen.clone());
            perform(&mut stream, &(shared.script)(&seen))?;
        }
        let mut chunk = [0; 1 << 14];
        match stream.read(&mut chunk) {
            Ok(0) => return Err(()),
            Ok(len) => buffer.extend_from_slice(&chunk[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if shared.stop.load(Ordering::SeqCst) {
                    return Err(());
                }
            }
            Err(_) => return Err(()),
        }
    }
}

fn perform(stream: &mut TcpStream, acts: &[Act]) -> Result<(), ()> {
    for act in acts {
        match act {
            Act::Send(bytes) => stream.write_all(bytes).map_err(drop)?,
            Act::Wait(duration) => std::thread::sleep(*duration),
            Act::Finish => return Err(()),
            Act::Reset => {
                SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).map_err(drop)?;
                return Err(());
            }
        }
    }
    Ok(())
}

fn greeting_reply(args: &[Vec<u8>], shared: &Shared) -> Option<Vec<u8>> {
    let word = |at: usize| args.get(at).map(|arg| String::from_utf8_lossy(arg).to_ascii_uppercase());
    let text = match word(0)?.as_str() {
        "PING" => "+PONG\r\n".to_owned(),
        "AUTH" | "SELECT" => "+OK\r\n".to_owned(),
        "HELLO" => {
            let three = word(1).as_deref() == Some("3");
            let fields = "$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n";
            format!("{}{fields}", if three { "%2\r\n" } else { "*4\r\n" })
        }
        "CLIENT" => match word(1)?.as_str() {
            "ID" => ":1\r\n".to_owned(),
            "KILL" => ":0\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        },
        "COMMAND" => return shared.commands.lock().ok().map(|commands| commands.clone()),
        "INFO" => {
            let page = shared.page.lock().ok()?;
            format!("${}\r\n{page}\r\n", page.len())
        }
        _ => return None,
    };
    Some(text.into_bytes())
}
