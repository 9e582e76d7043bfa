use super::*;
use crate::settings::{NodeSpec, TopologySpec};
use ringway_ring::RingConfig;

fn topology() -> Topology {
    let nodes = ["a", "b"].map(|name| NodeSpec::new(name, format!("{name}:1"))).to_vec();
    Topology::build(1, TopologySpec { ring: RingConfig::default(), nodes }).unwrap()
}

/// Some keys of a node.
fn keys_of(topology: &Topology, node: u16, count: usize) -> Vec<String> {
    let all = (0..).map(|number| format!("key:{number}"));
    all.filter(|key| topology.owner(key.as_bytes()).home() == NodeIndex(node)).take(count).collect()
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn array<'a>(elements: impl IntoIterator<Item = &'a String>) -> String {
    let elements: Vec<String> = elements.into_iter().map(|element| bulk(element)).collect();
    format!("*{}\r\n{}", elements.len(), elements.concat())
}

fn text(write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<String> {
    let mut out = b"+before\r\n".to_vec();
    write(&mut out)?;
    Some(String::from_utf8(out).unwrap().strip_prefix("+before\r\n").unwrap().to_owned())
}

#[test]
fn a_page_names_its_node_and_then_the_next() {
    let topology = topology();
    let order = topology.scan_order();
    let place = order.first().unwrap();
    let node = order.node(place).unwrap().0;
    let (own, other) = (keys_of(&topology, node, 2), keys_of(&topology, 1 - node, 2));
    let reply = |cursor: &str| format!("*2\r\n{}{}", bulk(cursor), array(own.iter().chain(&other)));
    let joined = |place, cursor: &str| text(|out| page(out, &topology, place, reply(cursor).as_bytes()));
    for (inner, number) in [("17", 17), ("0", 0)] {
        let cursor = scan::next(&topology, place, number).unwrap().to_string();
        assert_eq!(joined(place, inner), Some(format!("*2\r\n{}{}", bulk(&cursor), array(&own))));
    }
    let last = order.after(place).unwrap();
    assert_eq!(joined(last, "0"), Some(format!("*2\r\n{}{}", bulk("0"), array(&other))));
    assert!(joined(place, "9999999999999").unwrap().starts_with("-ERR a node gave a SCAN cursor"));
    assert_eq!(joined(place, "x"), None);
}

#[test]
fn a_drawn_key_is_one_of_its_node_and_as_likely_as_the_node_is_large() {
    let topology = topology();
    let (of_a, of_b) = (keys_of(&topology, 0, 1), keys_of(&topology, 1, 2));
    // node b drew a key of a's, which does not count
    let replies = [
        ":300\r\n".into(),
        ":100\r\n".into(),
        bulk(&of_a[0]),
        bulk(&of_b[0]),
        bulk(&of_a[0]),
        bulk(&of_a[0]),
    ];
    let drawn = |random| text(|out| draw(out, &topology, replies.iter().map(String::as_bytes), random));
    let steps = 700u64;
    let hits = (0..steps).filter(|step| drawn(step * (u64::MAX / steps)) == Some(bulk(&of_b[0]))).count();
    // 100 of 300 + 100 + 300
    assert!((99..=101).contains(&hits), "{hits}");
    assert_eq!(drawn(u64::MAX), Some(bulk(&of_a[0])));
}

#[test]
fn nothing_to_draw_is_nil_and_only_strays_are_told() {
    let topology = topology();
    let draw = |replies: &[String]| text(|out| draw(out, &topology, replies.iter().map(String::as_bytes), 7));
    let nil = |nil: &str| [":0\r\n".into(), ":0\r\n".into(), nil.to_owned(), nil.to_owned()];
    assert_eq!(draw(&nil("$-1\r\n")), Some("$-1\r\n".into()));
    assert_eq!(draw(&nil("_\r\n")), Some("_\r\n".into()));
    let of_a = keys_of(&topology, 0, 1);
    let strays = [":0\r\n".into(), ":5\r\n".into(), "_\r\n".into(), bulk(&of_a[0])];
    assert!(draw(&strays).unwrap().starts_with("-ERR all keys that were drawn"));
}
