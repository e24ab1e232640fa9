//! `--status-every`: how long requests took, in a log line every so many of them.
//!
//! The line, its percentiles and when it comes are upstream's (timer_metrics v1.0.0).

use std::time::Duration;

use nsq_daemon::go_duration::GoDuration;
use nsq_daemon::logging;

/// Collects how long things took. Keeps at most as many times as one line is about.
#[derive(Debug)]
pub struct Timings {
    prefix: String,
    every: usize,
    taken: Vec<Duration>,
}

impl Timings {
    /// A line every `every` times, beginning with `prefix`; 0 for none.
    pub fn new(every: usize, prefix: &str) -> Self {
        if every > 0 && every < 100 {
            logging::plain_line(&format!(
                "Warning: use more than 100 status values for accurate percentiles (configured with {every})"
            ));
        }
        Self {
            prefix: prefix.to_owned(),
            every,
            taken: Vec::new(),
        }
    }

    /// Notes one, and logs the line when it is due: before the first of the next round.
    pub fn note(&mut self, took: Duration) {
        if let Some(line) = self.add(took) {
            logging::plain_line(&line);
        }
    }

    fn add(&mut self, took: Duration) -> Option<String> {
        if self.every == 0 {
            return None;
        }
        let line = (self.taken.len() >= self.every).then(|| {
            let line = self.line();
            self.taken.clear();
            line
        });
        self.taken.push(took);
        line
    }

    fn line(&mut self) -> String {
        self.taken.sort_unstable();
        let count = self.taken.len();
        let total: Duration = self.taken.iter().sum();
        let mean = total / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        format!(
            "{}finished {count} - 99th: {} - 95th: {} - avg: {}",
            self.prefix_text(),
            in_milliseconds(self.percentile(99)),
            in_milliseconds(self.percentile(95)),
            in_milliseconds(mean),
        )
    }

    fn prefix_text(&self) -> String {
        match self.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}: "),
        }
    }

    /// Of sorted times: the one at ceil(p/100 × n + 0.5), at most the last.
    fn percentile(&self, percent: usize) -> Duration {
        let count = self.taken.len();
        let index = (2 * percent * count + 100).div_ceil(200);
        let last = count.saturating_sub(1);
        self.taken.get(index.min(last)).copied().unwrap_or_default()
    }
}

/// A duration to the hundredth of a millisecond, in Go's words.
fn in_milliseconds(duration: Duration) -> String {
    let rounded = i64::try_from(duration.as_micros() / 10 * 10_000).unwrap_or(i64::MAX);
    GoDuration::from_nanos(rounded).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_comes_before_the_first_of_the_next_round() {
        let mut timings = Timings::new(100, "[aggregate]");
        for millis in 1..=100 {
            assert_eq!(timings.add(Duration::from_millis(millis)), None);
        }
        assert_eq!(
            timings.add(Duration::from_millis(7)).as_deref(),
            Some("[aggregate]: finished 100 - 99th: 100ms - 95th: 97ms - avg: 50.5ms")
        );
        assert_eq!(timings.taken.len(), 1);
    }

    #[test]
    fn none_when_switched_off() {
        let mut timings = Timings::new(0, "");
        for _ in 0..1000 {
            assert_eq!(timings.add(Duration::from_millis(1)), None);
        }
        assert!(timings.taken.is_empty());
    }

    #[test]
    fn one_value_is_every_percentile() {
        let mut timings = Timings::new(1, "");
        assert_eq!(timings.add(Duration::from_micros(1764)), None);
        assert_eq!(
            timings.add(Duration::ZERO).as_deref(),
            Some("finished 1 - 99th: 1.76ms - 95th: 1.76ms - avg: 1.76ms")
        );
    }
}
