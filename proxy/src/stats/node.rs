//! What is counted of one node: by each worker, and summed over all of them.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{CommandCount, CommandCounters, Counter, Histogram, LATENCY_BOUNDS_US};

/// Whether a worker can use a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum NodeState {
    /// Refused or silent; commands are answered NOTSENT at once.
    Down = 0,
    /// No connection yet.
    Connecting = 1,
    /// Answers.
    Up = 2,
}

impl NodeState {
    /// The word that the admin API uses.
    pub fn label(self) -> &'static str {
        match self {
            NodeState::Down => "down",
            NodeState::Connecting => "connecting",
            NodeState::Up => "up",
        }
    }
}

/// One worker's figures for one node.
#[derive(Debug)]
pub struct NodeStats {
    /// The node's name.
    pub name: String,
    /// Commands by outcome.
    pub commands: CommandCounters,
    /// Latency of answered commands.
    pub seconds: Histogram,
    /// Reads that found their key.
    pub hits: Counter,
    /// Reads that did not.
    pub misses: Counter,
    /// Bytes written to the node.
    pub bytes_out: Counter,
    /// Bytes read from the node.
    pub bytes_in: Counter,
    /// Connections opened, successful or not.
    pub connects: Counter,
    /// Reads sent again because their connection was lost.
    pub reads_repeated: Counter,
    connections: AtomicI64,
    state: AtomicU8,
    why: Mutex<String>,
}

impl NodeStats {
    /// Zero for everything; the node is `connecting`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            commands: CommandCounters::new(),
            seconds: Histogram::default(),
            hits: Counter::default(),
            misses: Counter::default(),
            bytes_out: Counter::default(),
            bytes_in: Counter::default(),
            connects: Counter::default(),
            reads_repeated: Counter::default(),
            connections: AtomicI64::new(0),
            state: AtomicU8::new(NodeState::Connecting as u8),
            why: Mutex::new(String::new()),
        }
    }

    /// Open connections of this worker to this node.
    pub fn connections_changed(&self, by: i64) {
        self.connections.fetch_add(by, Ordering::Relaxed);
    }

    /// Notes a change of state and its reason (empty when up).
    pub fn set_state(&self, state: NodeState, why: &str) {
        self.state.store(state as u8, Ordering::Relaxed);
        why.clone_into(&mut self.why.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The state last noted.
    pub fn state(&self) -> NodeState {
        match self.state.load(Ordering::Relaxed) {
            0 => NodeState::Down,
            1 => NodeState::Connecting,
            _ => NodeState::Up,
        }
    }
}

/// Sums over all workers for one node.
#[derive(Debug, Clone)]
pub struct NodeSnapshot {
    /// The node's name.
    pub name: String,
    /// Best state that any worker sees.
    pub state: NodeState,
    /// Why it is not up, as the last worker told; empty when up.
    pub why: String,
    /// Open connections.
    pub connections: u64,
    /// Connections ever opened, successful or not.
    pub connects: u64,
    /// Reads sent again because their connection was lost.
    pub reads_repeated: u64,
    /// Commands by outcome.
    pub commands: Vec<CommandCount>,
    /// Observations per bucket of [`LATENCY_BOUNDS_US`], not cumulative; the last one is beyond all bounds.
    pub latency_buckets: Vec<u64>,
    /// Sum of all observed latencies, in seconds.
    pub latency_sum_seconds: f64,
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Bytes read from the node.
    pub bytes_in: u64,
    /// Bytes written to the node.
    pub bytes_out: u64,
}

impl NodeSnapshot {
    pub(super) fn empty(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: NodeState::Down,
            why: String::new(),
            connections: 0,
            connects: 0,
            reads_repeated: 0,
            commands: Vec::new(),
            latency_buckets: vec![0; LATENCY_BOUNDS_US.len() + 1],
            latency_sum_seconds: 0.0,
            hits: 0,
            misses: 0,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    pub(super) fn add(&mut self, node: &NodeStats) {
        let state = node.state();
        if state >= self.state {
            self.why = node.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.state = state;
        }
        self.connections += node.connections.load(Ordering::Relaxed).max(0) as u64;
        self.connects += node.connects.get();
        self.reads_repeated += node.reads_repeated.get();
        for (sum, bucket) in self.latency_buckets.iter_mut().zip(&node.seconds.buckets) {
            *sum += bucket.get();
        }
        self.latency_sum_seconds += node.seconds.sum_us.get() as f64 / 1e6;
        self.hits += node.hits.get();
        self.misses += node.misses.get();
        self.bytes_in += node.bytes_in.get();
        self.bytes_out += node.bytes_out.get();
    }
}
