//! Several Ringways on one topology: one leads, and the others serve by what it says.
//!
//! ```text
//!   leader    change ─► followers().settled(epoch) ─► keys move     ◄─ bring(keys)
//!                │                    ▲                                   ▲
//!                ▼                    │                                   │
//!   follower  take_over ─► settled: nothing is under way by an earlier topology; commands wait for keys on their way
//! ```
//! How they speak with each other is for others to say: this knows no network.

use std::sync::Arc;

use ringway_ring::diff;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use super::{Abandoned, ApplyError, Change, Control, Followers, Ordering, PoisonError};
use crate::movement::{Fetch, MovementPhase, Order, Where, followed};
use crate::route::arrived::Traveller;
use crate::settings::{Origin, TopologySpec};
use crate::topology::{NodeAddress, Owner, Topology};
use crate::worker::ToWorker;

/// What became of a key that a follower asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brought {
    /// It is at its node, or there is none.
    Arrived,
    /// Nobody brings it by that topology, or not now.
    Unknown,
    /// Why it cannot be had.
    Not(String),
}

/// Keys that clients of a follower wait for.
#[derive(Debug)]
pub struct Wanted(Fetch);

impl Wanted {
    /// The epoch, here, of the topology by which they are asked for.
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// What they are.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys.iter().map(|key| &*key.key)
    }

    /// Whether somebody waits still.
    pub fn is_awaited(&self) -> bool {
        !self.0.answer.is_closed()
    }

    /// All of them have arrived, or one cannot be had.
    pub fn answer(self, outcome: Result<(), String>) {
        // who has left does not mind
        let _ = self.0.answer.send(outcome.map(|()| Where::There));
    }

    /// Nobody brings them by that topology: the waiting look whether there is another one.
    pub fn look_again(self) {
        let _ = self.0.answer.send(Ok(Where::Unknown));
    }
}

impl Control {
    /// Who else serves by this topology.
    pub fn followers(&self) -> &Followers {
        &self.shared.followers
    }

    /// Waits until the epoch is another one, or this process may not say what is served by.
    pub async fn changes_from(&self, epoch: u64) {
        let is_other = |_: &()| self.topology().epoch() != epoch || self.shared.is_held();
        // an error would be the end of the proxy
        let _ = self.shared.changed.subscribe().wait_for(is_other).await;
    }

    /// Whether this process says what is served by, and makes changes: not while another one does.
    ///
    /// # Errors
    /// [`ApplyError::Held`], [`ApplyError::Follows`].
    pub fn check_leads(&self) -> Result<(), ApplyError> {
        self.shared.changes().refuses().map_or(Ok(()), Err)
    }

    /// Connections that followers must have fenced before they serve by the topology that holds now.
    pub fn left_behind(&self) -> Vec<Abandoned> {
        self.shared.movement.left_behind()
    }

