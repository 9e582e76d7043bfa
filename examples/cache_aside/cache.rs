//! The cache: look up, fill with a time to live, invalidate.
//!
//! Every call may fail, and a failure must cost little: with the cache down the service is slower, not broken. What
//! remains are two ways to serve an old page, both bounded by the time to live: an invalidation that could not be
//! delivered, and a reader that read the row before a write and fills the cache after its invalidation.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, Client, RedisError, RedisResult};

/// What the cache says about a key.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// It is there.
    Hit(String),
    /// It is not there: read the database and fill.
    Miss,
    /// It cannot be asked: read the database and leave the cache alone.
    Down,
}

impl Lookup {
    /// For the `x-cache` header.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Lookup::Hit(_) => "hit",
            Lookup::Miss => "miss",
            Lookup::Down => "down",
        }
    }
}

/// A handle on the cache; clones share one connection, which pipelines what runs at the same time.
#[derive(Clone)]
pub(crate) struct Cache {
    connection: ConnectionManager,
    prefix: String,
    ttl: Duration,
}

impl Cache {
    /// Does not connect yet: a service must start while its cache is down.
    pub(crate) fn new(url: &str, prefix: &str, ttl: Duration) -> RedisResult<Self> {
        // Short, because the database is the alternative. Ringway answers within its own operation timeout, but a
        // reader of a web page need not wait that long for an optimisation.
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_millis(150)))
            .set_response_timeout(Some(Duration::from_millis(250)))
            .set_number_of_retries(0);
        let connection = ConnectionManager::new_lazy_with_config(Client::open(url)?, config)?;
        Ok(Self { connection, prefix: prefix.to_owned(), ttl })
    }

    fn key(&self, id: i64) -> String {
        format!("{}:product:{id}", self.prefix)
    }

    pub(crate) async fn get(&self, id: i64) -> Lookup {
        match self.connection.clone().get(self.key(id)).await {
            Ok(Some(page)) => Lookup::Hit(page),
            Ok(None) => Lookup::Miss,
            Err(error) => {
                report("get", &error);
                Lookup::Down
            }
        }
    }

    pub(crate) async fn fill(&self, id: i64, page: &str) {
        let filled: RedisResult<()> =
            self.connection.clone().set_ex(self.key(id), page, self.ttl.as_secs()).await;
        if let Err(error) = filled {
            report("fill", &error);
        }
    }

    /// `NOTSENT` says that the node did not get the command, `UNKNOWN` that it may have run it. Deleting twice is as
    /// good as once, so that both are tried again; an INCR would have to stop at `UNKNOWN`.
    pub(crate) async fn invalidate(&self, id: i64) {
        for attempt in 1..=3 {
            let deleted: RedisResult<()> = self.connection.clone().del(self.key(id)).await;
            match deleted {
                Ok(()) => return,
                Err(error) if attempt == 3 => report("invalidate", &error),
                Err(_) => tokio::time::sleep(Duration::from_millis(20 * attempt)).await,
            }
        }
    }
}

/// One line a second at most, or a cache that is down would fill the log.
fn report(what: &str, error: &RedisError) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| last.elapsed() > Duration::from_secs(1)) {
        *last = Some(Instant::now());
        eprintln!("cache, {what}: {error}");
    }
}
