//! What a link does between two connections: it waits until the next one may be begun.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::exchange::ReplyTo;
use super::link::{Link, State};

impl<T: ReplyTo + 'static> Link<T> {
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
