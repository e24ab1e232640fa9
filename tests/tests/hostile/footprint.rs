//! What a daemon holds: file handles and memory.

use std::fs;

use nsq_tests::{Daemon, PATIENCE, wait_until};

/// File handles and resident memory at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Footprint {
    pub(crate) handles: usize,
    pub(crate) kibibytes: u64,
}

impl Footprint {
    #[track_caller]
    pub(crate) fn of(daemon: &Daemon) -> Self {
        let folder = format!("/proc/{}/fd", daemon.id());
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        Self {
            handles: fs::read_dir(folder).expect("it runs").count(),
            kibibytes: kibibytes
                .and_then(|number| number.parse().ok())
                .expect("a size"),
        }
    }

    /// Checks that the daemon lives and never panicked, took no more than `mebibytes` since, and waits until it has
    /// given back all file handles but a few.
    #[track_caller]
    pub(crate) fn check_left_alone(self, daemon: &Daemon, mebibytes: u64) {
        self.check_memory(daemon, mebibytes);
        let mut now = self;
        wait_until("the file handles are given back", PATIENCE, || {
            now = Self::of(daemon);
            now.handles <= self.handles + FEW_HANDLES
        });
        let log = daemon.log().text();
        assert!(!log.contains("panic"), "{log}");
    }

    /// Checks that the daemon took no more than `mebibytes` since.
    #[track_caller]
    pub(crate) fn check_memory(self, daemon: &Daemon, mebibytes: u64) {
        let now = Self::of(daemon);
        let most = self.kibibytes + mebibytes * 1024;
        assert!(
            now.kibibytes <= most,
            "from {} to {} KiB, above {most}",
            self.kibibytes,
            now.kibibytes
        );
    }
}

/// A good client's, and those of files that came meanwhile.
const FEW_HANDLES: usize = 8;
