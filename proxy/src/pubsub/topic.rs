//! A channel, pattern or shard channel that a worker listens to on its nodes.

use std::cell::Cell;
use std::sync::Arc;

use crate::command::SubscriptionKind;

/// Shared by the hub, which knows who listens, and by the listeners, which ask their nodes for it.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) kind: SubscriptionKind,
    pub(crate) name: Arc<[u8]>,
    /// Questions to nodes about it that are not answered; those to nodes that are down do not count.
    open: Cell<u32>,
}

impl Topic {
    /// Nobody has been asked for it yet.
    pub(crate) fn new(kind: SubscriptionKind, name: &[u8]) -> Self {
        Self { kind, name: name.into(), open: Cell::new(0) }
    }

    /// What it is, apart from who was asked.
    pub(crate) fn key(&self) -> (SubscriptionKind, Arc<[u8]>) {
        (self.kind, Arc::clone(&self.name))
    }

    /// A node is asked.
    pub(crate) fn asked(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// A node has answered, or never will; true when it was the last one.
    pub(crate) fn answered(&self) -> bool {
        self.open.set(self.open.get().saturating_sub(1));
        self.is_settled()
    }

    /// Whether every node that can be asked has answered.
    pub(crate) fn is_settled(&self) -> bool {
        self.open.get() == 0
    }
}
