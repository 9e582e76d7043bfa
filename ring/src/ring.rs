//! The ring itself: built once, never changed, read from as many threads as one likes.
//!
//! A look-up is three steps: the hashed part of the key (`tag`), its hash (`hash`), the owner of the hash (`points`, or
//! one division for modula). None of them depends on the number of members.

use alloc::boxed::Box;
use core::fmt;

use crate::config::{Member, RingConfig};
use crate::error::RingError;
use crate::hash::KeyFunction;
use crate::placement;
use crate::points::Points;
use crate::share;
use crate::successors::Successors;

/// An immutable placement of keys on members. See the crate's documentation for the idea.
pub struct Ring {
    config: RingConfig,
    members: Box<[Member]>,
    /// The members' places in the byte order of their names.
    by_name: Box<[u16]>,
    key_function: KeyFunction,
    table: Table,
    shares: Box<[f64]>,
}

/// What a hash is looked up in.
pub(crate) enum Table {
    /// A circle of points.
    Points(Points),
    /// modula: the members of the slots; a hash belongs to the slot of its remainder.
    Slots(Box<[u16]>),
}

impl Ring {
    /// Builds the ring of these members.
    ///
    /// # Errors
    /// No members, an empty name or the same name twice, a weight outside 1 to [`crate::MAX_WEIGHT`], more than
    /// [`crate::MAX_MEMBERS`] members or [`crate::MAX_POINTS`] points, or `points` of 0.
    pub fn build(config: &RingConfig, members: &[Member]) -> Result<Self, RingError> {
        let by_name = placement::check(config, members)?;
        let table = placement::table(config, members, &by_name)?;
        let key_function = KeyFunction::of(config.placement);
        let shares = share::shares(&table, members.len(), key_function);
        Ok(Self {
            config: config.clone(),
            members: members.into(),
            by_name: by_name.into(),
            key_function,
            table,
            shares,
        })
    }

    /// What the ring was built from.
    #[must_use]
    pub fn config(&self) -> &RingConfig {
        &self.config
    }

    /// The members in the order in which they were given to [`Ring::build`].
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The owner of a key: its place in [`Ring::members`].
    #[must_use]
    #[inline]
    pub fn owner(&self, key: &[u8]) -> usize {
        self.owner_of_hash(self.hash(key))
    }

    /// The part of the key that is hashed: what lies between the marks of the hash tag, or all of it.
    #[must_use]
    #[inline]
    pub fn hashed_part<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        match &self.config.hash_tag {
            Some(tag) => tag.hashed_part(key),
            None => key,
        }
    }

    /// The hash of the key's hashed part. Hashes of 32 bits are returned as their value.
    #[must_use]
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.key_function.hash(self.hashed_part(key))
    }

    /// The owner of a hash as [`Ring::hash`] returns it.
    #[must_use]
    #[inline]
    pub fn owner_of_hash(&self, hash: u64) -> usize {
        match &self.table {
            Table::Points(points) => points.owner(points.find(hash)),
            Table::Slots(slots) => usize::from(slots[(hash % slots.len() as u64) as usize]),
        }
    }

    /// The key's owner, then the members that would own it if those before them were gone (exactly so with the default
    /// placement), each once. Members without a point, which ketama can have, do not occur.
    #[must_use]
    pub fn successors<'r>(&'r self, key: &[u8]) -> Successors<'r> {
        Successors::new(&self.table, self.members.len(), self.hash(key))
    }

    /// The number of points on the circle; for modula the number of slots.
    #[must_use]
    pub fn point_count(&self) -> usize {
        match &self.table {
            Table::Points(points) => points.len(),
            Table::Slots(slots) => slots.len(),
        }
    }

    /// Bytes that the points and their index take on the heap, members not counted.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        match &self.table {
            Table::Points(points) => points.bytes(),
            Table::Slots(slots) => size_of_val(&**slots),
        }
    }

    /// A number over everything that decides owners: placement, key hash, points, seed, hash tag, names and weights.
    /// The order of the list does not change it, except with Envoy's placement, where it changes owners too. The same
    /// on every machine and in every version that keeps the placement.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        crate::fingerprint::fingerprint(self)
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The members with their places, in the byte order of their names.
    pub(crate) fn members_by_name(&self) -> impl Iterator<Item = (usize, &Member)> {
        self.by_name.iter().map(|&place| (usize::from(place), &self.members[usize::from(place)]))
    }

    pub(crate) fn share_list(&self) -> &[f64] {
        &self.shares
    }

    pub(crate) fn key_function(&self) -> KeyFunction {
        self.key_function
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("placement", &self.config.placement)
            .field("members", &self.members.len())
            .field("points", &self.point_count())
            .finish_non_exhaustive()
    }
}
