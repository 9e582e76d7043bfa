//! The steps of a command's way that are pure, each as something to run again and again.
//!
//! `hot_path` measures them in nanoseconds, `instructions` in instructions; both run exactly this.

use std::hint::black_box;

use ringway_proxy::bench::{Conversation, Joiner, Router, Slots};
use ringway_proxy::command::{self, Command};
use ringway_proxy::resp::reply::{ReplyScan, ReplyScanner};
use ringway_proxy::resp::request::{RequestBounds, RequestScanner, Scan};
use ringway_proxy::resp::{Args, Span, encode};

/// One step.
pub(crate) struct Step {
    /// `area/case`.
    pub(crate) name: &'static str,
    /// Requests that one run handles.
    pub(crate) requests: u64,
    /// Runs it once.
    pub(crate) run: Box<dyn FnMut()>,
}

impl Step {
    fn new(name: &'static str, requests: u64, run: impl FnMut() + 'static) -> Self {
        Self { name, requests, run: Box::new(run) }
    }
}

/// Nodes of the ring that keys are placed on.
const NODES: usize = 3;
const DEEP: usize = 16;
const BOUNDS: RequestBounds = RequestBounds { authenticated: true, command_bytes: 1 << 30 };

/// All steps, in the order in which a command meets them.
pub(crate) fn all() -> Vec<Step> {
    let get = request(&["GET", "key:000000012345"]);
    let mget_words: Vec<String> = (0..10).map(|number| format!("key:{:012}", number * 9973)).collect();
    let mget =
        request(&[&["MGET"], mget_words.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat());
    let value = "v".repeat(64);
    let set = request(&["SET", "key:000000012345", &value]);
    vec![
        scan("scan/get", get.clone()),
        scan("scan/get pipelined", get.repeat(DEEP)),
        scan("scan/set 64", set),
        scan("scan/mget 10", mget.clone()),
        resolve("resolve/get", get.clone()),
        resolve("resolve/xgroup create", request(&["XGROUP", "CREATE", "key", "group", "$"])),
        place("place/get", get.clone()),
        place("place/mget 10", mget),
        reply("reply/bulk 64", bulk(64)),
        reply("reply/bulk 16 KiB", bulk(16 * 1024)),
        reply("reply/array of 10", array(10, 64)),
        join(),
        pipeline("pipeline/in order", (0..DEEP).collect()),
        pipeline("pipeline/reversed", (0..DEEP).rev().collect()),
        exchange("exchange/get", get.clone(), 1),
        exchange("exchange/get pipelined", get.clone(), DEEP),
        whole("whole/get", &get, 1),
        whole("whole/get pipelined", &get, DEEP),
    ]
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode::array(&mut frame, words.len());
    words.iter().for_each(|word| encode::bulk(&mut frame, word.as_bytes()));
    frame
}

fn bulk(len: usize) -> Vec<u8> {
    let mut reply = Vec::new();
    encode::bulk(&mut reply, "v".repeat(len).as_bytes());
    reply
}

fn array(count: usize, len: usize) -> Vec<u8> {
    let mut reply = Vec::new();
    encode::array(&mut reply, count);
    reply.extend(bulk(len).repeat(count));
    reply
}

/// Cuts whole requests and hands each to `each`; returns how many there were.
#[inline]
fn cut(mut bytes: &[u8], spans: &mut Vec<Span>, mut each: impl FnMut(&Args<'_>)) -> u64 {
    let mut scanner = RequestScanner::default();
    let mut count = 0;
    while !bytes.is_empty() {
        let Ok(Scan::Request(len)) = scanner.scan(bytes, BOUNDS, spans) else { panic!("a whole request") };
        each(&Args::new(&bytes[..len], spans));
        bytes = &bytes[len..];
        count += 1;
    }
    count
}

/// The spans and the table's row of one request.
fn parsed(frame: &[u8]) -> (Vec<Span>, &'static Command) {
    let (mut spans, mut found) = (Vec::new(), None);
    cut(frame, &mut spans, |args| found = command::resolve(args).ok());
    (spans, found.expect("a known command"))
}

fn scan(name: &'static str, bytes: Vec<u8>) -> Step {
    let mut spans = Vec::new();
    let requests = cut(&bytes, &mut spans, |_| {});
    Step::new(name, requests, move || {
        cut(black_box(&bytes), &mut spans, |args| {
            black_box(args);
        });
    })
}

fn resolve(name: &'static str, frame: Vec<u8>) -> Step {
    let (spans, _) = parsed(&frame);
    Step::new(name, 1, move || {
        black_box(command::resolve(&Args::new(black_box(&frame), &spans)).is_ok());
    })
}

fn place(name: &'static str, frame: Vec<u8>) -> Step {
    let (spans, command) = parsed(&frame);
    let mut router = Router::new(NODES);
    Step::new(name, 1, move || {
        black_box(router.place(command, &Args::new(black_box(&frame), &spans)));
    })
}

fn reply(name: &'static str, bytes: Vec<u8>) -> Step {
    Step::new(name, 1, move || {
        let scanned = ReplyScanner::default().scan(black_box(&bytes));
        assert_eq!(scanned, Ok(ReplyScan::Complete(bytes.len())));
    })
}

fn join() -> Step {
    let assignment = [0u16, 1, 2, 0, 1, 1, 2, 0, 0, 2];
    let parts: Vec<Vec<u8>> = [4, 3, 3].map(|count| array(count, 64)).into();
    let mut joiner = Joiner::default();
    Step::new("join/mget 10 of 3", 1, move || {
        let parts: [&[u8]; 3] = [&parts[0], &parts[1], &parts[2]];
        black_box(joiner.values(black_box(&assignment), &parts));
    })
}

fn pipeline(name: &'static str, arrivals: Vec<usize>) -> Step {
    let reply = bulk(64);
    let mut slots = Slots::default();
    Step::new(name, arrivals.len() as u64, move || {
        black_box(slots.turn(black_box(&arrivals), 36, &reply));
    })
}

fn exchange(name: &'static str, frame: Vec<u8>, depth: usize) -> Step {
    let (_, command) = parsed(&frame);
    let replies = bulk(64).repeat(depth);
    let mut conversation = Conversation::default();
    Step::new(name, depth as u64, move || {
        for _ in 0..depth {
            conversation.send(black_box(&frame), command);
        }
        black_box(conversation.receive(black_box(&replies)));
    })
}

/// All pure parts of a request's way one after the other.
fn whole(name: &'static str, frame: &[u8], depth: usize) -> Step {
    let bytes = frame.repeat(depth);
    let reply = bulk(64);
    let replies = reply.repeat(depth);
    let arrivals: Vec<usize> = (0..depth).collect();
    let (mut spans, mut router) = (Vec::new(), Router::new(NODES));
    let (mut conversation, mut slots) = (Conversation::default(), Slots::default());
    Step::new(name, depth as u64, move || {
        cut(black_box(&bytes), &mut spans, |args| {
            let Ok(command) = command::resolve(args) else { panic!("a known command") };
            black_box(router.place(command, args));
            conversation.send(args.frame(), command);
        });
        black_box(conversation.receive(black_box(&replies)));
        black_box(slots.turn(&arrivals, 36, &reply));
    })
}
