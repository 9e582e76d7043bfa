//! Reads that are answered from what is kept, and writes after which that holds no longer ([`crate::near`]).
//!
//! A client's commands keep their order: a read whose key was named by a command of the client that is not answered yet goes
//! to the node behind it, whatever is kept.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::session::{Mode, run};
use super::{Client, Inner, SlotRef};
use crate::command::{Command, Route, Transaction as Step, key_positions};
use crate::control::Shared;
use crate::near::{HotKey, NearCache, Read, WriteGuard, part};
use crate::resp::Args;
use crate::stats::{Outcome, WorkerStats};
use crate::upstream::{Filler, Keeper, Node, WireContext};
use crate::worker::Worker;

/// Ticks of a worker between two moments in which reads are counted.
const TICKS: u32 = 5;
/// So long a frame is read whole however short the values are that are kept, in bytes: lives, errors, the names of keys.
const LEAST_FRAME: usize = 1024;

/// What a worker keeps, and its connections for that.
pub(crate) struct Near {
    cache: NearCache,
    fillers: RefCell<Vec<Rc<Filler<Near>>>>,
    context: WireContext,
    lines: Cell<u64>,
    myself: Weak<Near>,
}

impl Near {
    /// `None` when nothing is to be kept.
    pub(crate) fn new(shared: &Shared, stats: &Arc<WorkerStats>, speaks: bool) -> Option<Rc<Self>> {
        let settings = shared.settings.near_cache?;
        let writes = Arc::clone(shared.writes.as_ref()?);
        let workers = shared.workers.len().max(1);
        let cache = NearCache::new(settings, settings.memory_bytes / workers, writes, Arc::clone(stats));
        let context = WireContext {
            timeouts: shared.settings.timeouts,
            speaks,
            // each worker's link tries as well
            sharers: 2 * workers,
            paces: Arc::clone(&shared.paces),
            ways: Arc::clone(&shared.ways),
            longest: settings.value_bytes.max(LEAST_FRAME),
        };
        Some(Rc::new_cyclic(|myself| Self {
            cache,
            fillers: RefCell::default(),
            context,
            lines: Cell::new(0),
            myself: Weak::clone(myself),
        }))
    }

    /// Asks for an answer, to be kept.
    #[cold]
    fn fetch(&self, read: &Read<'_>, node: &Node<SlotRef>, epoch: u64, now: Instant) {
        let filler = self.filler(node);
        if !filler.is_up() {
            return;
        }
        if let Some(number) = self.cache.begin(read, filler.line(), epoch, now)
            && !filler.ask(read.database, read.args, read.key(), number)
        {
            self.cache.not_asked(number);
        }
    }

    fn filler(&self, node: &Node<SlotRef>) -> Rc<Filler<Near>> {
        let mut fillers = self.fillers.borrow_mut();
        if let Some(known) = fillers.iter().find(|filler| filler.serves(&node.spec)) {
            return Rc::clone(known);
        }
        self.lines.set(self.lines.get() + 1);
        let filler = Filler::start(
            Arc::clone(&node.spec),
            Arc::clone(&node.stats),
            self.context.clone(),
            self.lines.get(),
            Weak::clone(&self.myself),
        );
        fillers.push(Rc::clone(&filler));
        filler
    }

    /// Lets go of connections to nodes that have left.
    pub(crate) fn follow(&self, worker: &Worker) {
        let nodes = worker.routes().nodes();
        let (stay, leave) = std::mem::take(&mut *self.fillers.borrow_mut())
            .into_iter()
            .partition(|filler| nodes.iter().any(|node| filler.serves(&node.spec)));
        *self.fillers.borrow_mut() = stay;
        close(leave);
    }

    /// Looks after the connections; called at every tick.
    pub(crate) fn check(&self, now: Instant, stood_still: bool, round: u32) {
        for filler in &*self.fillers.borrow() {
            if stood_still { filler.forgive(now) } else { filler.check(now) }
        }
        if round.is_multiple_of(TICKS) {
            self.cache.cool(now);
        }
    }

    /// The keys of which something is kept.
    pub(crate) fn hot_keys(&self) -> Vec<HotKey> {
        self.cache.hot_keys()
    }

    /// Ends the connections.
    pub(crate) fn let_go(&self) {
        close(std::mem::take(&mut *self.fillers.borrow_mut()));
    }
}

