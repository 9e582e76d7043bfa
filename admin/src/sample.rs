//! `?sample=N`: keys that the nodes really hold, and where a change would send them.
//!
//! The exact share of the hash space says what part of all possible keys moves; a sample weighs by the keys there
//! are. From each node of the current topology a part of N in proportion to its `DBSIZE` is drawn with `SCAN`:
//!
//! - *Is the beginning of a scan a fair sample?* `SCAN` walks the node's hash table, and Redis places a key there by
//!   SipHash under a secret that it draws at start. This order knows nothing of the ring's hash, of the key's age or
//!   of its text, so the first n keys of a scan are as good as any n. Starting at a random cursor would be no
//!   fairer, and Redis leaves foreign cursors undefined. Starting at 0 draws the same keys for two plans in a row,
//!   so that their samples can be compared.
//! - A key that `SCAN` returns twice (it may, while a table grows) is counted once; only a 64-bit hash is remembered.
//! - The old place of a key is the node that holds it, even where the ring has long given it to another (a *stray*,
//!   counted apart).
//! - A node that does not answer makes the whole call fail: half a sample would look like a whole one.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use bb8_redis::redis::cmd;
use futures_util::stream::{self, StreamExt};
use ringway_proxy::control::Change;
use ringway_proxy::settings::NodeSpec;
use ringway_proxy::topology::Topology;
use tokio::sync::Semaphore;

use crate::error::ApiError;
use crate::limits;
use crate::pools::{Pools, connection, told};
use crate::report::{KeyFlow, SampleReport, percent};

/// Draws samples, one at a time, so that nodes are never scanned twice at once.
#[derive(Debug)]
pub(crate) struct Sampler {
    pools: Arc<Pools>,
    turn: Semaphore,
}

/// What one node's keys would do.
#[derive(Debug, Default, Clone, PartialEq)]
struct Drawn {
    keys: u64,
    strays: u64,
    /// Keys by the index of their new owner.
    to: Vec<u64>,
}

impl Sampler {
    pub(crate) fn new(pools: Arc<Pools>) -> Self {
        Self { pools, turn: Semaphore::new(1) }
    }

    /// Draws `wanted` keys, or all where there are fewer.
    ///
    /// # Errors
    /// 409 naming each node that did not answer, or when the time is up.
    pub(crate) async fn sample(&self, change: &Change, wanted: u64) -> Result<SampleReport, ApiError> {
        let drawn = tokio::time::timeout(limits::SAMPLE_TIME, async {
            let _turn = self.turn.acquire().await;
            self.pools.retain(&change.from);
            self.draw_all(change, wanted).await
        });
        let late = || {
            let seconds = limits::SAMPLE_TIME.as_secs();
            unavailable(&format!("it would take longer than {seconds} s; ask for fewer keys"))
        };
        drawn.await.map_err(|_| late())?.map(|drawn| summed(change, &drawn))
    }

    async fn draw_all(&self, change: &Change, wanted: u64) -> Result<Vec<Drawn>, ApiError> {
        let nodes = change.from.nodes();
        let sizes = each(nodes.iter().map(|node| self.size(node)).collect()).await?;
        let parts = parts(&sizes, wanted);
        each(nodes.iter().zip(parts).map(|(node, part)| self.draw(change, node, part)).collect()).await
    }

    async fn size(&self, node: &NodeSpec) -> Result<u64, String> {
        let pool = self.pools.get(node).map_err(|why| named(node, &why))?;
        let mut connection = connection(&pool).await.map_err(|why| named(node, &why))?;
        cmd("DBSIZE").query_async(&mut *connection).await.map_err(|error| named(node, &told(&error)))
    }

    /// Draws at most `part` keys of one node.
    async fn draw(&self, change: &Change, node: &NodeSpec, part: u64) -> Result<Drawn, String> {
        let mut drawn = Drawn { to: vec![0; change.to.nodes().len()], ..Drawn::default() };
        if part == 0 {
            return Ok(drawn);
        }
        let pool = self.pools.get(node).map_err(|why| named(node, &why))?;
        let mut connection = connection(&pool).await.map_err(|why| named(node, &why))?;
        let (hasher, mut seen) = (RandomState::new(), HashSet::new());
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(&cursor).arg("COUNT").arg(limits::SCAN_COUNT);
            let (next, keys): (String, Vec<Vec<u8>>) =
                scan.query_async(&mut *connection).await.map_err(|error| named(node, &told(&error)))?;
            for key in keys {
                if seen.insert(hasher.hash_one(&key)) {
                    drawn.count(change, node, &key);
                }
                if drawn.keys == part {
                    return Ok(drawn);
                }
            }
            if next == "0" {
                return Ok(drawn);
            }
            cursor = next;
        }
    }
}

