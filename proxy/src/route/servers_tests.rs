use super::*;
use crate::settings::{NodeSpec, TopologySpec};
use ringway_ring::RingConfig;

fn topology() -> Topology {
    let nodes = ["a", "b"].iter().map(|name| NodeSpec::new(*name, format!("{name}:1"))).collect();
    Topology::build(1, TopologySpec { ring: RingConfig::default(), nodes }).unwrap()
}

fn joined(join: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<String> {
    let mut out = Vec::new();
    join(&mut out).map(|()| String::from_utf8(out).unwrap())
}

fn replies<'a>(texts: &'a [&'a str]) -> impl Iterator<Item = &'a [u8]> + Clone {
    texts.iter().map(|text| text.as_bytes())
}

/// `a|b|:1` as a list of two strings and a number.
fn list(text: &str) -> String {
    let parts: Vec<&str> = text.split('|').collect();
    let encoded = parts.iter().map(|part| match part.strip_prefix(':') {
        Some(_) => format!("{part}\r\n"),
        None => format!("${}\r\n{part}\r\n", part.len()),
    });
    format!("*{}\r\n{}", parts.len(), encoded.collect::<String>())
}

#[test]
fn slow_logs_are_merged_by_time_and_numbers_tell_nodes_apart() {
    let entry = |number: u32, time: u32| {
        format!("*6\r\n:{number}\r\n:{time}\r\n:9\r\n{}$9\r\n1.2.3.4:5\r\n$0\r\n\r\n", list("GET|k"))
    };
    let a = format!("*2\r\n{}{}", entry(8, 30), entry(7, 10));
    let b = format!("*1\r\n{}", entry(8, 20));
    let topology = topology();
    let place = |node: u16| i64::from(topology.scan_order().place(NodeIndex(node)).unwrap());
    let out = joined(|out| slow_log(out, &topology, 2, replies(&[&a, &b]))).unwrap();
    let entry = |number: i64, node: &str, time: u32| {
        format!("*6\r\n:{number}\r\n:{time}\r\n:9\r\n{}$9\r\n1.2.3.4:5\r\n$1\r\n{node}\r\n", list("GET|k"))
    };
    let numbers = [(8 << 20) + place(0), (8 << 20) + place(1)];
    assert_eq!(out, format!("*2\r\n{}{}", entry(numbers[0], "a", 30), entry(numbers[1], "b", 20)));
    assert_eq!(joined(|out| slow_log(out, &topology, 2, replies(&["*1\r\n:1\r\n"]))), None);
    let far = format!("*1\r\n*4\r\n:{}\r\n:1\r\n:1\r\n*0\r\n", i64::MAX);
    assert_eq!(joined(|out| slow_log(out, &topology, 2, replies(&[&far]))), None);
}

#[test]
fn latencies_take_the_worst_and_the_last() {
    let sample = |time: u32, ms: u32| format!("*2\r\n:{time}\r\n:{ms}\r\n");
    let a = format!("*2\r\n{}{}", sample(5, 10), sample(7, 20));
    let b = format!("*2\r\n{}{}", sample(6, 1), sample(7, 30));
    let out = joined(|out| history(out, replies(&[&a, &b]))).unwrap();
    assert_eq!(out, format!("*3\r\n{}{}{}", sample(5, 10), sample(6, 1), sample(7, 30)));
    let event = |text: &str| list(text);
    let a = format!("*2\r\n{}{}", event("fork|:7|:20|:90"), event("aof|:1|:2|:3"));
    let b = format!("*1\r\n{}", event("fork|:9|:10|:40"));
    let out = joined(|out| latest(out, replies(&[&a, &b]))).unwrap();
    assert_eq!(out, format!("*2\r\n{}{}", event("fork|:9|:10|:90"), event("aof|:1|:2|:3")));
}

#[test]
fn distributions_are_added_up_at_every_bound() {
    let command = |calls: u32, counts: &str| {
        format!("*4\r\n$5\r\ncalls\r\n:{calls}\r\n$14\r\nhistogram_usec\r\n{counts}")
    };
    let a = format!("*2\r\n$3\r\nget\r\n{}", command(5, &list(":2|:1|:8|:5")));
    let b = format!(
        "*4\r\n$3\r\nset\r\n{}$3\r\nget\r\n{}",
        command(1, &list(":1|:1")),
        command(3, &list(":4|:3"))
    );
    let out = joined(|out| histogram(out, replies(&[&a, &b]))).unwrap();
    let expected = format!(
        "*4\r\n$3\r\nget\r\n{}$3\r\nset\r\n{}",
        command(8, &list(":2|:1|:4|:4|:8|:8")),
        command(1, &list(":1|:1"))
    );
    assert_eq!(out, expected);
    let three = |text: &str| text.replace("*2", "%1").replace("*4", "%2").replace("*6", "%3");
    assert_eq!(joined(|out| histogram(out, replies(&[&three(&a), &three(&b)]))), Some(three(&expected)));
}

#[test]
fn memory_is_added_up_and_ratios_are_made_anew() {
    let node = |used: u32, keys: u32| {
        let tables = list("overhead.hashtable.main|:72");
        let head = list(&format!(
            "peak.allocated|:99|total.allocated|:{used}|startup.allocated|:10|keys.count|:{keys}|keys.bytes-per-key|:1|dataset.bytes|:30|fragmentation.bytes|:{used}"
        ));
        let head = head.replacen("*14", "*20", 1);
        format!(
            "{head}$4\r\ndb.0\r\n{tables}$18\r\ndataset.percentage\r\n$2\r\n50\r\n$13\r\nfragmentation\r\n$1\r\n2\r\n"
        )
    };
    let without = list(
        "total.allocated|:10|startup.allocated|:10|keys.count|:0|dataset.bytes|:0|fragmentation.bytes|:0",
    );
    let out = joined(|out| memory(out, replies(&[&node(60, 2), &node(70, 3), &without]))).unwrap();
    let expected = list(
        "total.allocated|:140|startup.allocated|:30|keys.count|:5|keys.bytes-per-key|:22|dataset.bytes|:60|fragmentation.bytes|:130",
    );
    let expected = expected.replacen("*12", "*18", 1);
    let tables = list("overhead.hashtable.main|:144");
    let percent = (6000.0f64 / 110.0).to_string();
    let ratio = (270.0f64 / 140.0).to_string();
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    assert_eq!(
        out,
        format!(
            "{expected}$4\r\ndb.0\r\n{tables}$18\r\ndataset.percentage\r\n{}$13\r\nfragmentation\r\n{}",
            bulk(&percent),
            bulk(&ratio)
        )
    );
}

#[test]
fn settings_in_which_nodes_differ_are_an_error_or_named() {
    let topology = topology();
    let ask = |names: &[&str], nodes: &[&str]| {
        let names: Vec<Box<[u8]>> = names.iter().map(|name| name.as_bytes().into()).collect();
        joined(|out| settings(out, &topology, &names, replies(nodes))).unwrap()
    };
    let (a, b) = (list("maxmemory|0|port|1|requirepass|x"), list("port|2|requirepass|x|maxmemory|0"));
    assert_eq!(ask(&["*"], &[&a, &b]), list("maxmemory|0|ringway-left-out|port requirepass"));
    assert_eq!(
        ask(&["PORT"], &[&a, &b]),
        "-ERR the nodes do not agree: 'port' of node 'b' is not that of node 'a'; ask each node\r\n"
    );
    let secret = ask(&["m*", "requirePass"], &[&list("requirepass|x"), &list("requirepass|x")]);
    assert!(secret.starts_with("-ERR 'requirepass' is a secret") && !secret.contains("'x'"), "{secret}");
    assert_eq!(ask(&["x"], &["%0\r\n", "%0\r\n"]), "%0\r\n");
    let (a, b) = (list("a|1"), list("a|1|new|2"));
    assert_eq!(ask(&["?", "n*"], &[&a, &b]), list("a|1|ringway-left-out|new"));
    assert!(ask(&["new"], &[&a, &b]).starts_with("-ERR the nodes do not agree: 'new' of node 'b'"));
}

#[test]
fn texts_stand_under_their_nodes_and_status_lines_are_said_once() {
    let topology = topology();
    let out = joined(|out| texts(out, &topology, replies(&["$3\r\nhi\n\r\n", "$2\r\nyo\r\n"])));
    assert_eq!(out.unwrap(), "$40\r\n# node 'a' (a:1)\nhi\n# node 'b' (b:1)\nyo\n\r\n");
    let out = joined(|out| texts(out, &topology, replies(&["=6\r\ntxt:hi\r\n", "=6\r\ntxt:yo\r\n"])));
    assert!(out.unwrap().starts_with("=44\r\ntxt:# node"));
    assert_eq!(joined(|out| said(out, replies(&["+a\r\n", "+a\r\n"]))).unwrap(), "+a\r\n");
    assert_eq!(joined(|out| said(out, replies(&["+a\r\n", "+b\r\n"]))).unwrap(), "+a; b\r\n");
    assert_eq!(joined(|out| said(out, replies(&["+a\r\n", ":1\r\n"]))), None);
}
