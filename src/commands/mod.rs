//! One file per subcommand.

pub(crate) mod check;
pub(crate) mod dev;
mod following;
pub(crate) mod health;
pub(crate) mod import;
mod keeper;
pub(crate) mod plan;
pub(crate) mod ring;
pub(crate) mod route;
mod running;
pub(crate) mod serve;

use std::path::Path;

use ringway_proxy::topology::Topology;

use crate::config::problem::Problems;
use crate::config::{self, Depth, read_text, yaml};
use crate::nutcracker;

/// The topology that a file describes, be it Ringway's or twemproxy's: its shape tells. No password is read.
///
/// # Errors
/// Every problem of the file.
pub(crate) fn topology_of(path: &Path, pool: Option<&str>, epoch: u64) -> Result<Topology, Problems> {
    let text = read_text(path)?;
    let foreign = yaml::parse(&text, &mut Vec::new()).is_some_and(|root| nutcracker::looks_like(&root));
    let spec = if foreign {
        nutcracker::load(path, pool)?.topology()
    } else {
        config::load(path, Depth::Placement)?.settings.topology
    };
    Topology::build(epoch, spec)
        .map_err(|error| Problems::of_file(&path.display().to_string(), error.to_string()))
}
