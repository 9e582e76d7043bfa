//! Redis's patterns: `*`, `?`, `[a-z]`, `[^a-z]`, `\x`.

/// Whether large and small letters are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// As in the names of commands.
    Ignored,
    /// As in keys and channels.
    Matters,
}

impl Case {
    fn fold(self, byte: u8) -> u8 {
        match self {
            Case::Ignored => byte.to_ascii_lowercase(),
            Case::Matters => byte,
        }
    }
}

/// Whether the pattern matches the whole text. At most pattern times text steps, because only the last `*` is ever tried
/// again.
pub(crate) fn matches(mut pattern: &[u8], mut text: &[u8], case: Case) -> bool {
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            retry = Some((rest, text));
            pattern = rest;
            continue;
        }
        match (step(pattern, text.first().copied(), case), text) {
            (Some(rest), [_, after @ ..]) => (pattern, text) = (rest, after),
            _ if pattern.is_empty() && text.is_empty() => return true,
            _ => match retry {
                Some((rest, [_, after @ ..])) => {
                    retry = Some((rest, after));
                    (pattern, text) = (rest, after);
                }
                _ => return false,
            },
        }
    }
}

/// The pattern behind the element that matches this byte, if it does.
fn step(pattern: &[u8], byte: Option<u8>, case: Case) -> Option<&[u8]> {
    let byte = byte?;
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', class @ ..] => class_step(class, byte, case),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
            (case.fold(*literal) == case.fold(byte)).then_some(rest)
        }
        [] => None,
    }
}

/// The pattern behind a `[…]`; a class that is never closed ends with the pattern.
fn class_step(class: &[u8], byte: u8, case: Case) -> Option<&[u8]> {
    let (negated, mut class) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let byte = case.fold(byte);
    let mut found = false;
    loop {
        class = match class {
            [b'\\', literal, rest @ ..] => {
                found |= case.fold(*literal) == byte;
                rest
            }
            [b']', rest @ ..] => return (found != negated).then_some(rest),
            [low, b'-', high, rest @ ..] => {
                let (low, high) = (case.fold(*low), case.fold(*high));
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                found |= case.fold(*literal) == byte;
                rest
            }
            [] => return (found != negated).then_some(class),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glob() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "a", false),
            ("x*", "xgroup|create", true),
            ("*|C*", "xgroup|create", true),
            ("*get", "mget", true),
            ("*get", "mgetx", false),
            ("h?et", "hget", true),
            ("[hm]get", "mget", true),
            ("[^h]get", "hget", false),
            ("[A-N]get", "mget", true),
            ("\\*", "*", true),
            ("[a", "a", true),
            ("a**b*c", "aXbYbc", true),
            ("?", "", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes(), Case::Ignored),
                expected,
                "{pattern} {text}"
            );
        }
        assert!(!matches("a*".repeat(200).as_bytes(), &[b'a'; 150], Case::Matters));
    }
}
