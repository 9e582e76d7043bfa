//! Regressions: what an attack on the proxy found.

use std::time::Duration;

use ringway_proxy::settings::{NodeSpec, Secret};

use crate::support::byte_proxy::ByteProxy;
use crate::support::{Cluster, Harness, RedisServer, wait_for};

#[test]
fn a3_a_trickle_of_commands_does_not_hide_a_node_that_stands_still() {
    let cluster = Cluster::start_with(1, |settings| settings.timeouts.operation = Duration::from_millis(500));
    let (mut waiting, mut trickling) = (cluster.client(), cluster.client());
    cluster.server("cache-1").pause();
    waiting.send_command(&["GET", "a"]);
    let answered = (0..200).find_map(|_| {
        trickling.send_command(&["GET", "b"]);
        waiting.try_reply(Duration::from_millis(100)).ok()
    });
    cluster.server("cache-1").resume();
    let reply = answered.expect("no answer while others went on writing");
    assert!(reply.starts_with(b"-UNKNOWN "), "{}", String::from_utf8_lossy(&reply));
}

#[test]
fn i2_commands_on_a_key_keep_their_order_when_its_node_gets_another_address() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let harness = Harness::in_front_of(&[("only", wire.address())]);
    harness.wait_usable("only");
    let mut client = harness.client();
    assert_eq!(client.text(&["SET", "k", "zero"]), "+OK\r\n");
    wire.hold_requests();
    let read = || harness.control().snapshot().commands_read;
    let before = read();
    client.send_command(&["SET", "k", "first"]);
    wait_for("the first to be on its way", || read() > before);
    harness.apply(vec![NodeSpec::new("only", server.address())]);
    client.send_command(&["SET", "k", "second"]);
    // long enough for the second to overtake the first, if it could
    client.expect_silence(Duration::from_millis(300));
    wire.release_requests();
    assert_eq!((client.text_reply(), client.text_reply()), ("+OK\r\n".into(), "+OK\r\n".into()));
    assert_eq!(client.text(&["GET", "k"]), "$6\r\nsecond\r\n");
}

#[test]
fn b4_a_long_status_line_is_a_reply_like_any_other() {
    let cluster = Cluster::start(1);
    let (mut odd, mut normal) = (cluster.client(), cluster.client());
    for round in 1..=3 {
        odd.send_command(&["EVAL", "return {ok=string.rep('x', 1100000)}", "0"]);
        assert_eq!(normal.text(&["INCR", "n"]), format!(":{round}\r\n"));
        let reply = odd.reply();
        assert_eq!((reply.len(), &reply[..2]), (1_100_003, &b"+x"[..]));
    }
}

#[test]
fn reset_gives_the_time_to_authenticate_anew() {
    let cluster = Cluster::start_with(1, |settings| {
        settings.password = Some(Secret::new("secret"));
        settings.limits.authentication = Duration::from_secs(3);
    });
    let mut client = cluster.client();
    assert_eq!(client.text(&["AUTH", "secret"]), "+OK\r\n");
    std::thread::sleep(Duration::from_millis(3100));
    assert_eq!(client.text(&["RESET"]), "+RESET\r\n");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(client.text(&["AUTH", "secret"]), "+OK\r\n");
}

#[test]
fn d1_blank_lines_and_unknown_bytes_are_taken_as_redis_takes_them() {
    let cluster = Cluster::start(1);
    let bare = RedisServer::start();
    for input in [&b"\x0b\r\nPING\r\n"[..], b"PING\x0bx\r\nPING\r\n", b"*1\r\n$3\r\n\xff\xfex\r\n"] {
        let answer = |mut client: crate::support::RawClient| {
            client.send(input);
            client.finish_sending();
            client.rest()
        };
        assert_eq!(answer(cluster.client()), answer(bare.client()), "{}", input.escape_ascii());
    }
}
