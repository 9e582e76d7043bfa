//! Parts that a proxy cannot do without: if one of them panics, the whole proxy has failed.
//!
//! A panic in a client's task ends that client. The task of a connection to a node, or of a worker, is shared by many: a
//! proxy that goes on without it would leave them without an answer for ever (law I5), so that
//! [`Proxy::failed`](crate::Proxy::failed) tells whoever runs it, who ends the process.

use tokio::sync::watch;

/// Where a failure is told.
pub(crate) type Failed = watch::Sender<Option<&'static str>>;

/// Lives as long as the part; tells when it ends by a panic.
#[derive(Debug)]
pub(crate) struct Essential {
    what: &'static str,
    failed: Failed,
}

impl Essential {
    /// `what` it is, for the log: "a worker".
    pub(crate) fn new(what: &'static str, failed: &Failed) -> Self {
        Self { what, failed: failed.clone() }
    }
}

impl Drop for Essential {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed.send_replace(Some(self.what));
        }
    }
}
