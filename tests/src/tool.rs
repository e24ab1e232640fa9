//! A utility as a process.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

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
    /// Starts our program of this name, or the one that the variable of its name in upper case gives, with these arguments.
    #[track_caller]
    pub fn start(program: &str, args: &[impl AsRef<OsStr>]) -> Self {
        Self::spawn(command(program, args).stderr(Stdio::piped()))
    }

    /// As [`Tool::start`], with additional environment variables.
    #[track_caller]
    pub fn start_with(
        program: &str,
        args: &[impl AsRef<OsStr>],
        environment: (&str, &str),
    ) -> Self {
        let (name, value) = environment;
        Self::spawn(
            command(program, args)
                .env(name, value)
                .stderr(Stdio::piped()),
        )
    }

    /// As [`Tool::start`], through a program that replaces itself with its last arguments.
    #[track_caller]
    pub fn start_through(wrapper: &[&str], program: &str, args: &[impl AsRef<OsStr>]) -> Self {
        let path = path_of(program, &program.to_uppercase());
        let mut command = Command::new(wrapper[0]);
        command
            .args(&wrapper[1..])
            .arg(path)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self::spawn(&mut command)
    }

    /// As [`Tool::start`], with this text on stdin, which then ends.
    #[track_caller]
    pub fn start_reading(program: &str, args: &[impl AsRef<OsStr>], input: &[u8]) -> Self {
        let mut tool = Self::start_listening(program, args);
        tool.feed(input);
        tool.end_input();
        tool
    }

    /// As [`Tool::start`], with a stdin that stays open: see [`Tool::feed`].
    #[track_caller]
    pub fn start_listening(program: &str, args: &[impl AsRef<OsStr>]) -> Self {
        Self::spawn(
            command(program, args)
                .stdin(Stdio::piped())
                .stderr(Stdio::piped()),
        )
    }

    /// As [`Tool::start_reading`], with a terminal as stderr, which is collected as the log.
    #[track_caller]
    pub fn start_on_terminal(program: &str, args: &[impl AsRef<OsStr>], input: &[u8]) -> Self {
        let (ours, theirs) = terminal().expect("there are pseudo-terminals");
        let mut command = command(program, args);
        command.stdin(Stdio::piped()).stderr(theirs);
        let mut tool = Self::spawn(&mut command);
        tool.log = Log::collect(ours);
        tool.feed(input);
        tool.end_input();
        tool
    }

    fn spawn(command: &mut Command) -> Self {
        let mut process = command.spawn().expect("the program starts");
        let log = process.stderr.take().map(Log::collect).unwrap_or_default();
        let output = Log::collect(process.stdout.take().expect("stdout is piped"));
        Self {
            process,
            log,
            output,
        }
    }

    /// Writes to its stdin.
    #[track_caller]
    pub fn feed(&mut self, input: &[u8]) {
        let stdin = self.process.stdin.as_mut().expect("its stdin is open");
        stdin.write_all(input).expect("it reads");
    }

    /// Ends its stdin.
    pub fn end_input(&mut self) {
        self.process.stdin = None;
    }

    /// The peak of its resident memory, in bytes.
    #[track_caller]
    pub fn peak_memory_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        let kibibytes: u64 = kibibytes
            .and_then(|text| text.parse().ok())
            .expect("the kernel says how much");
        kibibytes * 1024
    }

    /// Its log so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its standard output so far.
    pub fn output(&self) -> &Log {
        &self.output
    }

    /// Waits for a line of the log that contains `text`.
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

    /// Kills the process with SIGKILL and waits for its end.
    #[track_caller]
    pub fn kill9(&mut self) {
        self.process.kill().expect("our own child can be killed");
        self.process.wait().expect("our own child can be awaited");
    }

    /// Sends SIGTERM and waits for the end of the process.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.notify(Signal::TERM);
        self.wait_for_exit()
    }

    /// Waits until the process ends by itself. Its log and its output are complete then.
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
        self.log.wait_for_end();
        self.output.wait_for_end();
        status.expect("the wait ended with a status")
    }
}

fn command(program: &str, args: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(path_of(program, &program.to_uppercase()));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// Both ends of a terminal, the program's second.
fn terminal() -> io::Result<(File, File)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let name = OsStr::from_bytes(name.to_bytes());
    let theirs = File::options().read(true).write(true).open(name)?;
    Ok((ours.into(), theirs))
}

impl Drop for Tool {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- the end of its log ---\n{}", self.log.tail());
        }
    }
}
