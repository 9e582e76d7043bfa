//! What a change of nodes would move, before it is made: `cargo run -p ringway-ring --example plan`.

use ringway_ring::{Member, Ring, RingConfig, RingError, best_seed, diff};

fn main() -> Result<(), RingError> {
    let three: Vec<Member> = (1..=3).map(|number| Member::new(format!("cache-{number}"), 1)).collect();

    // A cluster that is created new may choose its seed; one in use keeps it.
    let (seed, imbalance) = best_seed(&RingConfig::default(), &three, 100)?;
    let config = RingConfig { seed, ..RingConfig::default() };
    let now = Ring::build(&config, &three)?;
    println!("seed {seed}: the largest share is {imbalance:.3} times the mean");

    let key = b"{user:1001}:cart";
    let names: Vec<&str> = now.successors(key).map(|place| now.members()[place].name.as_str()).collect();
    println!("{} hashes '{}', owner and heirs: {names:?}", text(key), text(now.hashed_part(key)));

    let four = [three, vec![Member::new("cache-4", 2)]].concat();
    let change = diff(&now, &Ring::build(&config, &four)?);
    println!("cache-4 joins: {:.2} % move, {:.2} % at least", 100.0 * change.moved, 100.0 * change.minimum);
    for flow in &change.flows {
        println!("  {} -> {}: {:.2} %", flow.from, flow.to, 100.0 * flow.share);
    }
    Ok(())
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
