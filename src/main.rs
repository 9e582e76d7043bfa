//! Ringway's program: flags, files and signals. What it composes lives in `ringway_proxy`, `ringway_admin` and
//! `ringway_ring`.
//!
//! ```text
//!   cli ──> commands ──┬── config, nutcracker, topology_file   (files)
//!                      ├── svg                                 (pictures)
//!                      └── serve, dev: proxy + admin, signals, drain
//! ```

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod config;
mod follower_processes;
mod followers_file;
mod logging;
mod notify;
mod nutcracker;
mod outcome;
mod sockets;
mod svg;
mod topology_file;
mod topology_lock;
mod users_file;
mod whole_file;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use outcome::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Serve(args) => {
            let logs = logging::start(&cli.log)?;
            commands::serve::run(&args, &logs)
        }
        Command::Dev(args) => {
            let _logs = logging::start(&cli.log)?;
            commands::dev::run(&args)
        }
        Command::Check(args) => commands::check::run(&args),
        Command::Route(args) => commands::route::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Ring(args) => commands::ring::run(&args),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Health(args) => commands::health::run(&args),
        Command::DevNode(args) => commands::dev::node::run(&args),
    }
}

#[cfg(test)]
#[allow(unreachable_pub, reason = "public for the fuzz targets, which are another crate")]
#[path = "../fuzz/src/properties.rs"]
mod fuzz_properties;
#[cfg(test)]
#[allow(unreachable_pub, reason = "public for other crates that include it")]
#[path = "../proxy/fuzz/src/smoke.rs"]
mod fuzz_smoke;

/// The fuzz target on a stable compiler; what fails goes to `fuzz/corpus`.
#[test]
fn config() {
    fuzz_smoke::fuzz("config", fuzz_properties::config);
}
