//! Logs: to standard error, for people on a terminal, as one JSON object a line otherwise.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::outcome::Failure;

/// Starts logging with a level or filter.
///
/// # Errors
/// [`Failure::Usage`] for a filter that is none.
pub(crate) fn start(filter: &str) -> Result<(), Failure> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| {
        Failure::Usage(format!("--log (or RUST_LOG) '{filter}' is no filter: {error}; write for example info or ringway_proxy=debug"))
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(io::stderr);
    let started = if io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    started.map_err(|error| Failure::Run(format!("logging cannot start: {error}")))
}
