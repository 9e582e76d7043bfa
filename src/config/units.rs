//! Durations (`500ms`, `1s`, `2m`) and sizes (`64KiB`, `1MiB`) as text and back.

use std::time::Duration;

/// Reads `500ms`, `1s`, `2m` or `1h`.
///
/// # Errors
/// What is wrong, and the mend.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" if !number.is_empty() => return Err(format!("has no unit; write {number}ms or {number}s")),
        _ => return Err("is not a duration; write for example 500ms, 1s or 2m".to_owned()),
    };
    let number: u64 =
        number.parse().map_err(|_| "is not a duration; write a whole number and ms, s, m or h".to_owned())?;
    let millis = number.checked_mul(millis_per_unit).ok_or_else(|| "is far too long".to_owned())?;
    Ok(Duration::from_millis(millis))
}

/// Reads a number of bytes: `4096`, `64KiB`, `1MiB` or `1GiB`.
///
/// # Errors
/// What is wrong, and the mend.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "K" | "k" | "KB" | "kB" | "kb" | "kib" => {
            return Err(format!("has an unclear unit; write {number}KiB"));
        }
        "M" | "m" | "MB" | "mb" | "mib" => return Err(format!("has an unclear unit; write {number}MiB")),
        "G" | "g" | "GB" | "gb" | "gib" => return Err(format!("has an unclear unit; write {number}GiB")),
        _ => return Err("is not a size; write for example 64KiB, 1MiB or 4096".to_owned()),
    };
    let number: u64 =
        number.parse().map_err(|_| "is not a size; write a whole number and KiB, MiB or GiB".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "is far too large".to_owned())
}

/// Writes a duration in the largest unit that holds it exactly.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if millis > 0 && millis.is_multiple_of(length) {
            return format!("{}{unit}", millis / length);
        }
    }
    format!("{millis}ms")
}

/// Writes a size in the largest unit that holds it exactly.
pub(crate) fn show_bytes(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_there_and_back() {
        for (text, millis) in
            [("500ms", 500), ("1s", 1000), ("2m", 120_000), ("1h", 3_600_000), ("90s", 90_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(
                duration(&show_duration(Duration::from_millis(millis))),
                Ok(Duration::from_millis(millis))
            );
        }
        assert_eq!(show_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(show_duration(Duration::ZERO), "0ms");
    }

    #[test]
    fn wrong_durations_name_the_mend() {
        assert!(duration("500").unwrap_err().contains("500ms"));
        for wrong in ["", "fast", "1.5s", "-1s", "1d", "ms", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes_there_and_back() {
        for (text, size) in
            [("4096", 4096), ("64KiB", 65_536), ("1MiB", 1 << 20), ("3GiB", 3 << 30), ("5B", 5)]
        {
            assert_eq!(bytes(text), Ok(size), "{text}");
            assert_eq!(bytes(&show_bytes(size)), Ok(size));
        }
    }

    #[test]
    fn wrong_sizes_name_the_mend() {
        assert!(bytes("64KB").unwrap_err().contains("64KiB"));
        for wrong in
            ["", "big", "1.5MiB", "-1", "1TiB", "KiB", "99999999999999999999", "18446744073709551615GiB"]
        {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
    }
}
