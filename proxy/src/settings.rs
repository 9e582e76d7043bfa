//! What a proxy is started with: plain data, no file format, no argv.
//!
//! The binary fills it from YAML, a program that embeds the proxy fills it by hand. A [`Secret`] never
//! shows itself in a log or a debug print (law I11).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringway_ring::RingConfig;

use crate::acl::Users;
use crate::command::Command;
use crate::limits::Limits;
pub use crate::net::tls::{Authorities, Identity, NodeTls, ServerTls, TlsError, Verify};

/// A password: readable by those who need it, shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The password itself, for the one place that sends or compares it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// How the proxy presents itself to a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// User name for `AUTH user password`; `None` is Redis's default user.
    pub username: Option<String>,
    /// Password; `None` sends no `AUTH` at all.
    pub password: Option<Secret>,
}

/// One Redis server as the operator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// What the ring hashes; stays when the host moves.
    pub name: String,
    /// As [`crate::topology::NodeAddress`] reads it.
    pub address: String,
    /// Share of the ring relative to the other nodes, 1..=1000.
    pub weight: u32,
    /// What the proxy presents to this node.
    pub credentials: Credentials,
}

impl NodeSpec {
    /// A node of weight 1 without credentials.
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Self { name: name.into(), address: address.into(), weight: 1, credentials: Credentials::default() }
    }
}

/// A wished topology: the placement and the nodes. [`crate::topology::Topology::build`] turns it into a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologySpec {
    /// Placement, points, seed and hash tag.
    pub ring: RingConfig,
    /// The nodes in the operator's order.
    pub nodes: Vec<NodeSpec>,
}

/// Where keys come from that are on their way to the nodes of another topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The topology that they leave.
    pub former: TopologySpec,
    /// Whether a value that is still there is the right one where its new node has one too; else the new node's is. The
    /// former side is right when keys set out, the new one when they are called back.
    pub former_is_right: bool,
}

/// How long the proxy waits for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection to a node, its greeting included.
    pub connect: Duration,
    /// For a node with commands in flight to send anything at all.
    pub operation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_millis(500), operation: Duration::from_secs(1) }
    }
}

/// What happens to commands that only read, whose keys lie on several nodes and whose reply could be computed from what
/// each node has: SUNION, ZINTER, PFCOUNT and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MultiKey {
    /// They are refused, as everything else over several nodes that cannot be split.
    #[default]
    Refuse,
    /// Their reply is computed from what each node answers at a moment of its own, so that it is not atomic.
    Emulate,
}

impl MultiKey {
    /// All values, in the order in which they are listed for users.
    pub const ALL: [MultiKey; 2] = [MultiKey::Refuse, MultiKey::Emulate];

    /// The word in the configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            MultiKey::Refuse => "refuse",
            MultiKey::Emulate => "emulate",
        }
    }
}

/// Who says where the masters are that nodes with an address like `redis+sentinel://NAME` stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// Each as [`crate::topology::NodeAddress`] reads it, on the network; all are asked.
    pub addresses: Vec<String>,
    /// What the proxy presents to them.
    pub credentials: Credentials,
}

/// Where users are kept. Both may block.
pub trait UserFile: fmt::Debug + Send + Sync {
    /// Reads them.
    ///
    /// # Errors
    /// Why that cannot be done, in words for the one who asked; no secret.
    fn load(&self) -> Result<Users, String>;

    /// Keeps these in place of what was there, so that they are what is read. `last` is what was read or written last: if
    /// there is something else now, somebody has changed it and does not expect to lose that.
    ///
    /// # Errors
    /// As [`UserFile::load`].
    fn save(&self, users: &Users, last: &Users) -> Result<(), String>;
}

/// A unix socket to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixSocket {
    /// Its file; absolute.
    pub path: PathBuf,
    /// The file's rights (who may write may connect); `None` for what the umask leaves of all.
    pub mode: Option<u32>,
}

