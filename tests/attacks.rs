//! Regressions: what an attack on the proxy found.

use std::time::{Duration, Instant};

use ringway_proxy::settings::{NodeSpec, Secret};
use ringway_proxy::stats::ClosedFor;

use crate::support::byte_proxy::ByteProxy;
use crate::support::frame::bulk_request;
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

#[test]
fn d6_wrong_passwords_are_slowed_down_and_counted() {
    let cluster = Cluster::start_with(1, |settings| {
        settings.password = Some(Secret::new("secret"));
        settings.limits.authentication = Duration::from_secs(2);
    });
    let began = Instant::now();
    let guesses = bulk_request(&["AUTH", "a guess"]).repeat(10_000);
    let mut guessers: Vec<_> = (0..2).map(|_| cluster.client()).collect();
    guessers.iter_mut().for_each(|client| client.send(&guesses));
    let mut answers = Vec::new();
    for client in &mut guessers {
        let said = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(said.starts_with("-WRONGPASS invalid username-password pair"), "{said}");
        answers.push(said.lines().count() as u64);
    }
    // 10, 20, 40 … 640 ms and then a second each; the bound follows the clock, so that a slow machine cannot break it
    let allowed = 9 + began.elapsed().as_secs();
    assert!(answers.iter().all(|count| (2..=allowed).contains(count)), "{answers:?} of 10,000");
    let snapshot = cluster.control().snapshot();
    assert_eq!(snapshot.authentication_failures, answers.iter().sum::<u64>());
    assert_eq!(snapshot.closed[ClosedFor::NoAuthentication as usize], 2);
}

#[test]
fn d6_a_right_password_after_wrong_ones_lets_in_and_keeps_the_order() {
    let cluster = Cluster::start_with(1, |settings| settings.password = Some(Secret::new("secret")));
    let mut client = cluster.client();
    let mut batch = bulk_request(&["AUTH", "wrong"]).repeat(3);
    batch.extend(bulk_request(&["ECHO", "stranger"]));
    batch.extend(bulk_request(&["HELLO", "3", "AUTH", "default", "wrong"]));
    batch.extend(bulk_request(&["AUTH", "secret"]));
    batch.extend(bulk_request(&["ECHO", "friend"]));
    client.send(&batch);
    let said: Vec<String> = (0..7).map(|_| client.text_reply()).collect();
    let begins = ["-WRONGPASS", "-WRONGPASS", "-WRONGPASS", "-NOAUTH", "-WRONGPASS", "+OK", "$6\r\nfriend"];
    assert!(said.iter().zip(begins).all(|(said, begin)| said.starts_with(begin)), "{said:?}");
    // also a client that waits out a delay can leave
    client.send_command(&["AUTH", "wrong"]);
    client.finish_sending();
    assert!(client.rest().starts_with(b"-WRONGPASS"));
    wait_for("nobody to be left", || cluster.control().snapshot().client_connections == 0);
}
