//! Commands that read keys of several nodes, computed from what each node has (`multi_key: emulate`).
//!
//! ```text
//!   SINTER a b c    a,c → SINTER a c on node 0   *2 x y ┐
//!                   b   → SINTER b   on node 1   *1 y   ┴─► *1 y
//! ```
//! [`plan`] says what each node is asked for, [`Plan::finish`] makes the reply of the answers: the one that a single
//! server with all the keys would give, but for the order of a set's members, which means nothing. A node does a part
//! of the work where that changes nothing. Sums of scores depend on their order, which Redis takes from the sizes of
//! the inputs, so ZUNION and ZINTER fetch every key by itself. Each node answers at a moment of its own: this is not
//! atomic. No IO, no connections.

mod answer;
mod float;
mod hyperloglog;
mod members;
mod options;
mod scores;

use std::collections::HashMap;

use crate::command::Computed;
use crate::resp::{Args, Protocol, encode};
use crate::topology::NodeIndex;

use options::Options;

/// More different keys than parts can be numbered.
const TOO_MANY_KEYS: &str =
    "ERR more than 65535 different keys cannot be read from several nodes by one command";
/// The nodes answered more than may be gathered.
pub(crate) const TOO_LONG: &str =
    "ERR what the nodes answered to the parts of this command is longer than limits.emulate_bytes";
/// A node's answer is not in the form of a Redis server's.
pub(crate) const NOT_UNDERSTOOD: &str =
    "ERR a node's reply to a part of this command is not understood; nothing was changed";

/// What one node is asked for: one command over some of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) node: NodeIndex,
    /// Argument positions of the keys in the client's command.
    keys: Vec<u32>,
    form: Form,
}

/// How a part is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    name: &'static str,
    /// Whether the number of keys stands before them.
    counted: bool,
    with_scores: bool,
}

impl Form {
    const fn plain(name: &'static str) -> Self {
        Self { name, counted: false, with_scores: false }
    }

    const fn counted(name: &'static str, with_scores: bool) -> Self {
        Self { name, counted: true, with_scores }
    }
}

impl Ask {
    /// Appends the request; `args` is the client's command.
    pub(crate) fn write(&self, args: &Args<'_>, out: &mut Vec<u8>) {
        let form = self.form;
        encode::array(out, 1 + usize::from(form.counted) + self.keys.len() + usize::from(form.with_scores));
        encode::bulk(out, form.name.as_bytes());
        if form.counted {
            encode::bulk(out, self.keys.len().to_string().as_bytes());
        }
        for &key in &self.keys {
            encode::bulk(out, args.get(key as usize).unwrap_or_default());
        }
        if form.with_scores {
            encode::bulk(out, b"WITHSCORES");
        }
    }
}

/// How the answers become one reply.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    what: Computed,
    protocol: Protocol,
    options: Options,
    /// For each key of the command, the part that holds its answer.
    parts: Vec<u16>,
}

/// What to ask the nodes for, one entry per part, and what to make of their answers.
///
/// # Errors
/// What a server would say about the command's options, or that there are too many keys.
pub(crate) fn plan(
    what: Computed,
    args: &Args<'_>,
    keys: &[u32],
    owners: &[NodeIndex],
    protocol: Protocol,
) -> Result<(Vec<Ask>, Plan), &'static str> {
    let options = Options::read(what, args, keys.len())?;
    let located = || keys.iter().copied().zip(owners.iter().copied());
    let (asks, parts) = match what {
        Computed::SUnion => by_node(located(), [Form::plain("SUNION"); 2]),
        Computed::SInter | Computed::SInterCard => by_node(located(), [Form::plain("SINTER"); 2]),
        Computed::SDiff => by_node(located(), [Form::plain("SDIFF"), Form::plain("SUNION")]),
        Computed::ZInterCard => by_node(located(), [Form::counted("ZINTER", false); 2]),
        Computed::ZDiff => {
            let first = Form::counted("ZDIFF", options.with_scores);
            by_node(located(), [first, Form::counted("ZUNION", false)])
        }
        Computed::ZUnion | Computed::ZInter => by_key(args, located(), Form::counted("ZUNION", true))?,
        Computed::PfCount => by_key(args, located(), Form::plain("GET"))?,
    };
    Ok((asks, Plan { what, protocol, options, parts }))
}

