//! Counting which keys commands name, for as long as an operator wants to know.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Control, Shared};
use crate::client::count_keys;
use crate::hot_keys::{HotKeys, KeyCounts};

/// Keys are counted until this is dropped.
pub struct KeyCounting(Arc<Shared>);

impl Control {
    /// Begins to count which keys clients' commands name, those for operators and those that are refused left out; `None`
    /// while they are counted already. A command costs more meanwhile.
    pub fn count_keys(&self) -> Option<KeyCounting> {
        if self.shared.counts_keys.swap(true, Ordering::AcqRel) {
            return None;
        }
        let counting = KeyCounting(Arc::clone(&self.shared));
        self.shared.tell_workers(|worker| drop(count_keys(worker, true)));
        Some(counting)
    }
}

impl KeyCounting {
    /// Ends it, and tells what was counted; `None` when the proxy is about to end.
    pub async fn finish(self) -> Option<HotKeys> {
        let parts = self.0.gather(|worker| ready(count_keys(&worker, false))).await;
        KeyCounts::sum(parts.into_iter().flatten().collect(), Instant::now())
    }
}

impl Drop for KeyCounting {
    fn drop(&mut self) {
        self.0.tell_workers(|worker| drop(count_keys(worker, false)));
        // whoever begins now is heard by every worker behind this
        self.0.counts_keys.store(false, Ordering::Release);
    }
}
