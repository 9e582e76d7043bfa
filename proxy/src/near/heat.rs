//! Which keys are read again and again: a count for each key that may be too high, in memory that does not depend on how
//! many keys there are (a count-min sketch: Cormode and Muthukrishnan, 2005), and that fades.

/// Counters in a row; a power of two.
const WIDTH: usize = 1 << 13;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Heat {
    rows: [Box<[u8]>; 2],
}

impl Default for Heat {
    fn default() -> Self {
        Self { rows: [(); 2].map(|()| vec![0; WIDTH].into()) }
    }
}

impl Heat {
    /// Notes that a key was read; how often that was of late.
    #[inline]
    pub(super) fn note(&mut self, hash: u64) -> u8 {
        let mut least = u8::MAX;
        for (row, at) in self.rows.iter_mut().zip(places(hash)) {
            row[at] = row[at].saturating_add(1);
            least = least.min(row[at]);
        }
        least
    }

    /// Begins anew for a key.
    pub(super) fn forget(&mut self, hash: u64) {
        self.rows.iter_mut().zip(places(hash)).for_each(|(row, at)| row[at] = 0);
    }

    /// What was counted so far counts half.
    pub(super) fn cool(&mut self) {
        self.rows.iter_mut().flat_map(|row| row.iter_mut()).for_each(|count| *count /= 2);
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
    use crate::near::hash_of;

    #[test]
    fn a_key_that_is_read_often_stands_out_among_many_that_are_not() {
        let mut heat = Heat::default();
        let hot = hash_of(b"hot");
        let mut hottest_of_others = 0;
        for number in 0..4000u32 {
            hottest_of_others = hottest_of_others.max(heat.note(hash_of(&number.to_le_bytes())));
            if number % 100 == 0 {
                heat.note(hot);
            }
        }
        assert!(heat.note(hot) >= 41, "a count is never too low");
        assert!(hottest_of_others < 8, "{hottest_of_others}");
    }

    #[test]
    fn counts_fade_and_are_forgotten() {
        let mut heat = Heat::default();
        let hash = hash_of(b"k");
        let _ = (0..300).map(|_| heat.note(hash)).last();
        heat.cool();
        assert_eq!(heat.note(hash), 128);
        heat.forget(hash);
        assert_eq!(heat.note(hash), 1);
    }
}
