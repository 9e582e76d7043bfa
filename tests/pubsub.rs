//! Publish and subscribe: reply by reply against a plain server, who hears what and how often, and what PUBLISH counts.

use std::time::Duration;

use ringway_proxy::glob;

use crate::support::byte_proxy::{ByteProxy, Wire};
use crate::support::frame::{bulk, bulk_request};
use crate::support::harness::{named, patient};
use crate::support::random::Random;
use crate::support::{Cluster, Harness, RawClient, RedisServer, wait_for};

/// A message, or a confirmation, as RESP2 (`*`) or RESP3 (`>`) writes it.
fn message(kind: char, words: &[&str]) -> String {
    let body: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("{kind}{}\r\n{body}", words.len())
}

/// Listens, and reads the confirmations.
pub(crate) fn subscribe(client: &mut RawClient, args: &[&str]) {
    client.send_command(args);
    for name in &args[1..] {
        let confirmation = client.text_reply();
        assert!(confirmation.contains(name), "{args:?}: {confirmation}");
    }
}

fn both(cluster: &Cluster) -> [(char, RawClient); 2] {
    [('*', cluster.client()), ('>', cluster.client3())]
}

#[test]
fn replies_are_those_of_a_plain_server() {
    let cluster = Cluster::start(3);
    let plain = RedisServer::start();
    // a line, and how many frames answer it
    let script = [
        ("UNSUBSCRIBE", 1),
        ("UNSUBSCRIBE x y", 2),
        ("PUNSUBSCRIBE", 1),
        ("SUNSUBSCRIBE", 1),
        ("SUBSCRIBE", 1),
        ("PUBLISH a", 1),
        ("SUBSCRIBE a b a", 3),
        ("PING", 1),
        ("PING text", 1),
        ("PING one two", 1),
        ("GET k", 1),
        ("PUBLISH nobody x", 1),
        ("CLIENT ID x", 1),
        ("COMMAND COUNT x", 1),
        ("PUBSUB NUMPAT", 1),
        ("nonsense", 1),
        ("PSUBSCRIBE p* q* p*", 3),
        ("SSUBSCRIBE s", 1),
        ("UNSUBSCRIBE nothing", 1),
        ("UNSUBSCRIBE b", 1),
        ("PUNSUBSCRIBE q*", 1),
        ("UNSUBSCRIBE", 1),
        ("SUNSUBSCRIBE", 1),
        ("SUNSUBSCRIBE s", 1),
        ("PUNSUBSCRIBE", 1),
        ("GET k", 1),
        ("PING", 1),
        ("SSUBSCRIBE s", 1),
        ("GET k", 1),
        ("RESET", 1),
        ("GET k", 1),
        ("PUBSUB CHANNELS", 1),
        ("PUBSUB SHARDCHANNELS", 1),
        ("PUBSUB NUMSUB", 1),
        ("PUBSUB NUMSUB a b a", 1),
        ("PUBSUB SHARDNUMSUB s", 1),
        ("PUBSUB NUMPAT", 1),
        ("SUBSCRIBE last", 1),
        ("QUIT", 1),
    ];
    for protocol in ["2", "3"] {
        let (mut through, mut direct) = (cluster.client(), plain.client());
        for client in [&mut through, &mut direct] {
            client.call(&["HELLO", protocol]);
        }
        for (line, frames) in script {
            let words: Vec<&str> = line.split(' ').collect();
            through.send_command(&words);
            direct.send_command(&words);
            for _ in 0..frames {
                let (ours, theirs) = (through.text_reply(), direct.text_reply());
                if line.starts_with("COMMAND COUNT") || line.starts_with("CLIENT ID") {
                    assert_eq!(ours.starts_with('-'), theirs.starts_with('-'), "RESP{protocol} {line}");
                } else {
                    assert_eq!(ours, theirs, "RESP{protocol} {line}");
                }
            }
        }
        assert_eq!((through.rest(), direct.rest()), (Vec::new(), Vec::new()));
    }
}

