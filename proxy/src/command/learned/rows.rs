//! Rows of learned commands: made once, kept for ever, so that all the rest can treat them like rows of the table.
//!
//! Two proxies in one process share them: a row is found by all that it says. Their number and bytes have a bound that
//! holds for the life of the process, whatever nodes tell.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::super::bits::{Categories, Flags, KeyUse};
use super::super::route::Route;
use super::super::row::{Command, CommandId, Group, Keys};
use super::super::specs::{Begin, Find, KeySpec};
use super::super::table::command_count;
use super::parse::{Spec, SpecBegin, SpecFind, Told};
use crate::limits::{LEARNED_BYTES, LEARNED_COMMANDS};

#[derive(Default)]
struct Kept {
    rows: HashMap<&'static str, Vec<&'static Command>>,
    count: usize,
    bytes: usize,
}

static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

/// The row of a command; `None` when there is no room for another.
pub(super) fn row(name: &str, told: &Told) -> Option<&'static Command> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).row(name, told)
}

impl Kept {
    fn row(&mut self, name: &str, told: &Told) -> Option<&'static Command> {
        let same_name = self.rows.get(name).map_or(&[][..], Vec::as_slice);
        if let Some(known) = same_name.iter().find(|row| says(row, told)) {
            return Some(known);
        }
        let bytes = bytes(name, told);
        if self.count >= LEARNED_COMMANDS || self.bytes + bytes > LEARNED_BYTES {
            return None;
        }
        let id = CommandId((command_count() + self.count) as u16);
        let row: &'static Command = Box::leak(Box::new(make(name, told, id)));
        self.bytes += bytes;
        self.count += 1;
        self.rows.entry(row.full_name).or_default().push(row);
        Some(row)
    }
}

/// Whether a row is what this would become.
fn says(row: &Command, told: &Told) -> bool {
    row.arity == told.arity
        && row.flags == told.flags
        && row.key_specs().count() == told.specs.len()
        && row.key_specs().zip(&told.specs).all(|(known, spec)| is_same(&known, spec))
}

fn is_same(known: &KeySpec, spec: &Spec) -> bool {
    let begin = match (&known.begin, &spec.begin) {
        (Begin::Index(known), SpecBegin::Index(index)) => known == index,
        (Begin::Keyword(known, from), SpecBegin::Keyword(word, start)) => known == word && from == start,
        _ => false,
    };
    known.uses == spec.uses && begin && known.find == find(&spec.find)
}

fn find(find: &SpecFind) -> Find {
    match *find {
        SpecFind::Range { last, step, limit } => Find::Range { last, step, limit },
        SpecFind::KeyNum { number, first, step } => Find::KeyNum { number, first, step },
    }
}

fn bytes(name: &str, told: &Told) -> usize {
    let words = told.specs.iter().map(|spec| match &spec.begin {
        SpecBegin::Keyword(word, _) => word.len(),
        SpecBegin::Index(_) => 0,
    });
    size_of::<Command>() + name.len() + told.specs.len() * size_of::<KeySpec>() + words.sum::<usize>()
}

fn keep(text: &str) -> &'static str {
    Box::leak(text.into())
}

fn make(name: &str, told: &Told, id: CommandId) -> Command {
    let specs = told.specs.iter().map(|spec| KeySpec {
        uses: spec.uses,
        begin: match &spec.begin {
            SpecBegin::Index(at) => Begin::Index(*at),
            SpecBegin::Keyword(word, start) => Begin::Keyword(keep(word), *start),
        },
        find: find(&spec.find),
    });
    let full_name = keep(name);
    Command {
        name: full_name.split_once('|').map_or(full_name, |(_, below)| below),
        full_name,
        arity: told.arity,
        flags: told.flags,
        categories: Categories::EMPTY,
        keys: Keys::Specs(Box::leak(specs.collect())),
        key_uses: [KeyUse::EMPTY; 3],
        route: if told.flags.contains(Flags::BLOCKING) { Route::Waiting } else { Route::Key },
        guarded: None,
        computed: None,
        lookup: false,
        kept: false,
        group: Group::Module,
        since: "",
        summary: "Told of by the nodes",
        subcommands: &[],
        id,
    }
    .with_implied_categories()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i6_what_is_kept_for_ever_is_bounded_in_number_and_bytes() {
        let told = |words: usize| {
            let begin = |at| SpecBegin::Keyword(format!("{at:0>60}"), 1);
            let find = SpecFind::Range { last: 0, step: 1, limit: 0 };
            let spec = |at| Spec { uses: KeyUse::EMPTY, begin: begin(at), find: find.clone() };
            Told { arity: -2, flags: Flags::EMPTY, specs: (0..words).map(spec).collect(), refused: None }
        };
        let mut kept = Kept::default();
        let made = (0..LEARNED_COMMANDS + 10).filter(|at| kept.row(&format!("n{at}"), &told(0)).is_some());
        assert_eq!(made.count(), LEARNED_COMMANDS);
        assert!(kept.row("n5", &told(0)).is_some(), "one that is known needs no room");
        let mut kept = Kept::default();
        let made =
            (0..LEARNED_COMMANDS).filter(|at| kept.row(&format!("w{at}"), &told(16)).is_some()).count();
        assert!(made > 100 && made < LEARNED_COMMANDS, "{made}");
        assert!(kept.bytes <= LEARNED_BYTES);
        // a node that calls the same command another thing each time
        let mut kept = Kept::default();
        let made =
            (1..i16::MAX).filter(|arity| kept.row("same", &Told { arity: *arity, ..told(0) }).is_some());
        assert_eq!(made.count(), LEARNED_COMMANDS);
    }
}
