//! The end of a turn: one write per node and per client for all that happened since the last one.
//!
//! A turn is what the runtime does between two looks at the kernel: every ready connection is read, commands
//! and replies pile up, and then one task, which the first of them woke and which therefore runs after all
//! that were ready, writes each node and each client once. What is better written together with what comes next is
//! left for the end of the next turn, which then follows at once. The clock is read once per turn as well.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Costly things that one turn may do: they hold up all who wait for it.
const COSTLY: u32 = 4;

/// Has the task go on in the next turn: for one that has more to do than may be done at once. If it woke itself, it would
/// run again in this one, many times over, before the kernel is asked for what others wait for.
pub(crate) fn go_on_in_the_next(cx: &mut Context<'_>) {
    // the runtime keeps the waker until it has looked at the kernel; the future has done its part with its first poll
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// Wakes the task that ends the turn, once per turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    scheduled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    now: Cell<Option<Instant>>,
    /// Costly things that were done in it.
    costly: Cell<u32>,
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

    /// Whether this turn has time for one more thing that takes some tenths of a millisecond, and now has less.
    pub(crate) fn affords_costly(&self) -> bool {
        let done = self.costly.get();
        if done < COSTLY {
            self.costly.set(done + 1);
            self.schedule();
        }
        done < COSTLY
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

    /// Runs `end` at the end of every turn, for ever. It answers whether it has left something for the end of the next
    /// one, which then comes as soon as the kernel has been looked at, whether or not anything has happened.
    pub(crate) async fn run(&self, mut end: impl FnMut() -> bool) {
        poll_fn(|cx| {
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            drop(waker);
            if self.scheduled.replace(false) {
                let left = end();
                self.now.set(None);
                self.costly.set(0);
                if left {
                    self.scheduled.set(true);
                    go_on_in_the_next(cx);
                }
            }
            Poll::<()>::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_task_with_much_to_do_lets_others_go_first() {
        let runtime = crate::worker::runtime().expect("a runtime");
        let turns = Rc::new(Cell::new(0));
        let busy = Rc::clone(&turns);
        runtime.block_on(async move {
            let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
            near.set_nonblocking(true).expect("it can be asked");
            let near = tokio::net::UnixStream::from_std(near).expect("a socket");
            // once, so that the runtime has looked at the socket and waits for it
            let reader = tokio::task::spawn_local(async move { near.readable().await });
            tokio::task::yield_now().await;
            tokio::task::spawn_local(poll_fn(move |cx| {
                if busy.get() == 0 {
                    far.write_all(b"x").expect("it is taken");
                }
                busy.set(busy.get() + 1);
                go_on_in_the_next(cx);
                if busy.get() < 10_000 { Poll::Pending } else { Poll::Ready(()) }
            }));
            reader.await.expect("no panic").expect("it is readable");
        });
        assert!(turns.get() < 5, "others waited while it went on {} times", turns.get());
    }

    #[test]
    fn what_is_left_is_done_at_the_end_of_the_next_turn_though_nothing_happens() {
        let runtime = crate::worker::runtime().expect("a runtime");
        let turn = Rc::new(Turn::default());
        let ends = Rc::new(Cell::new(0));
        let (ending, counted) = (Rc::clone(&turn), Rc::clone(&ends));
        runtime.block_on(async move {
            let (done, awaited) = tokio::sync::oneshot::channel();
            let mut done = Some(done);
            tokio::task::spawn_local(async move {
                ending
                    .run(|| {
                        counted.set(counted.get() + 1);
                        if counted.get() == 2 {
                            done.take().map(|done| done.send(()));
                        }
                        counted.get() < 2
                    })
                    .await;
            });
            tokio::task::yield_now().await;
            turn.schedule();
            // nothing else wakes this runtime
            let limit = std::time::Duration::from_secs(10);
            tokio::time::timeout(limit, awaited).await.expect("a second end").expect("it is told");
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(ends.get(), 2, "nothing was left the second time");
    }
}
