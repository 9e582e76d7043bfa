//! Whoever moves keys as long as the topology says that some are on their way: one for the whole proxy.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::carrier::{Asked, Carrier, Waiting};
use super::inspect::inspect;
use super::status::{MovementPhase, MovementStatus};
use super::wires::{GivenUp, Wires};
use super::{Fetch, Order, Where};
use crate::control::{ApplyError, Change, Control, Shared};
use crate::essential::Essential;
use crate::limits::FOLLOWERS_TIME;
use crate::topology::{NodeAddress, NodeIndex, Topology};
use crate::upstream::{Abandoned, Fences, Identity};
use crate::worker::ToWorker;

/// How often a movement that has come to its end tries to say so when the topology cannot be kept.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How often those are looked for who keep a movement from beginning.
const LOOK: Duration = Duration::from_millis(500);

/// Moves keys whenever the topology asks for it, until nobody can tell it anything any more.
pub(crate) async fn run(shared: Arc<Shared>, mut inbox: UnboundedReceiver<Order>) {
    let _essential = Essential::new("the mover of keys", &shared.failed);
    let given_up = GivenUp::default();
    let mut waiting = Waiters::default();
    loop {
        let topology = shared.topology.load_full();
        let goes_on = if topology.former().is_some() && !shared.is_held() {
            Journey::new(&shared, topology, &given_up).run(&mut inbox, &mut waiting).await
        } else {
            rest(&shared, &topology, &given_up, &mut inbox, &mut waiting).await
        };
        if goes_on.is_none() {
            return;
        }
    }
}

/// Nothing is to be moved here: takes one order.
async fn rest(
    shared: &Arc<Shared>,
    topology: &Topology,
    given_up: &GivenUp,
    inbox: &mut UnboundedReceiver<Order>,
    waiting: &mut Waiters,
) -> Option<()> {
    if topology.former().is_none() {
        waiting.answer_outdated(u64::MAX);
    }
    match inbox.recv().await? {
        Order::Look => {
            let all = std::mem::take(&mut waiting.all);
            waiting.all.extend(all.into_iter().filter_map(|fetch| shared.movement.pass_on(fetch)));
        }
        Order::Fetch(fetch) => {
            // another process moves them still: it is asked, or it will soon be this one's turn
            if let Some(fetch) = shared.movement.pass_on(fetch) {
                waiting.push(fetch);
            }
        }
        Order::Inspect(what) => begin_inspection(shared, *what, given_up),
        Order::End(_, answer) => drop(answer.send(Err(ApplyError::NothingMoves))),
        Order::Rest(answer) => {
            wait_for_earlier(shared, topology).await;
            let _ = answer.send(());
        }
    }
    Some(())
}

/// Those whose keys nobody can carry yet.
#[derive(Default)]
struct Waiters {
    all: Vec<Fetch>,
    /// At this length those are looked for who wait no longer.
    full: usize,
}

impl Waiters {
    fn push(&mut self, fetch: Fetch) {
        if self.all.len() >= self.full {
            self.all.retain(|fetch| !fetch.answer.is_closed());
            self.full = (2 * self.all.len()).max(64);
        }
        self.all.push(fetch);
    }

    /// Who waits by an earlier topology than that of `epoch` is to look again.
    fn answer_outdated(&mut self, epoch: u64) {
        for fetch in self.all.extract_if(.., |fetch| fetch.epoch < epoch) {
            let _ = fetch.answer.send(Ok(Where::Unknown));
        }
    }
}

fn begin_inspection(
    shared: &Arc<Shared>,
    (topology, answer): (Topology, oneshot::Sender<Result<(), String>>),
    given_up: &GivenUp,
) {
    let wires = Wires::new(shared, &topology, given_up);
    tokio::task::spawn_local(async move {
        // whoever asked has limits of its own
        let _ = answer.send(inspect(&topology, &wires).await);
    });
}

/// One topology's keys on their way.
struct Journey {
    shared: Arc<Shared>,
    topology: Arc<Topology>,
    given_up: GivenUp,
    carriers: JoinSet<()>,
    /// To each carrier, by the node's position in the former topology.
    ways: Vec<UnboundedSender<Asked>>,
    stop: watch::Sender<bool>,
    done: Rc<Done>,
}

