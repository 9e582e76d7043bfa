//! HyperLogLogs that redis-server 7.0.15 stored, and the counts it gave for them.

use super::*;

/// `PFADD few e0 … e4`.
const FEW: &str = "48594c4c010000000000000000000080452580656084430d844fbe8440f48441b1";
/// `PFADD some e3 … e29`.
const SOME: &str = "48594c4c01000000000000000000008042358847428042da84450e8442958440d38043548c406f8043868042ac804164843480418284453d901184425f8c40e48440e180422a8441038446cc88038045d684407984421d8040b48013804152";
/// `PFADD more e20 … e89`.
const MORE: &str = "48594c4c01000000000000000000008036843c8040a9a40e88409084406c9c40e88041358841f28840898041168c419b8040e080409480428084405d8440e1844199844081804085840780404e80408f84098440798441258440d38042638040a28042c98c42c28041cb8440f98c24881180421888407984228041b38840518842138440c184419c8c3a80418b8043478041178441658c414e802680058040598040ec882e88413c884060841b803f80409b80415188408f90407e80408480415f80338440798441ed9040a98040ea882880408c";
/// A key from which all elements are absent.
const EMPTY: &str = "48594c4c0100000000000000000000807fff";
/// `PFADD dense d0 … d4999`, beyond what the sparse form holds.
const DENSE: &[u8] = include_bytes!("../../../testdata/hyperloglog-dense.bin");

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The reply to PFCOUNT over keys with these values.
fn counted(values: &[&[u8]]) -> String {
    let answers: Vec<Vec<u8>> = values
        .iter()
        .map(|value| {
            let mut answer = Vec::new();
            encode::bulk(&mut answer, value);
            answer
        })
        .collect();
    let answers: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
    answered(&answers)
}

fn answered(answers: &[&[u8]]) -> String {
    let mut out = Vec::new();
    count(&mut out, answers).expect("answers in Redis's form");
    String::from_utf8(out).unwrap()
}

#[test]
fn counts_are_those_of_the_server() {
    let (few, some, more, empty) = (bytes(FEW), bytes(SOME), bytes(MORE), bytes(EMPTY));
    for (values, expected) in [
        (&[&few[..]][..], 5),
        (&[&some], 27),
        (&[&more], 70),
        (&[&empty], 0),
        (&[DENSE], 5037),
        (&[&few, &some], 30),
        (&[&some, &more], 87),
        (&[&few, &some, &more], 90),
        (&[DENSE, &empty], 5037),
        (&[DENSE, &few, &more], 5120),
        (&[&few, &more, DENSE, &few], 5120),
    ] {
        assert_eq!(counted(values), format!(":{expected}\r\n"));
    }
    assert_eq!(answered(&[b"$-1\r\n", b"_\r\n"]), ":0\r\n", "missing keys count nothing");
}

#[test]
fn the_first_key_that_is_none_decides_the_error() {
    let refused = |text: &str| format!("-{text}\r\n");
    let few = bytes(FEW);
    let wrong_type = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    let mut unknown_encoding = few.clone();
    unknown_encoding[4] = 2;
    let mut short_dense = DENSE.to_vec();
    short_dense.pop();
    for other in [&b""[..], b"text", b"HYLL", &[b'x'; 100], &few[..15], &unknown_encoding, &short_dense] {
        assert_eq!(counted(&[&few, other]), refused(NOT_ONE), "{other:?}");
    }
    let mut bulk = Vec::new();
    encode::bulk(&mut bulk, b"text");
    assert_eq!(answered(&[&bulk, wrong_type]), refused(NOT_ONE));
    assert_eq!(answered(&[wrong_type, &bulk]), String::from_utf8_lossy(wrong_type));
}

#[test]
fn runs_must_make_up_all_registers() {
    let few = bytes(FEW);
    let with = |body: &[u8]| [&few[..HEADER_BYTES], body].concat();
    for body in [
        &b""[..],
        b"\x7f",
        b"\x7f\xff\x00",
        b"\x7f\xff\x80",
        b"\x7f\xfe",
        b"\x7f\xfe\x83",
        b"\x7f\xfd\x83",
        b"\x7f\xff\x7f\xff",
    ] {
        assert_eq!(counted(&[&with(body)]), format!("-{CORRUPTED}\r\n"), "{body:?}");
    }
    // sixteen times 1024 zeros; the last run is read with the zero behind the string
    let runs = b"\x43\xff".repeat(16);
    assert_eq!(counted(&[&with(&runs)]), ":0\r\n");
    assert_eq!(counted(&[&with(b"\x7f\xfb\x83")]), ":4\r\n");
}

#[test]
fn registers_that_no_hash_leads_to_are_no_panic() {
    for fill in [0xff, 0x55, 0xcc] {
        let mut dense = DENSE.to_vec();
        dense[HEADER_BYTES..].fill(fill);
        assert!(counted(&[&dense]).starts_with(':'));
    }
}

proptest::proptest! {
    #[test]
    fn any_string_has_an_answer(tail: Vec<u8>, encoding in 0..3u8) {
        let stored = [&b"HYLL"[..], &[encoding], &[0; 11], &tail].concat();
        let reply = counted(&[&stored]);
        proptest::prop_assert!(reply.starts_with(':') || reply.starts_with('-'));
    }
}
