//! Several Ringways on one topology: what one that leads and those that follow it say to each other over HTTP.
//!
//! ```text
//!   follower ── POST /v1/followers/NAME: what I serve by, what is still under way ──────────► leader
//!            ◄─ the topology, as soon as there is another one (at most WAIT later: nothing new) ─┤
//!            ── POST /v1/followers/NAME/keys: these are on their way, bring them ───────────►   │
//!            ── DELETE /v1/followers/NAME?instance=…: I serve no longer ────────────────────►   ▼
//! ```
//! The follower asks and the leader answers, so that one address is known to all, and one token lets all of them in. What
//! the leader answers holds passwords of nodes: it is told to whoever may change the topology, which lets them send these
//! passwords anywhere already.

mod bringing;
mod follower;
mod leader;
mod wanted;
mod watch;
mod wire;

use ringway_proxy::control::Abandoned;
use serde::{Deserialize, Serialize};

use crate::form::TopologyForm;
pub(crate) use bringing::Bringing;
pub use follower::{First, Follow, Follower, Processes, Silence};
pub(crate) use leader::{STATES, all, bring, forget, report, state};
pub(crate) use watch::Watch;

/// What a follower says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    /// Which process it is.
    instance: String,
    /// A word that no other process has.
    #[serde(default)]
    run: String,
    /// Processes of the same follower that are dead.
    #[serde(default)]
    replaces: Vec<String>,
    /// What the leader calls itself whose epoch `serves` is.
    leader: String,
    serves: u64,
    settled: bool,
    #[serde(default)]
    given_up: Vec<AbandonedForm>,
    #[serde(default)]
    trouble: Option<String>,
    /// How long it waits for something new, in milliseconds.
    #[serde(default)]
    wait_ms: u64,
}

/// What it is told.
#[derive(Serialize, Deserialize)]
struct Told {
    leader: String,
    epoch: u64,
    /// Nothing when it is what the follower serves by.
    topology: Option<TopologyForm>,
    #[serde(default)]
    fences: Vec<AbandonedForm>,
}

/// Keys that a follower asks for, each in base64.
#[derive(Serialize, Deserialize)]
struct Keys {
    leader: String,
    epoch: u64,
    keys: Vec<String>,
}

/// What became of them; nothing when nobody brings keys by that topology now.
#[derive(Serialize, Deserialize)]
struct Outcomes {
    outcomes: Option<Vec<OutcomeForm>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutcomeForm {
    Arrived,
    Pending,
    Not(String),
}

/// A connection that was given up.
#[derive(Debug, Serialize, Deserialize)]
struct AbandonedForm {
    address: String,
    id: i64,
    end: String,
    #[serde(default)]
    socket: Option<[u64; 3]>,
}

impl From<Abandoned> for AbandonedForm {
    fn from(Abandoned { address, id, end, socket }: Abandoned) -> Self {
        Self { address, id, end, socket }
    }
}

impl From<AbandonedForm> for Abandoned {
    fn from(AbandonedForm { address, id, end, socket }: AbandonedForm) -> Self {
        Self { address, id, end, socket }
    }
}
