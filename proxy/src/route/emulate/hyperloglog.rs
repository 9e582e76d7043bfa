//! PFCOUNT over several keys: the registers of HyperLogLogs as Redis stores them, and Redis's estimate.
//!
//! ```text
//!   "HYLL" │ encoding │ 3 unused │ 8 cached count │ registers: 16384 of 6 bits (dense), or runs of them (sparse)
//! ```
//! The merged registers hold the greater value of each; the estimate is Ertl's ("New cardinality estimation algorithms
//! for HyperLogLog sketches", arXiv:1702.01284), step by step as Redis computes it, so that it is the same number.

use crate::resp::{encode, reply};

use super::pass_error;

/// Bits of the hash that choose the register.
const REGISTERS: usize = 1 << 14;
/// The greatest value that a register takes, less one: the other bits of the hash.
const Q: usize = 50;
const HEADER_BYTES: usize = 16;
const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * 6 / 8;
/// 1 / (2 ln 2).
const ALPHA_INF: f64 = 0.721_347_520_444_481_7;

const NOT_ONE: &str = "WRONGTYPE Key is not a valid HyperLogLog string value.";
const CORRUPTED: &str = "INVALIDOBJ Corrupted HLL object detected";

/// Appends the reply to PFCOUNT; the answers are those to GET, in the order of the keys, which decides the error.
pub(super) fn count(out: &mut Vec<u8>, answers: &[&[u8]]) -> Option<()> {
    let mut registers = [0u8; REGISTERS];
    for answer in answers {
        if answer.first() == Some(&b'-') {
            pass_error(out, answer);
            return Some(());
        }
        if reply::is_nil(answer) {
            continue;
        }
        if let Err(text) = merge(&mut registers, reply::bulk(answer)?) {
            encode::error(out, text);
            return Some(());
        }
    }
    encode::integer(out, estimate(&registers));
    Some(())
}

/// Raises the registers to those of one stored HyperLogLog.
fn merge(registers: &mut [u8; REGISTERS], stored: &[u8]) -> Result<(), &'static str> {
    let body = stored.get(HEADER_BYTES..).filter(|_| stored.starts_with(b"HYLL")).ok_or(NOT_ONE)?;
    match stored[4] {
        0 if stored.len() == DENSE_BYTES => {
            merge_dense(registers, body);
            Ok(())
        }
        1 => merge_sparse(registers, body).ok_or(CORRUPTED),
        _ => Err(NOT_ONE),
    }
}

/// Four registers lie in three bytes, the lowest bits first.
fn merge_dense(registers: &mut [u8; REGISTERS], body: &[u8]) {
    for (four, three) in registers.chunks_exact_mut(4).zip(body.chunks_exact(3)) {
        let bits = u32::from_le_bytes([three[0], three[1], three[2], 0]);
        for (at, register) in four.iter_mut().enumerate() {
            *register = (*register).max((bits >> (6 * at)) as u8 & 63);
        }
    }
}

/// Runs of equal registers: `00nnnnnn` and `01nnnnnn nnnnnnnn` are n + 1 zeros, `1vvvvvnn` is n + 1 times v + 1.
/// `None` unless the runs make up all registers.
fn merge_sparse(registers: &mut [u8; REGISTERS], body: &[u8]) -> Option<()> {
    let mut at = 0;
    let mut bytes = body.iter().copied();
    while let Some(byte) = bytes.next() {
        let run = match byte >> 6 {
            0 => usize::from(byte & 63) + 1,
            // Redis reads the zero behind a string that ends here
            1 => (usize::from(byte & 63) << 8 | usize::from(bytes.next().unwrap_or(0))) + 1,
            _ => {
                let run = usize::from(byte & 3) + 1;
                let value = (byte >> 2 & 31) + 1;
                for register in registers.get_mut(at..at + run)? {
                    *register = (*register).max(value);
                }
                run
            }
        };
        at += run;
        if at > REGISTERS {
            return None;
        }
    }
    (at == REGISTERS).then_some(())
}

fn estimate(registers: &[u8; REGISTERS]) -> i64 {
    // a register of a stored string may hold up to 63, though no hash leads there
    let mut histogram = [0u32; 64];
    registers.iter().for_each(|register| histogram[usize::from(*register)] += 1);
    let m = REGISTERS as f64;
    let mut z = m * tau((m - f64::from(histogram[Q + 1])) / m);
    for count in histogram[1..=Q].iter().rev() {
        z += f64::from(*count);
        z *= 0.5;
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    (ALPHA_INF * m * m / z).round() as i64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
#[path = "hyperloglog_tests.rs"]
mod tests;
