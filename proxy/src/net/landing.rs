//! Memory that is read into again and again.

use std::ops::{Deref, DerefMut};

/// A page of memory, in bytes.
const PAGE: usize = 4096;
/// Where in a page it begins, in bytes.
const OFFSET: usize = PAGE / 2;

/// Bytes to read into, which begin in the middle of a page.
///
/// What the kernel hands over mostly begins at the beginning of one, or a little behind it. Processors tell addresses apart by
/// their place within a page at first: a copy whose target is a little ahead of its source by that measure waits for its own
/// writes, and takes several times as long (4 KiB aliasing; for REP MOVSB on AMD's Zen: glibc bug 30994). Memory from
/// the allocator begins 16 bytes into a page as soon as it is large enough to be mapped: the worst place. Measured:
/// docs/performance.md.
#[derive(Debug)]
pub(crate) struct Landing {
    memory: Box<[u8]>,
    begin: usize,
    len: usize,
}

impl Landing {
    /// So many bytes.
    pub(crate) fn new(len: usize) -> Self {
        let memory: Box<[u8]> = vec![0; len + PAGE].into();
        let into_page = memory.as_ptr().addr() % PAGE;
        Self { begin: (PAGE + OFFSET - into_page) % PAGE, memory, len }
    }
}

impl Deref for Landing {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.begin..][..self.len]
    }
}

impl DerefMut for Landing {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_in_the_middle_of_a_page_whatever_its_size() {
        for len in [1, 4096, 65_536, 131_072, 1 << 20] {
            let mut landing = Landing::new(len);
            assert_eq!((landing.len(), landing.as_ptr().addr() % PAGE), (len, OFFSET));
            landing[len - 1] = 1;
        }
    }
}
