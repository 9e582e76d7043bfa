//! Sends the parts of a command whose reply is computed from what several nodes have (`multi_key: emulate`).
//!
//! All or nothing is sent: if one of the nodes cannot be used, none is asked. The answers are gathered as those of a
//! split command; what is asked and what is made of it stands in [`crate::route::emulate`].

use std::rc::Rc;

use super::session::{not_sent, refuse};
use super::{Client, Inner, SlotRef};
use crate::command::{Command, Computed};
use crate::error;
use crate::resp::Args;
use crate::route::{Scratch, emulate};
use crate::settings::MultiKey;
use crate::worker::Routes;

/// Asks the nodes, or refuses as always when the settings do not ask for more.
#[cold]
pub(super) fn send(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    computed: Computed,
    args: Args<'_>,
    routes: &Routes,
    placed: &Scratch,
) {
    let worker = &client.worker;
    let settings = &worker.shared.settings;
    if settings.multi_key == MultiKey::Refuse {
        return refuse(client, inner, command, error::CROSSSLOT);
    }
    let lane = inner.session.lane();
    let (asks, plan) = match emulate::plan(computed, &args, &placed.keys, &placed.owners, lane.protocol) {
        Ok(planned) => planned,
        Err(text) => return refuse(client, inner, command, text),
    };
    let links: Vec<_> = asks.iter().map(|ask| routes.link(ask.node, lane)).collect();
    if let Some(unusable) = links.iter().find(|link| !link.is_usable()) {
        return not_sent(client, inner, command, unusable);
    }
    let limit = settings.limits.emulate_bytes.min(settings.limits.reply_hard_bytes);
    let mut joining = worker.spare.borrow_mut().joining();
    joining.begin_computed(plan, asks.len(), limit);
    let number = inner.pipeline.join(args.frame().len(), joining);
    for (part, (ask, link)) in asks.iter().zip(&links).enumerate() {
        link.append(|out| ask.write(&args, out));
        link.commit(SlotRef { client: Rc::clone(client), number, part: part as u16 }, command);
    }
    worker.stats.emulated.count(command);
}
