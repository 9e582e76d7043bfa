//! The cursor of SCAN: one number that says which node is being walked over and how far.
//!
//! ```text
//!   bit  63      53 52          33 32                    0
//!        │ zeros   │ place (20)   │ the node's cursor (33) │       0: begin, and the end
//! ```
//! A node's cursor stays below the number of buckets of its key table, so 33 bits last for 8.5 thousand million keys
//! per node. All of it stays below 2^53, so that a client which keeps numbers as doubles carries it unchanged.
//! Keys whose owner does not change are returned at least once, whatever becomes of the ring meanwhile; see
//! [`ScanOrder`](crate::topology::ScanOrder) for what a place survives.

use crate::topology::{NodeIndex, PLACE_BITS, Topology};

const INNER_BITS: u32 = 33;

/// Redis's words for a cursor that is no number.
pub(crate) const INVALID_CURSOR: &str = "ERR invalid cursor";
/// A number that names no node.
pub(crate) const FOREIGN_CURSOR: &str = "ERR this cursor names no node of the topology: its node has left or has another address now, or the cursor is not one that SCAN gave; begin again with cursor 0";

/// The page that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) node: NodeIndex,
    pub(crate) place: u32,
    /// The node's own cursor.
    pub(crate) inner: u64,
}

/// Reads a client's cursor.
///
/// # Errors
/// The reply line without its leading `-`.
pub(crate) fn page(topology: &Topology, cursor: &[u8]) -> Result<Page, &'static str> {
    let cursor = parse(cursor).ok_or(INVALID_CURSOR)?;
    let order = topology.scan_order();
    let place = match cursor >> INNER_BITS {
        0 if cursor == 0 => order.first(),
        place => u32::try_from(place).ok().filter(|place| *place < 1 << PLACE_BITS),
    };
    let page = place.and_then(|place| {
        Some(Page { node: order.node(place)?, place, inner: cursor & ((1 << INNER_BITS) - 1) })
    });
    page.ok_or(FOREIGN_CURSOR)
}

/// The cursor to give to the client when the node at `place` gave `inner`; `None` when it does not fit.
pub(crate) fn next(topology: &Topology, place: u32, inner: u64) -> Option<u64> {
    match inner {
        // this node is done: the next one begins, or all is done
        0 => Some(topology.scan_order().after(place).map_or(0, |place| u64::from(place) << INNER_BITS)),
        inner if inner >> INNER_BITS == 0 => Some(u64::from(place) << INNER_BITS | inner),
        _ => None,
    }
}

/// A number as Redis 7 takes it here: `strtoul`, which knows a sign, wraps a negative number around, takes nothing
/// for 0 and ends at a NUL.
fn parse(text: &[u8]) -> Option<u64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let number = digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    });
    number.filter(|_| !digits.is_empty()).map(|number| if negative { number.wrapping_neg() } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{NodeSpec, TopologySpec};
    use ringway_ring::RingConfig;

    fn topology(names: &[&str]) -> Topology {
        let nodes = names.iter().map(|name| NodeSpec::new(*name, format!("{name}:1"))).collect();
        Topology::build(1, TopologySpec { ring: RingConfig::default(), nodes }).unwrap()
    }

    fn text(cursor: u64) -> Vec<u8> {
        cursor.to_string().into_bytes()
    }

    #[test]
    fn a_cursor_leads_over_every_node_and_back_to_0() {
        let topology = topology(&["a", "b", "c", "d"]);
        let (mut cursor, mut seen) = (0, Vec::new());
        loop {
            let here = page(&topology, &text(cursor)).unwrap();
            assert_eq!(here.inner, 0);
            seen.push(here.node.0);
            for inner in [1, 1 << 20, (1 << INNER_BITS) - 1] {
                let cursor = next(&topology, here.place, inner).unwrap();
                assert!(cursor < 1 << 53);
                assert_eq!(page(&topology, &text(cursor)).unwrap(), Page { inner, ..here });
            }
            cursor = next(&topology, here.place, 0).unwrap();
            if cursor == 0 {
                break;
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
    }

    #[test]
    fn a_cursor_survives_another_order_and_not_its_node() {
        let before = topology(&["a", "b", "c"]);
        let here = page(&before, b"0").unwrap();
        let name = before.node(here.node).unwrap().name.clone();
        let cursor = next(&before, here.place, 77).unwrap();
        let after = topology(&["d", "c", "b", "a"]);
        let there = page(&after, &text(cursor)).unwrap();
        assert_eq!((after.node(there.node).unwrap().name.as_str(), there.inner), (name.as_str(), 77));
        let others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|known| *known != name).collect();
        assert_eq!(page(&topology(&others), &text(cursor)), Err(FOREIGN_CURSOR));
    }

    #[test]
    fn a_nodes_cursor_that_does_not_fit_is_told() {
        let topology = topology(&["a"]);
        let place = page(&topology, b"0").unwrap().place;
        assert_eq!(next(&topology, place, 1 << INNER_BITS), None);
    }

    #[test]
    fn numbers_are_read_as_strtoul_reads_them() {
        for (text, number) in [
            (&b"0"[..], Some(0)),
            (b"", Some(0)),
            (b"007", Some(7)),
            (b"+7", Some(7)),
            (b"-1", Some(u64::MAX)),
            (b"7\0x", Some(7)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b" 1", None),
            (b"1 ", None),
            (b"x", None),
            (b"-", None),
            (b"1.5", None),
        ] {
            assert_eq!(parse(text), number, "{text:?}");
        }
    }
}
