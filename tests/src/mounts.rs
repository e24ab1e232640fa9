//! File systems that only the daemon under test sees.

use std::process::Command;

use crate::wait::say_loudly;

/// How to get a mount of one's own: as anybody where that is allowed, else as root; `None`, said loudly, where
/// neither works.
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
