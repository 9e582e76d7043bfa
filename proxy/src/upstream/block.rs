//! A block of commands with one asker: `MULTI`, what was queued, `EXEC`.
//!
//! ```text
//!   MULTI  SET k 1  INCR n  EXEC      one entry of the exchange: written whole, or the node runs nothing of it
//!    +OK   +QUEUED  +QUEUED *2 …      the last reply is the asker's, those before it are dropped here
//! ```
//! Being one entry, a block is NOTSENT as long as `EXEC` is not wholly written, and never goes on in its middle on the
//! next connection (laws I3, I4). A node that refuses `MULTI` runs the commands one by one: that is told as UNKNOWN.
//! One that refuses a command when it is queued (OOM, NOPERM, READONLY) discards all: EXEC's reply tells why, since the
//! client has long had its `+QUEUED`.

use std::borrow::Cow;
use std::sync::Arc;

use super::exchange::ReplyTo;
use crate::command::Command;
use crate::error::{Failure, Fate};
use crate::settings::NodeSpec;

/// What the observer of a block sees that went wrong: an error.
const SPOILT: &[u8] = b"-";
/// What EXEC answers when a command was refused before.
const DISCARDED: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Block<T> {
    to: T,
    /// What the block counts for.
    pub(super) command: &'static Command,
    node: Arc<NodeSpec>,
    /// Replies that still come before the last one.
    before: u64,
    /// Whether the reply to `MULTI` has come.
    begun: bool,
    /// The node's words when it was no `+OK`.
    refusal: Option<String>,
    /// The node's words when it first refused to queue a command.
    error: Option<String>,
}

impl<T: ReplyTo> Block<T> {
    /// A block whose reply comes after `before` others.
    pub(super) fn new(to: T, command: &'static Command, before: u64, node: Arc<NodeSpec>) -> Self {
        Self { to, command, node, before, begun: false, refusal: None, error: None }
    }

    /// Whether the reply that is awaited next is the last one.
    pub(super) fn is_at_last(&self) -> bool {
        self.before == 0
    }

    /// A piece of a long reply.
    pub(super) fn pass(&self, bytes: &[u8]) {
        if self.is_at_last() && self.refusal.is_none() {
            self.to.reply(bytes, false);
        }
    }

    /// The end of a reply, or all of it; when it was the last one, what the observer may see of it.
    pub(super) fn finish<'b>(&mut self, bytes: &[u8], known: &'b [u8]) -> Option<&'b [u8]> {
        if !self.is_at_last() {
            self.before -= 1;
            if std::mem::replace(&mut self.begun, true) {
                self.error = self.error.take().or_else(|| error_line(bytes));
            } else if bytes != b"+OK\r\n" {
                self.refusal = Some(refusal(bytes));
            }
            return None;
        }
        match &self.refusal {
            None => {
                self.to.reply(&explained(bytes, self.error.as_deref()), true);
                Some(known)
            }
            Some(why) => {
                self.to.fail(Failure { fate: Fate::Unknown, node: &self.node, why });
                Some(SPOILT)
            }
        }
    }

    /// Bytes of the last reply that wait for the asker to take them; `None` while it has not begun.
    pub(super) fn backlog(&self) -> Option<usize> {
        self.is_at_last().then(|| self.to.backlog())
    }

    /// Who waits for the last reply.
    pub(super) fn asker(&self) -> usize {
        self.to.asker()
    }

    /// The asker is not to be waited for.
    pub(super) fn lags(&self) {
        self.to.lags();
    }

    /// No reply will come, or no more of it; returns the command that it counts for.
    pub(super) fn fail(&self, failure: Failure<'_>) -> &'static Command {
        self.to.fail(failure);
        self.command
    }
}

/// Why the commands of a block may have run one by one: what the node said to `MULTI`.
pub(crate) fn refusal(reply: &[u8]) -> String {
    format!("it did not begin a transaction: {}", words(reply))
}

/// A line that the node wrote, without its first byte and its end, short and visible.
fn words(reply: &[u8]) -> String {
    let visible = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' };
    reply.iter().skip(1).take_while(|byte| **byte != b'\r').take(128).map(visible).collect()
}

/// What the node said if it refused to queue a command.
pub(crate) fn error_line(reply: &[u8]) -> Option<String> {
    reply.starts_with(b"-").then(|| words(reply))
}

