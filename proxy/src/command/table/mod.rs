//! The table: all rows of all groups, numbered and indexed at compile time.
//!
//! ```text
//! group files: ROWS ──► TOP  (plain commands and containers, sorted by nothing, found by hash)
//!                  └──► BELOW (all subcommands, one run per container; TOP's rows point into it)
//! ```
//!
//! A [`CommandId`] counts through TOP and then BELOW. The hash of a name folds the case of letters on the fly, so a
//! look-up neither copies nor lowers the request's bytes.

mod bitmaps;
mod cluster;
mod connection;
mod generic;
mod geo;
mod hashes;
mod hyperloglogs;
mod lists;
mod pubsub;
mod rules;
mod scripting;
mod server;
mod sets;
mod sorted_sets;
mod streams;
mod strings;
mod transactions;

use super::row::{Command, CommandId};

/// Every group, in the order in which lists and the README show them.
const GROUPS: [&[Command]; 16] = [
    generic::ROWS,
    strings::ROWS,
    hashes::ROWS,
    lists::ROWS,
    sets::ROWS,
    sorted_sets::ROWS,
    streams::ROWS,
    bitmaps::ROWS,
    hyperloglogs::ROWS,
    geo::ROWS,
    scripting::ROWS,
    transactions::ROWS,
    pubsub::ROWS,
    connection::ROWS,
    server::ROWS,
    cluster::ROWS,
];

const TOP_COUNT: usize = count().0;
const BELOW_COUNT: usize = count().1;

static TOP: [Command; TOP_COUNT] = number_top();
static BELOW: [Command; BELOW_COUNT] = number_below();

const fn count() -> (usize, usize) {
    let (mut top, mut below, mut group) = (0, 0, 0);
    while group < GROUPS.len() {
        let mut row = 0;
        while row < GROUPS[group].len() {
            top += 1;
            below += GROUPS[group][row].subcommands.len();
            row += 1;
        }
        group += 1;
    }
    (top, below)
}

const fn number_top() -> [Command; TOP_COUNT] {
    let mut rows = [GROUPS[0][0]; TOP_COUNT];
    let (mut at, mut below, mut group) = (0, 0, 0);
    while group < GROUPS.len() {
        let mut row = 0;
        while row < GROUPS[group].len() {
            let mut command = GROUPS[group][row].with_implied_categories();
            command.id = CommandId(at as u16);
            let (_, rest) = BELOW.split_at(below);
            below += command.subcommands.len();
            command.subcommands = rest.split_at(command.subcommands.len()).0;
            rows[at] = command;
            at += 1;
            row += 1;
        }
        group += 1;
    }
    rows
}

const fn number_below() -> [Command; BELOW_COUNT] {
    let mut rows = [GROUPS[0][0]; BELOW_COUNT];
    let (mut at, mut group) = (0, 0);
    while group < GROUPS.len() {
        let mut row = 0;
        while row < GROUPS[group].len() {
            let subcommands = GROUPS[group][row].subcommands;
            let mut sub = 0;
            while sub < subcommands.len() {
                rows[at] = subcommands[sub].with_implied_categories();
                rows[at].id = CommandId((TOP_COUNT + at) as u16);
                at += 1;
                sub += 1;
            }
            row += 1;
        }
        group += 1;
    }
    rows
}

/// How many rows there are, subcommands included: ids are below it.
pub const fn command_count() -> usize {
    TOP_COUNT + BELOW_COUNT
}

/// The row with this id.
#[inline]
pub fn by_id(id: CommandId) -> &'static Command {
    let index = id.index();
    TOP.get(index).or_else(|| BELOW.get(index - TOP_COUNT)).unwrap_or(&TOP[0])
}

/// All rows in the order of their ids: plain commands and containers first, then all subcommands.
pub fn all() -> impl Iterator<Item = &'static Command> {
    TOP.iter().chain(BELOW.iter())
}

/// The rows that are refused until the settings allow them by their full name.
pub fn guarded() -> impl Iterator<Item = &'static Command> {
    all().filter(|row| row.guarded.is_some())
}

/// The rows that are not below a container.
pub fn top_level() -> &'static [Command] {
    &TOP
}

// ---- look-up by name -------------------------------------------------------------------------------------------

