//! Logs: to standard error, for people on a terminal, as one JSON object a line otherwise.
//!
//! A thread of its own writes them, so that nobody waits for a reader of standard error who has stopped reading. What
//! does not fit in between is dropped and counted.

use std::io::{self, IsTerminal};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::outcome::Failure;

/// Lines that wait to be written; one of them has some 200 bytes.
const WAITING_LINES: usize = 8192;

/// Writes what waits when it is dropped, for at most a second.
pub(crate) struct Logs {
    _guard: WorkerGuard,
    dropped: ErrorCounter,
}

impl Logs {
    /// What counts the lines that nobody took.
    pub(crate) fn dropped(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let dropped = self.dropped.clone();
        move || dropped.dropped_lines() as u64
    }
}

/// Starts logging with a level or filter.
///
/// # Errors
/// [`Failure::Usage`] for a filter that is none.
pub(crate) fn start(filter: &str) -> Result<Logs, Failure> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| {
        Failure::Usage(format!("--log (or RUST_LOG) '{filter}' is no filter: {error}; write for example info or ringway_proxy=debug"))
    })?;
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("ringway-log")
        .finish(io::stderr());
    let dropped = writer.error_counter();
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(writer);
    let started = if io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    started.map_err(|error| Failure::Run(format!("logging cannot start: {error}")))?;
    log_panics();
    Ok(Logs { _guard: guard, dropped })
}

/// Panics are logged like everything else. Their text is left out: it may quote what a client sent.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect of the proxy: please report this line");
    }));
}
