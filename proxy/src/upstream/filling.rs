//! What is asked for on a connection on which a node tracks, to be kept, and what the node says: replies and invalidations
//! by turns.
//!
//! ```text
//!   ask ─► out ─► [SELECT n] GET k  PTTL k ─► node          asks: [select][read 7][life of 7][ping]   in this order
//!   node ─► frames:  reply of the first ask …  invalidate …  reply of the next
//! ```
//! No IO and no clock. The connection speaks RESP3. A reply that is longer than anybody wants is read and dropped; what does
//! not fit the first ask ends the connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::exchange::is_sign_of_life;
use super::tracking::INVALIDATION;
use crate::resp::reply::{self, ReplyScan, ReplyScanner};
use crate::resp::{Args, encode};

/// A buffer larger than this is given back when it is empty, in bytes.
const KEEP_BYTES: usize = 64 * 1024;
/// Bytes that may wait to be written: a node that takes no more is asked for no more.
const MOST_UNWRITTEN: usize = 256 * 1024;

#[derive(Debug, Clone, Copy)]
enum Ask {
    Select,
    Read,
    /// How long the key lives that was read under this number.
    Life(u64),
    Probe,
}

/// What the node has said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// What was asked for under this number; nothing when it was too long. With the time the key has to live, if it ends.
    Filled(u64, Option<Vec<u8>>, Option<Duration>),
    /// This key has changed.
    Changed(Vec<u8>),
    /// Every key may have changed.
    AllChanged,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Filling {
    asks: VecDeque<Ask>,
    out: Vec<u8>,
    out_at: usize,
    /// What was chosen by the last SELECT.
    database: u32,
    /// Longest reply that is wanted, in bytes.
    longest: usize,
    frame: Frame,
    /// The reply to the last read: nothing when it was too long.
    read: Option<Vec<u8>>,
    /// When the node last said something, or was first asked since it had nothing to say.
    progress: Instant,
}

/// A frame whose end has not come.
#[derive(Debug, Default)]
struct Frame {
    scanner: Option<ReplyScanner>,
    is_push: bool,
    /// What has come of it, as long as it is not too long.
    bytes: Vec<u8>,
    /// How many of `bytes` the scanner has used.
    scanned: usize,
    is_too_long: bool,
}

impl Filling {
    pub(super) fn new(longest: usize, now: Instant) -> Self {
        Self {
            asks: VecDeque::new(),
            out: Vec::new(),
            out_at: 0,
            database: 0,
            longest,
            frame: Frame::default(),
            read: None,
            progress: now,
        }
    }

    /// Asks for what `args` read of `key`, and how long that lives. False when too much waits already.
    pub(super) fn ask(
        &mut self,
        database: u32,
        args: Args<'_>,
        key: &[u8],
        number: u64,
        now: Instant,
    ) -> bool {
        if self.unwritten().len() > MOST_UNWRITTEN {
            return false;
        }
        if database != self.database {
            self.database = database;
            self.push(Ask::Select, now, |out| encode::request(out, &["SELECT", &database.to_string()]));
        }
        self.push(Ask::Read, now, |out| out.extend_from_slice(args.frame()));
        self.push(Ask::Life(number), now, |out| encode::request(out, &[b"PTTL", key]));
        true
    }

    /// Asks the node whether it is there.
    pub(super) fn probe(&mut self, now: Instant) {
        self.push(Ask::Probe, now, |out| encode::request(out, &["PING"]));
    }

    fn push(&mut self, ask: Ask, now: Instant, write: impl FnOnce(&mut Vec<u8>)) {
        if self.asks.is_empty() {
            self.progress = now;
        }
        write(&mut self.out);
        self.asks.push_back(ask);
    }

    /// A new connection: nothing was said on it.
    pub(super) fn arrived(&mut self, now: Instant) {
        *self = Self::new(self.longest, now);
    }

    /// Whether the node has left asks unanswered for `limit` without a sign of life.
    pub(super) fn is_stalled(&self, now: Instant, limit: Duration) -> bool {
        !self.asks.is_empty() && now.saturating_duration_since(self.progress) > limit
    }

    /// Whether nothing is asked and nothing was heard for `limit`.
    pub(super) fn is_silent(&self, now: Instant, limit: Duration) -> bool {
        self.asks.is_empty() && now.saturating_duration_since(self.progress) > limit
    }

