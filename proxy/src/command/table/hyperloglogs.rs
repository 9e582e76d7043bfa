//! Rows of the HyperLogLog commands.
//!
//! PFMERGE needs all its keys on one node; PFCOUNT can be computed over several.

use super::super::bits::{Categories, KeyUse};
use super::super::build::Family;
use super::super::build::uses::{ALL, INSERT, KEY, READ, SUBKEY};
use super::super::route::Computed;
use super::super::row::{Command, Group};
use super::rules;

const ROW: Family = Family::new(Group::HyperLogLog, Categories::HYPERLOGLOG);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.write("pfadd", -2, KEY, "2.8.9", "Adds elements to a HyperLogLog").denyoom().fast().uses(INSERT),
    ROW.read("pfcount", -2, ALL, "2.8.9", "Estimated number of different elements")
        .uses(KeyUse::RW.with(KeyUse::ACCESS))
        .computed(Computed::PfCount),
    ROW.write("pfdebug", 3, SUBKEY, "2.8.9", "Looks inside a HyperLogLog")
        .denyoom()
        .admin()
        .uses(KeyUse::RW.with(KeyUse::ACCESS))
        .refused_by(rules::DEBUG),
    ROW.write("pfmerge", -2, ALL, "2.8.9", "Merges HyperLogLogs into the first")
        .denyoom()
        .uses(INSERT.with(KeyUse::ACCESS))
        .then(READ),
    ROW.refused("pfselftest", 1, rules::DEBUG, "2.8.9", "Tests the HyperLogLog code").admin(),
];
