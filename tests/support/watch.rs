//! Clients that ask one node over and over and note what they are told, and when: how long a fault is felt.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::raw_client::RawClient;

/// What a client is told of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Told {
    /// The node answered it.
    Ok,
    /// It did not run.
    NotSent,
    /// It ran once or never.
    Unknown,
    /// The node answered an error of its own.
    Error,
}

/// What the reply to an INCR says.
pub(crate) fn told(reply: &[u8]) -> Told {
    match reply {
        [b':', ..] => Told::Ok,
        _ if reply.starts_with(b"-NOTSENT node '") => Told::NotSent,
        _ if reply.starts_with(b"-UNKNOWN node '") => Told::Unknown,
        [b'-', ..] => Told::Error,
        _ => panic!("no reply to INCR: {}", reply.escape_ascii()),
    }
}

/// One command and what became of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// When it was sent.
    pub(crate) at: Instant,
    /// How long its reply took.
    pub(crate) took: Duration,
    /// What it said.
    pub(crate) told: Told,
}

impl Sample {
    /// When its reply came.
    pub(crate) fn end(&self) -> Instant {
        self.at + self.took
    }
}

/// Clients that watch one node.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Sample>>>,
}

impl Watch {
    /// So many clients, each with a connection of its own, that increment `key` a thousand times a second at most.
    pub(crate) fn start(address: SocketAddr, key: &str, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |_| {
            let (stop, key) = (Arc::clone(&stop), key.to_owned());
            std::thread::spawn(move || {
                let (mut client, mut samples) = (RawClient::connect(address), Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let at = Instant::now();
                    let told = told(&client.call(&["INCR", &key]));
                    samples.push(Sample { at, took: at.elapsed(), told });
                    std::thread::sleep(Duration::from_millis(1));
                }
                samples
            })
        };
        let clients = (0..clients).map(start).collect();
        Self { stop, clients }
    }

    /// What each of them saw.
    pub(crate) fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        Seen(self.clients.into_iter().map(|client| client.join().expect("the client")).collect())
    }
}

/// What the clients of a [`Watch`] saw, each for itself.
pub(crate) struct Seen(pub(crate) Vec<Vec<Sample>>);

impl Seen {
    /// All of it.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Sample> {
        self.0.iter().flatten()
    }

    /// How often they were told so.
    pub(crate) fn count(&self, what: Told) -> usize {
        self.all().filter(|sample| sample.told == what).count()
    }

    /// How long after `since` the last of the clients was served again, for good.
    pub(crate) fn served_again_after(&self, since: Instant) -> Duration {
        let again = self.0.iter().map(|samples| {
            let last_failure = samples.iter().rposition(|sample| sample.told != Told::Ok);
            let first = samples.get(last_failure.map_or(0, |at| at + 1));
            first.expect("served at the end").end().saturating_duration_since(since)
        });
        again.max().expect("a client")
    }

    /// The longest time that any reply took.
    pub(crate) fn longest(&self) -> Duration {
        self.all().map(|sample| sample.took).max().expect("a sample")
    }
}

/// The value below which so many of a hundred lie.
pub(crate) fn percentile(times: impl Iterator<Item = Duration>, percent: usize) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}
