//! What Linux knows of this process: its memory and its threads. Elsewhere there is nothing to read, and everything
//! is zero or missing.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// Memory in RAM, from `/proc/self/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// The heap and the stacks.
    pub anonymous_bytes: u64,
    /// Pages of mapped files: programs, libraries, and the logs as they are being read.
    pub file_bytes: u64,
    /// All of it.
    pub resident_bytes: u64,
    /// The most that was ever resident.
    pub peak_bytes: u64,
    /// What lies in swap.
    pub swapped_bytes: u64,
}

impl Memory {
    /// As it is now.
    pub fn now() -> Memory {
        Memory::parse(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    /// Shape: a line `Name:\t   123 kB` for each figure, among others.
    fn parse(status: &str) -> Memory {
        let bytes = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kilobytes =
                line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kilobytes.unwrap_or(0) * 1024
        };
        Memory {
            anonymous_bytes: bytes("RssAnon"),
            file_bytes: bytes("RssFile"),
            resident_bytes: bytes("VmRSS"),
            peak_bytes: bytes("VmHWM"),
            swapped_bytes: bytes("VmSwap"),
        }
    }
}

/// What the process uses, from `/proc/self`.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Time spent by all threads, in their own code and in the kernel for it.
    pub cpu: Duration,
    /// Threads.
    pub threads: u64,
    /// When the process began, since 1970.
    pub start_time: Duration,
    /// Addresses in use, whether memory backs them or not.
    pub virtual_bytes: u64,
    /// Open files, sockets among them.
    pub open_files: u64,
    /// How many there may be; `None` without a limit.
    pub max_files: Option<u64>,
}

impl Usage {
    /// As it is now; `None` where there is no `/proc`.
    pub fn now() -> Option<Usage> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let system = fs::read_to_string("/proc/stat").ok()?;
        // The listing has the folder's own.
        let open_files = fs::read_dir("/proc/self/fd")
            .ok()?
            .count()
            .saturating_sub(1);
        let mut usage = Usage::parse(&stat, &system)?;
        usage.open_files = open_files as u64;
        usage.max_files = getrlimit(Resource::Nofile).current;
        Some(usage)
    }

    /// Shape of `stat`: as of a thread; the 17th number after the state counts threads, the 19th is the start in ticks
    /// since the system's, the 20th the size. Of the system's, the line `btime 123`: when it started.
    fn parse(stat: &str, system: &str) -> Option<Usage> {
        let (_, after) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = after.split(' ').collect();
        let number = |at: usize| fields.get(at)?.trim().parse::<u64>().ok();
        let system_start = system
            .lines()
            .find_map(|line| line.strip_prefix("btime "))?;
        let system_start = Duration::from_secs(system_start.trim().parse().ok()?);
        Some(Usage {
            cpu: ticks(number(11)? + number(12)?),
            threads: number(17)?,
            start_time: system_start + ticks(number(19)?),
            virtual_bytes: number(20)?,
            open_files: 0,
            max_files: None,
        })
    }
}

/// Linux tells times to programs in hundredths of a second on every machine it runs on today.
fn ticks(count: u64) -> Duration {
    Duration::from_millis(count.saturating_mul(10))
}

/// One thread, from `/proc/self/task/<id>/stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its number.
    pub id: u32,
    /// Its name, of 15 bytes at most.
    pub name: String,
    /// `R` running, `S` sleeping, `D` waiting for the disk.
    pub state: char,
    /// Hundredths of a second spent in its own code.
    pub user_ticks: u64,
    /// Hundredths of a second spent in the kernel for it.
    pub system_ticks: u64,
}

/// All threads, oldest first.
pub fn threads() -> Vec<Thread> {
    let Ok(folder) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    // A thread may end between the two looks at it.
    let stats = folder
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let mut threads: Vec<_> = stats.filter_map(|stat| Thread::parse(&stat)).collect();
    threads.sort_by_key(|thread| thread.id);
    threads
}

impl Thread {
    /// Shape: `id (name) state`, and numbers, of which the 11th and 12th after the state are the times.
    fn parse(stat: &str) -> Option<Thread> {
        // A name may hold anything, parentheses too.
        let (before, after) = stat.rsplit_once(") ")?;
        let (id, name) = before.split_once(" (")?;
        let mut fields = after.split(' ');
        let state = fields.next()?.chars().next()?;
        let mut times = fields.skip(10);
        Some(Thread {
            id: id.parse().ok()?,
            name: name.to_owned(),
            state,
            user_ticks: times.next()?.parse().ok()?,
            system_ticks: times.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tnsqd\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t     400 kB\nRssFile:\t       0 kB\n";
        let memory = Memory::parse(status);
        assert_eq!(
            memory,
            Memory {
                anonymous_bytes: 400 * 1024,
                file_bytes: 0,
                resident_bytes: 1 << 20,
                peak_bytes: 2 << 20,
                swapped_bytes: 0,
            }
        );
        assert_eq!(Memory::parse("RssAnon:\tmany\n"), Memory::default());
    }

    #[test]
    fn usage_is_read_from_the_lines_of_a_process_and_of_the_system() {
        let stat = "1 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 7 18 2001 4096 21\n";
        let usage = Usage {
            cpu: Duration::from_secs(3),
            threads: 7,
            start_time: Duration::from_millis(1_700_000_020_010),
            virtual_bytes: 4096,
            open_files: 0,
            max_files: None,
        };
        let system = "cpu 1 2 3\nbtime 1700000000\n";
        assert_eq!(Usage::parse(stat, system), Some(usage));
        assert_eq!(Usage::parse(stat, "cpu 1 2 3\n"), None);
        assert_eq!(Usage::parse("1 (x) S 1 2", system), None);
    }

    #[test]
    fn a_threads_name_may_hold_anything() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 0 0 20";
        let thread = Thread {
            id: 42,
            name: "a) b (c".to_owned(),
            state: 'S',
            user_ticks: 11,
            system_ticks: 12,
        };
        assert_eq!(Thread::parse(stat), Some(thread));
        for broken in [
            "",
            "42",
            "42 (x) S 1 2",
            "x (x) S 1 2 3 4 5 6 7 8 9 10 11 12",
        ] {
            assert_eq!(Thread::parse(broken), None, "{broken}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_threads() {
        assert!(Memory::now().anonymous_bytes > 0);
        assert!(!threads().is_empty());
    }
}
