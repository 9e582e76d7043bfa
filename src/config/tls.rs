//! The sections `tls` (clients), `admin.tls` (operators) and `node_tls` (nodes): which files, what is made of them, and when
//! it expires.

use std::path::Path;
use std::time::{Duration, SystemTime};

use ringway_proxy::settings::{
    Authorities, Identity, NodeSpec, NodeTls, ServerTls, Settings, TlsError, TlsSocket, Verify,
};
use ringway_proxy::topology::NodeAddress;

use super::Config;
use super::address;
use super::problem::shown;
use super::reader::{Reader, Section};
use super::secret::Secrets;

/// A larger file holds no certificates: those of all public authorities are a quarter of it.
const LARGEST_BYTES: u64 = 1 << 20;

/// A certificate that expires within this time is told of.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The fields that [`server`] reads.
pub(crate) const SERVER_FIELDS: [&str; 3] = ["certificate", "key", "client_ca"];

/// The fields that [`client`] reads.
pub(crate) const CLIENT_FIELDS: [&str; 5] = ["ca", "certificate", "key", "verify", "server_name"];

/// The section `tls`.
pub(crate) struct Clients {
    /// Where clients connect over TLS.
    pub(crate) listen: String,
    /// What they are shown; `None` when files are not read, or cannot be.
    tls: Option<ServerTls>,
}

impl Clients {
    /// What the proxy is started with.
    pub(crate) fn socket(self) -> Option<TlsSocket> {
        let Self { listen, tls } = self;
        tls.map(|tls| TlsSocket { listen, tls })
    }
}

/// Reads `tls`; `plain` is where clients connect without it.
pub(crate) fn clients(
    reader: &mut Reader,
    root: &Section<'_>,
    secrets: &Secrets<'_>,
    plain: &str,
) -> Option<Clients> {
    let [certificate, key, client_ca] = SERVER_FIELDS;
    let at = reader.inner(root, "tls", &["listen", certificate, key, client_ca]);
    root.get("tls")?;
    let listen = address::listen(reader, &at, "listen", "127.0.0.1:6390");
    if listen == plain && !listen.ends_with(":0") {
        let text =
            format!("tls.listen: {listen} is where clients connect without TLS (listen); use another port");
        reader.problem(at.line_of("listen"), text);
    }
    let tls = server(reader, &at, secrets);
    Some(Clients { listen, tls })
}

/// Reads what a server over TLS shows, and whom it lets in. `None` also when files are not read.
pub(crate) fn server(reader: &mut Reader, at: &Section<'_>, secrets: &Secrets<'_>) -> Option<ServerTls> {
    for key in ["certificate", "key"] {
        if at.get(key).is_none() {
            let text = format!(
                "{} is missing; name a file in PEM form: {key}: /etc/ringway/tls/{key}.pem",
                at.path(key)
            );
            reader.problem(at.line_of(key), text);
        }
    }
    let before = reader.problems.len();
    let texts = SERVER_FIELDS.map(|key| file(reader, at, secrets, key));
    match &texts {
        [Some(certificate), Some(key), client_ca] if reader.problems.len() == before => {
            let made = ServerTls::new(Identity { certificate, key }, client_ca.as_deref());
            made.map_err(|error| refuse(reader, at, &error, "client_ca")).ok()
        }
        _ => None,
    }
}

/// Reads `node_tls`, which need not be written when the system's authorities have signed for those at `addresses`.
pub(crate) fn nodes<'n>(
    reader: &mut Reader,
    root: &Section<'_>,
    secrets: &Secrets<'_>,
    mut addresses: impl Iterator<Item = &'n String>,
) -> Option<NodeTls> {
    let over_tls =
        |address: &String| NodeAddress::parse(address).is_some_and(|address| address.is_over_tls());
    let at = reader.inner(root, "node_tls", &CLIENT_FIELDS);
    if root.get("node_tls").is_none() && !addresses.any(over_tls) {
        return None;
    }
    client(reader, &at, secrets)
}

