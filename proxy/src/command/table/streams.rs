//! Rows of the stream commands.
//!
//! XREAD and XREADGROUP find their keys behind the word STREAMS; with BLOCK they wait, which `blocks` tells.

use super::super::bits::{Categories, KeyUse};
use super::super::build::Family;
use super::super::build::uses::{INSERT, KEY, LOOK, READ, SUBKEY, TRIM};
use super::super::row::{Command, Group, Keys};

const ROW: Family = Family::new(Group::Stream, Categories::STREAM);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.write("xack", -4, KEY, "5.0.0", "Marks entries as handled by a group").fast(),
    ROW.write("xadd", -5, KEY, "5.0.0", "Appends an entry").denyoom().fast(),
    ROW.write("xautoclaim", -6, KEY, "6.2.0", "Hands idle entries to a consumer").fast().uses(TRIM),
    ROW.write("xclaim", -6, KEY, "5.0.0", "Hands entries to a consumer").fast(),
    ROW.write("xdel", -3, KEY, "5.0.0", "Removes entries").fast().uses(TRIM),
    ROW.container("xgroup", "5.0.0", "Commands about consumer groups", XGROUP),
    ROW.container("xinfo", "5.0.0", "Commands about streams", XINFO),
    ROW.read("xlen", 2, KEY, "5.0.0", "Number of entries").fast().uses(LOOK),
    ROW.read("xpending", -3, KEY, "5.0.0", "Entries a group has not finished"),
    ROW.read("xrange", -4, KEY, "5.0.0", "Entries in a range"),
    ROW.read("xread", -4, Keys::Streams { options: 1 }, "5.0.0", "New entries of streams").waits().movable(),
    ROW.write("xreadgroup", -7, Keys::Streams { options: 4 }, "5.0.0", "New entries for a consumer")
        .waits()
        .movable()
        .uses(READ),
    ROW.read("xrevrange", -4, KEY, "5.0.0", "Entries in a range, newest first"),
    ROW.write("xsetid", -3, KEY, "5.0.0", "Sets the last identifier of a stream").denyoom().fast(),
    ROW.write("xtrim", -4, KEY, "5.0.0", "Removes the oldest entries").uses(TRIM),
    ROW.write("xdelex", -5, KEY, "8.2.0", "Removes entries and what groups still hold of them")
        .fast()
        .uses(TRIM),
    ROW.write("xackdel", -6, KEY, "8.2.0", "Marks entries as handled and removes them")
        .fast()
        .uses(TRIM.with(KeyUse::UPDATE)),
];

const XGROUP: &[Command] = &[
    ROW.write("xgroup|create", -5, SUBKEY, "5.0.0", "Creates a group").denyoom().uses(INSERT),
    ROW.write("xgroup|createconsumer", 5, SUBKEY, "6.2.0", "Creates a consumer in a group")
        .denyoom()
        .uses(INSERT),
    ROW.write("xgroup|delconsumer", 5, SUBKEY, "5.0.0", "Deletes a consumer of a group").uses(TRIM),
    ROW.write("xgroup|destroy", 4, SUBKEY, "5.0.0", "Deletes a group").uses(TRIM),
    ROW.help("xgroup|help", "5.0.0"),
    ROW.write("xgroup|setid", -5, SUBKEY, "5.0.0", "Sets how far a group has read"),
];

const XINFO: &[Command] = &[
    ROW.read("xinfo|consumers", 4, SUBKEY, "5.0.0", "Consumers of a group"),
    ROW.read("xinfo|groups", 3, SUBKEY, "5.0.0", "Groups of a stream"),
    ROW.help("xinfo|help", "5.0.0"),
    ROW.read("xinfo|stream", -3, SUBKEY, "5.0.0", "Length, first and last entry of a stream"),
];
