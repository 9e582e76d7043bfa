//! Scripts and functions that clients made known, kept for nodes that join or restart later.
//!
//! ```text
//!   SCRIPT LOAD ────► all nodes          a new connection to a node: AUTH …, SCRIPT LOAD for each kept script,
//!   FUNCTION LOAD ──► all nodes ok                                   FUNCTION LOAD for each kept library, PING
//!        └──► kept (bounded) ──────────►
//! ```
//! Only what SCRIPT LOAD named is kept, not what EVAL ran: a script that EVAL made known is lost with its node, as
//! with a single server. Loading a script is idempotent and a library is loaded without REPLACE, which a node that has
//! it refuses: so every connection may do it. A library is kept when all nodes took it, since loading can fail. It is
//! forgotten when its deletion is sent, so that no connection brings it back meanwhile, and again when that is done,
//! since the reply to a LOAD of the same pipeline may have come in between. Nothing here is on the way of a command with
//! keys.

mod payload;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use crate::limits::{SCRIPT_BYTES, SCRIPTS};
use crate::resp::inline;

/// Something to load on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// A script's text.
    Script(Arc<[u8]>),
    /// A library's code.
    Library(Arc<[u8]>),
}

impl Known {
    /// The request that makes it known.
    pub(crate) fn request(&self) -> [&[u8]; 3] {
        match self {
            Known::Script(text) => [b"SCRIPT", b"LOAD", text],
            Known::Library(code) => [b"FUNCTION", b"LOAD", code],
        }
    }
}

/// What all nodes have learned, to be taken over when they have said so.
#[derive(Debug)]
pub(crate) enum Lesson {
    /// FUNCTION LOAD: the code.
    Library(Box<[u8]>),
    /// FUNCTION RESTORE: the payload of FUNCTION DUMP, and whether it takes the place of all there was.
    Dump(Box<[u8]>, bool),
    /// FUNCTION DELETE: the name.
    Deleted(Box<[u8]>),
    /// FUNCTION FLUSH.
    Flushed,
}

/// See the head of this file. Shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Scripts(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    scripts: Shelf,
    libraries: Shelf,
}

impl Scripts {
    /// Keeps a script; the oldest make room.
    pub(crate) fn keep(&self, script: &[u8]) {
        self.kept().scripts.put(script, |known| known == script);
    }

    /// Forgets all scripts, as SCRIPT FLUSH does.
    pub(crate) fn forget(&self) {
        self.kept().scripts = Shelf::default();
    }

    /// Takes over what all nodes did. Of the libraries to keep the oldest make room.
    pub(crate) fn learn(&self, lesson: &Lesson) {
        let mut kept = self.kept();
        let libraries = match lesson {
            Lesson::Library(code) => vec![code.to_vec()],
            Lesson::Deleted(name) => {
                kept.libraries.take(|known| library_name(known).as_deref() == Some(name));
                Vec::new()
            }
            Lesson::Flushed => {
                kept.libraries = Shelf::default();
                Vec::new()
            }
            Lesson::Dump(payload, alone) => {
                if *alone {
                    kept.libraries = Shelf::default();
                }
                // a form that is newer than this code: nodes that join later cannot be told
                payload::libraries(payload).unwrap_or_default()
            }
        };
        for code in &libraries {
            let name = library_name(code);
            kept.libraries.put(code, |known| library_name(known) == name);
        }
    }

    /// All that are kept, scripts first, of each the oldest first.
    pub(crate) fn all(&self) -> Vec<Known> {
        let kept = self.kept();
        let scripts = kept.scripts.texts.iter().cloned().map(Known::Script);
        scripts.chain(kept.libraries.texts.iter().cloned().map(Known::Library)).collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same for two payloads of FUNCTION DUMP with the same libraries, which each server lists in an order of its own.
pub(crate) fn summary(payload: &[u8]) -> u64 {
    match payload::libraries(payload) {
        Some(libraries) => libraries.iter().fold(0, |sum, code| sum.wrapping_add(xxh3_64(code))),
        // a form that is newer than this code, or too much to look into: the same bytes at least are the same
        None => xxh3_64(payload),
    }
}

/// The name in the first line of a library, `#!lua name=…`.
fn library_name(code: &[u8]) -> Option<Vec<u8>> {
    let line = code.split(|byte| *byte == b'\n').next()?;
    let words = inline::split(line).ok()?;
    words.iter().find_map(|word| word.strip_prefix(b"name=").map(<[u8]>::to_vec))
}

/// Texts within bounds, the oldest first.
#[derive(Debug, Default)]
struct Shelf {
    texts: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

impl Shelf {
    /// Puts a text on, in the place of those that are the same to it.
    fn put(&mut self, text: &[u8], is_same: impl Fn(&[u8]) -> bool) {
        self.take(is_same);
        if text.len() > SCRIPT_BYTES {
            return;
        }
        self.bytes += text.len();
        self.texts.push_back(text.into());
        while self.texts.len() > SCRIPTS || self.bytes > SCRIPT_BYTES {
            let oldest = self.texts.pop_front().map_or(0, |text| text.len());
            self.bytes -= oldest;
        }
    }

    fn take(&mut self, is_this: impl Fn(&[u8]) -> bool) {
        self.texts.retain(|known| !is_this(known));
        self.bytes = self.texts.iter().map(|text| text.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scripts: &Scripts) -> Vec<Arc<[u8]>> {
        let all = scripts.all().into_iter();
        all.map(|known| match known {
            Known::Script(text) | Known::Library(text) => text,
        })
        .collect()
    }

    #[test]
    fn i6_the_newest_are_kept_within_number_and_bytes() {
        let scripts = Scripts::default();
        for number in 0..SCRIPTS + 10 {
            scripts.keep(format!("return {number}").as_bytes());
        }
        scripts.keep(b"return 20");
        let all = texts(&scripts);
        assert_eq!(
            (all.len(), &*all[0], &*all[SCRIPTS - 1]),
            (SCRIPTS, &b"return 10"[..], &b"return 20"[..])
        );
        scripts.keep(&vec![b' '; SCRIPT_BYTES + 1]);
        assert_eq!(scripts.all().len(), SCRIPTS);
        scripts.keep(&vec![b' '; SCRIPT_BYTES]);
        assert_eq!(scripts.all().len(), 1);
        scripts.forget();
        assert!(scripts.all().is_empty());
        scripts.keep(b"x");
        assert_eq!(scripts.kept().scripts.bytes, 1);
    }

    #[test]
    fn a_library_takes_the_place_of_the_one_of_its_name() {
        let scripts = Scripts::default();
        let learn = |code: &[u8]| scripts.learn(&Lesson::Library(code.into()));
        learn(b"#!lua name=one\nold");
        learn(b"#!lua name=two\nx");
        learn(b"#!lua  \"name=one\"\nnew");
        scripts.keep(b"return 1");
        let known = scripts.all();
        assert_eq!(known[0].request(), [&b"SCRIPT"[..], b"LOAD", b"return 1"]);
        assert_eq!(known[1].request(), [&b"FUNCTION"[..], b"LOAD", b"#!lua name=two\nx"]);
        assert_eq!(known[2].request(), [&b"FUNCTION"[..], b"LOAD", b"#!lua  \"name=one\"\nnew"]);
        scripts.learn(&Lesson::Deleted((*b"two").into()));
        scripts.learn(&Lesson::Deleted((*b"none").into()));
        assert_eq!(scripts.all().len(), 2);
        scripts.learn(&Lesson::Flushed);
        assert_eq!(texts(&scripts), [Arc::from(&b"return 1"[..])]);
    }
}
