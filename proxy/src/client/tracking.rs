//! `CLIENT TRACKING`: a client that keeps what it has read is told when it changes, or has another one told.
//!
//! While it tracks, all its commands take connections of its own ([`Traffic::Own`](crate::upstream::Traffic)), on which its
//! nodes have tracking on in the mode that it chose, and what they say is passed on: to itself in RESP3, or to the client
//! that it names ([`redirect`]). Who tracks in RESP2 and names nobody is told nothing, as with Redis.
//!
//! Keys that move while it tracks are no longer spoken of by the node that told of them, so it is told to forget all keys:
//! at once, and again behind the replies that the former nodes still owe. The same holds for reads that take other
//! connections: in an EXEC after WATCH, and of a command that waits.

mod options;
mod redirect;

use std::rc::Rc;
use std::sync::Arc;

use super::client_commands::{SYNTAX, serve_in_mode};
use super::exclusive::{TOO_MANY, permits, run};
use super::session::{Mode, Session, Unusual, refuse};
use super::{Client, Inner, Reading, SlotRef};
use crate::command::Command;
use crate::resp::{Args, Protocol, encode};
use crate::stats::{Outcome, WorkerStats};
use crate::upstream::{FORGET_ALL, Link, LinkContext, ReplyTo, Tracker, When};
use crate::worker::Worker;
use options::{NO_SUCH_CLIENT, Options};
use redirect::Target;

const NOT_TRACKING: &str = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled";
const NOT_OPTIN: &str = "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
const NOT_OPTOUT: &str = "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";

/// A client that tracks.
pub(super) struct Tracking {
    options: Options,
    tracker: Rc<Tracker<SlotRef>>,
    links: Rc<LinkContext<SlotRef>>,
    stats: Arc<WorkerStats>,
    /// What `CLIENT CACHING` said of the next command.
    caching: Option<bool>,
    /// Who is told, if not the client itself.
    target: Option<Target>,
    /// That one is gone.
    is_broken: bool,
    /// In which protocols it has leave for connections.
    speaks: [bool; 2],
}

impl std::fmt::Debug for Tracking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracking").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        self.links.trackers.end(&self.tracker);
        self.stats.tracking_changed(-1);
    }
}

impl Tracking {
    pub(super) fn is_bcast(&self) -> bool {
        self.options.bcast
    }

    /// Which connections are its own.
    pub(super) fn traffic(&self) -> crate::upstream::Traffic {
        self.tracker.traffic()
    }

    /// Whether the client that was to be told is gone.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Which client is to be told, if not the one that tracks.
    fn redirect(&self) -> Option<u64> {
        self.options.redirect
    }

    /// Bytes of memory that prefixes take up.
    pub(super) fn bytes(&self) -> usize {
        self.options.prefixes.iter().map(|prefix| prefix.len() + size_of::<Box<[u8]>>()).sum()
    }
}

/// Handles CLIENT TRACKING; false when it must wait for those before it.
pub(super) fn begin(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    begun(client, inner, command, args).unwrap_or_else(|text| {
        refuse(client, inner, command, &text);
        true
    })
}

