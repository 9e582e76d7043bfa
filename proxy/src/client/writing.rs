//! The writing side of a client: what waits for it is written once, at the end of the turn.
//!
//! A client that awaits more replies is written to at the end of the next turn instead: the nodes that its commands went
//! to answer one after the other, and a write costs more than all that is done for a reply. When nothing else happens
//! that turn comes at once.
//!
//! Large replies are written from where they were read, when it is their turn. What the kernel does not take waits until it
//! does; who leaves too much is closed (law I6).

use std::io;

use super::{CAUGHT_UP_BYTES, Client, Inner, Reading};
use crate::stats::ClosedFor;

/// A write of so many bytes is not made better by waiting for more.
const FULL_WRITE_BYTES: usize = 32 * 1024;

impl Client {
    /// Whether it is written to a turn later, together with the replies that may come by then. Never twice in a row.
    pub(crate) fn waits_for_more(&self) -> bool {
        if self.has_waited.take() || self.closed.get() || self.worker.leaving.get() {
            return false;
        }
        let inner = self.inner.borrow();
        let waits = !inner.pipeline.is_empty()
            && (1..FULL_WRITE_BYTES).contains(&inner.pipeline.unwritten().len())
            && !inner.blocked
            && !inner.paused
            && inner.reading == Reading::Open;
        self.has_waited.set(waits);
        waits
    }

    /// Writes what waits, once; called at the end of the turn.
    pub(crate) fn flush(&self) {
        self.dirty.set(false);
        if self.closed.get() {
            return;
        }
        if self.write().is_err() {
            return self.close();
        }
        let mut inner = self.inner.borrow_mut();
        self.account(&inner);
        if inner.pipeline.reply_bytes() > self.worker.shared.settings.limits.reply_hard_bytes {
            drop(inner);
            return self.close_for(ClosedFor::UnreadReplies);
        }
        // the task has something to do: wait for the kernel, go on with commands, or end
        if inner.blocked || std::mem::take(&mut inner.paused) || inner.reading != Reading::Open {
            drop(inner);
            self.wake();
        }
    }

    /// Writes a large reply from where it was read, if its turn has come; returns what is left of it.
    #[cold]
    pub(super) fn write_through<'b>(&self, inner: &mut Inner, number: u64, bytes: &'b [u8]) -> &'b [u8] {
        if inner.blocked || !inner.pipeline.is_next_to_leave(number) || self.worker.leaving.get() {
            return bytes;
        }
        // an error comes again at the end of the turn, where it is dealt with
        let written = self.stream.try_write(bytes).unwrap_or(0);
        self.worker.stats.client_bytes_out.add(written as u64);
        &bytes[written..]
    }

    pub(super) fn write(&self) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        let waiting = inner.pipeline.unwritten().len();
        if waiting == 0 || inner.blocked {
            return Ok(());
        }
        let result = match self.worker.leaving.get() {
            false => self.stream.try_write(inner.pipeline.unwritten()),
            true => self.write_leaving(&mut inner),
        };
        let written = match result {
            Ok(written) => written,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(error) => return Err(error),
        };
        self.worker.stats.client_bytes_out.add(written as u64);
        inner.pipeline.wrote(written);
        if written < waiting {
            inner.blocked = true;
            if written > 0 || inner.stuck_since.is_none() {
                inner.stuck_since = Some(self.worker.turn.now());
            }
        } else {
            inner.stuck_since = None;
        }
        if self.lags.get() && inner.pipeline.reply_bytes() < CAUGHT_UP_BYTES {
            self.lags.set(false);
        }
        Ok(())
    }
}