/// Four times the rows, so that nearly every name is found in the first slot it hashes to.
const SLOT_BITS: u32 = 10;
const SLOTS: usize = 1 << SLOT_BITS;
static INDEX: [Slot; SLOTS] = build_index();

/// A place in the index; a free one has no row.
#[derive(Clone, Copy)]
struct Slot {
    name: Ends,
    /// The bits that turn letters of the name, and only letters, into lowercase.
    fold: Ends,
    row: Option<&'static Command>,
}

/// What a name is found and compared by: its ends and its length. Of a name of up to [`Ends::ALL`] bytes that is all there
/// is.
#[derive(Clone, Copy)]
struct Ends {
    head: u64,
    tail: u64,
    len: usize,
}

impl Ends {
    /// The longest name that its ends cover, in bytes.
    const ALL: usize = 16;

    #[inline]
    const fn of(name: &[u8]) -> Self {
        let (head, tail) = match name {
            [] => (0, 0),
            [first] => (*first as u64, 0),
            [a, b] => (*a as u64, *b as u64),
            [a, b, c] => (*a as u64 | (*b as u64) << 8, *c as u64),
            _ => match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
                (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
                _ => match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
                    (Some(head), Some(tail)) => {
                        (u32::from_le_bytes(*head) as u64, u32::from_le_bytes(*tail) as u64)
                    }
                    _ => (0, 0),
                },
            },
        };
        Self { head, tail, len: name.len() }
    }

    /// The slot where the name would lie, whatever the case of its letters: all mixed by one multiplication (Fibonacci
    /// hashing).
    #[inline]
    const fn slot(self) -> usize {
        // sets the bit that turns a letter into lowercase; to the hash of anything else it does no harm
        const FOLD: u64 = 0x2020_2020_2020_2020;
        let mixed = (self.head | FOLD) ^ (self.tail | FOLD).rotate_left(29) ^ self.len as u64;
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SLOT_BITS)) as usize
    }
}

/// The ends of the bits that are to be set in the letters of a name.
const fn fold_of(name: &[u8]) -> Ends {
    const fn of(bytes: u64) -> u64 {
        let (mut fold, mut at) = (0, 0);
        while at < 8 {
            if ((bytes >> (8 * at)) as u8).is_ascii_lowercase() {
                fold |= 0x20 << (8 * at);
            }
            at += 1;
        }
        fold
    }
    let ends = Ends::of(name);
    Ends { head: of(ends.head), tail: of(ends.tail), len: ends.len }
}

impl Slot {
    /// Whether its name has these ends, letters in any case. A byte that a letter's bit turns into that letter is the letter.
    #[inline]
    const fn has(&self, ends: Ends) -> bool {
        ends.len == self.name.len
            && ends.head | self.fold.head == self.name.head
            && ends.tail | self.fold.tail == self.name.tail
    }
}

const fn build_index() -> [Slot; SLOTS] {
    let mut index = [Slot { name: Ends::of(b""), fold: Ends::of(b""), row: None }; SLOTS];
    let mut at = 0;
    while at < TOP_COUNT {
        let name = GROUPED_NAMES[at].as_bytes();
        let mut slot = Ends::of(name).slot();
        while index[slot].row.is_some() {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = Slot { name: Ends::of(name), fold: fold_of(name), row: Some(&TOP[at]) };
        at += 1;
    }
    index
}

/// The names of TOP, kept apart because a constant may not read a static.
const GROUPED_NAMES: [&str; TOP_COUNT] = {
    let mut names = [""; TOP_COUNT];
    let (mut at, mut group) = (0, 0);
    while group < GROUPS.len() {
        let mut row = 0;
        while row < GROUPS[group].len() {
            names[at] = GROUPS[group][row].name;
            at += 1;
            row += 1;
        }
        group += 1;
    }
    names
};

/// The row of a plain command or container, letters in any case.
#[inline]
pub(in crate::command) fn find(name: &[u8]) -> Option<&'static Command> {
    let ends = Ends::of(name);
    let mut at = ends.slot();
    loop {
        let slot = INDEX.get(at)?;
        let command = slot.row?;
        if slot.has(ends) && (name.len() <= Ends::ALL || command.name.as_bytes().eq_ignore_ascii_case(name)) {
            return Some(command);
        }
        at = (at + 1) % SLOTS;
    }
}

