//! Subscriptions under changes and faults: the ring changes, nodes die, clients are slow or leave.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringway_proxy::settings::{Credentials, NodeSpec, Secret};

use crate::pubsub::subscribe;
use crate::support::frame::bulk_request;
use crate::support::harness::{node_name, patient, specs};
use crate::support::random::Random;
use crate::support::{Cluster, Harness, NoReply, RawClient, RedisServer, wait_for};

/// What all nodes together have of the proxy: connections in CLIENT LIST, subscribed connections, topics.
fn at_nodes(cluster: &Cluster) -> Vec<(usize, usize, usize)> {
    let of = |server: &RedisServer| {
        let list: String = server.call(&["CLIENT", "LIST"]);
        let channels: Vec<String> = server.call(&["PUBSUB", "CHANNELS"]);
        let shards: Vec<String> = server.call(&["PUBSUB", "SHARDCHANNELS"]);
        let patterns: usize = server.call(&["PUBSUB", "NUMPAT"]);
        let subscribed = list.lines().filter(|line| line.contains("flags=P")).count();
        (list.lines().count(), subscribed, channels.len() + shards.len() + patterns)
    };
    cluster.nodes.iter().map(of).collect()
}

fn payload(message: &[u8]) -> (String, u64) {
    let text = String::from_utf8(message.to_vec()).expect("text");
    let lines: Vec<&str> = text.split("\r\n").collect();
    (lines[4].to_owned(), lines[6].parse().expect("a number"))
}

#[test]
fn c8_clients_that_leave_in_any_way_leave_nothing_behind() {
    let cluster = Cluster::start_with(2, |settings| settings.threads = 2);
    let before = at_nodes(&cluster);
    let mut clients: Vec<RawClient> = (0..40).map(|_| cluster.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let own = format!("own:{n}");
        subscribe(client, &["SUBSCRIBE", "shared", &own]);
        subscribe(client, &["PSUBSCRIBE", &format!("p{n}*")]);
        subscribe(client, &["SSUBSCRIBE", &own]);
    }
    assert!(at_nodes(&cluster).iter().all(|(_, subscribed, topics)| *subscribed >= 1 && *topics >= 81));
    for (n, mut client) in clients.into_iter().enumerate() {
        match n % 4 {
            0 => drop(client),
            1 => client.reset(),
            2 => {
                client.send_command(&["QUIT"]);
                assert!(client.rest().ends_with(b"+OK\r\n"));
            }
            // in the middle of the next one
            _ => client.send(b"*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\nx\r\n$5\r\nab"),
        }
    }
    // others leave while they are not confirmed
    for n in 0..20 {
        let mut client = cluster.client();
        client.send(&bulk_request(&["SUBSCRIBE", &format!("late:{n}"), "shared"]));
    }
    wait_for("nothing to be left at the nodes", || at_nodes(&cluster) == before);
    assert_eq!(cluster.control().snapshot().subscriptions, [0; 3]);
    // and it begins anew
    let mut client = cluster.client();
    subscribe(&mut client, &["SUBSCRIBE", "shared"]);
    assert_eq!(cluster.client().text(&["PUBLISH", "shared", "m"]), ":1\r\n");
}

#[test]
fn i7_a_slow_subscriber_is_cut_and_the_others_hear_everything() {
    const MESSAGES: usize = 300;
    let cluster = Cluster::start_with(2, |settings| {
        settings.limits.subscriber_bytes = 4 << 20;
        settings.threads = 1;
    });
    let mut quick: Vec<RawClient> = (0..3).map(|_| cluster.client()).collect();
    let mut slow = cluster.client3();
    quick.iter_mut().for_each(|client| subscribe(client, &["SUBSCRIBE", "news"]));
    subscribe(&mut slow, &["SUBSCRIBE", "news"]);
    let mut publisher = cluster.client();
    let text = "x".repeat(100_000);
    for _ in 0..MESSAGES {
        let count = publisher.text(&["PUBLISH", "news", &text]);
        assert!(count == ":4\r\n" || count == ":3\r\n", "{count}");
        for client in &mut quick {
            assert!(client.reply().len() > text.len());
        }
    }
    // 30 MB were too much for it; what it gets is a beginning, cut anywhere
    assert!(slow.rest().len() < MESSAGES * text.len());
    assert_eq!(cluster.control().snapshot().subscribers_cut, 1);
    assert_eq!(publisher.text(&["PUBLISH", "news", "last"]), ":3\r\n");
    quick.iter_mut().for_each(|client| assert!(client.text_reply().contains("last")));
    // a message that is more than anybody may keep is passed on to nobody, and the next ones are
    publisher.call(&["PUBLISH", "news", &"x".repeat(6 << 20)]);
    let mut heard = || quick.iter_mut().map(|client| client.try_reply(Duration::from_millis(50))).last();
    wait_for("the node to be heard again", || {
        publisher.call(&["PUBLISH", "news", "again"]);
        heard().is_some_and(|reply| reply.is_ok_and(|reply| reply.len() < 99))
    });
}