/// Which nodes have nothing left that is to move.
#[derive(Default)]
pub(super) struct Done {
    sources: RefCell<BTreeSet<NodeIndex>>,
    told: Notify,
}

impl Done {
    /// Nothing is left at this node.
    pub(super) fn note(&self, source: NodeIndex) {
        self.sources.borrow_mut().insert(source);
        self.told.notify_one();
    }
}

/// Why a journey is over for now.
enum Break {
    /// The topology is another one, or this process may not act.
    Changed,
    /// Nobody can tell anything any more.
    Closed,
}

impl Journey {
    fn new(shared: &Arc<Shared>, topology: Arc<Topology>, given_up: &GivenUp) -> Self {
        Self {
            shared: Arc::clone(shared),
            topology,
            given_up: Rc::clone(given_up),
            carriers: JoinSet::new(),
            ways: Vec::new(),
            stop: watch::Sender::new(false),
            done: Rc::default(),
        }
    }

    async fn run(mut self, inbox: &mut UnboundedReceiver<Order>, waiting: &mut Waiters) -> Option<()> {
        let end = self.travel(inbox, waiting).await;
        self.halt().await;
        match end {
            Break::Changed => Some(()),
            Break::Closed => None,
        }
    }

    async fn travel(&mut self, inbox: &mut UnboundedReceiver<Order>, waiting: &mut Waiters) -> Break {
        waiting.answer_outdated(self.topology.epoch());
        let (shared, epoch) = (Arc::clone(&self.shared), self.topology.epoch());
        let followed = async {
            // who follows has nothing to do with what this process has sent
            let (mut given_up, others) =
                tokio::join!(followed(Arc::clone(&shared), epoch), shared.followers.settled(epoch));
            given_up.extend(others.into_iter().map(Abandoned::into_parts));
            given_up
        };
        let mut ready = None;
        tokio::pin!(followed);
        let until = Instant::now() + FOLLOWERS_TIME + 2 * shared.settings.timeouts.operation;
        let mut look = tokio::time::interval(LOOK);
        let (mut has_begun, mut try_at) = (false, None);
        loop {
            // who takes the change back says so, or lets it go on, by an order
            if ready.is_some() && self.shared.movement.may_begin(self.topology.epoch()) {
                has_begun = true;
                self.begin(ready.take().unwrap_or_default());
            }
            if has_begun {
                waiting.all.drain(..).for_each(|fetch| self.fetch(fetch));
            }
            let again = async {
                match try_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                given_up = &mut followed, if !has_begun && ready.is_none() => ready = Some(given_up),
                _ = look.tick(), if !has_begun && ready.is_none() => {
                    if self.is_taken_back(until).await {
                        return Break::Changed;
                    }
                }
                order = inbox.recv() => {
                    let Some(order) = order else { return Break::Closed };
                    if !self.take(order, waiting).await {
                        return Break::Changed;
                    }
                }
                () = self.done.told.notified() => try_at = Some(Instant::now()),
                () = again => {
                    try_at = None;
                    if self.has_arrived() && !self.arrive().await {
                        try_at = Some(Instant::now() + TRY_AGAIN);
                    }
                }
            }
        }
    }

    /// Does as it is told; false when the journey is over.
    async fn take(&mut self, order: Order, waiting: &mut Waiters) -> bool {
        match order {
            Order::Look => return self.still_holds(),
            Order::Fetch(fetch) if fetch.epoch < self.topology.epoch() => {
                let _ = fetch.answer.send(Ok(Where::Unknown));
            }
            Order::Fetch(fetch) if fetch.epoch > self.topology.epoch() => {
                // the word of the change is on its way
                waiting.push(fetch);
                return false;
            }
            Order::Fetch(fetch) => waiting.push(fetch),
            Order::Inspect(what) => begin_inspection(&self.shared, *what, &self.given_up),
            Order::Rest(answer) => {
                self.halt().await;
                wait_for_earlier(&self.shared, &self.topology).await;
                let _ = answer.send(());
                return false;
            }
            Order::End(epoch, answer) if epoch != self.topology.epoch() => {
                let actual = self.topology.epoch();
                let _ = answer.send(Err(ApplyError::Epoch { expected: epoch, actual }));
            }
            Order::End(_, answer) => {
                // nothing may be on its way when commands go to the new nodes without asking, nor arrive later
                self.halt().await;
                self.tell_workers().await;
                let ended = self.finish(MovementPhase::Ended).await;
                let _ = answer.send(ended);
                return false;
            }
        }
        true
    }

