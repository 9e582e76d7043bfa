//! What systemd is told (`Type=notify`): ready, reloading, stopping. Without `NOTIFY_SOCKET` nothing is said.

use std::io;

use sd_notify::NotifyState;

/// Clients and operators are accepted; also the end of a reload.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration file is being read again. The time tells systemd to which SIGHUP this belongs.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => failed(&error),
    }
}

/// Nobody is accepted any more.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        failed(&error);
    }
}

fn failed(error: &io::Error) {
    tracing::warn!(%error, "the service manager cannot be told; see NOTIFY_SOCKET");
}
