//! One piece of work on strays: node by node, database by database, key by key.
//!
//! It holds to the topology that it began with: when another one holds, it ends, since what was a stray may be at home
//! now. Nodes are asked to rest as long as they work: after each `SCAN` for as long as it took, and with strays as
//! `keys_per_second` says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bb8_redis::redis::cmd;
use ringway_proxy::control::Control;
use ringway_proxy::settings::NodeSpec;
use ringway_proxy::topology::{NodeIndex, Topology};
use tokio::sync::watch;

use super::batch::{Batch, Fate, Stray};
use super::servers::{Doubts, Servers};
use super::{Action, Counts, Flow, NodeStatus, Phase, Status};
use crate::limits;
use crate::pools::{Pools, told};
use crate::read::timestamp;

/// What is to be done.
pub(super) struct Order {
    pub(super) action: Action,
    pub(super) pattern: Option<String>,
    pub(super) keys_per_second: u32,
    /// The nodes to look at, each with its place in the topology if it has one.
    pub(super) sources: Vec<(NodeSpec, Option<usize>)>,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Job {
    action: Action,
    pattern: Option<String>,
    epoch: u64,
    started_at: SystemTime,
    progress: Mutex<Progress>,
    stop: watch::Sender<bool>,
    /// Changes when it has ended.
    ended: watch::Sender<bool>,
}

#[derive(Debug)]
struct Progress {
    phase: Phase,
    why: Option<String>,
    ended_at: Option<SystemTime>,
    counts: Counts,
    nodes: Vec<NodeStatus>,
    /// Strays by the place of the node that holds them and that of their owner.
    flows: BTreeMap<(usize, usize), u64>,
    /// Names of all servers, by place.
    names: Vec<String>,
}

const TOLD: &str = "it was told to end";

/// Why work ends before its end.
pub(super) enum Break {
    /// It was told to, or the topology is another one.
    Stopped(String),
    Failed(String),
}

impl From<String> for Break {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl Job {
    /// Begins in the background.
    pub(super) fn begin(
        order: Order,
        topology: Arc<Topology>,
        control: Control,
        pools: Arc<Pools>,
        doubts: Arc<Doubts>,
    ) -> Arc<Self> {
        let node = |(node, _): &(NodeSpec, Option<usize>)| NodeStatus {
            name: node.name.clone(),
            address: node.address.clone(),
            done: false,
            keys: 0,
            strays: 0,
        };
        let others = order.sources.iter().filter(|(_, place)| place.is_none()).map(|(node, _)| node.clone());
        let others: Vec<NodeSpec> = others.collect();
        let names = topology.nodes().iter().map(|node| node.name.clone());
        let progress = Progress {
            phase: Phase::Running,
            why: None,
            ended_at: None,
            counts: Counts::default(),
            nodes: order.sources.iter().map(node).collect(),
            flows: BTreeMap::new(),
            names: names.chain(others.iter().map(|node| node.name.clone())).collect(),
        };
        let job = Arc::new(Self {
            action: order.action,
            pattern: order.pattern.clone(),
            epoch: topology.epoch(),
            started_at: SystemTime::now(),
            progress: Mutex::new(progress),
            stop: watch::Sender::new(false),
            ended: watch::Sender::new(false),
        });
        let running = Arc::clone(&job);
        tokio::spawn(async move {
            let ending = Ending(Arc::clone(&running));
            let walk = Walk { job: running, order, others, topology, control, doubts };
            let end = walk.all(&pools).await;
            ending.with(end);
        });
        job
    }

    /// Whether it goes on.
    pub(super) fn is_running(&self) -> bool {
        self.progress().phase == Phase::Running
    }

