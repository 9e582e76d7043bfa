//! `ringway ring`: a picture of the ring or of a change, and the search for a seed.

use std::path::Path;

use ringway_ring::{RingError, best_seed};

use super::topology_of;
use crate::cli::RingArgs;
use crate::config::ring::members;
use crate::outcome::{Failure, print};
use crate::svg;

/// Writes the picture, or prints the seed, or both.
///
/// # Errors
/// Problems of a file, a placement without a seed, a picture that cannot be written.
pub(crate) fn run(args: &RingArgs) -> Result<(), Failure> {
    if let Some(tries) = args.best_seed {
        seed(args, tries)?;
    }
    let Some(path) = &args.svg else { return Ok(()) };
    let pool = args.pool.as_deref();
    let before = topology_of(&args.config, pool, 1)?;
    let picture = match &args.to {
        None => svg::ring(before.ring()),
        Some(to) => svg::change(before.ring(), topology_of(to, pool, 2)?.ring()),
    };
    write(path, &picture)
}

fn write(path: &Path, picture: &str) -> Result<(), Failure> {
    if path == Path::new("-") {
        return print(picture);
    }
    std::fs::write(path, picture)
        .map_err(|error| Failure::Run(format!("{} cannot be written: {error}", path.display())))
}

fn seed(args: &RingArgs, tries: u64) -> Result<(), Failure> {
    let topology = topology_of(&args.config, args.pool.as_deref(), 1)?;
    let config = &topology.spec().ring;
    let members = members(&topology.spec().nodes);
    let refused = |error: RingError| Failure::Usage(format!("{}: {error}", args.config.display()));
    let (_, now) = best_seed(config, &members, 1).map_err(refused)?;
    let (seed, ratio) = best_seed(config, &members, tries).map_err(refused)?;
    print(&format!(
        "seed: {seed}\nlargest share over the ideal: {ratio:.4} (1 is perfect; seed {} has {now:.4})\n\
         Set ring.seed to it in a cluster that is created new: in one that holds data nearly every key would move.\n",
        config.seed
    ))
}
