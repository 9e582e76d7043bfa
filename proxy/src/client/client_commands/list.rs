//! CLIENT LIST and INFO: one line per connection, in the fields of Redis 7.0 and the two that 7.2 added.
//!
//! What is told is what is known: sizes are those of this connection's own buffers, `idle` is known to half a second.
//! All workers are asked; each lets others in between after every few hundred lines.

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::super::session::{Session, Unusual};
use super::super::workers::ask_workers_at_leisure;
use super::super::{Client, Inner, Reading, tracking};
use super::{Answer, SYNTAX};
use crate::command::SubscriptionKind;
use crate::net::Endpoint;
use crate::resp::request::parse_number;
use crate::resp::{Args, encode};
use crate::worker::Worker;

/// Lines that are written before others are let in between.
const AT_ONCE: usize = 256;

/// What Redis calls the type of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    /// It has subscribed to something.
    PubSub,
    /// A connection of replication, which no client of Ringway is.
    Replication,
}

impl Kind {
    pub(super) fn named(name: &[u8]) -> Result<Self, String> {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        match () {
            () if is("normal") => Ok(Kind::Normal),
            () if is("pubsub") => Ok(Kind::PubSub),
            () if is("master") || is("replica") || is("slave") => Ok(Kind::Replication),
            () => {
                let name = String::from_utf8_lossy(&name[..name.len().min(128)]).into_owned();
                Err(format!("ERR Unknown client type '{name}'"))
            }
        }
    }

    pub(super) fn of(session: &Session) -> Self {
        if session.subscriptions.is_some() { Kind::PubSub } else { Kind::Normal }
    }
}

/// Which lines are wanted.
#[derive(Debug, Clone)]
enum Wanted {
    All,
    Kind(Kind),
    /// In this order, each as often as it stands here.
    Ids(Arc<[u64]>),
}

impl Wanted {
    fn read(args: Args<'_>) -> Result<Self, String> {
        let is = |word: &str| args.get(2).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        match args.len() {
            2 => Ok(Wanted::All),
            4 if is("type") => Ok(Wanted::Kind(Kind::named(args.get(3).unwrap_or_default())?)),
            len if len > 3 && is("id") => {
                let id = |text| parse_number(text).ok_or_else(|| "ERR Invalid client ID".to_owned());
                // numbers below zero are nobody's
                let ids = args.iter().skip(3).map(|text| Ok(u64::try_from(id(text)?).unwrap_or(0)));
                Ok(Wanted::Ids(ids.collect::<Result<Vec<u64>, String>>()?.into()))
            }
            _ => Err(SYNTAX.into()),
        }
    }

    /// The clients of one worker that may be wanted.
    fn among(&self, worker: &Worker) -> Vec<Rc<Client>> {
        let clients = worker.clients.borrow();
        match self {
            Wanted::All => clients.values().cloned().collect(),
            Wanted::Kind(kind) => {
                let is_one = |client: &&Rc<Client>| Kind::of(&client.inner.borrow().session) == *kind;
                clients.values().filter(is_one).cloned().collect()
            }
            Wanted::Ids(ids) => {
                let mut ids = ids.to_vec();
                ids.sort_unstable();
                ids.dedup();
                ids.iter().filter_map(|id| clients.get(id).cloned()).collect()
            }
        }
    }
}

/// The lines of one worker's clients, by their numbers.
#[derive(Default)]
struct Lines {
    text: String,
    places: Vec<(u64, Range<usize>)>,
}

pub(super) fn list(client: &Rc<Client>, inner: &mut Inner, args: Args<'_>) -> Answer {
    let wanted = Wanted::read(args)?;
    let protocol = inner.session.protocol;
    let limit = client.worker.shared.settings.limits.reply_hard_bytes;
    let ids = if let Wanted::Ids(ids) = &wanted { Some(Arc::clone(ids)) } else { None };
    let question = move |worker: Rc<Worker>| lines_on(worker, wanted.clone());
    let finish = move |lines: Vec<Lines>, out: &mut Vec<u8>| match together(&lines, ids.as_deref(), limit) {
        Some(text) => encode::verbatim(out, protocol, &text),
        None => encode::error(out, "ERR the list is longer than limits.reply_hard_bytes"),
    };
    // what comes behind it is not to be seen in it
    inner.session.hold();
    ask_workers_at_leisure(client, inner, args.frame().len(), question, finish);
    Ok(())
}

async fn lines_on(worker: Rc<Worker>, wanted: Wanted) -> Lines {
    let clients = wanted.among(&worker);
    let mut lines = Lines::default();
    for some in clients.chunks(AT_ONCE) {
        let now = Instant::now();
        for client in some.iter().filter(|client| !client.closed.get()) {
            let inner = client.inner.borrow();
            let begin = lines.text.len();
            write_line(client, &inner, (now, usize::MAX), &mut lines.text);
            lines.places.push((inner.session.id, begin..lines.text.len()));
        }
        tokio::task::yield_now().await;
    }
    lines
}

