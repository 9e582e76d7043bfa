//! Joining the replies to the parts of a command, split over nodes or sent to all, into the one its client waits for.
//!
//! ```text
//!   MGET a b c   a,c → node 0   *2 A C ┐
//!                b   → node 1   *1 B   ┴─► *3 A B C      parts[i] says which part key i went to
//! ```
//! Never a silently partial answer: when a part fails, the whole command does, and the error says whether other
//! parts ran. What is gathered is bounded: beyond it all is dropped and the reply is an error (law I6). No IO; parts
//! come in in any order.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use crate::command;
use crate::error::Fate;
use crate::resp::{encode, reply};
use crate::scripts::{Lesson, Scripts};
use crate::topology::{NodeIndex, Topology};

use super::counting::Counting;
use super::{alike, emulate, info, keyspace, servers};

/// The joined reply would be too long.
const TOO_LONG: &str = "ERR the joined reply is longer than limits.reply_hard_bytes";

/// What has come of one part.
#[derive(Debug, Default)]
struct Part {
    reply: Vec<u8>,
    /// Bytes of the reply that are joined already.
    taken: usize,
    state: PartState,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum PartState {
    #[default]
    Waiting,
    Answered,
    /// The node did not answer: what is certain, and the text for the client.
    Failed(Fate, Rc<str>),
}

/// What a command that is sent whole to all nodes, or to one of them in turn, was sent by.
#[derive(Debug)]
pub(crate) struct Over {
    /// Part `i` went to node `i`, modulo the number of nodes.
    pub(crate) topology: Arc<Topology>,
    /// What the replies alone do not say.
    pub(crate) about: About,
}

/// What the join must know of the request, for the few that need it.
#[derive(Debug)]
pub(crate) enum About {
    /// Nothing: the replies say it all.
    Nothing,
    /// SCAN: where the one node stands in the order of the scan.
    Place(u32),
    /// INFO: the page that the nodes' figures come onto.
    Page(Box<info::Page>),
    /// CONFIG GET: the names that were asked for.
    Names(Vec<Box<[u8]>>),
    /// SLOWLOG GET: no more entries than this.
    Most(usize),
    /// What nodes that come later are to know as well, once all nodes know it.
    Lesson(Arc<Scripts>, Lesson),
}

/// A command in parts that waits for their replies.
#[derive(Debug)]
pub(crate) struct Joining {
    kind: command::Join,
    /// Whether running a part changes something.
    write: bool,
    /// For each key the part that it went to.
    assignment: Vec<u16>,
    parts: Vec<Part>,
    used: usize,
    waiting: usize,
    /// Bytes kept for parts, and how many may be.
    held: usize,
    limit: usize,
    overflowed: bool,
    silent: bool,
    over: Option<Over>,
    /// The reply is computed by it rather than joined.
    plan: Option<emulate::Plan>,
    counting: Option<Counting>,
}

impl Default for Joining {
    fn default() -> Self {
        Self {
            kind: command::Join::Ok,
            write: false,
            assignment: Vec::new(),
            parts: Vec::new(),
            used: 0,
            waiting: 0,
            held: 0,
            limit: 0,
            overflowed: false,
            silent: false,
            over: None,
            plan: None,
            counting: None,
        }
    }
}

impl Joining {
    /// Begins to collect at most `limit` bytes; memory of earlier use is kept.
    pub(crate) fn begin(
        &mut self,
        kind: command::Join,
        write: bool,
        assignment: &[u16],
        parts: usize,
        limit: usize,
    ) {
        self.kind = kind;
        self.write = write;
        self.assignment.clear();
        self.assignment.extend_from_slice(assignment);
        self.parts.resize_with(self.parts.len().max(parts), Part::default);
        for part in &mut self.parts[..parts] {
            part.reply.clear();
            part.state = PartState::Waiting;
        }
        self.used = parts;
        self.waiting = parts;
        (self.held, self.limit, self.overflowed, self.silent) = (0, limit, false, false);
        (self.over, self.plan, self.counting) = (None, None, None);
    }

