//! Where a page is tried: a folder, our own programs in the `PATH`, and ports that are free.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nsq_tests::{PATIENCE, build_folder, free_port, wait_until};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::page::fits;

/// A reader's machine, as far as the page can tell.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    /// `:4150` and what stands for it here.
    ports: Vec<(String, String)>,
    running: Vec<(String, Child)>,
}

impl Stage {
    /// An empty folder, and the programs.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room");
        let ports =
            USUAL_PORTS.map(|port| (format!(":{port}"), format!(":{}", free_port().port())));
        let stage = Self {
            folder,
            ports: ports.into(),
            running: vec![],
        };
        fs::create_dir(stage.programs()).expect("the folder is ours");
        for tool in ["nsq_tail", "to_nsq"] {
            stage.put_program(tool, &format!("exec '{}' \"$@\"", built(tool).display()));
        }
        for (daemon, listens) in [
            (
                "nsqlookupd",
                "--tcp-address=127.0.0.1:4160 --http-address=127.0.0.1:4161",
            ),
            (
                "nsqd",
                "--tcp-address=127.0.0.1:4150 --http-address=127.0.0.1:4151",
            ),
            ("nsqadmin", "--http-address=127.0.0.1:4171"),
        ] {
            let (program, pid) = (
                built(daemon),
                stage.programs().join(daemon).with_extension("pid"),
            );
            let listens = stage.here(listens);
            stage.put_program(
                daemon,
                &format!(
                    "echo $$ >'{}'\nexec '{}' {listens} \"$@\"",
                    pid.display(),
                    program.display()
                ),
            );
        }
        // Others on this machine have an nsqd too.
        stage.put_program(
            "pidof",
            &format!("cat '{}'/\"$1\".pid", stage.programs().display()),
        );
        // The tests' own build has built the examples.
        stage.put_program(
            "cargo",
            &format!(
                "[ \"$1 $2 $3 $5\" = 'run --quiet --package --example' ] || exit 64\n\
                 example='{}'/$6 && shift 6 && exec \"$example\" \"$@\"",
                build_folder().join("examples").display()
            ),
        );
        stage
    }

    /// Runs to its end.
    pub(crate) fn run(&self, script: &str) -> Output {
        let output = self.shell(script).output().expect("there is a shell");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{script}{}\n{errors}",
            output.status
        );
        output
    }

    /// Starts it in the background.
    pub(crate) fn start(&mut self, name: &str, script: &str) {
        let log = File::create(self.log_of(name)).expect("the folder is ours");
        let mut command = self.shell(script);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("handles can be doubled"))
            .stderr(log)
            // Ctrl-C goes to all that a terminal runs, and to nobody else.
            .process_group(0);
        let child = command.spawn().expect("there is a shell");
        self.running.push((name.to_owned(), child));
    }

    /// Whether `name` was started.
    pub(crate) fn is_running(&self, name: &str) -> bool {
        self.running.iter().any(|(other, _)| other == name)
    }

    /// Waits until `name` has printed such a line.
    pub(crate) fn expect(&self, name: &str, pattern: &str) {
        let pattern = self.here(pattern);
        let log = self.log_of(name);
        let text = || fs::read_to_string(&log).unwrap_or_default();
        let deadline = std::time::Instant::now() + LONG;
        while !text().lines().any(|line| fits(&pattern, line)) {
            let said = text();
            assert!(
                std::time::Instant::now() < deadline,
                "{name} never printed {pattern:?}, but\n{said}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ctrl-C in its terminal.
    pub(crate) fn stop(&mut self, name: &str) {
        let child = self.take(name);
        kill_process_group(Pid::from_child(&child), Signal::INT).expect("it runs");
        let status = ended(child);
        let log = fs::read_to_string(self.log_of(name)).unwrap_or_default();
        assert!(status.success(), "{name}: {status}\n{log}");
    }

    /// Waits until it has ended.
    pub(crate) fn gone(&mut self, name: &str) {
        ended(self.take(name));
    }

    /// A file below the folder.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("it is ours");
        fs::write(path, self.here(text)).expect("it is ours");
    }

    /// `text` with this machine's ports.
    pub(crate) fn here(&self, text: &str) -> String {
        let ports = self.ports.iter();
        ports.fold(text.to_owned(), |text, (usual, here)| {
            text.replace(usual, here)
        })
    }

    fn take(&mut self, name: &str) -> Child {
        let at = self.running.iter().position(|(other, _)| other == name);
        self.running
            .remove(at.unwrap_or_else(|| panic!("{name} does not run")))
            .1
    }

    fn shell(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command
            .args(["-c", &self.here(script)])
            .env("PATH", format!("{}:{path}", self.programs().display()))
            .current_dir(self.folder.path());
        command
    }

    fn put_program(&self, name: &str, script: &str) {
        let path = self.programs().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the folder is ours");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    fn programs(&self) -> PathBuf {
        self.folder.path().join(".programs")
    }

    fn log_of(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!(".{name}.log"))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            // It may have ended.
            let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
            let _ = child.wait();
        }
    }
}

fn ended(mut child: Child) -> std::process::ExitStatus {
    let mut status = None;
    wait_until("it ends", PATIENCE, || {
        status = child.try_wait().expect("our own child can be awaited");
        status.is_some()
    });
    status.expect("the wait ended with a status")
}

fn built(program: &str) -> PathBuf {
    let path = build_folder().join(program);
    assert!(
        Path::new(&path).exists(),
        "{program} is not built: cargo build --workspace --bins"
    );
    path
}

const USUAL_PORTS: [u16; 5] = [4150, 4151, 4160, 4161, 4171];

/// A consumer finds its nsqd within a minute, whatever goes wrong at first.
const LONG: Duration = Duration::from_mins(2);
