//! Replies that are too long to be gathered: they pass through little memory, and when one breaks off nobody takes a
//! part of it for the whole.

use std::io::Read;
use std::time::Duration;

use ringway_proxy::settings::{NodeSpec, Settings};

use crate::support::frame::{bulk, bulk_request};
use crate::support::harness::patient;
use crate::support::rig::{MIB, Rig};
use crate::support::{Act, FakeRedis, Harness, NoReply, wait_for};

/// Reads a reply of `len` bytes as fast as it comes; answers by how much the proxy's resident memory grew at most.
fn growth(rig: &Rig, command: &[&str], len: usize) -> u64 {
    let mut client = rig.program.client();
    let mut stream = client.sender();
    let mut chunk = vec![0; 1 << 20];
    let mut most = 0;
    // the first time the worker's own buffers come to be what they are
    for round in 0..2 {
        let before = rig.memory();
        most = 0;
        client.send_command(command);
        let (mut left, mut reads) = (len, 0);
        while left > 0 {
            let read = stream.read(&mut chunk).expect("the reply goes on");
            assert!(read > 0, "it closed {left} bytes before the end of round {round}");
            left = left.checked_sub(read).expect("no byte beyond the end");
            reads += 1;
            if reads % 64 == 0 {
                most = most.max(rig.memory().saturating_sub(before));
            }
        }
        most = most.max(rig.memory().saturating_sub(before));
    }
    assert_eq!(client.text(&["ECHO", "next"]), "$4\r\nnext\r\n");
    most
}

/// More than is ever seen.
const ALLOWED: u64 = 2 * MIB;

#[test]
fn b6_a_reply_of_512_mib_is_streamed() {
    const LEN: usize = 512 << 20;
    let rig = Rig::start(1, "", &[]);
    let _: usize = rig.servers[0].call(&["SETRANGE", "huge", &(LEN - 1).to_string(), "x"]);
    let most = growth(&rig, &["GET", "huge"], format!("${LEN}\r\n").len() + LEN + 2);
    println!("b6: {} KiB more while a GET of 512 MiB passed", most / 1024);
    assert!(most <= ALLOWED, "{} KiB more", most / 1024);
}

#[test]
fn b6_an_array_of_a_million_elements_is_streamed() {
    let rig = Rig::start(1, "", &[]);
    let fill = "for i = 1, 1000 do redis.call('RPUSH', KEYS[1], unpack(ARGV)) end return redis.call('LLEN', KEYS[1])";
    let mut command = vec!["EVAL", fill, "1", "list"];
    command.extend(std::iter::repeat_n("an element", 1000));
    let filled: usize = rig.servers[0].call(&command);
    assert_eq!(filled, 1_000_000);
    let most = growth(
        &rig,
        &["LRANGE", "list", "0", "-1"],
        "*1000000\r\n".len() + 1_000_000 * bulk(b"an element").len(),
    );
    println!("b6: {} KiB more while an LRANGE of a million elements passed", most / 1024);
    assert!(most <= ALLOWED, "{} KiB more", most / 1024);
}

/// A long reply is passed on before its end is there. When it is cut, the client sees either UNKNOWN in its place, if
/// nothing was passed on, or a beginning of it and the end of the connection; never anything behind the beginning.
#[test]
fn b1_a_long_reply_that_is_cut_ends_the_connection() {
    let value = bulk(&vec![b'v'; 300_000]);
    let array = [b"*40\r\n".to_vec(), bulk(&vec![b'e'; 10_000]).repeat(40)].concat();
    let cases = [value, array].into_iter().flat_map(|reply| {
        let cuts = [1, 9, 65_536, 65_540, 70_001, 131_072, 250_000, reply.len() - 1];
        let ends = cuts.into_iter().flat_map(|cut| [(cut, false), (cut, true)]);
        ends.map(|(cut, reset)| (reply.clone(), cut, reset)).collect::<Vec<_>>()
    });
    for (reply, cut, reset) in cases {
        let piece = reply[..cut].to_vec();
        let node = FakeRedis::start(move |seen| match &*seen.name() {
            "TTL" => vec![Act::text(":-2\r\n")],
            _ => vec![
                Act::Send(piece.clone()),
                Act::Wait(Duration::from_millis(20)),
                if reset { Act::Reset } else { Act::Finish },
            ],
        });
        let mut settings: Settings = patient(vec![NodeSpec::new("cut", node.address())]);
        settings.threads = 1;
        let harness = Harness::start(settings);
        let (mut client, mut neighbour) = (harness.client(), harness.client());
        wait_for("the node to be connected", || client.call(&["TTL", "k"]) == b":-2\r\n");
        let what = format!("cut at {cut} of {} by {}", reply.len(), if reset { "RST" } else { "FIN" });
        client.send(&[bulk_request(&["GETDEL", "k"]), bulk_request(&["ECHO", "next"])].concat());
        match client.try_reply(Duration::from_secs(20)) {
            Ok(said) => {
                assert!(
                    said.starts_with(b"-UNKNOWN node 'cut'"),
                    "{what}: {}",
                    said[..said.len().min(80)].escape_ascii()
                );
                assert_eq!(client.text_reply(), "$4\r\nnext\r\n", "{what}");
            }
            Err(NoReply::Closed(said)) => {
                assert!(
                    said.len() <= cut && reply.starts_with(&said),
                    "{what}: {} bytes that are not its",
                    said.len()
                );
            }
            Err(NoReply::Silent(said)) => panic!("{what}: silent after {} bytes", said.len()),
        }
        assert_eq!(neighbour.text(&["ECHO", "mine"]), "$4\r\nmine\r\n", "{what}");
        wait_for("the node to be used again", || neighbour.call(&["TTL", "k"]) == b":-2\r\n");
    }
}