#[test]
fn a_message_comes_once_to_each_way_of_listening() {
    let cluster = Cluster::start(3);
    let mut publisher = cluster.client();
    for (kind, mut client) in both(&cluster) {
        subscribe(&mut client, &["SUBSCRIBE", "news", "other"]);
        subscribe(&mut client, &["PSUBSCRIBE", "n?ws", "new*", "old*"]);
        subscribe(&mut client, &["SSUBSCRIBE", "news"]);
        assert_eq!(publisher.text(&["PUBLISH", "news", "a\r\nb"]), ":3\r\n");
        let mut heard: Vec<String> = (0..3).map(|_| client.text_reply()).collect();
        heard.sort();
        let mut expected = vec![
            message(kind, &["message", "news", "a\r\nb"]),
            message(kind, &["pmessage", "n?ws", "news", "a\r\nb"]),
            message(kind, &["pmessage", "new*", "news", "a\r\nb"]),
        ];
        expected.sort();
        assert_eq!(heard, expected);
        assert_eq!(publisher.text(&["SPUBLISH", "news", "shard"]), ":1\r\n");
        assert_eq!(client.text_reply(), message(kind, &["smessage", "news", "shard"]));
        // nothing else was on its way
        assert_eq!(publisher.text(&["PUBLISH", "other", ""]), ":1\r\n");
        assert_eq!(client.text_reply(), message(kind, &["message", "other", ""]));
        drop(client);
        wait_for("nobody to listen", || publisher.text(&["PUBLISH", "news", "x"]) == ":0\r\n");
    }
}

#[test]
fn what_publish_counts_are_clients_wherever_they_are() {
    let cluster = Cluster::start_with(3, |settings| settings.threads = 2);
    let mut publisher = cluster.client();
    let channel = cluster.key_of("cache-2");
    let mut listeners: Vec<RawClient> = Vec::new();
    // messages and the count of their receivers come on two connections, and whoever begins to listen before a worker has
    // read a message of the past is told of that as well
    let mut delivered = 0;
    let wait_delivered = |delivered: u64| {
        wait_for("all messages", || cluster.control().snapshot().messages_delivered == delivered);
    };
    for count in 1..=5 {
        let mut client = if count % 2 == 0 { cluster.client() } else { cluster.client3() };
        subscribe(&mut client, &["SUBSCRIBE", &channel]);
        listeners.push(client);
        assert_eq!(publisher.text(&["PUBLISH", &channel, "m"]), format!(":{count}\r\n"));
        delivered += count;
        wait_delivered(delivered);
    }
    // one that listens twice counts twice, as in Redis
    (0..5).for_each(|_| drop(listeners[0].reply()));
    subscribe(&mut listeners[0], &["PSUBSCRIBE", "key*"]);
    assert_eq!(publisher.text(&["PUBLISH", &channel, "m"]), ":6\r\n");
    wait_delivered(delivered + 6);
    // and clients of the nodes themselves are clients
    let mut direct = cluster.server("cache-2").client();
    subscribe(&mut direct, &["SUBSCRIBE", &channel]);
    subscribe(&mut direct, &["PSUBSCRIBE", "*"]);
    assert_eq!(publisher.text(&["PUBLISH", &channel, "m"]), ":8\r\n");
    let numsub = publisher.text(&["PUBSUB", "NUMSUB", &channel, "nobody"]);
    assert_eq!(numsub, format!("*4\r\n${}\r\n{channel}\r\n:6\r\n$6\r\nnobody\r\n:0\r\n", channel.len()));
    assert_eq!(publisher.text(&["PUBSUB", "NUMPAT"]), ":2\r\n");
    assert_eq!(publisher.text(&["PUBSUB", "CHANNELS"]), message('*', &[&channel]));
    assert_eq!(publisher.text(&["PUBSUB", "CHANNELS", "x*"]), "*0\r\n");
    let snapshot = cluster.control().snapshot();
    assert_eq!(snapshot.subscriptions, [5, 1, 0]);
    wait_delivered(delivered + 6 + 6);
    // a confirmation says that it is done, for the one who leaves as well
    for (left, client) in (0..5).rev().zip(&mut listeners) {
        client.send_command(&["UNSUBSCRIBE", channel.as_str()]);
        while !client.text_reply().contains("unsubscribe") {}
        assert_eq!(publisher.text(&["PUBLISH", &channel, "m"]), format!(":{}\r\n", left + 3));
    }
}

