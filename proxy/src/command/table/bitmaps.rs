//! Rows of the bitmap commands.
//!
//! Bitmaps are strings; BITOP needs all its keys on one node.

use super::super::bits::{Categories, KeyUse};
use super::super::build::Family;
use super::super::build::uses::{FROM_TWO, KEY, MODIFY, READ, REPLACE};
use super::super::row::{Command, Group};

const ROW: Family = Family::new(Group::Bitmap, Categories::BITMAP);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.read("bitcount", -2, KEY, "2.6.0", "Number of bits that are set").kept(),
    ROW.write("bitfield", -2, KEY, "3.2.0", "Reads and changes integers inside a string")
        .denyoom()
        .uses(MODIFY.with(KeyUse::VARIABLE)),
    ROW.read("bitfield_ro", -2, KEY, "6.0.0", "Reads integers inside a string").fast(),
    ROW.write("bitop", -4, FROM_TWO, "2.6.0", "Combines strings bit by bit")
        .denyoom()
        .uses(REPLACE)
        .then(READ),
    ROW.read("bitpos", -3, KEY, "2.8.7", "Position of the first bit with a value").kept(),
    ROW.read("getbit", 3, KEY, "2.2.0", "One bit of a string").fast().kept(),
    ROW.write("setbit", 4, KEY, "2.2.0", "Sets one bit of a string and tells the old one")
        .denyoom()
        .uses(MODIFY),
];