    /// Begins to collect the replies of a command that is not split by its keys.
    pub(crate) fn begin_over(
        &mut self,
        kind: command::Join,
        write: bool,
        parts: usize,
        limit: usize,
        over: Over,
    ) {
        self.begin(kind, write, &[], parts, limit);
        self.over = Some(over);
    }

    /// Begins to collect the answers from which a plan computes the reply.
    pub(crate) fn begin_computed(&mut self, plan: emulate::Plan, parts: usize, limit: usize) {
        self.begin(command::Join::Values, false, &[], parts, limit);
        self.plan = Some(plan);
    }

    /// The replies count listeners; the proxy's own connections among them stand for its clients.
    pub(crate) fn count(&mut self, counting: Counting) {
        self.counting = Some(counting);
    }

    /// Gives memory back after unusually large replies.
    pub(crate) fn shrink(&mut self) {
        const KEEP: usize = 16 * 1024;
        (self.over, self.counting) = (None, None);
        self.parts.truncate(64);
        for part in &mut self.parts {
            // what is still in it would keep its memory
            part.reply.clear();
            part.reply.shrink_to(KEEP);
        }
        self.assignment.shrink_to(KEEP);
    }

    /// Nobody wants the reply: [`Joining::finish`] writes none.
    pub(crate) fn silence(&mut self) {
        self.silent = true;
    }

    /// Bytes that are kept for parts.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Bytes of a part's reply; true when all parts are there.
    pub(crate) fn reply(&mut self, part: usize, bytes: &[u8], last: bool) -> bool {
        if self.held.saturating_add(bytes.len()) > self.limit {
            self.overflow();
        }
        let Some(part) = self.parts.get_mut(part) else { return false };
        if !self.overflowed {
            part.reply.extend_from_slice(bytes);
            self.held += bytes.len();
        }
        if last {
            part.state = PartState::Answered;
            self.waiting -= 1;
        }
        self.waiting == 0
    }

    /// Drops what there is and what will come: an error takes its place.
    #[cold]
    fn overflow(&mut self) {
        self.overflowed = true;
        self.held = 0;
        self.parts.iter_mut().for_each(|part| part.reply = Vec::new());
    }

    /// A part got no reply; true when nothing more is awaited.
    pub(crate) fn fail(&mut self, part: usize, fate: Fate, text: &str) -> bool {
        let Some(part) = self.parts.get_mut(part) else { return false };
        part.state = PartState::Failed(fate, text.into());
        self.waiting -= 1;
        self.waiting == 0
    }

    /// Appends the joined reply, unless nobody wants it.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let before = out.len();
        self.write_reply(out);
        if self.silent {
            out.truncate(before);
        }
    }