fn close(fillers: Vec<Rc<Filler<Near>>>) {
    fillers.iter().for_each(|filler| filler.close());
}

impl Keeper for Near {
    fn filled(&self, number: u64, reply: Option<&[u8]>, life: Option<Duration>) {
        self.cache.filled(number, reply, life, Instant::now());
    }

    fn failed(&self, number: u64) {
        self.cache.not_asked(number);
    }

    fn changed(&self, key: &[u8]) {
        self.cache.invalidate(key);
    }

    fn lost(&self, line: u64) {
        self.cache.lost(line);
    }
}

/// Which keys a client has named in commands that are not answered yet, by [`part`].
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Named(u64);

/// [`run`] where answers are kept.
pub(super) fn serve(
    near: &Near,
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    if inner.pipeline.is_empty() {
        inner.session.named = Named::default();
    }
    if command.kept && inner.session.mode == Mode::Plain {
        return read(near, client, inner, command, args);
    }
    let Some(guard) = guard(near, client, inner, command, &args) else {
        // it may look at any key
        inner.session.named = Named(u64::MAX);
        return run(client, inner, command, args);
    };
    inner.session.named.0 |= guard.parts();
    if inner.session.mode == Mode::Queueing && !matches!(command.route, Route::Transaction(Step::Exec)) {
        inner.session.transaction.will_write(&guard);
        return run(client, inner, command, args);
    }
    // one that waits does so alone, and for as long as it likes
    let guard = if command.route == Route::Waiting { guard } else { guard.begin() };
    let mark = inner.pipeline.mark();
    let handled = run(client, inner, command, args);
    inner.pipeline.guard(mark, guard);
    handled
}

fn read(
    near: &Near,
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    let worker = &client.worker;
    let Some(read) = Read::of(near.cache.ledger(), inner.session.database, command, args) else {
        inner.session.named = Named(u64::MAX);
        return run(client, inner, command, args);
    };
    let part = part(read.hash());
    let is_named = inner.session.named.0 & part != 0;
    inner.session.named.0 |= part;
    // who is told of keys by the nodes is told of what is read there, and what is watched is compared with what is there
    if inner.session.tracking.is_some() || inner.session.transaction.watches() {
        return run(client, inner, command, args);
    }
    let wanted = {
        let routes = worker.routes();
        let epoch = routes.topology.epoch();
        if routes.topology.former().is_some() {
            None
        } else if !is_named && answered(near, client, inner, &read, epoch) {
            return true;
        } else if near.cache.is_hot(&read) {
            Some((routes.node(routes.topology.owner(read.key()).home()), epoch))
        } else {
            None
        }
    };
    if let Some((node, epoch)) = wanted {
        near.fetch(&read, &node, epoch, worker.turn.now());
    }
    run(client, inner, command, args)
}

/// Answers from what is kept, if there is something.
#[inline]
fn answered(near: &Near, client: &Rc<Client>, inner: &mut Inner, read: &Read<'_>, epoch: u64) -> bool {
    let worker = &client.worker;
    let (now, protocol, pipeline) = (worker.turn.now(), inner.session.protocol, &mut inner.pipeline);
    let answered = near.cache.answer(read, protocol, epoch, now, Instant::now, |reply| {
        pipeline.answer(&mut worker.spare.borrow_mut(), |out| out.extend_from_slice(reply));
    });
    if answered {
        worker.stats.local.count(read.command, Outcome::Ok);
        worker.stats.commands_read.add(1);
        client.answered();
    }
    answered
}

/// What a command may write, if anything.
fn guard(
    near: &Near,
    client: &Client,
    inner: &mut Inner,
    command: &'static Command,
    args: &Args<'_>,
) -> Option<WriteGuard> {
    match command.route {
        Route::Transaction(Step::Exec) => {
            return inner.session.transaction.writes();
        }
        Route::AllNodes(_) if command.is_write() => {}
        // PFCOUNT is a read by its flags that may write
        Route::Key | Route::Split(_) | Route::Waiting if command.is_write() || !command.may_repeat() => {}
        _ => return None,
    }
    let ledger = near.cache.ledger();
    let keys = &mut client.worker.scratch.borrow_mut().keys;
    if key_positions(command, args, keys).is_err() || keys.is_empty() {
        return Some(ledger.write_all());
    }
    Some(ledger.write(keys.iter().filter_map(|at| args.get(*at as usize))))
}
