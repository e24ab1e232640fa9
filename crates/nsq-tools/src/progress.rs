//! A line on a terminal that says how far a long transfer is. Nothing is printed where stderr is no terminal.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(200);

/// The line, and what it last said.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    is_shown: bool,
    started: Instant,
    last: Option<Instant>,
}

impl Progress {
    /// `what` is being counted, such as `messages published`. The line goes to stderr, if that is a terminal.
    pub fn new(what: &'static str) -> Self {
        Self::on(what, std::io::stderr().is_terminal())
    }

    fn on(what: &'static str, is_shown: bool) -> Self {
        Self {
            what,
            is_shown,
            started: Instant::now(),
            last: None,
        }
    }

    /// Shows a new count, unless the last one was shown a moment ago.
    pub fn show(&mut self, count: u64) {
        if let Some(line) = self.due(count, Instant::now()) {
            // The cursor goes back, so that a line of the log takes its place.
            print(&format!("{line}\u{1b}[K\r"));
        }
    }

    /// Shows the last count and ends the line.
    pub fn finish(&mut self, count: u64) {
        if self.is_shown && self.last.is_some() {
            let line = self.line(count, Instant::now());
            print(&format!("{line}\u{1b}[K\n"));
        }
    }

    fn due(&mut self, count: u64, now: Instant) -> Option<String> {
        let is_due = self.is_shown && self.last.is_none_or(|last| now >= last + EVERY);
        is_due.then(|| {
            self.last = Some(now);
            self.line(count, now)
        })
    }

    fn line(&self, count: u64, now: Instant) -> String {
        let millis = now.duration_since(self.started).as_millis().max(1);
        let rate = u128::from(count) * 1000 / millis;
        format!("{count} {}, {rate}/s", self.what)
    }
}

fn print(text: &str) {
    // The terminal is gone: there is no place to report an error.
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_many_and_how_fast_a_few_times_a_second() {
        let mut progress = Progress::on("messages published", true);
        let start = progress.started;
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(
            progress.due(500, at(1000)).as_deref(),
            Some("500 messages published, 500/s")
        );
        assert_eq!(progress.due(501, at(1100)), None);
        assert_eq!(
            progress.due(700, at(1400)).as_deref(),
            Some("700 messages published, 500/s")
        );
    }

    #[test]
    fn nothing_is_printed_without_a_terminal() {
        let mut progress = Progress::on("messages published", false);
        assert_eq!(progress.due(1, progress.started + EVERY), None);
    }
}
