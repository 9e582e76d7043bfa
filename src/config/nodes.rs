//! The list `nodes`: each entry alone, then the list as a whole.

use std::collections::HashMap;
use std::path::Path;

use ringway_proxy::settings::{Credentials, NodeSpec, TopologySpec, UnixSocket};
use ringway_proxy::topology::{NodeAddress, Topology};
use ringway_ring::{MAX_WEIGHT, RingConfig};

use super::address;
use super::problem::shown;
use super::reader::{Reader, Section};
use super::secret::Secrets;
use super::yaml::{Node, Value};

const FIELDS: &[&str] = &["name", "address", "weight", "username", "password"];

/// Reads `nodes`. `listen` (all of them) and `unix_socket` are the proxy's own addresses, which no node may have.
pub(crate) fn nodes(
    reader: &mut Reader,
    root: &Section<'_>,
    secrets: &Secrets<'_>,
    listen: &[&str],
    unix_socket: Option<&UnixSocket>,
) -> Vec<NodeSpec> {
    let Some(list) = list(reader, root) else { return Vec::new() };
    let mut seen = Seen::default();
    let mut nodes = Vec::with_capacity(list.len());
    for (at, node) in list.iter().enumerate() {
        let section = reader.section(Some(node), &format!("nodes[{at}]"), FIELDS);
        if let Some(spec) = entry(reader, &section, secrets, &mut seen) {
            let own_path = unix_socket.is_some_and(|own| own.path == Path::new(&spec.address));
            if own_path || listen.iter().any(|listen| is_same(listen, &spec.address)) {
                let text = format!(
                    "{}: '{}' is where the proxy itself listens; name the Redis server's address",
                    section.path("address"),
                    spec.address
                );
                reader.problem(section.line_of("address"), text);
            }
            nodes.push(spec);
        }
    }
    nodes
}

fn list<'a>(reader: &mut Reader, root: &Section<'a>) -> Option<&'a [Node]> {
    let example = "name at least one node:  nodes: [{name: cache-1, address: \"127.0.0.1:7001\"}]";
    match root.get("nodes").map(|node| (&node.value, node)) {
        Some((Value::List(list), _)) if !list.is_empty() => return Some(list),
        Some((Value::List(_), _)) => {
            reader.problem(root.line_of("nodes"), format!("nodes is empty; {example}"))
        }
        Some((_, node)) => {
            reader.problem(
                node.line,
                format!("nodes is {}; write a list with a dash before each node", node.kind()),
            );
        }
        None => reader.problem(root.line_of("nodes"), format!("nodes is missing; {example}")),
    }
    None
}

fn entry(reader: &mut Reader, at: &Section<'_>, secrets: &Secrets<'_>, seen: &mut Seen) -> Option<NodeSpec> {
    let weight = reader.integer(at, "weight", 1..=u64::from(MAX_WEIGHT), 1);
    let credentials = credentials(reader, at, secrets);
    let name = required(reader, at, "name", "cache-1");
    let address = required(reader, at, "address", "127.0.0.1:7001");
    // also for an entry that is wrong otherwise: all problems come at once
    seen.check(reader, at, name.as_deref(), address.as_deref());
    let weight = u32::try_from(weight).unwrap_or(1);
    let spec = NodeSpec { name: name?, address: address?, weight, credentials };
    alone(reader, at, &spec).then_some(spec)
}

fn required(reader: &mut Reader, at: &Section<'_>, key: &str, example: &str) -> Option<String> {
    let present = at.get(key).is_some();
    let text = reader.text(at, key);
    if !present {
        reader.problem(
            at.line_of(key),
            format!("{} is missing; write for example {key}: {example}", at.path(key)),
        );
    }
    text.map(str::to_owned)
}

/// Reads `username` and `password`.
pub(crate) fn credentials(reader: &mut Reader, at: &Section<'_>, secrets: &Secrets<'_>) -> Credentials {
    let username = reader.text(at, "username").map(str::to_owned);
    let password = secrets.read(reader, at, "password");
    if username.is_some() && at.get("password").is_none() {
        let text =
            format!("{} stands without a password; add password, or leave both out", at.path("username"));
        reader.problem(at.line_of("username"), text);
    }
    Credentials { username, password }
}

/// Asks the proxy's own rules about one node, so that there is one set of them.
fn alone(reader: &mut Reader, at: &Section<'_>, spec: &NodeSpec) -> bool {
    let ring = RingConfig { points: 1, ..RingConfig::default() };
    let Err(error) = Topology::build(0, TopologySpec { ring, nodes: vec![spec.clone()] }) else {
        return true;
    };
    use ringway_proxy::topology::TopologyError as E;
    let key = if matches!(error, E::Address { .. }) { "address" } else { "name" };
    reader.problem(at.line_of(key), format!("{}: {error}", at.path(key)));
    false
}

/// Lines of the names and addresses that were there before.
#[derive(Default)]
struct Seen {
    names: HashMap<String, usize>,
    addresses: HashMap<String, usize>,
}

impl Seen {
    fn check(&mut self, reader: &mut Reader, at: &Section<'_>, name: Option<&str>, address: Option<&str>) {
        let line = at.line_of("name");
        if let Some(name) = name
            && let Some(first) = self.names.insert(name.to_owned(), line)
        {
            let text = format!(
                "{}: '{}' is also the name of the node on line {first}; a name decides which keys a node owns, rename one",
                at.path("name"),
                shown(name)
            );
            reader.problem(line, text);
        }
        let line = at.line_of("address");
        if let Some(address) = address
            && let Some(first) = self.addresses.insert(NodeAddress::key(address), line)
        {
            let text = format!(
                "{}: '{}' is also the address on line {first}; give each node its own server",
                at.path("address"),
                shown(address)
            );
            reader.problem(line, text);
        }
    }
}

/// Whether a node's address is certainly the proxy's own.
fn is_same(listen: &str, node: &str) -> bool {
    let (Some((host, port)), Some((node_host, node_port))) =
        (address::split_listen(listen), address::split_listen(NodeAddress::place(node)))
    else {
        return false;
    };
    let any = matches!(host.trim_matches(['[', ']']), "0.0.0.0" | "::");
    port != 0
        && port == node_port
        && (host == node_host || (any || address::is_loopback(listen)) && address::is_loopback(node))
}
