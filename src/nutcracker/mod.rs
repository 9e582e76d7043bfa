//! twemproxy's configuration file, read as twemproxy 0.5 reads it.
//!
//! ```text
//!   nutcracker.yml ── read ──> Pool ──┬── topology ──> the same placement, for `plan`
//!                                     └── write ─────> ringway.yaml and notes, for `import`
//! ```

mod read;
mod write;

use std::path::Path;

use ringway_proxy::settings::{NodeSpec, Secret, TopologySpec};
use ringway_ring::RingConfig;

use crate::config::problem::Problems;
use crate::config::yaml::Node;
use crate::config::{read_text, yaml};

pub(crate) use write::write;

/// One pool: a listener and the servers behind it.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    /// Its key in the file.
    pub(crate) name: String,
    /// Line of the key.
    pub(crate) line: usize,
    /// `host:port`, or a path.
    pub(crate) listen: Option<String>,
    /// Placement with key hash and hash tag.
    pub(crate) ring: RingConfig,
    /// In the order of the file.
    pub(crate) servers: Vec<Server>,
    /// Milliseconds; absent is "wait for ever".
    pub(crate) timeout_ms: Option<u64>,
    /// The most clients.
    pub(crate) client_connections: Option<u64>,
    /// Whether it speaks Redis; memcached otherwise.
    pub(crate) redis: bool,
    /// Demanded from clients and sent to servers.
    pub(crate) redis_auth: Option<Secret>,
    /// Settings without counterpart: the name, and its value as text.
    pub(crate) others: Vec<(&'static str, String)>,
}

/// One line of `servers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Line in the file.
    pub(crate) line: usize,
    /// What twemproxy hashes: the given name, else `host:port`, else `host` for port 11211.
    pub(crate) name: String,
    /// Whether the name was given.
    pub(crate) named: bool,
    /// `host:port` as Ringway writes it.
    pub(crate) address: String,
    /// Its part of the keys.
    pub(crate) weight: u64,
}

impl Pool {
    /// The pool's nodes and placement. Weights above Ringway's maximum are reduced where that moves nothing.
    pub(crate) fn topology(&self) -> TopologySpec {
        let divisor = self.weight_divisor();
        let node = |server: &Server| NodeSpec {
            weight: u32::try_from(server.weight / divisor).unwrap_or(u32::MAX),
            ..NodeSpec::new(server.name.clone(), server.address.clone())
        };
        TopologySpec { ring: self.ring.clone(), nodes: self.servers.iter().map(node).collect() }
    }

    /// What all weights are divided by. Only ketama's points depend on the quotient of weights alone: its
    /// `w / total` in 32-bit floats is the same for `w·g / total·g` as long as both are exact, below 2^24.
    pub(crate) fn weight_divisor(&self) -> u64 {
        let ketama = self.ring.placement.name() == "ketama";
        let total: u64 = self.servers.iter().map(|server| server.weight).fold(0, u64::saturating_add);
        let largest = self.servers.iter().map(|server| server.weight).max().unwrap_or(1);
        if !ketama || largest <= u64::from(ringway_ring::MAX_WEIGHT) || total >= 1 << 24 {
            return 1;
        }
        self.servers.iter().map(|server| server.weight).fold(0, gcd).max(1)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Whether the tree has the shape of twemproxy's file: named maps with `servers`, and no `nodes`.
pub(crate) fn looks_like(root: &Node) -> bool {
    let Some(entries) = root.entries() else { return false };
    let has = |node: &Node, key: &str| {
        node.entries().is_some_and(|inner| inner.iter().any(|entry| entry.key == key))
    };
    !has(root, "nodes") && entries.iter().any(|entry| has(&entry.value, "servers"))
}

/// Reads the pool `wanted` of a file, or its only one.
///
/// # Errors
/// Every problem of that pool.
pub(crate) fn load(path: &Path, wanted: Option<&str>) -> Result<Pool, Problems> {
    let text = read_text(path)?;
    parse(&text, wanted).map_err(|problems| Problems::new(&path.display().to_string(), problems))
}

/// As [`load`], from the text.
///
/// # Errors
/// Every problem of that pool.
pub(crate) fn parse(text: &str, wanted: Option<&str>) -> Result<Pool, Vec<crate::config::problem::Problem>> {
    let mut reader = crate::config::reader::Reader::default();
    let pool =
        yaml::parse(text, &mut reader.problems).and_then(|root| read::pool(&mut reader, &root, wanted));
    match pool {
        Some(pool) if reader.problems.is_empty() => Ok(pool),
        _ => Err(reader.problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_kinds_of_file_are_told_apart() {
        let tree = |text: &str| yaml::parse(text, &mut Vec::new()).unwrap();
        assert!(looks_like(&tree("alpha:\n  listen: h:1\n  servers:\n  - h:2:1\n")));
        assert!(!looks_like(&tree("nodes:\n  - {name: a, address: 'h:1'}\n")));
        assert!(!looks_like(&tree("listen: h:1\n")));
        assert!(!looks_like(&tree("")));
    }

    #[test]
    fn large_weights_are_reduced_where_nothing_moves() {
        let pool = |hash: &str, weights: [u64; 2]| {
            let text = format!(
                "p:\n  distribution: {hash}\n  servers:\n   - h:1:{}\n   - h:2:{}\n",
                weights[0], weights[1]
            );
            parse(&text, None)
        };
        let divisor = |weights| pool("ketama", weights).map(|pool| pool.weight_divisor());
        assert_eq!(divisor([4000, 2000]), Ok(2000));
        assert_eq!(divisor([1000, 500]), Ok(1));
        assert!(pool("ketama", [100_000, 1]).is_err(), "cannot be reduced");
        assert!(pool("modula", [4000, 2000]).is_err(), "modula counts slots");
    }
}
