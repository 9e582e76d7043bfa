//! Every bound of the control plane in one place (law I6), with where it comes from.
//!
//! Worst case held at once: [`CONNECTIONS`] × ([`BODY_BYTES`] + [`HEAD_BYTES`]) = 544 MiB, and only by clients that
//! passed the guard (so many because a hundred followers have up to four each); a connection that has not sent a whole head holds at most [`HEAD_BYTES`]. The listener for metrics
//! reads no body: 4 MiB more. Work on strays holds the values in hand, [`STRAYS_BYTES`] or one of [`STRAY_BYTES`], as they
//! were read and as they are written.

use std::time::Duration;

/// How long a follower that has nothing new to say waits for something new.
pub const FOLLOWER_WAIT: Duration = Duration::from_secs(2);
/// How long it waits for what is under way before it says again that it lives.
pub const FOLLOWER_SETTLES: Duration = Duration::from_millis(500);
/// For a connection to a leader.
pub const LEADER_CONNECT_TIME: Duration = Duration::from_secs(1);
/// For a leader's answer, beyond what it was told to wait.
pub const LEADER_TIME: Duration = Duration::from_secs(2);
/// After a leader was not reached.
pub const LEADER_AGAIN: Duration = Duration::from_millis(100);
/// The longest such time, after it was not reached again and again.
pub const LEADER_AGAIN_MOST: Duration = Duration::from_millis(500);
/// Longest answer of a leader, in bytes: twice a thousand nodes with long names and passwords.
pub const TOLD_BYTES: usize = 4 << 20;
/// Keys that a follower asks for at once.
pub const KEYS_ASKED_FOR: usize = 512;
/// How long a follower is kept waiting for all of them: what has arrived by then is told.
pub const BRING_TIME: Duration = Duration::from_millis(50);
/// Keys that all followers together may wait for.
pub const KEYS_BRINGING: usize = 64 * 1024;
/// Bytes of their names.
pub const KEYS_BRINGING_BYTES: usize = 16 << 20;
/// Bytes of their names; in base64 they fit into [`BODY_BYTES`].
pub const KEYS_BYTES: usize = 512 * 1024;
/// Requests for keys that a follower makes at the same time.
pub const KEYS_REQUESTS: usize = 3;
/// Connections that a follower may say it has given up; in a report they come to half of [`BODY_BYTES`].
pub const GIVEN_UP: usize = 4096;
/// Longest name of a server or of a connection's end in it.
pub const GIVEN_UP_TEXT: usize = 512;
/// Dead processes of a follower that it tells of at once.
pub const REPLACES: usize = 64;
/// How often a follower tries to tell its leader that it leaves.
pub const LEAVE_TRIES: u32 = 5;
/// What a follower may say of its trouble, in bytes.
pub const TROUBLE_BYTES: usize = 1024;

/// Connections at once. When one more comes, the one that has sent no whole request for longest is closed.
pub const CONNECTIONS: usize = 512;
/// The same of the listener for metrics and health alone.
pub const METRICS_CONNECTIONS: usize = 64;
/// Bytes of a request's line and headers.
pub const HEAD_BYTES: usize = 64 * 1024;
/// Headers of one request.
pub const HEADERS: usize = 64;
/// Bytes of one body. A thousand nodes with long names and passwords take less than half of it.
pub const BODY_BYTES: usize = 1 << 20;
/// Nodes in a topology that is wished over HTTP. The ring could hold more; but where two lists share no name, the
/// report has up to one flow for each pair of nodes, a million here.
pub const NODES: usize = 1024;

/// For a whole head, and for a connection between two requests. Below the 5 s within which it must be closed.
pub const HEAD_TIME: Duration = Duration::from_secs(4);
/// For a whole body.
pub const BODY_TIME: Duration = Duration::from_secs(4);
/// For a client to take any further byte of its answer.
pub const ANSWER_TIME: Duration = Duration::from_secs(4);
/// What is read and thrown away of a request that was answered before it had come whole, in bytes and in time.
pub const LINGER_BYTES: u64 = BODY_BYTES as u64;
/// See [`LINGER_BYTES`].
pub const LINGER_TIME: Duration = Duration::from_secs(1);
/// For requests in work when the control plane stops.
pub const STOP_TIME: Duration = Duration::from_secs(2);

/// How often a partial edit is planned anew because somebody else was faster.
pub const EDIT_TRIES: usize = 8;

/// Keys of one sample at most. Counting each once takes about 20 bytes a key, 20 MB in all.
pub const SAMPLE_KEYS: u64 = 1_000_000;
/// For one whole sample, waiting for an earlier one included.
pub const SAMPLE_TIME: Duration = Duration::from_secs(30);
/// `COUNT` of one `SCAN`: a node is busy for about a quarter of a millisecond with it.
pub const SCAN_COUNT: usize = 500;
/// Keys that are told when the call does not say how many.
pub const TOLD_KEYS: u64 = 20;
/// Keys that a call may ask for.
pub const TOLD_KEYS_MOST: u64 = 1000;
/// For how long keys are counted when the call does not say, in seconds.
pub const COUNTING_SECONDS: u64 = 5;
/// For how long a call may have keys counted, in seconds.
pub const COUNTING_SECONDS_MOST: u64 = 60;
/// Strays that are moved or deleted within a second, unless the caller says otherwise.
pub const STRAYS_PER_SECOND: u32 = 2_000;
/// See [`STRAYS_PER_SECOND`]; what a caller may ask for.
pub const STRAYS_PER_SECOND_MOST: u32 = 1_000_000;
/// Strays that are dealt with at once.
pub const STRAYS_AT_ONCE: usize = 32;
/// Bytes of values that are copied at once, but for a single one that is larger.
pub const STRAYS_BYTES: usize = 4 << 20;
/// A larger value is not moved: both nodes would stand still for some tenths of a second.
pub const STRAY_BYTES: usize = 64 << 20;
/// For a node's answer to work on strays.
pub const STRAYS_ANSWER_TIME: Duration = Duration::from_secs(10);
/// Beyond the operation timeout, until what was sent by an earlier topology has ended.
pub const STRAYS_SETTLE_TIME: Duration = Duration::from_millis(100);
/// Nodes that are asked at the same time.
pub const NODES_AT_ONCE: usize = 16;
/// Connections of the control plane to one node.
pub const NODE_CONNECTIONS: u32 = 2;
/// For a connection to a node from the pool, opening it included.
pub const NODE_CONNECT_TIME: Duration = Duration::from_secs(2);
/// For the details of one node in `GET /v1/stats?details=true`.
pub const DETAILS_TIME: Duration = Duration::from_secs(2);
/// After this a connection to a node that nobody uses is closed.
pub const NODE_IDLE_TIME: Duration = Duration::from_secs(60);
