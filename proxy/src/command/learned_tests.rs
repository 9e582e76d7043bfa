use super::super::key_positions;
use super::super::keys::{blocks, timeout_position};
use super::super::route::Route;
use super::super::test_args::request;
use super::*;
use crate::limits::LEARNED_COMMANDS;

/// An entry as Redis 7.0 writes it.
fn entry(name: &str, arity: i32, flags: &[&str], categories: &[&str], specs: &[&str]) -> String {
    let simple = |words: &[&str]| words.iter().map(|word| format!("+{word}\r\n")).collect::<String>();
    format!(
        "*10\r\n${}\r\n{name}\r\n:{arity}\r\n*{}\r\n{}:0\r\n:0\r\n:0\r\n*{}\r\n{}*0\r\n*{}\r\n{}*0\r\n",
        name.len(),
        flags.len(),
        simple(flags),
        categories.len(),
        simple(categories),
        specs.len(),
        specs.concat()
    )
}

fn bulks(words: &[&str]) -> String {
    words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect()
}

fn spec(begin: &str, find: &str) -> String {
    format!(
        "*6\r\n{}*1\r\n+RW\r\n{}{begin}{}{find}",
        bulks(&["flags"]),
        bulks(&["begin_search"]),
        bulks(&["find_keys"])
    )
}

fn index(at: u32) -> String {
    format!("*4\r\n{}*2\r\n{}:{at}\r\n", bulks(&["type", "index", "spec"]), bulks(&["index"]))
}

fn keyword(word: &str, from: i32) -> String {
    let fields = format!("*4\r\n{}{}:{from}\r\n", bulks(&["keyword", word]), bulks(&["startfrom"]));
    format!("*4\r\n{}{fields}", bulks(&["type", "keyword", "spec"]))
}

fn range(last: i32, step: i32, limit: i32) -> String {
    let fields: String = [("lastkey", last), ("keystep", step), ("limit", limit)]
        .iter()
        .map(|(name, value)| format!("{}:{value}\r\n", bulks(&[name])))
        .collect();
    format!("*4\r\n{}*6\r\n{fields}", bulks(&["type", "range", "spec"]))
}

fn keynum(number: i32, first: i32, step: i32) -> String {
    let fields: String = [("keynumidx", number), ("firstkey", first), ("keystep", step)]
        .iter()
        .map(|(name, value)| format!("{}:{value}\r\n", bulks(&[name])))
        .collect();
    format!("*4\r\n{}*6\r\n{fields}", bulks(&["type", "keynum", "spec"]))
}

fn unknown() -> String {
    format!("*4\r\n{}*0\r\n", bulks(&["type", "unknown", "spec"]))
}

fn reply(entries: &[String]) -> Vec<u8> {
    format!("*{}\r\n{}", entries.len(), entries.concat()).into_bytes()
}

fn learned(entries: &[String]) -> LearnedCommands {
    let commands = LearnedCommands::default();
    commands.told("a", &reply(entries)).expect("a reply to COMMAND");
    commands
}

fn found(commands: &LearnedCommands, words: &str) -> Option<Learned> {
    let parts: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    commands.find(&request(&parts).args())
}

fn positions_of(commands: &LearnedCommands, words: &str) -> Option<Vec<u32>> {
    let Some(Learned::Row(row)) = found(commands, words) else { panic!("{words} is not supported") };
    let parts: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    let mut out = vec![9];
    key_positions(row, &request(&parts).args(), &mut out).ok().map(|()| out)
}

fn rule(commands: &LearnedCommands, words: &str) -> String {
    match found(commands, words) {
        Some(Learned::Refused(rule)) => rule.to_string(),
        other => panic!("{words}: {other:?}"),
    }
}

