//! File systems that only the tested daemon sees.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::wait::say_loudly;

/// A small disk, kept by a process that does nothing else, and removed on drop.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    mounted_on: TempDir,
}

impl SmallDisk {
    /// A disk with room for this many KiB. `None`, with a loud line, where that is not permitted.
    pub fn mount(kibibytes: u32) -> Option<Self> {
        let [unshare, option] = mount_wrapper()?;
        let mounted_on = tempfile::tempdir().expect("a temporary folder can be made");
        // The process ends with its stdin, and so with us, however we end.
        let script = "mount -t tmpfs -o size=\"$1\"k tmpfs \"$2\" && echo && exec cat";
        let mut holder = Command::new(unshare)
            .args([option, "sh", "-c", script, "sh", &kibibytes.to_string()])
            .arg(mounted_on.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare has just worked");
        let stdout = holder.stdout.as_mut().expect("stdout is piped");
        let mut ready = [0];
        stdout.read_exact(&mut ready).expect("it has been mounted");
        Some(Self { holder, mounted_on })
    }

    /// Its folder, as every process sees it.
    pub fn path(&self) -> PathBuf {
        let inside = self.mounted_on.path().strip_prefix("/");
        Path::new("/proc")
            .join(self.holder.id().to_string())
            .join("root")
            .join(inside.expect("temporary folders have absolute paths"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// The command that makes a mount namespace: as any user where that is allowed, otherwise as root. `None`, with a loud
/// line, where neither works.
pub fn mount_wrapper() -> Option<[&'static str; 2]> {
    let works = |option: &str| {
        let mut probe = Command::new("unshare");
        probe.args([option, "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]);
        probe.output().is_ok_and(|output| output.status.success())
    };
    let option = ["-rm", "-m"].into_iter().find(|option| works(option));
    if option.is_none() {
        say_loudly("SKIPPED: no mount namespace is permitted here, this test did not run");
    }
    Some(["unshare", option?])
}
