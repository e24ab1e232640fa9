//! One terminal of a reader: an interactive shell on a pseudo-terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::page::fits;

/// A shell, and all that its terminal has shown. Its programs end with it.
pub(crate) struct Terminal {
    shell: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    commands: usize,
}

impl Terminal {
    /// Opens one in `folder`.
    pub(crate) fn open(folder: &Path, environment: &[(&str, String)]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master: OwnedFd = openpt(flags).expect("there are pseudo-terminals");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let name = name.into_string().expect("its name is text");
        let slave = || -> Stdio {
            let file = File::options().read(true).write(true).open(&name);
            file.expect("it can be opened").into()
        };
        let mut command = Command::new("setsid");
        command
            .args([
                "--ctty",
                "bash",
                "--norc",
                "--noprofile",
                "--noediting",
                "-i",
            ])
            .current_dir(folder)
            .env("TERM", "dumb")
            .env_remove("HISTFILE")
            .stdin(slave())
            .stdout(slave())
            .stderr(slave());
        for (name, value) in environment {
            command.env(name, value);
        }
        let shell = command.spawn().expect("there is a shell");
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(vec![]));
        let (mut output, shown) = (
            keyboard.try_clone().expect("handles can be doubled"),
            Arc::clone(&screen),
        );
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // An error once the shell and all its programs are gone.
            while let Ok(size @ 1..) = output.read(&mut chunk) {
                let mut screen = shown.lock().expect("no one panics with it");
                screen.extend_from_slice(&chunk[..size]);
            }
        });
        let mut terminal = Self {
            shell,
            keyboard,
            screen,
            commands: 0,
        };
        // Neither prompts nor the echo of what is typed, so that all that shows is output.
        terminal.type_in("stty -echo; PS1= PS2= PROMPT_COMMAND=\n");
        terminal.run(":\n");
        terminal
    }

    /// Types a command, waits until it has returned, and returns what it showed.
    pub(crate) fn run(&mut self, script: &str) -> String {
        self.commands += 1;
        let (begin, end) = (
            format!("@begin {}@\n", self.commands),
            format!("\n@end {} ", self.commands),
        );
        // Split, so that an echo of the typing is not taken for the mark.
        self.type_in(&format!("echo '@'\"begin {}@\"\n", self.commands));
        self.type_in(script);
        self.type_in(&format!(
            "printf '\\n@%s %s %s\\n' end {} $?\n",
            self.commands
        ));
        let deadline = Instant::now() + LONG;
        loop {
            let screen = self.screen();
            if let Some((_, rest)) = screen.split_once(&begin)
                && let Some((output, status)) = rest.split_once(&end)
                && let Some((status, _)) = status.split_once('\n')
            {
                assert_eq!(status, "0", "{script}{output}");
                return output.to_owned();
            }
            assert!(
                Instant::now() < deadline,
                "this did not return:\n{script}\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types a command that stays.
    pub(crate) fn stay(&mut self, script: &str) {
        self.type_in(script);
    }

    /// Waits until a line like this has been shown since the last command that was run.
    pub(crate) fn expect(&self, pattern: &str) {
        let deadline = Instant::now() + LONG;
        loop {
            let screen = self.screen();
            let begin = format!("@begin {}@\n", self.commands);
            let shown = screen.split_once(&begin).map(|(_, shown)| shown);
            if shown
                .unwrap_or_default()
                .lines()
                .any(|line| fits(pattern, line))
            {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the terminal never showed {pattern:?}, but\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ctrl-C; the command that stayed must then return, successfully.
    pub(crate) fn interrupt(&mut self) {
        self.type_in("\x03");
        // Before the mark that begins the next command has a status of its own.
        self.type_in("interrupted=$?\n");
        self.run("(exit $interrupted)\n");
    }

    fn type_in(&mut self, text: &str) {
        self.keyboard
            .write_all(text.as_bytes())
            .expect("the terminal is open");
    }

    fn screen(&self) -> String {
        let screen = self.screen.lock().expect("no one panics with it");
        String::from_utf8_lossy(&screen).replace('\r', "")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        kill_all(Pid::from_child(&self.shell));
        let _ = self.shell.wait();
    }
}

/// Ends a process and all its descendants.
fn kill_all(process: Pid) {
    let id = process.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    for child in children.unwrap_or_default().split_whitespace() {
        if let Some(child) = child.parse().ok().and_then(Pid::from_raw) {
            kill_all(child);
        }
    }
    // It may have ended.
    let _ = kill_process(process, Signal::KILL);
}

/// A consumer finds its nsqd within a minute, whatever goes wrong at first; a package manager may take longer.
const LONG: Duration = Duration::from_mins(4);
