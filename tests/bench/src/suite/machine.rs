//! The machine and the servers of a run, as the document describes them.

use std::{fs, path::Path, process::Command, thread};

use serde::{Deserialize, Serialize};

/// What a run was measured on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The names of the servers, and the version that each binary printed.
    pub(crate) servers: Vec<(String, String)>,
    pub(crate) processors: usize,
    pub(crate) processor: String,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    /// The type of file system under the servers' folders.
    pub(crate) file_system: String,
    /// The three load averages when the run began.
    pub(crate) load_average: String,
    /// How the run was scaled, such as `full` or `quick`.
    pub(crate) scale: String,
}

impl Machine {
    /// Describes this machine. What cannot be read stays empty or zero.
    pub(crate) fn look(folder: &Path, servers: Vec<(String, String)>, scale: String) -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            servers,
            processors: thread::available_parallelism().map_or(0, usize::from),
            processor: field(&text("/proc/cpuinfo"), "model name").unwrap_or_default(),
            memory_gib: field(&text("/proc/meminfo"), "MemTotal")
                .and_then(|value| value.split(' ').next()?.parse::<u64>().ok())
                .map_or(0, |kib| (kib + KIB_PER_GIB / 2) / KIB_PER_GIB),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&text("/proc/self/mounts"), folder),
            load_average: load_average(),
            scale,
        }
    }
}

/// The load averages of the last 1, 5 and 15 minutes.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The first line a program prints when asked for its version.
pub(crate) fn version(program: &Path, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat());
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    text.lines()
        .next()
        .unwrap_or("of unknown version")
        .to_owned()
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// The type of the mount with the longest path that `folder` is in.
fn file_system(mounts: &str, folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or(folder.to_owned());
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (place, kind) = (fields.next()?, fields.next()?);
            folder.starts_with(place).then_some((place.len(), kind))
        })
        .max_by_key(|(length, _)| *length)
        .map_or(String::new(), |(_, kind)| kind.to_owned())
}

const KIB_PER_GIB: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t\t: 17\nmodel name\t: EPYC 7B13\n";
        assert_eq!(field(text, "model name"), Some("EPYC 7B13".to_owned()));
        assert_eq!(field(text, "name"), None);
    }

    #[test]
    fn the_file_system_is_that_of_the_innermost_mount() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /nowhere/shm tmpfs rw 0 0\n";
        let kind = |path| file_system(mounts, Path::new(path));
        assert_eq!(kind("/nowhere/shm/x"), "tmpfs");
        assert_eq!(kind("/nowhere/shmx"), "ext4");
    }
}
