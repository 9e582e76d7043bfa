//! Rows of the string commands.
//!
//! MGET and MSET are split over nodes; MSETNX is not, because its promise is all or nothing.

use super::super::bits::{Categories, KeyUse};
use super::super::build::Family;
use super::super::build::uses::{ALL, CREATE, INSERT, KEY, LOOK, MODIFY, PAIRS, REPLACE, TAKE, TWO};
use super::super::route::Join;
use super::super::row::{Command, Group};

const ROW: Family = Family::new(Group::String, Categories::STRING);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.write("append", 3, KEY, "2.0.0", "Appends to a string").denyoom().fast().uses(INSERT),
    ROW.write("decr", 2, KEY, "1.0.0", "Subtracts one").denyoom().fast().uses(MODIFY),
    ROW.write("decrby", 3, KEY, "1.0.0", "Subtracts an integer").denyoom().fast().uses(MODIFY),
    ROW.read("get", 2, KEY, "1.0.0", "Value of a string").fast().lookup().kept(),
    ROW.write("getdel", 2, KEY, "6.2.0", "Value of a string, then deleted").fast().uses(TAKE).lookup(),
    ROW.write("getex", -2, KEY, "6.2.0", "Value of a string, new time to live").fast().uses(MODIFY).lookup(),
    ROW.read("getrange", 4, KEY, "2.4.0", "Part of a string").kept(),
    ROW.write("getset", 3, KEY, "1.0.0", "Sets a string, tells the old value")
        .denyoom()
        .fast()
        .uses(MODIFY)
        .lookup(),
    ROW.write("incr", 2, KEY, "1.0.0", "Adds one").denyoom().fast().uses(MODIFY),
    ROW.write("incrby", 3, KEY, "1.0.0", "Adds an integer").denyoom().fast().uses(MODIFY),
    ROW.write("incrbyfloat", 3, KEY, "2.6.0", "Adds a decimal number").denyoom().fast().uses(MODIFY),
    ROW.read("lcs", -3, TWO, "7.0.0", "Longest common subsequence of two strings"),
    ROW.read("mget", -2, ALL, "1.0.0", "Values of several strings").fast().split(Join::Values).lookup(),
    ROW.write("mset", -3, PAIRS, "1.0.1", "Sets several strings").denyoom().uses(REPLACE).split(Join::Ok),
    ROW.write("msetnx", -3, PAIRS, "1.0.1", "Sets several strings if none of them exists")
        .denyoom()
        .uses(CREATE),
    ROW.write("psetex", 4, KEY, "2.6.0", "Sets a string that lives for milliseconds").denyoom().uses(REPLACE),
    ROW.write("set", -3, KEY, "1.0.0", "Sets a string").denyoom().uses(MODIFY.with(KeyUse::VARIABLE)),
    ROW.write("setex", 4, KEY, "2.0.0", "Sets a string that lives for seconds").denyoom().uses(REPLACE),
    ROW.write("setnx", 3, KEY, "1.0.0", "Sets a string that does not exist").denyoom().fast().uses(CREATE),
    ROW.write("setrange", 4, KEY, "2.2.0", "Overwrites part of a string").denyoom(),
    ROW.read("strlen", 2, KEY, "2.2.0", "Length of a string").fast().uses(LOOK).kept(),
    ROW.read("substr", 4, KEY, "1.0.0", "Older name of GETRANGE").kept(),
];