#[test]
fn a1_subscriptions_come_back_with_their_node() {
    let mut cluster = Cluster::start(3);
    let names = [cluster.key_of("cache-1"), cluster.key_of("cache-2")];
    let mut client = cluster.client();
    subscribe(&mut client, &["SUBSCRIBE", &names[0], &names[1]]);
    subscribe(&mut client, &["SSUBSCRIBE", &names[1]]);
    cluster.server_mut("cache-2").kill();
    let mut publisher = cluster.client();
    wait_for("the node to be missed", || {
        publisher.text(&["PUBLISH", &names[1], "lost"]).starts_with("-NOTSENT")
    });
    // the others go on, and a node that is down holds up nobody
    assert_eq!(publisher.text(&["PUBLISH", &names[0], "here"]), ":1\r\n");
    assert!(client.text_reply().contains("here"));
    subscribe(&mut client, &["SUBSCRIBE", "later"]);
    cluster.server_mut("cache-2").restart();
    cluster.wait_usable("cache-2");
    wait_for("the subscriptions to be back", || {
        let server = cluster.server("cache-2");
        let channels: Vec<String> = server.call(&["PUBSUB", "CHANNELS"]);
        let shards: Vec<String> = server.call(&["PUBSUB", "SHARDCHANNELS"]);
        (channels.len(), shards.len()) == (3, 1)
    });
    assert_eq!(publisher.text(&["PUBLISH", &names[1], "back"]), ":1\r\n");
    assert!(client.text_reply().contains("back"));
    assert_eq!(publisher.text(&["SPUBLISH", &names[1], "shard"]), ":1\r\n");
    assert!(client.text_reply().contains("shard"));
}

#[test]
fn a3_a_node_that_sleeps_holds_a_subscription_up_no_longer_than_the_timeout() {
    let cluster = Cluster::start_with(2, |settings| {
        settings.timeouts.operation = Duration::from_secs(1);
        settings.timeouts.connect = Duration::from_millis(500);
    });
    let mut client = cluster.client();
    subscribe(&mut client, &["SUBSCRIBE", "a"]);
    cluster.server("cache-2").pause();
    // confirmed by the node that answers, once the other is given up
    subscribe(&mut client, &["SUBSCRIBE", "b"]);
    client.send_command(&["UNSUBSCRIBE", "a"]);
    assert!(client.text_reply().contains("unsubscribe"));
    cluster.server("cache-2").resume();
    wait_for("the other node to be asked again", || {
        let channels: Vec<String> = cluster.server("cache-2").call(&["PUBSUB", "CHANNELS"]);
        channels == ["b"]
    });
}

#[test]
fn f1_messages_come_at_most_once_while_the_ring_changes() {
    const CHANGES: usize = 40;
    let cluster = Cluster::start_with(4, |settings| settings.threads = 2);
    let all = specs(&cluster.nodes);
    let lists: [&[usize]; 4] = [&[0, 1, 2], &[0, 1, 2, 3], &[0, 1], &[0, 3, 1]];
    let pick = |list: &[usize]| -> Vec<NodeSpec> { list.iter().map(|at| all[*at].clone()).collect() };
    cluster.apply(pick(lists[0]));
    // nodes 0 and 1 stay; which channels always live on them is found by asking each ring
    let names: Vec<String> = (0..60).map(|n| format!("channel:{n}")).collect();
    let mut stays: HashMap<&str, bool> = names.iter().map(|name| (name.as_str(), true)).collect();
    for list in lists {
        cluster.apply(pick(list));
        for name in &names {
            let owner = cluster.owner(name);
            *stays.get_mut(name.as_str()).expect("known") &= owner == node_name(0) || owner == node_name(1);
        }
    }
    let staying = stays.values().filter(|stays| **stays).count();
    assert!(staying > 5 && staying < names.len(), "{staying} channels stay: both kinds must occur");
    let mut clients = [cluster.client(), cluster.client3(), cluster.client()];
    let words: Vec<&str> = std::iter::once("SUBSCRIBE").chain(names.iter().map(String::as_str)).collect();
    clients.iter_mut().for_each(|client| subscribe(client, &words));
    let done = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let (mut publisher, mut random) = (cluster.client(), Random::new(3));
            let mut sent: HashMap<String, Vec<u64>> = HashMap::new();
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                let name = &names[random.below(names.len())];
                let count = publisher.text(&["PUBLISH", name, &number.to_string()]);
                assert!(count.starts_with(':'), "{count}");
                sent.entry(name.clone()).or_default().push(number);
            }
            sent
        });
        let mut random = Random::new(4);
        for _ in 0..CHANGES {
            cluster.apply(pick(lists[random.below(lists.len())]));
            std::thread::sleep(Duration::from_millis(20));
        }
        done.store(true, Ordering::Relaxed);
        publisher.join().expect("the publisher ends")
    });
    // the end is told on a channel of each node, behind everything else that the node sends
    cluster.apply(pick(lists[0]));
    let ends: Vec<&String> = ["cache-1", "cache-2"]
        .map(|node| names.iter().find(|name| stays[name.as_str()] && cluster.owner(name) == node))
        .into_iter()
        .flatten()
        .collect();
    let mut publisher = cluster.client();
    ends.iter().for_each(|name| drop(publisher.text(&["PUBLISH", name, "0"])));
    for client in &mut clients {
        let (mut heard, mut left) = (HashMap::<String, Vec<u64>>::new(), ends.len());
        while left > 0 {
            match payload(&client.reply()) {
                (_, 0) => left -= 1,
                (name, number) => heard.entry(name).or_default().push(number),
            }
        }
        for (name, sent) in &sent {
            let heard = heard.remove(name).unwrap_or_default();
            if stays[name.as_str()] {
                // it may move between the nodes that stay, whose messages come as they come
                let mut sorted = heard.clone();
                sorted.sort_unstable();
                assert_eq!(&sorted, sent, "{name} was always on a node that stays");
            } else {
                let mut unique = heard.clone();
                unique.sort_unstable();
                unique.dedup();
                assert_eq!(unique.len(), heard.len(), "{name}: a message came twice");
                assert!(unique.iter().all(|number| sent.contains(number)), "{name}");
            }
        }
    }
}

