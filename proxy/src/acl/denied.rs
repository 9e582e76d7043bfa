//! A request that its user may not make, and what is said of it.

use super::selector::Against;
use crate::command::{Command, is_word};
use crate::resp::Args;

/// See the head of this file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Denied {
    pub(super) command: &'static Command,
    pub(super) against: Against,
}

/// What kind of right is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Command,
    Key,
    Channel,
}

impl Denied {
    /// What kind of right is missing.
    pub(crate) fn missing(self) -> Missing {
        match self.against {
            Against::Command | Against::Script => Missing::Command,
            Against::Key(_) | Against::Pattern(_) => Missing::Key,
            Against::Channel(_) => Missing::Channel,
        }
    }

    /// The reply line without its leading `-`, in Redis's words; it names no key and no channel (law I11).
    pub(crate) fn text(self, args: &Args<'_>) -> String {
        let name = self.command.full_name;
        match self.against {
            Against::Command => format!("NOPERM this user has no permissions to run the '{name}' command"),
            Against::Script => format!(
                "NOPERM this user has no permissions to run the '{name}' command: at its node a script may do what the \
                 user may not; the rule +{name} allows it nevertheless"
            ),
            Against::Key(_) => {
                "NOPERM this user has no permissions to access one of the keys used as arguments".into()
            }
            Against::Pattern(at) => {
                let is_by = args.get(at - 1).is_some_and(|word| is_word(word, "by"));
                let option = if is_by { "BY" } else { "GET" };
                format!("ERR {option} option of SORT denied due to insufficient ACL permissions.")
            }
            Against::Channel(_) => {
                "NOPERM this user has no permissions to access one of the channels used as arguments".into()
            }
        }
    }

    /// What ACL DRYRUN says of a request.
    pub(crate) fn dry_run_text(self, args: &Args<'_>) -> Vec<u8> {
        let what = |at: usize, kind: &str| {
            let arg = args.get(at).unwrap_or_default();
            [b"This user has no permissions to access the '", arg, b"' ", kind.as_bytes()].concat()
        };
        match self.against {
            Against::Command | Against::Script => {
                let name = self.command.full_name;
                format!("This user has no permissions to run the '{name}' command").into_bytes()
            }
            Against::Key(at) | Against::Pattern(at) => what(at, "key"),
            Against::Channel(at) => what(at, "channel"),
        }
    }

    /// What was asked for: the command's name, the key or the channel.
    pub(crate) fn object<'a>(self, args: &Args<'a>) -> &'a [u8] {
        match self.against {
            Against::Command | Against::Script => self.command.full_name.as_bytes(),
            Against::Key(at) | Against::Pattern(at) | Against::Channel(at) => {
                args.get(at).unwrap_or_default()
            }
        }
    }
}
