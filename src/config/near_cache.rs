//! The section `near_cache`: whether and how answers are kept for keys that are read again and again.

use std::time::Duration;

use ringway_proxy::settings::NearCacheSettings;

use super::reader::{Reader, Section};

/// With less there is room for no key at all on a machine with many cores, in bytes.
const LEAST_MEMORY: u64 = 1 << 20;
const LEAST_AGE: Duration = Duration::from_millis(10);
const MOST_AGE: Duration = Duration::from_secs(60);

/// Reads `near_cache`; `None` where it does not stand.
pub(crate) fn near_cache(reader: &mut Reader, root: &Section<'_>) -> Option<NearCacheSettings> {
    let at = reader.inner(root, "near_cache", &["memory_bytes", "max_age", "value_bytes", "hot_reads"]);
    root.get("near_cache")?;
    let default = NearCacheSettings::default();
    let settings = NearCacheSettings {
        memory_bytes: reader.bytes(&at, "memory_bytes", LEAST_MEMORY..=1 << 40, default.memory_bytes),
        max_age: reader.duration(&at, "max_age", LEAST_AGE..=MOST_AGE, default.max_age),
        value_bytes: reader.bytes(&at, "value_bytes", 1..=16 << 20, default.value_bytes),
        hot_reads: u8::try_from(reader.integer(&at, "hot_reads", 1..=200, default.hot_reads.into()))
            .unwrap_or(default.hot_reads),
    };
    if settings.value_bytes > settings.memory_bytes {
        let line = at.line_of("value_bytes");
        reader.problem(line, "near_cache.value_bytes is above memory_bytes; lower it or raise the other");
    }
    Some(settings)
}
