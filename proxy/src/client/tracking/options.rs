//! What follows `CLIENT TRACKING ON`, and which of it goes together; in Redis's order and words.

use crate::resp::Args;
use crate::resp::request::parse_number;
use crate::upstream::{Wish, Words};

use super::super::client_commands::SYNTAX;

/// Most prefixes of one client, and most bytes of all of them: each is held against all others.
const MOST_PREFIXES: usize = 1024;
const PREFIX_BYTES: usize = 64 * 1024;

const TOO_MANY_PREFIXES: &str = "ERR too many prefixes for one client";
const OTHER_BCAST: &str = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.";
const OTHER_OPT: &str = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.";
const TWO_REDIRECTS: &str = "ERR A client can only redirect to a single other client";
/// Nobody has the number to which messages are to be redirected.
pub(super) const NO_SUCH_CLIENT: &str = "ERR The client ID you want redirect to does not exist";

/// How a client tracks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::client) struct Options {
    pub(super) bcast: bool,
    pub(super) optin: bool,
    pub(super) optout: bool,
    pub(super) noloop: bool,
    pub(super) prefixes: Vec<Box<[u8]>>,
    /// The number of the client that is to be told.
    pub(super) redirect: Option<u64>,
}

impl Options {
    /// Reads the options of `CLIENT TRACKING`.
    pub(super) fn parse(args: Args<'_>) -> Result<Self, String> {
        let (mut options, mut at) = (Self::default(), 3);
        while let Some(option) = args.get(at) {
            let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
            let value = args.get(at + 1);
            at += 1;
            match value {
                Some(_) if is("redirect") && options.redirect.is_some() => return Err(TWO_REDIRECTS.into()),
                Some(id) if is("redirect") => {
                    let id = parse_number(id).ok_or("ERR value is not an integer or out of range")?;
                    let id = u64::try_from(id).ok().filter(|id| *id > 0);
                    options.redirect = Some(id.ok_or(NO_SUCH_CLIENT)?);
                    at += 1;
                }
                Some(prefix) if is("prefix") => {
                    options.prefixes.push(prefix.into());
                    at += 1;
                }
                _ if is("bcast") => options.bcast = true,
                _ if is("optin") => options.optin = true,
                _ if is("optout") => options.optout = true,
                _ if is("noloop") => options.noloop = true,
                _ => return Err(SYNTAX.into()),
            }
        }
        Ok(options)
    }

    /// Refuses what contradicts itself or how the client tracks `now`. Takes over the prefixes that it has.
    pub(super) fn check(mut self, now: Option<&Self>) -> Result<Self, String> {
        if !self.bcast && !self.prefixes.is_empty() {
            return Err("ERR PREFIX option requires BCAST mode to be enabled".into());
        }
        if now.is_some_and(|now| now.bcast != self.bcast) {
            return Err(OTHER_BCAST.into());
        }
        if self.bcast && (self.optin || self.optout) {
            return Err("ERR OPTIN and OPTOUT are not compatible with BCAST".into());
        }
        if self.optin && self.optout {
            return Err("ERR You can't specify both OPTIN mode and OPTOUT mode".into());
        }
        if now.is_some_and(|now| self.optin && now.optout || self.optout && now.optin) {
            return Err(OTHER_OPT.into());
        }
        let known = now.map_or(&[][..], |now| &now.prefixes);
        let all = || known.iter().chain(&self.prefixes);
        if all().count() > MOST_PREFIXES || all().map(|prefix| prefix.len()).sum::<usize>() > PREFIX_BYTES {
            return Err(TOO_MANY_PREFIXES.into());
        }
        // whoever names none hears of all keys
        let hears_all =
            self.bcast && self.prefixes.is_empty() && !known.iter().any(|prefix| prefix.is_empty());
        for (at, prefix) in self.prefixes.iter().enumerate() {
            let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
            let among = |others: &'_ [Box<[u8]>]| others.iter().find(|other| overlap(other, prefix)).cloned();
            let of = match (among(known), among(&self.prefixes[at + 1..])) {
                (Some(other), _) => ("an existing", other),
                (None, Some(other)) => ("another provided", other),
                (None, None) => continue,
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(128)]).into_owned();
            return Err(format!(
                "ERR Prefix '{}' overlaps with {} prefix '{}'. Prefixes for a single client must not overlap.",
                text(prefix),
                of.0,
                text(&of.1)
            ));
        }
        self.prefixes.extend(known.iter().cloned());
        self.prefixes.extend(hears_all.then(Box::default));
        self.prefixes.sort_unstable();
        Ok(self)
    }

    /// The flags that a client would name, of those that hold.
    pub(super) fn flags(&self) -> impl Iterator<Item = &'static str> {
        let all =
            [("bcast", self.bcast), ("optin", self.optin), ("optout", self.optout), ("noloop", self.noloop)];
        all.into_iter().filter(|(_, holds)| *holds).map(|(flag, _)| flag)
    }

    /// What has a node track like this for the connection on which it comes. Who is told is not the node's to know.
    pub(super) fn words(&self) -> Words {
        let mut words: Words = ["CLIENT", "TRACKING", "ON"].map(|word| word.as_bytes().into()).into();
        words.extend(self.flags().map(|flag| flag.as_bytes().into()));
        // with none a node tells of all keys, and beside an empty one it takes no other
        let prefixes =
            if self.prefixes.iter().any(|prefix| prefix.is_empty()) { &[] } else { &self.prefixes[..] };
        words.extend(prefixes.iter().flat_map(|prefix| [(*b"PREFIX").into(), prefix.clone()]));
        words
    }

    /// What its connections are to ask for.
    pub(super) fn wish(&self) -> Wish {
        Wish { words: self.words(), opts_in: self.optin, broadcast: self.bcast }
    }
}
