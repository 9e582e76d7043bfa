//! A running proxy: the listener, its workers, and how they end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::control::{Control, Shared, WorkerHandle};
use crate::error;
use crate::essential::Essential;
use crate::listen::{self, Listener, Origin};
use crate::net::{Accepted, Endpoint};
use crate::settings::{Settings, TlsSocket, UnixSocket};
use crate::stats::WorkerStats;
use crate::topology::{Topology, TopologyError};
use crate::worker::{self, ToWorker};

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The first topology is none.
    #[error("{0}")]
    Topology(#[from] TopologyError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address as it was given.
        address: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a worker thread: {0}")]
    Thread(std::io::Error),
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Clients that had to be cut off because the drain's time was up.
    pub cut_off: u64,
}

/// A running proxy. Dropping it ends it at once; [`Proxy::drain`] ends it in order.
#[derive(Debug)]
pub struct Proxy {
    control: Control,
    senders: Vec<mpsc::UnboundedSender<ToWorker>>,
    threads: Vec<JoinHandle<()>>,
    accepting: Vec<tokio::task::JoinHandle<()>>,
    drain_limit: Duration,
    drain_idle: Duration,
}

impl Proxy {
    /// Binds, starts the workers and accepts clients. Nodes need not be reachable yet. Must be called inside a
    /// tokio runtime, which goes on to accept connections.
    ///
    /// # Errors
    /// [`StartError`]: a bad topology, an address in use, no thread to be had.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let failed = |address: &str| {
            let address = address.to_owned();
            move |source| StartError::Listen { address, source }
        };
        let bound = Listener::bind(&settings.listen, settings.reuse_port).await;
        let mut listeners = vec![bound.map_err(failed(&settings.listen))?];
        if let Some(UnixSocket { path, mode }) = &settings.unix_socket {
            let bound = Listener::bind_unix(path, *mode, settings.reuse_port);
            listeners.push(bound.map_err(failed(&path.display().to_string()))?);
        }
        if let Some(TlsSocket { listen, .. }) = &settings.tls {
            let bound = Listener::bind(listen, settings.reuse_port).await;
            listeners.push(bound.map_err(failed(listen))?.over_tls());
        }
        Self::start_on(settings, listeners)
    }

    /// As [`Proxy::start`], on sockets that listen already, of which the first is on the network; `settings.listen`,
    /// `settings.unix_socket` and `settings.tls.listen` are not looked at.
    ///
    /// # Errors
    /// As [`Proxy::start`].
    pub fn start_on(settings: Settings, listeners: Vec<Listener>) -> Result<Self, StartError> {
        let first = settings.first_epoch.max(1);
        let topology = Topology::build_moving(first, settings.topology.clone(), settings.origin.clone())?;
        let endpoints: Vec<Endpoint> = listeners.iter().map(|listener| listener.endpoint().clone()).collect();
        let open = |listener: Listener| {
            let address = listener.endpoint().to_string();
            listener.start().map_err(|source| StartError::Listen { address, source })
        };
        let listeners = listeners.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let (drain_limit, drain_idle) = (settings.limits.drain, settings.limits.drain_idle);
        let count = match settings.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let mut handles = Vec::new();
        let mut inboxes = Vec::new();
        for _ in 0..count {
            let (sender, inbox) = mpsc::unbounded_channel();
            handles.push(WorkerHandle { sender, stats: Arc::new(WorkerStats::default()) });
            inboxes.push(inbox);
        }
        let senders = handles.iter().map(|handle| handle.sender.clone()).collect();
        let shared = Arc::new(Shared::new(topology, settings, handles, endpoints));
        let mut threads = Vec::new();
        for (at, inbox) in inboxes.into_iter().enumerate() {
            let (shared, stats) = (Arc::clone(&shared), Arc::clone(&shared.workers[at].stats));
            let thread = std::thread::Builder::new().name(format!("ringway-{at}"));
            threads
                .push(thread.spawn(move || worker::run(shared, stats, inbox)).map_err(StartError::Thread)?);
        }
        shared.listening.store(true, Ordering::Relaxed);
        let ids = Arc::new(AtomicU64::new(1));
        let accepting = listeners
            .into_iter()
            .map(|listener| tokio::spawn(accept(listener, Arc::clone(&shared), Arc::clone(&ids))))
            .collect();
        let control = Control::new(shared);
        Ok(Self { control, senders, threads, accepting, drain_limit, drain_idle })
    }

    /// The handle through which the topology is changed and figures are read.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Where clients connect over the network.
    pub fn local_addr(&self) -> SocketAddr {
        self.control.local_addr()
    }

    /// Ready when a part that many clients share has failed by a defect of the proxy, with its name. What is left cannot
    /// serve everybody: end the process.
    pub async fn failed(&self) -> &'static str {
        let mut failed = self.control.failures();
        loop {
            if let Some(what) = *failed.borrow_and_update() {
                return what;
            }
            if failed.changed().await.is_err() {
                // nobody is left who could fail
                std::future::pending::<()>().await;
            }
        }
    }

    /// Accepts nobody any more and ends every connection between two commands: with the next reply after which nothing
    /// is open, and after `limits.drain_idle` in any case. Every command that was read is answered; after
    /// `limits.drain` it ends at once.
    pub async fn drain(mut self) -> Drained {
        let started = Instant::now();
        self.control.begins_to_stop();
        self.tell(|| ToWorker::Leave);
        // who waits in the listener's queue becomes a client; an error means that the task has ended too
        for accepting in &mut self.accepting {
            let _ = accepting.await;
        }
        let quiet = async {
            while self.control.clients() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let idle = self.drain_idle.min(self.drain_limit);
        let _ = tokio::time::timeout(idle.saturating_sub(started.elapsed()), quiet).await;
        self.tell(|| ToWorker::Drain);
        let threads = std::mem::take(&mut self.threads);
        let ended = async {
            while !threads.iter().all(JoinHandle::is_finished) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = tokio::time::timeout(self.drain_limit.saturating_sub(started.elapsed()), ended).await;
        Drained { cut_off: self.control.snapshot().client_connections }
    }

    fn tell(&self, message: impl Fn() -> ToWorker) {
        for sender in &self.senders {
            // a worker that has ended needs no message
            let _ = sender.send(message());
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.iter().for_each(tokio::task::JoinHandle::abort);
        self.tell(|| ToWorker::Stop);
    }
}

/// Hands new connections to the worker that has the fewest.
async fn accept(mut listener: listen::Open, shared: Arc<Shared>, ids: Arc<AtomicU64>) {
    let _essential = Essential::new("the listener", &shared.failed);
    let open = Open(&shared);
    tokio::select! {
        () = accept_all(&listener, &shared, &ids) => {}
        () = shared.stops() => {}
    }
    drop(open);
    listener.hide();
    if listener.origin() == Origin::Inherited {
        return;
    }
    if listener.origin() == Origin::Shared {
        // connections whose handshake is under way belong to this socket; no other comes here any more
        let rest = accept_all(&listener, &shared, &ids);
        let limits = &shared.settings.limits;
        let _ = tokio::time::timeout(limits.drain_idle.min(limits.drain) / 2, rest).await;
    }
    while let Some((accepted, peer)) = listener.accept_waiting() {
        hand_over(&shared, accepted, &ids, peer);
    }
}

/// Says that clients are accepted, for as long as it lives.
struct Open<'a>(&'a Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.listening.store(false, Ordering::Relaxed);
    }
}

/// Accepts until it is dropped.
async fn accept_all(listener: &listen::Open, shared: &Shared, ids: &AtomicU64) {
    loop {
        match listener.accept().await {
            Ok((accepted, peer)) => hand_over(shared, accepted, ids, peer),
            Err(error) => {
                // out of descriptors, most likely: leave those that wait in the kernel's queue for a while
                tracing::warn!(%error, "cannot accept a connection; the next try is in 100 ms");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn hand_over(shared: &Shared, accepted: Accepted, ids: &AtomicU64, peer: Endpoint) {
    let id = ids.fetch_add(1, Ordering::Relaxed);
    let clients: i64 = shared.workers.iter().map(|worker| worker.stats.clients()).sum();
    if clients >= i64::try_from(shared.settings.limits.clients).unwrap_or(i64::MAX) {
        let mut reply = Vec::new();
        crate::resp::encode::error(&mut reply, error::MAX_CLIENTS);
        return accepted.dismiss(&reply);
    }
    if let Some(worker) = shared.workers.iter().min_by_key(|worker| worker.stats.clients()) {
        worker.stats.clients_changed(1);
        if worker.sender.send(ToWorker::Client(accepted, id, peer)).is_err() {
            worker.stats.clients_changed(-1);
        }
    }
}
