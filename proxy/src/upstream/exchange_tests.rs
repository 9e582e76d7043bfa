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
