//! `CLIENT TRACKING`: a client that keeps what it has read is told when it changes.
//!
//! While it tracks, all its commands take connections of its own ([`Traffic::Own`](crate::upstream::Traffic)), on which its
//! nodes have tracking on in the mode that it chose, and what they say is passed on. Messages are of RESP3; a client of
//! RESP2 would need another one to redirect them to, which is refused, since a node redirects between its own connections.
//!
//! Keys that move while it tracks are no longer spoken of by the node that told of them, so it is told to forget all keys:
//! at once, and again behind the replies that the former nodes still owe. The same holds for reads that take other
//! connections: in an EXEC after WATCH, and of a command that waits.

use std::rc::Rc;

use super::client_commands::{SYNTAX, serve_in_mode};
use super::exclusive::{TOO_MANY, permits, run};
use super::session::{Mode, Session, Unusual, refuse};
use super::{Client, Inner, Reading, SlotRef};
use crate::command::Command;
use crate::resp::{Args, Protocol, encode};
use crate::stats::Outcome;
use crate::upstream::{FORGET_ALL, LinkContext, ReplyTo, Tracker, When, Wish};
use crate::worker::Worker;

/// Most prefixes of one client, and most bytes of all of them: each is held against all others.
const MOST_PREFIXES: usize = 1024;
const PREFIX_BYTES: usize = 64 * 1024;

const REDIRECT: &str = "ERR CLIENT TRACKING REDIRECT is refused: a node redirects messages between its own connections, and those to it are Ringway's; use RESP3 (HELLO 3), where they come to the client that tracks";
const RESP2: &str =
    "ERR CLIENT TRACKING ON is refused with RESP2, which has no place for messages; use RESP3 (HELLO 3)";
const TOO_MANY_PREFIXES: &str = "ERR too many prefixes for one client";
const OTHER_BCAST: &str = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.";
const OTHER_OPT: &str = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.";
const NOT_TRACKING: &str = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled";
const NOT_OPTIN: &str = "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
const NOT_OPTOUT: &str = "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";

/// How a client tracks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    bcast: bool,
    optin: bool,
    optout: bool,
    noloop: bool,
    prefixes: Vec<Box<[u8]>>,
}

/// A client that tracks.
pub(super) struct Tracking {
    options: Options,
    tracker: Rc<Tracker<SlotRef>>,
    links: Rc<LinkContext<SlotRef>>,
    /// What `CLIENT CACHING` said of the next command.
    caching: Option<bool>,
}

impl std::fmt::Debug for Tracking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracking").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        self.links.trackers.end(&self.tracker);
    }
}

impl Options {
    /// What follows `CLIENT TRACKING ON`, from the options of one that may track already.
    fn parse(args: Args<'_>) -> Result<Self, String> {
        let (mut options, mut at, mut redirects) = (Self::default(), 3, false);
        while let Some(option) = args.get(at) {
            let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
            let value = args.get(at + 1);
            at += 1;
            match value {
                Some(_) if is("redirect") => {
                    redirects = true;
                    at += 1;
                }
                Some(prefix) if is("prefix") => {
                    options.prefixes.push(prefix.into());
                    at += 1;
                }
                _ if is("bcast") => options.bcast = true,
                _ if is("optin") => options.optin = true,
                _ if is("optout") => options.optout = true,
                _ if is("noloop") => options.noloop = true,
                _ => return Err(SYNTAX.into()),
            }
        }
        if redirects { Err(REDIRECT.into()) } else { Ok(options) }
    }

    /// Refuses what contradicts itself or how the client tracks `now`; in Redis's order and words. Takes over the prefixes
    /// that it has.
    fn check(mut self, now: Option<&Self>) -> Result<Self, String> {
        if !self.bcast && !self.prefixes.is_empty() {
            return Err("ERR PREFIX option requires BCAST mode to be enabled".into());
        }
        if now.is_some_and(|now| now.bcast != self.bcast) {
            return Err(OTHER_BCAST.into());
        }
        if self.bcast && (self.optin || self.optout) {
            return Err("ERR OPTIN and OPTOUT are not compatible with BCAST".into());
        }
        if self.optin && self.optout {
            return Err("ERR You can't specify both OPTIN mode and OPTOUT mode".into());
        }
        if now.is_some_and(|now| self.optin && now.optout || self.optout && now.optin) {
            return Err(OTHER_OPT.into());
        }
        let known = now.map_or(&[][..], |now| &now.prefixes);
        let all = || known.iter().chain(&self.prefixes);
        if all().count() > MOST_PREFIXES || all().map(|prefix| prefix.len()).sum::<usize>() > PREFIX_BYTES {
            return Err(TOO_MANY_PREFIXES.into());
        }
        // whoever names none hears of all keys
        let hears_all =
            self.bcast && self.prefixes.is_empty() && !known.iter().any(|prefix| prefix.is_empty());
        for (at, prefix) in self.prefixes.iter().enumerate() {
            let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
            let among = |others: &'_ [Box<[u8]>]| others.iter().find(|other| overlap(other, prefix)).cloned();
            let of = match (among(known), among(&self.prefixes[at + 1..])) {
                (Some(other), _) => ("an existing", other),
                (None, Some(other)) => ("another provided", other),
                (None, None) => continue,
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(128)]).into_owned();
            return Err(format!(
                "ERR Prefix '{}' overlaps with {} prefix '{}'. Prefixes for a single client must not overlap.",
                text(prefix),
                of.0,
                text(&of.1)
            ));
        }
        self.prefixes.extend(known.iter().cloned());
        self.prefixes.extend(hears_all.then(Box::default));
        self.prefixes.sort_unstable();
        Ok(self)
    }

    /// The words that a client would say, of those that hold.
    fn words(&self) -> impl Iterator<Item = &'static str> {
        let all =
            [("bcast", self.bcast), ("optin", self.optin), ("optout", self.optout), ("noloop", self.noloop)];
        all.into_iter().filter(|(_, holds)| *holds).map(|(word, _)| word)
    }

    /// The request that has a node track for the connection on which it comes.
    fn request(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // with none a node tells of all keys, and beside an empty one it takes no other
        let prefixes =
            if self.prefixes.iter().any(|prefix| prefix.is_empty()) { &[] } else { &self.prefixes[..] };
        encode::array(&mut out, 3 + self.words().count() + 2 * prefixes.len());
        ["CLIENT", "TRACKING", "ON"].iter().for_each(|word| encode::bulk(&mut out, word.as_bytes()));
        self.words().for_each(|word| encode::bulk(&mut out, word.as_bytes()));
        for prefix in prefixes {
            encode::bulk(&mut out, b"PREFIX");
            encode::bulk(&mut out, prefix);
        }
        out
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
    match begun(client, inner, args) {
        Ok(true) => client.worker.stats.local.count(command, Outcome::Ok),
        Ok(false) => return false,
        Err(text) => refuse(client, inner, command, &text),
    }
    true
}

