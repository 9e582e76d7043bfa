//! Rows of the set commands.
//!
//! Those that write need all their keys on one node; the reply of the others can be computed over several.

use super::super::bits::Categories;
use super::super::build::Family;
use super::super::build::uses::{ALL, INSERT, KEY, LOOK, READ, REPLACE, TAKE, TRIM, TWO};
use super::super::route::Computed;
use super::super::row::{Command, Group, Keys, NumKeysRule};

const ROW: Family = Family::new(Group::Set, Categories::SET);

const COUNTED: Keys = Keys::NumKeys { at: 1, destination: false, rule: NumKeysRule::Sets };

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.write("sadd", -3, KEY, "1.0.0", "Adds members").denyoom().fast().uses(INSERT),
    ROW.read("scard", 2, KEY, "1.0.0", "Number of members").fast().uses(LOOK).kept(),
    ROW.read("sdiff", -2, ALL, "1.0.0", "Members of only the first set").computed(Computed::SDiff),
    ROW.write("sdiffstore", -3, ALL, "1.0.0", "Stores members of only the first set")
        .denyoom()
        .uses(REPLACE)
        .then(READ),
    ROW.read("sinter", -2, ALL, "1.0.0", "Members of all sets").computed(Computed::SInter),
    ROW.read("sintercard", -3, COUNTED, "7.0.0", "Number of members of all sets")
        .movable()
        .computed(Computed::SInterCard),
    ROW.write("sinterstore", -3, ALL, "1.0.0", "Stores members of all sets").denyoom().then(READ),
    ROW.read("sismember", 3, KEY, "1.0.0", "Whether a member is in the set").fast().uses(LOOK).kept(),
    ROW.read("smembers", 2, KEY, "1.0.0", "All members").kept(),
    ROW.read("smismember", -3, KEY, "6.2.0", "Which members are in the set").fast().kept(),
    ROW.write("smove", 4, TWO, "1.0.0", "Moves a member to another set").fast().uses(TAKE).then(INSERT),
    ROW.write("spop", -2, KEY, "1.0.0", "Takes random members out").fast().uses(TAKE),
    ROW.read("srandmember", -2, KEY, "1.0.0", "Random members"),
    ROW.write("srem", -3, KEY, "1.0.0", "Removes members").fast().uses(TRIM),
    ROW.read("sscan", -3, KEY, "2.8.0", "Walks over members by cursor"),
    ROW.read("sunion", -2, ALL, "1.0.0", "Members of any set").computed(Computed::SUnion),
    ROW.write("sunionstore", -3, ALL, "1.0.0", "Stores members of any set")
        .denyoom()
        .uses(REPLACE)
        .then(READ),
];
