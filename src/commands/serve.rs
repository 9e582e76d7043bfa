//! `ringway serve`: the proxy in the foreground, until SIGTERM or SIGINT; SIGHUP re-reads the file.

use std::path::Path;
use std::time::{Duration, SystemTime};

use ringway_proxy::acl::Reloaded;
use ringway_proxy::control::Control;
use ringway_proxy::listen::Endpoint;
use ringway_proxy::settings::{NodeSpec, Origin, Secret, Settings, TopologySpec};

use super::following::{self, Following};
use super::keeper::Keeper;
use super::running::{Running, Signals, block_on};
use crate::cli::ConfigArgs;
use crate::config::{self, Config, Depth};
use crate::follower_processes::FollowerProcesses;
use crate::logging::Logs;
use crate::notify;
use crate::outcome::{Failure, print};
use crate::sockets::Inherited;
use crate::topology_file::{self, Known};

/// How often a process that stands by looks whether it is its turn to keep the topology file.
const LOOK: Duration = Duration::from_millis(50);

/// Runs until a signal ends it.
///
/// # Errors
/// Problems of the files (exit 2), a listener that cannot bind (exit 1).
pub(crate) fn run(args: &ConfigArgs, logs: &Logs) -> Result<(), Failure> {
    let inherited = Inherited::from_env()?;
    let mut config = config::load(&args.config, Depth::Run)?;
    let base = config.settings.topology.clone();
    let mut keeper = Keeper::new(config.topology_file.as_deref(), base, config.follow.is_some())?;
    let known = keeper.known();
    // which process this is says whether what is read then may be served by
    let processes = following::processes(&config)?;
    let is_restored = restore(&mut config, &args.config, &known)?;
    keeper.base = config.settings.topology.clone();
    let processes = processes.map(|processes| (processes, is_restored));
    block_on(serve(&args.config, config, inherited, keeper, processes, logs))
}

async fn serve(
    file: &Path,
    mut config: Config,
    inherited: Inherited,
    mut keeper: Keeper,
    processes: Option<(FollowerProcesses, bool)>,
    logs: &Logs,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let mut following = match processes {
        Some((processes, is_restored)) => {
            Some(Following::begin(&mut config, processes, is_restored, &keeper, &mut signals).await?)
        }
        None => None,
    };
    let prepare = |control: &Control| {
        control.count_dropped_log_lines_with(logs.dropped());
        let stands_by = keeper.watch(control);
        if let Some(following) = &mut following {
            following.follow(control);
        }
        stands_by
    };
    let started = Running::start(config.settings.clone(), config.admin.clone(), inherited, prepare).await;
    let running = match started {
        Ok(running) => running,
        Err(failure) => {
            if let Some(following) = following {
                following.leave(&[]).await;
            }
            return Err(failure);
        }
    };
    let pid = std::process::id();
    let follows = running.control().follows().map(|leader| format!("follows  {leader}\n"));
    print(&format!(
        "{}{}stop     Ctrl-C or kill {pid} (answers what was read first); kill -HUP {pid} re-reads {}\n",
        running.banner(),
        follows.unwrap_or_default(),
        file.display()
    ))?;
    warn_of_users(&running.control(), &config);
    warn_of_expiry(&config);
    notify::ready();
    loop {
        let hung_up = tokio::select! {
            hung_up = signals.hang_up() => hung_up,
            failure = running.failed() => return Err(failure),
            failure = failed(following.as_mut()) => return Err(failure),
            () = tokio::time::sleep(LOOK), if keeper.stands_by() => {
                keeper.follow(&running.control());
                continue;
            }
        };
        if !hung_up {
            break;
        }
        notify::reloading();
        reload(file, &config, &running, &mut keeper).await;
        notify::ready();
    }
    notify::stopping();
    let control = running.control();
    let drained = running.drain(&mut signals, || keeper.let_go(&control)).await?;
    // what is cut off may still write: the leader waits until this process is known to be dead
    if let Some(following) = following.filter(|_| drained.cut_off == 0) {
        let given_up = control.given_up_at_the_end();
        tokio::select! {
            () = following.leave(&given_up) => {}
            () = signals.stop() => {}
        }
    }
    Ok(())
}

/// Ready when what follows a leader has failed, if anything does.
async fn failed(following: Option<&mut Following>) -> Failure {
    match following {
        Some(following) => following.failed().await,
        None => std::future::pending().await,
    }
}

/// The topology file comes before the nodes of the configuration file. Whether there is one.
fn restore(config: &mut Config, file: &Path, known: &Known) -> Result<bool, Failure> {
    let Some(path) = &config.topology_file else { return Ok(false) };
    let Some(restored) = topology_file::read(path, known)? else { return Ok(false) };
    // what a leader has said is not held against a file that is not served
    if config.follow.is_none() {
        tell_of_restored(config, &restored, path, file);
    }
    let path = path.display();
    let tls = tls_for(&mut config.settings, &restored.spec, restored.origin.as_ref());
    tls.map_err(|why| Failure::Usage(format!("{path}: {why}")))?;
    config.settings.topology = restored.spec;
    config.settings.origin = restored.origin;
    config.settings.first_epoch = restored.epoch;
    Ok(true)
}

