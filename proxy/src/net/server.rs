//! Which server a unix socket's path leads to.
//!
//! A server that is restarted counts its connections from one again, and on a unix socket it knows all of them by the same
//! address. What is meant for a connection of the server before must not reach this one, so the socket's file tells them
//! apart: each server makes its own.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// See the head of this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    device: u64,
    inode: u64,
    /// An inode's number is soon given to another file. `None` where the file system does not tell.
    born: Option<SystemTime>,
}

impl Server {
    /// What another process on this machine is told, to be read by [`Server::told`].
    pub(crate) fn to_tell(self) -> [u64; 3] {
        let since = |born: SystemTime| born.duration_since(SystemTime::UNIX_EPOCH).ok();
        let born = self.born.and_then(since).and_then(|since| u64::try_from(since.as_nanos()).ok());
        [self.device, self.inode, born.unwrap_or(0)]
    }

    /// What [`Server::to_tell`] told.
    pub(crate) fn told([device, inode, born]: [u64; 3]) -> Self {
        let born = (born > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_nanos(born));
        Self { device, inode, born }
    }

    /// The one whose socket is there now.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let about = std::fs::metadata(path)?;
        Ok(Self { device: about.dev(), inode: about.ino(), born: about.created().ok() })
    }
}
