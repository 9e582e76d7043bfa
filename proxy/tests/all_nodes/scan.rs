//! SCAN over all nodes: complete, whatever the options; wrong where a server says wrong.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cluster::Cluster;
use crate::command_server::{Connection, Value};

/// One page: the next cursor and the keys.
pub(crate) fn page(client: &mut Connection, cursor: &str, options: &[&str]) -> (String, Vec<String>) {
    let reply = client.call(&[&["SCAN", cursor], options].concat());
    let [cursor, keys] = reply.elements() else { panic!("{reply:?}") };
    let number: u64 = cursor.text().parse().expect("a number");
    assert!(number < 1 << 53, "{number}");
    (cursor.text(), keys.elements().iter().map(Value::text).collect())
}

/// All pages from `cursor` on: the keys, and how many pages there were.
pub(crate) fn rest(client: &mut Connection, cursor: &str, options: &[&str]) -> (BTreeSet<String>, usize) {
    let (mut cursor, mut keys, mut pages) = (cursor.to_owned(), BTreeSet::new(), 0);
    loop {
        let (next, some) = page(client, &cursor, options);
        keys.extend(some);
        pages += 1;
        assert!(pages < 100_000, "a scan that does not end");
        if next == "0" {
            return (keys, pages);
        }
        cursor = next;
    }
}

fn all(count: usize) -> BTreeSet<String> {
    (0..count).map(|at| format!("key:{at}")).collect()
}

#[test]
fn every_key_of_five_nodes_comes_with_every_option() {
    let cluster = Cluster::start(5);
    cluster.fill(20_000);
    let mut client = cluster.connect();
    let lists: Vec<Vec<String>> =
        (0..100).map(|at| vec!["RPUSH".into(), format!("list:{at}"), "x".into()]).collect();
    client.pipeline(&lists);
    let is_list = |key: &String| key.starts_with("list:");
    let mut everything = all(20_000);
    everything.extend(lists.iter().map(|command| command[1].clone()));
    for mut client in cluster.both() {
        for options in [&[][..], &["COUNT", "1000"], &["count", "100000"]] {
            let (keys, pages) = rest(&mut client, "0", options);
            assert_eq!(keys, everything, "{options:?}");
            println!("{} keys in {pages} pages with {options:?}", keys.len());
        }
        let (keys, _) = rest(&mut client, "0", &["MATCH", "key:1?", "COUNT", "500"]);
        assert_eq!(keys, (10..20).map(|at| format!("key:{at}")).collect());
        let (keys, _) = rest(&mut client, "0", &["COUNT", "500", "TYPE", "list"]);
        assert_eq!(keys, everything.iter().filter(|key| is_list(key)).cloned().collect());
        let (keys, _) = rest(&mut client, "0", &["TYPE", "string", "MATCH", "list*", "COUNT", "1000"]);
        assert_eq!(keys, BTreeSet::new());
    }
}

#[test]
fn nodes_without_keys_are_walked_over() {
    let cluster = Cluster::start(5);
    let mut client = cluster.connect();
    assert_eq!(rest(&mut client, "0", &[]), (BTreeSet::new(), 5));
    cluster.fill(1);
    assert_eq!(rest(&mut client, "0", &[]), (all(1), 5));
}

#[test]
fn keys_that_stay_are_found_while_others_come_and_go() {
    let cluster = Cluster::start(3);
    cluster.fill(5000);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = cluster.connect();
            let mut written = 0;
            while !done.load(Ordering::Relaxed) {
                // some 500 at any time: key tables are rehashed up and down
                let some: Vec<Vec<String>> = (written..written + 100)
                    .flat_map(|at| {
                        let set = vec!["SET".into(), format!("other:{at}"), "v".into()];
                        let del = vec!["DEL".into(), format!("other:{}", at.max(500) - 500)];
                        [set, del]
                    })
                    .collect();
                client.pipeline(&some);
                written += 100;
            }
            written
        });
        for mut client in cluster.both() {
            for _ in 0..3 {
                let (keys, _) = rest(&mut client, "0", &["COUNT", "50"]);
                assert!(keys.is_superset(&all(5000)));
            }
        }
        done.store(true, Ordering::Relaxed);
        println!("{} keys were written meanwhile", writer.join().expect("wrote"));
    });
}

#[test]
fn wrong_requests_are_wrong_in_the_servers_words() {
    let cluster = Cluster::start(3);
    let server = || cluster.node(0);
    for (mut client, mut server) in cluster.both().into_iter().zip([server(), server().resp3()]) {
        for request in [
            &["SCAN"][..],
            &["SCAN", "x"],
            &["SCAN", "1x"],
            &["SCAN", " 1"],
            &["SCAN", "1 "],
            &["SCAN", "1.5"],
            &["SCAN", "-"],
            &["SCAN", "18446744073709551616"],
            &["SCAN", "0", "x"],
            &["SCAN", "0", "COUNT"],
            &["SCAN", "0", "COUNT", "0"],
            &["SCAN", "0", "COUNT", "-1"],
            &["SCAN", "0", "COUNT", "x"],
            &["SCAN", "0", "MATCH"],
            &["SCAN", "0", "TYPE"],
            &["SCAN", "0", "COUNT", "5", "MATCH"],
            &["SCAN", "0", "nonsense", "5"],
            &["SCAN", "x", "COUNT", "x"],
        ] {
            let (ours, theirs) = (client.call(request), server.call(request));
            assert!(matches!(theirs, Value::Error(_)), "{request:?}: {theirs:?}");
            assert_eq!(ours, theirs, "{request:?}");
        }
        // what a server takes for 0 begins a scan
        for zero in ["", "00", "-0", "+0"] {
            let reply = client.call(&["SCAN", zero]);
            assert_eq!(reply.elements().len(), 2, "{zero:?}: {reply:?}");
        }
        for foreign in ["1", "17", "-1", "18446744073709551615", "9007199254740991", "9223372036854775807"] {
            let text = client.call(&["SCAN", foreign]).text();
            assert!(text.starts_with("ERR this cursor names no node"), "{foreign}: {text}");
        }
    }
}

#[test]
fn a_scan_stops_at_a_node_that_is_down_and_says_so() {
    let mut cluster = Cluster::start(3);
    cluster.fill(300);
    cluster.kill(2);
    cluster.wait_until_down("node-2");
    let mut client = cluster.connect();
    let (mut cursor, mut found) = ("0".to_owned(), 0);
    let failure = loop {
        match client.call(&["SCAN", &cursor, "COUNT", "1000"]) {
            Value::Error(text) => break String::from_utf8_lossy(&text).into_owned(),
            reply => {
                found += reply.elements()[1].elements().len();
                cursor = reply.elements()[0].text();
                assert_ne!(cursor, "0", "the scan ended without a word about the node that is down");
            }
        }
    };
    assert!(failure.starts_with("NOTSENT node 'node-2' "), "{failure}");
    assert!(found < 300);
    // the others serve on
    assert!(client.call(&["SCAN", &cursor]).text().starts_with("NOTSENT"));
}
