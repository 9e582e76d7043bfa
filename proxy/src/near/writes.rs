//! Which keys are being written by clients of this process, and which have been: shared by all workers.
//!
//! Two numbers for each of many groups of keys, in one word: how many writes have ended, and how many are under way. A kept
//! answer carries the word that it was asked for by, when none was under way; it holds as long as the word is the same. So
//! it ends to hold when a write is dispatched, before that can have run, and whatever was asked for in the meantime does
//! not hold either, as the count has moved on when the write's reply leaves.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Groups of keys; a power of two. So few that the table stays in the processor's cache: with 65,536 a pipelined write cost
/// a tenth more for its word alone. So many that writes of other keys seldom end what is kept.
const GROUPS: usize = 1 << 14;
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
    /// Nobody outside can say which keys are found in the same place.
    seed: u64,
}

impl Default for Writes {
    fn default() -> Self {
        Self {
            groups: (0..GROUPS).map(|_| AtomicU64::new(0)).collect(),
            all: AtomicU64::new(0),
            seed: RandomState::new().hash_one(GROUPS),
        }
    }
}

impl Writes {
    /// By which a key is found, here and in what is kept.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }

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
#[expect(
    clippy::redundant_allocation,
    reason = "a copy of it must not count in a word that other workers write"
)]
pub(crate) struct Ledger(Rc<Arc<Writes>>);

impl Ledger {
    pub(super) fn new(writes: Arc<Writes>) -> Self {
        Self(Rc::new(writes))
    }

    /// By which a key is found.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.0.hash(key)
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

    /// These keys will be written: nothing is noted before [`WriteGuard::begin`].
    pub(crate) fn write<'a>(&self, mut keys: impl Iterator<Item = &'a [u8]>) -> WriteGuard {
        let group_of = |key| self.hash(key) as u32 % GROUPS as u32;
        let what = match (keys.next().map(group_of), keys.next()) {
            (None, _) => What::All,
            (Some(first), None) => What::Group(first),
            (Some(first), Some(second)) => {
                let rest = [second].into_iter().chain(keys).map(group_of);
                What::of([first].into_iter().chain(rest).take(MOST_KEYS + 1).collect())
            }
        };
        WriteGuard { ledger: self.clone(), what, is_under_way: false }
    }

    /// Any key will be written.
    pub(crate) fn write_all(&self) -> WriteGuard {
        WriteGuard { ledger: self.clone(), what: What::All, is_under_way: false }
    }

    fn each(&self, what: &What, add: u64) {
        let add = |word: &AtomicU64| {
            word.fetch_add(add, Ordering::AcqRel);
        };
        match what {
            What::All => add(&self.0.all),
            what => what.groups().iter().for_each(|group| add(self.0.group(*group))),
        }
    }
}

/// Which of 64 parts of all keys those of this hash belong to, as a bit.
#[inline]
pub(crate) fn part(hash: u64) -> u64 {
    1 << (hash % 64)
}

/// A write. Dropped when its reply is about to leave, or nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct WriteGuard {
    ledger: Ledger,
    what: What,
    is_under_way: bool,
}

#[derive(Debug, Clone)]
enum What {
    Group(u32),
    Groups(Vec<u32>),
    All,
}

impl What {
    fn of(groups: Vec<u32>) -> Self {
        if groups.len() > MOST_KEYS { What::All } else { What::Groups(groups) }
    }

    fn groups(&self) -> &[u32] {
        match self {
            What::Group(group) => std::slice::from_ref(group),
            What::Groups(groups) => groups,
            What::All => &[],
        }
    }
}

impl WriteGuard {
    /// It is dispatched, and may run at any moment: nothing holds until it has ended. For one that may wait for long it is
    /// enough that nothing holds afterwards.
    pub(crate) fn begin(mut self) -> WriteGuard {
        if !self.is_under_way {
            self.is_under_way = true;
            self.ledger.each(&self.what, 1);
        }
        self
    }

    /// A bit for each of 64 parts of all keys of which some may be written, as [`part`] tells of one key.
    pub(crate) fn parts(&self) -> u64 {
        match &self.what {
            What::All => u64::MAX,
            what => what.groups().iter().fold(0, |parts, group| parts | part((*group).into())),
        }
    }

    /// The same once more, not begun.
    pub(crate) fn planned(&self) -> WriteGuard {
        WriteGuard { ledger: self.ledger.clone(), what: self.what.clone(), is_under_way: false }
    }

    /// Both of them, neither of which has begun.
    pub(crate) fn and(mut self, other: &WriteGuard) -> WriteGuard {
        self.what = match (&self.what, &other.what) {
            (What::All, _) | (_, What::All) => What::All,
            (own, other) => {
                let mut groups = own.groups().to_vec();
                let new = other.groups().iter().filter(|group| !own.groups().contains(group));
                groups.extend(new);
                What::of(groups)
            }
        };
        self
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        self.ledger.each(&self.what, if self.is_under_way { ENDED - 1 } else { ENDED });
    }
}
