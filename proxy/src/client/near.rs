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
use crate::command::{self, Command, Join, Route, Transaction as Step, key_positions};
use crate::control::Shared;
use crate::near::{By, KeptKey, NearCache, Read, WriteGuard, part};
use crate::resp::{Args, encode};
use crate::stats::{Outcome, WorkerStats};
use crate::upstream::{Filler, Keeper, Node, WireContext};
use crate::worker::Worker;

/// Ticks of a worker between two moments in which reads are counted.
const TICKS: u32 = 5;
/// So long a frame is read whole however short the values are that are kept, in bytes: lives, errors, the names of keys.
const LEAST_FRAME: usize = 1024;
/// Longest reply to an MGET that is put together here, in bytes: a longer one is passed on piece by piece.
const MOST_VALUES: usize = 256 * 1024;
/// A larger buffer for such replies is given back, in bytes.
const KEEP_BYTES: usize = 64 * 1024;

/// What a worker keeps, and its connections for that.
pub(crate) struct Near {
    cache: NearCache,
    fillers: RefCell<Vec<Rc<Filler<Near>>>>,
    context: WireContext,
    lines: Cell<u64>,
    /// How the value of each key of an MGET is read.
    get: &'static Command,
    /// Longest reply to an MGET, in bytes.
    most_values: usize,
    /// Where the reply to an MGET is put together.
    values: RefCell<Vec<u8>>,
    myself: Weak<Near>,
}

impl Near {
    /// `None` when nothing is to be kept.
    pub(crate) fn new(shared: &Shared, stats: &Arc<WorkerStats>, speaks: bool) -> Option<Rc<Self>> {
        let mut settings = shared.settings.near_cache?;
        // a reply that is given at once is not to close its client
        let longest = shared.settings.limits.reply_hard_bytes / 4;
        settings.value_bytes = settings.value_bytes.min(longest);
        let writes = Arc::clone(shared.writes.as_ref()?);
        let get = command::find_full(b"get")?;
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
            get,
            most_values: MOST_VALUES.min(longest),
            values: RefCell::default(),
            myself: Weak::clone(myself),
        }))
    }

    /// A read goes to its node: if its key is read again and again, its answer is asked for.
    #[inline]
    fn note(&self, worker: &Worker, read: &Read<'_>, epoch: u64) {
        if !self.cache.is_hot(read) {
            return;
        }
        let node = {
            let routes = worker.routes();
            // keys may be on their way by a topology that has come in between
            let holds = routes.topology.epoch() == epoch;
            holds.then(|| routes.node(routes.topology.owner(read.key()).home()))
        };
        if let Some(node) = node {
            self.fetch(read, &node, epoch, worker.turn.now());
        }
    }

    /// Asks for an answer, to be kept.
    #[cold]
    fn fetch(&self, read: &Read<'_>, node: &Node<SlotRef>, epoch: u64, now: Instant) {
        let filler = self.filler(node);
        if !filler.is_up() {
            return;
        }
        if let Some(number) = self.cache.begin(read, filler.line(), epoch, now)
            && !filler.ask(read.database, read.key(), number, |out| read.request(out))
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
    pub(crate) fn kept_keys(&self) -> Vec<KeptKey> {
        self.cache.kept_keys()
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

impl Named {
    /// It may be any key.
    const ANY: Self = Self(u64::MAX);

    fn add(&mut self, parts: u64) {
        self.0 |= parts;
    }

    fn has(self, part: u64) -> bool {
        self.0 & part != 0
    }
}

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
    if inner.session.mode == Mode::Plain {
        if command.kept {
            return read(near, client, inner, command, args);
        }
        if command.route == Route::Split(Join::Values) {
            return read_all(near, client, inner, command, args);
        }
    }
    let Some(guard) = guard(near, client, inner, command, &args) else {
        // it may look at any key
        inner.session.named = Named::ANY;
        return run(client, inner, command, args);
    };
    inner.session.named.add(guard.parts());
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
    let Some(read) = Read::of(near.cache.ledger(), inner.session.database, command, args) else {
        inner.session.named = Named::ANY;
        return run(client, inner, command, args);
    };
    let named = inner.session.named;
    inner.session.named.add(part(read.hash()));
    if let Some(by) = may_be_kept(client, inner) {
        let tell = |reply: &[u8]| give(client, inner, command, reply);
        if !named.has(part(read.hash())) && near.cache.answer(&read, &by, tell) {
            return true;
        }
        near.note(&client.worker, &read, by.epoch);
    }
    run(client, inner, command, args)
}

/// MGET is answered here if all of its keys are kept, as GET reads them. If one is not, all are read from the nodes: keys of
/// one node at one moment.
fn read_all(
    near: &Near,
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    let Some(reads) = Read::all(near.cache.ledger(), inner.session.database, near.get, args) else {
        inner.session.named = Named::ANY;
        return run(client, inner, command, args);
    };
    let (named, by) = (inner.session.named, may_be_kept(client, inner));
    // how long all answers are, as long as each is kept
    let mut len = by.is_some().then_some(0);
    for read in reads.clone() {
        let part = part(read.hash());
        inner.session.named.add(part);
        let Some(by) = &by else { continue };
        // of one that is not kept the others are not asked
        let add = |len| Some(len + near.cache.len(&read, by)?);
        len = len.filter(|_| !named.has(part)).and_then(add).filter(|len| *len <= near.most_values);
        if len.is_none() {
            near.note(&client.worker, &read, by.epoch);
        }
    }
    if let Some(by) = by.filter(|_| len.is_some()) {
        let values = &mut *near.values.borrow_mut();
        encode::array(values, args.len() - 1);
        let all = near.cache.answer_all(reads, &by, values);
        if all {
            give(client, inner, command, values);
        }
        values.clear();
        values.shrink_to(KEEP_BYTES);
        if all {
            return true;
        }
    }
    run(client, inner, command, args)
}

/// Gives a reply that is kept, and counts its command.
#[inline]
fn give(client: &Rc<Client>, inner: &mut Inner, command: &'static Command, reply: &[u8]) {
    client.answer(inner, |out| out.extend_from_slice(reply));
    client.worker.stats.local.count(command, Outcome::Ok);
    client.worker.stats.commands_read.add(1);
}

/// How a read is answered from what is kept; `None` when it may not be.
#[inline]
fn may_be_kept(client: &Client, inner: &Inner) -> Option<By<fn() -> Instant>> {
    // who is told of keys by the nodes is told of what is read there, and what is watched is compared with what is there;
    // whoever leaves much unread is not given more of it than a node would
    let is_behind = inner.pipeline.reply_bytes() > client.worker.shared.settings.limits.reply_soft_bytes;
    if inner.session.tracking.is_some() || inner.session.transaction.watches() || is_behind {
        return None;
    }
    let topology = &client.worker.routes().topology;
    topology.former().is_none().then(|| By {
        protocol: inner.session.protocol,
        epoch: topology.epoch(),
        now: client.worker.turn.now(),
        exactly: Instant::now as fn() -> Instant,
    })
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
