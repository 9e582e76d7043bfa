//! Answers of nodes that a worker keeps for a while, for keys that are read again and again (the near cache).
//!
//! ```text
//!   a read ─► kept, and it holds? ─► answered here
//!        └─ no ─► to its node as ever; heat ─► read often enough? ─► asked for once more, over a connection on which
//!                                                                    the node tracks ─► kept
//!   a write ─► WriteGuard from its dispatch until its reply leaves ─► nothing kept of its keys holds any more
//!   the node ─► invalidate k, or the connection is lost ─► dropped
//! ```
//! What is promised: a read that comes after the reply to a write of any client of this process sees that write
//! (`writes`), and a client's own commands keep their order (law I2). What others write is seen when the node has said so,
//! after `near_cache.max_age` at the latest, as is what nodes evict.
//!
//! No IO, no connections: the answers are asked for by whoever has them, and time comes in as an argument. There is one
//! [`NearCache`] for each worker; they share nothing but [`Writes`].

mod heat;
mod older;
mod store;
#[cfg(test)]
mod tests;
mod writes;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::command::Command;
use crate::resp::{Args, Protocol, encode};
use crate::settings::NearCacheSettings;
use crate::stats::WorkerStats;
use heat::Heat;
pub use store::KeptKey;
use store::{Answer, Kept, Store, Why};
pub(crate) use writes::{Ledger, WriteGuard, Writes, part};

/// How long a reply that is too long is not asked for again.
const TOO_LONG: Duration = Duration::from_secs(60);
/// Answers that are asked for at once on one connection.
const MOST_COMING: usize = 256;
/// Longest request whose answer is kept, in bytes: it is kept as well, and sent to the node once more.
const LONGEST_REQUEST: usize = 4096;
/// Most keys of an MGET that is answered from what is kept.
const MOST_AT_ONCE: usize = 256;
/// When an answer has so little time left, the clock is read anew: a turn may take long.
const SOON: Duration = Duration::from_millis(50);

/// A read of one key whose answer may be kept.
pub(crate) struct Read<'a> {
    pub(crate) database: u32,
    pub(crate) command: &'static Command,
    key: &'a [u8],
    /// What stands behind the key.
    rest: Args<'a>,
    hash: u64,
}

impl<'a> Read<'a> {
    /// `None` when answers of the command are not kept.
    #[inline]
    pub(crate) fn of(
        ledger: &Ledger,
        database: u32,
        command: &'static Command,
        args: Args<'a>,
    ) -> Option<Self> {
        if !command.kept || args.frame().len() > LONGEST_REQUEST {
            return None;
        }
        let key = args.get(1)?;
        Some(Self { database, command, key, rest: args.from(2), hash: ledger.hash(key) })
    }

    /// Each key of an MGET as GET reads it; `None` when there are too many of them, or too long ones.
    #[inline]
    pub(crate) fn all<'b>(
        ledger: &'b Ledger,
        database: u32,
        get: &'static Command,
        args: Args<'a>,
    ) -> Option<impl Iterator<Item = Self> + Clone + 'b>
    where
        'a: 'b,
    {
        if args.len() > 1 + MOST_AT_ONCE || args.frame().len() > LONGEST_REQUEST {
            return None;
        }
        let none = args.from(args.len());
        let read = move |key| Self { database, command: get, key, rest: none, hash: ledger.hash(key) };
        Some((1..args.len()).filter_map(move |at| args.get(at)).map(read))
    }

    /// The request that reads it.
    pub(crate) fn request(&self, out: &mut Vec<u8>) {
        encode::array(out, 2 + self.rest.len());
        encode::bulk(out, self.command.name.as_bytes());
        encode::bulk(out, self.key);
        self.rest.iter().for_each(|word| encode::bulk(out, word));
    }

    pub(crate) fn key(&self) -> &'a [u8] {
        self.key
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

/// How a read is answered.
pub(crate) struct By<E> {
    pub(crate) protocol: Protocol,
    /// Of the topology that holds.
    pub(crate) epoch: u64,
    /// The time of the turn.
    pub(crate) now: Instant,
    /// Reads the clock.
    pub(crate) exactly: E,
}

/// See the head of this file.
pub(crate) struct NearCache {
    settings: NearCacheSettings,
    ledger: Ledger,
    stats: Arc<WorkerStats>,
    inner: RefCell<Inner>,
}

struct Inner {
    heat: Heat,
    store: Store,
    /// The epoch of the topology by which everything was asked for.
    epoch: u64,
    /// The number of the last answer that was asked for.
    last: u64,
}

impl NearCache {
    /// `room`: bytes that this worker may keep.
    pub(crate) fn new(
        settings: NearCacheSettings,
        room: usize,
        writes: Arc<Writes>,
        stats: Arc<WorkerStats>,
    ) -> Self {
        let inner = Inner { heat: Heat::new(settings.hot_reads), store: Store::new(room), epoch: 0, last: 0 };
        Self { settings, ledger: Ledger::new(writes), stats, inner: RefCell::new(inner) }
    }

