//! A cache that is kept by messages alone is right when all is quiet, whatever happened before.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringway_proxy::settings::NodeSpec;

use crate::support::frame::bulk_request;
use crate::support::harness::specs;
use crate::support::random::Random;
use crate::support::{Cluster, Harness, RawClient, StopAtEnd};
use crate::tracking::FORGET_ALL;
use crate::tracking_redirect::{PUBLISHED_FORGET_ALL, pair};

/// A client that reads each key once and then goes by what it is told, or what the one is told that it names.
struct Cache {
    client: RawClient,
    ear: Option<RawClient>,
    known: HashMap<String, String>,
    /// What was asked for, unless something was said of it since.
    awaited: HashSet<String>,
}

impl Cache {
    fn new(harness: &Harness, mode: &[&str]) -> Self {
        let mut client = harness.client3();
        let words = [&["CLIENT", "TRACKING", "ON"], mode].concat();
        assert_eq!(client.text(&words), "+OK\r\n");
        Self { client, ear: None, known: HashMap::new(), awaited: HashSet::new() }
    }

    /// With RESP2.
    fn redirected(harness: &Harness) -> Self {
        let (client, ear) = pair(harness, &[]);
        Self { client, ear: Some(ear), known: HashMap::new(), awaited: HashSet::new() }
    }

    /// Takes a message; false for a reply.
    fn hears(&mut self, frame: &str) -> bool {
        if !frame.starts_with('>') && !frame.starts_with("*3\r\n$7\r\nmessage") {
            return false;
        }
        if frame == FORGET_ALL || frame == PUBLISHED_FORGET_ALL {
            self.known.clear();
            self.awaited.clear();
        } else {
            self.known.retain(|key, _| !frame.contains(&format!("\r\n{key}\r\n")));
            self.awaited.retain(|key| !frame.contains(&format!("\r\n{key}\r\n")));
        }
        true
    }

    /// What the other one was told until nothing came for so long.
    fn overhears(&mut self, patience: Duration) {
        let Some(mut ear) = self.ear.take() else { return };
        while let Ok(frame) = ear.try_reply(patience) {
            let frame = String::from_utf8_lossy(&frame).into_owned();
            assert!(self.hears(&frame), "{frame}");
        }
        self.ear = Some(ear);
    }

    /// Reads what is not known, all at once.
    fn read(&mut self, keys: &[String]) {
        let missing: Vec<&String> = keys.iter().filter(|key| !self.known.contains_key(*key)).collect();
        let requests: Vec<u8> = missing.iter().flat_map(|key| bulk_request(&["GET", key])).collect();
        self.client.send(&requests);
        self.awaited.extend(missing.iter().map(|key| (*key).clone()));
        for key in missing {
            self.overhears(Duration::from_millis(1));
            loop {
                let frame = self.client.text_reply();
                if self.hears(&frame) {
                    continue;
                }
                // two connections: what is said of a key may come before the reply that it makes old
                if !frame.starts_with('-') && self.awaited.remove(key) {
                    self.known.insert(key.clone(), frame);
                }
                break;
            }
        }
    }

    /// Takes all that is on its way.
    fn settle(&mut self) {
        while let Ok(frame) = self.client.try_reply(Duration::from_millis(300)) {
            let frame = String::from_utf8_lossy(&frame).into_owned();
            assert!(self.hears(&frame), "{frame}");
        }
        self.overhears(Duration::from_millis(300));
    }
}

#[test]
fn i2_a_cache_is_right_when_all_is_quiet_whatever_happened() {
    let cluster = Cluster::start(3);
    let all: Vec<NodeSpec> = specs(&cluster.nodes);
    let keys: Vec<String> = (0..60).map(|n| format!("cached:{n}")).collect();
    let stop = AtomicBool::new(false);
    for round in 0..4 {
        stop.store(false, Ordering::SeqCst);
        let mut caches: Vec<Cache> =
            [&[][..], &["NOLOOP"], &["BCAST"]].iter().map(|mode| Cache::new(&cluster, mode)).collect();
        caches.push(Cache::redirected(&cluster));
        std::thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            for number in 0..2 {
                let (mut writer, keys, stop) = (cluster.client(), &keys, &stop);
                scope.spawn(move || {
                    let mut random = Random::new(round * 10 + number);
                    for n in 0u32.. {
                        if stop.load(Ordering::SeqCst) {
                            return;
                        }
                        let key = &keys[random.below(keys.len())];
                        // a connection that is cut may leave a write in doubt
                        writer.call(&["SET", key, &format!("{number}:{n}")]);
                    }
                });
            }
            for cache in &mut caches {
                let (keys, stop) = (&keys, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        cache.read(keys);
                    }
                });
            }
            for step in 0..6 {
                std::thread::sleep(Duration::from_millis(100));
                match (round, step % 3) {
                    (1, 0) => drop(cluster.apply(all[..2].to_vec())),
                    (1, 1) => drop(cluster.apply(all.clone())),
                    (2, 1) => {
                        let _: usize = cluster.server("cache-2").call(&["CLIENT", "KILL", "TYPE", "normal"]);
                    }
                    (3, 1) => drop(cluster.apply(all[1..].to_vec())),
                    (3, 2) => {
                        let _: usize = cluster.server("cache-2").call(&["CLIENT", "KILL", "TYPE", "normal"]);
                        cluster.apply(all.clone());
                    }
                    _ => {}
                }
            }
            stop.store(true, Ordering::SeqCst);
        });
        let mut reader = cluster.client();
        for cache in &mut caches {
            cache.settle();
            let known = std::mem::take(&mut cache.known);
            for (key, value) in known {
                let now = reader.text(&["GET", &key]).replace("$-1\r\n", "_\r\n");
                assert_eq!(value.replace("$-1\r\n", "_\r\n"), now, "{key} is stale in round {round}");
            }
        }
    }
}
