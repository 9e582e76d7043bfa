//! Commands about the connection and the proxy, answered without a node.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::client_commands::ReplyMode;
use super::session::{Mode, Session, Unusual};
use super::{Client, Inner, acl, client_commands, monitor, subscriptions, tracking};
use crate::acl::DEFAULT;
use crate::command::{Command, Local, describe};
use crate::error;
use crate::resp::{Args, Protocol, encode};
use crate::stats::Outcome;
use crate::versions::Version;
use crate::worker::Worker;

/// What a handler says: a reply that it has written, or an error line.
type Answer = Result<(), String>;

/// Answers `command`.
pub(super) fn answer(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    what: Local,
    args: Args<'_>,
) {
    let worker = &client.worker;
    let Inner { session, pipeline, .. } = inner;
    pipeline.answer(&mut worker.spare.borrow_mut(), |out| {
        let before = out.len();
        if let Err(text) = write_answer(worker, client, session, what, args, out) {
            out.truncate(before);
            encode::error(out, &text);
        }
        let outcome = if out.get(before) == Some(&b'-') { Outcome::Error } else { Outcome::Ok };
        worker.stats.local.count(command, outcome);
    });
    client.answered();
    if inner.session.is(Unusual::Penalized) {
        wrong_password(client, inner, &args);
    }
}

fn write_answer(
    worker: &Worker,
    client: &Client,
    session: &mut Session,
    what: Local,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Answer {
    let argument = |at: usize| args.get(at).unwrap_or_default();
    match what {
        Local::Ping => match args.len() {
            1 => encode::simple(out, "PONG"),
            2 => encode::bulk(out, argument(1)),
            _ => return Err("ERR wrong number of arguments for 'ping' command".into()),
        },
        Local::Echo => {
            #[cfg(test)]
            crate::panic_tests::panic_if_asked(argument(1));
            encode::bulk(out, argument(1));
        }
        Local::Quit => encode::simple(out, "OK"),
        Local::Hello => return hello(worker, session, args, out),
        Local::Auth => return auth(worker, session, args, out),
        Local::Select => return select(worker, session, argument(1), out),
        Local::Reset => {
            subscriptions::leave_all(client, session);
            monitor::leave(worker, session);
            reset(worker, session, out);
        }
        Local::Time => time(out),
        Local::Role => role(out),
        Local::Lolwut => encode::verbatim(out, session.protocol, &lolwut(worker.shared.versions.lowest())),
        described => {
            let learned = &worker.shared.learned;
            describe(described, &args, session.protocol, &learned.rows(), &|row| learned.lacks(row), out);
        }
    }
    Ok(())
}

fn hello(worker: &Worker, session: &mut Session, args: Args<'_>, out: &mut Vec<u8>) -> Answer {
    let protocol = match args.get(1) {
        None => session.protocol,
        Some(b"2") => Protocol::Resp2,
        Some(b"3") => Protocol::Resp3,
        Some(text) if crate::resp::request::parse_number(text).is_none() => {
            return Err("ERR Protocol version is not an integer or out of range".into());
        }
        Some(_) => return Err("NOPROTO unsupported protocol version".into()),
    };
    let (mut login, mut name, mut at) = (None, None, 2);
    while let Some(option) = args.get(at) {
        match (args.get(at + 1), args.get(at + 2)) {
            (Some(user), Some(password)) if option.eq_ignore_ascii_case(b"auth") => {
                login = Some((user, password));
                at += 3;
            }
            (Some(given), _) if option.eq_ignore_ascii_case(b"setname") => {
                name = Some(client_commands::checked_name(given, "Client names")?);
                at += 2;
            }
            _ => {
                let option = String::from_utf8_lossy(&option[..option.len().min(128)]).into_owned();
                return Err(format!("ERR Syntax error in HELLO option '{option}'"));
            }
        }
    }
    if let Some((user, password)) = login {
        log_in(worker, session, user, password)?;
    }
    if !session.is_authenticated() {
        return Err("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time".into());
    }
    tracking::speak(worker, session, protocol)?;
    if let Some(name) = name {
        session.name = name;
    }
    session.protocol = protocol;
    subscriptions::set_mode(session);
    encode::map(out, protocol, 7);
    let mut text = |key: &str, value: &str| {
        encode::bulk(out, key.as_bytes());
        encode::bulk(out, value.as_bytes());
    };
    text("server", "redis");
    text("version", &worker.shared.versions.lowest().to_string());
    for (key, value) in [("proto", i64::from(protocol.version())), ("id", session.id as i64)] {
        encode::bulk(out, key.as_bytes());
        encode::integer(out, value);
    }
    let mut text = |key: &str, value: &str| {
        encode::bulk(out, key.as_bytes());
        encode::bulk(out, value.as_bytes());
    };
    text("mode", "standalone");
    text("role", "master");
    encode::bulk(out, b"modules");
    encode::array(out, 0);
    Ok(())
}

fn auth(worker: &Worker, session: &mut Session, args: Args<'_>, out: &mut Vec<u8>) -> Answer {
    let (user, password) = match (args.len(), args.get(1), args.get(2)) {
        (2, Some(password), None) => (&b"default"[..], password),
        (3, Some(user), Some(password)) => (user, password),
        _ => return Err("ERR syntax error".into()),
    };
    let users = worker.shared.access.users();
    if args.len() == 2 && users.get(DEFAULT).is_some_and(|user| user.is_passwordless()) {
        return Err(error::NO_PASSWORD_SET.into());
    }
    log_in(worker, session, user, password)?;
    encode::simple(out, "OK");
    Ok(())
}

/// Who is passwordless is let in with any, as in Redis.
fn log_in(worker: &Worker, session: &mut Session, user: &[u8], password: &[u8]) -> Answer {
    if let Some(user) = worker.shared.access.users().let_in(user, password) {
        session.identity.log_in(user);
        return Ok(());
    }
    session.penalize();
    Err(error::WRONGPASS.into())
}

/// The name that AUTH or HELLO was given.
fn user_given<'a>(args: &Args<'a>) -> &'a [u8] {
    let is =
        |at: usize, word: &str| args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    let at = match args.len() {
        2 => None,
        3 => Some(1),
        // the version, then perhaps a name for the connection
        _ if is(2, "auth") => Some(3),
        _ => Some(5),
    };
    at.and_then(|at| args.get(at)).unwrap_or(DEFAULT)
}

