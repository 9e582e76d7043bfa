//! Where the listening sockets come from: bound here, or handed in by systemd (`LISTEN_FDS`, socket activation).
//!
//! ```text
//!   ringway.socket        FileDescriptorName=clients ─┐
//!   ringway-admin.socket  FileDescriptorName=admin   ─┼─► LISTEN_FDS=3 LISTEN_FDNAMES=clients:admin:metrics
//!   ringway-metrics.socket FileDescriptorName=metrics ┘
//!   a unix socket          FileDescriptorName=unix
//!   clients over TLS       FileDescriptorName=tls
//! ```
//! A socket that is handed in wins over the address in the configuration file. The control plane's sockets are bound
//! before that of the clients: who fails half-way has not drawn a single client yet.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use ringway_admin::Sockets;
use ringway_proxy::listen::Listener;
use ringway_proxy::settings::{Settings, TlsSocket, UnixSocket};

use crate::config::AdminConfig;
use crate::config::problem::shown;
use crate::outcome::Failure;

/// What `FileDescriptorName` may say.
const NAMES: [&str; 5] = ["clients", "admin", "metrics", "unix", "tls"];

/// Sockets that a service manager bound.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    clients: Option<TcpListener>,
    admin: Option<TcpListener>,
    metrics: Option<TcpListener>,
    tls: Option<TcpListener>,
    unix: Option<UnixListener>,
}

