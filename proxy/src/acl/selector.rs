//! What a user may do by one set of rules: which commands, with which keys and channels.

use super::rule::{RuleError, has_spaces};
use crate::command::{self, Categories, Command, KeyUse, KeyUses, SubscriptionKind, first_sort_pattern};
use crate::command::{Flags, Route};
use crate::glob;
use crate::limits::RULES_OF_A_KIND;
use crate::resp::Args;

/// See the head of this file. Rules hold in their order: the last one that concerns a command decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector {
    /// Whether the rules begin with `+@all`, so that what no rule concerns is allowed.
    all_commands: bool,
    rules: Vec<CommandRule>,
    /// What follows from these for the rows of the table, a bit for each; made by [`Selector::work_out`] when all rules are
    /// there.
    allowed: Box<[u64]>,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    all_channels: bool,
    channels: Vec<Box<[u8]>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct CommandRule {
    allow: bool,
    about: About,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    Category(Categories, &'static str),
    /// A command, with all that is below it.
    Row(&'static Command),
    /// A command when its first argument is this one.
    FirstArgument(&'static Command, Box<[u8]>),
    /// One that nodes may tell of.
    Named(Box<str>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyPattern {
    pattern: Box<[u8]>,
    read: bool,
    write: bool,
}

/// What stands against a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Against {
    /// The command itself.
    Command,
    /// The command would run a script.
    Script,
    /// The argument at this index is a key.
    Key(usize),
    /// What SORT reads beyond its keys: the argument at this index is the pattern.
    Pattern(usize),
    /// The argument at this index is a channel.
    Channel(usize),
}

impl Default for Selector {
    /// Nothing is allowed.
    fn default() -> Self {
        Self {
            all_commands: false,
            rules: Vec::new(),
            allowed: vec![0; command::command_count().div_ceil(64)].into(),
            all_keys: false,
            keys: Vec::new(),
            all_channels: false,
            channels: Vec::new(),
        }
    }
}

/// Whether it has the node run what its user wrote, as Ringway and with all that Ringway may do there.
pub(super) fn runs_scripts(command: &Command) -> bool {
    const SCRIPTS: [&str; 6] = ["eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro"];
    SCRIPTS.contains(&command.full_name)
}

impl About {
    fn concerns(&self, command: &Command) -> bool {
        match self {
            About::Category(category, _) => command.categories.contains(*category),
            About::Row(row) => *row == command || row.subcommands.contains(command),
            About::FirstArgument(..) => false,
            About::Named(name) => {
                let below = command.full_name.strip_prefix(&**name);
                below.is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
            }
        }
    }

    /// Whether nothing is left of `self` once `later` holds.
    fn gives_way_to(&self, later: &About) -> bool {
        match (self, later) {
            (About::FirstArgument(row, _), About::Row(later)) => row == later,
            (About::Row(row), About::Row(later)) => row == later || later.subcommands.contains(row),
            (About::Named(name), About::Named(later)) => {
                name.strip_prefix(&**later).is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
            }
            (one, later) => one == later,
        }
    }
}

impl Selector {
    /// Everything is allowed.
    pub(super) fn everything() -> Self {
        let mut selector = Self { all_commands: true, all_keys: true, all_channels: true, ..Self::default() };
        selector.work_out();
        selector
    }

    /// Whether nothing at all is forbidden.
    pub(super) fn is_unlimited(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels && self.rules.iter().all(|rule| rule.allow)
    }

    /// Applies one rule. [`Selector::work_out`] has to follow the last one.
    pub(super) fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is("allkeys") || rule == b"~*" {
            (self.all_keys, self.keys) = (true, Vec::new());
        } else if is("resetkeys") {
            (self.all_keys, self.keys) = (false, Vec::new());
        } else if is("allchannels") || rule == b"&*" {
            (self.all_channels, self.channels) = (true, Vec::new());
        } else if is("resetchannels") {
            (self.all_channels, self.channels) = (false, Vec::new());
        } else if is("allcommands") || is("+@all") {
            self.begin_with(true);
        } else if is("nocommands") || is("-@all") {
            self.begin_with(false);
        } else {
            match rule {
                [b'~' | b'%', ..] => self.add_keys(rule)?,
                [b'&', pattern @ ..] => self.add_channel(pattern)?,
                [sign @ (b'+' | b'-'), what @ ..] => {
                    let allow = *sign == b'+';
                    self.add_command(about(what, allow)?, allow)?;
                }
                _ => return Err(RuleError::Syntax),
            }
        }
        Ok(())
    }

    fn begin_with(&mut self, all: bool) {
        (self.all_commands, self.rules) = (all, Vec::new());
    }

    fn add_command(&mut self, about: About, allow: bool) -> Result<(), RuleError> {
        self.rules.retain(|rule| !rule.about.gives_way_to(&about));
        // the name of a script's command says more than that it is allowed
        let says_nothing = match &about {
            About::Row(row) if !runs_scripts(row) => {
                std::iter::once(*row).chain(row.subcommands).all(|row| self.decide(row) == allow)
            }
            _ => false,
        };
        if !says_nothing {
            within(self.rules.len())?;
            self.rules.push(CommandRule { allow, about });
        }
        Ok(())
    }

    fn add_keys(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::AfterAllKeys);
        }
        let end = rule.iter().position(|byte| *byte == b'~').ok_or(RuleError::Syntax)?;
        let (kinds, pattern) = (&rule[..end], &rule[end + 1..]);
        let (mut read, mut write) = (kinds.is_empty(), kinds.is_empty());
        for kind in kinds.iter().skip(1) {
            let told = match kind.to_ascii_uppercase() {
                b'R' => &mut read,
                b'W' => &mut write,
                _ => return Err(RuleError::Syntax),
            };
            if std::mem::replace(told, true) {
                return Err(RuleError::Syntax);
            }
        }
        if has_spaces(pattern) || !read && !write {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|known| *known.pattern == *pattern) {
            Some(known) => {
                known.read |= read;
                known.write |= write;
            }
            None => {
                within(self.keys.len())?;
                self.keys.push(KeyPattern { pattern: pattern.into(), read, write });
            }
        }
        Ok(())
    }

    fn add_channel(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::AfterAllChannels);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| **known == *pattern) {
            within(self.channels.len())?;
            self.channels.push(pattern.into());
        }
        Ok(())
    }

    /// Finds out what the rules say of each row of the table.
    pub(super) fn work_out(&mut self) {
        let mut allowed = vec![0_u64; command::command_count().div_ceil(64)];
        for row in command::all().filter(|row| self.decide(row)) {
            let at = row.id().index();
            allowed[at / 64] |= 1 << (at % 64);
        }
        self.allowed = allowed.into();
    }

    fn decide(&self, command: &Command) -> bool {
        let last = self.rules.iter().rev().find(|rule| rule.about.concerns(command));
        last.map_or(self.all_commands, |rule| rule.allow)
    }

    /// Whether the command is allowed whatever its arguments are.
    fn allows(&self, command: &Command) -> bool {
        let at = command.id().index();
        match self.allowed.get(at / 64) {
            Some(bits) if at < command::command_count() => bits & (1 << (at % 64)) != 0,
            _ => self.decide(command),
        }
    }

    /// Whether the command is allowed because its first argument is what it is.
    fn allows_argument(&self, command: &Command, args: &Args<'_>) -> bool {
        let given = args.get(1).unwrap_or_default();
        let decides = |rule: &&CommandRule| match &rule.about {
            About::FirstArgument(row, word) => *row == command && given.eq_ignore_ascii_case(word),
            about => about.concerns(command),
        };
        self.rules.iter().rev().find(decides).is_some_and(|rule| rule.allow)
    }

    /// Whether a rule allows the command by its own name, and none behind it takes it away.
    fn names(&self, command: &Command) -> bool {
        let is_name = |rule: &CommandRule| matches!(rule.about, About::Row(row) if row == command);
        let concerns = |rule: &&CommandRule| rule.about.concerns(command) && (!rule.allow || is_name(rule));
        self.rules.iter().rev().find(concerns).is_some_and(|rule| rule.allow)
    }

    /// Whether the command is allowed, whatever it is given.
    pub(super) fn may_run(&self, command: &Command) -> bool {
        self.allows(command) && (!runs_scripts(command) || self.is_unlimited() || self.names(command))
    }

    /// Says whether a request is allowed; `keys` are the indexes of its keys.
    pub(super) fn check(
        &self,
        command: &'static Command,
        args: &Args<'_>,
        keys: (&[u32], &KeyUses),
    ) -> Result<(), Against> {
        let is_let = command.flags.contains(Flags::NO_AUTH)
            || self.allows(command)
            || self.allows_argument(command, args);
        if !is_let {
            return Err(Against::Command);
        }
        if runs_scripts(command) && !self.is_unlimited() && !self.names(command) {
            return Err(Against::Script);
        }
        self.check_keys(command, args, keys)?;
        self.check_channels(command, args)
    }

    fn check_keys(
        &self,
        command: &Command,
        args: &Args<'_>,
        (keys, uses): (&[u32], &KeyUses),
    ) -> Result<(), Against> {
        if self.all_keys {
            return Ok(());
        }
        for (nth, at) in keys.iter().enumerate() {
            let at = *at as usize;
            if !self.allows_key(args.get(at).unwrap_or_default(), uses.nth(nth)) {
                return Err(Against::Key(at));
            }
        }
        let reads_all = || self.keys.iter().any(|known| known.read && *known.pattern == *b"*");
        match first_sort_pattern(command, args) {
            Some(at) if !reads_all() => Err(Against::Pattern(at)),
            _ => Ok(()),
        }
    }

    fn allows_key(&self, key: &[u8], uses: KeyUse) -> bool {
        const WRITES: [KeyUse; 3] = [KeyUse::INSERT, KeyUse::DELETE, KeyUse::UPDATE];
        // what a node does not say of a command may be anything
        let unknown = uses.is_empty();
        let read = unknown || uses.contains(KeyUse::ACCESS);
        let write = unknown || WRITES.iter().any(|write| uses.contains(*write));
        let fits = |known: &KeyPattern| {
            (known.read || !read) && (known.write || !write) && glob::matches(&known.pattern, key)
        };
        self.keys.iter().any(fits)
    }

    fn check_channels(&self, command: &Command, args: &Args<'_>) -> Result<(), Against> {
        let (last, kind) = match command.route {
            Route::Publish(kind) => (1, kind),
            Route::Subscribe(kind) => (args.len().saturating_sub(1), kind),
            _ => return Ok(()),
        };
        let denied = |at: &usize| !self.allows_channel(args.get(*at).unwrap_or_default(), kind);
        (1..=last).find(denied).map_or(Ok(()), |at| Err(Against::Channel(at)))
    }

    /// Whether this may be listened to or published to. A pattern of PSUBSCRIBE has to stand in the rules as it is.
    pub(super) fn allows_channel(&self, channel: &[u8], kind: SubscriptionKind) -> bool {
        let fits = |known: &[u8]| match kind {
            SubscriptionKind::Pattern => known == channel,
            SubscriptionKind::Channel | SubscriptionKind::Shard => glob::matches(known, channel),
        };
        self.all_channels || self.channels.iter().any(|known| fits(known))
    }

    // ---- in words ----------------------------------------------------------------------------------------------

    /// The rules about commands.
    pub(super) fn commands_text(&self) -> Vec<u8> {
        let mut out = if self.all_commands { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for rule in &self.rules {
            out.extend_from_slice(if rule.allow { b" +" } else { b" -" });
            match &rule.about {
                About::Category(_, name) => {
                    out.push(b'@');
                    out.extend_from_slice(name.as_bytes());
                }
                About::Row(row) => out.extend_from_slice(row.full_name.as_bytes()),
                About::FirstArgument(row, word) => {
                    out.extend_from_slice(row.full_name.as_bytes());
                    out.push(b'|');
                    out.extend_from_slice(word);
                }
                About::Named(name) => out.extend_from_slice(name.as_bytes()),
            }
        }
        out
    }

    /// The patterns of keys.
    pub(super) fn keys_text(&self) -> Vec<u8> {
        let one = |known: &KeyPattern| {
            let kind: &[u8] = match (known.read, known.write) {
                (true, true) => b"~",
                (true, false) => b"%R~",
                _ => b"%W~",
            };
            [kind, &known.pattern].concat()
        };
        let all = vec![b"~*".to_vec()];
        let each = if self.all_keys { all } else { self.keys.iter().map(one).collect() };
        each.join(&b' ')
    }

    /// The patterns of channels.
    pub(super) fn channels_text(&self) -> Vec<u8> {
        let all = vec![b"&*".to_vec()];
        let each = self.channels.iter().map(|known| [b"&", &**known].concat());
        let each = if self.all_channels { all } else { each.collect() };
        each.join(&b' ')
    }

    /// All of it, as it is read again.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut words = vec![self.keys_text()];
        if !self.all_channels {
            words.push(b"resetchannels".to_vec());
        }
        words.extend([self.channels_text(), self.commands_text()]);
        words.retain(|words| !words.is_empty());
        words.join(&b' ')
    }
}

