//! `COMMAND GETKEYS` and `COMMAND GETKEYSANDFLAGS`: the keys of a whole command, given behind the two words.

use super::super::bits::Flags;
use super::super::keys::key_positions;
use super::super::row::{Command, Keys};
use super::super::table::{find, find_below};
use super::super::uses::KeyUses;
use super::info::key_uses;
use crate::resp::{Args, Protocol, Span, encode};

/// The names of the keys.
pub(super) fn keys(args: &Args, out: &mut Vec<u8>) {
    answer(args, out, |_, _, key, out| encode::bulk(out, key));
}

/// The names of the keys, each with what happens to it.
pub(super) fn keys_and_flags(args: &Args, protocol: Protocol, out: &mut Vec<u8>) {
    answer(args, out, |asked, nth, key, out| {
        encode::array(out, 2);
        encode::bulk(out, key);
        key_uses(asked.uses.nth(nth), protocol, out);
    });
}

/// The command that was asked about and its arguments.
struct Asked<'a> {
    command: &'static Command,
    args: Args<'a>,
    uses: KeyUses,
}

fn answer(args: &Args, out: &mut Vec<u8>, mut write: impl FnMut(&Asked, usize, &[u8], &mut Vec<u8>)) {
    let (frame, spans) = behind_two_words(args);
    let asked = match Asked::new(Args::new(&frame, &spans)) {
        Ok(asked) => asked,
        Err(text) => return encode::error(out, text),
    };
    let mut positions = Vec::new();
    let outcome = key_positions(asked.command, &asked.args, &mut positions);
    if outcome.is_err() && positions.is_empty() && !asked.command.flags.contains(Flags::NO_MANDATORY_KEYS) {
        return encode::error(out, "ERR Invalid arguments specified for command");
    }
    encode::array(out, positions.len());
    for (nth, at) in positions.iter().enumerate() {
        let key = asked.args.get(*at as usize).unwrap_or_default();
        write(&asked, nth, key, out);
    }
}

/// The arguments from the third on as a request of their own.
fn behind_two_words(args: &Args) -> (Vec<u8>, Vec<Span>) {
    let (mut frame, mut spans) = (Vec::new(), Vec::new());
    for arg in args.iter().skip(2) {
        let start = frame.len() as u32;
        frame.extend_from_slice(arg);
        spans.push(Span { start, end: frame.len() as u32 });
    }
    (frame, spans)
}

impl<'a> Asked<'a> {
    fn new(args: Args<'a>) -> Result<Self, &'static str> {
        let command = args.get(0).and_then(find).ok_or("ERR Invalid command specified")?;
        let command = match args.get(1) {
            Some(name) if command.is_container() => {
                find_below(command, name).ok_or("ERR Invalid command specified")?
            }
            _ => command,
        };
        if matches!(command.keys, Keys::None | Keys::Channels { .. }) {
            Err("ERR The command has no key arguments")
        } else if !command.accepts(args.len()) {
            Err("ERR Invalid number of arguments specified for command")
        } else {
            let uses = KeyUses::of(command, &args);
            Ok(Self { command, args, uses })
        }
    }
}
