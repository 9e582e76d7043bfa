//! Who publishes, or counts who listens, waits a little for those who asked to listen before and are not confirmed yet
//! ([`crate::pubsub::Beginnings`]).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::moving::Fetched;
use super::session::Unusual;
use super::{Client, Inner};
use crate::pubsub::Awaited;

/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(1);
/// How often at most: a node that is slow to confirm holds up nobody for longer.
const LOOKS: u32 = 100;

/// Whether the command waits, to be shown again; the caller answers its dispatcher accordingly.
#[inline]
pub(super) fn holds(client: &Rc<Client>, inner: &mut Inner, awaited: impl FnOnce() -> Awaited) -> bool {
    let all = &client.worker.shared.registry.beginnings;
    // what was awaited once has been awaited long enough
    !all.are_none() && inner.session.fetched.is_none() && waits(client, inner, &awaited())
}

#[cold]
fn waits(client: &Rc<Client>, inner: &mut Inner, awaited: &Awaited) -> bool {
    let all = Arc::clone(&client.worker.shared.registry.beginnings);
    let last = all.last();
    if !all.concern(awaited, last) {
        return false;
    }
    inner.session.set(Unusual::Fetching, true);
    let (client, awaited) = (Rc::clone(client), awaited.clone());
    tokio::task::spawn_local(async move {
        for _ in 0..LOOKS {
            tokio::time::sleep(LOOK).await;
            if !all.concern(&awaited, last) {
                break;
            }
        }
        // no key is on its way
        client.inner.borrow_mut().session.fetched = Some(Box::new(Fetched::By(0)));
        client.wake();
    });
    true
}
