//! Asks nodes for their version and the commands they have, whenever a connection to them begins to work: at the start, and
//! after each restart, which may have brought another version or other modules.
//!
//! One worker does this for all. Nothing of it is on the way of a command.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::control::Shared;
use crate::limits::COMMAND_REPLY_BYTES;
use crate::settings::NodeSpec;
use crate::upstream::{Trouble, ask_once};
use crate::versions::Version;

const QUESTIONS: [&[u8]; 2] = [b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n", b"*1\r\n$7\r\nCOMMAND\r\n"];
/// A node is asked no more often than this: connections to it may come and go faster.
const PAUSE: Duration = Duration::from_secs(1);
/// How long until a node that did not tell is asked again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Follows one node until it leaves the topology.
pub(crate) async fn follow(spec: Arc<NodeSpec>, mut trouble: watch::Receiver<Trouble>, shared: Arc<Shared>) {
    let (timeouts, pace) = (shared.settings.timeouts, shared.paces.of(&spec.address));
    while trouble.changed().await.is_ok() {
        while trouble.borrow_and_update().is_none() {
            let limit = timeouts.connect + timeouts.operation;
            while let Err(longer) = pace.begin(Instant::now()) {
                tokio::time::sleep(longer).await;
            }
            let replies = ask_once(&spec, &shared.ways, &QUESTIONS, COMMAND_REPLY_BYTES, limit).await;
            if trouble.has_changed().is_err() || trouble.borrow().is_some() {
                // it has left meanwhile, or will be asked when it is back
                break;
            }
            let told = replies.and_then(|replies| {
                let [page, commands] = &*replies else { return Err("it says too little".into()) };
                if let Some(version) = Version::of_page(page) {
                    shared.versions.told(&spec.name, version);
                }
                shared.learned.told(&spec.name, commands)
            });
            tokio::time::sleep(PAUSE).await;
            match told {
                Ok(0) => break,
                Ok(count) => {
                    tracing::info!(node = %spec.name, count, "the node has commands that Ringway's table lacks");
                    break;
                }
                Err(why) => {
                    tracing::debug!(node = %spec.name, why, "the node does not tell its commands; asked again");
                }
            }
            let again = tokio::time::timeout(PATIENCE, trouble.changed()).await;
            if matches!(again, Ok(Err(_))) {
                return;
            }
        }
    }
}
