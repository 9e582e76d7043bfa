//! How far a movement of keys is, for people.

use std::time::SystemTime;

use crate::topology::{NodeIndex, Topology};

/// Whether a movement goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MovementPhase {
    /// It waits for what was sent by the topology before.
    Begins,
    /// Keys are carried.
    Moves,
    /// All keys are at their nodes.
    Done,
    /// It was ended before all keys had moved.
    Ended,
}

/// One node that keys leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// Its name in the former topology.
    pub name: String,
    /// Where it is reached.
    pub address: String,
    /// Whether keys of it move at all.
    pub gives: bool,
    /// Keys that were looked at.
    pub looked_at: u64,
    /// Whether nothing is left there that is to move.
    pub done: bool,
    /// Why it does not go on.
    pub why: Option<String>,
}

/// How far a movement is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovementStatus {
    /// The topology to whose nodes the keys go.
    pub epoch: u64,
    /// Whether it goes on.
    pub phase: MovementPhase,
    /// Whether keys are called back to where they were.
    pub back: bool,
    /// When it began, or was taken up again.
    pub started_at: SystemTime,
    /// When it came to its end.
    pub ended_at: Option<SystemTime>,
    /// Keys that are at their new node now; in several databases they count once for each.
    pub moved: u64,
    /// Bytes of their values as they were carried.
    pub bytes: u64,
    /// How often a command waited for its keys.
    pub fetched: u64,
    /// Keys that could not be moved when they were last tried.
    pub left: u64,
    /// The nodes of the former topology, in its order.
    pub sources: Vec<SourceStatus>,
    /// Why it does not go on, or why keys are left.
    pub why: Option<String>,
}

impl MovementStatus {
    /// Of a movement to `topology` that begins.
    pub(super) fn new(topology: &Topology) -> Self {
        let former = topology.former();
        let source = |(at, node): (usize, &std::sync::Arc<crate::settings::NodeSpec>)| SourceStatus {
            name: node.name.clone(),
            address: node.address.clone(),
            gives: former.is_some_and(|former| former.gives(NodeIndex(at as u16))),
            looked_at: 0,
            done: false,
            why: None,
        };
        Self {
            epoch: topology.epoch(),
            phase: MovementPhase::Begins,
            back: former.is_some_and(|former| !former.is_right()),
            started_at: SystemTime::now(),
            ended_at: None,
            moved: 0,
            bytes: 0,
            fetched: 0,
            left: 0,
            sources: former.iter().flat_map(|former| former.nodes().iter().enumerate()).map(source).collect(),
            why: None,
        }
    }

    /// What is to be told from the moment on in which a change takes effect; `phase` is how a movement ends with it.
    pub(crate) fn follow(known: &mut Option<Self>, from: &Topology, to: &Topology, phase: MovementPhase) {
        if to.former().is_some() {
            *known = Some(Self::new(to));
        } else if from.former().is_some()
            && let Some(status) = known
        {
            status.phase = phase;
            status.ended_at = Some(SystemTime::now());
            if phase == MovementPhase::Done {
                status.why = None;
            }
        }
    }

    /// Whether it goes on.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, MovementPhase::Begins | MovementPhase::Moves)
    }
}
