//! The file that keeps topologies applied over HTTP, so that a restart serves what was applied last.
//!
//! ```text
//!   apply ──> temporary file beside it (mode 0600) ──> fsync ──> rename ──> fsync of the directory ──> swap
//! ```
//! A reader therefore sees the old file or the new one, never half of it. A password that the configuration file
//! supplies is not copied here: such a node says so, and takes it from there at the next start. The placement is kept
//! too, because the data lies where it put them.

use std::path::Path;

pub(crate) use ringway_admin::form::{Known, known};
use ringway_admin::form::{NodeForm, OriginForm, RingForm, TopologyForm};
use ringway_proxy::settings::{Origin, TopologySpec};
use ringway_proxy::topology::Topology;
use serde::{Deserialize, Serialize};

use crate::config::problem::{Problem, Problems};
use crate::config::read_text;
use crate::whole_file;

/// Number of this file's form; another one is refused.
const FORMAT: u32 = 1;

/// The whole file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: u32,
    epoch: u64,
    ring: RingForm,
    nodes: Vec<NodeForm>,
    /// Only while keys are on their way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<OriginForm>,
}

/// A topology that was kept, and the epoch it had.
#[derive(Debug)]
pub(crate) struct Restored {
    /// Placement and nodes.
    pub(crate) spec: TopologySpec,
    /// Where keys come from that were on their way.
    pub(crate) origin: Option<Origin>,
    /// Where epochs go on after a restart (law I8).
    pub(crate) epoch: u64,
}

/// Reads the file; `None` when there is none yet.
///
/// # Errors
/// Why the file is refused.
pub(crate) fn read(path: &Path, known: &Known) -> Result<Option<Restored>, Problems> {
    if std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let file = path.display().to_string();
    let mend = "restore it, or delete it to start with the nodes of the configuration file";
    let kept: Kept = serde_json::from_str(&read_text(path)?).map_err(|error| {
        // the parser's own words could repeat a value, and a value may be a password
        let what = if error.is_eof() {
            "the topology ends here unfinished"
        } else {
            "the topology cannot be read here"
        };
        Problems::new(&file, vec![Problem { line: error.line(), text: format!("{what}; {mend}") }])
    })?;
    let epoch = kept.epoch;
    let refused = |why: String| Problems::of_file(&file, format!("{why}; {mend}"));
    if kept.format != FORMAT {
        return Err(refused(format!("the topology has format {}, this version reads {FORMAT}", kept.format)));
    }
    let form = TopologyForm { ring: kept.ring, nodes: kept.nodes, origin: kept.origin };
    let (spec, origin) = form.restore(known).map_err(refused)?;
    Topology::build_moving(epoch, spec.clone(), origin.clone()).map_err(|why| refused(why.to_string()))?;
    Ok(Some(Restored { spec, origin, epoch }))
}

/// Replaces the file as a whole.
///
/// # Errors
/// Why it could not be written; the old file is untouched then.
pub(crate) fn write(path: &Path, topology: &Topology, known: &Known) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    let mut text = serde_json::to_string_pretty(&kept(topology, known)).map_err(|error| error.to_string())?;
    text.push('\n');
    whole_file::replace(path, text.as_bytes()).map_err(failed)
}

/// The epoch of what is kept; `None` when nothing is, or it cannot be read.
pub(crate) fn epoch(path: &Path) -> Option<u64> {
    #[derive(Deserialize)]
    struct Epoch {
        epoch: u64,
    }
    let kept: Epoch = serde_json::from_str(&read_text(path).ok()?).ok()?;
    Some(kept.epoch)
}

