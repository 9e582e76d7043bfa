use super::*;
use crate::command::Join;
use crate::settings::{NodeSpec, TopologySpec};
use ringway_ring::RingConfig;

fn joined(kind: Join, write: bool, assignment: &[u16], replies: &[Result<&[u8], Fate>]) -> String {
    let mut joining = Joining::default();
    joining.begin(kind, write, assignment, replies.len(), 1 << 20);
    for (part, reply) in replies.iter().enumerate().rev() {
        let complete = match reply {
            Ok(bytes) => {
                let (head, tail) = bytes.split_at(bytes.len() / 2);
                assert!(!joining.reply(part, head, false));
                joining.reply(part, tail, true)
            }
            Err(fate) => joining.fail(part, *fate, &format!("{} node 'n{part}' (h:1): why", fate.code())),
        };
        assert_eq!(complete, part == 0);
    }
    let mut out = Vec::new();
    joining.finish(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn values_come_in_the_order_of_the_keys() {
    let out = joined(
        Join::Values,
        false,
        &[0, 1, 0, 1],
        &[Ok(b"*2\r\n$1\r\na\r\n$-1\r\n"), Ok(b"*2\r\n$1\r\nb\r\n_\r\n")],
    );
    assert_eq!(out, "*4\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n_\r\n");
}

#[test]
fn integers_are_added_and_oks_agree() {
    assert_eq!(joined(Join::Sum, true, &[0, 1], &[Ok(b":2\r\n"), Ok(b":40\r\n")]), ":42\r\n");
    assert_eq!(joined(Join::Ok, true, &[0, 1], &[Ok(b"+OK\r\n"), Ok(b"+OK\r\n")]), "+OK\r\n");
}

#[test]
fn i4_a_failed_part_fails_the_whole_and_tells_whether_others_ran() {
    let ok: Result<&[u8], Fate> = Ok(b"+OK\r\n");
    let out = joined(Join::Ok, true, &[0, 1], &[ok, Err(Fate::NotSent)]);
    assert_eq!(out, "-UNKNOWN node 'n1' (h:1): why; the parts of this command on other nodes ran\r\n");
    let out = joined(Join::Ok, true, &[0, 1], &[Err(Fate::NotSent), Err(Fate::NotSent)]);
    assert_eq!(out, "-NOTSENT node 'n0' (h:1): why\r\n");
    let out = joined(Join::Ok, true, &[0, 1], &[Err(Fate::NotSent), Err(Fate::Unknown)]);
    assert!(out.starts_with("-UNKNOWN node 'n1'"), "{out}");
    let values: Result<&[u8], Fate> = Ok(b"*1\r\n$-1\r\n");
    let out = joined(Join::Values, false, &[0, 1], &[values, Err(Fate::NotSent)]);
    assert_eq!(out, "-NOTSENT node 'n1' (h:1): why\r\n");
}

#[test]
fn an_error_of_a_node_stays_its_error() {
    let out = joined(Join::Ok, true, &[0, 1], &[Ok(b"-OOM full\r\n"), Ok(b"+OK\r\n")]);
    assert_eq!(out, "-OOM full (the parts of this command on other nodes ran)\r\n");
}

#[test]
fn a_reply_of_another_shape_is_no_answer() {
    let two: Result<&[u8], Fate> = Ok(b"*2\r\n:1\r\n:2\r\n");
    assert!(joined(Join::Values, false, &[0, 1], &[two, Ok(b"*1\r\n:1\r\n")]).starts_with("-UNKNOWN"));
    assert!(joined(Join::Sum, true, &[0, 1], &[Ok(b"+x\r\n"), Ok(b":1\r\n")]).starts_with("-UNKNOWN"));
}

/// What all nodes' replies to one command become; the nodes are called `a`, `b`, ….
fn joined_over(kind: Join, write: bool, replies: &[Result<&[u8], Fate>]) -> String {
    let names = ["a", "b", "c", "d"];
    let nodes = names.iter().take(replies.len()).map(|name| NodeSpec::new(*name, format!("{name}:1")));
    let spec = TopologySpec { ring: RingConfig::default(), nodes: nodes.collect() };
    let topology = Arc::new(Topology::build(1, spec).unwrap());
    let mut joining = Joining::default();
    joining.begin_over(kind, write, replies.len(), 1 << 20, Over { topology, about: About::Nothing });
    for (part, reply) in replies.iter().enumerate() {
        match reply {
            Ok(bytes) => joining.reply(part, bytes, true),
            Err(fate) => joining.fail(part, *fate, &format!("{} node '{}': why", fate.code(), names[part])),
        };
    }
    let mut out = Vec::new();
    joining.finish(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn what_all_nodes_say_alike_is_said_once() {
    let sha: Result<&[u8], Fate> = Ok(b"$3\r\nsha\r\n");
    assert_eq!(joined_over(Join::Same, true, &[sha, sha, sha]), "$3\r\nsha\r\n");
    let other: Result<&[u8], Fate> = Ok(b"$3\r\nbad\r\n");
    assert!(joined_over(Join::Same, true, &[sha, other]).starts_with("-UNKNOWN"));
}

#[test]
fn a_script_exists_where_all_nodes_have_it() {
    let out =
        joined_over(Join::Least, false, &[Ok(b"*3\r\n:1\r\n:0\r\n:1\r\n"), Ok(b"*3\r\n:1\r\n:1\r\n:0\r\n")]);
    assert_eq!(out, "*3\r\n:1\r\n:0\r\n:0\r\n");
    assert_eq!(joined_over(Join::Least, false, &[Ok(b":7\r\n"), Ok(b":5\r\n"), Ok(b":6\r\n")]), ":5\r\n");
    assert!(joined_over(Join::Least, false, &[Ok(b":7\r\n"), Ok(b"+x\r\n")]).starts_with("-UNKNOWN"));
    let out = joined_over(Join::Least, false, &[Ok(b"*1\r\n:1\r\n"), Ok(b"*2\r\n:1\r\n:1\r\n")]);
    assert!(out.starts_with("-UNKNOWN"));
}

#[test]
fn an_error_of_one_node_names_it_and_an_error_of_all_does_not() {
    let ok: Result<&[u8], Fate> = Ok(b"+OK\r\n");
    let error: Result<&[u8], Fate> = Ok(b"-ERR no\r\n");
    assert_eq!(joined_over(Join::Ok, true, &[error, error]), "-ERR no\r\n");
    let out = joined_over(Join::Ok, true, &[ok, error]);
    assert_eq!(out, "-ERR no (node 'b'; the parts of this command on other nodes ran)\r\n");
    let out = joined_over(Join::Sum, false, &[Ok(b":1\r\n"), error]);
    assert_eq!(out, "-ERR no (node 'b')\r\n");
    let out = joined_over(Join::Ok, true, &[ok, Err(Fate::Unknown)]);
    assert_eq!(out, "-UNKNOWN node 'b': why; the parts of this command on other nodes ran\r\n");
}

#[test]
fn i6_a_reply_beyond_the_limit_is_dropped_and_told() {
    let mut joining = Joining::default();
    joining.begin(Join::Values, false, &[0, 1], 2, 20);
    joining.reply(0, b"*1\r\n$5\r\nhello\r\n", true);
    assert_eq!(joining.held(), 15);
    joining.reply(1, b"*1\r\n$5\r\nwo", false);
    assert_eq!(joining.held(), 0);
    assert!(joining.reply(1, b"rld\r\n", true));
    let mut out = Vec::new();
    joining.finish(&mut out);
    assert_eq!(out, format!("-{TOO_LONG}\r\n").as_bytes());
}