    /// Has it end after the keys that it has in hand, and waits until it has.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        // it ends by its own time limits
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// How far it is.
    pub(super) fn status(&self) -> Status {
        let progress = self.progress();
        let name = |place: usize| progress.names.get(place).cloned().unwrap_or_default();
        let flow =
            |(&(from, to), &keys): (&(usize, usize), &u64)| Flow { from: name(from), to: name(to), keys };
        let mut flows: Vec<Flow> = progress.flows.iter().map(flow).collect();
        flows.sort_by(|a, b| b.keys.cmp(&a.keys).then_with(|| (&a.from, &a.to).cmp(&(&b.from, &b.to))));
        Status {
            action: self.action,
            r#match: self.pattern.clone(),
            state: progress.phase,
            why: progress.why.clone(),
            epoch: self.epoch,
            started_at: timestamp(self.started_at),
            ended_at: progress.ended_at.map(timestamp),
            counts: progress.counts,
            nodes: progress.nodes.clone(),
            flows,
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the end, also when the work panics.
struct Ending(Arc<Job>);

impl Ending {
    fn with(self, end: Result<(), Break>) {
        let mut progress = self.0.progress();
        let (phase, why) = match end {
            Ok(()) => (Phase::Done, None),
            Err(Break::Stopped(why)) => (Phase::Stopped, Some(why)),
            Err(Break::Failed(why)) => (Phase::Failed, Some(why)),
        };
        progress.phase = phase;
        progress.ended_at = Some(SystemTime::now());
        progress.why = why.or(progress.why.take());
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut progress = self.0.progress();
        if progress.phase == Phase::Running {
            progress.phase = Phase::Failed;
            progress.why = Some("it broke off; the log knows more".to_owned());
            progress.ended_at = Some(SystemTime::now());
        }
        let Counts { keys, strays, moved, superseded, deleted, gone, left } = progress.counts;
        let (action, why) = (self.0.action.name(), progress.why.as_deref().unwrap_or_default());
        let phase = format!("{:?}", progress.phase).to_lowercase();
        tracing::info!(
            action,
            phase,
            keys,
            strays,
            moved,
            superseded,
            deleted,
            gone,
            left,
            why,
            "work on strays has ended"
        );
        drop(progress);
        self.0.ended.send_replace(true);
    }
}

/// The work itself.
struct Walk {
    job: Arc<Job>,
    order: Order,
    /// Sources beyond the topology.
    others: Vec<NodeSpec>,
    topology: Arc<Topology>,
    control: Control,
    doubts: Arc<Doubts>,
}

impl Walk {
    async fn all(&self, pools: &Arc<Pools>) -> Result<(), Break> {
        // what was sent by the topology before has ended by then
        let settled = self.control.timeouts().operation + limits::STRAYS_SETTLE_TIME;
        self.rest(settled).await?;
        let mut stop = self.job.stop.subscribe();
        let mut servers = tokio::select! {
            servers = Servers::connect(&self.topology, &self.others, pools, &self.doubts) => servers?,
            _ = stop.wait_for(|stop| *stop) => return Err(Break::Stopped(TOLD.to_owned())),
        };
        let end = self.nodes(&mut servers).await;
        if matches!(end, Err(Break::Failed(_))) {
            servers.doubt(&self.doubts);
        }
        end
    }

    async fn nodes(&self, servers: &mut Servers) -> Result<(), Break> {
        let mut beyond = self.topology.nodes().len();
        for (at, (_, place)) in self.order.sources.iter().enumerate() {
            let source = place.unwrap_or_else(|| {
                beyond += 1;
                beyond - 1
            });
            for database in servers.at(source).databases().await? {
                self.database(servers, at, source, database).await?;
            }
            self.job.progress().nodes[at].done = true;
        }
        Ok(())
    }

    /// Looks at one database of one node; `at` is its number among the sources, `source` its place among the servers.
    async fn database(
        &self,
        servers: &mut Servers,
        at: usize,
        source: usize,
        database: u32,
    ) -> Result<(), Break> {
        let mut cursor = "0".to_owned();
        loop {
            let began = Instant::now();
            let mut connection = servers.at(source).in_database(database).await?;
            let mut scan = cmd("SCAN");
            scan.arg(&cursor);
            if let Some(pattern) = &self.order.pattern {
                scan.arg("MATCH").arg(pattern);
            }
            scan.arg("COUNT").arg(limits::SCAN_COUNT);
            let found = scan.query_async::<(String, Vec<Vec<u8>>)>(&mut connection).await;
            let (next, keys) = found.map_err(|error| servers.at(source).named(&told(&error)))?;
            let took = began.elapsed();
            let strays = self.strays(at, source, keys);
            if self.order.action != Action::Count {
                self.deal_with(servers, source, database, strays).await?;
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
            self.rest(took).await?;
        }
    }

    /// Those of `keys` that have another owner; counts all.
    fn strays(&self, at: usize, source: usize, keys: Vec<Vec<u8>>) -> Vec<Stray> {
        let mut progress = self.job.progress();
        let looked_at = keys.len() as u64;
        let stray = |key: Vec<u8>| {
            let NodeIndex(owner) = self.topology.owner(&key).home();
            let owner = usize::from(owner);
            (owner != source).then_some(Stray { key, owner })
        };
        let strays: Vec<Stray> = keys.into_iter().filter_map(stray).collect();
        for stray in &strays {
            *progress.flows.entry((source, stray.owner)).or_default() += 1;
        }
        progress.counts.keys += looked_at;
        progress.counts.strays += strays.len() as u64;
        progress.nodes[at].keys += looked_at;
        progress.nodes[at].strays += strays.len() as u64;
        strays
    }

    async fn deal_with(
        &self,
        servers: &mut Servers,
        source: usize,
        database: u32,
        strays: Vec<Stray>,
    ) -> Result<(), Break> {
        let mut rest = &strays[..];
        while !rest.is_empty() {
            let began = Instant::now();
            let some = &rest[..rest.len().min(limits::STRAYS_AT_ONCE)];
            let batch = Batch {
                moves: self.order.action == Action::Move,
                source,
                database,
                topology: &self.topology,
                control: &self.control,
            };
            let (fates, goes_on) = batch.run(servers, some).await?;
            self.count(&fates);
            goes_on?;
            rest = &rest[fates.len()..];
            let due = Duration::from_secs(fates.len() as u64) / self.order.keys_per_second;
            self.rest(due.saturating_sub(began.elapsed())).await?;
        }
        Ok(())
    }

    fn count(&self, fates: &[Fate]) {
        let mut progress = self.job.progress();
        for fate in fates {
            let counts = &mut progress.counts;
            match fate {
                Fate::Moved => counts.moved += 1,
                Fate::Superseded => counts.superseded += 1,
                Fate::Deleted => counts.deleted += 1,
                Fate::Gone => counts.gone += 1,
                Fate::Left(why) => {
                    counts.left += 1;
                    progress.why.get_or_insert_with(|| why.clone());
                }
            }
        }
    }

    /// Waits, if the work is to go on at all.
    async fn rest(&self, time: Duration) -> Result<(), Break> {
        let mut stop = self.job.stop.subscribe();
        let told = tokio::time::timeout(time, stop.wait_for(|stop| *stop)).await;
        if told.is_ok() || *self.job.stop.borrow() {
            return Err(Break::Stopped(TOLD.to_owned()));
        }
        still(&self.topology, &self.control)
    }
}

/// Whether the topology is what it was when the work began.
pub(super) fn still(topology: &Topology, control: &Control) -> Result<(), Break> {
    let now = control.topology().epoch();
    if now == topology.epoch() {
        return Ok(());
    }
    Err(Break::Stopped(format!("the topology was changed meanwhile (epoch {now}); begin anew")))
}
