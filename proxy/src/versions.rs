//! The version of Redis that Ringway tells of itself: the lowest of its nodes', since no client may count on more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a server calls its version: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version([u16; 3]);

/// Told while no node has told its own: the version whose commands Ringway's table has.
const OWN: Version = Version([7, 0, 15]);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl Version {
    /// The version on a node's page of INFO, if there is one. What follows three numbers, as in `7.4.0-rc1`, is left out.
    pub(crate) fn of_page(page: &[u8]) -> Option<Self> {
        let page = std::str::from_utf8(page).ok()?;
        let text = page.lines().find_map(|line| line.strip_prefix("redis_version:"))?;
        let end = text.find(|letter: char| letter != '.' && !letter.is_ascii_digit()).unwrap_or(text.len());
        let mut numbers = text[..end].split('.').map(str::parse::<u16>);
        let mut next = || numbers.next().unwrap_or(Ok(0));
        Some(Self([next().ok()?, next().ok()?, next().ok()?]))
    }

    fn packed(self) -> u64 {
        self.0.iter().fold(0, |packed, number| packed << 16 | u64::from(*number))
    }

    fn unpacked(packed: u64) -> Self {
        Self([32, 16, 0].map(|shift| (packed >> shift) as u16))
    }
}

/// What the nodes of the topology have told. Shared by all workers.
#[derive(Debug)]
pub(crate) struct NodeVersions {
    told: Mutex<BTreeMap<String, Version>>,
    /// The lowest, packed.
    lowest: AtomicU64,
}

impl Default for NodeVersions {
    fn default() -> Self {
        Self { told: Mutex::default(), lowest: AtomicU64::new(OWN.packed()) }
    }
}

impl NodeVersions {
    /// What a node says of itself.
    pub(crate) fn told(&self, node: &str, version: Version) {
        self.change(|told| {
            told.insert(node.to_owned(), version);
        });
    }

    /// Forgets what nodes told that have left.
    pub(crate) fn retain(&self, stays: impl Fn(&str) -> bool) {
        self.change(|told| told.retain(|node, _| stays(node)));
    }

    /// The lowest that any node has told.
    pub(crate) fn lowest(&self) -> Version {
        Version::unpacked(self.lowest.load(Ordering::Relaxed))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Version>)) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut told);
        let lowest = told.values().min().copied().unwrap_or(OWN);
        self.lowest.store(lowest.packed(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_far_as_it_is_one() {
        for (text, version) in [
            ("7.4.1", Some("7.4.1")),
            ("7.4.0-rc1", Some("7.4.0")),
            ("8.2", Some("8.2.0")),
            ("255.255.255", Some("255.255.255")),
            ("6.2.14.1", Some("6.2.14")),
            ("7.70000.1", None),
            ("7..1", None),
            ("unstable", None),
            ("", None),
        ] {
            let page = format!("# Server\r\nredis_version:{text}\r\nredis_mode:standalone\r\n");
            let read = Version::of_page(page.as_bytes()).map(|version| version.to_string());
            assert_eq!(read.as_deref(), version, "{text:?}");
        }
        assert_eq!(Version::of_page(b"# Server\r\n"), None);
        assert_eq!(Version::of_page(b"\xff"), None);
    }

    #[test]
    fn the_lowest_of_those_that_stay_is_told() {
        let versions = NodeVersions::default();
        let lowest = || versions.lowest().to_string();
        assert_eq!(lowest(), "7.0.15");
        versions.told("a", Version([7, 4, 1]));
        assert_eq!(lowest(), "7.4.1");
        versions.told("b", Version([6, 2, 14]));
        versions.told("c", Version([7, 0, 0]));
        assert_eq!(lowest(), "6.2.14");
        versions.retain(|node| node != "b");
        assert_eq!(lowest(), "7.0.0");
        versions.told("c", Version([8, 0, 0]));
        assert_eq!(lowest(), "7.4.1");
        versions.retain(|_| false);
        assert_eq!(lowest(), "7.0.15");
    }
}
