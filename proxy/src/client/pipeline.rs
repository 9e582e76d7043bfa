//! One client's commands in their order, and the replies that may leave (law I2).
//!
//! ```text
//!   base
//!    │  slots: [waiting][done "…"][join 1/3][waiting]      replies come in any order
//!    ▼
//!   out: │ released replies, contiguous │ ──one write per turn──► client
//! ```
//! The reply to the front slot goes straight to `out`; any other is held until those before it have left. Published
//! messages go to `out` between two replies, whenever the confirmation of their subscription has left.
//! No IO. Replies for a slot that does not exist are dropped by the caller.

use std::collections::VecDeque;

use super::messages::Messages;
use super::spare::Spare;
use super::window::Window;
use crate::error::Failure;
use crate::near::WriteGuard;
use crate::resp::encode;
use crate::route::join::Joining;
use crate::upstream::When;

/// An output buffer larger than this is given back when it is empty, in bytes.
const KEEP_BYTES: usize = 64 * 1024;

#[derive(Debug)]
struct Slot {
    /// Bytes of the command, for the bound on what may wait.
    cost: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// No byte of the reply yet.
    Waiting,
    /// Some of the reply is held; more will come.
    Begun(Vec<u8>),
    /// Some of the reply is in `out`; more will come. Only the front slot.
    Leaving,
    /// The whole reply is held.
    Done(Vec<u8>),
    /// A split command collects its parts.
    Joining(Box<Joining>),
    /// What comes is read and dropped: the client wants no reply to this command.
    Silent,
}

/// A reply broke off after a part of it had left: the client cannot be told otherwise than by a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BrokenOff;

/// A place in a client's order, see [`Pipeline::silence_since`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    number: u64,
    written: usize,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    base: u64,
    slots: VecDeque<Slot>,
    /// Bytes of commands that wait.
    cost: usize,
    /// Bytes of replies that are held in slots.
    held: usize,
    out: Vec<u8>,
    out_at: usize,
    /// Published messages that may not leave yet.
    messages: Messages,
    /// What commands write, by their numbers, until their replies leave.
    guards: VecDeque<(u64, WriteGuard)>,
    /// Replies that became whole since someone asked.
    finished: u64,
    window: Window,
}

impl Pipeline {
    /// Takes a place for the reply of a command of `cost` bytes; returns its number.
    #[inline]
    pub(crate) fn wait(&mut self, cost: usize) -> u64 {
        self.push(cost, State::Waiting)
    }

    /// Takes a place for a split command.
    pub(crate) fn join(&mut self, cost: usize, joining: Box<Joining>) -> u64 {
        self.push(cost, State::Joining(joining))
    }

    #[inline]
    fn push(&mut self, cost: usize, state: State) -> u64 {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        self.cost += cost as usize;
        self.slots.push_back(Slot { cost, state });
        self.base + self.slots.len() as u64 - 1
    }

    /// Gives back the place that was taken last: its command was not sent after all.
    pub(crate) fn unwait(&mut self, spare: &mut Spare) {
        if let Some(slot) = self.slots.pop_back() {
            self.cost -= slot.cost as usize;
            if let State::Joining(joining) = slot.state {
                spare.give_joining(joining);
            }
        }
    }

    /// A reply that is ready at once, in its order.
    #[inline]
    pub(crate) fn answer(&mut self, spare: &mut Spare, write: impl FnOnce(&mut Vec<u8>)) {
        if self.slots.is_empty() {
            return write(&mut self.out);
        }
        let mut held = spare.take();
        write(&mut held);
        self.held += held.len();
        self.push(0, State::Done(held));
    }

    /// The next bytes of a reply; `last` with its end. Returns whether `out` grew.
    #[inline]
    pub(crate) fn reply(
        &mut self,
        number: u64,
        part: u16,
        bytes: &[u8],
        last: bool,
        spare: &mut Spare,
    ) -> bool {
        let at = number.wrapping_sub(self.base) as usize;
        let Some(slot) = self.slots.get_mut(at) else { return false };
        if at == 0 && matches!(slot.state, State::Waiting | State::Leaving) {
            self.out.extend_from_slice(bytes);
            if last {
                self.finished += 1;
                self.pop_front();
                self.release(spare);
            } else {
                slot.state = State::Leaving;
            }
            return true;
        }
        match &mut slot.state {
            State::Waiting => {
                let mut held = spare.take();
                held.extend_from_slice(bytes);
                self.held += bytes.len();
                self.finished += u64::from(last);
                slot.state = if last { State::Done(held) } else { State::Begun(held) };
            }
            State::Begun(held) => {
                held.extend_from_slice(bytes);
                self.held += bytes.len();
                if last {
                    self.finished += 1;
                    slot.state = State::Done(std::mem::take(held));
                }
            }
            State::Joining(joining) => {
                let before = joining.held();
                let whole = joining.reply(usize::from(part), bytes, last);
                // it grew, or gave up and gave everything back
                self.held = (self.held + joining.held()).saturating_sub(before);
                if whole {
                    self.joined(at, spare);
                }
            }
            State::Silent => {
                self.finished += u64::from(last);
                slot.state = if last { State::Done(Vec::new()) } else { State::Silent };
            }
            State::Leaving | State::Done(_) => {}
        }
        at == 0 && self.release(spare)
    }

