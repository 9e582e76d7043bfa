//! Commands that somebody looks at beside their client: MONITOR shows them, and operators have their keys counted.
//!
//! What counts is a command that was accepted, once, whichever nodes it goes to and however often it had to wait; what is
//! refused or for operators does not. While nobody looks, no command comes here ([`Unusual::Watched`]).

use std::rc::Rc;
use std::sync::Arc;

use super::session::{Session, Unusual};
use super::{Client, Inner, acl, monitor, new_commands, tracking};
use crate::command::{Command, Flags, KeyUse, KeyUses, Route, key_positions};
use crate::hot_keys::KeyCounts;
use crate::resp::Args;
use crate::worker::Worker;

/// Counts keys, or no longer; what was counted until now.
pub(crate) fn count_keys(worker: &Rc<Worker>, on: bool) -> Option<KeyCounts> {
    let topology = Arc::clone(&worker.routes().topology);
    let counts = on.then(|| KeyCounts::new(Arc::clone(&topology)));
    let mut counted = worker.key_counts.replace(counts);
    counted.iter_mut().for_each(|counts| counts.follow(&topology));
    changed(worker);
    counted
}

/// Whether anybody looks at what clients of this worker ask.
pub(super) fn is_watched(worker: &Worker) -> bool {
    worker.monitors.are_there() || worker.key_counts.borrow().is_some()
}

/// Somebody looks, or nobody any more.
pub(super) fn changed(worker: &Worker) {
    let watched = is_watched(worker);
    for client in worker.clients.borrow().values() {
        client.inner.borrow_mut().session.set(Unusual::Watched, watched);
    }
}

/// Handles a command as ever, and lets be seen what was accepted.
pub(super) fn serve(client: &Rc<Client>, inner: &mut Inner, args: Args<'_>) -> bool {
    // what it does may change its client's rights
    let seen = accepted(client, &inner.session, &args);
    let handled = tracking::serve(client, inner, args);
    // one that waits is seen again; one whose buffer is taken over is not
    if let Some(command) = seen
        && (handled || inner.taken_by.is_some())
    {
        monitor::show(client, inner, &args);
        count(&client.worker, command, &args);
    }
    handled
}

fn accepted(client: &Client, session: &Session, args: &Args<'_>) -> Option<&'static Command> {
    let command = new_commands::row(client, args)?;
    let is_accepted = !command.flags.contains(Flags::ADMIN)
        && !matches!(command.route, Route::Refused(_))
        && acl::judge(client, session, command, args).is_ok()
        && client.worker.shared.settings.allows(command);
    is_accepted.then_some(command)
}

fn count(worker: &Worker, command: &Command, args: &Args<'_>) {
    let Some(counts) = &mut *worker.key_counts.borrow_mut() else { return };
    let mut positions = Vec::new();
    if key_positions(command, args, &mut positions).is_err() || positions.is_empty() {
        return;
    }
    counts.follow(&worker.routes().topology);
    let uses = KeyUses::of(command, args);
    let keys =
        positions.iter().enumerate().filter_map(|(nth, at)| Some((args.get(*at as usize)?, uses.nth(nth))));
    let mut names_keys = false;
    // a channel goes to a node as a key does, and is none
    for (key, uses) in keys.filter(|(_, uses)| !uses.contains(KeyUse::NOT_KEY)) {
        let is_told = uses.changes() || uses.contains(KeyUse::RO);
        counts.access(key, if is_told { uses.changes() } else { command.is_write() });
        names_keys = true;
    }
    counts.commands += u64::from(names_keys);
}
