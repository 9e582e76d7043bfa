//! CLIENT REPLY: a client that wants no replies for a while.
//!
//! ```text
//!   CLIENT REPLY SKIP   SET a 1        GET b            OFF: every command, until ON is said
//!   (no reply)          (silent slot)  (a slot as ever)
//! ```
//! A command takes its place in the pipeline as ever and its reply is awaited; only what comes for it is dropped. So
//! nothing is lost or shifted, whoever answers, and back-pressure works as ever (laws I1, I2). As in Redis, messages and
//! the confirmations of subscriptions are sent all the same.

use std::rc::Rc;

use super::super::session::{self, Mode, Session};
use super::super::{Client, Inner};
use super::{Answer, SYNTAX};
use crate::command::{self, Command, Route};
use crate::resp::{Args, encode};

/// What becomes of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyMode {
    /// They are sent.
    On,
    /// None is sent.
    Off,
    /// That of the next command is not sent.
    SkipNext,
    /// That of the command which is being handled is not sent.
    Skipping,
}

/// CLIENT REPLY itself: only ON has a reply.
pub(super) fn choose(session: &mut Session, word: &[u8], out: &mut Vec<u8>) -> Answer {
    if word.eq_ignore_ascii_case(b"on") {
        session.set_reply(ReplyMode::On);
        encode::simple(out, "OK");
    } else if word.eq_ignore_ascii_case(b"off") {
        session.set_reply(ReplyMode::Off);
    } else if !word.eq_ignore_ascii_case(b"skip") {
        return Err(SYNTAX.into());
    } else if session.reply() != ReplyMode::Off {
        session.set_reply(ReplyMode::SkipNext);
    }
    Ok(())
}

/// Handles a command of a client that may not want its reply.
pub(in crate::client) fn serve_in_mode(client: &Rc<Client>, inner: &mut Inner, args: Args<'_>) -> bool {
    let before = inner.session.reply();
    if before == ReplyMode::On {
        return session::serve(client, inner, args);
    }
    if before == ReplyMode::SkipNext {
        inner.session.set_reply(ReplyMode::Skipping);
    }
    let is_heard = is_heard(&inner.session, args);
    let mark = inner.pipeline.mark();
    let served = session::serve(client, inner, args);
    if !served && inner.taken_by.is_none() {
        // it waits for its order and will be shown again
        inner.session.set_reply(before);
        return false;
    }
    match inner.session.reply() {
        // this command has switched them on
        ReplyMode::On => return served,
        ReplyMode::Skipping => inner.session.set_reply(ReplyMode::On),
        ReplyMode::Off | ReplyMode::SkipNext => {}
    }
    if !is_heard {
        inner.pipeline.silence_since(mark, &mut client.worker.spare.borrow_mut());
    }
    served
}

/// Whether what the command says is a message, as the confirmations of subscriptions are: those are always sent.
fn is_heard(session: &Session, args: Args<'_>) -> bool {
    let is_subscription =
        |command: &Command| matches!(command.route, Route::Subscribe(_) | Route::Unsubscribe(_));
    session.mode != Mode::Queueing
        && session.is_authenticated()
        && command::resolve(&args).is_ok_and(is_subscription)
}
