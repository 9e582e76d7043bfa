//! `ringway serve` with `follow`: begins with what the leader says, and serves by it.

use std::time::Duration;

use ringway_admin::follow::{First, Follower};
use ringway_proxy::control::{Control, epoch_of};
use ringway_proxy::topology::Topology;

use super::keeper::Keeper;
use super::running::{Signals, topology_failure};
use super::serve::tls_for;
use crate::config::Config;
use crate::follower_processes::FollowerProcesses;
use crate::outcome::Failure;

/// How long the leader is tried before what it said last is served by.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long after a try that failed the next one begins.
const AGAIN: Duration = Duration::from_millis(200);

/// Another Ringway's topology is served here.
pub(crate) struct Following {
    follower: Follower,
    first: Option<First>,
}

impl Following {
    /// Asks the leader for its topology and puts it into the settings. Where the leader is not reached, what it said last
    /// is served by (`is_restored`), as long as it counts a process that does; else it is waited for. `None` when nobody is
    /// followed.
    ///
    /// # Errors
    /// What the leader says cannot be served by, or a signal ended the wait.
    pub(crate) async fn begin(
        config: &mut Config,
        is_restored: bool,
        keeper: &Keeper,
        signals: &mut Signals,
    ) -> Result<Option<Self>, Failure> {
        let (Some(follow), Some(file)) = (&config.follow, &config.topology_file) else { return Ok(None) };
        let refused = |why: String| Failure::Usage(format!("follow: {}: {why}", follow.url));
        let may_restore = is_restored && FollowerProcesses::is_any_counted(file);
        let instance = Follower::instance();
        let processes = FollowerProcesses::new(file, &instance).map_err(|error| {
            Failure::Run(format!("{}: no file can be made beside it: {error}", file.display()))
        })?;
        let follower = Follower::new(follow, instance, Box::new(processes)).map_err(refused)?;
        let url = follow.url.clone();
        let asked = tokio::select! {
            first = first(&follower, &url, may_restore.then_some(PATIENCE)) => Ok(first),
            () = signals.stop() => Err(Failure::Run(format!("stopped while it waited for {url}"))),
        };
        let taken = asked.and_then(|first| {
            match &first {
                Some(first) => {
                    take_over(config, first, is_restored, keeper).map_err(|failure| match failure {
                        Failure::Usage(why) => Failure::Usage(format!("follow: {url}: {why}")),
                        other => other,
                    })?;
                }
                None => tracing::warn!("the topology is served by that {url} said last, until it is reached"),
            }
            Ok(first)
        });
        match taken {
            Ok(first) => Ok(Some(Self { follower, first })),
            Err(failure) => {
                follower.leave().await;
                Err(failure)
            }
        }
    }

    /// Ready when a part of it has ended, which only a defect does.
    pub(crate) async fn failed(&mut self) -> Failure {
        self.follower.failed().await;
        Failure::Run(
            "what follows the leader has failed by a defect of the proxy (the log says where)".to_owned(),
        )
    }

    /// From now on what the leader says is served by.
    pub(crate) fn follow(&mut self, control: &Control) {
        self.follower.follow(control, self.first.as_ref());
    }

    /// Tells the leader that this process serves nobody any more.
    pub(crate) async fn leave(self) {
        self.follower.leave().await;
    }
}

/// What the leader says; `None` when it is not reached within `patience`.
async fn first(follower: &Follower, url: &str, patience: Option<Duration>) -> Option<First> {
    let (began, mut told) = (tokio::time::Instant::now(), String::new());
    loop {
        match follower.first().await {
            Ok(first) => return Some(first),
            Err(why) => {
                if why != told {
                    tracing::warn!("{url}, which is followed, does not say what to serve: {why}");
                    told = why;
                }
            }
        }
        if patience.is_some_and(|patience| began.elapsed() >= patience) {
            return None;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The leader's topology comes before that of any file.
fn take_over(config: &mut Config, first: &First, is_restored: bool, keeper: &Keeper) -> Result<(), Failure> {
    let settings = &mut config.settings;
    let is_same = settings.topology == first.spec && settings.origin == first.origin;
    let own_epoch = if is_restored { settings.first_epoch } else { 0 };
    settings.first_epoch = epoch_of(own_epoch, first.epoch, is_same);
    settings.topology = first.spec.clone();
    settings.origin = first.origin.clone();
    tls_for(settings, &first.spec, first.origin.as_ref()).map_err(Failure::Usage)?;
    let topology = Topology::build_moving(settings.first_epoch, first.spec.clone(), first.origin.clone());
    let topology = topology.map_err(|why| topology_failure(&why))?;
    keeper.keep(&topology).map_err(Failure::Run)
}
