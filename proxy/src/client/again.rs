//! A request that waits, asked again at another node with what is left of its time.

use std::rc::Rc;
use std::time::Duration;

use crate::command::{self, Command, Keys};
use crate::resp::{Args, Span, encode};

/// The least that is left of a timeout, in milliseconds: 0 would be for ever.
const LEAST_MS: u64 = 1;

/// A request as it came, to be written again with the rest of its time.
pub(super) struct Request {
    pub(super) frame: Rc<[u8]>,
    spans: Box<[Span]>,
}

impl Request {
    pub(super) fn new(args: Args<'_>) -> Self {
        Self { frame: args.frame().into(), spans: args.spans().into() }
    }

    pub(super) fn args(&self) -> Args<'_> {
        Args::new(&self.frame, &self.spans)
    }

    /// The request with what is left of its timeout, or why it cannot be asked again as if nothing had happened.
    pub(super) fn after(&self, command: &Command, elapsed: Duration) -> Result<Rc<[u8]>, &'static str> {
        let args = self.args();
        let streams = matches!(command.keys, Keys::Streams { .. });
        if streams && self.reads_from_now(command) {
            return Err("the stream is read on another node now, where '$' could miss entries");
        }
        let at = command::timeout_position(command, &args);
        let rest = at
            .and_then(|at| rest_of(args.get(at)?, if streams { 1 } else { 1000 }, elapsed))
            .ok_or("what is left of the timeout cannot be told")?;
        let mut frame = Vec::with_capacity(self.frame.len());
        encode::array(&mut frame, args.len());
        for (index, argument) in args.iter().enumerate() {
            encode::bulk(&mut frame, if Some(index) == at { rest.as_bytes() } else { argument });
        }
        Ok(frame.into())
    }

    /// Whether XREAD reads a stream from `$`: the entries after the moment in which it is asked.
    fn reads_from_now(&self, command: &Command) -> bool {
        let (args, mut keys) = (self.args(), Vec::new());
        if command::key_positions(command, &args, &mut keys).is_err() {
            return false;
        }
        // one ID for each key, behind the last key
        let first = keys.last().map_or(0, |last| *last as usize + 1);
        (first..args.len()).any(|at| args.get(at) == Some(b"$"))
    }
}

/// What is left of a timeout of `text` units, in the same units; 0 is for ever.
fn rest_of(text: &[u8], unit_ms: u64, elapsed: Duration) -> Option<String> {
    let total: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    if total == 0.0 {
        return Some("0".into());
    }
    let left = total * unit_ms as f64 - elapsed.as_millis() as f64;
    let left = (left.is_finite().then_some(left)?.ceil() as u64).max(LEAST_MS);
    Some(if unit_ms == 1 { left.to_string() } else { format!("{}.{:03}", left / 1000, left % 1000) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_timeout_is_never_for_ever() {
        let after = |text: &str, unit, ms| rest_of(text.as_bytes(), unit, Duration::from_millis(ms));
        assert_eq!(after("0", 1000, 5000).as_deref(), Some("0"));
        assert_eq!(after("0", 1, 5000).as_deref(), Some("0"));
        assert_eq!(after("10", 1000, 2500).as_deref(), Some("7.500"));
        assert_eq!(after("0.75", 1000, 500).as_deref(), Some("0.250"));
        assert_eq!(after("1", 1000, 5000).as_deref(), Some("0.001"));
        assert_eq!(after("1500", 1, 400).as_deref(), Some("1100"));
        assert_eq!(after("1500", 1, 1500).as_deref(), Some("1"));
        assert_eq!(after("0x10", 1000, 1), None);
    }
}
