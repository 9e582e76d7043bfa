//! SCRIPT KILL, FUNCTION KILL and FUNCTION STATS: what runs on which node, and its end.
//!
//! ```text
//!   SCRIPT KILL ─┬─► node 0, own connection: (AUTH) SCRIPT KILL ─► -NOTBUSY … ┐
//!                └─► node 1, own connection: (AUTH) SCRIPT KILL ─► +OK        ┴─► +OK
//! ```
//! A node that a script keeps busy answers BUSY to nearly everything, greetings included, and is given up by the shared
//! connections. So each node is asked on a connection opened for it, on which nothing else is said. What a node cannot be
//! asked about is told (law I4): that nothing runs is said only when every node says so.

use std::rc::Rc;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::exclusive;
use super::session::refuse;
use super::{Client, Inner, SlotRef};
use crate::command::Command;
use crate::error::{Failure, Fate};
use crate::resp::{Args, Protocol, encode};
use crate::route::servers;
use crate::settings::NodeSpec;
use crate::stats::Outcome;
use crate::upstream::{Lost, ReplyTo, ask_busy};

/// What one node has said.
type Said = Result<Vec<u8>, Lost>;

/// Asks every node; false when the commands before it are not answered.
pub(super) fn begin(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    if !inner.pipeline.is_empty() {
        inner.session.hold();
        return false;
    }
    let topology = Arc::clone(&client.worker.routes().topology);
    let Some(permit) = exclusive::permits(&client.worker, topology.nodes().len()) else {
        refuse(client, inner, command, exclusive::TOO_MANY);
        return true;
    };
    let request: Arc<[u8]> = args.frame().into();
    let protocol = inner.session.protocol;
    exclusive::run(client, inner, args.frame().len(), false, |to| async move {
        let _permit = permit;
        let nodes = topology.nodes();
        let said = ask_all(&to, nodes, &request, protocol).await;
        let joined =
            if command.full_name == "function|stats" { stats(&said, protocol) } else { killed(&said) };
        answer(&to, command, nodes, &said, joined);
    });
    true
}

/// What every node says, in their order.
async fn ask_all(
    to: &SlotRef,
    nodes: &[Arc<NodeSpec>],
    request: &Arc<[u8]>,
    protocol: Protocol,
) -> Vec<Said> {
    let shared = &to.client.worker.shared;
    let limit = shared.settings.timeouts.operation;
    let mut asked = JoinSet::new();
    for (at, node) in nodes.iter().enumerate() {
        let (node, request, ways) = (Arc::clone(node), Arc::clone(request), Arc::clone(&shared.ways));
        asked.spawn_local(async move { (at, ask_busy(&node, &ways, protocol, &request, limit).await) });
    }
    let lost = || Err(Lost { fate: Fate::Unknown, why: "asking it failed".to_owned() });
    let mut said: Vec<Said> = nodes.iter().map(|_| lost()).collect();
    while let Some(ended) = asked.join_next().await {
        // a part that panicked has said nothing
        if let Ok((at, reply)) = ended {
            said[at] = reply;
        }
    }
    said
}

/// The reply to the client, or `None` when there is only what the first node failed with.
fn answer(
    to: &SlotRef,
    command: &'static Command,
    nodes: &[Arc<NodeSpec>],
    said: &[Said],
    joined: Option<Vec<u8>>,
) {
    let local = &to.client.worker.stats.local;
    if let Some(out) = joined {
        let is_error = out.starts_with(b"-");
        local.count(command, if is_error { Outcome::Error } else { Outcome::Ok });
        return to.reply(&out, true);
    }
    let failed = nodes.iter().zip(said).find_map(|(node, said)| Some((node, said.as_ref().err()?)));
    match failed {
        Some((node, Lost { fate, why })) => {
            let outcome = if *fate == Fate::NotSent { Outcome::NotSent } else { Outcome::Unknown };
            local.count(command, outcome);
            to.fail(Failure { fate: *fate, node, why });
        }
        None => {
            let mut out = Vec::new();
            encode::error(&mut out, "ERR nodes answer what cannot be joined");
            local.count(command, Outcome::Error);
            to.reply(&out, true);
        }
    }
}

/// Done if any node has done it; else what stands against it; that nothing runs only if no node does not say so.
fn killed(said: &[Said]) -> Option<Vec<u8>> {
    let replies = || said.iter().flatten();
    let done = replies().find(|reply| !reply.starts_with(b"-"));
    let not_busy = |reply: &&Vec<u8>| reply.starts_with(b"-NOTBUSY ");
    let against = || replies().find(|reply| !not_busy(reply));
    let all_idle = || said.iter().all(Result::is_ok).then(|| replies().next()).flatten();
    done.or_else(against).or_else(all_idle).cloned()
}

/// What all nodes say as one; the first error is one for all.
fn stats(said: &[Said], protocol: Protocol) -> Option<Vec<u8>> {
    let replies = said.iter().map(|said| said.as_deref().ok()).collect::<Option<Vec<_>>>()?;
    if let Some(error) = replies.iter().find(|reply| reply.starts_with(b"-")) {
        return Some(error.to_vec());
    }
    let mut out = Vec::new();
    servers::running(&mut out, protocol, replies.into_iter())?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: &str = "-NOTBUSY No scripts in execution right now.\r\n";
    const STUBBORN: &str = "-UNKILLABLE Sorry\r\n";

    fn said(all: &[&str]) -> Vec<Said> {
        let lost = || Lost { fate: Fate::NotSent, why: "gone".into() };
        all.iter().map(|said| if said.is_empty() { Err(lost()) } else { Ok((*said).into()) }).collect()
    }

    #[test]
    fn nothing_runs_only_if_all_say_so() {
        for (all, reply) in [
            (&[IDLE, IDLE][..], Some(IDLE)),
            (&[IDLE, "+OK\r\n", ""], Some("+OK\r\n")),
            (&[IDLE, STUBBORN, ""], Some(STUBBORN)),
            (&[STUBBORN, "+OK\r\n"], Some("+OK\r\n")),
            (&[IDLE, ""], None),
        ] {
            assert_eq!(killed(&said(all)), reply.map(|reply| reply.as_bytes().to_vec()), "{all:?}");
        }
    }

    #[test]
    fn what_runs_anywhere_is_told() {
        let one =
            |runs: &str| format!("*4\r\n$14\r\nrunning_script\r\n{runs}$7\r\nengines\r\n*2\r\n+a\r\n+b\r\n");
        let (idle, busy) = (one("*-1\r\n"), one("*2\r\n+name\r\n+f\r\n"));
        let joined =
            |all: &[&str]| stats(&said(all), Protocol::Resp2).map(|out| String::from_utf8(out).unwrap());
        assert_eq!(joined(&[&idle, &idle]).as_ref(), Some(&idle));
        assert_eq!(joined(&[&idle, &busy, &idle]).as_ref(), Some(&busy));
        assert_eq!(joined(&[&busy, ""]), None);
        assert_eq!(joined(&[&busy, "-NOPERM x\r\n"]).as_deref(), Some("-NOPERM x\r\n"));
    }
}
