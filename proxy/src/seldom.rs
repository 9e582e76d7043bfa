//! Lines in the log that many clients could cause: at most one in ten seconds, with the number of those kept back.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Between two lines.
const QUIET: Duration = Duration::from_secs(10);

/// Counts what happens and says when it is worth a line.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    last: Cell<Option<Instant>>,
    count: Cell<u64>,
}

impl Seldom {
    /// It happened; answers how often since the last line, when it is time for the next.
    pub(crate) fn happened(&self, now: Instant) -> Option<u64> {
        let count = self.count.get() + 1;
        let due = self.last.get().is_none_or(|last| now.saturating_duration_since(last) >= QUIET);
        self.count.set(if due { 0 } else { count });
        if due {
            self.last.set(Some(now));
        }
        due.then_some(count)
    }
}

/// What one worker seldom says.
#[derive(Debug, Default)]
pub(crate) struct SeldomSaid {
    /// A client was closed because memory is short.
    pub(crate) memory: Seldom,
    /// A client gave a wrong password.
    pub(crate) wrong_password: Seldom,
    /// What a client sent over TLS could not be used.
    pub(crate) bad_tls: Seldom,
    /// A client speaks another protocol.
    pub(crate) other_protocol: Seldom,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_tells_of_all() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.happened(start), Some(1));
        assert_eq!(seldom.happened(start + QUIET / 2), None);
        assert_eq!(seldom.happened(start + QUIET / 2), None);
        assert_eq!(seldom.happened(start + QUIET), Some(3));
        assert_eq!(seldom.happened(start + QUIET), None);
    }
}
