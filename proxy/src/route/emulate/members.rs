//! Unions, intersections and differences of sets: who is a member, in the order in which the nodes named them.

use std::collections::HashSet;

use crate::resp::{Protocol, encode};

use super::answer::Reader;

/// SUNION.
pub(super) fn union(out: &mut Vec<u8>, protocol: Protocol, answers: &[&[u8]]) -> Option<()> {
    let mut all = HashSet::new();
    for answer in answers {
        for member in Reader::new(answer)? {
            all.insert(member?);
        }
    }
    encode::set(out, protocol, all.len());
    for answer in answers {
        // each is written where it comes first
        Reader::new(answer)?
            .flatten()
            .filter(|member| all.remove(member))
            .for_each(|member| encode::bulk(out, member));
    }
    Some(())
}

/// SINTER.
pub(super) fn intersection(out: &mut Vec<u8>, protocol: Protocol, answers: &[&[u8]]) -> Option<()> {
    let (smallest, common) = common(answers)?;
    write_those_in(out, protocol, smallest, &common)
}

/// SINTERCARD and ZINTERCARD; a `limit` of 0 is none.
pub(super) fn count_intersection(out: &mut Vec<u8>, limit: usize, answers: &[&[u8]]) -> Option<()> {
    let (_, common) = common(answers)?;
    let count = if limit > 0 { common.len().min(limit) } else { common.len() };
    encode::integer(out, i64::try_from(count).ok()?);
    Some(())
}

/// SDIFF: the first answer without what is in any other.
pub(super) fn difference(out: &mut Vec<u8>, protocol: Protocol, answers: &[&[u8]]) -> Option<()> {
    let (first, others) = answers.split_first()?;
    let mut left = set_of(first)?;
    for answer in others {
        for member in Reader::new(answer)? {
            left.remove(member?);
        }
    }
    write_those_in(out, protocol, first, &left)
}

fn set_of(answer: &[u8]) -> Option<HashSet<&[u8]>> {
    let reader = Reader::new(answer)?;
    let mut members = HashSet::with_capacity(reader.left());
    for member in reader {
        members.insert(member?);
    }
    Some(members)
}

/// Appends those members of an answer that are in the set; all of the set are in the answer.
fn write_those_in(out: &mut Vec<u8>, protocol: Protocol, answer: &[u8], set: &HashSet<&[u8]>) -> Option<()> {
    encode::set(out, protocol, set.len());
    Reader::new(answer)?
        .flatten()
        .filter(|member| set.contains(member))
        .for_each(|member| encode::bulk(out, member));
    Some(())
}

/// The smallest answer, and which of its members all the others have. Memory follows its size.
fn common<'a>(answers: &[&'a [u8]]) -> Option<(&'a [u8], HashSet<&'a [u8]>)> {
    let mut sized = Vec::with_capacity(answers.len());
    for answer in answers {
        sized.push((Reader::new(answer)?.left(), *answer));
    }
    sized.sort_by_key(|(size, _)| *size);
    let (&(_, smallest), others) = sized.split_first()?;
    let mut common = set_of(smallest)?;
    for (_, answer) in others {
        let mut both = HashSet::new();
        for member in Reader::new(answer)? {
            if let Some(member) = common.take(member?) {
                both.insert(member);
            }
        }
        common = both;
    }
    Some((smallest, common))
}