fn begun(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> Result<bool, String> {
    let said = Options::parse(args)?;
    match args.get(2).unwrap_or_default() {
        word if word.eq_ignore_ascii_case(b"on") => {}
        word if word.eq_ignore_ascii_case(b"off") => {
            inner.session.track(None);
            client.worker.stats.local.count(command, Outcome::Ok);
            client.answer(inner, |out| encode::simple(out, "OK"));
            return Ok(true);
        }
        _ => return Err(SYNTAX.into()),
    }
    let now = inner.session.tracking.as_ref().map(|tracking| &tracking.options);
    let options = said.clone().check(now)?;
    if !inner.pipeline.is_empty() {
        inner.session.hold();
        return Ok(false);
    }
    run(client, inner, args.frame().len(), false, |to| async move {
        let mut reply = Vec::new();
        let outcome = match turn_on(&to.client, &said, options).await {
            Ok(()) => {
                encode::simple(&mut reply, "OK");
                Outcome::Ok
            }
            Err(text) => {
                encode::error(&mut reply, &text);
                Outcome::Error
            }
        };
        to.client.worker.stats.local.count(command, outcome);
        to.reply(&reply, true);
    });
    Ok(true)
}

/// Has the nodes track; whoever is told OK may count on it, where nodes can be reached.
async fn turn_on(client: &Rc<Client>, said: &Options, options: Options) -> Result<(), String> {
    let target = match options.redirect {
        None => None,
        Some(id) => Some(Target::find(id, &client.worker).await.ok_or(NO_SUCH_CLIENT)?),
    };
    let is_on = client.inner.borrow().session.tracking.is_some();
    let (tracker, links) =
        if is_on { change(client, said, options, target) } else { start(client, options, target) }?;
    for link in &links {
        link.settled().await;
    }
    tracker.settle();
    let refused = links.iter().find_map(|link| Some((link.spec(), link.refuses_to_track()?)));
    refused.map_or(Ok(()), |(node, why)| {
        client.inner.borrow_mut().session.track(None);
        Err(format!("ERR node '{}' ({}): {why}", node.name, node.address))
    })
}

type Tracked = (Rc<Tracker<SlotRef>>, Vec<Rc<Link<SlotRef>>>);

fn start(client: &Rc<Client>, options: Options, target: Option<Target>) -> Result<Tracked, String> {
    let session = &mut client.inner.borrow_mut().session;
    let permit = permits(&client.worker, connections(&client.worker, session.protocol)).ok_or(TOO_MANY)?;
    let links = Rc::clone(&client.worker.links);
    let to = SlotRef { client: Rc::clone(client), number: 0, part: 0 };
    let tracker = links.trackers.start(options.wish(), permit, to);
    let mut speaks = [false; 2];
    speaks[session.protocol as usize] = true;
    let tracking = Tracking {
        options,
        tracker: Rc::clone(&tracker),
        links,
        stats: Arc::clone(&client.worker.stats),
        caching: None,
        target,
        is_broken: false,
        speaks,
    };
    tracking.stats.tracking_changed(1);
    session.track(Some(Box::new(tracking)));
    let routes = client.worker.routes();
    // nothing is awaited, so that it goes over at once
    session.follows(routes.topology.epoch(), true);
    let lane = session.lane();
    let own = routes.nodes().iter().map(|node| node.link(lane)).collect();
    Ok((tracker, own))
}

/// It tracks already and keeps its connections, so that it goes on hearing of what it has read.
fn change(
    client: &Rc<Client>,
    said: &Options,
    options: Options,
    target: Option<Target>,
) -> Result<Tracked, String> {
    let session = &mut client.inner.borrow_mut().session;
    let tracking = session.tracking.as_mut().ok_or(NOT_TRACKING)?;
    tracking.target = target;
    tracking.is_broken = false;
    let before = std::mem::replace(&mut tracking.options, options);
    let tracker = Rc::clone(&tracking.tracker);
    if (Options { redirect: before.redirect, ..tracking.options.clone() }) == before {
        return Ok((tracker, Vec::new()));
    }
    let links = tracker.change(tracking.options.wish(), &said.words());
    Ok((tracker, links))
}

/// How many connections one has for itself that tracks in this protocol.
fn connections(worker: &Worker, protocol: Protocol) -> usize {
    let nodes = worker.routes().nodes().len();
    match protocol {
        // what RESP2 has no place for is heard on another one
        Protocol::Resp2 => 2 * nodes,
        Protocol::Resp3 => nodes,
    }
}

/// One that may track goes over to another protocol, for which it has other connections. Those that it has tell of what was
/// read there; of a broadcast it may then be told twice.
pub(super) fn speak(worker: &Worker, session: &mut Session, protocol: Protocol) -> Result<(), String> {
    let Some(tracking) = session.tracking.as_mut().filter(|tracking| !tracking.speaks[protocol as usize])
    else {
        return Ok(());
    };
    tracking.tracker.permit(permits(worker, connections(worker, protocol)).ok_or(TOO_MANY)?);
    tracking.speaks[protocol as usize] = true;
    Ok(())
}

/// CLIENT CACHING: says of the next command whether what it reads is tracked.
pub(super) fn choose(session: &mut Session, word: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let tracking = session.tracking.as_mut().ok_or(NOT_TRACKING)?;
    let caching = match word {
        word if word.eq_ignore_ascii_case(b"yes") && tracking.options.optin => true,
        word if word.eq_ignore_ascii_case(b"yes") => return Err(NOT_OPTIN.into()),
        word if word.eq_ignore_ascii_case(b"no") && tracking.options.optout => false,
        word if word.eq_ignore_ascii_case(b"no") => return Err(NOT_OPTOUT.into()),
        _ => return Err(SYNTAX.into()),
    };
    tracking.caching = Some(caching);
    session.set(Unusual::Caching, true);
    encode::simple(out, "OK");
    Ok(())
}

/// Handles a command, of which CLIENT CACHING may have said something.
pub(super) fn serve(client: &Rc<Client>, inner: &mut Inner, args: Args<'_>) -> bool {
    let said = inner.session.tracking.as_ref().filter(|_| inner.session.is(Unusual::Caching));
    let Some((tracker, caching)) = said.map(|tracking| (Rc::clone(&tracking.tracker), tracking.caching))
    else {
        return serve_in_mode(client, inner, args);
    };
    tracker.set_caching(caching);
    let handled = serve_in_mode(client, inner, args);
    tracker.set_caching(None);
    // a command whose buffer is taken over is handled as well
    let is_done = handled || inner.taken_by.is_some();
    // it holds for a whole transaction, and beyond what concerns the connection alone
    let is_own = args.get(0).is_some_and(|word| word.eq_ignore_ascii_case(b"client"));
    let goes_on = inner.session.mode == Mode::Queueing || is_own;
    if is_done && !goes_on {
        inner.session.set(Unusual::Caching, false);
        if let Some(tracking) = &mut inner.session.tracking {
            tracking.caching = None;
        }
    }
    handled
}

/// CLIENT TRACKINGINFO.
pub(super) fn describe(session: &Session, out: &mut Vec<u8>) {
    let mut flags = Vec::new();
    match &session.tracking {
        None => flags.push("off"),
        Some(tracking) => {
            flags.push("on");
            flags.extend(tracking.options.flags());
            match tracking.caching {
                Some(true) if tracking.options.optin => flags.push("caching-yes"),
                Some(false) if tracking.options.optout => flags.push("caching-no"),
                _ => {}
            }
            flags.extend(tracking.is_broken.then_some("broken_redirect"));
        }
    }
    let prefixes = session.tracking.as_ref().map_or(&[][..], |tracking| &tracking.options.prefixes);
    encode::map(out, session.protocol, 3);
    encode::bulk(out, b"flags");
    encode::set(out, session.protocol, flags.len());
    flags.iter().for_each(|flag| encode::bulk(out, flag.as_bytes()));
    encode::bulk(out, b"redirect");
    encode::integer(out, redirect(session));
    encode::bulk(out, b"prefixes");
    encode::array(out, prefixes.len());
    prefixes.iter().for_each(|prefix| encode::bulk(out, prefix));
}

/// What CLIENT GETREDIR answers: who is told, 0 for the client itself, -1 when it does not track.
pub(super) fn redirect(session: &Session) -> i64 {
    session.tracking.as_ref().map_or(-1, |tracking| tracking.redirect().unwrap_or(0) as i64)
}

/// The client has gone over to another database, for which it has other connections: those of the former one tell no longer
/// of what was read there. Nothing is awaited. (Those of a former protocol go on telling.)
pub(super) fn follow_database(client: &Rc<Client>, inner: &mut Inner) {
    let Some(tracking) = &inner.session.tracking else { return };
    tracking.links.trackers.renew(&tracking.tracker);
    inner.session.renew_own();
    inner.session.follows(client.worker.routes().topology.epoch(), true);
    // when the reply is there, which the client may not want
    let client = Rc::clone(client);
    tokio::task::spawn_local(async move {
        // it may have stopped right behind it
        if client.inner.borrow().session.tracking.is_some() {
            client.told(FORGET_ALL, When::Now);
            client.listen_to_all();
        }
    });
}

/// The topology has changed: keys may have moved.
pub(crate) fn follow(worker: &Worker) {
    let clients: Vec<Rc<Client>> = worker.clients.borrow().values().cloned().collect();
    for client in clients.iter().filter(|client| client.inner.borrow().session.tracking.is_some()) {
        client.told(FORGET_ALL, When::Now);
        client.told(FORGET_ALL, When::Last);
        client.listen_to_all();
    }
}

impl Client {
    /// A message for whoever is to be told of the keys that this client reads.
    pub(super) fn told(self: &Rc<Self>, message: &[u8], when: When) {
        let target = self.inner.borrow().session.tracking.as_ref().and_then(|tracking| tracking.target);
        match target {
            Some(target) => target.tell(self, message, when),
            None => self.told_itself(message, when),
        }
    }

    /// A message that is no reply; RESP2 has no place for it.
    fn told_itself(self: &Rc<Self>, message: &[u8], when: When) {
        let inner = &mut *self.inner.borrow_mut();
        if self.closed.get() || inner.reading == Reading::Refused || inner.session.protocol == Protocol::Resp2
        {
            return;
        }
        self.note_no_reply(inner);
        inner.pipeline.told(message, when);
        self.mark_dirty();
    }

    /// What is about to be said is no reply, and the last word of a process that leaves must be one.
    pub(super) fn note_no_reply(&self, inner: &Inner) {
        let leaves = self.worker.leaving.get();
        if leaves && inner.pipeline.is_empty() && inner.pipeline.unwritten().is_empty() {
            self.says_no_reply.set(true);
        }
    }

    /// One that hears of keys which it has not read has a connection to every node before it asks for anything.
    fn listen_to_all(&self) {
        let session = &self.inner.borrow().session;
        if session.tracking.as_ref().is_some_and(|tracking| tracking.is_bcast()) {
            let lane = session.lane();
            self.worker.routes().nodes().iter().for_each(|node| drop(node.link(lane)));
        }
    }

    /// Something was read on a connection where nobody tracks.
    pub(super) fn has_read_untracked(self: &Rc<Self>) {
        if self.inner.borrow().session.tracking.is_some() {
            self.told(FORGET_ALL, When::Now);
        }
    }
}
