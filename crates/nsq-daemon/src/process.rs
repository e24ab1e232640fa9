//! What Linux knows of this process: its memory and its threads. Elsewhere there is nothing to read, and everything
//! is zero or missing.

use std::fs;

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
    /// Shape: `id (name) state`, and numbers, of which the 11th and 12th behind the state are the times.
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
