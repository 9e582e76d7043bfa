//! `COMMAND` and `COMMAND INFO`: ten elements per command.

use super::super::bits::KeyUse;
use super::super::row::Command;
use super::super::specs::{Begin, Find, KeySpec};
use super::{Entry, Known};
use crate::resp::{Args, Protocol, encode};

/// Everything that works.
pub(super) fn all(known: Known<'_>, protocol: Protocol, out: &mut Vec<u8>) {
    encode::array(out, known.entries().count());
    known.entries().for_each(|one| entry(known, one, protocol, out));
}

/// The commands named in the request, nil for each that does not work or exist.
pub(super) fn some(known: Known<'_>, args: &Args, protocol: Protocol, out: &mut Vec<u8>) {
    encode::array(out, args.len().saturating_sub(2));
    for name in args.iter().skip(2) {
        match known.find(name) {
            Some(one) => entry(known, one, protocol, out),
            None => encode::null(out, protocol),
        }
    }
}

fn entry(known: Known<'_>, one: Entry, protocol: Protocol, out: &mut Vec<u8>) {
    match one {
        Entry::Row(command) => facts(command, protocol, out),
        Entry::Container(name) => container_facts(name, protocol, out),
    }
    match known.below(one).count() {
        0 => encode::set(out, protocol, 0), // an empty set or a filled array: Redis does so
        count => encode::array(out, count),
    }
    known.below(one).for_each(|below| entry(known, Entry::Row(below), protocol, out));
}

/// All but the last element.
fn container_facts(name: &str, protocol: Protocol, out: &mut Vec<u8>) {
    encode::array(out, 10);
    encode::bulk(out, name.as_bytes());
    encode::integer(out, -2);
    encode::set(out, protocol, 0);
    (0..3).for_each(|_| encode::integer(out, 0));
    (0..3).for_each(|_| encode::set(out, protocol, 0));
}

/// All but the last element.
fn facts(command: &Command, protocol: Protocol, out: &mut Vec<u8>) {
    encode::array(out, 10);
    encode::bulk(out, command.full_name.as_bytes());
    encode::integer(out, i64::from(command.arity));
    encode::set(out, protocol, command.flags.len());
    command.flags.names().for_each(|name| encode::simple(out, name));
    let (first, last, step) = command.keys.first_last_step();
    encode::integer(out, first as i64);
    encode::integer(out, last as i64);
    encode::integer(out, step as i64);
    encode::set(out, protocol, command.categories.len());
    command.categories.names().for_each(|name| encode::simple(out, &format!("@{name}")));
    encode::set(out, protocol, 0); // tips
    encode::set(out, protocol, command.key_specs().count());
    command.key_specs().for_each(|spec| key_spec(spec, protocol, out));
}

/// The words for what happens to a key.
pub(super) fn key_uses(uses: KeyUse, protocol: Protocol, out: &mut Vec<u8>) {
    encode::set(out, protocol, uses.len());
    uses.names().for_each(|name| encode::simple(out, name));
}

fn key_spec(spec: KeySpec, protocol: Protocol, out: &mut Vec<u8>) {
    encode::map(out, protocol, 3);
    encode::bulk(out, b"flags");
    key_uses(spec.uses, protocol, out);
    encode::bulk(out, b"begin_search");
    match spec.begin {
        Begin::Index(at) => step(out, protocol, "index", &[("index", Field::Number(at as i64))]),
        Begin::Keyword(word, from) => {
            let fields = [("keyword", Field::Text(word)), ("startfrom", Field::Number(from as i64))];
            step(out, protocol, "keyword", &fields);
        }
        Begin::Unknown => step(out, protocol, "unknown", &[]),
    }
    encode::bulk(out, b"find_keys");
    let number = |number: usize| Field::Number(number as i64);
    match spec.find {
        Find::Range { last, step: distance, limit } => {
            let last = Field::Number(last as i64);
            let fields = [("lastkey", last), ("keystep", number(distance)), ("limit", number(limit))];
            step(out, protocol, "range", &fields);
        }
        Find::KeyNum { number: at, first, step: distance } => {
            let fields =
                [("keynumidx", number(at)), ("firstkey", number(first)), ("keystep", number(distance))];
            step(out, protocol, "keynum", &fields);
        }
        Find::Unknown => step(out, protocol, "unknown", &[]),
    }
}

enum Field {
    Number(i64),
    Text(&'static str),
}

/// One half of a key specification: its type and the fields of that type.
fn step(out: &mut Vec<u8>, protocol: Protocol, kind: &str, fields: &[(&str, Field)]) {
    encode::map(out, protocol, 2);
    encode::bulk(out, b"type");
    encode::bulk(out, kind.as_bytes());
    encode::bulk(out, b"spec");
    encode::map(out, protocol, fields.len());
    for (name, value) in fields {
        encode::bulk(out, name.as_bytes());
        match value {
            Field::Number(number) => encode::integer(out, *number),
            Field::Text(text) => encode::bulk(out, text.as_bytes()),
        }
    }
}
