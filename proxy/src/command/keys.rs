//! Where the keys of a request are: the same positions in the same order as Redis's `COMMAND GETKEYS`.
//!
//! Where GETKEYS misses a key that the command would use, the command is right, because it decides where data land:
//! options of SORT and XREADGROUP are read as the command reads them when it runs (`SORT a STORE get STORE c` writes
//! `c`, a consumer may be called `streams`), and of several STOREs of GEORADIUS the last is a key too. As in Redis, a
//! NUL ends an option word.
//!
//! Everything that makes the keys unknown is an error with the text the server would give; no frame is forwarded on a
//! guess (no silently wrong node).

use super::key_error::KeyError;
use super::learned;
use super::row::{Command, Keys, NumKeysRule};
use crate::resp::Args;

/// Puts the argument indexes of all keys into `out`, which is cleared first.
///
/// Fails with the text the server itself would answer where no key can be told (`out` is empty then) or keys and
/// values do not pair up. Other errors in a request are left to the node, which is known by at least one key. The
/// patterns of SORT are no keys: see [`sort_patterns`].
#[inline]
pub fn key_positions(command: &Command, args: &Args, out: &mut Vec<u32>) -> Result<(), KeyError> {
    out.clear();
    match command.keys {
        Keys::None | Keys::Channels { .. } => Ok(()),
        Keys::One(at) => {
            push_range(at, at, 1, out);
            Ok(())
        }
        Keys::Range { first, last, step } => {
            push_range(first, from_end(last, args.len()), step, out);
            let paired = args.len().saturating_sub(first) % step == 0;
            if paired { Ok(()) } else { Err(KeyError::Arity(command.full_name)) }
        }
        _ => movable_positions(command, args, out),
    }
}

/// Whether this request waits for data: a blocking command, or XREAD and XREADGROUP with BLOCK.
pub fn blocks(command: &Command, args: &Args) -> bool {
    match command.keys {
        Keys::Streams { .. } => StreamOptions::read(args).timeout.is_some(),
        _ => command.flags.contains(super::Flags::BLOCKING),
    }
}

/// Index of the argument that says how long a request waits, if it waits: milliseconds for XREAD and XREADGROUP,
/// seconds for all others. `None` also where nobody knows.
pub fn timeout_position(command: &Command, args: &Args) -> Option<usize> {
    match command.keys {
        Keys::Streams { .. } => StreamOptions::read(args).timeout,
        _ if !command.flags.contains(super::Flags::BLOCKING) => None,
        Keys::NumKeys { .. } => Some(1),
        // nodes tell where the keys are, not where the time is
        Keys::Specs(_) => None,
        _ => args.len().checked_sub(1),
    }
}

fn movable_positions(command: &Command, args: &Args, out: &mut Vec<u32>) -> Result<(), KeyError> {
    match command.keys {
        Keys::NumKeys { at, destination, rule } => {
            let count = rule.check(command, args, at)?;
            if destination {
                out.push(1);
            }
            push_range(at + 1, at + count, 1, out);
            Ok(())
        }
        Keys::Streams { .. } => stream_keys(args, out),
        Keys::Sort { store } => {
            sort_keys(args, store, out);
            Ok(())
        }
        Keys::Specs(specs) => learned::positions(specs, args, out),
        Keys::GeoRadius { options } => {
            out.push(1);
            push_destinations(args, options, out);
            Ok(())
        }
        Keys::Move => {
            push_range(1, 1, 1, out);
            Ok(())
        }
        Keys::Copy => {
            push_range(1, 2, 1, out);
            Ok(())
        }
        Keys::Migrate => migrate_keys(args, out),
        Keys::None | Keys::One(_) | Keys::Range { .. } | Keys::Channels { .. } => Ok(()),
    }
}

/// Index `last`, counted from the end when negative.
fn from_end(last: isize, len: usize) -> usize {
    if last >= 0 { last as usize } else { len.saturating_sub(last.unsigned_abs()) }
}

#[inline]
fn push_range(first: usize, last: usize, step: usize, out: &mut Vec<u32>) {
    let mut at = first;
    while at <= last {
        out.push(at as u32);
        at += step;
    }
}

