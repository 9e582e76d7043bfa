//! What the themes share: real servers, a bad node, a bad wire, a client that speaks bytes, an HTTP client.

pub(crate) mod byte_proxy;
pub(crate) mod census;
pub(crate) mod fake_redis;
pub(crate) mod fleet;
pub(crate) mod frame;
pub(crate) mod harness;
pub(crate) mod http;
pub(crate) mod load;
#[cfg(target_os = "linux")]
pub(crate) mod netns;
pub(crate) mod ports;
pub(crate) mod program;
pub(crate) mod random;
pub(crate) mod raw_client;
pub(crate) mod redis_server;
#[cfg(target_os = "linux")]
pub(crate) mod rig;
pub(crate) mod sentinel;
pub(crate) mod tls;
pub(crate) mod watch;

pub(crate) use fake_redis::{Act, FakeRedis};
pub(crate) use harness::{Cluster, Harness, StopAtEnd, wait_for};
pub(crate) use raw_client::{NoReply, RawClient};
pub(crate) use redis_server::RedisServer;

/// A folder for files that are written to the end before anything goes on (fsync): in memory where that is to be had, so
/// that no test waits for a disk that others keep busy.
pub(crate) fn folder() -> tempfile::TempDir {
    let in_memory = tempfile::Builder::new().tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}
