//! Files that are replaced as a whole: whoever reads one sees the old text or the new one.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Writes a temporary file beside it (mode 0600) to the disk and puts it in the file's place. A link is followed, not
/// replaced.
///
/// # Errors
/// Why it could not be written; the old file is untouched then.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, |_, _| Ok(()))
}

/// As [`replace`]; who may read the old file may read the new one, as far as this process can have it so.
///
/// # Errors
/// As [`replace`].
pub(crate) fn replace_keeping_rights(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, |path, file| {
        let Ok(about) = std::fs::metadata(path) else { return Ok(()) };
        let group = file.metadata()?.gid() == about.gid() || fchown(file, None, Some(about.gid())).is_ok();
        let mode = about.mode() & if group { 0o777 } else { 0o707 };
        file.set_permissions(Permissions::from_mode(mode))
    })
}

fn put(path: &Path, bytes: &[u8], prepare: impl FnOnce(&Path, &File) -> io::Result<()>) -> io::Result<()> {
    let path: PathBuf = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".ringway-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    prepare(&path, file.as_file())?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_kept_where_they_are_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"one").unwrap();
        let mode = || std::fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        replace_keeping_rights(&path, b"two").unwrap();
        assert_eq!((mode(), std::fs::read(&path).unwrap()), (0o640, b"two".to_vec()));
        replace(&path, b"three").unwrap();
        assert_eq!(mode(), 0o600);
    }
}
