//! From a [`Pool`] to ringway.yaml with the same placement, and notes on what has no counterpart.

use std::fmt::Write as _;

use ringway_proxy::topology::socket_path;

use super::Pool;
use crate::config::is_loopback;

/// The variable that the written file takes `redis_auth` from: a password is never printed.
pub(crate) const AUTH_VARIABLE: &str = "RINGWAY_REDIS_AUTH";

/// The longest `timeouts.connect` that Ringway accepts, in milliseconds.
const LONGEST_CONNECT_MS: u64 = 60_000;
/// The longest `timeouts.operation` that Ringway accepts, in milliseconds.
const LONGEST_OPERATION_MS: u64 = 3_600_000;

/// The file, and the notes.
pub(crate) fn write(pool: &Pool) -> (String, Vec<String>) {
    let mut notes = Vec::new();
    let mut text = String::new();
    let _ = writeln!(
        text,
        "# Imported from twemproxy's pool '{}'. Every key keeps its server.",
        one_line(&pool.name)
    );
    listen(&mut text, &mut notes, pool);
    ring(&mut text, &mut notes, pool);
    nodes(&mut text, &mut notes, pool);
    timeouts(&mut text, &mut notes, pool);
    clients(&mut text, &mut notes, pool);
    auth(&mut text, &mut notes, pool);
    others(&mut notes, pool);
    (text, notes)
}

fn one_line(text: &str) -> String {
    text.escape_debug().to_string()
}

