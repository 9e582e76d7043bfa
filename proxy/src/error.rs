//! What a client is told when its command fails in the proxy or on the way to a node.
//!
//! One mapping to reply lines for all of it (law I4): NOTSENT means never ran, UNKNOWN means once or never.

use crate::settings::NodeSpec;

/// What is certain about a command that got no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It certainly did not run.
    NotSent,
    /// Its last byte was handed to the kernel: it ran once or never, a read that was sent again perhaps twice.
    Unknown,
}

impl Fate {
    /// First word of the reply.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Fate::NotSent => "NOTSENT",
            Fate::Unknown => "UNKNOWN",
        }
    }
}

/// A command that a node did not answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure<'a> {
    pub(crate) fate: Fate,
    pub(crate) node: &'a NodeSpec,
    pub(crate) why: &'a str,
}

impl Failure<'_> {
    /// The reply line without its leading `-`.
    pub(crate) fn text(&self) -> String {
        format!("{} node '{}' ({}): {}", self.fate.code(), self.node.name, self.node.address, self.why)
    }
}

/// Keys of one command on several nodes.
pub(crate) const CROSSSLOT: &str = "CROSSSLOT Keys in request don't hash to the same node";
/// A database that there is not.
pub(crate) const NO_SUCH_DATABASE: &str = "ERR DB index is out of range";
/// A command before `AUTH`.
pub(crate) const NOAUTH: &str = "NOAUTH Authentication required.";
/// A wrong password.
pub(crate) const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
/// `AUTH` where none is needed, in Redis's words.
pub(crate) const NO_PASSWORD_SET: &str = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
/// One client too many.
pub(crate) const MAX_CLIENTS: &str = "ERR max number of clients reached";
