//! ACL: what a user may do, who the users are, and who was refused what.
//!
//! Users belong to Ringway; nodes know nothing of them. A change holds when it is answered: all workers have told their
//! clients by then. As in Redis, a client whose user is gone is closed, and so is one that listens to what it may not hear
//! any more; whoever is logged in stays so when its user is switched off.

use std::rc::Rc;
use std::sync::Arc;

use super::session::{Session, refuse};
use super::{Client, Inner, Reading, SlotRef, all_nodes, client_commands, new_commands};
use crate::acl::{Context, DEFAULT, Denied, Entry, Missing, Reason, User, Users};
use crate::command::{self, AclCommand, Categories, Command, Flags};
use crate::error;
use crate::resp::request::parse_number;
use crate::resp::{Args, Protocol, Span, encode};
use crate::stats::Outcome;
use crate::upstream::ReplyTo;
use crate::worker::Worker;

/// What a handler says: a reply that it has written, or an error line.
type Answer = Result<(), String>;

const NO_FILE: &str = "ERR This Redis instance is not configured to use an ACL file. Name one in ringway.yaml with  auth: { users_file: PATH }";

/// Answers a subcommand of ACL.
pub(super) fn answer(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    what: AclCommand,
    args: Args<'_>,
) {
    if all_nodes::is_refused(client, inner, command) {
        return;
    }
    match what {
        AclCommand::SetUser => set_user(client, inner, command, args),
        AclCommand::DelUser => delete_users(client, inner, command, args),
        AclCommand::Load => load(client, inner, command),
        AclCommand::Save => save(client, inner, command),
        _ => {
            let mut reply = Vec::new();
            let written = write_answer(client, &inner.session, what, args, &mut reply);
            let outcome = if written.is_ok() { Outcome::Ok } else { Outcome::Error };
            client.worker.stats.local.count(command, outcome);
            client.answer(inner, |out| match written {
                Ok(()) => out.extend_from_slice(&reply),
                Err(text) => encode::error(out, &text),
            });
        }
    }
}

fn write_answer(
    client: &Client,
    session: &Session,
    what: AclCommand,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Answer {
    let control = &client.worker.shared.access;
    let users = control.users();
    let protocol = session.protocol;
    if args.len() > 3 && matches!(what, AclCommand::Cat | AclCommand::GenPass | AclCommand::Log) {
        let word = String::from_utf8_lossy(args.get(1).unwrap_or_default());
        return Err(format!(
            "ERR unknown subcommand or wrong number of arguments for '{word}'. Try ACL HELP."
        ));
    }
    match what {
        AclCommand::WhoAmI => encode::bulk(out, session.identity.name()),
        AclCommand::Cat => return categories(args.get(2), out),
        AclCommand::GenPass => return password(args, out),
        AclCommand::Users => {
            encode::array(out, users.each().len());
            users.each().for_each(|user| encode::bulk(out, user.name()));
        }
        AclCommand::List => {
            encode::array(out, users.each().len());
            users.lines().for_each(|line| encode::bulk(out, &line));
        }
        AclCommand::GetUser => match users.get(args.get(2).unwrap_or_default()) {
            None => encode::null(out, protocol),
            Some(user) => describe(user, protocol, out),
        },
        AclCommand::DryRun => return dry_run(client, &users, args, out),
        AclCommand::Log => return log(client, protocol, args.get(2), out),
        // answered elsewhere, see `answer`
        AclCommand::SetUser | AclCommand::DelUser | AclCommand::Load | AclCommand::Save => {}
    }
    Ok(())
}

/// The names of all categories, or of all commands in one.
fn categories(category: Option<&[u8]>, out: &mut Vec<u8>) -> Answer {
    let names: Vec<&str> = match category {
        None => Categories::all().names().collect(),
        Some(name) => {
            let category = Categories::named(name).ok_or_else(|| {
                format!("ERR Unknown category '{}'", String::from_utf8_lossy(&name[..name.len().min(128)]))
            })?;
            let rows = command::all().filter(|row| row.categories.contains(category));
            rows.map(|row| row.full_name).collect()
        }
    };
    encode::array(out, names.len());
    names.iter().for_each(|name| encode::bulk(out, name.as_bytes()));
    Ok(())
}

/// Random hexadecimal digits, four bits each.
fn password(args: Args<'_>, out: &mut Vec<u8>) -> Answer {
    const MOST_BITS: usize = 4096;
    let bits = match args.get(2) {
        None => 256,
        Some(text) => parse_number(text).ok_or("ERR value is not an integer or out of range")?,
    };
    let bits = usize::try_from(bits).ok().filter(|bits| (1..=MOST_BITS).contains(bits)).ok_or_else(|| {
        format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to {MOST_BITS}"
        )
    })?;
    let digits = crate::acl::random_digits(bits.div_ceil(4)).ok_or("ERR there are no random numbers")?;
    encode::bulk(out, digits.as_bytes());
    Ok(())
}