fn kept(topology: &Topology, known: &Known) -> Kept {
    let TopologyForm { ring, nodes, origin } = TopologyForm::of(topology, known);
    Kept { format: FORMAT, epoch: topology.epoch(), ring, nodes, origin }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use ringway_proxy::settings::{Credentials, NodeSpec, Secret};
    use ringway_ring::{KeyHash, Placement, RingConfig};

    use super::*;

    fn topology() -> Topology {
        let password = |text: &str| Credentials { username: None, password: Some(Secret::new(text)) };
        let nodes = vec![
            NodeSpec::new("plain", "h:1"),
            NodeSpec { credentials: password("from-config"), ..NodeSpec::new("configured", "h:2") },
            NodeSpec { credentials: password("only-here"), weight: 3, ..NodeSpec::new("applied", "h:3") },
        ];
        let placement = Placement::Ketama(KeyHash::Md5);
        Topology::build(7, TopologySpec { ring: RingConfig { placement, ..RingConfig::default() }, nodes })
            .unwrap()
    }

    fn config_knows(topology: &Topology) -> Known {
        known(&topology.spec().nodes[1..2])
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topology.json");
        let topology = topology();
        let known = config_knows(&topology);
        assert!(read(&path, &known).unwrap().is_none());
        write(&path, &topology, &known).unwrap();
        write(&path, &topology, &known).unwrap();
        let restored = read(&path, &known).unwrap().unwrap();
        assert_eq!((&restored.spec, restored.epoch), (topology.spec(), 7));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("from-config") && text.contains("only-here"), "{text}");
    }

    #[test]
    fn where_keys_come_from_is_kept_while_they_are_on_their_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topology.json");
        let plain = topology();
        let known = config_knows(&plain);
        let former = TopologySpec { nodes: plain.spec().nodes[..2].to_vec(), ..plain.spec().clone() };
        let origin = Some(Origin { former, former_is_right: false });
        let moving = Topology::build_moving(8, plain.spec().clone(), origin.clone()).unwrap();
        write(&path, &moving, &known).unwrap();
        let restored = read(&path, &known).unwrap().unwrap();
        assert_eq!((&restored.spec, restored.origin, restored.epoch), (moving.spec(), origin, 8));
        assert!(!std::fs::read_to_string(&path).unwrap().contains("from-config"));
        write(&path, &plain, &known).unwrap();
        assert_eq!(read(&path, &known).unwrap().unwrap().origin, None);
        assert!(!std::fs::read_to_string(&path).unwrap().contains("origin"));
    }

    #[test]
    fn the_configuration_supplies_what_it_supplied_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topology.json");
        let topology = topology();
        write(&path, &topology, &config_knows(&topology)).unwrap();
        let changed = Credentials { username: None, password: Some(Secret::new("new")) };
        let both = ["plain", "configured", "applied"].map(|name| (name.to_owned(), changed.clone()));
        let restored = read(&path, &Known::from(both)).unwrap().unwrap();
        assert_eq!(restored.spec.nodes[0].credentials, changed, "a password was added to the configuration");
        assert_eq!(restored.spec.nodes[1].credentials, changed, "it was changed there");
        assert_eq!(restored.spec.nodes[2], topology.spec().nodes[2], "what was applied over HTTP stays");
        let refused = read(&path, &Known::new()).unwrap_err().to_string();
        assert!(refused.contains("no longer has that node"), "{refused}");
    }

    #[test]
    fn half_a_file_is_refused_at_every_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topology.json");
        let topology = topology();
        let known = config_knows(&topology);
        write(&path, &topology, &known).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() - 2 {
            std::fs::write(&path, &whole[..length]).unwrap();
            let refused = read(&path, &known).unwrap_err().to_string();
            assert!(refused.contains("delete it") && !refused.contains("only-here"), "{length}: {refused}");
        }
    }

    #[test]
    fn files_that_make_no_ring_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topology.json");
        let topology = topology();
        let known = config_knows(&topology);
        write(&path, &topology, &known).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        for (from, to) in [
            ("\"format\": 1", "\"format\": 2"),
            ("\"ketama\"", "\"quantum\""),
            ("\"h:1\"", "\"h:2\""),
            ("\"weight\": 3", "\"weight\": 0"),
            ("\"{}\"", "\"{\""),
        ] {
            std::fs::write(&path, whole.replace(from, to)).unwrap();
            assert!(read(&path, &known).is_err(), "{to}");
        }
        assert!(
            write(&folder.path().join("none/t.json"), &topology, &known)
                .unwrap_err()
                .contains("cannot be written")
        );
    }
}
