use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::super::super::block::Block;
use super::*;
use crate::command::{self, Command};
use crate::error::Failure;
use crate::limits::REPEAT_BYTES;
use crate::settings::NodeSpec;

/// What a client was told, over all its commands.
type Told = Rc<RefCell<Vec<u8>>>;

struct To(Told);

impl ReplyTo for To {
    fn reply(&self, bytes: &[u8], _: bool) {
        self.0.borrow_mut().extend_from_slice(bytes);
    }

    fn backlog(&self) -> usize {
        0
    }

    fn asker(&self) -> usize {
        Rc::as_ptr(&self.0).addr()
    }

    fn fail(&self, failure: Failure<'_>) {
        self.0.borrow_mut().extend_from_slice(failure.fate.code().as_bytes());
    }
}

fn row(name: &str) -> &'static Command {
    command::find_full(name.as_bytes()).unwrap_or_else(|| panic!("no row {name}"))
}

fn send(exchange: &mut Exchange<To>, client: &Told, name: &str, frame: &[u8]) {
    exchange.out().extend_from_slice(frame);
    exchange.commit(To(Rc::clone(client)), row(name), Instant::now());
}

/// Writes the next `len` bytes.
fn write(exchange: &mut Exchange<To>, len: usize) {
    exchange.wrote(len, Instant::now());
}

fn write_all(exchange: &mut Exchange<To>) -> Vec<u8> {
    let all = exchange.unwritten().to_vec();
    write(exchange, all.len());
    all
}

fn receive(exchange: &mut Exchange<To>, bytes: &[u8]) {
    exchange.received(bytes, Instant::now(), |_, _, _| {}).unwrap();
}

