//! Tells the log when a follower falls silent or is in trouble, and when it is back.

use std::collections::BTreeMap;
use std::time::Instant;

use ringway_proxy::control::{Control, FollowerStatus};
use tokio::task::JoinHandle;

use crate::limits;

/// Goes on until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch(JoinHandle<()>);

impl Watch {
    /// Looks at all followers every two seconds.
    pub(crate) fn begin(control: Control) -> Self {
        Self(tokio::spawn(async move {
            let mut known = BTreeMap::new();
            loop {
                tokio::time::sleep(limits::FOLLOWER_WAIT).await;
                known = look(known, &control.followers().all_of_them(Instant::now()));
            }
        }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is wrong with each, by name.
type Known = BTreeMap<String, Option<String>>;

fn look(mut known: Known, all: &[FollowerStatus]) -> Known {
    let mut now = Known::new();
    for follower in all {
        let trouble = match (&follower.trouble, follower.silent_for) {
            // one that was not heard of since the start is told of when somebody wants to move keys
            (_, Some(_)) if follower.is_silent => Some("it is not heard of".to_owned()),
            (trouble, _) => trouble.as_ref().map(|why| why.escape_debug().to_string()),
        };
        // of two processes of one name the one in trouble counts
        let before = now.remove(&follower.name).flatten();
        now.insert(follower.name.clone(), before.or(trouble));
    }
    for (name, trouble) in &now {
        match (known.remove(name).flatten(), trouble) {
            (None, Some(why)) => {
                tracing::warn!(follower = name, why, "no keys can be moved past this follower")
            }
            (Some(_), None) => tracing::info!(follower = name, "the follower is in order again"),
            _ => {}
        }
    }
    now
}
