//! What the proxy counts, per worker, and the sums that the control plane reads.
//!
//! Each counter has one writer (its worker), so counting is a plain load and store: no read-modify-write, no
//! lock and no sharing of a cache line between workers on the path of a command. Readers sum on demand.

mod near;
mod node;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::command::{self, Command, SubscriptionKind};
use crate::memory::Published;
pub use near::{NearSnapshot, NearStats};
pub use node::{NodeSnapshot, NodeState, NodeStats};

/// A number that only its worker increases and anyone may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `by`; only the owning worker may call it, or counts are lost.
    #[inline]
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a command ended, as its client was told (law I4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A reply that is no error.
    Ok,
    /// An error reply of the node, or of Redis's rules as the proxy keeps them.
    Error,
    /// The command certainly did not run.
    NotSent,
    /// The command was written and no reply came: it ran once or never.
    Unknown,
}

impl Outcome {
    /// Every outcome, in the order of the counters.
    pub const ALL: [Outcome; 4] = [Outcome::Ok, Outcome::Error, Outcome::NotSent, Outcome::Unknown];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Error => "error",
            Outcome::NotSent => "notsent",
            Outcome::Unknown => "unknown",
        }
    }
}

/// Why the proxy closed a client that had not asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedFor {
    /// Memory was short and it held most.
    Memory,
    /// It left too many replies unread, or left them for too long.
    UnreadReplies,
    /// The rest of a command did not come in time.
    IncompleteCommand,
    /// It did not authenticate in time.
    NoAuthentication,
    /// It did not come to the end of its TLS handshake, or what it sent was no TLS.
    NoHandshake,
    /// Serving it failed: a defect of the proxy.
    Panic,
}

impl ClosedFor {
    /// Every reason, in the order of the counters.
    pub const ALL: [ClosedFor; 6] = [
        ClosedFor::Memory,
        ClosedFor::UnreadReplies,
        ClosedFor::IncompleteCommand,
        ClosedFor::NoAuthentication,
        ClosedFor::NoHandshake,
        ClosedFor::Panic,
    ];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            ClosedFor::Memory => "memory",
            ClosedFor::UnreadReplies => "unread_replies",
            ClosedFor::IncompleteCommand => "incomplete_command",
            ClosedFor::NoAuthentication => "no_authentication",
            ClosedFor::NoHandshake => "no_handshake",
            ClosedFor::Panic => "panic",
        }
    }
}

/// Counts per reason.
#[derive(Debug, Default)]
pub struct ClosedCounters([Counter; ClosedFor::ALL.len()]);

impl ClosedCounters {
    /// Counts one client.
    pub fn count(&self, why: ClosedFor) {
        self.0[why as usize].add(1);
    }
}
/// Under this name all commands are counted that the table does not have.
const LEARNED: &str = "(learned)";

/// Counts per command and outcome.
#[derive(Debug)]
pub struct CommandCounters(Box<[Counter]>);

impl CommandCounters {
    fn new() -> Self {
        // the last ones are for all learned commands together
        Self((0..(command::command_count() + 1) * Outcome::ALL.len()).map(|_| Counter::default()).collect())
    }

    /// Counts one command.
    #[inline]
    pub fn count(&self, command: &Command, outcome: Outcome) {
        match self.0.get(command.id().index() * Outcome::ALL.len() + outcome as usize) {
            Some(counter) => counter.add(1),
            None => self.count_learned(outcome),
        }
    }

    #[cold]
    fn count_learned(&self, outcome: Outcome) {
        if let Some(counter) = self.0.get(command::command_count() * Outcome::ALL.len() + outcome as usize) {
            counter.add(1);
        }
    }

