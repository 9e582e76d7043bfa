//! TLS: what Ringway shows to its clients and to its nodes, and whom it trusts.
//!
//! [`ServerTls`] and [`NodeTls`] are made of texts in PEM form; who reads them from files is not known here. Both are
//! swapped whole: connections that are there keep what they began with. TLS 1.2 and 1.3, no older ones.

mod any_name;
mod record;
pub(super) mod session;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use any_name::AnyName;
use session::Session;
use x509_cert::der::Decode;

/// Why texts are no certificate, key or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The certificate, or one of its chain.
    #[error("{0}")]
    Certificate(String),
    /// The private key.
    #[error("{0}")]
    Key(String),
    /// The certificates of those who are trusted.
    #[error("{0}")]
    Authorities(String),
    /// The name that nodes must have.
    #[error("{0}")]
    ServerName(String),
}

/// A certificate with its chain and its private key, both in PEM form.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate first, then those that lead to an authority.
    pub certificate: &'a [u8],
    /// Not encrypted; PKCS #8, PKCS #1 or SEC 1.
    pub key: &'a [u8],
}

impl fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(***)")
    }
}

impl Identity<'_> {
    fn read(self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates(self.certificate).map_err(TlsError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(self.key).map_err(|error| {
            let encrypted = memchr::memmem::find(self.key, b"ENCRYPTED").is_some();
            TlsError::Key(if encrypted {
                "is encrypted; decrypt it (openssl pkey -in FILE -out NEW)".to_owned()
            } else {
                not_pem(&error, "private key", "PRIVATE KEY")
            })
        })?;
        Ok((chain, key))
    }
}

/// What Ringway shows to clients that connect over TLS.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    asks_for_certificates: bool,
    expires: Option<SystemTime>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls(***)")
    }
}

/// Two are equal when they are one and the same.
impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }
}

impl Eq for ServerTls {}

impl ServerTls {
    /// With `client_authorities` (PEM) a client must show a certificate that one of these has signed.
    ///
    /// # Errors
    /// [`TlsError`]: what of it cannot be used.
    pub fn new(identity: Identity<'_>, client_authorities: Option<&[u8]>) -> Result<Self, TlsError> {
        let (chain, key) = identity.read()?;
        let expires = expires(&chain);
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        let builder = match client_authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let roots = Arc::new(roots(authorities)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|error| TlsError::Authorities(error.to_string()))?,
                )
            }
        };
        let config = Arc::new(builder.with_single_cert(chain, key).map_err(unusable)?);
        Ok(Self { config, asks_for_certificates: client_authorities.is_some(), expires })
    }

    /// Until when the certificate is valid; `None` when it does not tell.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// For listeners other than those of the data plane.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Whether clients must show certificates.
    pub fn asks_for_certificates(&self) -> bool {
        self.asks_for_certificates
    }
}

/// Whose certificates are trusted.
#[derive(Debug, Clone, Copy)]
pub enum Authorities<'a> {
    /// One or more certificates in PEM form.
    Pem(&'a [u8]),
    /// The system's, each in DER form. Those that cannot be read are left out.
    System(&'a [Vec<u8>]),
}

/// How Ringway connects to nodes whose address begins with `rediss://`.
#[derive(Clone)]
pub struct NodeTls {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    /// Whose certificates are trusted, in words.
    trusts: &'static str,
    /// Until when the certificate is valid that is shown to nodes.
    expires: Option<SystemTime>,
}

impl fmt::Debug for NodeTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeTls").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a node's certificate must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Signed by an authority that is trusted, for the name or address that the node is reached by.
    #[default]
    Name,
    /// Signed by such an authority, for whatever name: what Redis itself asks of another server.
    Chain,
}

impl Verify {
    /// All values, in the order in which they are listed for users.
    pub const ALL: [Verify; 2] = [Verify::Name, Verify::Chain];

    /// The word in the configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            Verify::Name => "name",
            Verify::Chain => "chain",
        }
    }
}