fn begun(client: &Rc<Client>, inner: &mut Inner, args: Args<'_>) -> Result<bool, String> {
    let options = Options::parse(args)?;
    match args.get(2).unwrap_or_default() {
        word if word.eq_ignore_ascii_case(b"on") => {}
        word if word.eq_ignore_ascii_case(b"off") => {
            inner.session.track(None);
            client.answer(inner, |out| encode::simple(out, "OK"));
            return Ok(true);
        }
        _ => return Err(SYNTAX.into()),
    }
    let now = inner.session.tracking.as_ref().map(|tracking| &tracking.options);
    let options = options.check(now)?;
    if inner.session.protocol == Protocol::Resp2 {
        return Err(RESP2.into());
    }
    if now == Some(&options) {
        client.answer(inner, |out| encode::simple(out, "OK"));
        return Ok(true);
    }
    if !inner.pipeline.is_empty() {
        inner.session.hold();
        return Ok(false);
    }
    let was_on = now.is_some();
    let permit = permits(client, client.worker.routes().nodes().len()).ok_or(TOO_MANY)?;
    let wish = Wish { request: options.request(), opts_in: options.optin, broadcast: options.bcast, permit };
    let links = Rc::clone(&client.worker.links);
    let to = SlotRef { client: Rc::clone(client), number: 0, part: 0 };
    let tracker = links.trackers.start(wish, to);
    let settled = Rc::clone(&tracker);
    inner.session.track(Some(Box::new(Tracking { options, tracker, links, caching: None })));
    let routes = client.worker.routes();
    // nothing is awaited, so that it goes over at once
    inner.session.follows(routes.topology.epoch(), true);
    let lane = inner.session.lane();
    let own: Vec<_> = routes.nodes().iter().map(|node| node.link(lane)).collect();
    drop(routes);
    // whoever is told OK may count on it, where nodes can be reached
    run(client, inner, args.frame().len(), false, |to| async move {
        for link in &own {
            link.settled().await;
        }
        settled.settle();
        let refused = own.iter().find_map(|link| Some((link.spec(), link.refuses_to_track()?)));
        let mut reply = Vec::new();
        match &refused {
            Some((node, why)) => {
                to.client.inner.borrow_mut().session.track(None);
                encode::error(&mut reply, &format!("ERR node '{}' ({}): {why}", node.name, node.address));
            }
            None => encode::simple(&mut reply, "OK"),
        }
        if was_on {
            // what its former connections would have told of
            to.client.told(FORGET_ALL, When::Now);
        }
        to.reply(&reply, true);
    });
    Ok(true)
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
            flags.extend(tracking.options.words());
            match tracking.caching {
                Some(true) => flags.push("caching-yes"),
                Some(false) => flags.push("caching-no"),
                None => {}
            }
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

/// What CLIENT GETREDIR answers: messages go to nobody else, or there are none.
pub(super) fn redirect(session: &Session) -> i64 {
    if session.tracking.is_some() { 0 } else { -1 }
}

/// The client has gone over to another database, for which it has other connections: those of the former one tell no longer
/// of what was read there. Nothing is awaited.
pub(super) fn follow_database(client: &Rc<Client>, inner: &mut Inner) {
    let Some(tracking) = &inner.session.tracking else { return };
    tracking.links.trackers.renew(&tracking.tracker);
    inner.session.renew_own();
    inner.session.follows(client.worker.routes().topology.epoch(), true);
    // when the reply is there, which the client may not want
    let client = Rc::clone(client);
    tokio::task::spawn_local(async move {
        client.told(FORGET_ALL, When::Last);
        client.listen_to_all();
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
    /// A message that is no reply, for a client that tracks.
    pub(super) fn told(self: &Rc<Self>, message: &[u8], when: When) {
        let inner = &mut *self.inner.borrow_mut();
        if self.closed.get() || inner.reading == Reading::Refused {
            return;
        }
        // the last word of a process that leaves is a reply
        if inner.pipeline.is_empty() && inner.pipeline.unwritten().is_empty() {
            self.says_no_reply.set(true);
        }
        inner.pipeline.told(message, when);
        self.mark_dirty();
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
