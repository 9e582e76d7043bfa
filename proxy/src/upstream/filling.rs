//! What is asked for on a connection on which a node tracks, to be kept, and what the node says: replies and invalidations
//! by turns.
//!
//! ```text
//!   ask ─► out ─► [SELECT n] PTTL k  GET k ─► node          asks: [select][life][read 7][ping]        in this order
//!   node ─► frames:  reply of the first ask …  invalidate …  reply of the next
//! ```
//! The time to live is asked for first, so that none is missed that ends or changes in between: the node tracks from then
//! on. No IO and no clock. The connection speaks RESP3. A reply that is longer than anybody wants is read and dropped; what does
//! not fit the first ask ends the connection.

use std::time::{Duration, Instant};

use super::asking::Asking;
use super::exchange::is_sign_of_life;
use super::tracking::INVALIDATION;
use crate::resp::encode;
use crate::resp::reply::{self, ReplyScan, ReplyScanner};

/// Bytes that may wait to be written: a node that takes no more is asked for no more.
const MOST_UNWRITTEN: usize = 256 * 1024;

/// Why a node is left.
const STRANGE: &str = "it does not answer as Redis does";

/// What the node is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask {
    Select(u32),
    /// How long the key lives that is read next.
    Life,
    /// What is to be kept under this number.
    Read(u64),
    /// Whether it is there.
    Probe,
}

/// What is known of how long a key lives.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Life {
    Ends(Duration),
    /// It has no end, or there is no key.
    Endless,
    /// The node's words, an error.
    Refused(Vec<u8>),
}

