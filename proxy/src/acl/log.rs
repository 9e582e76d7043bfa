//! Who was refused what lately: `ACL LOG`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::limits::{DENIED_LOG_ENTRIES, DENIED_LOG_OBJECT_BYTES};

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Command,
    Key,
    Channel,
    /// A wrong name or password.
    Auth,
}

impl Reason {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Auth => "auth",
        }
    }
}

/// Where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    TopLevel,
    Multi,
}

impl Context {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
        }
    }
}

/// What was refused, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) count: u64,
    pub(crate) reason: Reason,
    pub(crate) context: Context,
    /// The command, key or channel, cut when it is long.
    pub(crate) object: Box<[u8]>,
    pub(crate) user: Box<[u8]>,
    /// When it happened last.
    pub(crate) at: Instant,
    /// The line of CLIENT LIST, as it was then.
    pub(crate) client: Box<str>,
}

impl Entry {
    pub(crate) fn new(
        (reason, context): (Reason, Context),
        object: &[u8],
        user: &[u8],
        client: String,
    ) -> Self {
        let cut = |text: &[u8]| text[..text.len().min(DENIED_LOG_OBJECT_BYTES)].into();
        Self {
            count: 1,
            reason,
            context,
            object: cut(object),
            user: cut(user),
            at: Instant::now(),
            client: client.into(),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        const SAME: std::time::Duration = std::time::Duration::from_secs(60);
        self.reason == other.reason
            && self.context == other.context
            && self.object == other.object
            && self.user == other.user
            && other.at.saturating_duration_since(self.at) <= SAME
    }
}

/// The newest refusals of all workers; a bounded number of them, each of bounded size (law I6).
#[derive(Debug, Default)]
pub(crate) struct DeniedLog(Mutex<VecDeque<Entry>>);

/// Among so many of the newest an equal one is looked for.
const LOOKED_AT: usize = 10;

impl DeniedLog {
    /// Notes one; an equal one of the last minute is counted up.
    pub(crate) fn add(&self, entry: Entry) {
        let entries = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries.iter().take(LOOKED_AT).position(|known| known.is_like(&entry));
        let count = known.and_then(|at| entries.remove(at)).map_or(0, |known| known.count);
        entries.push_front(Entry { count: count + 1, ..entry });
        entries.truncate(DENIED_LOG_ENTRIES);
    }

    /// The newest first.
    pub(crate) fn newest(&self, most: usize) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().take(most).cloned().collect()
    }

    /// Forgets all of them.
    pub(crate) fn reset(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