/// Says what is served, and how it differs from the configuration file.
fn tell_of_restored(config: &Config, restored: &topology_file::Restored, path: &Path, file: &Path) {
    let (path, file) = (path.display(), file.display());
    let (written, kept) = (&config.settings.topology, &restored.spec);
    if written.ring != kept.ring {
        tracing::warn!(
            "the ring of {file} ({}) is not the one in {path} ({}), where the data lie; serving the latter. SIGHUP \
             changes to {file}, deleting {path} too",
            ring_text(&written.ring),
            ring_text(&kept.ring)
        );
    }
    if written.nodes == kept.nodes {
        tracing::info!("serving the topology of {path}, kept at epoch {}", restored.epoch);
    } else {
        tracing::info!(
            "serving the topology of {path}, kept at epoch {}: its {} nodes differ from the {} of {file}",
            restored.epoch,
            kept.nodes.len(),
            written.nodes.len()
        );
    }
    if restored.origin.is_some() {
        tracing::info!("keys were on their way to these nodes; they go on");
    }
}

/// Where nothing is written about it, nodes over TLS are those that the system's authorities have signed for.
///
/// # Errors
/// The system trusts nobody.
pub(super) fn tls_for(
    settings: &mut Settings,
    spec: &TopologySpec,
    origin: Option<&Origin>,
) -> Result<(), String> {
    let mut all = spec.nodes.iter().chain(origin.iter().flat_map(|origin| &origin.former.nodes));
    if settings.node_tls.is_none() && all.any(config::tls::is_over_tls) {
        settings.node_tls = Some(config::tls::of_the_system()?);
    }
    Ok(())
}

fn ring_text(ring: &ringway_ring::RingConfig) -> String {
    let key_hash = ring.placement.key_hash().map(|hash| format!(" {hash}")).unwrap_or_default();
    let tag = ring.hash_tag.map(|tag| tag.to_string()).unwrap_or_default();
    format!("{}{key_hash}, points {}, seed {}, hash_tag \"{tag}\"", ring.placement, ring.points, ring.seed)
}

/// SIGHUP: the file's ring and nodes become a new epoch, or everything stays and the log says why.
async fn reload(file: &Path, before: &Config, running: &Running, keeper: &mut Keeper) {
    let control = running.control();
    let config = match config::load(file, Depth::Run) {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems.to_string().lines() {
                tracing::error!("reload refused: {problem}");
            }
            return;
        }
    };
    for name in needs_restart(before, &config) {
        tracing::warn!("{name} changed in {}; it takes effect at the next start", file.display());
    }
    keeper.reloaded(&config);
    running.change_tls(&config);
    reload_users(file, &control, &config);
    warn_of_expiry(&config);
    if let Some(leader) = control.follows() {
        tracing::info!(
            "reloaded {}: nodes and ring are those of {leader}, which is followed",
            file.display()
        );
        return;
    }
    let wanted = config.settings.topology;
    if *control.topology().spec() == wanted {
        tracing::info!("reloaded {}: nodes and ring are as they were", file.display());
        return;
    }
    if *control.topology().spec() != keeper.base {
        tracing::warn!(
            "changes made over HTTP are replaced by {}; POST /v1/topology/rollback brings them back",
            file.display()
        );
    }
    warn_of_plain_nodes(control.topology().spec(), &wanted);
    match control.apply(wanted.clone(), None, &format!("SIGHUP: {}", file.display())).await {
        Ok(change) => {
            keeper.base = wanted;
            tracing::info!(
                epoch = change.to.epoch(),
                "reloaded {}: {:.2} % of the key space moved",
                file.display(),
                change.diff.moved * 100.0
            );
        }
        Err(error) => tracing::error!("reload refused: {error}"),
    }
}

fn reload_users(file: &Path, control: &Control, config: &Config) {
    match control.reload_users(&config.settings) {
        Reloaded::Same => {}
        Reloaded::Kept => tracing::warn!(
            "users are as clients have changed them, not as {} says; ACL LOAD brings those back, or a change there",
            file.display()
        ),
        Reloaded::Changed(names) => {
            tracing::info!("reloaded {}: users {names}", file.display());
            warn_of_users(control, config);
        }
    }
}

/// Says what an operator may not have meant.
fn warn_of_users(control: &Control, config: &Config) {
    for warning in config.settings.first_users().warnings() {
        tracing::warn!("{warning}");
    }
    warn_of_strangers(control, config);
}

