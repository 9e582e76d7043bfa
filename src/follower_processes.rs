//! Which processes of this follower there are and were on this machine: a file for each beside the topology file, locked as
//! long as it lives.
//!
//! ```text
//!   FILE.follower-WORD  locked: it lives        not locked: it is dead, and may count at the leader still
//!                       says `counted URL`: the leader there counts it, so that no key moves by a topology later than FILE
//! ```
//! So a dead one is known for sure, and the leader is told. A process that begins takes the place of a dead one that counts,
//! if there is one, under its word: nobody can forget that one as long as its file is locked, so that it may serve by FILE
//! though it does not reach the leader. It says `counted` only when FILE holds what the leader has said, and takes it back
//! before it leaves. Whoever tells the leader of a dead one holds its lock until then.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringway_admin::follow::Processes;
use ringway_proxy::control::unique_word;

/// How often others that have died are looked for.
const LOOK: Duration = Duration::from_secs(2);

/// The files of one topology file, and this process's own.
#[derive(Debug)]
pub(crate) struct FollowerProcesses {
    folder: PathBuf,
    /// What comes before the word in a file's name.
    prefix: OsString,
    word: String,
    /// What is said when the leader counts this process.
    counted: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Locked.
    own: File,
    says_counted: bool,
    /// The dead, with their locks.
    dead: Vec<(String, File)>,
    /// When they were looked for.
    looked: Option<Instant>,
}

impl FollowerProcesses {
    /// Adds this process, in the place of a dead one that counts if there is one. `leader` is the URL that is followed.
    ///
    /// # Errors
    /// There can be no such file.
    pub(crate) fn begin(topology_file: &Path, leader: &str) -> io::Result<Self> {
        let (folder, prefix) = place(topology_file);
        let counted = format!("counted {leader}");
        // the word of one that does not count may be that of one that has left, which is not taken again
        let found = all(&folder, &prefix).find_map(|(path, word)| {
            let mut file = locked(&path)?;
            let mut text = String::new();
            Read::by_ref(&mut file).take(4096).read_to_string(&mut text).ok()?;
            (text == counted).then_some((word, file))
        });
        let (word, own, says_counted) = match found {
            Some((word, file)) => (word, file, true),
            None => {
                let word = unique_word();
                let own = add(&folder, &file_name(&prefix, &word))?;
                (word, own, false)
            }
        };
        let state = Mutex::new(State { own, says_counted, dead: Vec::new(), looked: None });
        Ok(Self { folder, prefix, word, counted, state })
    }

    /// Which process it is at the leader.
    pub(crate) fn word(&self) -> &str {
        &self.word
    }

    /// Whether the leader counts this process, so that it may serve by the topology file.
    pub(crate) fn is_counted(&self) -> bool {
        self.state().says_counted
    }

    fn own_path(&self) -> PathBuf {
        self.path(&self.word)
    }

    fn path(&self, word: &str) -> PathBuf {
        self.folder.join(file_name(&self.prefix, word))
    }

