//! What a request does with each of its keys.

use super::bits::KeyUse;
use super::keys::is_word;
use super::learned;
use super::row::{Command, Keys};
use crate::resp::Args;

/// What happens to the keys that [`key_positions`](super::key_positions) tells of one request, in their order.
#[derive(Debug)]
pub(crate) struct KeyUses {
    first: KeyUse,
    others: KeyUse,
    /// Of each, for a command that the table does not have; what nodes do not say of a key is nothing.
    each: Vec<KeyUse>,
}

impl KeyUses {
    /// Of a request for this command.
    pub(crate) fn of(command: &Command, args: &Args) -> Self {
        let [first, second, third] = command.key_uses;
        let (first, others, each) = match command.keys {
            Keys::Specs(specs) => (KeyUse::EMPTY, KeyUse::EMPTY, learned::key_uses(specs, args)),
            _ if first.contains(KeyUse::VARIABLE) => {
                let uses = variable(command, args, first);
                (uses, uses, Vec::new())
            }
            Keys::Migrate => (first, first, Vec::new()),
            Keys::Sort { .. } => (first, third, Vec::new()),
            _ => (first, if second.is_empty() { first } else { second }, Vec::new()),
        };
        Self { first, others, each }
    }

    /// What happens to the `nth` of them.
    pub(crate) fn nth(&self, nth: usize) -> KeyUse {
        let usual = if nth == 0 { self.first } else { self.others };
        self.each.get(nth).copied().unwrap_or(usual)
    }
}

/// SET only replaces unless it has GET; BITFIELD only reads when all it does is GET. Words are read as the node reads them.
fn variable(command: &Command, args: &Args, uses: KeyUse) -> KeyUse {
    let is_get = |at: usize| args.get(at).is_some_and(|arg| is_word(arg, "get"));
    let len = args.len();
    match command.name {
        "set" if !(3..len).any(is_get) => KeyUse::OW.with(KeyUse::UPDATE),
        "bitfield" if (2..len).step_by(3).all(is_get) => KeyUse::RO.with(KeyUse::ACCESS),
        _ => uses.without(KeyUse::VARIABLE),
    }
}
