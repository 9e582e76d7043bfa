//! `CLIENT UNBLOCK`: ends the wait of another client, on whichever worker it is.

use std::rc::Rc;

use tokio::sync::oneshot;

use super::Order;
use crate::client::session::refuse;
use crate::client::{Client, Inner, exclusive};
use crate::command::Command;
use crate::resp::Args;
use crate::resp::request::parse_number;
use crate::stats::Outcome;
use crate::upstream::ReplyTo;
use crate::worker::{ToWorker, Worker};

/// `CLIENT UNBLOCK id [TIMEOUT|ERROR]`; false when it must wait for the commands before it.
pub(in crate::client) fn unblock(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    if !inner.pipeline.is_empty() {
        inner.session.hold();
        return false;
    }
    let (id, reason) = match wish(args) {
        Ok(wish) => wish,
        Err(text) => {
            refuse(client, inner, command, text);
            return true;
        }
    };
    exclusive::run(client, inner, args.frame().len(), false, |to| async move {
        let worker = &to.client.worker;
        let mut awaited = Vec::new();
        for other in &worker.shared.workers {
            let (answer, receiver) = oneshot::channel();
            let order = move |worker: &Rc<Worker>| {
                worker.waits.order(id, Order::Unblock { reason, answer });
            };
            if other.sender.send(ToWorker::Run(Box::new(order))).is_ok() {
                awaited.push(receiver);
            }
        }
        let mut waited = false;
        for receiver in awaited {
            waited |= receiver.await.unwrap_or(false);
        }
        worker.stats.local.count(command, Outcome::Ok);
        to.reply(if waited { b":1\r\n" } else { b":0\r\n" }, true);
    });
    true
}

/// What `CLIENT UNBLOCK` asks for: a client's number and how it is to be answered.
fn wish(args: Args<'_>) -> Result<(u64, &'static str), &'static str> {
    let reason = match args.get(3) {
        _ if args.len() > 4 => {
            return Err(
                "ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.",
            );
        }
        None => "TIMEOUT",
        Some(word) if word.eq_ignore_ascii_case(b"timeout") => "TIMEOUT",
        Some(word) if word.eq_ignore_ascii_case(b"error") => "ERROR",
        Some(_) => return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
    };
    let id = args.get(2).and_then(parse_number).ok_or("ERR value is not an integer or out of range")?;
    // no client has a negative number
    Ok((u64::try_from(id).unwrap_or(u64::MAX), reason))
}
