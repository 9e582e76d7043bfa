//! One row of the command table, and the short words in which rows are written.
//!
//! A row says everything Ringway knows about one command: how many arguments, where its keys are, what it does with
//! them, where it goes and how its parts are joined. The words that build rows are in `build`.

use super::bits::{Categories, Flags, KeyUse};
use super::route::{Computed, Route};
use super::specs::KeySpec;

/// The dense number of a row, for arrays of counters. Stable within one build, not between builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub(super) u16);

impl CommandId {
    /// An index below [`command_count`](super::command_count).
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// All facts about one command or subcommand.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Command {
    /// Lowercase, without the container: `create` for `XGROUP CREATE`.
    pub name: &'static str,
    /// Lowercase with the container: `xgroup|create`; the same as `name` for plain commands.
    pub full_name: &'static str,
    /// Arguments including the name(s): exact when positive, at least so many when negative.
    pub arity: i16,
    /// Redis's flags of the command.
    pub flags: Flags,
    /// Redis's access categories, those that follow from the flags included.
    pub categories: Categories,
    /// Where the keys are.
    pub keys: Keys,
    /// What the command does with its keys: with the first one (or all), with a second kind, with a third kind.
    pub key_uses: [KeyUse; 3],
    /// Where the command goes.
    pub route: Route,
    /// How its reply is made of several nodes' answers when the settings ask for it; `None` for nearly all.
    pub computed: Option<Computed>,
    /// Refused until the settings allow it by name, and why so; `None` for nearly all.
    pub guarded: Option<&'static str>,
    /// A nil in the reply (alone or as an element) means that a key or a field was not there.
    pub lookup: bool,
    /// Its reply depends on nothing but its arguments and the value of argument 1, its key, and may be kept until that
    /// changes.
    pub kept: bool,
    /// The chapter of Redis's manual it belongs to.
    pub group: Group,
    /// The first Redis version that has it.
    pub since: &'static str,
    /// One line about what it does.
    pub summary: &'static str,
    /// The rows below a container, in the order of the table; empty for plain commands.
    pub subcommands: &'static [Command],
    pub(super) id: CommandId,
}

/// Rows are the same when their ids are: no two rows of the table share one.
impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Command {}

impl Command {
    /// The dense number of this row.
    #[inline]
    pub const fn id(&self) -> CommandId {
        self.id
    }

    /// Whether it may change a key, so that it must never be sent twice. True for scripts and functions too, which
    /// carry neither flag, and for what does not say what it does with its keys.
    #[inline]
    pub const fn is_write(&self) -> bool {
        let only_looks = self.key_uses[0].contains(KeyUse::RO) || self.key_uses[0].contains(KeyUse::NOT_KEY);
        self.flags.contains(Flags::WRITE)
            || !(self.is_read() || matches!(self.keys, Keys::None) || only_looks)
    }

    /// Whether it is about all keys of a database, or of all databases, rather than about some that it names.
    pub fn concerns_all_keys(&self) -> bool {
        ["dbsize", "flushall", "flushdb", "keys", "randomkey", "scan", "swapdb"].contains(&self.full_name)
    }

    /// Whether it only reads keys.
    #[inline]
    pub const fn is_read(&self) -> bool {
        self.flags.contains(Flags::READONLY)
    }

    /// Whether sending it a second time does no harm: it is a read by its flags, and nothing else that is known of it says
    /// otherwise. PFCOUNT may write what it has counted into its key; what is flagged a read of a module's commands may
    /// move a cursor.
    pub fn may_repeat(&self) -> bool {
        self.is_read()
            && !self.flags.contains(Flags::WRITE)
            && !self.key_uses.iter().any(|uses| uses.changes())
            && !matches!(self.group, Group::Module)
    }

    /// Whether it only holds subcommands together.
    pub const fn is_container(&self) -> bool {
        !self.subcommands.is_empty()
    }

    /// Whether a request of `len` arguments (names included) has as many as the command asks for.
    #[inline]
    pub const fn accepts(&self, len: usize) -> bool {
        if self.arity >= 0 { len == self.arity as usize } else { len >= self.arity.unsigned_abs() as usize }
    }

    /// Whether Ringway runs it; a container counts when one of its subcommands does.
    pub fn is_supported(&self) -> bool {
        !matches!(self.route, Route::Refused(_)) || self.subcommands.iter().any(Command::is_supported)
    }
}

/// Where the keys of a command are among its arguments (0 is the command's name).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// No keys.
    None,
    /// One key at this index.
    One(usize),
    /// Every `step`-th argument from `first` to `last`; a negative `last` counts from the end, -1 is the last one.
    Range {
        /// Index of the first key.
        first: usize,
        /// Index of the last key.
        last: isize,
        /// Distance between two keys.
        step: usize,
    },
    /// The number of keys stands at index `at`, the keys follow it.
    NumKeys {
        /// Index of the number.
        at: usize,
        /// Whether argument 1 is a key too, the destination; it comes first.
        destination: bool,
        /// What the server says about a bad number.
        rule: NumKeysRule,
    },
    /// XREAD and XREADGROUP: the first half of what follows the word STREAMS.
    Streams {
        /// The least index at which that word can stand.
        options: usize,
    },
    /// What the nodes told of a command that the table does not have.
    Specs(&'static [KeySpec]),
    /// SORT: argument 1, and the word after STORE.
    Sort {
        /// Whether STORE is known (SORT) or not (SORT_RO).
        store: bool,
    },
    /// MOVE: argument 1; argument 2 is the other database.
    Move,
    /// COPY: arguments 1 and 2; the option DB may name another database.
    Copy,
    /// GEORADIUS: argument 1, and the words after STORE and STOREDIST.
    GeoRadius {
        /// Index of the first option.
        options: usize,
    },
    /// MIGRATE: argument 3, or when that is empty everything after the word KEYS.
    Migrate,
    /// Not keys but shard channels, which live where a key of that name would live; no key positions.
    Channels {
        /// Index of the first channel.
        first: usize,
        /// Index of the last channel, negative from the end.
        last: isize,
    },
}

/// How a server judges the number of keys; each family of commands has its own texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumKeysRule {
    /// EVAL: zero is fine.
    Script,
    /// FCALL: as EVAL, with another text where there is no number.
    Function,
    /// ZUNION and its kin: at least one, too many is a syntax error.
    SortedSets,
    /// LMPOP, ZMPOP: at least one, too many is a syntax error.
    Pop,
    /// SINTERCARD: at least one, too many has a text of its own.
    Sets,
}

/// The chapter of Redis's manual a command belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the word that name() returns")]
pub enum Group {
    Generic,
    String,
    Hash,
    List,
    Set,
    SortedSet,
    Stream,
    Bitmap,
    HyperLogLog,
    Geo,
    Scripting,
    Transactions,
    PubSub,
    Connection,
    Server,
    Cluster,
    Module,
}

impl Group {
    /// The name Redis uses in `COMMAND DOCS`.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::Hash => "hash",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
            Group::HyperLogLog => "hyperloglog",
            Group::Geo => "geo",
            Group::Scripting => "scripting",
            Group::Transactions => "transactions",
            Group::PubSub => "pubsub",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Cluster => "cluster",
            Group::Module => "module",
        }
    }
}
