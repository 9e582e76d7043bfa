//! Asks sentinels where the masters are for which nodes of the topology stand, and tells [`Masters`].
//!
//! ```text
//!   each sentinel, each second, and at once when somebody is in doubt:
//!     SENTINEL MASTERS, GET-MASTER-ADDR-BY-NAME ──► Judge ──► Masters ──► whoever is connected elsewhere connects anew
//! ```
//! All are asked, since one that has slept, or is cut off, names a master of the past, and each at its own pace, since one
//! that hangs must not hold up the others. Which answer is newer tells the configuration epoch, which grows with each
//! failover. One worker does this for all. See "Configuration propagation" in Redis's documentation of Sentinel.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::Shared;
use crate::masters::Sentinel;
use crate::net::Endpoint;
use crate::resp::encode;
use crate::resp::reply::{bulk, elements, is_nil};
use crate::settings::{NodeSpec, Sentinels};
use crate::topology::NodeAddress;
use crate::upstream::ask_once;

/// How often each is asked while all is well.
const EVERY: Duration = Duration::from_secs(1);
/// The least time between two questions to one, however many are in doubt.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one may take to answer.
const LONGEST: Duration = Duration::from_secs(1);
/// How long most sentinels must contradict what is believed, and none say it, until they are believed: when they were set
/// up anew they count from zero, and an address may be changed by hand.
const RELENTS_AFTER: Duration = Duration::from_secs(10);
/// Longest answer, in bytes. A master takes about one KiB of it.
const ANSWER_BYTES: usize = 1024 * 1024;

/// Follows the sentinels as long as the proxy lives.
pub(crate) async fn follow(settings: Sentinels, shared: Arc<Shared>) {
    let judge = Rc::new(RefCell::new(Judge::new(settings.addresses.len())));
    let asking: Vec<_> = (settings.addresses.iter().enumerate())
        .map(|(at, address)| {
            let spec = NodeSpec {
                credentials: settings.credentials.clone(),
                ..NodeSpec::new("sentinel", address.clone())
            };
            tokio::task::spawn_local(follow_one(at, spec, Rc::clone(&judge), Arc::clone(&shared)))
        })
        .collect();
    for task in asking {
        // it ends when it panics, and then this one is to fail with it
        task.await.expect("who asks a sentinel goes on for ever");
    }
}

async fn follow_one(at: usize, spec: NodeSpec, judge: Rc<RefCell<Judge>>, shared: Arc<Shared>) {
    let masters = &shared.ways.masters;
    let mut doubts = masters.doubts();
    loop {
        doubts.borrow_and_update();
        let (begun, names) = (Instant::now(), masters.names());
        if !names.is_empty() {
            let limit = shared.settings.timeouts.connect.min(LONGEST);
            let asked = ask_once(&spec, &shared.ways, &requests(&names), ANSWER_BYTES, limit).await;
            let answer = asked.and_then(|replies| read(&names, &replies));
            let is_own = |place: &str| {
                place.parse().is_ok_and(|place: SocketAddr| {
                    shared.endpoints.iter().filter_map(Endpoint::network).any(|own| own == place)
                })
            };
            note(&shared, &spec.address, answer.as_ref().err());
            judge.borrow_mut().hears(at, answer, is_own);
            tell(&shared, &mut judge.borrow_mut(), &names);
        }
        let rest = if names.is_empty() { Duration::MAX } else { EVERY.saturating_sub(begun.elapsed()) };
        let _ = tokio::time::timeout(rest, doubts.changed()).await;
        tokio::time::sleep(PAUSE.saturating_sub(begun.elapsed())).await;
    }
}

