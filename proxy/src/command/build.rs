//! The short words in which the rows of the table are written.
//!
//! Rows are built by `const fn` from a [`Family`] (what the rows of a group have in common), so that one command
//! reads as one or two lines. A word is named after the flag it sets where Redis has a name for it:
//!
//! ```text
//! ROW.read("hget", 3, KEY, "2.0.0", "Value of a field").fast().lookup(),
//! ```

use super::bits::{Categories, Flags, KeyUse};
use super::route::{AclCommand, ClientCommand, Computed, Join, Local, Route, Transaction};
use super::row::{Command, CommandId, Group, Keys};

/// What the rows of one data type have in common.
#[derive(Clone, Copy)]
pub(super) struct Family {
    group: Group,
    category: Categories,
}

impl Family {
    pub(super) const fn new(group: Group, category: Categories) -> Self {
        Self { group, category }
    }

    /// A command that only reads its keys and goes to their node.
    pub(super) const fn read(
        self,
        name: &'static str,
        arity: i16,
        keys: Keys,
        since: &'static str,
        summary: &'static str,
    ) -> Command {
        self.row(name, arity, keys, since, summary).flag(Flags::READONLY).uses(uses::READ)
    }

    /// A command that may change its keys and goes to their node.
    pub(super) const fn write(
        self,
        name: &'static str,
        arity: i16,
        keys: Keys,
        since: &'static str,
        summary: &'static str,
    ) -> Command {
        self.row(name, arity, keys, since, summary).flag(Flags::WRITE).uses(uses::UPDATE)
    }

    /// A command that names keys and neither reads nor writes by its flags.
    pub(super) const fn keyed(
        self,
        name: &'static str,
        arity: i16,
        keys: Keys,
        since: &'static str,
        summary: &'static str,
    ) -> Command {
        self.row(name, arity, keys, since, summary)
    }

    /// A command without keys that the proxy answers.
    pub(super) const fn local(
        self,
        name: &'static str,
        arity: i16,
        local: Local,
        since: &'static str,
        summary: &'static str,
    ) -> Command {
        self.row(name, arity, Keys::None, since, summary).route(Route::Local(local))
    }

    /// A subcommand of CLIENT.
    pub(super) const fn client(
        self,
        name: &'static str,
        arity: i16,
        what: ClientCommand,
        since: &'static str,
        summary: &'static str,
    ) -> Command {
        self.row(name, arity, Keys::None, since, summary).route(Route::Client(what))
    }

    /// A subcommand of ACL.
    pub(super) const fn acl(
        self,
        name: &'static str,
        arity: i16,
        what: AclCommand,
        since: &'static str,
        summary: &'static str,
    ) -> Command {
        self.row(name, arity, Keys::None, since, summary).route(Route::Acl(what))
    }

    /// A command without keys that takes place on every node.
    pub(super) const fn everywhere(
        self,
        name: &'static str,
        arity: i16,
        join: Join,
        since: &'static str,
        summary: &'static str,
    ) -> Command {
        self.row(name, arity, Keys::None, since, summary).route(Route::AllNodes(join))
    }

    /// A command without keys that is a step of a transaction.
    pub(super) const fn transaction(
        self,
        name: &'static str,
        arity: i16,
        step: Transaction,
        since: &'static str,
        summary: &'static str,
    ) -> Command {
        self.row(name, arity, Keys::None, since, summary).route(Route::Transaction(step))
    }

    /// A command without keys that nobody answers.
    pub(super) const fn refused(
        self,
        name: &'static str,
        arity: i16,
        rule: &'static str,
        since: &'static str,
        summary: &'static str,
    ) -> Command {
        self.row(name, arity, Keys::None, since, summary).refused_by(rule)
    }

    /// The row that holds subcommands together. Redis gives it no category of its own.
    pub(super) const fn container(
        self,
        name: &'static str,
        since: &'static str,
        summary: &'static str,
        subcommands: &'static [Command],
    ) -> Command {
        let mut row = self.refused(name, -2, "needs a subcommand", since, summary);
        row.categories = Categories::EMPTY;
        row.below(subcommands)
    }

