//! What a node says: its errors are passed on as they are, its nonsense reaches nobody.

use std::time::Duration;

use crate::support::frame::{bulk, reply_len};
use crate::support::{Act, FakeRedis, Harness, NoReply, wait_for};

fn node_that_answers(reply: &[u8]) -> FakeRedis {
    let reply = reply.to_vec();
    FakeRedis::start(move |_| vec![Act::Send(reply.clone())])
}

fn is_failure(reply: &[u8]) -> bool {
    reply.starts_with(b"-NOTSENT node 'bad'") || reply.starts_with(b"-UNKNOWN node 'bad'")
}

#[test]
fn a7_errors_of_the_node_are_forwarded_byte_for_byte() {
    let errors = [
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-READONLY You can't write against a read only replica.\r\n",
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        "-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.\r\n",
        "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n",
        "-NOSCRIPT No matching script. Please use EVAL.\r\n",
        "-Mixed Case 'and' \"quotes\"\r\n",
    ];
    for error in errors {
        let node = node_that_answers(error.as_bytes());
        let harness = Harness::in_front_of(&[("bad", node.address())]);
        harness_ready(&harness);
        let connections = node.connections();
        let mut client = harness.client();
        for _ in 0..20 {
            assert_eq!(client.text(&["SET", "k", "v"]), error);
        }
        assert_eq!(node.connections(), connections, "an error is no death: {error}");
    }
}

/// Waits until a command reaches the node and anything at all comes back.
fn harness_ready(harness: &Harness) {
    let mut clients: Vec<_> = (0..2 * harness.control().threads()).map(|_| harness.client()).collect();
    wait_for("the node to be connected", || {
        clients.iter_mut().all(|client| !client.call(&["TYPE", "warm"]).starts_with(b"-NOTSENT"))
    });
}

#[test]
fn the_node_sees_the_very_bytes_of_the_client() {
    let node = node_that_answers(b"+OK\r\n");
    let harness = Harness::in_front_of(&[("bad", node.address())]);
    harness_ready(&harness);
    let before = node.seen().len();
    let mut client = harness.client();
    let commands: [&[u8]; 4] = [
        b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$4\r\n\r\n\0\xff\r\n",
        b"*3\r\n$3\r\nSeT\r\n$0\r\n\r\n$0\r\n\r\n",
        b"*4\r\n$4\r\nHSET\r\n$1\r\nh\r\n$1\r\nf\r\n$3\r\n*1\r\r\n",
        b"*2\r\n$4\r\nINCR\r\n$2\r\nab\r\n",
    ];
    for command in commands {
        client.send(command);
        assert_eq!(client.reply(), b"+OK\r\n");
    }
    let seen: Vec<Vec<u8>> = node.seen().into_iter().skip(before).map(|seen| seen.bytes).collect();
    assert_eq!(seen, commands.map(<[u8]>::to_vec));
}

