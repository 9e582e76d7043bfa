//! Where a command goes: the column of the table that routing reads.

/// Who answers a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The node that owns the key(s), unchanged; keys of several nodes are refused. The number of keys may be zero
    /// (`EVAL … 0`): then any node can run it.
    Key,
    /// As `Key`, over a connection of the client's own when the request waits for something to happen.
    Waiting,
    /// Every node, over a connection of the client's own to each; the least that any of them answers (WAIT).
    Replicas,
    /// Every node, over a connection opened for it, also where a script keeps the node busy (SCRIPT KILL).
    Running,
    /// One part to each node that owns some of the keys; the replies are joined.
    Split(Join),
    /// The whole command to every node; the replies are joined. If one node cannot be used, none gets it, but for
    /// INFO, which tells of those that can.
    AllNodes(Join),
    /// The node that owns the channel; the reply counts clients instead of the proxy's own connections.
    Publish(SubscriptionKind),
    /// The client listens from now on (SUBSCRIBE).
    Subscribe(SubscriptionKind),
    /// The client listens no more (UNSUBSCRIBE).
    Unsubscribe(SubscriptionKind),
    /// One page of one node's keys; the cursor names the node, and the next one when this one is done (SCAN).
    Scan,
    /// A step of a transaction: the proxy queues, a node runs the whole block (MULTI, WATCH, EXEC).
    Transaction(Transaction),
    /// The proxy itself.
    Local(Local),
    /// The proxy itself, from what it knows of its clients on all workers.
    Client(ClientCommand),
    /// Answered by the proxy, which has users of its own: a subcommand of ACL.
    Acl(AclCommand),
    /// Nobody: the rule says why, in words that follow "refused:" or a colon.
    Refused(&'static str),
}

/// How the replies to the parts of a split command become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// An array with one element per key, in the order of the request (MGET).
    Values,
    /// The sum of integers (DEL, UNLINK, EXISTS, TOUCH).
    Sum,
    /// `+OK` when all parts said so (MSET, FLUSHALL).
    Ok,
    /// The reply that all nodes gave alike (SCRIPT LOAD).
    Same,
    /// The first node's reply if all agree but for the order of what they list (FUNCTION LIST).
    Alike,
    /// The libraries of FUNCTION DUMP, if all have the same.
    Libraries,
    /// The least integer that any node gave, or an array of such (SCRIPT EXISTS: 1 is 1 everywhere; LASTSAVE).
    Least,
    /// The status lines of all nodes, each once (BGSAVE).
    Said,
    /// The texts of all nodes below each other, each under the name of its node (MEMORY DOCTOR).
    Texts,
    /// The settings in which the nodes agree (CONFIG GET).
    Settings,
    /// The entries of all nodes, the latest first (SLOWLOG GET).
    SlowLog,
    /// The samples of all nodes by time, the worst of each second (LATENCY HISTORY).
    History,
    /// The last and the worst sample of each event on any node (LATENCY LATEST).
    Latest,
    /// Distributions added up (LATENCY HISTOGRAM).
    Histogram,
    /// Figures added up, ratios made anew, the rest left out (MEMORY STATS).
    Memory,
    /// The page about the proxy and its nodes (INFO).
    Info,
    /// The arrays of keys behind each other, without the keys that the ring gives to another node, passed through as
    /// they come (KEYS).
    Keys,
    /// One key out of several drawn from every node, by the sizes of the nodes (RANDOMKEY).
    Draw,
    /// A cursor and keys of one node, with the cursor made one over all nodes (SCAN).
    Page,
    /// The number of clients that got a message (PUBLISH).
    Receivers,
    /// The arrays of strings as one, each string once (PUBSUB CHANNELS).
    Union,
    /// Channels, each with the number of clients that listen (PUBSUB NUMSUB).
    Listeners(SubscriptionKind),
    /// The number of patterns that clients listen to (PUBSUB NUMPAT).
    Patterns,
}

/// What a client can listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubscriptionKind {
    /// A channel (SUBSCRIBE).
    Channel,
    /// All channels that match a pattern (PSUBSCRIBE).
    Pattern,
    /// A shard channel, which lives where a key of its name would (SSUBSCRIBE).
    Shard,
}

impl SubscriptionKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [SubscriptionKind; 3] =
        [SubscriptionKind::Channel, SubscriptionKind::Pattern, SubscriptionKind::Shard];

    /// The command, and the word in its confirmation.
    pub const fn subscribe(self) -> &'static str {
        match self {
            SubscriptionKind::Channel => "subscribe",
            SubscriptionKind::Pattern => "psubscribe",
            SubscriptionKind::Shard => "ssubscribe",
        }
    }

    /// The command that ends it, and the word in its confirmation.
    pub const fn unsubscribe(self) -> &'static str {
        match self {
            SubscriptionKind::Channel => "unsubscribe",
            SubscriptionKind::Pattern => "punsubscribe",
            SubscriptionKind::Shard => "sunsubscribe",
        }
    }
}

/// The steps of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the command of the same name")]
pub enum Transaction {
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
}

/// What can be computed from what several nodes have, when the settings say so (`multi_key: emulate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the command of the same name")]
pub enum Computed {
    SUnion,
    SInter,
    SDiff,
    SInterCard,
    ZUnion,
    ZInter,
    ZDiff,
    ZInterCard,
    PfCount,
}

/// What the proxy answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the command of the same name")]
pub enum Local {
    Ping,
    Echo,
    Quit,
    Hello,
    Auth,
    Select,
    Reset,
    Time,
    Role,
    Lolwut,
    ClientUnblock,
    Monitor,
    CommandAll,
    CommandCount,
    CommandDocs,
    CommandInfo,
    CommandGetKeys,
    CommandGetKeysAndFlags,
    CommandList,
    /// `HELP` of any container: `CLIENT HELP`, `COMMAND HELP`, `OBJECT HELP`, …
    Help,
}

impl Local {
    /// Whether the answer comes from the command table alone, so that [`describe`](super::describe) writes it.
    pub const fn is_described(self) -> bool {
        matches!(
            self,
            Local::CommandAll
                | Local::CommandCount
                | Local::CommandDocs
                | Local::CommandInfo
                | Local::CommandGetKeys
                | Local::CommandGetKeysAndFlags
                | Local::CommandList
                | Local::Help
        )
    }
}

/// The subcommands of ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the subcommand of the same name")]
pub enum AclCommand {
    Cat,
    DelUser,
    DryRun,
    GenPass,
    GetUser,
    List,
    Load,
    Log,
    Save,
    SetUser,
    Users,
    WhoAmI,
}

/// The subcommands of CLIENT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the subcommand of the same name")]
pub enum ClientCommand {
    Caching,
    GetName,
    GetRedir,
    Id,
    Info,
    Kill,
    List,
    NoEvict,
    NoTouch,
    Pause,
    Reply,
    SetInfo,
    SetName,
    Tracking,
    TrackingInfo,
    Unpause,
}
