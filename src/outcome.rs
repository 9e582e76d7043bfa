//! How a command ends: text on standard output, one clear message on standard error, an exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::problem::Problems;

/// Why a command failed, and with which code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A bad flag or file: exit 2.
    Usage(String),
    /// Problems of a file, printed as they are: exit 2.
    Problems(Problems),
    /// Anything else, such as a port that is taken: exit 1.
    Run(String),
}

impl Failure {
    /// Prints the message and answers the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Usage(text) => eprintln!("ringway: {text}"),
            Self::Problems(problems) => eprintln!("{problems}"),
            Self::Run(text) => eprintln!("ringway: {text}"),
        }
        match self {
            Self::Usage(_) | Self::Problems(_) => ExitCode::from(2),
            Self::Run(_) => ExitCode::from(1),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

/// Writes to standard output; a reader that has left (`| head`) is no failure.
///
/// # Errors
/// [`Failure::Run`] when it cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Run(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