#[test]
fn who_has_left_is_not_counted_though_nobody_has_read_the_confirmation() {
    let cluster = Cluster::start_with(3, |settings| settings.threads = 1);
    let (mut listener, mut publisher) = (cluster.client(), cluster.client());
    for round in 0..200 {
        for (subscribe_to, leave) in [("SUBSCRIBE", "UNSUBSCRIBE"), ("PSUBSCRIBE", "PUNSUBSCRIBE")] {
            subscribe(&mut listener, &[subscribe_to, "news"]);
            listener.send_command(&[leave]);
            // its connection to the node may still listen
            assert_eq!(publisher.text(&["PUBLISH", "news", "x"]), ":0\r\n", "{leave} {round}");
            assert!(listener.text_reply().contains("unsubscribe"));
        }
    }
    assert_eq!(publisher.text(&["PUBSUB", "NUMPAT"]), ":0\r\n");
}

#[test]
fn what_is_published_behind_a_subscription_that_is_not_confirmed_is_heard() {
    let server = RedisServer::start();
    let wire = ByteProxy::start(&server.address());
    let mut settings = patient(named(&[("n", wire.address())]));
    settings.threads = 2;
    let harness = Harness::start(settings);
    harness.wait_usable("n");
    let (mut first, mut publisher) = (harness.client(), harness.client());
    // the connections that listen are there
    subscribe(&mut first, &["SUBSCRIBE", "other"]);
    let (mut second, mut third) = (harness.client(), harness.client());
    subscribe(&mut second, &["SUBSCRIBE", "other"]);
    wire.set(Wire::Delay(Duration::from_millis(40)));
    for round in 0..5 {
        let (channel, pattern) = (format!("c{round}"), format!("c{round}*"));
        second.send_command(&["SUBSCRIBE", &channel]);
        third.send_command(&["PSUBSCRIBE", &pattern]);
        // both were read by the time the next one is
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(publisher.text(&["PUBLISH", &channel, "m"]), ":2\r\n");
        assert_eq!(
            publisher.text(&["PUBSUB", "NUMSUB", &channel]),
            format!("*2\r\n${}\r\n{channel}\r\n:1\r\n", channel.len())
        );
        for client in [&mut second, &mut third] {
            assert!(client.text_reply().contains("subscribe"));
            assert!(client.text_reply().contains("message"));
        }
    }
}

#[test]
fn a_hundred_clients_of_two_workers_all_hear_everything_once() {
    const MESSAGES: usize = 200;
    let cluster = Cluster::start_with(3, |settings| settings.threads = 2);
    let mut clients: Vec<(char, RawClient)> = (0..50).flat_map(|_| both(&cluster)).collect();
    for (_, client) in &mut clients {
        subscribe(client, &["SUBSCRIBE", "one", "two", "three"]);
    }
    let mut publisher = cluster.client();
    let commands: Vec<u8> = (0..MESSAGES)
        .flat_map(|n| bulk_request(&["PUBLISH", ["one", "two", "three"][n % 3], &n.to_string()]))
        .collect();
    publisher.send(&commands);
    for _ in 0..MESSAGES {
        assert_eq!(publisher.text_reply(), ":100\r\n");
    }
    for (kind, client) in &mut clients {
        // messages of one channel come in order; those of two nodes come as they come
        let mut next = [0, 1, 2];
        for _ in 0..MESSAGES {
            let heard = client.text_reply();
            let at =
                ["one", "two", "three"].iter().position(|name| heard.contains(&format!("\r\n{name}\r\n")));
            let at = at.expect("a channel");
            let expected = message(*kind, &["message", ["one", "two", "three"][at], &next[at].to_string()]);
            assert_eq!(heard, expected);
            next[at] += 3;
        }
        client.expect_silence(Duration::ZERO);
    }
    // one connection per worker and node, whatever the number of clients
    for server in &cluster.nodes {
        let list: String = server.call(&["CLIENT", "LIST", "TYPE", "PUBSUB"]);
        assert!((1..=2).contains(&list.lines().count()), "{list}");
    }
}

