//! The memory that clients and nodes make the process hold, and what gives way when it is too much (law I6).
//!
//! ```text
//!   client: commands, replies ─┐ told when it changes, at most once a turn
//!   link: queue and buffers ───┴► Memory, one per worker ──every tick──► WorkerStats ──► the sum over all workers
//!
//!   sum above 3/4 of the budget   clients that hold more than is left are not read, nodes' queues are shortened
//!   sum above the budget          the client that holds most, over all workers, is closed; then the next
//!   someone waits for a second    so is it: what others hold does not become less by waiting
//! ```
//! Nothing is added up per command. Between two looks at the sum a worker may grow by its part of what is left; who
//! goes beyond that makes it look at once. The figures of other workers may be a tick old, so that the sum may exceed the
//! budget by what a tick brings.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::stats::ClosedFor;
use crate::worker::Worker;

/// A client that holds no more than this is always read and never closed for the sake of memory, in bytes.
const LEAST: usize = 16 * 1024;
/// The shortest queue that a node is left with, in bytes.
const LEAST_QUEUE: usize = 1 << 20;
/// All workers together may grow by this part of the budget before the next look, however little is left.
const LEAST_PART: usize = 64;
/// How long a client waits for memory before the one that holds most has to go.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two clients closed because others wait; in between the memory of the first is seen to be free.
const PAUSE: Duration = Duration::from_millis(100);

/// What one worker tells the others, as of its last look.
#[derive(Debug, Default)]
pub(crate) struct Published {
    held: AtomicU64,
    /// What the largest of its clients holds; 0 unless memory is short.
    largest: AtomicU64,
    /// One of its clients has waited for memory for too long.
    starving: AtomicBool,
}

impl Published {
    /// Bytes held by the worker's clients and connections to nodes.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

/// See the head of this file.
pub(crate) struct Memory {
    budget: usize,
    /// Bytes that the worker's clients hold, as they told.
    clients: Cell<usize>,
    /// Bytes that its links held at the last tick.
    links: Cell<usize>,
    /// `clients` beyond this is a reason to look at the sum.
    allowance: Cell<usize>,
    /// Clients that hold more are not read.
    readable: Cell<usize>,
    /// Since when a client is not read that could go on but for memory.
    refused_since: Cell<Option<Instant>>,
}

impl Memory {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            budget,
            clients: Cell::new(0),
            links: Cell::new(0),
            // the first look sets it
            allowance: Cell::new(0),
            readable: Cell::new(usize::MAX),
            refused_since: Cell::new(None),
        }
    }

    /// A client that held `before` holds `now`. True when that is too much to wait for the next tick.
    #[inline]
    pub(crate) fn changed(&self, before: usize, now: usize) -> bool {
        self.clients.set((self.clients.get() + now).saturating_sub(before));
        let over = self.is_over();
        if over {
            self.readable.set(self.readable.get().min(LEAST));
        }
        over
    }

    /// Whether the worker's clients hold more than they may without a look at the sum.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.clients.get() > self.allowance.get()
    }

    /// Whether a client that holds so much may be read.
    #[inline]
    pub(crate) fn admits(&self, held: usize) -> bool {
        held <= self.readable.get()
    }
}

impl Worker {
    /// Counts what the links hold as well, then looks at the sum; called at every tick.
    pub(crate) fn count_memory(&self, now: Instant) {
        let mut links = 0;
        self.each_node(|node| node.each_link(|link| links += link.held_bytes()));
        self.memory.links.set(links);
        let starving = self.starves(now);
        self.stats.memory.starving.store(starving, Ordering::Relaxed);
        self.mind_memory(now);
    }

    /// Looks at the sum over all workers and makes room where that is needed.
    pub(crate) fn mind_memory(&self, now: Instant) {
        let memory = &self.memory;
        let plenty = memory.budget / 4 * 3;
        let sum = self.sum_of_memory();
        if sum <= plenty {
            self.stats.memory.largest.store(0, Ordering::Relaxed);
            return self.allow(plenty - sum, usize::MAX, usize::MAX);
        }
        let sum = self.make_room(now, sum);
        let left = memory.budget.saturating_sub(sum);
        self.allow(left, left.max(LEAST), left.max(LEAST_QUEUE));
    }

