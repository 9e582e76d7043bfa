//! The file by which clients find a unix socket.
//!
//! It is made beside its place and moved there, so that nobody ever finds it with other rights, and so that it takes the
//! place of another process's in one step.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// See the head of this file. Removed with this value, unless another one has taken its place by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    /// Makes a socket that listens, and its file. The place of one that listens is taken only with `replace`, and only from
    /// a process of the same user; that of one that is dead always.
    ///
    /// # Errors
    /// `AddrInUse` when a process listens there that is not to be replaced; the system's words.
    pub(crate) fn create(
        path: &Path,
        mode: Option<u32>,
        replace: bool,
        backlog: i32,
    ) -> io::Result<(Socket, Self)> {
        match std::fs::symlink_metadata(path) {
            Ok(about) if !about.file_type().is_socket() => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "there is a file that is no socket",
                ));
            }
            Ok(about) => match is_listened_to(path)? {
                true if !replace => return Err(io::ErrorKind::AddrInUse.into()),
                true if about.uid() != rustix::process::geteuid().as_raw() => {
                    return Err(io::Error::new(
                        io::ErrorKind::AddrInUse,
                        "another user's process listens there",
                    ));
                }
                _ => {}
            },
            Err(_) => {}
        }
        // a name of its own: another process may be at the same
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!("~{}", std::process::id()));
        let beside = PathBuf::from(beside);
        // left by a process of this number that was killed just then
        let _ = std::fs::remove_file(&beside);
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(&beside)?)?;
        let moved = (|| {
            if let Some(mode) = mode {
                std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode))?;
            }
            socket.listen(backlog)?;
            let inode = inode(&beside)?;
            std::fs::rename(&beside, path)?;
            Ok(inode)
        })();
        match moved {
            Ok(inode) => Ok((socket, Self { path: path.to_owned(), inode })),
            Err(error) => {
                let _ = std::fs::remove_file(&beside);
                Err(error)
            }
        }
    }
}

/// Whether somebody listens there; one whose queue is full does.
fn is_listened_to(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => Ok(true),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(false),
            _ => Err(io::Error::new(
                error.kind(),
                format!("cannot tell whether somebody listens there: {error}"),
            )),
        },
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let about = std::fs::symlink_metadata(path)?;
    Ok((about.dev(), about.ino()))
}
