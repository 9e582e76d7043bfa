//! Joining the replies to the parts of a split command into the one reply its client waits for.
//!
//! ```text
//!   MGET a b c   a,c → node 0   *2 A C ┐
//!                b   → node 1   *1 B   ┴─► *3 A B C      parts[i] says which part key i went to
//! ```
//! Never a silently partial answer: when a part fails, the whole command does, and the error says whether other
//! parts ran. No IO; parts come in in any order.

use std::rc::Rc;

use crate::command;
use crate::error::Fate;
use crate::resp::{encode, reply};

/// What has come of one part.
#[derive(Debug, Default)]
struct Part {
    reply: Vec<u8>,
    /// Bytes of the reply that are joined already.
    taken: usize,
    state: PartState,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum PartState {
    #[default]
    Waiting,
    Answered,
    /// The node did not answer: what is certain, and the text for the client.
    Failed(Fate, Rc<str>),
}

/// A split command that waits for its parts.
#[derive(Debug)]
pub(crate) struct Joining {
    kind: command::Join,
    /// Whether running a part changes something.
    write: bool,
    /// For each key the part that it went to.
    assignment: Vec<u16>,
    parts: Vec<Part>,
    used: usize,
    waiting: usize,
}

impl Default for Joining {
    fn default() -> Self {
        Self {
            kind: command::Join::Ok,
            write: false,
            assignment: Vec::new(),
            parts: Vec::new(),
            used: 0,
            waiting: 0,
        }
    }
}

impl Joining {
    /// Begins to collect; memory of earlier use is kept.
    pub(crate) fn begin(&mut self, kind: command::Join, write: bool, assignment: &[u16], parts: usize) {
        self.kind = kind;
        self.write = write;
        self.assignment.clear();
        self.assignment.extend_from_slice(assignment);
        self.parts.resize_with(self.parts.len().max(parts), Part::default);
        for part in &mut self.parts[..parts] {
            part.reply.clear();
            part.state = PartState::Waiting;
        }
        self.used = parts;
        self.waiting = parts;
    }

    /// Gives memory back after unusually large replies.
    pub(crate) fn shrink(&mut self) {
        const KEEP: usize = 16 * 1024;
        self.parts.truncate(64);
        self.parts.iter_mut().for_each(|part| part.reply.shrink_to(KEEP));
        self.assignment.shrink_to(KEEP);
    }

    /// Bytes that are kept for parts.
    pub(crate) fn held(&self) -> usize {
        self.parts[..self.used].iter().map(|part| part.reply.len()).sum()
    }

    /// Bytes of a part's reply; true when all parts are there.
    pub(crate) fn reply(&mut self, part: usize, bytes: &[u8], last: bool) -> bool {
        let Some(part) = self.parts.get_mut(part) else { return false };
        part.reply.extend_from_slice(bytes);
        if last {
            part.state = PartState::Answered;
            self.waiting -= 1;
        }
        self.waiting == 0
    }

    /// A part got no reply; true when nothing more is awaited.
    pub(crate) fn fail(&mut self, part: usize, fate: Fate, text: &str) -> bool {
        let Some(part) = self.parts.get_mut(part) else { return false };
        part.state = PartState::Failed(fate, text.into());
        self.waiting -= 1;
        self.waiting == 0
    }

