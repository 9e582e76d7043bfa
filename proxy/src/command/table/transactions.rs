//! Rows of transactions.
//!
//! The proxy queues what stands between MULTI and EXEC; one node runs it as one block.

use super::super::bits::{Categories, Flags};
use super::super::build::Family;
use super::super::build::uses::{ALL, LOOK};
use super::super::route::{Route, Transaction};
use super::super::row::{Command, Group};

const ROW: Family = Family::new(Group::Transactions, Categories::TRANSACTION);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.transaction("discard", 1, Transaction::Discard, "2.0.0", "Drops a transaction")
        .session()
        .fast()
        .allow_busy(),
    ROW.transaction("exec", 1, Transaction::Exec, "1.2.0", "Runs a transaction")
        .session()
        .flag(Flags::SKIP_SLOWLOG),
    ROW.transaction("multi", 1, Transaction::Multi, "1.2.0", "Begins a transaction")
        .session()
        .fast()
        .allow_busy(),
    ROW.transaction("unwatch", 1, Transaction::Unwatch, "2.2.0", "Forgets the watched keys")
        .session()
        .fast()
        .allow_busy(),
    ROW.keyed("watch", -2, ALL, "2.2.0", "Lets the next transaction fail when a key changes")
        .session()
        .fast()
        .allow_busy()
        .uses(LOOK)
        .route(Route::Transaction(Transaction::Watch)),
];
