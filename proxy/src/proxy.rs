//! A running proxy: the listener, its workers, and how they end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::control::{Control, Shared, WorkerHandle};
use crate::error;
use crate::essential::Essential;
use crate::net::{self, Accepted};
use crate::settings::Settings;
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
    stop_accepting: watch::Sender<bool>,
    drain_limit: Duration,
}

impl Proxy {
    /// Binds, starts the workers and accepts clients. Nodes need not be reachable yet. Must be called inside a
    /// tokio runtime, which goes on to accept connections.
    ///
    /// # Errors
    /// [`StartError`]: a bad topology, an address in use, no thread to be had.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let topology = Topology::build(settings.first_epoch.max(1), settings.topology.clone())?;
        let listen_error = |source| StartError::Listen { address: settings.listen.clone(), source };
        let listener = net::listen(&settings.listen).await.map_err(listen_error)?;
        let local_addr = listener.local_addr().map_err(listen_error)?;
        let drain_limit = settings.limits.drain;
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
        let shared = Arc::new(Shared::new(topology, settings, handles, local_addr));
        let mut threads = Vec::new();
        for (at, inbox) in inboxes.into_iter().enumerate() {
            let (shared, stats) = (Arc::clone(&shared), Arc::clone(&shared.workers[at].stats));
            let thread = std::thread::Builder::new().name(format!("ringway-{at}"));
            threads
                .push(thread.spawn(move || worker::run(shared, stats, inbox)).map_err(StartError::Thread)?);
        }
        let (stop_accepting, stop) = watch::channel(false);
        shared.listening.store(true, Ordering::Relaxed);
        tokio::spawn(accept(listener, Arc::clone(&shared), stop));
        Ok(Self { control: Control::new(shared), senders, threads, stop_accepting, drain_limit })
    }

    /// The handle through which the topology is changed and figures are read.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Where clients connect.
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

    /// Accepts nobody any more, answers every command that was read, and ends; after `limits.drain` at once.
    pub async fn drain(mut self) -> Drained {
        let _ = self.stop_accepting.send(true);
        for sender in &self.senders {
            let _ = sender.send(ToWorker::Drain);
        }
        let threads = std::mem::take(&mut self.threads);
        let ended = async {
            while !threads.iter().all(JoinHandle::is_finished) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = tokio::time::timeout(self.drain_limit, ended).await;
        Drained { cut_off: self.control.snapshot().client_connections }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.stop_accepting.send(true);
        for sender in &self.senders {
            let _ = sender.send(ToWorker::Stop);
        }
    }
}

/// Hands new connections to the worker that has the fewest.
async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let _essential = Essential::new("the listener", &shared.failed);
    for id in 1u64.. {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => match Accepted::new(stream) {
                Ok(accepted) => hand_over(&shared, accepted, id, peer),
                Err(error) => tracing::debug!(%error, "a client was gone before it was served"),
            },
            Err(error) => {
                // out of descriptors, most likely: leave those that wait in the kernel's queue for a while
                tracing::warn!(%error, "cannot accept a connection; the next try is in 100 ms");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    shared.listening.store(false, Ordering::Relaxed);
}

fn hand_over(shared: &Shared, accepted: Accepted, id: u64, peer: SocketAddr) {
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
