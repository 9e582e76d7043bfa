//! CLIENT: what a client tells of itself and of the others, and what it asks the proxy to do with connections.
//!
//! | File | Subcommands |
//! |---|---|
//! | `list.rs` | LIST, INFO: one line per connection |
//! | `kill.rs` | KILL |
//! | `pause.rs` | PAUSE, UNPAUSE |
//! | `reply.rs` | REPLY |
//! | [`tracking`] | TRACKING, CACHING, TRACKINGINFO, GETREDIR |
//! | this one | those that concern the asking connection alone |
//!
//! Texts of errors are Redis 7.0's. What holds for the connections between Ringway and its nodes, which clients share,
//! cannot be had for one client: that is refused, and the refusal says so.

mod kill;
mod list;
mod pause;
mod reply;

use std::rc::Rc;

use super::session::Session;
use super::{Client, Inner, tracking};
use crate::command::{ClientCommand, Command};
use crate::resp::{Args, encode};
use crate::stats::Outcome;

pub(super) use list::line_in_short;
pub(crate) use pause::Pause;
pub(super) use pause::{is_held, may_write, set_held};
pub(super) use reply::{ReplyMode, serve_in_mode};

/// What a handler says: a reply that it has written, or an error line.
type Answer = Result<(), String>;

pub(super) const SYNTAX: &str = "ERR syntax error";
const NO_EVICT: &str = "ERR CLIENT NO-EVICT ON is refused: when memory is short the client that holds most is closed, whoever it is (limits.memory_bytes)";
const NO_TOUCH: &str = "ERR CLIENT NO-TOUCH ON is refused: nodes mark keys as used by connection, and clients of Ringway share theirs";

/// Answers a subcommand of CLIENT.
pub(super) fn answer(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    what: ClientCommand,
    args: Args<'_>,
) {
    let asked = match what {
        ClientCommand::List => list::list(client, inner, args),
        ClientCommand::Kill => kill::kill(client, inner, args),
        ClientCommand::Pause => pause::pause(client, inner, args),
        ClientCommand::Unpause => {
            pause::unpause(client, inner, args);
            Ok(())
        }
        _ => return answer_alone(client, inner, command, what, args),
    };
    let outcome = if asked.is_ok() { Outcome::Ok } else { Outcome::Error };
    client.worker.stats.local.count(command, outcome);
    if let Err(text) = asked {
        client.answer(inner, |out| encode::error(out, &text));
    }
}

/// Answers what concerns the asking connection alone.
fn answer_alone(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    what: ClientCommand,
    args: Args<'_>,
) {
    let line = (what == ClientCommand::Info).then(|| list::line_of(client, inner));
    let session = &mut inner.session;
    let mut reply = Vec::new();
    let written = write_answer(session, what, args, &line.unwrap_or_default(), &mut reply);
    let outcome = if written.is_ok() { Outcome::Ok } else { Outcome::Error };
    client.worker.stats.local.count(command, outcome);
    client.answer(inner, |out| match written {
        Ok(()) => out.extend_from_slice(&reply),
        Err(text) => encode::error(out, &text),
    });
}

fn write_answer(
    session: &mut Session,
    what: ClientCommand,
    args: Args<'_>,
    line: &str,
    out: &mut Vec<u8>,
) -> Answer {
    let argument = |at: usize| args.get(at).unwrap_or_default();
    match what {
        ClientCommand::Id => encode::integer(out, session.id as i64),
        ClientCommand::Info => encode::verbatim(out, session.protocol, line),
        ClientCommand::GetName => match &session.name {
            Some(name) => encode::bulk(out, name),
            None => encode::null(out, session.protocol),
        },
        ClientCommand::SetName => {
            session.name = checked_name(argument(2), "Client names")?;
            encode::simple(out, "OK");
        }
        ClientCommand::SetInfo => return set_info(session, argument(2), argument(3), out),
        ClientCommand::Reply => return reply::choose(session, argument(2), out),
        ClientCommand::NoEvict if on_or_off(argument(2))? => return Err(NO_EVICT.into()),
        ClientCommand::NoEvict => encode::simple(out, "OK"),
        ClientCommand::NoTouch if on_or_off(argument(2))? => return Err(NO_TOUCH.into()),
        ClientCommand::NoTouch => encode::simple(out, "OK"),
        ClientCommand::GetRedir => encode::integer(out, tracking::redirect(session)),
        ClientCommand::Caching => return tracking::choose(session, argument(2), out),
        ClientCommand::TrackingInfo => tracking::describe(session, out),
        // answered elsewhere, see `answer` and `session::serve`
        ClientCommand::List
        | ClientCommand::Kill
        | ClientCommand::Pause
        | ClientCommand::Unpause
        | ClientCommand::Tracking => {}
    }
    Ok(())
}

fn on_or_off(word: &[u8]) -> Result<bool, String> {
    match word {
        word if word.eq_ignore_ascii_case(b"on") => Ok(true),
        word if word.eq_ignore_ascii_case(b"off") => Ok(false),
        _ => Err(SYNTAX.into()),
    }
}

/// A name without spaces and control characters; an empty one takes the name away.
pub(super) fn checked_name(name: &[u8], what: &str) -> Result<Option<Box<[u8]>>, String> {
    if !name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Err(format!("ERR {what} cannot contain spaces, newlines or special characters."));
    }
    Ok(Some(name).filter(|name| !name.is_empty()).map(Box::from))
}

fn set_info(session: &mut Session, attribute: &[u8], value: &[u8], out: &mut Vec<u8>) -> Answer {
    if attribute.eq_ignore_ascii_case(b"lib-name") {
        session.library = checked_name(value, "lib-name")?;
    } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
        session.library_version = checked_name(value, "lib-ver")?;
    } else {
        let attribute = String::from_utf8_lossy(&attribute[..attribute.len().min(128)]).into_owned();
        return Err(format!("ERR Unrecognized option '{attribute}'"));
    }
    encode::simple(out, "OK");
    Ok(())
}
