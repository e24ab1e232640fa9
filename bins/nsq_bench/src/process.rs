//! What a server's process has used so far, read from `/proc`.
//!
//! CPU time is the sum over the threads' `schedstat`, which the scheduler keeps in nanoseconds;
//! `stat` counts in ticks of 10 ms and only serves to split the sum into user and system time.

use std::{collections::HashMap, fs, thread, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::{clock::nanos, error::BenchError};

/// A process whose use of CPU and memory is measured.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    pid: u32,
}

impl Process {
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// The CPU time used up to now.
    ///
    /// # Errors
    /// The process is gone or not readable.
    pub fn cpu(self) -> Result<CpuReading, BenchError> {
        let folder = format!("/proc/{}/task", self.pid);
        let entries = fs::read_dir(&folder).map_err(|error| BenchError::Process {
            path: folder.clone(),
            error,
        })?;
        let mut thread_nanos = HashMap::new();
        for entry in entries.flatten() {
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else {
                continue;
            };
            if let Some(nanos) = parse_schedstat(&text) {
                thread_nanos.insert(entry.file_name().to_string_lossy().into_owned(), nanos);
            }
        }
        let path = format!("/proc/{}/stat", self.pid);
        let (user_ticks, system_ticks) =
            parse_stat(&read(&path)?).ok_or(BenchError::ProcessField {
                path,
                field: "utime and stime",
            })?;
        Ok(CpuReading {
            thread_nanos,
            user_ticks,
            system_ticks,
        })
    }

    /// Waits until the process has gone quiet (at most `SETTLE_LIMIT`), then reads its CPU time:
    /// work that a server puts off until after the answer is still work the load has caused.
    ///
    /// # Errors
    /// As [`Process::cpu`].
    pub fn settled_cpu(self) -> Result<CpuReading, BenchError> {
        let mut last = self.cpu()?;
        let mut quiet_count = 0;
        for _ in 0..SETTLE_LIMIT.as_millis() / SETTLE_STEP.as_millis() {
            thread::sleep(SETTLE_STEP);
            let next = self.cpu()?;
            let step_micros = next.since(&last).total_us;
            quiet_count = if step_micros < QUIET_MICROS {
                quiet_count + 1
            } else {
                0
            };
            last = next;
            if quiet_count == QUIET_STEPS {
                break;
            }
        }
        Ok(last)
    }

    /// The memory held now, and the most ever held.
    ///
    /// # Errors
    /// The process is gone or not readable.
    pub fn memory(self) -> Result<Memory, BenchError> {
        let path = format!("/proc/{}/status", self.pid);
        let text = read(&path)?;
        let field = |field| {
            parse_status_kib(&text, field).ok_or_else(|| BenchError::ProcessField {
                path: path.clone(),
                field,
            })
        };
        Ok(Memory {
            rss_kib: field("VmRSS")?,
            peak_rss_kib: field("VmHWM")?,
            rss_anon_kib: field("RssAnon")?,
            rss_file_kib: field("RssFile")?,
        })
    }
}

/// A process's CPU counters at one moment.
#[derive(Debug, Clone, Default)]
pub struct CpuReading {
    thread_nanos: HashMap<String, u64>,
    user_ticks: u64,
    system_ticks: u64,
}

impl CpuReading {
    /// What was used between `earlier` and this reading.
    pub fn since(&self, earlier: &Self) -> CpuUse {
        let nanos: u64 = self
            .thread_nanos
            .iter()
            .map(|(thread, now)| {
                now.saturating_sub(earlier.thread_nanos.get(thread).copied().unwrap_or(0))
            })
            .sum();
        let user_ticks = self.user_ticks.saturating_sub(earlier.user_ticks);
        let system_ticks = self.system_ticks.saturating_sub(earlier.system_ticks);
        let ticks = user_ticks + system_ticks;
        // A thread that ended has taken its nanoseconds with it; the ticks still have them.
        let a_thread_ended = earlier
            .thread_nanos
            .keys()
            .any(|thread| !self.thread_nanos.contains_key(thread));
        let nanos = if a_thread_ended {
            nanos.max(ticks * NANOS_PER_TICK)
        } else {
            nanos
        };
        let total_us = ratio(nanos, 1000);
        let user_us = if ticks == 0 {
            total_us
        } else {
            total_us * ratio(user_ticks, ticks)
        };
        CpuUse {
            total_us,
            user_us,
            system_us: total_us - user_us,
        }
    }
}

/// CPU time in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct CpuUse {
    pub total_us: f64,
    pub user_us: f64,
    pub system_us: f64,
}

impl CpuUse {
    /// The same, for one of `count` messages.
    #[must_use]
    pub fn per_message(&self, count: u64) -> Self {
        let each = 1.0 / ratio(count.max(1), 1);
        Self {
            total_us: self.total_us * each,
            user_us: self.user_us * each,
            system_us: self.system_us * each,
        }
    }
}