#[test]
fn b3_stray_replies_reach_nobody() {
    // the second reply comes with the first, or later when nothing is in flight
    let strays: [&[u8]; 5] =
        [b"+STRAY\r\n", b"$5\r\nSTRAY\r\n", b":666\r\n", b"-STRAY error\r\n", b">2\r\n+STRAY\r\n+STRAY\r\n"];
    for stray in strays {
        for pause in [None, Some(Duration::from_millis(30))] {
            let stray = stray.to_vec();
            let node = FakeRedis::start(move |seen| {
                // only the key says what to answer, so that a reply in a wrong slot shows
                let reply = bulk(&seen.args[1]);
                match pause {
                    _ if !seen.args[1].starts_with(b"poison") => vec![Act::Send(reply)],
                    None => vec![Act::Send([reply, stray.clone()].concat())],
                    Some(pause) => vec![Act::Send(reply), Act::Wait(pause), Act::Send(stray.clone())],
                }
            });
            let harness = Harness::in_front_of(&[("bad", node.address())]);
            harness_ready(&harness);
            let (mut one, mut two) = (harness.client(), harness.client());
            for round in 0..5 {
                let poison = format!("poison{round}");
                let connects = harness.node("bad").connects;
                let reply = one.call(&["GET", &poison]);
                assert!(
                    reply == bulk(poison.as_bytes()) || is_failure(&reply),
                    "{}",
                    String::from_utf8_lossy(&reply)
                );
                // a stray that meets a command in flight is its reply for all that anyone can know, so that none may be:
                // the connection is given up when it has come
                wait_for("the stray to be seen", || harness.node("bad").connects > connects);
                for n in 0..20 {
                    for client in [&mut one, &mut two] {
                        let key = format!("good{round}:{n}");
                        let reply = client.call(&["SETNX", &key, "v"]);
                        let right = reply == bulk(key.as_bytes()) || is_failure(&reply);
                        assert!(right, "{key}: {:?}", String::from_utf8_lossy(&reply));
                    }
                }
                wait_for("the node to be used again", || two.call(&["SETNX", "back", "v"]) == bulk(b"back"));
            }
        }
    }
}

#[test]
fn b3_a_poisoned_pipeline_never_shifts_replies_of_other_clients() {
    let node = FakeRedis::start(|seen| {
        let reply = bulk(&seen.args[1]);
        let twice = seen.args[1].starts_with(b"twice");
        vec![Act::Send(if twice { [reply.clone(), reply].concat() } else { reply })]
    });
    let mut settings = ringway_proxy::settings::Settings::new(vec![ringway_proxy::settings::NodeSpec::new(
        "bad",
        node.address(),
    )]);
    settings.threads = 1;
    let harness = Harness::start(settings);
    harness_ready(&harness);
    let (mut poisoner, mut other) = (harness.client(), harness.client());
    for round in 0..30 {
        poisoner.send_command(&["GET", &format!("twice{round}")]);
        poisoner.reply();
        // whatever the other is told after the duplicate was there to be read, it is its own
        let reply = other.call(&["SETNX", &format!("own{round}"), "v"]);
        let own = reply == bulk(format!("own{round}").as_bytes()) || is_failure(&reply);
        assert!(own, "{:?}", String::from_utf8_lossy(&reply));
    }
}

#[test]
fn b4_malformed_replies_fail_the_command_and_nothing_else() {
    let malformed: [&[u8]; 15] = [
        b"@what\r\n",
        b"$-2\r\n",
        b"*-2\r\n",
        b"*1e20\r\n",
        b"$3\r\nabcXY",
        b"$1x\r\n+\r\n",
        b"*\r\n",
        b"$\r\n",
        b"\r\n",
        b"hello\r\n",
        b"$99999999999999999999\r\n",
        b"*99999999999999999999\r\n",
        b"\0\0\0\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$3\nabc\n",
    ];
    for reply in malformed {
        let node = FakeRedis::start({
            let reply = reply.to_vec();
            move |seen| {
                vec![if seen.args[1] == b"bad" { Act::Send(reply.clone()) } else { Act::text("+fine\r\n") }]
            }
        });
        let harness = Harness::hasty(&[("bad", node.address())]);
        harness_ready(&harness);
        let mut client = harness.client();
        let got = client.call(&["INCR", "bad"]);
        let shown = String::from_utf8_lossy(reply).escape_debug().to_string();
        assert!(got.starts_with(b"-UNKNOWN node 'bad'"), "{shown}: {}", String::from_utf8_lossy(&got));
        assert_eq!(client.text(&["ECHO", "alive"]), "$5\r\nalive\r\n");
        wait_for("the node to be used again", || client.call(&["INCR", "good"]) == b"+fine\r\n");
    }
}

