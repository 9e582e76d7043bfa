//! `ringway serve` with `follow`: begins with what the leader says, and serves by it.

use std::sync::Arc;
use std::time::Duration;

use ringway_admin::follow::{First, Follower, Silence};
use ringway_proxy::control::{Abandoned, Beside, Control, epoch_of};
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
    /// is served by (`is_restored`), if it counts this process; else it is waited for.
    ///
    /// # Errors
    /// What the leader says cannot be served by, or a signal ended the wait.
    pub(crate) async fn begin(
        config: &mut Config,
        processes: FollowerProcesses,
        is_restored: bool,
        keeper: &Keeper,
        signals: &mut Signals,
    ) -> Result<Self, Failure> {
        let Some(follow) = &config.follow else {
            return Err(Failure::Usage("nobody is followed".to_owned()));
        };
        let refused = |why: String| Failure::Usage(format!("follow: {}: {why}", follow.url));
        let patience = (is_restored && processes.is_counted()).then_some(PATIENCE);
        let word = processes.word().to_owned();
        let follower = Follower::new(follow, word, Arc::new(processes)).map_err(refused)?;
        let url = follow.url.clone();
        let asked = tokio::select! {
            first = first(&follower, &url, patience) => Ok(first),
            () = signals.stop() => Err(Failure::Run(format!("stopped while it waited for {url}"))),
        };
        let taken = asked.and_then(|first| {
            match &first {
                Some(first) => {
                    take_over(config, first, is_restored, keeper).map_err(|failure| match failure {
                        Failure::Usage(why) => Failure::Usage(format!("follow: {url}: {why}")),
                        other => other,
                    })?;
                    follower.counts(first);
                    tracing::info!(
                        leader = url,
                        epoch = config.settings.first_epoch,
                        nodes = first.spec.nodes.len(),
                        "the leader's topology is served"
                    );
                }
                None => tracing::warn!(
                    leader = url,
                    epoch = config.settings.first_epoch,
                    "what the leader said last is served, until it is reached"
                ),
            }
            Ok(first)
        });
        match taken {
            Ok(first) => Ok(Self { follower, first }),
            Err(failure) => {
                follower.leave(&[]).await;
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

    /// Tells the leader that this process serves nobody any more, and which connections its workers had given up.
    pub(crate) async fn leave(self, given_up: &[Abandoned]) {
        self.follower.leave(given_up).await;
    }
}

/// Which process of a follower this is; `None` when nobody is followed.
///
/// # Errors
/// That cannot be kept.
pub(crate) fn processes(config: &Config) -> Result<Option<FollowerProcesses>, Failure> {
    let (Some(follow), Some(file)) = (&config.follow, &config.topology_file) else { return Ok(None) };
    let begun = FollowerProcesses::begin(file, &follow.url);
    let failed = |error| Failure::Run(format!("{}: no file can be made beside it: {error}", file.display()));
    begun.map(Some).map_err(failed)
}

/// What the leader says; `None` when it was not reached for as long as `patience`. One that refuses is asked again and again:
/// it does not wait for this process.
async fn first(follower: &Follower, url: &str, patience: Option<Duration>) -> Option<First> {
    let (mut began, mut told) = (tokio::time::Instant::now(), None);
    loop {
        match follower.first().await {
            Ok(first) => return Some(first),
            Err(why) => {
                if matches!(why, Silence::Refused(_)) {
                    began = tokio::time::Instant::now();
                }
                if told.as_ref() != Some(&why) {
                    tracing::warn!(leader = url, "the leader does not say what to serve: {why}");
                    told = Some(why);
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
    let own = (&settings.topology, settings.origin.as_ref());
    let beside = Beside::of(own, (&first.spec, first.origin.as_ref()));
    let own_epoch = if is_restored { settings.first_epoch } else { 0 };
    settings.first_epoch = epoch_of(own_epoch, first.epoch, beside);
    settings.topology = first.spec.clone();
    settings.origin = first.origin.clone();
    tls_for(settings, &first.spec, first.origin.as_ref()).map_err(Failure::Usage)?;
    let topology = Topology::build_moving(settings.first_epoch, first.spec.clone(), first.origin.clone());
    let topology = topology.map_err(|why| topology_failure(&why))?;
    keeper.keep(&topology).map_err(Failure::Run)
}