    fn write_reply(&mut self, out: &mut Vec<u8>) {
        if let Some(Over { topology, about: About::Page(page) }) =
            self.over.as_ref().filter(|_| !self.overflowed)
        {
            // a page about nodes is wanted most when some of them fail
            let answered = |part: &Part| part.state == PartState::Answered;
            let replies = self.parts().iter().map(|part| answered(part).then_some(part.reply.as_slice()));
            return info::join(out, page, topology, replies);
        }
        if let Some(plan) = self.plan.take() {
            self.compute(&plan, out);
            // what was computed may have had many parts, and large ones
            (self.parts, self.used) = (Vec::new(), 0);
            return;
        }
        if let Some(text) = self.failure() {
            return encode::error(out, &text);
        }
        let before = out.len();
        let joined = match self.kind {
            command::Join::Values => self.values(out),
            command::Join::Sum => self.sum(out),
            command::Join::Ok => self.all_ok(out),
            command::Join::Same => self.same(out),
            command::Join::Alike => self.alike(out, alike::summary),
            command::Join::Libraries => {
                self.alike(out, |reply| reply::bulk(reply).map(crate::scripts::summary))
            }
            command::Join::Least => self.least(out),
            command::Join::Said => servers::said(out, self.replies()),
            command::Join::History => servers::history(out, self.replies()),
            command::Join::Latest => servers::latest(out, self.replies()),
            command::Join::Histogram => servers::histogram(out, self.replies()),
            command::Join::Memory => servers::memory(out, self.replies()),
            command::Join::Keys
            | command::Join::Draw
            | command::Join::Page
            | command::Join::Texts
            | command::Join::Settings
            | command::Join::SlowLog
            | command::Join::Info => self.over_nodes(out),
            command::Join::Receivers
            | command::Join::Union
            | command::Join::Listeners(_)
            | command::Join::Patterns => {
                self.counting.as_ref().and_then(|counting| counting.join(self.kind, out, self.replies()))
            }
        };
        if joined.is_none() {
            out.truncate(before);
            return encode::error(
                out,
                "UNKNOWN a node's reply to a part of the command cannot be joined; parts of it ran",
            );
        }
        if let Some(Over { about: About::Lesson(scripts, lesson), .. }) = &self.over {
            scripts.learn(lesson);
        }
    }

    #[cold]
    fn compute(&self, plan: &emulate::Plan, out: &mut Vec<u8>) {
        let lost = self.parts().iter().any(|part| part.state != PartState::Answered);
        if let Some(text) = self.failure().filter(|_| lost) {
            return encode::error(out, &text);
        }
        if self.overflowed {
            return encode::error(out, emulate::TOO_LONG);
        }
        let before = out.len();
        if plan.finish(out, self.replies()).is_none() {
            out.truncate(before);
            encode::error(out, emulate::NOT_UNDERSTOOD);
        }
    }

    fn parts(&self) -> &[Part] {
        &self.parts[..self.used]
    }

    /// The error of the whole command, if a part failed or was answered with an error.
    fn failure(&self) -> Option<String> {
        let error = |part: &&Part| part.reply.first() == Some(&b'-');
        let failed = self.parts().iter().find_map(|part| match &part.state {
            PartState::Failed(Fate::Unknown, text) => Some(Rc::clone(text)),
            _ => None,
        });
        let failed = failed.or_else(|| {
            self.parts().iter().find_map(|part| match &part.state {
                PartState::Failed(_, text) => Some(Rc::clone(text)),
                _ => None,
            })
        });
        let ran = self.parts().iter().any(|part| part.state == PartState::Answered && !error(&part));
        if let Some(text) = failed {
            if !ran || !self.write {
                return Some(text.to_string());
            }
            // some of it ran: NOTSENT would be a lie about the whole
            let text = text
                .strip_prefix(Fate::NotSent.code())
                .map_or_else(|| text.to_string(), |rest| format!("{}{rest}", Fate::Unknown.code()));
            return Some(format!("{text}; the parts of this command on other nodes ran"));
        }
        let after = if ran && self.write { "the parts of this command on other nodes ran" } else { "" };
        if self.overflowed {
            return Some(if after.is_empty() { TOO_LONG.into() } else { format!("{TOO_LONG}; {after}") });
        }
        let (at, refused) = self.parts().iter().enumerate().find(|(_, part)| error(part))?;
        let text = String::from_utf8_lossy(&refused.reply);
        let text = text.trim_start_matches('-').trim_end();
        // what all say is said in their words, what one says is said of it
        let alike = self.parts().iter().all(|part| part.reply == refused.reply);
        let notes: Vec<String> = self
            .node_of(at)
            .filter(|_| !alike)
            .map(|name| format!("node '{name}'"))
            .into_iter()
            .chain((!after.is_empty()).then(|| after.to_owned()))
            .collect();
        Some(if notes.is_empty() { text.to_owned() } else { format!("{text} ({})", notes.join("; ")) })
    }