/// The reply to EXEC; if it points to errors of before, it tells the first one, which the client has not seen.
pub(crate) fn explained<'b>(reply: &'b [u8], error: Option<&str>) -> Cow<'b, [u8]> {
    match error {
        Some(why) if reply == DISCARDED => {
            let why = why.strip_prefix("ERR ").unwrap_or(why);
            format!("-EXECABORT Transaction discarded because of: {why}\r\n").into_bytes().into()
        }
        _ => reply.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Instant;

    use super::super::exchange::{Exchange, Keep, Violation};
    use super::*;

    #[derive(Clone, Default)]
    struct To(Rc<RefCell<Vec<u8>>>);

    impl ReplyTo for To {
        fn reply(&self, bytes: &[u8], _: bool) {
            self.0.borrow_mut().extend_from_slice(bytes);
        }

        fn backlog(&self) -> usize {
            self.0.borrow().len()
        }

        fn asker(&self) -> usize {
            Rc::as_ptr(&self.0).addr()
        }

        fn fail(&self, failure: Failure<'_>) {
            self.0.borrow_mut().extend_from_slice(failure.text().as_bytes());
        }
    }

    /// A block of MULTI, one command and EXEC, and one command behind it.
    fn exchange() -> (Exchange<To>, To, To, usize) {
        let (now, first, second) = (Instant::now(), To::default(), To::default());
        let command = crate::command::all().next().unwrap();
        let node = Arc::new(NodeSpec::new("n", "h:1"));
        let mut exchange = Exchange::new(now);
        exchange.out().extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nEXEC\r\n");
        let len = exchange.unwritten().len();
        exchange.commit_block(Block::new(first.clone(), command, 2, node), now);
        exchange.out().extend_from_slice(b"*1\r\n$4\r\nTIME\r\n");
        exchange.commit(second.clone(), command, now);
        (exchange, first, second, len)
    }

    #[test]
    fn only_the_last_reply_is_passed_on_at_every_split() {
        let stream = b"+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n:7\r\n";
        for cut in 0..=stream.len() {
            let (mut exchange, first, second, _) = exchange();
            let (now, mut done) = (Instant::now(), Vec::new());
            exchange.wrote(exchange.unwritten().len(), now);
            for piece in [&stream[..cut], &stream[cut..]] {
                exchange.received(piece, now, |_, _, reply| done.push(reply.to_vec())).unwrap();
            }
            assert_eq!(*first.0.borrow(), b"*1\r\n+PONG\r\n", "cut at {cut}");
            assert_eq!(*second.0.borrow(), b":7\r\n");
            assert_eq!(done, [b"*1\r\n+PONG\r\n".to_vec(), b":7\r\n".to_vec()]);
            assert!(exchange.is_idle());
        }
    }

    #[test]
    fn exec_tells_what_was_refused_before_it_at_every_split() {
        let stream = b"+OK\r\n-OOM no memory.\r\n-EXECABORT Transaction discarded because of previous errors.\r\n:7\r\n";
        for cut in 0..=stream.len() {
            let (mut exchange, first, second, _) = exchange();
            let now = Instant::now();
            exchange.wrote(exchange.unwritten().len(), now);
            for piece in [&stream[..cut], &stream[cut..]] {
                exchange.received(piece, now, |_, _, _| {}).unwrap();
            }
            let told = String::from_utf8(first.0.borrow().clone()).unwrap();
            assert_eq!(
                told, "-EXECABORT Transaction discarded because of: OOM no memory.\r\n",
                "cut at {cut}"
            );
            assert_eq!(*second.0.borrow(), b":7\r\n");
        }
    }

    #[test]
    fn long_replies_inside_of_a_block_are_dropped_and_the_last_is_streamed() {
        let long = [b"$200000\r\n".to_vec(), vec![b'x'; 200_000], b"\r\n".to_vec()].concat();
        let stream = [b"+OK\r\n".to_vec(), long.clone(), long.clone(), b":7\r\n".to_vec()].concat();
        let (mut exchange, first, second, _) = exchange();
        let now = Instant::now();
        exchange.wrote(exchange.unwritten().len(), now);
        for piece in stream.chunks(9973) {
            exchange.received(piece, now, |_, _, _| {}).unwrap();
        }
        assert!(*first.0.borrow() == long);
        assert_eq!(*second.0.borrow(), b":7\r\n");
    }

    #[test]
    fn replies_may_come_before_exec_is_written_but_not_that_to_exec() {
        let now = Instant::now();
        let (mut exchange, first, _, len) = exchange();
        exchange.wrote(len - 1, now);
        exchange.received(b"+OK\r\n+QUEUED\r\n", now, |_, _, _| {}).unwrap();
        assert_eq!(exchange.received(b"*0\r\n", now, |_, _, _| {}), Err(Violation::Stray));
        assert!(first.0.borrow().is_empty());
    }

    #[test]
    fn i4_a_block_is_not_sent_until_exec_is_wholly_written() {
        for keep in [Keep::Nothing, Keep::Unsent, Keep::UnsentAndReads] {
            for written in 0..=exchange().3 {
                let (mut exchange, .., len) = exchange();
                let now = Instant::now();
                let all = exchange.unwritten().to_vec();
                exchange.wrote(written, now);
                let mut fates = Vec::new();
                exchange.lost(keep, |_, fate| fates.push(fate));
                let block = if written == len { Fate::Unknown } else { Fate::NotSent };
                match (keep, written) {
                    (Keep::Nothing, _) => assert_eq!(fates, [block, Fate::NotSent]),
                    // of what was not begun the next connection sends all
                    (_, 0) => assert!(fates.is_empty() && exchange.unwritten() == all),
                    (_, _) => assert!(fates == [block] && exchange.unwritten() == &all[len..]),
                }
            }
        }
    }

    #[test]
    fn i4_a_node_that_refuses_multi_leaves_it_unknown_what_ran() {
        let (mut exchange, first, second, _) = exchange();
        let now = Instant::now();
        exchange.wrote(exchange.unwritten().len(), now);
        let stream = b"-NOPERM no 'multi'\r\n+PONG\r\n-ERR EXEC without MULTI\r\n:7\r\n";
        let mut errors = 0;
        exchange.received(stream, now, |_, _, reply| errors += i32::from(reply[0] == b'-')).unwrap();
        let told = String::from_utf8(first.0.borrow().clone()).unwrap();
        assert_eq!(told, "UNKNOWN node 'n' (h:1): it did not begin a transaction: NOPERM no 'multi'");
        assert_eq!((errors, &second.0.borrow()[..]), (1, &b":7\r\n"[..]));
    }
}
