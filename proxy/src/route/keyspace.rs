//! Joining what nodes tell about the keys they hold: RANDOMKEY and the pages of SCAN, and which keys of KEYS pass.
//!
//! After a change of the ring a node may still hold keys that now belong to another one. A client cannot reach them,
//! so they are left out here; the price is one look-up on the ring for every key of a reply.

use crate::resp::{encode, reply};
use crate::topology::{NodeIndex, Topology};

use super::scan;

/// How many keys RANDOMKEY draws from each node, so that one of them is its own even when most are not.
pub(crate) const DRAWS: usize = 8;
/// Every key that was drawn belongs elsewhere.
const ONLY_STRAYS: &str =
    "ERR all keys that were drawn belong to other nodes since the ring changed; use SCAN";
/// See [`scan`].
const CURSOR_TOO_LONG: &str =
    "ERR a node gave a SCAN cursor beyond 2^33, which cannot be carried beside the name of the node";

/// Whether the ring gives this element of a node's reply, a bulk string, to that node.
pub(crate) fn is_own(topology: &Topology, node: NodeIndex, element: &[u8]) -> Option<bool> {
    Some(topology.owner(reply::bulk(element)?).home() == node)
}

/// Appends the elements that are keys of `node`; returns how many.
fn append_own(out: &mut Vec<u8>, topology: &Topology, node: NodeIndex, keys: &[u8]) -> Option<usize> {
    let elements = reply::elements(keys)?;
    let (expected, mut seen, mut own) = (elements.left(), 0, 0);
    for element in elements {
        seen += 1;
        if is_own(topology, node, element)? {
            out.extend_from_slice(element);
            own += 1;
        }
    }
    (seen == expected).then_some(own)
}

/// Puts an array's head before what was appended since `at`.
fn put_head(out: &mut Vec<u8>, at: usize, len: usize) {
    let mut head = Vec::with_capacity(16);
    encode::array(&mut head, len);
    out.splice(at..at, head);
}

/// SCAN: the reply of the node at `place`.
pub(super) fn page(out: &mut Vec<u8>, topology: &Topology, place: u32, page: &[u8]) -> Option<()> {
    let mut parts = reply::elements(page).filter(|parts| parts.left() == 2)?;
    let inner = std::str::from_utf8(reply::bulk(parts.next()?)?).ok()?.parse().ok()?;
    let keys = parts.next()?;
    let Some(cursor) = scan::next(topology, place, inner) else {
        encode::error(out, CURSOR_TOO_LONG);
        return Some(());
    };
    encode::array(out, 2);
    encode::bulk(out, cursor.to_string().as_bytes());
    let at = out.len();
    let len = append_own(out, topology, topology.scan_order().node(place)?, keys)?;
    put_head(out, at, len);
    Some(())
}

/// RANDOMKEY: for every node first its size, then by rounds one key of every node. A node's own keys count as much as
/// the size of the node divided by the number of draws, so that every key that is reachable is about equally likely.
/// `random` chooses.
pub(super) fn draw<'a>(
    out: &mut Vec<u8>,
    topology: &Topology,
    replies: impl Iterator<Item = &'a [u8]> + Clone,
    random: u64,
) -> Option<()> {
    let nodes = topology.nodes().len();
    let drawn = || {
        let sizes = replies.clone().take(nodes).cycle();
        let keys = replies.clone().skip(nodes).enumerate();
        keys.zip(sizes).filter(|((_, key), _)| !reply::is_nil(key)).map(|((at, key), size)| {
            let own = is_own(topology, NodeIndex((at % nodes) as u16), key)?;
            // the node may have got its first key after it told its size
            let size = reply::integer(size).filter(|size| *size >= 0)?.max(1);
            Some((key, if own { size as u128 } else { 0 }))
        })
    };
    let mut total = 0;
    for weighed in drawn() {
        total += weighed?.1;
    }
    let mut left = (u128::from(random) * total) >> u64::BITS;
    for (key, weight) in drawn().flatten() {
        if left < weight {
            out.extend_from_slice(key);
            return Some(());
        }
        left -= weight;
    }
    match drawn().next() {
        Some(_) => encode::error(out, ONLY_STRAYS),
        // nothing anywhere: a node's own nil, in the client's protocol
        None => out.extend_from_slice(replies.clone().nth(nodes)?),
    }
    Some(())
}

#[cfg(test)]
#[path = "keyspace_tests.rs"]
mod tests;
