//! twemproxy's `modula`, bit for bit: servers in its order (shorter names first, then by bytes), each as many slots as
//! its weight; a key belongs to slot `hash % slots`.
//!
//! It is no consistent hashing: one server more or less moves almost every key. It is here so that its users can come,
//! and see in a diff what leaving it costs.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::bounded;
use crate::config::Member;
use crate::error::RingError;

/// The members' places, one per slot.
pub(super) fn slots(members: &[Member], order: &[u16]) -> Result<Box<[u16]>, RingError> {
    let count = bounded(members.iter().map(|member| u64::from(member.weight)).sum())?;
    let mut slots = Vec::with_capacity(count);
    for &place in order {
        slots.extend((0..members[usize::from(place)].weight).map(|_| place));
    }
    Ok(slots.into())
}
