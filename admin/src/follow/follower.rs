//! A Ringway that follows another one: takes over its topology, and asks it for keys that are on their way (`wanted`).
//!
//! ```text
//!   report ──► told another topology? ─► Control::take_over ─► commands by earlier ones end ─► report: settled
//!     ▲                                                                                           │
//!     └──────────────────────────── at most WAIT later, or at once ◄──────────────────────────────┘
//! ```
//! A leader that cannot be reached changes nothing: what it said last is served by.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ringway_proxy::control::{Abandoned, Control, unique_word};
use ringway_proxy::settings::{NodeTls, Origin, Secret, TopologySpec};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::wanted;
use super::wire::{Trouble, Wire};
use super::{Report, Told};
use crate::form::Known;
use crate::limits;

/// Whom to follow.
#[derive(Debug, Clone)]
pub struct Follow {
    /// Its admin API: `http://host:port` or `https://host:port`.
    pub url: String,
    /// Its `admin.token`.
    pub token: Option<Secret>,
    /// What this follower is called there, for people.
    pub name: String,
    /// Whose certificates are trusted, for `https`.
    pub tls: Option<NodeTls>,
}

/// What is known of the processes of this follower, on this machine.
pub trait Processes: Send + Sync {
    /// Those that are dead and may count at the leader still.
    fn dead(&self) -> Vec<String>;
    /// The leader counts this process, and these no longer.
    fn counts(&self, buried: &[String]);
    /// The leader counts this process no longer.
    fn has_left(&self);
}

/// What the leader said first.
#[derive(Debug)]
pub struct First {
    /// Its topology.
    pub spec: TopologySpec,
    /// Where keys come from that are on their way.
    pub origin: Option<Origin>,
    /// The epoch of that topology there.
    pub epoch: u64,
    leader: String,
    /// Whether connections are to be fenced before it is served by.
    has_fences: bool,
}

/// What is served by, in the leader's words and in ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) leader: String,
    /// 0 for what the leader has not said.
    pub(super) epoch: u64,
    pub(super) own_epoch: u64,
}

/// Follows until it is told to leave.
pub struct Follower {
    link: Arc<Link>,
    tasks: JoinSet<()>,
}

/// The way to the leader, and who goes it.
struct Link {
    wire: Arc<Wire>,
    url: String,
    instance: String,
    processes: Box<dyn Processes>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("url", &self.link.url).finish_non_exhaustive()
    }
}

impl Follow {
    /// Whether it can be followed like this, as far as that shows without asking.
    ///
    /// # Errors
    /// What is wrong with the URL, the token or the certificates.
    pub fn check(&self) -> Result<(), String> {
        self.wire().map(drop)
    }

    fn wire(&self) -> Result<Wire, String> {
        Wire::new(&self.url, &self.name, self.token.as_ref(), self.tls.as_ref())
    }
}

impl Follower {
    /// A word that no other process has, for [`Follower::new`].
    pub fn instance() -> String {
        unique_word()
    }

    /// Reaches nobody yet.
    ///
    /// # Errors
    /// As [`Follow::check`].
    pub fn new(follow: &Follow, instance: String, processes: Box<dyn Processes>) -> Result<Self, String> {
        let wire = Arc::new(follow.wire()?);
        let link = Link { wire, url: follow.url.clone(), instance, processes };
        Ok(Self { link: Arc::new(link), tasks: JoinSet::new() })
    }

    /// What the leader serves by now.
    ///
    /// # Errors
    /// Why it does not say, or says nothing that can be served by.
    pub async fn first(&self) -> Result<First, String> {
        let told = self.link.report(&Held::default(), None, None, Duration::ZERO).await;
        let told = told.map_err(|trouble| trouble.to_string())?;
        let form = told.topology.ok_or("its answer is not what a Ringway says")?;
        let (spec, origin) = form.restore(&Known::new())?;
        Ok(First {
            spec,
            origin,
            epoch: told.epoch,
            leader: told.leader,
            has_fences: !told.fences.is_empty(),
        })
    }

    /// Follows from now on; `first` is what the proxy was started with, if the leader has said it.
    pub fn follow(&mut self, control: &Control, first: Option<&First>) {
        let wishes = control.follow(&self.link.url);
        let own_epoch = control.topology().epoch();
        // what is to be fenced is told again with the topology
        let held = first.filter(|first| !first.has_fences);
        let held =
            held.map(|First { leader, epoch, .. }| Held { leader: leader.clone(), epoch: *epoch, own_epoch });
        control.note_leader(first.is_some());
        let held = watch::Sender::new(held.unwrap_or_default());
        self.tasks.spawn(wanted::fetch(Arc::clone(&self.link.wire), held.subscribe(), wishes));
        let follows = Follows { link: Arc::clone(&self.link), control: control.clone(), held };
        self.tasks.spawn(follows.run());
    }