/// Says where everybody is let in.
fn warn_of_strangers(control: &Control, config: &Config) {
    for address in control.endpoints().iter().filter(|address| !address.is_local()) {
        let asks_for_certificates = matches!(address, Endpoint::Tls(_))
            && config.settings.tls.as_ref().is_some_and(|socket| socket.tls.asks_for_certificates());
        if control.lets_everybody_in() && !asks_for_certificates {
            tracing::warn!(%address, "everybody who reaches this address is let in; set auth.password or auth.users_file");
        }
    }
}

fn warn_of_expiry(config: &Config) {
    for warning in config::tls::expiring(config, SystemTime::now()) {
        tracing::warn!("{warning}");
    }
}

/// Says which nodes are reached without TLS by the wanted topology, and over it by the one that serves: changes that were
/// made over HTTP and not in the file would be undone without anybody knowing.
fn warn_of_plain_nodes(serving: &TopologySpec, wanted: &TopologySpec) {
    for node in wanted.nodes.iter().filter(|node| !config::tls::is_over_tls(node)) {
        let was = |known: &&NodeSpec| known.name == node.name && config::tls::is_over_tls(known);
        if let Some(before) = serving.nodes.iter().find(was) {
            tracing::warn!(
                node = node.name,
                before = before.address,
                address = node.address,
                "the node is reached without TLS from now on"
            );
        }
    }
}

/// Settings that differ and cannot change while the proxy runs.
fn needs_restart(running: &Config, wanted: &Config) -> Vec<&'static str> {
    let (a, b) = (&running.settings, &wanted.settings);
    let tls_listen = |settings: &Settings| settings.tls.as_ref().map(|socket| socket.listen.clone());
    [
        ("listen", a.listen != b.listen),
        ("unix_socket", a.unix_socket != b.unix_socket),
        ("tls.listen", tls_listen(a) != tls_listen(b)),
        ("reuse_port", a.reuse_port != b.reuse_port),
        ("threads", a.threads != b.threads),
        ("commands.allow", a.allowed_commands != b.allowed_commands),
        ("multi_key", a.multi_key != b.multi_key),
        ("near_cache", a.near_cache != b.near_cache),
        ("timeouts", a.timeouts != b.timeouts),
        ("limits", a.limits != b.limits),
        ("admin.listen", running.admin.listen != wanted.admin.listen),
        ("admin.tls", running.admin.tls.is_some() != wanted.admin.tls.is_some()),
        ("admin.open_metrics", running.admin.open_metrics != wanted.admin.open_metrics),
        ("admin.metrics_listen", running.admin.metrics_listen != wanted.admin.metrics_listen),
        ("admin.read_token", running.admin.read_token != wanted.admin.read_token),
        ("admin.token", running.admin.token != wanted.admin.token),
        ("follow", follows(running) != follows(wanted)),
        ("topology_file", running.topology_file != wanted.topology_file),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

/// What of the section `follow` can be compared.
fn follows(config: &Config) -> Option<(&str, Option<&Secret>, &str)> {
    config.follow.as_ref().map(|follow| (follow.url.as_str(), follow.token.as_ref(), follow.name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secrets;

    fn config(text: &str) -> Config {
        let text = format!("nodes: [{{name: a, address: 'h:1'}}]\n{text}");
        config::parse(&text, &Secrets::FormOnly, Path::new("")).unwrap()
    }

    #[test]
    fn what_cannot_change_live_is_named() {
        let before = config("");
        assert!(needs_restart(&before, &config("ring: {seed: 5}")).is_empty());
        let after = config(
            "listen: 127.0.0.1:1\nunix_socket: {path: /run/s}\nreuse_port: true\nthreads: 3\ntimeouts: {connect: 1s}\nlimits: {clients: 5}\ncommands: {allow: [keys]}\nmulti_key: emulate\nnear_cache: {}\n\
             admin: {listen: '127.0.0.1:2', token: y, read_token: z, metrics_listen: '127.0.0.1:3', open_metrics: true}\nfollow: {url: 'http://h:1'}\ntopology_file: t.json\n",
        );
        let all = "listen unix_socket reuse_port threads commands.allow multi_key near_cache timeouts limits admin.listen admin.open_metrics admin.metrics_listen admin.read_token admin.token follow topology_file";
        assert_eq!(needs_restart(&before, &after).join(" "), all);
    }

    #[test]
    fn the_topology_file_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topology.json");
        let mut config = config("ring: {seed: 5}");
        config.topology_file = Some(path.clone());
        restore(&mut config, Path::new("f"), &Known::new()).unwrap();
        assert_eq!(config.settings.topology.ring.seed, 5, "there is no file yet");
        let mut other = config.settings.topology.clone();
        other.ring.seed = 9;
        let topology = ringway_proxy::topology::Topology::build(3, other.clone()).unwrap();
        topology_file::write(&path, &topology, &Known::new()).unwrap();
        restore(&mut config, Path::new("f"), &Known::new()).unwrap();
        assert_eq!((&config.settings.topology, config.settings.first_epoch), (&other, 3));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(restore(&mut config, Path::new("f"), &Known::new()), Err(Failure::Problems(_))));
    }
}
