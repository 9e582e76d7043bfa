//! Whether keys can be moved between servers, asked before anything is changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use ringway_ring::diff;

use super::wires::{NAME, Trouble, Wires, said};
use crate::resp::reply::bulk;
use crate::settings::NodeSpec;
use crate::topology::{NodeIndex, Topology};

/// Longest answer to INFO, in bytes.
const INFO_BYTES: usize = 1 << 20;

/// Keys that were deleted or written elsewhere since would come to life again.
const HAS_KEYS: &str = "it joins and holds keys already, which would mix with those that move: empty it first, if it is \
                        no server of yours that is in use, or have it join without move_keys";

/// What a server tells of itself.
struct Server {
    run_id: String,
    is_replica: bool,
    is_empty: bool,
    /// The form in which it writes values, as far as its version tells.
    form: u32,
    version: String,
}

/// Looks at all servers between which keys are to move.
///
/// # Errors
/// Why they cannot.
pub(super) async fn inspect(topology: &Topology, wires: &Wires) -> Result<(), String> {
    let ways = ways(topology, wires);
    let places: BTreeSet<usize> = ways.iter().flat_map(|(from, to)| [*from, *to]).collect();
    let mut servers: BTreeMap<usize, Server> = BTreeMap::new();
    for place in places {
        servers.insert(place, ask(wires, place).await?);
    }
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (place, server) in &servers {
        if server.is_replica {
            return Err(wires.named(*place, "it is a replica, whose keys are another server's as well"));
        }
        if server.run_id.is_empty() {
            return Err(
                wires.named(*place, "it tells no run_id (INFO server), by which servers are told apart")
            );
        }
        if let Some(first) = known.insert(&server.run_id, *place) {
            let why = format!("it is the same server as {}", wires.spec(first).address);
            return Err(wires.named(*place, &why));
        }
    }
    // only when it is known to be no other node
    for (place, server) in &servers {
        if !server.is_empty && !wires.leads_from(*place) {
            return Err(wires.named(*place, HAS_KEYS));
        }
    }
    for &(from, to) in &ways {
        let (Some(writes), Some(reads)) = (servers.get(&from), servers.get(&to)) else { continue };
        if reads.form < writes.form {
            let (from, to) = (wires.named(from, &writes.version), wires.named(to, &reads.version));
            return Err(format!("{to} cannot read what {from} writes (DUMP, RESTORE)"));
        }
    }
    for place in ways.iter().map(|(from, _)| *from).collect::<BTreeSet<_>>() {
        try_to_give(wires, place).await?;
    }
    for place in ways.iter().map(|(_, to)| *to).collect::<BTreeSet<_>>() {
        try_to_take(wires, place).await?;
    }
    Ok(())
}

/// Between which places keys move: the ring gives them to another node, or a node is another server.
pub(super) fn ways(topology: &Topology, wires: &Wires) -> BTreeSet<(usize, usize)> {
    let Some(former) = topology.former() else { return BTreeSet::new() };
    let index = |nodes: &[Arc<NodeSpec>], name: &str| nodes.iter().position(|node| node.name == name);
    let from = |name: &str| index(former.nodes(), name).map(|at| wires.of_former(NodeIndex(at as u16)));
    let to = |name: &str| index(topology.nodes(), name);
    let moves = diff(former.topology().ring(), topology.ring());
    if !moves.exact {
        // what is estimated may miss the smallest
        let all = |at: usize| (0..topology.nodes().len()).map(move |to| (at, to));
        let sources = (0..former.nodes().len()).map(|at| wires.of_former(NodeIndex(at as u16)));
        return sources.flat_map(all).filter(|(from, to)| from != to).collect();
    }
    let flows = moves.flows.iter().filter_map(|flow| Some((from(&flow.from)?, to(&flow.to)?)));
    let stays = topology.nodes().iter().filter_map(|node| Some((from(&node.name)?, to(&node.name)?)));
    flows.chain(stays).filter(|(from, to)| from != to).collect()
}

