//! The token census: unique tokens are pushed, each outcome is noted, and in the end the lists themselves are counted.
//! OK = once, NOTSENT = never, UNKNOWN = at most once (laws I3, I4), and a list holds its tokens in the order in which
//! they were pushed: none runs after a newer one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ringway_proxy::topology::NodeAddress;

use super::frame::bulk_request;
use super::harness::node_name;
use super::{Cluster, Harness, RedisServer, wait_for};

/// What a client was told about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Told {
    /// The node answered.
    Ok,
    /// It did not run.
    NotSent,
    /// It ran once or never.
    Unknown,
}

/// What a reply from `node` says of its command.
pub(crate) fn told(reply: &[u8], node: &str) -> Told {
    let text = String::from_utf8_lossy(reply);
    let named = |code: &str| {
        let address = text.strip_prefix(&format!("-{code} node '{node}' ("));
        address.is_some_and(|address| NodeAddress::place(address).starts_with("127.0.0.1:"))
    };
    match &*text {
        _ if text.starts_with(':') => Told::Ok,
        _ if named("NOTSENT") => Told::NotSent,
        _ if named("UNKNOWN") => Told::Unknown,
        _ => panic!("no outcome for {node}: {text}"),
    }
}

/// One client that pushes unique tokens to one list of each node until told to stop.
fn push_tokens(
    harness: &Harness,
    client: usize,
    nodes: &[String],
    stop: &AtomicBool,
    pushed: &AtomicUsize,
) -> Vec<(String, String, Told)> {
    let lists: Vec<(String, String)> = nodes
        .iter()
        .map(|node| (node.clone(), harness.keys_of(node, &format!("list:{client}:")).next().expect("a key")))
        .collect();
    let mut raw = harness.client();
    let mut outcomes = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut batch = Vec::new();
        let mut waiting = Vec::new();
        for _ in 0..10 {
            for (node, list) in &lists {
                number += 1;
                let token = format!("token-{client}-{number}");
                batch.extend(bulk_request(&["RPUSH", list, &token]));
                waiting.push((node, list, token));
            }
        }
        raw.send(&batch);
        for (node, list, token) in waiting {
            outcomes.push((list.clone(), token, told(&raw.reply(), node)));
        }
        pushed.fetch_add(batch.len(), Ordering::Relaxed);
    }
    outcomes
}

/// Counts the tokens that are really there and compares them with what was told.
fn census(cluster: &Cluster, outcomes: &[(String, String, Told)]) -> HashMap<(String, Told), usize> {
    let mut there: HashMap<&str, HashMap<String, usize>> = HashMap::new();
    let mut totals = HashMap::new();
    for (list, token, told) in outcomes {
        let node = cluster.owner(list);
        let tokens = there.entry(list).or_insert_with(|| {
            let held: Vec<String> = cluster.server(&node).call(&["LRANGE", list, "0", "-1"]);
            let number = |token: &String| token.rsplit('-').next()?.parse::<u64>().ok();
            assert!(held.is_sorted_by_key(number), "{list} has a token behind a newer one");
            held.into_iter().fold(HashMap::new(), |mut counts, token| {
                *counts.entry(token).or_default() += 1;
                counts
            })
        });
        let times = tokens.get(token).copied().unwrap_or(0);
        let possible = match told {
            Told::Ok => times == 1,
            Told::NotSent => times == 0,
            Told::Unknown => times <= 1,
        };
        assert!(possible, "{token} was told to be {told:?} and stands {times} times");
        *totals.entry((node, *told)).or_default() += 1;
    }
    totals
}

/// Eight clients at full load, `fault` in the middle, and the census.
pub(crate) fn under_load(
    cluster: &mut Cluster,
    fault: impl FnOnce(&mut Vec<RedisServer>),
) -> HashMap<(String, Told), usize> {
    let names: Vec<String> = (0..cluster.nodes.len()).map(node_name).collect();
    let (stop, pushed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut outcomes = Vec::new();
    let Cluster { harness, nodes } = cluster;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (harness, names, stop, pushed) = (&*harness, &names, &stop, &pushed);
                scope.spawn(move || push_tokens(harness, client, names, stop, pushed))
            })
            .collect();
        wait_for("load", || pushed.load(Ordering::Relaxed) > 100_000);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fault(nodes)));
        let after = pushed.load(Ordering::Relaxed);
        wait_for("load after the fault", || pushed.load(Ordering::Relaxed) > after + 100_000);
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| outcomes.extend(client.join().expect("no panic")));
        result.expect("the fault was injected");
    });
    census(cluster, &outcomes)
}
