//! TLS for tests: an authority made on the spot, servers and clients of it, and tunnels, so that whatever speaks plain
//! bytes can take part.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use ringway_proxy::settings::{Authorities, Identity, NodeTls, ServerTls, TlsSocket, Verify};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::runtime::Runtime;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::raw_client::RawClient;

static AUTHORITIES: AtomicU32 = AtomicU32::new(0);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
});

/// Who signs certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key, in PEM form.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pair {
    pub(crate) fn identity(&self) -> Identity<'_> {
        Identity { certificate: self.certificate.as_bytes(), key: self.key.as_bytes() }
    }

    fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("a certificate");
        (vec![certificate], PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key"))
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // two of one name would be taken for each other
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number} for tests"));
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        Self { issuer, folder: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Its own certificate in PEM form.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Signs a certificate for these names and addresses; with none of them it is for nothing but its subject.
    pub(crate) fn issue(&self, names: &[&str]) -> Pair {
        self.issue_until(names, 2099)
    }

    /// As [`Authority::issue`], valid until a year begins.
    pub(crate) fn issue_until(&self, names: &[&str], year: i32) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names).expect("names");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Where a text lies as a file; written now.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// What a redis-server is started with to speak TLS on a port, under these names. Clients need no certificate.
    pub(crate) fn server_options(&self, port: u16, names: &[&str]) -> Vec<String> {
        let pair = self.issue(names);
        let path = |name: &str, text: &str| self.file(name, text).display().to_string();
        [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", path(&format!("{port}.crt"), &pair.certificate)),
            ("--tls-key-file", path(&format!("{port}.key"), &pair.key)),
            ("--tls-ca-cert-file", path("ca.crt", &self.pem())),
            ("--tls-auth-clients", "no".to_owned()),
        ]
        .into_iter()
        .flat_map(|(option, value)| [option.to_owned(), value])
        .collect()
    }

    /// How a proxy is started so that clients come over TLS too, to `localhost`, on a free port.
    pub(crate) fn socket(&self) -> TlsSocket {
        let tls = ServerTls::new(self.issue(&["localhost"]).identity(), None).expect("a certificate");
        TlsSocket { listen: "127.0.0.1:0".into(), tls }
    }

    /// How a proxy trusts the nodes whose certificates this one has signed.
    pub(crate) fn node_tls(&self) -> NodeTls {
        NodeTls::new(Authorities::Pem(self.pem().as_bytes()), None, Verify::Name, None).expect("an authority")
    }

    /// A client that trusts this authority; with `old`, one that knows TLS 1.2 only.
    pub(crate) fn client(&self, own: Option<&Pair>, old: bool) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        let versions = if old { &[&TLS12][..] } else { &[&TLS13] };
        let builder = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
        Arc::new(match own.map(Pair::der) {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).expect("a certificate"),
        })
    }

    /// A server's end of TLS under a name of `127.0.0.1`, in front of whatever listens at `to`.
    pub(crate) fn terminate(&self, to: SocketAddr) -> SocketAddr {
        let (chain, key) = self.issue(&["127.0.0.1"]).der();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("a certificate")));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("a socket");
        RUNTIME.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut near = acceptor.accept(stream).await.ok()?;
                    let mut far = tokio::net::TcpStream::connect(to).await.ok()?;
                    copy_bidirectional(&mut near, &mut far).await.ok()
                });
            }
        });
        address
    }
}

/// In every test of a real server and a harness, both sides speak TLS: set by hand, `RINGWAY_TEST_TLS=1`.
pub(crate) static EVERYWHERE: LazyLock<Option<Everywhere>> = LazyLock::new(|| {
    std::env::var_os("RINGWAY_TEST_TLS")?;
    Some(Everywhere { authority: Authority::new(), ports: Mutex::default() })
});

/// See [`EVERYWHERE`].
pub(crate) struct Everywhere {
    pub(crate) authority: Authority,
    /// Where a server speaks TLS, by its other port.
    pub(crate) ports: Mutex<HashMap<u16, u16>>,
}

impl Everywhere {
    /// The address over TLS of a server that has one.
    pub(crate) fn address(&self, plain: &str) -> Option<String> {
        let port: u16 = plain.strip_prefix("127.0.0.1:")?.parse().ok()?;
        let tls = *self.ports.lock().expect("ports").get(&port)?;
        Some(format!("rediss://127.0.0.1:{tls}"))
    }
}

/// A plain connection whose other end speaks TLS to `localhost` at `to`.
pub(crate) fn tunnel(to: SocketAddr, client: &Arc<ClientConfig>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let near = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let (far, _) = listener.accept().expect("a connection");
    far.set_nonblocking(true).expect("a socket");
    let connector = TlsConnector::from(Arc::clone(client));
    RUNTIME.spawn(async move {
        let mut far = tokio::net::TcpStream::from_std(far).ok()?;
        let stream = tokio::net::TcpStream::connect(to).await.ok()?;
        stream.set_nodelay(true).ok()?;
        far.set_nodelay(true).ok()?;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = connector.connect(name, stream).await.ok()?;
        copy_bidirectional(&mut far, &mut stream).await.ok()
    });
    near
}

/// A client over TLS.
pub(crate) fn client(to: SocketAddr, config: &Arc<ClientConfig>) -> RawClient {
    tunnel(to, config).into()
}