    /// Whether the next bytes of this reply are the next the client is to see.
    pub(crate) fn is_next_to_leave(&self, number: u64) -> bool {
        let waits = |slot: &Slot| matches!(slot.state, State::Waiting | State::Leaving);
        number == self.base && self.out.is_empty() && self.slots.front().is_some_and(waits)
    }

    /// Whether this reply is put together from parts that are not all there.
    pub(crate) fn is_joining(&self, number: u64) -> bool {
        let slot = self.slots.get(number.wrapping_sub(self.base) as usize);
        slot.is_some_and(|slot| matches!(slot.state, State::Joining(_)))
    }

    /// No reply will come for this slot, or no more of it. Returns whether `out` grew.
    ///
    /// # Errors
    /// [`BrokenOff`] when a part of the reply has left already.
    pub(crate) fn fail(
        &mut self,
        number: u64,
        part: u16,
        failure: Failure<'_>,
        spare: &mut Spare,
    ) -> Result<bool, BrokenOff> {
        let at = number.wrapping_sub(self.base) as usize;
        let Some(slot) = self.slots.get_mut(at) else { return Ok(false) };
        match &mut slot.state {
            State::Leaving => return Err(BrokenOff),
            State::Done(_) => {}
            State::Waiting | State::Begun(_) => {
                if let State::Begun(held) = &slot.state {
                    self.held -= held.len();
                }
                let mut held = spare.take();
                encode::error(&mut held, &failure.text());
                self.held += held.len();
                self.finished += 1;
                slot.state = State::Done(held);
            }
            State::Joining(joining) => {
                if joining.fail(usize::from(part), failure.fate, &failure.text()) {
                    self.joined(at, spare);
                }
            }
            State::Silent => {
                self.finished += 1;
                slot.state = State::Done(Vec::new());
            }
        }
        Ok(at == 0 && self.release(spare))
    }

    /// Where the next command's replies will begin.
    pub(crate) fn mark(&self) -> Mark {
        Mark { number: self.base + self.slots.len() as u64, written: self.out.len() }
    }

    /// Whether all replies have left that stand before the mark.
    pub(crate) fn has_left(&self, mark: Mark) -> bool {
        self.base >= mark.number
    }

    /// The command that has taken a place since `mark`, if one has, writes this until its reply leaves.
    pub(crate) fn guard(&mut self, mark: Mark, guard: WriteGuard) {
        let next = self.mark().number;
        if next > mark.number {
            self.guards.push_back((next - 1, guard));
        }
    }

    /// The end of a command's reply is about to leave.
    pub(crate) fn end_guard(&mut self, number: u64) {
        if !self.is_joining(number) {
            self.guards.retain(|(guarded, _)| *guarded != number);
        }
    }

    /// Forgets everything but what is being written.
    pub(crate) fn discard(&mut self) {
        let guards = std::mem::take(&mut self.guards);
        *self = Self { guards, ..Self::default() };
    }

    /// Replies have left.
    #[cold]
    fn end_guards(&mut self) {
        while self.guards.front().is_some_and(|(number, _)| *number < self.base) {
            self.guards.pop_front();
        }
    }

    /// Drops what was answered since `mark`, and what will be: the places stay, so that order does (law I2). Nothing
    /// of it may have been written, nor any reply of a node have come in between.
    pub(crate) fn silence_since(&mut self, mark: Mark, spare: &mut Spare) {
        self.out.truncate(mark.written);
        for slot in self.slots.iter_mut().skip(mark.number.saturating_sub(self.base) as usize) {
            match &mut slot.state {
                // what a join does besides its reply it is still to do
                State::Joining(joining) => joining.silence(),
                State::Done(held) => {
                    self.held -= held.len();
                    spare.give(std::mem::take(held));
                }
                state => *state = State::Silent,
            }
        }
    }

