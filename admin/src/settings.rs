//! What the control plane is started with, and why it may refuse to start.
//!
//! The law: without a token it listens on loopback only. Whoever reaches it can redirect every key.

use std::net::SocketAddr;

use ringway_proxy::settings::{Secret, ServerTls};

/// Where the control plane listens and whom it lets in.
#[derive(Debug, Clone)]
pub struct AdminSettings {
    /// `host:port`; port 0 takes a free one.
    pub listen: String,
    /// What clients present as `Authorization: Bearer …`. Required for any address that is not loopback.
    pub token: Option<Secret>,
    /// What clients present that may look and plan, but not change anything.
    pub read_token: Option<Secret>,
    /// Whether `/metrics` is answered without the token, for scrapers that must not hold it. The token can change
    /// the topology, the metrics only name nodes and counts.
    pub open_metrics: bool,
    /// What the whole API is spoken over, if not plain HTTP; metrics and health alone are plain.
    pub tls: Option<ServerTls>,
    /// `host:port` where `/metrics`, `/healthz` and `/readyz` alone are answered, to everybody and on a thread of their
    /// own, so that no crowd at the control plane hides them.
    pub metrics_listen: Option<String>,
}

impl Default for AdminSettings {
    /// `127.0.0.1:9380` without a token.
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9380".into(),
            token: None,
            read_token: None,
            open_metrics: false,
            tls: None,
            metrics_listen: None,
        }
    }
}

/// Why the control plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The settings cannot be meant so; the text says how to mend them.
    #[error("admin: {0}")]
    Settings(String),
    /// The system gives no thread or no runtime.
    #[error("admin: cannot start: {0}")]
    Start(std::io::Error),
    /// The address cannot be listened on.
    #[error("admin: cannot listen on {address}: {source}")]
    Bind {
        /// The address as it was given.
        address: String,
        /// The system's words.
        source: std::io::Error,
    },
}

impl AdminError {
    /// The exit code of a program that ends with this error: 2 for bad settings, 1 for an address in use.
    pub fn exit_code(&self) -> u8 {
        match self {
            AdminError::Settings(_) => 2,
            AdminError::Bind { .. } | AdminError::Start(_) => 1,
        }
    }
}

/// Why these settings are refused, whatever address they listen on.
pub(crate) fn check_tokens(settings: &AdminSettings) -> Result<(), AdminError> {
    let refused = |text: &str| Err(AdminError::Settings(text.to_owned()));
    for (name, token) in [("admin.token", &settings.token), ("admin.read_token", &settings.read_token)] {
        if let Some(token) = token {
            check_token(name, token.reveal())?;
        }
    }
    match (&settings.token, &settings.read_token) {
        (None, Some(_)) => {
            refused("admin.read_token restricts nobody as long as everybody may change: set admin.token too")
        }
        (Some(token), Some(read)) if token == read => {
            refused("admin.read_token is the same as admin.token: make it another text")
        }
        _ => Ok(()),
    }
}

/// The addresses to listen on, or why they are refused.
pub(crate) async fn check(settings: &AdminSettings) -> Result<Vec<SocketAddr>, AdminError> {
    let found = resolve(&settings.listen).await?;
    found.iter().try_for_each(|address| check_reach(settings, *address))?;
    Ok(found)
}

/// Whether an address that others can reach has a token before it.
pub(crate) fn check_reach(settings: &AdminSettings, address: SocketAddr) -> Result<(), AdminError> {
    if settings.token.is_some() || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(AdminError::Settings(format!(
        "listen address {address} can be reached from other machines and there is no token: set admin.token, or \
         listen on 127.0.0.1"
    )))
}

/// The addresses behind `host:port`.
pub(crate) async fn resolve(listen: &str) -> Result<Vec<SocketAddr>, AdminError> {
    let port = listen.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    if port.is_none_or(|port| port.parse::<u16>().is_err()) {
        return Err(AdminError::Settings(format!(
            "listen address '{}' is not host:port; write for example 127.0.0.1:9380",
            listen.escape_debug()
        )));
    }
    let found = tokio::net::lookup_host(listen).await;
    let bind_error = |source| AdminError::Bind { address: listen.to_owned(), source };
    Ok(found.map_err(bind_error)?.collect())
}

fn check_token(name: &str, token: &str) -> Result<(), AdminError> {
    let refused = |why: &str| Err(AdminError::Settings(format!("{name} {why}")));
    if token.is_empty() {
        return refused("is empty: remove it to run without one on loopback, or set a long random text");
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refused("must be printable ASCII without spaces, or it cannot be sent in a header");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn checked(listen: &str, token: Option<&str>) -> Result<Vec<SocketAddr>, AdminError> {
        let token = token.map(Secret::new);
        let settings = AdminSettings { listen: listen.into(), token, ..AdminSettings::default() };
        check_tokens(&settings)?;
        check(&settings).await
    }

    #[tokio::test]
    async fn without_a_token_only_loopback() {
        for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9380", "[::ffff:192.0.2.1]:1"] {
            let error = checked(open, None).await.unwrap_err();
            assert_eq!(error.exit_code(), 2, "{open}");
            assert!(error.to_string().contains("token"), "{error}");
            assert!(checked(open, Some("long-and-random")).await.is_ok(), "{open}");
        }
        for loopback in ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0"] {
            assert!(checked(loopback, None).await.is_ok(), "{loopback}");
        }
    }

    #[test]
    fn a_read_token_needs_another_one_that_may_change() {
        let checked = |token: Option<&str>, read: &str| {
            let (token, read_token) = (token.map(Secret::new), Some(Secret::new(read)));
            check_tokens(&AdminSettings { token, read_token, ..AdminSettings::default() })
        };
        assert!(checked(Some("may-change"), "may-look").is_ok());
        for (token, read) in
            [(None, "may-look"), (Some("Zq9-xK4"), "Zq9-xK4"), (Some("may-change"), "two words")]
        {
            let error = checked(token, read).unwrap_err();
            assert!(error.to_string().contains("admin.read_token"), "{error}");
            assert!(!error.to_string().contains(read), "{error}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_meant_is_refused_and_never_shown() {
        for listen in ["", "9380", ":9380", "localhost", "localhost:port", "localhost:70000"] {
            assert_eq!(checked(listen, None).await.unwrap_err().exit_code(), 2, "{listen}");
        }
        for token in ["", "two words", "tab\t", "naïve-token"] {
            let error = checked("127.0.0.1:0", Some(token)).await.unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(token.is_empty() || !format!("{error} {error:?}").contains(token));
        }
    }
}