    /// Has every worker's connections to the servers fence what carriers have given up there.
    async fn tell_workers(&self) {
        let now = std::time::Instant::now();
        let left_behind: Vec<Abandoned> = {
            let known = self.given_up.borrow();
            let each = |(address, fences): (&String, &Fences)| {
                let address = address.clone();
                fences
                    .recent(now)
                    .0
                    .into_iter()
                    .map(move |identity| Abandoned::new(address.clone(), identity))
            };
            known.iter().flat_map(each).collect()
        };
        Control::new(Arc::clone(&self.shared)).fence(left_behind.clone()).await;
        let kept = &self.shared.movement.left_behind;
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = (Some(now), left_behind);
    }

    /// Says for whom keys wait that have not begun to move. Where all of them are where they were, the change is taken back:
    /// as long as one serves by the topology before, none may move: when one says that it cannot take the change over, or
    /// `until` is past. Whether it is.
    async fn is_taken_back(&self, until: Instant) -> bool {
        let Some((name, trouble)) = self.shared.followers.awaited(self.topology.epoch()) else {
            return false;
        };
        if trouble.is_none() && Instant::now() < until {
            return false;
        }
        let trouble = trouble.map(|trouble| format!(": {}", trouble.escape_debug())).unwrap_or_default();
        let why = format!(
            "Ringway '{name}', which follows this one, has not taken over the topology of epoch {}{trouble}",
            self.topology.epoch()
        );
        let mut is_new = false;
        self.note(|status| {
            is_new = status.why.as_ref() != Some(&why);
            status.why = Some(why.clone());
        });
        if is_new {
            tracing::warn!(why, "keys do not begin to move");
        }
        let (control, epoch) = (Control::new(Arc::clone(&self.shared)), self.topology.epoch());
        let work = tokio::task::spawn_blocking(move || control.take_back(epoch, &why));
        match work.await {
            Ok(Ok(change)) => {
                tracing::warn!(
                    epoch = change.to.epoch(),
                    "the change is taken back: what was before is served again"
                );
                true
            }
            Ok(Err(ApplyError::Epoch { .. })) => true,
            // it cannot be, or it is tried again
            Ok(Err(_)) | Err(_) => false,
        }
    }

    fn still_holds(&self) -> bool {
        self.shared.topology.load().epoch() == self.topology.epoch() && !self.shared.is_held()
    }

    /// Nothing is on its way by earlier topologies: the carriers set out.
    fn begin(&mut self, given_up: Vec<(String, Identity)>) {
        {
            let mut known = self.given_up.borrow_mut();
            let former = self.topology.former().map(|former| former.nodes()).unwrap_or_default();
            let nodes = self.topology.nodes().iter().chain(former);
            let here: BTreeSet<String> = nodes.map(|node| NodeAddress::key(&node.address)).collect();
            // others may speak of servers that are not concerned
            for (address, identity) in given_up.into_iter().filter(|(address, _)| here.contains(address)) {
                let fences = known.entry(address).or_default();
                fences.add(Some(identity), std::time::Instant::now());
            }
        }
        self.note(|status| {
            status.phase = MovementPhase::Moves;
            status.why = None;
            // they are looked for anew
            status.left = 0;
        });
        tracing::info!(epoch = self.topology.epoch(), "keys begin to move to their nodes");
        let wires = Wires::new(&self.shared, &self.topology, &self.given_up);
        let nodes = self.topology.former().map_or(0, |former| former.nodes().len());
        for source in (0..nodes).map(|at| NodeIndex(at as u16)) {
            let (way, asked) = unbounded_channel();
            self.ways.push(way);
            let gives = self.topology.former().is_none_or(|former| former.gives(source));
            if !gives {
                self.done.note(source);
                continue;
            }
            let carrier = Carrier {
                shared: Arc::clone(&self.shared),
                topology: Arc::clone(&self.topology),
                wires: Rc::clone(&wires),
                source,
                asked,
                stop: self.stop.subscribe(),
                done: Rc::clone(&self.done),
            };
            self.carriers.spawn_local(carrier.run());
        }
    }

