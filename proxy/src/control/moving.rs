//! Changes after which keys move to their nodes, and what is between such a change and its end.

use std::sync::Arc;

use ringway_ring::diff;
use tokio::sync::oneshot;

use super::{ApplyError, Change, Changes, Control, Instant, PoisonError};
use crate::movement::{MovementPhase, MovementStatus, Order};
use crate::settings::{Origin, TopologySpec};
use crate::topology::Topology;

impl Control {
    /// As [`Control::apply`], after which the keys move to their nodes while clients go on; [`Control::movement`] tells
    /// how far they are. Until they are there no other change is taken but [`Control::rollback`].
    ///
    /// # Errors
    /// As [`Control::apply`], and [`ApplyError::CannotMove`] when the nodes cannot give or take keys.
    pub async fn apply_and_move(
        &self,
        spec: TopologySpec,
        expected: Option<u64>,
        change: &str,
    ) -> Result<Change, ApplyError> {
        let from = self.topology();
        self.check_leads()?;
        self.check_epoch(expected)?;
        self.check_moves_nothing()?;
        let _alone = self.alone()?;
        let wanted = (spec.clone(), Some(Origin { former: from.spec().clone(), former_is_right: true }));
        let planned = Topology::build_moving(from.epoch() + 1, wanted.0.clone(), wanted.1.clone())?;
        self.check_addresses(&spec).await?;
        let planned_epoch = planned.epoch();
        self.inspect(planned).await?;
        if let Some(trouble) = self.shared.followers.trouble(Instant::now()) {
            return Err(ApplyError::CannotMove(trouble));
        }
        // what was looked at is what is changed
        let mut changes = self.shared.changes();
        self.check_epoch(Some(from.epoch()))?;
        // before the engine can see it
        self.shared.movement.set_out(planned_epoch);
        let done = self.swap(&mut changes, wanted, Some(from.epoch()), change);
        if done.is_err() {
            self.shared.movement.set_out(0);
        }
        done
    }

    /// As [`Control::rollback`], after which the keys move back.
    ///
    /// # Errors
    /// As [`Control::rollback`] and [`Control::apply_and_move`].
    pub async fn rollback_and_move(&self, expected: Option<u64>) -> Result<Change, ApplyError> {
        loop {
            let now = self.topology();
            // whether keys are on their way decides how they come back: it must still be so when they are called
            let epoch = expected.unwrap_or(now.epoch());
            let done = if now.former().is_some() {
                self.rollback(Some(epoch))
            } else {
                let previous = self.previous().ok_or(ApplyError::NothingToUndo)?;
                self.apply_and_move(previous.spec().clone(), Some(epoch), &rollback_to(&previous)).await
            };
            match done {
                Err(ApplyError::Epoch { .. } | ApplyError::StillMoving(_)) if expected.is_none() => {}
                done => return done,
            }
        }
    }

    /// Back to the topology before the last change, as a new epoch. Twice in a row is where one began. Keys that are
    /// still on their way are called back.
    ///
    /// # Errors
    /// [`ApplyError::NothingToUndo`] before the first change, [`ApplyError::Epoch`], [`ApplyError::NotKept`];
    /// [`ApplyError::CannotMove`] when keys are on their way and another process serves by the same topology file.
    pub fn rollback(&self, expected: Option<u64>) -> Result<Change, ApplyError> {
        let seen = self.topology();
        // another process must not go on by the topology that keys are called back from
        let _alone = seen.former().map(|_| self.alone()).transpose()?;
        let mut changes = self.shared.changes();
        let now = self.topology();
        if seen.former().is_some() && now.former().is_none() {
            // they have arrived while this waited: back without them is something else than what was asked for
            return Err(ApplyError::Epoch { expected: seen.epoch(), actual: now.epoch() });
        }
        if let (Some(_), Ok(())) = (now.former(), self.check_epoch(expected))
            && let Some(taken) = self.take_back_now(&mut changes, &now, "rollback")
        {
            return taken;
        }
        let (wanted, change) = match now.former() {
            // what has moved is where the keys are now, what has not is where they are to be: there it is right
            Some(former) => {
                let origin = Origin { former: now.spec().clone(), former_is_right: !former.is_right() };
                let change = "rollback: keys are called back that were on their way".to_owned();
                ((former.topology().spec().clone(), Some(origin)), change)
            }
            None => {
                let previous = changes.previous.clone().ok_or(ApplyError::NothingToUndo)?;
                ((previous.spec().clone(), None), rollback_to(&previous))
            }
        };
        self.change(&mut changes, wanted, expected, &change)
    }

