//! Asks sentinels where the masters are for which nodes of the topology stand, and tells [`Masters`].
//!
//! ```text
//!   each second, and at once when somebody is in doubt:
//!     every sentinel ──SENTINEL MASTERS, GET-MASTER-ADDR-BY-NAME──► Judge ──► Masters ──► links connect anew
//! ```
//! All are asked, since one that has slept, or is cut off, names a master of the past. Which answer is newer tells the
//! configuration epoch, which grows with each failover. One worker does this for all; nothing of it is on the way of a
//! command. See "Configuration propagation" in Redis's documentation of Sentinel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::control::Shared;
use crate::masters::{Masters, Sentinel};
use crate::resp::encode;
use crate::resp::reply::{bulk, elements, is_nil};
use crate::settings::{NodeSpec, Sentinels};
use crate::topology::NodeAddress;
use crate::upstream::ask_once;

/// How often they are asked while all is well.
const EVERY: Duration = Duration::from_secs(1);
/// The least time between two rounds, however many are in doubt.
const PAUSE: Duration = Duration::from_millis(100);
/// An answer older than the one that is believed is believed itself when so many rounds brought nothing newer: sentinels
/// that were set up anew count from zero.
const RELENTS_AFTER: u32 = 10;
/// Longest answer, in bytes. A master takes about one KiB of it.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Follows the sentinels as long as the proxy lives.
pub(crate) async fn follow(settings: Sentinels, shared: Arc<Shared>) {
    let masters = &shared.ways.masters;
    let mut judge = Judge::default();
    loop {
        let begun = Instant::now();
        let names = masters.names();
        if names.is_empty() {
            masters.doubted().await;
        } else {
            round(&settings, &shared, &names, &mut judge).await;
            let topology = shared.topology.load();
            let former = topology.former().map(|former| former.nodes()).unwrap_or_default();
            masters.retain(|name| {
                let is_it = |node: &Arc<NodeSpec>| {
                    matches!(NodeAddress::parse(&node.address), Some(NodeAddress::Sentinel { name: its, .. }) if its == name)
                };
                topology.nodes().iter().any(is_it) || former.iter().any(is_it)
            });
            drop(topology);
            let names = masters.names();
            judge.believed.retain(|name, _| names.contains(name));
            // who is in doubt has been answered by what came after
            let _ = tokio::time::timeout(EVERY.saturating_sub(begun.elapsed()), masters.doubted()).await;
        }
        tokio::time::sleep(PAUSE.saturating_sub(begun.elapsed())).await;
    }
}

/// What one sentinel says of one master: how new that is, and where.
type View = (u64, String);

/// Asks all of them at once, and believes each as its answer comes.
async fn round(settings: &Sentinels, shared: &Arc<Shared>, names: &[String], judge: &mut Judge) {
    let masters = &shared.ways.masters;
    let (sender, mut answers) = mpsc::unbounded_channel();
    for (at, address) in settings.addresses.iter().enumerate() {
        let spec = NodeSpec {
            credentials: settings.credentials.clone(),
            ..NodeSpec::new("sentinel", address.clone())
        };
        let (shared, sender, requests) = (Arc::clone(shared), sender.clone(), requests(names));
        tokio::task::spawn_local(async move {
            let limit = shared.settings.timeouts.connect;
            let replies = ask_once(&spec, &shared.ways, &requests, ANSWER_BYTES, limit).await;
            let _ = sender.send((at, replies));
        });
    }
    drop(sender);
    let mut views: BTreeMap<&str, Vec<View>> = BTreeMap::new();
    let mut states = vec![String::new(); settings.addresses.len()];
    while let Some((at, replies)) = answers.recv().await {
        match replies.and_then(|replies| read(names, &replies)) {
            Err(why) => states[at] = why,
            Ok(seen) => {
                for (name, view) in seen {
                    tell(masters, name, judge.hears(name, &view));
                    views.entry(name).or_default().push(view);
                }
            }
        }
    }
    let silent = states.iter().find(|why| !why.is_empty()).cloned();
    for name in names {
        match views.get(name.as_str()) {
            Some(views) => tell(masters, name, judge.settles(name, views)),
            None => masters.cannot_tell(
                name,
                &match (&silent, states.iter().all(|why| !why.is_empty())) {
                    (Some(why), true) => format!("no sentinel answers: {why}"),
                    _ => format!("no sentinel knows a master '{name}'"),
                },
            ),
        }
    }
    note(masters, settings, states);
}

/// Keeps how the sentinels do, and says when that changes.
fn note(masters: &Masters, settings: &Sentinels, states: Vec<String>) {
    let now: Vec<Sentinel> = (settings.addresses.iter().zip(states))
        .map(|(address, why)| Sentinel { address: address.clone(), why })
        .collect();
    let before = masters.note(now.clone());
    for sentinel in now {
        let known = before.iter().find(|known| known.address == sentinel.address);
        let (address, why) = (&sentinel.address, &sentinel.why);
        match (known.is_some_and(|known| !known.answers()), sentinel.answers()) {
            (false, false) => tracing::warn!(address, why, "a sentinel does not answer"),
            (true, true) => tracing::info!(address, "a sentinel answers again"),
            _ => {}
        }
    }
}