fn describe(user: &User, protocol: Protocol, out: &mut Vec<u8>) {
    let mut rights = user.rights();
    let root = rights.next().unwrap_or_default();
    let others: Vec<_> = rights.collect();
    encode::map(out, protocol, 6);
    encode::bulk(out, b"flags");
    encode::set(out, protocol, user.flags().count());
    user.flags().for_each(|flag| encode::bulk(out, flag.as_bytes()));
    encode::bulk(out, b"passwords");
    encode::array(out, user.passwords().len());
    user.passwords().for_each(|password| encode::bulk(out, password.as_bytes()));
    let write = |rights: [(&str, Vec<u8>); 3], out: &mut Vec<u8>| {
        for (name, text) in rights {
            encode::bulk(out, name.as_bytes());
            encode::bulk(out, &text);
        }
    };
    write(root, out);
    encode::bulk(out, b"selectors");
    encode::array(out, others.len());
    for rights in others {
        encode::map(out, protocol, 3);
        write(rights, out);
    }
}

/// Whether a user may make the request that stands behind its name.
fn dry_run(client: &Client, users: &Users, args: Args<'_>, out: &mut Vec<u8>) -> Answer {
    let shown = |at: usize| {
        let arg = args.get(at).unwrap_or_default();
        String::from_utf8_lossy(&arg[..arg.len().min(128)]).into_owned()
    };
    let user = users.get(args.get(2).unwrap_or_default());
    let user = user.ok_or_else(|| format!("ERR User '{}' not found", shown(2)))?;
    let (mut frame, mut spans) = (Vec::new(), Vec::new());
    for arg in args.iter().skip(3) {
        let start = frame.len() as u32;
        frame.extend_from_slice(arg);
        spans.push(Span { start, end: frame.len() as u32 });
    }
    let asked = Args::new(&frame, &spans);
    let command = match command::resolve(&asked) {
        Ok(command) => command,
        Err(command::ResolveError::Arity(command)) => {
            return Err(format!("ERR wrong number of arguments for '{}' command", command.full_name));
        }
        Err(_) => new_commands::row(client, &asked)
            .ok_or_else(|| format!("ERR Command '{}' not found", shown(3)))?,
    };
    match user.may(command, &asked, &mut Vec::new()) {
        Ok(()) => encode::simple(out, "OK"),
        Err(denied) => encode::bulk(out, &denied.dry_run_text(&asked)),
    }
    Ok(())
}

/// The newest refusals, or forgets them all.
fn log(client: &Client, protocol: Protocol, word: Option<&[u8]>, out: &mut Vec<u8>) -> Answer {
    let denied = &client.worker.shared.access.denied;
    if word.is_some_and(|word| word.eq_ignore_ascii_case(b"reset")) {
        denied.reset();
        encode::simple(out, "OK");
        return Ok(());
    }
    let most = match word {
        None => 10,
        Some(text) => parse_number(text).ok_or("ERR value is not an integer or out of range")?,
    };
    let entries = denied.newest(usize::try_from(most).unwrap_or(0));
    encode::array(out, entries.len());
    for entry in entries {
        encode::map(out, protocol, 7);
        encode::bulk(out, b"count");
        encode::integer(out, i64::try_from(entry.count).unwrap_or(i64::MAX));
        let mut text = |name: &str, value: &[u8]| {
            encode::bulk(out, name.as_bytes());
            encode::bulk(out, value);
        };
        text("reason", entry.reason.name().as_bytes());
        text("context", entry.context.name().as_bytes());
        text("object", &entry.object);
        text("username", &entry.user);
        encode::bulk(out, b"age-seconds");
        encode::double(out, protocol, entry.at.elapsed().as_millis() as f64 / 1000.0);
        encode::bulk(out, b"client-info");
        encode::bulk(out, entry.client.as_bytes());
    }
    Ok(())
}

