//! `ringway import`: twemproxy's file in, ringway.yaml out, notes beside it.

use std::path::Path;

use crate::cli::ImportArgs;
use crate::config::problem::Problems;
use crate::config::{self, Secrets};
use crate::nutcracker;
use crate::outcome::{Failure, print};

/// Prints the file, and the notes on standard error.
///
/// # Errors
/// Problems of the file.
pub(crate) fn run(args: &ImportArgs) -> Result<(), Failure> {
    let pool = nutcracker::load(&args.file, args.pool.as_deref())?;
    let (text, notes) = nutcracker::write(&pool);
    accepted(&args.file, pool.line, &text)?;
    print(&text)?;
    for note in notes {
        eprintln!("note: {note}");
    }
    Ok(())
}

/// What is printed must pass `ringway check`; a value that does not is told with the pool it comes from.
fn accepted(file: &Path, line: usize, text: &str) -> Result<(), Problems> {
    match config::parse(text, &Secrets::FormOnly, Path::new("")) {
        Ok(_) => Ok(()),
        Err(problems) => {
            let carried = problems.into_iter().map(|mut problem| {
                problem.line = line;
                problem.text.insert_str(0, "cannot be carried over: ");
                problem
            });
            Err(Problems::new(&file.display().to_string(), carried.collect()))
        }
    }
}
