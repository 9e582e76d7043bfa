//! The sorted points of a ring and the index that makes their search short.
//!
//! ```text
//!   starts   [0][1][1][3] …          one u32 per bucket of the position space: its first entry
//!             |  |     |
//!   entries  [p0|2][p1|0][p2|1] …    one u64 per point: 48 bits of position, 16 bits of member
//! ```
//!
//! A look-up takes the bucket of its position, and searches from the bucket's first entry on: the entry wanted is one
//! of the next few, whatever the number of points, and usually one cache line after `starts`. Four entries are counted
//! without a branch; only an unusually full bucket needs the binary search behind them.
//!
//! The law: of several points at one position the first in tie order owns it. The order is fixed while sorting, by the
//! member's rank; afterwards the rank is replaced by the member's place in the list, and because a search never looks
//! at the low 16 bits, the order stays. Entries after the last repeat the first one's owner at the greatest position:
//! they are the way round the circle.
//!
//! Envoy's positions have 64 bits, which must all count: there the entries are whole positions, and the members lie in
//! an array of their own.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// Entries that are counted without a branch, and so the number of entries behind the last.
pub(crate) const WINDOW: usize = 4;
/// The bits of an entry that hold the member.
const MEMBER_BITS: u64 = 0xffff;

pub(crate) struct Points {
    entries: Box<[u64]>,
    starts: Box<[u32]>,
    /// Members of the entries where an entry is a whole position; else empty.
    owners: Box<[u16]>,
    count: usize,
    /// The bits of a position that count.
    mask: u64,
    /// How far a key's hash is shifted up to become a position.
    shift: u32,
}

impl Points {
    /// From entries `position (upper 48 bits) | rank` in any order; `places[rank]` is the member's place in the list.
    /// A key's hash shifted up by `shift` is its position.
    pub(crate) fn packed(unsorted: &[u64], places: &[u16], shift: u32) -> Self {
        let count = unsorted.len();
        let (mut entries, starts) = sort(unsorted);
        for entry in &mut entries[..count] {
            *entry = (*entry & !MEMBER_BITS) | u64::from(places[(*entry & MEMBER_BITS) as usize]);
        }
        let sentinel = !MEMBER_BITS | (entries[0] & MEMBER_BITS);
        entries[count..].fill(sentinel);
        Self { entries, starts, owners: Box::default(), count, mask: !MEMBER_BITS, shift }
    }

    /// From `(position, rank)` in any order, all 64 bits of the position counting.
    pub(crate) fn wide(mut points: Vec<(u64, u16)>, places: &[u16]) -> Self {
        points.sort_unstable();
        let count = points.len();
        let first = points[0].1;
        points.extend([(u64::MAX, first); WINDOW]);
        let entries: Box<[u64]> = points.iter().map(|point| point.0).collect();
        let owners = points.iter().map(|point| places[usize::from(point.1)]).collect();
        let starts = index(&entries[..count]);
        Self { entries, starts, owners, count, mask: u64::MAX, shift: 0 }
    }

    /// How many points there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The entry that owns a hash: the first at or after its position; `len()` stands for the first, reached over the
    /// end.
    #[inline]
    pub(crate) fn find(&self, hash: u64) -> usize {
        let position = (hash << self.shift) & self.mask;
        let bucket = bucket(position, self.starts.len() - 1);
        let start = self.starts[bucket] as usize;
        let window = &self.entries[start..start + WINDOW];
        let before: usize = window.iter().map(|&entry| usize::from(entry < position)).sum();
        if before < WINDOW { start + before } else { self.find_in_bucket(bucket, start, position) }
    }

    #[cold]
    fn find_in_bucket(&self, bucket: usize, start: usize, position: u64) -> usize {
        let end = self.starts[bucket + 1] as usize;
        start + self.entries[start..end].partition_point(|&entry| entry < position)
    }

    /// The member of an entry, up to and including `len()`.
    #[inline]
    pub(crate) fn owner(&self, entry: usize) -> usize {
        if self.owners.is_empty() {
            (self.entries[entry] & MEMBER_BITS) as usize
        } else {
            self.owners[entry].into()
        }
    }

    /// The last hash that an entry owns, up to and including `len()`, which owns the rest of the space.
    #[inline]
    pub(crate) fn last_hash(&self, entry: usize) -> u64 {
        (self.entries[entry] | !self.mask) >> self.shift
    }

    /// Calls with the first hash, the last hash and the owner of every stretch between points, from hash 0 to `last`.
    pub(crate) fn stretches(&self, last: u64, mut stretch: impl FnMut(u64, u64, usize)) {
        let mut first = 0;
        for entry in 0..=self.count {
            let end = self.last_hash(entry).min(last);
            // Of several points at one position the first has taken all.
            if end >= first {
                stretch(first, end, self.owner(entry));
            }
            if end == last {
                return;
            }
            first = end + 1;
        }
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.entries) + size_of_val(&*self.starts) + size_of_val(&*self.owners)
    }
}

/// The bucket of a position: its part of the space, times the number of buckets. Never falls as positions rise.
#[inline]
fn bucket(position: u64, buckets: usize) -> usize {
    ((u128::from(position) * u128::from(buckets as u64)) >> 64) as usize
}

/// Three buckets for two points: fewer make longer searches, more make more bytes per point.
fn bucket_count(points: usize) -> usize {
    points + points / 2
}

/// The entries in order, with room for the window behind them, and the index: a scatter into buckets gives both at
/// once, and leaves only neighbours to exchange.
fn sort(unsorted: &[u64]) -> (Box<[u64]>, Box<[u32]>) {
    let buckets = bucket_count(unsorted.len());
    let mut starts = vec![0_u32; buckets + 2];
    for &entry in unsorted {
        starts[bucket(entry, buckets) + 2] += 1;
    }
    for at in 3..starts.len() {
        starts[at] += starts[at - 1];
    }
    // From here on `starts[bucket + 1]` is where the bucket's next entry goes: in the end, where the next bucket starts.
    let mut entries = vec![0; unsorted.len() + WINDOW];
    for &entry in unsorted {
        let next = &mut starts[bucket(entry, buckets) + 1];
        entries[*next as usize] = entry;
        *next += 1;
    }
    starts.pop();
    insertion_sort(&mut entries[..unsorted.len()]);
    (entries.into(), starts.into())
}

/// For what is almost sorted.
fn insertion_sort(entries: &mut [u64]) {
    for end in 1..entries.len() {
        let entry = entries[end];
        let mut at = end;
        while at > 0 && entries[at - 1] > entry {
            entries[at] = entries[at - 1];
            at -= 1;
        }
        entries[at] = entry;
    }
}

/// For every bucket the first entry in it or after it, and at the end the number of entries.
fn index(entries: &[u64]) -> Box<[u32]> {
    let buckets = bucket_count(entries.len());
    let mut starts = Vec::with_capacity(buckets + 1);
    for (at, &entry) in entries.iter().enumerate() {
        let first_after = bucket(entry, buckets) + 1;
        if starts.len() < first_after {
            starts.resize(first_after, at as u32);
        }
    }
    starts.resize(buckets + 1, entries.len() as u32);
    starts.into()
}
