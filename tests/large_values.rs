//! Clients that move large values take connections of their own kind, so that nobody stands behind a value of megabytes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::support::byte_proxy::ByteProxy;
use crate::support::frame::bulk;
use crate::support::harness::{named, patient};
use crate::support::random::Random;
use crate::support::{Act, Cluster, FakeRedis, Harness, RedisServer};

const LARGE: usize = 1 << 20;

/// What one connection of a scripted node waits for until another one has seen it.
#[derive(Default)]
struct Signal {
    given: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn give(&self) {
        *self.given.lock().expect("no panic") = true;
        self.changed.notify_all();
    }

    /// Whether it was given within a time that is far too long.
    fn wait(&self) -> bool {
        let given = self.given.lock().expect("no panic");
        let (given, _) = self
            .changed
            .wait_timeout_while(given, Duration::from_secs(10), |given| !*given)
            .expect("no panic");
        *given
    }
}

/// A node that keeps back a large reply, or the reply to a large command, from the second one on, until it has seen a small
/// command: on the same connection it never would.
fn node_that_waits(in_vain: &Arc<AtomicBool>) -> FakeRedis {
    let (signal, larges, in_vain) = (Signal::default(), AtomicUsize::new(0), Arc::clone(in_vain));
    FakeRedis::start(move |seen| {
        let large = seen.args[1] == b"large";
        if !large {
            signal.give();
            return vec![Act::text("$5\r\nsmall\r\n")];
        }
        if larges.fetch_add(1, Ordering::SeqCst) > 0 && !signal.wait() {
            in_vain.store(true, Ordering::SeqCst);
        }
        match seen.name().as_str() {
            "GET" => vec![Act::Send(bulk(&vec![b'x'; LARGE]))],
            _ => vec![Act::text("+OK\r\n")],
        }
    })
}

fn harness_of(node: &FakeRedis) -> Harness {
    let mut settings = patient(named(&[("cache-1", node.address())]));
    settings.threads = 1;
    settings.timeouts.operation = Duration::from_secs(30);
    Harness::start(settings)
}

#[test]
fn i7_nobody_stands_behind_the_large_replies_of_another() {
    let in_vain = Arc::default();
    let node = node_that_waits(&in_vain);
    let harness = harness_of(&node);
    let (mut large, mut small) = (harness.client(), harness.client());
    let whole = bulk(&vec![b'x'; LARGE]);
    // what it moves is not known before
    assert!(large.call(&["GET", "large"]) == whole);
    large.send_command(&["GET", "large"]);
    assert_eq!(small.text(&["GET", "small"]), "$5\r\nsmall\r\n");
    assert!(large.reply() == whole);
    assert!(!in_vain.load(Ordering::SeqCst), "the small command came behind the large reply");
}

#[test]
fn i7_nobody_stands_behind_the_large_commands_of_another() {
    let in_vain = Arc::default();
    let node = node_that_waits(&in_vain);
    let harness = harness_of(&node);
    let (mut large, mut small) = (harness.client(), harness.client());
    let value = vec![b'x'; LARGE];
    assert_eq!(large.text(&[b"SET".as_slice(), b"large", &value]), "+OK\r\n");
    large.send_command(&[b"SET".as_slice(), b"large", &value]);
    assert_eq!(small.text(&["GET", "small"]), "$5\r\nsmall\r\n");
    assert_eq!(large.text_reply(), "+OK\r\n");
    assert!(!in_vain.load(Ordering::SeqCst), "the small command came behind the large one");
}

