//! One user: how it proves who it is, and what it may do.

use super::denied::Denied;
use super::rule::{Hashed, RuleError};
use super::selector::{Against, Selector, runs_scripts};
use crate::command::{self, Command, KeyUses, Keys, SubscriptionKind, key_positions};
use crate::limits::RULES_OF_A_KIND;
use crate::resp::Args;

/// See the head of this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    name: Box<[u8]>,
    enabled: bool,
    /// Any password is right.
    passwordless: bool,
    /// The word `skip-sanitize-payload`, which is kept and means nothing here: nodes judge what RESTORE brings.
    skips_sanitizing: bool,
    passwords: Vec<Hashed>,
    root: Selector,
    /// Further ones: what any of them allows is allowed.
    selectors: Vec<Selector>,
    /// Bytes of its line.
    bytes: usize,
}

impl User {
    /// A user who cannot log in and may do nothing, as `ACL SETUSER` begins with.
    pub(super) fn new(name: &[u8]) -> Self {
        Self {
            name: name.into(),
            enabled: false,
            passwordless: false,
            skips_sanitizing: false,
            passwords: Vec::new(),
            root: Selector::default(),
            selectors: Vec::new(),
            bytes: 0,
        }
    }

    /// A user who may do everything, with this password or with any.
    pub(super) fn unlimited(name: &[u8], password: Option<&[u8]>) -> Self {
        let mut user = Self {
            enabled: true,
            passwordless: password.is_none(),
            passwords: password.map(Hashed::of).into_iter().collect(),
            root: Selector::everything(),
            ..Self::new(name)
        };
        user.bytes = user.line().len();
        user
    }

    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether a connection is this user without proof, if it is the default one.
    pub(crate) fn is_open(&self) -> bool {
        self.enabled && self.passwordless
    }

    /// Whether any password is right.
    pub(crate) fn is_passwordless(&self) -> bool {
        self.passwordless
    }

