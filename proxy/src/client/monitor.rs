//! MONITOR: a client is shown what all clients of this Ringway ask, on whatever worker they are.
//!
//! ```text
//!   watched command ─► line ─► end of the turn ─┬─► those of this worker
//!                                                                       └─► the other workers, to theirs
//! ```
//! Each command that is accepted has one line ([`super::watched`]); none has what a script calls. Passwords are left out,
//! long arguments cut short.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Write;
use std::future::ready;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::session::Session;
use super::{Client, Inner, SlotRef, all_nodes, watched};
use crate::command::Command;
use crate::resp::Args;
use crate::stats::Outcome;
use crate::upstream::ReplyTo;
use crate::worker::{ToWorker, Worker};

/// What is shown of an argument, in bytes.
const ARGUMENT_BYTES: usize = 1024;
/// How many arguments are shown.
const ARGUMENTS: usize = 128;
const LEFT_OUT: &[u8] = b"(redacted)";

/// Who is shown what clients ask.
#[derive(Default)]
pub(crate) struct Monitors {
    /// Clients of this worker, each with the number of the command by which it is shown.
    here: RefCell<HashMap<u64, (Rc<Client>, u64)>>,
    /// How many there are over all workers.
    count: Cell<usize>,
    /// What this worker's clients have asked in this turn.
    lines: RefCell<String>,
}

impl Monitors {
    /// Whether there are any, here or elsewhere.
    pub(super) fn are_there(&self) -> bool {
        self.count.get() > 0
    }

    /// Unties what holds each other.
    pub(crate) fn let_go(&self) {
        self.here.borrow_mut().clear();
    }

    /// One more, or one fewer, over all workers.
    fn changed(worker: &Worker, more: bool) {
        let count = &worker.monitors.count;
        count.set(if more { count.get() + 1 } else { count.get().saturating_sub(1) });
        watched::changed(worker);
    }

    /// Shows what was asked in this turn; called at its end.
    #[inline]
    pub(crate) fn show(worker: &Rc<Worker>) {
        if worker.monitors.are_there() {
            Self::show_lines(worker);
        }
    }

    #[cold]
    fn show_lines(worker: &Rc<Worker>) {
        let lines = std::mem::take(&mut *worker.monitors.lines.borrow_mut());
        if lines.is_empty() {
            return;
        }
        Self::tell(worker, &lines);
        if worker.monitors.here.borrow().len() == worker.monitors.count.get() {
            return;
        }
        for (at, other) in worker.shared.workers.iter().enumerate() {
            if at != worker.hub.worker() {
                let lines = lines.clone();
                // a worker that has ended shows nothing
                let _ = other.sender.send(ToWorker::Run(Box::new(move |worker| Self::tell(worker, &lines))));
            }
        }
    }

    /// Shows it to those of this worker.
    fn tell(worker: &Worker, lines: &str) {
        let Some((head, rest)) = lines.as_bytes().split_first() else { return };
        for (client, by) in worker.monitors.here.borrow().values() {
            client.push_by(|_, pipeline| pipeline.message(*by, *head, rest));
        }
    }
}

/// MONITOR: answered when every worker knows.
pub(super) fn begin(client: &Rc<Client>, inner: &mut Inner, command: &'static Command, args: Args<'_>) {
    if all_nodes::is_refused(client, inner, command) {
        return;
    }
    let worker = &client.worker;
    worker.stats.local.count(command, Outcome::Ok);
    let number = inner.pipeline.wait(args.frame().len());
    let to = SlotRef { client: Rc::clone(client), number, part: 0 };
    if std::mem::replace(&mut inner.session.monitors, true) {
        // it is shown already; the caller holds what the slot would need
        tokio::task::spawn_local(async move { to.reply(b"+OK\r\n", true) });
        return;
    }
    worker.monitors.here.borrow_mut().insert(inner.session.id, (Rc::clone(client), number));
    let begun = worker.shared.gather(|worker| {
        Monitors::changed(&worker, true);
        ready(())
    });
    tokio::task::spawn_local(async move {
        begun.await;
        to.reply(b"+OK\r\n", true);
    });
}