// ---- what changes users ------------------------------------------------------------------------------------------

fn set_user(client: &Rc<Client>, inner: &mut Inner, command: &'static Command, args: Args<'_>) {
    let rules: Vec<&[u8]> = args.iter().skip(3).collect();
    let name = args.get(2).unwrap_or_default();
    let changed = client.worker.shared.access.change(|users| users.with(name, &rules));
    match changed {
        Ok(()) => {
            tell(&inner.session, "ACL SETUSER", name);
            all_follow(client, inner, command, args.frame().len(), |out| encode::simple(out, "OK"));
        }
        Err(text) => fail(client, inner, command, &text),
    }
}

fn delete_users(client: &Rc<Client>, inner: &mut Inner, command: &'static Command, args: Args<'_>) {
    if args.iter().skip(2).any(|name| name == DEFAULT) {
        return fail(client, inner, command, b"ERR The 'default' user cannot be removed");
    }
    let mut gone = 0;
    let Ok(()) = client.worker.shared.access.change(|users| {
        let without;
        (without, gone) = users.without(args.iter().skip(2));
        Ok::<_, std::convert::Infallible>(without)
    });
    args.iter().skip(2).for_each(|name| tell(&inner.session, "ACL DELUSER", name));
    all_follow(client, inner, command, args.frame().len(), move |out| encode::integer(out, gone as i64));
}

fn load(client: &Rc<Client>, inner: &mut Inner, command: &'static Command) {
    let shared = Arc::clone(&client.worker.shared);
    let Some(file) = shared.access.file() else {
        return refuse(client, inner, command, NO_FILE);
    };
    let own = Rc::clone(client);
    tell(&inner.session, "ACL LOAD", b"");
    later(client, inner, command, 0, async move {
        {
            let _alone = shared.access.using_file.lock().await;
            shared.access.loaded(on_another_thread(move || file.load()).await?);
        }
        follow(&own).await;
        Ok(ok())
    });
}

fn save(client: &Rc<Client>, inner: &mut Inner, command: &'static Command) {
    let shared = Arc::clone(&client.worker.shared);
    let Some(file) = shared.access.file() else {
        return refuse(client, inner, command, NO_FILE);
    };
    tell(&inner.session, "ACL SAVE", b"");
    later(client, inner, command, 0, async move {
        let _alone = shared.access.using_file.lock().await;
        let (users, last) = (shared.access.users(), shared.access.last_kept());
        let saved = Users::clone(&users);
        on_another_thread(move || file.save(&users, &last)).await?;
        shared.access.saved(saved);
        Ok(ok())
    });
}

/// A disk may take its time.
async fn on_another_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| error.to_string()).and_then(|done| done).map_err(|why| format!("ERR {why}"))
}

/// One line in the log for what was changed, by whom; no rule, which may hold a password (law I11).
fn tell(session: &Session, what: &str, user: &[u8]) {
    let short = |name: &[u8]| String::from_utf8_lossy(&name[..name.len().min(128)]).into_owned();
    tracing::info!(by = short(session.identity.name()), peer = %session.peer, user = short(user), "{what}");
}

fn ok() -> Vec<u8> {
    let mut reply = Vec::new();
    encode::simple(&mut reply, "OK");
    reply
}

fn fail(client: &Rc<Client>, inner: &mut Inner, command: &'static Command, text: &[u8]) {
    client.worker.stats.local.count(command, Outcome::Error);
    // the words of the request may hold a line break
    let line: Vec<u8> =
        text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
    client.answer(inner, |out| encode::error_bytes(out, &line));
}

/// Answers when all workers have told their clients.
fn all_follow(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    cost: usize,
    write: impl FnOnce(&mut Vec<u8>) + 'static,
) {
    let own = Rc::clone(client);
    later(client, inner, command, cost, async move {
        follow(&own).await;
        let mut reply = Vec::new();
        write(&mut reply);
        Ok(reply)
    });
}