#[test]
fn scripts_and_the_nodes_themselves_are_heard() {
    let cluster = Cluster::start(3);
    for server in &cluster.nodes {
        let _: String = server.call(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
    }
    let (mut client, mut events) = (cluster.client(), cluster.client());
    subscribe(&mut client, &["SUBSCRIBE", "made"]);
    subscribe(&mut events, &["PSUBSCRIBE", "__keyevent@0__:*"]);
    let mut other = cluster.client3();
    for node in ["cache-1", "cache-2", "cache-3"] {
        // the script publishes where its key lives, wherever the channel would
        let key = cluster.key_of(node);
        let script = "redis.call('SET', KEYS[1], 1, 'PX', 1); return redis.call('PUBLISH', 'made', KEYS[1])";
        assert_eq!(other.text(&["EVAL", script, "1", &key]), ":1\r\n");
        assert_eq!(client.text_reply(), message('*', &["message", "made", &key]));
        let mut seen: Vec<String> = (0..3).map(|_| events.text_reply()).collect();
        seen.iter().for_each(|event| assert!(event.contains(&key), "{event}"));
        seen.retain(|event| event.contains(":set\r\n") || event.contains(":expire\r\n"));
        assert_eq!(seen.len(), 2, "and the third is that it expired");
    }
}

#[test]
fn confirmations_keep_their_place_and_messages_come_between_replies() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client3();
    let mut publisher = cluster.client();
    let value = "v".repeat(300_000);
    assert_eq!(client.text(&["SET", "large", &value]), "+OK\r\n");
    let mut pipeline = Vec::new();
    for n in 0..50 {
        let name = format!("channel:{n}");
        pipeline.extend(bulk_request(&["SUBSCRIBE", &name]));
        pipeline.extend(bulk_request(&["GET", "large"]));
        pipeline.extend(bulk_request(&["PUBLISH", &name, "m"]));
        pipeline.extend(bulk_request(&["ECHO", &name]));
        pipeline.extend(bulk_request(&["UNSUBSCRIBE", &name]));
    }
    client.send(&pipeline);
    let (mut next, mut messages) = (0, 0);
    while next < 250 {
        let reply = client.reply();
        let name = format!("channel:{}", next / 5);
        if reply.starts_with(b">3\r\n$7\r\nmessage") {
            // between its confirmation and the end of it
            let text = String::from_utf8(reply).expect("text");
            assert_eq!(text, message('>', &["message", &name, "m"]));
            assert!((1..5).contains(&(next % 5)), "{name} was heard before reply {next}");
            messages += 1;
            continue;
        }
        let expected = match next % 5 {
            0 => format!(">3\r\n$9\r\nsubscribe\r\n${}\r\n{name}\r\n:1\r\n", name.len()).into_bytes(),
            1 => bulk(value.as_bytes()),
            2 => [b":1\r\n".to_vec(), b":0\r\n".to_vec()]
                .into_iter()
                .find(|one| *one == reply)
                .expect("a count"),
            3 => bulk(name.as_bytes()),
            _ => format!(">3\r\n$11\r\nunsubscribe\r\n${}\r\n{name}\r\n:0\r\n", name.len()).into_bytes(),
        };
        assert!(
            reply == expected,
            "reply {next}: {:?}",
            String::from_utf8_lossy(&reply[..reply.len().min(99)])
        );
        next += 1;
    }
    assert!(messages <= 50);
    // what was subscribed in one go is heard in one go
    client.send(&[bulk_request(&["SUBSCRIBE", "a"]), bulk_request(&["ECHO", "x"])].concat());
    assert!(client.text_reply().contains("subscribe") && client.text_reply().contains('x'));
    assert_eq!(publisher.text(&["PUBLISH", "a", "m"]), ":1\r\n");
    assert_eq!(client.text_reply(), message('>', &["message", "a", "m"]));
}

#[test]
fn hello_and_reset_while_subscribed() {
    let cluster = Cluster::start(2);
    let mut publisher = cluster.client();
    let mut client = cluster.client3();
    subscribe(&mut client, &["SUBSCRIBE", "a"]);
    subscribe(&mut client, &["PSUBSCRIBE", "b*"]);
    subscribe(&mut client, &["SSUBSCRIBE", "c"]);
    let info = client.text(&["CLIENT", "INFO"]);
    assert!(info.contains("flags=P ") && info.contains("sub=1 psub=1 ssub=1 "), "{info}");
    // RESP3 forbids nothing; back in RESP2 the rules of RESP2 hold
    assert!(client.call(&["HELLO", "2"]).starts_with(b"*14\r\n"));
    assert!(client.text(&["GET", "k"]).starts_with("-ERR Can't execute 'get': only (P|S)SUBSCRIBE"));
    assert!(client.text(&["HELLO", "3"]).starts_with("-ERR Can't execute 'hello'"));
    assert_eq!(publisher.text(&["PUBLISH", "a", "m"]), ":1\r\n");
    assert_eq!(client.text_reply(), message('*', &["message", "a", "m"]));
    assert_eq!(client.text(&["RESET"]), "+RESET\r\n");
    for channel in ["a", "bb"] {
        wait_for("nobody to listen", || publisher.text(&["PUBLISH", channel, "m"]) == ":0\r\n");
    }
    wait_for("nobody to listen", || publisher.text(&["SPUBLISH", "c", "m"]) == ":0\r\n");
    assert_eq!(client.text(&["GET", "k"]), "$-1\r\n");
    assert!(client.text(&["CLIENT", "INFO"]).contains("flags=N db=0 sub=0 psub=0 ssub=0 "));
}

