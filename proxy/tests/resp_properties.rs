//! Properties of the RESP scanners: what they find does not depend on how the bytes arrive (law I10), and no byte
//! string makes them panic or lose their place.

use proptest::prelude::*;
use ringway_proxy::resp::reply::{ReplyScan, ReplyScanner};
use ringway_proxy::resp::request::{RequestBounds, RequestScanner, Scan};
use ringway_proxy::resp::{Args, encode, inline};

const BOUNDS: RequestBounds = RequestBounds { authenticated: true, command_bytes: 1 << 20 };

/// Everything that can be cut from a stream that arrives in pieces ending at `ends`: the arguments of each request,
/// and the error if there is one.
fn requests(stream: &[u8], ends: &[usize]) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
    let (mut found, mut spans) = (Vec::new(), Vec::new());
    let (mut scanner, mut start) = (RequestScanner::default(), 0);
    for &end in ends {
        while start < end {
            match scanner.scan(&stream[start..end], BOUNDS, &mut spans) {
                Ok(Scan::Request(len)) => {
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
                Err(error) => return (found, Some(error.to_string())),
            }
        }
    }
    (found, None)
}

/// Lengths of the replies in a stream that arrives in pieces, and whether it ended in an error.
fn replies(stream: &[u8], ends: &[usize]) -> (Vec<usize>, bool) {
    let (mut found, mut scanner) = (Vec::new(), ReplyScanner::default());
    let (mut begin, mut used) = (0, 0);
    for &end in ends {
        while used < end {
            match scanner.scan(&stream[used..end]) {
                Ok(ReplyScan::Complete(len)) => {
                    found.push(used + len - begin);
                    used += len;
                    begin = used;
                }
                Ok(ReplyScan::Partial(len)) => {
                    used += len;
                    break;
                }
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

/// Where the pieces end: sorted, the whole last.
fn ends(len: usize, cuts: &[prop::sample::Index]) -> Vec<usize> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    ends.push(len);
    ends.sort_unstable();
    ends
}

/// Bytes that look like RESP often enough to reach every branch.
fn resp_like() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"*2\r\n".to_vec()),
        Just(b"*0\r\n".to_vec()),
        Just(b"*-1\r\n".to_vec()),
        Just(b"$3\r\nGET\r\n".to_vec()),
        Just(b"$0\r\n\r\n".to_vec()),
        Just(b"$-1\r\n".to_vec()),
        Just(b"%1\r\n".to_vec()),
        Just(b"~1\r\n".to_vec()),
        Just(b"|1\r\n".to_vec()),
        Just(b"+OK\r\n".to_vec()),
        Just(b"-ERR x\r\n".to_vec()),
        Just(b":42\r\n".to_vec()),
        Just(b"_\r\n".to_vec()),
        Just(b",1.5\r\n".to_vec()),
        Just(b"PING \"a b\"\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
        (0u32..40, prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(len, body)| { [format!("${len}\r\n").as_bytes(), &body, b"\r\n"].concat() }),
    ];
    prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn d7_requests_do_not_depend_on_the_pieces_they_come_in(
        stream in resp_like(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        prop_assert_eq!(requests(&stream, &[stream.len()]), requests(&stream, &ends(stream.len(), &cuts)));
    }

    #[test]
    fn b2_replies_do_not_depend_on_the_pieces_they_come_in(
        stream in resp_like(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        prop_assert_eq!(replies(&stream, &[stream.len()]), replies(&stream, &ends(stream.len(), &cuts)));
    }

    #[test]
    fn what_is_encoded_is_found_again(
        commands in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..6), 0..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut stream = Vec::new();
        for command in &commands {
            encode::array(&mut stream, command.len());
            command.iter().for_each(|argument| encode::bulk(&mut stream, argument));
        }
        prop_assert_eq!(requests(&stream, &ends(stream.len(), &cuts)), (commands, None));
    }
}
