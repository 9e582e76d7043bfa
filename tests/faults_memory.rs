//! The budget of memory that all clients share (law I6): greedy, slow and silent clients at once, while others are served.
//! Measured on the built binary.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::frame::bulk_request;
use crate::support::rig::{MIB, Rig};
use crate::support::{RawClient, StopAtEnd, wait_for};

const CLOSED: &str = "ringway_clients_closed_total{reason=\"memory\"}";

/// Writes until everything is taken or the connection ends; answers whether everything was.
fn pour(mut stream: &TcpStream, mut left: usize) -> bool {
    let chunk = vec![b'x'; 1 << 16];
    while left > 0 {
        match stream.write(&chunk[..left.min(chunk.len())]) {
            Ok(written) => left -= written,
            Err(_) => return false,
        }
    }
    true
}

/// The beginning of a command whose value has `len` bytes.
fn set_of(key: &str, len: usize) -> Vec<u8> {
    format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${len}\r\n", key.len()).into_bytes()
}

/// Writes and reads a few keys over and over until told to stop; every reply must be right.
fn behave_well(mut client: RawClient, number: usize, stop: &AtomicBool, served: &AtomicU64) {
    for round in 0u32.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let (key, value) = (format!("normal:{number}:{}", round % 50), round.to_string());
        assert_eq!(client.text(&["SET", &key, &value]), "+OK\r\n");
        assert_eq!(client.text(&["GET", &key]), format!("${}\r\n{value}\r\n", value.len()));
        served.fetch_add(1, Ordering::Relaxed);
    }
}

/// One wave: four clients with 1,024 GETs of 128 KiB each that read nothing, four that pour 100 MiB of a command that never
/// ends. Returns when `done`.
fn wave(rig: &Rig, done: impl FnMut() -> bool) {
    let gets = bulk_request(&["GET", "large"]).repeat(1024);
    let mut greedy: Vec<RawClient> = (0..4).map(|_| rig.program.client()).collect();
    greedy.iter_mut().for_each(|client| client.send(&gets));
    let pourers: Vec<TcpStream> = (0..4).map(|_| rig.program.client().sender()).collect();
    std::thread::scope(|scope| {
        for (mut pourer, at) in pourers.iter().zip(0..) {
            pourer.write_all(&set_of(&format!("never:{at}"), 512 << 20)).expect("the beginning is taken");
            scope.spawn(move || pour(pourer, 100 << 20));
        }
        let over = catch_unwind(AssertUnwindSafe(|| wait_for("the wave to be over", done)));
        // ends those who still pour, however it went
        pourers.iter().for_each(|pourer| drop(pourer.shutdown(Shutdown::Both)));
        over.unwrap_or_else(|why| resume_unwind(why));
    });
}

/// Waves for as long as `time`, beside silent clients; others are served, and memory stays near its budget.
fn siege(budget: u64, time: Duration) {
    let rig = Rig::start(2, &format!("limits: {{memory_bytes: {budget}, command_incomplete: 10m}}\n"), &[]);
    let value = vec![b'v'; 128 << 10];
    assert_eq!(rig.program.client().call(&[b"SET".as_slice(), b"large", &value]), b"+OK\r\n");
    let mut silent: Vec<RawClient> = (0..200).map(|_| rig.program.client()).collect();
    silent.iter_mut().for_each(|client| client.send(b"*1048576\r\n$536870912\r\nabc"));
    let before = rig.memory();
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut most = 0;
    std::thread::scope(|scope| {
        let normal: Vec<_> = (0..2)
            .map(|number| {
                let (client, stop, served) = (rig.program.client(), &stop, &served);
                scope.spawn(move || behave_well(client, number, stop, served))
            })
            .collect();
        // also when the siege fails, or the others would go on for ever
        let _stop = StopAtEnd(&stop);
        let end = Instant::now() + time;
        let mut closed = 0.0;
        while Instant::now() < end || closed < 4.0 {
            let (round, closed_before) = (served.load(Ordering::Relaxed), closed);
            wave(&rig, || {
                most = most.max(rig.memory().saturating_sub(before));
                closed = rig.metric(CLOSED);
                served.load(Ordering::Relaxed) > round + 50 && closed > closed_before
            });
            assert!(normal.iter().all(|client| !client.is_finished()), "a normal client was not served");
        }
    });
    println!("{} MiB at most", most / MIB);
    // what a tick brings, what the allocator keeps, and what a build without optimisation adds
    assert!(most <= 3 * budget + 64 * MIB, "{} MiB more, budget {} MiB", most / MIB, budget / MIB);
    silent.iter_mut().for_each(|client| client.expect_silence(Duration::from_millis(1)));
    assert!(rig.program.log().contains("memory is short"), "{}", rig.program.log());
    wait_for("memory to be given back", || rig.metric("ringway_memory_bytes") < MIB as f64);
}

