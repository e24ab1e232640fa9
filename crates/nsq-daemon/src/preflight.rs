//! What a program needs of its process, checked before anything else: a limit that is too low ends the start with an error
//! that names it, where it would be a panic or a crash later on.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Barrier};
use std::thread;

use rustix::process::{Resource, Signal, getrlimit, setrlimit};

use crate::limits;

/// What a program is going to use. All numbers are below what it runs well with: they are what it starts with.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// Files and sockets, besides those that are open now.
    pub files: usize,
    /// Threads, besides this one.
    pub threads: usize,
}

impl Needs {
    /// Of a utility, which has one thread, and a second one for stdin or a name server.
    pub const UTILITY: Needs = Needs {
        files: 12,
        threads: 2,
    };

    /// Of a daemon with this many threads of its own.
    pub fn daemon(threads: usize) -> Needs {
        Needs {
            files: 24,
            threads: threads + BLOCKING_THREADS,
        }
    }
}

/// A limit of the process is too low.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Of the stack.
    #[error(
        "a stack of {bytes} bytes is too small, at least {LEAST_STACK_BYTES} are needed (ulimit -s, or LimitSTACK= of a \
         systemd unit)"
    )]
    Stack {
        /// The limit.
        bytes: u64,
    },
    /// Of open files.
    #[error(
        "cannot open {count} files and sockets: {source} (ulimit -n, or LimitNOFILE= of a systemd unit)"
    )]
    Files {
        /// How many are needed.
        count: usize,
        /// What the system said.
        source: io::Error,
    },
    /// Of threads, or of the memory for their stacks.
    #[error(
        "cannot start {count} threads: {source} (ulimit -u or -v, or TasksMax=, LimitNPROC= or LimitAS= of a systemd unit)"
    )]
    Threads {
        /// How many are needed.
        count: usize,
        /// What the system said.
        source: io::Error,
    },
    /// Of signal handlers: no system has one, but the call can fail.
    #[error("cannot catch signals: {0}")]
    Signals(io::Error),
}

/// Checks the limits of this process, raises the one of open files, and survives from now on the signals that Go programs
/// survive. To be called first of all.
///
/// # Errors
/// [`PreflightError`] for the first thing that is not there.
pub fn check(needs: Needs) -> Result<(), PreflightError> {
    check_stack()?;
    survive_signals().map_err(PreflightError::Signals)?;
    limits::raise_open_files();
    check_files(needs.files)?;
    check_threads(needs.threads)
}

/// The main thread's stack grows as it is used, up to this limit, and ends the process there.
fn check_stack() -> Result<(), PreflightError> {
    let mut limit = getrlimit(Resource::Stack);
    let Some(bytes) = limit.current.filter(|bytes| *bytes < LEAST_STACK_BYTES) else {
        return Ok(());
    };
    if limit.maximum.is_none_or(|most| most >= LEAST_STACK_BYTES) {
        limit.current = Some(LEAST_STACK_BYTES);
        if setrlimit(Resource::Stack, limit).is_ok() {
            return Ok(());
        }
    }
    Err(PreflightError::Stack { bytes })
}

/// Catches what ends a process by default and does not end a Go program. Above all SIGXFSZ: a write beyond the limit of a
/// file's size is an error of that write then.
///
/// Source: Go's runtime/sigtab_linux_generic.go, the signals with `_SigNotify` alone.
fn survive_signals() -> io::Result<()> {
    for signal in [
        Signal::XFSZ,
        Signal::XCPU,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::POWER,
        Signal::USR1,
        Signal::USR2,
    ] {
        let is_noted = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal.as_raw(), is_noted)?;
    }
    Ok(())
}

/// Has this many files open for a moment: tokio panics where it cannot open its own.
fn check_files(count: usize) -> Result<(), PreflightError> {
    let opened: io::Result<Vec<File>> = (0..count).map(|_| File::open("/dev/null")).collect();
    match opened {
        Ok(_) => Ok(()),
        Err(source) => Err(PreflightError::Files { count, source }),
    }
}

/// Has this many threads run for a moment: tokio panics where it cannot start its own.
fn check_threads(count: usize) -> Result<(), PreflightError> {
    let all_here = Arc::new(Barrier::new(count + 1));
    let mut threads = Vec::new();
    let mut failure = None;
    for _ in 0..count {
        let here = Arc::clone(&all_here);
        let builder = thread::Builder::new().name("preflight".to_owned());
        match builder.spawn(move || here.wait()) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    if let Some(source) = failure {
        // The threads that there are wait for the others; they end with the process.
        return Err(PreflightError::Threads { count, source });
    }
    all_here.wait();
    for thread in threads {
        // It only waited.
        let _ = thread.join();
    }
    Ok(())
}

/// Eight times what the start of any program here was seen to take without optimization.
const LEAST_STACK_BYTES: u64 = 512 << 10;
/// For what blocks: name servers, files.
const BLOCKING_THREADS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_process_passes_and_survives_the_signals() {
        check(Needs::daemon(2)).unwrap();
        for signal in [Signal::XFSZ, Signal::USR2, Signal::ALARM] {
            rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
        }
        check(Needs::UTILITY).unwrap();
    }

    #[test]
    fn a_limit_that_is_too_low_is_named() {
        let error = check_files(1 << 30).unwrap_err().to_string();
        assert!(error.contains("(ulimit -n, or LimitNOFILE="), "{error}");
    }
}
