//! Which keys are being written by clients of this process, and which have been: shared by all workers.
//!
//! Two numbers for each of many groups of keys, in one word: how many writes have ended, and how many are under way. A kept
//! answer carries the word that it was asked for by, when none was under way; it holds as long as the word is the same. So
//! it ends to hold when a write is dispatched, before that can have run, and whatever was asked for in the meantime does
//! not hold either, as the count has moved on when the write's reply leaves.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Groups of keys; a power of two.
const GROUPS: usize = 1 << 16;
/// One write that has ended: above as many as can be under way at once.
const ENDED: u64 = 1 << 24;
/// The part of the word that counts writes under way.
const UNDER_WAY: u64 = ENDED - 1;
/// Keys of one write that are noted one by one; of more, all keys are.
const MOST_KEYS: usize = 256;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Writes {
    groups: Box<[AtomicU64]>,
    /// Of what concerns all keys.
    all: AtomicU64,
}

impl Default for Writes {
    fn default() -> Self {
        Self { groups: (0..GROUPS).map(|_| AtomicU64::new(0)).collect(), all: AtomicU64::new(0) }
    }
}

impl Writes {
    fn group(&self, group: u32) -> &AtomicU64 {
        &self.groups[group as usize % GROUPS]
    }
}

/// What stood in [`Writes`] when an answer was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    group: u64,
    all: u64,
}

/// [`Writes`] as one worker has it: copies cost no word that workers share.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Rc<Arc<Writes>>);

impl Ledger {
    pub(super) fn new(writes: Arc<Writes>) -> Self {
        Self(Rc::new(writes))
    }

    /// What stands there now for a key of this hash; `None` while it is being written.
    pub(super) fn quiet(&self, hash: u64) -> Option<Stamp> {
        let stamp = self.stamp(hash);
        ((stamp.group | stamp.all) & UNDER_WAY == 0).then_some(stamp)
    }

    /// Whether nothing was written, nor is, since that stood there.
    #[inline]
    pub(super) fn holds(&self, hash: u64, stamp: Stamp) -> bool {
        self.stamp(hash) == stamp
    }

    #[inline]
    fn stamp(&self, hash: u64) -> Stamp {
        Stamp {
            group: self.0.group(hash as u32).load(Ordering::Acquire),
            all: self.0.all.load(Ordering::Acquire),
        }
    }

    /// Notes that keys of these hashes are being written, until the guard is dropped.
    pub(crate) fn write(&self, hashes: impl Iterator<Item = u64>) -> WriteGuard {
        let mut groups: Vec<u32> =
            hashes.map(|hash| hash as u32 % GROUPS as u32).take(MOST_KEYS + 1).collect();
        if groups.len() > MOST_KEYS {
            return self.write_all();
        }
        groups.sort_unstable();
        groups.dedup();
        groups.iter().for_each(|group| self.begin(self.0.group(*group)));
        WriteGuard { ledger: self.clone(), groups, all: false }
    }

    /// Notes that any key may be written.
    pub(crate) fn write_all(&self) -> WriteGuard {
        self.begin(&self.0.all);
        WriteGuard { ledger: self.clone(), groups: Vec::new(), all: true }
    }

    fn begin(&self, word: &AtomicU64) {
        word.fetch_add(1, Ordering::AcqRel);
    }

    fn end(&self, word: &AtomicU64) {
        word.fetch_add(ENDED - 1, Ordering::AcqRel);
    }
}

/// A write under way. Dropped when its reply is about to leave, or nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct WriteGuard {
    ledger: Ledger,
    groups: Vec<u32>,
    all: bool,
}

impl WriteGuard {
    /// Both of them.
    pub(crate) fn and(mut self, mut other: WriteGuard) -> WriteGuard {
        if self.all || other.all {
            // what the other one holds is a part of all keys
            return if self.all { self } else { other };
        }
        for group in other.groups.drain(..) {
            match self.groups.binary_search(&group) {
                Ok(_) => self.ledger.end(self.ledger.0.group(group)),
                Err(at) => self.groups.insert(at, group),
            }
        }
        if self.groups.len() > MOST_KEYS { self.ledger.write_all() } else { self }
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        self.groups.iter().for_each(|group| self.ledger.end(self.ledger.0.group(*group)));
        if self.all {
            self.ledger.end(&self.ledger.0.all);
        }
    }
}