/// The row of a subcommand, letters in any case.
#[inline]
pub(in crate::command) fn find_below(container: &'static Command, name: &[u8]) -> Option<&'static Command> {
    container.subcommands.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
}

/// The row with a full name like `xgroup|create`, letters in any case.
pub fn find_full(full_name: &[u8]) -> Option<&'static Command> {
    match memchr::memchr(b'|', full_name) {
        None => find(full_name),
        Some(bar) => find_below(find(&full_name[..bar])?, &full_name[bar + 1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Keys, Route};
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name_in_any_case_and_by_its_id() {
        for (index, command) in all().enumerate() {
            assert_eq!(command.id().index(), index);
            assert!(std::ptr::eq(by_id(command.id()), command));
            for name in [command.full_name.to_owned(), command.full_name.to_uppercase()] {
                let found = find_full(name.as_bytes()).map(|row| row.full_name);
                assert_eq!(found, Some(command.full_name));
            }
        }
        assert_eq!(all().count(), command_count());
    }

    #[test]
    fn names_that_are_not_there_are_not_found() {
        for name in
            ["", "g", "ge", "gett", "get ", "get\0", "\u{47}\u{45}", "object|", "|", "get|", "xgroup|x"]
        {
            assert!(find_full(name.as_bytes()).is_none(), "{name:?}");
        }
        assert!(find_full(&[b'a'; 4096]).is_none());
    }

    #[test]
    fn names_lie_in_or_next_to_the_slot_they_hash_to() {
        let mut moved = 0;
        for (at, command) in TOP.iter().enumerate() {
            let home = Ends::of(command.name.as_bytes()).slot();
            let slot = INDEX.iter().position(|slot| slot.row.is_some_and(|row| std::ptr::eq(row, command)));
            let slot = slot.unwrap_or_else(|| panic!("{at} is not indexed"));
            let distance = (slot + SLOTS - home) % SLOTS;
            assert!(distance <= 3, "{} lies {distance} slots away", command.name);
            moved += usize::from(distance > 0);
        }
        assert!(moved * 5 < TOP.len(), "{moved} of {} names are not in their own slot", TOP.len());
        for hot in ["get", "set", "mget", "hget", "incr", "expire", "del", "exists", "hset", "zadd"] {
            let home = Ends::of(hot.as_bytes()).slot();
            assert_eq!(INDEX[home].row.map(|row| row.name), Some(hot));
        }
    }

    #[test]
    fn a_name_that_differs_in_one_byte_is_another() {
        for row in top_level() {
            for at in 0..row.name.len() {
                for byte in 0..=255u8 {
                    let mut name = row.name.as_bytes().to_vec();
                    name[at] = byte;
                    let expected = TOP.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(&name));
                    assert_eq!(find(&name).map(|row| row.name), expected.map(|row| row.name), "{name:?}");
                }
            }
        }
    }

    /// Whoever has keys goes to their node, but for these.
    const REFUSED_WITH_KEYS: [&str; 7] =
        ["migrate", "pfdebug", "restore-asking", "spublish", "ssubscribe", "sunsubscribe", "watch"];

    #[test]
    fn commands_with_keys_go_to_the_keys_node() {
        for row in all() {
            let has_keys = !matches!(row.keys, Keys::None);
            let to_nodes = matches!(row.route, Route::Key | Route::Waiting | Route::Split(_));
            let expected = has_keys && !REFUSED_WITH_KEYS.contains(&row.full_name);
            assert_eq!(to_nodes, expected, "{}", row.full_name);
        }
    }

    #[test]
    fn fixed_key_positions_lie_inside_of_the_shortest_request() {
        let channels = |row: &&Command| matches!(row.keys, Keys::Channels { .. });
        for row in all().filter(|row| !channels(row)) {
            let (first, last, step) = row.keys.first_last_step();
            let least = isize::from(row.arity).abs();
            assert!(
                (first as isize) < least && last < least && (step > 0 || first == 0),
                "{}",
                row.full_name
            );
        }
    }

    #[test]
    fn full_names_are_the_container_and_the_name() {
        for container in top_level() {
            assert_eq!(container.name, container.full_name);
            for row in container.subcommands {
                assert_eq!(row.full_name, format!("{}|{}", container.name, row.name));
                assert_eq!(row.group, container.group);
            }
        }
    }
}
