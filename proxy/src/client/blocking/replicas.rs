//! WAIT and WAITAOF over several nodes: how many replicas have all that this client wrote.
//!
//! ```text
//!   WAIT n t ─┬─► node 0: SPUBLISH, PING, WAIT n t ─► :2 ┐
//!             └─► node 1: SPUBLISH, PING, WAIT n t ─► :1 ┴─► :1, the least
//! ```
//! A server waits for what was written on the connection that asks, and clients share those on which they write. So
//! each node is asked on a connection of the client's own, behind a message to nobody: it stands in the node's stream of
//! replication behind everything the client was answered for, and what has it has all of that. It is a shard message, as
//! patterns do not hear those; a server that does not know them counts from any command, which PING is.
//!
//! Each of the client's writes is on as many replicas as the least answer says (law I4). What was lost with a connection
//! or has left with a node nobody can count: that is an error, once.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::super::exclusive::{self, Permit};
use super::super::session::refuse;
use super::super::{Client, Inner, Reading, SlotRef};
use super::{Listed, Order, end_wait, leave, words};
use crate::command::Command;
use crate::error::{Failure, Fate};
use crate::resp::request::parse_number;
use crate::resp::{Args, encode, reply};
use crate::stats::Outcome;
use crate::upstream::{Lane, Lost, Node, Patience, ReplyTo};

/// The channel of the messages to nobody.
const CHANNEL: &str = "ringway:wait";
/// Longest answer, in bytes; the section of INFO with a line for each replica is by far the longest.
const ANSWER_BYTES: usize = 256 * 1024;
const CANNOT_TELL: &str = "ERR what this client wrote may be gone: a connection to a node was lost, or a node has left, since it connected or last asked; ask again about what it has written since";

/// What one node has to say.
struct Answer {
    reply: Vec<u8>,
    /// CLIENT UNBLOCK ended its wait.
    unblocked: bool,
}

/// Begins to wait; false when the commands before it are not answered.
pub(in crate::client) fn begin(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    if !inner.pipeline.is_empty() {
        inner.session.hold();
        return false;
    }
    let (nodes, epoch) = {
        let routes = client.worker.routes();
        (routes.nodes(), routes.topology.epoch())
    };
    inner.session.follows(epoch, true);
    let losses = client.worker.links.losses.get();
    if std::mem::replace(&mut inner.session.losses, losses) != losses {
        refuse(client, inner, command, CANNOT_TELL);
        return true;
    }
    let Some(permit) = exclusive::permits(&client.worker, nodes.len()) else {
        refuse(client, inner, command, exclusive::TOO_MANY);
        return true;
    };
    let (id, question) = (inner.session.id, Question::new(command, args));
    exclusive::run(client, inner, args.frame().len(), true, |to| {
        let mut listed = Listed::new(&to.client.worker, id);
        listed.count();
        Wait { to, listed, command, losses, _permit: permit }.run(nodes, question)
    });
    if inner.reading != Reading::Open {
        client.worker.waits.leave(id);
    }
    true
}

/// What every node is asked.
struct Question {
    bytes: Rc<[u8]>,
    /// It waits for no replica: the answer is in INFO, and no message makes them lag behind.
    only_counts: bool,
}

impl Question {
    fn new(command: &Command, args: Args<'_>) -> Self {
        let wanted = args.get(1).and_then(parse_number);
        let only_counts = command.name == "wait" && wanted.is_some_and(|wanted| wanted <= 0);
        let mut bytes = Vec::new();
        let before: &[&[&str]] = match only_counts {
            true => &[&["INFO", "replication"]],
            false => &[&["SPUBLISH", CHANNEL, ""], &["PING"]],
        };
        for request in before {
            encode::array(&mut bytes, request.len());
            request.iter().for_each(|word| encode::bulk(&mut bytes, word.as_bytes()));
        }
        bytes.extend_from_slice(args.frame());
        Self { bytes: bytes.into(), only_counts }
    }
}

/// A client that waits.
struct Wait {
    to: SlotRef,
    listed: Listed,
    command: &'static Command,
    /// Losses when it began.
    losses: u64,
    _permit: Permit,
}

/// How a node's part ended, and which node's.
type Ended = (usize, Result<Answer, Lost>);

