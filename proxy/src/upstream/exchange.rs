//! What was handed to a node and what is awaited from it: the pairing of replies with those who asked.
//!
//! ```text
//!   send ──► │ out: bytes not yet written │ ──write──► node
//!            queue: [a: end 30][b: end 52][c: end 90]        offsets in the stream of all bytes
//!                    written = 52 ▲  a, b were sent whole; c was not
//!   node ──read──► scanner ──► front of queue ──► its ReplyTo
//! ```
//! No IO and no clock: bytes and times come in as arguments. Laws kept here: I1 (first in, first out, and any
//! byte that nobody awaits ends the connection), I3 and I4 (the offsets tell what a lost command may have done; [`lost`]
//! says what becomes of it).

mod lost;
mod outgoing;
mod reply_to;
mod sending;
mod told;
mod window;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub(crate) use lost::Keep;
use outgoing::Outgoing;
pub(crate) use reply_to::{ReplyTo, When};
use told::Told;
use window::Window;

use super::block::Block;
use crate::command::Command;
use crate::resp::reply::{ReplyError, ReplyScan, ReplyScanner};

/// A reply longer than this is passed on in pieces instead of being gathered, in bytes.
const STREAM_BYTES: usize = 64 * 1024;
/// What an observer sees of a reply that was passed on in pieces: it is no error and no nil.
const LONG_REPLY: &[u8] = b"$";
/// A queue larger than this is given back when it is empty and somebody looks, in bytes.
const KEEP_QUEUE_BYTES: usize = 64 * 1024;

/// One command on its way, or one block of commands.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    /// Who asked for what; nobody for a probe.
    asked: Option<Asked<T>>,
    /// What is not one command with one reply.
    other: Option<Box<Other<T>>>,
    at: Instant,
    /// Stream offset of its first byte.
    start: u64,
    /// Stream offset one past its last byte.
    end: u64,
}

#[derive(Debug)]
struct Asked<T> {
    to: T,
    command: &'static Command,
}

/// What sets the rare kinds of entries apart.
#[derive(Debug)]
enum Other<T> {
    /// A transaction, of whose replies only the last is passed on.
    Block(Block<T>),
    /// A fence, to which any answer will do.
    Fence,
    /// A read that was asked for and written before, whole if it was `sent`, on a connection that was lost.
    Repeated { sent: bool },
}

