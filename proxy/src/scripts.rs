//! Scripts that clients made known, kept for nodes that join or restart later.
//!
//! ```text
//!   SCRIPT LOAD ──► all nodes          a new connection to a node: AUTH …, SCRIPT LOAD for each kept one, PING
//!        └──► kept (bounded) ──────────►
//! ```
//! Only what SCRIPT LOAD named is kept, not what EVAL ran: a script that EVAL made known is lost with its node, as
//! with a single server. Loading is idempotent, so every connection may do it. Nothing here is on the way of a
//! command with keys.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::{SCRIPT_BYTES, SCRIPTS};

/// See the head of this file. Shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Scripts(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first.
    scripts: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

impl Scripts {
    /// Keeps a script; the oldest make room.
    pub(crate) fn keep(&self, script: &[u8]) {
        if script.len() > SCRIPT_BYTES {
            return;
        }
        let mut kept = self.kept();
        match kept.scripts.iter().position(|known| **known == *script) {
            Some(at) => drop(kept.scripts.remove(at)),
            None => kept.bytes += script.len(),
        }
        kept.scripts.push_back(script.into());
        while kept.scripts.len() > SCRIPTS || kept.bytes > SCRIPT_BYTES {
            let oldest = kept.scripts.pop_front().map_or(0, |script| script.len());
            kept.bytes -= oldest;
        }
    }

    /// Forgets all, as SCRIPT FLUSH does.
    pub(crate) fn forget(&self) {
        *self.kept() = Kept::default();
    }

    /// All that are kept, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<[u8]>> {
        self.kept().scripts.iter().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i6_the_newest_are_kept_within_number_and_bytes() {
        let scripts = Scripts::default();
        for number in 0..SCRIPTS + 10 {
            scripts.keep(format!("return {number}").as_bytes());
        }
        scripts.keep(b"return 20");
        let all = scripts.all();
        assert_eq!(
            (all.len(), &*all[0], &*all[SCRIPTS - 1]),
            (SCRIPTS, &b"return 10"[..], &b"return 20"[..])
        );
        scripts.keep(&vec![b' '; SCRIPT_BYTES + 1]);
        assert_eq!(scripts.all().len(), SCRIPTS);
        scripts.keep(&vec![b' '; SCRIPT_BYTES]);
        assert_eq!(scripts.all().len(), 1);
        scripts.forget();
        assert!(scripts.all().is_empty());
        scripts.keep(b"x");
        assert_eq!(scripts.kept().bytes, 1);
    }
}
