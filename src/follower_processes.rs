//! Which processes of this follower there are and were on this machine: a file for each beside the topology file, locked as
//! long as it lives.
//!
//! ```text
//!   FILE.follower-WORD  locked: it lives        not locked: it is dead, and may count at the leader still
//!                       holds `counted`: the leader counts it, so that no key moves by a topology later than FILE
//! ```
//! So a dead one is known for sure, and the leader is told; and a process that cannot reach the leader knows whether it may
//! serve by what the file says.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ringway_admin::follow::Processes;

const COUNTED: &str = "counted";

/// The files of one topology file, and this process's own.
#[derive(Debug)]
pub(crate) struct FollowerProcesses {
    folder: PathBuf,
    /// What comes before the word in a file's name.
    prefix: OsString,
    own: PathBuf,
    /// Locked; what it holds.
    file: Mutex<(File, bool)>,
}

impl FollowerProcesses {
    /// Adds this process.
    ///
    /// # Errors
    /// Its file cannot be made.
    pub(crate) fn new(topology_file: &Path, instance: &str) -> io::Result<Self> {
        let (folder, prefix) = place(topology_file);
        let mut name = prefix.clone();
        name.push(instance);
        let own = folder.join(name);
        // nobody may find it before it is locked
        let file = tempfile::Builder::new().prefix(".ringway-follower-").tempfile_in(&folder)?;
        file.as_file().lock()?;
        let file = file.persist(&own).map_err(|error| error.error)?;
        Ok(Self { folder, prefix, own, file: Mutex::new((file, false)) })
    }

    /// Whether the leader counts a process that serves, or served last, by this topology file.
    pub(crate) fn is_any_counted(topology_file: &Path) -> bool {
        let (folder, prefix) = place(topology_file);
        all(&folder, &prefix).any(|(path, _)| std::fs::read_to_string(path).is_ok_and(|text| text == COUNTED))
    }
}

impl Processes for FollowerProcesses {
    fn dead(&self) -> Vec<String> {
        let others = all(&self.folder, &self.prefix).filter(|(path, _)| *path != self.own);
        let is_dead = |path: &Path| {
            let file = OpenOptions::new().write(true).open(path);
            file.is_ok_and(|file| file.try_lock().is_ok())
        };
        others.filter(|(path, _)| is_dead(path)).map(|(_, word)| word).collect()
    }

    fn counts(&self, buried: &[String]) {
        let mut own = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !own.1 {
            match own.0.write_all(COUNTED.as_bytes()).and_then(|()| own.0.sync_all()) {
                Ok(()) => own.1 = true,
                Err(error) => return tracing::warn!(%error, "{} cannot be written", self.own.display()),
            }
        }
        for word in buried {
            let mut name = self.prefix.clone();
            name.push(word);
            remove(&self.folder.join(name));
        }
    }

    fn has_left(&self) {
        remove(&self.own);
    }
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

    #[test]
    fn the_living_know_the_dead_and_bury_them_when_the_leader_knows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topology.json");
        let counted = || FollowerProcesses::is_any_counted(&path);
        let first = FollowerProcesses::new(&path, "1").unwrap();
        let second = FollowerProcesses::new(&path, "2").unwrap();
        assert!(first.dead().is_empty() && second.dead().is_empty() && !counted());
        first.counts(&[]);
        assert!(counted());
        // another topology file has others
        assert!(!FollowerProcesses::is_any_counted(&folder.path().join("other.json")));
        drop(first);
        assert_eq!(second.dead(), ["1"]);
        assert!(counted(), "the leader counts the dead one still");
        second.counts(&["1".to_owned()]);
        assert!(second.dead().is_empty() && counted());
        second.has_left();
        assert!(!counted());
        second.has_left();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing stays");
    }
}
