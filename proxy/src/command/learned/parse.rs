//! Reads a server's reply to COMMAND, as far as the table does not know better.
//!
//! Since Redis 7.0 an entry has key specifications; before, only first key, last key and step. Whatever is not as Redis
//! writes it makes the command refused, or the whole reply nothing.

use std::collections::{BTreeMap, HashSet};

use super::super::bits::{Flags, KeyUse};
use super::super::row::Command;
use super::super::table::find_full;
use super::NAME_BYTES;
use crate::limits::LEARNED_COMMANDS;
use crate::resp::reply::{bulk, elements, integer};

/// Largest index, step or limit that is believed.
const LARGEST: i64 = 1 << 20;
/// Most key specifications of one command.
const MOST_SPECS: usize = 16;

/// What is known of a command. Nodes agree when it is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) arity: i16,
    pub(super) flags: Flags,
    pub(super) specs: Vec<Spec>,
    /// Why it is not run.
    pub(super) refused: Option<&'static str>,
}

/// A key specification whose words are not kept for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) uses: KeyUse,
    pub(super) begin: SpecBegin,
    pub(super) find: SpecFind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SpecBegin {
    Index(usize),
    Keyword(String, isize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SpecFind {
    Range { last: isize, step: usize, limit: usize },
    KeyNum { number: usize, first: usize, step: usize },
}

const NO_KEYS: &str = "it names no key, so that no node can be chosen for it";
const UNKNOWN_KEYS: &str = "nodes do not tell where all its keys are";
const OPERATORS: &str = "it is for operators of a server; connect to the node";
const CONNECTION: &str = "concerns a connection to a server, which clients of Ringway share";

/// What a node has.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The commands that the table does not have; of too many, the first.
    pub(super) beyond: BTreeMap<String, Told>,
    /// The full names of those that it has.
    pub(super) of_table: HashSet<&'static str>,
}

impl Known {
    /// Whether the node does not have a row of the table. Before Redis 7.0 nodes tell of no subcommands, which says nothing.
    pub(super) fn lacks(&self, row: &Command) -> bool {
        let is_told = |container: &str| {
            let below = |name: &&&str| name.split_once('|').is_some_and(|(its, _)| its == container);
            self.of_table.iter().find(below).is_some()
        };
        let container = row.full_name.split_once('|').map(|(container, _)| container);
        !self.of_table.contains(row.full_name) && container.is_none_or(is_told)
    }
}

/// Reads a whole reply.
pub(super) fn parse(reply: &[u8]) -> Result<Known, String> {
    let entries = elements(reply).ok_or("no array")?;
    let mut known = Known::default();
    for entry in entries {
        read_entry(entry, &mut known).ok_or("an entry is not as Redis writes it")?;
    }
    Ok(known)
}

fn read_entry(entry: &[u8], known: &mut Known) -> Option<()> {
    let parts: Vec<&[u8]> = elements(entry)?.take(16).collect();
    let name = std::str::from_utf8(text(parts.first()?)?).ok()?.to_ascii_lowercase();
    for below in parts.get(9).and_then(|below| elements(below)).into_iter().flatten() {
        // one level, as in Redis
        if elements(below)?.next().and_then(text)?.contains(&b'|') {
            read_entry(below, known)?;
        }
    }
    let holds_others = parts.get(9).and_then(|below| elements(below)).is_some_and(|below| below.left() > 0);
    match find_full(name.as_bytes()) {
        Some(row) => {
            known.of_table.insert(row.full_name);
        }
        None if !holds_others && is_name(&name) && known.beyond.len() < LEARNED_COMMANDS => {
            known.beyond.insert(name, read(&parts)?);
        }
        None => {}
    }
    Some(())
}

/// A name that no reply or log is spoilt by.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '\'' | '"' | '\\');
    (1..=NAME_BYTES).contains(&name.len()) && name.chars().all(plain)
}

/// A simple or a bulk string.
fn text(reply: &[u8]) -> Option<&[u8]> {
    bulk(reply).or_else(|| reply.strip_prefix(b"+")?.strip_suffix(b"\r\n"))
}

fn words(reply: Option<&&[u8]>) -> Vec<String> {
    let words = reply.and_then(|reply| elements(reply)).into_iter().flatten().take(64).filter_map(text);
    words.map(|word| String::from_utf8_lossy(word).to_ascii_lowercase()).collect()
}

