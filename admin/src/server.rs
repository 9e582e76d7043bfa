//! The listener: bounded connections, and a time limit on everything a client could dawdle over.
//!
//! ```text
//! accept ─ full? one goes ─ head within 4 s ─ guard ─ body within 4 s ─ handler ─ each byte of the answer within 4 s
//!                  ^                                                                          |
//!                  └────────────── next request on the connection within 4 s ◄────────────────┘
//! ```
//!
//! Each listener has a thread and a runtime of its own: neither building a large ring nor a crowd of callers takes time
//! from those who accept and serve clients, and a crowd at the control plane does not hide the metrics. Each connection
//! is one task; all of them end with [`Admin::stop`], or when [`Admin`] is dropped.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ringway_proxy::control::Control;
use ringway_proxy::settings::ServerTls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tower::ServiceExt;

use crate::follow::Watch;
use crate::guard::Peer;
use crate::limits;
use crate::places::{Activity, Places, Watched};
use crate::routes::{self, Routers};
use crate::settings::{self, AdminError, AdminSettings};

/// Sockets that listen already; where there is none the control plane binds its own.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For the whole API.
    pub admin: Option<std::net::TcpListener>,
    /// For metrics and health alone.
    pub metrics: Option<std::net::TcpListener>,
}

/// A running control plane. Dropping it ends it at once; [`Admin::stop`] ends it in order.
#[derive(Debug)]
pub struct Admin {
    api: Room,
    tls: Certificate,
    metrics: Option<Room>,
    _watch: Watch,
}

impl Admin {
    /// Binds and serves, on threads of its own.
    ///
    /// # Errors
    /// [`AdminError::Settings`] for an address that is not loopback without a token, [`AdminError::Bind`] for one
    /// that cannot be listened on, [`AdminError::Start`] when there is no thread to be had.
    pub async fn start(settings: AdminSettings, control: Control) -> Result<Self, AdminError> {
        Self::start_on(settings, Sockets::default(), control).await
    }

