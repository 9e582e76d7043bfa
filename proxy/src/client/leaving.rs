//! How a connection ends while the process is being stopped: between two commands, so that the client knows of each of
//! its commands whether it ran.
//!
//! ```text
//!   Leave ─► the next reply with nothing open behind it carries the end of the stream in its last segment
//!   Drain ─► (after limits.drain_idle) nothing more is read; what was read is answered, then the end
//! ```
//! A client that waits for its reply has no command on its way when both arrive together. One that was idle all the time
//! gets the end alone. A transaction is not parted before its EXEC. Once the end is sent, nothing that still comes is run.

use std::io;

use super::session::Mode;
use super::{Client, Inner, Reading};

impl Inner {
    /// Whether every command that was read has its reply and no part of another one has come.
    fn is_between_commands(&self) -> bool {
        self.reading == Reading::Open && self.pipeline.is_empty() && self.pending.is_empty()
    }
}

impl Client {
    /// Answers what was read, then ends the connection. A command that has arrived at an idle connection is answered
    /// first: the caller asks `again` for those.
    pub(crate) fn drain(&self, again: bool) {
        let mut inner = self.inner.borrow_mut();
        let has_arrived = inner.is_between_commands() && self.stream.has_unread();
        if has_arrived || again && inner.reading != Reading::Open {
            return;
        }
        if inner.reading == Reading::Open {
            inner.reading = Reading::Ended;
        }
        // what waits for something to happen is not waited for
        let waits = inner.session.running.as_ref().is_some_and(|running| running.ends_with_client);
        let id = inner.session.id;
        drop(inner);
        if waits && !self.inner.borrow().pipeline.is_empty() && !self.worker.waits.leave(id) {
            return self.close();
        }
        self.wake();
    }

    /// Writes what waits, once, while the process is being stopped; the last word ends the stream.
    #[cold]
    pub(super) fn write_leaving(&self, inner: &mut Inner) -> io::Result<usize> {
        let in_transaction = inner.session.mode == Mode::Queueing;
        if in_transaction
            || self.says_no_reply.get()
            || !inner.is_between_commands()
            || self.stream.has_incomplete()
            || self.stream.has_unread()
        {
            let written = self.stream.try_write(inner.pipeline.unwritten())?;
            // what is left of it is no reply either
            if written == inner.pipeline.unwritten().len() {
                self.says_no_reply.set(false);
            }
            return Ok(written);
        }
        let waiting = inner.pipeline.unwritten();
        let written = self.stream.try_write_last(waiting)?;
        if written == waiting.len() {
            inner.reading = Reading::Ended;
        }
        Ok(written)
    }
}
