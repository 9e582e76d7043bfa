//! Who keeps the topology file, where one process replaces another.
//!
//! ```text
//!   old  holds the lock, takes changes ──SIGTERM──► takes no more, lets go ──► drains
//!   new  stands by: serves what the file says, follows it, takes no changes ──► has the lock ──► reads it once more
//! ```
//! So no change is lost between the two and no epoch is given twice (law I8). The lock is the kernel's (`flock` on a
//! file beside the topology file): it ends with its process, however that ends. A second one, which all have together, says
//! how long a process still answers clients by that file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The lock file of one topology file, locked or not.
#[derive(Debug)]
pub(crate) struct TopologyLock {
    file: File,
    held: bool,
}

impl TopologyLock {
    /// Opens the lock file and takes the lock if nobody has it.
    ///
    /// # Errors
    /// The file cannot be created or locked at all.
    pub(crate) fn open(topology_file: &Path) -> io::Result<Self> {
        let mut lock = Self { file: open(&beside(topology_file, ".lock"))?, held: false };
        lock.take()?;
        Ok(lock)
    }

    /// Waits until no other process writes the topology file, which lasts as long as what this answers is kept.
    ///
    /// # Errors
    /// The lock file cannot be created or locked at all.
    pub(crate) fn write(topology_file: &Path) -> io::Result<File> {
        let file = open(&beside(topology_file, ".writing"))?;
        file.lock()?;
        Ok(file)
    }

    /// Keeps whoever would make changes from keeping the topology file, as others like this process may; `None` when there is
    /// somebody who does.
    ///
    /// # Errors
    /// The lock file cannot be created or locked at all.
    pub(crate) fn keep_off(topology_file: &Path) -> io::Result<Option<File>> {
        let file = open(&beside(topology_file, ".lock"))?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether the lock is this process's, now.
    ///
    /// # Errors
    /// The system cannot tell.
    pub(crate) fn take(&mut self) -> io::Result<bool> {
        if !self.held {
            self.held = match self.file.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => false,
                Err(TryLockError::Error(error)) => return Err(error),
            };
        }
        Ok(self.held)
    }

    /// Whether this process has the lock.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }
}

/// That this process answers clients by a topology file, for as long as it lives.
#[derive(Debug, Clone)]
pub(crate) struct Serving(Arc<File>);

/// That no other process answers clients by that file; one that begins to waits until this is dropped.
#[derive(Debug)]
pub(crate) struct Alone(Serving);

impl Serving {
    /// Says so to all other processes.
    ///
    /// # Errors
    /// The file cannot be created or locked.
    pub(crate) fn by(topology_file: &Path) -> io::Result<Self> {
        let file = open(&beside(topology_file, ".serving"))?;
        file.lock_shared()?;
        Ok(Self(Arc::new(file)))
    }

    /// Keeps others from beginning; `None` when there is another process.
    ///
    /// # Errors
    /// The system cannot tell.
    pub(crate) fn alone(&self) -> io::Result<Option<Alone>> {
        match self.0.try_lock() {
            Ok(()) => Ok(Some(Alone(self.clone()))),
            Err(TryLockError::WouldBlock) => {
                // a lock that is not granted may have cost the one that was there
                self.0.lock_shared()?;
                Ok(None)
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Err(error) = self.0.0.lock_shared() {
            tracing::warn!(%error, "other processes are not told any more that this one answers clients");
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

fn beside(topology_file: &Path, ending: &str) -> PathBuf {
    // one lock for one file, whatever links lead to it
    let path = std::fs::canonicalize(topology_file).unwrap_or_else(|_| topology_file.to_path_buf());
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_serves_knows_whether_others_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topology.json");
        let first = Serving::by(&path).unwrap();
        let alone = first.alone().unwrap();
        assert!(alone.is_some());
        drop(alone);
        let second = Serving::by(&path).unwrap();
        assert!(first.alone().unwrap().is_none() && second.alone().unwrap().is_none());
        assert!(first.alone().unwrap().is_none());
        drop(first);
        assert!(second.alone().unwrap().is_some());
    }

    #[test]
    fn who_follows_and_who_makes_changes_keep_different_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topology.json");
        let follower = TopologyLock::keep_off(&path).unwrap();
        let another = TopologyLock::keep_off(&path).unwrap();
        assert!(follower.is_some() && another.is_some());
        assert!(!TopologyLock::open(&path).unwrap().is_held());
        drop((follower, another));
        let leader = TopologyLock::open(&path).unwrap();
        assert!(leader.is_held() && TopologyLock::keep_off(&path).unwrap().is_none());
    }

    #[test]
    fn one_at_a_time_and_the_next_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topology.json");
        let first = TopologyLock::open(&path).unwrap();
        let mut second = TopologyLock::open(&path).unwrap();
        assert!(first.is_held() && !second.is_held());
        assert!(!second.take().unwrap());
        drop(first);
        assert!(second.take().unwrap() && second.is_held());
        assert!(TopologyLock::open(&folder.path().join("none/topology.json")).is_err());
    }
}
