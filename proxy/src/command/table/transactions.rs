//! Rows of transactions.
//!
//! All need a session of their own on one node, so all are refused for now.

use super::super::bits::{Categories, Flags};
use super::super::build::Family;
use super::super::build::uses::{ALL, LOOK};
use super::super::row::{Command, Group};
use super::rules;

const ROW: Family = Family::new(Group::Transactions, Categories::TRANSACTION);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.refused("discard", 1, rules::TRANSACTION, "2.0.0", "Drops a transaction")
        .session()
        .fast()
        .allow_busy(),
    ROW.refused("exec", 1, rules::TRANSACTION, "1.2.0", "Runs a transaction")
        .session()
        .flag(Flags::SKIP_SLOWLOG),
    ROW.refused("multi", 1, rules::TRANSACTION, "1.2.0", "Begins a transaction")
        .session()
        .fast()
        .allow_busy(),
    ROW.refused("unwatch", 1, rules::TRANSACTION, "2.2.0", "Forgets the watched keys")
        .session()
        .fast()
        .allow_busy(),
    ROW.keyed("watch", -2, ALL, "2.2.0", "Lets the next transaction fail when a key changes")
        .session()
        .fast()
        .allow_busy()
        .uses(LOOK)
        .refused_by(rules::TRANSACTION),
];
