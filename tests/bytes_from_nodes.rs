//! Replies cut, and replies split, at every byte (rows B1 and B2).

use std::time::Duration;

use ringway_proxy::settings::{NodeSpec, Settings};

use crate::support::byte_proxy::{ByteProxy, Wire};
use crate::support::frame::bulk_request;
use crate::support::harness::patient;
use crate::support::random::Random;
use crate::support::{Act, FakeRedis, Harness, RedisServer, wait_for};

/// One reply of each type; the second list only a RESP3 client can get.
const RESP2: [&str; 8] = [
    "+OK\r\n",
    "-ERR nonce 7\r\n",
    ":-42\r\n",
    "$5\r\na\r\nbc\r\n",
    "$0\r\n\r\n",
    "$-1\r\n",
    "*-1\r\n",
    "*3\r\n$1\r\na\r\n*1\r\n:1\r\n$-1\r\n",
];
const RESP3: [&str; 9] = [
    "_\r\n",
    "#t\r\n",
    ",-1.5e300\r\n",
    "(123456789012345678901\r\n",
    "!5\r\nERR x\r\n",
    "=7\r\ntxt:abc\r\n",
    "%1\r\n+k\r\n%1\r\n:1\r\n_\r\n",
    "~2\r\n+a\r\n~0\r\n",
    "|1\r\n+ttl\r\n:3600\r\n$1\r\nv\r\n",
];

struct Case {
    reply: &'static str,
    cut: usize,
    reset: bool,
    three: bool,
}

/// Cuts each reply at every byte: the client must be told UNKNOWN, and get its next reply right.
#[test]
fn b1_cut_at_every_byte_of_each_reply_type() {
    let types = RESP2.iter().map(|reply| (*reply, false)).chain(RESP3.iter().map(|reply| (*reply, true)));
    let cases: Vec<Case> = types
        .flat_map(|(reply, three)| {
            let cuts = (0..reply.len()).flat_map(|cut| [(cut, false), (cut, true)]);
            cuts.map(move |(cut, reset)| Case { reply, cut, reset, three })
        })
        .collect();
    // a cut costs a connection, so each case has a node of its own, many nodes to one proxy
    for batch in cases.chunks(64) {
        let nodes: Vec<FakeRedis> = batch.iter().map(cutting_node).collect();
        let spec = |(at, node): (usize, &FakeRedis)| NodeSpec::new(format!("n{at}"), node.address());
        let mut settings = patient(nodes.iter().enumerate().map(spec).collect());
        settings.threads = 1;
        settings.topology.ring.points = 64;
        let harness = Harness::start(settings);
        for (at, case) in batch.iter().enumerate() {
            cut_once(&harness, &format!("n{at}"), case);
        }
    }
}

fn cutting_node(case: &Case) -> FakeRedis {
    let (piece, reset) = (case.reply.as_bytes()[..case.cut].to_vec(), case.reset);
    FakeRedis::start(move |seen| {
        if seen.args[0] == b"TTL" {
            return vec![Act::text(":-2\r\n")];
        }
        // a pause, so that a RST does not overtake the piece
        vec![
            Act::Send(piece.clone()),
            Act::Wait(Duration::from_millis(1)),
            if reset { Act::Reset } else { Act::Finish },
        ]
    })
}

fn cut_once(harness: &Harness, node: &str, case: &Case) {
    let mut client = if case.three { harness.client3() } else { harness.client() };
    let key = harness.key_of(node);
    wait_for("the node to be connected", || client.call(&["TTL", &key]) == b":-2\r\n");
    client.send(&[bulk_request(&["RPUSH", &key, "token"]), bulk_request(&["ECHO", "next"])].concat());
    let reply = String::from_utf8_lossy(&client.reply()).into_owned();
    let what = format!("{:?} cut at {} by {}", case.reply, case.cut, if case.reset { "RST" } else { "FIN" });
    assert!(reply.starts_with(&format!("-UNKNOWN node '{node}' (")), "{what}: {reply:?}");
    assert_eq!(client.text_reply(), "$4\r\nnext\r\n", "{what}");
}

#[test]
fn b2_split_at_every_byte() {
    for (list, three) in [(RESP2.as_slice(), false), (&RESP3, true)] {
        // the key says which reply is wanted and where it is split
        let replies: Vec<&'static str> = list.to_vec();
        let node = FakeRedis::start(move |seen| {
            let text = String::from_utf8_lossy(&seen.args[1]).into_owned();
            let mut numbers =
                text.split(':').skip(1).map(|number| number.parse::<usize>().expect("a number"));
            let Some(which) = numbers.next() else { return vec![Act::text(":-2\r\n")] };
            let (first, second) = (numbers.next().expect("first"), numbers.next().expect("second"));
            let bytes = replies[which].as_bytes();
            let pause = Act::Wait(Duration::from_micros(300));
            let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            pieces
                .into_iter()
                .filter(|piece| !piece.is_empty())
                .flat_map(|piece| [Act::Send(piece.to_vec()), pause.clone()])
                .collect()
        });
        let harness = Harness::in_front_of(&[("splitter", node.address())]);
        let mut client = if three { harness.client3() } else { harness.client() };
        wait_for("the node to be connected", || client.call(&["TTL", "warm"]) == b":-2\r\n");
        for (which, reply) in list.iter().enumerate() {
            for first in 0..=reply.len() {
                for second in first..=reply.len() {
                    let got = client.text(&["GET", &format!("split:{which}:{first}:{second}")]);
                    assert_eq!(got, *reply, "split at {first} and {second}");
                }
            }
        }
    }
}