/// Resident memory in KiB, as the kernel counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub rss_kib: u64,
    pub peak_rss_kib: u64,
    pub rss_anon_kib: u64,
    pub rss_file_kib: u64,
}

/// The CPU time this process has used, in nanoseconds, with that of threads that have ended.
pub fn own_cpu_nanos() -> u64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(used).map_or(0, nanos)
}

/// One count over another.
#[expect(
    clippy::cast_precision_loss,
    reason = "a report shows a few digits; an f64 keeps fifteen"
)]
pub fn ratio(numerator: u64, denominator: u64) -> f64 {
    numerator as f64 / denominator as f64
}

fn read(path: &str) -> Result<String, BenchError> {
    fs::read_to_string(path).map_err(|error| BenchError::Process {
        path: path.to_owned(),
        error,
    })
}

/// The nanoseconds a thread has run: the first of `schedstat`'s three numbers.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// User and system ticks: fields 14 and 15 of `stat`. The second field, the program's name in
/// parentheses, may hold spaces and parentheses itself, so counting starts after the last one.
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let (_, after_name) = text.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The value of a line such as `VmHWM:     1234 kB`.
fn parse_status_kib(text: &str, field: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Linux shows 100 ticks a second in /proc on every architecture, whatever the kernel runs at.
const NANOS_PER_TICK: u64 = 10_000_000;
const SETTLE_STEP: Duration = Duration::from_millis(20);
/// Less than a twentieth of a core over one step is quiet: garbage collectors and timers do that.
const QUIET_MICROS: f64 = 1000.0;
const QUIET_STEPS: u32 = 2;
/// The longest wait for a server that is never quiet.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_parsed_past_a_name_with_spaces_and_parentheses() {
        let text = "4321 (odd) name (1)) S 1 4321 4321 0 -1 4194560 2400 0 3 0 \
                    157 42 0 0 20 0 9 0 12345 1270000000 8000";
        assert_eq!(parse_stat(text), Some((157, 42)));
        assert_eq!(parse_stat("4321 (short) S 1 2"), None);
    }

    #[test]
    fn schedstat_is_the_first_number() {
        assert_eq!(parse_schedstat("123456789 4567 89\n"), Some(123_456_789));
        assert_eq!(parse_schedstat("\n"), None);
    }

    #[test]
    fn status_lines_are_found_by_their_whole_name() {
        let text =
            "Name:\tnsqd\nVmHWM:\t   20480 kB\nRssAnon:\t   9000 kB\nRssFile:\t      12 kB\n";
        assert_eq!(parse_status_kib(text, "VmHWM"), Some(20_480));
        assert_eq!(parse_status_kib(text, "RssFile"), Some(12));
        assert_eq!(parse_status_kib(text, "Rss"), None);
    }

    fn reading(threads: &[(&str, u64)], user_ticks: u64, system_ticks: u64) -> CpuReading {
        CpuReading {
            thread_nanos: threads
                .iter()
                .map(|&(tid, nanos)| (tid.to_owned(), nanos))
                .collect(),
            user_ticks,
            system_ticks,
        }
    }

    fn check(actual: CpuUse, total_us: f64, user_us: f64) {
        assert!((actual.total_us - total_us).abs() < 0.01, "{actual:?}");
        assert!((actual.user_us - user_us).abs() < 0.01, "{actual:?}");
        assert!(
            (actual.system_us - (total_us - user_us)).abs() < 0.01,
            "{actual:?}"
        );
    }

    #[test]
    fn cpu_use_is_the_nanoseconds_split_as_the_ticks_are() {
        let earlier = reading(&[("1", 1_000_000), ("2", 500)], 10, 10);
        let later = reading(&[("1", 3_000_000), ("2", 500), ("3", 2_000_000)], 13, 11);
        check(later.since(&earlier), 4000.0, 3000.0);
    }

    #[test]
    fn an_ended_thread_falls_back_to_the_ticks() {
        let earlier = reading(&[("1", 0), ("2", 0)], 0, 0);
        let later = reading(&[("1", 1_000_000)], 1, 1);
        check(later.since(&earlier), 20_000.0, 10_000.0);
    }

    #[test]
    fn our_own_process_can_be_read() {
        let process = Process::new(std::process::id());
        let before = process.cpu().unwrap();
        assert!(!before.thread_nanos.is_empty());
        let memory = process.memory().unwrap();
        assert!(memory.peak_rss_kib >= memory.rss_anon_kib);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error_with_its_path() {
        // Above the largest pid the kernel gives out.
        let error = Process::new(u32::MAX).cpu().unwrap_err().to_string();
        assert!(error.contains("/proc/4294967295/task"), "{error}");
    }
}