/// The connection is lost: the names of what leaves with its fate, and how many reads go again.
fn lose(exchange: &mut Exchange<To>, keep: Keep) -> (Vec<(&'static str, Fate)>, usize) {
    let mut left = Vec::new();
    let again = exchange.lost(keep, |entry, fate| {
        left.push((entry.asked.as_ref().map_or("block", |asked| asked.command.full_name), fate));
    });
    (left, again)
}

fn fresh() -> Exchange<To> {
    Exchange::new(Instant::now())
}

#[test]
fn i4_a_lost_connection_tells_written_from_unwritten() {
    for written in 0..=9 {
        for keep in [Keep::Nothing, Keep::Unsent, Keep::UnsentAndReads] {
            let (mut exchange, client) = (fresh(), Told::default());
            [b"aaa", b"bbb", b"ccc"].iter().for_each(|frame| send(&mut exchange, &client, "incr", *frame));
            write(&mut exchange, written);
            let (left, again) = lose(&mut exchange, keep);
            let (whole, cut) = (written / 3, usize::from(written % 3 != 0));
            let kept = if keep == Keep::Nothing { 0 } else { 3 - whole - cut };
            let mut expected = vec![("incr", Fate::Unknown); whole];
            expected.extend(vec![("incr", Fate::NotSent); 3 - whole - kept]);
            assert_eq!((left, again), (expected, 0), "written {written}, {keep:?}");
            assert_eq!(exchange.unwritten(), &b"aaabbbccc"[9 - 3 * kept..]);
            // what stays is sent and answered on the next connection
            write_all(&mut exchange);
            receive(&mut exchange, &b":1\r\n".repeat(kept));
            assert!(exchange.is_idle());
        }
    }
}

#[test]
fn i3_reads_go_once_more_in_their_order_and_writes_never() {
    let frames = b"[1][2][3][4][5]";
    let names = ["get", "incr", "get", "publish", "get"];
    for written in 0..=frames.len() {
        let mut exchange = fresh();
        let clients: Vec<Told> = names.iter().map(|_| Told::default()).collect();
        for (at, name) in names.iter().enumerate() {
            send(&mut exchange, &clients[at], name, &frames[3 * at..3 * at + 3]);
        }
        write(&mut exchange, written);
        let (left, again) = lose(&mut exchange, Keep::UnsentAndReads);
        // what is begun and no read is gone, all else stands in its order
        let is_gone = |at: usize| names[at] != "get" && 3 * at < written;
        let fate = |at: usize| if 3 * at + 3 <= written { Fate::Unknown } else { Fate::NotSent };
        let gone: Vec<_> = (0..5).filter(|at| is_gone(*at)).map(|at| (names[at], fate(at))).collect();
        let rest: Vec<u8> =
            (0..5).filter(|at| !is_gone(*at)).flat_map(|at| &frames[3 * at..3 * at + 3]).copied().collect();
        assert_eq!(left, gone, "{written} written");
        assert_eq!(again, (0..5).filter(|at| names[*at] == "get" && 3 * at < written).count());
        assert_eq!(exchange.unwritten(), rest);
        assert_eq!(write_all(&mut exchange), rest);
        // whole again: the replies find those who asked
        let replies: Vec<u8> =
            (0..5).filter(|at| !is_gone(*at)).flat_map(|at| format!(":{at}\r\n").into_bytes()).collect();
        receive(&mut exchange, &replies);
        for at in (0..5).filter(|at| !is_gone(*at)) {
            assert_eq!(*clients[at].borrow(), format!(":{at}\r\n").into_bytes());
        }
        assert!(exchange.is_idle());
    }
}

#[test]
fn i3_a_read_goes_once_more_and_not_twice() {
    let (mut exchange, client) = (fresh(), Told::default());
    send(&mut exchange, &client, "get", b"old");
    write_all(&mut exchange);
    assert_eq!(lose(&mut exchange, Keep::UnsentAndReads), (vec![], 1));
    // not begun on the second connection: that was no second time
    assert_eq!(lose(&mut exchange, Keep::UnsentAndReads), (vec![], 0));
    send(&mut exchange, &client, "get", b"new");
    assert_eq!(write_all(&mut exchange), b"oldnew");
    assert_eq!(lose(&mut exchange, Keep::UnsentAndReads), (vec![("get", Fate::Unknown)], 1));
    assert_eq!(exchange.unwritten(), b"new");
    // without a next connection: it was sent, and nobody knows
    assert_eq!(lose(&mut exchange, Keep::Nothing), (vec![("get", Fate::Unknown)], 0));
    // one that was never written whole certainly did not run
    send(&mut exchange, &client, "get", b"part");
    write(&mut exchange, 2);
    assert_eq!(lose(&mut exchange, Keep::UnsentAndReads), (vec![], 1));
    assert_eq!(exchange.unwritten(), b"part");
    write(&mut exchange, 3);
    assert_eq!(lose(&mut exchange, Keep::UnsentAndReads), (vec![("get", Fate::NotSent)], 0));
    assert!(exchange.is_idle() && exchange.unwritten().is_empty());
}

#[test]
fn i2_a_read_does_not_go_again_beside_its_clients_own_unknown_write() {
    // (bytes written, what leaves, what is sent next)
    let (get, set) = (("get", Fate::Unknown), ("set", Fate::Unknown));
    type Left<'a> = &'a [(&'a str, Fate)];
    let cases: [(usize, Left<'_>, &[u8]); 5] = [
        (0, &[], b"[1][2][3]<n>"),
        (3, &[], b"[1][2][3]<n>"),
        (4, &[("set", Fate::NotSent)], b"[1][3]<n>"),
        (6, &[get, set], b"[3]<n>"),
        (12, &[get, set, get], b"<n>"),
    ];
    for (written, leaves, next) in cases {
        let (mut exchange, client, neighbour) = (fresh(), Told::default(), Told::default());
        for (name, frame) in [("get", b"[1]"), ("set", b"[2]"), ("get", b"[3]")] {
            send(&mut exchange, &client, name, frame);
        }
        send(&mut exchange, &neighbour, "get", b"<n>");
        write(&mut exchange, written);
        assert_eq!(lose(&mut exchange, Keep::UnsentAndReads).0, leaves, "{written} written");
        assert_eq!(exchange.unwritten(), next, "{written} written");
    }
    // a transaction counts as a write, one that is answered no more
    for answered in [false, true] {
        let (mut exchange, client) = (fresh(), Told::default());
        exchange.out().extend_from_slice(b"{block}");
        let node = std::sync::Arc::new(NodeSpec::new("n", "h:1"));
        let block = Block::new(To(Rc::clone(&client)), row("exec"), 1, node);
        exchange.commit_block(block, Instant::now());
        send(&mut exchange, &client, "get", b"[g]");
        write_all(&mut exchange);
        if answered {
            receive(&mut exchange, b"+OK\r\n*0\r\n");
        }
        let unknown = vec![("block", Fate::Unknown), ("get", Fate::Unknown)];
        let expected = if answered { (vec![], 1) } else { (unknown, 0) };
        assert_eq!(lose(&mut exchange, Keep::UnsentAndReads), expected);
    }
}

#[test]
fn i1_a_reply_that_was_begun_goes_on_nowhere() {
    let long = [b"$100000\r\n".to_vec(), vec![b'x'; 100_000], b"\r\n".to_vec()].concat();
    for (reply, cut) in [(&b"$5\r\nhello\r\n"[..], 9), (b"$5\r\nhello\r\n", 0), (&long, 5), (&long, 70_000)] {
        let (mut exchange, client) = (fresh(), Told::default());
        send(&mut exchange, &client, "get", b"[1]");
        send(&mut exchange, &client, "get", b"[2]");
        write_all(&mut exchange);
        receive(&mut exchange, &reply[..cut]);
        let passed_on = !client.borrow().is_empty();
        assert_eq!(passed_on, cut > 50_000, "only of a long reply a part is passed on");
        let (left, again) = lose(&mut exchange, Keep::UnsentAndReads);
        if passed_on {
            assert_eq!((left, again), (vec![("get", Fate::Unknown)], 1));
            assert_eq!(exchange.unwritten(), b"[2]");
        } else {
            assert_eq!((left, again), (vec![], 2));
            write_all(&mut exchange);
            receive(&mut exchange, &[reply, b":2\r\n"].concat());
            assert!(*client.borrow() == [reply, b":2\r\n"].concat());
        }
    }
}

#[test]
fn i6_reads_whose_bytes_are_no_longer_held_do_not_go_again() {
    let (mut exchange, client) = (fresh(), Told::default());
    let frame = [b'r'; 1000];
    let mut sent = 0;
    while sent <= REPEAT_BYTES {
        send(&mut exchange, &client, "get", &frame);
        write_all(&mut exchange);
        sent += frame.len();
        assert!(exchange.out.held() <= REPEAT_BYTES);
    }
    send(&mut exchange, &client, "get", b"last");
    write_all(&mut exchange);
    let (left, again) = lose(&mut exchange, Keep::UnsentAndReads);
    assert_eq!((left.len(), again), (sent / frame.len(), 1));
    assert_eq!(exchange.unwritten(), b"last");
    // with replies between them any number goes by, and the last ones are always there
    let mut exchange = fresh();
    for round in 0..2000 {
        send(&mut exchange, &client, "get", &frame);
        write_all(&mut exchange);
        if round >= 10 {
            receive(&mut exchange, b":1\r\n");
        }
    }
    assert_eq!(lose(&mut exchange, Keep::UnsentAndReads), (vec![], 10));
    assert_eq!(exchange.unwritten(), frame.repeat(10));
}

#[test]
fn i3_only_what_is_known_to_change_nothing_may_be_repeated() {
    for name in [
        "get", "mget", "exists", "touch", "hgetall", "xread", "sort_ro", "eval_ro", "fcall_ro", "scan",
        "dbsize",
    ] {
        assert!(row(name).may_repeat(), "{name}");
    }
    for name in [
        "set",
        "getex",
        "getdel",
        "eval",
        "evalsha",
        "fcall",
        "publish",
        "spublish",
        "pfcount",
        "sort",
        "xreadgroup",
        "georadius",
        "info",
        "script|load",
        "exec",
        "ping",
        "client|kill",
        "blpop",
        "bitfield",
    ] {
        assert!(!row(name).may_repeat(), "{name}");
    }
    for command in command::all().filter(|command| command.may_repeat()) {
        assert!(!command.is_write(), "{}", command.full_name);
    }
}
