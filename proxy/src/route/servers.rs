//! Joining what nodes tell of themselves: slow logs, latencies, memory, settings, texts for people.
//!
//! What can be added up is added up, what has a best or worst value takes it, and what is true of one server alone is
//! left out: a figure that is missing is better than one that is wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::resp::{Protocol, encode, reply};
use crate::topology::{NodeIndex, PLACE_BITS, Topology};

use super::pieces::{inside, is_map, pairs, text};

/// The protocol in which these replies came, told by a map.
fn protocol_of(reply: &[u8]) -> Protocol {
    if is_map(reply) { Protocol::Resp3 } else { Protocol::Resp2 }
}

/// SLOWLOG GET: the entries of all nodes, the latest first, at most so many.
///
/// The number of an entry is the node's own, made one of all nodes by the node's place behind it. Its last field, the
/// name of the client, tells the node instead: on a node all clients are Ringway's connections.
pub(super) fn slow_log<'a>(
    out: &mut Vec<u8>,
    topology: &Topology,
    most: usize,
    replies: impl Iterator<Item = &'a [u8]>,
) -> Option<()> {
    let mut entries = Vec::new();
    for (node, reply) in replies.enumerate() {
        for entry in inside(reply)? {
            let fields = inside(entry).filter(|fields| fields.len() >= 4)?;
            entries.push((reply::integer(fields[1])?, reply::integer(fields[0])?, node, fields));
        }
    }
    entries.sort_by_key(|(time, number, node, _)| std::cmp::Reverse((*time, *number, *node)));
    entries.truncate(most);
    encode::array(out, entries.len());
    for (_, number, node, fields) in entries {
        let index = NodeIndex(node as u16);
        let place = topology.scan_order().place(index)?;
        encode::array(out, fields.len());
        encode::integer(out, number.checked_mul(1 << PLACE_BITS)? | i64::from(place));
        for (at, field) in fields.iter().enumerate().skip(1) {
            match at {
                5 => encode::bulk(out, topology.node(index)?.name.as_bytes()),
                _ => out.extend_from_slice(field),
            }
        }
    }
    Some(())
}

/// LATENCY HISTORY: one sample per second, as on a server: the worst.
pub(super) fn history<'a>(out: &mut Vec<u8>, replies: impl Iterator<Item = &'a [u8]>) -> Option<()> {
    let mut samples: BTreeMap<i64, i64> = BTreeMap::new();
    for reply in replies {
        for sample in inside(reply)? {
            let fields = inside(sample).filter(|fields| fields.len() == 2)?;
            let worst = samples.entry(reply::integer(fields[0])?).or_default();
            *worst = (*worst).max(reply::integer(fields[1])?);
        }
    }
    encode::array(out, samples.len());
    for (time, ms) in samples {
        encode::array(out, 2);
        encode::integer(out, time);
        encode::integer(out, ms);
    }
    Some(())
}

/// FUNCTION STATS: what runs on the first node where anything does, and the engines of the first: all have the same
/// libraries.
pub(crate) fn running<'a>(
    out: &mut Vec<u8>,
    protocol: Protocol,
    replies: impl Iterator<Item = &'a [u8]>,
) -> Option<()> {
    let (mut runs, mut engines) = (None, None);
    for reply in replies {
        for (name, value) in pairs(reply)? {
            match text(name)? {
                b"running_script" if runs.is_none_or(reply::is_nil) => runs = Some(value),
                b"engines" if engines.is_none() => engines = Some(value),
                _ => {}
            }
        }
    }
    encode::map(out, protocol, 2);
    encode::bulk(out, b"running_script");
    out.extend_from_slice(runs?);
    encode::bulk(out, b"engines");
    out.extend_from_slice(engines?);
    Some(())
}