/// All lines in the order of the clients' numbers, or in the order of `ids`; `None` when that would be too long.
fn together(lines: &[Lines], ids: Option<&[u64]>, limit: usize) -> Option<String> {
    let mut places: Vec<(u64, &str)> = Vec::new();
    for Lines { text, places: some } in lines {
        places.extend(some.iter().filter_map(|(id, range)| Some((*id, text.get(range.clone())?))));
    }
    if let Some(ids) = ids {
        let by_id: HashMap<u64, &str> = places.iter().copied().collect();
        places = ids.iter().filter_map(|id| Some((*id, *by_id.get(id)?))).collect();
    } else {
        places.sort_unstable_by_key(|(id, _)| *id);
    }
    let len: usize = places.iter().map(|(_, line)| line.len()).sum();
    (len <= limit).then(|| places.iter().map(|(_, line)| *line).collect())
}

/// This end of a client's connection.
pub(super) fn local_endpoint(client: &Client, session: &Session) -> Option<Endpoint> {
    match &session.peer {
        Endpoint::Network(_) => client.stream.local_addr().map(Endpoint::Network),
        path => Some(path.clone()),
    }
}

/// The line of the one who asks.
pub(super) fn line_of(client: &Client, inner: &Inner) -> String {
    let mut line = String::new();
    write_line(client, inner, (Instant::now(), usize::MAX), &mut line);
    line
}

/// The line of the one who asks, with no more of its names than fits a log.
pub(in crate::client) fn line_in_short(client: &Client, inner: &Inner) -> String {
    let mut line = String::new();
    write_line(client, inner, (Instant::now(), 128), &mut line);
    line
}

fn flags(inner: &Inner) -> String {
    let session = &inner.session;
    let waits = session.running.as_ref().is_some_and(|running| running.ends_with_client);
    let known = [
        ('O', session.monitors),
        ('U', session.peer.path().is_some()),
        ('P', session.subscriptions.is_some()),
        ('t', session.tracking.is_some()),
        ('R', session.tracking.as_ref().is_some_and(|tracking| tracking.is_broken())),
        ('B', session.tracking.as_ref().is_some_and(|tracking| tracking.is_bcast())),
        ('x', session.transaction.queued().is_some()),
        ('b', waits && !inner.pipeline.is_empty() || session.is(Unusual::Held)),
        ('d', session.transaction.has_lost_watch()),
        ('c', inner.reading != Reading::Open),
    ];
    let flags: String = known.iter().filter(|(_, holds)| *holds).map(|(flag, _)| *flag).collect();
    if flags.is_empty() { "N".into() } else { flags }
}

/// `most`: how many bytes of each name are shown.
fn write_line(client: &Client, inner: &Inner, (now, most): (Instant, usize), out: &mut String) {
    let Inner { session, pipeline, pending, .. } = inner;
    let seconds = |since: Instant| now.saturating_duration_since(since).as_secs();
    let idle = if client.active.get() { 0 } else { seconds(client.last_seen.get()) };
    let local = local_endpoint(client, session).map(|local| local.to_string()).unwrap_or_default();
    let ((held_replies, held_bytes), (reply_buffer, places)) = (pipeline.held(), pipeline.capacity());
    let queued = session.transaction.bytes();
    let memory = size_of::<Client>() + pending.capacity() + queued + reply_buffer + places + held_bytes;
    let listens = |kind| session.subscriptions.as_ref().map_or(0, |own| own.len(kind));
    let reads = if inner.reading == Reading::Open && !inner.paused { "r" } else { "" };
    let writes = if inner.blocked { "w" } else { "" };
    let cut = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(most)]).into_owned();
    let text = |bytes: &Option<Box<[u8]>>| cut(bytes.as_deref().unwrap_or_default());
    // writing to a string does not fail
    let _ = writeln!(
        out,
        "id={} addr={} laddr={local} fd={} name={} age={} idle={idle} flags={} db={} sub={} psub={} ssub={} multi={} \
         qbuf={} qbuf-free={} argv-mem=0 multi-mem={queued} rbs={reply_buffer} rbp={reply_buffer} obl={} \
         oll={held_replies} omem={held_bytes} tot-mem={memory} events={reads}{writes} cmd={} user={} redir={} \
         resp={} lib-name={} lib-ver={}",
        session.id,
        session.peer,
        client.stream.descriptor(),
        text(&session.name),
        seconds(session.since()),
        flags(inner),
        session.database,
        listens(SubscriptionKind::Channel),
        listens(SubscriptionKind::Pattern),
        listens(SubscriptionKind::Shard),
        session.transaction.queued().map_or(-1, i64::from),
        pending.len(),
        pending.capacity() - pending.len(),
        pipeline.unwritten().len(),
        session.last_command,
        cut(session.identity.name()),
        tracking::redirect(session),
        session.protocol.version(),
        text(&session.library),
        text(&session.library_version),
    );
}
