//! What is kept: answers by key, within a bound of memory. Where room is short, what was not asked for lately goes first
//! (the clock algorithm: Corbató, 1968).

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

use super::Read;
use super::older;
use super::writes::Stamp;
use crate::command::CommandId;
use crate::resp::Protocol;

/// What a key costs beside its bytes: its place in the table, of which a half may be empty, and in the clock.
const ENTRY_BYTES: usize = 2 * (size_of::<Entry>() + 8) + 2 * 16 + BLOCK_BYTES;
/// What each block of memory costs beside its bytes.
const BLOCK_BYTES: usize = 16;
/// Keys that are looked at in one sweep, so that it takes no time that anybody notices.
const SWEPT_AT_ONCE: usize = 256;
/// Different reads of one key that are kept.
const MOST_VARIANTS: usize = 32;

/// A key of which answers are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptKey {
    /// The key.
    pub key: Vec<u8>,
    /// How many reads were answered from what is kept, since it is kept.
    pub hits: u64,
    /// Bytes of memory that its answers take.
    pub bytes: u64,
}

/// One answer, or one that will be.
#[derive(Debug)]
pub(super) struct Variant {
    database: u32,
    command: CommandId,
    /// What stands behind the key.
    rest: Box<[Box<[u8]>]>,
    /// Bytes of memory that it takes without its answer.
    own_bytes: usize,
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
            && self.rest.len() == read.rest.len()
            && self.rest.iter().zip(read.rest.iter()).all(|(own, other)| **own == *other)
    }

    fn bytes(&self) -> usize {
        let answer = match &self.answer {
            Answer::Kept(kept) => kept.bytes() + 2 * BLOCK_BYTES,
            Answer::Coming(_) | Answer::Unfit(_) => 0,
        };
        self.own_bytes + answer
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
        ENTRY_BYTES + self.key.len() + self.variants.iter().map(Variant::bytes).sum::<usize>()
    }
}

/// Of what is a hash already, and one that nobody outside can foresee.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
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
    entries: HashMap<u64, Entry, BuildHasherDefault<Hashed>>,
    /// The clock: hashes and numbers of entries, some of which may be gone.
    clock: VecDeque<(u64, u64)>,
    /// What was asked for and has not come, by its number.
    coming: HashMap<u64, Coming>,
    /// How many entries and how much that is to come each connection has.
    lines: HashMap<u64, Line>,
}

#[derive(Debug, Default)]
struct Line {
    entries: usize,
    coming: usize,
}

impl Store {
    pub(super) fn new(room: usize) -> Self {
        Self {
            room,
            bytes: 0,
            entries: HashMap::default(),
            clock: VecDeque::new(),
            coming: HashMap::new(),
            lines: HashMap::new(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that may be kept.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    pub(super) fn keys(&self) -> usize {
        self.entries.len()
    }

    /// How much was asked for on this connection that has not come.
    pub(super) fn coming(&self, line: u64) -> usize {
        self.lines.get(&line).map_or(0, |line| line.coming)
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
        if self.clock.len() > 2 * self.entries.len() + SWEPT_AT_ONCE {
            self.compact();
        }
        let (clock, of_line) = (&mut self.clock, self.lines.entry(line).or_default());
        let mut before = None;
        let entry =
            self.entries.entry(hash).and_modify(|entry| before = Some(entry.bytes())).or_insert_with(|| {
                clock.push_back((hash, number));
                of_line.entries += 1;
                Entry { number, key: read.key().into(), line, used: false, hits: 0, variants: Vec::new() }
            });
        of_line.coming += 1;
        entry.variants.retain(|variant| !variant.is_of(read));
        if entry.variants.len() >= MOST_VARIANTS {
            entry.variants.remove(0);
        }
        let rest: Box<[Box<[u8]>]> = read.rest.iter().map(Box::from).collect();
        let words: usize = rest.iter().map(|word| size_of::<Box<[u8]>>() + word.len() + BLOCK_BYTES).sum();
        // mostly it is the only one
        entry.variants.reserve_exact(1);
        entry.variants.push(Variant {
            database: read.database,
            command: read.command.id(),
            rest,
            own_bytes: size_of::<Variant>() + words + 2 * BLOCK_BYTES,
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
        let Some(Coming { hash, line }) = self.coming.remove(&number) else { return };
        if let Some(line) = self.lines.get_mut(&line) {
            line.coming -= 1;
        }
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
    pub(super) fn invalidate(&mut self, hash: u64, key: &[u8]) {
        let Some(entry) = self.entries.get_mut(&hash).filter(|entry| *entry.key == *key) else {
            return;
        };
        let before = entry.bytes();
        entry.variants.retain(|variant| matches!(variant.answer, Answer::Unfit(Why::TooLong)));
        self.bytes = self.bytes + entry.bytes() - before;
    }

    /// The node can no longer tell of what was asked for on this connection.
    pub(super) fn lost(&mut self, line: u64) {
        // a node may say so again and again
        let Some(lost) = self.lines.remove(&line) else { return };
        if lost.entries > 0 {
            let bytes = &mut self.bytes;
            self.entries.retain(|_, entry| {
                let stays = entry.line != line;
                *bytes -= if stays { 0 } else { entry.bytes() };
                stays
            });
            self.compact();
        }
        if lost.coming > 0 {
            self.coming.retain(|_, coming| coming.line != line);
        }
    }

    /// Forgets the places of entries that are gone.
    fn compact(&mut self) {
        let entries = &self.entries;
        self.clock.retain(|(hash, number)| entries.get(hash).is_some_and(|entry| entry.number == *number));
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.room);
    }

    fn remove(&mut self, hash: u64) {
        if let Some(entry) = self.entries.remove(&hash) {
            self.bytes -= entry.bytes();
            if let Some(line) = self.lines.get_mut(&entry.line) {
                line.entries -= 1;
            }
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

    /// How long the clock is.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.clock.len()
    }

    pub(super) fn kept_keys(&self) -> Vec<KeptKey> {
        let told = |entry: &Entry| KeptKey {
            key: entry.key.to_vec(),
            hits: entry.hits,
            bytes: entry.bytes() as u64,
        };
        self.entries.values().map(told).collect()
    }
}