/// Answers later; the commands behind this one wait.
fn later(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    cost: usize,
    work: impl Future<Output = Result<Vec<u8>, String>> + 'static,
) {
    inner.session.hold();
    let number = inner.pipeline.wait(cost);
    let to = SlotRef { client: Rc::clone(client), number, part: 0 };
    tokio::task::spawn_local(async move {
        let done = work.await;
        let outcome = if done.is_ok() { Outcome::Ok } else { Outcome::Error };
        to.client.worker.stats.local.count(command, outcome);
        let reply = done.unwrap_or_else(|text| {
            let mut reply = Vec::new();
            encode::error(&mut reply, &text.replace(['\r', '\n'], " "));
            reply
        });
        to.reply(&reply, true);
    });
}

/// Has all workers tell their clients. Whoever asked for the change gets its reply first, if it is to be closed.
async fn follow(asker: &Rc<Client>) {
    let id = asker.inner.borrow().session.id;
    let told = asker.worker.shared.gather(move |worker| std::future::ready(users_changed(&worker, Some(id))));
    if told.await.contains(&true) {
        asker.inner.borrow_mut().reading = Reading::Refused;
    }
}

/// Gives every client of this worker the rights of its user as it is now. Whoever is no user any more, or listens to what
/// it may not hear, is closed, but for `asker`: whether that one would be.
pub(crate) fn users_changed(worker: &Rc<Worker>, asker: Option<u64>) -> bool {
    let users = worker.shared.access.users();
    let mut ends_asker = false;
    for (id, client) in &*worker.clients.borrow() {
        let stays = client.inner.borrow_mut().session.follow_users(&users);
        if stays || client.closed.get() {
            continue;
        }
        if asker == Some(*id) {
            ends_asker = true;
        } else {
            client.close();
        }
    }
    ends_asker
}

// ---- who may not -------------------------------------------------------------------------------------------------

/// Answers a command that its client may not give; false when it may. Ask only where the user has limits, or there is none.
#[cold]
pub(super) fn denies(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    let Err(judgement) = judge(client, &inner.session, command, &args) else { return false };
    let text = text_of(client, inner, judgement, &args);
    client.worker.stats.commands_read.add(1);
    if !super::transaction::rejected(client, inner, Some(command), &text) {
        refuse(client, inner, command, &text);
    }
    true
}

/// The reply line without its leading `-`; what is denied is noted.
pub(super) fn text_of(client: &Client, inner: &Inner, judgement: Judgement, args: &Args<'_>) -> String {
    match judgement {
        Judgement::Stranger => error::NOAUTH.to_owned(),
        Judgement::Denied(denied) => {
            note(client, inner, denied, args);
            denied.text(args)
        }
    }
}

/// Why a command is not for its client.
pub(super) enum Judgement {
    /// It has not proven who it is.
    Stranger,
    Denied(Denied),
}

/// Whether the client may give this command.
pub(super) fn judge(
    client: &Client,
    session: &Session,
    command: &'static Command,
    args: &Args<'_>,
) -> Result<(), Judgement> {
    let Some(user) = session.identity.user() else {
        let is_let = command.flags.contains(Flags::NO_AUTH);
        return if is_let { Ok(()) } else { Err(Judgement::Stranger) };
    };
    if user.is_unlimited() {
        return Ok(());
    }
    let positions = &mut client.worker.scratch.borrow_mut().keys;
    user.may(command, args, positions).map_err(Judgement::Denied)
}

fn note(client: &Client, inner: &Inner, denied: Denied, args: &Args<'_>) {
    let missing = denied.missing();
    client.worker.stats.denied[missing as usize].add(1);
    let reason = match missing {
        Missing::Command => Reason::Command,
        Missing::Key => Reason::Key,
        Missing::Channel => Reason::Channel,
    };
    let is_queued = inner.session.transaction.queued().is_some();
    let context = if is_queued { Context::Multi } else { Context::TopLevel };
    add(client, inner, (reason, context), denied.object(args), inner.session.identity.name());
}

/// A name or a password was wrong.
pub(super) fn note_wrong_password(client: &Client, inner: &Inner, args: &Args<'_>, user: &[u8]) {
    let object = args.get(0).unwrap_or_default();
    add(client, inner, (Reason::Auth, Context::TopLevel), object, user);
}

fn add(client: &Client, inner: &Inner, about: (Reason, Context), object: &[u8], user: &[u8]) {
    let line = client_commands::line_in_short(client, inner);
    client.worker.shared.access.denied.add(Entry::new(about, object, user, line));
}
