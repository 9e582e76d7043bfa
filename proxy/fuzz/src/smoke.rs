//! Random changes of a committed corpus on a stable compiler: what `make test` tries of every fuzz target.
//!
//! `RINGWAY_FUZZ_SECONDS` says how long each target runs, `RINGWAY_SEED` where it searches: without it always in the same
//! place, so that a change is not judged by luck. `make fuzz` searches on with libFuzzer, which sees what is covered. A
//! failure prints the input; add it to the corpus.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// What is put into inputs beside bytes of other inputs.
const TOKENS: [&[u8]; 28] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"*",
    b"$",
    b"-1",
    b"0",
    b"1",
    b"2147483648",
    b"512",
    b"$-1\r\n",
    b"*0\r\n",
    b"*2\r\n",
    b"%1\r\n",
    b"\"",
    b"'",
    b"\\x0",
    b"STREAMS",
    b"KEYS",
    b"\0",
    b": ",
    b"\n  - ",
    b"\n  ",
    b"{",
    b"]",
    b"&a",
    b"*a",
    b"1024GiB",
];

/// xorshift64*: good enough to change bytes.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound.max(1)
    }
}

fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(6) {
        0 if at < input.len() => input[at] = random.below(256) as u8,
        1 if at < input.len() => input[at] ^= 1 << random.below(8),
        2 => drop(input.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
        3 => {
            let end = at + random.below(input.len() - at + 1).min(40);
            input.drain(at..end);
        }
        4 => {
            let from = random.below(other.len() + 1);
            let to = from + random.below(other.len() - from + 1);
            input.splice(at..at, other[from..to].iter().copied());
        }
        _ => {
            let end = at + random.below(input.len() - at + 1).min(64);
            let copy = input[at..end].to_vec();
            input.splice(at..at, copy);
        }
    }
    input.truncate(4096);
}

/// Tries the corpus of a target, then changes of it for a while. The corpus lies in `fuzz/corpus` of the crate.
pub fn fuzz(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut corpus: Vec<Vec<u8>> = fs::read_dir(&folder)
        .expect("the corpus is committed")
        .map(|entry| fs::read(entry.expect("an entry").path()).expect("readable"))
        .collect();
    corpus.sort();
    assert!(corpus.len() > 3, "no corpus in {}", folder.display());
    let seconds = std::env::var("RINGWAY_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let seed: u64 = std::env::var("RINGWAY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (mut random, end) = (Random(seed.max(1)), Instant::now() + Duration::from_secs(seconds));
    let check = |input: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| property(input))).is_err() {
            panic!("{target} fails for \"{}\"", input.escape_ascii());
        }
    };
    corpus.iter().for_each(|input| check(input));
    let mut tried = 0u64;
    while Instant::now() < end {
        let (one, other) = (random.below(corpus.len()), random.below(corpus.len()));
        let mut input = corpus[one].clone();
        for _ in 0..1 + random.below(8) {
            change(&mut input, &corpus[other], &mut random);
        }
        check(&input);
        tried += 1;
    }
    println!("{target}: {tried} inputs");
}