/// LATENCY LATEST: for each event its last sample on any node and the worst of all.
pub(super) fn latest<'a>(out: &mut Vec<u8>, replies: impl Iterator<Item = &'a [u8]>) -> Option<()> {
    let mut events: Vec<(&[u8], (i64, i64), i64)> = Vec::new();
    for reply in replies {
        for event in inside(reply)? {
            let fields = inside(event).filter(|fields| fields.len() >= 4)?;
            let last = (reply::integer(fields[1])?, reply::integer(fields[2])?);
            let worst = reply::integer(fields[3])?;
            match events.iter_mut().find(|(name, ..)| *name == fields[0]) {
                Some((_, known, most)) => (*known, *most) = ((*known).max(last), (*most).max(worst)),
                None => events.push((fields[0], last, worst)),
            }
        }
    }
    encode::array(out, events.len());
    for (name, (time, ms), worst) in events {
        encode::array(out, 4);
        out.extend_from_slice(name);
        [time, ms, worst].into_iter().for_each(|value| encode::integer(out, value));
    }
    Some(())
}

/// One command's distribution: calls, and for each node how many took at most so many microseconds.
type Distribution = (i64, Vec<BTreeMap<i64, i64>>);

/// LATENCY HISTOGRAM: the counts are cumulative and bounds without new calls are not listed, so that each node counts
/// at each bound of any node with the last count it gave.
pub(super) fn histogram<'a>(out: &mut Vec<u8>, replies: impl Iterator<Item = &'a [u8]>) -> Option<()> {
    let mut protocol = Protocol::Resp2;
    let mut commands: Vec<(&[u8], Distribution)> = Vec::new();
    for reply in replies {
        protocol = protocol_of(reply);
        for (name, fields) in pairs(reply)? {
            let (calls, counts) = distribution(fields)?;
            match commands.iter_mut().find(|(known, _)| *known == name) {
                Some((_, (sum, all))) => {
                    *sum = sum.saturating_add(calls);
                    all.push(counts);
                }
                None => commands.push((name, (calls, vec![counts]))),
            }
        }
    }
    encode::map(out, protocol, commands.len());
    for (name, (calls, counts)) in commands {
        out.extend_from_slice(name);
        encode::map(out, protocol, 2);
        encode::bulk(out, b"calls");
        encode::integer(out, calls);
        encode::bulk(out, b"histogram_usec");
        let bounds: BTreeSet<i64> = counts.iter().flat_map(|counts| counts.keys().copied()).collect();
        encode::map(out, protocol, bounds.len());
        for bound in bounds {
            let upto =
                |counts: &BTreeMap<i64, i64>| counts.range(..=bound).next_back().map_or(0, |(_, n)| *n);
            encode::integer(out, bound);
            encode::integer(out, counts.iter().map(upto).fold(0, i64::saturating_add));
        }
    }
    Some(())
}

fn distribution(fields: &[u8]) -> Option<(i64, BTreeMap<i64, i64>)> {
    let fields = pairs(fields)?;
    let field =
        |name: &[u8]| fields.iter().find(|(known, _)| text(known) == Some(name)).map(|(_, value)| *value);
    let counts = pairs(field(b"histogram_usec")?)?;
    let counts = counts.into_iter().map(|(bound, n)| Some((reply::integer(bound)?, reply::integer(n)?)));
    Some((reply::integer(field(b"calls")?)?, counts.collect::<Option<_>>()?))
}

/// Figures of MEMORY STATS that are added up. Peaks are not: those of different nodes lie at different times.
const SUMMED: [&str; 19] = [
    "total.allocated",
    "startup.allocated",
    "replication.backlog",
    "clients.slaves",
    "clients.normal",
    "cluster.links",
    "aof.buffer",
    "lua.caches",
    "functions.caches",
    "overhead.total",
    "keys.count",
    "dataset.bytes",
    "allocator.allocated",
    "allocator.active",
    "allocator.resident",
    "allocator-fragmentation.bytes",
    "allocator-rss.bytes",
    "rss-overhead.bytes",
    "fragmentation.bytes",
];