    fn add_to(&self, sums: &mut BTreeMap<(&'static str, Outcome), u64>) {
        let rows = command::all().map(|command| (command.full_name, command.id().index()));
        for (name, index) in rows.chain([(LEARNED, command::command_count())]) {
            for outcome in Outcome::ALL {
                let at = index * Outcome::ALL.len() + outcome as usize;
                let count = self.0.get(at).map_or(0, Counter::get);
                if count > 0 {
                    *sums.entry((name, outcome)).or_default() += count;
                }
            }
        }
    }
}

/// Counts per command.
#[derive(Debug)]
pub struct CountPerCommand(Box<[Counter]>);

impl CountPerCommand {
    fn new() -> Self {
        Self((0..command::command_count()).map(|_| Counter::default()).collect())
    }

    /// Counts one command.
    pub fn count(&self, command: &Command) {
        if let Some(counter) = self.0.get(command.id().index()) {
            counter.add(1);
        }
    }

    fn add_to(&self, sums: &mut BTreeMap<&'static str, u64>) {
        for command in command::all() {
            let count = self.0.get(command.id().index()).map_or(0, Counter::get);
            if count > 0 {
                *sums.entry(command.full_name).or_default() += count;
            }
        }
    }
}

/// Upper bounds of the latency buckets, in microseconds: powers of two from 64 µs to about 16.8 s, so that a
/// bucket is found by counting leading zeros.
pub const LATENCY_BOUNDS_US: [u64; 19] = {
    let mut bounds = [0; 19];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = 64 << at;
        at += 1;
    }
    bounds
};

/// Time from a command's arrival to its node's whole reply.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; LATENCY_BOUNDS_US.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    /// Counts one observation.
    pub fn observe(&self, elapsed: Duration) {
        self.add(Observation::of(elapsed));
    }

    /// Counts an observation that may have been counted before.
    #[inline]
    pub(crate) fn add(&self, Observation { us, bucket }: Observation) {
        self.buckets[bucket.min(LATENCY_BOUNDS_US.len())].add(1);
        self.sum_us.add(us);
    }
}

/// A time as a [`Histogram`] counts it. What many commands have in common is reckoned once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observation {
    us: u64,
    bucket: usize,
}

impl Observation {
    pub(crate) fn of(elapsed: Duration) -> Self {
        let us = elapsed.as_micros().min(u128::from(u64::MAX)) as u64;
        // bucket b holds 32·2^b < us <= 64·2^b; bucket 0 takes everything up to 64 µs
        let bits = 64 - us.saturating_sub(1).leading_zeros() as usize;
        Self { us, bucket: bits.saturating_sub(6).min(LATENCY_BOUNDS_US.len()) }
    }
}

/// One worker's figures.
#[derive(Debug)]
pub struct WorkerStats {
    /// Commands that the proxy answered itself, by outcome.
    pub local: CommandCounters,
    /// Commands whose reply was computed over several nodes; what the nodes were asked for is counted there as well.
    pub emulated: CountPerCommand,
    /// Bytes read from clients.
    pub client_bytes_in: Counter,
    /// Bytes written to clients.
    pub client_bytes_out: Counter,
    /// Whole commands read from clients.
    pub commands_read: Counter,
    /// Replies handed to clients' buffers.
    pub replies: Counter,
    /// Replies that had lost their client.
    pub replies_dropped: Counter,
    /// Published messages handed to clients' buffers.
    pub messages_delivered: Counter,
    /// Clients closed because they left too many messages unread.
    pub subscribers_cut: Counter,
    subscriptions: [AtomicI64; 3],
    /// Clients that the proxy closed.
    pub closed: ClosedCounters,
    /// Passwords of clients that were wrong.
    pub authentication_failures: Counter,
    /// Commands that their users may not give: for the command, a key, a channel.
    pub denied: [Counter; 3],
    /// Answers that are kept.
    pub near: NearStats,
    pub(crate) memory: Published,
    clients: AtomicI64,
    blocked: AtomicI64,
    tracking: AtomicI64,
    held: AtomicI64,
    nodes: Mutex<Vec<Arc<NodeStats>>>,
}

