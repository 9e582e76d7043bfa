//! The ring alone: who owns a key, and what a change of nodes would move. No network, no proxy.
//!
//! ```text
//! cargo run --example ring_lookup
//! cargo run --example ring_lookup -- 'user:1001' '{user:1001}:cart'
//! ```

use ringway_ring::{Member, Ring, RingConfig, RingError, diff};

fn main() -> Result<(), RingError> {
    let mut keys: Vec<String> = std::env::args().skip(1).collect();
    if keys.is_empty() {
        keys = ["user:1001", "{user:1001}:cart", "{user:1001}:profile", "page:/"].map(String::from).to_vec();
    }

    // Names and weights decide who owns a key; addresses, order and history do not.
    let config = RingConfig::default();
    let three = [Member::new("cache-1", 1), Member::new("cache-2", 1), Member::new("cache-3", 1)];
    let ring = Ring::build(&config, &three)?;

    println!("Shares of the hash space ({} points):", ring.point_count());
    for (member, share) in ring.members().iter().zip(ring.shares()) {
        println!("  {}  {:.2} %", member.name, share * 100.0);
    }

    println!("\nOwners, and who would inherit the key if its owner left:");
    for key in &keys {
        // `{user:1001}:cart` is hashed by what stands between the braces, so that a user's keys share a node.
        let hashed = String::from_utf8_lossy(ring.hashed_part(key.as_bytes()));
        let walk: Vec<&str> =
            ring.successors(key.as_bytes()).map(|at| three[at].name.as_str()).take(2).collect();
        println!(
            "  {key:<22} hashed part {hashed:<12} {:016x}  {}",
            ring.hash(key.as_bytes()),
            walk.join(", then ")
        );
    }

    // A ring is never changed: build the wished one and compare.
    let four = [&three[..], &[Member::new("cache-4", 1)]].concat();
    let change = diff(&ring, &Ring::build(&config, &four)?);
    println!(
        "\nAdding cache-4 moves {:.2} % (the least possible: {:.2} %):",
        change.moved * 100.0,
        change.minimum * 100.0
    );
    for flow in &change.flows {
        println!("  {} -> {}  {:.2} %", flow.from, flow.to, flow.share * 100.0);
    }
    Ok(())
}
