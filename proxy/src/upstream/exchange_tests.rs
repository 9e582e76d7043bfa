use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::error::Failure;

#[derive(Default)]
struct Log {
    bytes: RefCell<Vec<u8>>,
    done: RefCell<u32>,
}

struct To(Rc<Log>);

impl ReplyTo for To {
    fn reply(&self, bytes: &[u8], last: bool) {
        self.0.bytes.borrow_mut().extend_from_slice(bytes);
        *self.0.done.borrow_mut() += u32::from(last);
    }

    fn backlog(&self) -> usize {
        self.0.bytes.borrow().len()
    }

    fn asker(&self) -> usize {
        Rc::as_ptr(&self.0).addr()
    }

    fn fail(&self, _: Failure<'_>) {}
}

fn exchange_of(count: usize) -> (Exchange<To>, Vec<Rc<Log>>) {
    let now = Instant::now();
    let mut exchange = Exchange::new(now);
    let logs: Vec<Rc<Log>> = (0..count).map(|_| Rc::default()).collect();
    for log in &logs {
        exchange.out().extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        exchange.commit(To(Rc::clone(log)), crate::command::find_full(b"set").unwrap(), now);
    }
    (exchange, logs)
}

#[test]
fn b2_replies_reach_their_askers_unchanged_at_every_split() {
    let replies: [&[u8]; 4] = [b"+OK\r\n", b"$5\r\nhello\r\n", b"*2\r\n:1\r\n$-1\r\n", b"-ERR x\r\n"];
    let stream = replies.concat();
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let (mut exchange, logs) = exchange_of(4);
            let now = Instant::now();
            exchange.wrote(exchange.unwritten().len(), now);
            for piece in [&stream[..first], &stream[first..second], &stream[second..]] {
                exchange.received(piece, now, |_, _, _| {}).unwrap();
            }
            for (log, reply) in logs.iter().zip(replies) {
                assert_eq!(*log.bytes.borrow(), reply);
                assert_eq!(*log.done.borrow(), 1);
            }
            assert!(exchange.is_idle());
        }
    }
}

/// A message of RESP3 that names `key`.
fn message(key: &str) -> Vec<u8> {
    format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n", key.len()).into_bytes()
}

#[test]
fn i1_messages_beside_replies_shift_nothing_at_any_split() {
    let long = format!("$70000\r\n{}\r\n", ">2\r\n$10".repeat(10_000)).into_bytes();
    let replies: [&[u8]; 4] = [b"+OK\r\n", b"*2\r\n:1\r\n_\r\n", &long, b"$3\r\n>1\r\r\n"];
    let messages = ["before", "a", "", ">\r\n", "behind"].map(message);
    let mut stream = messages[0].clone();
    for (reply, message) in replies.iter().zip(&messages[1..]) {
        stream.extend_from_slice(reply);
        stream.extend_from_slice(message);
    }
    let messages_before_last = messages[..4].concat().len();
    let now = Instant::now();
    let splits = (0..400).chain(stream.len() - 400..stream.len());
    for at in splits {
        for step in [stream.len(), 4099] {
            let (mut exchange, logs) = exchange_of(4);
            let told = Rc::new(RefCell::new(Vec::new()));
            let (hears, last) = (Rc::clone(&told), Rc::clone(&logs[3]));
            exchange.hear(move |messages| {
                // the last message follows the last reply, and no other does
                let is_last = hears.borrow().len() == messages_before_last;
                assert_eq!(*last.done.borrow() == 1, is_last);
                hears.borrow_mut().extend_from_slice(messages);
            });
            exchange.wrote(exchange.unwritten().len(), now);
            for piece in std::iter::once(&stream[..at]).chain(stream[at..].chunks(step)) {
                exchange.received(piece, now, |_, _, _| {}).unwrap();
            }
            for (log, reply) in logs.iter().zip(replies) {
                assert!(*log.bytes.borrow() == reply && *log.done.borrow() == 1, "split at {at}");
            }
            assert_eq!(*told.borrow(), messages.concat(), "split at {at}");
            assert!(exchange.is_idle());
        }
    }
}

#[test]
fn i1_a_message_where_none_may_come_ends_the_connection() {
    let now = Instant::now();
    let (mut exchange, _logs) = exchange_of(1);
    exchange.wrote(exchange.unwritten().len(), now);
    let push = Violation::Reply(ReplyError::Push);
    assert_eq!(exchange.received(&message("a"), now, |_, _, _| {}), Err(push));
    assert_eq!(exchange_of(0).0.received(&message("a"), now, |_, _, _| {}), Err(Violation::Stray));
    // nor inside a reply, where they may come
    let (mut exchange, _logs) = exchange_of(1);
    exchange.hear(|_| {});
    exchange.wrote(exchange.unwritten().len(), now);
    let inside = [b"*2\r\n:1\r\n", &message("a")[..]].concat();
    assert_eq!(exchange.received(&inside, now, |_, _, _| {}), Err(push));
}

