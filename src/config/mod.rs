//! The configuration file: YAML in, typed settings out, every problem with its line.
//!
//! ```text
//!   text ── yaml ──> tree with lines ── reader, ring, nodes, limits, secret ──> Config
//!                          └───────────── problems ─────────────┘ (all of them, sorted by line)
//! ```

mod address;
mod admin;
mod commands;
mod follow;
mod limits;
mod memory;
mod near_cache;
mod nodes;
pub(crate) mod problem;
pub(crate) mod reader;
pub(crate) mod ring;
mod secret;
mod sentinels;
pub(crate) mod tls;
pub(crate) mod units;
mod users;
pub(crate) mod yaml;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use ringway_admin::follow::Follow;
use ringway_proxy::settings::{Settings, TopologySpec};
use ringway_proxy::topology::Topology;

pub(crate) use address::is_loopback;
pub(crate) use admin::AdminConfig;
use problem::{Problem, Problems};
use reader::{Reader, Section};
pub(crate) use secret::Secrets;
use secret::base_of;
use yaml::{Node, Value};

/// A larger file is not a configuration.
const LARGEST_BYTES: u64 = 16 << 20;

const FIELDS: &[&str] = &[
    "listen",
    "unix_socket",
    "tls",
    "node_tls",
    "reuse_port",
    "threads",
    "ring",
    "nodes",
    "sentinels",
    "timeouts",
    "limits",
    "commands",
    "multi_key",
    "near_cache",
    "auth",
    "admin",
    "follow",
    "topology_file",
];

/// Everything a configuration file says.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// What the proxy starts with.
    pub(crate) settings: Settings,
    /// Where operators connect.
    pub(crate) admin: AdminConfig,
    /// Whose topology is served, if it is another Ringway's.
    pub(crate) follow: Option<Follow>,
    /// Where topologies applied over HTTP are kept.
    pub(crate) topology_file: Option<PathBuf>,
}

/// How much of a file is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// To run: passwords are read from where they are.
    Run,
    /// To look at the placement: passwords are not touched.
    Placement,
}

/// Reads a configuration file.
///
/// # Errors
/// Every problem of the file.
pub(crate) fn load(path: &Path, depth: Depth) -> Result<Config, Problems> {
    let file = path.display().to_string();
    let text = read_text(path)?;
    let base = base_of(path);
    let secrets = match depth {
        Depth::Run => Secrets::Resolve(&base),
        Depth::Placement => Secrets::FormOnly,
    };
    parse(&text, &secrets, &base).map_err(|list| Problems::new(&file, list))
}

/// Reads a configuration from its text; relative paths start at `base`.
///
/// # Errors
/// Every problem of the text.
pub(crate) fn parse(text: &str, secrets: &Secrets<'_>, base: &Path) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader::default();
    let config = yaml::parse(text, &mut reader.problems).map(|root| read(&mut reader, &root, secrets, base));
    match config {
        Some(config) if reader.problems.is_empty() => Ok(config),
        _ => {
            let last = last_line(text);
            let mut problems = reader.into_problems();
            problems.iter_mut().for_each(|problem| problem.line = problem.line.min(last));
            Err(problems)
        }
    }
}

/// The last line with anything on it: what misses its end is reported there, not on a line that does not exist.
fn last_line(text: &str) -> usize {
    let text = text.trim_end_matches(['\n', '\r']);
    let returns = text.matches('\r').count() - text.matches("\r\n").count();
    1 + text.matches('\n').count() + returns
}

/// Reads a file as text, with a bound on its size.
///
/// # Errors
/// Why it cannot be read, or the line that is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, Problems> {
    let file = path.display().to_string();
    let refused = |text: String| Problems::of_file(&file, text);
    let about = std::fs::metadata(path)
        .map_err(|error| refused(format!("cannot be read: {error}; check the path")))?;
    if about.is_dir() {
        return Err(refused("is a directory; name the file in it".to_owned()));
    }
    if about.len() > LARGEST_BYTES {
        return Err(refused("is larger than 16 MiB; this is not a configuration file".to_owned()));
    }
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path);
    opened
        .and_then(|file| {
            std::io::Read::read_to_end(&mut std::io::Read::take(file, LARGEST_BYTES), &mut bytes)
        })
        .map_err(|error| refused(format!("cannot be read: {error}; check the path and its rights")))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        Problems::new(
            &file,
            vec![Problem { line, text: "is not UTF-8 here; save the file as UTF-8".to_owned() }],
        )
    })
}

