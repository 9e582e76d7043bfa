//! The first words on a new connection to a node, before any command of a client.
//!
//! `AUTH` or `HELLO 3 AUTH`, `SELECT` for another database than 0, then `CLIENT ID` and `CLIENT INFO`. If an earlier
//! connection was given up with writes unanswered, `CLIENT KILL` for it: a node that was asleep must not run them after
//! newer ones. It names number and address, since a node that was restarted gives the same numbers to others. Then the
//! scripts and functions that clients loaded, so that `EVALSHA` and `FCALL` work on a node that is new or has restarted.
//! Where sentinels have said that a master is there, it is asked for its `ROLE`: a server that came back may not know yet
//! that it is one no longer. Last a `PING` that must read `+PONG`, so that a node that loads, or is full, or wants a password is not taken for a
//! working one. (A node that cannot write its snapshot refuses PING as it refuses writes, and serves reads.)

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Lane;
use super::tracking::REFUSES;
use crate::net::{Server, Stream};
use crate::resp::reply::{ReplyScan, ReplyScanner, bulk, elements, integer};
use crate::resp::{Protocol, encode};
use crate::scripts::Known;
use crate::settings::Credentials;

/// What a node says when the connection is gone on which it is to speak of keys.
const NO_EAR: &[u8] = b"-ERR The client ID you want redirect to does not exist";

/// A connection as its node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// What `CLIENT ID` answers.
    id: i64,
    /// This end of the connection as the node sees it.
    address: String,
    /// Whose connection it is, where the address does not tell one server from the next.
    server: Option<Server>,
}

/// A connection that was given up with commands unanswered, as other processes are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    /// The server's address.
    pub address: String,
    /// What `CLIENT ID` answered.
    pub id: i64,
    /// Its other end as the server sees it.
    pub end: String,
    /// Which server it is, where the address does not tell one from the next (a unix socket): device, inode, and when the
    /// socket was made.
    pub socket: Option<[u64; 3]>,
}

impl Abandoned {
    /// This connection to the server at `address`.
    pub(crate) fn new(address: String, Identity { id, address: end, server }: Identity) -> Self {
        Self { address, id, end, socket: server.map(Server::to_tell) }
    }

    /// The server's address, and the connection as it knows it.
    pub(crate) fn into_parts(self) -> (String, Identity) {
        let server = self.socket.map(Server::told);
        (self.address, Identity { id: self.id, address: self.end, server })
    }
}

/// Connections of one worker to one node that were given up with commands unanswered: new connections have the node
/// close them first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fences(Arc<Mutex<GivenUp>>);

#[derive(Debug, Default)]
struct GivenUp {
    /// In the order in which they were given up.
    known: VecDeque<(Instant, Identity)>,
    /// How many there were in all.
    count: u64,
}

impl Identity {
    /// What `CLIENT ID` answers.
    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    /// Whether it may be named to this server.
    pub(super) fn is_known_to(&self, server: Option<Server>) -> bool {
        self.server == server
    }

    /// What has the node close the connection.
    pub(super) fn kill_words(&self) -> [String; 6] {
        ["CLIENT", "KILL", "ID", &self.id.to_string(), "ADDR", &self.address].map(str::to_owned)
    }
}

impl Fences {
    /// How long a connection that was given up is named to the node: longer than a node sleeps in practice, and no
    /// longer than its side of the connection lives after that.
    const KEEP: Duration = Duration::from_secs(300);
    /// Most connections that are named.
    const MOST: usize = 1024;

    /// Notes a connection that was given up.
    pub(crate) fn add(&self, identity: Option<Identity>, now: Instant) {
        let mut given_up = self.given_up();
        if let Some(identity) = identity.filter(|new| given_up.known.iter().all(|(_, known)| known != new)) {
            given_up.known.push_back((now, identity));
            given_up.count += 1;
        }
        while given_up.known.len() > Self::MOST {
            given_up.known.pop_front();
        }
    }