#[test]
fn keys_are_found_by_every_kind_of_specification() {
    let commands = learned(&[
        entry("t.one", -2, &["write"], &[], &[&spec(&index(1), &range(0, 1, 0))]),
        entry("t.all", -2, &["readonly"], &[], &[&spec(&index(1), &range(-2, 2, 0))]),
        entry("t.num", -3, &["write"], &[], &[&spec(&index(2), &keynum(0, 1, 1))]),
        entry("t.pairs", -3, &["write"], &[], &[&spec(&index(1), &keynum(0, 2, 2))]),
        entry(
            "t.store",
            -2,
            &["write"],
            &[],
            &[&spec(&index(1), &range(0, 1, 0)), &spec(&keyword("STORE", 2), &range(0, 1, 0))],
        ),
        entry("t.half", -3, &["readonly"], &[], &[&spec(&keyword("streams", 1), &range(-1, 1, 2))]),
        entry("t.back", -3, &["readonly"], &[], &[&spec(&keyword("keys", -2), &range(-1, 1, 0))]),
    ]);
    for (words, expected) in [
        ("T.One k v", Some(vec![1])),
        ("t.all a 1 b 2 end", Some(vec![1, 3])),
        ("t.num x 2 a b c", Some(vec![3, 4])),
        ("t.num x 0 a", None),
        ("t.num x 9 a", None),
        ("t.num x -1 a", None),
        ("t.num x 9223372036854775807 a", None),
        ("t.num x many a", None),
        ("t.pairs 2 x a y b", Some(vec![3, 5])),
        ("t.store a", Some(vec![1])),
        ("t.store a store b", Some(vec![1, 3])),
        ("t.store a store", None),
        ("t.half count 1 streams a b 0 0", Some(vec![4, 5])),
        ("t.half nothing here", None),
        ("t.back x keys a b", Some(vec![3, 4])),
        ("t.back x y", None),
    ] {
        assert_eq!(positions_of(&commands, words), expected, "{words}");
    }
}

#[test]
fn what_cannot_be_placed_is_refused_with_its_reason() {
    let one = spec(&index(1), &range(0, 1, 0));
    let commands = learned(&[
        entry("r.admin", -2, &["admin"], &[], &[&one]),
        entry("r.danger", -2, &[], &["@dangerous"], &[&one]),
        entry("r.channel", -2, &["pubsub"], &[], &[&one]),
        entry("r.session", -2, &[], &["@connection"], &[&one]),
        entry("r.none", -1, &["readonly"], &[], &[]),
        entry("r.movable", -1, &["movablekeys"], &[], &[]),
        entry("r.unknown", -2, &[], &[], &[&one, &spec(&unknown(), &unknown())]),
        entry("r.step", -2, &[], &[], &[&spec(&index(1), &range(0, 0, 0))]),
        entry("r.index", -2, &[], &[], &[&spec(&index(0), &range(0, 1, 0))]),
    ]);
    for (name, part) in [
        ("r.admin", "for operators"),
        ("r.danger", "for operators"),
        ("r.channel", "clients of Ringway share"),
        ("r.session", "clients of Ringway share"),
        ("r.none", "names no key"),
        ("r.movable", "where all its keys are"),
        ("r.unknown", "where all its keys are"),
        ("r.step", "where all its keys are"),
        ("r.index", "where all its keys are"),
    ] {
        assert!(rule(&commands, name).contains(part), "{name}: {}", rule(&commands, name));
    }
    assert_eq!(found(&commands, "r.nosuch k"), None);
}

#[test]
fn what_may_wait_waits_on_a_connection_of_the_clients_own() {
    let one = spec(&index(1), &range(0, 1, 0));
    let commands = learned(&[
        entry("w.flag", -2, &["blocking"], &[], &[&one]),
        entry("w.category", -2, &[], &["@blocking"], &[&one]),
        entry("w.none", -2, &["blocking"], &[], &[]),
    ]);
    for name in ["w.flag k 0", "w.category k 0"] {
        let Some(Learned::Row(row)) = found(&commands, name) else { panic!("{name}") };
        let words: Vec<&[u8]> = name.split(' ').map(str::as_bytes).collect();
        let request = request(&words);
        assert_eq!(row.route, Route::Waiting, "{name}");
        assert!(blocks(row, &request.args()));
        assert_eq!(timeout_position(row, &request.args()), None, "nobody knows where it is");
    }
    assert!(rule(&commands, "w.none k").contains("names no key"));
}