    fn say(&self, state: &mut State, counted: bool) {
        let text = if counted { self.counted.as_bytes() } else { b"" };
        let own = &mut state.own;
        let written = own
            .set_len(0)
            .and_then(|()| own.rewind())
            .and_then(|()| own.write_all(text))
            .and_then(|()| own.sync_all());
        match written {
            Ok(()) => state.says_counted = counted,
            Err(error) => tracing::warn!(%error, "{} cannot be written", self.own_path().display()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Processes for FollowerProcesses {
    fn dead(&self) -> Vec<String> {
        let mut state = self.state();
        if state.looked.is_none_or(|at| at.elapsed() >= LOOK) {
            state.looked = Some(Instant::now());
            for (path, word) in all(&self.folder, &self.prefix).filter(|(_, word)| *word != self.word) {
                // those that are held here cannot be locked once more
                if let Some(file) = locked(&path) {
                    state.dead.push((word, file));
                }
            }
        }
        state.dead.iter().map(|(word, _)| word.clone()).collect()
    }

    fn counts(&self, buried: &[String]) {
        let mut state = self.state();
        if !state.says_counted {
            self.say(&mut state, true);
        }
        buried.iter().for_each(|word| remove(&self.path(word)));
        state.dead.retain(|(word, _)| !buried.contains(word));
    }

    fn leaves(&self) -> bool {
        let mut state = self.state();
        let did_count = state.says_counted;
        if did_count {
            self.say(&mut state, false);
        }
        did_count
    }

    fn has_left(&self) {
        remove(&self.own_path());
    }
}

/// Makes a file that is locked before anybody can find it.
fn add(folder: &Path, name: &OsStr) -> io::Result<File> {
    let file = tempfile::Builder::new().prefix(".ringway-follower-").tempfile_in(folder)?;
    file.as_file().lock()?;
    file.persist(folder.join(name)).map_err(|error| error.error)
}

/// Opens the file of a process that is dead, and locks it. `None` when it lives.
fn locked(path: &Path) -> Option<File> {
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    file.try_lock().ok()?;
    // somebody may have buried it meanwhile
    path.exists().then_some(file)
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "{} cannot be removed", path.display());
        }
        _ => {}
    }
}

/// The folder of a topology file, and how the names of its processes' files begin.
fn place(topology_file: &Path) -> (PathBuf, OsString) {
    let path = std::fs::canonicalize(topology_file).unwrap_or_else(|_| topology_file.to_path_buf());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(".follower-");
    (folder.to_path_buf(), prefix)
}

fn file_name(prefix: &OsStr, word: &str) -> OsString {
    let mut name = prefix.to_owned();
    name.push(word);
    name
}

/// Files of processes, and their words.
fn all(folder: &Path, prefix: &OsStr) -> impl Iterator<Item = (PathBuf, String)> {
    let prefix = prefix.to_string_lossy().into_owned();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let word = entry.file_name().to_str()?.strip_prefix(&prefix)?.to_owned();
        let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_word.then(|| (entry.path(), word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: &str = "http://leader:9380";

    #[test]
    fn the_living_know_the_dead_and_bury_them_when_the_leader_knows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topology.json");
        let (first, second) = (
            FollowerProcesses::begin(&path, LEADER).unwrap(),
            FollowerProcesses::begin(&path, LEADER).unwrap(),
        );
        assert!(first.word() != second.word());
        assert!(first.dead().is_empty() && second.dead().is_empty());
        // another topology file has others
        let other = FollowerProcesses::begin(&folder.path().join("other.json"), LEADER).unwrap();
        assert!(other.dead().is_empty());
        other.has_left();
        let word = first.word().to_owned();
        drop(first);
        second.state().looked = None;
        assert_eq!(second.dead(), std::slice::from_ref(&word));
        // who tells of it holds it
        let third = FollowerProcesses::begin(&path, LEADER).unwrap();
        assert!(third.dead().is_empty() && third.word() != word);
        third.has_left();
        second.counts(&[word]);
        assert!(second.dead().is_empty());
        assert!(second.leaves() && !second.leaves());
        second.has_left();
        second.has_left();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing stays");
    }

    #[test]
    fn who_takes_the_place_of_one_that_counts_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topology.json");
        let begin = |leader: &str| FollowerProcesses::begin(&path, leader).unwrap();
        let (first, second) = (begin(LEADER), begin(LEADER));
        assert!(!first.is_counted() && !second.is_counted());
        second.counts(&[]);
        let (counted, not) = (second.word().to_owned(), first.word().to_owned());
        // the one that counts lives: its place is not to be had
        drop(first);
        let third = begin(LEADER);
        assert!(third.word() != not && third.word() != counted && !third.is_counted());
        drop(second);
        let fourth = begin(LEADER);
        assert!(fourth.word() == counted && fourth.is_counted());
        // not by another leader, nor by one that was told that it leaves
        drop(fourth);
        let fifth = begin("http://another:9380");
        assert!(fifth.word() != counted && !fifth.is_counted());
        let sixth = begin(LEADER);
        assert!(sixth.word() == counted && sixth.is_counted());
        sixth.leaves();
        drop(sixth);
        assert!(!begin(LEADER).is_counted());
    }
}