    /// Whether somebody else has them, or there are some to be named.
    pub(super) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1 || self.newest().is_some_and(|newest| newest.elapsed() < Self::KEEP)
    }

    /// When the last one was given up.
    pub(crate) fn newest(&self) -> Option<Instant> {
        self.given_up().known.back().map(|(at, _)| *at)
    }

    /// Those that a new connection names, and how many there were in all.
    pub(crate) fn recent(&self, now: Instant) -> (Vec<Identity>, u64) {
        let mut given_up = self.given_up();
        given_up.known.retain(|(at, _)| now.saturating_duration_since(*at) < Self::KEEP);
        (given_up.known.iter().map(|(_, identity)| identity.clone()).collect(), given_up.count)
    }

    /// Those that were given up since there were `count` in all, and how many there are now.
    pub(crate) fn since(&self, count: u64) -> (Vec<Identity>, u64) {
        let given_up = self.given_up();
        let new = usize::try_from(given_up.count - count).unwrap_or(usize::MAX);
        let said = given_up.known.len().saturating_sub(new);
        (given_up.known.iter().skip(said).map(|(_, identity)| identity.clone()).collect(), given_up.count)
    }

    /// How many there were in all.
    pub(crate) fn count(&self) -> u64 {
        self.given_up().count
    }

    fn given_up(&self) -> MutexGuard<'_, GivenUp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a connection says first.
pub(crate) struct Greeting<'a> {
    pub(crate) credentials: &'a Credentials,
    /// What the node is to call the connection, if anything.
    pub(crate) name: Option<&'static str>,
    pub(crate) lane: Lane,
    pub(crate) fences: &'a [Identity],
    pub(crate) scripts: &'a [Known],
    /// The request that turns tracking on.
    pub(crate) tracking: Option<&'a [u8]>,
}

/// What a greeting comes to.
pub(crate) struct Greeted {
    /// How the node knows the connection, if it tells.
    pub(crate) identity: Option<Identity>,
    /// What a node that tracks has said since.
    pub(crate) rest: Vec<u8>,
}

/// What each request of the greeting is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Auth,
    Hello,
    Select,
    Name,
    ClientId,
    ClientInfo,
    Fence,
    Script,
    Role,
    Ping,
    Tracking,
}

/// Greets a node.
///
/// # Errors
/// Why the node cannot be used, in words without secrets.
pub(crate) async fn greet(stream: &Stream, greeting: &Greeting<'_>) -> Result<Greeted, String> {
    let mut request = Vec::new();
    let steps = write_greeting(&mut request, greeting, stream.server(), stream.is_to_a_master());
    // a node that refuses at once may have closed already; what it said before is the better reason
    let written = write_all(stream, &request).await;
    let mut reader = Reader::default();
    let (mut id, mut address, mut refusal) = (None, None, None);
    for step in steps {
        let reply = reader.next(stream).await.map_err(|why| match &refusal {
            Some(refusal) => format!("it closed the connection and said: {refusal}"),
            None => written.as_ref().err().map_or(why, ToString::to_string),
        })?;
        check(step, &reply)?;
        refusal = refusal.or_else(|| reply.starts_with(b"-").then(|| quote(&reply)));
        match step {
            Step::ClientId => id = integer(&reply),
            Step::ClientInfo => address = address_in(&reply),
            _ => {}
        }
    }
    if !reader.have.is_empty() && greeting.tracking.is_none() {
        return Err("it sent more than it was asked for".into());
    }
    let address = address.or_else(|| stream.local_addr().map(|address| address.to_string()));
    let server = stream.server();
    let identity = id.zip(address).map(|(id, address)| Identity { id, address, server });
    Ok(Greeted { identity, rest: reader.have })
}