/// Whether an argument is this option, as C code compares it: any case, and a NUL ends the word.
pub(crate) fn is_word(arg: &[u8], word: &str) -> bool {
    let end = word.len();
    match arg.get(..end) {
        Some(head) => {
            head.eq_ignore_ascii_case(word.as_bytes()) && arg.get(end).is_none_or(|byte| *byte == 0)
        }
        None => false,
    }
}

fn arg_is(args: &Args, index: usize, word: &str) -> bool {
    args.get(index).is_some_and(|arg| is_word(arg, word))
}

// ---- a number of keys ------------------------------------------------------------------------------------------

impl NumKeysRule {
    /// The number of keys at argument `at`, when that many follow.
    fn check(self, command: &Command, args: &Args, at: usize) -> Result<usize, KeyError> {
        let number = integer(args.get(at).unwrap_or_default());
        let following = args.len().saturating_sub(at + 1);
        let least = if matches!(self, NumKeysRule::Script | NumKeysRule::Function) { 0 } else { 1 };
        match number {
            Some(number) if number < least => Err(self.too_few(command)),
            Some(number) => match usize::try_from(number) {
                Ok(count) if count <= following => Ok(count),
                _ => Err(self.too_many()),
            },
            None => Err(self.not_a_number()),
        }
    }

    fn not_a_number(self) -> KeyError {
        match self {
            NumKeysRule::Script | NumKeysRule::SortedSets => KeyError::NotAnInteger,
            NumKeysRule::Function => KeyError::BadNumber,
            NumKeysRule::Pop | NumKeysRule::Sets => KeyError::NotPositive,
        }
    }

    fn too_few(self, command: &Command) -> KeyError {
        match self {
            NumKeysRule::Script | NumKeysRule::Function => KeyError::Negative,
            NumKeysRule::SortedSets => KeyError::NoInputKey(command.full_name),
            NumKeysRule::Pop | NumKeysRule::Sets => KeyError::NotPositive,
        }
    }

    fn too_many(self) -> KeyError {
        match self {
            NumKeysRule::Script | NumKeysRule::Function | NumKeysRule::Sets => KeyError::TooMany,
            NumKeysRule::SortedSets | NumKeysRule::Pop => KeyError::Syntax,
        }
    }
}

/// An integer in the only form Redis accepts: no sign but a minus, no leading zero, no space.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value: i64 = 0;
    for digit in digits {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        let signed = if negative { -digit } else { digit };
        value = value.checked_mul(10)?.checked_add(signed)?;
    }
    Some(value)
}

// ---- XREAD, XREADGROUP -----------------------------------------------------------------------------------------

/// What the options before STREAMS say.
struct StreamOptions {
    /// Index of the word after BLOCK.
    timeout: Option<usize>,
    /// Index of the first key.
    first: Option<usize>,
}

impl StreamOptions {
    fn read(args: &Args) -> Self {
        let mut options = StreamOptions { timeout: None, first: None };
        let mut at = 1;
        while let Some(arg) = args.get(at) {
            let more = args.len() - at - 1;
            if is_word(arg, "streams") && more > 0 {
                options.first = Some(at + 1);
                break;
            } else if is_word(arg, "block") && more > 0 {
                options.timeout = Some(at + 1);
                at += 2;
            } else if is_word(arg, "count") && more > 0 {
                at += 2;
            } else if is_word(arg, "group") && more > 1 {
                at += 3;
            } else if is_word(arg, "noack") {
                at += 1;
            } else {
                break;
            }
        }
        options
    }
}

/// With an odd number of words after STREAMS the node, found by the first key, says what is wrong.
fn stream_keys(args: &Args, out: &mut Vec<u32>) -> Result<(), KeyError> {
    let first = StreamOptions::read(args).first.ok_or(KeyError::Syntax)?;
    let keys = ((args.len() - first) / 2).max(1);
    push_range(first, first + keys - 1, 1, out);
    Ok(())
}

// ---- SORT ------------------------------------------------------------------------------------------------------

/// The last STORE counts.
fn sort_keys(args: &Args, store: bool, out: &mut Vec<u32>) {
    let mut destination = None;
    each_sort_option(args, store, |option, at| {
        if option == SortOption::Store {
            destination = Some(at as u32);
        }
    });
    out.push(1);
    out.extend(destination);
}

