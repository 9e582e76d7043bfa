//! Where a command goes: one snapshot of the topology, asked once per command (law I8).
//!
//! [`place`] looks at a command's keys and says: one node, several nodes (to be split), or refused. It neither
//! knows a connection nor a client.

mod alike;
pub(crate) mod arrived;
pub(crate) mod counting;
pub(crate) mod emulate;
pub(crate) mod info;
pub(crate) mod join;
pub(crate) mod keyspace;
mod pieces;
pub(crate) mod scan;
pub(crate) mod servers;
mod sort;
pub(crate) mod together;

use sha1::{Digest, Sha1};

use crate::command::{self, Command, Computed, Keys, Route};
use crate::error;
use crate::resp::Args;
use crate::topology::{NodeIndex, Owner, Topology};
use arrived::Arrived;

/// Where the keys of a command lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placed {
    /// All on one node: the frame goes there as it is.
    Node(NodeIndex),
    /// On several nodes; the owner of each key is in [`Scratch::owners`].
    Split(command::Join),
    /// On several nodes, for a command whose reply can be computed if the settings ask for it, and is refused if not;
    /// the owner of each key is in [`Scratch::owners`].
    Computed(Computed),
    /// Where its keys are to be, but some of them are on their way: [`arrived::travellers`] names them.
    OnTheWay,
    /// Nothing is executed; the reply line without its leading `-`.
    Refused(String),
}

/// Memory that one worker's commands share, so that placing allocates nothing.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Argument positions of the keys.
    pub(crate) keys: Vec<u32>,
    /// The owner of each key, in the order of the keys.
    pub(crate) owners: Vec<NodeIndex>,
    /// Keys that were on their way and have arrived.
    pub(crate) arrived: Arrived,
    /// How many databases there are.
    databases: u32,
}

impl Scratch {
    /// For commands that may name databases below `databases`.
    pub(crate) fn new(databases: u32) -> Self {
        Self { keys: Vec::new(), owners: Vec::new(), arrived: Arrived::default(), databases }
    }

    /// Gives memory back after an unusually long command.
    pub(crate) fn shrink(&mut self) {
        const KEEP: usize = 64 * 1024;
        if self.keys.capacity() > KEEP {
            (self.keys, self.owners) = Default::default();
        }
    }
}

/// Places a command whose route goes to nodes.
#[inline]
pub(crate) fn place(
    topology: &Topology,
    command: &Command,
    args: &Args<'_>,
    scratch: &mut Scratch,
) -> Placed {
    if let Keys::One(at) = command.keys
        && let Some(key) = args.get(at)
    {
        return match topology.owner(key) {
            Owner::Node(node) => Placed::Node(node),
            Owner::Moving { to, .. } if scratch.arrived.has(topology, key) => Placed::Node(to),
            Owner::Moving { .. } => Placed::OnTheWay,
        };
    }
    place_many(topology, command, args, scratch)
}

fn place_many(topology: &Topology, command: &Command, args: &Args<'_>, scratch: &mut Scratch) -> Placed {
    if command::names_unknown_database(command, args, scratch.databases) {
        return Placed::Refused(error::NO_SUCH_DATABASE.into());
    }
    if let Err(error) = command::key_positions(command, args, &mut scratch.keys) {
        return Placed::Refused(error.to_string());
    }
    scratch.owners.clear();
    if topology.former().is_some() {
        return place_moving(topology, command, args, scratch);
    }
    for &position in &scratch.keys {
        scratch.owners.push(topology.home(args.get(position as usize).unwrap_or_default()));
    }
    place_owned(topology, command, args, &scratch.owners)
}

/// Places a command while keys are on their way; its keys are known.
#[cold]
fn place_moving(topology: &Topology, command: &Command, args: &Args<'_>, scratch: &mut Scratch) -> Placed {
    let mut on_the_way = false;
    for &position in &scratch.keys {
        let key = args.get(position as usize).unwrap_or_default();
        let owner = topology.owner(key);
        on_the_way |= matches!(owner, Owner::Moving { .. }) && !scratch.arrived.has(topology, key);
        scratch.owners.push(owner.home());
    }
    match place_owned(topology, command, args, &scratch.owners) {
        // what is refused need not wait for its keys
        Placed::Refused(why) => Placed::Refused(why),
        _ if on_the_way => Placed::OnTheWay,
        placed => placed,
    }
}

/// Places a command whose keys have these owners.
#[inline]
fn place_owned(topology: &Topology, command: &Command, args: &Args<'_>, owners: &[NodeIndex]) -> Placed {
    let Some(&first) = owners.first() else {
        return Placed::Node(place_keyless(topology, command, args));
    };
    if owners.iter().all(|owner| *owner == first) {
        return match sort::patterns_lie_on(topology, command, args, first) {
            Ok(()) => Placed::Node(first),
            Err(why) => Placed::Refused(why),
        };
    }
    match command.route {
        Route::Split(join) => Placed::Split(join),
        _ => match command.computed {
            Some(computed) => Placed::Computed(computed),
            None => Placed::Refused(error::CROSSSLOT.into()),
        },
    }
}

/// A script without keys may run anywhere; the same script always runs on the same node, whether it is called by
/// its text or by its SHA-1, so that a script that was loaded by running it is found again.
fn place_keyless(topology: &Topology, command: &Command, args: &Args<'_>) -> NodeIndex {
    let what = args.get(1).unwrap_or_default();
    let name = match command.name {
        "eval" | "eval_ro" => hex(&Sha1::digest(what)),
        _ => what.to_ascii_lowercase(),
    };
    topology.owner(&name).home()
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).map_or(b'0', |digit| digit as u8);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_called_as_redis_calls_it() {
        // the SHA-1 that `SCRIPT LOAD "return 1"` answers
        assert_eq!(hex(&Sha1::digest(b"return 1")), b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
