//! `COMMAND DOCS`: summary, version and group of each command; redis-cli reads it for its hints.

use super::super::row::Command;
use super::super::table::find_full;
use super::{supported, supported_below};
use crate::resp::{Args, Protocol, encode};

/// The commands named in the request, or all; names that do not work or exist are left out.
pub(super) fn docs(args: &Args, protocol: Protocol, out: &mut Vec<u8>) {
    if args.len() <= 2 {
        encode::map(out, protocol, supported().count());
        supported().for_each(|command| entry(command, protocol, out));
        return;
    }
    let named = || args.iter().skip(2).filter_map(find_full).filter(|command| command.is_supported());
    encode::map(out, protocol, named().count());
    named().for_each(|command| entry(command, protocol, out));
}

/// One pair of the map: the full name and what is said about it.
fn entry(command: &Command, protocol: Protocol, out: &mut Vec<u8>) {
    encode::bulk(out, command.full_name.as_bytes());
    let below = supported_below(command);
    let has_below = below.clone().next().is_some();
    encode::map(out, protocol, 3 + usize::from(has_below));
    for (name, value) in
        [("summary", command.summary), ("since", command.since), ("group", command.group.name())]
    {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    if has_below {
        encode::bulk(out, b"subcommands");
        encode::map(out, protocol, below.clone().count());
        below.for_each(|command| entry(command, protocol, out));
    }
}