#[test]
fn b4_a_reply_larger_than_announced_limits_never_hangs_a_client() {
    // a server may be configured for larger values, so the head may be on its way to the client before the node stalls
    let node = node_that_answers(b"$536870913\r\n");
    let harness = Harness::hasty(&[("bad", node.address())]);
    let mut client = harness.client();
    client.send_command(&["GET", "k"]);
    match client.try_reply(Duration::from_secs(20)) {
        Ok(reply) => assert!(is_failure(&reply), "{}", String::from_utf8_lossy(&reply)),
        Err(NoReply::Closed(bytes)) => assert!(bytes.len() < 20),
        Err(NoReply::Silent(bytes)) => panic!("silence after {} bytes", bytes.len()),
    }
    assert_eq!(harness.client().text(&["ECHO", "alive"]), "$5\r\nalive\r\n");
}

#[test]
fn b4_deep_replies_are_legal() {
    let deep = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
    for depth in [1, 7, 400, 20_000] {
        let expected = deep(depth);
        assert_eq!(reply_len(&expected), Some(expected.len()));
        let node = node_that_answers(&expected);
        let harness = Harness::in_front_of(&[("bad", node.address())]);
        harness_ready(&harness);
        assert!(harness.client().call(&["GET", "k"]) == expected, "depth {depth}");
    }
    // a million levels: passed on or refused, but never the end of the proxy
    let node = node_that_answers(&deep(1_000_000));
    let harness = Harness::in_front_of(&[("bad", node.address())]);
    let mut client = harness.client();
    client.send_command(&["GET", "k"]);
    match client.try_reply(Duration::from_secs(20)) {
        Ok(_) | Err(NoReply::Closed(_)) => {}
        Err(NoReply::Silent(bytes)) => panic!("silence after {} bytes", bytes.len()),
    }
    assert_eq!(harness.client().text(&["ECHO", "alive"]), "$5\r\nalive\r\n");
}

#[test]
fn a_node_that_never_greets_is_notsent() {
    let node = FakeRedis::unhelpful(|_| Vec::new());
    let harness = Harness::hasty(&[("bad", node.address())]);
    let reply = harness.client().text(&["SET", "k", "v"]);
    assert!(reply.starts_with("-NOTSENT node 'bad'"), "{reply}");
    assert!(
        !node.seen().iter().any(|seen| seen.name() == "SET"),
        "nothing is sent before the greeting is answered"
    );
}

#[test]
fn a_node_that_greets_with_nonsense_is_notsent() {
    for greeting in
        ["+WHAT\r\n", "-ERR go away\r\n", "$4\r\nPONG\r\n", "*0\r\n", "220 mail.example ESMTP\r\n"]
    {
        let node = FakeRedis::unhelpful(move |_| vec![Act::text(greeting)]);
        let harness = Harness::in_front_of(&[("bad", node.address())]);
        let reply = harness.client().text(&["SET", "k", "v"]);
        // an answer of a server that merely phrases its greeting otherwise may be taken for one
        assert!(reply.starts_with("-NOTSENT node 'bad'") || reply == greeting, "{greeting:?}: {reply}");
        assert!(!reply.starts_with("-UNKNOWN"), "{greeting:?}: {reply}");
    }
}

#[test]
fn a_slow_drip_is_progress_and_no_timeout() {
    let node = FakeRedis::start(|_| {
        let pieces = bulk(b"slowly but surely").into_iter();
        pieces.flat_map(|byte| [Act::Send(vec![byte]), Act::Wait(Duration::from_millis(60))]).collect()
    });
    let mut settings = ringway_proxy::settings::Settings::new(vec![ringway_proxy::settings::NodeSpec::new(
        "bad",
        node.address(),
    )]);
    // shorter than the whole reply takes, far longer than the pause between two bytes
    settings.timeouts.operation = Duration::from_secs(1);
    let harness = Harness::start(settings);
    let mut client = harness.client();
    wait_for("the node to be connected", || !client.call(&["GET", "k"]).starts_with(b"-NOTSENT"));
    assert_eq!(client.text(&["GET", "k"]), "$17\r\nslowly but surely\r\n");
}
