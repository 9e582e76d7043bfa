//! Whatever nodes answer to the parts of a split command, joining them ends in one whole reply.
//! `make fuzz TARGET=join`

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_proxy::bench::Joiner;
use ringway_proxy::resp::reply::reply_len;

fuzz_target!(|data: &[u8]| {
    // the first bytes assign keys to three nodes, then each node's reply up to the next zero byte
    let Some((&count, rest)) = data.split_first() else { return };
    let (assignment, rest) = rest.split_at(rest.len().min(usize::from(count % 32)));
    let assignment: Vec<u16> = assignment.iter().map(|part| u16::from(part % 3)).collect();
    let replies: Vec<&[u8]> = rest.split(|byte| *byte == 0).take(3).collect();
    let whole = |reply: &&[u8]| reply_len(reply) == Some(reply.len());
    if replies.len() < 3 || !replies.iter().all(whole) {
        return;
    }
    let mut joiner = Joiner::default();
    let joined = joiner.values(&assignment, &replies).to_vec();
    assert_eq!(reply_len(&joined), Some(joined.len()), "{joined:?}");
});
