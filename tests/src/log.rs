//! What a daemon wrote to its stderr, collected while it runs.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The lines so far; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    all: Vec<String>,
    ended: bool,
}

impl Log {
    /// Collects from `stderr` on a thread of its own until it ends.
    pub(crate) fn collect(stderr: impl Read + Send + 'static) -> Self {
        let log = Self::default();
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
            collected.lines().ended = true;
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
            if lines.ended || left.is_zero() {
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

    /// All of it so far, as text.
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

const TAIL_LINES: usize = 60;