#[test]
fn a_long_reply_is_passed_on_in_pieces_and_never_gathered() {
    let (mut exchange, logs) = exchange_of(2);
    let now = Instant::now();
    exchange.wrote(exchange.unwritten().len(), now);
    let body = vec![b'x'; 1_000_000];
    let mut stream = format!("*2\r\n${}\r\n", body.len()).into_bytes();
    stream.extend_from_slice(&body);
    stream.extend_from_slice(b"\r\n:7\r\n+next\r\n");
    for piece in stream.chunks(10_007) {
        exchange.received(piece, now, |_, _, _| {}).unwrap();
        assert!(exchange.partial.len() <= STREAM_BYTES);
    }
    assert_eq!(logs[0].bytes.borrow().len(), stream.len() - 7);
    assert_eq!(*logs[0].bytes.borrow(), stream[..stream.len() - 7]);
    assert_eq!(*logs[1].bytes.borrow(), b"+next\r\n");
    assert_eq!((*logs[0].done.borrow(), *logs[1].done.borrow()), (1, 1));
}

#[test]
fn b3_bytes_that_nobody_awaits_are_a_violation() {
    let (mut exchange, _logs) = exchange_of(1);
    let now = Instant::now();
    // a reply before the command was written whole answers something else
    exchange.wrote(5, now);
    assert_eq!(exchange.received(b"+OK\r\n", now, |_, _, _| {}), Err(Violation::Stray));
    let (mut exchange, _logs) = exchange_of(1);
    exchange.wrote(exchange.unwritten().len(), now);
    assert_eq!(exchange.received(b"+OK\r\n+OK\r\n", now, |_, _, _| {}), Err(Violation::Stray));
}

#[test]
fn a_stall_is_counted_from_the_last_sign_of_life() {
    let (mut exchange, _logs) = exchange_of(1);
    let limit = Duration::from_secs(1);
    let start = Instant::now();
    assert!(!exchange.is_stalled(start, limit));
    assert!(exchange.is_stalled(start + Duration::from_millis(1100), limit));
    exchange.wrote(14, start + Duration::from_millis(900));
    assert!(!exchange.is_stalled(start + Duration::from_millis(1100), limit));
    exchange.received(b"$3\r\n", start + Duration::from_millis(1800), |_, _, _| {}).unwrap();
    assert!(!exchange.is_stalled(start + Duration::from_millis(2700), limit));
}

#[test]
fn a_probe_reaches_nobody_and_must_be_answered_by_a_node_that_lives() {
    let alive = [&b"+PONG\r\n"[..], b"-LOADING x\r\n", b"-BUSY x\r\n", b"-MISCONF x\r\n"]
        .map(|answer| (answer, Ok(())));
    let strange = [&b"-ERR x\r\n"[..], b"+OK\r\n", b":1\r\n"].map(|answer| (answer, Err(Violation::Probe)));
    for (answer, result) in alive.into_iter().chain(strange) {
        for split in 0..answer.len() {
            let now = Instant::now();
            let mut exchange: Exchange<To> = Exchange::new(now);
            exchange.probe(now);
            exchange.wrote(exchange.unwritten().len(), now);
            let mut told = 0;
            let mut feed = |bytes: &[u8]| exchange.received(bytes, now, |_, _, _| told += 1);
            assert_eq!(feed(&answer[..split]).and_then(|()| feed(&answer[split..])), result);
            assert_eq!(told, 0);
        }
    }
}

#[test]
fn a3_commands_written_behind_an_unanswered_one_do_not_hide_a_stall() {
    let (mut exchange, logs) = exchange_of(1);
    let limit = Duration::from_secs(1);
    let start = Instant::now();
    exchange.wrote(exchange.unwritten().len(), start);
    for tenth in 1..=11u32 {
        let now = start + Duration::from_millis(100) * tenth;
        exchange.out().extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        exchange.commit(To(Rc::clone(&logs[0])), crate::command::all().next().unwrap(), now);
        exchange.wrote(exchange.unwritten().len(), now);
        assert_eq!(exchange.is_stalled(now, limit), tenth > 10, "{tenth}");
    }
}

