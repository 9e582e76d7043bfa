//! `ringway plan`: the movement report between two files, computed without touching anything.

use std::sync::Arc;

use ringway_admin::report::{MovementReport, human};
use ringway_proxy::control::Change;
use ringway_ring::diff;

use super::topology_of;
use crate::cli::PlanArgs;
use crate::outcome::{Failure, print};

/// Prints the report.
///
/// # Errors
/// Problems of either file.
pub(crate) fn run(args: &PlanArgs) -> Result<(), Failure> {
    let from = Arc::new(topology_of(&args.from, args.pool.as_deref(), 1)?);
    let to = Arc::new(topology_of(&args.to, args.pool.as_deref(), 2)?);
    let diff = diff(from.ring(), to.ring());
    let report = MovementReport::from(&Change { from, to, diff });
    if !args.json {
        return print(&human(&report));
    }
    let json = serde_json::to_string_pretty(&report)
        .map_err(|error| Failure::Run(format!("the report cannot be written as JSON: {error}")))?;
    print(&format!("{json}\n"))
}
