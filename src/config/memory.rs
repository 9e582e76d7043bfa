//! How much memory there is to be had: the machine's, or less where a control group says so.

use std::path::{Path, PathBuf};

/// The part of it that clients may take by default. The rest is for buffers in the kernel, which control groups count
/// as well, for what the allocator has not given back, and for others on the machine.
const PART: u64 = 4;

/// A quarter of the memory of the machine or of the control group, whichever has less; `None` where neither is told.
pub(crate) fn quarter() -> Option<usize> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    usize::try_from(available(read)? / PART).ok()
}

fn available(read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(limit_files).filter_map(|path| limit(&read(&path)?));
    machine.into_iter().chain(limits).min()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Where the limits of a group and of those around it stand, for one line of `/proc/self/cgroup`. A container sees its
/// own group as the root.
fn limit_files(line: &str) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        v1 if v1.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let group = Path::new(group.trim_start_matches('/'));
    group.ancestors().map(|part| Path::new(root).join(part).join(file)).collect()
}

/// A limit as a control group writes it; `max` is none.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       16000 kB\nMemFree:  1 kB\n";

    fn with(files: &[(&str, &str)]) -> Option<u64> {
        available(|path| {
            let known = files.iter().find(|(name, _)| Path::new(name) == path);
            known.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_smallest_of_machine_and_groups_counts() {
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("/proc/meminfo", MEMINFO)]), Some(16_384_000));
        let second = [
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "0::/a.slice/b\n"),
            ("/sys/fs/cgroup/a.slice/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a.slice/memory.max", "9000000\n"),
        ];
        assert_eq!(with(&second), Some(9_000_000));
        let first = [
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/1\n0::/\n"),
            ("/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "8000000\n"),
        ];
        assert_eq!(with(&first), Some(8_000_000));
    }

    #[test]
    fn what_is_not_understood_is_no_limit() {
        let files = [("/proc/meminfo", "MemTotal: many kB\n"), ("/proc/self/cgroup", "nonsense\n0:\n")];
        assert_eq!(with(&files), None);
    }
}
