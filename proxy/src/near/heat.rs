//! Which keys are read again and again: a count for each key that may be too high, in memory that does not depend on how
//! many keys there are (a count-min sketch: Cormode and Muthukrishnan, 2005), and that fades.
//!
//! The more is read, the more keys share a counter by chance: hot is only what stands out from that as well.

/// Counters in a row; a power of two.
const WIDTH: usize = 1 << 15;
/// How many times as often as the mean of all counters a hot key is read, at least.
const ABOVE_MEAN: u32 = 4;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Heat {
    rows: [Box<[u8]>; 2],
    /// Reads that were counted of late.
    reads: u32,
    /// From which count on a key is hot, whatever is read beside it.
    least: u8,
}

impl Heat {
    pub(super) fn new(least: u8) -> Self {
        Self { rows: [(); 2].map(|()| vec![0; WIDTH].into()), reads: 0, least }
    }

    /// Notes that a key was read; whether that makes it hot.
    #[inline]
    pub(super) fn note(&mut self, hash: u64) -> bool {
        self.reads = self.reads.saturating_add(1);
        let mut count = u8::MAX;
        for (row, at) in self.rows.iter_mut().zip(places(hash)) {
            row[at] = row[at].saturating_add(1);
            count = count.min(row[at]);
        }
        count >= self.least && self.stands_out(count)
    }

    /// Whether a key of this count is read more often than chance has it.
    #[cold]
    fn stands_out(&self, count: u8) -> bool {
        let mean = self.reads / WIDTH as u32;
        u32::from(count) >= (ABOVE_MEAN * mean).min(u32::from(u8::MAX))
    }

    /// Begins anew for a key.
    pub(super) fn forget(&mut self, hash: u64) {
        self.rows.iter_mut().zip(places(hash)).for_each(|(row, at)| row[at] = 0);
    }

    /// What was counted so far counts half.
    pub(super) fn cool(&mut self) {
        if self.reads > 0 {
            self.rows.iter_mut().flat_map(|row| row.iter_mut()).for_each(|count| *count /= 2);
            self.reads /= 2;
        }
    }
}

/// One place in each row, by bits of the hash that have nothing in common.
#[inline]
fn places(hash: u64) -> [usize; 2] {
    [(hash >> 16) as usize % WIDTH, (hash >> 40) as usize % WIDTH]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::near::Writes;

    #[test]
    fn a_key_that_is_read_often_is_hot_and_others_are_not_however_much_is_read() {
        for reads in [2_000u32, 50_000, 500_000] {
            let (mut heat, writes) = (Heat::new(8), Writes::default());
            let hot = writes.hash(b"hot");
            let mut taken_for_hot = 0;
            for number in 0..reads {
                taken_for_hot += u32::from(heat.note(writes.hash(&(number % 100_000).to_le_bytes())));
                if number % 200 == 0 {
                    heat.note(hot);
                }
            }
            assert!(heat.note(hot), "{reads}");
            assert!(taken_for_hot * 1000 <= reads, "{taken_for_hot} of {reads}");
        }
    }

    #[test]
    fn counts_fade_and_are_forgotten() {
        let mut heat = Heat::new(8);
        let is_hot = |heat: &mut Heat| (0..).find(|_| heat.note(7 << 30)).unwrap();
        assert_eq!(is_hot(&mut heat), 7);
        heat.cool();
        assert_eq!(is_hot(&mut heat), 3, "half of it counts");
        heat.forget(7 << 30);
        assert_eq!(is_hot(&mut heat), 7);
    }
}
