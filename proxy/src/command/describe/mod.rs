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
use super::table::top_level;
use crate::resp::{Args, Protocol, encode};

/// Writes the reply of a request whose row is answered from the table
/// ([`Local::is_described`]); `args` is the whole request.
pub fn describe(local: Local, args: &Args, protocol: Protocol, out: &mut Vec<u8>) {
    match local {
        Local::CommandAll => info::all(protocol, out),
        Local::CommandCount => encode::integer(out, supported().count() as i64),
        Local::CommandInfo if args.len() == 2 => info::all(protocol, out),
        Local::CommandInfo => info::some(args, protocol, out),
        Local::CommandDocs => docs::docs(args, protocol, out),
        Local::CommandGetKeys => getkeys::keys(args, out),
        Local::CommandGetKeysAndFlags => getkeys::keys_and_flags(args, protocol, out),
        Local::CommandList => list::list(args, out),
        Local::Help => help::help(args, out),
        _ => encode::error(out, "ERR not described by the command table"),
    }
}

/// The plain commands and containers that work.
fn supported() -> impl Iterator<Item = &'static Command> + Clone {
    top_level().iter().filter(|row| row.is_supported())
}

/// The subcommands of a container that work.
fn supported_below(command: &Command) -> impl Iterator<Item = &'static Command> + Clone {
    command.subcommands.iter().filter(|row| row.is_supported())
}
