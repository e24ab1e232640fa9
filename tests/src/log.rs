//! The stderr of a daemon, collected while it runs.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The lines so far; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    all: Vec<String>,
    is_collecting: bool,
}

impl Log {
    /// Collects from `stderr` on a thread of its own until it ends.
    pub(crate) fn collect(stderr: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        log.lines().is_collecting = true;
        let collected = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n') {
                let Ok(line) = line else { break };
                collected
                    .lines()
                    .all
                    .push(String::from_utf8_lossy(&line).into_owned());
                collected.0.1.notify_all();
            }
            collected.lines().is_collecting = false;
            collected.0.1.notify_all();
        });
        log
    }

    /// The first line containing `text`, waiting for it. `None` once the log ended without it.
    pub fn wait_for(&self, text: &str, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        let mut lines = self.lines();
        loop {
            if let Some(line) = lines.all.iter().find(|line| line.contains(text)) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !lines.is_collecting || left.is_zero() {
                return None;
            }
            lines = self
                .0
                .1
                .wait_timeout(lines, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until the last line of a process that has ended is here. A child of the process may hold the log open for
    /// longer: then this gives up after a while.
    pub(crate) fn wait_for_end(&self) {
        let waited = self
            .0
            .1
            .wait_timeout_while(self.lines(), LAST_LINES, |lines| lines.is_collecting);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// The whole log so far.
    pub fn text(&self) -> String {
        self.lines().all.join("\n")
    }

    /// The last lines, for a failing test's report.
    pub fn tail(&self) -> String {
        let lines = self.lines();
        let from = lines.all.len().saturating_sub(TAIL_LINES);
        lines.all[from..].join("\n")
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the last lines of a process that has ended may take.
const LAST_LINES: Duration = Duration::from_secs(5);
const TAIL_LINES: usize = 60;
