//! The search for a seed that balances a new cluster.
//!
//! Another seed gives another independent set of points, so the best of a hundred is much better balanced than the
//! average one. Only for a cluster that is created new: changing the seed of one in use moves almost every key.

use crate::config::{Member, Placement, RingConfig};
use crate::error::RingError;
use crate::ring::Ring;

/// Tries `tries` seeds (at least one), counting up from `config.seed`, and returns the best with its imbalance: the
/// largest ratio, over all members, of a member's share to the share its weight asks for. 1.0 would be perfect.
///
/// # Errors
/// [`RingError::SeedUnused`] if the placement takes no seed, else what [`Ring::build`] answers.
pub fn best_seed(config: &RingConfig, members: &[Member], tries: u64) -> Result<(u64, f64), RingError> {
    if config.placement != Placement::Xxh3 {
        return Err(RingError::SeedUnused(config.placement.name()));
    }
    let mut best = (config.seed, f64::INFINITY);
    for attempt in 0..tries.max(1) {
        let seed = config.seed.wrapping_add(attempt);
        let ring = Ring::build(&RingConfig { seed, ..config.clone() }, members)?;
        let imbalance = ring.imbalance();
        if imbalance < best.1 {
            best = (seed, imbalance);
        }
    }
    Ok(best)
}
