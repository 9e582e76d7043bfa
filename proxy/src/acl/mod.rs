//! Users and their rights, in the words of Redis's access control lists (version 7.0).
//!
//! ```text
//! lines, ACL SETUSER ──► Users ──► User ──► selectors: commands, keys, channels
//!                          │         └── may: one request of one user
//!                          └── let_in: a name and a password
//! ```
//!
//! [`Users`] never changes: who changes something makes another one (`client/acl.rs` has all workers follow). Rights are
//! Ringway's own. Nodes know none of its users, so that two things differ from one server:
//!
//! - A script runs at its node as Ringway, which may do everything there. Users with limits may run scripts and functions
//!   only if these commands are named one by one (`+eval`): see `selector::runs_scripts`.
//! - A command that only nodes know (of a module) can be named before any node has told of it, if its name has a dot.
//!
//! No IO.

mod denied;
mod log;
mod rule;
mod selector;
mod state;
#[cfg(test)]
mod tests;
mod user;
mod users;

pub(crate) use denied::{Denied, Missing};
pub(crate) use log::{Context, DeniedLog, Entry, Reason};
pub(crate) use rule::random_digits;
pub(crate) use state::AccessControl;
pub use state::Reloaded;
pub(crate) use user::User;
pub use users::{LineProblem, Users};

/// Name of the user that everybody is who does not say otherwise.
pub(crate) const DEFAULT: &[u8] = b"default";