/// A scalar that YAML cannot take for something else.
fn quoted(text: &str) -> String {
    let simple = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "null" | "true" | "false" | "yes" | "no" | "on" | "off"
        );
    if simple { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn listen(text: &mut String, notes: &mut Vec<String>, pool: &Pool) {
    match pool.listen.as_deref() {
        Some(place) if place.starts_with('/') => {
            let (path, mode) = place.rsplit_once(' ').unwrap_or((place, ""));
            if socket_path(path).is_none() {
                notes.push(format!(
                    "listen: {path} is too long for a unix socket of Ringway, or has spaces; the default 127.0.0.1:6380 is used"
                ));
                return;
            }
            let _ = writeln!(text, "unix_socket:\n  path: {}", quoted(path));
            if !mode.trim().is_empty() {
                let _ = writeln!(text, "  mode: {}", quoted(mode.trim()));
            }
            notes.push(format!(
                "listen: {path} becomes unix_socket; Ringway listens on 127.0.0.1:6380 too, where every user of this machine can connect"
            ));
        }
        Some(address) => {
            let _ = writeln!(text, "listen: {}", quoted(address));
            if !is_loopback(address) && pool.redis_auth.is_none() {
                notes.push(format!(
                    "listen: {address} lets in everybody who reaches it; set auth.password if others can"
                ));
            }
        }
        None => notes.push("listen: the pool names none; the default 127.0.0.1:6380 is used".to_owned()),
    }
}

fn ring(text: &mut String, notes: &mut Vec<String>, pool: &Pool) {
    let placement = pool.ring.placement;
    let hash = placement.key_hash().map(|hash| hash.to_string()).unwrap_or_default();
    let tag = pool.ring.hash_tag.map(|tag| tag.to_string()).unwrap_or_default();
    let _ = writeln!(
        text,
        "ring:\n  placement: {placement}\n  key_hash: {hash}\n  hash_tag: {}",
        serde_json::Value::from(tag)
    );
    if pool.ring.hash_tag.is_none() {
        notes.push(
            "hash_tag: the pool has none, so it is switched off; with \"{}\" some keys would move".to_owned(),
        );
    }
    if placement.name() == "ketama" && hash == "crc32" && pool.servers.len() > 1 {
        notes.push(
            "hash: twemproxy's crc32 has 15 bits only, so that with ketama every key lands on one server; Ringway keeps \
             it so, plan a move to another key hash"
                .to_owned(),
        );
    }
}

fn nodes(text: &mut String, notes: &mut Vec<String>, pool: &Pool) {
    text.push_str("nodes:\n");
    let divisor = pool.weight_divisor();
    for server in &pool.servers {
        let _ =
            writeln!(text, "  - name: {}\n    address: {}", quoted(&server.name), quoted(&server.address));
        if server.weight / divisor != 1 {
            let _ = writeln!(text, "    weight: {}", server.weight / divisor);
        }
        if pool.redis_auth.is_some() {
            let _ = writeln!(text, "    password: {{env: {AUTH_VARIABLE}}}");
        }
    }
    if divisor > 1 {
        notes.push(format!(
            "weights: all are divided by {divisor}, which moves nothing, to stay within 1 to 1000"
        ));
    }
    let unnamed: Vec<&str> =
        pool.servers.iter().filter(|server| !server.named).map(|server| server.name.as_str()).collect();
    if let Some(first) = unnamed.first() {
        notes.push(format!(
            "names: {} of {} servers have none, so twemproxy hashes their address and the nodes are named after it \
             ('{first}', without the port where it is 11211); keep these names when a server moves to another address",
            unnamed.len(),
            pool.servers.len()
        ));
    }
}

fn timeouts(text: &mut String, notes: &mut Vec<String>, pool: &Pool) {
    let Some(timeout) = pool.timeout_ms.filter(|timeout| *timeout > 0) else {
        notes.push("timeout: twemproxy waits for ever without one; Ringway's defaults are connect 500ms, operation 1s".to_owned());
        return;
    };
    let (connect, operation) = (timeout.min(LONGEST_CONNECT_MS), timeout.min(LONGEST_OPERATION_MS));
    let _ = writeln!(text, "timeouts: {{ connect: {connect}ms, operation: {operation}ms }}");
    notes.push(format!(
        "timeout: {timeout} ms becomes both connect ({connect} ms) and operation ({operation} ms)"
    ));
}

fn clients(text: &mut String, notes: &mut Vec<String>, pool: &Pool) {
    match pool.client_connections {
        Some(clients @ 1..=1_000_000) => {
            let _ = writeln!(text, "limits: {{ clients: {clients} }}");
        }
        _ => notes.push(
            "client_connections: twemproxy has no bound without it; Ringway's default is 10000 clients"
                .to_owned(),
        ),
    }
}

fn auth(text: &mut String, notes: &mut Vec<String>, pool: &Pool) {
    if pool.redis_auth.is_some() {
        let _ = writeln!(text, "auth: {{ password: {{env: {AUTH_VARIABLE}}} }}");
        notes.push(format!(
            "redis_auth: the password is not printed; set the variable {AUTH_VARIABLE} to it, clients and nodes use it as with twemproxy"
        ));
    }
    if !pool.redis {
        notes.push(
            "redis: the pool speaks memcached (redis: true is missing); Ringway speaks Redis only".to_owned(),
        );
    }
}

fn others(notes: &mut Vec<String>, pool: &Pool) {
    for (key, value) in &pool.others {
        let off = matches!(value.as_str(), "false" | "0");
        let why = match *key {
            "auto_eject_hosts" if off => continue,
            "redis_db" if off => continue,
            "preconnect" | "tcpkeepalive" | "reuse_port" if off => continue,
            "auto_eject_hosts" => {
                "no counterpart: Ringway never sends a key to another node because its own is down (keys would wander \
                 and stale values return); such commands answer NOTSENT, remove the node over HTTP instead"
            }
            "server_retry_timeout" | "server_failure_limit" => {
                "no counterpart: Ringway reconnects by itself with growing pauses and ejects no node"
            }
            "preconnect" => {
                "no counterpart: connections to nodes are opened when they are needed and watched from then on"
            }
            "backlog" => "no counterpart: the listener uses the system's bound",
            "server_connections" => "no counterpart: each worker keeps its own connections to every node",
            "tcpkeepalive" => "no counterpart: it is not a setting",
            "reuse_port" => "no counterpart: one process uses all cores (threads)",
            "redis_db" => {
                "no counterpart: Ringway uses database 0; keys in another database are NOT found, move them first"
            }
            _ => "no counterpart",
        };
        notes.push(format!("{key}: {} has {why}", one_line(value)));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ringway_proxy::settings::UnixSocket;

    use super::*;
    use crate::config::{Secrets, parse as parse_config};

    const FULL: &str = "beta:\n  listen: 127.0.0.1:22122\n  hash: murmur\n  hash_tag: \"$$\"\n  distribution: ketama\n  \
        auto_eject_hosts: true\n  timeout: 400\n  redis: true\n  redis_auth: hunter2\n  redis_db: 3\n  preconnect: true\n  \
        backlog: 1024\n  server_connections: 2\n  client_connections: 500\n  servers:\n   - 127.0.0.1:6380:1 server1\n   \
        - 127.0.0.1:6381:2 null\n   - cache.internal:11211:1\n";

    fn import(text: &str) -> (Pool, String, Vec<String>) {
        let pool = super::super::parse(text, None).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let (text, notes) = write(&pool);
        (pool, text, notes)
    }

    #[test]
    fn what_is_written_is_valid_and_places_alike() {
        let (pool, text, _) = import(FULL);
        let config = parse_config(&text, &Secrets::FormOnly, Path::new(""))
            .unwrap_or_else(|found| panic!("{found:#?}\n{text}"));
        let wanted = pool.topology();
        assert_eq!(config.settings.topology.ring, wanted.ring);
        let plain = |nodes: &[ringway_proxy::settings::NodeSpec]| -> Vec<(String, String, u32)> {
            nodes.iter().map(|node| (node.name.clone(), node.address.clone(), node.weight)).collect()
        };
        assert_eq!(plain(&config.settings.topology.nodes), plain(&wanted.nodes));
        assert_eq!(config.settings.topology.nodes[2].name, "cache.internal");
        assert_eq!(config.settings.listen, "127.0.0.1:22122");
        assert_eq!(config.settings.timeouts.operation.as_millis(), 400);
        assert_eq!(config.settings.limits.clients, 500);
    }

    #[test]
    fn notes_name_what_has_no_counterpart_and_no_password() {
        let (_, text, notes) = import(FULL);
        for word in [
            "auto_eject_hosts",
            "redis_auth",
            "redis_db",
            "preconnect",
            "backlog",
            "server_connections",
            "timeout",
            "names",
        ] {
            assert!(notes.iter().any(|note| note.starts_with(word)), "{word}: {notes:#?}");
        }
        assert!(!text.contains("hunter2") && !notes.join("\n").contains("hunter2"));
    }

    #[test]
    fn the_smallest_pool_gets_twemproxys_defaults() {
        let (pool, text, notes) = import("a:\n  servers:\n   - 127.0.0.1:6379:1\n");
        assert!(
            text.contains("placement: ketama")
                && text.contains("key_hash: fnv1a_64")
                && text.contains("hash_tag: \"\"")
        );
        assert!(notes.iter().any(|note| note.contains("memcached")));
        assert!(parse_config(&text, &Secrets::FormOnly, Path::new("")).is_ok(), "{text}");
        assert_eq!(pool.servers[0].name, "127.0.0.1:6379");
    }

    #[test]
    fn crc32_and_sockets_are_warned_of() {
        let (_, text, notes) =
            import("a:\n  listen: /tmp/s 0666\n  hash: crc32\n  servers:\n   - h:1:1\n   - h:2:1\n");
        assert!(notes.iter().any(|note| note.contains("15 bits")), "{notes:#?}");
        assert!(notes.iter().any(|note| note.contains("becomes unix_socket")), "{notes:#?}");
        assert!(!text.contains("listen"));
        let config = parse_config(&text, &Secrets::FormOnly, Path::new("")).unwrap();
        let expected = UnixSocket { path: "/tmp/s".into(), mode: Some(0o666) };
        assert_eq!(config.settings.unix_socket, Some(expected));
    }
}