#[test]
fn f1_shard_channels_move_with_the_ring() {
    let cluster = Cluster::start(3);
    let all = specs(&cluster.nodes);
    let names: Vec<String> = (0..30).map(|n| format!("shard:{n}")).collect();
    let mut client = cluster.client();
    let words: Vec<&str> = std::iter::once("SSUBSCRIBE").chain(names.iter().map(String::as_str)).collect();
    subscribe(&mut client, &words);
    let mut publisher = cluster.client();
    for list in [vec![0, 1], vec![1, 2], vec![0, 1, 2], vec![2], vec![0, 1, 2]] {
        cluster.apply(list.iter().map(|at| all[*at].clone()).collect());
        wait_for("each channel to be heard where it lives and nowhere else", || {
            list.iter().all(|at| {
                let mut there: Vec<String> = cluster.nodes[*at].call(&["PUBSUB", "SHARDCHANNELS"]);
                let mut expected: Vec<&String> =
                    names.iter().filter(|name| cluster.owner(name) == node_name(*at)).collect();
                there.sort();
                expected.sort();
                there.iter().eq(expected)
            })
        });
        for name in &names {
            assert_eq!(publisher.text(&["SPUBLISH", name, "7"]), ":1\r\n");
            assert_eq!(payload(&client.reply()), (name.clone(), 7));
        }
    }
    match client.try_reply(Duration::ZERO) {
        Err(NoReply::Silent(bytes)) => assert!(bytes.is_empty()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_that_refuses_a_channel_refuses_the_command() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    subscribe(&mut client, &["SUBSCRIBE", "open"]);
    let mut deaf = cluster.client();
    subscribe(&mut deaf, &["SUBSCRIBE", "closed:later"]);
    let users = ["ACL", "SETUSER", "default", "resetchannels", "&open*"];
    let _: String = cluster.server("cache-2").call(&users);
    // who would hear no more of one node without knowing is closed, as Redis closes it
    assert_eq!(deaf.rest(), b"");
    // Redis closes who listens to what it may not; the proxy comes back and asks for what it may
    let refused = client.text(&["SUBSCRIBE", "open:2", "closed"]);
    assert!(refused.starts_with("-NOPERM "), "{refused}");
    let mut other = cluster.client3();
    assert!(other.text(&["PSUBSCRIBE", "*"]).starts_with("-NOPERM "));
    assert_eq!(other.text(&["GET", "k"]), "_\r\n");
    // what was confirmed before stays, what the refused command began does not
    // it counts until the nodes have confirmed that it is left
    wait_for("the channel to be left", || other.text(&["PUBLISH", "open:2", "m"]) == ":0\r\n");
    assert_eq!(other.text(&["PUBLISH", "open", "m"]), ":1\r\n");
    assert!(client.text_reply().contains("message"));
    assert_eq!(cluster.control().snapshot().subscriptions, [1, 0, 0]);
}

#[test]
fn nodes_with_a_password_are_listened_to() {
    let server = RedisServer::start_with(&["--requirepass", "node's secret"]);
    let credentials = Credentials { username: None, password: Some(Secret::new("node's secret")) };
    let node = NodeSpec { credentials, ..NodeSpec::new("locked", server.address()) };
    let harness = Harness::start(patient(vec![node]));
    let mut client = harness.client();
    subscribe(&mut client, &["SUBSCRIBE", "news"]);
    let mut publisher = harness.client();
    assert_eq!(publisher.text(&["PUBLISH", "news", "m"]), ":1\r\n");
    assert!(client.text_reply().contains("message"));
    // a client that says goodbye is not counted any more, whether or not it has read the last word
    client.send_command(&["QUIT"]);
    wait_for("nobody to listen", || publisher.text(&["PUBLISH", "news", "m"]) == ":0\r\n");
    assert!(client.rest().ends_with(b"+OK\r\n"));
}
