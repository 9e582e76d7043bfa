//! `… HELP` of a container: its subcommands that work, one summary each.

use super::super::table::find;
use super::supported_below;
use crate::resp::{Args, encode};

/// An array of lines, as Redis answers; the container is the request's first argument.
pub(super) fn help(args: &Args, out: &mut Vec<u8>) {
    let Some(container) = args.get(0).and_then(find) else {
        return encode::error(out, "ERR unknown command");
    };
    let below = supported_below(container);
    encode::array(out, 1 + 2 * below.clone().count());
    let name = container.name.to_uppercase();
    encode::simple(out, &format!("{name} <subcommand> [<arg> ...]. Subcommands are:"));
    for row in below {
        encode::simple(out, &row.name.to_uppercase());
        encode::simple(out, &format!("    {}.", row.summary));
    }
}