#[test]
fn i2_a_client_that_goes_over_to_other_connections_keeps_its_order() {
    let cluster = Cluster::start(2);
    let mut random = Random::new(11);
    let value = random.bytes(3 * LARGE);
    for _ in 0..20 {
        let mut client = cluster.client();
        let mut expected = Vec::new();
        let mut length = 0;
        client.call(&["DEL", "grows"]);
        // small appends around large ones, and each length is the sum of all before
        for _ in 0..12 {
            let len = if random.below(3) == 0 { LARGE / 2 + random.below(LARGE) } else { random.below(50) };
            client.send_command(&[b"APPEND".as_slice(), b"grows", &value[..len]]);
            client.send_command(&["STRLEN", "grows"]);
            length += len;
            expected.extend([length; 2].map(|length| format!(":{length}\r\n").into_bytes()));
            if random.below(4) == 0 {
                client.send_command(&["GETRANGE", "grows", "0", "-1"]);
                client.send_command(&["SET", "grows", ""]);
                let held: usize = length;
                expected.extend([format!("${held}").into_bytes(), b"+OK\r\n".to_vec()]);
                length = 0;
            }
        }
        for expected in expected {
            let reply = client.reply();
            let fits = if expected[0] == b'$' { reply.starts_with(&expected) } else { reply == expected };
            assert!(fits, "{:?} for {:?}", &reply[..reply.len().min(40)], String::from_utf8_lossy(&expected));
        }
    }
}

#[test]
fn i2_a_large_command_waits_for_what_its_client_sent_before_on_another_connection() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let mut settings = patient(named(&[("only", wire.address())]));
    settings.threads = 1;
    let harness = Harness::start(settings);
    let mut client = harness.client();
    assert_eq!(client.text(&["SET", "k", "first"]), "+OK\r\n");
    // what is on the open connection arrives late; the one for large values passes freely
    wire.hold_requests();
    client.send_command(&["SET", "k", "second"]);
    client.send_command(&[b"SET".as_slice(), b"k", &vec![b'x'; LARGE]]);
    std::thread::sleep(Duration::from_millis(300));
    wire.release_requests();
    assert_eq!((client.text_reply(), client.text_reply()), ("+OK\r\n".into(), "+OK\r\n".into()));
    assert_eq!(client.text(&["STRLEN", "k"]), format!(":{LARGE}\r\n"), "the large one came first");
}

/// A reply says which connections the next command takes: also a command for all nodes goes there, not where the last one went.
#[test]
fn i2_what_concerns_all_nodes_goes_over_with_its_client() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let mut settings = patient(named(&[("only", wire.address())]));
    settings.threads = 1;
    settings.allowed_commands = vec!["flushall".into()];
    let harness = Harness::start(settings);
    let _: String = server.call(&[b"SET".as_slice(), b"large", &vec![b'x'; LARGE]]);
    // it is to go over, and what is on the connection that it leaves arrives late
    let mut client = harness.client();
    assert!(client.call(&["GET", "large"]).len() > LARGE);
    wire.hold_requests();
    client.send_command(&["FLUSHALL"]);
    client.send_command(&["SET", "k", "v"]);
    std::thread::sleep(Duration::from_millis(300));
    wire.release_requests();
    assert_eq!((client.text_reply(), client.text_reply()), ("+OK\r\n".into(), "+OK\r\n".into()));
    assert_eq!(client.text(&["GET", "k"]), "$1\r\nv\r\n", "FLUSHALL ran after what followed it");
}

#[test]
fn a4_a_late_write_runs_after_none_that_took_another_connection() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let mut settings = ringway_proxy::settings::Settings::new(named(&[("far", wire.address())]));
    settings.threads = 1;
    let harness = Harness::start(settings);
    harness.wait_usable("far");
    let (mut client, mut other) = (harness.client(), harness.client());
    // what is on the open connection arrives late; the one that RESP3 opens passes freely, and no other is opened: a
    // fence that only a new greeting brings would come too late
    wire.hold_requests();
    client.send_command(&["RPUSH", "tokens", "doubtful"]);
    assert!(other.call(&["HELLO", "3"]).starts_with(b"%"));
    assert_eq!(other.text(&["EXISTS", "tokens"]), ":0\r\n");
    wire.refuse_new();
    let told = client.text_reply();
    assert!(told.starts_with("-UNKNOWN "), "{told}");
    assert_eq!(other.text(&["RPUSH", "tokens", "certain"]), ":1\r\n");
    wire.release_requests();
    std::thread::sleep(Duration::from_millis(300));
    let held: Vec<String> = server.call(&["LRANGE", "tokens", "0", "-1"]);
    assert_eq!(held, ["certain"], "the late write came after a newer one");
}
