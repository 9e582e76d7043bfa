//! From the tree to a [`Pool`]: twemproxy's fields, its defaults, and its form of a server line.

use ringway_proxy::settings::Secret;
use ringway_proxy::topology::{Topology, socket_path, split_address};
use ringway_ring::{HashTag, KeyHash, MAX_WEIGHT, Placement, RingConfig, RingError};

use super::{Pool, Server};
use crate::config::problem::shown;
use crate::config::reader::{Reader, Section, nearest};
use crate::config::yaml::{Entry, Node, Value};

/// Every directive of twemproxy 0.5.
const FIELDS: &[&str] = &[
    "listen",
    "hash",
    "hash_tag",
    "distribution",
    "timeout",
    "backlog",
    "client_connections",
    "tcpkeepalive",
    "reuse_port",
    "redis",
    "redis_auth",
    "redis_db",
    "preconnect",
    "auto_eject_hosts",
    "server_connections",
    "server_retry_timeout",
    "server_failure_limit",
    "servers",
];

/// Directives that Ringway has no setting for.
const OTHERS: &[&str] = &[
    "backlog",
    "tcpkeepalive",
    "reuse_port",
    "redis_db",
    "preconnect",
    "auto_eject_hosts",
    "server_connections",
    "server_retry_timeout",
    "server_failure_limit",
];

/// twemproxy sends a server name of this port without it.
const MEMCACHED_PORT: u16 = 11_211;

/// Reads the pool that is wanted, or the only one.
pub(super) fn pool(reader: &mut Reader, root: &Node, wanted: Option<&str>) -> Option<Pool> {
    let entry = choose(reader, root, wanted)?;
    let at = reader.section(Some(&entry.value), &entry.key, FIELDS);
    let pool = Pool {
        name: entry.key.clone(),
        line: entry.line,
        listen: reader.text(&at, "listen").map(str::to_owned),
        ring: ring(reader, &at),
        servers: servers(reader, &at),
        timeout_ms: at.get("timeout").map(|_| reader.integer(&at, "timeout", 0..=u64::from(u32::MAX), 0)),
        client_connections: at
            .get("client_connections")
            .map(|_| reader.integer(&at, "client_connections", 0..=u64::from(u32::MAX), 0)),
        redis: reader.flag(&at, "redis"),
        redis_auth: reader.text(&at, "redis_auth").map(Secret::new),
        others: others(reader, &at),
    };
    check(reader, &pool);
    Some(pool)
}

fn choose<'a>(reader: &mut Reader, root: &'a Node, wanted: Option<&str>) -> Option<&'a Entry> {
    let pools = root.entries().unwrap_or_default();
    let names: Vec<&str> = pools.iter().map(|entry| entry.key.as_str()).collect();
    let problem = match (pools, wanted) {
        ([], _) => "no pool stands here; this is not twemproxy's configuration".to_owned(),
        ([only], None) => return Some(only),
        (_, None) => format!("there are {} pools; choose one with --pool {}", pools.len(), names.join("|")),
        (_, Some(name)) => match pools.iter().find(|entry| entry.key == name) {
            Some(entry) => return Some(entry),
            None => {
                format!("no pool is named '{}'; the nearest is '{}'", shown(name), nearest(name, &names)?)
            }
        },
    };
    reader.problem(root.line, problem);
    None
}

fn ring(reader: &mut Reader, at: &Section<'_>) -> RingConfig {
    let hash = match reader.text(at, "hash").map(str::parse::<KeyHash>) {
        None => KeyHash::Fnv1a64,
        Some(Ok(hash)) => hash,
        Some(Err(error)) => {
            reader.problem(at.line_of("hash"), format!("{}: {error}", at.path("hash")));
            KeyHash::Fnv1a64
        }
    };
    let placement = match reader.text(at, "distribution") {
        None | Some("ketama") => Placement::Ketama(hash),
        Some("modula") => Placement::Modula(hash),
        Some(other) => {
            let why = if other == "random" {
                "sends a key anywhere, so nothing can be found again"
            } else {
                "is unknown"
            };
            let text = format!(
                "{}: '{}' {why}; ketama and modula can be imported",
                at.path("distribution"),
                shown(other)
            );
            reader.problem(at.line_of("distribution"), text);
            Placement::Ketama(hash)
        }
    };
    let hash_tag = match HashTag::parse(reader.text(at, "hash_tag").unwrap_or("")) {
        Ok(tag) => tag,
        Err(_) => {
            let error = RingError::HashTag(shown(reader.text(at, "hash_tag").unwrap_or("")));
            reader.problem(at.line_of("hash_tag"), format!("{}: {error}", at.path("hash_tag")));
            None
        }
    };
    RingConfig { placement, hash_tag, ..RingConfig::default() }
}

fn others(reader: &mut Reader, at: &Section<'_>) -> Vec<(&'static str, String)> {
    OTHERS.iter().filter_map(|key| Some((*key, reader.text(at, key)?.to_owned()))).collect()
}

