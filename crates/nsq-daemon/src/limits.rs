//! What the operating system lets a process have.

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
    fn the_soft_limit_is_the_hard_one_afterwards() {
        let raised = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(raised, limit.maximum);
    }
}