async fn ask(wires: &Wires, place: usize) -> Result<Server, String> {
    let words = |trouble| match trouble {
        Trouble::Lost(why) => why,
        Trouble::TooLong | Trouble::Written => wires.named(place, "its INFO is too long"),
    };
    let mut talk = wires.talk(place, 0).await.map_err(words)?;
    talk.ask(&[b"INFO", b"server"]);
    talk.ask(&[b"INFO", b"replication"]);
    talk.ask(&[b"INFO", b"keyspace"]);
    let answers = talk.answers(INFO_BYTES).await.map_err(words)?;
    if let Some(refused) = answers.iter().find(|reply| reply.starts_with(b"-")) {
        return Err(wires.named(place, &said(refused)));
    }
    talk.end();
    let text = |at: usize| {
        String::from_utf8_lossy(answers.get(at).and_then(|reply| bulk(reply)).unwrap_or_default())
    };
    let info = text(0).into_owned() + &text(1);
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let version = field("redis_version:").to_owned();
    Ok(Server {
        run_id: field("run_id:").to_owned(),
        is_replica: field("role:") == "slave",
        is_empty: !text(2).lines().any(|line| line.starts_with("db")),
        form: form(&version),
        version: format!("Redis {version}"),
    })
}

/// A key that there is not.
fn nobodys_key() -> Vec<u8> {
    format!("ringway:{:016x}", RandomState::new().hash_one(0)).into_bytes()
}

/// Whether a server lets keys go: it is asked for all of it with a key that it does not have.
async fn try_to_give(wires: &Wires, place: usize) -> Result<(), String> {
    let key = nobodys_key();
    let words: [&[&[u8]]; 12] = [
        &[b"SELECT", b"0"],
        &[b"CLIENT", b"ID"],
        &[b"CLIENT", b"SETNAME", NAME.as_bytes()],
        &[b"UNWATCH"],
        &[b"SCAN", b"0", b"COUNT", b"1"],
        &[b"MEMORY", b"USAGE", &key],
        &[b"WATCH", &key],
        &[b"PTTL", &key],
        &[b"DUMP", &key],
        &[b"MULTI"],
        &[b"UNLINK", &key],
        &[b"EXEC"],
    ];
    let lost = |trouble| match trouble {
        Trouble::Lost(why) => why,
        Trouble::TooLong | Trouble::Written => wires.named(place, "its answers are too long"),
    };
    let mut talk = wires.talk(place, 0).await.map_err(lost)?;
    words.iter().for_each(|words| talk.ask(words));
    let answers = talk.answers(INFO_BYTES).await.map_err(lost)?;
    match answers.iter().find(|reply| reply.starts_with(b"-")) {
        Some(refused) => Err(wires.named(place, &said(refused))),
        None => {
            talk.end();
            Ok(())
        }
    }
}

/// Whether a server takes keys: what it is offered is none, which it must be the one to say.
async fn try_to_take(wires: &Wires, place: usize) -> Result<(), String> {
    let lost = |trouble| match trouble {
        Trouble::Lost(why) => why,
        Trouble::TooLong | Trouble::Written => wires.named(place, "its answers are too long"),
    };
    let mut talk = wires.talk(place, 0).await.map_err(lost)?;
    let key = nobodys_key();
    talk.ask(&[b"SELECT", b"0"]);
    talk.ask(&[b"CLIENT", b"ID"]);
    talk.ask(&[b"CLIENT", b"SETNAME", NAME.as_bytes()]);
    talk.ask(&[b"UNLINK", &key]);
    talk.ask(&[b"RESTORE", &key, b"0", b"none"]);
    let mut answers = talk.answers(INFO_BYTES).await.map_err(lost)?;
    talk.end();
    let offered = answers.pop().unwrap_or_default();
    match answers.iter().find(|reply| reply.starts_with(b"-")) {
        Some(refused) => Err(wires.named(place, &said(refused))),
        None if offered.starts_with(b"-ERR DUMP payload") => Ok(()),
        None => Err(wires.named(place, &said(&offered))),
    }
}

/// The RDB version that a server of this version writes (`RDB_VERSION` in `rdb.h` of its source); an unknown later one
/// counts as the last known.
fn form(version: &str) -> u32 {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0u32));
    match (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) {
        (0..=3, _) => 7,
        (4, _) => 8,
        (5 | 6, _) => 9,
        (7, 0 | 1) => 10,
        (7, 2 | 3) => 11,
        _ => 12,
    }
}

#[cfg(test)]
mod tests {
    use super::form;

    #[test]
    fn a_later_version_writes_a_later_form() {
        let forms: Vec<u32> =
            ["3.2.1", "4.0.0", "6.2.14", "7.0.15", "7.2.4", "7.4.0", "8.0.1"].map(form).into();
        assert_eq!(forms, [7, 8, 9, 10, 11, 12, 12]);
    }
}