/// MEMORY STATS: sums in the order of the first node that has the figure, ratios of the sums.
pub(super) fn memory<'a>(out: &mut Vec<u8>, replies: impl Iterator<Item = &'a [u8]> + Clone) -> Option<()> {
    let nodes = replies.clone().map(pairs).collect::<Option<Vec<_>>>()?;
    let protocol = protocol_of(replies.clone().next()?);
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in nodes.iter().flatten() {
        let name = std::str::from_utf8(text(name)?).ok()?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let values = |wanted: &str| -> Vec<&[u8]> {
        let of = |node: &Vec<(&'a [u8], &'a [u8])>| {
            node.iter().find(|(name, _)| text(name) == Some(wanted.as_bytes())).map(|(_, value)| *value)
        };
        nodes.iter().filter_map(of).collect()
    };
    let sum = |name: &str| -> Option<i64> {
        let values = values(name);
        // of a node that does not tell it, it is not known
        if values.len() != nodes.len() {
            return None;
        }
        values.into_iter().try_fold(0i64, |sum, value| sum.checked_add(reply::integer(value)?))
    };
    let (mut body, mut count) = (Vec::new(), 0);
    for name in names {
        if name.starts_with("db.") {
            encode::bulk(&mut body, name.as_bytes());
            tables(&mut body, protocol, &values(name))?;
        } else if let Some(fraction) = fraction(name, &sum) {
            encode::bulk(&mut body, name.as_bytes());
            encode::double(&mut body, protocol, fraction);
        } else if let Some(whole) = whole(name, &sum) {
            encode::bulk(&mut body, name.as_bytes());
            encode::integer(&mut body, whole);
        } else {
            continue;
        }
        count += 1;
    }
    encode::map(out, protocol, count);
    out.append(&mut body);
    Some(())
}

/// A figure of MEMORY STATS that is a whole number, out of the sums over all nodes.
fn whole(name: &str, sum: &impl Fn(&str) -> Option<i64>) -> Option<i64> {
    match name {
        "keys.bytes-per-key" => {
            let data = sum("total.allocated")?.checked_sub(sum("startup.allocated")?)?;
            Some(data.checked_div(sum("keys.count")?).unwrap_or(0))
        }
        _ if SUMMED.contains(&name) => sum(name),
        _ => None,
    }
}

/// A figure of MEMORY STATS that is a fraction, out of the sums over all nodes.
fn fraction(name: &str, sum: &impl Fn(&str) -> Option<i64>) -> Option<f64> {
    let with = |base: i64, more: &str| base.checked_add(sum(more)?);
    let (part, whole) = match name {
        "dataset.percentage" => {
            let data = sum("total.allocated")?.checked_sub(sum("startup.allocated")?)?;
            (sum("dataset.bytes")?.checked_mul(100)?, data)
        }
        "allocator-fragmentation.ratio" => (sum("allocator.active")?, sum("allocator.allocated")?),
        "allocator-rss.ratio" => (sum("allocator.resident")?, sum("allocator.active")?),
        "rss-overhead.ratio" => {
            let resident = sum("allocator.resident")?;
            (with(resident, "rss-overhead.bytes")?, resident)
        }
        "fragmentation" => {
            let used = sum("total.allocated")?;
            (with(used, "fragmentation.bytes")?, used)
        }
        _ => return None,
    };
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The tables of one database: what nodes have there, added up.
fn tables(out: &mut Vec<u8>, protocol: Protocol, nodes: &[&[u8]]) -> Option<()> {
    let mut sums: Vec<(&[u8], i64)> = Vec::new();
    for node in nodes {
        for (name, value) in pairs(node)? {
            let value = reply::integer(value)?;
            match sums.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum = sum.saturating_add(value),
                None => sums.push((name, value)),
            }
        }
    }
    encode::map(out, protocol, sums.len());
    for (name, sum) in sums {
        out.extend_from_slice(name);
        encode::integer(out, sum);
    }
    Some(())
}

/// Settings that are how Ringway, or another server, proves to a node who it is: a client's business they are not.
const SECRETS: [&[u8]; 7] = [
    b"requirepass",
    b"masterauth",
    b"masteruser",
    b"primaryauth",
    b"primaryuser",
    b"tls-key-file-pass",
    b"tls-client-key-file-pass",
];
/// The name under which CONFIG GET lists what a pattern matched and the reply does not hold.
const LEFT_OUT: &str = "ringway-left-out";

/// CONFIG GET: each setting that all nodes have alike. One that was asked for by its name and differs is an error;
/// those that a pattern matched are listed under [`LEFT_OUT`].
pub(super) fn settings<'a>(
    out: &mut Vec<u8>,
    topology: &Topology,
    asked: &[Box<[u8]>],
    replies: impl Iterator<Item = &'a [u8]> + Clone,
) -> Option<()> {
    let first = replies.clone().next()?;
    let (mut names, mut known, mut nodes) = (Vec::new(), HashSet::new(), Vec::new());
    for reply in replies {
        let pairs = pairs(reply)?;
        names.extend(pairs.iter().map(|(name, _)| *name).filter(|name| known.insert(*name)));
        nodes.push(pairs.into_iter().collect::<HashMap<_, _>>());
    }
    let (mut alike, mut left_out) = (Vec::new(), Vec::new());
    for name in names {
        let of_first = nodes.first().and_then(|node| node.get(name)).copied();
        let other = nodes.iter().position(|node| node.get(name).copied() != of_first);
        let bare = text(name)?;
        let shown = String::from_utf8_lossy(bare);
        let is_secret = SECRETS.iter().any(|secret| bare.eq_ignore_ascii_case(secret));
        match (of_first, other) {
            (Some(value), None) if !is_secret => alike.push((name, value)),
            _ if !asked.iter().any(|asked| asked.eq_ignore_ascii_case(bare)) => left_out.push(shown),
            _ if is_secret => {
                encode::error(
                    out,
                    &format!("ERR '{shown}' is a secret of the nodes, which Ringway does not tell"),
                );
                return Some(());
            }
            (_, other) => {
                let name = |at: usize| Some(topology.node(NodeIndex(at as u16))?.name.as_str());
                let (one, other) = (name(0)?, name(other.unwrap_or(0))?);
                let text = format!(
                    "ERR the nodes do not agree: '{shown}' of node '{other}' is not that of node '{one}'; ask each node"
                );
                encode::error(out, &text);
                return Some(());
            }
        }
    }
    encode::map(out, protocol_of(first), alike.len() + usize::from(!left_out.is_empty()));
    for (name, value) in alike {
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
    if !left_out.is_empty() {
        encode::bulk(out, LEFT_OUT.as_bytes());
        encode::bulk(out, left_out.join(" ").as_bytes());
    }
    Some(())
}

/// The texts of all nodes, each under the name of its node.
pub(super) fn texts<'a>(
    out: &mut Vec<u8>,
    topology: &Topology,
    replies: impl Iterator<Item = &'a [u8]>,
) -> Option<()> {
    let (mut page, mut protocol) = (String::new(), Protocol::Resp2);
    for (node, reply) in topology.nodes().iter().zip(replies) {
        if reply.starts_with(b"=") {
            protocol = Protocol::Resp3;
        }
        let words = String::from_utf8_lossy(text(reply)?);
        page += &format!("# node '{}' ({})\n{}\n", node.name, node.address, words.trim_end());
    }
    encode::verbatim(out, protocol, &page);
    Some(())
}

/// Status lines: what all say once, or all that is said.
pub(super) fn said<'a>(out: &mut Vec<u8>, replies: impl Iterator<Item = &'a [u8]>) -> Option<()> {
    let mut said: Vec<String> = Vec::new();
    for reply in replies {
        let line = reply.strip_prefix(b"+")?.strip_suffix(b"\r\n")?;
        let line = String::from_utf8_lossy(line).into_owned();
        if !said.contains(&line) {
            said.push(line);
        }
    }
    encode::simple(out, &said.join("; "));
    Some(())
}

#[cfg(test)]
#[path = "servers_tests.rs"]
mod tests;