/// Reads what a server is reached with over TLS. `None` also when files are not read.
pub(crate) fn client(reader: &mut Reader, at: &Section<'_>, secrets: &Secrets<'_>) -> Option<NodeTls> {
    let verify = reader.choice(at, "verify", &Verify::ALL, Verify::name);
    let server_name = reader.text(at, "server_name").map(str::to_owned);
    for (key, other) in [("certificate", "key"), ("key", "certificate")] {
        if at.get(key).is_some() && at.get(other).is_none() {
            let text =
                format!("{} stands without {}; add it, or leave both out", at.path(key), at.path(other));
            reader.problem(at.line_of(key), text);
        }
    }
    let before = reader.problems.len();
    let [ca, certificate, key] = ["ca", "certificate", "key"].map(|key| file(reader, at, secrets, key));
    if reader.problems.len() != before || matches!(secrets, Secrets::FormOnly) {
        return None;
    }
    let system = match ca {
        Some(_) => Vec::new(),
        None => system()
            .map_err(|why| reader.problem(at.line_of("ca"), format!("{} {why}", at.path("ca"))))
            .ok()?,
    };
    let authorities = ca.as_deref().map_or(Authorities::System(&system), Authorities::Pem);
    let identity = match (&certificate, &key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        _ => None,
    };
    let made = NodeTls::new(authorities, identity, verify, server_name.as_deref());
    made.map_err(|error| refuse(reader, at, &error, "ca")).ok()
}

/// The certificates of those whom the system trusts, in DER form.
fn system() -> Result<Vec<Vec<u8>>, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!(
            "is missing and the system has no certificates of authorities{why}; name a file, or install ca-certificates"
        ));
    }
    Ok(found.certs.iter().map(|certificate| certificate.to_vec()).collect())
}

/// What nodes over TLS are reached with when nothing is written about it.
///
/// # Errors
/// The system trusts nobody.
pub(crate) fn of_the_system() -> Result<NodeTls, String> {
    let system = system().map_err(|why| format!("node_tls.ca {why}"))?;
    NodeTls::new(Authorities::System(&system), None, Verify::Name, None).map_err(|error| error.to_string())
}

/// Whether a node is reached over TLS.
pub(crate) fn is_over_tls(node: &NodeSpec) -> bool {
    NodeAddress::parse(&node.address).is_some_and(|address| address.is_over_tls())
}

/// What is to be said of certificates that have expired, or soon will have.
pub(crate) fn expiring(config: &Config, now: SystemTime) -> Vec<String> {
    let Settings { tls, node_tls, .. } = &config.settings;
    [
        ("tls", tls.as_ref().and_then(|socket| socket.tls.expires())),
        ("admin.tls", config.admin.tls.as_ref().and_then(ServerTls::expires)),
        ("node_tls", node_tls.as_ref().and_then(NodeTls::expires)),
    ]
    .into_iter()
    .filter_map(|(section, at)| {
        let days = |time: Duration| time.as_secs() / (24 * 60 * 60);
        match at?.duration_since(now) {
            Ok(left) if left > SOON => None,
            Ok(left) => Some(format!("{section}.certificate expires in {} days", days(left))),
            Err(since) => Some(format!("{section}.certificate expired {} days ago", days(since.duration()))),
        }
    })
    .collect()
}

/// Reads the file that a field names. `None` when there is no such field, when files are not to be read, or when a problem
/// was noted.
fn file(reader: &mut Reader, at: &Section<'_>, secrets: &Secrets<'_>, key: &str) -> Option<Vec<u8>> {
    let text = reader.text(at, key)?;
    let Secrets::Resolve(base) = secrets else { return None };
    match read(&base.join(text)) {
        Ok(bytes) => Some(bytes),
        Err(why) => {
            reader.problem(at.line_of(key), format!("{}: {} {why}", at.path(key), shown(text)));
            None
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable =
        |error: std::io::Error| format!("cannot be read: {error}; check the path and its rights");
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() || about.len() > LARGEST_BYTES {
        return Err("is no file of at most 1 MiB; name a file in PEM form".to_owned());
    }
    std::fs::read(path).map_err(unreadable)
}

/// Says which file the problem lies in.
fn refuse(reader: &mut Reader, at: &Section<'_>, error: &TlsError, authorities: &str) {
    let key = match error {
        TlsError::Certificate(_) => "certificate",
        TlsError::Key(_) => "key",
        TlsError::Authorities(_) => authorities,
        TlsError::ServerName(_) => "server_name",
    };
    let file = at.get(key).map(|_| reader.text(at, key).unwrap_or_default()).unwrap_or_default();
    let text = match error {
        TlsError::ServerName(why) => format!("{}: {why}", at.path(key)),
        _ => format!("{}: {} {error}", at.path(key), shown(file)),
    };
    reader.problem(at.line_of(key), text);
}
