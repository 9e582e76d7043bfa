//! The listener: bounded connections, and a time limit on everything a client could dawdle over.
//!
//! ```text
//! accept ─ full? close ─ head within 4 s ─ guard ─ body within 4 s ─ handler ─ each byte of the answer within 4 s
//!             ^                                                                          |
//!             └────────────── next request on the connection within 4 s ◄────────────────┘
//! ```
//!
//! Each connection is one task; all of them end with [`Admin::stop`], or when [`Admin`] is dropped.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ringway_proxy::control::Control;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use crate::guard::Peer;
use crate::limits;
use crate::routes;
use crate::settings::{self, AdminError, AdminSettings};

/// A running control plane. Dropping it ends it at once; [`Admin::stop`] ends it in order.
#[derive(Debug)]
pub struct Admin {
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Admin {
    /// Binds and serves. Must be called inside a tokio runtime with time and IO; best one of its own, so that
    /// building a large ring never delays what else runs there.
    ///
    /// # Errors
    /// [`AdminError::Settings`] for an address that is not loopback without a token, [`AdminError::Bind`] for one
    /// that cannot be listened on.
    pub async fn start(settings: AdminSettings, control: Control) -> Result<Self, AdminError> {
        let addresses = settings::check(&settings).await?;
        let bind_error = |source| AdminError::Bind { address: settings.listen.clone(), source };
        let listener = TcpListener::bind(&*addresses).await.map_err(bind_error)?;
        let local_addr = listener.local_addr().map_err(bind_error)?;
        let router = routes::router(&settings, control);
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, router, stopped));
        Ok(Self { local_addr, stop, accepting })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Accepts nobody any more, answers what is in work, and ends; after [`limits::STOP_TIME`] at once.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        // the task ends by its own limit; an error means that it panicked, and then it has ended too
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves until `stopped`. The connections' tasks live in a set of this task, so that they end with it.
async fn accept(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // out of descriptors, most likely: waiting is all that helps
                    tracing::warn!(%error, "admin connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::debug!(%peer, "admin connection closed, {} are open", limits::CONNECTIONS);
            continue;
        };
        let (router, stopped) = (router.clone(), stopped.clone());
        connections.spawn(async move {
            serve(stream, peer, router, stopped).await;
            drop(place);
        });
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(limits::STOP_TIME, ended).await;
    connections.shutdown().await;
}

/// Serves one connection; the router gets each request with its [`Peer`].
async fn serve(stream: TcpStream, peer: SocketAddr, router: Router, mut stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits::ANSWER_TIME));
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request.map(Body::new)).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIME)
        .max_headers(limits::HEADERS)
        .max_buf_size(limits::HEAD_BYTES);
    let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "admin connection ended early");
    }
}

async fn answer(router: Router, request: Request<Body>) -> axum::response::Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