/// Tells what is believed of these now, and forgets what nobody looks for.
fn tell(shared: &Shared, judge: &mut Judge, names: &[String]) {
    let masters = &shared.ways.masters;
    for name in names {
        match judge.decides(name, Instant::now()) {
            Verdict::At(place) => {
                if let Some(before) = masters.tell(name, place) {
                    let (master, from, to) = (name, before, place);
                    tracing::warn!(master, from, to, "sentinels name another server as the master");
                }
            }
            Verdict::Nobody(why) => masters.cannot_tell(name, &why),
            Verdict::Wait => {}
        }
    }
    let topology = shared.topology.load();
    let former = topology.former().map(|former| former.nodes()).unwrap_or_default();
    masters.retain(|name| {
        let is_it = |node: &Arc<NodeSpec>| {
            let address = NodeAddress::parse(&node.address);
            matches!(address, Some(NodeAddress::Sentinel { name: its, .. }) if its == name)
        };
        topology.nodes().iter().any(is_it) || former.iter().any(is_it)
    });
    let names = masters.names();
    judge.believed.retain(|name, _| names.contains(name));
}

/// Keeps how a sentinel does, and says when that changes.
fn note(shared: &Shared, address: &str, why: Option<&String>) {
    let now = Sentinel { address: address.to_owned(), why: why.cloned().unwrap_or_default() };
    let before = shared.ways.masters.note(now);
    match (before.is_none_or(|before| before.answers()), why) {
        (true, Some(why)) => tracing::warn!(address, why, "a sentinel does not answer"),
        (false, None) => tracing::info!(address, "a sentinel answers again"),
        _ => {}
    }
}

fn requests(names: &[String]) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    encode::request(&mut all[0], &["SENTINEL", "MASTERS"]);
    for name in names {
        let mut request = Vec::new();
        encode::request(&mut request, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]);
        all.push(request);
    }
    all
}

/// What one sentinel says of one master: how new that is, and where.
type View = (u64, String);

/// What one sentinel says of those that it was asked for; nothing of one that it does not know, or knows no address of.
type Views = BTreeMap<String, Option<View>>;

/// What a sentinel's replies to [`requests`] say.
///
/// # Errors
/// They are not what a sentinel says.
fn read(names: &[String], replies: &[Vec<u8>]) -> Result<Views, String> {
    let (masters, places) = replies.split_first().ok_or("it says nothing")?;
    let mut epochs: BTreeMap<&[u8], u64> = BTreeMap::new();
    for master in elements(masters).ok_or_else(|| no_sentinel(masters))? {
        let (mut fields, mut name, mut epoch) = (elements(master).into_iter().flatten(), None, 0);
        while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
            match bulk(field) {
                Some(b"name") => name = bulk(value),
                Some(b"config-epoch") => epoch = bulk(value).and_then(number).unwrap_or(0),
                _ => {}
            }
        }
        if let Some(name) = name {
            epochs.insert(name, epoch);
        }
    }
    let mut views = Views::new();
    for (name, reply) in names.iter().zip(places) {
        let view = match (is_nil(reply), elements(reply)) {
            (true, _) => None,
            (false, None) => return Err(no_sentinel(reply)),
            (false, Some(parts)) => place(parts.filter_map(bulk)),
        };
        let epoch = epochs.get(name.as_bytes()).copied().unwrap_or(0);
        views.insert(name.clone(), view.map(|place| (epoch, place)));
    }
    Ok(views)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `host:port` of the two parts of a sentinel's reply, if it is one.
fn place<'r>(mut parts: impl Iterator<Item = &'r [u8]>) -> Option<String> {
    let (host, port) = (std::str::from_utf8(parts.next()?).ok()?, std::str::from_utf8(parts.next()?).ok()?);
    let place = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    matches!(NodeAddress::parse(&place), Some(NodeAddress::Network(..))).then_some(place)
}

fn no_sentinel(reply: &[u8]) -> String {
    let line = reply.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line: String = String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).take(100).collect();
    format!("it does not speak as a sentinel: {line}")
}

/// Whom to believe.
#[derive(Debug)]
struct Judge {
    /// What each has said last, or why it has not; nothing of one that was not asked yet.
    said: Vec<Option<Result<Views, String>>>,
    believed: BTreeMap<String, Believed>,
}

