//! Unions, intersections and differences of sorted sets: scores as Redis computes them, members by score and bytes.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use crate::command::Computed;
use crate::resp::{Protocol, encode};

use super::answer::Reader;
use super::float;
use super::options::{Aggregate, Options};

/// The answer for one key of the command, and the key's weight.
pub(super) struct Input<'a> {
    pub(super) answer: &'a [u8],
    pub(super) weight: f64,
}

/// How members and scores stand in an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Members alone.
    Members,
    /// Members and scores in turn (RESP2).
    Flat,
    /// An array of two for each member (RESP3).
    Nested,
}

impl Layout {
    fn of(with_scores: bool, protocol: Protocol) -> Self {
        match (with_scores, protocol) {
            (false, _) => Self::Members,
            (true, Protocol::Resp2) => Self::Flat,
            (true, Protocol::Resp3) => Self::Nested,
        }
    }

    fn write_head(self, out: &mut Vec<u8>, members: usize) {
        encode::array(out, if self == Self::Flat { 2 * members } else { members });
    }

    /// Appends a member, and the text of its score where the layout has one.
    fn write(self, out: &mut Vec<u8>, member: &[u8], score: &[u8]) {
        if self == Self::Nested {
            encode::array(out, 2);
        }
        encode::bulk(out, member);
        match self {
            Self::Members => {}
            Self::Flat => encode::bulk(out, score),
            Self::Nested => {
                out.push(b',');
                out.extend_from_slice(score);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// Reads an answer member by member, each with the text of its score, which is empty where there is none.
#[derive(Debug, Clone, Copy)]
struct Entries<'a> {
    answer: Reader<'a>,
    layout: Layout,
}

impl<'a> Entries<'a> {
    fn new(answer: &'a [u8], layout: Layout) -> Option<Self> {
        Some(Self { answer: Reader::new(answer)?, layout })
    }

    fn len(&self) -> usize {
        if self.layout == Layout::Flat { self.answer.left() / 2 } else { self.answer.left() }
    }

    fn read(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let answer = &mut self.answer;
        match self.layout {
            Layout::Members => Some((answer.bulk()?, b"")),
            Layout::Flat => {
                let member = answer.bulk()?;
                Some((member, answer.advance().then(|| answer.bulk())??))
            }
            Layout::Nested => {
                answer.line(b'*').filter(|count| *count == b"2")?;
                Some((answer.bulk()?, answer.line(b',')?))
            }
        }
    }
}

/// `None` for an entry that is not in the layout; nothing after it is to be read.
impl<'a> Iterator for Entries<'a> {
    type Item = Option<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        self.answer.advance().then(|| self.read())
    }
}

/// A score, and the text of the first one it was made of.
#[derive(Debug, Clone, Copy)]
struct Score<'a> {
    value: f64,
    text: &'a [u8],
}

impl<'a> Score<'a> {
    /// The score of a member in the first input that has it: an infinity times 0 counts as 0.
    fn first(text: &'a [u8], weight: f64) -> Option<Self> {
        let value = float::parse_score(text)? * weight;
        Some(Self { value: if value.is_nan() { 0.0 } else { value }, text })
    }

    /// Its text: the node's own where it is the same number, because newer servers write scores shorter.
    fn shown<'b>(&self, written: &'b mut Vec<u8>, scratch: &mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        let same = float::parse_score(self.text).is_some_and(|value| value.to_bits() == self.value.to_bits());
        if same {
            return self.text;
        }
        written.clear();
        float::write_score(written, scratch, self.value);
        written
    }
}

type Members<'a> = HashMap<&'a [u8], Score<'a>>;

/// ZUNION and ZINTER; every answer holds one key's members with scores.
pub(super) fn combine(
    out: &mut Vec<u8>,
    what: Computed,
    protocol: Protocol,
    options: &Options,
    inputs: &[Input<'_>],
) -> Option<()> {
    let mut sources = Vec::with_capacity(inputs.len());
    for input in inputs {
        sources.push((Entries::new(input.answer, Layout::of(true, protocol))?, input.weight));
    }
    // Redis begins with the smallest, and a sum of doubles depends on the order
    sources.sort_by_key(|(entries, _)| entries.len());
    let members = if what == Computed::ZUnion {
        union(sources, options.aggregate)?
    } else {
        intersection(sources, options.aggregate)?
    };
    let mut sorted: Vec<(&[u8], Score<'_>)> = members.into_iter().collect();
    sorted.sort_unstable_by(|(member, score), (other, other_score)| {
        // no score is NaN, and 0 equals -0 here as it does in Redis
        let by_score = score.value.partial_cmp(&other_score.value).unwrap_or(Ordering::Equal);
        by_score.then_with(|| member.cmp(other))
    });
    let layout = Layout::of(options.with_scores, protocol);
    layout.write_head(out, sorted.len());
    let (mut written, mut scratch) = (Vec::new(), Vec::new());
    for (member, score) in &sorted {
        let text = if options.with_scores { score.shown(&mut written, &mut scratch) } else { b"" };
        layout.write(out, member, text);
    }
    Some(())
}

fn union<'a>(inputs: Vec<(Entries<'a>, f64)>, aggregate: Aggregate) -> Option<Members<'a>> {
    // there are at least as many members as in the largest, which is the last
    let most = inputs.last().map_or(0, |(entries, _)| entries.len());
    let mut members = Members::with_capacity(most);
    for (entries, weight) in inputs {
        for entry in entries {
            let (member, text) = entry?;
            let score = Score::first(text, weight)?;
            members
                .entry(member)
                .and_modify(|known| known.value = aggregate.add(known.value, score.value))
                .or_insert(score);
        }
    }
    Some(members)
}

fn intersection<'a>(inputs: Vec<(Entries<'a>, f64)>, aggregate: Aggregate) -> Option<Members<'a>> {
    let mut inputs = inputs.into_iter();
    let (smallest, weight) = inputs.next()?;
    let mut members = Members::with_capacity(smallest.len());
    for entry in smallest {
        let (member, text) = entry?;
        members.insert(member, Score::first(text, weight)?);
    }
    for (entries, weight) in inputs {
        let mut both = Members::new();
        for entry in entries {
            let (member, text) = entry?;
            if let Some(mut score) = members.remove(member) {
                // unlike the first, Redis does not look at these for NaN before they are added
                score.value = aggregate.add(score.value, float::parse_score(text)? * weight);
                both.insert(member, score);
            }
        }
        members = both;
    }
    Some(members)
}

/// ZDIFF: the first answer, which its node has sorted, without the members of any other.
pub(super) fn difference(
    out: &mut Vec<u8>,
    with_scores: bool,
    protocol: Protocol,
    answers: &[&[u8]],
) -> Option<()> {
    let (first, others) = answers.split_first()?;
    let layout = Layout::of(with_scores, protocol);
    let entries = Entries::new(first, layout)?;
    let mut left = HashSet::with_capacity(entries.len());
    for entry in entries {
        left.insert(entry?.0);
    }
    for answer in others {
        for member in Reader::new(answer)? {
            left.remove(member?);
        }
    }
    layout.write_head(out, left.len());
    entries
        .flatten()
        .filter(|(member, _)| left.contains(member))
        .for_each(|(member, score)| layout.write(out, member, score));
    Some(())
}