    /// A stall of this process is no stall of the node: counts from `now` again.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.progress = now;
    }

    /// Bytes that wait to be written.
    pub(super) fn unwritten(&self) -> &[u8] {
        &self.out[self.out_at..]
    }

    /// The kernel took `len` bytes of [`Filling::unwritten`].
    pub(super) fn wrote(&mut self, len: usize) {
        self.out_at += len;
        if self.out_at == self.out.len() {
            self.out.clear();
            self.out_at = 0;
            self.out.shrink_to(KEEP_BYTES);
        }
    }

    /// Takes what the node said.
    ///
    /// # Errors
    /// Why the connection must be closed.
    pub(super) fn received(
        &mut self,
        mut bytes: &[u8],
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Result<(), String> {
        self.progress = now;
        while let Some(rest) = self.frame.take(bytes, self.longest)? {
            bytes = rest;
            let Frame { is_push, bytes: frame, is_too_long, .. } = std::mem::take(&mut self.frame);
            let frame = Some(frame).filter(|_| !is_too_long);
            if is_push {
                pushed(frame.as_deref(), events);
            } else {
                self.answered(frame, events)?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, frame: Option<Vec<u8>>, events: &mut Vec<Event>) -> Result<(), String> {
        let ask = self.asks.pop_front().ok_or("it sent a reply that nobody awaits")?;
        match (ask, frame) {
            (Ask::Read, frame) => self.read = frame,
            (Ask::Life(number), Some(frame)) => {
                // -1: for ever; -2: there is no such key; an error: nothing is known of it
                let life = reply::integer(&frame);
                let read = self.read.take().filter(|_| life.is_some());
                let life = life.and_then(|life| u64::try_from(life).ok()).map(Duration::from_millis);
                events.push(Event::Filled(number, read, life));
            }
            (Ask::Probe, Some(frame)) if frame == b"+PONG\r\n" || is_sign_of_life(&frame) => {}
            // what follows would be read in another database
            (Ask::Select, Some(frame)) if frame == b"+OK\r\n" => {}
            (Ask::Select, _) => return Err("it refuses the database".into()),
            (Ask::Probe | Ask::Life(_), _) => return Err("it does not answer as Redis does".into()),
        }
        Ok(())
    }
}

impl Frame {
    /// Takes more of the frame from the start of `bytes`; what follows when it is whole, `None` when it is not.
    fn take<'b>(&mut self, bytes: &'b [u8], longest: usize) -> Result<Option<&'b [u8]>, String> {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        loop {
            let unscanned = &self.bytes[self.scanned..];
            let Some(scanner) = &mut self.scanner else {
                let Some(kind) = unscanned.first() else { return Ok(None) };
                self.is_push = *kind == b'>';
                let mut begun = Some((ReplyScanner::default(), 0));
                if self.is_push {
                    begun = ReplyScanner::of_push(unscanned).map_err(|error| error.to_string())?;
                }
                let Some((scanner, used)) = begun else { return Ok(None) };
                self.scanner = Some(scanner);
                self.scanned += used;
                continue;
            };
            return match scanner.scan(unscanned).map_err(|error| error.to_string())? {
                ReplyScan::Complete(len) => {
                    let end = self.scanned + len;
                    // bytes that were here before belong to this frame
                    let rest = &bytes[end.saturating_sub(before).min(bytes.len())..];
                    self.bytes.truncate(end);
                    self.is_too_long |= end > longest;
                    Ok(Some(rest))
                }
                ReplyScan::Partial(used) => {
                    self.scanned += used;
                    if self.scanned > longest {
                        self.is_too_long = true;
                        self.bytes.drain(..self.scanned);
                        self.scanned = 0;
                    }
                    Ok(None)
                }
            };
        }
    }
}