    /// Whether it may do everything.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.each_selector().any(Selector::is_unlimited)
    }

    /// Whether this is its password, and it may log in. Hashes are compared, so that the time tells nothing.
    pub(super) fn lets_in(&self, password: &[u8]) -> bool {
        self.enabled && (self.passwordless || self.passwords.contains(&Hashed::of(password)))
    }

    fn each_selector(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// Says whether it may make this request. `positions` is written over.
    pub(crate) fn may(
        &self,
        command: &'static Command,
        args: &Args<'_>,
        positions: &mut Vec<u32>,
    ) -> Result<(), Denied> {
        // where the keys cannot be told the request is refused later, and reaches no node
        if key_positions(command, args, positions).is_err() && matches!(command.keys, Keys::Specs(_)) {
            positions.clear();
        }
        let uses = KeyUses::of(command, args);
        let mut worst = Against::Command;
        for selector in self.each_selector() {
            match selector.check(command, args, (positions, &uses)) {
                Ok(()) => return Ok(()),
                // what is nearest to being allowed tells most
                Err(against) => worst = worst.max(against),
            }
        }
        Err(Denied { command, against: worst })
    }

    /// Whether it may run the command, whatever that is given.
    pub(crate) fn may_run(&self, command: &Command) -> bool {
        self.each_selector().any(|selector| selector.may_run(command))
    }

    /// Whether it has limits that a script of its own need not keep to.
    pub(super) fn runs_scripts_with_limits(&self) -> bool {
        let names = |command: &Command| runs_scripts(command) && self.may_run(command);
        !self.is_unlimited() && command::all().any(names)
    }

    /// Whether nothing is right as its password although it is switched on.
    pub(super) fn cannot_log_in(&self) -> bool {
        self.enabled && !self.passwordless && self.passwords.is_empty()
    }

    /// Whether it may do just what the other may, however each logs in.
    pub(crate) fn has_rights_of(&self, other: &User) -> bool {
        self.root == other.root && self.selectors == other.selectors
    }

    /// Whether it may listen to this.
    pub(crate) fn may_hear(&self, channel: &[u8], kind: SubscriptionKind) -> bool {
        self.each_selector().any(|selector| selector.allows_channel(channel, kind))
    }

    /// The user with all these rules applied, one after the other.
    ///
    /// # Errors
    /// The index of the first one that cannot be, and why.
    pub(super) fn with<'a>(
        mut self,
        rules: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, (usize, RuleError)> {
        for (at, rule) in rules.enumerate() {
            self.apply(rule).map_err(|error| (at, error))?;
        }
        self.root.work_out();
        self.selectors.iter_mut().for_each(Selector::work_out);
        self.bytes = self.line().len();
        Ok(self)
    }

    /// Bytes of its line.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        match rule {
            [] => {}
            _ if is("on") => self.enabled = true,
            _ if is("off") => self.enabled = false,
            _ if is("nopass") => (self.passwordless, self.passwords) = (true, Vec::new()),
            _ if is("resetpass") => (self.passwordless, self.passwords) = (false, Vec::new()),
            _ if is("skip-sanitize-payload") => self.skips_sanitizing = true,
            _ if is("sanitize-payload") => self.skips_sanitizing = false,
            _ if is("clearselectors") => self.selectors.clear(),
            _ if is("reset") => *self = Self::new(&self.name),
            [b'>', password @ ..] => self.add_password(Hashed::of(password))?,
            [b'#', hash @ ..] => self.add_password(Hashed::read(hash)?)?,
            [b'<', password @ ..] => self.remove_password(Hashed::of(password))?,
            [b'!', hash @ ..] => self.remove_password(Hashed::read(hash)?)?,
            [b'(', rules @ .., b')'] => {
                if self.selectors.len() == RULES_OF_A_KIND {
                    return Err(RuleError::TooMany);
                }
                let mut selector = Selector::default();
                for rule in rules.split(u8::is_ascii_whitespace).filter(|rule| !rule.is_empty()) {
                    selector.apply(rule)?;
                }
                self.selectors.push(selector);
            }
            rule => self.root.apply(rule)?,
        }
        Ok(())
    }

    fn add_password(&mut self, password: Hashed) -> Result<(), RuleError> {
        if !self.passwords.contains(&password) {
            if self.passwords.len() == RULES_OF_A_KIND {
                return Err(RuleError::TooMany);
            }
            self.passwords.push(password);
        }
        self.passwordless = false;
        Ok(())
    }

    fn remove_password(&mut self, password: Hashed) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|known| *known == password);
        self.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }

    // ---- in words ----------------------------------------------------------------------------------------------

    /// The words of Redis that say how it logs in.
    pub(crate) fn flags(&self) -> impl Iterator<Item = &'static str> {
        let known = [
            (if self.enabled { "on" } else { "off" }, true),
            ("nopass", self.passwordless),
            ("skip-sanitize-payload", self.skips_sanitizing),
        ];
        known.into_iter().filter(|(_, holds)| *holds).map(|(word, _)| word)
    }

    /// The hashes of its passwords, in hexadecimal digits.
    pub(crate) fn passwords(&self) -> impl ExactSizeIterator<Item = String> {
        self.passwords.iter().map(|password| password.text())
    }

    /// Commands, keys and channels of each selector, the root first.
    pub(crate) fn rights(&self) -> impl Iterator<Item = [(&'static str, Vec<u8>); 3]> {
        self.each_selector().map(|selector| {
            [
                ("commands", selector.commands_text()),
                ("keys", selector.keys_text()),
                ("channels", selector.channels_text()),
            ]
        })
    }

    /// `user NAME …`: one line of a file of users.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut out = [b"user ", &*self.name].concat();
        for word in self.flags() {
            out.push(b' ');
            out.extend_from_slice(word.as_bytes());
        }
        for password in self.passwords() {
            out.extend_from_slice(b" #");
            out.extend_from_slice(password.as_bytes());
        }
        out.push(b' ');
        out.extend(self.root.text());
        for selector in &self.selectors {
            out.extend_from_slice(b" (");
            out.extend(selector.text());
            out.push(b')');
        }
        out
    }
}
