//! Unions, intersections and differences of sets: who is a member, in the order in which the nodes named them.

use std::collections::HashSet;

use crate::resp::{Protocol, encode, reply};

use super::members_of;

/// SUNION.
pub(super) fn union(out: &mut Vec<u8>, protocol: Protocol, answers: &[&[u8]]) -> Option<()> {
    let mut all: HashSet<&[u8]> = HashSet::new();
    for answer in answers {
        for member in members_of(answer)? {
            all.insert(member?);
        }
    }
    encode::set(out, protocol, all.len());
    for answer in answers {
        // each is written where it comes first
        members_of(answer)?
            .flatten()
            .filter(|member| all.remove(member))
            .for_each(|member| encode::bulk(out, member));
    }
    Some(())
}

/// SINTER.
pub(super) fn intersection(out: &mut Vec<u8>, protocol: Protocol, answers: &[&[u8]]) -> Option<()> {
    let common = common(answers)?;
    encode::set(out, protocol, common.len());
    common.iter().for_each(|member| encode::bulk(out, member));
    Some(())
}

/// SINTERCARD and ZINTERCARD; a `limit` of 0 is none.
pub(super) fn count_intersection(out: &mut Vec<u8>, limit: usize, answers: &[&[u8]]) -> Option<()> {
    let count = common(answers)?.len();
    let count = if limit > 0 { count.min(limit) } else { count };
    encode::integer(out, i64::try_from(count).ok()?);
    Some(())
}

/// SDIFF: the first answer without what is in any other.
pub(super) fn difference(out: &mut Vec<u8>, protocol: Protocol, answers: &[&[u8]]) -> Option<()> {
    let (first, left) = first_without_others(answers)?;
    encode::set(out, protocol, left.len());
    members_of(first)?
        .flatten()
        .filter(|member| left.contains(member))
        .for_each(|member| encode::bulk(out, member));
    Some(())
}

/// The first answer, and which of its members no other answer has.
fn first_without_others<'a>(answers: &[&'a [u8]]) -> Option<(&'a [u8], HashSet<&'a [u8]>)> {
    let (first, others) = answers.split_first()?;
    let mut left = members_of(first)?.collect::<Option<HashSet<_>>>()?;
    for answer in others {
        for member in members_of(answer)? {
            left.remove(member?);
        }
    }
    Some((first, left))
}

/// What all answers have. The smallest comes first, so that memory and time follow its size.
fn common<'a>(answers: &[&'a [u8]]) -> Option<HashSet<&'a [u8]>> {
    let mut sized = Vec::with_capacity(answers.len());
    for answer in answers {
        sized.push((reply::elements(answer)?.left(), *answer));
    }
    sized.sort_by_key(|(size, _)| *size);
    let mut sized = sized.into_iter();
    let (_, smallest) = sized.next()?;
    let mut common = members_of(smallest)?.collect::<Option<HashSet<_>>>()?;
    for (_, answer) in sized {
        let mut both = HashSet::new();
        for member in members_of(answer)? {
            both.extend(member.map(|member| common.take(member))?);
        }
        common = both;
    }
    Some(common)
}