    /// Ready when a part of it has ended, which only a defect does.
    pub async fn failed(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Says that this process serves no longer.
    pub async fn leave(mut self) {
        self.tasks.shutdown().await;
        let Link { wire, url, instance, processes } = &*self.link;
        for _ in 0..limits::LEAVE_TRIES {
            match wire.leave(instance, limits::LEADER_CONNECT_TIME).await {
                Ok(()) => return processes.has_left(),
                // one process takes over from another there
                Err(Trouble::Refused(..)) => tokio::time::sleep(2 * limits::LEADER_AGAIN).await,
                Err(Trouble::NotReached(_)) => break,
            }
        }
        tracing::warn!(
            leader = url,
            "it is not told that this Ringway has ended, and waits for it before keys are moved"
        );
    }
}

impl Link {
    /// Says what is served by, and hears what is to be.
    async fn report(
        &self,
        held: &Held,
        settled: Option<&[Abandoned]>,
        trouble: Option<&str>,
        wait: Duration,
    ) -> Result<Told, Trouble> {
        let mut replaces = self.processes.dead();
        replaces.truncate(limits::REPLACES);
        let given_up = settled.unwrap_or_default();
        let too_much = given_up.len() > limits::GIVEN_UP;
        let trouble =
            if too_much { Some("it has given up more connections than can be told") } else { trouble };
        let report = Report {
            instance: self.instance.clone(),
            replaces: replaces.clone(),
            leader: held.leader.clone(),
            serves: held.epoch,
            settled: settled.is_some() && !too_much,
            given_up: given_up.iter().take(limits::GIVEN_UP).cloned().map(Into::into).collect(),
            trouble: trouble.map(|why| why.chars().take(limits::TROUBLE_BYTES / 4).collect()),
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        };
        let told: Told = self.wire.post("", &report, wait + limits::LEADER_TIME).await?;
        if told.epoch == 0 || told.epoch > u64::MAX / 2 {
            return Err(Trouble::nonsense());
        }
        self.processes.counts(&replaces);
        Ok(told)
    }
}

/// Waits until nothing is under way by an earlier topology, however often somebody looks.
type Settling = Pin<Box<dyn Future<Output = Vec<Abandoned>> + Send>>;

/// Keeps what is served by in line with what the leader says.
struct Follows {
    link: Arc<Link>,
    control: Control,
    held: watch::Sender<Held>,
}

impl Follows {
    async fn run(self) {
        let leader = &self.link.url;
        let mut settling = self.settling();
        let mut settled: Option<Vec<Abandoned>> = None;
        let mut trouble: Option<String> = None;
        let mut silence: Option<Trouble> = None;
        loop {
            let held = self.held.borrow().clone();
            // until then the leader is told that this one lives; afterwards, what has been given up since
            if let Ok(given_up) = tokio::time::timeout(limits::FOLLOWER_SETTLES, &mut settling).await {
                settled = (held.epoch > 0).then_some(given_up);
                settling = self.settling();
            }
            let is_new = settled.is_none() || trouble.is_some();
            let wait = if is_new { Duration::ZERO } else { limits::FOLLOWER_WAIT };
            let told = self.link.report(&held, settled.as_deref(), trouble.as_deref(), wait).await;
            match told {
                Err(why) => {
                    self.control.note_leader(false);
                    if silence.as_ref() != Some(&why) {
                        tracing::warn!(leader, "the topology is served by that it said last: {why}");
                    }
                    silence = Some(why);
                    tokio::time::sleep(limits::LEADER_AGAIN).await;
                }
                Ok(told) => {
                    self.control.note_leader(true);
                    if silence.take().is_some() {
                        tracing::info!(leader, "it is heard again");
                    }
                    if told.topology.is_none() {
                        // what could not be taken over is no longer what the leader has
                        trouble = None;
                        continue;
                    }
                    match self.take_over(told).await {
                        Ok(held) => {
                            self.held.send_replace(held);
                            (settled, trouble) = (None, None);
                            settling = self.settling();
                        }
                        Err(why) => {
                            if trouble.as_ref() != Some(&why) {
                                tracing::error!(leader, "its topology is not taken over: {why}");
                            }
                            trouble = Some(why);
                            tokio::time::sleep(limits::LEADER_AGAIN).await;
                        }
                    }
                }
            }
        }
    }

    fn settling(&self) -> Settling {
        let (control, epoch) = (self.control.clone(), self.control.topology().epoch());
        Box::pin(async move { control.settled(epoch).await })
    }

    async fn take_over(&self, told: Told) -> Result<Held, String> {
        let Told { leader, epoch, topology, fences } = told;
        let spec = topology.ok_or("there is none")?.restore(&Known::new())?;
        let fences = fences.into_iter().map(Into::into).collect();
        let (control, url) = (self.control.clone(), &self.link.url);
        let what = format!("taken over from {url}, where it has epoch {epoch}");
        let runtime = tokio::runtime::Handle::current();
        // it builds a ring and writes a file
        let work = tokio::task::spawn_blocking(move || {
            let taken = runtime.block_on(control.take_over(epoch, spec, fences, &what));
            taken.map(|change| (change.is_some(), control.topology().epoch()))
        });
        let (is_other, own_epoch) =
            work.await.map_err(|_| "the work broke off".to_owned())?.map_err(|error| error.to_string())?;
        if is_other {
            tracing::info!(leader = url, epoch = own_epoch, "the topology is taken over");
        }
        Ok(Held { leader, epoch, own_epoch })
    }
}
