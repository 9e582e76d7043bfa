//! Whether the keys that a SORT reads by pattern lie on its node: `SORT list BY weight_* GET object_*->name` puts each
//! element where the `*` stands.
//!
//! With one node they do. With several, a pattern tells where its keys lie when its hash tag ends before the `*`
//! (`{user:7}:weight_*`): whatever the element, the hashed part is that of the tag. Behind the `*` it would not do, as an
//! element may bring braces of its own.

use crate::command::{self, Command, Keys};
use crate::error;
use crate::resp::Args;
use crate::topology::{NodeIndex, Topology};

const NO_TAG: &str = "ERR the patterns of SORT need a hash tag before their *, such as {tag}:weight_*, because the keys \
                      that they read may lie on other nodes";

const MOVING: &str = "ERR the patterns of SORT are refused while keys move to other nodes, because those that they read \
                      may be on their way; GET /v1/movement tells when that is over";

/// Whether all keys that this command reads by pattern lie on `node`; true for every command but SORT and SORT_RO.
///
/// # Errors
/// The reply line without its leading `-`.
#[inline]
pub(super) fn patterns_lie_on(
    topology: &Topology,
    command: &Command,
    args: &Args<'_>,
    node: NodeIndex,
) -> Result<(), String> {
    match command.keys {
        Keys::Sort { .. } if topology.nodes().len() > 1 || topology.former().is_some() => {
            all_lie_on(topology, command, args, node)
        }
        _ => Ok(()),
    }
}

fn all_lie_on(
    topology: &Topology,
    command: &Command,
    args: &Args<'_>,
    node: NodeIndex,
) -> Result<(), String> {
    let mut outcome = Ok(());
    command::sort_patterns(command, args, |pattern| {
        if outcome.is_ok() {
            outcome = pattern_lies_on(topology, pattern, node);
        }
    });
    outcome
}

fn pattern_lies_on(topology: &Topology, pattern: &[u8], node: NodeIndex) -> Result<(), String> {
    if topology.former().is_some() {
        return Err(MOVING.into());
    }
    let before = pattern.split(|byte| *byte == b'*').next().unwrap_or_default();
    let tag = topology.ring().hashed_part(before);
    if tag.len() == before.len() {
        return Err(NO_TAG.into());
    }
    let owner = topology.owner(before).home();
    if owner == node { Ok(()) } else { Err(error::CROSSSLOT.into()) }
}