#[test]
fn nodes_must_agree_and_those_that_left_do_not_count() {
    let here = entry("a.cmd", -2, &["write"], &[], &[&spec(&index(1), &range(0, 1, 0))]);
    let other = entry("a.cmd", -3, &["write"], &[], &[&spec(&index(1), &range(0, 1, 0))]);
    let commands = learned(std::slice::from_ref(&here));
    assert!(matches!(found(&commands, "a.cmd k"), Some(Learned::Row(_))));
    commands.told("b", &reply(&[])).expect("nothing beyond the table");
    assert_eq!(rule(&commands, "a.cmd k"), "node 'b' does not have it; all nodes must");
    commands.told("b", &reply(&[other])).expect("a reply");
    assert!(rule(&commands, "a.cmd k").starts_with("nodes 'a' and 'b' do not agree"));
    let row = |commands: &LearnedCommands| match found(commands, "a.cmd k") {
        Some(Learned::Row(row)) => row,
        other => panic!("{other:?}"),
    };
    commands.told("b", &reply(&[here])).expect("a reply");
    let first = row(&commands);
    assert_eq!((first.full_name, first.arity, first.is_write()), ("a.cmd", -2, true));
    commands.retain(|node| node == "b");
    assert!(std::ptr::eq(first, row(&commands)), "a row is made once");
    commands.retain(|node| node == "c");
    assert!(std::ptr::eq(first, row(&commands)), "known until one of those that came has told");
    commands.told("c", b"*0\r\n").expect("a reply");
    assert_eq!(found(&commands, "a.cmd k"), None);
}

#[test]
fn subcommands_are_known_by_both_names_and_old_servers_by_first_last_and_step() {
    let below = entry("mod|set", -3, &["write"], &[], &[&spec(&index(2), &range(0, 1, 0))]);
    let container = entry("mod", -2, &[], &[], &[]);
    let container = format!("{}*1\r\n{below}", container.strip_suffix("*0\r\n").expect("no subcommands"));
    let old = "*6\r\n$7\r\nold.cmd\r\n:-2\r\n*1\r\n+write\r\n:1\r\n:-1\r\n:2\r\n".to_owned();
    let movable = "*6\r\n$7\r\nold.mov\r\n:-2\r\n*1\r\n+movablekeys\r\n:1\r\n:1\r\n:1\r\n".to_owned();
    let commands = learned(&[container, old, movable]);
    assert_eq!(positions_of(&commands, "MOD Set k v"), Some(vec![2]));
    assert_eq!(found(&commands, "mod get k"), None);
    assert_eq!(found(&commands, "mod"), None);
    assert_eq!(positions_of(&commands, "old.cmd a 1 b"), Some(vec![1, 3]));
    assert!(rule(&commands, "old.mov a").contains("where all its keys are"));
}

#[test]
fn what_a_node_does_not_tell_of_it_lacks_but_for_subcommands_of_old_servers() {
    let commands = LearnedCommands::default();
    let told = |names: &[&str]| {
        let entries = names.iter().map(|name| entry(name, 2, &[], &[], &[])).collect::<Vec<_>>();
        reply(&entries)
    };
    let lacks = |name: &str| commands.lacks(table::find_full(name.as_bytes()).expect("a row"));
    commands.told("old", &told(&["get", "xgroup"])).expect("a reply");
    assert!(lacks("set") && !lacks("get") && !lacks("xgroup|create"));
    assert!(!lacks("ping") && !lacks("dbsize"), "Ringway has them");
    commands.told("new", &told(&["get", "set", "xgroup", "xgroup|create"])).expect("a reply");
    assert!(lacks("set"), "one of them has not got it");
    assert!(!lacks("xgroup|create") && lacks("xgroup|destroy"));
    commands.told("old", b"*0\r\n").expect("a reply");
    assert!(!lacks("set"), "one that tells of nothing keeps it to itself");
}

#[test]
fn i6_what_nodes_tell_is_bounded_and_broken_replies_teach_nothing() {
    let names = (0..LEARNED_COMMANDS + 500).map(|at| format!("many.{at}"));
    let none = || spec(&unknown(), &unknown());
    let entries: Vec<String> = names.map(|name| entry(&name, -2, &[], &[], &[&none()])).collect();
    assert_eq!(learned(&entries).all().len(), LEARNED_COMMANDS);
    let commands = LearnedCommands::default();
    let long = entry(&"x".repeat(NAME_BYTES + 1), -2, &[], &[], &[]);
    let ugly = entry("a\r\n+OK", -2, &[], &[], &[]);
    let known = entry("get", -9, &["admin"], &[], &[]);
    assert_eq!(commands.told("a", &reply(&[long, ugly, known])), Ok(0));
    for broken in
        [&b"-ERR no\r\n"[..], b"+OK\r\n", b"*1\r\n:1\r\n", b"*1\r\n*1\r\n$1\r\nx\r\n", b"*-1\r\n", b""]
    {
        assert!(commands.told("a", broken).is_err(), "{broken:?}");
    }
    assert!(commands.all().is_empty());
}