    /// As [`Admin::start`], on sockets that listen already where there are such. What they listen on is held against
    /// the same rule: beyond loopback only with a token.
    ///
    /// # Errors
    /// As [`Admin::start`].
    pub async fn start_on(
        settings: AdminSettings,
        sockets: Sockets,
        control: Control,
    ) -> Result<Self, AdminError> {
        settings::check_tokens(&settings)?;
        let admin = match sockets.admin {
            Some(given) => {
                settings::check_reach(&settings, given.local_addr().map_err(AdminError::Start)?)?;
                given
            }
            None => bind(&settings.listen, &settings::check(&settings).await?).await?,
        };
        let metrics = match (sockets.metrics, &settings.metrics_listen) {
            (Some(given), _) => Some(given),
            (None, Some(listen)) => Some(bind(listen, &settings::resolve(listen).await?).await?),
            (None, None) => None,
        };
        let watch = Watch::begin(control.clone());
        let Routers { api, metrics: figures, refusals } = routes::routers(&settings, control);
        let tls = Certificate::default();
        tls.change(settings.tls);
        let count = move || {
            refusals.connections.fetch_add(1, Ordering::Relaxed);
        };
        Ok(Self {
            api: Room::open("ringway-admin", admin, api, limits::CONNECTIONS, tls.clone(), count)?,
            tls,
            _watch: watch,
            metrics: metrics
                .map(|socket| {
                    let plain = Certificate::default();
                    Room::open("ringway-metrics", socket, figures, limits::METRICS_CONNECTIONS, plain, || ())
                })
                .transpose()?,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.api.local_addr
    }

    /// Where metrics and health alone are answered, if anywhere.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|room| room.local_addr)
    }

    /// From the next connection on, the whole API is spoken over TLS with this, or over plain HTTP.
    pub fn change_tls(&self, tls: Option<ServerTls>) {
        self.tls.change(tls);
    }

    /// Accepts nobody any more, answers what is in work, and ends; after [`limits::STOP_TIME`] at once.
    pub async fn stop(self) {
        let Self { api, metrics, .. } = self;
        let metrics = async {
            if let Some(metrics) = metrics {
                metrics.close().await;
            }
        };
        tokio::join!(api.close(), metrics);
    }
}

async fn bind(listen: &str, addresses: &[SocketAddr]) -> Result<std::net::TcpListener, AdminError> {
    let bind_error = |source| AdminError::Bind { address: listen.to_owned(), source };
    TcpListener::bind(addresses).await.and_then(TcpListener::into_std).map_err(bind_error)
}

/// What a listener shows to those who connect; `None` for plain HTTP.
#[derive(Debug, Clone, Default)]
struct Certificate(Arc<Mutex<Option<ServerTls>>>);

impl Certificate {
    fn change(&self, tls: Option<ServerTls>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    fn now(&self) -> Option<ServerTls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What those inside a room are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    NotYet,
    InOrder,
    AtOnce,
}

/// One listener with its thread.
#[derive(Debug)]
struct Room {
    local_addr: SocketAddr,
    stop: watch::Sender<Stop>,
    /// Closed when the thread has ended.
    ended: oneshot::Receiver<()>,
}

impl Room {
    fn open(
        name: &str,
        listener: std::net::TcpListener,
        router: Router,
        places: usize,
        tls: Certificate,
        full: impl Fn() + Send + 'static,
    ) -> Result<Self, AdminError> {
        listener.set_nonblocking(true).map_err(AdminError::Start)?;
        let local_addr = listener.local_addr().map_err(AdminError::Start)?;
        let (stop, stopped) = watch::channel(Stop::NotYet);
        let (alive, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name(format!("{name}-work"))
            .build()
            .map_err(AdminError::Start)?;
        let run = move || {
            let _alive: oneshot::Sender<()> = alive;
            runtime.block_on(async {
                match TcpListener::from_std(listener) {
                    Ok(listener) => accept(listener, router, places, tls, full, stopped).await,
                    Err(error) => tracing::error!(%error, "the control plane cannot listen"),
                }
            });
            // a resolver or a ring that takes its time must not keep the process
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(AdminError::Start)?;
        Ok(Self { local_addr, stop, ended })
    }

    async fn close(mut self) {
        let _ = self.stop.send(Stop::InOrder);
        // the thread ends by its own limit; an error is its end
        let _ = (&mut self.ended).await;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = self.stop.send(Stop::AtOnce);
    }
}

/// Serves until `stopped`. The connections' tasks live in a set of this task, so that they end with it.
async fn accept(
    listener: TcpListener,
    router: Router,
    places: usize,
    tls: Certificate,
    full: impl Fn(),
    mut stopped: watch::Receiver<Stop>,
) {
    let (mut connections, mut taken) = (JoinSet::new(), Places::default());
    loop {
        let (stream, peer) = tokio::select! {
            _ = stopped.changed() => break,
            Some(ended) = connections.join_next_with_id(), if !connections.is_empty() => {
                taken.leave(ended.map_or_else(|error| error.id(), |(task, ())| task));
                continue;
            }
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
        if taken.taken() >= places {
            full();
            let room = taken.make_room();
            tracing::debug!(%peer, room, "{places} admin connections are open: one is closed");
            if !room {
                continue;
            }
        }
        let activity = Activity::new();
        let served = encrypt_and_serve(
            stream,
            tls.now(),
            peer,
            router.clone(),
            Arc::clone(&activity),
            stopped.clone(),
        );
        taken.take(activity, connections.spawn(served));
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        _ = tokio::time::timeout(limits::STOP_TIME, ended) => {}
        _ = stopped.wait_for(|stop| *stop == Stop::AtOnce) => {}
    }
    connections.shutdown().await;
}

/// A connection, encrypted or not.
type Wire = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Makes the TLS handshake, if there is to be one, then serves.
async fn encrypt_and_serve(
    stream: TcpStream,
    tls: Option<ServerTls>,
    peer: SocketAddr,
    router: Router,
    activity: Arc<Activity>,
    stopped: watch::Receiver<Stop>,
) {
    let _ = stream.set_nodelay(true);
    let wire = match tls {
        None => Either::Left(stream),
        Some(tls) => {
            let handshake = TlsAcceptor::from(tls.config()).accept(stream);
            match tokio::time::timeout(limits::HEAD_TIME, handshake).await {
                Ok(Ok(stream)) => Either::Right(Box::new(stream)),
                Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS with an admin client failed"),
                Err(_) => return tracing::debug!(%peer, "an admin client's TLS handshake took too long"),
            }
        }
    };
    serve(wire, peer, router, activity, stopped).await;
}

/// Serves one connection; the router gets each request with its [`Peer`].
async fn serve(
    wire: Wire,
    peer: SocketAddr,
    router: Router,
    activity: Arc<Activity>,
    mut stopped: watch::Receiver<Stop>,
) {
    let mut stream = TimeoutStream::new(wire);
    stream.set_write_timeout(Some(limits::ANSWER_TIME));
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let (router, activity) = (router.clone(), Arc::clone(&activity));
        let request = request.map(|body| Body::new(Watched::new(body, Arc::clone(&activity))));
        Box::pin(async move {
            let response = answer(router, request).await;
            activity.rests();
            Ok::<_, Infallible>(response)
        })
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIME)
        .max_headers(limits::HEADERS)
        .max_buf_size(limits::HEAD_BYTES);
    let mut connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
    let ended = tokio::select! {
        ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => ended,
        _ = stopped.changed() => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|cx| connection.poll_without_shutdown(cx)).await
        }
    };
    match ended {
        Ok(()) => {
            let rest = linger(connection.into_parts().io.into_inner());
            tokio::select! {
                _ = tokio::time::timeout(limits::LINGER_TIME, rest) => {}
                _ = stopped.wait_for(|stop| *stop != Stop::NotYet) => {}
            }
        }
        Err(error) => tracing::debug!(%peer, %error, "admin connection ended early"),
    }
}

/// Says that nothing more comes and reads a little of what was not looked at: a close with unread input would reset the
/// connection, and the answer that refused it could be lost on its way.
async fn linger(mut stream: Pin<Box<TimeoutStream<Wire>>>) {
    if stream.shutdown().await.is_ok() {
        let mut rest = stream.take(limits::LINGER_BYTES);
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    }
}

async fn answer(router: Router, request: Request<Body>) -> axum::response::Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
