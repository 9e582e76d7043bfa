//! CONFIG SET and the settings by which a server is reached.

use super::Command;
use super::keys::is_word;
use crate::resp::Args;

/// Where a server listens and whom it lets in: Ringway itself reaches its nodes by these.
const ACCESS: [&str; 3] = ["requirepass", "port", "bind"];

/// The setting by which nodes are reached that a request would change, if there is one.
pub(crate) fn access_setting(command: &Command, args: &Args) -> Option<&'static str> {
    if command.full_name != "config|set" {
        return None;
    }
    let names = (2..args.len()).step_by(2).filter_map(|at| args.get(at));
    names.into_iter().find_map(|name| ACCESS.into_iter().find(|setting| is_word(name, setting)))
}