impl Wait {
    async fn run(mut self, nodes: Vec<Rc<Node<SlotRef>>>, question: Question) {
        let limit = self.to.client.worker.shared.settings.timeouts.operation;
        let (end, ends) = watch::channel(None);
        let mut asked: JoinSet<Ended> = JoinSet::new();
        for (at, node) in nodes.iter().enumerate() {
            let (node, bytes, ends) = (Rc::clone(node), Rc::clone(&question.bytes), ends.clone());
            let only_counts = question.only_counts;
            asked.spawn_local(async move {
                let asked = async {
                    if only_counts {
                        count(&node, &bytes, limit).await
                    } else {
                        wait(&node, &bytes, ends, limit).await
                    }
                };
                (at, asked.await)
            });
        }
        let mut answers = BTreeMap::new();
        let mut unblockers: Vec<oneshot::Sender<bool>> = Vec::new();
        while answers.len() < nodes.len() {
            tokio::select! {
                Some(ended) = asked.join_next() => match ended {
                    Ok((at, Ok(answer))) => drop(answers.insert(at, answer)),
                    Ok((at, Err(lost))) => return self.lost(&nodes[at], &lost),
                    // a part that panicked has no answer
                    Err(_) => return self.to.client.close(),
                },
                Some(order) = self.listed.orders.recv() => match order {
                    Order::Unblock { reason, answer } => {
                        end.send_replace(Some(reason));
                        unblockers.push(answer);
                    }
                    Order::Leave => return leave(&self.to.client),
                },
            }
        }
        let unblocked = answers.values().any(|answer| answer.unblocked);
        for answer in unblockers {
            // whoever asked may be gone
            let _ = answer.send(unblocked);
        }
        self.answer(answers.values().map(|answer| &*answer.reply));
    }

    fn answer<'a>(&self, replies: impl Iterator<Item = &'a [u8]> + Clone) {
        let mut out = Vec::new();
        let worker = &self.to.client.worker;
        if worker.links.losses.get() != self.losses {
            self.to.client.inner.borrow_mut().session.losses = worker.links.losses.get();
            encode::error(&mut out, CANNOT_TELL);
        } else if least(replies, &mut out).is_none() {
            out.clear();
            encode::error(&mut out, "ERR nodes answer what cannot be compared");
        }
        let outcome = if out.starts_with(b"-") { Outcome::Error } else { Outcome::Ok };
        worker.stats.local.count(self.command, outcome);
        self.to.reply(&out, true);
    }

    fn lost(&self, node: &Node<SlotRef>, Lost { fate, why }: &Lost) {
        let outcome = match fate {
            Fate::NotSent => Outcome::NotSent,
            Fate::Unknown => Outcome::Unknown,
        };
        self.to.client.worker.stats.local.count(self.command, outcome);
        self.to.fail(Failure { fate: *fate, node: &node.spec, why });
    }
}

/// Asks a node and waits with it.
async fn wait(
    node: &Node<SlotRef>,
    question: &[u8],
    mut ends: watch::Receiver<Option<&'static str>>,
    limit: Duration,
) -> Result<Answer, Lost> {
    let patience = Patience::Limited(limit);
    let mut connection = node.dedicated(Lane::default()).await?;
    connection.send(question, Patience::Unlimited).await?;
    let marked = connection.gather(ANSWER_BYTES, patience).await?;
    connection.gather(ANSWER_BYTES, patience).await?;
    if marked.starts_with(b"-") && !marked.starts_with(b"-ERR unknown command") {
        let why = format!("WAIT needs SPUBLISH, to which it answers: {}", words(&marked[1..]));
        return Err(Lost { fate: Fate::Unknown, why });
    }
    let reason = tokio::select! {
        biased;
        begun = connection.begins(Patience::Unlimited) => begun.map(|()| None)?,
        Ok(reason) = ends.wait_for(Option::is_some) => *reason,
    };
    let unblocked = match reason {
        Some(reason) => {
            end_wait(node, &mut connection, reason, "CLIENT UNBLOCK ended the wait", limit).await?
        }
        None => false,
    };
    connection.outlast();
    let reply = connection.gather(ANSWER_BYTES, patience).await?;
    connection.settle();
    Ok(Answer { reply, unblocked })
}

