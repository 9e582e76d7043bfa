//! Small hand-made bit sets: what a command is ([`Flags`]), where access rules put it ([`Categories`]) and what it
//! does with a key ([`KeyUse`]).
//!
//! Each set carries the names Redis gives its members, in the order in which Redis lists them.

/// Makes one bit set type over `u32`: a constant per member, and the table of their names.
macro_rules! bit_set {
    ($(#[$doc:meta])* $type:ident { $($(#[$member_doc:meta])* $member:ident = $bit:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $type(u32);

        impl $type {
            /// Nothing.
            pub const EMPTY: $type = $type(0);
            $($(#[$member_doc])* pub const $member: $type = $type(1 << $bit);)*

            const NAMES: &'static [($type, &'static str)] = &[$(($type::$member, $text)),*];

            /// Every member.
            pub fn all() -> $type {
                Self::NAMES.iter().fold(Self::EMPTY, |all, (member, _)| all.with(*member))
            }

            /// Whether every member of `other` is in here.
            #[inline]
            pub const fn contains(self, other: $type) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether it has no member.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Everything in either.
            pub const fn with(self, other: $type) -> $type {
                $type(self.0 | other.0)
            }

            /// Everything in here that is not in `other`.
            pub const fn without(self, other: $type) -> $type {
                $type(self.0 & !other.0)
            }

            /// How many members it has.
            pub const fn len(self) -> usize {
                self.0.count_ones() as usize
            }

            /// The names of its members as Redis writes them.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMES.iter().filter(move |(member, _)| self.contains(*member)).map(|(_, name)| *name)
            }

            /// The member with this name, letters in any case.
            pub fn named(name: &[u8]) -> Option<$type> {
                let found = Self::NAMES.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name));
                found.map(|(member, _)| *member)
            }
        }
    };
}

bit_set! {
    /// What a command is and what a server must know before running it: the flags of Redis's `COMMAND`.
    Flags {
        /// May change a key.
        WRITE = 0, "write";
        /// Only reads keys.
        READONLY = 1, "readonly";
        /// May grow the data, refused when memory is used up.
        DENYOOM = 2, "denyoom";
        /// For operators of a server.
        ADMIN = 3, "admin";
        /// Has to do with publish and subscribe.
        PUBSUB = 4, "pubsub";
        /// Not allowed in scripts.
        NOSCRIPT = 5, "noscript";
        /// May wait for data.
        BLOCKING = 6, "blocking";
        /// Allowed while a server loads its data.
        LOADING = 7, "loading";
        /// Allowed on a replica that has lost its primary.
        STALE = 8, "stale";
        /// Not shown to `MONITOR`.
        SKIP_MONITOR = 9, "skip_monitor";
        /// Not recorded by the slow log.
        SKIP_SLOWLOG = 10, "skip_slowlog";
        /// Implies `ASKING`, used while slots of a cluster move.
        ASKING = 11, "asking";
        /// Constant or logarithmic time.
        FAST = 12, "fast";
        /// Allowed before authentication.
        NO_AUTH = 13, "no_auth";
        /// Keys are optional.
        NO_MANDATORY_KEYS = 14, "no_mandatory_keys";
        /// Not allowed while data loads in the background.
        NO_ASYNC_LOADING = 15, "no_async_loading";
        /// Not allowed in a transaction.
        NO_MULTI = 16, "no_multi";
        /// Allowed while a script keeps the server busy.
        ALLOW_BUSY = 17, "allow_busy";
        /// First, last and step do not tell all keys.
        MOVABLEKEYS = 18, "movablekeys";
    }
}

bit_set! {
    /// The access control categories a command belongs to.
    Categories {
        /// Keys as such, whatever they hold.
        KEYSPACE = 0, "keyspace";
        /// Reads.
        READ = 1, "read";
        /// Writes.
        WRITE = 2, "write";
        /// Sets.
        SET = 3, "set";
        /// Sorted sets.
        SORTEDSET = 4, "sortedset";
        /// Lists.
        LIST = 5, "list";
        /// Hashes.
        HASH = 6, "hash";
        /// Strings.
        STRING = 7, "string";
        /// Bitmaps.
        BITMAP = 8, "bitmap";
        /// HyperLogLogs.
        HYPERLOGLOG = 9, "hyperloglog";
        /// Positions on the globe.
        GEO = 10, "geo";
        /// Streams.
        STREAM = 11, "stream";
        /// Publish and subscribe.
        PUBSUB = 12, "pubsub";
        /// Administration.
        ADMIN = 13, "admin";
        /// Constant or logarithmic time.
        FAST = 14, "fast";
        /// Everything that is not fast.
        SLOW = 15, "slow";
        /// May wait.
        BLOCKING = 16, "blocking";
        /// Can do harm.
        DANGEROUS = 17, "dangerous";
        /// The connection itself.
        CONNECTION = 18, "connection";
        /// Transactions.
        TRANSACTION = 19, "transaction";
        /// Scripts and functions.
        SCRIPTING = 20, "scripting";
    }
}

bit_set! {
    /// What a command does with a key it names: the flags of Redis's key specifications.
    KeyUse {
        /// Reads the value, never changes it.
        RO = 0, "RO";
        /// Reads and changes the value.
        RW = 1, "RW";
        /// Replaces the value whatever it was.
        OW = 2, "OW";
        /// Removes the key.
        RM = 3, "RM";
        /// Tells something of the value to the client.
        ACCESS = 4, "access";
        /// Changes existing data.
        UPDATE = 5, "update";
        /// Adds data and changes none.
        INSERT = 6, "insert";
        /// Deletes data from the value.
        DELETE = 7, "delete";
        /// A channel that is placed like a key.
        NOT_KEY = 8, "not_key";
        /// The specification does not find every key.
        INCOMPLETE = 9, "incomplete";
        /// The use depends on other arguments.
        VARIABLE = 10, "variable_flags";
    }
}

impl KeyUse {
    /// Whether the key's value may be another one afterwards, or gone.
    pub const fn changes(self) -> bool {
        self.contains(Self::RW) || self.contains(Self::OW) || self.contains(Self::RM)
    }
}