    /// The name of the node of a part, if the command went to all.
    fn node_of(&self, part: usize) -> Option<&str> {
        let topology = &self.over.as_ref()?.topology;
        let index = NodeIndex((part % topology.nodes().len()) as u16);
        topology.node(index).map(|node| node.name.as_str())
    }

    fn replies(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.parts().iter().map(|part| part.reply.as_slice())
    }

    fn same(&self, out: &mut Vec<u8>) -> Option<()> {
        let first = self.replies().next()?;
        self.replies().all(|reply| reply == first).then(|| out.extend_from_slice(first))
    }

    /// The first reply, if all have the same summary.
    fn alike(&self, out: &mut Vec<u8>, summary: impl Fn(&[u8]) -> Option<u64>) -> Option<()> {
        let first = self.replies().next()?;
        let wanted = summary(first)?;
        for (part, reply) in self.replies().enumerate() {
            if summary(reply)? != wanted {
                let (one, other) = (self.node_of(0)?, self.node_of(part)?);
                encode::error(out, &format!("ERR node '{other}' answers otherwise than node '{one}'"));
                return Some(());
            }
        }
        out.extend_from_slice(first);
        Some(())
    }

    fn least(&self, out: &mut Vec<u8>) -> Option<()> {
        if let Some(first) = reply::integer(self.replies().next()?) {
            let least =
                self.replies().try_fold(first, |least, next| Some(least.min(reply::integer(next)?)))?;
            encode::integer(out, least);
            return Some(());
        }
        let mut replies = self.replies().map(reply::elements);
        let mut least: Vec<i64> = replies.next()??.map(reply::integer).collect::<Option<_>>()?;
        for reply in replies {
            let values = reply?;
            if values.left() != least.len() {
                return None;
            }
            for (least, value) in least.iter_mut().zip(values) {
                *least = (*least).min(reply::integer(value)?);
            }
        }
        encode::array(out, least.len());
        least.iter().for_each(|value| encode::integer(out, *value));
        Some(())
    }

    /// Joins for which it counts which node said what.
    fn over_nodes(&self, out: &mut Vec<u8>) -> Option<()> {
        let Over { topology, about } = self.over.as_ref()?;
        match (self.kind, about) {
            (command::Join::Texts, _) => servers::texts(out, topology, self.replies()),
            (command::Join::Page, About::Place(place)) => {
                keyspace::page(out, topology, *place, self.replies().next()?)
            }
            (command::Join::Settings, About::Names(names)) => {
                servers::settings(out, topology, names, self.replies())
            }
            (command::Join::SlowLog, About::Most(most)) => {
                servers::slow_log(out, topology, *most, self.replies())
            }
            (command::Join::Draw, _) => {
                let random = RandomState::new().build_hasher().finish();
                keyspace::draw(out, topology, self.replies(), random)
            }
            _ => None,
        }
    }

    fn values(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let mut expected = 0;
        for part in &mut self.parts[..self.used] {
            let elements = reply::elements(&part.reply)?;
            expected += elements.left();
            part.taken = part.reply.len() - elements.rest().len();
        }
        if expected != self.assignment.len() {
            return None;
        }
        encode::array(out, self.assignment.len());
        for part in &self.assignment {
            let part = self.parts.get_mut(usize::from(*part))?;
            let rest = part.reply.get(part.taken..)?;
            let len = reply::reply_len(rest)?;
            out.extend_from_slice(&rest[..len]);
            part.taken += len;
        }
        Some(())
    }

    fn sum(&self, out: &mut Vec<u8>) -> Option<()> {
        let mut sum: i64 = 0;
        for part in self.parts() {
            sum = sum.checked_add(reply::integer(&part.reply)?)?;
        }
        encode::integer(out, sum);
        Some(())
    }

    fn all_ok(&self, out: &mut Vec<u8>) -> Option<()> {
        self.parts().iter().all(|part| part.reply == b"+OK\r\n").then(|| encode::simple(out, "OK"))
    }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
