//! Those that follow this Ringway, beside the topology file: after a restart no keys are moved past one that is
//! not heard of.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ringway_proxy::control::KnownFollower;
use serde::{Deserialize, Serialize};

use crate::whole_file;

/// Longest file that is read, in bytes: a hundred of them are 20 KB.
const LARGEST_BYTES: u64 = 64 * 1024;

/// One process that follows.
#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    instance: String,
}

/// The file of one topology file.
pub(crate) fn beside(topology_file: &Path) -> PathBuf {
    let path = std::fs::canonicalize(topology_file).unwrap_or_else(|_| topology_file.to_path_buf());
    let mut name = OsString::from(path);
    name.push(".followers");
    name.into()
}

/// Those that follow; none when there is no file.
///
/// # Errors
/// Why it cannot be read, with what to do.
pub(crate) fn read(path: &Path) -> Result<Vec<KnownFollower>, String> {
    let mend = "restore it, or delete it once you know which Ringways follow this one";
    let failed = |why: String| format!("{} {why}; {mend}", path.display());
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(format!("cannot be read: {error}"))),
        Ok(about) if about.len() > LARGEST_BYTES => return Err(failed("is too long".to_owned())),
        Ok(_) => {}
    }
    let text = std::fs::read(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    let kept: Vec<Kept> =
        serde_json::from_slice(&text).map_err(|_| failed("is not a list of followers in JSON".to_owned()))?;
    Ok(kept.into_iter().map(|Kept { name, instance }| KnownFollower { name, instance }).collect())
}

/// Replaces the file as a whole.
///
/// # Errors
/// Why it could not be written; the old one is untouched then.
pub(crate) fn write(path: &Path, known: &[KnownFollower]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    let kept = |KnownFollower { name, instance }: &KnownFollower| Kept {
        name: name.clone(),
        instance: instance.clone(),
    };
    let kept: Vec<Kept> = known.iter().map(kept).collect();
    let text = serde_json::to_vec_pretty(&kept).map_err(|error| error.to_string())?;
    whole_file::replace(path, &text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nonsense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = beside(&folder.path().join("topology.json"));
        assert!(path.to_string_lossy().ends_with("topology.json.followers"));
        assert_eq!(read(&path), Ok(Vec::new()));
        let known = ["a", "b"].map(|name| KnownFollower { name: name.to_owned(), instance: "1".to_owned() });
        write(&path, &known[..1]).unwrap();
        write(&path, &known).unwrap();
        assert_eq!(read(&path).unwrap(), known);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
        std::fs::write(&path, "[").unwrap();
        assert!(read(&path).unwrap_err().contains("delete it"));
        assert!(write(&folder.path().join("none/x"), &known).is_err());
    }
}
