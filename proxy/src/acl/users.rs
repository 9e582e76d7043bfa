//! All users.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::DEFAULT;
use super::rule::{RuleError, has_spaces};
use super::user::User;
use crate::limits::USERS_BYTES;
use crate::settings::Secret;

/// All users there are, the default user among them. It never changes; what changes users makes another one.
#[derive(Clone, PartialEq, Eq)]
pub struct Users {
    by_name: BTreeMap<Box<[u8]>, Arc<User>>,
}

/// A line of a file of users that is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineProblem {
    /// From 1.
    pub line: usize,
    /// What is wrong; no word that could be a password.
    pub text: String,
}

/// Names only.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys().map(|name| String::from_utf8_lossy(name))).finish()
    }
}

impl Users {
    /// The default user alone, who may do everything: with this password, or without one.
    pub fn open(password: Option<&Secret>) -> Self {
        let password = password.map(|secret| secret.reveal().as_bytes());
        Self::of(User::unlimited(DEFAULT, password))
    }

    fn of(default: User) -> Self {
        Self { by_name: BTreeMap::from([(DEFAULT.into(), Arc::new(default))]) }
    }

    /// Reads users in the form of Redis's ACL file: `user NAME RULE …` in each line; empty lines and such that begin with
    /// `#` are nothing. The default user has to be there, or gets `password` as [`Users::open`] does: a file that says
    /// nothing of it would let everybody in.
    ///
    /// # Errors
    /// Every line that is not understood.
    pub fn read(text: &str, password: Option<&Secret>) -> Result<Self, Vec<LineProblem>> {
        let mut users = Self::open(password);
        let mut problems = Vec::new();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, words) in text.lines().enumerate() {
            let line = at + 1;
            let mut words = words.split_ascii_whitespace();
            let Some(first) = words.next().filter(|word| !word.starts_with('#')) else { continue };
            let mut problem = |text: String| problems.push(LineProblem { line, text });
            let (true, Some(name)) = (first == "user", words.next()) else {
                problem("does not begin with  user NAME".into());
                continue;
            };
            if let Some(before) = seen.insert(name, line) {
                problem(format!("this user stands in line {before} already"));
            } else if name.as_bytes() == DEFAULT && password.is_some() {
                problem("the default user's password is auth.password; leave one of them out".into());
            }
            let rules: Vec<&[u8]> = words.map(str::as_bytes).collect();
            match changed(User::new(name.as_bytes()), &rules) {
                Ok(user) => drop(users.by_name.insert(name.as_bytes().into(), Arc::new(user))),
                Err(wrong) => {
                    problem(format!("user {name}, {}: {}{}", wrong.shown(), wrong.why, wrong.hint()))
                }
            }
        }
        if password.is_none() && !seen.contains_key("default") {
            problems.push(LineProblem {
                line: text.lines().count().max(1),
                text: "there is no user default, so that everybody would be let in; add  user default off"
                    .into(),
            });
        }
        if problems.is_empty() { Ok(users) } else { Err(problems) }
    }

    /// What a file of these users says, where the default user's password is this one.
    ///
    /// # Errors
    /// Why a file cannot say it.
    pub fn to_file(&self, password: Option<&Secret>) -> Result<String, String> {
        let at_first = Self::open(password);
        let is_configured =
            |user: &User| password.is_some() && at_first.get(DEFAULT).is_some_and(|own| **own == *user);
        let lines = self
            .each()
            .filter(|user| !is_configured(user))
            .map(|user| [user.line(), b"\n".to_vec()].concat());
        let text = String::from_utf8(lines.collect::<Vec<_>>().concat());
        let text = text.map_err(|_| "a name or a pattern is not UTF-8".to_owned())?;
        match Self::read(&text, password) {
            Ok(users) if users == *self => Ok(text),
            Ok(_) => Err("a pattern in parentheses has one itself".into()),
            Err(problems) => {
                Err(problems.into_iter().map(|problem| problem.text).collect::<Vec<_>>().join("; "))
            }
        }
    }

    /// Creates or changes a user, one rule after the other; all of them or none.
    ///
    /// # Errors
    /// The reply line without its leading `-`, in Redis's words.
    pub(crate) fn with(&self, name: &[u8], rules: &[&[u8]]) -> Result<Self, Vec<u8>> {
        if name.is_empty() {
            return Err(b"ERR Usernames can't be empty".to_vec());
        }
        if has_spaces(name) {
            return Err(b"ERR Usernames can't contain spaces or null characters".to_vec());
        }
        let before = self.get(name).map_or_else(|| User::new(name), |user| User::clone(user));
        let user = changed(before, rules).map_err(|wrong| match wrong.why {
            Why::Parenthesis => {
                [b"ERR Unmatched parenthesis in acl selector starting at '", &*wrong.word, b"'."].concat()
            }
            Why::Rule(why) => {
                let why = why.to_string();
                [b"ERR Error in ACL SETUSER modifier '", &*wrong.word, b"': ", why.as_bytes()].concat()
            }
        })?;
        let mut users = self.clone();
        users.by_name.insert(name.into(), Arc::new(user));
        let bytes: usize = users.each().map(|user| user.bytes() + 1).sum();
        if bytes > USERS_BYTES {
            return Err(format!("ERR all users together would take more than {USERS_BYTES} bytes").into());
        }
        Ok(users)
    }

    /// Without these users; how many of them there were.
    pub(crate) fn without<'a>(&self, names: impl Iterator<Item = &'a [u8]>) -> (Self, usize) {
        let mut users = self.clone();
        let gone = names.filter(|name| users.by_name.remove(*name).is_some()).count();
        (users, gone)
    }

    /// The user of this name.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// The user that new connections are, if it needs no proof.
    pub(crate) fn at_first(&self) -> Option<&Arc<User>> {
        self.get(DEFAULT).filter(|user| user.is_open())
    }

    /// Names of users that are only there, only in `self`, or not alike; cut when there are many.
    pub(crate) fn difference(&self, there: &Users) -> String {
        let names = |users: &Users, differs: &dyn Fn(&User) -> bool| {
            let names = users
                .each()
                .filter(|user| differs(user))
                .map(|user| String::from_utf8_lossy(user.name()).into_owned());
            names.collect::<Vec<_>>().join(" ")
        };
        let added = names(there, &|user| self.get(user.name()).is_none());
        let removed = names(self, &|user| there.get(user.name()).is_none());
        let changed = names(there, &|user| self.get(user.name()).is_some_and(|before| **before != *user));
        let parts = [("added", added), ("removed", removed), ("changed", changed)];
        let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
        let text = parts.map(|(what, names)| format!("{what}: {names}")).collect::<Vec<_>>().join("; ");
        if text.chars().count() > 500 { text.chars().take(500).chain("…".chars()).collect() } else { text }
    }

    /// What an operator may not have meant: one line each, with the name of the user.
    pub fn warnings(&self) -> Vec<String> {
        let of = |user: &User| {
            let known = [
                (
                    user.runs_scripts_with_limits(),
                    "may run scripts: what a script does is not held against its rules",
                ),
                (user.cannot_log_in(), "is on and has no password, so that nobody can log in as this user"),
                (user.is_open() && user.name() != DEFAULT, "needs no password"),
            ];
            let name = String::from_utf8_lossy(user.name()).into_owned();
            known
                .into_iter()
                .filter(|(holds, _)| *holds)
                .map(move |(_, what)| format!("user {name} {what}"))
                .collect::<Vec<_>>()
        };
        self.each().flat_map(of).collect()
    }

    /// Whether everybody is let in.
    pub fn lets_everybody_in(&self) -> bool {
        self.at_first().is_some()
    }

    /// The user who has proven to be it.
    pub(crate) fn let_in(&self, name: &[u8], password: &[u8]) -> Option<&Arc<User>> {
        self.get(name).filter(|user| user.lets_in(password))
    }

    /// All users by their names.
    pub(crate) fn each(&self) -> impl ExactSizeIterator<Item = &User> {
        self.by_name.values().map(|user| &**user)
    }

    /// One line for each, as [`Users::read`] reads them.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Vec<u8>> {
        self.each().map(User::line)
    }
}