    /// Has a key brought to its node in the topology of `epoch`, for a follower whose clients wait for it. Whoever drops what
    /// this answers does not want it any more.
    pub fn bring(&self, epoch: u64, key: Vec<u8>) -> impl Future<Output = Brought> + Send + 'static {
        let topology = self.topology();
        let asked = if topology.epoch() != epoch || topology.former().is_none() {
            Err(Brought::Unknown)
        } else {
            match topology.owner(&key) {
                Owner::Node(_) => Err(Brought::Arrived),
                Owner::Moving { from, to } => {
                    let (answer, answered) = oneshot::channel();
                    let keys = vec![Traveller { key: key.into(), from, to }];
                    self.shared.movement.order(Order::Fetch(Fetch { epoch, keys, answer }));
                    Ok(answered)
                }
            }
        };
        async move {
            match asked {
                Err(known) => known,
                Ok(answered) => match answered.await {
                    Ok(Ok(Where::There)) => Brought::Arrived,
                    Ok(Err(why)) => Brought::Not(why),
                    Ok(Ok(Where::Unknown)) | Err(_) => Brought::Unknown,
                },
            }
        }
    }

    /// From now on this process serves by the topology of another one, named for people, and takes no changes; keys on their
    /// way are asked for through what this answers.
    pub fn follow(&self, whom: &str) -> UnboundedReceiver<Wanted> {
        let (wanted, wishes) = unbounded_channel();
        self.shared
            .movement
            .bring_elsewhere(move |fetch| wanted.send(Wanted(fetch)).map_err(|error| error.0.0));
        let mut changes = self.shared.changes();
        changes.follows = Some(whom.to_owned());
        self.shared.is_held.store(true, Ordering::Relaxed);
        drop(changes);
        self.shared.movement.order(Order::Look);
        wishes
    }

    /// Whose topology this process serves by, if it is another one's.
    pub fn follows(&self) -> Option<String> {
        self.shared.changes().follows.clone()
    }

    /// Whether the leader that is followed was heard of when it was asked last.
    pub fn note_leader(&self, is_heard: bool) {
        self.shared.hears_leader.store(is_heard, Ordering::Relaxed);
    }

    /// What was last said by [`Control::note_leader`].
    pub fn hears_leader(&self) -> bool {
        self.shared.hears_leader.load(Ordering::Relaxed)
    }

    /// Serves by the topology that the leader has, under its epoch or a later one of this process; `None` when it is served
    /// by already. Connections in `fences` are fenced first.
    ///
    /// # Errors
    /// [`ApplyError::Topology`], [`ApplyError::NoTls`], [`ApplyError::NotKept`]; the old topology serves on.
    pub async fn take_over(
        &self,
        epoch: u64,
        (spec, origin): (TopologySpec, Option<Origin>),
        fences: Vec<Abandoned>,
        change: &str,
    ) -> Result<Option<Change>, ApplyError> {
        let from = self.topology();
        let beside = Beside::of((from.spec(), from.origin().as_ref()), (&spec, origin.as_ref()));
        let epoch = epoch_of(from.epoch(), epoch, beside);
        self.fence(fences).await;
        if epoch == from.epoch() {
            return Ok(None);
        }
        let to = Topology::build_moving(epoch, spec, origin)?;
        self.check_reached(&to)?;
        let mut changes = self.shared.changes();
        if let Some(keep) = &*self.shared.keep.lock().unwrap_or_else(PoisonError::into_inner) {
            keep(&to).map_err(ApplyError::NotKept)?;
        }
        let done = Change { diff: diff(from.ring(), to.ring()), from, to: Arc::new(to) };
        self.publish(&mut changes, &done, change, MovementPhase::Done);
        Ok(Some(done))
    }

    /// Whether its nodes can be spoken to as their addresses say. Names are not resolved: what cannot be on this machine is
    /// a node that is down.
    fn check_reached(&self, topology: &Topology) -> Result<(), ApplyError> {
        let former = topology.former().map(|former| former.nodes()).unwrap_or_default();
        for node in topology.nodes().iter().chain(former) {
            let address = NodeAddress::parse(&node.address);
            if let Some(address) = address {
                self.check_spoken(node, address)?;
            }
            let is_own = match address {
                Some(NodeAddress::Network(host, port) | NodeAddress::Tls(host, port)) => {
                    host.parse().is_ok_and(|ip: std::net::IpAddr| self.is_own((ip, port).into()))
                }
                Some(NodeAddress::Unix(path)) => self.is_own_path(path),
                Some(NodeAddress::Sentinel { .. }) | None => false,
            };
            if is_own {
                let (node, address) = (node.name.clone(), node.address.clone());
                return Err(ApplyError::OwnAddress { node, address });
            }
        }
        Ok(())
    }

    /// Has every worker's connections fence what others have given up.
    pub(crate) async fn fence(&self, fences: Vec<Abandoned>) {
        if fences.is_empty() {
            return;
        }
        let all: Vec<_> = fences.into_iter().map(Abandoned::into_parts).collect();
        for worker in &self.shared.workers {
            let (all, (answer, answered)) = (all.clone(), oneshot::channel());
            let question = move |worker: &std::rc::Rc<crate::worker::Worker>| {
                all.into_iter().for_each(|(address, identity)| worker.fence(&address, &[identity]));
                let _ = answer.send(());
            };
            if worker.sender.send(ToWorker::Run(Box::new(question))).is_ok() {
                // a worker that ends sends nothing more
                let _ = answered.await;
            }
        }
    }

    /// Connections that workers which have ended had given up with commands unanswered.
    pub fn given_up_at_the_end(&self) -> Vec<Abandoned> {
        let given_up = self.shared.given_up_at_the_end.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.clone()
    }

    /// Waits until nothing is under way that was sent by a topology before that of `epoch`; the connections that were given
    /// up with commands unanswered.
    pub async fn settled(&self, epoch: u64) -> Vec<Abandoned> {
        let given_up = followed(Arc::clone(&self.shared), epoch).await;
        given_up.into_iter().map(|(address, identity)| Abandoned::new(address, identity)).collect()
    }
}

/// What a process serves by, beside what its leader has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// The same topology, by which nothing moves.
    Same,
    /// The same topology, and the same keys on their way.
    SameMoving,
    /// Another one.
    Other,
}

impl Beside {
    /// Compares placement, nodes, and where keys come from.
    pub fn of(own: (&TopologySpec, Option<&Origin>), leaders: (&TopologySpec, Option<&Origin>)) -> Self {
        match own.1 {
            _ if own != leaders => Self::Other,
            Some(_) => Self::SameMoving,
            None => Self::Same,
        }
    }
}

/// The epoch under which a process that serves by `own` takes over the topology that its leader has under `leaders`: the
/// leader's, but epochs never go back (law I8), and the same topology needs no other one. Of keys on their way, those that
/// have arrived are known by epoch: with one that is not the leader's, they may have been on another way.
pub fn epoch_of(own: u64, leaders: u64, beside: Beside) -> u64 {
    match (leaders.cmp(&own), beside) {
        (std::cmp::Ordering::Greater, _) => leaders,
        (_, Beside::Same) | (std::cmp::Ordering::Equal, Beside::SameMoving) => own,
        _ => own + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_follow_the_leader_and_never_go_back() {
        for beside in [Beside::Same, Beside::SameMoving, Beside::Other] {
            assert_eq!(epoch_of(3, 7, beside), 7);
        }
        assert_eq!(epoch_of(7, 7, Beside::Same), 7);
        assert_eq!(epoch_of(7, 7, Beside::SameMoving), 7);
        assert_eq!(epoch_of(9, 7, Beside::Same), 9);
        assert_eq!(epoch_of(9, 7, Beside::SameMoving), 10);
        assert_eq!(epoch_of(9, 7, Beside::Other), 10, "a leader that begins again at 1 is believed");
        assert_eq!(epoch_of(7, 7, Beside::Other), 8);
    }
}