/// Rules of one kind in a selector are looked at one after the other.
fn within(count: usize) -> Result<(), RuleError> {
    if count < RULES_OF_A_KIND { Ok(()) } else { Err(RuleError::TooMany) }
}

/// What a rule behind its sign is about.
fn about(what: &[u8], allow: bool) -> Result<About, RuleError> {
    if let [b'@', category @ ..] = what {
        let found = Categories::named(category).ok_or(RuleError::UnknownCommand)?;
        let name = found.names().next().ok_or(RuleError::UnknownCommand)?;
        return Ok(About::Category(found, name));
    }
    let text = std::str::from_utf8(what).map_err(|_| RuleError::UnknownCommand)?.to_ascii_lowercase();
    if let Some(row) = command::find_full(text.as_bytes()) {
        return Ok(About::Row(row));
    }
    if has_spaces(what) || what.is_empty() {
        return Err(RuleError::UnknownCommand);
    }
    let (parent, argument) = text.rsplit_once('|').unwrap_or((&text, ""));
    match command::find_full(parent.as_bytes()) {
        Some(row) if row.full_name.contains('|') && allow => Err(RuleError::FirstArgument),
        Some(_) if argument.is_empty() && allow => Err(RuleError::Syntax),
        Some(row) if !row.is_container() && allow => {
            // the letters as they were written
            Ok(About::FirstArgument(row, what[what.len() - argument.len()..].into()))
        }
        Some(_) => Err(RuleError::UnknownCommand),
        None if text.contains('.') => Ok(About::Named(text.into())),
        None => Err(RuleError::UnknownCommand),
    }
}
