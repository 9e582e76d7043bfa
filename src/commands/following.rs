//! `ringway serve` with `follow`: begins with what the leader says, and serves by it.

use std::time::Duration;

use ringway_admin::follow::{First, Follower};
use ringway_proxy::control::{Control, epoch_of};
use ringway_proxy::topology::Topology;

use super::keeper::Keeper;
use super::running::{Signals, topology_failure};
use super::serve::tls_for;
use crate::config::Config;
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
    /// is served by (`is_restored`); where there is nothing, it is waited for. `None` when nobody is followed.
    ///
    /// # Errors
    /// What the leader says cannot be served by, or a signal ended the wait.
    pub(crate) async fn begin(
        config: &mut Config,
        is_restored: bool,
        keeper: &Keeper,
        signals: &mut Signals,
    ) -> Result<Option<Self>, Failure> {
        let Some(follow) = &config.follow else { return Ok(None) };
        let refused = |why: String| Failure::Usage(format!("follow: {}: {why}", follow.url));
        let follower = Follower::new(follow).map_err(refused)?;
        let url = follow.url.clone();
        let first = tokio::select! {
            first = first(&follower, &url, is_restored.then_some(PATIENCE)) => first,
            () = signals.stop() => return Err(Failure::Run(format!("stopped while it waited for {url}"))),
        };
        match &first {
            Some(first) => {
                take_over(config, first, is_restored, keeper).map_err(|failure| match failure {
                    Failure::Usage(why) => Failure::Usage(format!("follow: {url}: {why}")),
                    other => other,
                })?
            }
            None => tracing::warn!("the topology is served by that {url} said last, until it is reached"),
        }
        Ok(Some(Self { follower, first }))
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