    /// Appends the joined reply.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(text) = self.failure() {
            return encode::error(out, &text);
        }
        let before = out.len();
        let joined = match self.kind {
            command::Join::Values => self.values(out),
            command::Join::Sum => self.sum(out),
            command::Join::Ok => self.all_ok(out),
        };
        if joined.is_none() {
            out.truncate(before);
            encode::error(
                out,
                "UNKNOWN a node's reply to a part of the command cannot be joined; parts of it ran",
            );
        }
    }

    fn parts(&self) -> &[Part] {
        &self.parts[..self.used]
    }

    /// The error of the whole command, if a part failed or was answered with an error.
    fn failure(&self) -> Option<String> {
        let error = |part: &&Part| part.reply.first() == Some(&b'-');
        let failed = self.parts().iter().find_map(|part| match &part.state {
            PartState::Failed(Fate::Unknown, text) => Some(Rc::clone(text)),
            _ => None,
        });
        let failed = failed.or_else(|| {
            self.parts().iter().find_map(|part| match &part.state {
                PartState::Failed(_, text) => Some(Rc::clone(text)),
                _ => None,
            })
        });
        let ran = self.parts().iter().any(|part| part.state == PartState::Answered && !error(&part));
        if let Some(text) = failed {
            if !ran || !self.write {
                return Some(text.to_string());
            }
            // some of it ran: NOTSENT would be a lie about the whole
            let text = text
                .strip_prefix(Fate::NotSent.code())
                .map_or_else(|| text.to_string(), |rest| format!("{}{rest}", Fate::Unknown.code()));
            return Some(format!("{text}; the parts of this command on other nodes ran"));
        }
        let refused = self.parts().iter().find(error)?;
        let text = String::from_utf8_lossy(&refused.reply);
        let text = text.trim_start_matches('-').trim_end().to_owned();
        Some(if ran && self.write {
            format!("{text} (the parts of this command on other nodes ran)")
        } else {
            text
        })
    }

    fn values(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let mut expected = 0;
        for part in &mut self.parts[..self.used] {
            let elements = reply::elements(&part.reply)?;
            expected += elements.left();
            part.taken = part.reply.len() - elements.rest().len();
        }
        if expected != self.assignment.len() {
            return None;
        }
        encode::array(out, self.assignment.len());
        for part in &self.assignment {
            let part = self.parts.get_mut(usize::from(*part))?;
            let rest = part.reply.get(part.taken..)?;
            let len = reply::reply_len(rest)?;
            out.extend_from_slice(&rest[..len]);
            part.taken += len;
        }
        Some(())
    }

    fn sum(&self, out: &mut Vec<u8>) -> Option<()> {
        let mut sum: i64 = 0;
        for part in self.parts() {
            sum = sum.checked_add(reply::integer(&part.reply)?)?;
        }
        encode::integer(out, sum);
        Some(())
    }

    fn all_ok(&self, out: &mut Vec<u8>) -> Option<()> {
        self.parts().iter().all(|part| part.reply == b"+OK\r\n").then(|| encode::simple(out, "OK"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Join;

    fn joined(kind: Join, write: bool, assignment: &[u16], replies: &[Result<&[u8], Fate>]) -> String {
        let mut joining = Joining::default();
        joining.begin(kind, write, assignment, replies.len());
        for (part, reply) in replies.iter().enumerate().rev() {
            let complete = match reply {
                Ok(bytes) => {
                    let (head, tail) = bytes.split_at(bytes.len() / 2);
                    assert!(!joining.reply(part, head, false));
                    joining.reply(part, tail, true)
                }
                Err(fate) => joining.fail(part, *fate, &format!("{} node 'n{part}' (h:1): why", fate.code())),
            };
            assert_eq!(complete, part == 0);
        }
        let mut out = Vec::new();
        joining.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_come_in_the_order_of_the_keys() {
        let out = joined(
            Join::Values,
            false,
            &[0, 1, 0, 1],
            &[Ok(b"*2\r\n$1\r\na\r\n$-1\r\n"), Ok(b"*2\r\n$1\r\nb\r\n_\r\n")],
        );
        assert_eq!(out, "*4\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n_\r\n");
    }

    #[test]
    fn integers_are_added_and_oks_agree() {
        assert_eq!(joined(Join::Sum, true, &[0, 1], &[Ok(b":2\r\n"), Ok(b":40\r\n")]), ":42\r\n");
        assert_eq!(joined(Join::Ok, true, &[0, 1], &[Ok(b"+OK\r\n"), Ok(b"+OK\r\n")]), "+OK\r\n");
    }

    #[test]
    fn i4_a_failed_part_fails_the_whole_and_tells_whether_others_ran() {
        let ok: Result<&[u8], Fate> = Ok(b"+OK\r\n");
        let out = joined(Join::Ok, true, &[0, 1], &[ok, Err(Fate::NotSent)]);
        assert_eq!(out, "-UNKNOWN node 'n1' (h:1): why; the parts of this command on other nodes ran\r\n");
        let out = joined(Join::Ok, true, &[0, 1], &[Err(Fate::NotSent), Err(Fate::NotSent)]);
        assert_eq!(out, "-NOTSENT node 'n0' (h:1): why\r\n");
        let out = joined(Join::Ok, true, &[0, 1], &[Err(Fate::NotSent), Err(Fate::Unknown)]);
        assert!(out.starts_with("-UNKNOWN node 'n1'"), "{out}");
        let values: Result<&[u8], Fate> = Ok(b"*1\r\n$-1\r\n");
        let out = joined(Join::Values, false, &[0, 1], &[values, Err(Fate::NotSent)]);
        assert_eq!(out, "-NOTSENT node 'n1' (h:1): why\r\n");
    }

    #[test]
    fn an_error_of_a_node_stays_its_error() {
        let out = joined(Join::Ok, true, &[0, 1], &[Ok(b"-OOM full\r\n"), Ok(b"+OK\r\n")]);
        assert_eq!(out, "-OOM full (the parts of this command on other nodes ran)\r\n");
    }

    #[test]
    fn a_reply_of_another_shape_is_no_answer() {
        let two: Result<&[u8], Fate> = Ok(b"*2\r\n:1\r\n:2\r\n");
        assert!(joined(Join::Values, false, &[0, 1], &[two, Ok(b"*1\r\n:1\r\n")]).starts_with("-UNKNOWN"));
        assert!(joined(Join::Sum, true, &[0, 1], &[Ok(b"+x\r\n"), Ok(b":1\r\n")]).starts_with("-UNKNOWN"));
    }
}
