//! Where a page is tried: a home folder, our own programs, ports that are free, and terminals.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nsq_tests::{build_folder, free_port};

use crate::terminal::Terminal;

/// A reader's machine, as far as the page can tell.
pub(crate) struct Stage {
    /// Dropped first: their programs work in the folder.
    terminals: BTreeMap<usize, Terminal>,
    /// What each terminal runs when it is opened.
    every_terminal: String,
    folder: tempfile::TempDir,
    /// `:4150` and what stands for it here.
    ports: Vec<(String, String)>,
}

impl Stage {
    /// An empty home folder, and the project's folder with its programs.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room");
        let ports =
            USUAL_PORTS.map(|port| (format!(":{port}"), format!(":{}", free_port().port())));
        let stage = Self {
            terminals: BTreeMap::new(),
            every_terminal: String::new(),
            folder,
            ports: ports.into(),
        };
        fs::create_dir_all(stage.programs()).expect("the folder is ours");
        fs::create_dir_all(stage.home()).expect("the folder is ours");
        fs::create_dir_all(stage.overlay()).expect("the folder is ours");
        for tool in ["nsq_tail", "to_nsq", "nsq_to_file"] {
            put_program(
                &stage.programs().join(tool),
                &format!("exec '{}' \"$@\"", built(tool).display()),
            );
        }
        for (daemon, listens) in [
            (
                "nsqlookupd",
                "--tcp-address=127.0.0.1:4160 --http-address=127.0.0.1:4161",
            ),
            (
                "nsqd",
                "--tcp-address=127.0.0.1:4150 --http-address=127.0.0.1:4151 --https-address=127.0.0.1:4152",
            ),
            ("nsqadmin", "--http-address=127.0.0.1:4171"),
        ] {
            put_program(
                &stage.programs().join(daemon),
                &format!(
                    "exec '{}' {} \"$@\"",
                    built(daemon).display(),
                    stage.here(listens)
                ),
            );
        }
        // The tests' own build has built the examples.
        put_program(
            &stage.overlay().join("cargo"),
            &format!(
                "[ \"$1 $2 $3 $4 $5 $7\" = 'run --quiet --profile up --package --example' ] || exit 64\n\
                 example='{}'/$8 && shift 8 && exec \"$example\" \"$@\"",
                build_folder().join("examples").display()
            ),
        );
        stage
    }

    /// Has each terminal run this when it is opened.
    pub(crate) fn begin_every_terminal_with(&mut self, script: &str) {
        self.every_terminal = self.here(script);
    }

    /// Types into a terminal, waits until the command has returned, and returns what it showed.
    pub(crate) fn run(&mut self, terminal: usize, script: &str) -> String {
        let script = self.here(script);
        self.terminal(terminal).run(&script)
    }

    /// Types a command that stays.
    pub(crate) fn stay(&mut self, terminal: usize, script: &str) {
        let script = self.here(script);
        self.terminal(terminal).stay(&script);
    }

    /// Whether that terminal was opened.
    pub(crate) fn is_open(&self, terminal: usize) -> bool {
        self.terminals.contains_key(&terminal)
    }

    /// Waits until the terminal has shown such a line.
    pub(crate) fn expect(&mut self, terminal: usize, pattern: &str) {
        let pattern = self.here(pattern);
        self.terminal(terminal).expect(&pattern);
    }

    /// Ctrl-C, and a good end.
    pub(crate) fn interrupt(&mut self, terminal: usize) {
        self.terminal(terminal).interrupt();
    }

    /// A file, with `~` as the reader's home.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = path
            .strip_prefix("~/")
            .expect("a file's name begins at the reader's home: the reader must find it");
        let path = self.home().join(path);
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

    fn terminal(&mut self, number: usize) -> &mut Terminal {
        if !self.terminals.contains_key(&number) {
            let path = std::env::var("PATH").unwrap_or_default();
            let environment = [
                ("HOME", self.home().display().to_string()),
                ("PATH", format!("{}:{path}", self.overlay().display())),
            ];
            let mut terminal = Terminal::open(&self.project(), &environment);
            if !self.every_terminal.is_empty() {
                terminal.run(&self.every_terminal);
            }
            self.terminals.insert(number, terminal);
        }
        self.terminals
            .get_mut(&number)
            .expect("it was just inserted")
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn project(&self) -> PathBuf {
        self.folder.path().join("nsq")
    }

    fn programs(&self) -> PathBuf {
        self.project().join("target/up")
    }

    /// Stands before the reader's own `PATH`.
    fn overlay(&self) -> PathBuf {
        self.folder.path().join("overlay")
    }
}

fn put_program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("the folder is ours");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

fn built(program: &str) -> PathBuf {
    let path = build_folder().join(program);
    assert!(
        path.exists(),
        "{program} is not built: cargo build --workspace --bins"
    );
    path
}

const USUAL_PORTS: [u16; 7] = [4150, 4151, 4152, 4160, 4161, 4171, 4180];
