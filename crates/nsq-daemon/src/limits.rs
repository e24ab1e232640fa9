//! What the operating system lets a process have.

use std::os::fd::{AsRawFd as _, RawFd};

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the number of files and sockets this process may have open to the most it may ask for,
/// and returns that number; `None` is no limit. Go programs do the same on their own, so hosts
/// that served many connections before must not stop at a soft limit of 1024 now.
pub fn raise_open_files() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum,
        // Refused: what there was must do.
        Err(_) => soft,
    }
}

/// How many files and sockets may be open, and how many of those are kept from who comes by network.
///
/// What is kept is for the files that those need who are served already, such as a log's next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// `None` is no limit.
    limit: Option<u64>,
}

impl OpenFiles {
    /// As it is for this process now, after [`raise_open_files`].
    pub fn of_this_process() -> Self {
        Self {
            limit: getrlimit(Resource::Nofile).current,
        }
    }

    /// As if this many were allowed.
    pub fn of(limit: u64) -> Self {
        Self { limit: Some(limit) }
    }

    /// The most that may be open.
    pub fn limit(self) -> Option<u64> {
        self.limit
    }

    /// How many are kept back.
    pub fn reserve(self) -> u64 {
        self.limit
            .map_or(0, |limit| (limit / 10).clamp(LEAST_RESERVE, MOST_RESERVE))
    }

    /// Whether a file of this number, just opened, has left more than `kept` others to be opened.
    ///
    /// The system gives each new file the lowest number that is free: all below are in use.
    pub fn leaves(self, number: RawFd, kept: u64) -> bool {
        let number = u64::try_from(number).unwrap_or(0);
        self.limit
            .is_none_or(|limit| number.saturating_add(kept) < limit)
    }

    /// Whether half of the reserve is left at this moment, for what takes files of its own.
    pub fn has_room(self) -> bool {
        if self.limit.is_none() {
            return true;
        }
        // The lowest free number, had by opening something for a moment.
        match std::fs::File::open("/dev/null") {
            Ok(file) => self.leaves(file.as_raw_fd(), self.reserve() / 2),
            Err(_) => false,
        }
    }
}

/// As [`raise_open_files`], and says so in the log where that is too little to serve many.
pub fn raise_open_files_or_warn() {
    if let Some(warning) = warning(raise_open_files()) {
        tracing::warn!("{warning}");
    }
}

fn warning(limit: Option<u64>) -> Option<String> {
    let limit = limit.filter(|limit| *limit < FEW_FILES)?;
    Some(format!(
        "only {limit} files and sockets may be open at a time; each client and each topic takes one (ulimit -Hn, or \
         LimitNOFILE= of a systemd unit)"
    ))
}

/// Bounds of what is kept back: a log's next file, and a few at a time, but not a host's thousands.
const LEAST_RESERVE: u64 = 8;
const MOST_RESERVE: u64 = 1024;

/// Fewer than what a small cluster needs; upstream's advice is more.
const FEW_FILES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_is_told_and_a_high_one_or_none_is_not() {
        assert!(warning(Some(1024)).is_some_and(|text| text.starts_with("only 1024 files")));
        assert_eq!(warning(Some(FEW_FILES)), None);
        assert_eq!(warning(None), None);
    }

    #[test]
    fn a_part_of_the_files_is_kept_back() {
        for (limit, reserve) in [(100, 10), (1024, 102), (1 << 20, 1024), (20, 8)] {
            let files = OpenFiles::of(limit);
            assert_eq!(files.reserve(), reserve, "{limit}");
        }
        let files = OpenFiles::of(100);
        assert!(files.leaves(89, 10) && !files.leaves(90, 10));
        assert!(OpenFiles { limit: None }.leaves(i32::MAX, 1 << 40));
        assert!(OpenFiles::of(1 << 40).has_room());
        assert!(
            !OpenFiles::of(3).has_room(),
            "stdin, stdout and stderr are open"
        );
    }

    #[test]
    fn the_soft_limit_is_the_hard_one_afterwards() {
        let raised = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(raised, limit.maximum);
    }
}