    /// Where writes are noted.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Hands the kept answer to `tell`, if there is one that holds.
    #[inline]
    pub(crate) fn answer<E: Fn() -> Instant>(
        &self,
        read: &Read<'_>,
        by: &By<E>,
        tell: impl FnOnce(&[u8]),
    ) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        let Some((kept, hits)) = self.holding(inner, read, by) else { return false };
        *hits += 1;
        tell(kept.by(by.protocol));
        self.stats.near.hits.add(1);
        true
    }

    /// How long the kept answer is, if there is one that holds.
    #[inline]
    pub(crate) fn len<E: Fn() -> Instant>(&self, read: &Read<'_>, by: &By<E>) -> Option<usize> {
        let inner = &mut *self.inner.borrow_mut();
        self.holding(inner, read, by).map(|(kept, _)| kept.by(by.protocol).len())
    }

    /// Appends the kept answers to all reads, or nothing: other workers write, so that one may hold no longer that has just
    /// been looked at.
    pub(crate) fn answer_all<'r, E: Fn() -> Instant>(
        &self,
        reads: impl Iterator<Item = Read<'r>>,
        by: &By<E>,
        out: &mut Vec<u8>,
    ) -> bool {
        let (before, mut given) = (out.len(), 0);
        let inner = &mut *self.inner.borrow_mut();
        for read in reads {
            let Some((kept, hits)) = self.holding(inner, &read, by) else {
                out.truncate(before);
                return false;
            };
            *hits += 1;
            given += 1;
            out.extend_from_slice(kept.by(by.protocol));
        }
        self.stats.near.hits.add(given);
        true
    }

    #[inline]
    fn holding<'i, E: Fn() -> Instant>(
        &self,
        inner: &'i mut Inner,
        read: &Read<'_>,
        by: &By<E>,
    ) -> Option<(&'i Kept, &'i mut u64)> {
        if inner.epoch != by.epoch {
            return None;
        }
        let (variant, hits) = inner.store.find(read)?;
        let Answer::Kept(kept) = &variant.answer else { return None };
        let is_over = by.now + SOON >= variant.until && (by.exactly)() >= variant.until;
        (!is_over && self.ledger.holds(read.hash, variant.stamp)).then_some((kept, hits))
    }

    /// A read goes to its node: whether the key is read so often that the answer is to be kept ([`NearCache::begin`]).
    #[inline]
    pub(crate) fn is_hot(&self, read: &Read<'_>) -> bool {
        self.inner.borrow_mut().heat.note(read.hash)
    }

    /// The answer is to be asked for on the connection `line`, to be kept: the number under which that is done, and under
    /// which [`NearCache::filled`] must be told what comes. `None` when there is nothing to be asked for now.
    #[cold]
    pub(crate) fn begin(&self, read: &Read<'_>, line: u64, epoch: u64, now: Instant) -> Option<u64> {
        let inner = &mut *self.inner.borrow_mut();
        inner.heat.forget(read.hash);
        let stamp = self.ledger.quiet(read.hash)?;
        if inner.epoch != epoch {
            inner.store.clear();
            inner.epoch = epoch;
        }
        let ledger = &self.ledger;
        let waits = inner.store.find(read).is_some_and(|(variant, _)| {
            let holds = || ledger.holds(read.hash, variant.stamp);
            now < variant.until && (matches!(variant.answer, Answer::Unfit(Why::TooLong)) || holds())
        });
        if waits || inner.store.coming(line) >= MOST_COMING {
            return None;
        }
        inner.last += 1;
        inner.store.expect(read, line, inner.last, stamp, now + self.settings.max_age);
        Some(inner.last)
    }

    /// It was not asked for after all.
    pub(crate) fn not_asked(&self, number: u64) {
        self.inner.borrow_mut().store.settle(number, |_, _| false);
    }

    /// What the node answered to what was asked for under this number; nothing when that was too long. `life` is how
    /// long the key has to live; it is counted from when it was asked for, so that nothing is kept for longer than it lives.
    pub(crate) fn filled(&self, number: u64, reply: Option<&[u8]>, life: Option<Duration>, now: Instant) {
        let NearCacheSettings { max_age, value_bytes, .. } = self.settings;
        let inner = &mut *self.inner.borrow_mut();
        let value_bytes = value_bytes.min(inner.store.room() / 4);
        let reply = reply.filter(|reply| reply.len() <= value_bytes);
        inner.store.settle(number, |hash, variant| {
            let Some(reply) = reply else {
                (variant.answer, variant.until) = (Answer::Unfit(Why::TooLong), now + TOO_LONG);
                return true;
            };
            let Some(kept) = Kept::of(reply) else {
                variant.answer = Answer::Unfit(Why::Strange);
                return true;
            };
            variant.answer = Answer::Kept(kept);
            if let Some(life) = life.filter(|life| *life < max_age) {
                variant.until -= max_age - life;
            }
            let holds = now < variant.until && self.ledger.holds(hash, variant.stamp);
            self.stats.near.fills.add(u64::from(holds));
            holds
        });
        self.publish(inner);
    }

    /// A node has said that a key has changed.
    pub(crate) fn invalidate(&self, key: &[u8]) {
        let inner = &mut *self.inner.borrow_mut();
        inner.store.invalidate(self.ledger.hash(key), key);
        self.stats.near.invalidations.add(1);
        self.publish(inner);
    }

    /// The node can no longer tell of what was asked for on the connection `line`, or says that all of it has changed.
    pub(crate) fn lost(&self, line: u64) {
        let inner = &mut *self.inner.borrow_mut();
        inner.store.lost(line);
        self.publish(inner);
    }

    /// A moment has passed: what was read in it counts half.
    pub(crate) fn cool(&self, now: Instant) {
        let inner = &mut *self.inner.borrow_mut();
        inner.heat.cool();
        inner.store.sweep(now);
        self.publish(inner);
    }

    fn publish(&self, inner: &Inner) {
        self.stats.near.publish(inner.store.keys(), inner.store.bytes());
    }

    /// The keys of which something is kept, and how often they were answered here.
    pub(crate) fn kept_keys(&self) -> Vec<KeptKey> {
        self.inner.borrow().store.kept_keys()
    }
}