    /// `… HELP` of a container, answered by Ringway with the subcommands it supports.
    pub(super) const fn help(self, name: &'static str, since: &'static str) -> Command {
        self.local(name, 2, Local::Help, since, "Lists the subcommands").anytime()
    }

    const fn row(
        self,
        full_name: &'static str,
        arity: i16,
        keys: Keys,
        since: &'static str,
        summary: &'static str,
    ) -> Command {
        Command {
            name: after_bar(full_name),
            full_name,
            arity,
            flags: Flags::EMPTY,
            categories: self.category,
            keys,
            key_uses: [KeyUse::EMPTY; 3],
            route: Route::Key,
            computed: None,
            guarded: None,
            lookup: false,
            kept: false,
            group: self.group,
            since,
            summary,
            subcommands: &[],
            id: CommandId(0),
        }
    }
}

/// The part of a full name behind the bar, or all of it.
const fn after_bar(full_name: &'static str) -> &'static str {
    let bytes = full_name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'|' {
            return full_name.split_at(at + 1).1;
        }
        at += 1;
    }
    full_name
}

/// The words that finish a row. Named after the flag they set where Redis has a name for it.
impl Command {
    pub(super) const fn flag(mut self, flag: Flags) -> Self {
        self.flags = self.flags.with(flag);
        self
    }

    pub(super) const fn fast(self) -> Self {
        self.flag(Flags::FAST)
    }

    pub(super) const fn denyoom(self) -> Self {
        self.flag(Flags::DENYOOM)
    }

    pub(super) const fn noscript(self) -> Self {
        self.flag(Flags::NOSCRIPT)
    }

    pub(super) const fn movable(self) -> Self {
        self.flag(Flags::MOVABLEKEYS)
    }

    pub(super) const fn admin(self) -> Self {
        self.flag(Flags::ADMIN)
    }

    pub(super) const fn reads(self) -> Self {
        self.flag(Flags::READONLY)
    }

    pub(super) const fn writes(self) -> Self {
        self.flag(Flags::WRITE)
    }

    pub(super) const fn pubsub(self) -> Self {
        self.flag(Flags::PUBSUB)
    }

    pub(super) const fn blocking(self) -> Self {
        self.flag(Flags::BLOCKING)
    }

    /// Waits until there is something to answer, on a connection of the client's own.
    pub(super) const fn waits(self) -> Self {
        self.blocking().route(Route::Waiting)
    }

    pub(super) const fn stale(self) -> Self {
        self.flag(Flags::STALE)
    }

    pub(super) const fn no_async_loading(self) -> Self {
        self.flag(Flags::NO_ASYNC_LOADING)
    }

    pub(super) const fn allow_busy(self) -> Self {
        self.flag(Flags::ALLOW_BUSY)
    }

    /// Allowed while the server loads and while its data are stale.
    pub(super) const fn anytime(self) -> Self {
        self.flag(Flags::LOADING.with(Flags::STALE))
    }

    /// What EVAL and FCALL have in common.
    pub(super) const fn script(self) -> Self {
        let optional = Flags::SKIP_MONITOR.with(Flags::NO_MANDATORY_KEYS).with(Flags::MOVABLEKEYS);
        self.noscript().flag(Flags::STALE).flag(optional)
    }

    pub(super) const fn below(mut self, subcommands: &'static [Command]) -> Self {
        self.subcommands = subcommands;
        self
    }

    /// Commands about a connection or a server: at any time, not in scripts.
    pub(super) const fn session(self) -> Self {
        self.noscript().anytime()
    }

