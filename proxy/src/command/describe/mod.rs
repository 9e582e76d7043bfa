//! The replies of `COMMAND …` and `… HELP`, written from the table in the shape of Redis 7.0.
//!
//! The lists tell what works here: a command that Ringway refuses is absent, as it would be from a server that does
//! not have it. `COMMAND GETKEYS` works for all rows. In RESP3 the sets and maps are sets and maps.

mod docs;
mod getkeys;
mod help;
mod info;
mod list;

use super::route::Local;
use super::row::Command;
use super::table::{self, find_full, top_level};
use crate::resp::{Args, Protocol, encode};

/// Writes the reply of a request whose row is answered from the table
/// ([`Local::is_described`]); `args` is the whole request, `learned` the rows beyond the table, by name, `lacks` whether
/// nodes do not have one of the table's.
pub fn describe(
    local: Local,
    args: &Args,
    protocol: Protocol,
    learned: &[&'static Command],
    lacks: &dyn Fn(&Command) -> bool,
    out: &mut Vec<u8>,
) {
    let known = Known { learned, lacks };
    match local {
        Local::CommandAll => info::all(known, protocol, out),
        Local::CommandCount => encode::integer(out, known.entries().count() as i64),
        Local::CommandInfo if args.len() == 2 => info::all(known, protocol, out),
        Local::CommandInfo => info::some(known, args, protocol, out),
        Local::CommandDocs => docs::docs(known, args, protocol, out),
        Local::CommandGetKeys => getkeys::keys(args, out),
        Local::CommandGetKeysAndFlags => getkeys::keys_and_flags(args, protocol, out),
        Local::CommandList => list::list(known, args, out),
        Local::Help => help::help(args, out),
        _ => encode::error(out, "ERR not described by the command table"),
    }
}

/// The table and what nodes told of beyond it.
#[derive(Clone, Copy)]
struct Known<'a> {
    /// By name.
    learned: &'a [&'static Command],
    /// Whether a row of the table would run at nodes that do not have it.
    lacks: &'a dyn Fn(&Command) -> bool,
}

/// What a list shows.
#[derive(Clone, Copy)]
enum Entry {
    Row(&'static Command),
    /// Holds learned subcommands together; nodes tell no more of it.
    Container(&'static str),
}

impl Entry {
    fn full_name(self) -> &'static str {
        match self {
            Entry::Row(row) => row.full_name,
            Entry::Container(name) => name,
        }
    }
}

impl<'a> Known<'a> {
    /// The plain commands and containers that work.
    fn entries(self) -> impl Iterator<Item = Entry> + Clone + 'a {
        let plain = self.learned.iter().filter(|row| !row.full_name.contains('|')).map(|row| Entry::Row(row));
        self.of_table(top_level()).map(Entry::Row).chain(plain).chain(self.containers())
    }

    /// The learned ones; names that begin alike stand behind each other.
    fn containers(self) -> impl Iterator<Item = Entry> + Clone + 'a {
        let name = |row: &Command| row.full_name.split_once('|').map(|(name, _)| name);
        let first_of = move |at: usize| {
            let this = name(self.learned[at]).filter(|name| table::find(name.as_bytes()).is_none())?;
            let is_first = at == 0 || name(self.learned[at - 1]) != Some(this);
            is_first.then_some(Entry::Container(this))
        };
        (0..self.learned.len()).filter_map(first_of)
    }

    /// The subcommands of an entry that work.
    fn below(self, entry: Entry) -> impl Iterator<Item = &'static Command> + Clone + 'a {
        let (container, of_table) = match entry {
            Entry::Row(row) => (row.full_name, row.subcommands),
            Entry::Container(name) => (name, &[][..]),
        };
        let is_below =
            move |row: &&Command| row.full_name.split_once('|').is_some_and(|(name, _)| name == container);
        let learned = self.learned.iter().copied().filter(is_below);
        self.of_table(of_table).chain(learned)
    }

    /// The rows among these that work.
    fn of_table(self, rows: &'static [Command]) -> impl Iterator<Item = &'static Command> + Clone + 'a {
        rows.iter().filter(move |row| self.works(row))
    }

    fn works(self, row: &Command) -> bool {
        row.is_supported() && !(self.lacks)(row)
    }

    /// The entry of this name, with the container or without one.
    fn find(self, name: &[u8]) -> Option<Entry> {
        let row = find_full(name).filter(|row| self.works(row));
        let learned =
            || self.learned.iter().copied().find(|row| row.full_name.as_bytes().eq_ignore_ascii_case(name));
        let container =
            || self.containers().find(|entry| entry.full_name().as_bytes().eq_ignore_ascii_case(name));
        row.or_else(learned).map(Entry::Row).or_else(container)
    }
}

/// The subcommands of a container that work.
fn supported_below(command: &Command) -> impl Iterator<Item = &'static Command> + Clone {
    command.subcommands.iter().filter(|row| row.is_supported())
}
