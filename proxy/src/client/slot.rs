//! Where a reply goes: the one thing of a client that upstreams hold.
//!
//! A client that is gone takes nothing more; what comes for it is dropped here, after it was read (law I1).

use std::rc::Rc;

use super::large_values::Value;
use super::{Client, DIRECT_BYTES, UNTOLD_BYTES};
use crate::error::Failure;
use crate::upstream::{ReplyTo, When};

/// The place of one reply, or of one part of it, in a client's order.
pub(crate) struct SlotRef {
    pub(super) client: Rc<Client>,
    pub(super) number: u64,
    pub(super) part: u16,
}

impl ReplyTo for SlotRef {
    #[inline]
    fn reply(&self, bytes: &[u8], last: bool) {
        let client = &self.client;
        if client.closed.get() {
            return;
        }
        #[cfg(test)]
        crate::panic_tests::panic_if_asked(bytes);
        let inner = &mut *client.inner.borrow_mut();
        let rest = if bytes.len() >= DIRECT_BYTES {
            inner.pipeline.long_reply(bytes.len());
            if last {
                inner.pipeline.end_guard(self.number);
            }
            if !last {
                inner.session.moved(Value::Reply(self.number), bytes.len(), client.worker.turn.now());
            }
            client.write_through(inner, self.number, bytes)
        } else {
            bytes
        };
        let spare = &mut client.worker.spare.borrow_mut();
        let left = inner.pipeline.reply(self.number, self.part, rest, last, spare);
        // what is held for one who cannot have it yet is counted and bounded as well: the end of the turn sees to it
        if left || inner.pipeline.reply_bytes() > UNTOLD_BYTES {
            client.mark_dirty();
        }
        client.worker.stats.replies.add(inner.pipeline.take_finished());
    }

    fn told(&self, message: &[u8], when: When) {
        self.client.told(message, when);
    }

    fn backlog(&self) -> usize {
        if self.client.closed.get() || self.client.lags.get() {
            return 0;
        }
        let pipeline = &self.client.inner.borrow().pipeline;
        // parts that are to be joined first are not the reader's to take, however fast it is
        if pipeline.is_joining(self.number) { 0 } else { pipeline.reply_bytes() }
    }

    fn asker(&self) -> usize {
        Rc::as_ptr(&self.client).addr()
    }

    fn lags(&self) {
        self.client.lags.set(true);
    }

    fn fail(&self, failure: Failure<'_>) {
        let client = &self.client;
        if client.closed.get() {
            return;
        }
        let inner = &mut *client.inner.borrow_mut();
        let spare = &mut client.worker.spare.borrow_mut();
        match inner.pipeline.fail(self.number, self.part, failure, spare) {
            Ok(_) => client.mark_dirty(),
            Err(_broken_off) => client.close(),
        }
        client.worker.stats.replies.add(inner.pipeline.take_finished());
    }
}
