//! The connections of a listener: how many there may be, and who goes when one more comes.
//!
//! ```text
//!   head, body or next request awaited ── may go, whoever has kept its place for longest
//!   a whole request is being answered  ── stays
//! ```
//! So whoever sends a whole request at once is answered, however many others dawdle.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::task::{AbortHandle, Id};

/// What one connection is at.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// A whole request has come and is not answered.
    answering: AtomicBool,
    /// Since when it is not, in microseconds since the program first asked.
    idle_since: AtomicU64,
}

impl Activity {
    /// Of a connection that was just accepted.
    pub(crate) fn new() -> Arc<Self> {
        let activity = Self::default();
        activity.rests();
        Arc::new(activity)
    }

    /// A whole request has come.
    fn answers(&self) {
        self.answering.store(true, Ordering::Relaxed);
    }

    /// It is answered.
    pub(crate) fn rests(&self) {
        static START: OnceLock<Instant> = OnceLock::new();
        let since = START.get_or_init(Instant::now).elapsed().as_micros();
        self.idle_since.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.answering.store(false, Ordering::Relaxed);
    }
}

/// The body of a request; the request is whole when it has come to its end.
pub(crate) struct Watched {
    body: Incoming,
    activity: Arc<Activity>,
}

impl Watched {
    /// Of a request whose head has come.
    pub(crate) fn new(body: Incoming, activity: Arc<Activity>) -> Self {
        let watched = Self { body, activity };
        watched.look();
        watched
    }

    fn look(&self) {
        if self.body.is_end_stream() {
            self.activity.answers();
        }
    }
}

impl Body for Watched {
    type Data = <Incoming as Body>::Data;
    type Error = <Incoming as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.activity.answers(),
            Some(_) => self.look(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The connections that are open.
#[derive(Debug, Default)]
pub(crate) struct Places(HashMap<Id, (Arc<Activity>, AbortHandle)>);

impl Places {
    /// How many there are.
    pub(crate) fn taken(&self) -> usize {
        self.0.len()
    }

    /// A connection and the task that serves it.
    pub(crate) fn take(&mut self, activity: Arc<Activity>, task: AbortHandle) {
        self.0.insert(task.id(), (activity, task));
    }

    /// A task has ended.
    pub(crate) fn leave(&mut self, task: Id) {
        self.0.remove(&task);
    }

    /// Ends the connection that has been without a whole request for longest; false when there is none.
    pub(crate) fn make_room(&mut self) -> bool {
        let idle = self.0.iter().filter(|(_, (activity, _))| !activity.answering.load(Ordering::Relaxed));
        let longest = idle.min_by_key(|(_, (activity, _))| activity.idle_since.load(Ordering::Relaxed));
        let Some(task) = longest.map(|(task, _)| *task) else { return false };
        if let Some((_, handle)) = self.0.remove(&task) {
            handle.abort();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_was_idle_for_longest_goes_and_who_is_answered_stays() {
        let mut places = Places::default();
        let mut tasks = Vec::new();
        let mut activities = Vec::new();
        for _ in 0..3 {
            let activity = Activity::new();
            let task = tokio::spawn(std::future::pending::<()>());
            places.take(Arc::clone(&activity), task.abort_handle());
            tasks.push(task);
            activities.push(activity);
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        activities[0].answers();
        assert!(places.make_room());
        assert!(tasks.remove(1).await.unwrap_err().is_cancelled());
        activities[0].rests();
        assert!(places.make_room());
        assert!(tasks.remove(1).await.unwrap_err().is_cancelled(), "the first has rested since just now");
        activities[0].answers();
        assert!(!places.make_room());
        assert_eq!(places.taken(), 1);
        places.leave(tasks[0].id());
        assert_eq!(places.taken(), 0);
    }
}