fn read(parts: &[&[u8]]) -> Option<Told> {
    let arity = i16::try_from(integer(parts.get(1)?)?).ok().filter(|arity| *arity != 0)?;
    let (flag_words, categories) = (words(parts.get(2)), words(parts.get(6)));
    let mut flags = Flags::EMPTY;
    for flag in flag_words.iter().filter_map(|word| Flags::named(word.as_bytes())) {
        flags = flags.with(flag);
    }
    let specs = match parts.get(8) {
        Some(specs) => read_specs(specs),
        None => read_range(parts, flags),
    };
    let is_in = |category: &str| categories.iter().any(|word| word == category);
    if is_in("@blocking") {
        flags = flags.with(Flags::BLOCKING);
    }
    let refused = match &specs {
        _ if flags.contains(Flags::ADMIN) || is_in("@admin") || is_in("@dangerous") => Some(OPERATORS),
        _ if flags.contains(Flags::PUBSUB) || is_in("@pubsub") => Some(CONNECTION),
        _ if is_in("@connection") || is_in("@transaction") => Some(CONNECTION),
        None => Some(UNKNOWN_KEYS),
        Some(specs) if specs.is_empty() && flags.contains(Flags::MOVABLEKEYS) => Some(UNKNOWN_KEYS),
        Some(specs) if specs.is_empty() => Some(NO_KEYS),
        Some(_) => None,
    };
    Some(Told { arity, flags, specs: specs.unwrap_or_default(), refused })
}

/// First key, last key and step, before Redis 7.0.
fn read_range(parts: &[&[u8]], flags: Flags) -> Option<Vec<Spec>> {
    let number = |at: usize| parts.get(at).and_then(|part| integer(part)).filter(believed);
    let (first, last, step) = (number(3)?, number(4)?, number(5)?);
    if flags.contains(Flags::MOVABLEKEYS) {
        return None;
    }
    if first == 0 {
        return Some(Vec::new());
    }
    let first = usize::try_from(first).ok()?;
    let last = if last < 0 { last as isize } else { last as isize - first as isize };
    let step = usize::try_from(step).ok().filter(|step| *step > 0)?;
    let find = SpecFind::Range { last, step, limit: 0 };
    Some(vec![Spec { uses: KeyUse::EMPTY, begin: SpecBegin::Index(first), find }])
}

fn believed(number: &i64) -> bool {
    number.abs() <= LARGEST
}

/// `None` when they do not find every key.
fn read_specs(specs: &[u8]) -> Option<Vec<Spec>> {
    let specs = elements(specs)?;
    if specs.left() > MOST_SPECS {
        return None;
    }
    specs.map(read_spec).collect()
}

/// The value of a name in a flattened map.
fn field<'a>(map: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut pairs = elements(map)?;
    while let (Some(key), Some(value)) = (pairs.next(), pairs.next()) {
        if text(key)? == name.as_bytes() {
            return Some(value);
        }
    }
    None
}

fn number(map: &[u8], name: &str) -> Option<i64> {
    integer(field(map, name)?).filter(believed)
}

fn size(map: &[u8], name: &str) -> Option<usize> {
    usize::try_from(number(map, name)?).ok()
}

fn read_spec(spec: &[u8]) -> Option<Spec> {
    let mut uses = KeyUse::EMPTY;
    for word in words(field(spec, "flags").as_ref()) {
        uses = uses.with(KeyUse::named(word.as_bytes()).unwrap_or_default());
    }
    if uses.contains(KeyUse::INCOMPLETE) {
        return None;
    }
    let (begin, find) = (field(spec, "begin_search")?, field(spec, "find_keys")?);
    let (by, from) = (field(begin, "spec")?, field(find, "spec")?);
    let begin = match text(field(begin, "type")?)? {
        b"index" => SpecBegin::Index(size(by, "index").filter(|index| *index > 0)?),
        b"keyword" => {
            let word = std::str::from_utf8(text(field(by, "keyword")?)?).ok()?;
            let word = word.to_ascii_lowercase();
            let start = number(by, "startfrom").filter(|start| *start != 0)? as isize;
            SpecBegin::Keyword(Some(word).filter(|word| is_name(word))?, start)
        }
        _ => return None,
    };
    let step = size(from, "keystep").filter(|step| *step > 0)?;
    let find = match text(field(find, "type")?)? {
        b"range" => {
            SpecFind::Range { last: number(from, "lastkey")? as isize, step, limit: size(from, "limit")? }
        }
        b"keynum" => {
            SpecFind::KeyNum { number: size(from, "keynumidx")?, first: size(from, "firstkey")?, step }
        }
        _ => return None,
    };
    Some(Spec { uses, begin, find })
}
