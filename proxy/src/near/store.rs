//! What is kept: answers by key, within a bound of memory. Where room is short, what was not asked for lately goes first
//! (the clock algorithm: Corbató, 1968).

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::older;
use super::writes::Stamp;
use super::{Read, hash_of};
use crate::command::CommandId;
use crate::resp::Protocol;

/// What a key and an answer cost beside their bytes.
const OVERHEAD: usize = 160;
/// Keys that are looked at in one sweep, so that it takes no time that anybody notices.
const SWEPT_AT_ONCE: usize = 256;
/// Different reads of one key that are kept.
const MOST_VARIANTS: usize = 32;

/// A key of which something is kept.
#[derive(Debug, Clone)]
pub(crate) struct HotKey {
    pub(crate) key: Box<[u8]>,
    /// How often it was answered here since it is known.
    pub(crate) hits: u64,
    /// Bytes of memory that its answers take.
    pub(crate) bytes: usize,
}

/// One answer, or one that will be.
#[derive(Debug)]
pub(super) struct Variant {
    database: u32,
    command: CommandId,
    /// What stands behind the key.
    rest: Box<[Box<[u8]>]>,
    pub(super) stamp: Stamp,
    /// Until when it holds.
    pub(super) until: Instant,
    pub(super) answer: Answer,
}

#[derive(Debug)]
pub(super) enum Answer {
    /// Asked for under this number.
    Coming(u64),
    Kept(Kept),
    /// Not worth to be asked for.
    Unfit(Why),
}

/// Why an answer is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// To find out again whether it still is costs much.
    TooLong,
    /// An error, or nothing that is known here.
    Strange,
}

/// A reply, as both protocols have it.
#[derive(Debug)]
pub(super) struct Kept {
    resp3: Box<[u8]>,
    /// Where it is another one.
    resp2: Option<Box<[u8]>>,
}

impl Kept {
    /// From a reply in RESP3; `None` when nobody knows what it is in RESP2.
    pub(super) fn of(reply: &[u8]) -> Option<Self> {
        let resp2 = older::resp2(reply)?;
        let resp2 = (resp2 != reply).then(|| resp2.into());
        Some(Self { resp3: reply.into(), resp2 })
    }

    #[inline]
    pub(super) fn by(&self, protocol: Protocol) -> &[u8] {
        match (protocol, &self.resp2) {
            (Protocol::Resp2, Some(resp2)) => resp2,
            _ => &self.resp3,
        }
    }

    fn bytes(&self) -> usize {
        self.resp3.len() + self.resp2.as_ref().map_or(0, |resp2| resp2.len())
    }
}

impl Variant {
    fn is_of(&self, read: &Read<'_>) -> bool {
        self.command == read.command.id()
            && self.database == read.database
            && self.rest.len() + 2 == read.args.len()
            && self.rest.iter().zip(read.args.iter().skip(2)).all(|(own, other)| **own == *other)
    }

    fn bytes(&self) -> usize {
        let answer = match &self.answer {
            Answer::Kept(kept) => kept.bytes(),
            Answer::Coming(_) | Answer::Unfit(_) => 0,
        };
        OVERHEAD + self.rest.iter().map(|word| size_of::<Box<[u8]>>() + word.len()).sum::<usize>() + answer
    }
}

#[derive(Debug)]
struct Entry {
    /// Tells it from an earlier one of the same hash.
    number: u64,
    key: Box<[u8]>,
    /// The connection on which the node tells of it.
    line: u64,
    /// Whether it was asked for since the hand of the clock came by.
    used: bool,
    hits: u64,
    variants: Vec<Variant>,
}

impl Entry {
    fn bytes(&self) -> usize {
        OVERHEAD + self.key.len() + self.variants.iter().map(Variant::bytes).sum::<usize>()
    }
}

