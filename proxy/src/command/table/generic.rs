//! Rows of the commands about keys as such, whatever they hold.
//!
//! DEL, UNLINK, EXISTS and TOUCH are split over nodes; those that walk over all keys go to all nodes.

use super::super::bits::{Categories, KeyUse};
use super::super::build::Family;
use super::super::build::uses::{ALL, CREATE, KEY, LOOK, MODIFY, READ, REMOVE, REPLACE, SUBKEY, TAKE, TWO};
use super::super::route::{Join, Route};
use super::super::row::{Command, Group, Keys};
use super::rules;

const ROW: Family = Family::new(Group::Generic, Categories::KEYSPACE);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.write("copy", -3, Keys::Copy, "6.2.0", "Copies a value to another key")
        .denyoom()
        .uses(READ)
        .then(REPLACE),
    ROW.write("del", -2, ALL, "1.0.0", "Deletes keys").uses(REMOVE).split(Join::Sum),
    ROW.read("dump", 2, KEY, "2.6.0", "A value in serialised form").lookup(),
    ROW.read("exists", -2, ALL, "1.0.0", "How many of the keys exist").fast().uses(LOOK).split(Join::Sum),
    ROW.write("expire", -3, KEY, "1.0.0", "Sets the time to live in seconds").fast(),
    ROW.write("expireat", -3, KEY, "1.2.0", "Sets the end of life as a Unix time in seconds").fast(),
    ROW.read("expiretime", 2, KEY, "7.0.0", "End of life as a Unix time in seconds").fast(),
    ROW.everywhere("keys", 2, Join::Keys, "1.0.0", "All keys that match a pattern")
        .guarded(rules::ALL_KEYS)
        .reads()
        .also(Categories::DANGEROUS),
    ROW.write("migrate", -6, Keys::Migrate, "2.6.0", "Moves keys to another server")
        .movable()
        .uses(TAKE)
        .then(TAKE.with(KeyUse::INCOMPLETE))
        .also(Categories::DANGEROUS)
        .refused_by(rules::MIGRATE),
    ROW.write("move", 3, Keys::Move, "1.0.0", "Moves a key to another database").fast().uses(MODIFY),
    ROW.container("object", "2.2.3", "Commands about how a value is held", OBJECT),
    ROW.write("persist", 2, KEY, "2.2.0", "Takes the time to live away").fast(),
    ROW.write("pexpire", -3, KEY, "2.6.0", "Sets the time to live in milliseconds").fast(),
    ROW.write("pexpireat", -3, KEY, "2.6.0", "Sets the end of life as a Unix time in milliseconds").fast(),
    ROW.read("pexpiretime", 2, KEY, "7.0.0", "End of life as a Unix time in milliseconds").fast(),
    ROW.read("pttl", 2, KEY, "2.6.0", "Time to live in milliseconds").fast(),
    ROW.everywhere("randomkey", 1, Join::Draw, "1.0.0", "Some key").reads(),
    ROW.write("rename", 3, TWO, "1.0.0", "Renames a key").uses(TAKE).then(REPLACE),
    ROW.write("renamenx", 3, TWO, "1.0.0", "Renames a key if the new name is free")
        .fast()
        .uses(TAKE)
        .then(CREATE),
    ROW.write("restore", -4, KEY, "2.6.0", "Creates a key from its serialised form")
        .denyoom()
        .uses(REPLACE)
        .also(Categories::DANGEROUS),
    ROW.keyed("scan", -2, Keys::None, "2.8.0", "Walks over all keys by cursor").route(Route::Scan).reads(),
    ROW.write("sort", -2, Keys::Sort { store: true }, "1.0.0", "Sorted elements, which can be stored")
        .denyoom()
        .movable()
        .uses(READ)
        .then(READ)
        .and_then(REPLACE)
        .only(Categories::DANGEROUS.with(Categories::LIST).with(Categories::SET).with(Categories::SORTEDSET)),
    ROW.read("sort_ro", -2, Keys::Sort { store: false }, "7.0.0", "Sorted elements")
        .movable()
        .then(READ)
        .only(Categories::DANGEROUS.with(Categories::LIST).with(Categories::SET).with(Categories::SORTEDSET)),
    ROW.read("touch", -2, ALL, "3.2.1", "Marks keys as used and counts those that exist")
        .fast()
        .uses(LOOK)
        .split(Join::Sum),
    ROW.read("ttl", 2, KEY, "1.0.0", "Time to live in seconds").fast(),
    ROW.read("type", 2, KEY, "1.0.0", "What kind of value a key holds").fast().uses(LOOK).kept(),
    ROW.write("unlink", -2, ALL, "4.0.0", "Deletes keys, freeing memory in the background")
        .fast()
        .uses(REMOVE)
        .split(Join::Sum),
    ROW.keyed("wait", 3, Keys::None, "3.0.0", "Waits until replicas have the writes")
        .route(Route::Replicas)
        .noscript()
        .only(Categories::CONNECTION),
    ROW.keyed("waitaof", 4, Keys::None, "7.2.0", "Waits until writes are on disk")
        .route(Route::Replicas)
        .blocking()
        .only(Categories::CONNECTION),
];

const OBJECT: &[Command] = &[
    ROW.read("object|encoding", 3, SUBKEY, "2.2.3", "Internal encoding of a value").uses(LOOK),
    ROW.read("object|freq", 3, SUBKEY, "4.0.0", "How often a value is used, by the logarithmic counter")
        .uses(LOOK),
    ROW.help("object|help", "6.2.0"),
    ROW.read("object|idletime", 3, SUBKEY, "2.2.3", "Seconds since a value was last used").uses(LOOK),
    ROW.read("object|refcount", 3, SUBKEY, "2.2.3", "Number of references to a value").uses(LOOK),
];