impl Inherited {
    /// Takes what the environment offers to this very process. Must be called before any thread is started, since it
    /// clears those variables.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a socket without a place, or a place with two sockets.
    pub(crate) fn from_env() -> Result<Self, Failure> {
        // without the number of a process the variables may be left over from another one
        if std::env::var_os("LISTEN_PID").is_none() {
            return Ok(Self::default());
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut given = ListenFd::from_env();
        let mut found = Self::default();
        for (at, name) in names_of(&names, given.len()).map_err(Failure::Usage)?.into_iter().enumerate() {
            let refused = |why: String| {
                Failure::Usage(format!("socket {at} of LISTEN_FDS ({name}) cannot be used: {why}"))
            };
            let mut network = || given.take_tcp_listener(at);
            let taken = match name {
                "clients" => network().map(|socket| std::mem::replace(&mut found.clients, socket).is_some()),
                "admin" => network().map(|socket| std::mem::replace(&mut found.admin, socket).is_some()),
                "metrics" => network().map(|socket| std::mem::replace(&mut found.metrics, socket).is_some()),
                "tls" => network().map(|socket| std::mem::replace(&mut found.tls, socket).is_some()),
                _ => given
                    .take_unix_listener(at)
                    .map(|socket| std::mem::replace(&mut found.unix, socket).is_some()),
            };
            let hint = if name == "unix" {
                ""
            } else {
                "; a unix socket has the name 'unix' (FileDescriptorName=unix)"
            };
            if taken.map_err(|error| refused(format!("{error}{hint}")))? {
                let hint = if name == "unix" { "" } else { ", for [::] and 0.0.0.0 alike" };
                return Err(refused(format!("there are two of this name; hand in one{hint}")));
            }
        }
        Ok(found)
    }

    /// All listeners, those that were not handed in bound now.
    ///
    /// # Errors
    /// [`Failure::Run`] when an address is in use, [`Failure::Usage`] for a socket that does not listen.
    pub(crate) async fn complete(
        self,
        settings: &Settings,
        admin: &AdminConfig,
    ) -> Result<(Vec<Listener>, Sockets), Failure> {
        let Self { clients, admin: admin_socket, metrics, tls, unix } = self;
        let reuse_port = settings.reuse_port;
        let admin_socket = one(admin_socket, &admin.listen, reuse_port, "admin: ").await?.into_std();
        let metrics = match (metrics, &admin.metrics_listen) {
            (None, None) => None,
            (given, listen) => {
                let listen = listen.as_deref().unwrap_or_default();
                Some(one(given, listen, reuse_port, "admin: ").await?.into_std())
            }
        };
        let mut listeners = vec![one(clients, &settings.listen, reuse_port, "").await?];
        match (unix, &settings.unix_socket) {
            (Some(given), _) => listeners.push(inherited(given, "unix_socket: ")?),
            (None, Some(UnixSocket { path, mode })) => {
                let bound = Listener::bind_unix(path, *mode, reuse_port);
                listeners.push(bound.map_err(|error| {
                    Failure::Run(format!("unix_socket: cannot listen on {}: {error}", path.display()))
                })?);
            }
            (None, None) => {}
        }
        match (tls, &settings.tls) {
            (given, Some(TlsSocket { listen, .. })) => {
                listeners.push(one(given, listen, reuse_port, "tls: ").await?.over_tls());
            }
            (Some(_), None) => {
                return Err(Failure::Usage(
                    "a socket of LISTEN_FDS is named tls, and the configuration has no certificate for it; add tls"
                        .to_owned(),
                ));
            }
            (None, None) => {}
        }
        Ok((listeners, Sockets { admin: Some(admin_socket), metrics }))
    }
}

fn inherited(socket: impl Into<OwnedFd>, who: &str) -> Result<Listener, Failure> {
    Listener::inherited(socket)
        .map_err(|error| Failure::Usage(format!("{who}a socket of LISTEN_FDS cannot be used: {error}")))
}

async fn one(
    given: Option<TcpListener>,
    listen: &str,
    reuse_port: bool,
    who: &str,
) -> Result<Listener, Failure> {
    match given {
        Some(socket) => inherited(socket, who),
        None => Listener::bind(listen, reuse_port)
            .await
            .map_err(|error| Failure::Run(format!("{who}cannot listen on {listen}: {error}"))),
    }
}

/// The places of `count` sockets. One alone may have any name: it is for clients.
fn names_of(names: &str, count: usize) -> Result<Vec<&'static str>, String> {
    let given: Vec<&str> = if names.is_empty() { Vec::new() } else { names.split(':').collect() };
    let place = |at: usize| {
        let name = given.get(at).copied().unwrap_or_default();
        match NAMES.iter().find(|known| **known == name) {
            Some(known) => Ok(*known),
            None if count == 1 => Ok("clients"),
            None => Err(format!(
                "socket {at} of LISTEN_FDS has the name '{}'; write FileDescriptorName={}",
                shown(name),
                NAMES.join(", or ")
            )),
        }
    };
    (0..count).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_that_are_shipped_name_places_that_there_are() {
        for unit in [
            include_str!("../deploy/systemd/ringway.socket"),
            include_str!("../deploy/systemd/ringway-admin.socket"),
            include_str!("../deploy/systemd/ringway-unix.socket"),
            include_str!("../deploy/systemd/ringway-tls.socket"),
        ] {
            let name = unit.lines().find_map(|line| line.strip_prefix("FileDescriptorName=")).unwrap();
            assert_eq!(names_of(&format!("{name}:metrics"), 2), Ok(vec![name, "metrics"]));
        }
    }

    #[test]
    fn sockets_find_their_places_by_name() {
        assert_eq!(names_of("", 0), Ok(vec![]));
        assert_eq!(names_of("", 1), Ok(vec!["clients"]));
        assert_eq!(names_of("ringway.socket", 1), Ok(vec!["clients"]));
        assert_eq!(names_of("admin", 1), Ok(vec!["admin"]));
        assert_eq!(names_of("admin:clients:metrics", 3), Ok(vec!["admin", "clients", "metrics"]));
        for (names, count) in [("", 2), ("clients", 2), ("clients:unknown", 2), ("clients::", 3)] {
            let refused = names_of(names, count).unwrap_err();
            assert!(refused.contains("FileDescriptorName"), "{names}: {refused}");
        }
    }
}