    /// Replaces a complete join by its reply.
    fn joined(&mut self, at: usize, spare: &mut Spare) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let State::Joining(mut joining) = std::mem::replace(&mut slot.state, State::Waiting) else { return };
        self.held -= joining.held().min(self.held);
        // the front slot's reply goes straight out; an empty rest takes its place
        let mut held = Vec::new();
        if at == 0 {
            joining.finish(&mut self.out);
        } else {
            held = spare.take();
            joining.finish(&mut held);
        }
        spare.give_joining(joining);
        self.finished += 1;
        self.held += held.len();
        slot.state = State::Done(held);
    }

    #[inline]
    fn pop_front(&mut self) {
        if let Some(slot) = self.slots.pop_front() {
            self.cost -= slot.cost as usize;
            self.base += 1;
            if !self.guards.is_empty() {
                self.end_guards();
            }
            if !self.messages.is_empty() {
                self.release_messages();
            }
        }
    }

    /// A published message, its first byte and the rest; it leaves between two replies, and not before the reply to the
    /// command `number`, which confirms that it will come.
    pub(crate) fn message(&mut self, number: u64, head: u8, rest: &[u8]) {
        let is_inside = self.slots.front().is_some_and(|slot| matches!(slot.state, State::Leaving));
        if is_inside || self.base <= number || !self.messages.is_empty() {
            self.messages.push(number, head, rest);
        } else {
            self.out.push(head);
            self.out.extend_from_slice(rest);
        }
    }

    /// A message that a node has sent beside its replies: it leaves between two replies, and not before any to which
    /// something has come, or that is awaited.
    pub(crate) fn told(&mut self, message: &[u8], when: When) {
        let Some((head, rest)) = message.split_first() else { return };
        let is_before = |slot: &Slot| when == When::Last || !matches!(slot.state, State::Waiting);
        match self.slots.iter().rposition(is_before) {
            Some(at) => self.message(self.base + at as u64, *head, rest),
            None if self.messages.is_empty() => self.out.extend_from_slice(message),
            None => self.messages.push(0, *head, rest),
        }
    }

    /// A reply has left whole: messages may follow it.
    #[cold]
    fn release_messages(&mut self) {
        self.messages.release(self.base, &mut self.out);
    }

    /// Moves finished replies from the front to `out`; true if there were any.
    #[inline]
    fn release(&mut self, spare: &mut Spare) -> bool {
        let mut grew = false;
        while let Some(Slot { state: State::Done(held) | State::Begun(held), .. }) = self.slots.front_mut() {
            let held = std::mem::take(held);
            self.held -= held.len();
            if self.out.is_empty() && held.len() > KEEP_BYTES {
                self.out = held;
            } else {
                self.out.extend_from_slice(&held);
                spare.give(held);
            }
            grew = true;
            if let Some(slot) = self.slots.front_mut().filter(|slot| matches!(slot.state, State::Begun(_))) {
                slot.state = State::Leaving;
                break;
            }
            self.pop_front();
        }
        grew
    }

    /// Bytes that wait to be written.
    #[inline]
    pub(crate) fn unwritten(&self) -> &[u8] {
        &self.out[self.out_at..]
    }

    /// The kernel took `len` bytes of [`Pipeline::unwritten`].
    #[inline]
    pub(crate) fn wrote(&mut self, len: usize) {
        self.out_at += len;
        if self.out_at == self.out.len() {
            self.out.clear();
            self.out_at = 0;
            if self.out.capacity() > KEEP_BYTES {
                self.out = Vec::new();
            }
        } else if self.out_at > KEEP_BYTES && self.out_at > self.out.len() / 2 {
            self.out.drain(..self.out_at);
            self.out_at = 0;
        }
    }

    /// Gives the empty buffers back: the client is idle.
    pub(crate) fn shrink(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        if self.slots.is_empty() {
            self.slots = VecDeque::new();
            self.guards = VecDeque::new();
        }
    }

    /// Commands that wait for their reply.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many commands may wait, by what the replies so far were like.
    #[inline]
    pub(crate) fn most(&self) -> usize {
        self.window.most(self.base)
    }

    /// A piece of a long reply has come.
    pub(crate) fn long_reply(&mut self, bytes: usize) {
        self.window.long(bytes, self.base);
    }

    /// Whether the replies so far were short, or nearly all of them.
    pub(crate) fn is_of_short(&self) -> bool {
        self.window.is_of_short(self.base)
    }

    /// Whether no command waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Replies that became whole since the last call, other than those that were ready at once.
    #[inline]
    pub(crate) fn take_finished(&mut self) -> u64 {
        std::mem::take(&mut self.finished)
    }

    /// Commands whose reply is not whole.
    pub(crate) fn unfinished(&self) -> u64 {
        self.slots.iter().filter(|slot| !matches!(slot.state, State::Done(_))).count() as u64
    }

    /// Bytes of commands that wait.
    #[inline]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.cost
    }

    /// Bytes of memory held: replies and messages, written or not, and the places of commands.
    #[inline]
    pub(crate) fn held_bytes(&self) -> usize {
        self.out.len() + self.messages.len() + self.held + self.slots.capacity() * size_of::<Slot>()
    }

    /// Replies that are held until those before them have left, and their bytes.
    pub(crate) fn held(&self) -> (usize, usize) {
        let is_held =
            |slot: &&Slot| matches!(slot.state, State::Begun(_) | State::Done(_) | State::Joining(_));
        (self.slots.iter().filter(is_held).count(), self.held)
    }

    /// Bytes of memory that the buffer for replies takes up, and the places of commands.
    pub(crate) fn capacity(&self) -> (usize, usize) {
        (self.out.capacity(), self.slots.capacity() * size_of::<Slot>())
    }

    /// Bytes of replies that are kept for the client.
    #[inline]
    pub(crate) fn reply_bytes(&self) -> usize {
        self.out.len() - self.out_at + self.held + self.messages.len()
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
