//! One node of `ringway dev`: this process asks the kernel to be ended with its parent, then becomes redis-server.
//!
//! The request survives the `exec`, so that no server outlives a `ringway dev` that was killed. Asking between `fork`
//! and `exec` would need unsafe code; a process of its own does not.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::cli::DevNodeArgs;
use crate::outcome::Failure;

/// Becomes the server; returns only when that fails.
///
/// # Errors
/// [`Failure::Run`].
pub(crate) fn run(args: &DevNodeArgs) -> Result<(), Failure> {
    die_with_parent();
    // the parent may have ended before the request was made
    let parent = std::os::unix::process::parent_id();
    if parent != args.parent {
        return Err(Failure::Run("the process that started this node is gone".to_owned()));
    }
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Failure::Usage("no server to start".to_owned()));
    };
    let error = Command::new(program).args(rest).exec();
    Err(Failure::Run(format!("{} cannot be started: {error}", program.display())))
}

#[cfg(target_os = "linux")]
fn die_with_parent() {
    // nothing is lost: these nodes keep no data on disk
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
    {
        eprintln!("ringway: a node may outlive a killed ringway dev: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent() {}