fn servers(reader: &mut Reader, at: &Section<'_>) -> Vec<Server> {
    let list = match at.get("servers").map(|node| &node.value) {
        Some(Value::List(list)) if !list.is_empty() => list,
        _ => {
            reader.problem(
                at.line_of("servers"),
                format!("{} is missing or empty; a pool needs servers", at.path("servers")),
            );
            return Vec::new();
        }
    };
    let mut servers = Vec::with_capacity(list.len());
    for node in list {
        let Value::Scalar(text) = &node.value else {
            reader.problem(node.line, format!("a server is {}; write host:port:weight name", node.kind()));
            continue;
        };
        match server(text, node.line) {
            Ok(server) => servers.push(server),
            Err(why) => reader.problem(node.line, format!("server '{}' {why}", shown(text))),
        }
    }
    servers
}

/// Reads `host:port:weight[ name]`.
fn server(text: &str, line: usize) -> Result<Server, String> {
    let (place, name) = match text.split_once(' ') {
        Some((place, name)) => (place, Some(name.trim())),
        None => (text, None),
    };
    let form = || "is neither host:port:weight nor /path:weight".to_owned();
    let (rest, weight) = place.rsplit_once(':').ok_or_else(form)?;
    let weight: u64 =
        weight.parse().ok().filter(|weight| *weight > 0).ok_or("has a weight that is no number above 0")?;
    let named = name.is_some_and(|name| !name.is_empty());
    let name = name.filter(|name| !name.is_empty());
    if rest.starts_with('/') {
        socket_path(rest).ok_or("has a path that is too long or none")?;
        // twemproxy hashes the colon behind the path as well
        let name = name.map_or_else(|| format!("{rest}:"), str::to_owned);
        return Ok(Server { line, name, named, address: rest.to_owned(), weight });
    }
    let (host, port) = rest.rsplit_once(':').ok_or_else(form)?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or("has a port that is none")?;
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    if split_address(&address).is_none() {
        return Err(form());
    }
    let unnamed = if port == MEMCACHED_PORT { host.to_owned() } else { format!("{host}:{port}") };
    let name = name.map_or(unnamed, str::to_owned);
    Ok(Server { line, name, named, address, weight })
}

/// What Ringway refuses although twemproxy may accept it.
fn check(reader: &mut Reader, pool: &Pool) {
    let spec = pool.topology();
    for (server, node) in pool.servers.iter().zip(&spec.nodes) {
        if node.weight > MAX_WEIGHT {
            let text = format!(
                "server '{}' has weight {}, above Ringway's {MAX_WEIGHT}, and the weights of this pool cannot be reduced without moving keys",
                shown(&server.name),
                server.weight
            );
            reader.problem(server.line, text);
        }
        let mut alone = spec.clone();
        alone.nodes = vec![ringway_proxy::settings::NodeSpec { weight: 1, ..node.clone() }];
        if let Err(error) = Topology::build(0, alone) {
            reader.problem(server.line, error.to_string());
        }
    }
    if reader.problems.is_empty()
        && let Err(error) = Topology::build(0, spec)
    {
        reader.problem(pool.line, format!("pool '{}': {error}", shown(&pool.name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_lines_as_twemproxy_reads_them() {
        let read = |text: &str| server(text, 1).map(|server| (server.name, server.address, server.weight));
        let plain = |name: &str, address: &str, weight| Ok((name.to_owned(), address.to_owned(), weight));
        assert_eq!(read("127.0.0.1:6379:1"), plain("127.0.0.1:6379", "127.0.0.1:6379", 1));
        assert_eq!(read("127.0.0.1:6379:3 alpha"), plain("alpha", "127.0.0.1:6379", 3));
        assert_eq!(read("cache.internal:11211:1"), plain("cache.internal", "cache.internal:11211", 1));
        assert_eq!(read("cache.internal:11211:1 a"), plain("a", "cache.internal:11211", 1));
        assert_eq!(read("::1:6379:1"), plain("::1:6379", "[::1]:6379", 1));
        assert_eq!(read("/run/r.sock:1 a"), plain("a", "/run/r.sock", 1));
        assert_eq!(read("/run/r.sock:2"), plain("/run/r.sock:", "/run/r.sock", 2));
        for wrong in [
            "",
            "h",
            "h:1",
            "h:1:0",
            "h:0:1",
            "h:1:x",
            "h:x:1",
            "/run/r.sock",
            "/run/r.sock:0",
            "/:1",
            ":1:1",
            "h:70000:1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn problems_have_lines() {
        let lines = |text: &str| -> Vec<usize> {
            super::super::parse(text, None).unwrap_err().iter().map(|problem| problem.line).collect()
        };
        assert_eq!(lines("p:\n  hash: md6\n  servers:\n  - h:1:1\n"), [2]);
        assert_eq!(lines("p:\n  distribution: random\n  servers:\n  - h:1:1\n"), [2]);
        assert_eq!(lines("p:\n  hash_tag: '{'\n  servers:\n  - h:1:1\n"), [2]);
        assert_eq!(lines("p:\n  hsah: md5\n  servers:\n  - h:1:1\n"), [2]);
        assert_eq!(lines("p:\n  servers:\n  - h:1:1\n  - h:2\n"), [4]);
        assert_eq!(lines("p:\n  redis: yes\n  servers:\n  - h:1:1\n"), [2]);
        assert_eq!(lines("p:\n  listen: h:1\n"), [2]);
        assert_eq!(lines("p:\n  servers:\n  - h:1:1 a\n  - h:2:1 a\n"), [1]);
        assert_eq!(lines("a: {servers: ['h:1:1']}\nb: {servers: ['h:1:1']}\n"), [1]);
    }
}
