//! A proxy with its control plane, as `serve` and `dev` run it: start, say where, wait for signals, drain.

use std::fmt::Write as _;

use ringway_admin::{Admin, AdminError, AdminSettings};
use ringway_proxy::control::Control;
use ringway_proxy::listen::Endpoint;
use ringway_proxy::settings::Settings;
use ringway_proxy::topology::{Topology, TopologyError};
use ringway_proxy::{Drained, Proxy, StartError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{AdminConfig, Config};
use crate::outcome::Failure;
use crate::sockets::Inherited;

/// More nodes than this are counted, not listed, when the proxy starts.
const MOST_LISTED: usize = 64;

/// Both halves.
pub(crate) struct Running {
    proxy: Proxy,
    admin: Admin,
    admin_speaks_tls: bool,
}

impl Running {
    /// Binds the listeners that were not handed in. Before the control plane answers and any key is moved, `prepare` may set
    /// a hook on the control; it says whether another process makes the changes.
    ///
    /// # Errors
    /// [`Failure::Run`] when a listener cannot bind, [`Failure::Usage`] for a topology that is none.
    pub(crate) async fn start(
        mut settings: Settings,
        admin: AdminConfig,
        inherited: Inherited,
        prepare: impl FnOnce(&Control) -> bool,
    ) -> Result<Self, Failure> {
        raise_descriptor_limit(&mut settings);
        settings.held = Some("it is being started".to_owned());
        let (clients, sockets) = inherited.complete(&settings, &admin).await?;
        let proxy = Proxy::start_on(settings, clients).map_err(|error| match error {
            StartError::Topology(why) => topology_failure(&why),
            other => Failure::Run(other.to_string()),
        })?;
        if !prepare(&proxy.control()) {
            proxy.control().hold(None);
        }
        let AdminConfig { listen, tls, token, read_token, open_metrics, metrics_listen } = admin;
        let admin = AdminSettings { listen, tls, token, read_token, open_metrics, metrics_listen };
        let admin_speaks_tls = admin.tls.is_some();
        let admin = Admin::start_on(admin, sockets, proxy.control()).await.map_err(|error| match error {
            AdminError::Settings(_) => Failure::Usage(error.to_string()),
            AdminError::Bind { .. } | AdminError::Start(_) => Failure::Run(error.to_string()),
        })?;
        Ok(Self { proxy, admin, admin_speaks_tls })
    }

    /// Ready when a defect has ended a part that many clients share: to go on would leave some of them without answers.
    pub(crate) async fn failed(&self) -> Failure {
        let what = self.proxy.failed().await;
        Failure::Run(format!(
            "{what} has failed by a defect of the proxy (the log says where); it ends, so that no client waits for ever"
        ))
    }

    /// Certificates are renewed without a restart: whoever connects from now on is shown the new ones.
    pub(crate) fn change_tls(&self, config: &Config) {
        let Settings { tls, node_tls, .. } = &config.settings;
        let clients = tls.as_ref().map(|socket| socket.tls.clone());
        self.proxy.control().change_tls(clients, node_tls.clone());
        // whether operators speak TLS does not change under their hands
        if self.admin_speaks_tls && config.admin.tls.is_some() {
            self.admin.change_tls(config.admin.tls.clone());
        }
        if tls.is_some() || node_tls.is_some() || config.admin.tls.is_some() {
            tracing::info!("certificates and keys are read anew; connections that are there keep theirs");
        }
    }

    /// The handle on the running proxy.
    pub(crate) fn control(&self) -> Control {
        self.proxy.control()
    }

    /// Where operators connect.
    pub(crate) fn admin_address(&self) -> String {
        self.admin.local_addr().to_string()
    }

    /// Where it listens and what the ring looks like, for people.
    pub(crate) fn banner(&self) -> String {
        let control = self.control();
        let mut text = format!("ringway {}, {} workers\n", env!("CARGO_PKG_VERSION"), control.threads());
        for endpoint in control.endpoints() {
            let _ = match endpoint {
                Endpoint::Network(address) => writeln!(text, "clients  {address}"),
                Endpoint::Tls(address) => writeln!(text, "clients  {address} (TLS)"),
                Endpoint::Unix(path) => writeln!(text, "clients  {}", path.display()),
            };
        }
        let scheme = if self.admin_speaks_tls { "https" } else { "http" };
        let _ = writeln!(text, "admin    {scheme}://{}", self.admin.local_addr());
        if let Some(metrics) = self.admin.metrics_addr() {
            let _ = writeln!(text, "metrics  http://{metrics}/metrics");
        }
        text.push_str(&describe(&control.topology()));
        text
    }

    /// Takes no changes any more, which `held` may rely on; accepts nobody, answers what was read and ends each
    /// connection between two commands. A second signal ends it at once.
    ///
    /// # Errors
    /// [`Failure::Run`] when it was cut short.
    pub(crate) async fn drain(self, signals: &mut Signals, held: impl FnOnce()) -> Result<Drained, Failure> {
        tracing::info!("draining: no new clients, commands in flight are answered");
        self.control().hold(Some("it is being stopped"));
        let control = self.control();
        let drained = async {
            // whoever comes next carries on; nothing that is on its way now may arrive behind it
            control.movement_rests().await;
            held();
            self.proxy.drain().await
        };
        let drained = tokio::select! {
            drained = drained => drained,
            () = signals.stop() => return Err(Failure::Run("a second signal ended the drain".to_owned())),
        };
        self.admin.stop().await;
        if drained.cut_off > 0 {
            tracing::warn!(
                clients = drained.cut_off,
                "limits.drain was over before these clients had their replies"
            );
        }
        tracing::info!("stopped");
        Ok(drained)
    }
}

/// A topology that cannot be built is the file's fault.
pub(crate) fn topology_failure(why: &TopologyError) -> Failure {
    Failure::Usage(format!("the topology is refused: {why}"))
}

/// Ring and nodes with their shares.
fn describe(topology: &Topology) -> String {
    let ring = &topology.spec().ring;
    let key_hash = ring.placement.key_hash().map(|hash| format!(" with {hash}")).unwrap_or_default();
    let tag = ring.hash_tag.map_or("no hash tag".to_owned(), |tag| format!("hash tag {tag}"));
    let mut text =
        format!("ring     {}{key_hash}, {} points, {tag}\n", ring.placement, topology.ring().point_count());
    let width = topology.nodes().iter().map(|node| node.name.chars().count()).max().unwrap_or(0).min(40);
    let address_width = topology.nodes().iter().map(|node| node.address.len()).max().unwrap_or(0).min(40);
    for (at, (node, share)) in
        topology.nodes().iter().zip(topology.ring().shares()).take(MOST_LISTED).enumerate()
    {
        let head = if at == 0 { "nodes   " } else { "        " };
        let _ = writeln!(
            text,
            "{head} {:<width$}  {:<address_width$}  weight {:<4} {:6.2} %",
            node.name,
            node.address,
            node.weight,
            share * 100.0
        );
    }
    if topology.nodes().len() > MOST_LISTED {
        let _ = writeln!(text, "         and {} more", topology.nodes().len() - MOST_LISTED);
    }
    text
}

/// Asks the system for as many descriptors as the limits allow clients and nodes to use. Where it grants fewer, fewer
/// clients are let in, so that nodes always find theirs.
fn raise_descriptor_limit(settings: &mut Settings) {
    // files, listeners and the control plane's own connections
    const OTHERS: usize = 512;
    let workers = match settings.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let wanted = settings.limits.clients
        + settings.limits.dedicated_connections
        // RESP2 and RESP3, each also for large values, and one that listens
        + 5 * workers * settings.topology.nodes.len()
        + OTHERS;
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|current| *current < wanted) else { return };
    let mut possible = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = Rlimit { current: Some(possible), maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
        possible = current;
    }
    if possible < wanted {
        let missing = usize::try_from(wanted - possible).unwrap_or(usize::MAX);
        // some clients are served in any case: half of what there is
        let least = usize::try_from(possible / 2).unwrap_or(1).max(1);
        let possible = usize::try_from(possible).unwrap_or(usize::MAX);
        settings.limits.dedicated_connections =
            settings.limits.dedicated_connections.min(possible / 8).max(1);
        settings.limits.clients = settings.limits.clients.saturating_sub(missing).max(least);
        tracing::warn!(
            possible,
            wanted,
            clients = settings.limits.clients,
            "fewer open files are allowed than limits.clients needs, so fewer clients are let in; raise `ulimit -n`"
        );
    }
}

/// The signals that end or reload.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes them over. Must be called before anything can fail half-way.
    ///
    /// # Errors
    /// [`Failure::Run`] when the system refuses.
    pub(crate) fn new() -> Result<Self, Failure> {
        let take =
            |kind| signal(kind).map_err(|error| Failure::Run(format!("signals cannot be handled: {error}")));
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            hang_up: take(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for SIGHUP (`true`), or for SIGTERM or SIGINT (`false`).
    pub(crate) async fn hang_up(&mut self) -> bool {
        tokio::select! {
            _ = self.hang_up.recv() => true,
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => false,
        }
    }
}

/// Runs `work` on a runtime of the calling thread: the workers have threads of their own.
///
/// # Errors
/// What `work` answers, or [`Failure::Run`] when there is no runtime to be had.
pub(crate) fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("the runtime cannot start: {error}")))?;
    let result = runtime.block_on(work);
    // a resolver that hangs must not keep the process
    runtime.shutdown_background();
    result
}
