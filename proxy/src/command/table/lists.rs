//! Rows of the list commands.
//!
//! Those that wait for an element do so on a connection of the client's own.

use super::super::bits::Categories;
use super::super::build::Family;
use super::super::build::uses::{ALL_BUT_LAST, INSERT, KEY, LOOK, TAKE, TRIM, TWO};
use super::super::row::{Command, Group, Keys, NumKeysRule};

const ROW: Family = Family::new(Group::List, Categories::LIST);

const POP: Keys = Keys::NumKeys { at: 1, destination: false, rule: NumKeysRule::Pop };
const POP_WAITING: Keys = Keys::NumKeys { at: 2, destination: false, rule: NumKeysRule::Pop };

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.write("blmove", 6, TWO, "6.2.0", "LMOVE that waits for an element")
        .denyoom()
        .noscript()
        .waits()
        .uses(TAKE)
        .then(INSERT),
    ROW.write("blmpop", -5, POP_WAITING, "7.0.0", "LMPOP that waits for an element")
        .waits()
        .movable()
        .uses(TAKE),
    ROW.write("blpop", -3, ALL_BUT_LAST, "2.0.0", "LPOP that waits for an element")
        .noscript()
        .waits()
        .uses(TAKE),
    ROW.write("brpop", -3, ALL_BUT_LAST, "2.0.0", "RPOP that waits for an element")
        .noscript()
        .waits()
        .uses(TAKE),
    ROW.write("brpoplpush", 4, TWO, "2.2.0", "RPOPLPUSH that waits for an element")
        .denyoom()
        .noscript()
        .waits()
        .uses(TAKE)
        .then(INSERT),
    ROW.read("lindex", 3, KEY, "1.0.0", "Element at an index").lookup().kept(),
    ROW.write("linsert", 5, KEY, "2.2.0", "Inserts an element beside another").denyoom().uses(INSERT),
    ROW.read("llen", 2, KEY, "1.0.0", "Length of a list").fast().uses(LOOK).kept(),
    ROW.write("lmove", 5, TWO, "6.2.0", "Moves an element between two lists")
        .denyoom()
        .uses(TAKE)
        .then(INSERT),
    ROW.write("lmpop", -4, POP, "7.0.0", "Pops from the first that has elements").movable().uses(TAKE),
    ROW.write("lpop", -2, KEY, "1.0.0", "Pops from the head").fast().uses(TAKE),
    ROW.read("lpos", -3, KEY, "6.0.6", "Index of an element"),
    ROW.write("lpush", -3, KEY, "1.0.0", "Pushes at the head").denyoom().fast().uses(INSERT),
    ROW.write("lpushx", -3, KEY, "2.2.0", "Pushes at the head of an existing list")
        .denyoom()
        .fast()
        .uses(INSERT),
    ROW.read("lrange", 4, KEY, "1.0.0", "Elements of a range").kept(),
    ROW.write("lrem", 4, KEY, "1.0.0", "Removes elements equal to a value").uses(TRIM),
    ROW.write("lset", 4, KEY, "1.0.0", "Replaces the element at an index").denyoom(),
    ROW.write("ltrim", 4, KEY, "1.0.0", "Keeps only a range").uses(TRIM),
    ROW.write("rpop", -2, KEY, "1.0.0", "Pops from the tail").fast().uses(TAKE),
    ROW.write("rpoplpush", 3, TWO, "1.2.0", "Moves the tail of one list to the head of another")
        .denyoom()
        .uses(TAKE)
        .then(INSERT),
    ROW.write("rpush", -3, KEY, "1.0.0", "Pushes at the tail").denyoom().fast().uses(INSERT),
    ROW.write("rpushx", -3, KEY, "2.2.0", "Pushes at the tail of an existing list")
        .denyoom()
        .fast()
        .uses(INSERT),
];