#[test]
fn a_hundred_thousand_channels_of_one_client() {
    const CHANNELS: usize = 100_000;
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let names: Vec<String> = (0..CHANNELS).map(|n| format!("channel:{n}")).collect();
    for part in names.chunks(10_000) {
        let mut words = vec!["SUBSCRIBE"];
        words.extend(part.iter().map(String::as_str));
        client.send_command(&words);
        part.iter().for_each(|name| assert!(client.text_reply().contains(&format!("\r\n{name}\r\n"))));
    }
    let mut publisher = cluster.client();
    assert_eq!(publisher.text(&["PUBLISH", &names[CHANNELS - 1], "m"]), ":1\r\n");
    assert_eq!(client.text_reply(), message('*', &["message", &names[CHANNELS - 1], "m"]));
    client.send_command(&["UNSUBSCRIBE"]);
    for left in (0..CHANNELS).rev() {
        assert!(client.text_reply().ends_with(&format!("\r\n:{left}\r\n")), "{left}");
    }
    assert_eq!(publisher.text(&["PUBSUB", "CHANNELS"]), "*0\r\n");
}

#[test]
fn patterns_match_as_those_of_a_server() {
    let server = RedisServer::start();
    let mut random = Random::new(8);
    // a small alphabet, so that patterns meet texts
    let mut word = |alphabet: &[u8], most: usize| -> Vec<u8> {
        let len = random.below(most + 1);
        (0..len).map(|_| alphabet[random.below(alphabet.len())]).collect()
    };
    let mut texts: Vec<Vec<u8>> = (0..150).map(|_| word(b"abc-]\\\xc8\x05", 6)).collect();
    texts.sort();
    texts.dedup();
    let mut listener = server.client();
    let mut words = vec![b"SUBSCRIBE".to_vec()];
    words.extend(texts.iter().cloned());
    listener.send_command(&words);
    texts.iter().for_each(|_| drop(listener.reply()));
    let (mut client, mut matched) = (server.client(), 0);
    for _ in 0..5000 {
        let pattern = word(b"aabc**?[[]]^--\\\xc8\x05", 9);
        let listed = client.call(&[&b"PUBSUB"[..], b"CHANNELS", &pattern]);
        let is_listed = |text: &[u8]| {
            let text = bulk(text);
            listed.windows(text.len()).any(|window| window == text)
        };
        let count = texts.iter().filter(|text| glob::matches(&pattern, text)).count();
        assert!(listed.starts_with(format!("*{count}\r\n").as_bytes()), "{pattern:?}: {count} of ours");
        for text in texts.iter().filter(|text| glob::matches(&pattern, text)) {
            assert!(is_listed(text), "{pattern:?} does not match {text:?}");
            matched += 1;
        }
    }
    assert!(matched > 1000, "only {matched} matches");
}

#[test]
fn a_client_library_listens_and_stops() {
    let cluster = Cluster::start(3);
    let mut publisher = cluster.connection(2);
    let mut listener = cluster.connection(2);
    let mut pubsub = listener.as_pubsub();
    pubsub.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    // one name at a time: the library takes the first confirmation for all
    pubsub.subscribe("one").expect("subscribed");
    pubsub.subscribe("two").expect("subscribed");
    pubsub.psubscribe("t*").expect("subscribed");
    let count: i64 = redis::cmd("PUBLISH").arg("two").arg("text").query(&mut publisher).expect("published");
    assert_eq!(count, 2);
    for _ in 0..2 {
        let message = pubsub.get_message().expect("a message");
        assert_eq!((message.get_channel_name(), message.get_payload_bytes()), ("two", &b"text"[..]));
    }
    pubsub.unsubscribe("one").expect("unsubscribed");
    drop(pubsub);
    // it leaves what is left by itself, and the connection is as any other
    let value: Option<String> = redis::cmd("GET").arg("k").query(&mut listener).expect("a reply");
    assert_eq!(value, None);
}
