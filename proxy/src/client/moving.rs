//! Commands whose keys are on their way to other nodes: they wait until the keys have arrived, and are looked at anew.
//!
//! ```text
//!   dispatch ─► a key is on its way ─► Unusual::Fetching, nothing more is handled ─► Fetch ─► … ─► answer
//!      ▲                                                                                            │
//!      └────── the same command again; its keys count as arrived, or it is refused as NOTSENT ◄─────┘
//! ```
//! What was fetched holds for this one showing and for the topology by which the keys were fetched: by another one they are
//! fetched anew.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::session::Unusual;
use super::{Client, Inner};
use crate::command::Command;
use crate::control::Shared;
use crate::error::{Failure, Fate};
use crate::movement::{Fetch, Order, Where};
use crate::resp::Args;
use crate::route::Scratch;
use crate::route::arrived::{Traveller, travellers};
use crate::topology::Topology;
use crate::worker::Worker;

/// Keys of one command that are fetched at once, so that others get theirs in between.
const FETCHED_AT_ONCE: usize = 256;

/// How long after carriers have stopped they are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// What became of the keys of the command that waits.
#[derive(Debug)]
pub(super) enum Fetched {
    /// They are where the topology of this epoch wants them.
    By(u64),
    /// They cannot be had; the reply line without its leading `-`.
    Not(String),
}

/// Whether a command may go on, as far as its keys are concerned.
#[must_use]
pub(super) enum Gate {
    /// All of them are where they are to be.
    Open,
    /// It waits for them, and is shown again: the caller answers its dispatcher accordingly.
    Waits,
    /// They cannot be had; the reply line without its leading `-`.
    Refused(String),
}

/// Has a command wait for those of its keys that are on their way, if there are any.
pub(super) fn gate(
    client: &Rc<Client>,
    inner: &mut Inner,
    topology: &Topology,
    command: &Command,
    args: &Args<'_>,
    scratch: &mut Scratch,
) -> Gate {
    let mut keys = Vec::new();
    travellers(topology, command, args, scratch, &mut keys);
    gate_for(client, inner, topology, keys)
}

/// As [`gate`], for keys that the caller has looked for.
pub(super) fn gate_for(
    client: &Rc<Client>,
    inner: &mut Inner,
    topology: &Topology,
    keys: Vec<Traveller>,
) -> Gate {
    if keys.is_empty() {
        return Gate::Open;
    }
    if let Some(Fetched::Not(why)) = inner.session.fetched.take().map(|fetched| *fetched) {
        return Gate::Refused(why);
    }
    inner.session.set(Unusual::Fetching, true);
    inner.session.fetching = keys.iter().map(|key| size_of::<Traveller>() + key.key.len()).sum();
    let (client, epoch) = (Rc::clone(client), topology.epoch());
    let node = topology.node(keys[0].to).map(Arc::clone);
    tokio::task::spawn_local(async move {
        let fetched = match (fetch(&client.worker, epoch, keys).await, &node) {
            (Err(why), Some(node)) => {
                let why = format!("a key is still on its way there: {why}");
                Fetched::Not(Failure { fate: Fate::NotSent, node, why: &why }.text())
            }
            _ => Fetched::By(epoch),
        };
        client.inner.borrow_mut().session.fetched = Some(Box::new(fetched));
        client.wake();
    });
    Gate::Waits
}

/// Has keys brought to where the topology of `epoch` wants them, within the operation timeout. When another one holds by
/// then they may be anywhere.
///
/// # Errors
/// Why one of them is not there.
pub(super) async fn fetch(worker: &Rc<Worker>, epoch: u64, keys: Vec<Traveller>) -> Result<(), String> {
    let limit = worker.shared.settings.timeouts.operation;
    // what has arrived of a long list is remembered, and the next try goes on from there
    let all = async {
        for some in keys.chunks(FETCHED_AT_ONCE) {
            fetch_some(worker, epoch, some).await?;
        }
        Ok(())
    };
    let timed_out = || format!("it did not arrive within {} s", limit.as_secs_f64());
    tokio::time::timeout(limit, all).await.unwrap_or_else(|_| Err(timed_out()))
}

/// Ends when the keys have arrived, or another topology holds; the caller bounds how long that may take.
async fn fetch_some(worker: &Rc<Worker>, epoch: u64, keys: &[Traveller]) -> Result<(), String> {
    let shared: &Arc<Shared> = &worker.shared;
    loop {
        let (answer, answered) = oneshot::channel();
        shared.movement.order(Order::Fetch(Fetch { epoch, keys: keys.to_vec(), answer }));
        match answered.await {
            Ok(Ok(Where::There)) => {
                let arrived = &mut worker.scratch.borrow_mut().arrived;
                keys.iter().for_each(|key| arrived.note(epoch, &key.key));
                return Ok(());
            }
            Ok(Err(why)) => return Err(why),
            // whoever carried keys has stopped, perhaps before the topology is another one that ends it
            Ok(Ok(Where::Unknown)) | Err(_) if shared.topology.load().epoch() != epoch => return Ok(()),
            Ok(Ok(Where::Unknown)) | Err(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}

/// Shows a command again that waited for its keys, by `serve`.
pub(super) fn go_on(
    client: &Rc<Client>,
    inner: &mut Inner,
    args: Args<'_>,
    serve: impl FnOnce(&Rc<Client>, &mut Inner, Args<'_>) -> bool,
) -> bool {
    inner.session.set(Unusual::Fetching, false);
    inner.session.fetching = 0;
    let epoch = match inner.session.fetched.as_deref() {
        Some(Fetched::By(epoch)) => *epoch,
        Some(Fetched::Not(_)) | None => 0,
    };
    let trust = |epoch| client.worker.scratch.borrow_mut().arrived.trust(epoch);
    trust(epoch);
    let handled = serve(client, inner, args);
    trust(0);
    // it was for this command; one that waits anew has nothing yet
    inner.session.fetched = None;
    handled
}
