//! From a configuration to the table that look-ups search: checks first, then one file per placement.
//!
//! The law: a placement sees names, weights and its own parameters, never an address and, Envoy's apart, never the
//! order of the list. Members get a *rank* (their place in the placement's own order), ties go to the lower rank.

mod envoy;
mod ketama;
mod modula;
mod xxh3;

use alloc::vec::Vec;

use crate::config::{MAX_MEMBERS, MAX_POINTS, MAX_WEIGHT, Member, Placement, RingConfig};
use crate::error::RingError;
use crate::points::Points;
use crate::ring::Table;

/// The table of checked members; `by_name` is what [`check`] returned for them.
pub(crate) fn table(config: &RingConfig, members: &[Member], by_name: &[u16]) -> Result<Table, RingError> {
    Ok(match config.placement {
        Placement::Xxh3 => {
            Table::Points(Points::packed(&xxh3::points(config, members, by_name)?, by_name, 0))
        }
        Placement::Ketama(_) => {
            let order = by_length(members, by_name);
            Table::Points(Points::packed(&ketama::points(members, &order)?, &order, 32))
        }
        Placement::Modula(_) => Table::Slots(modula::slots(members, &by_length(members, by_name))?),
        Placement::EnvoyRing => envoy::table(config, members, by_name, envoy::xx_hash)?,
        Placement::EnvoyRingMurmur => envoy::table(config, members, by_name, envoy::murmur_hash)?,
    })
}

/// Refuses more points than a ring may have.
fn bounded(points: u64) -> Result<usize, RingError> {
    if points > MAX_POINTS { Err(RingError::TooManyPoints(points)) } else { Ok(points as usize) }
}

/// Checks the description; returns the members' places in the list, in the byte order of their names.
pub(crate) fn check(config: &RingConfig, members: &[Member]) -> Result<Vec<u16>, RingError> {
    if members.is_empty() {
        return Err(RingError::NoMembers);
    }
    if members.len() > MAX_MEMBERS {
        return Err(RingError::TooManyMembers(members.len()));
    }
    if config.points == 0 {
        return Err(RingError::ZeroPoints);
    }
    if let Some(place) = members.iter().position(|member| member.name.is_empty()) {
        return Err(RingError::EmptyName(place));
    }
    if let Some(member) = members.iter().find(|member| !(1..=MAX_WEIGHT).contains(&member.weight)) {
        return Err(RingError::Weight { name: member.name.clone(), weight: member.weight });
    }
    let mut order: Vec<u16> = (0..members.len() as u16).collect();
    let name = |place: u16| &members[usize::from(place)].name;
    order.sort_unstable_by_key(|&place| name(place).as_bytes());
    match order.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
        Some(pair) => Err(RingError::DuplicateName(name(pair[0]).clone())),
        None => Ok(order),
    }
}

/// The members' places in twemproxy's order: shorter names first, equally long ones by their bytes.
fn by_length(members: &[Member], by_name: &[u16]) -> Vec<u16> {
    let mut order = Vec::from(by_name);
    order.sort_by_key(|&place| members[usize::from(place)].name.len());
    order
}
