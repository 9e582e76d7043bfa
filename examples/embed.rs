//! The proxy inside a program of yours: start it, change its ring while it serves, drain it.
//!
//! ```text
//! cargo run --example embed -- 127.0.0.1:7001 127.0.0.1:7002 127.0.0.1:7003
//! ```
//! It starts with all servers but the last, then adds the last one. The servers may be those of `make up`.

use std::error::Error;

use redis::Commands;
use ringway_proxy::Proxy;
use ringway_proxy::settings::{NodeSpec, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addresses: Vec<String> = std::env::args().skip(1).collect();
    let nodes: Vec<NodeSpec> = (1..)
        .zip(&addresses)
        .map(|(number, address)| NodeSpec::new(format!("cache-{number}"), address))
        .collect();
    let Some((last, first)) = nodes.split_last().filter(|(_, first)| !first.is_empty()) else {
        return Err("name two or more Redis servers, for example 127.0.0.1:7001 127.0.0.1:7002".into());
    };

    // `Settings::new` listens on a free loopback port; every field is public and has its default.
    let mut settings = Settings::new(first.to_vec());
    settings.threads = 2;
    let proxy = Proxy::start(settings).await?;
    let address = proxy.local_addr();
    println!("serving on {address}, epoch {}", proxy.control().topology().epoch());

    // Any Redis client will do. The blocking one gets a thread of its own: it must not block the runtime.
    let written =
        tokio::task::spawn_blocking(move || write_and_read(&format!("redis://{address}"))).await??;
    println!("{written} keys written and read back");

    let control = proxy.control();
    for node in control.snapshot().nodes {
        println!(
            "  {}: {} ({} commands)",
            node.name,
            node.state.label(),
            node.commands.iter().map(|c| c.count).sum::<u64>()
        );
    }

    // A change is the whole wished topology. Plan it, look at it, apply it to the epoch you have seen.
    let seen = control.topology();
    let mut wished = seen.spec().clone();
    wished.nodes.push(last.clone());
    let planned = control.plan(wished.clone())?;
    println!("adding {} will move {:.2} % of the key space", last.name, planned.diff.moved * 100.0);
    let change = control.apply(wished, Some(seen.epoch()), "add a node").await?;
    println!("epoch {}: {} nodes", change.to.epoch(), change.to.nodes().len());

    // Accepts nobody any more, answers what was read, and ends.
    let drained = proxy.drain().await;
    println!("drained, {} clients cut off", drained.cut_off);
    Ok(())
}

/// Returns how many keys came back as they were written.
fn write_and_read(url: &str) -> redis::RedisResult<usize> {
    let mut connection = redis::Client::open(url)?.get_connection()?;
    let keys: Vec<String> = (0..100).map(|number| format!("embed:{number}")).collect();
    for key in &keys {
        let () = connection.set_ex(key, key, 60)?;
    }
    // one MGET over several nodes: split, asked, joined in order
    let values: Vec<Option<String>> = connection.mget(&keys)?;
    Ok(keys.iter().zip(&values).filter(|(key, value)| Some(*key) == value.as_ref()).count())
}
