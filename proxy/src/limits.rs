//! Every bound on memory and waiting in one place (law I6), with the defaults and where they come from.
//!
//! No buffer is ever sized from a number a peer sent; these bounds are checked while bytes arrive.

use std::time::Duration;

/// Bounds of one proxy process. All can be set in the configuration file under `limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Clients at once, over all workers; one more is told so and closed, as Redis does.
    pub clients: usize,
    /// Commands of one client that may wait for their reply; beyond it the proxy stops reading that client.
    pub pipeline_commands: usize,
    /// Bytes of one client's commands that may wait for their reply; beyond it the proxy stops reading.
    pub pipeline_bytes: usize,
    /// Reply bytes kept for a client that does not read; beyond it the proxy stops reading that client.
    pub reply_soft_bytes: usize,
    /// Reply bytes kept for a client that does not read; beyond it the client is closed.
    pub reply_hard_bytes: usize,
    /// Bytes that nodes may answer to the parts of one command that is computed over several nodes; beyond it the
    /// reply is an error. It bounds how long computing keeps other clients of the worker waiting, too.
    pub emulate_bytes: usize,
    /// How long a client may leave replies unread without taking a single byte.
    pub reply_stuck: Duration,
    /// Bytes of one whole command.
    pub command_bytes: usize,
    /// How long a command may stay incomplete.
    pub command_incomplete: Duration,
    /// How long a client may take to authenticate when a password is set.
    pub authentication: Duration,
    /// How long a drain waits for commands in flight.
    pub drain: Duration,
    /// How long a drain leaves a client its connection to end it right after a reply, rather than while a command of
    /// the client may be on its way.
    pub drain_idle: Duration,
    /// Databases that `SELECT` may choose, 0 to one less; each one in use costs connections of its own.
    pub databases: u32,
    /// Connections to nodes that clients may have for themselves at once, over all workers: for WATCH and for commands
    /// that wait. Beyond it such commands are answered an error.
    pub dedicated_connections: usize,
    /// Bytes of messages, replies included, kept for a client that subscribes and does not read (Redis: class `pubsub` of
    /// `client-output-buffer-limit`); beyond it the client is closed, and so too after [`SUBSCRIBER_SOFT_TIME`] with a
    /// quarter of it. A node's message that is longer is not passed on.
    pub subscriber_bytes: usize,
    /// Bytes of commands queued for one node and worker that are not yet written; beyond it: NOTSENT.
    pub node_queue_bytes: usize,
    /// Bytes that all clients and connections to nodes may make the process hold; above three quarters of it reading
    /// stops for those that hold most, above all of it they are closed.
    pub memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 10_000,
            pipeline_commands: 1024,
            pipeline_bytes: 1 << 20,
            reply_soft_bytes: 1 << 20,
            reply_hard_bytes: 256 << 20,
            emulate_bytes: 4 << 20,
            reply_stuck: Duration::from_secs(60),
            command_bytes: 1 << 30,
            command_incomplete: Duration::from_secs(60),
            authentication: Duration::from_secs(5),
            drain: Duration::from_secs(10),
            drain_idle: Duration::from_millis(500),
            databases: 16,
            dedicated_connections: 2_000,
            subscriber_bytes: 32 << 20,
            node_queue_bytes: 1 << 30,
            memory_bytes: 1 << 30,
        }
    }
}

/// How long a client may leave a quarter of [`Limits::subscriber_bytes`] unread (Redis: 60 s for 8 MiB).
pub const SUBSCRIBER_SOFT_TIME: Duration = Duration::from_secs(60);
/// Bytes of one reply, or of one command, from which on a client counts as one that moves large values: its commands take
/// connections that it shares with its like. Half a millisecond of a fast node's time.
pub const LARGE_VALUE_BYTES: usize = 512 * 1024;
/// How long after its last large value a client counts so.
pub const LARGE_VALUE_TIME: Duration = Duration::from_secs(60);
/// How long nothing more is handled of a client after its first wrong password; doubled with each further one.
pub const WRONG_PASSWORD_DELAY: Duration = Duration::from_millis(10);
/// The longest such delay.
pub const WRONG_PASSWORD_LONGEST_DELAY: Duration = Duration::from_secs(1);
/// Most bytes that all users together take in words (`ACL LIST`) when clients change them.
pub const USERS_BYTES: usize = 8 << 20;
/// Most rules about commands, patterns of keys or channels of one user, and further selectors.
pub const RULES_OF_A_KIND: usize = 1000;
/// Refusals that `ACL LOG` remembers (Redis: acllog-max-len).
pub const DENIED_LOG_ENTRIES: usize = 128;
/// Bytes of the key, channel or name that such an entry shows.
pub const DENIED_LOG_OBJECT_BYTES: usize = 1024;
/// Most scripts that are kept for nodes that join or restart; loading them all takes a node some 10 ms.
pub const SCRIPTS: usize = 512;
/// Most bytes of all those scripts together.
pub const SCRIPT_BYTES: usize = 1 << 20;
/// Most bytes of commands that are kept after they were written, for each connection to a node that many share, so that
/// reads can be sent again when it is lost.
pub const REPEAT_BYTES: usize = 256 * 1024;
/// Most commands that are learned from nodes, from each one and in all while the process lives.
pub const LEARNED_COMMANDS: usize = 2048;
/// Most bytes that rows of learned commands take up while the process lives.
pub const LEARNED_BYTES: usize = 1 << 20;
/// Longest reply to COMMAND that is read, in bytes; that of a server with all of Redis's modules has about 500 KB.
pub const COMMAND_REPLY_BYTES: usize = 8 << 20;
/// Bytes of values that are carried at once from each node whose keys move, but for a single one that is larger.
pub const CARRIED_BYTES: usize = 4 << 20;
/// A larger value is not carried: its nodes would stand still for some tenths of a second, and it is held here.
pub const LARGEST_CARRIED_BYTES: usize = 128 << 20;
/// Keys that are carried at once.
pub const CARRIED_KEYS: usize = 64;
/// Keys that a node whose keys move is to look at for one `SCAN`.
pub const CARRIED_SCAN_COUNT: usize = 500;
/// Other Ringways that follow this one.
pub const FOLLOWERS: usize = 100;
/// After this time without a word of a follower no change is made that relies on it; it says something every two seconds.
pub const FOLLOWER_SILENCE: Duration = Duration::from_secs(6);
/// Followers that have left of which something is remembered, and for how long: what they had given up may still come to a
/// node.
pub const FOLLOWERS_LEFT: usize = 64;
/// See [`FOLLOWERS_LEFT`].
pub const FOLLOWERS_LEFT_TIME: Duration = Duration::from_secs(300);
/// Beyond twice the operation timeout, until all followers serve by a topology to whose nodes keys are to move; else the
/// change is taken back.
pub const FOLLOWERS_TIME: Duration = Duration::from_secs(2);
/// Longest inline command or header line, in bytes (Redis: `PROTO_INLINE_MAX_SIZE`).
pub const LINE_BYTES: usize = 64 * 1024;
/// Longest single argument, in bytes (Redis: default of `proto-max-bulk-len`).
pub const BULK_BYTES: u64 = 512 * 1024 * 1024;
/// Most arguments of one command (Redis: the largest multibulk length it accepts is `INT_MAX`).
pub const ARGUMENTS: i64 = i32::MAX as i64;
/// Most arguments before authentication (Redis 7).
pub const UNAUTHENTICATED_ARGUMENTS: i64 = 10;
/// Longest argument before authentication, in bytes (Redis 7).
pub const UNAUTHENTICATED_BULK_BYTES: u64 = 16_384;