/// Says who asks and how it wants to be answered, if there is anything to be said about that.
pub(super) fn introduce(out: &mut Vec<u8>, protocol: Protocol, credentials: &Credentials) -> Option<Step> {
    let user = credentials.username.as_deref();
    let password = credentials.password.as_ref().map(|secret| secret.reveal());
    let (step, words) = match (protocol, password, user) {
        (Protocol::Resp3, Some(password), user) => {
            (Step::Hello, vec!["HELLO", "3", "AUTH", user.unwrap_or("default"), password])
        }
        (Protocol::Resp3, None, _) => (Step::Hello, vec!["HELLO", "3"]),
        (Protocol::Resp2, Some(password), Some(user)) => (Step::Auth, vec!["AUTH", user, password]),
        (Protocol::Resp2, Some(password), None) => (Step::Auth, vec!["AUTH", password]),
        (Protocol::Resp2, None, _) => return None,
    };
    encode::request(out, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
    Some(step)
}

fn write_greeting(
    out: &mut Vec<u8>,
    greeting: &Greeting<'_>,
    server: Option<Server>,
    is_to_a_master: bool,
) -> Vec<Step> {
    let Greeting { credentials, name, lane, fences, scripts, tracking } = *greeting;
    let mut steps = Vec::from_iter(introduce(out, lane.protocol, credentials));
    let mut request_bytes = |step: Step, words: &[&[u8]]| {
        encode::request(out, words);
        steps.push(step);
    };
    let mut request = |step: Step, words: &[&str]| {
        request_bytes(step, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
    };
    if lane.database != 0 {
        request(Step::Select, &["SELECT", &lane.database.to_string()]);
    }
    if let Some(name) = name {
        request(Step::Name, &["CLIENT", "SETNAME", name]);
    }
    request(Step::ClientId, &["CLIENT", "ID"]);
    request(Step::ClientInfo, &["CLIENT", "INFO"]);
    for identity in fences.iter().filter(|identity| identity.is_known_to(server)) {
        request(Step::Fence, &identity.kill_words().each_ref().map(String::as_str));
    }
    scripts.iter().for_each(|script| request_bytes(Step::Script, &script.request()));
    if is_to_a_master {
        request_bytes(Step::Role, &[b"ROLE"]);
    }
    request_bytes(Step::Ping, &[b"PING"]);
    // last, so that no message comes between the replies
    if let Some(tracking) = tracking {
        out.extend_from_slice(tracking);
        steps.push(Step::Tracking);
    }
    steps
}

pub(super) fn check(step: Step, reply: &[u8]) -> Result<(), String> {
    match (step, reply) {
        (Step::Auth | Step::Select | Step::Tracking, b"+OK\r\n")
        | (Step::Ping, b"+PONG\r\n")
        | (Step::Hello, [b'%', ..]) => Ok(()),
        // its disk is full, which concerns writes alone
        (Step::Ping, reply) if reply.starts_with(b"-MISCONF ") => Ok(()),
        // without them there is no fence, which only a stalled node would need
        (Step::Name | Step::ClientId | Step::ClientInfo | Step::Fence, _) => Ok(()),
        // a script that is none, or that the node refuses: EVALSHA will say so; a library that the node has already
        (Step::Script, _) => Ok(()),
        // a user without the right to ask: the sentinels are believed
        (Step::Role, [b'-', ..]) => Ok(()),
        (Step::Role, reply) if is_a_masters(reply) => Ok(()),
        (Step::Role, _) => Err("it is no master, though its sentinels say so".into()),
        (Step::Auth, _) => Err(format!("it refuses the proxy's password: {}", quote(reply))),
        (Step::Select, _) => Err(format!("it refuses the database: {}", quote(reply))),
        (Step::Hello, _) => Err(format!("it refuses HELLO 3: {}", quote(reply))),
        // between its naming and the node's reading of the name
        (Step::Tracking, reply) if reply.starts_with(NO_EAR) => {
            Err("the connection to hear of keys on was lost".into())
        }
        (Step::Tracking, _) => Err(format!("{REFUSES}: {}", quote(reply))),
        (Step::Ping, _) => Err(format!("it answers PING with: {}", quote(reply))),
    }
}

/// Whether a reply to `ROLE` is a master's.
fn is_a_masters(reply: &[u8]) -> bool {
    let role = elements(reply).and_then(|mut elements| elements.next());
    role.and_then(bulk) == Some(b"master")
}

/// The field `addr=` of the line that `CLIENT INFO` answers.
fn address_in(reply: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(reply);
    let address = text.split_ascii_whitespace().find_map(|word| word.strip_prefix("addr="))?;
    Some(address.to_owned()).filter(|address| !address.is_empty())
}

/// A node's words, short and on one line.
fn quote(reply: &[u8]) -> String {
    let text = reply.strip_prefix(b"-").or(reply.strip_prefix(b"+")).unwrap_or(reply);
    let end = text.iter().position(|byte| *byte == b'\r').unwrap_or(text.len());
    let visible = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' };
    text[..end.min(128)].iter().map(visible).collect()
}

pub(super) async fn write_all(stream: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| stream.poll_write_ready(cx)).await?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads replies one by one; a greeting is short, so nothing here is fast.
#[derive(Default)]
struct Reader {
    have: Vec<u8>,
}

impl Reader {
    /// Longest greeting that is accepted, in bytes; `HELLO`'s map with modules is by far the longest part.
    const LONGEST: usize = 64 * 1024;

    async fn next(&mut self, stream: &Stream) -> Result<Vec<u8>, String> {
        loop {
            if let ReplyScan::Complete(len) =
                ReplyScanner::default().scan(&self.have).map_err(|error| error.to_string())?
            {
                let rest = self.have.split_off(len);
                return Ok(std::mem::replace(&mut self.have, rest));
            }
            if self.have.len() > Self::LONGEST {
                return Err("its greeting does not end".into());
            }
            let mut buffer = [0; 1024];
            match poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await {
                Ok(0) => return Err("it closed the connection during the greeting".into()),
                Ok(read) => self.have.extend_from_slice(&buffer[..read]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_error_is_told_and_not_taken_for_a_reply() {
        let why = check(Step::Ping, b"-ERR max number of clients reached\r\n").unwrap_err();
        assert_eq!(why, "it answers PING with: ERR max number of clients reached");
        assert!(check(Step::Auth, b"-WRONGPASS x\r\n").unwrap_err().contains("refuses the proxy's password"));
        assert!(check(Step::ClientId, b"-NOPERM x\r\n").is_ok());
        // the node refuses nothing when only the connection is gone that was named to it
        let why = check(Step::Tracking, &[NO_EAR, b"\r\n"].concat()).unwrap_err();
        assert!(!why.starts_with(REFUSES), "{why}");
        assert!(check(Step::Tracking, b"-NOPERM x\r\n").unwrap_err().starts_with(REFUSES));
        assert!(check(Step::Ping, b"-MISCONF x\r\n").is_ok() && check(Step::Ping, b"-BUSY x\r\n").is_err());
    }

    #[test]
    fn a_fence_stands_before_the_ping() {
        let mut out = Vec::new();
        let fence = Identity { id: 7, address: "127.0.0.1:5".into(), server: None };
        let scripts = [Known::Script((*b"return 1").into())];
        let lane = Lane { database: 3, ..Lane::default() };
        let greeting = Greeting {
            credentials: &Credentials::default(),
            name: None,
            lane,
            fences: &[fence],
            scripts: &scripts,
            tracking: None,
        };
        let steps = write_greeting(&mut out, &greeting, None, false);
        assert!(out.starts_with(b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"));
        assert_eq!(
            steps,
            [Step::Select, Step::ClientId, Step::ClientInfo, Step::Fence, Step::Script, Step::Ping]
        );
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("KILL\r\n$2\r\nID\r\n$1\r\n7\r\n$4\r\nADDR\r\n$11\r\n127.0.0.1:5\r\n"));
        assert!(text.contains("SCRIPT\r\n$4\r\nLOAD\r\n$8\r\nreturn 1\r\n*1\r\n$4\r\nPING\r\n"));
    }
}
