//! The section `follow`: the Ringway whose topology is served here.

use ringway_admin::follow::Follow;

use super::address;
use super::admin;
use super::problem::shown;
use super::reader::{Reader, Section};
use super::secret::Secrets;
use super::tls;

/// Reads `follow`.
pub(crate) fn follow(
    reader: &mut Reader,
    root: &Section<'_>,
    secrets: &Secrets<'_>,
    listen: &str,
    own_admin: &str,
) -> Option<Follow> {
    let at = reader.inner(root, "follow", &["url", "token", "name", "tls"]);
    root.get("follow")?;
    let Some(url) = reader.text(&at, "url") else {
        let text =
            "follow.url is missing; name the admin API of the Ringway to follow: url: http://10.0.0.1:9380";
        reader.problem(at.line_of("url"), text);
        return None;
    };
    if root.get("topology_file").is_none() {
        let text = "follow needs a topology_file, which keeps what the leader said last; name one";
        reader.problem(root.line_of("follow"), text);
    }
    let before = reader.problems.len();
    let token = admin::token(reader, &at, secrets, "token");
    let name = reader.text(&at, "name").map_or_else(|| own_name(listen), str::to_owned);
    if !(1..=128).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = format!(
            "follow.name: '{}' must be 1 to 128 printable ASCII characters without spaces",
            shown(&name)
        );
        reader.problem(at.line_of("name"), text);
    }
    let is_https = url.starts_with("https://");
    if !is_https && at.get("tls").is_some() {
        let text = "follow.tls stands beside a URL that does not begin with https://; write https://, or leave it out";
        reader.problem(at.line_of("tls"), text);
    }
    let section = reader.inner(&at, "tls", &tls::CLIENT_FIELDS);
    let tls = if is_https { tls::client(reader, &section, secrets) } else { None };
    let follow = Follow { url: url.to_owned(), token, name, tls };
    // where files are not read nothing is known of certificates, and what is wrong was said
    if reader.problems.len() == before
        && (!is_https || follow.tls.is_some())
        && let Err(why) = follow.check()
    {
        // what stands before an @ is a password
        let url = if url.contains('@') { "…" } else { url };
        reader.problem(at.line_of("url"), format!("follow.url: '{}': {why}", shown(url)));
    }
    if url.split_once("://").is_some_and(|(_, place)| place.trim_end_matches('/') == own_admin) {
        let text =
            format!("follow.url: {own_admin} is where this one's own admin API listens (admin.listen)");
        reader.problem(at.line_of("url"), text);
    }
    Some(follow)
}

/// This machine and the port of its clients: another one for each Ringway.
fn own_name(listen: &str) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(100).collect();
    let port = address::split_listen(listen).map_or(0, |(_, port)| port);
    format!("{host}:{port}")
}
