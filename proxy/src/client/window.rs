//! How many commands of one client may be on their way at once, by what its replies are like.
//!
//! A node runs what it reads in one go: a thousand GETs of a megabyte keep it from everybody for a second, and all who
//! share the connection wait behind a gigabyte of replies (law I7). So a client begins with a few commands and may have one
//! more on its way with each reply, and while its replies are long, no more than make some megabytes of them. Nothing is
//! counted for short replies.

/// Commands that a client may have on its way before its first reply.
const FIRST: u64 = 16;
/// Bytes of replies that one client may have on their way, as far as the replies before tell.
const BYTES: u64 = 16 << 20;
/// Commands that a client may have on its way however long its replies are.
const LEAST: u64 = 2;
/// Bytes of a reply that is short on average.
const SHORT: u64 = 8 * 1024;
/// What was longer ago than this many replies counts half.
const SPAN: u64 = 256;

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Bytes of long replies since `since`.
    long_bytes: u64,
    /// How many replies had left when these were counted first.
    since: u64,
}

impl Window {
    /// How many commands may be on their way when so many replies have left.
    #[inline]
    pub(crate) fn most(&self, left: u64) -> usize {
        let most = FIRST + left;
        let most = if self.long_bytes == 0 { most } else { most.min(self.most_of_long(left)) };
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    #[cold]
    fn most_of_long(&self, left: u64) -> u64 {
        (BYTES / self.average(left).max(1)).max(LEAST)
    }

    /// Whether the replies so far were short, or nearly all of them.
    pub(crate) fn is_of_short(&self, left: u64) -> bool {
        self.average(left) < SHORT
    }

    /// Bytes of a reply on average, short ones counted as nothing.
    fn average(&self, left: u64) -> u64 {
        self.long_bytes / left.saturating_sub(self.since).max(1)
    }

    /// A piece of a long reply has come.
    #[cold]
    pub(crate) fn long(&mut self, bytes: usize, left: u64) {
        let replies = left.saturating_sub(self.since);
        if self.long_bytes == 0 {
            self.since = left;
        } else if replies > SPAN {
            self.long_bytes /= 2;
            self.since = left - replies / 2;
        }
        self.long_bytes += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_begins_with_few_commands_and_gets_more_with_each_reply() {
        let window = Window::default();
        assert_eq!([0, 1, 16, 10_000].map(|left| window.most(left)), [16, 17, 32, 10_016]);
    }

    #[test]
    fn long_replies_leave_room_for_some_megabytes() {
        let mut window = Window::default();
        for left in 1000..3000 {
            window.long(1_000_000, left);
        }
        assert!((8..=20).contains(&window.most(3000)), "{}", window.most(3000));
        assert!(!window.is_of_short(3000) && window.is_of_short(400_000) && Window::default().is_of_short(0));
        // short ones make it forget
        assert!(window.most(40_000) > 1024);
        let mut window = Window::default();
        (0..5000).for_each(|_| window.long(100_000, 1000));
        assert_eq!(window.most(1000), 2, "also within one huge reply");
    }
}
