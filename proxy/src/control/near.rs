//! What workers keep of nodes' answers, as operators see it.

use std::collections::HashMap;
use std::future::ready;

use super::Control;
use crate::near::KeptKey;
use crate::settings::NearCacheSettings;

impl Control {
    /// How answers are kept, if they are.
    pub fn near_cache(&self) -> Option<NearCacheSettings> {
        self.shared.settings.near_cache
    }

    /// The keys of which answers are kept, over all workers; what was answered most often first.
    pub async fn kept_keys(&self) -> Vec<KeptKey> {
        let kept = self
            .shared
            .gather(|worker| ready(worker.near.as_ref().map_or_else(Vec::new, |near| near.kept_keys())));
        let mut sums: HashMap<Vec<u8>, (u64, u64)> = HashMap::new();
        for KeptKey { key, hits, bytes } in kept.await.into_iter().flatten() {
            let sum = sums.entry(key).or_default();
            *sum = (sum.0 + hits, sum.1 + bytes);
        }
        let kept = |(key, (hits, bytes))| KeptKey { key, hits, bytes };
        let mut keys: Vec<KeptKey> = sums.into_iter().map(kept).collect();
        keys.sort_unstable_by(|one, other| other.hits.cmp(&one.hits).then_with(|| one.key.cmp(&other.key)));
        keys
    }
}
