//! Figures of the answers that are kept for keys that are read again and again.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Counter;

/// One worker's.
#[derive(Debug, Default)]
pub struct NearStats {
    /// Reads that were answered from what is kept.
    pub hits: Counter,
    /// Answers that were asked for and kept.
    pub fills: Counter,
    /// Keys that nodes said have changed.
    pub invalidations: Counter,
    keys: AtomicU64,
    bytes: AtomicU64,
}

impl NearStats {
    /// What is kept now.
    pub(crate) fn publish(&self, keys: usize, bytes: usize) {
        self.keys.store(keys as u64, Ordering::Relaxed);
        self.bytes.store(bytes as u64, Ordering::Relaxed);
    }
}

/// Sums over all workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NearSnapshot {
    /// Reads that were answered from what is kept.
    pub hits: u64,
    /// Answers that were asked for and kept.
    pub fills: u64,
    /// Keys that nodes said have changed.
    pub invalidations: u64,
    /// Keys of which something is kept, each counted once for each worker that does.
    pub keys: u64,
    /// Bytes of memory that it takes.
    pub bytes: u64,
}

impl NearSnapshot {
    pub(super) fn add(&mut self, worker: &NearStats) {
        self.hits += worker.hits.get();
        self.fills += worker.fills.get();
        self.invalidations += worker.invalidations.get();
        self.keys += worker.keys.load(Ordering::Relaxed);
        self.bytes += worker.bytes.load(Ordering::Relaxed);
    }
}
