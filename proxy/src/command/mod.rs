//! What a command is: one table of all commands, and what can be read from it.
//!
//! ```text
//! args ──► resolve ──► row of the table ──► key_positions ──► (route decides the node)
//!                          │
//!                          └──► describe (COMMAND …), support_table_markdown (README)
//! ```
//!
//! All facts about a command stand in one row (`table/`, one file per group). Nothing here does IO or knows a node.
//! To add a command, add its row; the tests compare every row with a real server.

mod access;
mod bits;
mod build;
mod describe;
mod key_error;
mod keys;
mod learned;
mod resolve;
mod route;
mod row;
mod specs;
mod support;
mod table;
mod uses;

pub(crate) use access::access_setting;
pub use bits::{Categories, Flags, KeyUse};
pub use describe::describe;
pub use key_error::KeyError;
pub use keys::{blocks, key_positions, timeout_position};
pub(crate) use keys::{first_sort_pattern, integer, is_word, names_unknown_database, sort_patterns};
pub(crate) use learned::{Learned, LearnedCommands};
pub use resolve::{ResolveError, resolve};
pub use route::{AclCommand, ClientCommand, Computed, Join, Local, Route, SubscriptionKind, Transaction};
pub use row::{Command, CommandId, Group, Keys, NumKeysRule};
pub use specs::{Begin, Find, KeySpec};
pub use support::support_table_markdown;
pub(crate) use support::way;
pub use table::{all, by_id, command_count, find_full, guarded, top_level};
pub(crate) use uses::KeyUses;

#[cfg(test)]
mod test_args {
    //! Requests for unit tests.

    use crate::resp::{Args, Span, encode};

    pub(super) struct Request {
        frame: Vec<u8>,
        spans: Vec<Span>,
    }

    impl Request {
        pub(super) fn args(&self) -> Args<'_> {
            Args::new(&self.frame, &self.spans)
        }
    }

    pub(super) fn request(parts: &[&[u8]]) -> Request {
        let (mut frame, mut spans) = (Vec::new(), Vec::new());
        encode::array(&mut frame, parts.len());
        for part in parts {
            encode::bulk(&mut frame, part);
            let end = frame.len() as u32 - 2;
            spans.push(Span { start: end - part.len() as u32, end });
        }
        Request { frame, spans }
    }
}