    fn fetch(&self, Fetch { keys, answer, .. }: Fetch) {
        self.note(|status| status.fetched += 1);
        if keys.is_empty() {
            let _ = answer.send(Ok(Where::There));
            return;
        }
        let waiting = Waiting::new(answer, keys.len());
        for key in keys {
            // a carrier that is gone leaves the answer open, which says so
            if let Some(way) = self.ways.get(usize::from(key.from.0)) {
                let _ = way.send(Asked { key, waiting: Rc::clone(&waiting) });
            }
        }
    }

    /// Ends the carriers after what they have in hand.
    async fn halt(&mut self) {
        self.stop.send_replace(true);
        while self.carriers.join_next().await.is_some() {}
    }

    /// Whether no node has anything left that is to move.
    fn has_arrived(&self) -> bool {
        let done = self.done.sources.borrow().len();
        self.topology.former().is_some_and(|former| former.nodes().len() == done)
    }

    /// All keys are at their nodes: the topology is a plain one from now on. False when that could not be kept.
    async fn arrive(&self) -> bool {
        match self.finish(MovementPhase::Done).await {
            Ok(_) | Err(ApplyError::Epoch { .. } | ApplyError::NothingMoves) => true,
            // whoever holds it ends the journey, or soon no longer does
            Err(ApplyError::Held(_)) => false,
            Err(error) => {
                self.note(|status| status.why = Some(error.to_string()));
                false
            }
        }
    }

    async fn finish(&self, phase: MovementPhase) -> Result<Change, ApplyError> {
        let (control, epoch) = (Control::new(Arc::clone(&self.shared)), self.topology.epoch());
        let how = if phase == MovementPhase::Done {
            "all keys have moved"
        } else {
            "the movement of keys was ended"
        };
        // it builds a ring and writes a file
        let work = tokio::task::spawn_blocking(move || control.settle(epoch, how, phase));
        let settled =
            work.await.unwrap_or_else(|_| Err(ApplyError::NotKept("the work broke off".to_owned())));
        if settled.is_ok()
            && let Some(MovementStatus { moved, bytes, left, .. }) = *self.shared.movement.status()
        {
            tracing::info!(epoch, moved, bytes, left, "{how}");
        }
        settled
    }

    fn note(&self, what: impl FnOnce(&mut MovementStatus)) {
        self.shared.movement.note(self.topology.epoch(), what);
    }
}

/// The next process knows nothing of what this one has sent by earlier topologies: waits for that before it may go on, as
/// long as a node may take.
async fn wait_for_earlier(shared: &Arc<Shared>, topology: &Topology) {
    if topology.former().is_some() {
        let limit = 2 * shared.settings.timeouts.operation;
        let _ = tokio::time::timeout(limit, followed(Arc::clone(shared), topology.epoch())).await;
    }
}

/// Waits until no worker has anything under way that it sent by a topology before that of `epoch`; what was given up with
/// a write unanswered, by address of the server.
pub(crate) async fn followed(shared: Arc<Shared>, epoch: u64) -> Vec<(String, Identity)> {
    let mut answers = Vec::new();
    for worker in &shared.workers {
        let (answer, answered) = oneshot::channel();
        let question = move |worker: &Rc<crate::worker::Worker>| {
            let worker = Rc::clone(worker);
            tokio::task::spawn_local(async move {
                let mut answer = answer;
                let fences = tokio::select! {
                    fences = worker.followed(epoch) => fences,
                    // nobody waits for it any more when the topology is yet another one
                    () = answer.closed() => return,
                };
                let _ = answer.send(fences);
            });
        };
        // a worker that has ended has nothing under way
        if worker.sender.send(ToWorker::Run(Box::new(question))).is_ok() {
            answers.push(answered);
        }
    }
    let mut given_up: HashMap<String, Vec<Identity>> = HashMap::new();
    for answer in answers {
        for (address, fences) in answer.await.unwrap_or_default() {
            let (recent, _) = fences.recent(std::time::Instant::now());
            given_up.entry(NodeAddress::key(&address)).or_default().extend(recent);
        }
    }
    given_up
        .into_iter()
        .flat_map(|(address, all)| all.into_iter().map(move |one| (address.clone(), one)))
        .collect()
}