    pub(super) const fn route(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    pub(super) const fn refused_by(self, rule: &'static str) -> Self {
        self.route(Route::Refused(rule))
    }

    pub(super) const fn split(self, join: Join) -> Self {
        self.route(Route::Split(join))
    }

    /// Goes to the node of its keys, and where they lie on several can be computed.
    pub(super) const fn computed(mut self, computed: Computed) -> Self {
        self.computed = Some(computed);
        self
    }

    /// Refused until the settings allow it; `why` follows "is refused:".
    pub(super) const fn guarded(mut self, why: &'static str) -> Self {
        self.guarded = Some(why);
        self
    }

    pub(super) const fn lookup(mut self) -> Self {
        self.lookup = true;
        self
    }

    /// Its reply may be kept: see [`Command::kept`].
    pub(super) const fn kept(mut self) -> Self {
        self.kept = true;
        self
    }

    pub(super) const fn also(mut self, categories: Categories) -> Self {
        self.categories = self.categories.with(categories);
        self
    }

    pub(super) const fn only(mut self, categories: Categories) -> Self {
        self.categories = categories;
        self
    }

    pub(super) const fn uses(mut self, first: KeyUse) -> Self {
        self.key_uses[0] = first;
        self
    }

    /// The keys after the first are used in another way than the first.
    pub(super) const fn then(mut self, second: KeyUse) -> Self {
        self.key_uses[1] = second;
        self
    }

    pub(super) const fn and_then(mut self, third: KeyUse) -> Self {
        self.key_uses[2] = third;
        self
    }

    /// Adds the categories that follow from the flags, by the rule Redis applies when it starts.
    pub(super) const fn with_implied_categories(mut self) -> Self {
        let flags = self.flags;
        let mut categories = self.categories;
        if flags.contains(Flags::WRITE) {
            categories = categories.with(Categories::WRITE);
        }
        if flags.contains(Flags::READONLY) && !categories.contains(Categories::SCRIPTING) {
            categories = categories.with(Categories::READ);
        }
        if flags.contains(Flags::ADMIN) {
            categories = categories.with(Categories::ADMIN).with(Categories::DANGEROUS);
        }
        if flags.contains(Flags::PUBSUB) {
            categories = categories.with(Categories::PUBSUB);
        }
        if flags.contains(Flags::BLOCKING) {
            categories = categories.with(Categories::BLOCKING);
        }
        let speed = if flags.contains(Flags::FAST) { Categories::FAST } else { Categories::SLOW };
        self.categories = categories.with(speed);
        self
    }
}

/// The usual ways to use a key, and the usual places of keys.
pub(super) mod uses {
    use super::super::bits::KeyUse;
    use super::super::row::Keys;

    pub(in super::super) const LOOK: KeyUse = KeyUse::RO;
    pub(in super::super) const READ: KeyUse = KeyUse::RO.with(KeyUse::ACCESS);
    pub(in super::super) const UPDATE: KeyUse = KeyUse::RW.with(KeyUse::UPDATE);
    pub(in super::super) const MODIFY: KeyUse = UPDATE.with(KeyUse::ACCESS);
    pub(in super::super) const INSERT: KeyUse = KeyUse::RW.with(KeyUse::INSERT);
    pub(in super::super) const TRIM: KeyUse = KeyUse::RW.with(KeyUse::DELETE);
    pub(in super::super) const TAKE: KeyUse = TRIM.with(KeyUse::ACCESS);
    pub(in super::super) const REPLACE: KeyUse = KeyUse::OW.with(KeyUse::UPDATE);
    pub(in super::super) const CREATE: KeyUse = KeyUse::OW.with(KeyUse::INSERT);
    pub(in super::super) const REMOVE: KeyUse = KeyUse::RM.with(KeyUse::DELETE);
    pub(in super::super) const CHANNEL: KeyUse = KeyUse::NOT_KEY;

    /// The key is the first argument.
    pub(in super::super) const KEY: Keys = Keys::One(1);
    /// The key follows the subcommand.
    pub(in super::super) const SUBKEY: Keys = Keys::One(2);
    /// The first two arguments are keys.
    pub(in super::super) const TWO: Keys = Keys::Range { first: 1, last: 2, step: 1 };
    /// Every argument is a key.
    pub(in super::super) const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };
    /// Every argument behind the first is a key.
    pub(in super::super) const FROM_TWO: Keys = Keys::Range { first: 2, last: -1, step: 1 };
    /// Keys and values take turns.
    pub(in super::super) const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2 };
    /// Keys, then one argument that is none.
    pub(in super::super) const ALL_BUT_LAST: Keys = Keys::Range { first: 1, last: -2, step: 1 };
}