fn read(reader: &mut Reader, root: &Node, secrets: &Secrets<'_>, base: &Path) -> Config {
    let at = reader.section(Some(root), "", FIELDS);
    let listen = address::listen(reader, &at, "listen", "127.0.0.1:6380");
    let unix_socket = address::unix_socket(reader, &at);
    let tls = tls::clients(reader, &at, secrets, &listen);
    let tls_listen = tls.as_ref().map(|tls| tls.listen.clone());
    let places = [Some(listen.as_str()), tls_listen.as_deref()];
    let places: Vec<&str> = places.into_iter().flatten().collect();
    let reuse_port = reader.flag(&at, "reuse_port");
    let threads = usize::try_from(reader.integer(&at, "threads", 0..=1024, 0)).unwrap_or(0);
    let ring = ring::ring(reader, &at);
    let nodes = match root.value {
        // a file of the wrong kind was reported; a missing list would only repeat it
        Value::Scalar(_) | Value::List(_) => Vec::new(),
        // the leader has them
        _ if at.get("follow").is_some() && at.get("nodes").is_none() => Vec::new(),
        _ => nodes::nodes(reader, &at, secrets, &places, unix_socket.as_ref()),
    };
    let sentinels = sentinels::sentinels(reader, &at, secrets, &nodes);
    let asked = sentinels.iter().flat_map(|sentinels| &sentinels.addresses);
    let spoken_to = nodes.iter().map(|node| &node.address).chain(asked);
    let node_tls = tls::nodes(reader, &at, secrets, spoken_to);
    let timeouts = limits::timeouts(reader, &at);
    let limits = limits::limits(reader, &at);
    let users::Auth { password, users, users_file } = users::auth(reader, &at, secrets, base);
    let admin = admin::admin(reader, &at, secrets, &places);
    let follow = follow::follow(reader, &at, secrets, &listen, &admin.listen);
    let topology_file = topology_file(reader, &at, base);
    let topology = TopologySpec { ring, nodes };
    whole(reader, &at, &topology);
    let allowed_commands = commands::allowed(reader, &at);
    let multi_key = commands::multi_key(reader, &at);
    let near_cache = near_cache::near_cache(reader, &at);
    let settings = Settings {
        listen,
        unix_socket,
        tls: tls.and_then(tls::Clients::socket),
        node_tls,
        sentinels,
        reuse_port,
        threads,
        topology,
        origin: None,
        held: None,
        first_epoch: 1,
        timeouts,
        limits,
        password,
        users,
        users_file,
        allowed_commands,
        multi_key,
        near_cache,
    };
    Config { settings, admin, follow, topology_file }
}

/// What shows only when everything is there: the ring itself.
fn whole(reader: &mut Reader, at: &Section<'_>, topology: &TopologySpec) {
    let has_none = topology.nodes.is_empty() && at.get("follow").is_some();
    if reader.problems.is_empty()
        && !has_none
        && let Err(error) = Topology::build(0, topology.clone())
    {
        let key = if at.get("ring").is_some() { "ring" } else { "nodes" };
        reader.problem(at.line_of(key), error.to_string());
    }
}

fn topology_file(reader: &mut Reader, root: &Section<'_>, base: &Path) -> Option<PathBuf> {
    let path = base.join(reader.text(root, "topology_file")?);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let problem = if path.is_dir() {
        "is a directory; name a file in it"
    } else if !folder.is_dir() {
        "lies in a directory that does not exist; create the directory"
    } else {
        return Some(path);
    };
    let text = format!("topology_file: {} {problem}", problem::shown(&path.display().to_string()));
    reader.problem(root.line_of("topology_file"), text);
    None
}
