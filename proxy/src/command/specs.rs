//! Key positions in the two forms that Redis's `COMMAND INFO` shows: first, last and step, and key specifications.
//!
//! Both are derived from [`Keys`] and the row's [`KeyUse`]s; nothing about a command is written down twice.

use super::bits::KeyUse;
use super::row::{Command, Keys};

/// One key specification: where a group of keys begins, how far it goes, what happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpec {
    /// What the command does with these keys.
    pub uses: KeyUse,
    /// Where the first of them is found.
    pub begin: Begin,
    /// How the others follow from there.
    pub find: Find,
}

/// Where a key specification begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At this argument.
    Index(usize),
    /// Behind this word, searched from an argument on (negative: backwards from the end).
    Keyword(&'static str, isize),
    /// The arguments do not tell.
    Unknown,
}

/// How the keys of a specification follow from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Find {
    /// Up to `last`, relative to the beginning (negative: from the end of the arguments), every `step`-th; with a
    /// `limit` only that part of what follows.
    Range {
        /// Index of the last key.
        last: isize,
        /// Distance between keys.
        step: usize,
        /// 0, or the divisor of the rest: 2 is the first half.
        limit: usize,
    },
    /// A number of keys, and the keys: both counted from the beginning.
    KeyNum {
        /// Index of the number.
        number: usize,
        /// Index of the first key.
        first: usize,
        /// Distance between keys.
        step: usize,
    },
    /// The arguments do not tell.
    Unknown,
}

/// The beginning holds the number of keys; they follow it.
const NUMBER_AND_KEYS: Find = Find::KeyNum { number: 0, first: 1, step: 1 };
/// Just the key at the beginning.
const ONE: Find = Find::Range { last: 0, step: 1, limit: 0 };

impl KeySpec {
    /// First key, last key and step, as far as these three can say it.
    fn first_last_step(&self) -> (usize, isize, usize) {
        match (self.begin, self.find) {
            (Begin::Index(first), Find::Range { last, step, limit: 0 }) if last < 0 => (first, last, step),
            (Begin::Index(first), Find::Range { last, step, limit: 0 }) => {
                (first, first as isize + last, step)
            }
            _ => (0, 0, 0),
        }
    }
}

impl Keys {
    /// First key, last key and step as `COMMAND INFO` shows them; zeros where they cannot be told so.
    pub fn first_last_step(self) -> (usize, isize, usize) {
        match self {
            Keys::None | Keys::Streams { .. } | Keys::NumKeys { destination: false, .. } => (0, 0, 0),
            Keys::Specs(specs) => specs.first().map_or((0, 0, 0), KeySpec::first_last_step),
            Keys::One(at) => (at, at as isize, 1),
            Keys::Move => (1, 1, 1),
            Keys::Range { first, last, step } => (first, last, step),
            Keys::NumKeys { .. } | Keys::Sort { .. } | Keys::GeoRadius { .. } => (1, 1, 1),
            Keys::Copy => (1, 2, 1),
            Keys::Migrate => (3, 3, 1),
            Keys::Channels { first, last } => (first, last, 1),
        }
    }

    /// Beginnings and ends of the key specifications, in order; `split` when the keys after the first are used in
    /// another way than the first.
    fn spans(self, split: bool) -> [Option<(Begin, Find)>; 3] {
        let range = |first: usize, last: isize, step| {
            let last = if last < 0 { last } else { last - first as isize };
            (Begin::Index(first), Find::Range { last, step, limit: 0 })
        };
        let unknown = (Begin::Unknown, Find::Unknown);
        match self {
            Keys::None | Keys::Specs(_) => [None; 3],
            Keys::One(at) => [Some((Begin::Index(at), ONE)), None, None],
            Keys::Move => [Some((Begin::Index(1), ONE)), None, None],
            Keys::Range { first, last, step } if split => {
                [Some((Begin::Index(first), ONE)), Some(range(first + 1, last, step)), None]
            }
            Keys::Range { first, last, step } => [Some(range(first, last, step)), None, None],
            Keys::Channels { first, last } => [Some(range(first, last, 1)), None, None],
            Keys::NumKeys { at, destination: true, .. } => {
                [Some((Begin::Index(1), ONE)), Some((Begin::Index(at), NUMBER_AND_KEYS)), None]
            }
            Keys::NumKeys { at, .. } => [Some((Begin::Index(at), NUMBER_AND_KEYS)), None, None],
            Keys::Streams { options } => {
                let half = Find::Range { last: -1, step: 1, limit: 2 };
                [Some((Begin::Keyword("STREAMS", options as isize), half)), None, None]
            }
            Keys::Sort { store } => [Some((Begin::Index(1), ONE)), Some(unknown), store.then_some(unknown)],
            Keys::GeoRadius { options } => {
                let after = |word| Some((Begin::Keyword(word, options as isize), ONE));
                [Some((Begin::Index(1), ONE)), after("STORE"), after("STOREDIST")]
            }
            Keys::Copy => [Some((Begin::Index(1), ONE)), Some((Begin::Index(2), ONE)), None],
            Keys::Migrate => {
                let rest = Find::Range { last: -1, step: 1, limit: 0 };
                [Some((Begin::Index(3), ONE)), Some((Begin::Keyword("KEYS", -2), rest)), None]
            }
        }
    }
}

impl Command {
    /// The key specifications in Redis's order.
    pub fn key_specs(&self) -> impl Iterator<Item = KeySpec> {
        let spans = self.keys.spans(!self.key_uses[1].is_empty());
        let told: &[KeySpec] = if let Keys::Specs(specs) = self.keys { specs } else { &[] };
        let own = spans.into_iter().zip(self.key_uses).filter_map(|(span, uses)| {
            let (begin, find) = span?;
            Some(KeySpec { uses, begin, find })
        });
        own.chain(told.iter().copied())
    }
}
