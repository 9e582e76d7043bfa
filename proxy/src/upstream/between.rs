//! What a link does between two connections: it waits until the next one may be begun.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::exchange::ReplyTo;
use super::link::{Link, State};

impl<T: ReplyTo + 'static> Link<T> {
    /// Waits until there is the connection that this one is to name to its node, if any, or nobody needs it: connects are
    /// bounded, and no turn is to be taken for one that would come to nothing.
    pub(super) async fn wait_for_ear(&self) {
        let Some(ear) = &self.ear else { return };
        while !self.retired.get() && !ear.is_there() {
            let mut turned = std::pin::pin!(ear.link.turned.notified());
            if self.state.get() == State::Connecting
                && let Some(why) = ear.why_not()
            {
                self.down(&why);
            }
            poll_fn(|cx| {
                self.remember_waker(cx);
                if self.retired.get() { Poll::Ready(()) } else { turned.as_mut().poll(cx) }
            })
            .await;
        }
    }

    /// Waits before the next connect; true when the link is retired and nothing waits for it.
    pub(super) async fn waits_in_vain(&self, backoff: &mut Backoff) -> bool {
        let mut pause = backoff.pause(Instant::now());
        loop {
            if self.pause(pause, backoff.answers()).await {
                return true;
            }
            match backoff.begin(Instant::now()) {
                Ok(()) => return false,
                Err(longer) => {
                    pause = longer;
                    // whoever asks need not wait to hear what others know
                    if self.state.get() == State::Connecting && backoff.is_in_vain() {
                        self.down("it does not answer");
                    }
                }
            }
        }
    }

    /// Waits for so long, or until the node answers others; true when the link is retired and nothing waits for it.
    async fn pause(&self, pause: Duration, answers: impl Future<Output = ()>) -> bool {
        let mut sleep = std::pin::pin!(tokio::time::sleep(pause));
        let mut answers = std::pin::pin!(answers);
        poll_fn(|cx| {
            self.remember_waker(cx);
            if self.retired.get() && (self.state.get() == State::Down || self.exchange.borrow().is_idle()) {
                return Poll::Ready(true);
            }
            let is_over = pause.is_zero() || answers.as_mut().poll(cx).is_ready();
            if is_over { Poll::Ready(false) } else { sleep.as_mut().poll(cx).map(|()| false) }
        })
        .await
    }
}