#[derive(Debug)]
struct Believed {
    view: View,
    /// Since when most say something else, and none says it.
    contradicted_since: Option<Instant>,
}

#[derive(Debug, PartialEq)]
enum Verdict<'j> {
    At(&'j str),
    /// Why nobody can tell.
    Nobody(String),
    /// Too few have answered yet.
    Wait,
}

impl Judge {
    fn new(sentinels: usize) -> Self {
        Self { said: vec![None; sentinels], believed: BTreeMap::new() }
    }

    /// One has answered, or not. No master is where the proxy itself listens.
    fn hears(&mut self, at: usize, answer: Result<Views, String>, is_own: impl Fn(&str) -> bool) {
        let mut answer = answer;
        for view in answer.iter_mut().flat_map(BTreeMap::values_mut) {
            *view = view.take().filter(|(_, place)| !is_own(place));
        }
        if let Some(said) = self.said.get_mut(at) {
            *said = Some(answer);
        }
    }

    /// What is believed of a master.
    fn decides(&mut self, name: &str, now: Instant) -> Verdict<'_> {
        let said = || self.said.iter().flatten();
        let views: Vec<&View> = said().flatten().filter_map(|views| views.get(name)?.as_ref()).collect();
        // one that fails has been heard as well; what was said before this name was asked for says nothing of it
        let heard =
            said().filter(|said| said.as_ref().map_or(true, |views| views.contains_key(name))).count();
        let is_most = views.len() * 2 > self.said.len();
        let newest = views.iter().max_by_key(|view| view.0).map(|view| (*view).clone());
        match (self.believed.get_mut(name), newest) {
            (None, Some(view)) if is_most || heard == self.said.len() => {
                self.believed.insert(name.to_owned(), Believed { view, contradicted_since: None });
            }
            (None, _) if heard < self.said.len() => return Verdict::Wait,
            (None, _) => {
                let silent: Vec<&String> = said().filter_map(|said| said.as_ref().err()).collect();
                return Verdict::Nobody(match silent.first() {
                    Some(why) if silent.len() == self.said.len() => format!("no sentinel answers: {why}"),
                    _ => format!("no sentinel knows where a master '{name}' is"),
                });
            }
            (Some(believed), Some(newer)) if newer.0 > believed.view.0 => {
                *believed = Believed { view: newer, contradicted_since: None };
            }
            (Some(believed), Some(other)) if is_most && !views.contains(&&believed.view) => {
                let since = *believed.contradicted_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= RELENTS_AFTER {
                    *believed = Believed { view: other, contradicted_since: None };
                }
            }
            (Some(believed), _) => believed.contradicted_since = None,
        }
        self.believed.get(name).map_or(Verdict::Wait, |believed| Verdict::At(&believed.view.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(judge: &mut Judge, at: usize, epoch: u64, place: &str) {
        let views = Views::from([("m".to_owned(), Some((epoch, place.to_owned())))]);
        judge.hears(at, Ok(views), |place| place == "own:1");
    }

    fn fails(judge: &mut Judge, at: usize) {
        judge.hears(at, Err("gone".into()), |_| false);
    }

    fn knows_none(judge: &mut Judge, at: usize) {
        judge.hears(at, Ok(Views::from([("m".to_owned(), None)])), |_| false);
    }

    #[test]
    fn at_the_start_most_must_have_spoken_or_all_have_been_heard() {
        let (mut judge, now) = (Judge::new(3), Instant::now());
        assert_eq!(judge.decides("m", now), Verdict::Wait);
        says(&mut judge, 0, 4, "past:1");
        assert_eq!(judge.decides("m", now), Verdict::Wait, "it may have slept");
        says(&mut judge, 1, 5, "new:1");
        assert_eq!(judge.decides("m", now), Verdict::At("new:1"));
        let mut judge = Judge::new(3);
        fails(&mut judge, 0);
        knows_none(&mut judge, 2);
        assert_eq!(judge.decides("m", now), Verdict::Wait);
        says(&mut judge, 1, 4, "a:1");
        assert_eq!(judge.decides("m", now), Verdict::At("a:1"));
        let mut judge = Judge::new(2);
        fails(&mut judge, 0);
        fails(&mut judge, 1);
        assert_eq!(judge.decides("m", now), Verdict::Nobody("no sentinel answers: gone".into()));
        says(&mut judge, 1, 9, "own:1");
        let nobody = "no sentinel knows where a master 'm' is";
        assert_eq!(judge.decides("m", now), Verdict::Nobody(nobody.into()));
        // what was said of others says nothing of one that is looked for now
        assert_eq!(judge.decides("n", now), Verdict::Wait);
    }

    #[test]
    fn the_newest_is_believed_at_once_and_the_past_only_if_most_say_so_for_long() {
        let (mut judge, begin) = (Judge::new(3), Instant::now());
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        says(&mut judge, 0, 5, "b:1");
        says(&mut judge, 1, 5, "b:1");
        says(&mut judge, 2, 4, "a:1");
        assert_eq!(judge.decides("m", begin), Verdict::At("b:1"));
        // both that know the present fail: one of the past stays alone, however long
        fails(&mut judge, 0);
        fails(&mut judge, 1);
        for seconds in [0, 9, 30, 300] {
            assert_eq!(judge.decides("m", after(seconds)), Verdict::At("b:1"));
        }
        says(&mut judge, 2, 6, "c:1");
        assert_eq!(judge.decides("m", after(300)), Verdict::At("c:1"), "newer");
        // set up anew
        says(&mut judge, 0, 0, "d:1");
        says(&mut judge, 2, 0, "d:1");
        assert_eq!(judge.decides("m", after(300)), Verdict::At("c:1"));
        says(&mut judge, 1, 6, "c:1");
        assert_eq!(judge.decides("m", after(309)), Verdict::At("c:1"), "one says it still");
        fails(&mut judge, 1);
        assert_eq!(judge.decides("m", after(310)), Verdict::At("c:1"), "and it counts anew");
        assert_eq!(judge.decides("m", after(319)), Verdict::At("c:1"));
        assert_eq!(judge.decides("m", after(320)), Verdict::At("d:1"));
        // the same age and spelt otherwise by one of them is no failover
        says(&mut judge, 0, 0, "D:1");
        fails(&mut judge, 2);
        assert_eq!(judge.decides("m", after(400)), Verdict::At("d:1"));
    }

    #[test]
    fn replies_are_read_and_what_is_none_is_told() {
        let names = ["m".to_owned(), "n".to_owned(), "six".to_owned(), "odd".to_owned()];
        let list = |words: &[&str]| {
            let mut reply = Vec::new();
            encode::request(&mut reply, words);
            reply
        };
        let mut masters = Vec::new();
        encode::array(&mut masters, 2);
        masters.extend(list(&["name", "m", "ip", "10.0.0.1", "port", "6379", "config-epoch", "7"]));
        masters.extend(list(&["name", "odd", "config-epoch", "x"]));
        // a name that cannot be resolved has no address: of the others it says something all the same
        let places =
            [list(&["10.0.0.2", "6380"]), b"*-1\r\n".to_vec(), list(&["::1", "1"]), list(&["", "1"])];
        let replies: Vec<Vec<u8>> = std::iter::once(masters).chain(places).collect();
        let views = read(&names, &replies).expect("a sentinel's");
        let view = |name: &str| views[name].clone();
        assert_eq!(view("m"), Some((7, "10.0.0.2:6380".into())));
        assert_eq!((view("n"), view("six"), view("odd")), (None, Some((0, "[::1]:1".into())), None));
        for wrong in [&b"-ERR unknown command 'SENTINEL'\r\n"[..], b"+OK\r\n", b":1\r\n"] {
            let why = read(&names, &[wrong.to_vec()]).unwrap_err();
            assert!(why.contains("does not speak as a sentinel"), "{why}");
        }
    }
}