    /// Closes the largest clients where that is needed; answers the sum after it. One worker at a time, so that two do
    /// not make the same room.
    fn make_room(&self, now: Instant, sum: usize) -> usize {
        let memory = &self.memory;
        let Ok(mut closed_at) = self.shared.memory_closed_at.try_lock() else { return sum };
        let mut sum = self.sum_of_memory();
        let starving = self.shared.workers.iter().any(|w| w.stats.memory.starving.load(Ordering::Relaxed));
        let paused = closed_at.is_some_and(|at| now.saturating_duration_since(at) < PAUSE);
        let mut one_must_go = starving && !paused;
        let mut by_size = self.clients_by_size();
        loop {
            let largest = by_size.pop();
            let held = largest.as_ref().map_or(0, |(held, _)| *held);
            self.stats.memory.largest.store(held as u64, Ordering::Relaxed);
            let Some((_, client)) = largest.filter(|_| sum > memory.budget || one_must_go) else { break };
            if !self.has_largest(held) {
                break;
            }
            self.close_for_memory(&client, held, sum, now);
            *closed_at = Some(now);
            sum = self.sum_of_memory();
            one_must_go = false;
        }
        sum
    }

    /// Notes since when clients are not read for want of memory; true when that is too long.
    fn starves(&self, now: Instant) -> bool {
        let memory = &self.memory;
        let readable = memory.readable.get();
        // the first comparison spares all others a walk over the clients
        let refused = readable < usize::MAX
            && self.clients.borrow().values().any(|client| client.waits_for_memory(readable));
        let since = refused.then(|| memory.refused_since.get().unwrap_or(now));
        memory.refused_since.set(since);
        since.is_some_and(|since| now.saturating_duration_since(since) > PATIENCE)
    }

    fn sum_of_memory(&self) -> usize {
        let held = self.memory.clients.get() + self.memory.links.get();
        self.stats.memory.held.store(held as u64, Ordering::Relaxed);
        self.shared.workers.iter().map(|worker| worker.stats.memory.held() as usize).sum()
    }

    /// The clients that are worth closing, the largest last.
    fn clients_by_size(&self) -> Vec<(usize, Rc<Client>)> {
        let clients = self.clients.borrow();
        let sizes = clients.values().map(|client| (client.held_bytes(), Rc::clone(client)));
        let mut sizes: Vec<_> = sizes.filter(|(held, _)| *held > LEAST).collect();
        sizes.sort_unstable_by_key(|(held, _)| *held);
        sizes
    }

    /// Whether no other worker has told of a larger client.
    fn has_largest(&self, held: usize) -> bool {
        let largest =
            |worker: &crate::control::WorkerHandle| worker.stats.memory.largest.load(Ordering::Relaxed);
        self.shared.workers.iter().all(|worker| largest(worker) <= held as u64)
    }

    fn close_for_memory(&self, client: &Client, held: usize, sum: usize, now: Instant) {
        let memory = &self.memory;
        client.close_for(ClosedFor::Memory);
        client.discard();
        if let Some(closed) = self.said.memory.happened(now) {
            tracing::warn!(
                budget_bytes = memory.budget,
                held_bytes = sum,
                client_bytes = held,
                peer = %client.peer(),
                closed,
                "memory is short (limits.memory_bytes): the client that held most was closed"
            );
        }
    }

    /// Lets this worker's clients grow by its part of what is `left` until the next look.
    fn allow(&self, left: usize, readable: usize, queue: usize) {
        let memory = &self.memory;
        let least = memory.budget / LEAST_PART;
        let part = (left.max(least) / self.shared.workers.len().max(1)).max(LEAST);
        memory.allowance.set(memory.clients.get().saturating_add(part));
        self.links.queue_bytes.set(self.shared.settings.limits.node_queue_bytes.min(queue));
        if memory.readable.replace(readable) < readable {
            self.clients.borrow().values().for_each(|client| client.read_again(readable));
        }
    }
}
