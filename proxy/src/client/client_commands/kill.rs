//! CLIENT KILL: closes connections of clients, on whatever worker they are.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::super::workers::ask_workers;
use super::super::{Client, Inner, Reading};
use super::list::{Kind, local_endpoint};
use super::{Answer, SYNTAX};
use crate::acl::Users;
use crate::net::Endpoint;
use crate::resp::request::parse_number;
use crate::resp::{Args, encode};
use crate::worker::Worker;

/// Which clients are meant: all that every condition holds for.
#[derive(Debug, Clone, Default)]
struct Conditions {
    id: Option<u64>,
    /// Given as text; what is no address is nobody's.
    address: Option<Option<Endpoint>>,
    local_address: Option<Option<Endpoint>>,
    kind: Option<Kind>,
    user: Option<Box<[u8]>>,
    older_than: Option<Duration>,
    /// Whoever asks is spared.
    spared: Option<u64>,
}

impl Conditions {
    /// `CLIENT KILL address`, which may be one's own.
    fn of_address(text: &[u8]) -> Self {
        Self { address: Some(address(text)), ..Self::default() }
    }

    fn read(asker: u64, users: &Users, args: Args<'_>) -> Result<Self, String> {
        let mut wanted = Self { spared: Some(asker), ..Self::default() };
        let mut at = 2;
        while let Some(option) = args.get(at) {
            let value = args.get(at + 1).ok_or(SYNTAX)?;
            let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
            match () {
                () if is("id") => {
                    let id = parse_number(value).and_then(|id| u64::try_from(id).ok());
                    let id = id.filter(|id| *id > 0).ok_or("ERR client-id should be greater than 0")?;
                    wanted.id = Some(id);
                }
                () if is("addr") => wanted.address = Some(address(value)),
                () if is("laddr") => wanted.local_address = Some(address(value)),
                () if is("type") => wanted.kind = Some(Kind::named(value)?),
                () if is("user") => wanted.user = Some(known_user(users, value)?.into()),
                () if is("maxage") => wanted.older_than = Some(age(value)?),
                () if is("skipme") && value.eq_ignore_ascii_case(b"yes") => wanted.spared = Some(asker),
                () if is("skipme") && value.eq_ignore_ascii_case(b"no") => wanted.spared = None,
                () => return Err(SYNTAX.into()),
            }
            at += 2;
        }
        Ok(wanted)
    }

    fn hold_for(&self, client: &Client, now: Instant) -> bool {
        let inner = client.inner.borrow();
        let session = &inner.session;
        self.spared != Some(session.id)
            && self.id.is_none_or(|id| id == session.id)
            && self.address.as_ref().is_none_or(|address| address.as_ref() == Some(&session.peer))
            && self.kind.is_none_or(|kind| kind == Kind::of(session))
            && self.user.as_deref().is_none_or(|user| user == session.identity.name())
            && self.older_than.is_none_or(|age| now.saturating_duration_since(session.since()) >= age)
            && self
                .local_address
                .as_ref()
                .is_none_or(|at| at.is_some() && *at == local_endpoint(client, session))
    }
}

fn address(text: &[u8]) -> Option<Endpoint> {
    let text = std::str::from_utf8(text).ok()?;
    match text.strip_suffix(":0").filter(|path| path.starts_with('/')) {
        Some(path) => Some(Endpoint::Unix(Path::new(path).into())),
        None => text.parse().ok().map(Endpoint::Network),
    }
}

fn known_user<'a>(users: &Users, name: &'a [u8]) -> Result<&'a [u8], String> {
    if users.get(name).is_some() {
        return Ok(name);
    }
    let name = String::from_utf8_lossy(&name[..name.len().min(128)]).into_owned();
    Err(format!("ERR No such user '{name}'"))
}

fn age(text: &[u8]) -> Result<Duration, String> {
    let seconds = parse_number(text).ok_or("ERR maxage is not an integer or out of range")?;
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    Ok(Duration::from_secs(seconds.ok_or("ERR maxage should be greater than 0")?))
}

pub(super) fn kill(client: &Rc<Client>, inner: &mut Inner, args: Args<'_>) -> Answer {
    let is_old_form = args.len() == 3;
    let asker = inner.session.id;
    let wanted = match args.get(2) {
        Some(address) if is_old_form => Conditions::of_address(address),
        _ => Conditions::read(asker, &client.worker.shared.access.users(), args)?,
    };
    let own = Rc::clone(client);
    let finish = move |killed: Vec<Killed>, out: &mut Vec<u8>| {
        let count: i64 = killed.iter().map(|killed| killed.count).sum();
        match count {
            0 if is_old_form => encode::error(out, "ERR No such client"),
            _ if is_old_form => encode::simple(out, "OK"),
            count => encode::integer(out, count),
        }
        if killed.iter().any(|killed| killed.asker) {
            // the reply is the last word
            own.inner.borrow_mut().reading = Reading::Refused;
        }
    };
    // what the killed ones sent later must not run before what comes behind this command
    inner.session.hold();
    ask_workers(client, inner, args.frame().len(), move |worker| kill_on(worker, &wanted, asker), finish);
    Ok(())
}

/// What became of the clients of one worker.
struct Killed {
    count: i64,
    /// Whether the one who asks is among them.
    asker: bool,
}

fn kill_on(worker: &Worker, wanted: &Conditions, asker: u64) -> Killed {
    let now = Instant::now();
    let mut killed = Killed { count: 0, asker: false };
    for (id, client) in &*worker.clients.borrow() {
        if client.closed.get() || !wanted.hold_for(client, now) {
            continue;
        }
        killed.count += 1;
        if *id == asker {
            killed.asker = true;
        } else {
            client.close();
        }
    }
    killed
}