#[derive(Debug)]
struct Coming {
    /// Of the key.
    hash: u64,
    line: u64,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Store {
    room: usize,
    bytes: usize,
    entries: HashMap<u64, Entry>,
    /// The clock: hashes and numbers of entries, some of which may be gone.
    clock: VecDeque<(u64, u64)>,
    /// What was asked for and has not come, by its number.
    coming: HashMap<u64, Coming>,
}

impl Store {
    pub(super) fn new(room: usize) -> Self {
        Self { room, bytes: 0, entries: HashMap::new(), clock: VecDeque::new(), coming: HashMap::new() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn keys(&self) -> usize {
        self.entries.len()
    }

    /// How much was asked for that has not come.
    pub(super) fn coming(&self) -> usize {
        self.coming.len()
    }

    /// What is known of this read, and the count of what was answered for its key.
    #[inline]
    pub(super) fn find(&mut self, read: &Read<'_>) -> Option<(&Variant, &mut u64)> {
        let entry = self.entries.get_mut(&read.hash()).filter(|entry| *entry.key == *read.key())?;
        let variant = entry.variants.iter().find(|variant| variant.is_of(read))?;
        entry.used = true;
        Some((variant, &mut entry.hits))
    }

    /// An answer will come.
    pub(super) fn expect(&mut self, read: &Read<'_>, line: u64, number: u64, stamp: Stamp, until: Instant) {
        let hash = read.hash();
        let is_other = |entry: &Entry| *entry.key != *read.key() || entry.line != line;
        if self.entries.get(&hash).is_some_and(is_other) {
            self.remove(hash);
        }
        let clock = &mut self.clock;
        let mut before = None;
        let entry =
            self.entries.entry(hash).and_modify(|entry| before = Some(entry.bytes())).or_insert_with(|| {
                clock.push_back((hash, number));
                Entry { number, key: read.key().into(), line, used: false, hits: 0, variants: Vec::new() }
            });
        entry.variants.retain(|variant| !variant.is_of(read));
        if entry.variants.len() >= MOST_VARIANTS {
            entry.variants.remove(0);
        }
        entry.variants.push(Variant {
            database: read.database,
            command: read.command.id(),
            rest: read.args.iter().skip(2).map(Box::from).collect(),
            stamp,
            until,
            answer: Answer::Coming(number),
        });
        self.bytes = self.bytes + entry.bytes() - before.unwrap_or(0);
        self.coming.insert(number, Coming { hash, line });
        self.make_room();
    }

    /// What was asked for under this number has come: `settle`, if it is still wanted, says whether it stays.
    pub(super) fn settle(&mut self, number: u64, settle: impl FnOnce(u64, &mut Variant) -> bool) {
        let Some(Coming { hash, .. }) = self.coming.remove(&number) else { return };
        let Some(entry) = self.entries.get_mut(&hash) else { return };
        let is_it = |variant: &Variant| matches!(variant.answer, Answer::Coming(own) if own == number);
        let Some(at) = entry.variants.iter().position(is_it) else { return };
        let before = entry.bytes();
        if !settle(hash, &mut entry.variants[at]) {
            entry.variants.remove(at);
        }
        self.bytes = self.bytes + entry.bytes() - before;
        self.make_room();
    }

    /// The key has changed.
    pub(super) fn invalidate(&mut self, key: &[u8]) {
        let Some(entry) = self.entries.get_mut(&hash_of(key)).filter(|entry| *entry.key == *key) else {
            return;
        };
        let before = entry.bytes();
        entry.variants.retain(|variant| matches!(variant.answer, Answer::Unfit(Why::TooLong)));
        self.bytes = self.bytes + entry.bytes() - before;
    }

    /// The node can no longer tell of what was asked for on this connection.
    pub(super) fn lost(&mut self, line: u64) {
        let lost: Vec<u64> =
            self.entries.iter().filter(|(_, entry)| entry.line == line).map(|(hash, _)| *hash).collect();
        lost.into_iter().for_each(|hash| self.remove(hash));
        self.coming.retain(|_, coming| coming.line != line);
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.clock.clear();
        self.coming.clear();
        self.bytes = 0;
    }

    fn remove(&mut self, hash: u64) {
        if let Some(entry) = self.entries.remove(&hash) {
            self.bytes -= entry.bytes();
        }
    }

    fn make_room(&mut self) {
        while self.bytes > self.room
            && let Some((hash, number)) = self.clock.pop_front()
        {
            let Some(entry) = self.entries.get_mut(&hash).filter(|entry| entry.number == number) else {
                continue;
            };
            if std::mem::take(&mut entry.used) {
                self.clock.push_back((hash, number));
            } else {
                self.remove(hash);
            }
        }
    }

    /// Looks at some of what is kept, and forgets what holds no longer and keys of which nothing is left.
    pub(super) fn sweep(&mut self, now: Instant) {
        for _ in 0..self.clock.len().min(SWEPT_AT_ONCE) {
            let Some((hash, number)) = self.clock.pop_front() else { return };
            let Some(entry) = self.entries.get_mut(&hash).filter(|entry| entry.number == number) else {
                continue;
            };
            let before = entry.bytes();
            entry.variants.retain(|variant| now < variant.until);
            self.bytes = self.bytes + entry.bytes() - before;
            if entry.variants.is_empty() && !std::mem::take(&mut entry.used) {
                self.remove(hash);
            } else {
                self.clock.push_back((hash, number));
            }
        }
    }

    pub(super) fn hot_keys(&self) -> Vec<HotKey> {
        let told = |entry: &Entry| HotKey { key: entry.key.clone(), hits: entry.hits, bytes: entry.bytes() };
        self.entries.values().map(told).collect()
    }
}