impl<T: ReplyTo> Entry<T> {
    /// Tells whoever asked that no reply will come; returns the command.
    pub(crate) fn fail(&self, failure: crate::error::Failure<'_>) -> Option<&'static Command> {
        if let Some(block) = self.block() {
            return Some(block.fail(failure));
        }
        let asked = self.asked.as_ref()?;
        asked.to.fail(failure);
        Some(asked.command)
    }

    /// Whether a client waits for it, and has not been told to wait a second time.
    fn is_a_clients(&self) -> bool {
        self.block().is_some() || self.asked.is_some() && self.other.is_none()
    }

    fn block(&self) -> Option<&Block<T>> {
        match self.other.as_deref()? {
            Other::Block(block) => Some(block),
            Other::Fence | Other::Repeated { .. } => None,
        }
    }

    /// Whether a reply may come before the last byte is written: to a command inside of a block whose end is on its way.
    #[cold]
    fn awaits_early_reply(&self, written: u64) -> bool {
        self.start < written && self.block().is_some_and(|block| !block.is_at_last())
    }

    /// Passes on a piece of the reply.
    #[inline]
    fn pass(&self, bytes: &[u8]) {
        if let Some(asked) = &self.asked {
            asked.to.reply(bytes, false);
        } else if let Some(block) = self.block() {
            block.pass(bytes);
        }
    }

    /// Bytes of the reply that wait for the asker to take them.
    fn backlog(&self) -> Option<usize> {
        match (&self.asked, self.block()) {
            (Some(asked), _) => Some(asked.to.backlog()),
            (None, block) => block?.backlog(),
        }
    }

    /// The asker is not to be waited for.
    fn lags(&self) {
        match (&self.asked, self.block()) {
            (Some(asked), _) => asked.to.lags(),
            (None, Some(block)) => block.lags(),
            (None, None) => {}
        }
    }

    /// Passes on the end of the reply, or all of it; `known` is what the observer may see of it. Returns whether it was
    /// the last one that is awaited.
    #[inline]
    fn finish(
        &mut self,
        bytes: &[u8],
        known: &[u8],
        done: &mut impl FnMut(&'static Command, Instant, &[u8]),
    ) -> Result<bool, Violation> {
        match &self.asked {
            Some(asked) => {
                asked.to.reply(bytes, true);
                done(asked.command, self.at, known);
                Ok(true)
            }
            None => self.finish_other(bytes, known, done),
        }
    }

    #[cold]
    fn finish_other(
        &mut self,
        bytes: &[u8],
        known: &[u8],
        done: &mut impl FnMut(&'static Command, Instant, &[u8]),
    ) -> Result<bool, Violation> {
        match self.other.as_deref_mut() {
            Some(Other::Block(block)) => {
                let known = block.finish(bytes, known);
                known.inspect(|known| done(block.command, self.at, known));
                Ok(known.is_some())
            }
            Some(Other::Fence | Other::Repeated { .. }) => Ok(true),
            None if bytes == b"+PONG\r\n" || is_sign_of_life(bytes) => Ok(true),
            None => Err(Violation::Probe),
        }
    }
}

/// Errors with which a node that works answers even PING: a script runs, a snapshot could not be written, a replica is
/// filled. They are for clients to see, and no reason to give the connection up.
pub(super) fn is_sign_of_life(reply: &[u8]) -> bool {
    [&b"-BUSY "[..], b"-MISCONF ", b"-LOADING ", b"-MASTERDOWN "].iter().any(|error| reply.starts_with(error))
}

/// Why the node's bytes end the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("{0}")]
    Reply(#[from] ReplyError),
    #[error("it sent a reply that nobody awaits")]
    Stray,
    #[error("it does not answer PING with PONG")]
    Probe,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Exchange<T> {
    queue: VecDeque<Entry<T>>,
    out: Outgoing,
    /// Stream offset where the command being appended begins.
    open: u64,
    scanner: ReplyScanner,
    /// Bytes of an unfinished reply; when streaming, only those of an unfinished line.
    partial: Vec<u8>,
    /// How many bytes of `partial` the scanner has used.
    scanned: usize,
    /// Whether the front reply is being passed on in pieces.
    streaming: bool,
    progress: Instant,
    window: Window,
    /// Where the node may say something beside its replies.
    told: Option<Box<Told>>,
}

impl<T: ReplyTo> Exchange<T> {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            out: Outgoing::default(),
            open: 0,
            scanner: ReplyScanner::default(),
            partial: Vec::new(),
            scanned: 0,
            streaming: false,
            progress: now,
            window: Window::new(now, Duration::MAX, Duration::ZERO),
            told: None,
        }
    }

    /// A connection is made; to be greeted took so long. No more is sent on it than the node answers within `patience`.
    pub(crate) fn begin(&mut self, now: Instant, patience: Duration, greeting: Duration) {
        self.progress = now;
        self.window = Window::new(now, patience, greeting);
    }

    /// Push messages may come from now on. Invalidations are passed on when they come, each in its place between the
    /// replies.
    pub(crate) fn hear(&mut self, tell: impl Fn(&[u8]) + 'static) {
        self.told = Some(Box::new(Told::new(Box::new(tell))));
    }

    /// Whether no command is being appended.
    pub(crate) fn is_between_commands(&self) -> bool {
        self.out.end() == self.open
    }

    /// Where to append the bytes of the next command; [`Exchange::commit`] ends it.
    #[inline]
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        self.out.buffer()
    }

    /// The bytes appended since the last commit are one command.
    #[inline]
    pub(crate) fn commit(&mut self, to: T, command: &'static Command, at: Instant) {
        self.commit_entry(Some(Asked { to, command }), None, at);
    }

    /// The bytes appended since the last commit are one block of commands.
    pub(crate) fn commit_block(&mut self, block: Block<T>, at: Instant) {
        self.commit_entry(None, Some(Box::new(Other::Block(block))), at);
    }

    /// The bytes appended since the last commit are a fence, whose answer nobody awaits.
    pub(crate) fn commit_fence(&mut self, at: Instant) {
        self.commit_entry(None, Some(Box::new(Other::Fence)), at);
    }

    /// A command of `len` bytes that [`Exchange::supply`] brings next.
    pub(crate) fn promise(&mut self, len: usize, to: T, command: &'static Command, at: Instant) {
        self.commit(to, command, at);
        if let Some(entry) = self.queue.back_mut() {
            entry.end += len as u64;
            self.open = entry.end;
        }
    }

    /// Takes over the bytes of the promised command: a large one is held once, not twice.
    pub(crate) fn supply(&mut self, frame: Vec<u8>) {
        self.out.supply(frame);
    }

    /// Takes back what was appended since the last commit.
    pub(crate) fn drop_uncommitted(&mut self) {
        self.out.truncate(self.open);
    }

    /// Asks the node whether it is there, on nobody's behalf.
    pub(crate) fn probe(&mut self, at: Instant) {
        self.out().extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        self.commit_entry(None, None, at);
    }

    #[inline]
    fn commit_entry(&mut self, asked: Option<Asked<T>>, other: Option<Box<Other<T>>>, at: Instant) {
        let end = self.out.end();
        self.queue.push_back(Entry { asked, other, at, start: self.open, end });
        self.open = end;
    }

    /// Bytes of memory held; gives back what an idle connection has no use for.
    pub(crate) fn held_bytes(&mut self) -> usize {
        let entry = size_of::<Entry<T>>();
        if self.queue.is_empty() {
            self.out.settle();
        }
        if self.queue.is_empty() && self.queue.capacity() * entry > KEEP_QUEUE_BYTES {
            self.queue = VecDeque::new();
        }
        self.queue.capacity() * entry
            + self.out.held()
            + self.partial.len()
            + self.told.as_ref().map_or(0, |told| told.held())
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> usize {
        self.queue.len()
    }

    /// How much of the long reply that is being passed on its asker has yet to take; `None` when there is no long
    /// reply.
    #[inline]
    pub(crate) fn long_reply_backlog(&self) -> Option<usize> {
        self.queue.front().filter(|_| self.streaming)?.backlog()
    }

    /// The asker of the long reply takes it too slowly to be waited for.
    pub(crate) fn long_reply_lags(&self) {
        if let Some(front) = self.queue.front().filter(|_| self.streaming) {
            front.lags();
        }
    }

    /// Whether a long reply is being passed on.
    #[inline]
    pub(crate) fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// Whether nothing is awaited and nothing was heard for `limit`.
    pub(crate) fn is_silent(&self, now: Instant, limit: Duration) -> bool {
        self.queue.is_empty() && now.saturating_duration_since(self.progress) > limit
    }

    /// Whether the node has left commands unanswered for `limit` without a sign of life.
    pub(crate) fn is_stalled(&self, now: Instant, limit: Duration) -> bool {
        let Some(oldest) = self.queue.front() else { return false };
        now.saturating_duration_since(oldest.at.max(self.progress)) > limit
    }

    /// A stall of this process is no stall of the node: counts from `now` again.
    pub(crate) fn forgive(&mut self, now: Instant) {
        self.progress = now;
        self.window.forgive(now);
    }

    /// Pairs the node's bytes with those who wait. `done` is told of every finished command: when it came and the
    /// first bytes of its reply (all of them, unless it came in pieces).
    ///
    /// # Errors
    /// [`Violation`]: the connection must be closed; the front entry has got no or only a part of its reply.
    #[inline]
    pub(crate) fn received(
        &mut self,
        bytes: &[u8],
        now: Instant,
        done: impl FnMut(&'static Command, Instant, &[u8]),
    ) -> Result<(), Violation> {
        self.progress = now;
        let result = self.pair(bytes, done);
        self.window.answered(self.queue.front().map_or(u64::MAX, |front| front.start), now);
        result
    }

    #[inline]
    fn pair(
        &mut self,
        mut bytes: &[u8],
        mut done: impl FnMut(&'static Command, Instant, &[u8]),
    ) -> Result<(), Violation> {
        let written = self.out.written();
        if let Some(told) = self.told.as_mut().filter(|told| told.has_begun()) {
            bytes = told.take_all(bytes)?;
        }
        while !bytes.is_empty() {
            let Some(front) = self.queue.front_mut() else {
                bytes = self.told_beside(bytes, Violation::Stray)?;
                continue;
            };
            if front.end > written && !front.awaits_early_reply(written) {
                bytes = self.told_beside(bytes, Violation::Stray)?;
                continue;
            }
            if !self.partial.is_empty() || self.streaming {
                bytes = self.received_more(bytes, &mut done)?;
                continue;
            }
            match self.scanner.scan(bytes) {
                Ok(ReplyScan::Complete(len)) => {
                    let (reply, rest) = bytes.split_at(len);
                    if front.finish(reply, reply, &mut done)? {
                        self.queue.pop_front();
                    }
                    bytes = rest;
                }
                Err(why) => bytes = self.told_beside(bytes, why.into())?,
                Ok(ReplyScan::Partial(used)) => {
                    self.partial.extend_from_slice(bytes);
                    self.scanned = used;
                    self.stream_if_long();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Takes messages that stand where no reply does, or ends the connection for that reason.
    #[cold]
    fn told_beside<'b>(&mut self, bytes: &'b [u8], why: Violation) -> Result<&'b [u8], Violation> {
        match &mut self.told {
            Some(told) if bytes.first() == Some(&b'>') => Ok(told.take_all(bytes)?),
            _ => Err(why),
        }
    }

    /// Goes on with a reply that began in an earlier read; returns the bytes after what it took.
    fn received_more<'b>(
        &mut self,
        bytes: &'b [u8],
        done: &mut impl FnMut(&'static Command, Instant, &[u8]),
    ) -> Result<&'b [u8], Violation> {
        let Some(front) = self.queue.front_mut() else { return Err(Violation::Stray) };
        // inside a long string nothing need be gathered
        if self.streaming && self.partial.is_empty() {
            match self.scanner.scan(bytes)? {
                ReplyScan::Complete(len) => {
                    let (piece, rest) = bytes.split_at(len);
                    let answered = front.finish(piece, LONG_REPLY, done)?;
                    self.finish_reply(answered);
                    return Ok(rest);
                }
                ReplyScan::Partial(len) => {
                    front.pass(&bytes[..len]);
                    self.partial.extend_from_slice(&bytes[len..]);
                    self.scanned = 0;
                    return Ok(&[]);
                }
            }
        }
        // take what surely belongs to this reply, or a little more when that is not known
        let want = usize::try_from(self.scanner.awaited()).unwrap_or(usize::MAX).max(64);
        let (taken, rest) = bytes.split_at(want.min(bytes.len()));
        self.partial.extend_from_slice(taken);
        match self.scanner.scan(&self.partial[self.scanned..])? {
            ReplyScan::Complete(len) => {
                let end = self.scanned + len;
                let too_much = self.partial.len() - end;
                let reply = &self.partial[..end];
                let known = if self.streaming { LONG_REPLY } else { reply };
                let answered = front.finish(reply, known, done)?;
                self.finish_reply(answered);
                Ok(&bytes[taken.len() - too_much..])
            }
            ReplyScan::Partial(used) => {
                self.scanned += used;
                self.stream_if_long();
                Ok(rest)
            }
        }
    }

    fn finish_reply(&mut self, answered: bool) {
        if answered {
            self.queue.pop_front();
        }
        self.streaming = false;
        self.scanned = 0;
        self.partial.clear();
        self.partial.shrink_to(STREAM_BYTES);
    }

    /// Passes on what there is of a long reply.
    fn stream_if_long(&mut self) {
        let expected = self.partial.len() as u64 + self.scanner.awaited();
        if self.scanned == 0 || (!self.streaming && expected <= STREAM_BYTES as u64) {
            return;
        }
        if let Some(front) = self.queue.front() {
            front.pass(&self.partial[..self.scanned]);
            self.partial.drain(..self.scanned);
            self.scanned = 0;
            self.streaming = true;
        }
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
