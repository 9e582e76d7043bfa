//! `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`.

use super::super::bits::Categories;
use super::super::row::Command;
use super::super::table::all;
use super::{Entry, Known};
use crate::glob;
use crate::resp::{Args, encode};

/// The full names of all rows that work and pass the filter.
pub(super) fn list(known: Known<'_>, args: &Args, out: &mut Vec<u8>) {
    let is_word = |index: usize, word: &str| {
        args.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    };
    let filter_by = args.len() == 5 && is_word(2, "filterby");
    let value = args.get(4).unwrap_or_default();
    if args.len() == 2 {
        write(known, out, |_| true);
    } else if filter_by && is_word(3, "aclcat") {
        let category = Categories::named(value);
        let is_in = |row: &Command| category.is_some_and(|category| row.categories.contains(category));
        write(known, out, |entry| matches!(entry, Entry::Row(row) if is_in(row)));
    } else if filter_by && is_word(3, "pattern") {
        // names are in small letters
        let pattern = value.to_ascii_lowercase();
        write(known, out, |entry| glob::matches(&pattern, entry.full_name().as_bytes()));
    } else if filter_by && is_word(3, "module") {
        write(known, out, |_| false); // nodes do not tell which module a command is of
    } else {
        encode::error(out, "ERR syntax error");
    }
}

fn write(known: Known<'_>, out: &mut Vec<u8>, passes: impl Fn(Entry) -> bool) {
    let rows = all().filter(|row| known.works(row)).chain(known.learned.iter().copied()).map(Entry::Row);
    let entries: Vec<Entry> = rows.chain(known.containers()).filter(|entry| passes(*entry)).collect();
    encode::array(out, entries.len());
    entries.iter().for_each(|entry| encode::bulk(out, entry.full_name().as_bytes()));
}