#[test]
fn e2_memory_stays_near_its_budget_and_others_are_served() {
    siege(64 * MIB, Duration::ZERO);
}

#[test]
#[ignore = "takes a minute; make test-faults"]
fn long_e2_a_siege_of_a_minute() {
    siege(256 * MIB, Duration::from_secs(60));
}

#[test]
fn e2_who_waits_for_memory_waits_no_longer_than_a_second() {
    let rig = Rig::start(1, "limits: {memory_bytes: 64MiB}\n", &[]);
    const LEN: usize = 40 << 20;
    let mut clients: Vec<RawClient> = (0..2).map(|_| rig.program.client()).collect();
    clients[0].send(&set_of("a", LEN));
    clients[1].send(&set_of("b", LEN));
    // together they want more than there is, alone each of them is welcome
    let poured: Vec<bool> = std::thread::scope(|scope| {
        let pourers: Vec<_> = clients
            .iter()
            .map(|client| {
                let stream = client.sender();
                scope.spawn(move || pour(&stream, LEN) && (&stream).write_all(b"\r\n").is_ok())
            })
            .collect();
        pourers.into_iter().map(|pourer| pourer.join().expect("no panic")).collect()
    });
    let replies: Vec<Vec<u8>> = clients
        .iter_mut()
        .map(|client| client.try_reply(Duration::from_secs(20)).unwrap_or_default())
        .collect();
    assert!(replies.iter().any(|reply| reply == b"+OK\r\n"), "somebody is served: {poured:?}");
    let refused = replies.iter().filter(|reply| reply.is_empty()).count();
    assert_eq!(rig.metric(CLOSED), refused as f64, "and nobody else is closed: {poured:?}");
}

#[test]
fn e2_transactions_and_subscriptions_count_as_memory() {
    let rig = Rig::start(1, "limits: {memory_bytes: 32MiB}\n", &[]);
    let mut normal = rig.program.client();
    let closed_after = |what: &str, requests: &mut dyn FnMut(usize) -> Vec<u8>| {
        let before = rig.metric(CLOSED);
        let mut client = rig.program.client();
        client.send(&bulk_request(&["MULTI"]).repeat(usize::from(what == "a transaction")));
        // four times the budget; nothing of it is left unread or unsent
        for at in 0..128 {
            if (&client.sender()).write_all(&requests(at)).is_err() {
                break;
            }
            while client.try_reply(Duration::from_millis(20)).is_ok() {}
        }
        wait_for(what, || rig.metric(CLOSED) > before);
    };
    let value = vec![b'v'; MIB as usize];
    closed_after("a transaction", &mut |_| bulk_request(&[b"SET".as_slice(), b"k", &value]));
    let name = "n".repeat(64 << 10);
    closed_after("subscriptions", &mut |at| {
        (0..16).flat_map(|n| bulk_request(&["SUBSCRIBE", &format!("{name}:{at}:{n}")])).collect()
    });
    wait_for("memory to be given back", || rig.metric("ringway_memory_bytes") < MIB as f64);
    assert_eq!(normal.text(&["SET", "k", "v"]), "+OK\r\n");
}