/// What the node has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// What was asked for under this number; nothing when it was too long. With the time the key has to live, if it ends.
    Filled(u64, Option<Vec<u8>>, Option<Duration>),
    /// What was asked for under this number was not answered, or not from where it was to be.
    Failed(u64),
    /// This key has changed.
    Changed(Vec<u8>),
    /// Every key may have changed.
    AllChanged,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) asking: Asking<Ask>,
    /// What the last SELECT asks for.
    database: Option<u32>,
    /// What the node does not have.
    refused: Vec<u32>,
    /// The last SELECT was refused: what is answered comes from elsewhere.
    astray: bool,
    /// Longest reply that is wanted, in bytes.
    longest: usize,
    frame: Frame,
    /// Of the key that is read next.
    life: Life,
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
            asking: Asking::new(now),
            database: Some(0),
            refused: Vec::new(),
            astray: false,
            longest,
            frame: Frame::default(),
            life: Life::Endless,
        }
    }

    /// Asks for what the request reads of `key` that `write` appends, and how long the key lives. False when too much waits
    /// already, or the node does not have the database.
    pub(super) fn ask(
        &mut self,
        database: u32,
        key: &[u8],
        number: u64,
        now: Instant,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        if self.asking.unwritten().len() > MOST_UNWRITTEN || self.refused.contains(&database) {
            return false;
        }
        if self.database != Some(database) {
            self.database = Some(database);
            let select = |out: &mut Vec<u8>| encode::request(out, &["SELECT", &database.to_string()]);
            self.asking.push(Ask::Select(database), now, select);
        }
        self.asking.push(Ask::Life, now, |out| encode::request(out, &[b"PTTL", key]));
        self.asking.push(Ask::Read(number), now, write);
        true
    }

    /// A new connection: nothing was said on it.
    pub(super) fn arrived(&mut self, now: Instant) {
        *self = Self::new(self.longest, now);
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
        while let Some(rest) = self.frame.take(bytes, self.longest)? {
            bytes = rest;
            let Frame { is_push, bytes: frame, is_too_long, .. } = std::mem::take(&mut self.frame);
            let frame = Some(frame).filter(|_| !is_too_long);
            if is_push {
                pushed(frame.as_deref(), events);
            } else {
                self.asking.heard(now);
                self.answered(frame, events)?;
            }
        }
        // who only tells of changes does not answer
        if self.asking.is_empty() || self.frame.scanner.is_some() && !self.frame.is_push {
            self.asking.heard(now);
        }
        Ok(())
    }

    fn answered(&mut self, frame: Option<Vec<u8>>, events: &mut Vec<Event>) -> Result<(), String> {
        let ask = self.asking.take().ok_or("it sent a reply that nobody awaits")?;
        match (ask, frame) {
            (Ask::Select(_), Some(frame)) if frame == b"+OK\r\n" => self.astray = false,
            (Ask::Select(database), Some(frame)) if frame.starts_with(b"-") => {
                self.astray = true;
                self.refused.push(database);
                if self.database == Some(database) {
                    self.database = None;
                }
            }
            (Ask::Life, Some(frame)) => {
                self.life = match reply::integer(&frame) {
                    Some(life) => u64::try_from(life)
                        .map_or(Life::Endless, |life| Life::Ends(Duration::from_millis(life))),
                    None if frame.starts_with(b"-") => Life::Refused(frame),
                    None => return Err(STRANGE.into()),
                };
            }
            (Ask::Read(number), frame) => {
                let event = match std::mem::replace(&mut self.life, Life::Endless) {
                    _ if self.astray => Event::Failed(number),
                    Life::Endless => Event::Filled(number, frame, None),
                    Life::Ends(life) => Event::Filled(number, frame, Some(life)),
                    Life::Refused(words) => Event::Filled(number, Some(words), None),
                };
                events.push(event);
            }
            (Ask::Probe, Some(frame)) if frame == b"+PONG\r\n" || is_sign_of_life(&frame) => {}
            (Ask::Select(_) | Ask::Life | Ask::Probe, _) => return Err(STRANGE.into()),
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
    let mut all_changed = || {
        if events.last() != Some(&Event::AllChanged) {
            events.push(Event::AllChanged);
        }
    };
    let Some(frame) = frame else { return all_changed() };
    let Some(keys) = frame.strip_prefix(INVALIDATION) else { return };
    match reply::elements(keys) {
        Some(keys) => {
            events.extend(keys.filter_map(reply::bulk).map(|key| Event::Changed(key.to_vec())));
        }
        None => all_changed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(filling: &mut Filling, database: u32, words: &[&str], number: u64) {
        let write = |out: &mut Vec<u8>| encode::request(out, words);
        assert!(filling.ask(database, words[1].as_bytes(), number, Instant::now(), write));
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
            assert!(filling.frame.bytes.is_empty() && filling.asking.is_empty(), "in pieces of {piece}");
            assert_eq!(all.get_or_insert_with(|| events.clone()), &events);
        }
        all.unwrap()
    }

    #[test]
    fn answers_and_messages_are_told_apart_however_they_arrive() {
        let said = b"+OK\r\n:1500\r\n>2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\nk\r\n$1\r\nl\r\n$1\r\na\r\n\
            >2\r\n$10\r\ninvalidate\r\n_\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n:-2\r\n_\r\n+PONG\r\n";
        let events = heard(
            |filling| {
                ask(filling, 3, &["GET", "k"], 7);
                ask(filling, 3, &["GET", "gone"], 8);
                filling.asking.push(Ask::Probe, Instant::now(), |_| {});
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
        let long = [b":-1\r\n$1000\r\n", &[b'x'; 1000][..], b"\r\n:-1\r\n$1\r\na\r\n"].concat();
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
        filling.received(b":-1\r\n$100000000\r\n", now, &mut Vec::new()).unwrap();
        for _ in 0..1000 {
            filling.received(&[b'x'; 1000], now, &mut Vec::new()).unwrap();
            assert!(filling.frame.bytes.len() < 2000);
        }
    }

    #[test]
    fn what_is_read_in_another_database_than_it_was_to_be_is_not_kept() {
        let a = || Some(b"$1\r\na\r\n".into());
        let said =
            b"-ERR DB index is out of range\r\n:-1\r\n$1\r\na\r\n:-1\r\n$1\r\na\r\n+OK\r\n:-1\r\n$1\r\na\r\n";
        let events = heard(
            |filling| {
                ask(filling, 3, &["GET", "k"], 1);
                ask(filling, 3, &["GET", "l"], 2);
                ask(filling, 0, &["GET", "k"], 3);
            },
            said,
        );
        assert_eq!(events, [Event::Failed(1), Event::Failed(2), Event::Filled(3, a(), None)]);
        // it is not asked for there again, and the next one says where
        let now = Instant::now();
        let mut filling = Filling::new(64, now);
        ask(&mut filling, 3, &["GET", "k"], 1);
        filling.asking.wrote(filling.asking.unwritten().len());
        filling.received(b"-ERR x\r\n:-1\r\n_\r\n", now, &mut Vec::new()).unwrap();
        assert!(!filling.ask(3, b"k", 2, now, |_| {}));
        ask(&mut filling, 0, &["GET", "k"], 3);
        assert!(filling.asking.unwritten().starts_with(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"));
    }

    #[test]
    fn a_node_that_refuses_to_tell_of_lives_is_told_of_as_an_error() {
        let events = heard(|filling| ask(filling, 0, &["GET", "k"], 1), b"-NOPERM x\r\n$1\r\na\r\n");
        assert_eq!(events, [Event::Filled(1, Some(b"-NOPERM x\r\n".into()), None)]);
    }

    #[test]
    fn a_node_that_only_tells_of_changes_does_not_answer() {
        let (start, limit) = (Instant::now(), Duration::from_secs(1));
        let mut filling = Filling::new(64, start);
        ask(&mut filling, 0, &["GET", "k"], 1);
        let (later, mut events) = (start + 2 * limit, Vec::new());
        for _ in 0..1000 {
            filling.received(b">2\r\n$10\r\ninvalidate\r\n_\r\n", later, &mut events).unwrap();
        }
        assert!(filling.asking.is_stalled(later, limit));
        assert_eq!(events, [Event::AllChanged], "once is enough");
        filling.received(b":-1\r\n$1", later, &mut events).unwrap();
        assert!(!filling.asking.is_stalled(later, limit));
        assert!(filling.received(b"\r\na\r\n$1\r\na\r\n", later, &mut events).is_err(), "nobody asked");
    }

    #[test]
    fn what_waits_to_be_written_is_bounded() {
        let now = Instant::now();
        let mut filling = Filling::new(64, now);
        let most =
            (0..).find(|number| !filling.ask(0, b"k", *number, now, |out| out.resize(out.len() + 999, 0)));
        assert!(most.unwrap() > 200 && filling.asking.unwritten().len() < MOST_UNWRITTEN + 2000);
    }
}