    /// Leaves the keys where they are that are still on their way: those that have not arrived are found no more.
    ///
    /// # Errors
    /// [`ApplyError::NothingMoves`], [`ApplyError::Epoch`] when it is no longer the movement to the topology of `epoch`,
    /// [`ApplyError::Held`], [`ApplyError::NotKept`].
    pub async fn end_movement(&self, epoch: u64) -> Result<Change, ApplyError> {
        self.check_leads()?;
        let (answer, answered) = oneshot::channel();
        self.shared.movement.order(Order::End(epoch, answer));
        answered.await.unwrap_or(Err(ApplyError::NothingMoves))
    }

    /// How far the last movement of keys is; nothing before the first since the process began, and where another one moves
    /// them.
    pub fn movement(&self) -> Option<MovementStatus> {
        if self.follows().is_some() {
            return None;
        }
        self.shared.movement.status().clone()
    }

    /// Waits until no key is being carried. Begun after [`Control::hold`], nothing is carried from then on.
    pub async fn movement_rests(&self) {
        let (answer, answered) = oneshot::channel();
        self.shared.movement.order(Order::Rest(answer));
        // an engine that is gone carries nothing
        let _ = answered.await;
    }

    /// All that was on its way by the topology of `epoch` is where it is to be, or stays where it is: it becomes a plain
    /// topology, with an epoch of its own.
    ///
    /// # Errors
    /// [`ApplyError::Epoch`] when another one holds, [`ApplyError::NothingMoves`], [`ApplyError::Held`],
    /// [`ApplyError::NotKept`].
    pub(crate) fn settle(
        &self,
        epoch: u64,
        change: &str,
        phase: MovementPhase,
    ) -> Result<Change, ApplyError> {
        let mut changes = self.shared.changes();
        let now = self.topology();
        self.check_epoch(Some(epoch))?;
        if now.former().is_none() {
            return Err(ApplyError::NothingMoves);
        }
        self.change_to(&mut changes, (now.spec().clone(), None), Some(epoch), change, phase)
    }

    /// Undoes a change whose keys have not begun to move, all of which are where they were.
    ///
    /// # Errors
    /// [`ApplyError::Epoch`] when it is not what holds, [`ApplyError::NothingMoves`] when keys may have moved,
    /// [`ApplyError::NotKept`], [`ApplyError::Held`].
    pub(crate) fn take_back(&self, epoch: u64, why: &str) -> Result<Change, ApplyError> {
        let mut changes = self.shared.changes();
        self.check_epoch(Some(epoch))?;
        self.take_back_now(&mut changes, &self.topology(), why).unwrap_or(Err(ApplyError::NothingMoves))
    }

    /// As [`Control::take_back`]; `None` when keys may have moved.
    fn take_back_now(
        &self,
        changes: &mut Changes,
        now: &Topology,
        why: &str,
    ) -> Option<Result<Change, ApplyError>> {
        let former = now.former()?.topology().spec().clone();
        if !self.shared.movement.stop_before_it_begins(now.epoch()) {
            return None;
        }
        let before = (changes.previous.clone(), changes.last_moved);
        let change = format!("taken back before any key had moved: {why}");
        let wanted = (former, None);
        let taken = self.change_to(changes, wanted, Some(now.epoch()), &change, MovementPhase::Ended);
        match &taken {
            // there is nothing to go back to but what was there before
            Ok(_) => {
                (changes.previous, changes.last_moved) = before;
                self.shared.movement.set_out(0);
            }
            Err(_) => {
                self.shared.movement.set_out(now.epoch());
                self.shared.movement.order(Order::Look);
            }
        }
        Some(taken)
    }

