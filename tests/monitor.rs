//! MONITOR: an operator is shown what clients ask, where that is allowed.

use std::time::Duration;

use ringway_proxy::settings::Secret;

use crate::support::tls;
use crate::support::{Cluster, RawClient};

fn allowing(threads: usize) -> Cluster {
    Cluster::start_with(2, |settings| {
        settings.threads = threads;
        settings.allowed_commands = ["monitor".to_owned()].into_iter().collect();
        settings.limits.subscriber_bytes = 256 * 1024;
    })
}

fn monitor(cluster: &Cluster) -> RawClient {
    let mut monitor = cluster.client();
    assert_eq!(monitor.text(&["MONITOR"]), "+OK\r\n");
    monitor
}

/// The next line without its time: database and address, and the words in quotes.
fn line(monitor: &mut RawClient) -> (String, String) {
    let line = monitor.text_reply();
    let (time, rest) =
        line.strip_prefix('+').and_then(|line| line.split_once(" [")).unwrap_or_else(|| panic!("{line}"));
    assert!(time.split_once('.').is_some_and(|(_, micros)| micros.len() == 6), "{line}");
    let (whence, words) = rest.trim_end().split_once("] ").unwrap_or_else(|| panic!("{line}"));
    (whence.to_owned(), words.to_owned())
}