impl Drawn {
    fn count(&mut self, change: &Change, holder: &NodeSpec, key: &[u8]) {
        self.keys += 1;
        if owner(&change.from, key).1 != holder.name {
            self.strays += 1;
        }
        if let Some(count) = self.to.get_mut(owner(&change.to, key).0) {
            *count += 1;
        }
    }
}

/// Index and name of the key's owner.
fn owner<'t>(topology: &'t Topology, key: &[u8]) -> (usize, &'t str) {
    let index = topology.owner(key).home();
    (usize::from(index.0), topology.node(index).map_or("", |node| node.name.as_str()))
}

/// Runs all, some at a time, in order; all errors together.
async fn each<T>(jobs: Vec<impl Future<Output = Result<T, String>>>) -> Result<Vec<T>, ApiError> {
    let results: Vec<Result<T, String>> = stream::iter(jobs).buffered(limits::NODES_AT_ONCE).collect().await;
    let (mut done, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(done) } else { Err(unavailable(&errors.join("; "))) }
}

fn named(node: &NodeSpec, why: &str) -> String {
    format!("node '{}' ({}): {why}", node.name, node.address)
}

fn unavailable(why: &str) -> ApiError {
    let message = format!(
        "the keys cannot be sampled, and nothing was changed: {why}. Without `sample` the call works"
    );
    ApiError::conflict("sample_unavailable", message)
}

/// Splits `wanted` over the nodes in proportion to their sizes, by the largest remainder: the parts add up to
/// `wanted` and none is larger than its node. Where there are no more keys than wanted, all are taken.
fn parts(sizes: &[u64], wanted: u64) -> Vec<u64> {
    let total: u128 = sizes.iter().map(|size| u128::from(*size)).sum();
    if total <= u128::from(wanted) {
        return sizes.to_vec();
    }
    let exact = |size: &u64| u128::from(*size) * u128::from(wanted);
    let mut parts: Vec<u64> = sizes.iter().map(|size| (exact(size) / total) as u64).collect();
    let left = wanted.saturating_sub(parts.iter().sum());
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(exact(&sizes[at]) % total));
    for at in order.into_iter().take(left as usize) {
        parts[at] += 1;
    }
    parts
}

fn summed(change: &Change, drawn: &[Drawn]) -> SampleReport {
    let mut flows = Vec::new();
    for (holder, drawn) in change.from.nodes().iter().zip(drawn) {
        for (owner, &keys) in change.to.nodes().iter().zip(&drawn.to) {
            if keys > 0 && owner.name != holder.name {
                flows.push(KeyFlow { from: holder.name.clone(), to: owner.name.clone(), keys });
            }
        }
    }
    flows.sort_by(|a, b| b.keys.cmp(&a.keys).then_with(|| (&a.from, &a.to).cmp(&(&b.from, &b.to))));
    let keys = drawn.iter().map(|drawn| drawn.keys).sum::<u64>();
    let moved = flows.iter().map(|flow| flow.keys).sum::<u64>();
    let part = if keys == 0 { 0.0 } else { moved as f64 / keys as f64 };
    let strays = drawn.iter().map(|drawn| drawn.strays).sum();
    SampleReport { keys, moved, moved_percent: percent(part), flows, strays }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_fit_their_nodes() {
        assert_eq!(parts(&[100, 100, 100], 10), [4, 3, 3]);
        assert_eq!(parts(&[1, 1, 1_000_000], 10), [0, 0, 10]);
        assert_eq!(parts(&[5, 0, 7], 100), [5, 0, 7]);
        assert_eq!(parts(&[], 5), [0; 0]);
        assert_eq!(parts(&[u64::MAX, u64::MAX], 1_000_000), [500_000, 500_000]);
        let mut state = 1_u64;
        for _ in 0..2000 {
            let mut next = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            let sizes: Vec<u64> = (0..1 + next(7)).map(|_| next(50)).collect();
            let wanted = 1 + next(200);
            let parts = parts(&sizes, wanted);
            assert_eq!(parts.iter().sum::<u64>(), wanted.min(sizes.iter().sum()), "{sizes:?} {wanted}");
            assert!(parts.iter().zip(&sizes).all(|(part, size)| part <= size), "{sizes:?} {wanted}");
        }
    }
}