fn tell(masters: &Masters, name: &str, place: &str) {
    match masters.tell(name, place) {
        Some(before) => {
            tracing::warn!(
                master = name,
                from = before,
                to = place,
                "sentinels name another server as the master"
            );
        }
        None => tracing::debug!(master = name, place, "found by its sentinels"),
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

/// What a sentinel's replies to [`requests`] say of each master that it knows.
///
/// # Errors
/// They are not what a sentinel says.
fn read<'n>(names: &'n [String], replies: &[Vec<u8>]) -> Result<Vec<(&'n str, View)>, String> {
    let text = |reply: &[u8]| bulk(reply).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let (masters, places) = replies.split_first().ok_or("it says nothing")?;
    let mut epochs: BTreeMap<String, u64> = BTreeMap::new();
    for master in elements(masters).ok_or_else(|| no_sentinel(masters))? {
        let words: Vec<String> = elements(master).into_iter().flatten().filter_map(text).collect();
        let field =
            |wanted: &str| words.chunks_exact(2).find(|pair| pair[0] == wanted).map(|pair| pair[1].clone());
        if let Some(name) = field("name") {
            epochs.insert(name, field("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0));
        }
    }
    let mut seen = Vec::new();
    for (name, reply) in names.iter().zip(places) {
        if is_nil(reply) {
            continue;
        }
        let words: Vec<String> =
            elements(reply).ok_or_else(|| no_sentinel(reply))?.filter_map(text).collect();
        let [host, port] = &*words else { return Err(no_sentinel(reply)) };
        let place = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        if !matches!(NodeAddress::parse(&place), Some(NodeAddress::Network(..))) {
            return Err(format!("it names no address for the master '{name}'"));
        }
        seen.push((name.as_str(), (epochs.get(name).copied().unwrap_or(0), place)));
    }
    Ok(seen)
}

fn no_sentinel(reply: &[u8]) -> String {
    let line = reply.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line: String = String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).take(100).collect();
    format!("it does not speak as a sentinel: {line}")
}

/// Which of several answers is believed.
#[derive(Debug, Default)]
struct Judge {
    believed: BTreeMap<String, Believed>,
}

#[derive(Debug)]
struct Believed {
    view: View,
    /// How many rounds in a row have brought older answers only.
    contradicted: u32,
}

impl Judge {
    /// One has answered, which is believed at once if it is newer than what was. The place that is believed.
    fn hears(&mut self, name: &str, view: &View) -> &str {
        let new = || Believed { view: view.clone(), contradicted: 0 };
        let believed = self.believed.entry(name.to_owned()).or_insert_with(new);
        if view.0 > believed.view.0 {
            *believed = new();
        }
        &believed.view.1
    }

    /// All have answered. The place that is believed from now on.
    fn settles(&mut self, name: &str, views: &[View]) -> &str {
        for view in views {
            self.hears(name, view);
        }
        let Some(believed) = self.believed.get_mut(name) else { return "" };
        let newest = views.iter().max_by_key(|view| view.0).filter(|_| !views.contains(&believed.view));
        match newest {
            None => believed.contradicted = 0,
            // of the same age and elsewhere: it was given another address by hand
            Some(newest) if newest.0 == believed.view.0 || believed.contradicted + 1 >= RELENTS_AFTER => {
                *believed = Believed { view: newest.clone(), contradicted: 0 };
            }
            Some(_) => believed.contradicted += 1,
        }
        &believed.view.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(epoch: u64, place: &str) -> View {
        (epoch, place.to_owned())
    }

    #[test]
    fn the_newest_answer_is_believed_and_one_of_the_past_only_after_long() {
        let mut judge = Judge::default();
        assert_eq!(judge.hears("m", &view(3, "a:1")), "a:1");
        assert_eq!(judge.hears("m", &view(2, "b:1")), "a:1");
        assert_eq!(judge.hears("m", &view(3, "b:1")), "a:1");
        assert_eq!(judge.hears("m", &view(4, "c:1")), "c:1");
        // two are of one age, one of them says what is believed
        assert_eq!(judge.settles("m", &[view(4, "d:1"), view(4, "c:1"), view(1, "a:1")]), "c:1");
        // all that answer were asleep
        for _ in 1..RELENTS_AFTER {
            assert_eq!(judge.settles("m", &[view(0, "n:1"), view(3, "b:1")]), "c:1");
        }
        assert_eq!(judge.settles("m", &[view(4, "c:1"), view(3, "b:1")]), "c:1", "and it counts anew");
        for _ in 1..RELENTS_AFTER {
            assert_eq!(judge.settles("m", &[view(0, "n:1")]), "c:1");
        }
        assert_eq!(judge.settles("m", &[view(0, "n:1")]), "n:1");
        assert_eq!(judge.settles("m", &[view(0, "o:1")]), "o:1", "given another address by hand");
        assert_eq!(judge.settles("m", &[view(1, "p:1")]), "p:1");
    }

    #[test]
    fn replies_are_read_and_what_is_none_is_told() {
        let names = ["m".to_owned(), "n".to_owned(), "six".to_owned()];
        let mut master = Vec::new();
        let words = ["name", "m", "ip", "10.0.0.1", "port", "6379", "config-epoch", "7"];
        encode::array(&mut master, 1);
        encode::request(&mut master, &words);
        let place = |words: &[&str]| {
            let mut reply = Vec::new();
            encode::request(&mut reply, words);
            reply
        };
        let replies = [master, place(&["10.0.0.2", "6380"]), b"*-1\r\n".to_vec(), place(&["::1", "1"])];
        let expected = vec![("m", view(7, "10.0.0.2:6380")), ("six", view(0, "[::1]:1"))];
        assert_eq!(read(&names, &replies), Ok(expected));
        for wrong in [&b"-ERR unknown command 'SENTINEL'\r\n"[..], b"+OK\r\n", b":1\r\n"] {
            let why = read(&names, &[wrong.to_vec()]).unwrap_err();
            assert!(why.contains("does not speak as a sentinel"), "{why}");
        }
        let why = read(&names, &[b"*0\r\n".to_vec(), place(&["a b\r\n", "x"])]).unwrap_err();
        assert_eq!(why, "it names no address for the master 'm'");
    }
}
