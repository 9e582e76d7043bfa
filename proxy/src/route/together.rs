//! Whether several commands lie on one node: what a transaction asks of every command that it queues. Keys on their way
//! count as being where they go to; that they have arrived is for whoever sends the commands to see to.

use super::{Scratch, place_keyless, sort};
use crate::command::{self, Command, Keys, NumKeysRule};
use crate::error;
use crate::resp::Args;
use crate::topology::{NodeIndex, Topology};

/// Why a command cannot stand in a transaction, in words that follow "refused inside MULTI:".
pub(crate) const ALL_NODES: &str = "it concerns all nodes, a transaction runs on one";

/// The node of the commands so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Together {
    /// Where the keys lie; the first one decides.
    fixed: Option<NodeIndex>,
    /// Where the first script without keys would run outside of a transaction, and be known from then on.
    preferred: Option<NodeIndex>,
}

impl Together {
    /// The node that the keys decide; `None` while there are none.
    pub(crate) fn fixed(&self) -> Option<NodeIndex> {
        self.fixed
    }

    /// The node to take; `None` when any will do.
    pub(crate) fn node(&self) -> Option<NodeIndex> {
        self.fixed.or(self.preferred)
    }

    /// Adds a command, whether or not it would wait for something outside of a transaction.
    ///
    /// # Errors
    /// The reply line without its leading `-`: the keys lie elsewhere, or cannot be told. Nothing is added.
    pub(crate) fn add(
        &mut self,
        topology: &Topology,
        command: &Command,
        args: &Args<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), String> {
        let mut fixed = self.fixed;
        let mut lies_with = |name: &[u8]| {
            let node = topology.owner(name).home();
            if *fixed.get_or_insert(node) == node { Ok(()) } else { Err(error::CROSSSLOT.to_owned()) }
        };
        // one node has all keys where it is the only one, and none is on its way there
        if command.concerns_all_keys() && (topology.nodes().len() > 1 || topology.former().is_some()) {
            return Err(barred(command, ALL_NODES));
        }
        if is_publish(command) {
            lies_with(args.get(1).unwrap_or_default())?;
        } else {
            if command::names_unknown_database(command, args, scratch.databases) {
                return Err(error::NO_SUCH_DATABASE.into());
            }
            command::key_positions(command, args, &mut scratch.keys).map_err(|error| error.to_string())?;
            let mut keys = scratch.keys.iter().map(|&at| args.get(at as usize).unwrap_or_default());
            keys.try_for_each(&mut lies_with)?;
            if let Some(node) = fixed {
                sort::patterns_lie_on(topology, command, args, node)?;
            }
            let is_script = matches!(
                command.keys,
                Keys::NumKeys { rule: NumKeysRule::Script | NumKeysRule::Function, .. }
            );
            if is_script && scratch.keys.is_empty() && self.preferred.is_none() {
                self.preferred = Some(place_keyless(topology, command, args));
            }
            scratch.shrink();
        }
        self.fixed = fixed;
        Ok(())
    }
}

/// The reply line without its leading `-` to a command that cannot stand between MULTI and EXEC.
pub(crate) fn barred(command: &Command, why: &str) -> String {
    let name = command.full_name.to_ascii_uppercase().replace('|', " ");
    format!("ERR {name} is refused inside MULTI: {why}")
}

/// Whether it names a channel, which is placed as a key of that name would be.
pub(crate) fn is_publish(command: &Command) -> bool {
    command.is_supported() && matches!(command.full_name, "publish" | "spublish")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Span;
    use crate::resp::encode;
    use crate::settings::{NodeSpec, TopologySpec};
    use crate::topology::Owner;
    use ringway_ring::RingConfig;

    fn topology() -> Topology {
        let nodes = vec![NodeSpec::new("a", "h:1"), NodeSpec::new("b", "h:2")];
        Topology::build(1, TopologySpec { ring: RingConfig::default(), nodes }).unwrap()
    }

    fn add(together: &mut Together, topology: &Topology, parts: &[&str]) -> Result<(), String> {
        let (mut frame, mut spans) = (Vec::new(), Vec::new());
        encode::array(&mut frame, parts.len());
        for part in parts {
            encode::bulk(&mut frame, part.as_bytes());
            let end = frame.len() as u32 - 2;
            spans.push(Span { start: end - part.len() as u32, end });
        }
        let args = Args::new(&frame, &spans);
        let command = command::resolve(&args).unwrap();
        together.add(topology, command, &args, &mut Scratch::new(16))
    }

    fn key_on(topology: &Topology, node: u16) -> String {
        let on = |key: &String| topology.owner(key.as_bytes()) == Owner::Node(NodeIndex(node));
        (0..).map(|n| format!("key:{n}")).find(on).unwrap()
    }

    #[test]
    fn the_first_key_decides_and_another_node_is_refused() {
        let topology = topology();
        let (here, there) = (key_on(&topology, 1), key_on(&topology, 0));
        let mut together = Together::default();
        add(&mut together, &topology, &["PING"]).unwrap();
        assert_eq!(together.node(), None);
        add(&mut together, &topology, &["SET", &here, "1"]).unwrap();
        assert_eq!(together.fixed(), Some(NodeIndex(1)));
        for parts in [vec!["GET", &there], vec!["MGET", &here, &there], vec!["BLPOP", &there, "0"]] {
            assert_eq!(add(&mut together, &topology, &parts).unwrap_err(), error::CROSSSLOT, "{parts:?}");
        }
        add(&mut together, &topology, &["MGET", &here, &here]).unwrap();
        add(&mut together, &topology, &["XREAD", "BLOCK", "0", "STREAMS", &here, "$"]).unwrap();
        assert_eq!(together.node(), Some(NodeIndex(1)));
    }

    #[test]
    fn a_refused_command_decides_nothing() {
        let topology = topology();
        let (here, there) = (key_on(&topology, 1), key_on(&topology, 0));
        let mut together = Together::default();
        assert_eq!(add(&mut together, &topology, &["MGET", &here, &there]).unwrap_err(), error::CROSSSLOT);
        assert_eq!(together, Together::default());
    }

    #[test]
    fn a_script_without_keys_goes_where_it_is_known_unless_keys_decide() {
        let topology = topology();
        let mut together = Together::default();
        add(&mut together, &topology, &["EVAL", "return 1", "0"]).unwrap();
        let alone = together.node();
        assert!(alone.is_some() && together.fixed().is_none());
        let other = 1 - alone.unwrap().0;
        add(&mut together, &topology, &["GET", &key_on(&topology, other)]).unwrap();
        assert_eq!(together.node(), Some(NodeIndex(other)));
    }
}
