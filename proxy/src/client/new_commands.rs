//! Commands for which the table has no row: those that nodes have told of, or Redis's words for unknown ones.

use std::rc::Rc;

use super::{Client, Inner, transaction};
use crate::command::{self, Command, Learned, ResolveError};
use crate::error;
use crate::resp::{Args, encode};

/// The row of a request, be it of the table or learned.
pub(super) fn row(client: &Client, args: &Args<'_>) -> Option<&'static Command> {
    command::resolve(args).ok().or_else(|| match client.worker.shared.learned.find(args)? {
        Learned::Row(row) if row.accepts(args.len()) => Some(row),
        _ => None,
    })
}

/// The learned row of a request which the table does not have; otherwise answers why there is none.
#[cold]
pub(super) fn resolve(
    client: &Rc<Client>,
    inner: &mut Inner,
    args: &Args<'_>,
    error: ResolveError,
) -> Option<&'static Command> {
    let may_be_learned = !matches!(error, ResolveError::Arity(_));
    let learned = may_be_learned.then(|| client.worker.shared.learned.find(args)).flatten();
    let error = match learned {
        Some(Learned::Row(row)) if row.accepts(args.len()) => return Some(row),
        Some(Learned::Row(row)) => ResolveError::Arity(row),
        _ => error,
    };
    client.worker.stats.commands_read.add(1);
    if transaction::rejected(client, inner, transaction::meant(&error), &error.to_string()) {
        return None;
    }
    let is_stranger = !inner.session.is_authenticated();
    client.answer(inner, |out| match learned {
        // Redis tells strangers nothing but that they are strangers
        _ if is_stranger => encode::error(out, error::NOAUTH),
        Some(Learned::Refused(rule)) => {
            // it was found by this name, which is therefore short and plain
            let name = String::from_utf8_lossy(args.get(0).unwrap_or_default()).to_ascii_uppercase();
            encode::error(out, &format!("ERR {name} is refused: {rule}"));
        }
        _ => error.write_reply(out),
    });
    None
}
