//! What stands behind the keys, judged as Redis 7 judges it: the same words, the same errors.

use crate::command::{Computed, integer, is_word};
use crate::resp::Args;

use super::float;

const SYNTAX: &str = "ERR syntax error";
const WEIGHT: &str = "ERR weight value is not a float";
const LIMIT: &str = "ERR LIMIT can't be negative";

/// How the scores of a member in several sorted sets become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Aggregate {
    #[default]
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn from_word(word: &[u8]) -> Option<Self> {
        [("sum", Self::Sum), ("min", Self::Min), ("max", Self::Max)]
            .into_iter()
            .find_map(|(name, aggregate)| is_word(word, name).then_some(aggregate))
    }

    /// Redis's `zunionInterAggregate`: the sum of the two infinities is 0, and MIN and MAX keep what they have when
    /// the other is no number.
    pub(super) fn add(self, score: f64, other: f64) -> f64 {
        match self {
            Self::Sum => {
                let sum = score + other;
                if sum.is_nan() { 0.0 } else { sum }
            }
            Self::Min => {
                if other < score {
                    other
                } else {
                    score
                }
            }
            Self::Max => {
                if other > score {
                    other
                } else {
                    score
                }
            }
        }
    }
}

/// The options of all emulated commands together.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Options {
    /// Counting ends here; 0 is no limit.
    pub(super) limit: usize,
    /// One for each key, or none at all.
    pub(super) weights: Vec<f64>,
    pub(super) aggregate: Aggregate,
    pub(super) with_scores: bool,
}

impl Options {
    /// Reads what stands behind `keys` keys.
    ///
    /// # Errors
    /// The text that a server would give.
    pub(super) fn read(what: Computed, args: &Args<'_>, keys: usize) -> Result<Self, &'static str> {
        let mut options = Self::default();
        let mut at = match what {
            // every argument is a key
            Computed::SUnion | Computed::SInter | Computed::SDiff | Computed::PfCount => args.len(),
            _ => 2 + keys,
        };
        let counts = matches!(what, Computed::SInterCard | Computed::ZInterCard);
        let combines = matches!(what, Computed::ZUnion | Computed::ZInter);
        while let Some(word) = args.get(at) {
            let following = args.len() - at - 1;
            at += 1;
            if combines && following >= keys && is_word(word, "weights") {
                let weights = (at..at + keys).map(|at| args.get(at).and_then(float::parse_argument));
                options.weights = weights.collect::<Option<_>>().ok_or(WEIGHT)?;
                at += keys;
            } else if combines && following >= 1 && is_word(word, "aggregate") {
                options.aggregate = args.get(at).and_then(Aggregate::from_word).ok_or(SYNTAX)?;
                at += 1;
            } else if !counts && is_word(word, "withscores") {
                options.with_scores = true;
            } else if counts && following >= 1 && is_word(word, "limit") {
                let limit = args.get(at).and_then(integer);
                options.limit = limit.and_then(|limit| usize::try_from(limit).ok()).ok_or(LIMIT)?;
                at += 1;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }
}
