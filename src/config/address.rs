//! Addresses to listen on: `host:port`, `[v6]:port`; port 0 takes a free one. And a unix socket.

use std::net::IpAddr;

use ringway_proxy::settings::UnixSocket;
use ringway_proxy::topology::{SOCKET_PATH_BYTES, socket_path, split_address};

use super::problem::shown;
use super::reader::{Reader, Section};

/// Reads an address to listen on.
pub(crate) fn listen(reader: &mut Reader, at: &Section<'_>, key: &str, default: &str) -> String {
    let Some(text) = reader.text(at, key) else { return default.to_owned() };
    if split_listen(text).is_none() {
        let path = at.path(key);
        let example = if text.starts_with('/') && path == "listen" {
            "; a unix socket goes into unix_socket.path"
        } else {
            ""
        };
        let text =
            format!("{path}: '{}' is not host:port; write for example {default}{example}", shown(text));
        reader.problem(at.line_of(key), text);
        return default.to_owned();
    }
    text.to_owned()
}

/// Reads the section `unix_socket`: a further place for clients to connect to.
pub(crate) fn unix_socket(reader: &mut Reader, root: &Section<'_>) -> Option<UnixSocket> {
    let at = reader.inner(root, "unix_socket", &["path", "mode"]);
    root.get("unix_socket")?;
    let mode = reader.text(&at, "mode").map(str::to_owned).and_then(|text| {
        let digits = Some(text.as_str()).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let mode = digits.and_then(|text| u32::from_str_radix(text, 8).ok()).filter(|mode| *mode <= 0o777);
        if mode.is_none() {
            let problem = format!(
                "{}: '{}' is no octal mode; write for example 770: who may write to the socket may connect",
                at.path("mode"),
                shown(&text)
            );
            reader.problem(at.line_of("mode"), problem);
        }
        mode
    });
    let Some(text) = reader.text(&at, "path") else {
        let problem =
            format!("{} is missing; write for example path: /run/ringway/ringway.sock", at.path("path"));
        reader.problem(at.line_of("path"), problem);
        return None;
    };
    let Some(path) = socket_path(text) else {
        let problem = format!(
            "{}: '{}' is not an absolute path of at most {SOCKET_PATH_BYTES} bytes without spaces; write for example /run/ringway/ringway.sock",
            at.path("path"),
            shown(text)
        );
        reader.problem(at.line_of("path"), problem);
        return None;
    };
    Some(UnixSocket { path: path.to_owned(), mode })
}

/// Host and port; unlike a node's port, a listener's may be 0.
pub(crate) fn split_listen(address: &str) -> Option<(&str, u16)> {
    match address.strip_suffix(":0") {
        Some(host) => {
            let end = host.len();
            // any valid port does for checking the host
            split_address(&format!("{host}:1")).map(|_| (&address[..end], 0))
        }
        None => split_address(address),
    }
}

/// Whether only this machine can reach the address.
pub(crate) fn is_loopback(address: &str) -> bool {
    let Some((host, _)) = split_listen(address) else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_is_for_listeners() {
        assert_eq!(split_listen("127.0.0.1:0"), Some(("127.0.0.1", 0)));
        assert_eq!(split_listen("[::1]:0").map(|found| found.1), Some(0));
        assert_eq!(split_listen("0.0.0.0:6380"), Some(("0.0.0.0", 6380)));
        for wrong in [":0", "6380", "host", "host:65536", "a b:0", "", "/tmp/socket"] {
            assert_eq!(split_listen(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        for yes in ["127.0.0.1:1", "127.8.8.8:1", "localhost:9380", "[::1]:0"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "example.com:1", "localhost.example.com:1"] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
