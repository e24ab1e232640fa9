//! Waiting for conditions, and speaking past the test runner's capture.

use std::io::Write;
use std::time::{Duration, Instant};

/// How long a test waits for something that must happen: long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// How long a test listens before it concludes that nothing comes.
pub const SILENCE: Duration = Duration::from_millis(150);

/// Checks `condition` until it holds; panics with `what` when `patience` has passed.
#[track_caller]
pub fn wait_until(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "waited {patience:?} in vain: {what}"
        );
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Writes one line that is seen even when the test passes: the runner captures only its own macros.
pub fn say_loudly(line: &str) {
    // A closed stderr is no reason to fail a test.
    let _ = writeln!(std::io::stderr(), "\n{line}");
}

const POLL_INTERVAL: Duration = Duration::from_millis(10);