/// A place where clients connect over TLS.
#[derive(Debug, Clone)]
pub struct TlsSocket {
    /// `host:port`; port 0 takes a free one.
    pub listen: String,
    /// What they are shown, and must show.
    pub tls: ServerTls,
}

/// How answers are kept for keys that are read again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NearCacheSettings {
    /// Bytes of memory for all that is kept, over all workers.
    pub memory_bytes: usize,
    /// The longest that an answer is kept; so late is seen what a node could not tell of.
    pub max_age: Duration,
    /// The longest reply that is kept, in bytes.
    pub value_bytes: usize,
    /// How often a key is read within a moment (a tenth of a second), by the clients of one worker, before an answer is
    /// kept. To keep one costs the node two commands, which must pay within `max_age`.
    pub hot_reads: u8,
}

impl Default for NearCacheSettings {
    fn default() -> Self {
        Self { memory_bytes: 16 << 20, max_age: Duration::from_secs(1), value_bytes: 64 << 10, hot_reads: 8 }
    }
}

/// Everything a proxy needs to start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients connect, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// A unix socket where clients connect as well.
    pub unix_socket: Option<UnixSocket>,
    /// Where clients connect over TLS.
    pub tls: Option<TlsSocket>,
    /// How nodes are connected to whose address begins with `rediss://`; without it there can be none.
    pub node_tls: Option<NodeTls>,
    /// Who is asked where masters are; without it no node can have the name of one as its address.
    pub sentinels: Option<Sentinels>,
    /// Whether another process of the same user may listen there too, so that one can replace the other.
    pub reuse_port: bool,
    /// Workers; 0 is one per core.
    pub threads: usize,
    /// The first topology.
    pub topology: TopologySpec,
    /// Where its keys come from, if the movement of a change was not at its end when the process before ended.
    pub origin: Option<Origin>,
    /// Why no change is taken and no key is moved at first, until [`crate::control::Control::hold`] says otherwise.
    pub held: Option<String>,
    /// The epoch of the first topology; more than 1 for one that was kept over a restart, so that epochs never go
    /// back.
    pub first_epoch: u64,
    /// Waiting for nodes.
    pub timeouts: Timeouts,
    /// Bounds on memory and waiting.
    pub limits: Limits,
    /// What clients must present; `None` lets everybody in.
    pub password: Option<Secret>,
    /// Who may connect and what each may do; `None` for the default user alone, with `password`.
    pub users: Option<Users>,
    /// Where users are kept, for `ACL LOAD` and `ACL SAVE`.
    pub users_file: Option<Arc<dyn UserFile>>,
    /// Names of commands that are refused unless they stand here, letters in any case: those of
    /// [`crate::command::guarded`]. Other names change nothing.
    pub allowed_commands: Vec<String>,
    /// Commands that read keys of several nodes.
    pub multi_key: MultiKey,
    /// How answers are kept for keys that are read again and again; `None` for not at all.
    pub near_cache: Option<NearCacheSettings>,
}

impl Settings {
    /// Whether a command that is guarded may run.
    pub(crate) fn allows(&self, command: &Command) -> bool {
        command.guarded.is_none()
            || self.allowed_commands.iter().any(|name| name.eq_ignore_ascii_case(command.full_name))
    }

    /// The users that a proxy starts with.
    pub fn first_users(&self) -> Users {
        self.users.clone().unwrap_or_else(|| Users::open(self.password.as_ref()))
    }

    /// Defaults for everything but the nodes, listening on a free loopback port.
    pub fn new(nodes: Vec<NodeSpec>) -> Self {
        Self {
            listen: "127.0.0.1:0".into(),
            unix_socket: None,
            tls: None,
            node_tls: None,
            sentinels: None,
            reuse_port: false,
            threads: 0,
            topology: TopologySpec { ring: RingConfig::default(), nodes },
            origin: None,
            held: None,
            first_epoch: 1,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            password: None,
            users: None,
            users_file: None,
            allowed_commands: Vec::new(),
            multi_key: MultiKey::default(),
            near_cache: None,
        }
    }
}
