//! `COMMAND DOCS`: summary, version and group of each command; redis-cli reads it for its hints.

use super::super::row::Group;
use super::{Entry, Known};
use crate::resp::{Args, Protocol, encode};

/// The commands named in the request, or all; names that do not work or exist are left out.
pub(super) fn docs(known: Known<'_>, args: &Args, protocol: Protocol, out: &mut Vec<u8>) {
    if args.len() <= 2 {
        encode::map(out, protocol, known.entries().count());
        known.entries().for_each(|one| entry(known, one, protocol, out));
        return;
    }
    let named = || args.iter().skip(2).filter_map(|name| known.find(name));
    encode::map(out, protocol, named().count());
    named().for_each(|one| entry(known, one, protocol, out));
}

/// One pair of the map: the full name and what is said about it.
fn entry(known: Known<'_>, one: Entry, protocol: Protocol, out: &mut Vec<u8>) {
    encode::bulk(out, one.full_name().as_bytes());
    let below = known.below(one);
    let has_below = below.clone().next().is_some();
    let (summary, since, group) = match one {
        Entry::Row(row) => (row.summary, row.since, row.group),
        Entry::Container(_) => ("Told of by the nodes", "", Group::Module),
    };
    // since when nodes do not tell
    let said = [("summary", summary), ("since", since), ("group", group.name())];
    let said = said.iter().filter(|(_, value)| !value.is_empty());
    encode::map(out, protocol, said.clone().count() + usize::from(has_below));
    for (name, value) in said {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    if has_below {
        encode::bulk(out, b"subcommands");
        encode::map(out, protocol, below.clone().count());
        below.for_each(|command| entry(known, Entry::Row(command), protocol, out));
    }
}
