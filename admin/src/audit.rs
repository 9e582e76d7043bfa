//! One line in the log for every change that was tried: who, with which token, what, how it ended, the epochs before and
//! after. Never a secret: neither query, header nor body is looked at, and node credentials are not described.
//!
//! ```text
//!   guard ── Attempt ──> handler ──> the work (goes on when the caller hangs up)
//!              └── ended is noted by whoever knows; the last one to let go writes the line
//! ```
//! A caller that the guard does not know gets no line of its own, or a thousand tries a second would fill the disk: those
//! are counted (`ringway_admin_refused_total`) and told together.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{Method, StatusCode};
use ringway_proxy::control::{Change, Control};

use crate::guard::Token;

/// Longest part of a path in the log, in bytes.
const SHOWN_PATH: usize = 128;

/// A change that somebody tries to make; cheap to clone.
#[derive(Clone)]
pub(crate) struct Attempt(Arc<Inner>);

struct Inner {
    control: Control,
    peer: Option<SocketAddr>,
    token: Token,
    call: String,
    from_epoch: u64,
    ended: Mutex<Ended>,
}

/// How it ended, as far as it is known.
enum Ended {
    /// Nobody said: the caller hung up before it began.
    Left,
    /// It was a dry run.
    Planned,
    /// Something that takes its time was begun, or told to end.
    Begun(String),
    Refused {
        status: StatusCode,
        code: &'static str,
    },
    Done {
        what: String,
        from_epoch: u64,
        to_epoch: u64,
        moved_percent: f64,
    },
}

/// The code of an error that was answered, for the one who writes the line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ErrorCode(pub(crate) &'static str);

/// Whether a call may change the topology.
pub(crate) fn is_change(method: &Method, path: &str) -> bool {
    let reads = *method == Method::GET || *method == Method::HEAD;
    // what followers say every two seconds changes nothing here
    let is_said = *method == Method::POST && path.starts_with("/v1/followers/");
    !reads && path.starts_with("/v1/") && path != "/v1/topology/plan" && !is_said
}

impl Attempt {
    pub(crate) fn new(
        control: &Control,
        peer: Option<SocketAddr>,
        token: Token,
        method: &Method,
        path: &str,
    ) -> Self {
        let shown: String = path.chars().take(SHOWN_PATH).flat_map(char::escape_debug).collect();
        Self(Arc::new(Inner {
            control: control.clone(),
            peer,
            token,
            call: format!("{method} {shown}"),
            from_epoch: control.topology().epoch(),
            ended: Mutex::new(Ended::Left),
        }))
    }

    /// Nothing was to be changed.
    pub(crate) fn planned(&self) {
        *self.ended() = Ended::Planned;
    }

    /// The topology stays; something that takes its time was begun, or told to end.
    pub(crate) fn begun(&self, what: String) {
        *self.ended() = Ended::Begun(what);
    }

    /// The topology was changed.
    pub(crate) fn done(&self, what: &str, change: &Change) {
        *self.ended() = Ended::Done {
            what: what.to_owned(),
            from_epoch: change.from.epoch(),
            to_epoch: change.to.epoch(),
            moved_percent: crate::report::percent(change.diff.moved),
        };
    }

    /// The answer was an error; what was noted before stays.
    pub(crate) fn answered(&self, status: StatusCode, code: Option<ErrorCode>) {
        let mut ended = self.ended();
        if matches!(*ended, Ended::Left) && !status.is_success() {
            *ended = Ended::Refused { status, code: code.map_or("", |code| code.0) };
        }
    }

    fn ended(&self) -> MutexGuard<'_, Ended> {
        self.0.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let peer = self.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let (token, call) = (self.token.label(), self.call.as_str());
        match self.ended.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Ended::Planned => {}
            Ended::Begun(what) => {
                tracing::info!(peer, token, call, result = "done", work = what.as_str(), "begun over HTTP");
            }
            Ended::Done { what, from_epoch, to_epoch, moved_percent } => tracing::info!(
                peer,
                token,
                call,
                result = "done",
                change = what.as_str(),
                from_epoch = *from_epoch,
                to_epoch = *to_epoch,
                moved_percent = *moved_percent,
                "topology changed over HTTP"
            ),
            Ended::Refused { status, code } => tracing::warn!(
                peer,
                token,
                call,
                result = "refused",
                status = status.as_u16(),
                code = *code,
                from_epoch = self.from_epoch,
                to_epoch = self.control.topology().epoch(),
                "change over HTTP refused"
            ),
            Ended::Left => tracing::warn!(
                peer,
                token,
                call,
                result = "left",
                from_epoch = self.from_epoch,
                to_epoch = self.control.topology().epoch(),
                "change over HTTP not begun: the caller hung up"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_reads_or_plans_is_no_change() {
        for (method, path) in [
            ("GET", "/v1/topology"),
            ("HEAD", "/v1/stats"),
            ("POST", "/v1/topology/plan"),
            ("POST", "/x"),
            ("POST", "/v1/followers/a/keys"),
        ] {
            assert!(!is_change(&Method::from_bytes(method.as_bytes()).unwrap(), path), "{method} {path}");
        }
        for (method, path) in [
            ("PUT", "/v1/topology"),
            ("POST", "/v1/topology/plan/"),
            ("DELETE", "/v1/nodes/a"),
            ("DELETE", "/v1/followers/a"),
            ("BREW", "/v1/topology"),
        ] {
            assert!(is_change(&Method::from_bytes(method.as_bytes()).unwrap(), path), "{method} {path}");
        }
    }
}
