//! Scores and weights as text: read as `strtod` reads them, written as Redis 7.0 writes them (`%.17g`).
//!
//! Seventeen digits name every double exactly, so that what is read from a node and written again is the same number.

use std::io::Write;

/// A weight as an argument. The rules of Redis's `string2d`: no space before it, nothing behind it, no NaN, and a number
/// that overflows, or that is too small to be told from 0, is none.
pub(super) fn parse_argument(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let value = parse_hex(hex)?;
        return Some(if text.starts_with('-') { -value } else { value });
    }
    let value: f64 = text.parse().ok().filter(|value: &f64| !value.is_nan())?;
    let is_word = unsigned.starts_with(['i', 'I']);
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    (is_word || value.is_finite() && (value != 0.0 || is_zero)).then_some(value)
}

/// C's hexadecimal form behind its `0x`: `1.8p3` is 12.
fn parse_hex(text: &str) -> Option<f64> {
    let (digits, exponent) = match text.split_once(['p', 'P']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?.clamp(-20_000, 20_000)),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (mut mantissa, mut shift, mut any) = (0u64, 0i32, false);
    for (at, digit) in whole.chars().chain(fraction.chars()).enumerate() {
        let digit = u64::from(digit.to_digit(16)?);
        any = true;
        let behind_point = at >= whole.len();
        if mantissa >> 59 == 0 {
            mantissa = mantissa << 4 | digit;
            shift = shift.saturating_sub(if behind_point { 4 } else { 0 });
        } else {
            // more digits than a double can tell apart: only that there is something counts
            mantissa |= u64::from(digit != 0);
            shift = shift.saturating_add(if behind_point { 0 } else { 4 });
        }
    }
    let scale = exponent.saturating_add(shift).clamp(-40_000, 40_000);
    // in two steps, so that neither power is out of range where the product is not
    let value = mantissa as f64 * 2f64.powi(scale / 2) * 2f64.powi(scale - scale / 2);
    (any && value.is_finite() && (value != 0.0 || mantissa == 0)).then_some(value)
}

/// A score as a node writes it.
pub(super) fn parse_score(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|score: &f64| !score.is_nan())
}

/// Appends a score; `scratch` is memory to work in.
pub(super) fn write_score(out: &mut Vec<u8>, scratch: &mut Vec<u8>, score: f64) {
    if score.is_infinite() {
        return out.extend_from_slice(if score > 0.0 { b"inf" } else { b"-inf" });
    }
    // one digit, a point, sixteen digits, `e`, the exponent
    scratch.clear();
    let _ = write!(scratch, "{:.16e}", score.abs());
    let (mantissa, exponent) = scratch.split_at(scratch.iter().position(|byte| *byte == b'e').unwrap_or(18));
    let exponent: i32 =
        std::str::from_utf8(&exponent[1..]).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut digits = [b'0'; 17];
    digits.iter_mut().zip(mantissa.iter().filter(|byte| **byte != b'.')).for_each(|(to, digit)| *to = *digit);
    let used = digits.iter().rposition(|digit| *digit != b'0').map_or(1, |last| last + 1);
    if score.is_sign_negative() {
        out.push(b'-');
    }
    match exponent {
        -4..=-1 => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
            out.extend_from_slice(&digits[..used]);
        }
        0..=16 => {
            let whole = exponent as usize + 1;
            out.extend_from_slice(&digits[..whole]);
            push_fraction(out, digits.get(whole..used).unwrap_or_default());
        }
        _ => {
            out.push(digits[0]);
            push_fraction(out, &digits[1..used]);
            let _ = write!(out, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
        }
    }
}

fn push_fraction(out: &mut Vec<u8>, digits: &[u8]) {
    if !digits.is_empty() {
        out.push(b'.');
        out.extend_from_slice(digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(score: f64) -> String {
        let mut out = Vec::new();
        write_score(&mut out, &mut Vec::new(), score);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn scores_are_written_as_printf_writes_them() {
        // what printf("%.17g") of glibc 2.36 gives
        for (score, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (0.1, "0.10000000000000001"),
            (3.15, "3.1499999999999999"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (1e100, "1e+100"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (2f64.powi(53) + 2.0, "9007199254740994"),
            // a tie in the seventeenth digit goes to the even one
            (1_234_567_890.0 + 1.0 / 256.0, "1234567890.0039062"),
            (1_234_567_890.0 + 3.0 / 256.0, "1234567890.0117188"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(shown(score), expected);
        }
    }

    #[test]
    fn weights_are_read_as_redis_reads_them() {
        for (text, expected) in [
            ("1", Some(1.0)),
            ("-2.5e-3", Some(-0.0025)),
            ("+.5", Some(0.5)),
            ("5.", Some(5.0)),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("0", Some(0.0)),
            ("0e99", Some(0.0)),
            ("1e-310", Some(1e-310)),
            ("0x1.8p3", Some(12.0)),
            ("-0XA", Some(-10.0)),
            ("0x.8", Some(0.5)),
            ("0x1.00000000000008p0", Some(1.0)),
            ("0x1.000000000000080001p0", Some(1.0 + f64::EPSILON)),
            ("0x123456789abcdef01p4", Some(335_812_727_670_730_321_936.0)),
            ("0x1p-1074", Some(5e-324)),
            ("0x0p9", Some(0.0)),
            ("0x", None),
            ("0x.", None),
            ("0x1p", None),
            ("0x1p5000", None),
            ("0x1p-5000", None),
            ("0xg", None),
            ("1e999", None),
            ("-1e999", None),
            ("1e-999", None),
            ("nan", None),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("1\0", None),
            ("1e", None),
            ("one", None),
        ] {
            let read = parse_argument(text.as_bytes());
            assert_eq!(read.map(f64::to_bits), expected.map(f64::to_bits), "{text:?}: {read:?}");
        }
        assert_eq!(parse_argument(b"\xff"), None);
    }

    proptest::proptest! {
        #[test]
        fn a_score_that_is_written_reads_as_itself(bits: u64) {
            let score = f64::from_bits(bits);
            proptest::prop_assume!(!score.is_nan());
            let read = parse_score(shown(score).as_bytes()).unwrap();
            proptest::prop_assert_eq!(read.to_bits(), bits);
        }
    }
}
