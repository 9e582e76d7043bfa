//! What workers keep of nodes' answers, as operators see it.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::Control;
use crate::near::HotKey;
use crate::settings::NearCacheSettings;
use crate::worker::ToWorker;

/// A key of which answers are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptKey {
    /// The key.
    pub key: Vec<u8>,
    /// How many reads were answered from what is kept, since it is kept.
    pub hits: u64,
    /// Bytes of memory that its answers take, over all workers.
    pub bytes: u64,
}

impl Control {
    /// How answers are kept, if they are.
    pub fn near_cache(&self) -> Option<NearCacheSettings> {
        self.shared.settings.near_cache
    }

    /// The keys of which answers are kept, over all workers; what was answered most often first.
    pub async fn kept_keys(&self) -> Vec<KeptKey> {
        let mut awaited = Vec::new();
        for worker in &self.shared.workers {
            let (answer, answered) = oneshot::channel();
            let question = move |worker: &std::rc::Rc<crate::worker::Worker>| {
                // whoever asked may be gone
                let _ = answer.send(worker.near.as_ref().map(|near| near.hot_keys()));
            };
            if worker.sender.send(ToWorker::Run(Box::new(question))).is_ok() {
                awaited.push(answered);
            }
        }
        let mut sums: HashMap<Box<[u8]>, (u64, u64)> = HashMap::new();
        for answered in awaited {
            // a worker that ends keeps nothing
            for HotKey { key, hits, bytes } in answered.await.ok().flatten().unwrap_or_default() {
                let sum = sums.entry(key).or_default();
                *sum = (sum.0 + hits, sum.1 + bytes as u64);
            }
        }
        let kept = |(key, (hits, bytes)): (Box<[u8]>, _)| KeptKey { key: key.into(), hits, bytes };
        let mut keys: Vec<KeptKey> = sums.into_iter().map(kept).collect();
        keys.sort_unstable_by(|one, other| other.hits.cmp(&one.hits).then_with(|| one.key.cmp(&other.key)));
        keys
    }
}
