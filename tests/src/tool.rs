//! One of the utilities as a process.

use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::log::Log;
use crate::start::path_of;
use crate::wait::{PATIENCE, wait_until};

/// A running utility. Killed when dropped.
#[derive(Debug)]
pub struct Tool {
    process: Child,
    log: Log,
    output: Log,
}

impl Tool {
    /// Starts a program of ours, or the one that the environment names in upper case, with these arguments.
    #[track_caller]
    pub fn start(program: &str, args: &[impl AsRef<OsStr>]) -> Self {
        let path = path_of(program, &program.to_uppercase());
        let mut process = Command::new(path)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Log::collect(process.stderr.take().expect("stderr is piped"));
        let output = Log::collect(process.stdout.take().expect("stdout is piped"));
        Self {
            process,
            log,
            output,
        }
    }

    /// What it has logged.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What it has written to stdout.
    pub fn output(&self) -> &Log {
        &self.output
    }

    /// Waits for a line of its log that contains `text`.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) -> String {
        let line = self.log.wait_for(text, PATIENCE);
        line.unwrap_or_else(|| panic!("it never logged {text:?}"))
    }

    /// Sends a signal.
    #[track_caller]
    pub fn notify(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).expect("our own child can be signalled");
    }

    /// Kills it as a power switch would.
    #[track_caller]
    pub fn kill9(&mut self) {
        self.process.kill().expect("our own child can be killed");
        self.process.wait().expect("our own child can be awaited");
    }

    /// Asks it to end (SIGTERM) and waits for that.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.notify(Signal::TERM);
        self.wait_for_exit()
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("it ends", PATIENCE, || {
            status = self
                .process
                .try_wait()
                .expect("our own child can be awaited");
            status.is_some()
        });
        status.expect("the wait ended with a status")
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- the end of its log ---\n{}", self.log.tail());
        }
    }
}
