//! CLIENT PAUSE and UNPAUSE: no command, or none that may write, is handled for a while.
//!
//! A worker keeps what was asked for and marks its clients; the first command of a client that the pause concerns stays
//! where it was read, and everything behind it. As in Redis, a pause of all commands holds UNPAUSE back as well. The
//! admin API goes on. Without a pause no command looks at any of this.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::super::session::{Session, Unusual};
use super::super::workers::ask_workers;
use super::super::{Client, Inner, acl, new_commands};
use super::Answer;
use crate::command::{Command, Route, Transaction};
use crate::resp::request::parse_number;
use crate::resp::{Args, encode};
use crate::worker::Worker;

/// The longest pause: more than any clock of this process can count to is for ever.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A pause that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    until: Instant,
    /// Whether reads are held back too.
    all: bool,
}

impl Pause {
    /// Both together: the longer and the stricter.
    fn and(self, other: Option<Pause>) -> Self {
        let Some(other) = other else { return self };
        Self { until: self.until.max(other.until), all: self.all || other.all }
    }

    fn concerns(self, command: &Command, session: &Session) -> bool {
        let is_exec = command.route == Route::Transaction(Transaction::Exec);
        self.all || may_write(command) || is_exec && session.transaction.may_write()
    }

    fn begin(self, worker: &Worker) {
        let earlier = worker.pause.get().filter(|pause| pause.until > Instant::now());
        worker.pause.set(Some(self.and(earlier)));
        for client in worker.clients.borrow().values() {
            client.inner.borrow_mut().session.set(Unusual::Paused, true);
        }
    }

    /// Ends the pause of a worker; its clients go on.
    pub(crate) fn end(worker: &Worker) {
        if worker.pause.take().is_none() {
            return;
        }
        for client in worker.clients.borrow().values() {
            let session = &mut client.inner.borrow_mut().session;
            session.set(Unusual::Paused, false);
            if session.is(Unusual::Held) {
                set_held(worker, session, false);
                client.wake();
            }
        }
    }

    /// Ends the pause of a worker when its time is over.
    pub(crate) fn end_in_time(worker: &Worker, now: Instant) {
        if worker.pause.get().is_some_and(|pause| pause.until <= now) {
            Self::end(worker);
        }
    }
}

/// Whether it may change data, or goes to replicas as what does.
pub(in crate::client) fn may_write(command: &Command) -> bool {
    let replicated = ["pfcount", "publish", "spublish"];
    command.is_write() || replicated.contains(&command.full_name)
}

/// Whether the pause of this worker holds the command back; what is refused anyhow is not held.
pub(in crate::client) fn is_held(client: &Client, inner: &mut Inner, args: Args<'_>) -> bool {
    let session = &mut inner.session;
    let held = client.worker.pause.get().is_some_and(|pause| match new_commands::row(client, &args) {
        None => false,
        Some(command) if matches!(command.route, Route::Refused(_)) => false,
        Some(command) if acl::judge(client, session, command, &args).is_err() => false,
        Some(command) => pause.concerns(command, session),
    });
    set_held(&client.worker, session, held);
    held
}

/// Whether a pause holds the client's next command back; counts those that are held.
pub(in crate::client) fn set_held(worker: &Worker, session: &mut Session, held: bool) {
    if session.is(Unusual::Held) != held {
        session.set(Unusual::Held, held);
        worker.stats.held_changed(if held { 1 } else { -1 });
    }
}

pub(super) fn pause(client: &Rc<Client>, inner: &mut Inner, args: Args<'_>) -> Answer {
    let all = match args.get(3) {
        _ if args.len() > 4 => {
            let word = String::from_utf8_lossy(args.get(1).unwrap_or_default());
            return Err(format!(
                "ERR unknown subcommand or wrong number of arguments for '{word}'. Try CLIENT HELP."
            ));
        }
        None => true,
        Some(mode) if mode.eq_ignore_ascii_case(b"all") => true,
        Some(mode) if mode.eq_ignore_ascii_case(b"write") => false,
        Some(_) => return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".into()),
    };
    let timeout = parse_number(args.get(2).unwrap_or_default())
        .ok_or("ERR timeout is not an integer or out of range")?;
    let timeout = u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?;
    let pause = Pause { until: Instant::now() + Duration::from_millis(timeout).min(LONGEST), all };
    // the commands behind this one are held back like those of others
    inner.session.hold();
    ask_workers(client, inner, args.frame().len(), move |worker| pause.begin(worker), answer_ok);
    Ok(())
}

pub(super) fn unpause(client: &Rc<Client>, inner: &mut Inner, args: Args<'_>) {
    inner.session.hold();
    ask_workers(client, inner, args.frame().len(), |worker| Pause::end(worker), answer_ok);
}

fn answer_ok(_workers: Vec<()>, out: &mut Vec<u8>) {
    encode::simple(out, "OK");
}