fn command() -> &'static Command {
    crate::command::all().next().unwrap()
}

#[test]
fn a_command_that_is_handed_over_keeps_its_place_and_its_fate() {
    for waiting in [&b""[..], b"abc"] {
        let (mut exchange, now) = (Exchange::new(Instant::now()), Instant::now());
        let large = vec![b'x'; 1000];
        for round in 0..3 {
            if !waiting.is_empty() {
                exchange.out().extend_from_slice(waiting);
                exchange.commit(To(Rc::default()), command(), now);
            }
            exchange.promise(large.len(), To(Rc::default()), command(), now);
            exchange.supply(large.clone());
            exchange.out().extend_from_slice(b"after");
            exchange.commit(To(Rc::default()), command(), now);
            assert_eq!(exchange.unwritten(), [waiting, &large, b"after"].concat(), "round {round}");
            // up to the last byte but one of the large command
            exchange.wrote(waiting.len() + large.len() - 1, now);
            assert!(!waiting.is_empty() || !exchange.awaits_doubtful());
            exchange.wrote(1, now);
            assert!(exchange.awaits_doubtful());
            exchange.wrote(5, now);
            let replies = if waiting.is_empty() { 2 } else { 3 };
            exchange.received(&b"+OK\r\n".repeat(replies), now, |_, _, _| {}).unwrap();
            assert!(exchange.is_idle());
        }
    }
}

#[test]
fn what_was_appended_and_not_committed_is_taken_back() {
    let (mut exchange, now) = (Exchange::new(Instant::now()), Instant::now());
    exchange.out().extend_from_slice(b"whole");
    exchange.commit(To(Rc::default()), command(), now);
    exchange.wrote(2, now);
    exchange.out().extend_from_slice(b"half");
    exchange.drop_uncommitted();
    assert_eq!(exchange.unwritten(), b"ole");
    exchange.out().extend_from_slice(b"next");
    exchange.commit(To(Rc::default()), command(), now);
    assert_eq!((exchange.unwritten(), exchange.in_flight()), (&b"olenext"[..], 2));
}

/// `count` commands of ten bytes each, one after the other every 10 ms.
fn spaced(exchange: &mut Exchange<To>, count: u32, start: Instant) -> Vec<Rc<Log>> {
    let logs: Vec<Rc<Log>> = (0..count).map(|_| Rc::default()).collect();
    for (at, log) in (0..count).zip(&logs) {
        exchange.out().extend_from_slice(format!("command{at:03}").as_bytes());
        let get = crate::command::find_full(b"get").unwrap();
        exchange.commit(To(Rc::clone(log)), get, start + Duration::from_millis(10) * at);
    }
    logs
}

#[test]
fn e4_no_more_is_sent_than_a_node_answers_in_time_and_all_of_it_in_the_end() {
    let start = Instant::now();
    let mut exchange = Exchange::new(start);
    exchange.begin(start, Duration::from_millis(250), Duration::ZERO);
    let logs = spaced(&mut exchange, 30, start);
    let (mut now, mut most, mut sent) = (start + Duration::from_secs(1), 0, Vec::new());
    while sent.len() < 300 {
        let bytes = exchange.sendable();
        assert_eq!(bytes.len() % 10, 0);
        let count = bytes.len() / 10;
        most = most.max(count);
        sent.extend_from_slice(bytes);
        exchange.wrote(count * 10, now);
        assert_eq!(exchange.holds_back(), sent.len() < 300);
        assert!(exchange.sendable().is_empty());
        now += Duration::from_millis(60) * u32::try_from(count).unwrap();
        exchange.received(&b"+OK\r\n".repeat(count), now, |_, _, _| {}).unwrap();
    }
    assert!(exchange.is_idle() && logs.iter().all(|log| *log.done.borrow() == 1));
    assert!((4..=10).contains(&most), "{most}");
    let whole: Vec<u8> = (0..30).flat_map(|at| format!("command{at:03}").into_bytes()).collect();
    assert_eq!(sent, whole);
}