#[test]
fn e2_a_large_command_is_held_once() {
    const LEN: usize = 200 << 20;
    let rig = Rig::start(1, "", &[]);
    let before = rig.memory();
    let mut client = rig.program.client();
    client.send(&set_of("large", LEN));
    assert!(pour(&client.sender(), LEN));
    client.send(b"\r\n*2\r\n$6\r\nSTRLEN\r\n$5\r\nlarge\r\n");
    assert_eq!(client.reply(), b"+OK\r\n");
    assert_eq!(client.text_reply(), format!(":{LEN}\r\n"));
    let grown = rig.memory_peak().saturating_sub(before);
    println!("{} MiB for a command of {} MiB", grown / MIB, LEN as u64 / MIB);
    assert!(grown < (LEN as u64) * 3 / 2, "{} MiB for a command of {} MiB", grown / MIB, LEN as u64 / MIB);
}

#[test]
fn d7_large_commands_between_small_ones_keep_their_bytes_and_their_order() {
    let rig = Rig::start(2, "", &[]);
    let mut client = rig.program.client();
    let value = |at: usize| vec![b'a' + at as u8; [70_000, 300, 2 << 20, 100_000, 5][at % 5]];
    let mut input = Vec::new();
    let mut expected = Vec::new();
    for at in 0..20 {
        let (key, value) = (format!("key:{at}"), value(at));
        input.extend(bulk_request(&[b"SET".as_slice(), key.as_bytes(), &value]));
        input.extend(bulk_request(&["STRLEN", &key]));
        // a typed line that is longer as a frame than what lies beside it
        input.extend(format!("DEL set:{at}\r\nSADD set:{at}{}\r\n", " a b".repeat(10_000)).into_bytes());
        expected.extend(format!("+OK\r\n:{}\r\n:0\r\n:2\r\n", value.len()).into_bytes());
    }
    for piece in [1 << 16, 100_003, 3 << 20] {
        let mut sender = client.sender();
        let input = input.clone();
        let writer = std::thread::spawn(move || {
            for part in input.chunks(piece) {
                sender.write_all(part).expect("it is taken");
                std::thread::yield_now();
            }
        });
        let replies = client.bytes(expected.len());
        // the second time the sets are there
        let replies = String::from_utf8_lossy(&replies).replace(":1\r\n:2\r\n", ":0\r\n:2\r\n");
        assert_eq!(replies, String::from_utf8_lossy(&expected), "in pieces of {piece}");
        writer.join().expect("written");
        for at in [0, 2, 3, 19] {
            let got = client.call(&["GET", &format!("key:{at}")]);
            assert!(got.ends_with(&[value(at), b"\r\n".to_vec()].concat()), "key:{at}");
        }
    }
}

#[test]
fn d5_what_is_announced_costs_no_memory_until_it_comes() {
    const CLIENTS: usize = 1000;
    let announced: [&[u8]; 4] = [
        b"*2147483647\r\n",
        b"*1048576\r\n",
        b"*2\r\n$3\r\nGET\r\n$536870912\r\n",
        b"*1048576\r\n$536870912\r\n",
    ];
    let rig = Rig::start(1, "", &[]);
    let mut clients: Vec<RawClient> = (0..CLIENTS).map(|_| rig.program.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.text(&["ECHO", "x"]), "$1\r\nx\r\n"));
    let before = rig.memory();
    let mut bytes = 0;
    for (at, client) in clients.iter_mut().enumerate() {
        client.send(announced[at % announced.len()]);
        bytes += announced[at % announced.len()].len();
    }
    let read = || rig.program.http().get("/v1/stats").ok()["client_bytes"]["in"].as_u64().expect("a number");
    wait_for("the announcements to be read", || read() >= (bytes + CLIENTS * 21) as u64);
    // 4 KiB each, and what the control plane's answers cost
    rig.grew_at_most(before, CLIENTS as u64 * 4096 + 4 * MIB, "a thousand announcements");
}