#[test]
fn commands_of_all_workers_are_shown_once_in_their_order() {
    let cluster = allowing(2);
    // one of each worker, and the other way round
    let (mut first, mut second) = (monitor(&cluster), monitor(&cluster));
    let mut clients = [cluster.client(), cluster.client(), cluster.client()];
    for (at, client) in clients.iter_mut().enumerate() {
        client.call(&["SELECT", &at.to_string()]);
        client.call(&["MSET", "a", "1", "b", "2", "c", "3"]);
        client.call(&["get", "a\r\n"]);
        for monitor in [&mut first, &mut second] {
            let shown: Vec<_> = (0..3).map(|_| line(monitor)).collect();
            let address = match &*tls::EVERYWHERE {
                None => client.sender().local_addr().expect("it is connected").to_string(),
                // what speaks TLS for the client has another
                Some(_) => shown[0].0.split_once(' ').expect("two words").1.to_owned(),
            };
            let expected = [
                (format!("{at} {address}"), format!(r#""SELECT" "{at}""#)),
                (format!("{at} {address}"), r#""MSET" "a" "1" "b" "2" "c" "3""#.to_owned()),
                (format!("{at} {address}"), r#""get" "a\r\n""#.to_owned()),
            ];
            assert_eq!(shown, expected);
        }
    }
}

#[test]
fn scripts_and_functions_are_shown_as_they_are_asked() {
    let cluster = allowing(1);
    let mut client = cluster.client();
    client.call(&["FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() return 1 end)"]);
    let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    client.call(&["SCRIPT", "LOAD", "return 1"]);
    let mut monitor = monitor(&cluster);
    for name in ["EVAL", "EVAL_RO"] {
        assert_eq!(client.text(&[name, "return 1", "1", "k"]), ":1\r\n");
        assert_eq!(line(&mut monitor).1, format!(r#""{name}" "return 1" "1" "k""#));
    }
    for name in ["EVALSHA", "EVALSHA_RO"] {
        assert_eq!(client.text(&[name, sha, "1", "k"]), ":1\r\n");
        assert_eq!(line(&mut monitor).1, format!(r#""{name}" "{sha}" "1" "k""#));
    }
    client.call(&["FCALL", "f", "1", "k"]);
    assert_eq!(line(&mut monitor).1, r#""FCALL" "f" "1" "k""#);
    for words in [&["MULTI"][..], &["EVAL", "return 1", "1", "k"], &["EXEC"]] {
        client.call(words);
    }
    for words in [r#""MULTI""#, r#""EVAL" "return 1" "1" "k""#, r#""EXEC""#] {
        assert_eq!(line(&mut monitor).1, words);
    }
}

#[test]
fn a_transaction_and_a_wait_are_shown_as_they_are_asked() {
    let cluster = allowing(1);
    let mut monitor = monitor(&cluster);
    let (mut client, mut other) = (cluster.client(), cluster.client());
    for words in [&["MULTI"][..], &["SET", "k", "v"], &["EXEC"], &["MULTI"], &["NOSUCH", "x"], &["EXEC"]] {
        client.call(words);
    }
    for words in [r#""MULTI""#, r#""SET" "k" "v""#, r#""EXEC""#, r#""MULTI""#, r#""EXEC""#] {
        assert_eq!(line(&mut monitor).1, words);
    }
    client.send_command(&["BLPOP", "list", "0"]);
    assert_eq!(line(&mut monitor).1, r#""BLPOP" "list" "0""#);
    // it waits behind what is unanswered, and is shown once
    other.send_command(&["RPUSH", "list", "1"]);
    client.reply();
    other.reply();
    client.send(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*3\r\n$5\r\nBLPOP\r\n$4\r\nlist\r\n$3\r\n0.1\r\n");
    client.reply();
    client.reply();
    for words in [r#""RPUSH" "list" "1""#, r#""GET" "k""#, r#""BLPOP" "list" "0.1""#] {
        assert_eq!(line(&mut monitor).1, words);
    }
}

#[test]
fn what_is_refused_or_for_operators_or_secret_is_not_shown() {
    let cluster = Cluster::start_with(2, |settings| {
        settings.allowed_commands = ["monitor".to_owned()].into_iter().collect();
        settings.password = Some(Secret::new("open-sesame"));
    });
    let mut monitor = cluster.client();
    monitor.call(&["AUTH", "open-sesame"]);
    assert_eq!(monitor.text(&["MONITOR"]), "+OK\r\n");
    let mut client = cluster.client();
    for words in [
        &["GET", "before"][..],
        &["AUTH", "wrong-sesame"],
        &["AUTH", "default", "open-sesame"],
        &["HELLO", "3", "AUTH", "default", "open-sesame"],
        &["KEYS", "*"],
        &["CONFIG", "GET", "maxmemory"],
        &["DEBUG", "SLEEP", "0"],
        &["GET"],
        &["SLOWLOG", "GET"],
        &["SET", "large", &"v".repeat(200_000)],
        &["GET", "after"],
    ] {
        client.call(words);
    }
    assert_eq!(line(&mut monitor).1, r#""AUTH" "(redacted)""#);
    assert_eq!(line(&mut monitor).1, r#""AUTH" "(redacted)" "(redacted)""#);
    assert_eq!(line(&mut monitor).1, r#""HELLO" "3" "AUTH" "(redacted)" "(redacted)""#);
    let (_, large) = line(&mut monitor);
    assert!(
        large.starts_with(r#""SET" "large" "vvv"#) && large.ends_with(r#"... (198976 more bytes)""#),
        "{large}"
    );
    assert_eq!(line(&mut monitor).1, r#""GET" "after""#);
}

#[test]
fn who_monitors_may_ask_reset_and_leave() {
    let cluster = allowing(2);
    let mut monitors: Vec<RawClient> = (0..4).map(|_| monitor(&cluster)).collect();
    let mut client = cluster.client();
    assert!(client.text(&["CLIENT", "LIST"]).matches("flags=O ").count() == 4);
    assert_eq!(monitors[0].text(&["MONITOR"]), "+OK\r\n");
    // RESET and the end of a connection, one of each worker or both of one
    let mut reset = monitors.remove(0);
    drop(monitors);
    reset.send_command(&["RESET"]);
    while reset.text_reply() != "+RESET\r\n" {}
    client.call(&["SET", "k", "v"]);
    assert_eq!(reset.text(&["GET", "k"]), "$1\r\nv\r\n", "it is shown nothing");
    let began = std::time::Instant::now();
    while client.text(&["CLIENT", "LIST"]).contains("flags=O") {
        assert!(began.elapsed() < Duration::from_secs(10), "some monitor still");
    }
}

#[test]
fn i6_who_leaves_what_it_is_shown_unread_is_closed_and_nobody_waits() {
    let cluster = allowing(1);
    let mut monitor = monitor(&cluster);
    let mut client = cluster.client();
    let value = "v".repeat(900);
    let began = std::time::Instant::now();
    // more than the kernel keeps for it and subscriber_bytes together
    while client.text(&["CLIENT", "LIST"]).contains("flags=O") {
        for _ in 0..200 {
            client.send_command(&["SET", "k", &value]);
        }
        for _ in 0..200 {
            assert_eq!(client.text_reply(), "+OK\r\n");
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it is not closed");
    }
    assert!(line(&mut monitor).1.starts_with(r#""SET" "k" "vvv"#));
}

#[test]
fn it_is_refused_until_it_is_allowed() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    let refusal = client.text(&["MONITOR"]);
    assert!(
        refusal.starts_with("-ERR MONITOR is refused: ") && refusal.contains("allow: [monitor]"),
        "{refusal}"
    );
}