    /// Changes the topology unless keys are on their way.
    pub(super) fn swap(
        &self,
        changes: &mut Changes,
        wanted: (TopologySpec, Option<Origin>),
        expected: Option<u64>,
        change: &str,
    ) -> Result<Change, ApplyError> {
        self.check_moves_nothing()?;
        self.change(changes, wanted, expected, change)
    }

    /// Changes the topology, also while keys are on their way.
    fn change(
        &self,
        changes: &mut Changes,
        wanted: (TopologySpec, Option<Origin>),
        expected: Option<u64>,
        change: &str,
    ) -> Result<Change, ApplyError> {
        self.change_to(changes, wanted, expected, change, MovementPhase::Ended)
    }

    /// As [`Control::change`]; `phase` is how a movement ends with it.
    fn change_to(
        &self,
        changes: &mut Changes,
        (spec, origin): (TopologySpec, Option<Origin>),
        expected: Option<u64>,
        change: &str,
        phase: MovementPhase,
    ) -> Result<Change, ApplyError> {
        if let Some(refusal) = changes.refuses() {
            return Err(refusal);
        }
        self.check_epoch(expected)?;
        let from = self.topology();
        let to = Topology::build_moving(from.epoch() + 1, spec, origin)?;
        let done = Change { diff: diff(from.ring(), to.ring()), from, to: Arc::new(to) };
        if let Some(keep) = &*self.shared.keep.lock().unwrap_or_else(PoisonError::into_inner) {
            keep(&done.to).map_err(ApplyError::NotKept)?;
        }
        self.publish(changes, &done, change, phase);
        Ok(done)
    }

    /// Takes over a topology that another process made, under its epoch; `None` when that epoch is not later than the
    /// one that holds here. It is not kept anew, and [`Control::hold`] does not stop it.
    ///
    /// # Errors
    /// [`ApplyError::Topology`] when there can be no such topology.
    pub fn adopt(
        &self,
        epoch: u64,
        spec: TopologySpec,
        origin: Option<Origin>,
        change: &str,
    ) -> Result<Option<Change>, ApplyError> {
        let mut changes = self.shared.changes();
        let from = self.topology();
        if epoch <= from.epoch() {
            return Ok(None);
        }
        let to = Topology::build_moving(epoch, spec, origin)?;
        let done = Change { diff: diff(from.ring(), to.ring()), from, to: Arc::new(to) };
        self.publish(&mut changes, &done, change, MovementPhase::Done);
        if done.to.former().is_none() {
            // what the other process has moved is not known here
            self.shared.movement.status().take();
        }
        Ok(Some(done))
    }

    fn check_moves_nothing(&self) -> Result<(), ApplyError> {
        let now = self.topology();
        match now.former() {
            Some(_) => Err(ApplyError::StillMoving(now.epoch())),
            None => Ok(()),
        }
    }

    /// Asks `allow` before keys begin to move; an error refuses the change, and what it answers else is kept until the
    /// change is made.
    pub fn allow_moves_if(&self, allow: impl Fn() -> Result<Box<dyn Send>, String> + Send + Sync + 'static) {
        *self.shared.may_move.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(allow));
    }

    /// Sees to it that nobody else serves by a topology that is to be left, as long as what this answers is kept.
    fn alone(&self) -> Result<Option<Box<dyn Send>>, ApplyError> {
        let allow = self.shared.may_move.lock().unwrap_or_else(PoisonError::into_inner);
        allow.as_ref().map(|allow| allow()).transpose().map_err(ApplyError::CannotMove)
    }

    async fn inspect(&self, planned: Topology) -> Result<(), ApplyError> {
        let (answer, answered) = oneshot::channel();
        self.shared.movement.order(Order::Inspect(Box::new((planned, answer))));
        let gone = || Err("nobody is there to move them".to_owned());
        answered.await.unwrap_or_else(|_| gone()).map_err(ApplyError::CannotMove)
    }
}

fn rollback_to(previous: &Topology) -> String {
    format!("rollback to the topology of epoch {}", previous.epoch())
}