/// A client is shown nothing any more.
pub(super) fn leave(worker: &Worker, session: &mut Session) {
    if !std::mem::take(&mut session.monitors) {
        return;
    }
    worker.monitors.here.borrow_mut().remove(&session.id);
    for other in &worker.shared.workers {
        // a worker that has ended shows nothing
        let _ = other.sender.send(ToWorker::Run(Box::new(|worker| Monitors::changed(worker, false))));
    }
}

/// Shows a command that was accepted, if there is anybody to see it: with the database that holds behind it, as Redis does.
pub(super) fn show(client: &Client, inner: &Inner, args: &Args<'_>) {
    let worker = &client.worker;
    if !worker.monitors.are_there() {
        return;
    }
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let lines = &mut *worker.monitors.lines.borrow_mut();
    let (database, peer) = (inner.session.database, &inner.session.peer);
    let _ = write!(lines, "+{}.{:06} [{database} {peer}]", at.as_secs(), at.subsec_micros());
    write_arguments(args, lines);
    lines.push_str("\r\n");
    worker.turn.schedule();
}

/// Each argument in quotes, as Redis writes them.
fn write_arguments(args: &Args<'_>, out: &mut String) {
    let name = args.get(0).unwrap_or_default();
    // from where on nothing is shown: what AUTH, or the AUTH of HELLO, is given
    let secret = if name.eq_ignore_ascii_case(b"auth") {
        1..usize::MAX
    } else if name.eq_ignore_ascii_case(b"hello") {
        let auth = args.iter().position(|word| word.eq_ignore_ascii_case(b"auth"));
        auth.map_or(0..0, |auth| auth + 1..auth + 3)
    } else {
        0..0
    };
    for (at, argument) in args.iter().enumerate().take(ARGUMENTS) {
        out.push_str(" \"");
        let argument = if secret.contains(&at) { LEFT_OUT } else { argument };
        let shown = &argument[..argument.len().min(ARGUMENT_BYTES)];
        shown.iter().for_each(|byte| write_byte(*byte, out));
        if shown.len() < argument.len() {
            let _ = write!(out, "... ({} more bytes)", argument.len() - shown.len());
        }
        out.push('"');
    }
    if args.len() > ARGUMENTS {
        let _ = write!(out, " ... ({} more arguments)", args.len() - ARGUMENTS);
    }
}

fn write_byte(byte: u8, out: &mut String) {
    match byte {
        b'"' | b'\\' => {
            out.push('\\');
            out.push(char::from(byte));
        }
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        0x07 => out.push_str("\\a"),
        0x08 => out.push_str("\\b"),
        b' '..=b'~' => out.push(char::from(byte)),
        _ => {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;
    use crate::resp::request::{RequestBounds, RequestScanner};

    fn shown(words: &[&[u8]]) -> String {
        let (mut frame, mut spans, mut out) = (Vec::new(), Vec::new(), String::new());
        encode::request(&mut frame, words);
        let bounds = RequestBounds { authenticated: true, command_bytes: usize::MAX };
        RequestScanner::default().scan(&frame, bounds, &mut spans).unwrap();
        write_arguments(&Args::new(&frame, &spans), &mut out);
        out
    }

    #[test]
    fn arguments_are_quoted_as_redis_quotes_them() {
        assert_eq!(
            shown(&[b"set", b"a \"b\"\\", b"\r\n\t\x07\x08\x00\xff"]),
            r#" "set" "a \"b\"\\" "\r\n\t\a\b\x00\xff""#
        );
    }

    #[test]
    fn i11_no_password_is_shown() {
        assert_eq!(shown(&[b"auth", b"user", b"secret"]), r#" "auth" "(redacted)" "(redacted)""#);
        assert_eq!(
            shown(&[b"HELLO", b"3", b"AUTH", b"user", b"secret", b"SETNAME", b"me"]),
            r#" "HELLO" "3" "AUTH" "(redacted)" "(redacted)" "SETNAME" "me""#
        );
        assert_eq!(shown(&[b"hello", b"3"]), r#" "hello" "3""#);
    }

    #[test]
    fn what_is_long_is_cut_short() {
        let line = shown(&[b"set", b"k", &[b'v'; 5000]]);
        assert!(line.ends_with("vvv... (3976 more bytes)\"") && line.len() < 1100, "{line}");
        let line = shown(&[&b"del"[..]; 200]);
        assert!(line.ends_with("\"del\" ... (72 more arguments)"), "{line}");
    }
}