/// A rule that cannot be applied.
struct Wrong {
    /// With all that belongs to it, where it is a selector.
    word: Vec<u8>,
    /// From 1.
    number: usize,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Rule(RuleError),
    #[error("Unmatched parenthesis in selector definition")]
    Parenthesis,
}

impl Wrong {
    /// The rule as it may stand in a message: what could be a password does not (law I11).
    fn shown(&self) -> String {
        match self.why {
            Why::Rule(RuleError::UnknownCommand) if matches!(self.word[..], [b'+' | b'-', ..]) => {
                format!("'{}'", self.word.escape_ascii())
            }
            _ => format!("rule {}", self.number),
        }
    }

    /// What to do, for who writes a file.
    fn hint(&self) -> &'static str {
        match self.why {
            Why::Rule(RuleError::Syntax) => {
                "; a rule begins with one of + - ~ % & > < # ! ( or is a word such as on, off, nopass, allkeys"
            }
            Why::Rule(RuleError::BadHash) => "; a comment stands in a line of its own",
            Why::Rule(RuleError::UnknownCommand) => {
                "; what Ringway does not know is allowed by its category alone"
            }
            _ => "",
        }
    }
}

/// The user with all rules applied, or the first one that cannot be.
fn changed(user: User, rules: &[&[u8]]) -> Result<User, Wrong> {
    let words = merged(rules).map_err(|at| Wrong {
        word: rules[at].to_vec(),
        number: at + 1,
        why: Why::Parenthesis,
    })?;
    user.with(words.iter().map(Vec::as_slice)).map_err(|(at, error)| Wrong {
        word: words[at].clone(),
        number: at + 1,
        why: Why::Rule(error),
    })
}

/// Words from an opening parenthesis to its closing one become one; else the index of the one that is not closed.
fn merged(rules: &[&[u8]]) -> Result<Vec<Vec<u8>>, usize> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut open = None;
    for (at, rule) in rules.iter().enumerate() {
        match (open, words.last_mut()) {
            (Some(_), Some(word)) => {
                word.push(b' ');
                word.extend_from_slice(rule);
            }
            _ => words.push(rule.to_vec()),
        }
        let begins = open.is_none() && rule.starts_with(b"(");
        open = match open {
            _ if rule.ends_with(b")") => None,
            None if begins => Some(at),
            open => open,
        };
    }
    open.map_or(Ok(words), Err)
}
