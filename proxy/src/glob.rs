//! Patterns as Redis matches them (`stringmatchlen` of its `util.c`), in time that hostile patterns do not blow up.
//!
//! `*` is any run of bytes, `?` any byte, `[a-c]` and `[^a-c]` a class, `\` takes the next byte as it is. Redis tries a
//! `*` by recursion; since every other element takes exactly one byte, it is enough to come back to the last `*`:
//! the time is at most the product of both lengths, and no stack is used. The oddities are Redis's: a class without its
//! end goes to the end of the pattern, ends of a range may come in any order and compare as signed bytes, a `\` at
//! the end is itself, and no pattern but the empty one matches the empty text.

/// Whether `pattern` matches the whole of `text`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // behind the last `*`, and where in the text what follows it was tried
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if t == text.len() {
            return pattern[p..].iter().all(|byte| *byte == b'*');
        }
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            if p == pattern.len() {
                return true;
            }
            retry = Some((p, t));
            continue;
        }
        if p < pattern.len() {
            let (len, is_match) = element(&pattern[p..], text[t]);
            if is_match {
                p += len;
                t += 1;
                continue;
            }
        }
        let Some((after, tried)) = retry else { return false };
        (p, t) = (after, tried + 1);
        retry = Some((p, t));
    }
}

/// The length of the first element of `pattern`, which is not empty, and whether it takes `byte`.
fn element(pattern: &[u8], byte: u8) -> (usize, bool) {
    match pattern {
        [b'?', ..] => (1, true),
        [b'[', class @ ..] => {
            let (len, is_match) = class_matches(class, byte);
            (1 + len, is_match)
        }
        [b'\\', escaped, ..] => (2, *escaped == byte),
        [plain, ..] => (1, *plain == byte),
        [] => (0, false),
    }
}

/// The length of a class behind its `[`, its `]` included if there is one, and whether it holds `byte`.
fn class_matches(class: &[u8], byte: u8) -> (usize, bool) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at..] {
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [] => break,
            [start, b'-', end, ..] => {
                let (start, end, byte) = (*start as i8, *end as i8, byte as i8);
                found |= (start.min(end)..=start.max(end)).contains(&byte);
                at += 3;
            }
            [plain, ..] => {
                found |= *plain == byte;
                at += 1;
            }
        }
    }
    (at, found != negated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn elements_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("news.*", "news.art", true),
            ("news.*", "news.", true),
            ("news.*", "news", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hello", false),
            ("a\\", "a\\", true),
            ("[abc", "c", true),
            ("[", "[", false),
            ("[^", "x", true),
            ("[]", "]", false),
            ("[a-]", "a", true),
            ("[\\]]", "]", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxbxxa", false),
            ("**", "x", true),
            ("*", "", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = [&b"*a".repeat(200)[..], b"b"].concat();
        let text = vec![b'a'; 20_000];
        let begun = Instant::now();
        assert!(!matches(&pattern, &text));
        // exponential would be for ever; the product of the lengths is some milliseconds
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