/// The patterns by which a SORT reads keys that it does not name: the words after BY and GET that have a `*`. Without
/// one a word names nothing (`BY nosort`, `GET #`).
pub(crate) fn sort_patterns<'a>(command: &Command, args: &Args<'a>, mut each: impl FnMut(&'a [u8])) {
    let Keys::Sort { store } = command.keys else { return };
    each_sort_option(args, store, |option, at| {
        if option == SortOption::Pattern
            && let Some(pattern) = args.get(at).filter(|word| memchr::memchr(b'*', word).is_some())
        {
            each(pattern);
        }
    });
}

/// Index of the first of these patterns.
pub(crate) fn first_sort_pattern(command: &Command, args: &Args) -> Option<usize> {
    let Keys::Sort { store } = command.keys else { return None };
    let mut first = None;
    each_sort_option(args, store, |option, at| {
        let names = || args.get(at).is_some_and(|word| memchr::memchr(b'*', word).is_some());
        if first.is_none() && option == SortOption::Pattern && names() {
            first = Some(at);
        }
    });
    first
}

#[derive(PartialEq)]
enum SortOption {
    Pattern,
    Store,
}

/// Tells the position of each word after BY, GET and STORE. An unknown option ends the search: the node refuses the
/// command then.
fn each_sort_option(args: &Args, store: bool, mut each: impl FnMut(SortOption, usize)) {
    let mut at = 2;
    while let Some(arg) = args.get(at) {
        let has_value = args.len() > at + 1;
        at += if has_value && (is_word(arg, "by") || is_word(arg, "get")) {
            each(SortOption::Pattern, at + 1);
            2
        } else if has_value && store && is_word(arg, "store") {
            each(SortOption::Store, at + 1);
            2
        } else if is_word(arg, "limit") && args.len() > at + 2 {
            3
        } else if is_word(arg, "asc") || is_word(arg, "desc") || is_word(arg, "alpha") {
            1
        } else {
            return;
        };
    }
}

// ---- GEORADIUS -------------------------------------------------------------------------------------------------

/// The words after the first STORE and the first STOREDIST, as GETKEYS has it, and the word after the last of both,
/// which is the one that is written.
fn push_destinations(args: &Args, options: usize, out: &mut Vec<u32>) {
    let end = args.len().saturating_sub(1);
    let first_after = |word: &str| (options..end).find(|at| arg_is(args, *at, word));
    let mut written = None;
    let mut at = options;
    while at < end {
        if arg_is(args, at, "store") || arg_is(args, at, "storedist") {
            written = Some(at);
            at += 1;
        }
        at += 1;
    }
    for option in [first_after("store"), first_after("storedist"), written].into_iter().flatten() {
        let key = option as u32 + 1;
        if !out.contains(&key) {
            out.push(key);
        }
    }
}

// ---- databases -------------------------------------------------------------------------------------------------

/// Whether the request names a database from `count` on, as MOVE, COPY and SWAPDB can: what lay there could not be
/// reached through Ringway. What is no number at all is for the node to judge.
pub(crate) fn names_unknown_database(command: &Command, args: &Args, count: u32) -> bool {
    let is_unknown = |at: usize| {
        let number = args.get(at).and_then(integer);
        number.is_some_and(|number| number >= i64::from(count))
    };
    match command.keys {
        Keys::Move => is_unknown(2),
        Keys::Copy => {
            let mut at = 3;
            while at + 1 < args.len() {
                if arg_is(args, at, "db") {
                    if is_unknown(at + 1) {
                        return true;
                    }
                    at += 1;
                }
                at += 1;
            }
            false
        }
        Keys::None if command.name == "swapdb" => is_unknown(1) || is_unknown(2),
        _ => false,
    }
}

// ---- MIGRATE ---------------------------------------------------------------------------------------------------

