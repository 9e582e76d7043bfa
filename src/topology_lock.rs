//! Who keeps the topology file, where one process replaces another.
//!
//! ```text
//!   old  holds the lock, takes changes ──SIGTERM──► takes no more, lets go ──► drains
//!   new  stands by: serves what the file says, follows it, takes no changes ──► has the lock ──► reads it once more
//! ```
//! So no change is lost between the two and no epoch is given twice (law I8). The lock is the kernel's (`flock` on a
//! file beside the topology file): it ends with its process, however that ends.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(beside(topology_file))?;
        let mut lock = Self { file, held: false };
        lock.take()?;
        Ok(lock)
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

fn beside(topology_file: &Path) -> PathBuf {
    // one lock for one file, whatever links lead to it
    let path = std::fs::canonicalize(topology_file).unwrap_or_else(|_| topology_file.to_path_buf());
    let mut name = OsString::from(path);
    name.push(".lock");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

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
