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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_the_hard_one_afterwards() {
        let raised = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(raised, limit.maximum);
    }
}