fn migrate_keys(args: &Args, out: &mut Vec<u32>) -> Result<(), KeyError> {
    let mut at = 6;
    while at < args.len() {
        if arg_is(args, at, "keys") {
            if args.get(3).is_some_and(|key| !key.is_empty()) || at + 1 == args.len() {
                return Err(KeyError::Syntax);
            }
            push_range(at + 1, args.len() - 1, 1, out);
            return Ok(());
        }
        at += match () {
            () if arg_is(args, at, "auth") => 2,
            () if arg_is(args, at, "auth2") => 3,
            () => 1,
        };
    }
    out.push(3);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::test_args::request;
    use super::*;

    #[test]
    fn integers_are_read_as_redis_reads_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("10", Some(10)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("99999999999999999999", None),
            ("-0", None),
            ("-", None),
            ("+1", None),
            ("01", None),
            ("1a", None),
            (" 1", None),
            ("", None),
        ] {
            assert_eq!(integer(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn option_words_end_at_a_nul() {
        for (arg, expected) in [
            ("StOrE", true),
            ("store\0x", true),
            ("store\0", true),
            ("stores", false),
            ("stor", false),
            ("", false),
        ] {
            assert_eq!(is_word(arg.as_bytes(), "store"), expected, "{arg:?}");
        }
    }

    fn positions(text: &str) -> Result<Vec<u32>, KeyError> {
        let parts: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let request = request(&parts);
        let row = super::super::resolve(&request.args()).expect("a valid request");
        let mut out = vec![9];
        key_positions(row, &request.args(), &mut out).map(|()| out)
    }

    #[test]
    fn positions_of_each_kind() {
        for (text, expected) in [
            ("ping", vec![]),
            ("get k", vec![1]),
            ("object encoding k", vec![2]),
            ("mset a 1 b 2", vec![1, 3]),
            ("blpop a b 0", vec![1, 2]),
            ("bitop and d a b", vec![2, 3, 4]),
            ("eval s 0 a", vec![]),
            ("eval s 2 a b c", vec![3, 4]),
            ("zunionstore d 2 a b weights 1 2", vec![1, 3, 4]),
            ("bzmpop 0 1 a min", vec![3]),
            ("xread count 1 streams a b 0 0", vec![4, 5]),
            ("sort a limit 0 1 by nosort store d", vec![1, 8]),
            ("georadius a 1 2 3 m storedist d", vec![1, 7]),
            ("migrate h 1 k 0 1", vec![3]),
            ("migrate h 1  0 1 auth keys keys a b", vec![9, 10]),
            ("ssubscribe c", vec![]),
        ] {
            assert_eq!(positions(text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("blpop a b 0", Some(3)),
            ("blmove a b left right 5", Some(5)),
            ("bzmpop 2 1 a min", Some(1)),
            ("xread count 1 block 7 streams a 0", Some(4)),
            ("xread streams block 0", None),
            ("lpop a", None),
        ] {
            let parts: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            let request = request(&parts);
            let row = super::super::resolve(&request.args()).expect("a valid request");
            assert_eq!(timeout_position(row, &request.args()), expected, "{text}");
            assert_eq!(blocks(row, &request.args()), expected.is_some(), "{text}");
        }
        assert_eq!(positions("mset a 1 b"), Err(KeyError::Arity("mset")));
        assert_eq!(positions("copy a b replace db 0"), Ok(vec![1, 2]));
        assert_eq!(positions("copy a b replace db 1"), Ok(vec![1, 2]));
        assert_eq!(positions("move a 1"), Ok(vec![1]));
        assert_eq!(positions("zinter 0 a"), Err(KeyError::NoInputKey("zinter")));
        assert_eq!(positions("eval s -1 a"), Err(KeyError::Negative));
    }

    #[test]
    fn databases_beyond_the_limit_are_seen() {
        for (text, expected) in [
            ("move k 15", false),
            ("move k 16", true),
            ("move k -1", false),
            ("move k x", false),
            ("copy a b db 15", false),
            ("copy a b replace DB 16", true),
            ("copy a b db 1 db 99", true),
            ("copy db 99", false),
            ("copy a b db db", false),
            ("swapdb 0 16", true),
            ("swapdb 16 0", true),
            ("swapdb 1 2", false),
            ("get 99", false),
        ] {
            let parts: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            let request = request(&parts);
            let row = super::super::resolve(&request.args()).expect("a valid request");
            assert_eq!(names_unknown_database(row, &request.args(), 16), expected, "{text}");
        }
    }
}