/// One part for each node, in the order in which nodes are first named; the first part may have a form of its own.
fn by_node(
    located: impl Iterator<Item = (u32, NodeIndex)>,
    [first, other]: [Form; 2],
) -> (Vec<Ask>, Vec<u16>) {
    let (mut asks, mut parts) = (Vec::<Ask>::new(), Vec::new());
    let mut part_of = HashMap::new();
    for (key, node) in located {
        // there are fewer nodes than part numbers
        let part = *part_of.entry(node.0).or_insert_with(|| {
            let form = if asks.is_empty() { first } else { other };
            asks.push(Ask { node, keys: Vec::new(), form });
            (asks.len() - 1) as u16
        });
        asks[usize::from(part)].keys.push(key);
        parts.push(part);
    }
    (asks, parts)
}

/// One part for each different key.
fn by_key(
    args: &Args<'_>,
    located: impl Iterator<Item = (u32, NodeIndex)>,
    form: Form,
) -> Result<(Vec<Ask>, Vec<u16>), &'static str> {
    let (mut asks, mut parts) = (Vec::new(), Vec::new());
    let mut part_of = HashMap::new();
    for (key, node) in located {
        let next = u16::try_from(part_of.len()).map_err(|_| TOO_MANY_KEYS)?;
        let part = *part_of.entry(args.get(key as usize).unwrap_or_default()).or_insert_with(|| {
            asks.push(Ask { node, keys: vec![key], form });
            next
        });
        parts.push(part);
    }
    Ok((asks, parts))
}

impl Plan {
    /// Appends the reply made of the nodes' answers, in the order of the parts; the first error among them is the
    /// reply. `None` when an answer is not in the form that Redis gives it.
    pub(crate) fn finish<'a>(
        &self,
        out: &mut Vec<u8>,
        answers: impl Iterator<Item = &'a [u8]>,
    ) -> Option<()> {
        let answers: Vec<&[u8]> = answers.collect();
        if self.what == Computed::PfCount {
            return hyperloglog::count(out, &answers);
        }
        if let Some(refused) = answers.iter().find(|answer| answer.first() == Some(&b'-')) {
            pass_error(out, refused);
            return Some(());
        }
        match self.what {
            Computed::SUnion => members::union(out, self.protocol, &answers),
            Computed::SInter => members::intersection(out, self.protocol, &answers),
            Computed::SDiff => members::difference(out, self.protocol, &answers),
            Computed::SInterCard | Computed::ZInterCard => {
                members::count_intersection(out, self.options.limit, &answers)
            }
            Computed::ZDiff => scores::difference(out, self.options.with_scores, self.protocol, &answers),
            Computed::ZUnion | Computed::ZInter => {
                let inputs = self.parts.iter().enumerate().map(|(at, part)| {
                    Some(scores::Input {
                        answer: answers.get(usize::from(*part))?,
                        weight: self.options.weights.get(at).copied().unwrap_or(1.0),
                    })
                });
                let inputs = inputs.collect::<Option<Vec<_>>>()?;
                scores::combine(out, self.what, self.protocol, &self.options, &inputs)
            }
            Computed::PfCount => None,
        }
    }
}

/// A node's error line, as it is.
fn pass_error(out: &mut Vec<u8>, line: &[u8]) {
    let text = line.strip_prefix(b"-").unwrap_or(line);
    encode::error_bytes(out, text.strip_suffix(b"\r\n").unwrap_or(text));
}

#[cfg(test)]
mod tests;
