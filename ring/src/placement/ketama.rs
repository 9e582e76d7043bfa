//! twemproxy's `ketama`, bit for bit: the points of libmemcached's weighted ketama, after the original of last.fm (2007).
//!
//! ```text
//!   points of a server   4 · floor(weight / total · 40 · servers)      each step rounded to f32
//!   MD5("name-0")        → 4 points, its little-endian 32-bit words
//!   MD5("name-1")        → 4 more, and so on
//! ```
//!
//! The rounding is twemproxy's and must stay: equal weights give 156 points instead of 160 with 25 or 47 servers among
//! others, and a small weight among large ones may give none. Because the number of points depends on all servers, a
//! change moves keys between unchanged ones too; that is twemproxy's known price. Several points at one position: the
//! server first in twemproxy's order (shorter names first, then by bytes) owns it.

use alloc::format;
use alloc::vec::Vec;

use md5::{Digest, Md5};

use super::bounded;
use crate::config::Member;
use crate::error::RingError;

/// twemproxy's KETAMA_POINTS_PER_SERVER divided by KETAMA_POINTS_PER_HASH.
const DIGESTS_PER_SERVER: (f32, f32) = (160.0, 4.0);

/// All points as `value << 32 | rank`, unsorted.
pub(super) fn points(members: &[Member], order: &[u16]) -> Result<Vec<u64>, RingError> {
    let servers = members.len() as f32;
    let total: u32 = members.iter().map(|member| member.weight).sum();
    let digests = |member: &Member| digests(member.weight, total, servers);
    let count = bounded(members.iter().map(|member| 4 * u64::from(digests(member))).sum())?;
    let mut points = Vec::with_capacity(count);
    for (rank, &place) in (0_u64..).zip(order) {
        let member = &members[usize::from(place)];
        for i in 0..digests(member) {
            let digest = Md5::digest(format!("{}-{i}", member.name));
            points.extend(digest.chunks_exact(4).map(|word| {
                let value = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                (u64::from(value) << 32) | rank
            }));
        }
    }
    Ok(points)
}

/// How many MD5 digests a server gets. The sum with 1e-10 is made in f64 and rounded back, as C does it; the cast cuts
/// like floor, the value being positive.
fn digests(weight: u32, total: u32, servers: f32) -> u32 {
    let part = weight as f32 / total as f32;
    let wished = part * DIGESTS_PER_SERVER.0 / DIGESTS_PER_SERVER.1 * servers;
    (f64::from(wished) + 0.000_000_000_1) as f32 as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_weights_lose_a_digest_at_some_sizes() {
        let points_each = |servers: u32| 4 * digests(1, servers, servers as f32);
        assert_eq!([3, 24, 26, 48].map(points_each), [160; 4]);
        assert_eq!([25, 47, 50, 100, 200, 209].map(points_each), [156; 6]);
    }

    #[test]
    fn a_small_weight_may_get_nothing() {
        assert_eq!(4 * digests(1, 80, 2.0), 4);
        assert_eq!(digests(1, 81, 2.0), 0);
    }
}
