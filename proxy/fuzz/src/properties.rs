//! What must hold for any bytes: one function per fuzz target, which panics when it does not.
//!
//! Shared by the libFuzzer targets and by the smoke test on a stable compiler (`proxy/tests/fuzz_smoke.rs`).

use ringway_proxy::command;
use ringway_proxy::resp::reply::{ReplyScan, ReplyScanner, elements, reply_len};
use ringway_proxy::resp::request::{RequestBounds, RequestScanner, Scan};
use ringway_proxy::resp::{Args, encode, inline};

/// The first bytes of an input say how the rest is cut into pieces; returns where the pieces end, the whole last.
fn pieces(data: &[u8]) -> (&[u8], Vec<usize>) {
    let (cuts, stream) = data.split_at(data.len().min(4));
    let mut ends: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut) * stream.len() / 255).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    (stream, ends)
}

type Found = (Vec<Vec<Vec<u8>>>, Option<String>);

fn cut_requests(stream: &[u8], ends: &[usize], authenticated: bool) -> Found {
    let bounds = RequestBounds { authenticated, command_bytes: 1 << 16 };
    let (mut found, mut spans) = (Vec::new(), Vec::new());
    let (mut scanner, mut start) = (RequestScanner::default(), 0);
    for &end in ends {
        while start < end {
            match scanner.scan(&stream[start..end], bounds, &mut spans) {
                Ok(Scan::Request(len)) => {
                    assert!(len > 0 && start + len <= end);
                    let args = Args::new(&stream[start..start + len], &spans);
                    found.push(args.iter().map(<[u8]>::to_vec).collect());
                    start += len;
                }
                Ok(Scan::Inline(len)) => {
                    match inline::split(&stream[start..start + len]) {
                        Ok(words) => found.push(words),
                        Err(error) => return (found, Some(error.to_string())),
                    }
                    start += len;
                }
                Ok(Scan::Nothing(len)) => start += len,
                Ok(Scan::Incomplete) => break,
                Err(error) => {
                    // what a client is told stays one line
                    let mut line = Vec::new();
                    error.write_reply(&mut line);
                    assert!(
                        line.starts_with(b"-") && line.iter().filter(|byte| **byte == b'\n').count() == 1
                    );
                    return (found, Some(error.to_string()));
                }
            }
        }
    }
    (found, None)
}

/// Commands do not depend on how their bytes arrive (law I10), and what was found is found again once encoded.
pub fn requests(data: &[u8]) {
    let (stream, ends) = pieces(data);
    for authenticated in [true, false] {
        let whole = cut_requests(stream, &[stream.len()], authenticated);
        assert_eq!(whole, cut_requests(stream, &ends, authenticated));
    }
    let (found, _) = cut_requests(stream, &[stream.len()], true);
    let mut encoded = Vec::new();
    let spoken: Vec<Vec<Vec<u8>>> = found.into_iter().filter(|words| !words.is_empty()).collect();
    for words in &spoken {
        encode::array(&mut encoded, words.len());
        words.iter().for_each(|word| encode::bulk(&mut encoded, word));
    }
    assert_eq!(cut_requests(&encoded, &[encoded.len()], true), (spoken, None));
}

fn cut_replies(stream: &[u8], ends: &[usize]) -> (Vec<usize>, bool) {
    let (mut found, mut scanner) = (Vec::new(), ReplyScanner::default());
    let (mut begin, mut used) = (0, 0);
    for &end in ends {
        while used < end {
            match scanner.scan(&stream[used..end]) {
                Ok(ReplyScan::Complete(len)) => {
                    assert!(len > 0 && used + len <= end);
                    found.push(used + len - begin);
                    used += len;
                    begin = used;
                }
                Ok(ReplyScan::Partial(len)) => {
                    assert!(used + len <= end);
                    used += len;
                    break;
                }
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

/// Replies do not depend on how their bytes arrive, and their elements lie inside them.
pub fn replies(data: &[u8]) {
    let (stream, ends) = pieces(data);
    let (lengths, failed) = cut_replies(stream, &[stream.len()]);
    assert_eq!((lengths.clone(), failed), cut_replies(stream, &ends));
    let mut start = 0;
    for len in lengths {
        let reply = &stream[start..start + len];
        assert_eq!(reply_len(reply), Some(len));
        if let Some(elements) = elements(reply) {
            let all: usize = elements.map(<[u8]>::len).sum();
            assert!(all < len);
        }
        start += len;
    }
}

/// Typed lines: no panic, and what was split is split alike once encoded as a request.
pub fn inline(data: &[u8]) {
    let Ok(words) = inline::split(data) else { return };
    let _ = inline::is_http(&words);
    if words.is_empty() {
        return;
    }
    let mut frame = Vec::new();
    inline::encode_request(&words, &mut frame);
    assert_eq!(cut_requests(&frame, &[frame.len()], true), (vec![words], None));
}

/// Any request can be resolved and its keys be found or refused; positions lie inside it.
pub fn keys(data: &[u8]) {
    // a word per line: the fuzzer finds commands faster without counting bytes
    let words: Vec<&[u8]> = data.split(|byte| *byte == b'\n').take(200).collect();
    let mut frame = Vec::new();
    encode::array(&mut frame, words.len());
    words.iter().for_each(|word| encode::bulk(&mut frame, word));
    let bounds = RequestBounds { authenticated: true, command_bytes: usize::MAX };
    let mut spans = Vec::new();
    let scanned = RequestScanner::default().scan(&frame, bounds, &mut spans);
    assert_eq!(scanned, Ok(Scan::Request(frame.len())));
    let args = Args::new(&frame, &spans);
    match command::resolve(&args) {
        Ok(found) => {
            let _ = command::blocks(found, &args);
            let mut positions = Vec::new();
            if command::key_positions(found, &args, &mut positions).is_ok() {
                assert!(positions.iter().all(|at| (*at as usize) < args.len() && *at > 0));
            }
        }
        Err(error) => {
            let mut line = Vec::new();
            error.write_reply(&mut line);
            assert!(line.starts_with(b"-") && line.len() < 1024);
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
    }
}
