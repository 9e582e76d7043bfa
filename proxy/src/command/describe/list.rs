//! `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`.

use super::super::bits::Categories;
use super::super::row::Command;
use super::super::table::all;
use super::{Entry, Known};
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
        write(known, out, |entry| matches(value, entry.full_name().as_bytes()));
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

/// Redis's glob: `*`, `?`, `[a-z]`, `[^a-z]`, `\x`; letters in any case. At most pattern times text steps, because
/// only the last `*` is ever tried again.
fn matches(mut pattern: &[u8], mut text: &[u8]) -> bool {
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            retry = Some((rest, text));
            pattern = rest;
            continue;
        }
        match (step(pattern, text.first().copied()), text) {
            (Some(rest), [_, after @ ..]) => (pattern, text) = (rest, after),
            _ if pattern.is_empty() && text.is_empty() => return true,
            _ => match retry {
                Some((rest, [_, after @ ..])) => {
                    retry = Some((rest, after));
                    (pattern, text) = (rest, after);
                }
                _ => return false,
            },
        }
    }
}

/// The pattern behind the element that matches this byte, if it does.
fn step(pattern: &[u8], byte: Option<u8>) -> Option<&[u8]> {
    let byte = byte?;
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', class @ ..] => class_step(class, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
            literal.eq_ignore_ascii_case(&byte).then_some(rest)
        }
        [] => None,
    }
}

/// The pattern behind a `[…]`; a class that is never closed ends with the pattern.
fn class_step(class: &[u8], byte: u8) -> Option<&[u8]> {
    let (negated, mut class) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let byte = byte.to_ascii_lowercase();
    let mut found = false;
    loop {
        class = match class {
            [b'\\', literal, rest @ ..] => {
                found |= literal.to_ascii_lowercase() == byte;
                rest
            }
            [b']', rest @ ..] => return (found != negated).then_some(rest),
            [low, b'-', high, rest @ ..] => {
                let (low, high) = (low.to_ascii_lowercase(), high.to_ascii_lowercase());
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                found |= literal.to_ascii_lowercase() == byte;
                rest
            }
            [] => return (found != negated).then_some(class),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn glob() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "a", false),
            ("x*", "xgroup|create", true),
            ("*|C*", "xgroup|create", true),
            ("*get", "mget", true),
            ("*get", "mgetx", false),
            ("h?et", "hget", true),
            ("[hm]get", "mget", true),
            ("[^h]get", "hget", false),
            ("[A-N]get", "mget", true),
            ("\\*", "*", true),
            ("[a", "a", true),
            ("a**b*c", "aXbYbc", true),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        assert!(!matches("a*".repeat(200).as_bytes(), &[b'a'; 150]));
    }
}