impl Default for WorkerStats {
    fn default() -> Self {
        Self {
            local: CommandCounters::new(),
            emulated: CountPerCommand::new(),
            client_bytes_in: Counter::default(),
            client_bytes_out: Counter::default(),
            commands_read: Counter::default(),
            replies: Counter::default(),
            replies_dropped: Counter::default(),
            messages_delivered: Counter::default(),
            subscribers_cut: Counter::default(),
            subscriptions: Default::default(),
            closed: ClosedCounters::default(),
            authentication_failures: Counter::default(),
            denied: Default::default(),
            near: NearStats::default(),
            memory: Published::default(),
            clients: AtomicI64::new(0),
            blocked: AtomicI64::new(0),
            tracking: AtomicI64::new(0),
            held: AtomicI64::new(0),
            nodes: Mutex::new(Vec::new()),
        }
    }
}

impl WorkerStats {
    /// Notes that a client came (`1`) or went (`-1`).
    pub fn clients_changed(&self, by: i64) {
        self.clients.fetch_add(by, Ordering::Relaxed);
    }

    /// Clients of this worker now.
    pub fn clients(&self) -> i64 {
        self.clients.load(Ordering::Relaxed)
    }

    /// Notes that a client of this worker began to wait for something to happen (`1`) or waits no more (`-1`).
    pub fn blocked_changed(&self, by: i64) {
        self.blocked.fetch_add(by, Ordering::Relaxed);
    }

    /// So many clients more, or fewer, track keys.
    pub fn tracking_changed(&self, by: i64) {
        self.tracking.fetch_add(by, Ordering::Relaxed);
    }

    /// Notes that a pause holds back the command of one client more (`1`) or no more (`-1`).
    pub fn held_changed(&self, by: i64) {
        self.held.fetch_add(by, Ordering::Relaxed);
    }

    /// Notes that a client listens to one more (`1`) or so many fewer.
    pub fn subscriptions_changed(&self, kind: SubscriptionKind, by: i64) {
        self.subscriptions[kind as usize].fetch_add(by, Ordering::Relaxed);
    }

    /// The figures for a node, made on first use and kept while the node is used.
    pub fn node(&self, name: &str) -> Arc<NodeStats> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = nodes.iter().find(|node| node.name == name) {
            return Arc::clone(found);
        }
        let node = Arc::new(NodeStats::new(name));
        nodes.push(Arc::clone(&node));
        node
    }

    /// Forgets nodes that left the topology.
    pub fn retain_nodes(&self, keep: impl Fn(&str) -> bool) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).retain(|node| keep(&node.name));
    }

    fn nodes(&self) -> Vec<Arc<NodeStats>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sums over all workers at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Clients connected.
    pub client_connections: u64,
    /// Clients that wait for something to happen (BLPOP and its kin).
    pub blocked_clients: u64,
    /// Clients that nodes tell of keys, or that have another one told.
    pub tracking_clients: u64,
    /// Clients whose next command waits for the end of a pause (CLIENT PAUSE).
    pub held_clients: u64,
    /// Commands that the proxy answered itself.
    pub local: Vec<CommandCount>,
    /// How often each command was computed over several nodes.
    pub emulated: BTreeMap<&'static str, u64>,
    /// Bytes read from clients.
    pub client_bytes_in: u64,
    /// Bytes written to clients.
    pub client_bytes_out: u64,
    /// Whole commands read from clients.
    pub commands_read: u64,
    /// Replies handed to clients.
    pub replies: u64,
    /// Replies that had lost their client.
    pub replies_dropped: u64,
    /// Published messages handed to clients.
    pub messages_delivered: u64,
    /// Clients closed because they left too many messages unread.
    pub subscribers_cut: u64,
    /// What clients listen to now, in the order of [`SubscriptionKind::ALL`].
    pub subscriptions: [u64; 3],
    /// Clients that the proxy closed, in the order of [`ClosedFor::ALL`].
    pub closed: [u64; ClosedFor::ALL.len()],
    /// Passwords of clients that were wrong.
    pub authentication_failures: u64,
    /// Commands that their users may not give, in the order of [`DENIED_FOR`].
    pub denied: [u64; DENIED_FOR.len()],
    /// Answers that are kept.
    pub near: NearSnapshot,
    /// Bytes of memory that clients and connections to nodes make the process hold.
    pub memory_bytes: u64,
    /// Lines of the log that nobody took in time.
    pub log_lines_dropped: u64,
    /// Per node, by name.
    pub nodes: Vec<NodeSnapshot>,
}

