//! `ringway route`: who owns a key, as a table that scripts can read.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use ringway_proxy::topology::Topology;

use super::topology_of;
use crate::cli::RouteArgs;
use crate::outcome::{Failure, print};

/// Prints a line for each key.
///
/// # Errors
/// Problems of the file.
pub(crate) fn run(args: &RouteArgs) -> Result<(), Failure> {
    let topology = topology_of(&args.config, args.pool.as_deref(), 1)?;
    let lines: String = args.keys.iter().map(|key| line(&topology, key.as_bytes())).collect();
    print(&lines)
}

/// `key, hashed part, hash (16 hex digits), node, address`, separated by tabs.
fn line(topology: &Topology, key: &[u8]) -> String {
    let ring = topology.ring();
    let index = topology.owner(key).home();
    let (name, address) = topology.node(index).map_or(("", ""), |node| (&node.name, &node.address));
    let (key_text, hashed) = (escaped(key), escaped(ring.hashed_part(key)));
    format!("{key_text}\t{hashed}\t{:016x}\t{name}\t{address}\n", ring.hash(key))
}

/// Printable ASCII as it is; a space, a backslash and every other byte as `\xHH`.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut text, byte| {
        match byte {
            b'\\' => text.push_str("\\x5c"),
            33..=126 => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use ringway_proxy::settings::{NodeSpec, TopologySpec};
    use ringway_ring::{KeyHash, Placement, RingConfig};

    use super::*;

    #[test]
    fn bytes_never_break_the_table() {
        assert_eq!(escaped(b"user:{1}"), "user:{1}");
        assert_eq!(escaped(b"a b\t\\\n\xff\x1b[31m"), "a\\x20b\\x09\\x5c\\x0a\\xff\\x1b[31m");
        assert_eq!(escaped("ключ".as_bytes()), "\\xd0\\xba\\xd0\\xbb\\xd1\\x8e\\xd1\\x87");
    }

    #[test]
    fn a_line_is_what_twemproxy_would_do() {
        let ring = RingConfig { placement: Placement::Ketama(KeyHash::Fnv1a64), ..RingConfig::default() };
        let nodes = ["alpha", "beta", "gamma"]
            .iter()
            .zip(1..)
            .map(|(name, port)| NodeSpec::new(*name, format!("h:{port}")));
        let topology = Topology::build(1, TopologySpec { ring, nodes: nodes.collect() }).unwrap();
        assert_eq!(line(&topology, b"user:1001"), "user:1001\tuser:1001\t00000000ae7b40d6\tbeta\th:2\n");
        assert_eq!(line(&topology, b"{user:1001}x").split('\t').nth(1), Some("user:1001"));
    }
}