impl NodeTls {
    /// `identity` is shown to nodes that ask for one; `server_name` is asked for instead of the host in a node's address.
    ///
    /// # Errors
    /// [`TlsError`]: what of it cannot be used.
    pub fn new(
        authorities: Authorities<'_>,
        identity: Option<Identity<'_>>,
        verify: Verify,
        server_name: Option<&str>,
    ) -> Result<Self, TlsError> {
        let trusts = match authorities {
            Authorities::Pem(_) => "node_tls.ca",
            Authorities::System(_) => "the system (node_tls.ca would name others)",
        };
        let mut expires = None;
        let roots = match authorities {
            Authorities::Pem(text) => Arc::new(roots(text)?),
            Authorities::System(certificates) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates.iter().map(|one| one.clone().into()));
                Arc::new(roots)
            }
        };
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        let builder = match verify {
            Verify::Name => {
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                builder
                    .with_webpki_verifier(verifier.map_err(|error| TlsError::Authorities(error.to_string()))?)
            }
            Verify::Chain => {
                builder.dangerous().with_custom_certificate_verifier(AnyName::new(roots, &provider))
            }
        };
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.read()?;
                expires = self::expires(&chain);
                builder.with_client_auth_cert(chain, key).map_err(unusable)?
            }
        };
        let name = server_name.map(|name| server_name_of(name).map_err(TlsError::ServerName)).transpose()?;
        Ok(Self { config: Arc::new(config), name, trusts, expires })
    }

    /// Until when the certificate is valid that is shown to nodes, if there is one and it tells.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// For other connections to nodes than those of the data plane.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The name that the certificate of the node at this host must bear.
    ///
    /// # Errors
    /// The host is no name that a certificate could bear.
    pub fn server_name(&self, host: &str) -> io::Result<ServerName<'static>> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => server_name_of(host).map_err(io::Error::other),
        }
    }
}

/// What all connections of a proxy begin with.
#[derive(Debug)]
pub(crate) struct Tls {
    server: ArcSwapOption<ServerTls>,
    nodes: ArcSwapOption<NodeTls>,
}

impl Tls {
    pub(crate) fn new(server: Option<ServerTls>, nodes: Option<NodeTls>) -> Self {
        Self { server: ArcSwapOption::from_pointee(server), nodes: ArcSwapOption::from_pointee(nodes) }
    }

    /// From the next connection on. What clients are shown stays if there is nothing else.
    pub(crate) fn change(&self, server: Option<ServerTls>, nodes: Option<NodeTls>) {
        if let Some(server) = server {
            self.server.store(Some(Arc::new(server)));
        }
        self.nodes.store(nodes.map(Arc::new));
    }

    /// How nodes are connected to over TLS, if it was said.
    pub(crate) fn nodes(&self) -> Option<Arc<NodeTls>> {
        self.nodes.load_full()
    }

    pub(super) fn greet_client(&self) -> io::Result<Session> {
        let tls = self.server.load_full().ok_or_else(|| io::Error::other("there is no certificate"))?;
        let connection = ServerConnection::new(Arc::clone(&tls.config)).map_err(io::Error::other)?;
        Ok(Session::new(connection.into(), "client_ca"))
    }

    /// Until when the certificate is valid that clients are shown.
    pub(crate) fn expires(&self) -> Option<SystemTime> {
        self.server.load_full()?.expires
    }

    pub(super) fn greet_node(&self, host: &str) -> io::Result<Session> {
        let tls = self.nodes().ok_or_else(|| io::Error::other("TLS to nodes is not set up; add node_tls"))?;
        let connection = ClientConnection::new(tls.config(), tls.server_name(host)?);
        Ok(Session::with_node(connection.map_err(io::Error::other)?, tls.trusts))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(not_pem(&PemError::NoItemsFound, "certificate", "CERTIFICATE")),
        Ok(found) => Ok(found),
        Err(error) => Err(not_pem(&error, "certificate", "CERTIFICATE")),
    }
}

/// Why a file is no PEM file of `what`, and how one begins.
fn not_pem(error: &PemError, what: &str, label: &str) -> String {
    match error {
        PemError::NoItemsFound => {
            format!("holds no {what} in PEM form, which begins with -----BEGIN {label}-----")
        }
        PemError::MissingSectionEnd { .. } => format!("ends in the middle of a {what}"),
        error => format!("is not PEM: {error}"),
    }
}

/// Until when the first certificate of a chain is valid; `None` when it does not tell.
fn expires(chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
    let certificate = x509_cert::Certificate::from_der(chain.first()?).ok()?;
    Some(certificate.tbs_certificate.validity.not_after.to_system_time())
}

fn roots(text: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (at, certificate) in certificates(text).map_err(TlsError::Authorities)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            TlsError::Authorities(format!("holds a certificate ({}) that cannot be used: {error}", at + 1))
        })?;
    }
    Ok(roots)
}

fn server_name_of(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| format!("'{text}' is no name that a certificate could bear"))
}

/// Why a certificate and a key do not go together.
fn unusable(error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Key(
            "does not belong to the certificate, which must be the first of its file".to_owned(),
        ),
        rustls::Error::InvalidCertificate(error) => TlsError::Certificate(format!(
            "{} (the first of the file)",
            session::about_certificate(&error, "")
        )),
        error => TlsError::Key(format!("cannot be used: {error}")),
    }
}