#[test]
fn a3_behind_a_silence_nothing_is_sent_and_a_command_in_part_is_completed() {
    let start = Instant::now();
    let mut exchange = Exchange::new(start);
    let _logs = spaced(&mut exchange, 1, start);
    exchange.begin(start, Duration::from_millis(250), Duration::ZERO);
    exchange.wrote(10, start);
    exchange.received(b"+OK\r\n", start, |_, _, _| {}).unwrap();
    let _logs = spaced(&mut exchange, 3, start);
    exchange.sendable();
    exchange.wrote(10, start);
    exchange.received(b"+OK\r\n", start, |_, _, _| {}).unwrap();
    // by now four may be under way
    exchange.wrote(10, start);
    exchange.look(start + Duration::from_millis(200));
    assert_eq!(exchange.sendable().len(), 10);
    let late = start + Duration::from_millis(300);
    exchange.look(late);
    assert_eq!(exchange.sendable().len(), 0);
    assert!(exchange.holds_back());
    exchange.received(b"+OK\r\n", late, |_, _, _| {}).unwrap();
    assert_eq!(exchange.sendable().len(), 10);
    assert!(!exchange.holds_back());
    // a front that is not yet written whole is no silence of the node
    exchange.wrote(5, late);
    exchange.look(late + Duration::from_secs(1));
    assert_eq!(exchange.sendable().len(), 5);
}

/// An exchange whose node has taken a second for one command.
fn slow(start: Instant) -> Exchange<To> {
    let mut exchange = Exchange::new(start);
    let second = Duration::from_secs(1);
    exchange.begin(start - second, Duration::from_millis(250), Duration::ZERO);
    spaced(&mut exchange, 1, start - second);
    exchange.look(start - second);
    exchange.wrote(10, start - second);
    exchange.look(start);
    exchange.received(b"+OK\r\n", start, |_, _, _| {}).unwrap();
    exchange
}

#[test]
fn e4_what_waited_too_long_is_taken_back_and_the_rest_goes() {
    for in_part in [0, 1, 9] {
        let (start, limit) = (Instant::now(), Duration::from_millis(100));
        let mut exchange = slow(start);
        let logs = spaced(&mut exchange, 6, start);
        exchange.wrote(10 + in_part, start);
        assert_eq!(exchange.take_late(start + limit, limit).len(), 0);
        // those of 10, 20 and 30 ms are late, unless it is the way there that is full
        let late = exchange.take_late(start + Duration::from_millis(135), limit).len();
        assert_eq!(late, if in_part == 0 { 3 } else { 0 });
        assert_eq!(exchange.take_late(start + Duration::from_millis(135), limit).len(), 0);
        let whole = b"command001command002command003command004command005";
        let rest = &whole[if in_part == 0 { 30 } else { in_part }..];
        assert_eq!(exchange.unwritten(), rest);
        exchange.wrote(rest.len(), start);
        exchange.received(&b"+OK\r\n".repeat(6 - late), start, |_, _, _| {}).unwrap();
        assert!(exchange.is_idle());
        assert_eq!(logs.iter().filter(|log| *log.done.borrow() == 1).count(), 6 - late);
    }
}

#[test]
fn e4_reads_go_again_whole_when_what_stood_behind_them_was_taken_back() {
    let (start, limit) = (Instant::now(), Duration::from_millis(100));
    for large in [false, true] {
        let mut exchange = slow(start);
        let _logs = spaced(&mut exchange, 1, start);
        exchange.wrote(10, start);
        if large {
            // which brings a buffer of its own: what was written is not held any more
            exchange.promise(100, To(Rc::default()), command(), start);
            exchange.supply(vec![b'x'; 100]);
        } else {
            let _logs = spaced(&mut exchange, 2, start);
        }
        let late = exchange.take_late(start + Duration::from_secs(1), limit);
        assert_eq!(late.len(), if large { 1 } else { 2 });
        let _logs = spaced(&mut exchange, 1, start + Duration::from_secs(1));
        let mut lost = 0;
        let again = exchange.lost(Keep::UnsentAndReads, |_, _| lost += 1);
        assert_eq!((again, lost), if large { (0, 1) } else { (1, 0) });
        let expected = if large { &b"command000"[..] } else { b"command000command000" };
        assert_eq!(exchange.unwritten(), expected);
    }
}

#[test]
fn e4_while_nothing_could_be_sent_nothing_comes_too_late() {
    let (start, limit) = (Instant::now(), Duration::from_millis(100));
    let mut exchange = slow(start);
    let _logs = spaced(&mut exchange, 3, start);
    exchange.forgive(start + Duration::from_secs(5));
    assert_eq!(exchange.take_late(start + Duration::from_millis(5099), limit).len(), 0);
    assert_eq!(exchange.take_late(start + Duration::from_millis(5101), limit).len(), 3);
    assert!(exchange.is_idle() && exchange.unwritten().is_empty());
    // nor for a node that is not known to be slow
    let mut exchange = Exchange::new(start);
    let _logs = spaced(&mut exchange, 3, start);
    assert_eq!(exchange.take_late(start + Duration::from_secs(9), limit).len(), 0);
}
