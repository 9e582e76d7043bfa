//! Rows of the sorted set commands.
//!
//! Those that wait for a member do so on a connection of the client's own.

use super::super::bits::Categories;
use super::super::build::Family;
use super::super::build::uses::{ALL_BUT_LAST, KEY, LOOK, MODIFY, READ, REPLACE, TAKE, TRIM, TWO};
use super::super::route::Computed;
use super::super::row::{Command, Group, Keys, NumKeysRule};

const ROW: Family = Family::new(Group::SortedSet, Categories::SORTEDSET);

const COUNTED: Keys = Keys::NumKeys { at: 1, destination: false, rule: NumKeysRule::SortedSets };
const COUNTED_INTO: Keys = Keys::NumKeys { at: 2, destination: true, rule: NumKeysRule::SortedSets };
const POP: Keys = Keys::NumKeys { at: 1, destination: false, rule: NumKeysRule::Pop };
const POP_WAITING: Keys = Keys::NumKeys { at: 2, destination: false, rule: NumKeysRule::Pop };

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.write("bzmpop", -5, POP_WAITING, "7.0.0", "ZMPOP that waits for a member")
        .waits()
        .movable()
        .uses(TAKE),
    ROW.write("bzpopmax", -3, ALL_BUT_LAST, "5.0.0", "ZPOPMAX that waits for a member")
        .noscript()
        .waits()
        .fast()
        .uses(TAKE),
    ROW.write("bzpopmin", -3, ALL_BUT_LAST, "5.0.0", "ZPOPMIN that waits for a member")
        .noscript()
        .waits()
        .fast()
        .uses(TAKE),
    ROW.write("zadd", -4, KEY, "1.2.0", "Adds members or changes their score").denyoom().fast(),
    ROW.read("zcard", 2, KEY, "1.2.0", "Number of members").fast().uses(LOOK).kept(),
    ROW.read("zcount", 4, KEY, "2.0.0", "Number of members in a range of scores").fast().kept(),
    ROW.read("zdiff", -3, COUNTED, "6.2.0", "Members of only the first sorted set")
        .movable()
        .computed(Computed::ZDiff),
    ROW.write("zdiffstore", -4, COUNTED_INTO, "6.2.0", "Stores members of only the first sorted set")
        .denyoom()
        .movable()
        .uses(REPLACE)
        .then(READ),
    ROW.write("zincrby", 4, KEY, "1.2.0", "Adds to the score of a member").denyoom().fast().uses(MODIFY),
    ROW.read("zinter", -3, COUNTED, "6.2.0", "Members of all sorted sets")
        .movable()
        .computed(Computed::ZInter),
    ROW.read("zintercard", -3, COUNTED, "7.0.0", "Number of members of all sorted sets")
        .movable()
        .computed(Computed::ZInterCard),
    ROW.write("zinterstore", -4, COUNTED_INTO, "2.0.0", "Stores members of all sorted sets")
        .denyoom()
        .movable()
        .uses(REPLACE)
        .then(READ),
    ROW.read("zlexcount", 4, KEY, "2.8.9", "Number of members in a range of names").fast().kept(),
    ROW.write("zmpop", -4, POP, "7.0.0", "Pops from the first that has members").movable().uses(TAKE),
    ROW.read("zmscore", -3, KEY, "6.2.0", "Scores of several members").fast().lookup().kept(),
    ROW.write("zpopmax", -2, KEY, "5.0.0", "Pops the members with the highest scores").fast().uses(TAKE),
    ROW.write("zpopmin", -2, KEY, "5.0.0", "Pops the members with the lowest scores").fast().uses(TAKE),
    ROW.read("zrandmember", -2, KEY, "6.2.0", "Random members"),
    ROW.read("zrange", -4, KEY, "1.2.0", "Members in a range of ranks, scores or names").kept(),
    ROW.read("zrangebylex", -4, KEY, "2.8.9", "Members in a range of names").kept(),
    ROW.read("zrangebyscore", -4, KEY, "1.0.5", "Members in a range of scores").kept(),
    ROW.write("zrangestore", -5, TWO, "6.2.0", "Stores the members in a range")
        .denyoom()
        .uses(REPLACE)
        .then(READ),
    ROW.read("zrank", 3, KEY, "2.0.0", "Rank of a member from the lowest score").fast().lookup().kept(),
    ROW.write("zrem", -3, KEY, "1.2.0", "Removes members").fast().uses(TRIM),
    ROW.write("zremrangebylex", 4, KEY, "2.8.9", "Removes members in a range of names").uses(TRIM),
    ROW.write("zremrangebyrank", 4, KEY, "2.0.0", "Removes members in a range of ranks").uses(TRIM),
    ROW.write("zremrangebyscore", 4, KEY, "1.2.0", "Removes members in a range of scores").uses(TRIM),
    ROW.read("zrevrange", -4, KEY, "1.2.0", "Members in a range of ranks from the highest score").kept(),
    ROW.read("zrevrangebylex", -4, KEY, "2.8.9", "Members in a range of names, backwards").kept(),
    ROW.read("zrevrangebyscore", -4, KEY, "2.2.0", "Members in a range of scores, backwards").kept(),
    ROW.read("zrevrank", 3, KEY, "2.0.0", "Rank of a member from the highest score").fast().lookup().kept(),
    ROW.read("zscan", -3, KEY, "2.8.0", "Walks over members and scores by cursor"),
    ROW.read("zscore", 3, KEY, "1.2.0", "Score of a member").fast().lookup().kept(),
    ROW.read("zunion", -3, COUNTED, "6.2.0", "Members of any sorted set")
        .movable()
        .computed(Computed::ZUnion),
    ROW.write("zunionstore", -4, COUNTED_INTO, "2.0.0", "Stores members of any sorted set")
        .denyoom()
        .movable()
        .uses(REPLACE)
        .then(READ),
];
