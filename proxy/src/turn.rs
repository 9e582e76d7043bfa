//! The end of a turn: one write per node and per client for all that happened since the last one.
//!
//! A turn is what the runtime does between two looks at the kernel: every ready connection is read, commands
//! and replies pile up, and then one task, which the first of them woke and which therefore runs after all
//! that were ready, writes each node and each client once. The clock is read once per turn as well.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Instant;

/// Wakes the task that ends the turn, once per turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    scheduled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    now: Cell<Option<Instant>>,
}

impl Turn {
    /// There is something to write at the end of this turn.
    #[inline]
    pub(crate) fn schedule(&self) {
        if !self.scheduled.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// The time of this turn.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        match self.now.get() {
            Some(now) => now,
            None => {
                let now = Instant::now();
                self.now.set(Some(now));
                self.schedule();
                now
            }
        }
    }

    /// Runs `end` at the end of every turn, for ever.
    pub(crate) async fn run(&self, mut end: impl FnMut()) {
        poll_fn(|cx| {
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            drop(waker);
            if self.scheduled.replace(false) {
                end();
                self.now.set(None);
            }
            Poll::<()>::Pending
        })
        .await;
    }
}