/// Counts it, and sees to it that nothing more is handled of this client for a while.
fn wrong_password(client: &Rc<Client>, inner: &Inner, args: &Args<'_>) {
    let (worker, session) = (&client.worker, &inner.session);
    acl::note_wrong_password(client, inner, args, user_given(args));
    worker.stats.authentication_failures.add(1);
    if let Some(times) = worker.said.wrong_password.happened(worker.turn.now()) {
        tracing::warn!(peer = %session.peer, times, "a client gave a wrong password");
    }
    let (client, delay) = (Rc::clone(client), session.identity.penalty());
    tokio::task::spawn_local(async move {
        tokio::time::sleep(delay).await;
        client.end_penalty();
    });
}

/// Nodes with fewer databases than the limit refuse the connection that the next command opens.
fn select(worker: &Worker, session: &mut Session, index: &[u8], out: &mut Vec<u8>) -> Answer {
    let index = crate::resp::request::parse_number(index)
        .ok_or_else(|| "ERR value is not an integer or out of range".to_owned())?;
    session.database = u32::try_from(index)
        .ok()
        .filter(|index| *index < worker.shared.settings.limits.databases)
        .ok_or_else(|| error::NO_SUCH_DATABASE.to_owned())?;
    encode::simple(out, "OK");
    Ok(())
}

fn reset(worker: &Worker, session: &mut Session, out: &mut Vec<u8>) {
    session.protocol = Protocol::Resp2;
    session.database = 0;
    session.mode = Mode::Plain;
    session.transaction.end(worker);
    session.track(None);
    session.name = None;
    // a reply that is to be skipped is skipped, be it this one
    if session.reply() != ReplyMode::Skipping {
        session.set_reply(ReplyMode::On);
    }
    session.identity.log_out(&worker.shared.access.users());
    encode::simple(out, "RESET");
}

fn time(out: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    encode::array(out, 2);
    encode::bulk(out, now.as_secs().to_string().as_bytes());
    encode::bulk(out, now.subsec_micros().to_string().as_bytes());
}

/// A primary without replicas: those of the nodes are a matter between servers.
fn role(out: &mut Vec<u8>) {
    encode::array(out, 3);
    encode::bulk(out, b"master");
    encode::integer(out, 0);
    encode::array(out, 0);
}

/// A ring with three nodes and a key; behind it the version, as Redis has it.
fn lolwut(version: Version) -> String {
    let ring = [
        r"         .-o-.",
        r"      .'       '.",
        r"     /           \",
        r"    |             o   <- your key",
        r"     \           /",
        r"      o.       .'",
        r"         '-.-'",
    ];
    format!("{}\n\nRedis ver. {version}, Ringway ver. {}\n", ring.join("\n"), env!("CARGO_PKG_VERSION"))
}
