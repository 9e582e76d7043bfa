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
    /// The leader counts this process, and these no longer; what it said last is kept.
    fn counts(&self, buried: &[String]);
    /// The leader is about to be told that this process leaves; whether it counted until now.
    fn leaves(&self) -> bool;
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
    /// Processes that count no longer.
    buried: Vec<String>,
}

/// Why the leader does not say what to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// It is not reached: what it said last holds.
    NotReached(String),
    /// It refuses, or says nothing that can be served by.
    Refused(String),
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::NotReached(why) | Self::Refused(why)) = self;
        f.write_str(why)
    }
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
    /// What is served by, once it follows.
    held: Option<watch::Receiver<Held>>,
}

/// The way to the leader, and who goes it.
struct Link {
    wire: Arc<Wire>,
    url: String,
    /// Which process it is at the leader.
    instance: String,
    /// A word that no other process has.
    run: String,
    processes: Arc<dyn Processes>,
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
    /// Reaches nobody yet; `instance` is which process it is at the leader.
    ///
    /// # Errors
    /// As [`Follow::check`].
    pub fn new(follow: &Follow, instance: String, processes: Arc<dyn Processes>) -> Result<Self, String> {
        let wire = Arc::new(follow.wire()?);
        let link = Link { wire, url: follow.url.clone(), instance, run: unique_word(), processes };
        Ok(Self { link: Arc::new(link), tasks: JoinSet::new(), held: None })
    }

    /// What the leader serves by now. [`Follower::counts`] is to be said when that is kept.
    ///
    /// # Errors
    /// Why it does not say, or says nothing that can be served by.
    pub async fn first(&self) -> Result<First, Silence> {
        let told = self.link.report(&Held::default(), None, None, Duration::ZERO).await;
        let (told, buried) = told.map_err(|trouble| match trouble {
            Trouble::Refused(..) => Silence::Refused(trouble.to_string()),
            _ => Silence::NotReached(trouble.to_string()),
        })?;
        let form = told.topology.ok_or_else(|| Silence::Refused(Trouble::nonsense().to_string()))?;
        let (spec, origin) = form.restore(&Known::new()).map_err(Silence::Refused)?;
        let has_fences = !told.fences.is_empty();
        Ok(First { spec, origin, epoch: told.epoch, leader: told.leader, has_fences, buried })
    }

    /// What the leader said first is kept.
    pub fn counts(&self, first: &First) {
        self.link.processes.counts(&first.buried);
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
        self.held = Some(held.subscribe());
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

    /// Says that this process serves no longer, and what its workers had given up.
    pub async fn leave(mut self, given_up: &[Abandoned]) {
        self.tasks.shutdown().await;
        let Link { wire, url, instance, processes, .. } = &*self.link;
        if !given_up.is_empty() {
            let held = self.held.as_ref().map(|held| held.borrow().clone()).unwrap_or_default();
            // whether it is heard or not, the next thing to say is that it leaves
            let _ = self.link.report(&held, Some(given_up), None, Duration::ZERO).await;
        }
        // once it may be heard, this process must not come back by what it was told before
        let did_count = in_background({
            let processes = Arc::clone(processes);
            move || processes.leaves()
        })
        .await;
        for _ in 0..limits::LEAVE_TRIES {
            let processes = Arc::clone(processes);
            match wire.leave(instance, limits::LEADER_CONNECT_TIME).await {
                Ok(()) => return in_background(move || processes.has_left()).await,
                // one process takes over from another there
                Err(Trouble::Refused(503, _)) => tokio::time::sleep(2 * limits::LEADER_AGAIN).await,
                Err(Trouble::Refused(..) | Trouble::NotReached(_)) => break,
                Err(Trouble::NotConnected(_)) => {
                    // it has not got that, and counts this process as before
                    if did_count {
                        in_background(move || processes.counts(&[])).await;
                    }
                    break;
                }
            }
        }
        if did_count {
            tracing::warn!(
                leader = url,
                "the leader is not told that this Ringway has ended, and waits for it before keys are moved"
            );
        }
    }
}

/// What may take as long as a disk does.
async fn in_background<T: Default + Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // a panic is in the log
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

impl Link {
    /// Says what is served by, and hears what is to be; also, which dead processes count no longer.
    async fn report(
        &self,
        held: &Held,
        settled: Option<&[Abandoned]>,
        trouble: Option<&str>,
        wait: Duration,
    ) -> Result<(Told, Vec<String>), Trouble> {
        let processes = Arc::clone(&self.processes);
        let mut replaces = in_background(move || processes.dead()).await;
        replaces.truncate(limits::REPLACES);
        let given_up = settled.unwrap_or_default();
        let too_much = given_up.len() > limits::GIVEN_UP;
        let trouble =
            if too_much { Some("it has given up more connections than can be told") } else { trouble };
        let report = Report {
            instance: self.instance.clone(),
            run: self.run.clone(),
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
        Ok((told, replaces))
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
        let mut again = limits::LEADER_AGAIN;
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
                    if silence.as_ref().is_none_or(|before| !before.is_like(&why)) {
                        tracing::warn!(leader, "what the leader said last is served: {why}");
                    }
                    silence = Some(why);
                    tokio::time::sleep(again).await;
                    again = (2 * again).min(limits::LEADER_AGAIN_MOST);
                }
                Ok((told, buried)) => {
                    self.control.note_leader(true);
                    again = limits::LEADER_AGAIN;
                    if silence.take().is_some() {
                        tracing::info!(leader, "the leader is heard again");
                    }
                    if told.topology.is_none() {
                        // what could not be taken over is no longer what the leader has
                        trouble = None;
                        self.counts(buried).await;
                        continue;
                    }
                    match self.take_over(told).await {
                        Ok(held) => {
                            self.held.send_replace(held);
                            self.counts(buried).await;
                            (settled, trouble) = (None, None);
                            settling = self.settling();
                        }
                        Err(why) => {
                            if trouble.as_ref() != Some(&why) {
                                tracing::error!(leader, "the leader's topology is not taken over: {why}");
                            }
                            trouble = Some(why);
                            tokio::time::sleep(limits::LEADER_AGAIN).await;
                        }
                    }
                }
            }
        }
    }

    /// The leader counts this process, and what is served by is kept.
    async fn counts(&self, buried: Vec<String>) {
        let processes = Arc::clone(&self.link.processes);
        in_background(move || processes.counts(&buried)).await;
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
            tracing::info!(leader = url, epoch = own_epoch, "the leader's topology is served");
        }
        Ok(Held { leader, epoch, own_epoch })
    }
}