/// Asks a node how many replicas have acknowledged everything so far; an error in the words of WAIT stays one.
async fn count(node: &Node<SlotRef>, question: &[u8], limit: Duration) -> Result<Answer, Lost> {
    let patience = Patience::Limited(limit);
    let mut connection = node.dedicated(Lane::default()).await?;
    connection.send(question, patience).await?;
    let info = connection.gather(ANSWER_BYTES, patience).await?;
    let mut reply = connection.gather(ANSWER_BYTES, patience).await?;
    connection.settle();
    if reply.starts_with(b":") {
        reply.clear();
        encode::integer(&mut reply, acknowledged(&String::from_utf8_lossy(&info)));
    }
    Ok(Answer { reply, unblocked: false })
}

/// Of the replication section of INFO: the replicas that have told to have everything.
fn acknowledged(info: &str) -> i64 {
    let value = |line: &str, name: &str| line.strip_prefix(name)?.parse::<i64>().ok();
    let Some(offset) = info.lines().find_map(|line| value(line, "master_repl_offset:")) else { return 0 };
    let has_it = |line: &&str| {
        let fields = || line.split_once(':').map_or("", |(_, fields)| fields).split(',');
        line.starts_with("slave")
            && fields().any(|field| field == "state=online")
            && fields()
                .any(|field| value(field, "offset=").is_some_and(|acknowledged| acknowledged >= offset))
    };
    info.lines().filter(has_it).count() as i64
}

/// The least of integers, or of arrays of integers place by place; the first error if there is one.
fn least<'a>(replies: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u8>) -> Option<()> {
    if let Some(error) = replies.clone().find(|reply| reply.starts_with(b"-")) {
        out.extend_from_slice(error);
        return Some(());
    }
    let numbers = |reply: &[u8]| -> Option<Vec<i64>> {
        match reply::elements(reply) {
            Some(elements) => elements.map(reply::integer).collect(),
            None => reply::integer(reply).map(|number| vec![number]),
        }
    };
    let is_array = replies.clone().all(|reply| reply.starts_with(b"*"));
    let mut all = replies.map(numbers);
    let mut least = all.next()??;
    for other in all {
        let other = other?;
        if other.len() != least.len() {
            return None;
        }
        least.iter_mut().zip(other).for_each(|(least, other)| *least = other.min(*least));
    }
    if is_array {
        encode::array(out, least.len());
    }
    least.iter().for_each(|number| encode::integer(out, *number));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn least_of(replies: &[&str]) -> Option<String> {
        let mut out = Vec::new();
        least(replies.iter().map(|reply| reply.as_bytes()), &mut out)?;
        String::from_utf8(out).ok()
    }

    #[test]
    fn the_least_answer_is_true_of_every_node() {
        assert_eq!(least_of(&[":2\r\n", ":1\r\n", ":3\r\n"]).as_deref(), Some(":1\r\n"));
        let pairs = ["*2\r\n:1\r\n:2\r\n", "*2\r\n:0\r\n:3\r\n"];
        assert_eq!(least_of(&pairs).as_deref(), Some("*2\r\n:0\r\n:2\r\n"));
        assert_eq!(least_of(&[":2\r\n", "-ERR x\r\n"]).as_deref(), Some("-ERR x\r\n"));
        assert_eq!(least_of(&[":2\r\n", "*2\r\n:0\r\n:3\r\n"]), None);
        assert_eq!(least_of(&[":2\r\n", "+OK\r\n"]), None);
    }

    #[test]
    fn replicas_that_lag_or_are_not_online_do_not_count() {
        let info = "$1\r\n# Replication\r\nrole:master\r\n\
            slave0:ip=::1,port=1,state=online,offset=90,lag=0\r\n\
            slave1:ip=::1,port=2,state=online,offset=89,lag=1\r\n\
            slave2:ip=::1,port=3,state=send_bulk,offset=90,lag=0\r\n\
            slave3:ip=::1,port=4,state=online,offset=91,lag=0\r\n\
            master_repl_offset:90\r\n";
        assert_eq!(acknowledged(info), 2);
        assert_eq!(acknowledged("role:master\r\nmaster_repl_offset:0\r\n"), 0);
        assert_eq!(acknowledged(""), 0);
    }
}