/// What a user may lack a right to.
pub const DENIED_FOR: [&str; 3] = ["command", "key", "channel"];

/// How often one command ended in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandCount {
    /// `get`, `xgroup|create`.
    pub command: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How often.
    pub count: u64,
}

type Sums = BTreeMap<(&'static str, Outcome), u64>;

fn into_counts(sums: Sums) -> Vec<CommandCount> {
    sums.into_iter().map(|((command, outcome), count)| CommandCount { command, outcome, count }).collect()
}

/// Sums the figures of all workers.
pub fn snapshot<'a>(workers: impl Iterator<Item = &'a WorkerStats>) -> Snapshot {
    let mut total = Snapshot::default();
    let mut local = Sums::new();
    let mut nodes: BTreeMap<String, (NodeSnapshot, Sums)> = BTreeMap::new();
    for worker in workers {
        total.client_connections += worker.clients().max(0) as u64;
        total.blocked_clients += worker.blocked.load(Ordering::Relaxed).max(0) as u64;
        total.tracking_clients += worker.tracking.load(Ordering::Relaxed).max(0) as u64;
        total.held_clients += worker.held.load(Ordering::Relaxed).max(0) as u64;
        total.client_bytes_in += worker.client_bytes_in.get();
        total.client_bytes_out += worker.client_bytes_out.get();
        total.commands_read += worker.commands_read.get();
        total.replies += worker.replies.get();
        total.replies_dropped += worker.replies_dropped.get();
        total.messages_delivered += worker.messages_delivered.get();
        total.subscribers_cut += worker.subscribers_cut.get();
        for (sum, count) in total.subscriptions.iter_mut().zip(&worker.subscriptions) {
            *sum += count.load(Ordering::Relaxed).max(0) as u64;
        }
        for (sum, counter) in total.closed.iter_mut().zip(&worker.closed.0) {
            *sum += counter.get();
        }
        total.authentication_failures += worker.authentication_failures.get();
        for (sum, counter) in total.denied.iter_mut().zip(&worker.denied) {
            *sum += counter.get();
        }
        total.near.add(&worker.near);
        total.memory_bytes += worker.memory.held();
        worker.local.add_to(&mut local);
        worker.emulated.add_to(&mut total.emulated);
        for node in worker.nodes() {
            let (sum, commands) = nodes
                .entry(node.name.clone())
                .or_insert_with(|| (NodeSnapshot::empty(&node.name), Sums::new()));
            sum.add(&node);
            node.commands.add_to(commands);
        }
    }
    total.local = into_counts(local);
    total.nodes = nodes
        .into_values()
        .map(|(node, commands)| NodeSnapshot { commands: into_counts(commands), ..node })
        .collect();
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_falls_into_the_bucket_whose_bound_is_next_above() {
        for us in [0, 1, 63, 64, 65, 127, 128, 129, 1000, 16_777_216, 16_777_217, u64::MAX / 2] {
            let histogram = Histogram::default();
            histogram.observe(Duration::from_micros(us));
            let expected =
                LATENCY_BOUNDS_US.iter().position(|&bound| us <= bound).unwrap_or(LATENCY_BOUNDS_US.len());
            let found = histogram.buckets.iter().position(|bucket| bucket.get() == 1).unwrap();
            assert_eq!(found, expected, "{us} µs");
        }
    }
}
