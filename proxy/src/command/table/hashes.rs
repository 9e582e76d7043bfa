//! Rows of the hash commands, those that expire single fields (Redis 7.4 and 8.0) included.
//!
//! A node that is too old for one of the newer rows answers so itself.

use super::super::bits::Categories;
use super::super::build::Family;
use super::super::build::uses::{INSERT, KEY, LOOK, MODIFY, TAKE, TRIM};
use super::super::row::{Command, Group};

const ROW: Family = Family::new(Group::Hash, Categories::HASH);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.write("hdel", -3, KEY, "2.0.0", "Removes fields").fast().uses(TRIM),
    ROW.read("hexists", 3, KEY, "2.0.0", "Whether a field exists").fast().uses(LOOK).kept(),
    ROW.read("hget", 3, KEY, "2.0.0", "Value of a field").fast().lookup().kept(),
    ROW.read("hgetall", 2, KEY, "2.0.0", "All fields with their values").kept(),
    ROW.write("hincrby", 4, KEY, "2.0.0", "Adds an integer to a field").denyoom().fast().uses(MODIFY),
    ROW.write("hincrbyfloat", 4, KEY, "2.6.0", "Adds a decimal number to a field")
        .denyoom()
        .fast()
        .uses(MODIFY),
    ROW.read("hkeys", 2, KEY, "2.0.0", "All field names").kept(),
    ROW.read("hlen", 2, KEY, "2.0.0", "Number of fields").fast().uses(LOOK).kept(),
    ROW.read("hmget", -3, KEY, "2.0.0", "Values of several fields").fast().lookup().kept(),
    ROW.write("hmset", -4, KEY, "2.0.0", "Sets fields; HSET does the same").denyoom().fast(),
    ROW.read("hrandfield", -2, KEY, "6.2.0", "Random fields"),
    ROW.read("hscan", -3, KEY, "2.8.0", "Walks over fields by cursor"),
    ROW.write("hset", -4, KEY, "2.0.0", "Sets fields").denyoom().fast(),
    ROW.write("hsetnx", 4, KEY, "2.0.0", "Sets a field that does not exist").denyoom().fast().uses(INSERT),
    ROW.read("hstrlen", 3, KEY, "3.2.0", "Length of a field's value").fast().uses(LOOK).kept(),
    ROW.read("hvals", 2, KEY, "2.0.0", "All values of a hash").kept(),
    ROW.write("hexpire", -6, KEY, "7.4.0", "Sets the time to live of fields in seconds").denyoom().fast(),
    ROW.write("hpexpire", -6, KEY, "7.4.0", "Sets the time to live of fields in milliseconds")
        .denyoom()
        .fast(),
    ROW.write("hexpireat", -6, KEY, "7.4.0", "Sets the end of life of fields in seconds").denyoom().fast(),
    ROW.write("hpexpireat", -6, KEY, "7.4.0", "Sets the end of life of fields in milliseconds")
        .denyoom()
        .fast(),
    ROW.read("httl", -5, KEY, "7.4.0", "Time to live of fields in seconds").fast(),
    ROW.read("hpttl", -5, KEY, "7.4.0", "Time to live of fields in milliseconds").fast(),
    ROW.read("hexpiretime", -5, KEY, "7.4.0", "End of life of fields as a Unix time in seconds").fast(),
    ROW.read("hpexpiretime", -5, KEY, "7.4.0", "End of life of fields as a Unix time in milliseconds").fast(),
    ROW.write("hpersist", -5, KEY, "7.4.0", "Takes the time to live of fields away").fast(),
    ROW.write("hgetdel", -5, KEY, "8.0.0", "Values of fields, which are then removed")
        .fast()
        .uses(TAKE)
        .lookup(),
    ROW.write("hgetex", -5, KEY, "8.0.0", "Values of fields, changing their time to live")
        .fast()
        .uses(MODIFY)
        .lookup(),
    ROW.write("hsetex", -6, KEY, "8.0.0", "Sets fields together with their time to live").denyoom().fast(),
];
