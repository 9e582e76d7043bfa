//! The section `admin`: where operators connect, and what they must present.

use ringway_proxy::settings::{Secret, ServerTls};

use super::address;
use super::reader::{Reader, Section};
use super::secret::Secrets;
use super::tls;

/// The section `admin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdminConfig {
    /// `host:port`.
    pub(crate) listen: String,
    /// What callers must present.
    pub(crate) token: Option<Secret>,
    /// What callers present that may look and plan only.
    pub(crate) read_token: Option<Secret>,
    /// Whether `/metrics` is answered without the token.
    pub(crate) open_metrics: bool,
    /// What operators are shown, if not plain HTTP.
    pub(crate) tls: Option<ServerTls>,
    /// `host:port` for metrics and health alone.
    pub(crate) metrics_listen: Option<String>,
}

/// Reads `admin`.
pub(crate) fn admin(
    reader: &mut Reader,
    root: &Section<'_>,
    secrets: &Secrets<'_>,
    proxy_listen: &[&str],
) -> AdminConfig {
    let known = ["listen", "tls", "token", "read_token", "open_metrics", "metrics_listen"];
    let at = reader.inner(root, "admin", &known);
    let listen = address::listen(reader, &at, "listen", "127.0.0.1:9380");
    let token = token(reader, &at, secrets, "token");
    let read_token = self::token(reader, &at, secrets, "read_token");
    if !address::is_loopback(&listen) && at.get("token").is_none() {
        let text = format!(
            "admin.listen: {listen} can be reached from other machines, and admin.token is missing; set a token or listen on 127.0.0.1"
        );
        reader.problem(at.line_of("listen"), text);
    }
    if at.get("read_token").is_some() && at.get("token").is_none() {
        let text = "admin.read_token restricts nobody as long as everybody may change; set admin.token too";
        reader.problem(at.line_of("read_token"), text);
    }
    if read_token.is_some() && read_token == token {
        let text = "admin.read_token is the same as admin.token; make it another text";
        reader.problem(at.line_of("read_token"), text);
    }
    let metrics_listen = at
        .get("metrics_listen")
        .is_some()
        .then(|| address::listen(reader, &at, "metrics_listen", "127.0.0.1:9381"));
    let mut others: Vec<(&str, &str)> =
        proxy_listen.iter().map(|proxy| ("the proxy's own address", *proxy)).collect();
    own_address(reader, &at, "listen", &listen, &others);
    if let Some(metrics) = &metrics_listen {
        others.push(("the address of admin.listen", &listen));
        own_address(reader, &at, "metrics_listen", metrics, &others);
    }
    let open_metrics = reader.flag(&at, "open_metrics");
    let tls = at.get("tls").is_some().then(|| reader.inner(&at, "tls", &tls::SERVER_FIELDS));
    let tls = tls.and_then(|tls| tls::server(reader, &tls, secrets));
    AdminConfig { listen, token, read_token, open_metrics, tls, metrics_listen }
}

/// Reads a token: what an HTTP header can carry.
pub(crate) fn token(
    reader: &mut Reader,
    at: &Section<'_>,
    secrets: &Secrets<'_>,
    key: &str,
) -> Option<Secret> {
    let token = secrets.read(reader, at, key);
    if let Some(token) = &token
        && !token.reveal().bytes().all(|byte| byte.is_ascii_graphic())
    {
        let text = format!(
            "{} has characters that no HTTP header can carry; use printable ASCII without spaces",
            at.path(key)
        );
        reader.problem(at.line_of(key), text);
    }
    token
}

/// Two listeners cannot have one address.
fn own_address(reader: &mut Reader, at: &Section<'_>, key: &str, listen: &str, others: &[(&str, &str)]) {
    for (what, other) in others {
        if listen == *other && !listen.ends_with(":0") {
            let text = format!("{}: {listen} is {what}; use another port", at.path(key));
            reader.problem(at.line_of(key), text);
        }
    }
}