/// Takes a message; others than invalidations are nobody's.
fn pushed(frame: Option<&[u8]>, events: &mut Vec<Event>) {
    let Some(frame) = frame else { return events.push(Event::AllChanged) };
    let Some(keys) = frame.strip_prefix(INVALIDATION) else { return };
    match reply::elements(keys) {
        Some(keys) => {
            events.extend(keys.filter_map(reply::bulk).map(|key| Event::Changed(key.to_vec())));
        }
        None => events.push(Event::AllChanged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Span;
    use crate::resp::request::{RequestBounds, RequestScanner};

    fn ask(filling: &mut Filling, database: u32, words: &[&str], number: u64) {
        let (mut frame, mut spans): (Vec<u8>, Vec<Span>) = Default::default();
        encode::request(&mut frame, words);
        let bounds = RequestBounds { authenticated: true, command_bytes: usize::MAX };
        RequestScanner::default().scan(&frame, bounds, &mut spans).unwrap();
        let args = Args::new(&frame, &spans);
        assert!(filling.ask(database, args, args.get(1).unwrap(), number, Instant::now()));
    }

    /// What comes of bytes that arrive in pieces of every length.
    fn heard(prepare: impl Fn(&mut Filling), said: &[u8]) -> Vec<Event> {
        let mut all = None;
        for piece in 1..=said.len() {
            let now = Instant::now();
            let mut filling = Filling::new(64, now);
            prepare(&mut filling);
            let mut events = Vec::new();
            for bytes in said.chunks(piece) {
                filling.received(bytes, now, &mut events).unwrap();
            }
            assert!(filling.frame.bytes.is_empty() && filling.asks.is_empty(), "in pieces of {piece}");
            assert_eq!(all.get_or_insert_with(|| events.iter().map(same).collect::<Vec<_>>()), &events);
        }
        all.unwrap()
    }

    fn same(event: &Event) -> Event {
        match event {
            Event::Filled(number, read, life) => Event::Filled(*number, read.clone(), *life),
            Event::Changed(key) => Event::Changed(key.clone()),
            Event::AllChanged => Event::AllChanged,
        }
    }

    #[test]
    fn answers_and_messages_are_told_apart_however_they_arrive() {
        let said = b"+OK\r\n$1\r\na\r\n>2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\nk\r\n$1\r\nl\r\n:1500\r\n\
            >2\r\n$10\r\ninvalidate\r\n_\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n_\r\n:-2\r\n+PONG\r\n";
        let events = heard(
            |filling| {
                ask(filling, 3, &["GET", "k"], 7);
                ask(filling, 3, &["GET", "gone"], 8);
                filling.probe(Instant::now());
            },
            said,
        );
        let life = Some(Duration::from_millis(1500));
        assert_eq!(
            events,
            [
                Event::Changed(b"k".into()),
                Event::Changed(b"l".into()),
                Event::Filled(7, Some(b"$1\r\na\r\n".into()), life),
                Event::AllChanged,
                Event::Filled(8, Some(b"_\r\n".into()), None),
            ]
        );
    }

    #[test]
    fn a_reply_that_is_too_long_is_dropped_and_the_next_one_is_not() {
        let long = [b"$1000\r\n", &[b'x'; 1000][..], b"\r\n:-1\r\n$1\r\na\r\n:-1\r\n"].concat();
        let events = heard(
            |filling| {
                ask(filling, 0, &["GET", "k"], 1);
                ask(filling, 0, &["GET", "l"], 2);
            },
            &long,
        );
        assert_eq!(
            events,
            [Event::Filled(1, None, None), Event::Filled(2, Some(b"$1\r\na\r\n".into()), None)]
        );
    }

    #[test]
    fn what_is_kept_of_a_long_reply_is_bounded() {
        let now = Instant::now();
        let mut filling = Filling::new(64, now);
        ask(&mut filling, 0, &["GET", "k"], 1);
        filling.received(b"$100000000\r\n", now, &mut Vec::new()).unwrap();
        for _ in 0..1000 {
            filling.received(&[b'x'; 1000], now, &mut Vec::new()).unwrap();
            assert!(filling.frame.bytes.len() < 2000);
        }
    }

    #[test]
    fn a_node_that_refuses_a_database_is_left() {
        let now = Instant::now();
        let mut filling = Filling::new(64, now);
        ask(&mut filling, 3, &["GET", "k"], 7);
        assert!(filling.received(b"-ERR DB index is out of range\r\n", now, &mut Vec::new()).is_err());
        let mut filling = Filling::new(64, now);
        assert!(filling.received(b"$1\r\na\r\n", now, &mut Vec::new()).is_err(), "nothing was asked");
    }
}