#[test]
fn b2_real_replies_in_slices_of_every_small_size() {
    let servers: Vec<RedisServer> = (0..2).map(|_| RedisServer::start()).collect();
    let wires: Vec<ByteProxy> = servers.iter().map(|server| ByteProxy::start(&server.address())).collect();
    let harness = Harness::in_front_of(&[("a", wires[0].address()), ("b", wires[1].address())]);
    harness.wait_usable("a");
    harness.wait_usable("b");
    let mut client = harness.client();
    let mut random = Random::new(2);
    let keys: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    let mut mget = vec!["MGET"];
    mget.extend(keys.iter().map(String::as_str));
    for key in &keys[..15] {
        let len = random.below(200);
        client.call(&[b"SET".as_slice(), key.as_bytes(), &random.bytes(len)]);
        client.call(&["RPUSH", &format!("list:{key}"), "a", "b\r\n", ""]);
    }
    let whole: Vec<Vec<u8>> = std::iter::once(client.call(&mget))
        .chain(
            keys.iter()
                .map(|key| client.call(&["LRANGE", &format!("list:{key}"), "0", "-1"]))
                .collect::<Vec<_>>(),
        )
        .collect();
    for slice in [1, 2, 3, 5, 7, 16] {
        wires.iter().for_each(|wire| wire.set(Wire::Slice(slice)));
        // all at once, so that replies of several commands share a read
        client.send_command(&mget);
        keys.iter().for_each(|key| client.send_command(&["LRANGE", &format!("list:{key}"), "0", "-1"]));
        for expected in &whole {
            assert_eq!(client.reply(), *expected, "slices of {slice}");
        }
    }
}

#[test]
fn a13_a_slow_wire_is_no_reason_to_give_up() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let harness = Harness::in_front_of(&[("far", wire.address())]);
    harness.wait_usable("far");
    let connects = harness.node("far").connects;
    wire.set(Wire::Delay(Duration::from_millis(50)));
    let mut client = harness.client();
    for n in 1..=20 {
        assert_eq!(client.text(&["INCR", "n"]), format!(":{n}\r\n"));
    }
    assert_eq!(harness.node("far").connects, connects);
}

#[test]
fn a11_replies_kept_back_are_unknown_and_make_no_duplicates() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let mut settings = Settings::new(vec![NodeSpec::new("far", wire.address())]);
    settings.timeouts.operation = Duration::from_secs(1);
    let harness = Harness::start(settings);
    harness.wait_usable("far");
    wire.set(Wire::Hold);
    let mut client = harness.client();
    let reply = client.text(&["RPUSH", "tokens", "held"]);
    assert!(reply.starts_with("-UNKNOWN node 'far'"), "{reply}");
    wire.set(Wire::Plain);
    wait_for("the wire to be mended", || client.call(&["LLEN", "tokens"]).starts_with(b":"));
    // it ran, its reply was lost, and nobody sent it again
    assert_eq!(server.call::<Vec<String>>(&["LRANGE", "tokens", "0", "-1"]), ["held"]);
}

#[test]
fn a_cut_wire_never_delivers_part_of_a_reply() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let harness = Harness::in_front_of(&[("far", wire.address())]);
    harness.wait_usable("far");
    let mut client = harness.client();
    let value = Random::new(9).bytes(20_000);
    client.call(&[b"SET".as_slice(), b"value", &value]);
    for (round, reset) in [true, false, true, false].into_iter().enumerate() {
        wait_for("the wire to be mended", || client.call(&["STRLEN", "value"]) == b":20000\r\n");
        wire.set(Wire::Cut { after: 1 + round * 5000, reset });
        client.send_command(&["GETSET", "value", "x"]);
        match client.try_reply(Duration::from_secs(20)) {
            Ok(reply) => assert!(reply.starts_with(b"-UNKNOWN node 'far'"), "{}", reply.len()),
            // bytes of a large reply may be on their way to the client already: then only a close is honest
            Err(crate::support::NoReply::Closed(_)) => client = harness.client(),
            Err(why) => panic!("{why:?}"),
        }
        let mut direct = server.client();
        direct.call(&[b"SET".as_slice(), b"value", &value]);
    }
}
